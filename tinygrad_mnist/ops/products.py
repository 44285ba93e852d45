"""Products of vectors, matrices and more axes; convolution, correlation and polynomials.

Matmul and convolution are declared with rules; the others are formulae of these. Everything is real, so no
product conjugates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.op import UFUNCS, Sample, implements, multilinear


def _t(x: Any) -> Any:
    """The last two axes exchanged."""
    return x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)


def _array(x: Any) -> Any:
    """What NumPy accepts in the place of an array, as one that has a shape; Tensors as they are."""
    return x if hasattr(x, "shape") else np.asarray(x)


def _match(name: str, x: Any, y: Any, n: int, m: int) -> None:
    """Raise if the lengths of the axes that are summed over differ."""
    if n != m:
        raise ValueError(
            f"{name}: shapes {x.shape} and {y.shape} do not match: a sum over {n} and {m} elements"
        )


def _matmul_by_first(g: Any, out: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g[..., None] * y
    return np.matmul(y, g[..., None])[..., 0] if x.ndim == 1 else g @ _t(y)


def _matmul_by_second(g: Any, out: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return g * x if y.ndim == 1 else x[:, None] * g[..., None, :]
    return np.matmul(_t(x), g[..., None])[..., 0] if y.ndim == 1 else _t(x) @ g


matmul = multilinear(
    np.matmul,
    (_matmul_by_first, _matmul_by_second),
    label="@",
    broadcasts=True,
    samples=tuple(
        Sample(shapes)
        for shapes in (
            ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((1, 1), (1, 1)),
            ((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 1)), ((2, 1, 2, 3), (3, 3, 2)),
            ((3,), (2, 3, 2)), ((2, 2, 3), (3,)),
        )
    ),
)  # fmt: skip
UFUNCS[np.matmul] = matmul


@implements(np.linalg.matmul)
def linalg_matmul(x1: Any, x2: Any, /) -> Any:
    return matmul(x1, x2)


@implements(np.vecdot, np.linalg.vecdot)
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    x1, x2 = np.moveaxis(_array(x1), axis, -1), np.moveaxis(_array(x2), axis, -1)
    _match("vecdot", x1, x2, x1.shape[-1], x2.shape[-1])
    return (x1[..., None, :] @ x2[..., :, None])[..., 0, 0]


if hasattr(np, "matvec"):  # NumPy 2.2

    @implements(np.matvec)
    def matvec(x1: Any, x2: Any, /) -> Any:
        x1, x2 = _array(x1), _array(x2)
        _match("matvec", x1, x2, x1.shape[-1], x2.shape[-1])
        return (x1 @ x2[..., None])[..., 0]

    @implements(np.vecmat)
    def vecmat(x1: Any, x2: Any, /) -> Any:
        x1, x2 = _array(x1), _array(x2)
        _match("vecmat", x1, x2, x1.shape[-1], x2.shape[-2])
        return (x1[..., None, :] @ x2)[..., 0, :]


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    """``matmul`` up to two axes; over the last axis of ``a`` and the second to last of ``b`` beyond."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    a, b = _array(a), _array(b)
    _match("dot", a, b, a.shape[-1], b.shape[-min(b.ndim, 2)])
    if b.ndim <= 2:
        return a @ b
    n, *kept = np.moveaxis(b, -2, 0).shape
    return np.reshape(np.matmul(a, np.reshape(np.moveaxis(b, -2, 0), (n, -1))), (*a.shape[:-1], *kept))


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    a, b = _array(a), _array(b)
    _match("vdot", a, b, a.size, b.size)
    return np.ravel(a) @ np.ravel(b)


@implements(np.outer)
def outer(a: Any, b: Any) -> Any:
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


@implements(np.linalg.outer)
def linalg_outer(x1: Any, x2: Any, /) -> Any:
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ValueError(
            f"linalg.outer: shapes {np.shape(x1)} and {np.shape(x2)} were given; expected two vectors "
            "(np.outer flattens its arguments)"
        )
    return outer(x1, x2)


