"""Hypothesis strategies for what operations take: arrays in a domain, shapes, axes, indices, layouts.

:func:`op_inputs` reads an operation's declaration (``samples`` and ``domain``) and draws calls of it. Values
lie on a grid, so that they shrink well, and away from kinks.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from tinygrad_mnist.op import Domain, EachArgument, Op, Sample

Array = NDArray[Any]
Call = tuple[tuple[Any, ...], dict[str, Any]]

LAYOUTS: Final = ("contiguous", "fortran", "strided", "reversed", "read-only")
GRID: Final = 97
"""Values that an element can take: a prime, so that sums of few of them rarely vanish."""


@cache
def grid(domain: Domain) -> Array:
    """The values that are drawn from a domain, the nearest to 1 first; whole numbers are there more often.

    Examples
    --------
    >>> grid(Domain(0.0, 2.0, kinks=(1.0,), margin=0.5))[:2].round(3)
    array([1.5, 0.5])
    """
    if domain.distinct:
        values = np.linspace(domain.low, domain.high, int((domain.high - domain.low) / domain.margin) + 1)
    else:
        whole = np.arange(np.ceil(domain.low), np.floor(domain.high) + 1)
        values = np.concatenate([np.repeat(whole, 4), np.linspace(domain.low, domain.high, GRID)])
    values = np.round(values, 12)  # so that 0 is 0
    for kink in domain.kinks:
        values = values[np.abs(values - kink) >= domain.margin - 1e-9]
    values = values[np.argsort(np.abs(values - 1) - 1e-9 * values, kind="stable")]
    values.flags.writeable = False  # it is shared
    return values


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


def _every(step: int, ndim: int) -> Any:
    """The index of every ``step``-th element along each axis; of a 0-d array, a view."""
    return (Ellipsis, *(slice(None, None, step),) * ndim)


@cache
def shapes(max_dims: int = 3, max_side: int = 3, min_side: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes from ``()`` on, with axes of length 1 among them."""
    return npst.array_shapes(min_dims=0, max_dims=max_dims, min_side=min_side, max_side=max_side)


def arrays_in(
    domains: Sequence[Domain], array_shapes: Sequence[tuple[int, ...]]
) -> st.SearchStrategy[tuple[Array, ...]]:
    """One float64 array a domain and shape; where the domains are ``distinct``, all their elements differ."""
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
    return st.tuples(*(_array_in(d, shape) for d, shape in zip(domains, array_shapes, strict=True)))


@cache
def _array_in(domain: Domain, shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    values = grid(domain)
    picks = npst.arrays(np.intp, shape, elements=st.integers(0, len(values) - 1), fill=st.nothing())
    return picks.map(lambda chosen: np.asarray(values[chosen]))


@cache
@st.composite
def reductions(draw: st.DrawFn, ndim: int) -> dict[str, Any]:
    """``axis`` (None, an int of either sign, or a tuple) and ``keepdims``."""
    some = st.none()
    if ndim:
        one = st.integers(-ndim, ndim - 1)
        several = npst.valid_tuple_axes(ndim, max_size=ndim)
        some = st.one_of(st.none(), one, several)
    return {"axis": draw(some), "keepdims": draw(st.booleans())}


@cache
@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index of any NumPy kind: basic, integer arrays with repeats and from the end, masks, mixtures."""
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
    """Positions on an axis, negative and repeated ones too."""
    sides = npst.array_shapes(min_dims=ndim, max_dims=ndim, max_side=3)
    return sides.flatmap(
        lambda shape: npst.arrays(np.int64, shape, elements=st.integers(-length, length - 1))
    )


@st.composite
def op_inputs(draw: st.DrawFn, op: Op) -> Call:
    """Arguments and static arguments of one call of an operation, as its declaration describes them.

    Drawn arguments are float64 arrays; constants of a sample are handed on as they are.
    """
    if op.samples == "broadcast":
        count = _count_of_arguments(op)
        array_shapes = draw(broadcastable(count, max_dims=3 if count == 1 else 2))
        return draw(arrays_in(_domains(op, count), array_shapes)), {}
    if op.samples == "reduction":
        shape = draw(shapes())
        return draw(arrays_in(_domains(op, 1), [shape])), draw(reductions(len(shape)))
    if op.samples == "index":
        shape = draw(shapes())
        return draw(arrays_in(_domains(op, 1), [shape])), {"index": draw(indices(shape))}
    if isinstance(op.samples, str):
        raise ValueError(
            f"operation {op.name!r} has samples {op.samples!r}; expected 'broadcast', 'reduction', 'index' "
            "or a tuple of Sample"
        )
    return draw(_call_of(op, draw(st.sampled_from(op.samples))))


@st.composite
def _call_of(draw: st.DrawFn, op: Op, sample: Sample) -> Call:
    domains = _domains(op, len(sample.shapes))
    drawn = [i for i in range(len(sample.shapes)) if i not in sample.constants]
    arrays = draw(arrays_in([domains[i] for i in drawn], [sample.shapes[i] for i in drawn]))
    arguments: dict[int, Any] = {**sample.constants, **dict(zip(drawn, arrays, strict=True))}
    for i, prepare in sample.prepare.items():
        arguments[i] = prepare(arguments[i])
    return tuple(arguments[i] for i in sorted(arguments)), dict(sample.static)


@st.composite
def broadcastable(
    draw: st.DrawFn, count: int, max_dims: int = 3, max_side: int = 3
) -> tuple[tuple[int, ...], ...]:
    """Shapes that broadcast with each other; some the whole result's, some of fewer axes or of length 1."""
    whole = draw(shapes(max_dims, max_side, min_side=0))
    return tuple(draw(st.one_of(st.just(whole), _parts_of(whole))) for _ in range(count))


@cache
@st.composite
def _parts_of(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    kept = shape[draw(st.integers(0, len(shape))) :]
    return tuple(draw(st.sampled_from((n, 1))) for n in kept)


def _domains(op: Op, count: int) -> tuple[Domain, ...]:
    return (op.domain,) * count if isinstance(op.domain, Domain) else op.domain[:count]


def _count_of_arguments(op: Op) -> int:
    """One a rule; without rules (a fused operation), the positional parameters of the forward function."""
    if not isinstance(op.rules, EachArgument) and op.rules:
        return len(op.rules)
    parameters = inspect.signature(op.forward).parameters.values()
    return sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
