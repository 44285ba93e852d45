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
from tinygrad_mnist.compiler.symbols import Symbol
from tinygrad_mnist.engine.op import Op
from tinygrad_mnist.ops.convolution import conv2d, conv2d_by_input, conv2d_by_weight
from tinygrad_mnist.ops.windows import output_size

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
    special = SPECIAL.get(op.name)
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


def _forward(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    x, weight = map(tracing.symbol, arrays)
    if x.ndim != 4 or weight.ndim != 4 or not _fits(x.shape, weight.shape, static):
        return None  # the operation itself says what is wrong
    size = output_size(x.shape[2:], weight.shape[2:], static["stride"], static["padding"], static["dilation"])
    run = partial(_run_forward, static=dict(static))
    shape = (x.shape[0], *size, weight.shape[0])
    return _product(tracing, "convolution", [(x, IMAGES), (weight, WEIGHTS)], shape, BACK, static, run)


def _by_input(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    g, weight = map(tracing.symbol, arrays)
    shape = (g.shape[0], *static["size"], weight.shape[1] * static["groups"])
    run = partial(_run_by_input, static=dict(static))
    given = [(g, IMAGES), (weight, WEIGHTS)]
    return _product(tracing, "convolution_by_input", given, shape, BACK, static, run)


def _by_weight(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    x, g = map(tracing.symbol, arrays)
    shape = (*static["kernel"], x.shape[1] // static["groups"], g.shape[1])
    run = partial(_run_by_weight, static=dict(static))
    given = [(x, IMAGES), (g, IMAGES)]
    return _product(tracing, "convolution_by_weight", given, shape, WEIGHTS_BACK, static, run)


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


# ---- pools -----------------------------------------------------------------------------------------------


def _are_apart(size: Sequence[int], kernel: Any, stride: Any, padding: Any, dilation: Any = (1, 1)) -> bool:
    """Return whether windows overlap nowhere and leave nothing of an image over."""
    whole = all(length % side == 0 for length, side in zip(size, kernel, strict=True))
    return whole and tuple(kernel) == tuple(stride) and not np.any(padding) and tuple(dilation) == (1, 1)


def _windows(x: Any, kernel: Any) -> Any:
    """Return images as (N, C, H', kh, W', kw)."""
    n, channels, height, width = x.shape
    return np.reshape(x, (n, channels, height // kernel[0], kernel[0], width // kernel[1], kernel[1]))


def max_pool2d(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Any:
    """Return the maximum of each window; NotImplemented if windows overlap or leave something over."""
    if not x.size or not _are_apart(x.shape[2:], kernel, stride, padding, dilation):
        return NotImplemented
    return np.max(_windows(x, kernel), axis=(3, 5))


def _avg_pool2d(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    kernel, size = static["kernel"], arrays[0].shape[2:]
    if not _are_apart(size, kernel, static["stride"], static["padding"]) or arrays[0].dtype == np.float16:
        return None
    count = static["divisor"] or kernel[0] * kernel[1]
    return lowering.by_formula(
        tracing, lambda x: np.sum(_windows(x, kernel), axis=(3, 5)) / count, arrays, {}
    )


def _avg_pool2d_by_input(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    kernel, size = static["kernel"], tuple(static["size"])
    if not _are_apart(size, kernel, static["stride"], static["padding"]) or arrays[0].dtype == np.float16:
        return None
    n, channels, rows, columns = arrays[0].shape
    count = static["divisor"] or kernel[0] * kernel[1]

    def formula(g: Any) -> Any:
        share = np.reshape(g / count, (n, channels, rows, 1, columns, 1))
        windows = np.broadcast_to(share, (n, channels, rows, kernel[0], columns, kernel[1]))
        return np.reshape(windows, (n, channels, *size))

    return lowering.by_formula(tracing, formula, arrays, {})


SPECIAL: Final[dict[str, Callable[..., Symbol | None]]] = {
    "conv2d": _forward,
    "conv2d_by_input": _by_input,
    "conv2d_by_weight": _by_weight,
    "avg_pool2d": _avg_pool2d,
    "avg_pool2d_by_input": _avg_pool2d_by_input,
}
"""Operations that are written by a function of their own; None leaves an odd case to `lowering`."""

FUSED: Final[dict[str, Callable[..., Any]]] = {"max_pool2d": max_pool2d}
"""Formulae of fused operations that are faster in a program; NotImplemented asks for the operation's own."""