@implements(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    a, b = _array(a), _array(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    _match("inner", a, b, a.shape[-1], b.shape[-1])
    return np.tensordot(a, b, axes=(-1, -1))


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """One product of two matrices: the axes that are summed over become the inner one."""
    a, b = _array(a), _array(b)
    summed_a, summed_b = _summed_axes(axes, a.ndim, b.ndim)
    lengths = [a.shape[axis] for axis in summed_a]
    if lengths != [b.shape[axis] for axis in summed_b]:
        raise ValueError(
            f"tensordot: axes {summed_a} of shape {a.shape} do not match axes {summed_b} of shape {b.shape}"
        )
    kept_a = tuple(axis for axis in range(a.ndim) if axis not in summed_a)
    kept_b = tuple(axis for axis in range(b.ndim) if axis not in summed_b)
    shape_a, shape_b = [a.shape[axis] for axis in kept_a], [b.shape[axis] for axis in kept_b]
    n = math.prod(lengths)
    left = np.reshape(np.transpose(a, kept_a + summed_a), (math.prod(shape_a), n))
    right = np.reshape(np.transpose(b, summed_b + kept_b), (n, math.prod(shape_b)))
    return np.reshape(left @ right, (*shape_a, *shape_b))


def _summed_axes(axes: Any, ndim_a: int, ndim_b: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of both arrays that ``tensordot`` sums over, in pairs."""
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(ndim_a, ndim_b):
            raise ValueError(f"tensordot: axes={axes} was given for {ndim_a} and {ndim_b} axes")
        return tuple(range(ndim_a - axes, ndim_a)), tuple(range(axes))
    of_a, of_b = axes
    return (
        normalize_axis_tuple(of_a, ndim_a, "tensordot: axes of the first array"),
        normalize_axis_tuple(of_b, ndim_b, "tensordot: axes of the second array"),
    )


@implements(np.linalg.tensordot)
def linalg_tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Any:
    return tensordot(x1, x2, axes)


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    """All products of elements; the axes of both interleave, and join in pairs."""
    a, b = _array(a), _array(b)
    ndim = max(a.ndim, b.ndim)
    shape_a = (1,) * (ndim - a.ndim) + a.shape
    shape_b = (1,) * (ndim - b.ndim) + b.shape
    spread_a = np.reshape(a, [n for length in shape_a for n in (length, 1)])
    spread_b = np.reshape(b, [n for length in shape_b for n in (1, length)])
    return np.reshape(spread_a * spread_b, [n * m for n, m in zip(shape_a, shape_b, strict=True)])


def _turned(x: Any) -> Any:
    """(x, y, z) -> (y, z, x)."""
    return np.concatenate([x[..., 1:], x[..., :1]], axis=-1)


@implements(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(_array(a), axisa, -1), np.moveaxis(_array(b), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(
            f"cross: vectors of {a.shape[-1]} and {b.shape[-1]} elements were given; expected 3 (in the "
            "plane, use a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])"
        )
    return np.moveaxis(_turned(a * _turned(b) - _turned(a) * b), -1, axisc)


@implements(np.linalg.cross)
def linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return cross(x1, x2, axis=axis)


# ---- several matrices ------------------------------------------------------------------------------------


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any]) -> Any:
    """The product of all, in the order with the fewest multiplications; the outermost may be vectors."""
    factors = [_array(array) for array in arrays]
    if len(factors) < 2:
        raise ValueError(f"multi_dot: {len(factors)} arrays were given; expected at least two")
    first, last = factors[0], factors[-1]
    if any(x.ndim != 2 for x in factors[1:-1]) or not {first.ndim, last.ndim} <= {1, 2}:
        raise np.linalg.LinAlgError(
            f"multi_dot: shapes {[x.shape for x in factors]} were given; expected matrices, and a matrix or "
            "a vector at each end"
        )
    if any(x.shape[-1] != y.shape[0] for x, y in pairwise(factors)):
        raise ValueError(f"multi_dot: shapes {[x.shape for x in factors]} do not match one another")
    rows = [1 if first.ndim == 1 else first.shape[0], *(x.shape[0] for x in factors[1:])]
    splits = _cheapest_splits([*rows, 1 if last.ndim == 1 else last.shape[1]])

    def product(i: int, j: int) -> Any:
        return factors[i] if i == j else product(i, splits[i, j]) @ product(splits[i, j] + 1, j)

    return product(0, len(factors) - 1)


def _cheapest_splits(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """After which factor to split each chain of them; factor i is of sizes[i] x sizes[i + 1].

    Cormen et al. (2009), "Introduction to Algorithms", section 15.2.
    """
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    splits = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            costs = {
                k: cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)
            }
            splits[i, j] = min(costs, key=lambda k: costs[k])
            cost[i, j] = costs[splits[i, j]]
    return splits


# ---- convolution and polynomials -------------------------------------------------------------------------

convolve_ = multilinear(
    np.convolve,
    (
        lambda g, out, a, v: np.correlate(g, v, "valid"),
        lambda g, out, a, v: np.correlate(g, a, "valid"),
    ),
    name="convolve",
    label="*",
    samples=(Sample(((4,), (3,))), Sample(((2,), (4,))), Sample(((1,), (3,))), Sample(((2,), (2,)))),
)


def _sequence(x: Any) -> Any:
    """A number as a sequence of one."""
    x = _array(x)
    return np.reshape(x, (1,)) if x.ndim == 0 else x


def _part(function: str, whole: Any, longer: int, shorter: int, mode: str, centre: int) -> Any:
    """What NumPy's ``mode`` keeps of a full convolution; "same" starts at ``centre``."""
    if mode == "full":
        return whole
    if mode == "same":
        return whole[centre : centre + longer]
    if mode == "valid":
        return whole[shorter - 1 : longer]
    raise ValueError(f"{function}: mode={mode!r} was given; expected 'full', 'same' or 'valid'")


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    a, v = _sequence(a), _sequence(v)
    shorter, longer = sorted((a.size, v.size))
    return _part("convolve", convolve_(a, v), longer, shorter, mode, (shorter - 1) // 2)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = _sequence(a), _sequence(v)
    shorter, longer = sorted((a.size, v.size))
    centre = (shorter - 1) // 2 if a.size >= v.size else shorter // 2
    return _part("correlate", convolve_(a, np.flip(v)), longer, shorter, mode, centre)


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Horner's scheme."""
    p, x = _array(p), _array(x)
    out = np.zeros_like(x)
    for i in range(len(p)):
        out = out * x + p[i]
    return out


@implements(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers; those of float32 stay float32 (``np.vander`` of an array makes them float64)."""
    if x.ndim != 1:
        raise ValueError(f"vander: shape {x.shape} was given; expected one axis")
    exponents = np.arange(len(x) if N is None else N)
    if x.dtype.kind == "f":
        exponents = exponents.astype(x.dtype)
    return x[:, None] ** (exponents if increasing else exponents[::-1])
