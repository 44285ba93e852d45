"""50 steps of each optimiser and schedule against PyTorch: recorded numbers, and itself where installed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.optim import problem
from tinygrad_mnist import Tensor, optim

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-6


def run_optimizer(kind: str, options: dict[str, Any], order: Any = "C") -> dict[int, Any]:
    starts = [np.array(value, order=order) for value in problem.start_values()]
    parameters = [Tensor(value, requires_grad=True) for value in starts]
    optimizer = getattr(optim, kind)(parameters, **options)
    recorded = {}
    for step in range(1, problem.STEPS + 1):
        for k, parameter in enumerate(parameters):
            gradient = problem.gradient(parameter.data, k, step)
            parameter.grad = None if gradient is None else Tensor(gradient)
        optimizer.step()
        recorded[step] = np.concatenate([parameter.data.ravel() for parameter in parameters])
    return recorded


def schedule_for(kind: str, options: dict[str, Any]) -> optim.LRScheduler:
    optimizer = optim.SGD([Tensor(np.zeros(1), requires_grad=True)], lr=0.4, momentum=0.5)
    schedule = getattr(optim, kind)(optimizer, **options)
    assert isinstance(schedule, optim.LRScheduler)
    return schedule


def run_schedule(kind: str, options: dict[str, Any]) -> tuple[list[float], list[float]]:
    schedule = schedule_for(kind, options)
    rates, momenta = [], []
    for _ in range(problem.STEPS):
        rates += schedule.get_last_lr()
        momenta.append(schedule.optimizer.param_groups[0]["momentum"])
        schedule.step()
    return rates, momenta


def test_every_recorded_case_is_still_run() -> None:
    assert REFERENCE["optimizers"].keys() == problem.OPTIMIZERS.keys()
    assert REFERENCE["schedules"].keys() == problem.SCHEDULES.keys()


def subclasses(base: type) -> set[str]:
    public = [getattr(optim, name) for name in optim.__all__]
    return {c.__name__ for c in public if isinstance(c, type) and issubclass(c, base) and c is not base}


def test_every_optimizer_and_schedule_of_the_package_has_a_case() -> None:
    assert {kind for kind, _ in problem.OPTIMIZERS.values()} == subclasses(optim.Optimizer)
    of_several = {"SequentialLR"}  # it is made of other schedules, and has a test of its own
    assert {kind for kind, _ in problem.SCHEDULES.values()} == subclasses(optim.LRScheduler) - of_several


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("name", problem.OPTIMIZERS)
def test_an_optimizer_gives_the_recorded_values(name: str, order: str) -> None:
    found = run_optimizer(*problem.OPTIMIZERS[name], order=order)
    for step, expected in REFERENCE["optimizers"][name].items():
        np.testing.assert_allclose(found[int(step)], expected, rtol=TOLERANCE, err_msg=f"after step {step}")


@pytest.mark.parametrize("name", problem.SCHEDULES)
def test_a_schedule_gives_the_recorded_rates(name: str) -> None:
    rates, momenta = run_schedule(*problem.SCHEDULES[name])
    recorded = REFERENCE["schedules"][name]
    np.testing.assert_allclose(rates, recorded["lr"], rtol=TOLERANCE)
    np.testing.assert_allclose(momenta, np.broadcast_to(recorded["momentum"], len(momenta)), rtol=TOLERANCE)


# What follows runs PyTorch.


def torch_parameters(torch: Any) -> list[Any]:
    return [torch.nn.Parameter(torch.from_numpy(np.array(value))) for value in problem.start_values()]


def torch_step(torch: Any, optimizer: Any, parameters: list[Any], step: int) -> None:
    for k, parameter in enumerate(parameters):
        gradient = problem.gradient(parameter.detach().numpy(), k, step)
        parameter.grad = None if gradient is None else torch.from_numpy(gradient)
    optimizer.step()


def our_step(optimizer: optim.Optimizer, step: int) -> None:
    for k, parameter in enumerate(optimizer.param_groups[0]["params"]):
        gradient = problem.gradient(parameter.data, k, step)
        parameter.grad = None if gradient is None else Tensor(gradient)
    optimizer.step()


def assert_same(parameters: Any, torch_parameters: list[Any]) -> None:
    for ours, theirs in zip(parameters, torch_parameters, strict=True):
        np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=TOLERANCE)


@pytest.mark.peers
@pytest.mark.parametrize("name", problem.OPTIMIZERS)
def test_an_optimizer_agrees_with_torch_in_every_step(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options = problem.OPTIMIZERS[name]
    theirs = torch_parameters(torch)
    ours = [Tensor(value, requires_grad=True) for value in problem.start_values()]
    their_optimizer = getattr(torch.optim, kind)(theirs, **options)
    our_optimizer = getattr(optim, kind)(ours, **options)
    for step in range(1, problem.STEPS + 1):
        torch_step(torch, their_optimizer, theirs, step)
        our_step(our_optimizer, step)
        assert_same(ours, theirs)


@pytest.mark.peers
@pytest.mark.parametrize("name", problem.OPTIMIZERS)
def test_a_state_of_torch_is_gone_on_with(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options = problem.OPTIMIZERS[name]
    theirs = torch_parameters(torch)
    their_optimizer = getattr(torch.optim, kind)(theirs, **options)
    for step in range(1, 11):
        torch_step(torch, their_optimizer, theirs, step)
    ours = [Tensor(parameter.detach().numpy().copy(), requires_grad=True) for parameter in theirs]
    our_optimizer = getattr(optim, kind)(ours, lr=123.0)
    our_optimizer.load_state_dict(their_optimizer.state_dict())
    for step in range(11, 31):
        torch_step(torch, their_optimizer, theirs, step)
        our_step(our_optimizer, step)
    assert_same(ours, theirs)


@pytest.mark.peers
@pytest.mark.parametrize("name", problem.OPTIMIZERS)
def test_a_state_has_the_entries_and_values_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    kind, options = problem.OPTIMIZERS[name]
    theirs = torch_parameters(torch)
    their_optimizer = getattr(torch.optim, kind)(theirs, **options)
    ours = [Tensor(value, requires_grad=True) for value in problem.start_values()]
    our_optimizer = getattr(optim, kind)(ours, **options)
    for step in range(1, 6):
        torch_step(torch, their_optimizer, theirs, step)
        our_step(our_optimizer, step)
    expected, found = their_optimizer.state_dict(), our_optimizer.state_dict()
    for ours_group, their_group in zip(found["param_groups"], expected["param_groups"], strict=True):
        assert {key: their_group[key] for key in ours_group} == ours_group
    assert {index: set(entry) for index, entry in found["state"].items()} == {
        index: set(entry) for index, entry in expected["state"].items()
    }
    for index, entry in expected["state"].items():
        for key, value in entry.items():
            np.testing.assert_allclose(found["state"][index][key], value, rtol=TOLERANCE)


@pytest.mark.peers
@pytest.mark.parametrize("kind", sorted(subclasses(optim.Optimizer)))
def test_an_optimizer_under_one_cycle_agrees_with_torch(kind: str) -> None:
    """The schedule moves the momentum in every step, and the second parameter is skipped in some."""
    torch = pytest.importorskip("torch")
    options = {"momentum": 0.5} if "momentum" in getattr(optim, kind).option_checks else {}
    theirs = torch_parameters(torch)
    ours = [Tensor(value, requires_grad=True) for value in problem.start_values()]
    their_optimizer = getattr(torch.optim, kind)(theirs, **options)
    our_optimizer = getattr(optim, kind)(ours, **options)
    their_schedule = torch.optim.lr_scheduler.OneCycleLR(their_optimizer, max_lr=0.1, total_steps=50)
    our_schedule = optim.OneCycleLR(our_optimizer, max_lr=0.1, total_steps=50)
    for step in range(1, problem.STEPS + 1):
        torch_step(torch, their_optimizer, theirs, step)
        our_step(our_optimizer, step)
        their_schedule.step()
        our_schedule.step()
        assert_same(ours, theirs)


@pytest.mark.peers
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_agrees_with_torch_where_that_comes_to_its_end(
    anneal_strategy: str, three_phase: bool
) -> None:
    """With a larger pct_start, three phases of PyTorch's take longer than the cycle."""
    torch = pytest.importorskip("torch")
    for total, pct_start in itertools.product((2, 3, 10, 11), (0.0, 0.3, 0.45)):
        options = dict(
            max_lr=1.0,
            total_steps=total,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            three_phase=three_phase,
        )
        theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], momentum=0.5)
        ours = optim.SGD([Tensor(np.zeros(1), requires_grad=True)], momentum=0.5)
        their_schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, **options)
        our_schedule = optim.OneCycleLR(ours, **options)
        for _ in range(total):
            expected, found = theirs.param_groups[0], ours.param_groups[0]
            assert found["lr"] == pytest.approx(expected["lr"], rel=1e-9)
            assert found["momentum"] == pytest.approx(expected["momentum"], rel=1e-9)
            theirs.step()
            their_schedule.step()
            our_schedule.step()


