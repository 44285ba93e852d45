"""The gradients of all ranks are summed, with the loss, in one exchange."""

import numpy as np
import pytest

from tests.ranks import run_threads
from tests.training.distributed.cases import in_float64, numbers
from tinygrad_mnist import Tensor, jit, nn, optim, training
from tinygrad_mnist.engine.shards import sharded
from tinygrad_mnist.training.distributed.gradients import GradientSum
from tinygrad_mnist.training.errors import TrainingError


class Counting:
    """A communicator that counts the sums that it is asked for."""

    def __init__(self, communicator):
        self.communicator, self.sums = communicator, 0

    def sum(self, arrays):
        self.sums += 1
        return self.communicator.sum(arrays)


def test_a_step_makes_one_exchange():
    def run(communicator):
        counting = Counting(communicator)
        model = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Linear(4, 2, rng=1))
        gradients = GradientSum(model.named_parameters(), counting, 2)
        loss = np.sum(model(Tensor(np.ones((2, 3), np.float32))))
        gradients.add(loss, 0.5)
        total = gradients.sum(loss.detach())
        return counting.sums, float(total) / float(loss)

    assert run_threads(2, run) == [(1, 2.0)] * 2


def test_a_shared_parameter_is_sent_once():
    weight = nn.Parameter(np.ones(3))
    named = [("a", weight), ("b", weight)]
    assert len(GradientSum(named, None, 1).parameters) == 1


def used(communicator, one, other, share=1.0):
    """Use the second parameter in rank 1 alone."""
    loss = np.sum(one * 2) + (np.sum(other * 3) if communicator.rank == 1 else 0)
    unused = nn.Parameter(np.ones(1))
    gradients = GradientSum([("one", one), ("other", other), ("unused", unused)], communicator, 2)
    gradients.add(loss, share)
    return gradients, loss.detach()


def test_a_gradient_of_some_ranks_is_their_sum_in_all():
    def run(communicator):
        one, other = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
        gradients, loss = used(communicator, one, other, share=0.5)
        gradients.sum(loss)
        return [one.grad.tolist(), other.grad.tolist(), gradients.parameters[2].grad]

    assert run_threads(2, run) == [[[2.0, 2.0], [1.5, 1.5], None]] * 2


def test_a_gradient_of_some_ranks_is_an_error_in_a_compiled_step_that_names_it():
    def run(communicator):
        one, other = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
        optimizer = optim.SGD([one, other], lr=0.1)

        @jit
        def step(x):
            optimizer.zero_grad()
            loss = np.sum(one * x) + (np.sum(other * x) if communicator.rank == 1 else 0)
            gradients = GradientSum([("one", one), ("other", other)], communicator, 2)
            gradients.add(loss, 1.0)
            return gradients.sum(loss.detach())

        with sharded(None), pytest.raises(TrainingError, match="other has a gradient in one process"):
            step(np.ones(2))

    run_threads(2, run)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_no_optimiser_removes_grows_as_in_one_process(accumulate):
    def run(communicator):
        model = in_float64(nn.Sequential(nn.Linear(6, 8, rng=0), nn.ReLU(), nn.Linear(8, 3, rng=1)))
        optimizer = optim.SGD(model[0].parameters(), lr=0.1)
        training.fit(
            model, optimizer, numbers(), loss=nn.CrossEntropyLoss(), epochs=2, batch_size=20, jit="off",
            lint=False, communicator=communicator, accumulate=accumulate,
        )  # fmt: skip
        return model[2].weight.grad.numpy()

    expected = run(None)
    for found in run_threads(3, run):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_gradients_are_added_to_those_that_are_there():
    one = nn.Parameter(np.ones(2))
    gradients = GradientSum([("one", one)], None, 1)
    for share in (0.25, 0.5):
        gradients.add(np.sum(one * 4), share)
    assert one.grad.tolist() == [3.0, 3.0]
