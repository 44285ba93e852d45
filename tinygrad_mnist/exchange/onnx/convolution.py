"""Converters of convolutions."""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.table import converts

Pair = tuple[int, int]


def begins_and_ends(padding: tuple[Pair, Pair]) -> tuple[int, ...]:
    """Return ((top, bottom), (left, right)) as ONNX has it: top, left, bottom, right."""
    return tuple(before for before, _ in padding) + tuple(after for _, after in padding)


@converts("conv2d", "conv2d_with_bias")
def conv2d(
    build: Builder,
    x: Value,
    weight: Value,
    *bias: Value,
    stride: Pair,
    padding: Any,
    dilation: Pair,
    groups: int,
) -> Value:
    """Return the convolution of images with filters."""
    dtype = build.results[0].dtype
    arguments = (build.cast(each, dtype) for each in (x, weight, *bias))
    return build.node(
        "Conv",
        *arguments,
        kernel_shape=weight.shape[2:] if weight.shape else None,
        strides=stride,
        pads=begins_and_ends(padding),
        dilations=dilation,
        group=groups,
    )
