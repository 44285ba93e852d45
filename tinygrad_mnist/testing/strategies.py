"""Hypothesis strategies for the arguments of operations: arrays in a domain, shapes, axes, indices, layouts.

:func:`op_inputs` reads an operation's declaration (``samples`` and ``domain``) and draws calls of it. Values
lie on a grid, so that they shrink well, and away from kinks; those of :func:`arrays_on_kinks` and
:func:`op_inputs_on_kinks` lie on them. The smallest examples that Hypothesis finds are shown by ``find``:

>>> from hypothesis import find
>>> find(axes(3), lambda axis: isinstance(axis, tuple) and len(axis) > 1)
(0, 1)
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.op import Domain, EachArgument, Op, Sample

Array = NDArray[Any]
Call = tuple[tuple[Any, ...], dict[str, Any]]

LAYOUTS: Final = ("contiguous", "fortran", "strided", "reversed", "read-only")
"""The memory layouts that `laid_out` makes."""

GRID: Final = 97
"""Number of values that an element can take: a prime, so that sums of few of them rarely vanish."""

COMMON: Final = 3.0
"""Bound of common values where a domain has none, and half the length of their range beside a bound."""

MAGNITUDES: Final = (*(1.0,) * 4, 10.0, 1e2, 1e3, 1e4, 1e-2, 1e-5)
"""Factors of arrays of common values; most often 1, the first and simplest."""

TIED: Final = 2
"""Number of values that an element can take where ties are wanted."""

MODERATE: Final = 1e25
"""Largest result of a call: derivatives of larger ones would overflow float32, which ends at 3e38."""

__all__ = [
    "LAYOUTS", "arrays_in", "arrays_on_kinks", "axes", "broadcastable", "edge_values", "grid",
    "grid_on_kinks", "has_kinks", "indices", "laid_out", "op_inputs", "op_inputs_on_kinks", "reductions",
    "shapes", "views",
]  # fmt: skip


def views(arrays: st.SearchStrategy[Array], layouts: Sequence[str] = LAYOUTS) -> st.SearchStrategy[Array]:
    """Draw the arrays of another strategy as strided, reversed, Fortran-ordered and read-only views.

    Parameters
    ----------
    arrays : strategy of ndarray
        The arrays to lay out.
    layouts : sequence of str
        Some of :data:`LAYOUTS`; the first is the simplest.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(views(st.just(np.ones((2, 3)))), lambda array: array.strides[-1] < 0).strides
    (-24, -8)
    """
    return st.builds(laid_out, arrays, st.sampled_from(layouts))


@cache
def edge_values(dtype: str = "float64") -> st.SearchStrategy[Any]:
    """Draw NumPy scalars at the edges of a float dtype: 0, -0, 1, the smallest, the largest, infinity, NaN.

    The smallest normal number and the smallest subnormal one; all but NaN of either sign.

    They are for code that must bear them, and for ``npst.arrays(dtype, shape, elements=edge_values(dtype))``.
    Few functions have a derivative there, so no operation's inputs are drawn from them.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(edge_values("float32"), lambda number: 0 < number < np.finfo("float32").tiny)
    np.float32(1e-45)
    >>> find(edge_values(), np.isinf)
    np.float64(inf)
    """
    info = np.finfo(dtype)
    sizes = (0.0, 1.0, float(info.tiny), float(info.smallest_subnormal), float(info.max), np.inf)
    numbers = [sign * size for size in sizes for sign in (1.0, -1.0)]
    return st.sampled_from([np.dtype(dtype).type(number) for number in (*numbers, np.nan)])


@cache
def shapes(max_dims: int = 3, max_side: int = 3, min_side: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    """Draw shapes from ``()`` on, with axes of length 1 among them.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(shapes(max_dims=2), lambda shape: True), find(shapes(), lambda shape: len(shape) == 3)
    ((), (1, 1, 1))
    """
    return npst.array_shapes(min_dims=0, max_dims=max_dims, min_side=min_side, max_side=max_side)


def arrays_in(
    domains: Sequence[Domain], array_shapes: Sequence[tuple[int, ...]]
) -> st.SearchStrategy[tuple[Array, ...]]:
    """Draw a float64 array for each domain and shape; in ``distinct`` domains all their elements differ.

    Values keep the domain's margin from its kinks; :func:`arrays_on_kinks` draws those that do not.

    Examples
    --------
    >>> from hypothesis import find
    >>> x, y = find(arrays_in([Domain(), Domain(0.2, 3.0)], [(2,), ()]), lambda drawn: True)
    >>> x, y
    (array([1., 1.]), array(1.))
    """
    if domains and all(domain.distinct for domain in domains):
        sizes = [int(np.prod(shape, dtype=int)) for shape in array_shapes]
        values = grid(domains[0])
        chosen = npst.arrays(
            np.intp, sum(sizes), elements=st.integers(0, len(values) - 1), unique=True, fill=st.nothing()
        )
        ends = np.cumsum([0, *sizes])
        return chosen.map(
            lambda picks: tuple(
                values[picks[start:end]].reshape(shape)
                for start, end, shape in zip(ends[:-1], ends[1:], array_shapes, strict=True)
            )
        )
    return st.tuples(*(_array_of(grid(d), s) for d, s in zip(domains, array_shapes, strict=True)))


@st.composite
def arrays_on_kinks(
    draw: st.DrawFn, domains: Sequence[Domain], array_shapes: Sequence[tuple[int, ...]]
) -> tuple[Array, ...]:
    """Draw a float64 array for each domain and shape, with an element on a kink, or tied with another one.

    A kink is one of the domain's; where elements should be ``distinct``, two that are equal are one.

    Parameters
    ----------
    domains, array_shapes
        As for :func:`arrays_in`. Without kinks, or elements, ordinary arrays are drawn.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(arrays_on_kinks([Domain(kinks=(0.0,))], [(3,)]), lambda drawn: drawn[0][0] != 0)
    (array([1., 0., 0.]),)
    >>> find(arrays_on_kinks([Domain(distinct=True)] * 2, [(2,), (1,)]), lambda drawn: True)
    (array([1., 1.]), array([1.]))
    """
    pairs = list(zip(domains, array_shapes, strict=True))
    arrays = tuple(draw(_array_of(grid_on_kinks(domain), shape)) for domain, shape in pairs)
    kinked = [(a, d) for a, d in zip(arrays, domains, strict=True) if has_kinks(d) and a.size]
    if not kinked or any(np.any(np.isin(array, domain.kinks)) for array, domain in kinked):
        return arrays
    array, domain = kinked[-1]
    if domain.distinct:
        array.flat[-1] = kinked[0][0].flat[0]
    else:
        array.flat[-1] = grid_on_kinks(domain)[0]
    return arrays


def _array_of(values: Array, shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    """Draw an array of some values. Positions are drawn, since they shrink to the first values."""
    picks = npst.arrays(np.intp, shape, elements=st.integers(0, len(values) - 1), fill=st.nothing())
    return picks.map(lambda chosen: np.asarray(values[chosen]))


@cache
def axes(ndim: int) -> st.SearchStrategy[int | tuple[int, ...] | None]:
    """Draw an ``axis`` for an array of ``ndim`` axes: None, an int of either sign, or a tuple of them.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(axes(3), lambda axis: axis is not None), find(axes(3), lambda axis: axis == (0, -1))
    (0, (0, -1))
    >>> find(axes(0), lambda axis: True) is None
    True
    """
    if not ndim:
        return st.none()
    one = st.integers(-ndim, ndim - 1)
    return st.one_of(st.none(), one, npst.valid_tuple_axes(ndim, max_size=ndim))


@cache
@st.composite
def reductions(draw: st.DrawFn, ndim: int) -> dict[str, Any]:
    """Draw ``axis``, as :func:`axes` does, and ``keepdims``, as keyword arguments.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(reductions(2), lambda static: static["keepdims"])
    {'axis': None, 'keepdims': True}
    """
    return {"axis": draw(axes(ndim)), "keepdims": draw(st.booleans())}


@cache
@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Draw an index of any NumPy kind: basic, integer arrays with repeats and from the end, masks, mixtures.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(indices((3,)), lambda index: isinstance(index, list))
    [0]
    """
    kinds = ["basic", "mask"]
    if shape:
        kinds += ["integers", "mixed", "list", "mesh"]
    kind = draw(st.sampled_from(kinds))
    if kind == "basic":
        return draw(npst.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True, max_dims=5))
    if kind == "mask":
        return draw(npst.arrays(np.bool_, shape[: draw(st.integers(0, len(shape)))]))
    positions = st.integers(-shape[0], shape[0] - 1)
    if kind == "list":
        return draw(st.lists(positions, min_size=1, max_size=4))
    if kind == "integers":
        return draw(npst.integer_array_indices(shape, result_shape=shapes(2), dtype=np.dtype(np.int64)))
    if kind == "mesh":
        return np.ix_(*(draw(_positions(n, 1)) for n in shape))
    picked = draw(_positions(shape[0], draw(st.integers(1, 2))))
    rest = draw(st.sampled_from([(Ellipsis,), (None,), (Ellipsis, None), (slice(None),) * (len(shape) - 1)]))
    return (picked, *rest)