@pytest.mark.peers
def test_a_sequence_of_schedules_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    rates: list[list[float]] = []
    for library, schedules, parameter in (
        (torch.optim, torch.optim.lr_scheduler, torch.nn.Parameter(torch.zeros(1))),
        (optim, optim, Tensor(np.zeros(1), requires_grad=True)),
    ):
        optimizer = library.SGD([parameter], lr=0.4)
        parts = [
            schedules.LinearLR(optimizer, start_factor=0.2, total_iters=4),
            schedules.CosineAnnealingLR(optimizer, T_max=12, eta_min=0.1),
            schedules.StepLR(optimizer, step_size=3),
        ]
        schedule = schedules.SequentialLR(optimizer, parts, milestones=[4, 16])
        rates.append([])
        for _ in range(30):
            rates[-1].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    np.testing.assert_allclose(rates[1], rates[0], rtol=TOLERANCE)


@pytest.mark.peers
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_the_norm_agrees_with_torch(norm_type: float, max_norm: float) -> None:
    torch = pytest.importorskip("torch")
    theirs = torch_parameters(torch)
    ours = [Tensor(value, requires_grad=True) for value in problem.start_values()]
    for their_parameter, parameter in zip(theirs, ours, strict=True):
        their_parameter.grad = torch.from_numpy(np.asarray(3 * parameter.data))
        parameter.grad = Tensor(3 * parameter.data)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert optim.clip_grad_norm_(ours, max_norm, norm_type) == pytest.approx(float(expected), rel=1e-12)
    for their_parameter, parameter in zip(theirs, ours, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.data, their_parameter.grad.numpy(), rtol=1e-12)
