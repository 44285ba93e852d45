"""The one-cycle schedule: the learning rate rises and falls once, the momentum the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_mnist.optim.optimizer import Optimizer
from tinygrad_mnist.optim.options import require_flag, require_integer, require_number
from tinygrad_mnist.optim.schedules import LRScheduler

__all__ = ["OneCycleLR"]


def cosine(start: float, end: float, way: float) -> float:
    """From ``start`` (way 0) to ``end`` (way 1) along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * way))


def linear(start: float, end: float, way: float) -> float:
    """From ``start`` (way 0) to ``end`` (way 1) in a straight line."""
    return start + (end - start) * way


ANNEALING: dict[str, Callable[[float, float, float], float]] = {"cos": cosine, "linear": linear}


class OneCycleLR(LRScheduler):
    """The rate rises to ``max_lr`` and falls far below where it began, within ``total_steps`` steps.

    The rate begins with ``max_lr / div_factor``, is greatest after the part ``pct_start`` of the steps, and
    ends with ``max_lr / (div_factor final_div_factor)``. The momentum goes from ``max_momentum`` to
    ``base_momentum`` and back. The schedule is to be stepped after each batch; from the last step on the rate
    stays the lowest.

    Parameters
    ----------
    optimizer : Optimizer
        Whose rates are to be set. Its ``lr`` does not matter.
    max_lr : float or sequence of float
        The greatest rate; one for all groups, or one for each.
    total_steps : int, optional
        Steps of the cycle; or give ``epochs`` and ``steps_per_epoch``.
    epochs, steps_per_epoch : int, optional
        Their product is the number of steps.
    pct_start : float
        The part of the steps in which the rate rises, from 0 to 1.
    anneal_strategy : {"cos", "linear"}
        Along half a cosine, or in a straight line.
    cycle_momentum : bool
        Whether to move the momentum as well: the first of the ``betas``, or ``momentum`` where there are
        none.
    base_momentum, max_momentum : float or sequence of float
        The bounds of the momentum, at least 0 and less than 1.
    div_factor : float
        ``max_lr`` divided by the first rate, above 0.
    final_div_factor : float
        The first rate divided by the last, above 0.
    three_phase : bool
        Fall back to the first rate, as slowly as it rose, before the last phase.
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
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"a schedule is made for an Optimizer, not for a {type(optimizer).__name__}")
        if total_steps is not None:
            self.total_steps = require_integer("total_steps", total_steps, 1)
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = require_integer("epochs", epochs, 1)
            self.total_steps *= require_integer("steps_per_epoch", steps_per_epoch, 1)
        else:
            raise ValueError("OneCycleLR needs total_steps, or epochs and steps_per_epoch")
        if anneal_strategy not in ANNEALING:
            raise ValueError(f"anneal_strategy must be 'cos' or 'linear', not {anneal_strategy!r}")
        self.pct_start = require_number("pct_start", pct_start, 0, 1)
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = require_flag("cycle_momentum", cycle_momentum)
        self.div_factor = _above_0("div_factor", div_factor)
        self.final_div_factor = _above_0("final_div_factor", final_div_factor)
        self.three_phase = require_flag("three_phase", three_phase)

        groups = optimizer.param_groups
        if self.cycle_momentum and not {"betas", "momentum"} & optimizer.defaults.keys():
            raise ValueError(
                f"{type(optimizer).__name__} has no momentum to cycle; give cycle_momentum=False"
            )
        max_lrs = _for_each_group("max_lr", max_lr, groups)
        base_momenta = _for_each_group("base_momentum", base_momentum, groups, below_1=True)
        max_momenta = _for_each_group("max_momentum", max_momentum, groups, below_1=True)
        if last_epoch == -1:
            for group, greatest, low, high in zip(groups, max_lrs, base_momenta, max_momenta, strict=True):
                first = greatest / self.div_factor
                group.update(initial_lr=first, max_lr=greatest, min_lr=first / self.final_div_factor)
                if self.cycle_momentum:
                    group.update(base_momentum=low, max_momentum=high)
        super().__init__(optimizer, last_epoch)

    def rate(self, base_lr: float, epoch: int) -> float:
        """The rate after ``epoch`` steps, for a group that begins with ``base_lr``."""
        greatest = base_lr * self.div_factor
        return self._on_the_way(epoch, base_lr, greatest, base_lr / self.final_div_factor, base_lr)

    def momentum(self, low: float, high: float, epoch: int) -> float:
        """The momentum after ``epoch`` steps, for a group in which it lies between ``low`` and ``high``."""
        return self._on_the_way(epoch, high, low, high, high)

    def _on_the_way(self, epoch: int, first: float, middle: float, last: float, back: float) -> float:
        """From ``first`` through ``middle`` (and, in three phases, ``back``) to ``last``."""
        rise, end = self.pct_start * self.total_steps, self.total_steps - 1
        if self.three_phase:
            phases = [(rise - 1, first, middle), (2 * rise - 2, middle, back), (end, back, last)]
        else:
            phases = [(rise - 1, first, middle), (end, middle, last)]
        number = sum(epoch > finish for finish, _, _ in phases[:-1])
        begin = phases[number - 1][0] if number else 0.0
        finish, value, goal = phases[number]
        way = (epoch - begin) / (finish - begin) if finish > begin else 1.0
        return ANNEALING[self.anneal_strategy](value, goal, min(way, 1.0))

    def _set(self, epoch: int) -> None:
        super()._set(epoch)
        if not self.cycle_momentum:
            return
        for group in self.optimizer.param_groups:
            momentum = self.momentum(group["base_momentum"], group["max_momentum"], epoch)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum


def _above_0(name: str, value: float) -> float:
    number = require_number(name, value, 0)
    if number == 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")
    return number


def _for_each_group(
    name: str, value: float | Sequence[float], groups: list[dict[str, Any]], *, below_1: bool = False
) -> list[float]:
    values = list(value) if isinstance(value, list | tuple) else [value] * len(groups)
    if len(values) != len(groups):
        raise ValueError(f"{name} has {len(values)} values, the optimiser {len(groups)} parameter groups")
    high = 1.0 if below_1 else math.inf
    return [require_number(name, number, 0, high, below=below_1) for number in values]
