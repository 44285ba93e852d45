"""Differences, slopes, integrals, interpolation, and grids between two ends: each is a formula of slices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_mnist.engine.conditions import found
from tinygrad_mnist.engine.dtypes import float_dtype, is_float
from tinygrad_mnist.engine.op import implements
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.ops.elementwise import as_float, double
from tinygrad_mnist.ops.half import single, stored
from tinygrad_mnist.ops.shape import as_array
from tinygrad_mnist.ops.values import arrays_of, values_of


def _steps(a: Any, axis: int) -> Any:
    """Return the difference of each element and the next along an axis; for booleans, whether they differ."""
    before = (slice(None),) * normalize_axis_index(axis, a.ndim)
    later, earlier = a[(*before, slice(1, None))], a[(*before, slice(None, -1))]
    return later != earlier if a.dtype == bool else later - earlier


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue) -> Any:
    if n < 0:
        raise ValueError(f"diff: order n={n} was given; expected 0 or more")
    if n == 0:
        return a
    a = as_array(a)
    axis = normalize_axis_index(axis, a.ndim)
    whole = [_as_slab(part, a, axis) for part in (prepend, a, append) if part is not np._NoValue]
    out = np.concatenate(whole, axis=axis) if len(whole) > 1 else a
    for _ in range(n):
        out = _steps(out, axis)
    return out


def _as_slab(part: Any, a: Any, axis: int) -> Any:
    """Return a number as an array of length 1 along an axis, and in the shape of ``a`` along the others."""
    if np.ndim(part):
        return part
    return np.broadcast_to(part, tuple(1 if i == axis else n for i, n in enumerate(a.shape)))


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    steps = _steps(np.ravel(ary), 0)
    parts = [part for part in (to_begin, steps, to_end) if part is not None]
    return np.concatenate([np.ravel(as_array(part)).astype(steps.dtype) for part in parts])


# ---- slopes ----------------------------------------------------------------------------------------------


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    f = as_array(f)
    axes = tuple(range(f.ndim)) if axis is None else normalize_axis_tuple(axis, f.ndim)
    if len(varargs) not in (0, 1, len(axes)) or (len(varargs) == 1 and np.ndim(varargs[0]) and len(axes) > 1):
        raise TypeError(f"gradient: {len(varargs)} spacings were given for {count_text(len(axes), 'axis')}")
    spacings = varargs or (1.0,)
    spacings = spacings * len(axes) if len(spacings) == 1 else spacings
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order={edge_order} was given; expected 1 or 2")
    slopes = tuple(_slope(f, as_array(h), i, edge_order) for i, h in zip(axes, spacings, strict=True))
    return slopes[0] if len(axes) == 1 else slopes


def _slope(f: Any, spacing: Any, axis: int, edge_order: int) -> Any:
    """Return second-order differences along one axis (Quarteroni, Sacco & Saleri 2007, section 10.10).

    Inside, the rises before and behind an element are averaged, each weighted by the other's step, so that
    the error of first order cancels. At the ends there is one rise; ``edge_order`` 2 extrapolates it.
    """
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ValueError(
            f"gradient: axis {axis} of shape {f.shape} is too short; edge_order={edge_order} needs at least "
            f"{edge_order + 1} elements"
        )
    f = as_float(f)
    if spacing.ndim and spacing.shape != (n,):
        raise ValueError(f"gradient: coordinates of shape {spacing.shape} for an axis of length {n}")
    f = np.moveaxis(f, axis, 0)
    step = np.diff(spacing) if spacing.ndim else np.broadcast_to(spacing, (n - 1,))
    step = np.reshape(step.astype(f.dtype), (-1, *(1,) * (f.ndim - 1)))
    rise = (f[1:] - f[:-1]) / step
    h, k = step[:-1], step[1:]  # the steps before and behind each inner element
    inner = (k * rise[:-1] + h * rise[1:]) / (h + k) if spacing.ndim else (f[2:] - f[:-2]) / (h + k)
    first, last = rise[:1], rise[-1:]
    if edge_order == 2:
        first = first + h[:1] * (first - rise[1:2]) / (h[:1] + k[:1])
        last = last + k[-1:] * (last - rise[-2:-1]) / (h[-1:] + k[-1:])
    return np.moveaxis(np.concatenate([first, inner, last]), 0, axis)


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    y = np.moveaxis(as_array(y), axis, -1)
    if x is not None:
        dx = np.diff(x) if np.ndim(x) == 1 else np.diff(np.moveaxis(as_array(x), axis, -1))
    dtype = np.result_type(y.dtype, arrays_of(dx))
    y = single(y)
    return stored(np.sum(dx * (y[..., 1:] + y[..., :-1]) / 2, axis=-1), dtype)


# ---- interpolation ---------------------------------------------------------------------------------------


@implements(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    x, xp, fp = (as_array(a).astype(np.float64) for a in (x, xp, fp))
    if xp.ndim != 1 or xp.shape != fp.shape or not len(xp):
        raise ValueError(f"interp: expected points of one axis; got xp {xp.shape} and fp {fp.shape}")
    if period is not None:  # sort the points within one period, and repeat the last and the first one around
        period, left, right = np.abs(period), None, None
        x, xp = x % period, xp % period
        order = np.argsort(values_of(xp), kind="stable")
        xp = np.concatenate([xp[order][-1:] - period, xp[order], xp[order][:1] + period])
        fp = np.concatenate([fp[order][-1:], fp[order], fp[order][:1]])
    points, places, heights = values_of(xp), values_of(x), values_of(fp)
    if len(points) == 1:
        inside = np.broadcast_to(fp, x.shape) if x.ndim else fp[0]
    else:
        # `part` of the way from the point below to the one above, 0 to 1, has a slope only between two finite
        # points. np.where stands around each operand: an inf or 0 / 0 that the last one does not choose would
        # still make the gradient NaN.
        low = np.clip(np.searchsorted(points, places, side="right") - 1, 0, len(points) - 2)
        within = (points[0] <= places) & (places <= points[-1])
        if np.any(within & (np.isinf(heights[low]) | np.isinf(heights[low + 1]))):
            return _interp_to_infinity(x, xp, fp, left, right)
        below, above = points[low], points[low + 1]
        sloped = within & np.isfinite(above) & np.isfinite(below) & (below != above)
        # beside a point infinitely far away the function is level: only the finite point counts
        last = (np.isinf(below) & np.isfinite(above) & (places != below)) | (places == above)
        start, end = np.where(sloped, xp[low], 0), np.where(sloped, xp[low + 1], 1)
        part = np.where(sloped, (np.where(sloped, x, 0) - start) / (end - start), last)
        inside = fp[low] + (fp[low + 1] - fp[low]) * part
        nowhere = np.isinf(below) & np.isinf(above) & (places != below) & (places != above)
        inside = np.where(nowhere & (heights[low] != heights[low + 1]), np.nan, inside)
    out = np.where(places < points[0], fp[0] if left is None else left, inside)
    out = np.where(places > points[-1], fp[-1] if right is None else right, out)
    return np.where(np.isnan(places) & (len(points) > 1), x, out)


def _interp_to_infinity(x: Any, xp: Any, fp: Any, left: Any, right: Any) -> Any:
    """Return NumPy's values between points with an infinite value; there is no slope to differentiate."""
    if any(getattr(value, "requires_grad", False) for value in (x, xp, fp, left, right)):
        raise ValueError(
            "interp: an infinite value of fp was interpolated, which has no gradient; give finite values, or "
            "use .detach().numpy()"
        )
    return Tensor(np.interp(*map(values_of, (x, xp, fp, left, right))))


