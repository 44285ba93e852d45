"""In what way a gradient is wrong: the usual mistakes, recognised by their traces."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tinygrad_mnist.testing.report import Entry

ALL_OUTPUTS: Final = "all outputs"
"""What an entry is of where each output alone is right, and all at once are not: their sum is numeric."""

CLOSE = 1e-4


def diagnose(entries: Iterable[Entry]) -> str:
    """A sentence about what may have gone wrong, or nothing.

    Parameters
    ----------
    entries : iterable of Entry
        The entries of one mode and order, right ones too.
    """
    moving = [e for e in entries if e.numeric != 0 or e.analytic != 0]
    wrong = [e for e in moving if e.verdict == "wrong"]
    if not wrong:
        return ""
    if all(e.output == ALL_OUTPUTS for e in wrong):
        return "It is right for each output alone and wrong for all at once: is the rule not linear in g?"
    where = _where(wrong, moving)
    if any(math.isnan(e.analytic) for e in wrong):
        return f"It is not a number {where}: 0 / 0, inf - inf or 0 * inf in the rule?"
    if all(e.analytic == 0 for e in wrong):
        return f"It is 0 {where}: is something detached, or a term missing in the rule?"
    if _same(e.analytic + e.numeric for e in wrong) == 0 or _ratio(wrong) == -1:
        return f"It has the opposite sign {where}."
    ratio = _ratio(wrong)
    if ratio is not None:
        return f"It is {ratio:.6g} times what it should be {where}: a factor in the rule?"
    shift = _same(e.analytic - e.numeric for e in wrong)
    if shift is not None and len(wrong) > 1:
        return f"It is {shift:+.6g} off {where}: a constant added in the rule?"
    if _are_permuted(wrong):
        return f"It holds the right numbers in the wrong places {where}: a transpose or an order of axes?"
    return f"It differs from the numeric derivative {where}."


def _where(wrong: list[Entry], moving: list[Entry]) -> str:
    names = sorted({e.input for e in wrong})
    if len(names) == 1 and len(wrong) == sum(e.input == names[0] for e in moving):
        return f"in every entry by {names[0]}"
    return "in every entry" if len(wrong) == len(moving) else f"in {len(wrong)} of {len(moving)} entries"


def _ratio(wrong: list[Entry]) -> float | None:
    if any(e.numeric == 0 for e in wrong):
        return None
    return _same(e.analytic / e.numeric for e in wrong)


def _same(numbers: Iterable[float]) -> float | None:
    """The number that they all are, nearly; or None."""
    values = list(numbers)
    middle = values[len(values) // 2]
    if not all(math.isfinite(v) and abs(v - middle) <= CLOSE * abs(middle) for v in values):
        return None
    return round(middle, 6) if abs(middle) >= CLOSE else middle


def _are_permuted(wrong: list[Entry]) -> bool:
    ours, theirs = sorted(e.analytic for e in wrong), sorted(e.numeric for e in wrong)
    return len(wrong) > 1 and all(
        math.isclose(a, n, rel_tol=CLOSE, abs_tol=1e-8) for a, n in zip(ours, theirs, strict=True)
    )
