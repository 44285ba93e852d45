"""Converters of products: of matrices, of einsum, and of the linear layer; and of determinants."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import Expression, expressions
from tinygrad_mnist.exchange.onnx.normalization import normalised
from tinygrad_mnist.exchange.onnx.shape import rank, shape_of
from tinygrad_mnist.exchange.onnx.sizes import Length
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
    build: Builder,
    x: Value,
    weight: Value,
    bias: Value,
    gamma: Value,
    beta: Value,
    eps: float,
    observe: Any = None,
) -> Value:
    """Return a hidden layer that normalises by the statistics of the batch."""
    rows, matrix, shift, scale, centre = expressions(build, x, weight, bias, gamma, beta)
    return normalised(_affine(build, rows, matrix, shift), scale, centre, 0, eps).node("Relu").value


@converts("matmul")
def matmul(build: Builder, x: Value, y: Value) -> Value:
    """Return the product of matrices, stacks of them, and vectors, as NumPy's."""
    one, two = expressions(build, x, y)
    return one.node("MatMul", two).value


# ---- einsum ----------------------------------------------------------------------------------------------


def _explicit(subscripts: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of each operand and of the result, with letters of their own for an ellipsis.

    NumPy's result, where none is given, has the axes of the ellipsis, and then those of the letters that
    occur once, in alphabetical order.
    """
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    unused = [letter for letter in string.ascii_letters if letter not in subscripts]
    counts = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ranks, strict=True)]
    ellipsis = unused[: max(counts, default=0)]
    if not arrow:
        letters = "".join(terms).replace(".", "")
        output = "..." + "".join(sorted(each for each in set(letters) if letters.count(each) == 1))
    written = [
        term.replace("...", "".join(ellipsis[len(ellipsis) - count :]))
        for term, count in zip(terms, counts, strict=True)
    ]
    return written, output.replace("...", "".join(ellipsis))


@converts("einsum")
def einsum(build: Builder, *operands: Value, subscripts: str, optimize: Any = False) -> Value:
    """Return sums of products by Einstein's convention; ONNX repeats no axis of length 1 by itself."""
    terms, output = _explicit(subscripts, [rank(each) for each in operands])
    lengths: dict[str, Length] = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, length in zip(term, shape_of(operand), strict=True):
            lengths[letter] = length if lengths.get(letter, 1) == 1 else lengths[letter]
    repeated = []
    for term, operand, each in zip(terms, operands, expressions(build, *operands), strict=True):
        shape = tuple(lengths[letter] for letter in term)
        repeated.append(
            each if shape == shape_of(operand) else Expression(build, build.expand(each.value, shape))
        )
    return repeated[0].node("Einsum", *repeated[1:], equation=f"{','.join(terms)}->{output}").value


@converts("det")
def det(build: Builder, x: Value) -> Value:
    """Return determinants."""
    if shape_of(x)[-1] == 0:
        raise build.refuse("ONNX has no determinant of a matrix without elements")
    return expressions(build, x)[0].node("Det").value
