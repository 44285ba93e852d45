"""Random numbers that modules draw for their rows alone are told; those for the rows of all are not."""

import importlib.util
import random

import numpy as np
import pytest

from tests.ranks import run_threads
from tests.training.distributed.cases import in_float64, mlp, numbers
from tinygrad_mnist import checkpoint, nn, optim, training
from tinygrad_mnist.engine.shards import Shard, sharded
from tinygrad_mnist.training import Callback

F = nn.functional
needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("llvmlite") is None, reason="the extra `jit` is not installed"
)


class Noise(nn.Module):
    """A module of the user's that adds noise, drawn as a function says."""

    def __init__(self, draw, rng=None):
        super().__init__()
        self.draw, self.rng = draw, rng

    def forward(self, x):
        return x + self.draw(self.rng, x) if self.training else x


class Notices(Callback):
    """A callback that keeps what it is told."""

    def __init__(self):
        self.heard = []

    def on_notice(self, training, sentence):
        self.heard.append(sentence)


def fitted(communicator, layer, **options):
    """Return the result of a training with a layer, and what was said of random numbers."""
    heard = Notices()
    model = nn.Sequential(nn.Linear(6, 8, rng=0), layer, nn.ReLU(), nn.Linear(8, 3, rng=1))
    result = mlp(communicator, model=in_float64(model), callbacks=[heard], **{"epochs": 1, **options})
    return result[0], [one for one in heard.heard if "random_rows" in one]


OWN = {
    "generator": (
        lambda: Noise(lambda rng, x: rng.normal(size=x.shape), np.random.default_rng(3)),
        "model.1.rng",
    ),
    "older": (
        lambda: Noise(lambda rng, x: rng.normal(size=x.shape), np.random.RandomState(3)),
        "model.1.rng",
    ),
    "python": (lambda: Noise(lambda rng, x: rng.random(), random.Random(3)), "model.1.rng"),
    "global": (lambda: Noise(lambda rng, x: np.random.normal(size=x.shape)), "numpy.random"),  # noqa: NPY002
    "before dropout": (
        lambda: Noise(
            lambda rng, x: rng.normal(size=x.shape) + F.dropout(x, rng=rng), np.random.default_rng(3)
        ),
        "model.1.rng",
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_numbers_for_the_own_rows_are_told_once_with_the_place_of_the_generator(name):
    make, place = OWN[name]
    for _, heard in run_threads(2, lambda c: fitted(c, make())):
        assert len(heard) == 1
        assert heard[0].startswith(f"{place} was drawn from in a step")
    assert fitted(None, make())[1] == []


def test_a_loss_and_a_warning_where_no_callback_listens():
    class Loss(nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(0)

        def forward(self, input, target):
            return super().forward(input + self.rng.normal(size=input.shape), target)

    def run(communicator):
        model = in_float64(nn.Linear(6, 3, rng=0))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        options = {"epochs": 1, "batch_size": 50, "jit": "off", "lint": False}
        training.fit(model, optimizer, numbers(), loss=Loss(), communicator=communicator, **options)

    with pytest.warns(RuntimeWarning, match=r"loss\.rng was drawn from"):
        run_threads(2, run)


ALL = {
    "dropout": lambda: nn.Dropout(0.3, rng=3),
    "dropout of the weights": lambda: Noise(
        lambda rng, x: F.dropout(nn.Parameter(np.ones(8)), rng=rng), np.random.default_rng(3)
    ),
    "random_rows": lambda: Noise(
        lambda rng, x: F.random_rows(lambda shape: rng.normal(size=shape), x.shape), np.random.default_rng(3)
    ),
    "checkpoint": lambda: Noise(
        lambda rng, x: checkpoint(lambda x: F.dropout(x, rng=rng))(x), np.random.default_rng(3)
    ),
}


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_numbers_for_all_rows_are_those_of_one_process_and_nothing_is_said(name, accumulate):
    expected, _ = fitted(None, ALL[name](), accumulate=accumulate)
    for found, heard in run_threads(3, lambda c: fitted(c, ALL[name](), accumulate=accumulate)):
        assert heard == []
        assert max(np.abs(found[part] - expected[part]).max() for part in found) < 1e-12


@needs_compiler
def test_dropout_in_compiled_steps_is_not_told():
    def run(communicator):
        return fitted(communicator, nn.Dropout(0.3, rng=3), jit="on")

    assert [heard for _, heard in run_threads(1, run)] == [[]]


@pytest.mark.parametrize(
    ("draw", "shape", "message"),
    [
        (np.zeros, (4, 2), r"shape \(4, 2\) were asked for, but this process has 3 of 8 rows"),
        (np.zeros, (), r"shape \(\) were asked for"),
        (lambda shape: np.zeros(3), (3, 2), r"numbers of shape \(3,\); expected \(8, 2\)"),
    ],
)
def test_random_rows_that_are_none_of_the_batch_are_refused(draw, shape, message):
    with sharded(Shard(2, 3, 8, None)), pytest.raises(ValueError, match=message):
        F.random_rows(draw, shape)


def test_random_rows_are_a_part_of_those_of_the_batch():
    def draw(shape):
        return np.arange(np.prod(shape)).reshape(shape)

    with sharded(Shard(2, 3, 8, None)):
        assert np.array_equal(F.random_rows(draw, (6, 2)), draw((16, 2))[4:10])
    assert np.array_equal(F.random_rows(draw, (6, 2)), draw((6, 2)))
