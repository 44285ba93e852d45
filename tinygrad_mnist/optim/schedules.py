"""Learning rates that change from step to step: the base of all schedules, and the schedules.

A schedule is a formula: the rate as a function of the number of steps and of the initial rate. Nothing is
accumulated, so a schedule can be set to any step, and rounding errors do not add up.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.optim.optimizer import Optimizer, require_flag, require_integer, require_number

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LinearLR",
    "OneCycleLR",
    "SequentialLR",
    "StepLR",
]


class LRScheduler:
    """The base class of all schedules, which set the learning rate of each parameter group at every `step`.

    A subclass defines `rate`, the formula. The rate of a group is computed from its initial rate: the ``lr``
    that it had when the first schedule was made for its optimiser, kept as ``group["initial_lr"]``. So if two
    schedules step in turn, the later one decides; in PyTorch their factors multiply. `SequentialLR` puts one
    after the other.

    Parameters
    ----------
    optimizer : Optimizer
        The optimiser whose rates are set.
    last_epoch : int
        The number of the last step that was done, -1 to begin; another number continues the schedule of an
        optimiser.

    Attributes
    ----------
    last_epoch : int
        The number of calls of `step`. An epoch is whatever lies between two calls, as in PyTorch.
    base_lrs : list of float
        The initial rate of each group.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _require_optimizer(optimizer)
        self.optimizer = optimizer
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"last_epoch={last_epoch} goes on with an earlier schedule, but group {number} has "
                    "no 'initial_lr'; load the optimiser's state first, or begin with last_epoch=-1"
                )
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self._set_epoch(require_integer("last_epoch", last_epoch, -1) + 1)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return the learning rate after ``epoch`` steps, for a group whose initial rate is ``base_lr``."""
        raise NotImplementedError

    def step(self) -> None:
        """Advance by one step, and set the rates.

        Raises
        ------
        RuntimeError
            If a parameter group was added to the optimiser since the schedule was made.
        """
        if (tracing := tracer()) is not None:
            tracing.schedule_step(self)
        else:
            self._set_epoch(self.last_epoch + 1)

    def get_last_lr(self) -> list[float]:
        """Return the rate of each group that was set last."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimiser: only dicts, lists, strings and numbers, all copied.

        An attribute that is a function, or a list or a dict with one, is left out too, as in PyTorch's
        ``LambdaLR``: whoever makes the schedule gives the function.
        """
        return self._values(without={"optimizer"})

    def _values(self, without: Set[str]) -> dict[str, Any]:
        return {
            name: copy.deepcopy(value)
            for name, value in vars(self).items()
            if name not in without and not _has_function(value)
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned, with all settings, and set the rates of the optimiser by it.

        Parameters
        ----------
        state_dict : mapping
            The state of a schedule of the same class.

        Raises
        ------
        ValueError
            If it does not fit. The one message lists every mismatch, and nothing was loaded.
        """
        problems = self._mismatches(state_dict)
        if problems:
            raise ValueError(
                "\n  - ".join([f"the state does not fit this {type(self).__name__}:", *problems])
            )
        self._load(state_dict)
        self._set_epoch(self.last_epoch)

    def _mismatches(self, state_dict: Mapping[str, Any]) -> list[str]:
        own = self.state_dict().keys()
        problems = [f"{name!r} is missing" for name in own if name not in state_dict]
        problems += [
            f"{name!r} is unexpected" for name in state_dict if name not in {*own, *self._functions()}
        ]
        groups = len(state_dict.get("base_lrs", self.base_lrs))
        if groups != len(self.base_lrs):
            problems.append(f"it is for {groups} parameter groups, the optimiser has {len(self.base_lrs)}")
        return problems

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        kept = self._functions()
        vars(self).update(
            {name: copy.deepcopy(value) for name, value in state_dict.items() if name not in kept}
        )

    def _functions(self) -> set[str]:
        """Return the names of the attributes that belong to no state."""
        return {name for name, value in vars(self).items() if _has_function(value)}

    def _set_epoch(self, epoch: int) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise RuntimeError(
                f"the optimiser has {len(groups)} parameter groups, and had {len(self.base_lrs)} when this "
                f"{type(self).__name__} was made; make a new schedule"
            )
        rates = self._rates(epoch)
        for group, lr in zip(groups, rates, strict=True):
            group["lr"] = lr
        self.last_epoch = epoch
        self._last_lr = rates

    def _rates(self, epoch: int) -> list[float]:
        """Return the rate of each group after ``epoch`` steps."""
        return [self.rate(base_lr, epoch) for base_lr in self.base_lrs]

    def __repr__(self) -> str:
        """Return the settings and the number of steps."""
        settings = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and name not in {"optimizer", "base_lrs"}
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"


