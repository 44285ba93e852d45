"""Products of vectors, matrices and more axes; einsum; convolution in one dimension, and polynomials.

``matmul``, ``convolve`` and ``einsum`` are declared with rules, and the others are formulae of these. Numbers
are real, so no product conjugates.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.op import UFUNCS, EachArgument, Sample, implements, multilinear
from tinygrad_mnist.ops.half import HALF, single, stored
from tinygrad_mnist.ops.shape import as_array


def _t(x: Any) -> Any:
    """Return matrices with their last two axes exchanged."""
    return x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)


def _match(name: str, x: Any, y: Any, n: int, m: int) -> None:
    """Raise if the lengths of the axes that are summed over differ."""
    if n != m:
        raise ValueError(
            f"{name}: shapes {x.shape} and {y.shape} do not match: a sum over {n} and {m} elements"
        )


# A vector in a product is a matrix of one row or one column, whose axis is dropped from the result. The rules
# put it back: for z = x @ y they are g @ y.T and x.T @ g.


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
    flops=lambda out, x, y: 2 * out.size * x.shape[-1],
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
    x1, x2 = np.moveaxis(as_array(x1), axis, -1), np.moveaxis(as_array(x2), axis, -1)
    _match("vecdot", x1, x2, x1.shape[-1], x2.shape[-1])
    return (x1[..., None, :] @ x2[..., :, None])[..., 0, 0]


if hasattr(np, "matvec"):  # NumPy 2.2

    @implements(np.matvec)
    def matvec(x1: Any, x2: Any, /) -> Any:
        x1, x2 = as_array(x1), as_array(x2)
        _match("matvec", x1, x2, x1.shape[-1], x2.shape[-1])
        return (x1 @ x2[..., None])[..., 0]

    @implements(np.vecmat)
    def vecmat(x1: Any, x2: Any, /) -> Any:
        x1, x2 = as_array(x1), as_array(x2)
        _match("vecmat", x1, x2, x1.shape[-1], x2.shape[-2])
        return (x1[..., None, :] @ x2)[..., 0, :]


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    # matmul up to two axes; beyond, a sum over the last axis of a and the second to last of b
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    a, b = as_array(a), as_array(b)
    _match("dot", a, b, a.shape[-1], b.shape[-min(b.ndim, 2)])
    if b.ndim <= 2:
        return a @ b
    n, *kept = np.moveaxis(b, -2, 0).shape
    columns = np.reshape(np.moveaxis(b, -2, 0), (n, math.prod(kept)))
    return np.reshape(np.matmul(a, columns), (*a.shape[:-1], *kept))


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    a, b = as_array(a), as_array(b)
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
    a, b = as_array(a), as_array(b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    _match("inner", a, b, a.shape[-1], b.shape[-1])
    return np.tensordot(a, b, axes=(-1, -1))


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    # one product of two matrices: the axes that are summed over become the inner one
    a, b = as_array(a), as_array(b)
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
    """Return the axes of both arrays that ``tensordot`` sums over, in pairs."""
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
    # all products of elements; the axes of both interleave, and join in pairs
    a, b = as_array(a), as_array(b)
    ndim = max(a.ndim, b.ndim)
    shape_a = (1,) * (ndim - a.ndim) + a.shape
    shape_b = (1,) * (ndim - b.ndim) + b.shape
    spread_a = np.reshape(a, [n for length in shape_a for n in (length, 1)])
    spread_b = np.reshape(b, [n for length in shape_b for n in (1, length)])
    return np.reshape(spread_a * spread_b, [n * m for n, m in zip(shape_a, shape_b, strict=True)])


def _turned(x: Any) -> Any:
    """Return (y, z, x) of (x, y, z)."""
    return np.concatenate([x[..., 1:], x[..., :1]], axis=-1)


@implements(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(as_array(a), axisa, -1), np.moveaxis(as_array(b), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(
            f"cross: vectors of {a.shape[-1]} and {b.shape[-1]} elements were given; expected 3 (in the "
            "plane, use a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])"
        )
    # the inner expression has the components of a x b in the order z, x, y
    return np.moveaxis(_turned(a * _turned(b) - _turned(a) * b), -1, axisc)


@implements(np.linalg.cross)
def linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return cross(x1, x2, axis=axis)


# ---- several matrices ------------------------------------------------------------------------------------


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any]) -> Any:
    # in the order with the fewest multiplications; the first and the last may be vectors
    factors = [as_array(array) for array in arrays]
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
    """Return the factor after which to split each chain; factor i has sizes[i] x sizes[i + 1] elements.

    Cormen et al. (2009), "Introduction to Algorithms", section 15.2: the cost of a chain is the least, over
    all splits, of the costs of both halves and of their product.
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

# The full convolution sums a[i] v[k - i], so its gradients are correlations with the other argument.
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
    """Return a number as a sequence of one."""
    x = as_array(x)
    return np.reshape(x, (1,)) if x.ndim == 0 else x


def _part(function: str, whole: Any, longer: int, shorter: int, mode: str, centre: int) -> Any:
    """Return the part of a full convolution that NumPy's ``mode`` keeps; "same" starts at ``centre``."""
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
    p, x = as_array(p), as_array(x)
    out = np.zeros_like(x)
    for i in range(len(p)):  # Horner's scheme
        out = out * x + p[i]
    return out


