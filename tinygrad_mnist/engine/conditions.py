"""Questions about values: how code asks them that also runs while a function is traced, without values.

A rule that saves work where something is nowhere the case asks `somewhere`. A check that raises an error asks
`found`. Code that asks otherwise (``if np.any(...)``) raises while it is traced.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.observe import recorder, tracer


def _array(condition: Any) -> Any:
    """Return the array of a Tensor: to ask a question is no reading that a recorder has to hear of."""
    return getattr(condition, "_array", condition)


def _is_traced(condition: Any) -> bool:
    return getattr(_array(condition), "is_symbol", False)


def somewhere(condition: Any) -> bool:
    """Return whether a condition holds for an element; True where nobody can tell.

    So what follows has to be right whether it does or not.

    Examples
    --------
    >>> somewhere(np.array([False, True])), somewhere(np.array([False]))
    (True, False)
    """
    if _is_traced(condition):
        return True
    watching = recorder.get()
    return (watching is not None and watching.for_other_values) or bool(np.any(_array(condition)))


def found(fault: Any) -> bool:
    """Return whether a fault, for which an error is raised, is in an element.

    While tracing it is not; the program that is traced then looks for it, and leaves a call in which it is
    to the function itself.

    Examples
    --------
    >>> found(np.array([2, -1]) < 0)
    True
    """
    if _is_traced(fault):
        tracer().require(np.logical_not(np.any(fault)))
        return False
    return bool(np.any(_array(fault)))
