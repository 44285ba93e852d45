"""What a gradient check found: entries, a report that reads as a table, and the error that carries it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

ROWS: Final = 12
"""Rows of the table in an error."""

SMOOTH: Final = "smooth"
SUBGRADIENT: Final = "valid subgradient"
WRONG: Final = "wrong"
UNDECIDED: Final = "undecided"


ALL_OUTPUTS: Final = "all outputs"
"""What an entry is of where each output alone is right, and all at once are not: their sum is numeric."""

CLOSE = 1e-4

UNSETTLED: Final = (
    "The differences settle on no number: at the edge of the domain, or of a function that is noisy or too "
    "steep; check it at another point."
)


NEAR_A_KINK: Final = (
    "Both sides differ at large steps, but not at small ones: the point is near a kink, or the function "
    "oscillates; check it at another point."
)


NOISY: Final = (
    "The function is too noisy here to judge: its values scatter by {:.1g}, far more than their rounding, "
    "as where nearly equal numbers are subtracted, or the function oscillates; check it at another point."
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a Jacobian, as the tape has it and as differences have it.

    Attributes
    ----------
    order : int
        1 for the derivative, 2 for the derivative of the gradient.
    mode : str
        ``reverse`` or ``forward``.
    input : str
        What it is the derivative by: ``input 0``, at order 2 also ``cotangent 0``.
    index : tuple of int
        Where in that input; the number of the direction, where random directions were taken.
    output : str
        What it is the derivative of: ``output 0``, at order 2 ``gradient 0``.
    output_index : tuple of int
        Where in that output.
    analytic, numeric : float
        The derivative from the tape, and from central differences.
    uncertainty : float
        How far off the numeric one may be.
    error : float
        Their difference, relative to the larger of both; at a kink how far outside the one-sided ones.
    step : float
        The step at which the differences were most certain.
    verdict : str
        ``smooth``, ``valid subgradient`` (a kink: the one-sided derivatives bracket it), ``wrong``, or
        ``undecided`` where the numeric derivative is too uncertain to tell.
    left, right : float or None
        The one-sided derivatives, where a kink made it necessary to look at them.
    within : float or None
        How near that kink is: at the point, or no further from it than this, which no step can tell.
    noise : float or None
        The size of the noise in the function's values, where that is why nothing can be decided.
    """

    order: int
    mode: str
    input: str
    index: tuple[int, ...]
    output: str
    output_index: tuple[int, ...]
    analytic: float
    numeric: float
    uncertainty: float
    error: float
    step: float
    verdict: str
    left: float | None = None
    right: float | None = None
    within: float | None = None
    noise: float | None = None

    @property
    def passed(self) -> bool:
        """Whether it is smooth or a valid subgradient."""
        return self.verdict in (SMOOTH, SUBGRADIENT)


@dataclass(frozen=True)
class Report:
    """What a gradient check found; ``str`` of it is a table, the worst entries first.

    Attributes
    ----------
    entries : tuple of Entry
        Every entry that was compared.
    directions : int
        How many random directions were taken; 0 where the full Jacobian was compared.
    skipped : tuple of str
        What of the second order was not checked, because the function has a kink by these inputs.
    """

    entries: tuple[Entry, ...]
    directions: int = 0
    skipped: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Entry, ...]:
        """Entries that are wrong or undecided, the worst first."""
        failures = [entry for entry in self.entries if not entry.passed]
        return tuple(sorted(failures, key=_rank, reverse=True))

    @property
    def kinks(self) -> tuple[Entry, ...]:
        """Entries at a kink, where the gradient is a valid subgradient."""
        return tuple(entry for entry in self.entries if entry.verdict == SUBGRADIENT)

    @property
    def passed(self) -> bool:
        """Whether every entry is right."""
        return all(entry.passed for entry in self.entries)

    @property
    def only_noise(self) -> bool:
        """Whether it fails, and the noise of the function is the only reason."""
        return not self.passed and all(entry.noise is not None for entry in self.failures)

    @property
    def largest_error(self) -> float:
        """The largest relative error of an entry whose derivative is not 0."""
        return max((entry.error for entry in self.entries), default=0.0)

    def __str__(self) -> str:
        lines = [table(self.failures or sorted(self.entries, key=_rank, reverse=True))]
        if self.skipped:
            more = f" and {len(self.skipped) - ROWS} more" if len(self.skipped) > ROWS else ""
            lines.append(f"not checked to order 2, for kinks: {', '.join(self.skipped[:ROWS])}{more}")
        return "\n".join(lines)


class GradientError(AssertionError):
    """A gradient disagrees with finite differences; ``report`` holds every entry."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


class DiscontinuityError(ValueError):
    """The function jumps at the inputs, so there is no derivative to compare with."""


def message(report: Report) -> str:
    """What the error says: how much is wrong, in what way, and the worst entries."""
    worst = report.failures[0]
    fault = "is wrong" if worst.verdict == WRONG else "could not be decided"
    whose = "the gradient" if worst.order == 1 else "the gradient of the gradient"
    here = [e for e in report.entries if (e.order, e.mode) == (worst.order, worst.mode)]
    failures = [e for e in here if not e.passed]
    ways = "" if worst.mode == "reverse" else " in forward mode"
    found = diagnose(here)
    if worst.verdict == UNDECIDED:
        found = UNSETTLED if worst.left is None else NEAR_A_KINK
        if worst.noise is not None:
            found = NOISY.format(worst.noise)
    explained = f"\n{found}" if found else ""
    return f"{whose} {fault}{ways} in {len(failures)} of {len(here)} entries:{explained}\n{table(failures)}"


def table(entries: Sequence[Entry]) -> str:
    """The first entries as lines of text."""
    heading = (
        f"{'order':>5}  {'mode':<8} {'of':<18} {'by':<20} {'analytic':>19} {'numeric':>19} {'error':>8} "
        f"{'step':>8}  verdict"
    )
    lines = [heading]
    for e in entries[:ROWS]:
        of, by = f"{e.output} {e.output_index}", f"{e.input} {e.index}"
        lines.append(
            f"{e.order:>5}  {e.mode:<8} {of:<18} {by:<20} {e.analytic:>19.12g} {e.numeric:>19.12g} "
            f"{e.error:>8.2g} {e.step:>8.2g}  {e.verdict}{_remark(e)}"
        )
    if len(entries) > ROWS:
        lines.append(f"... and {len(entries) - ROWS} more")
    return "\n".join(lines)


def _remark(entry: Entry) -> str:
    if entry.left is not None and entry.right is not None:
        where = "" if entry.within is None else f", a kink within {entry.within:.1g}"
        return f" (left {entry.left:.6g}, right {entry.right:.6g}{where})"
    if entry.noise is not None:
        return f" (noise {entry.noise:.1g})"
    return f" (±{entry.uncertainty:.1g})" if entry.verdict == UNDECIDED else ""


def _rank(entry: Entry) -> tuple[bool, bool, float]:
    return entry.verdict == WRONG, entry.verdict == UNDECIDED, entry.error


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
