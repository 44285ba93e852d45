"""Arrays for a check, without Hypothesis: the values of a domain, on its kinks and off them; layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.op import Domain

Array = NDArray[Any]

LAYOUTS: Final = ("contiguous", "fortran", "strided", "reversed", "read-only")
"""What `laid_out` knows."""

GRID: Final = 97
"""Values that an element can take: a prime, so that sums of few of them rarely vanish."""

COMMON: Final = 3.0
"""Where a domain has no bounds, common values are less than this, or lie between a bound and twice it off."""

MAGNITUDES: Final = (*(1.0,) * 4, 10.0, 1e2, 1e3, 1e4, 1e-2, 1e-5)
"""What arrays of common values are multiplied by; many of them by nothing, the first and simplest."""

TIED: Final = 2
"""Values that an element takes where ties are wanted."""


@cache
def grid(domain: Domain) -> Array:
    """The common values of a domain, the nearest to 1 first; whole numbers are there more often.

    Examples
    --------
    >>> grid(Domain(0.0, 2.0, kinks=(1.0,), margin=0.5))[:2].round(3)
    array([1.5, 0.5])
    """
    low, high = domain.low, domain.high
    if math.isinf(low):
        low = min(-COMMON, high - 2 * COMMON)
    if math.isinf(high):
        high = max(COMMON, low + 2 * COMMON) if low > 1 else COMMON
    if domain.distinct:
        values = np.linspace(low, high, int((high - low) / domain.margin) + 1)
    else:
        whole = np.arange(np.ceil(low), np.floor(high) + 1)
        values = np.concatenate([np.repeat(whole, 4), np.linspace(low, high, GRID)])
    values = np.round(values, 12)  # so that 0 is 0
    for kink in domain.kinks:
        values = values[np.abs(values - kink) >= domain.margin - 1e-9]
    values = values[np.argsort(np.abs(values - 1) - 1e-9 * values, kind="stable")]
    values.flags.writeable = False  # it is shared
    return values


@cache
def grid_on_kinks(domain: Domain) -> Array:
    """The kinks of a domain, then the values of its :func:`grid`; few values where it asks for distinct ones.

    Examples
    --------
    >>> grid_on_kinks(Domain(0.0, 2.0, kinks=(1.5,), margin=0.5))[:3].round(3)
    array([1.5, 1. , 1. ])
    >>> grid_on_kinks(Domain(distinct=True)).round(1)
    array([1. , 1.1])
    """
    kinks = [kink for kink in domain.kinks if domain.low <= kink <= domain.high]
    values = np.concatenate([kinks, grid(domain)[: TIED if domain.distinct else GRID]])
    values.flags.writeable = False  # it is shared
    return values


def magnified(arrays: Sequence[Array], domains: Sequence[Domain], factors: Sequence[float]) -> list[Array]:
    """The arrays, each times its factor, where that stays in its domain, and keeps its margins.

    Where the domains are ``distinct``, all are multiplied by the first factor, and never made smaller.

    Examples
    --------
    >>> magnified([np.array([2.0, -2.0])], [Domain(low=-3.0)], [1e3])
    [array([2000.,   -2.])]
    """
    if domains and all(domain.distinct for domain in domains):
        factors = [max(factors[0], 1.0)] * len(factors)
    made = []
    for array, domain, factor in zip(arrays, domains, factors, strict=True):
        larger = array * factor
        fits = (larger >= domain.low) & (larger <= domain.high)
        for kink in domain.kinks:
            fits &= np.abs(larger - kink) >= domain.margin
        made.append(np.where(fits, larger, array))
    return made


def laid_out(array: Array, layout: str) -> Array:
    """The same values in another memory layout: a view into a larger array, or one that cannot be written to.

    Examples
    --------
    >>> laid_out(np.arange(3.0), "strided").strides
    (16,)
    """
    if layout == "fortran":
        return array.copy(order="F")
    if layout == "strided":
        between = np.nan if array.dtype.kind == "f" else 0  # what nobody must read
        wide = np.full(tuple(2 * n for n in array.shape), between, array.dtype)
        view: Array = wide[_every(2, array.ndim)]
        view[...] = array
        return view
    if layout == "reversed":
        backwards: Array = array[_every(-1, array.ndim)].copy()
        view = backwards[_every(-1, array.ndim)]
        return view
    out = array.copy()
    if layout == "read-only":
        out.flags.writeable = False
    return out


def has_kinks(domain: Domain) -> bool:
    """Whether a domain names points where an operation is not smooth, or ties are.

    Examples
    --------
    >>> has_kinks(Domain(kinks=(0.0,))), has_kinks(Domain(distinct=True)), has_kinks(Domain())
    (True, True, False)
    """
    return domain.distinct or any(domain.low <= kink <= domain.high for kink in domain.kinks)


def _every(step: int, ndim: int) -> Any:
    """The index of every ``step``-th element along each axis; of a 0-d array, a view."""
    return (Ellipsis, *(slice(None, None, step),) * ndim)
