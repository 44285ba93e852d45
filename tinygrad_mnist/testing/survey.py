"""The gradient check of many operations, one line each: the table of ``tinygrad-mnist gradcheck``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import HypothesisException

from tinygrad_mnist.engine.op import Domain, Op
from tinygrad_mnist.testing.gradient_check import gradcheck
from tinygrad_mnist.testing.properties import differentiable_function, narrowed, script_of
from tinygrad_mnist.testing.report import DiscontinuityError, GradientError, Report
from tinygrad_mnist.testing.strategies import Call, has_kinks, op_inputs, op_inputs_on_kinks

ON_KINKS: Final = 4
"""One call in so many lies on kinks, if the operation has some."""

CONFIDENCE: Final = 0.9
"""Confidence of each call that has a large Jacobian: less than by default, since there are many calls."""


@dataclass(frozen=True)
class Finding:
    """The result of the check of one operation.

    Attributes
    ----------
    name : str
        The operation.
    examples : int
        Calls that were checked.
    entries : int
        Derivatives that were compared.
    largest_error : float
        The largest relative error.
    kinks : int
        Entries where the function has a kink, and the gradient is a valid subgradient.
    verdict : str
        ``right``, ``wrong`` or ``undecided``.
    seconds : float
        Duration of the check.
    failure : str or None
        The error of the smallest failing call, and a script that repeats it.
    """

    name: str
    examples: int
    entries: int
    largest_error: float
    kinks: int
    verdict: str
    seconds: float
    failure: str | None = None


def survey(
    ops: Iterable[Op], order: int = 1, examples: int = 20, dtype: str = "float64"
) -> Iterator[Finding]:
    """Check operations one after the other, each on as many calls as asked for.

    Parameters
    ----------
    ops : iterable of Op
        The operations to check.
    order : {1, 2}
        As for `gradcheck`; at a kink only the first derivative is checked.
    examples : int
        Calls to draw for each operation. A quarter of them lie on kinks, or have ties, where the operation's
        domain says that it has some; those where it is infinite (``1 / x``) or jumps are left out.
    dtype : {"float64", "float32"}
        The dtype that the operations compute in.

    Yields
    ------
    Finding
        One an operation.

    Examples
    --------
    >>> from tinygrad_mnist.engine.op import REGISTRY
    >>> [(found.verdict, found.kinks) for found in survey([REGISTRY["tanh"]], examples=5)]
    [('right', 0)]
    >>> [found.kinks > 0 for found in survey([REGISTRY["maximum"]], examples=8)]
    [True]
    """
    for op in ops:
        yield _surveyed(op, order, examples, dtype)


def _surveyed(op: Op, order: int, examples: int, dtype: str) -> Finding:
    """Check one operation on calls away from kinks, then, if it has kinks, on some that lie on them."""
    start = perf_counter()
    checks = _Checks(op, dtype)
    domains = (op.domain,) if isinstance(op.domain, Domain) else op.domain
    on_kinks = examples // ON_KINKS if any(map(has_kinks, domains)) else 0
    verdict, failure = "right", None
    try:
        _each(op_inputs(op), examples - on_kinks, lambda call: checks.check(call, order))
        if on_kinks:
            # Second derivatives do not exist on kinks.
            _each(op_inputs_on_kinks(op), on_kinks, checks.check_where_finite)
        checks.raise_if_only_noise()
    except GradientError as error:
        verdict = error.report.failures[0].verdict
        failure = f"{error}\n\n{checks.script()}"
        checks.reports.append(error.report)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # What the operation raises is a wrong operation; what Hypothesis raises, or draws, is no finding.
        if isinstance(error, HypothesisException) or checks.last is None:
            raise
        verdict = "wrong"
        checks.last = (checks.last[0], 1)
        failure = f"{type(error).__name__}: {error}\n\n{checks.script()}"
    reports = checks.reports
    return Finding(
        name=op.name,
        examples=len(reports),
        entries=sum(len(report.entries) for report in reports),
        largest_error=max((report.largest_error for report in reports), default=0.0),
        kinks=sum(len(report.kinks) for report in reports),
        verdict=verdict,
        seconds=perf_counter() - start,
        failure=failure,
    )


class _Checks:
    """The checks of one operation: their reports, and the call that was checked last."""

    def __init__(self, op: Op, dtype: str) -> None:
        self.op = op
        self.dtype = dtype
        self.reports: list[Report] = []
        self.noisy: list[tuple[GradientError, tuple[Call, int]]] = []
        self.last: tuple[Call, int] | None = None
        """The last call and its order: Hypothesis ends with the smallest one that fails."""

    def check(self, call: Call, order: int) -> None:
        """Check the gradient at one call, and keep the report."""
        self.last = (call, order)
        arguments, static = call
        if self.dtype != "float64" and "dtype" not in static:  # what names its dtype is checked in that
            arguments = tuple(narrowed(argument, self.dtype) for argument in arguments)
        function, primals = differentiable_function(self.op, arguments, static)
        try:
            self.reports.append(gradcheck(function, *primals, order=order, confidence=CONFIDENCE))
        except DiscontinuityError:
            return
        except GradientError as error:
            if not error.report.only_noise:
                raise
            self.noisy.append((error, self.last))  # of numbers of all sizes some cancel; others decide

    def check_where_finite(self, call: Call) -> None:
        """Check the first derivative at a call, unless the operation is infinite there, as 1 / 0."""
        arguments, static = call
        with np.errstate(all="ignore"):
            out = self.op(*arguments, **static)
        results = out if isinstance(out, tuple) else (out,)
        if all(np.all(np.isfinite(one)) for one in results):
            self.check(call, order=1)

    def raise_if_only_noise(self) -> None:
        """Raise the first error of a noisy call if no call could be decided."""
        if self.noisy and not self.reports:
            error, self.last = self.noisy[0]
            raise error

    def script(self) -> str:
        """Return a script that repeats the last call."""
        assert self.last is not None
        call, order = self.last
        return script_of(self.op, *call, "second_order" if order == 2 else "first_order")


def _each(calls: Any, examples: int, check: Any) -> None:
    """Check some calls that Hypothesis draws; if one fails, end with the smallest that does.

    Hypothesis seeds what it draws by the source of ``run``: to edit its code is to draw other calls.
    """

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    @given(calls)
    def run(call: Call) -> None:
        check(call)

    run()
