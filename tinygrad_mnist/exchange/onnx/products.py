"""Converters of products: of matrices, of einsum, and of the linear layer; and of determinants."""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import Expression, expressions
from tinygrad_mnist.exchange.onnx.normalization import normalised
from tinygrad_mnist.exchange.onnx.shape import shape_of
from tinygrad_mnist.exchange.onnx.table import converts


def _affine(build: Builder, x: Expression, weight: Expression, *bias: Expression) -> Expression:
    """Return ``x @ weight.T + bias``: one Gemm for rows, as its weight is in the layout of the state dict."""
    if build.results[0].dtype.kind == "f" and len(build.results[0].shape) == 2:
        return x.node("Gemm", weight, *bias, transB=1)
    out = x.node("MatMul", weight.node("Transpose", perm=(1, 0)))
    return out + bias[0] if bias else out


@converts("linear")
def linear(build: Builder, x: Value, weight: Value, *bias: Value) -> Value:
    """Return ``x @ weight.T + bias``."""
    return _affine(build, *expressions(build, x, weight, *bias)).value


@converts("linear_batch_norm_relu")
def linear_batch_norm_relu(
    build: Builder, x: Value, weight: Value, bias: Value, gamma: Value, beta: Value, eps: float, observe: Any = None
) -> Value:
    """Return a hidden layer that normalises by the statistics of the batch."""
    rows, matrix, shift, scale, centre = expressions(build, x, weight, bias, gamma, beta)
    return normalised(_affine(build, rows, matrix, shift), scale, centre, 0, eps).node("Relu").value


@converts("matmul")
def matmul(build: Builder, x: Value, y: Value) -> Value:
    """Return the product of matrices, stacks of them, and vectors, as NumPy's."""
    one, two = expressions(build, x, y)
    return one.node("MatMul", two).value


@converts("einsum")
def einsum(build: Builder, *operands: Value, subscripts: str, optimize: Any = False) -> Value:
    """Return sums of products by Einstein's convention."""
    first, *others = expressions(build, *operands)
    return first.node("Einsum", *others, equation=subscripts).value


@converts("det")
def det(build: Builder, x: Value) -> Value:
    """Return determinants."""
    if shape_of(x)[-1] == 0:
        raise build.refuse("ONNX has no determinant of a matrix without elements")
    return expressions(build, x)[0].node("Det").value