@implements(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Any:
    if getattr(period, "requires_grad", False):
        raise TypeError("unwrap has no gradient by its period; compose it of np.diff, np.round and np.cumsum")
    if not is_float(p) and not isinstance(period, int):
        p = p.astype(np.float64)
    # NumPy adds whole periods, which are constants: those are taken from its result
    values = values_of(p)
    unwrapped = np.unwrap(values, discont, axis, period=period)
    with np.errstate(invalid="ignore"):
        periods = unwrapped - values
    return p + np.where(np.isinf(unwrapped), 0, periods)  # inf - inf is no number


# ---- grids between two ends ------------------------------------------------------------------------------


@implements(np.linspace)
def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, *, axis: int = 0
) -> Any:
    start, stop = _ends(start, stop)
    rows = max(num - 1 if endpoint else num, 0)
    dtype, start, stop = start.dtype, single(start), single(stop)
    part = _row_numbers(num, start)
    step = (stop - start) / rows if rows else (stop - start) * np.nan
    grid = part * step + start if rows else np.broadcast_to(start, (num, *start.shape))
    if endpoint and num > 1:
        grid = np.where(
            part == num - 1, stop, grid
        )  # exactly the end, with its gradient, whatever the rounding
    grid = stored(np.moveaxis(grid, 0, axis), dtype)
    return (grid, stored(step, dtype)) if retstep else grid


@implements(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, *, axis: int = 0
) -> Any:
    start, stop, base = _ends(start, stop, base) if np.ndim(base) else (*_ends(start, stop), base)
    base = np.expand_dims(base, axis) if np.ndim(base) else base
    return np.power(base, linspace(start, stop, num, endpoint, axis=axis))


@implements(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, *, axis: int = 0) -> Any:
    start, stop = _ends(double(start), double(stop))
    if found(start == 0) or found(stop == 0):
        raise ValueError("geomspace: a geometric sequence cannot include zero")
    sign = np.sign(start)
    grid = np.exp(linspace(np.log(start * sign), np.log(stop * sign), num, endpoint))
    part = _row_numbers(num, start)
    grid = np.where(part == 0, start, sign * grid)
    if endpoint and num > 1:
        grid = np.where(part == num - 1, stop, grid)
    return np.moveaxis(grid, 0, axis)


def _ends(*ends: Any) -> tuple[Any, ...]:
    """Return the ends in one shape and one floating dtype."""
    dtype = np.result_type(*map(arrays_of, ends))
    dtype = float_dtype(dtype)
    return tuple(np.broadcast_arrays(*(as_array(end).astype(dtype) for end in ends)))


def _row_numbers(num: int, end: Any) -> Any:
    """Return 0, 1, ..., num - 1 along a new first axis, in the dtype of the ends."""
    return np.arange(num, dtype=end.dtype).reshape(-1, *(1,) * end.ndim)
