"""Converters of normalisations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.table import converts, converts_module
from tinygrad_mnist.nn import BatchNorm1d, BatchNorm2d


def _by_running_statistics(module: Any) -> bool:
    """Return whether ONNX's operator computes a batch norm: it wants running statistics."""
    mean = module.running_mean
    return mean is not None and not module.training and mean.dtype in (np.float32, np.float64)


@converts_module(BatchNorm1d, BatchNorm2d, can=_by_running_statistics)
def batch_norm(build: Builder, module: Any, x: Value) -> Value:
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
    dtype = build.results[0].dtype
    x, scale, shift = (build.cast(each, dtype) for each in (x, scale, shift))
    return build.node("Add", build.node("Mul", x, scale), shift)
