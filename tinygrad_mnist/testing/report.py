"""The results of a gradient check: entries, a report that reads as a table, and the error that carries it.

A failing report says in a sentence which of the usual mistakes it looks like (:func:`diagnose`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tinygrad_mnist.testing.tolerances import TOLERANCES

ROWS: Final = 12
"""Rows of the table in an error."""

SMOOTH: Final = "smooth"
"""Verdict: both derivatives agree, and the numeric one is certain."""
SUBGRADIENT: Final = "valid subgradient"
"""Verdict: the function has a kink here, and its one-sided derivatives bracket the gradient."""
WRONG: Final = "wrong"
"""Verdict: the derivatives differ by more than everything that may excuse it."""
UNDECIDED: Final = "undecided"
"""Verdict: the numeric derivative is too uncertain to tell. It fails too, so that nobody overlooks it."""

ALL_OUTPUTS: Final = "all outputs"
"""`Entry.output` where all outputs are pulled back at once; the numeric value is the sum of the parts."""

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
        Name of the input: ``input 0``, at order 2 also ``cotangent 0``.
    index : tuple of int
        Index in that input; the number of the direction, where random directions were taken.
    output : str
        Name of the output: ``output 0``, at order 2 ``gradient 0``.
    output_index : tuple of int
        Index in that output.
    analytic : float
        The derivative from the tape.
    numeric : float
        The derivative from central differences.
    uncertainty : float
        Largest error of the numeric one.
    error : float
        Their difference, relative to the larger of both; at a kink the distance from the one-sided ones.
    step : float
        The step at which the differences were most certain.
    verdict : str
        ``smooth``, ``valid subgradient`` (a kink: the one-sided derivatives bracket it), ``wrong``, or
        ``undecided`` where the numeric derivative is too uncertain to tell.
    left : float or None
        The derivative from the left, where a kink made it necessary.
    right : float or None
        The derivative from the right, likewise.
    within : float or None
        Largest distance of that kink from the point: no step can tell a nearer one from one at the point.
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
        """True if it is smooth or a valid subgradient."""
        return self.verdict in (SMOOTH, SUBGRADIENT)


@dataclass(frozen=True)
class Report:
    """The result of a gradient check; ``str`` of it is a table, the worst entries first.

    Attributes
    ----------
    entries : tuple of Entry
        Every entry that was compared.
    directions : int
        Number of random directions that were taken; 0 where the full Jacobian was compared.
    skipped : tuple of str
        Inputs whose second order was not checked, because the function has a kink by them.
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
        """True if every entry is right."""
        return all(entry.passed for entry in self.entries)

    @property
    def only_noise(self) -> bool:
        """True if it fails, and the noise of the function is the only reason."""
        return not self.passed and all(entry.noise is not None for entry in self.failures)

    @property
    def largest_error(self) -> float:
        """Largest relative error of an entry."""
        return max((entry.error for entry in self.entries), default=0.0)

    def __str__(self) -> str:
        lines = [table(self.failures or sorted(self.entries, key=_rank, reverse=True))]
        if self.skipped:
            more = f" and {len(self.skipped) - ROWS} more" if len(self.skipped) > ROWS else ""
            lines.append(f"not checked to order 2, for kinks: {', '.join(self.skipped[:ROWS])}{more}")
        return "\n".join(lines)


