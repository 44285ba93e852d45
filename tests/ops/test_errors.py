"""Errors that name the function, and results without a gradient; test_coverage walks over all functions."""

from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor

A = np.array([[0.5, -1.2, 2.0], [1.5, 0.3, -0.7]])


def leaf(array: Any = A) -> Tensor:
    return Tensor(array.copy(), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: np.subtract.reduce(t), r"subtract\.reduce"),
        (lambda t: np.add.reduceat(t, [0, 1]), r"add\.reduceat"),
        (lambda t: np.hypot.accumulate(t), r"hypot\.accumulate"),
        (lambda t: np.add.at(t, 0, 1), r"add\.at"),
    ],
    ids=["reduce", "reduceat", "accumulate", "at"],
)
def test_a_method_of_a_ufunc_without_a_declaration_is_refused_by_name(call: Any, name: str) -> None:
    with pytest.raises(TypeError, match=rf"numpy\.{name} has no gradient rule"):
        call(leaf())


@pytest.mark.parametrize("out", [lambda t: t, lambda t: (t,)], ids=["alone", "in a tuple"])
def test_a_tensor_is_refused_as_the_out_of_arrays(out: Any) -> None:
    with pytest.raises(TypeError, match=r"numpy\.add on a Tensor does not take out="):
        np.add(A, A, out=out(leaf()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: np.pad(t, 1, mode="empty"), r"pad: mode 'empty' has no gradient rule"),
        (lambda t: np.einsum(t, [0]), r"einsum"),
        (lambda t: np.split(t, 2, axis=1), r"split: axis 1 of shape \(2, 3\) does not divide into 2"),
        (lambda t: np.stack([t, t[0]]), r"stack: all arrays must have one shape"),
        (lambda t: np.einsum("ij,jk", t), r"einsum"),
        (lambda t: np.sum(t, axis=2), r"sum: axis 2 is out of bounds"),
        (lambda t: np.swapaxes(t, 0, 7), r"swapaxes: axis 7 is out of bounds"),
        (lambda t: np.expand_dims(t, 9), r"expand_dims: axis 9 is out of bounds"),
        (lambda t: np.moveaxis(t, 7, 0), r"moveaxis: source: axis 7 is out of bounds"),
        (lambda t: np.squeeze(t, 9), r"squeeze: axis 9 is out of bounds"),
        (lambda t: np.stack([t, t], axis=7), r"stack: axis 7 is out of bounds"),
        (lambda t: np.matrix_transpose(t[0]), r"matrix_transpose: shape \(3,\) was given"),
        (lambda t: np.pad(t, ((1, 2), (3, 4), (5, 6))), r"pad: pad_width=.* given for shape \(2, 3\)"),
        (lambda t: np.pad(t, -1, mode="edge"), r"pad: pad_width=-1 was given"),
        (lambda t: np.split(t, 0), r"split: 0 sections were asked for"),
        (lambda t: np.array_split(t, -1), r"array_split: -1 sections were asked for"),
        (lambda t: np.split(t, 2, axis=5), r"split: axis 5 is out of bounds"),
        (lambda t: np.take(t, [0], axis=5), r"take: axis 5 is out of bounds"),
    ],
    ids=[
        "pad",
        "einsum, lists",
        "split",
        "stack",
        "einsum, operands",
        "axis",
        "swapaxes",
        "expand_dims",
        "moveaxis",
        "squeeze",
        "stack, axis",
        "matrix_transpose",
        "pad, widths",
        "pad, negative",
        "split into 0",
        "array_split into -1",
        "split, axis",
        "take",
    ],
)
def test_a_call_that_makes_no_sense_names_the_function(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(leaf())


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x // 2,
        lambda x: x > 1,
        lambda x: np.full_like(x, 3.0),
        lambda x: np.searchsorted(np.array([0.0, 1.0]), x),
    ],
    ids=["//", ">", "full_like", "searchsorted in an array"],
)
def test_a_result_without_a_gradient_has_numpys_value_and_requires_none(f: Any) -> None:
    out = f(leaf())
    assert not out.requires_grad
    np.testing.assert_array_equal(out.data, f(A))
