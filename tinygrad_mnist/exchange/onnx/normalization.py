"""Converters of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import Expression, expressions, sqrt
from tinygrad_mnist.exchange.onnx.reduction import reduced
from tinygrad_mnist.exchange.onnx.shape import rank
from tinygrad_mnist.exchange.onnx.table import converts, converts_module
from tinygrad_mnist.nn import BatchNorm1d, BatchNorm2d


def _by_running_statistics(module: Any, x: Any) -> bool:
    """Return whether ONNX's operator computes a batch norm: it wants running statistics, and one dtype."""
    mean = module.running_mean
    if mean is None or module.training or mean.dtype not in (np.float32, np.float64):
        return False
    return bool(x.dtype == mean.dtype)


@converts_module(BatchNorm1d, BatchNorm2d, can=_by_running_statistics)
def batch_norm_layer(build: Builder, module: Any, x: Value) -> Value:
    """Return the values normalised by the running statistics of their channel, scaled and shifted."""
    mean, var = module.running_mean, module.running_var
    ones, zeros = np.ones_like(mean), np.zeros_like(mean)
    weight = ones if module.weight is None else module.weight.data
    bias = zeros if module.bias is None else module.bias.data
    constants = (build.constant(each) for each in (weight, bias, mean, var))
    return build.node("BatchNormalization", x, *constants, epsilon=module.eps)


@converts("scale_and_shift")
def scale_and_shift(build: Builder, x: Value, scale: Value, shift: Value) -> Value:
    """Return ``x * scale + shift``."""
    values, factor, offset = expressions(build, x, scale, shift)
    return (values * factor + offset).value


def normalised(x: Expression, weight: Expression, bias: Expression, axis: int, eps: float) -> Expression:
    """Return the values less their mean along an axis, over their standard deviation, scaled and shifted."""
    centred = x - reduced("ReduceMean", x, (axis,), True)
    var = reduced("ReduceMean", centred * centred, (axis,), True)
    return centred / sqrt(var + eps) * weight + bias


@converts("batch_norm")
def batch_norm(
    build: Builder, x: Value, weight: Value, bias: Value, eps: float, observe: Any = None
) -> Value:
    """Return the columns normalised by the statistics of the batch."""
    rows, scale, shift = expressions(build, x, weight, bias)
    return normalised(rows, scale, shift, 0, eps).value


@converts("layer_norm")
def layer_norm(build: Builder, x: Value, weight: Value, bias: Value, eps: float) -> Value:
    """Return the rows normalised; onnxruntime's operator is exact in float32 alone."""
    values, scale, shift = expressions(build, x, weight, bias)
    if values.dtype == np.float32:
        return values.node("LayerNormalization", scale, shift, axis=-1, epsilon=eps).value
    return normalised(values, scale, shift, rank(x) - 1, eps).value
