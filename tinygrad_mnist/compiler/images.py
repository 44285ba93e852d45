"""Operations on images as instructions: convolutions channels-last, pools as reductions of a reshape.

A program has convolutions as instructions on arrays (N, H, W, C), with weights (kh, kw, C / groups, O): see
`convolutions`. Around each stand transposes, which `channels_last` moves together until they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler import lowering
from tinygrad_mnist.compiler.exchanges import EXCHANGES
from tinygrad_mnist.compiler.symbols import Symbol
from tinygrad_mnist.engine.op import Op
from tinygrad_mnist.ops.convolution import conv2d, conv2d_by_input, conv2d_by_weight
from tinygrad_mnist.ops.pooling import avg_pool2d, avg_pool2d_by_input, max_pool2d
from tinygrad_mnist.ops.resizing import MODES, interpolate2d, interpolate2d_by_input
from tinygrad_mnist.ops.windows import image_windows, output_size, padded_images

Tracing = Any  # `trace.Tracer`, which stands above

IMAGES: Final = (0, 2, 3, 1)
"""The axes that make (N, H, W, C) of (N, C, H, W)."""

BACK: Final = (0, 3, 1, 2)
"""The axes that make (N, C, H, W) of (N, H, W, C)."""

WEIGHTS: Final = (2, 3, 1, 0)
"""The axes that make (kh, kw, C / groups, O) of (O, C / groups, kh, kw)."""

WEIGHTS_BACK: Final = (3, 2, 0, 1)
"""The axes that make (O, C / groups, kh, kw) of (kh, kw, C / groups, O)."""

OPTIONS: Final = ("stride", "padding", "dilation", "groups")
"""What the instructions of convolutions have as static arguments."""


def lower(tracing: Tracing, op: Op, arrays: Sequence[Any], static: Mapping[str, Any]) -> Any:
    """Write what an operation computes, as `lowering.lower` does; of images as they are here."""
    special = SPECIAL.get(op.name) or EXCHANGES.get(op.name)
    result = special(tracing, arrays, static) if special is not None else None
    return lowering.lower(tracing, op, arrays, static) if result is None else result


def transposed(tracing: Tracing, symbol: Symbol, axes: tuple[int, ...]) -> Symbol:
    """Write a transpose."""
    shape = [symbol.shape[axis] for axis in axes]
    run = partial(np.transpose, axes=axes)
    return lowering.instruction(tracing, "transpose", [symbol], shape, symbol.dtype, {"axes": axes}, run)


def _product(
    tracing: Tracing,
    name: str,
    given: Sequence[tuple[Any, tuple[int, ...]]],
    shape: Sequence[int],
    back: tuple[int, ...],
    static: Mapping[str, Any],
    run: Callable[..., Any],
) -> Symbol:
    """Write one of the three products of a convolution, with transposes before and behind it.

    Parameters
    ----------
    given : sequence of (array, tuple of int)
        The arguments, and how they are transposed.
    shape, back : tuple of int
        The shape of the instruction's result, and how that is transposed.
    run : callable
        The product of arrays as the instruction has them.
    """
    symbols = [tracing.symbol(array) for array, _ in given]
    dtype = np.result_type(*(symbol.dtype for symbol in symbols))
    computed = np.dtype(np.float32) if dtype == np.float16 else dtype
    inputs = [
        transposed(tracing, lowering.cast(tracing, symbol, computed), axes)
        for symbol, (_, axes) in zip(symbols, given, strict=True)
    ]
    options = {option: static[option] for option in OPTIONS}
    result = lowering.instruction(tracing, name, inputs, shape, computed, options, run)
    return lowering.cast(tracing, transposed(tracing, result, back), dtype)


def _leave_to_eager(tracing: Tracing, array: Any) -> None:
    """Let eager compute a call in which an array is not finite, since it multiplies by padding.

    The code of a convolution leaves padding out. In eager, that is zeros, and zero times infinity is NaN.
    """
    symbol = tracing.symbol(array)
    if symbol.dtype.kind == "f":
        tracing.watch([lowering.ufunc(tracing, np.multiply, [symbol, 0.0])])


def _forward(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    x, weight = map(tracing.symbol, arrays)
    if x.ndim != 4 or weight.ndim != 4 or not _fits(x.shape, weight.shape, static):
        return None  # the operation itself says what is wrong
    size = output_size(x.shape[2:], weight.shape[2:], static["stride"], static["padding"], static["dilation"])
    if np.any(static["padding"]):
        _leave_to_eager(tracing, weight)
    run = partial(_run_forward, static=dict(static))
    shape = (x.shape[0], *size, weight.shape[0])
    return _product(tracing, "convolution", [(x, IMAGES), (weight, WEIGHTS)], shape, BACK, static, run)


def _by_input(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    g, weight = map(tracing.symbol, arrays)
    shape = (g.shape[0], *static["size"], weight.shape[1] * static["groups"])
    if weight.shape[2:] != (1, 1):  # eager may compute it as a convolution of what is padded
        _leave_to_eager(tracing, weight)
    run = partial(_run_by_input, static=dict(static))
    given = [(g, IMAGES), (weight, WEIGHTS)]
    return _product(tracing, "convolution_by_input", given, shape, BACK, static, run)


def _by_weight(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    x, g = map(tracing.symbol, arrays)
    shape = (*static["kernel"], x.shape[1] // static["groups"], g.shape[1])
    run = partial(_run_by_weight, static=dict(static))
    given = [(x, IMAGES), (g, IMAGES)]
    result = _product(tracing, "convolution_by_weight", given, shape, WEIGHTS_BACK, static, run)
    if np.any(static["padding"]):  # it holds what is not finite in `g`, and is smaller
        _leave_to_eager(tracing, result)
    return result


def _fits(x: tuple[int, ...], weight: tuple[int, ...], static: Mapping[str, Any]) -> bool:
    groups = static["groups"]
    return bool(groups > 0 and x[1] == weight[1] * groups and weight[0] % groups == 0)


def _run_forward(x: Any, weight: Any, static: Mapping[str, Any]) -> Any:
    out = conv2d.forward(x.transpose(BACK), weight.transpose(WEIGHTS_BACK), **static)
    return out.transpose(IMAGES)


def _run_by_input(g: Any, weight: Any, static: Mapping[str, Any]) -> Any:
    out = conv2d_by_input.forward(g.transpose(BACK), weight.transpose(WEIGHTS_BACK), **static)
    return out.transpose(IMAGES)


def _run_by_weight(x: Any, g: Any, static: Mapping[str, Any]) -> Any:
    return conv2d_by_weight.forward(x.transpose(BACK), g.transpose(BACK), **static).transpose(WEIGHTS)


def _on_images(op: Op, tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    """Write a call of an operation of images, between two loops, on arrays (N, H, W, C)."""
    symbols = [tracing.symbol(array) for array in arrays]
    if any(symbol.ndim != 4 or not symbol.size for symbol in symbols):
        return None
    like = op.forward(*(np.zeros((1, *symbol.shape[1:]), symbol.dtype) for symbol in symbols), **static)
    inputs = [transposed(tracing, symbol, IMAGES) for symbol in symbols]
    shape = [symbols[0].shape[0], *(like.shape[axis] for axis in IMAGES[1:])]
    run = partial(_run_on_images, forward=op.forward, static=dict(static))
    result = lowering.instruction(tracing, op.name, inputs, shape, like.dtype, static, run)
    return transposed(tracing, result, BACK)


def _run_on_images(*arrays: Any, forward: Callable[..., Any], static: Mapping[str, Any]) -> Any:
    return forward(*(array.transpose(BACK) for array in arrays), **static).transpose(IMAGES)


# ---- windows side by side --------------------------------------------------------------------------------


def _are_apart(size: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any = (1, 1)) -> bool:
    """Return whether windows overlap nowhere and leave nothing of an image over."""
    whole = all(length % side == 0 for length, side in zip(size, kernel, strict=True))
    return whole and tuple(kernel) == tuple(stride) and not np.any(padding) and tuple(dilation) == (1, 1)


def _windows(x: Any, kernel: Any) -> Any:
    """Return images as (N, C, H', kh, W', kw)."""
    n, channels, height, width = x.shape
    return np.reshape(x, (n, channels, height // kernel[0], kernel[0], width // kernel[1], kernel[1]))


def _sums(x: Any, kernel: Any) -> Any:
    """Return the sum of each window (N, C, H', W')."""
    return np.sum(_windows(x, kernel), axis=(3, 5))


def _repeated(x: Any, kernel: Any) -> Any:
    """Return images with a window in the place of each pixel, the transpose of the sums of windows."""
    n, channels, height, width = x.shape
    pixels = np.reshape(x, (n, channels, height, 1, width, 1))
    windows = np.broadcast_to(pixels, (n, channels, height, kernel[0], width, kernel[1]))
    return np.reshape(windows, (n, channels, height * kernel[0], width * kernel[1]))


def _mean(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    kernel, x = static["kernel"], tracing.symbol(arrays[0])
    if not _are_apart(x.shape[2:], kernel, static["stride"], static["padding"]) or x.dtype.kind != "f":
        return _on_images(avg_pool2d, tracing, arrays, static)
    count = static["divisor"] or kernel[0] * kernel[1]
    return _in_single(tracing, lambda x: _sums(x, kernel) / count, x)


def _mean_by_input(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    kernel, g = static["kernel"], tracing.symbol(arrays[0])
    if not _are_apart(static["size"], kernel, static["stride"], static["padding"]) or g.dtype.kind != "f":
        return _on_images(avg_pool2d_by_input, tracing, arrays, static)
    count = static["divisor"] or kernel[0] * kernel[1]
    return _in_single(tracing, lambda g: _repeated(g / count, kernel), g)


def _in_single(tracing: Tracing, formula: Callable[..., Any], symbol: Any) -> Symbol:
    """Write a formula of images; that of float16 is computed in float32."""
    half = symbol.dtype == np.float16
    given = lowering.cast(tracing, symbol, np.float32) if half else symbol
    result = lowering.by_formula(tracing, formula, [given], {})
    return lowering.cast(tracing, result, symbol.dtype)


def _factors(before: Sequence[int], after: Sequence[int], static: Mapping[str, Any]) -> list[int] | None:
    """Return how often each pixel is repeated, down and across; None if pixels are not just repeated."""
    if not static["mode"].startswith("nearest"):
        return None
    factors = []
    for n, count, scale in zip(before, after, static["scale"], strict=True):
        _, places, _ = MODES[static["mode"]](n, count, n / count if scale is None else scale, False)
        if count % n or not np.array_equal(places, np.arange(count) // (count // n)):
            return None
        factors.append(count // n)
    return factors


def _interpolate(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    x = tracing.symbol(arrays[0])
    factors = _factors(x.shape[2:], static["size"], static) if x.ndim == 4 and x.size else None
    if factors is None:
        return _on_images(interpolate2d, tracing, arrays, static)
    return lowering.by_formula(tracing, lambda x: _repeated(x, factors), [x], {})


def _interpolate_by_input(
    tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]
) -> Symbol | None:
    g = tracing.symbol(arrays[0])
    factors = _factors(static["size"], g.shape[2:], static) if g.ndim == 4 and g.size else None
    if factors is None or g.dtype.kind != "f":
        return _on_images(interpolate2d_by_input, tracing, arrays, static)
    return _in_single(tracing, lambda g: _sums(g, factors), g)


# ---- maxima ----------------------------------------------------------------------------------------------


def formula_of_max_pool2d(x: Any, **static: Any) -> Any:
    """Return the maximum of each window, in a way that is fast in a program.

    Windows side by side are a reshape and a maximum, which become loops. Of others, NumPy computes the
    maximum and its derivatives, as in eager: a program would copy out all windows.
    """
    if x.size and _are_apart(x.shape[2:], **static):
        return np.max(_windows(x, static["kernel"]), axis=(3, 5))
    return _maximum(x, **static)


def _shares(g: Any, x: Any, **static: Any) -> Any:
    """Return the cotangent of images of that of their maxima."""
    assert max_pool2d.joint is not None
    out, saved = max_pool2d.forward(x, **static)
    return max_pool2d.joint(g, [True], out, saved, x, **static)[0]


def _of_chosen(v: Any, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """Return the mean of `v` where `x` is the maximum, of each window: the transpose of `_shares`."""
    windows = image_windows(padded_images(x, padding, -np.inf), kernel, stride, dilation)
    chosen = (windows == np.max(windows, axis=(-2, -1), keepdims=True)) | np.isnan(windows)
    moved = image_windows(padded_images(v, padding), kernel, stride, dilation)
    total = np.sum(np.where(chosen, moved, 0), axis=(-2, -1))
    return total / np.sum(chosen, axis=(-2, -1)).astype(total.dtype)


_maximum = Op(
    "max_pool2d",
    lambda x, **static: max_pool2d.forward(x, **static)[0],
    "general",
    (lambda g, out, x, **static: _max_shares(g, x, **static),),
    samples="broadcast",
    chooses=True,
)
_max_shares: Op = Op(
    "gradient of max_pool2d",
    _shares,
    "general",
    (lambda v, out, g, x, **static: _max_chosen(v, x, **static), None),
    samples="broadcast",
)
_max_chosen: Op = Op(
    "choice of max_pool2d",
    _of_chosen,
    "general",
    (lambda g, out, v, x, **static: _max_shares(g, x, **static), None),
    samples="broadcast",
)

SPECIAL: Final[dict[str, Callable[..., Symbol | None]]] = {
    "conv2d": _forward,
    "conv2d_by_input": _by_input,
    "conv2d_by_weight": _by_weight,
    "avg_pool2d": _mean,
    "avg_pool2d_by_input": _mean_by_input,
    "interpolate2d": _interpolate,
    "interpolate2d_by_input": _interpolate_by_input,
    **{op.name: partial(_on_images, op) for op in (_maximum, _max_shares, _max_chosen)},
}
"""Operations that are written by a function of their own; None leaves an odd case to `lowering`."""

FUSED: Final[dict[str, Callable[..., Any]]] = {"max_pool2d": formula_of_max_pool2d}
"""Formulae of fused operations that are faster in a program than their own."""
