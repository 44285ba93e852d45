"""A function without a gradient raises an error that names it, or gives a result that requires none."""

from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import FUNCTIONS, REGISTRY, UFUNCS
from tinygrad_mnist.testing import gradcheck

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
        (lambda t: np.nextafter(t, 1), "nextafter"),
        (lambda t: np.fft.fft(t), r"fft\.fft"),
        (lambda t: np.linalg.eig(t), r"linalg\.eig"),
        (lambda t: np.unique(t), "unique"),
        (lambda t: np.histogram(t), "histogram"),
        (lambda t: t.sort(), r"ndarray\.sort"),
    ],
    ids=["reduce", "reduceat", "accumulate", "at", "nextafter", "fft", "eig", "unique", "histogram", "sort"],
)
def test_a_function_without_a_declaration_is_refused_by_name(call: Any, name: str) -> None:
    with pytest.raises(TypeError, match=rf"numpy\.{name} has no gradient rule"):
        call(leaf())


@pytest.mark.parametrize(
    ("call", "function", "option"),
    [
        (lambda t: np.add(t, 1, out=A.copy()), "add", "out"),
        (lambda t: np.add(t, 1, where=A > 0), "add", "where"),
        (lambda t: np.exp(t, out=A.copy()), "exp", "out"),
        (lambda t: np.add(t, 1, dtype=np.float32), "add", "dtype"),
        (lambda t: np.sum(t, out=np.zeros(())), "sum", "out"),
        (lambda t: np.sum(t, where=A > 0), "sum", "where"),
        (lambda t: np.mean(t, dtype=np.float32), "mean", "dtype"),
        (lambda t: np.clip(t, 0, 1, out=A.copy()), "clip", "out"),
        (lambda t: np.reshape(t, 6, order="A"), "reshape", "order"),
        (lambda t: np.concatenate([t, t], out=np.zeros((4, 3))), "concatenate", "out"),
        (lambda t: np.add(A, A, out=t), "add", "out"),
        (lambda t: np.add(A, A, out=(t,)), "add", "out"),
    ],
)
def test_an_option_that_a_recorded_operation_cannot_honour_is_refused(
    call: Any, function: str, option: str
) -> None:
    with pytest.raises(TypeError, match=rf"numpy\.{function} on a Tensor does not take {option}="):
        call(leaf())


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
        np.argmax,
        np.argmin,
        np.argsort,
        np.round,
        np.sign,
        np.floor,
        np.ceil,
        np.trunc,
        np.rint,
        np.signbit,
        np.isnan,
        np.isinf,
        np.isfinite,
        np.all,
        np.any,
        np.count_nonzero,
        np.zeros_like,
        np.ones_like,
        np.logical_not,
        lambda x: np.full_like(x, 3.0),
        lambda x: x // 2,
        lambda x: x > 1,
        lambda x: np.isclose(x, 0.5),
        lambda x: np.argmax(x, axis=1, keepdims=True),
        lambda x: np.searchsorted(np.array([0.0, 1.0]), x),
        lambda x: np.nonzero(x)[0],
        np.shape,
        np.ndim,
        np.size,
        lambda x: np.array_equal(x, A),
        lambda x: np.allclose(x, A),
    ],
)
def test_what_has_no_gradient_has_numpys_value_and_requires_none(f: Any) -> None:
    out = f(leaf())
    assert not getattr(out, "requires_grad", False)
    np.testing.assert_array_equal(out.data if isinstance(out, Tensor) else out, f(A))


NAMED_IN_THE_PLAN = [
    *(np.add, np.subtract, np.multiply, np.divide, np.floor_divide, np.remainder, np.power, np.matmul),
    *(np.negative,),
    *(
        np.absolute,
        np.exp,
        np.expm1,
        np.log,
        np.log1p,
        np.sqrt,
        np.square,
        np.reciprocal,
        np.sin,
        np.cos,
        np.tan,
    ),
    *(
        np.tanh,
        np.sinh,
        np.cosh,
        np.arcsin,
        np.arccos,
        np.arctan,
        np.maximum,
        np.minimum,
        np.where,
        np.clip,
        np.sign,
    ),
    *(
        np.less,
        np.less_equal,
        np.greater,
        np.greater_equal,
        np.equal,
        np.not_equal,
        np.sum,
        np.mean,
        np.max,
        np.min,
    ),
    *(
        np.var,
        np.std,
        np.prod,
        np.cumsum,
        np.argmax,
        np.reshape,
        np.transpose,
        np.swapaxes,
        np.moveaxis,
        np.squeeze,
    ),
    *(
        np.expand_dims,
        np.ravel,
        np.broadcast_to,
        np.concatenate,
        np.stack,
        np.split,
        np.flip,
        np.pad,
        np.dot,
        np.outer,
    ),
    np.einsum,
]


@pytest.mark.parametrize("function", NAMED_IN_THE_PLAN, ids=lambda function: function.__name__)
def test_a_planned_function_of_numpy_is_there(function: Any) -> None:
    assert function in UFUNCS or function in FUNCTIONS


@pytest.mark.parametrize(
    "name",
    [
        "sigmoid",
        "logsumexp",
        "linear",
        "relu",
        "leaky_relu",
        "gelu",
        "softmax",
        "log_softmax",
        "cross_entropy",
        "batch_norm",
        "layer_norm",
    ],
)
def test_a_planned_operation_of_our_own_is_there(name: str) -> None:
    assert name in REGISTRY


# ---- integers, booleans and mixed dtypes -----------------------------------------------------------------


@pytest.mark.parametrize(
    "f", [np.sum, np.max, np.cumsum, np.ravel, lambda x: x + 1, lambda x: x * x, lambda x: x[0]]
)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_and_booleans_go_through_as_in_numpy(f: Any, dtype: Any) -> None:
    array = (A > 0).astype(dtype)
    np.testing.assert_array_equal(f(Tensor(array)).data, np.asarray(f(array)), strict=True)


def test_an_integer_argument_takes_no_gradient() -> None:
    t, counts = leaf(), Tensor(np.array([1, 2, 3]))
    np.sum(t * counts).backward()
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad.data, np.broadcast_to([1, 2, 3], (2, 3)))


@pytest.mark.parametrize("f", [np.add, np.multiply, np.maximum, np.divide, lambda x, y: x @ y.T, np.outer])
def test_each_gradient_has_the_dtype_of_its_own_argument(f: Any) -> None:
    x, y = Tensor(A.astype(np.float32), requires_grad=True), leaf(A + 3)
    out = f(x, y)
    out.backward(np.ones(out.shape))
    assert x.grad is not None
    assert y.grad is not None
    assert (out.dtype, x.grad.dtype, y.grad.dtype) == (np.float64, np.float32, np.float64)


def test_float16_stays_float16() -> None:
    t = Tensor(A.astype(np.float16), requires_grad=True)
    np.mean(np.tanh(t) * 2).backward()
    assert t.grad is not None
    assert t.grad.dtype == np.float16


def test_a_function_of_many_operations_is_right_to_second_order() -> None:
    def model(x: Any, w: Any, b: Any) -> Any:
        hidden = np.tanh(x @ w + b)
        scores = hidden - np.max(hidden, axis=1, keepdims=True)
        return np.mean(np.log(np.sum(np.exp(scores), axis=1))) + np.var(w) * np.prod(b)

    gradcheck(model, A, A.T[:, :2] + 0.1, np.array([0.3, -0.4]), order=2)