@cache
def _positions(length: int, ndim: int) -> st.SearchStrategy[Array]:
    """Draw positions on an axis, negative and repeated ones too."""
    sides = npst.array_shapes(min_dims=ndim, max_dims=ndim, max_side=3)
    return sides.flatmap(
        lambda shape: npst.arrays(np.int64, shape, elements=st.integers(-length, length - 1))
    )


def op_inputs(op: Op, magnitudes: Sequence[float] = MAGNITUDES) -> st.SearchStrategy[Call]:
    """Draw arguments and static arguments of one call of an operation, as its declaration describes them.

    Drawn arguments are float64 arrays, away from kinks; constants of a sample are handed on as they are. In
    many of the arrays values are common, between -3 and 3; in others, where the domain has no bounds, they
    are up to 10,000 times as large or small, but no result is so large that its derivatives would overflow.

    Parameters
    ----------
    op : Op
        The operation; it need not be registered.
    magnitudes : sequence of float
        Factors by which an array's values may be larger than common ones, where the domain has no bounds.

    Examples
    --------
    >>> from hypothesis import find
    >>> from tinygrad_mnist.engine.op import REGISTRY
    >>> find(op_inputs(REGISTRY["sum"]), lambda call: call[0][0].ndim == 2)
    ((array([[1.]]),), {'axis': None, 'keepdims': False})
    """
    return _calls_of(op, arrays_in, magnitudes)


