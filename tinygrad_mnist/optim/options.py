"""Checks of the numbers that optimisers and schedules are given; each failure is a sentence."""

from __future__ import annotations

import math
import numbers
from typing import Any

__all__ = ["require_flag", "require_integer", "require_number", "require_rates"]


def require_number(
    name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, below: bool = False
) -> float:
    """``value`` as a float, if it is finite and from ``low`` to ``high`` (if ``below``, less than ``high``).

    Raises
    ------
    TypeError
        If it is no real number.
    ValueError
        If it is not finite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    number = float(value)
    if math.isfinite(number) and low <= number and (number < high if below else number <= high):
        return number
    if high < math.inf:
        wanted = f"at least {low:g} and {'less than' if below else 'at most'} {high:g}"
    else:
        wanted = f"finite and at least {low:g}" if low > -math.inf else "finite"
    raise ValueError(f"{name} must be {wanted}, not {value!r}")


def require_integer(name: str, value: Any, low: int) -> int:
    """``value`` as an int, if it is a whole number of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, not {value!r}")
    return int(value)


def require_flag(name: str, value: Any) -> bool:
    """``value``, if it is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
    return value


def require_rates(name: str, value: Any, count: int) -> tuple[float, ...]:
    """``value`` as ``count`` floats, each at least 0 and less than 1 (decay rates of running averages)."""
    if not isinstance(value, tuple | list) or len(value) != count:
        raise TypeError(f"{name} must be {count} numbers, not {value!r}")
    return tuple(require_number(f"{name}[{i}]", rate, 0, 1, below=True) for i, rate in enumerate(value))