class GradientError(AssertionError):
    """The error that a gradient disagrees with finite differences; ``report`` holds every entry."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


class DiscontinuityError(ValueError):
    """The error that a function jumps at the inputs, so that there is no derivative to compare with."""


def message(report: Report) -> str:
    """Return the text of the error: how much is wrong, in what way, and the worst entries."""
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
    """Return the first entries as lines of text."""
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
    """Return the reason of a verdict, in brackets."""
    if entry.left is not None and entry.right is not None:
        where = "" if entry.within is None else f", a kink within {entry.within:.1g}"
        return f" (left {entry.left:.6g}, right {entry.right:.6g}{where})"
    if entry.noise is not None:
        return f" (noise {entry.noise:.1g})"
    return f" (±{entry.uncertainty:.1g})" if entry.verdict == UNDECIDED else ""


def _rank(entry: Entry) -> tuple[bool, bool, float]:
    """Return a sort key: wrong entries are worse than undecided ones, then the larger error is."""
    return entry.verdict == WRONG, entry.verdict == UNDECIDED, entry.error


# ---- which of the usual mistakes it is -------------------------------------------------------------------


def diagnose(entries: Iterable[Entry]) -> str:
    """Return a sentence about what may have gone wrong, or an empty string.

    Parameters
    ----------
    entries : iterable of Entry
        The entries of one mode and order, right ones too.
    """
    moving = [e for e in entries if e.numeric != 0 or e.analytic != 0]
    wrong = [e for e in moving if e.verdict == WRONG]
    if not wrong:
        return ""
    sentences = (describe(wrong) for describe in MISTAKES)
    return next(filter(None, sentences)).format(where=_where(wrong, moving))


def _where(wrong: list[Entry], moving: list[Entry]) -> str:
    """Return in words which of the entries are wrong."""
    names = sorted({e.input for e in wrong})
    if len(names) == 1 and len(wrong) == sum(e.input == names[0] for e in moving):
        return f"in every entry by {names[0]}"
    return "in every entry" if len(wrong) == len(moving) else f"in {len(wrong)} of them"


def _not_linear(wrong: list[Entry]) -> str:
    if all(e.output == ALL_OUTPUTS for e in wrong):
        return "It is right for each output alone and wrong for all at once: is the rule not linear in g?"
    return ""


def _not_a_number(wrong: list[Entry]) -> str:
    if any(math.isnan(e.analytic) for e in wrong):
        return "It is not a number {where}: 0 / 0, inf - inf or 0 * inf in the rule?"
    return ""


def _zero(wrong: list[Entry]) -> str:
    if all(e.analytic == 0 for e in wrong):
        return "It is 0 {where}: is something detached, or a term missing in the rule?"
    return ""


def _sign(wrong: list[Entry]) -> str:
    if _same(e.analytic + e.numeric for e in wrong) == 0 or _ratio(wrong) == -1:
        return "It has the opposite sign {where}."
    return ""


def _factor(wrong: list[Entry]) -> str:
    ratio = _ratio(wrong)
    if ratio is None:
        return ""
    return f"It is {ratio:.6g} times what it should be {{where}}: a factor in the rule?"


def _shift(wrong: list[Entry]) -> str:
    shift = _same(e.analytic - e.numeric for e in wrong)
    if shift is None or len(wrong) == 1:  # any single number is some shift of another one
        return ""
    return f"It is {shift:+.6g} off {{where}}: a constant added in the rule?"


def _permuted(wrong: list[Entry]) -> str:
    ours, theirs = sorted(e.analytic for e in wrong), sorted(e.numeric for e in wrong)
    rtol, atol = TOLERANCES.diagnosis_rtol, TOLERANCES.diagnosis_atol
    pairs = zip(ours, theirs, strict=True)
    if len(wrong) > 1 and all(math.isclose(a, n, rel_tol=rtol, abs_tol=atol) for a, n in pairs):
        return "It holds the right numbers in the wrong places {where}: a transpose or an order of axes?"
    return ""


def _different(wrong: list[Entry]) -> str:
    return "It differs from the numeric derivative {where}."


MISTAKES: Final[tuple[Callable[[list[Entry]], str], ...]] = (
    _not_linear, _not_a_number, _zero, _sign, _factor, _shift, _permuted, _different,
)  # fmt: skip
"""The usual mistakes, the most certain first; each returns its sentence, or nothing if it is another one."""


def _ratio(wrong: list[Entry]) -> float | None:
    """Return the factor by which all entries are wrong; None if they differ in it."""
    if any(e.numeric == 0 for e in wrong):
        return None
    return _same(e.analytic / e.numeric for e in wrong)


def _same(numbers: Iterable[float]) -> float | None:
    """Return the number that all of them nearly are; None if they differ."""
    values = list(numbers)
    middle = values[len(values) // 2]
    rtol = TOLERANCES.diagnosis_rtol
    if not all(math.isfinite(v) and abs(v - middle) <= rtol * abs(middle) for v in values):
        return None
    return round(middle, 6) if abs(middle) >= rtol else middle