def op_inputs_on_kinks(op: Op) -> st.SearchStrategy[Call]:
    """Draw calls as :func:`op_inputs` does, on kinks or with ties where the operation's domain has them.

    It may be undefined there (``1 / x`` at 0): only the first derivative can be checked, and where it exists.

    Examples
    --------
    >>> from hypothesis import find
    >>> from tinygrad_mnist.engine.op import REGISTRY
    >>> find(op_inputs_on_kinks(REGISTRY["relu"]), lambda call: call[0][0].size == 1)
    ((array(0.),), {})
    """
    return _calls_of(op, arrays_on_kinks, (1.0,))


@st.composite
def _calls_of(draw: st.DrawFn, op: Op, drawn_from: Any, magnitudes: Sequence[float]) -> Call:
    """Draw a call whose arrays come from one of the strategies above, times a magnitude each."""
    sample = draw(_samples_of(op))
    drawn = [i for i in range(len(sample.shapes)) if i not in sample.constants]
    domains = [_domains(op, len(sample.shapes))[i] for i in drawn]
    arrays = draw(drawn_from(domains, [sample.shapes[i] for i in drawn]))
    # What a sample prepares, such as a regular matrix, need not be that at another size.
    factors = [1.0 if i in sample.prepare else draw(st.sampled_from(magnitudes)) for i in drawn]

    def call() -> Call:
        made = magnified(arrays, domains, factors)
        arguments: dict[int, Any] = {**sample.constants, **dict(zip(drawn, made, strict=True))}
        for i, prepare in sample.prepare.items():
            arguments[i] = prepare(arguments[i])
        return tuple(arguments[i] for i in sorted(arguments)), dict(sample.static)

    # Magnitudes that are too large are drawn nearer to 1, by their root, rather than rejected: Hypothesis
    # would draw the whole call again.
    while any(factor != 1 for factor in factors) and not _is_moderate(op, call()):
        factors = [math.sqrt(factor) if abs(math.log(factor)) > 1 else 1.0 for factor in factors]
    return call()


@st.composite
def _samples_of(draw: st.DrawFn, op: Op) -> Sample:
    """Draw the shapes and static arguments of a call."""
    if op.samples == "broadcast":
        count = _count_of_arguments(op)
        return Sample(draw(broadcastable(count, max_dims=3 if count == 1 else 2)))
    if op.samples == "reduction":
        shape = draw(shapes())
        return Sample((shape,), draw(reductions(len(shape))))
    if op.samples == "index":
        shape = draw(shapes())
        return Sample((shape,), {"index": draw(indices(shape))})
    if isinstance(op.samples, str):
        raise ValueError(
            f"operation {op.name!r} has samples {op.samples!r}; expected 'broadcast', 'reduction', 'index' "
            "or a tuple of Sample"
        )
    sample: Sample = draw(st.sampled_from(op.samples))
    return sample