@implements(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    # powers of float32 stay float32 here, where np.vander of an array makes float64
    if x.ndim != 1:
        raise ValueError(f"vander: shape {x.shape} was given; expected one axis")
    exponents = np.arange(len(x) if N is None else N)
    if is_float(x):
        exponents = exponents.astype(x.dtype)
    return x[:, None] ** (exponents if increasing else exponents[::-1])


# ---- Einstein's summation --------------------------------------------------------------------------------

# One operation with one rule: the gradient of an einsum is another einsum.

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _explicit(subscripts: str, ndims: tuple[int, ...]) -> tuple[list[str], str]:
    """Return the subscripts with a letter for every axis: the ellipsis spelled out, the output added."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, but {len(ndims)} were given")
    free = [letter for letter in _LETTERS if letter not in subscripts]
    hidden = [
        ndim - len(term.replace("...", "")) if "..." in term else 0
        for term, ndim in zip(terms, ndims, strict=True)
    ]
    dots = "".join(free[: max(hidden, default=0)])
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        once = sorted({letter for letter in letters if letters.count(letter) == 1})
        right = ("..." if "..." in left else "") + "".join(once)
    terms = [term.replace("...", dots[len(dots) - n :]) for term, n in zip(terms, hidden, strict=True)]
    return terms, right.replace("...", dots)


def _einsum_rule(
    position: int, g: Any, out: Any, *operands: Any, subscripts: str, optimize: Any = False
) -> Any:
    """Return the cotangent of one operand: an einsum in which it and the output have changed places.

    Two cases need another operand. A letter that only this operand has, or that has length 1 in the others,
    was summed over: a vector of ones spreads the cotangent along it. A letter that the operand repeats picks
    its diagonal: the second one gets a new name and is spread along, too; what is off the diagonal becomes 0.
    """
    g = single(g)
    terms, result = _explicit(subscripts, tuple(np.ndim(operand) for operand in operands))
    others = [(terms[i], operands[i]) for i in range(len(terms)) if i != position]
    lengths: dict[str, int] = {}
    for term, array in [(result, g), *others]:
        for letter, n in zip(term, np.shape(array), strict=True):
            lengths[letter] = max(n, lengths.get(letter, n))
    spare = iter(sorted(set(_LETTERS) - set(subscripts) - set(lengths)))
    target, on_diagonal = "", np.ones((), bool)
    for axis, (letter, n) in enumerate(zip(terms[position], operands[position].shape, strict=True)):
        if letter in target:
            twin = next(spare)
            others.append((twin, np.ones(n, dtype=g.dtype)))
            indices = np.indices(operands[position].shape, sparse=True)
            on_diagonal = on_diagonal & (indices[target.index(letter)] == indices[axis])
            target += twin
        else:
            if lengths.get(letter, -1) < n:
                others.append((letter, np.ones(n, dtype=g.dtype)))
            target += letter
    left = ",".join([result, *(term for term, _ in others)])
    if not isinstance(optimize, (bool, str)):
        optimize = True  # a path that was given holds for the operands of the forward pass only
    part = np.einsum(f"{left}->{target}", g, *(array for _, array in others), optimize=optimize)
    return part if on_diagonal.ndim == 0 else np.where(on_diagonal, part, 0)  # a product by 0 may be NaN


def _einsum_forward(*operands: Any, subscripts: str, optimize: Any = False) -> Any:
    dtype = np.result_type(*operands)  # of float16, NumPy would add up in float16
    computed_in: dict[str, Any] = {"dtype": np.float32} if dtype == HALF else {}
    return stored(np.einsum(subscripts, *operands, optimize=optimize, **computed_in), dtype)


einsum_ = multilinear(
    _einsum_forward,
    EachArgument(_einsum_rule),
    chooses=True,  # a subscript twice in one operand takes its diagonal
    name="einsum",
    broadcasts=True,
    samples=tuple(
        Sample(shapes, {"subscripts": subscripts})
        for subscripts, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 2))), ("ij,jk", ((2, 3), (3, 2))), ("ij->ji", ((2, 3),)),
            ("ii->i", ((3, 3),)), ("ii", ((2, 2),)), ("ij->", ((2, 3),)), ("i,j->ij", ((2,), (3,))),
            ("...ij,...jk->...ik", ((2, 2, 3), (3, 2))), ("bij,bjk->bik", ((2, 2, 3), (2, 3, 1))),
            ("i,i,i->", ((3,), (3,), (3,))), ("iij,j->i", ((2, 2, 3), (3,))), ("ij,k->k", ((2, 2), (3,))),
            ("i...->...", ((3, 2),)), (",i->i", ((), (3,))), ("ij,ij->ij", ((1, 3), (2, 3))),
            ("ij,ij->j", ((1, 3), (2, 3))), ("ij,ij->j", ((2, 3), (1, 3))), ("ij,ij->", ((1, 3), (2, 1))),
        )
    ),
)  # fmt: skip


@implements(np.einsum)
def einsum(*operands: Any, optimize: Any = False) -> Any:
    subscripts, arrays = _parsed(operands)
    return einsum_(*arrays, subscripts=subscripts, optimize=optimize)


def _parsed(operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Return the subscripts as a string, and the arrays, of either way to call ``np.einsum``."""
    if isinstance(operands[0], str):
        return operands[0], operands[1:]
    if len(operands) < 2:
        raise ValueError("einsum: expected subscripts, such as 'ij,jk->ik', and one array for each of them")
    inputs = ",".join(_letters(indices) for indices in operands[1::2])
    arrow = f"->{_letters(operands[-1])}" if len(operands) % 2 else ""
    return inputs + arrow, operands[: len(operands) - 1 : 2]


def _letters(indices: Any) -> str:
    """Return the list ``[0, ..., 1]`` as the string "a...b"."""
    if not isinstance(indices, (list, tuple)):
        raise TypeError(
            "einsum: expected the subscripts as a string first, such as 'ij,jk->ik', or a list of numbers "
            f"after each array; got {type(indices).__name__}"
        )
    return "".join("..." if index is Ellipsis else _LETTERS[operator.index(index)] for index in indices)
