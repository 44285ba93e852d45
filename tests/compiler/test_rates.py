"""Learning rates and counts of schedules that a step reads are those of each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import World, batches, equal_to_eager, plain_network
from tinygrad_mnist import JitError, jit, nn, optim

Read = Callable[[Any, Any], Any]


def world(decorate: Any, read: Read, *, before: bool = False, make: Any = None) -> World:
    """Return a step that reads something of its optimiser and its schedule, before or after it moves both."""
    model = plain_network()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    schedule = optim.StepLR(optimizer, step_size=2) if make is None else make(optimizer)

    @decorate
    def step(x: Any, y: Any) -> Any:
        found = read(optimizer, schedule) if before else None
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss, found if before else read(optimizer, schedule)

    return World(step, model, optimizer, schedule)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "read",
    [
        lambda optimizer, schedule: schedule.get_last_lr(),
        lambda optimizer, schedule: optimizer.param_groups[0]["lr"] * 2,
        lambda optimizer, schedule: {"lr": schedule.get_last_lr()[0], "epoch": schedule.last_epoch},
        lambda optimizer, schedule: isinstance(schedule.last_epoch, int),
    ],
)
def test_a_number_that_is_read_is_that_of_each_call(read: Read, before: bool) -> None:
    equal_to_eager(lambda decorate: world(decorate, read, before=before), batches(5))


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=20),
        lambda optimizer: optim.SequentialLR(
            optimizer, [optim.LinearLR(optimizer), optim.ExponentialLR(optimizer, gamma=0.5)], [2]
        ),
    ],
)
def test_the_rate_after_a_step_of_each_kind_of_schedule(make: Any) -> None:
    equal_to_eager(lambda decorate: world(decorate, lambda o, s: s.get_last_lr(), make=make), batches(5))


@pytest.mark.parametrize(
    ("read", "compilations"),
    [
        (lambda optimizer, schedule: float(schedule.get_last_lr()[0]), 3),
        (lambda optimizer, schedule: np.array(schedule.get_last_lr()), 3),
        (lambda optimizer, schedule: schedule.last_epoch % 2, 5),
        (lambda optimizer, schedule: 1.0 if schedule.last_epoch < 3 else 2.0, 2),
        (lambda optimizer, schedule: max(optimizer.param_groups[0]["lr"], 0.01), 2),
    ],
)
def test_what_is_decided_by_a_number_is_compiled_anew_where_it_comes_out_otherwise(
    read: Read, compilations: int
) -> None:
    equal_to_eager(lambda decorate: world(decorate, read), batches(5), compilations=compilations)


def test_a_rate_that_a_user_sets_between_calls_is_read() -> None:
    def between(each: World, i: int) -> None:
        each.optimizer.param_groups[0]["lr"] = 0.1 * (i + 1)

    equal_to_eager(
        lambda decorate: world(decorate, lambda o, s: o.param_groups[0]["lr"], before=True),
        batches(4),
        between=between,
    )


def test_a_rate_that_the_step_sets_is_refused() -> None:
    made = world(jit, lambda optimizer, schedule: optimizer.param_groups[0].__setitem__("lr", 0.1))
    with pytest.raises(JitError, match="sets 'lr'"):
        made.step(*batches(1)[0])
    assert made.optimizer.param_groups[0]["lr"] == 0.5


def test_a_number_is_returned_twice() -> None:
    model = nn.Linear(2, 1, rng=0)

    @jit
    def f(x: Any) -> Any:
        np.sum(model(x)).backward()
        norm = optim.clip_grad_norm_(model.parameters(), 1.0)
        return norm, norm

    x = np.ones((2, 2), np.float32)
    first = f(x)
    model.zero_grad()
    assert f(x) == pytest.approx(first)
