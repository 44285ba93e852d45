"""The gradient check of many operations, one line each: what ``tinygrad-mnist gradcheck`` prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import HypothesisException

from tinygrad_mnist.engine.op import Domain, Op
from tinygrad_mnist.testing.gradcheck import gradcheck
from tinygrad_mnist.testing.properties import _function, script_of
from tinygrad_mnist.testing.report import DiscontinuityError, GradientError, Report
from tinygrad_mnist.testing.strategies import Call, has_kinks, op_inputs, op_inputs_on_kinks

ON_KINKS: Final = 4
"""Of an operation that has kinks, one call in so many lies on them."""


@dataclass(frozen=True)
class Finding:
    """What the check of one operation came to.

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
        How long it took.
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
        What to check.
    order : {1, 2}
        As for `gradcheck`; at a kink only the first derivative is checked.
    examples : int
        Calls to draw for each operation. A quarter of them lie on kinks, or have ties, where the operation's
        domain says that it has some; those where it is infinite (``1 / x``) or jumps are left out.
    dtype : {"float64", "float32"}
        What the operations compute in.

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
    start = perf_counter()
    reports: list[Report] = []
    last: list[tuple[Call, int]] = []
    noisy: list[tuple[GradientError, Call]] = []

    def check(call: Call, order: int = order) -> None:
        last[:] = [(call, order)]
        arguments, static = call
        if dtype != "float64" and "dtype" not in static:  # what names its dtype is checked in that
            arguments = tuple(_cast(argument, dtype) for argument in arguments)
        function, primals = _function(op, arguments, static)
        try:
            reports.append(gradcheck(function, *primals, order=order, confidence=0.9))
        except DiscontinuityError:
            return
        except GradientError as error:
            if not error.report.only_noise:
                raise
            noisy.append((error, call))  # of numbers of all sizes some cancel; others decide

    def check_on_kinks(call: Call) -> None:
        if _is_finite(op, call):
            check(call, order=1)

    on_kinks = examples // ON_KINKS if _has_kinks(op) else 0
    failure, verdict = None, "right"
    try:
        _each(op_inputs(op), examples - on_kinks, check)
        if on_kinks:
            _each(op_inputs_on_kinks(op), on_kinks, check_on_kinks)
        if noisy and not reports:
            error, call = noisy[0]
            last[:] = [(call, order)]
            raise error
    except GradientError as error:
        verdict = error.report.failures[0].verdict
        reports.append(error.report)
        call, order = last[0]
        failure = f"{error}\n\n{script_of(op, *call, 'second_order' if order == 2 else 'first_order')}"
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, HypothesisException) or not last:
            raise
        verdict = "wrong"
        failure = f"{type(error).__name__}: {error}\n\n{script_of(op, *last[0][0], 'first_order')}"
    return Finding(
        op.name,
        len(reports),
        sum(len(report.entries) for report in reports),
        max((report.largest_error for report in reports), default=0.0),
        sum(len(report.kinks) for report in reports),
        verdict,
        perf_counter() - start,
        failure,
    )


def _has_kinks(op: Op) -> bool:
    return any(map(has_kinks, (op.domain,) if isinstance(op.domain, Domain) else op.domain))


def _is_finite(op: Op, call: Call) -> bool:
    arguments, static = call
    with np.errstate(all="ignore"):
        out = op(*arguments, **static)
    return all(np.all(np.isfinite(one)) for one in (out if isinstance(out, tuple) else (out,)))


def _each(calls: Any, examples: int, check: Any) -> None:
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


def _cast(argument: Any, dtype: str) -> Any:
    is_wide = isinstance(argument, np.ndarray) and argument.dtype == np.float64
    return argument.astype(dtype) if is_wide else argument
