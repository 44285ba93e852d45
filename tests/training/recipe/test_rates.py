"""The learning rates before a training: those that stepping gives, and nothing is changed by asking."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn, optim
from tinygrad_mnist.training import RECIPES, SCHEDULES
from tinygrad_mnist.training.recipe.choices import build_optimizer, build_schedule
from tinygrad_mnist.training.recipe.rates import ASCII_BLOCKS, BLOCKS, rates_line, schedule_rates

STEPS = 12


class Halving:
    """A schedule of a user's own, with nothing but `step`."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        self.optimizer, self.steps = optimizer, 0

    def step(self) -> None:
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.5


def in_turn(optimizer: optim.Optimizer) -> optim.LRScheduler:
    warm_up = optim.LinearLR(optimizer, start_factor=0.1, total_iters=4)
    return optim.SequentialLR(optimizer, [warm_up, optim.ExponentialLR(optimizer, 0.5)], milestones=[4])


class Doubling(optim.LRScheduler):
    """A schedule of a user's own, by a formula."""

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr * 2**epoch


class Slowed(optim.LRScheduler):
    """A schedule of a user's own, with a way of its own to step."""

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr / (1 + epoch)

    def step(self) -> None:
        super().step()
        self.optimizer.param_groups[0]["lr"] *= 0.5


OWN: dict[str, Callable[[optim.Optimizer], Any]] = {
    "step": lambda optimizer: optim.StepLR(optimizer, 3, gamma=0.1),
    "one cycle": lambda optimizer: optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=STEPS),
    "in turn": in_turn,
    "a user's own": Halving,
    "a user's formula": Doubling,
    "a user's step": Slowed,
    "none": lambda optimizer: None,
}


def stepped(optimizer: optim.Optimizer, schedule: Any, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        if schedule is not None and len(rates) < STEPS:  # a cycle has no more
            schedule.step()
    return rates


@pytest.mark.parametrize("make", OWN.values(), ids=OWN)
@pytest.mark.parametrize("done", [0, 5])
def test_the_rates_are_those_of_stepping_and_stepping_is_not_changed_by_asking(
    make: Callable[[optim.Optimizer], Any], done: int
) -> None:
    optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.5, momentum=0.9)
    schedule = make(optimizer)
    stepped(optimizer, schedule, done)
    before = [{**group} for group in optimizer.param_groups]
    rates = schedule_rates(optimizer, STEPS - done, schedule)
    assert [{**group} for group in optimizer.param_groups] == before
    assert stepped(optimizer, schedule, STEPS - done) == rates.tolist()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 7])
def test_the_rates_of_a_recipe_need_no_model(name: str, steps: int) -> None:
    recipe = RECIPES["mlp"].changed(schedule=name)
    optimizer = build_optimizer(recipe, nn.Linear(2, 2))
    schedule = build_schedule(recipe, optimizer, steps)
    expected = []
    for step in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        if schedule is not None and step < steps - 1:
            schedule.step()
    assert schedule_rates(recipe, steps).tolist() == expected


def test_points_are_evenly_spaced_steps_the_first_and_the_last_among_them() -> None:
    optimizer = optim.SGD(nn.Linear(3, 2).parameters(), lr=0.5)
    for schedule in (optim.ExponentialLR(optimizer, 0.9), Halving(optimizer)):
        every = schedule_rates(optimizer, 101, schedule)
        assert (
            schedule_rates(optimizer, 101, schedule, points=5).tolist()
            == every[[0, 25, 50, 75, 100]].tolist()
        )
        assert schedule_rates(optimizer, 3, schedule, points=5).tolist() == every[:3].tolist()


def test_asking_draws_nothing_from_the_generator_of_the_models() -> None:
    drawn = []
    for ask in (False, True):
        nn.manual_seed(3)
        if ask:
            schedule_rates(RECIPES["mlp"], 3)
        drawn.append(nn.Linear(2, 2).weight.data.tolist())
    assert drawn[0] == drawn[1]


def test_what_has_no_rates_is_refused() -> None:
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    schedule = optim.StepLR(optimizer, 3)
    with pytest.raises(TypeError, match="of a Recipe or an Optimizer, not of a StepLR"):
        schedule_rates(schedule, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a recipe has its own schedule"):
        schedule_rates(RECIPES["mlp"], 3, schedule)
    with pytest.raises(ValueError, match="not -1"):
        schedule_rates(optimizer, -1)
    assert schedule_rates(optimizer, 0).tolist() == []


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([0.1], "0.1"),
        ([0.0, 0.0], "0"),
        ([1, 0.5, 0.25], "1 down to 0.25  █▅▃"),
        ([0.5, 0.5, 1], "0.5 up to 1  ▅▅█"),
        ([0.5, 1, 1, 0], "0.5 up to 1, down to 0  ▅██▁"),
        ([1, 0, 1, 0], "from 1 to 0, between 0 and 1  █▁█▁"),
        ([1, 0, 0.5], "from 1 to 0.5, between 0 and 1  █▁▅"),
    ],
)
def test_the_course_of_the_rate_is_said_in_words(rates: list[float], text: str) -> None:
    assert rates_line(rates) == f"learning rate {text}"


def test_a_picture_has_the_signs_that_can_be_written_and_no_more_than_asked_for() -> None:
    rates = np.linspace(1, 0, 1000)
    for encoding, signs in (("utf-8", BLOCKS), ("cp1252", ASCII_BLOCKS)):
        picture = rates_line(rates, encoding, width=16).split("  ")[1]
        assert list(dict.fromkeys(picture)) == list(reversed(signs))
        assert len(picture) == 16


def test_a_training_of_no_steps_has_no_course() -> None:
    assert rates_line([]) == "learning rate: no steps"
