"""The learning rate over the steps of a training, before it begins: as numbers, and as a line of text."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.optim import LRScheduler, Optimizer
from tinygrad_mnist.training.recipe.choices import build_optimizer, build_schedule
from tinygrad_mnist.training.recipe.recipes import Recipe

BLOCKS: Final = "▁▂▃▄▅▆▇█"
ASCII_BLOCKS: Final = "_.:-=+*#"
"""The signs that stand for a rate, from low to high; the second where the first cannot be written."""


MANY: Final = 20_000
"""Rates that are enough to draw any training from, and quickly computed."""


class Schedule(Protocol):
    """Whatever sets the learning rates of an optimiser when it is stepped."""

    def step(self) -> None:
        """Set the rates of the next step."""


def schedule_rates(
    plan: Recipe | Optimizer, steps: int, schedule: Schedule | None = None, *, points: int | None = None
) -> NDArray[np.float64]:
    """Return the learning rate of each step of a training, without training.

    Nothing is changed. A schedule of `tinygrad_mnist.optim` is a formula; of another one a copy is stepped,
    on a copy of the optimiser without its parameters.

    Parameters
    ----------
    plan : Recipe or Optimizer
        A recipe, which has its schedule; or an optimiser.
    steps : int
        The number of steps. A schedule that has begun goes on from where it is.
    schedule : LRScheduler, optional
        The schedule of the optimiser: any of `tinygrad_mnist.optim`, or one of your own with a method
        ``step()`` that sets the rates of its ``optimizer``. Without one the rate stays.
    points : int, optional
        The greatest number of steps whose rates are returned, evenly spaced, with the first and the last.

    Returns
    -------
    ndarray
        float64, shape (steps,), or (points,): the rate of the first parameter group.

    Raises
    ------
    TypeError
        If ``plan`` is neither, or a recipe with a schedule beside it.
    ValueError
        If ``steps`` is negative.

    Examples
    --------
    >>> from tinygrad_mnist import Tensor, optim
    >>> optimizer = optim.SGD([Tensor(1.0, requires_grad=True)], lr=1.0)
    >>> schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> print(schedule_rates(optimizer, 6, schedule))
    [1.   1.   0.5  0.5  0.25 0.25]

    >>> from tinygrad_mnist.training import RECIPES
    >>> print(schedule_rates(RECIPES["digits"], 1600, points=5).round(4))
    [0.0004 0.0094 0.0081 0.0028 0.    ]
    """
    if steps < 0:
        raise ValueError(f"a training has 0 steps or more, not {steps}")
    if isinstance(plan, Optimizer):
        optimizer = plan
    else:
        optimizer, schedule = _built(plan, steps, schedule)
    wanted = np.linspace(0, max(steps - 1, 0), min(steps, points or steps)).round().astype(int)
    if schedule is None:
        return np.full(len(wanted), optimizer.param_groups[0]["lr"], dtype=np.float64)
    if isinstance(schedule, LRScheduler) and type(schedule).step is LRScheduler.step:
        rates = [schedule._rates(schedule.last_epoch + step)[0] for step in wanted.tolist()]
        return np.array(rates, dtype=np.float64)
    stepped: NDArray[np.float64] = _stepped(optimizer, schedule, steps)[wanted]
    return stepped


def _built(recipe: Recipe, steps: int, schedule: Schedule | None) -> tuple[Optimizer, Schedule | None]:
    """Return the optimiser of a recipe, for a small model, and its schedule."""
    if not isinstance(recipe, Recipe):
        raise TypeError(f"rates are those of a Recipe or an Optimizer, not of a {type(recipe).__name__}")
    if schedule is not None:
        raise TypeError("a recipe has its own schedule; give an optimiser with a schedule, or a recipe alone")
    optimizer = build_optimizer(recipe, nn.Linear(1, 1, rng=np.random.default_rng(0)))
    return optimizer, build_schedule(recipe, optimizer, max(1, steps))


def _stepped(optimizer: Optimizer, schedule: Schedule, steps: int) -> NDArray[np.float64]:
    """Return the rates that stepping a schedule gives, by a copy of it on the settings of its optimiser."""
    settings = copy.copy(optimizer)  # the weights and moments are shared, and not touched
    settings.param_groups = [
        {name: value if name == "params" else copy.deepcopy(value) for name, value in group.items()}
        for group in optimizer.param_groups
    ]
    # wherever the schedule, or one within it, refers to the optimiser, its copy refers to the settings
    schedule = copy.deepcopy(schedule, {id(optimizer): settings})
    rates = np.empty(steps)
    for step in range(steps):
        rates[step] = settings.param_groups[0]["lr"]
        if step < steps - 1:
            schedule.step()
    return rates


def rates_line(rates: Sequence[float] | NDArray[np.float64], encoding: str = "utf-8", width: int = 16) -> str:
    """Return a line of text that says how the learning rate goes, with a small picture where it changes.

    Parameters
    ----------
    rates : array-like
        The rate of each step, as `schedule_rates` returns it.
    encoding : str
        The encoding in which the line is to be written; in one without blocks the picture is of ASCII signs.
    width : int
        The signs of the picture, at most.

    Examples
    --------
    >>> print(rates_line([0.1, 0.1, 0.1]))
    learning rate 0.1
    >>> print(rates_line([0.1, 0.2, 0.4, 0.3, 0.2, 0.1, 0.0]))
    learning rate 0.1 up to 0.4, down to 0  ▃▅█▆▅▃▁
    >>> print(rates_line([0.5, 0.25, 0.125], "ascii"))
    learning rate 0.5 down to 0.125  #=:
    """
    values = np.asarray(rates, np.float64)
    if not len(values):
        return "learning rate: no steps"
    if values.min() == values.max():
        return f"learning rate {values[0]:.3g}"
    return f"learning rate {_course(values)}  {_picture(values, encoding, width)}"


def _course(rates: NDArray[np.float64]) -> str:
    """Return the rates between which it rises and falls, in words."""
    first, last, low, high = (f"{rate:.3g}" for rate in (rates[0], rates[-1], rates.min(), rates.max()))
    changes = np.diff(rates)
    turns = np.count_nonzero(np.diff(np.sign(changes[changes != 0])))
    rises = changes[changes != 0][0] > 0
    if turns == 0:
        return f"{first} {'up' if rises else 'down'} to {last}"
    if turns == 1 and rises:
        return f"{first} up to {high}, down to {last}"
    return f"from {first} to {last}, between {low} and {high}"


def _picture(rates: NDArray[np.float64], encoding: str, width: int) -> str:
    """Return a sign for each of at most ``width`` parts of the training, as high as the rate is, from 0."""
    signs = BLOCKS
    try:
        signs.encode(encoding)
    except UnicodeEncodeError:
        signs = ASCII_BLOCKS
    parts = min(width, len(rates))
    # each part shows one of its steps: the first part the first one, the last part the last one
    shown = rates[np.linspace(0, len(rates) - 1, parts).round().astype(int)]
    return "".join(signs[round(float(rate / rates.max()) * (len(signs) - 1))] for rate in shown)
