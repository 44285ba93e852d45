"""Samples of the batch and weights are told apart by how they were made, not by shapes that may agree."""

import importlib.util

import numpy as np
import pytest

from tests.ranks import run_threads
from tests.training.distributed.cases import in_float64, numbers
from tinygrad_mnist import Tensor, nn, optim, training
from tinygrad_mnist.engine.shards import Shard
from tinygrad_mnist.nn.batch_axis import rows_each

F = nn.functional
SHARD = Shard(0, 12, 24, None)
LAYER = nn.Sequential(nn.Linear(6, 24, rng=0))[0]
WEIGHT = LAYER.weight  # of 24 rows, twice those of the shard
X = Tensor(np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32))
MASK = np.ones((24, 6), np.float32)

WEIGHTS = {
    "a parameter": lambda: WEIGHT,
    "times a number": lambda: WEIGHT * 1.0,
    "flat": lambda: WEIGHT.reshape(-1),
    "masked": lambda: np.abs(WEIGHT * MASK),
    "dropped": lambda: F.dropout(WEIGHT * 2, 0.5, rng=0),
    "a product": lambda: WEIGHT @ WEIGHT.T,
    "over its norm": lambda: WEIGHT / np.sqrt(np.sum(WEIGHT * WEIGHT)),
    "over the spread of the batch": lambda: WEIGHT / np.std(LAYER(X)),
    "joined": lambda: np.concatenate([WEIGHT, WEIGHT]),
    "a scalar of the batch": lambda: np.mean(LAYER(X)),
}
SAMPLES = {
    "the input": (lambda: X, 1),
    "an array": (lambda: X.data, 1),
    "a layer": (lambda: LAYER(X), 1),
    "with a gradient": (lambda: Tensor(X.data, requires_grad=True) * 2, 1),
    "normalised": (lambda: nn.BatchNorm1d(24)(LAYER(X / 255)), 1),
    "times a mask": (lambda: F.dropout(LAYER(X), 0.5, rng=0), 1),
    "several rows a sample": (lambda: LAYER(X).reshape(48, 6), 4),
    "there and back": (lambda: np.maximum(LAYER(X).T, 0).T, 1),
    "a sequence, moved": (lambda: np.swapaxes(LAYER(np.zeros((12, 5, 6), np.float32)), 1, 2), 1),
    "with one number a column": (lambda: LAYER(X) * np.ones(24, np.float32), 1),
    "a stack over time": (lambda: np.swapaxes(np.stack([LAYER(X)] * 5), 0, 1), 1),
    "the last in time": (lambda: np.stack([LAYER(X)] * 5)[-1], 1),
    "less its mean": (lambda: LAYER(X) - np.mean(LAYER(X), axis=0), 1),
    "a sum over columns": (lambda: np.sum(LAYER(X), axis=1), 1),
}
ELSEWHERE = {
    "transposed": lambda: LAYER(X).T,
    "transposed, then activated and scaled": lambda: np.maximum(LAYER(X).T, 0) * np.ones((24, 1), np.float32),
    "multiplied from the left": lambda: WEIGHT[:7] @ X.T,
    "a length that does not fit": lambda: WEIGHT[:, :5].reshape(5, 24) @ LAYER(X).T,
    "a product over samples": lambda: LAYER(X).T @ LAYER(X),
    "a product over samples, less another": lambda: (LAYER(X).T @ LAYER(X) - np.eye(24)).reshape(-1),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_what_is_made_of_parameters_alone_is_no_batch(name: str) -> None:
    assert rows_each(WEIGHTS[name](), SHARD) is None


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_made_of_samples_is_a_batch(name: str) -> None:
    make, each = SAMPLES[name]
    assert rows_each(make(), SHARD) == each


@pytest.mark.parametrize("name", ELSEWHERE)
def test_samples_along_another_axis_are_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="not that of the samples, of which this process has 12"):
        rows_each(ELSEWHERE[name](), SHARD)


class DropConnect(nn.Module):
    """A layer some of whose weights are dropped; there are as many rows of them as in both shards."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(6, 24, rng=0), nn.Linear(24, 3, rng=1)
        self.rng = np.random.default_rng(5)

    def forward(self, x):
        weight = F.dropout(self.hidden.weight * 1.0, 0.5, self.training, rng=self.rng)
        return self.out(F.dropout(np.tanh(x @ weight.T), 0.2, self.training, rng=self.rng))


def losses(communicator, jit):
    """Train with dropped weights, and a penalty that is a sum over weights."""
    model = in_float64(DropConnect())
    weight = model.hidden.weight

    def loss(out, labels):
        penalty = F.mse_loss(weight.reshape(-1), np.zeros(weight.size), reduction="sum")
        return F.cross_entropy(out, labels, reduction="sum") / 24 + 0.01 * penalty

    given = {"loss": loss, "epochs": 1, "batch_size": 24, "jit": jit, "lint": False}
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return training.fit(model, optimizer, numbers(48), communicator=communicator, **given).history.losses


@pytest.mark.parametrize("jit", ["off", "on"])
def test_dropped_weights_and_sums_over_weights_are_those_of_one_process(jit: str) -> None:
    if jit == "on" and importlib.util.find_spec("llvmlite") is None:
        pytest.skip("the extra `jit` is not installed")
    shared = run_threads(2, lambda communicator: losses(communicator, jit))
    assert shared[0] == shared[1]
    np.testing.assert_allclose(shared[0], losses(None, "off"), rtol=1e-12)
