"""Images in another size: nearest pixels, bilinear interpolation, means of areas.

Each is a sparse matrix along the height and another along the width. The transpose of such a matrix is one of
the same kind, so two linear operations, each the other's transpose, carry all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.op import Op, Sample, linear
from tinygrad_mnist.ops.elementwise import floating
from tinygrad_mnist.ops.half import single, stored
from tinygrad_mnist.ops.windows import Pair, told

Scale = tuple[float | None, float | None]
"""Pixels of the input to one of the output, down and across; None for the ratio of both sizes."""

Entries = tuple[Any, Any, Any]
"""A sparse matrix: the rows, the columns and the values of its entries, as vectors."""

# ---- the matrices ----------------------------------------------------------------------------------------

# Where a pixel of the output lies in the input, with both images in the same frame. The centre of pixel i is
# at i + 1/2, so it is scale (i + 1/2) - 1/2; with ``align_corners`` the centres of the corners coincide.


def _nearest(n: int, count: int, scale: float, shift: float) -> Entries:
    if not shift and count in (n, 2 * n):  # as in PyTorch, whatever the scale
        return np.arange(count), np.arange(count) * n // count, np.ones(count)
    # in float32, as PyTorch does it: where the product falls on a whole number, its rounding decides
    places = (np.arange(count, dtype=np.float32) + np.float32(shift)) * np.float32(scale)
    return np.arange(count), np.minimum(places.astype(np.intp), n - 1), np.ones(count)


def _bilinear(n: int, count: int, scale: float, align_corners: bool) -> Entries:
    i = np.arange(count)
    if count == n:  # as in PyTorch, whatever the scale
        return i, i, np.ones(count)
    if align_corners:
        places = i * ((n - 1) / (count - 1) if count > 1 else 0.0)
    else:
        places = np.maximum((i + 0.5) * scale - 0.5, 0)
    low = np.minimum(places.astype(np.intp), n - 1)
    high = np.minimum(low + 1, n - 1)
    share = np.where(low == high, 0, places - low)  # beyond the last centre there is only the last pixel
    between = share > 0
    return (
        np.concatenate([i, i[between]]),
        np.concatenate([low, high[between]]),
        np.concatenate([1 - share, share[between]]),
    )


def _area(n: int, count: int) -> Entries:
    i = np.arange(count)
    begin, end = i * n // count, -(-(i + 1) * n // count)
    rows = np.repeat(i, end - begin)
    columns = np.concatenate([np.arange(b, e) for b, e in zip(begin, end, strict=True)])
    return rows, columns, 1 / np.repeat(end - begin, end - begin)


MODES: Final[dict[str, Callable[[int, int, float, bool], Entries]]] = {
    "nearest": lambda n, count, scale, align_corners: _nearest(n, count, scale, 0.0),
    "nearest-exact": lambda n, count, scale, align_corners: _nearest(n, count, scale, 0.5),
    "bilinear": _bilinear,
    "area": lambda n, count, scale, align_corners: _area(n, count),
}
"""The matrix of each mode, along an axis of ``n`` pixels that becomes one of ``count``."""

Terms = tuple[tuple[Any, Any, Any], ...]
"""The entries of a sparse matrix in the order in which they are added: first one for each row, then a second
one for those rows that have it, and so on. Each holds (rows, columns, values); the rows are None if they are
all, and the values None if they are all 1."""


@lru_cache(maxsize=128)
def _terms(
    n: int, count: int, mode: str, align_corners: bool, scale: float | None, transposed: bool
) -> Terms:
    rows, columns, values = MODES[mode](n, count, n / count if scale is None else scale, align_corners)
    if transposed:
        n, count, rows, columns = count, n, columns, rows
    order = np.argsort(rows, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    place = np.arange(rows.size) - np.searchsorted(rows, rows)  # 0 for the first entry of a row, ...
    terms = []
    for k in range(int(np.max(place, initial=-1)) + 1):
        here = place == k
        terms.append(
            (
                None if np.count_nonzero(here) == count else rows[here],
                columns[here],
                None if np.all(values[here] == 1) else values[here],
            )
        )
    return tuple(terms)


def _product(terms: Terms, x: Any, count: int, axis: int) -> Any:
    """Return the product of a sparse matrix with ``count`` rows and one axis of ``x``.

    What no entry names is not looked at: 0 times a NaN there would be a NaN.
    """
    before = (slice(None),) * axis
    out = None
    for rows, columns, values in terms:
        part = x.take(columns, axis)
        if values is not None:
            part *= values.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
        if rows is None:
            out = part if out is None else np.add(out, part, out=out)
            continue
        if out is None:
            out = np.zeros((*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)
        out[(*before, rows)] += part
    return out


def resizing_matrix(n: int, count: int, mode: str, align_corners: bool, scale: float | None) -> Any:
    """Return the matrix (count, n) of an axis."""
    matrix = np.zeros((count, n))
    rows, columns, values = MODES[mode](n, count, n / count if scale is None else scale, align_corners)
    np.add.at(matrix, (rows, columns), values)
    return matrix


def interpolate2d_formula(x: Any, size: Pair, mode: str, align_corners: bool, scale: Scale) -> Any:
    """Return images in another size, as a product with a matrix from the left and one from the right."""
    down, across = (resizing_matrix(x.shape[i + 2], size[i], mode, align_corners, scale[i]) for i in (0, 1))
    return np.einsum("oh,nchw,pw->ncop", down.astype(x.dtype), x, across.astype(x.dtype))


# ---- the operations --------------------------------------------------------------------------------------


def _resized(
    x: Any, before: Pair, after: Pair, mode: str, align_corners: bool, scale: Scale, transposed: bool
) -> Any:
    """Return images times the matrices from size ``before`` to ``after``, or times their transposes."""
    count = before if transposed else after
    x = x.transpose(0, 2, 3, 1)
    for i in (0, 1):
        terms = _terms(before[i], after[i], mode, align_corners, scale[i], transposed)
        x = _product(terms, x, count[i], i + 1)
    return x.transpose(0, 3, 1, 2)


def _interpolate2d_forward(x: Any, size: Pair, mode: str, align_corners: bool, scale: Scale) -> Any:
    if x.ndim != 4:
        raise ValueError(f"input of shape {x.shape} was given; expected (N, C, H, W)")
    if min(size) < 1 or min(x.shape[2:]) < 1:
        raise ValueError(
            f"images of {x.shape[2]} x {x.shape[3]} pixels cannot become {size[0]} x {size[1]}; expected at "
            "least one pixel each"
        )
    if not mode.startswith("nearest"):
        x = floating(x)
    return stored(_resized(single(x), x.shape[2:], size, mode, align_corners, scale, False), x.dtype)


def _interpolate2d_by_input_forward(g: Any, size: Pair, mode: str, align_corners: bool, scale: Scale) -> Any:
    return stored(_resized(single(g), size, g.shape[2:], mode, align_corners, scale, True), g.dtype)


_CASES = (
    # the sizes before and after, mode, align_corners, scale
    ((1, 3), (2, 5), "nearest", False, (None, None)),
    ((3, 4), (2, 2), "nearest", False, (None, None)),
    ((3, 2), (2, 3), "nearest-exact", False, (None, None)),
    ((2, 3), (3, 4), "bilinear", False, (None, None)),
    ((3, 1), (4, 1), "bilinear", True, (None, None)),
    ((3, 3), (2, 4), "bilinear", False, (1.7, 0.7)),
    ((3, 3), (2, 2), "area", False, (None, None)),
)


def _options(case: Any) -> dict[str, Any]:
    return {"mode": case[2], "align_corners": case[3], "scale": case[4]}


interpolate2d: Op = linear(
    _interpolate2d_forward,
    lambda g, out, x, size, **options: interpolate2d_by_input(g, size=x.shape[2:], **options),
    name="interpolate2d",
    told=lambda arrays, static: told(**static),
    label="interpolate",
    formula=interpolate2d_formula,
    samples=tuple(Sample(((1, 1, *case[0]),), {"size": case[1], **_options(case)}) for case in _CASES),
)
"""Images (N, C, H, W) in another size (H', W')."""

interpolate2d_by_input: Op = linear(
    _interpolate2d_by_input_forward,
    lambda v, out, g, size, **options: interpolate2d(v, size=g.shape[2:], **options),
    name="interpolate2d_by_input",
    told=lambda arrays, static: told(**static),
    samples=tuple(Sample(((1, 1, *case[1]),), {"size": case[0], **_options(case)}) for case in _CASES),
)
"""The transpose of `interpolate2d`: g (N, C, H', W') gives (N, C, H, W) = ``size``."""