def _is_moderate(op: Op, call: Call) -> bool:
    """Return whether operation and formula stay finite in float32, and far enough from where it ends."""
    arguments, static = call
    narrow = [x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x for x in arguments]
    for function in (op, op.formula or op):
        try:
            with np.errstate(over="raise", invalid="raise", divide="raise", under="ignore"):
                out = function(*narrow, **static)
        except (ArithmeticError, ValueError):  # LinAlgError is one
            return False
        results = out if isinstance(out, tuple) else (out,)
        if not all(np.all(np.abs(one) <= MODERATE) for one in results):
            return False
    return True


@st.composite
def broadcastable(
    draw: st.DrawFn, count: int, max_dims: int = 3, max_side: int = 3
) -> tuple[tuple[int, ...], ...]:
    """Draw shapes that broadcast together: the whole result's, or of fewer axes, or of axes of length 1.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(broadcastable(2), lambda drawn: True)
    ((), ())
    """
    whole = draw(shapes(max_dims, max_side, min_side=0))
    return tuple(draw(st.one_of(st.just(whole), _parts_of(whole))) for _ in range(count))


@cache
@st.composite
def _parts_of(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a shape that broadcasts to another one."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    return tuple(draw(st.sampled_from((n, 1))) for n in kept)


def _domains(op: Op, count: int) -> tuple[Domain, ...]:
    """Return the domain of each of the first arguments."""
    return (op.domain,) * count if isinstance(op.domain, Domain) else op.domain[:count]


def _count_of_arguments(op: Op) -> int:
    """Return the number of arguments: one a rule, or, of a fused operation, a positional parameter each."""
    if not isinstance(op.rules, EachArgument) and op.rules:
        return len(op.rules)
    parameters = inspect.signature(op.forward).parameters.values()
    return sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)


# ---- arrays, without Hypothesis --------------------------------------------------------------------------


@cache
def grid(domain: Domain) -> Array:
    """Return the common values of a domain, the nearest to 1 first; whole numbers are there more often.

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
    values = np.round(values, 12)  # so that 0 is 0, and not 1e-17
    for kink in domain.kinks:
        values = values[np.abs(values - kink) >= domain.margin - 1e-9]
    # Of two that are equally near to 1 the larger comes first: Hypothesis shrinks towards the first values.
    values = values[np.argsort(np.abs(values - 1) - 1e-9 * values, kind="stable")]
    values.flags.writeable = False  # it is shared
    return values


@cache
def grid_on_kinks(domain: Domain) -> Array:
    """Return the kinks of a domain, then its :func:`grid`; few values where it asks for distinct ones.

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
    """Return the arrays, each times its factor, where that stays in its domain, and keeps its margins.

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
    """Return a copy in another memory layout: a view into a larger array, or one that cannot be written to.

    Examples
    --------
    >>> laid_out(np.arange(3.0), "strided").strides
    (16,)
    """
    match layout:
        case "contiguous":
            return array.copy()
        case "fortran":
            return array.copy(order="F")
        case "strided":
            between = np.nan if is_float(array) else 0  # the gaps of the view, which nobody must read
            wide = np.full(tuple(2 * n for n in array.shape), between, array.dtype)
            strided: Array = wide[_every(2, array.ndim)]
            strided[...] = array
            return strided
        case "reversed":
            backwards: Array = array[_every(-1, array.ndim)].copy()
            reverse: Array = backwards[_every(-1, array.ndim)]
            return reverse
        case "read-only":
            out = array.copy()
            out.flags.writeable = False
            return out
        case _:
            raise ValueError(f"laid_out was given layout={layout!r}; expected one of {', '.join(LAYOUTS)}")


def has_kinks(domain: Domain) -> bool:
    """Return whether a domain names points where an operation is not smooth, or asks for distinct values.

    Examples
    --------
    >>> has_kinks(Domain(kinks=(0.0,))), has_kinks(Domain(distinct=True)), has_kinks(Domain())
    (True, True, False)
    """
    return domain.distinct or any(domain.low <= kink <= domain.high for kink in domain.kinks)


def _every(step: int, ndim: int) -> Any:
    """Return the index of every ``step``-th element along each axis; of a 0-d array, a view."""
    return (Ellipsis, *(slice(None, None, step),) * ndim)
