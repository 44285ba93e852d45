"""Programs with exchanges: where one process cannot go on, all run the call as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ranks import run_threads
from tinygrad_mnist import Tensor, jit, nn, optim
from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.outside import call_outside
from tinygrad_mnist.engine import shards
from tinygrad_mnist.engine.shards import Shard, sharded
from tinygrad_mnist.training.distributed.gradients import GradientSum
from tinygrad_mnist.training.loop.steps import step_functions

ROWS = 8

STEP = ["sum of 1", "sum of 5"]
"""The exchanges of a step: the number of labels, then the loss with the gradients of four parameters."""


class Counted:
    """An exchange that notes what is asked of it; it may be another object at each step."""

    def __init__(self, communicator: Any, calls: list[str]) -> None:
        self._communicator, self._calls = communicator, calls

    def sum(self, arrays: Any) -> Any:
        self._calls.append(f"sum of {len(arrays)}")
        return self._communicator.sum(arrays)

    def refuse(self, arrays: Any) -> None:
        self._calls.append(f"refusal of {len(arrays)}")
        self._communicator.refuse(arrays)

    def any(self, flag: bool) -> bool:
        self._calls.append("any")
        return bool(self._communicator.any(flag))


class Sum:
    """The sum over all ranks, by what joins them now."""

    def __call__(self, *arrays: Any) -> Any:
        shard = shards.current()
        assert shard is not None
        sums = shard.exchange.sum(arrays)
        return sums if len(sums) > 1 else sums[0]

    def refuse(self, *arrays: Any) -> None:
        shard = shards.current()
        assert shard is not None
        shard.exchange.refuse(arrays)


summed = Sum()


def shard_of(communicator: Any, calls: list[str], total: int = ROWS) -> Shard:
    """Return the rows of a rank."""
    start, end = (total * (communicator.rank + i) // communicator.size for i in (0, 1))
    return Shard(start, end - start, total, Counted(communicator, calls))


Batches = list[tuple[Any, Any]]


def trained(batches: Batches, decorate: Callable[[Any], Any] = jit, size: int = 2) -> list[Any]:
    """Return for each rank the loss, the weights and the exchanges of each step, and what was compiled."""

    def run(communicator: Any) -> Any:
        layers = nn.Linear(4, 6, rng=0), nn.Tanh(), nn.Dropout(0.5, rng=1), nn.Linear(6, 3, rng=2)
        model = nn.Sequential(*layers)
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        loss_of = nn.CrossEntropyLoss()

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            share = len(x) / ROWS
            parameters = list(model.parameters())
            given = loss.detach(), *(p.grad for p in parameters)
            total, *sums = call_outside(summed, *(one * share for one in given))
            for parameter, gradient in zip(parameters, sums, strict=True):
                parameter.grad = gradient
            optimizer.step()
            return total

        seen: list[Any] = []
        for x, y in batches:
            calls: list[str] = []
            shard = shard_of(communicator, calls)
            rows = slice(shard.start, shard.start + shard.rows)
            with sharded(shard):
                loss = step(x[rows], y[rows]).item()
            seen.append((loss, [p.data.copy() for p in model.parameters()], calls))
        return seen, len(getattr(step, "compilations", ()))

    return run_threads(size, run)


def batches_of(count: int = 5) -> Batches:
    rng = np.random.default_rng(3)
    return [(rng.standard_normal((ROWS, 4), np.float32), rng.integers(0, 3, ROWS)) for _ in range(count)]


def assert_equal(one: Any, other: Any) -> None:
    for (loss, weights, _), (its_loss, its_weights, _) in zip(one, other, strict=True):
        assert loss == its_loss
        for array, its_array in zip(weights, its_weights, strict=True):
            np.testing.assert_array_equal(array, its_array)


def test_a_compiled_step_exchanges_once_and_computes_what_eager_does() -> None:
    (first, count), (second, _) = trained(batches_of())
    assert count == 1
    assert_equal(first, second)
    # the first step of an optimiser, which has no state yet, runs as it is
    assert [calls for _, _, calls in first] == [["refusal of 1", *STEP], *[STEP] * 4]
    (plain, _), _ = trained(batches_of(), lambda f: f)
    for (loss, weights, _), (its_loss, its_weights, _) in zip(first, plain, strict=True):
        np.testing.assert_allclose(loss, its_loss, rtol=1e-5)
        for array, its_array in zip(weights, its_weights, strict=True):
            np.testing.assert_allclose(array, its_array, rtol=1e-4, atol=1e-6)


def test_a_nan_in_the_rows_of_one_rank_lets_all_run_the_step_as_it_is() -> None:
    batches = batches_of(6)
    batches[3][0][-1, 0] = np.nan  # of the last rank
    ranks = [seen for seen, _ in trained(batches, size=3)]
    for other in ranks[1:]:
        assert_equal(ranks[0][:3], other[:3])
    asked = [[calls for _, _, calls in seen][3] for seen in ranks]
    assert asked == [[*STEP, *STEP], [*STEP, *STEP], ["sum of 1", "refusal of 5", *STEP]]


def test_the_error_of_one_rank_is_that_of_eager() -> None:
    batches = batches_of(4)
    batches[2][1][-1] = 7
    with pytest.raises(IndexError, match="label 7"):
        trained(batches)


def test_an_argument_that_shares_memory_with_what_is_written_is_refused_before_the_first_exchange() -> None:
    def run(communicator: Any) -> Any:
        held = np.zeros(4)

        @jit
        def step(x: Any) -> Any:
            np.copyto(held, call_outside(summed, held + x))
            return call_outside(summed, np.sum(x))

        found = []
        for number in range(4):
            calls: list[str] = []
            shared = number == 2 and communicator.rank == 1
            with sharded(shard_of(communicator, calls)):
                step(held[:] if shared else held + 1)
            found.append((held.copy(), calls))
        return found

    first, second = run_threads(2, run)
    for (held, _), (its, _) in zip(first, second, strict=True):
        np.testing.assert_array_equal(held, its)
    whole = ["sum of 1", "sum of 1"]
    assert first[2][1] == ["sum of 1", *whole]  # it is refused by the other
    assert second[2][1] == ["refusal of 1", *whole]
    assert first[3][1] == second[3][1] == whole


def model_with_norms() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(16, 6, rng=1), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3, rng=2)),
    )


def step_of(model: nn.Module, communicator: Any, threads: int = 1, lr: float = 0.01) -> Any:
    """Return a compiled step of a training on several ranks."""
    optimizer = optim.AdamW(model.parameters(), lr=lr)
    gradients = GradientSum(model.named_parameters(), communicator, communicator.size)
    whole = step_functions(model, nn.CrossEntropyLoss(), optimizer, 1.0, gradients).whole
    return jit(whole, threads=threads)


def images_of(count: int, side: int = 4) -> Batches:
    rng = np.random.default_rng(5)
    shape = (ROWS, 1, side, side)
    return [(rng.standard_normal(shape, np.float32), rng.integers(0, 3, ROWS)) for _ in range(count)]


def stepped(step: Any, shard: Shard, x: Any, y: Any) -> float:
    """Return the loss of a step on the rows of a shard."""
    rows = slice(shard.start, shard.start + shard.rows)
    with sharded(shard):
        loss, _ = step(Tensor(x[rows]), Tensor(y[rows]), shard.rows / shard.total)
    return float(loss.item())


def state_of(model: nn.Module) -> list[Any]:
    return [array.copy() for array in model.state_dict().values()]


def assert_same_bits(one: Any, other: Any) -> None:
    for array, its_array in zip(one, other, strict=True):
        np.testing.assert_array_equal(array, its_array)


def test_each_call_computes_what_a_new_process_would() -> None:
    """A run that is gone on with has no programs: it compiles them for the first step that it takes."""

    def run(communicator: Any) -> list[Any]:
        found = []
        for anew in (False, True):
            model = model_with_norms()
            step = step_of(model, communicator)
            for x, y in images_of(4):
                if anew:
                    step.clear()
                stepped(step, shard_of(communicator, []), x, y)
            found.append(state_of(model))
        return found

    ranks = run_threads(2, run)
    for _, state in ranks:
        assert_same_bits(ranks[0][0], state)


def test_a_program_goes_on_with_what_joins_the_ranks_now() -> None:
    """Another exchange for the same rows, as after a rank was lost and came back, needs no other program."""

    def run(communicator: Any) -> Any:
        model = model_with_norms()
        step = step_of(model, communicator)
        lists: list[list[str]] = [[], [], [], []]
        for (x, y), calls in zip(images_of(4), lists, strict=True):
            stepped(step, shard_of(communicator, calls), x, y)
        return lists, [compilation.reason for compilation in step.compilations]

    ((_, second, third, fourth), reasons), _ = run_threads(2, run)
    assert second == third == fourth != []
    assert reasons == ["first call"]


class Prepared(Counted):
    """An exchange whose sums lie in the same arrays at each call, as those of `Communicator.prepared` do."""

    def prepared(self, likes: Any) -> Any:
        self._calls.append("prepared")
        held = tuple(np.empty(one.shape, one.dtype) for one in likes)

        def summed(arrays: Any) -> Any:
            for place, one in zip(held, self._communicator.sum(arrays), strict=True):
                place[...] = one
            return held

        return summed


def test_sums_are_prepared_once_for_all_steps_and_are_those_of_each_step() -> None:
    def run(communicator: Any) -> Any:
        states, calls = [], []
        for kind in (Counted, Prepared):
            calls.clear()
            exchange, model = kind(communicator, calls), model_with_norms()
            step = step_of(model, exchange_of(exchange, communicator))
            for x, y in images_of(4):
                stepped(step, replace(shard_of(communicator, []), exchange=exchange), x, y)
            states.append([*state_of(model), *(p.grad.numpy().copy() for p in model.parameters())])
        return states, calls.count("prepared")

    for (plain, prepared), count in run_threads(2, run):
        assert_same_bits(plain, prepared)
        assert count == 6  # the number of labels, two sums of each batch norm, and the gradients


def exchange_of(exchange: Any, communicator: Any) -> Any:
    """Return an exchange that says how many ranks there are, too."""
    exchange.size = communicator.size
    return exchange


def test_other_rows_are_another_program() -> None:
    def run(communicator: Any) -> list[str]:
        model = model_with_norms()
        step = step_of(model, communicator)
        ((x, y),) = images_of(1)
        for first in (0, 0, 2, 2, 0):  # ranks 0 and 1 have 4 and 4 rows, then 2 and 6
            start, end = ((0, 4 - first), (4 - first, 8))[communicator.rank]
            stepped(step, Shard(start, end - start, ROWS, communicator), x, y)
        return [compilation.reason for compilation in step.compilations]

    first, _ = run_threads(2, run)
    assert first[0] == "first call"
    assert len(first) == 2


@pytest.mark.slow
def test_two_threads_give_the_bits_of_one() -> None:
    def run(communicator: Any) -> list[Any]:
        found = []
        for threads in (1, 2):
            model = nn.Sequential(
                *(nn.Conv2d(1, 16, 3, padding=1, rng=0), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(16, 16, 3, padding=1, rng=1), nn.BatchNorm2d(16), nn.ReLU()),
                *(nn.Flatten(), nn.Linear(16 * 14 * 14, 3, rng=2)),
            )
            step = step_of(model, communicator, threads)
            for x, y in images_of(3, 28):
                stepped(step, shard_of(communicator, []), x, y)
            found.append(state_of(model))
        return found

    ranks = run_threads(2, run)
    for state in ranks[0][1:] + ranks[1]:
        assert_same_bits(ranks[0][0], state)


class Broken(ValueError):
    """What an exchange raises when a rank is lost."""


def test_an_error_of_an_exchange_is_told_as_it_is_and_nothing_has_changed() -> None:
    def run(communicator: Any) -> Any:
        model = model_with_norms()
        step = step_of(model, communicator)
        data = images_of(4)
        for x, y in data[:3]:
            stepped(step, shard_of(communicator, []), x, y)
        before = state_of(model)
        calls: list[str] = []
        shard = shard_of(communicator, calls)

        class Ends(Counted):
            def sum(self, arrays: Any) -> Any:
                if len(calls) == 3:
                    raise Broken("a rank is lost")
                return super().sum(arrays)

        with pytest.raises(Broken, match="a rank is lost"):
            stepped(step, replace(shard, exchange=Ends(communicator, calls)), *data[3])
        assert_same_bits(before, state_of(model))
        assert len(calls) == 3  # nothing was exchanged a second time
        stepped(step, shard, *data[3])
        return calls, len(step.compilations), state_of(model)

    (calls, count, state), (_, _, other) = run_threads(2, run)
    assert calls[3:6] == calls[:3]
    assert count == 1
    assert_same_bits(state, other)


def test_a_batch_whose_gradients_are_only_added_ends_with_an_agreement() -> None:
    def run(communicator: Any) -> Any:
        model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Tanh(), nn.Linear(3, 3, rng=1))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        gradients = GradientSum(model.named_parameters(), communicator, communicator.size)
        first = jit(step_functions(model, nn.MSELoss(), optimizer, None, gradients).first)
        seen: list[list[str]] = []
        for number in range(4):
            calls: list[str] = []
            shard = shard_of(communicator, calls)
            x = np.random.default_rng(number).standard_normal((shard.rows, 4), np.float32)
            if number == 2 and communicator.rank == 1:
                x[0] = np.nan
            with sharded(shard):
                first(Tensor(x), Tensor(np.zeros((shard.rows, 3), np.float32)), 0.5)
            seen.append(calls)
        return seen

    one, other = run_threads(2, run)
    assert one == other
    assert one[1] == one[3] == ["any"]
    assert one[2][0] == "any"  # the one with NaN says so, and both run the call as it is


def test_code_of_a_program_that_exchanges_is_found_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_CACHE", str(tmp_path))

    def run(communicator: Any) -> list[Any]:
        model = model_with_norms()
        step = step_of(model, communicator)
        for x, y in images_of(2):
            stepped(step, shard_of(communicator, []), x, y)
        return state_of(model)

    (first,) = run_threads(1, run)
    files = sorted(path.name for path in tmp_path.rglob("*"))
    made: list[Any] = []
    monkeypatch.setattr(machine, "_object_of", made.append)
    (again,) = run_threads(1, run)
    assert files == sorted(path.name for path in tmp_path.rglob("*")) != []
    assert made == []
    assert_same_bits(first, again)
