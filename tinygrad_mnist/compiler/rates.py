"""The learning rates and the counts of schedules that a function reads: numbers that each call reads anew.

While a function is traced, a `Number` stands in the place of each: in the parameter groups of the optimisers
that it finds, and in its schedules. After a traced ``schedule.step()`` it is the number that the schedule
will give, which its formula tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.compiler.slots import EpochSlot, OptionSlot, RateSlot, Slot
from tinygrad_mnist.compiler.symbols import Number


def is_rate(value: Any) -> bool:
    """Return whether a learning rate is a number that a program can read anew."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass
class _Place:
    """A place in a dict, with what was there and what stands there during the trace."""

    namespace: dict[str, Any]
    name: str
    before: Any
    stands: Any


class Rates:
    """The numbers that stand in optimisers and schedules during a trace.

    Parameters
    ----------
    scalar : callable
        ``scalar(slot, now)`` returns the Number that a slot holds at each call.
    """

    def __init__(self, scalar: Callable[[Slot, float], Number]) -> None:
        self._scalar = scalar
        self._places: dict[tuple[int, str], _Place] = {}
        self._steps: dict[int, int] = {}  # by schedule, how often it was advanced

    def enter(self, groups: Iterable[dict[str, Any]], schedules: Iterable[Any]) -> None:
        """Let numbers stand in the parameter groups and schedules that a function finds."""
        for group in groups:
            if is_rate(group["lr"]):
                self._put(group, "lr", self._number(OptionSlot(group, "lr", None)))
        for schedule in schedules:
            self._put_in_schedule(schedule, 0)

    def step(self, schedule: Any) -> None:
        """Let those numbers stand in a schedule, and in its optimiser, that are there after another step."""
        self._steps[id(schedule)] = ahead = self._steps.get(id(schedule), 0) + 1
        rates = self._put_in_schedule(schedule, ahead)
        for group, rate in zip(schedule.optimizer.param_groups, rates, strict=False):
            self._put(group, "lr", rate)

    def _put_in_schedule(self, schedule: Any, ahead: int) -> list[Any]:
        """Put the numbers of a schedule into their places, and return its rates."""
        self._put(vars(schedule), "last_epoch", self._number(EpochSlot(schedule, ahead)))
        groups = range(len(schedule.base_lrs))
        rates = [self._number(RateSlot(schedule, place, ahead)) for place in groups]
        self._put(vars(schedule), "_last_lr", rates)
        return rates

    def _number(self, slot: Slot) -> Number:
        """Return the Number of a slot, whose value now is told by what was there before the trace."""
        self._fill("before")
        try:
            now = slot.fetch(())
        finally:
            self._fill("stands")
        return self._scalar(slot, now)

    def _put(self, namespace: dict[str, Any], name: str, value: Any) -> None:
        self.check()
        made = _Place(namespace, name, namespace[name], value)
        place = self._places.setdefault((id(namespace), name), made)
        place.stands = namespace[name] = value

    def _fill(self, with_what: str) -> None:
        for place in self._places.values():
            place.namespace[place.name] = getattr(place, with_what)

    def check(self) -> None:
        """Raise if the function has set a learning rate or a count, which a replay would not."""
        for place in self._places.values():
            if place.namespace[place.name] is not place.stands:
                raise JitError(
                    f"the function sets {place.name!r} of an optimiser or schedule, and a replay would not; "
                    "set it outside of the jitted function, or by a schedule"
                )

    def restore(self) -> None:
        """Put back what was there."""
        self._fill("before")
        self._places.clear()