class StepLR(LRScheduler):
    """A rate that falls by a factor every ``step_size`` steps: ``base_lr gamma^floor(t / step_size)``.

    Parameters
    ----------
    optimizer : Optimizer
        The optimiser whose rates are set.
    step_size : int
        The number of steps between two falls, at least 1.
    gamma : float
        The factor, at least 0.
    last_epoch : int
        See `LRScheduler`.

    Examples
    --------
    >>> from tinygrad_mnist.optim import SGD, StepLR
    >>> from tinygrad_mnist import Tensor
    >>> schedule = StepLR(SGD([Tensor(1.0, requires_grad=True)], lr=8.0), step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     print(schedule.get_last_lr(), end=" ")
    ...     schedule.step()
    [8.0] [8.0] [4.0] [4.0]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = require_integer("step_size", step_size, 1)
        self.gamma = require_number("gamma", gamma, 0)
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return ``base_lr gamma^floor(epoch / step_size)``."""
        return base_lr * self.gamma ** (epoch // self.step_size)


class ExponentialLR(LRScheduler):
    """A rate that falls by a factor at every step: ``base_lr gamma^t``.

    Parameters
    ----------
    optimizer : Optimizer
        The optimiser whose rates are set.
    gamma : float
        The factor, at least 0.
    last_epoch : int
        See `LRScheduler`.

    Examples
    --------
    >>> from tinygrad_mnist.optim import SGD, ExponentialLR
    >>> from tinygrad_mnist import Tensor
    >>> schedule = ExponentialLR(SGD([Tensor(1.0, requires_grad=True)], lr=8.0), gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [4.0]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = require_number("gamma", gamma, 0)
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return ``base_lr gamma^epoch``."""
        return base_lr * self.gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """A rate that falls along half a cosine within ``T_max`` steps, and rises again after them.

    Parameters
    ----------
    optimizer : Optimizer
        The optimiser whose rates are set.
    T_max : int
        The number of steps from the initial rate to the lowest, at least 1.
    eta_min : float
        The lowest rate, at least 0.
    last_epoch : int
        See `LRScheduler`.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", ICLR,
       eq. 5; as in PyTorch, without the restarts.

    Examples
    --------
    >>> from tinygrad_mnist.optim import SGD, CosineAnnealingLR
    >>> from tinygrad_mnist import Tensor
    >>> schedule = CosineAnnealingLR(SGD([Tensor(1.0, requires_grad=True)], lr=1.0), T_max=2)
    >>> schedule.step()
    >>> [round(lr, 6) for lr in schedule.get_last_lr()]
    [0.5]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = require_integer("T_max", T_max, 1)
        self.eta_min = require_number("eta_min", eta_min, 0)
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return ``eta_min + (base_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2``."""
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class LinearLR(LRScheduler):
    """A rate that goes in a straight line from one fraction of the initial rate to another: a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
        The optimiser whose rates are set.
    start_factor : float
        The fraction at the start, above 0 and at most 1.
    end_factor : float
        The fraction after ``total_iters`` steps and from then on, from 0 to 1.
    total_iters : int
        The number of steps from the one to the other, at least 1.
    last_epoch : int
        See `LRScheduler`.

    Examples
    --------
    >>> from tinygrad_mnist.optim import SGD, LinearLR
    >>> from tinygrad_mnist import Tensor
    >>> schedule = LinearLR(SGD([Tensor(1.0, requires_grad=True)], lr=1.0), start_factor=0.5, total_iters=2)
    >>> for _ in range(4):
    ...     print(schedule.get_last_lr(), end=" ")
    ...     schedule.step()
    [0.5] [0.75] [1.0] [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = require_number("start_factor", start_factor, 0, 1)
        if self.start_factor == 0:
            raise ValueError("start_factor must be above 0; nothing would be learnt in the first step")
        self.end_factor = require_number("end_factor", end_factor, 0, 1)
        self.total_iters = require_integer("total_iters", total_iters, 1)
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return ``base_lr`` times the factor on the line at ``epoch``."""
        fraction = min(epoch, self.total_iters) / self.total_iters
        return base_lr * linear(self.start_factor, self.end_factor, fraction)


class SequentialLR(LRScheduler):
    """A sequence of schedules: each begins at its milestone, and counts its steps from 0.

    Parameters
    ----------
    optimizer : Optimizer
        The optimiser whose rates are set.
    schedulers : sequence of LRScheduler
        The schedules in their order, made for the same optimiser. Only this schedule is to be stepped.
    milestones : sequence of int
        The steps at which the second and the following ones begin, increasing.
    last_epoch : int
        See `LRScheduler`.

    Examples
    --------
    >>> from tinygrad_mnist.optim import SGD, ExponentialLR, LinearLR, SequentialLR
    >>> from tinygrad_mnist import Tensor
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], lr=1.0)
    >>> warm_up = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> schedule = SequentialLR(optimizer, [warm_up, ExponentialLR(optimizer, gamma=0.5)], milestones=[2])
    >>> for _ in range(5):
    ...     print(schedule.get_last_lr(), end=" ")
    ...     schedule.step()
    [0.5] [0.75] [1.0] [0.5] [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._schedulers = list(schedulers)
        self.milestones = [require_integer("a milestone", milestone, 1) for milestone in milestones]
        if not self._schedulers:
            raise ValueError("SequentialLR got no schedules")
        for number, schedule in enumerate(self._schedulers):
            if schedule.optimizer is not optimizer:
                raise ValueError(f"schedule {number} ({type(schedule).__name__}) is for another optimiser")
        if len(self.milestones) != len(self._schedulers) - 1:
            raise ValueError(
                f"{len(self._schedulers)} schedules need {len(self._schedulers) - 1} milestones, not "
                f"{len(self.milestones)}"
            )
        if any(
            later <= earlier for earlier, later in zip(self.milestones, self.milestones[1:], strict=False)
        ):
            raise ValueError(f"milestones must increase, not {self.milestones}")
        super().__init__(optimizer, last_epoch)

    def _set_epoch(self, epoch: int) -> None:
        schedule, own = self._schedule_at(epoch)
        schedule._set_epoch(own)
        self.last_epoch = epoch
        self._last_lr = schedule.get_last_lr()

    def _rates(self, epoch: int) -> list[float]:
        schedule, own = self._schedule_at(epoch)
        return schedule._rates(own)

    def _schedule_at(self, epoch: int) -> tuple[LRScheduler, int]:
        """Return the schedule that sets the rates after ``epoch`` steps, and its own number of steps."""
        number = bisect_right(self.milestones, epoch)
        return self._schedulers[number], epoch - (self.milestones[number - 1] if number else 0)

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the optimiser; ``"_schedulers"`` is the list of the schedules' own states."""
        own = self._values(without={"optimizer", "_schedulers"})
        return {**own, "_schedulers": [schedule.state_dict() for schedule in self._schedulers]}

    def _mismatches(self, state_dict: Mapping[str, Any]) -> list[str]:
        problems = super()._mismatches(state_dict)
        states = state_dict.get("_schedulers", [])
        if len(states) != len(self._schedulers):
            problems.append(f"it has {len(states)} schedules, this one {len(self._schedulers)}")
        for number, (schedule, state) in enumerate(zip(self._schedulers, states, strict=False)):
            problems += [f"schedule {number}: {problem}" for problem in schedule._mismatches(state)]
        return problems

    def _load(self, state_dict: Mapping[str, Any]) -> None:
        super()._load({name: value for name, value in state_dict.items() if name != "_schedulers"})
        for schedule, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            schedule._load(state)


# ---- one cycle -------------------------------------------------------------------------------------------


def cosine(start: float, end: float, fraction: float) -> float:
    """Return the value at a fraction of the way from ``start`` to ``end`` along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def linear(start: float, end: float, fraction: float) -> float:
    """Return the value at a fraction of the way from ``start`` to ``end`` in a straight line."""
    return start + (end - start) * fraction


ANNEALING: dict[str, Callable[[float, float, float], float]] = {"cos": cosine, "linear": linear}
"""The values of ``anneal_strategy``: the curves between two values."""


class OneCycleLR(LRScheduler):
    """A rate that rises to ``max_lr`` and falls far below its first value, within ``total_steps`` steps.

    The rate begins with ``max_lr / div_factor``, is largest after the fraction ``pct_start`` of the steps,
    and ends with ``max_lr / (div_factor final_div_factor)``. The momentum goes from ``max_momentum`` to
    ``base_momentum`` and back. The schedule is to be stepped after each batch. In the last step the rate is
    the lowest, and it stays so. (PyTorch raises after the last step. With three phases and a ``pct_start``
    above 0.5 the first two take longer than the cycle, and PyTorch's rate does not come to its lowest.)

    Parameters
    ----------
    optimizer : Optimizer
        The optimiser whose rates are set. Its ``lr`` does not matter.
    max_lr : float or sequence of float
        The largest rate; one for all groups, or one for each.
    total_steps : int, optional
        The number of steps of the cycle.
    epochs, steps_per_epoch : int, optional
        If ``total_steps`` is not given, their product is the number of steps.
    pct_start : float
        The fraction of the steps in which the rate rises, from 0 to 1.
    anneal_strategy : {"cos", "linear"}
        The curve: half a cosine, or a straight line.
    cycle_momentum : bool
        Whether the momentum is moved as well: the first of the ``betas``, or ``momentum`` if there are none.
    base_momentum : float or sequence of float
        The lowest momentum, at least 0 and less than 1.
    max_momentum : float or sequence of float
        The largest momentum, at least 0 and less than 1.
    div_factor : float
        ``max_lr`` divided by the first rate, above 0.
    final_div_factor : float
        The first rate divided by the last, above 0.
    three_phase : bool
        Whether the rate first falls back to its first value, as slowly as it rose, before the last phase.
    last_epoch : int
        See `LRScheduler`.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range, or the number of steps is not given.

    References
    ----------
    .. [1] L. N. Smith and N. Topin (2019), "Super-convergence: very fast training of neural networks using
       large learning rates", Proc. SPIE 11006 (arXiv:1708.07120); as in PyTorch, in two phases unless
       ``three_phase``.

    Examples
    --------
    >>> from tinygrad_mnist.optim import SGD, OneCycleLR
    >>> from tinygrad_mnist import Tensor
    >>> optimizer = SGD([Tensor(1.0, requires_grad=True)], momentum=0.9)
    >>> schedule = OneCycleLR(optimizer, max_lr=1.0, total_steps=5, pct_start=0.6, anneal_strategy="linear")
    >>> for _ in range(5):
    ...     print(f"{schedule.get_last_lr()[0]:.6f} {optimizer.param_groups[0]['momentum']:.3f}")
    ...     schedule.step()
    0.040000 0.950
    0.520000 0.900
    1.000000 0.850
    0.500002 0.900
    0.000004 0.950
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        _require_optimizer(optimizer)
        if anneal_strategy not in ANNEALING:
            known = " or ".join(map(repr, ANNEALING))
            raise ValueError(f"anneal_strategy must be {known}, not {anneal_strategy!r}")
        self.total_steps = _number_of_steps(total_steps, epochs, steps_per_epoch)
        self.pct_start = require_number("pct_start", pct_start, 0, 1)
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = require_flag("cycle_momentum", cycle_momentum)
        self.div_factor = _require_positive("div_factor", div_factor)
        self.final_div_factor = _require_positive("final_div_factor", final_div_factor)
        self.three_phase = require_flag("three_phase", three_phase)
        if self.cycle_momentum and not {"betas", "momentum"} & optimizer.defaults.keys():
            raise ValueError(
                f"{type(optimizer).__name__} has no momentum to cycle; give cycle_momentum=False"
            )
        groups = optimizer.param_groups
        max_lrs = _for_each_group("max_lr", max_lr, groups)
        base_momenta = _for_each_group("base_momentum", base_momentum, groups, below_1=True)
        max_momenta = _for_each_group("max_momentum", max_momentum, groups, below_1=True)
        if last_epoch == -1:
            # The bounds are kept in the groups, as in PyTorch, so that they are saved with the optimiser.
            for group, largest, low, high in zip(groups, max_lrs, base_momenta, max_momenta, strict=True):
                first = largest / self.div_factor
                group.update(initial_lr=first, max_lr=largest, min_lr=first / self.final_div_factor)
                if self.cycle_momentum:
                    group.update(base_momentum=low, max_momentum=high)
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        """Return the rate after ``epoch`` steps, for a group that begins with ``base_lr``."""
        largest = base_lr * self.div_factor
        return self._interpolate(epoch, base_lr, largest, base_lr, base_lr / self.final_div_factor)

    def momentum(self, low: float, high: float, epoch: int) -> float:
        """Return the momentum after ``epoch`` steps, for a group whose bounds are ``low`` and ``high``."""
        return self._interpolate(epoch, high, low, high, high)

    def _interpolate(self, epoch: int, first: float, middle: float, back: float, last: float) -> float:
        """Return the value after ``epoch`` steps, on the way from ``first`` by ``middle`` to ``last``."""
        rise, end = self.pct_start * self.total_steps, self.total_steps - 1
        if epoch >= end:  # also where the inner phases take longer than all steps
            return last
        # Each phase by its last step, its first value and its last value. As in PyTorch, the last steps of
        # the inner phases need not be whole numbers.
        if self.three_phase:
            phases = [(rise - 1, first, middle), (2 * rise - 2, middle, back), (end, back, last)]
        else:
            phases = [(rise - 1, first, middle), (end, middle, last)]
        number = sum(epoch > finish for finish, _, _ in phases[:-1])
        begin = phases[number - 1][0] if number else 0.0
        finish, start_value, end_value = phases[number]
        fraction = (epoch - begin) / (finish - begin) if finish > begin else 1.0
        return ANNEALING[self.anneal_strategy](start_value, end_value, fraction)

    def _set_epoch(self, epoch: int) -> None:
        super()._set_epoch(epoch)
        if not self.cycle_momentum:
            return
        for group in self.optimizer.param_groups:
            momentum = self.momentum(group["base_momentum"], group["max_momentum"], epoch)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


# ---- checks ----------------------------------------------------------------------------------------------


def _require_optimizer(optimizer: object) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"a schedule is made for an Optimizer, not for a {type(optimizer).__name__}")


def _has_function(value: object) -> bool:
    """Return whether a value is a function, or a list, tuple or dict with one."""
    if isinstance(value, Mapping):
        return any(map(_has_function, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_function, value))
    return isinstance(value, FunctionType | BuiltinFunctionType | MethodType | partial)


def _number_of_steps(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return require_integer("total_steps", total_steps, 1)
    if epochs is None or steps_per_epoch is None:
        raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
    return require_integer("epochs", epochs, 1) * require_integer("steps_per_epoch", steps_per_epoch, 1)


def _require_positive(name: str, value: float) -> float:
    number = require_number(name, value, 0)
    if number == 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")
    return number


def _for_each_group(
    name: str, value: float | Sequence[float], groups: list[dict[str, Any]], *, below_1: bool = False
) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
    if len(values) != len(groups):
        counts = (
            f"{count_text(len(values), 'value')}, the optimiser {count_text(len(groups), 'parameter group')}"
        )
        raise ValueError(f"{name} has {counts}")
    high = 1.0 if below_1 else math.inf
    return [require_number(name, number, 0, high, below=below_1) for number in values]
