"""Converters of matrix products and of the linear layer."""

from __future__ import annotations

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.table import converts


@converts("linear")
def linear(build: Builder, x: Value, weight: Value, *bias: Value) -> Value:
    """Return ``x @ weight.T + bias``: one Gemm for rows, as its weight is in the layout of the state dict."""
    dtype = build.results[0].dtype
    x, weight, *bias_ = (build.cast(each, dtype) for each in (x, weight, *bias))
    if len(build.results[0].shape) == 2:
        return build.node("Gemm", x, weight, *bias_, transB=1)
    out = build.node("MatMul", x, build.node("Transpose", weight, perm=(1, 0)))
    return build.node("Add", out, bias_[0]) if bias_ else out
