"""Schedules: what they set, states, errors. Their numbers are held to PyTorch's in test_reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.optim.problem import SCHEDULES
from tinygrad_mnist import Tensor, optim


def optimizer_with(*rates: float, kind: Callable[..., optim.Optimizer] = optim.SGD) -> optim.Optimizer:
    return kind([{"params": [Tensor(np.zeros(1), requires_grad=True)], "lr": lr} for lr in rates])


def sequence(optimizer: optim.Optimizer) -> optim.SequentialLR:
    parts = [optim.LinearLR(optimizer, total_iters=4), optim.StepLR(optimizer, step_size=3)]
    return optim.SequentialLR(optimizer, parts, milestones=[4])


MAKERS: dict[str, Callable[[optim.Optimizer], optim.LRScheduler]] = {
    name: lambda optimizer, kind=kind, options=options: getattr(optim, kind)(optimizer, **options)
    for name, (kind, options) in SCHEDULES.items()
} | {"sequence": sequence}
every_schedule = pytest.mark.parametrize("name", MAKERS)


def rates_of(schedule: optim.LRScheduler, steps: int) -> list[list[float]]:
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr())
        schedule.step()
    return found


@every_schedule
def test_the_rates_reported_are_those_of_the_groups(name: str) -> None:
    schedule = MAKERS[name](optimizer_with(0.4, 0.1))
    for _ in range(20):
        assert schedule.get_last_lr() == [group["lr"] for group in schedule.optimizer.param_groups]
        schedule.step()


@every_schedule
def test_a_state_goes_through_json_and_is_gone_on_with(name: str) -> None:
    schedule = MAKERS[name](optimizer_with(0.4, 0.1))
    rates_of(schedule, 6)
    state = json.loads(json.dumps(schedule.state_dict()))
    other = MAKERS[name](optimizer_with(7.0, 8.0))
    other.load_state_dict(state)
    assert rates_of(other, 20) == rates_of(schedule, 20)


@every_schedule
def test_a_kept_state_stays_what_it_was(name: str) -> None:
    schedule = MAKERS[name](optimizer_with(0.4))
    state = schedule.state_dict()
    before = json.dumps(state)
    rates_of(schedule, 6)
    assert json.dumps(state) == before


def test_rates_of_groups_keep_their_ratio() -> None:
    schedule = optim.CosineAnnealingLR(optimizer_with(0.4, 0.1), T_max=10)
    assert all(first == pytest.approx(4 * second) for first, second in rates_of(schedule, 10))


def test_one_cycle_takes_a_rate_for_each_group() -> None:
    optimizer = optimizer_with(1.0, 1.0)
    rates = rates_of(optim.OneCycleLR(optimizer, max_lr=[0.5, 0.2], total_steps=20), 20)
    assert np.max(rates, axis=0) == pytest.approx([0.5, 0.2])


def test_one_cycle_moves_the_first_beta_of_adam_alone() -> None:
    optimizer = optimizer_with(1.0, kind=optim.AdamW)
    schedule = optim.OneCycleLR(optimizer, max_lr=0.1, total_steps=20, pct_start=0.5)
    betas = []
    for _ in range(20):
        betas.append(optimizer.param_groups[0]["betas"])
        schedule.step()
    assert min(betas) == (pytest.approx(0.85), 0.999)
    assert max(betas) == (pytest.approx(0.95), 0.999)


def test_one_cycle_stays_at_its_end() -> None:
    schedule = optim.OneCycleLR(optimizer_with(1.0), max_lr=0.1, total_steps=5, anneal_strategy="linear")
    rates = rates_of(schedule, 9)
    assert rates[4:] == [pytest.approx([0.1 / 25 / 1e4])] * 5


@pytest.mark.parametrize("pct_start", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("three_phase", [False, True])
def test_a_phase_of_one_cycle_may_be_empty(pct_start: float, three_phase: bool) -> None:
    schedule = optim.OneCycleLR(
        optimizer_with(1.0), max_lr=0.1, total_steps=10, pct_start=pct_start, three_phase=three_phase
    )
    assert all(0 < rate <= 0.1 + 1e-12 for (rate,) in rates_of(schedule, 12))


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize("pct_start", [0.0, 0.3, 0.5, 0.55, 0.8, 1.0])
def test_one_cycle_ends_with_its_last_step_whatever_its_phases(
    pct_start: float, anneal_strategy: str, three_phase: bool
) -> None:
    for total in (1, 2, 3, 10):
        optimizer = optim.SGD([Tensor(1.0, requires_grad=True)], momentum=0.9)
        schedule = optim.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=total,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            three_phase=three_phase,
        )
        rates, momenta = [], []
        for _ in range(2 * total + 3):
            rates += schedule.get_last_lr()
            momenta.append(optimizer.param_groups[0]["momentum"])
            schedule.step()
        assert rates[total - 1 :] == [pytest.approx(1 / 25 / 1e4)] * (total + 4)
        assert momenta[total - 1 :] == [0.95] * (total + 4)
        assert min(rates[: total - 1], default=1) > 1 / 25 / 1e4


def test_the_next_of_a_sequence_begins_at_its_milestone() -> None:
    optimizer = optimizer_with(1.0)
    parts = [
        optim.LinearLR(optimizer, start_factor=0.5, total_iters=4),
        optim.ExponentialLR(optimizer, gamma=0.1),
    ]
    schedule = optim.SequentialLR(optimizer, parts, milestones=[2])
    np.testing.assert_allclose(np.ravel(rates_of(schedule, 4)), [0.5, 0.625, 1.0, 0.1])


def test_a_schedule_goes_on_from_a_loaded_optimizer() -> None:
    optimizer = optimizer_with(0.4)
    schedule = optim.ExponentialLR(optimizer, gamma=0.5)
    rates_of(schedule, 3)
    other = optimizer_with(9.0)
    other.load_state_dict(optimizer.state_dict())
    assert optim.ExponentialLR(other, gamma=0.5, last_epoch=2).get_last_lr() == schedule.get_last_lr()


def test_going_on_without_an_initial_rate_is_an_error() -> None:
    with pytest.raises(ValueError, match="group 0 has no 'initial_lr'"):
        optim.ExponentialLR(optimizer_with(0.4), gamma=0.5, last_epoch=2)


def test_a_group_that_comes_later_is_an_error() -> None:
    optimizer = optimizer_with(0.4)
    schedule = optim.StepLR(optimizer, step_size=3)
    optimizer.add_param_group({"params": [Tensor(np.zeros(1), requires_grad=True)]})
    with pytest.raises(RuntimeError, match="the optimiser has 2 parameter groups, and had 1"):
        schedule.step()


def test_the_repr_shows_the_settings() -> None:
    schedule = optim.StepLR(optimizer_with(0.4), step_size=3)
    assert repr(schedule) == "StepLR(step_size=3, gamma=0.1, last_epoch=0)"


def test_one_error_lists_every_mismatch() -> None:
    schedule = optim.StepLR(optimizer_with(0.4), step_size=3)
    state = optim.ExponentialLR(optimizer_with(0.4, 0.1), gamma=0.5).state_dict()
    with pytest.raises(ValueError, match="does not fit this StepLR") as raised:
        schedule.load_state_dict({**state, "colour": "red"})
    assert str(raised.value).splitlines()[1:] == [
        "  - 'step_size' is missing",
        "  - 'colour' is unexpected",
        "  - it is for 2 parameter groups, the optimiser has 1",
    ]


def test_a_sequence_of_another_length_is_an_error() -> None:
    optimizer = optimizer_with(0.4)
    single = optim.SequentialLR(optimizer, [optim.LinearLR(optimizer)], milestones=[])
    with pytest.raises(ValueError, match="it has 1 schedules, this one 2"):
        sequence(optimizer_with(0.4)).load_state_dict(single.state_dict())


def test_a_mismatch_within_a_sequence_names_the_schedule() -> None:
    optimizer = optimizer_with(0.4)
    parts = [optim.LinearLR(optimizer, total_iters=4), optim.ExponentialLR(optimizer, gamma=0.5)]
    state = optim.SequentialLR(optimizer, parts, milestones=[4]).state_dict()
    with pytest.raises(ValueError, match="does not fit this SequentialLR") as raised:
        sequence(optimizer_with(0.4)).load_state_dict(state)
    assert str(raised.value).splitlines()[1:] == ["  - schedule 1: 'step_size' is missing"]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("StepLR", {"step_size": 0}, "step_size must be at least 1, not 0"),
        ("StepLR", {"step_size": 1.5}, "step_size must be a whole number"),
        ("ExponentialLR", {"gamma": -1.0}, "gamma must be"),
        ("CosineAnnealingLR", {"T_max": 0}, "T_max must be at least 1"),
        ("LinearLR", {"start_factor": 0.0}, "start_factor must be above 0"),
        ("LinearLR", {"end_factor": 2.0}, "end_factor must be at least 0 and at most 1"),
        ("OneCycleLR", {"max_lr": 0.1}, "needs total_steps, or epochs and steps_per_epoch"),
        ("OneCycleLR", {"max_lr": 0.1, "epochs": 3}, "needs total_steps, or epochs and steps_per_epoch"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 0}, "total_steps must be at least 1"),
        ("OneCycleLR", {"max_lr": [0.1, 0.2], "total_steps": 9}, "max_lr has 2 values, the optimiser 1"),
        ("OneCycleLR", {"max_lr": -0.1, "total_steps": 9}, "max_lr must be"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "pct_start": 2}, "pct_start must be"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "div_factor": 0}, "div_factor must be above 0"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 9, "max_momentum": 1}, "max_momentum must be"),
        (
            "OneCycleLR",
            {"max_lr": 0.1, "total_steps": 9, "anneal_strategy": "sin"},
            "must be 'cos' or 'linear'",
        ),
    ],
)
def test_wrong_settings_are_errors(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(optim, kind)(optimizer_with(0.4), **options)


@pytest.mark.parametrize(
    ("milestones", "message"),
    [([], "2 schedules need 1 milestones"), ([0], "a milestone must be at least 1"), ([1, 2], "not 2")],
)
def test_wrong_milestones_are_errors(milestones: list[int], message: str) -> None:
    optimizer = optimizer_with(0.4)
    parts = [optim.LinearLR(optimizer), optim.StepLR(optimizer, step_size=3)]
    with pytest.raises(ValueError, match=message):
        optim.SequentialLR(optimizer, parts, milestones)


def test_a_schedule_of_another_optimizer_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"schedule 0 \(LinearLR\) is for another optimiser"):
        optim.SequentialLR(optimizer_with(0.4), [optim.LinearLR(optimizer_with(0.4))], [])


def test_only_an_optimizer_gets_a_schedule() -> None:
    with pytest.raises(TypeError, match="made for an Optimizer, not for a str"):
        optim.StepLR("SGD", step_size=3)  # type: ignore[arg-type]


class ByFunction(optim.LRScheduler):
    """A schedule with functions, as PyTorch's LambdaLR."""

    def __init__(self, optimizer: optim.Optimizer, function: Any) -> None:
        self.function, self.by_name, self.count = function, {"first": function}, 0
        super().__init__(optimizer)

    def step(self) -> None:
        self.count += 1
        super().step()

    def rate(self, base_lr: float, epoch: int) -> float:
        function = self.function[0] if isinstance(self.function, list) else self.function
        return base_lr * float(function(epoch))


def halved(epoch: int) -> float:
    return 0.5**epoch


@pytest.mark.parametrize("function", [halved, [halved], partial(pow, 0.5)], ids=["one", "a list", "partial"])
@pytest.mark.parametrize("inner", [False, True], ids=["alone", "in a sequence"])
def test_functions_are_no_part_of_a_state(function: Any, inner: bool) -> None:
    def made() -> optim.LRScheduler:
        optimizer = optimizer_with(0.4)
        own = ByFunction(optimizer, function)
        if not inner:
            return own
        return optim.SequentialLR(optimizer, [own, optim.LinearLR(optimizer)], milestones=[9])

    schedule, other = made(), made()
    rates_of(schedule, 3)
    other.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    assert other.get_last_lr() == schedule.get_last_lr() == [0.05]
    assert rates_of(other, 3) == rates_of(schedule, 3)
    assert other.state_dict() == schedule.state_dict()
