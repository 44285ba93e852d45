"""NumPy is the API: a function, an operator or a method on a Tensor does what NumPy does on an array."""

import operator
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import FUNCTIONS, REGISTRY, UFUNCS, UNSUPPORTED
from tinygrad_mnist.ops.nondifferentiable import ATTRIBUTES
from tinygrad_mnist.testing import gradcheck

A = np.array([[0.5, -1.2, 2.0], [1.5, 0.3, -0.7]])
B = np.array([[1.1, 0.4, -2.2], [0.6, -1.9, 0.9]])
P, Q = np.abs(A), np.abs(B)
V = np.array([0.2, -0.4, 0.9])
CUBE = np.arange(12.0).reshape(2, 3, 2) / 7 - 0.8
WIDE = np.ones((2, 1, 3, 1)) * V.reshape(1, 1, 3, 1)

# Written once, in NumPy, and run on arrays and on Tensors.
FORMULAE: dict[str, tuple[Any, ...]] = {
    "+": (lambda x, y: x + y, A, V),
    "-": (lambda x, y: x - y, A, V),
    "*": (lambda x, y: x * y, A, V),
    "/": (lambda x, y: x / y, A, B),
    "**": (lambda x, y: x**y, P, B),
    "%": (lambda x, y: x % y, P, Q + 3),
    "@": (lambda x, y: x @ y, A, B.T),
    "negative": (lambda x: -x, A),
    "positive": (lambda x: +x, A),
    "** 2": (lambda x: x**2, A),
    "** 3": (lambda x: x**3, A),
    "** 1": (lambda x: x**1, A),
    "** 0": (lambda x: x**0, A),
    "** -1": (lambda x: x**-1, A),
    "** 0.5": (lambda x: x**0.5, P),
    "2 **": (lambda x: 2**x, A),
    "2.0 -": (lambda x: 2.0 - x, A),
    "1 /": (lambda x: 1 / x, A),
    "7 %": (lambda x: 7 % x, P + 3.7),
    "array -": (lambda x: A - x, B),
    "array @": (lambda x: A @ x, B.T),
    "@ array": (lambda x: x @ A.T, B),
    "list +": (lambda x: V.tolist() + x, V),
    "scalar *": (lambda x: np.float64(3) * x, V),
    "power": (np.power, P, B),
    "power, exponent 0": (np.power, P, np.zeros(3)),
    "remainder": (np.remainder, P, Q + 3),
    "matmul": (np.matmul, CUBE, A.T[:2]),
    "where": (lambda x, y: np.where(A > 0, x, y), A, B),
    "where with a number": (lambda x: np.where(A > 0, x, 0), A),
    "where by a Tensor": (lambda x: np.where(x > 0, x, x * 0.1), A),
    "clip": (lambda x: np.clip(x, -1, 1), A),
    "clip below": (lambda x: np.clip(x, -1, None), A),
    "clip by keyword": (lambda x: np.clip(x, min=-1, max=1), A),
    "clip by arrays": (lambda x, y: np.clip(x, -Q, y), A, Q),
    "sum": (np.sum, A),
    "sum of an axis": (lambda x: np.sum(x, axis=-1), CUBE),
    "sum of axes": (lambda x: np.sum(x, axis=(0, 2), keepdims=True), CUBE),
    "sum, axis by position": (lambda x: np.sum(x, 0), A),
    "mean": (lambda x: np.mean(x, axis=0, keepdims=True), A),
    "max": (lambda x: np.max(x, axis=1), A),
    "min": (lambda x: np.min(x, axis=(0, 1)), A),
    "amax": (np.amax, A),
    "amin": (np.amin, A),
    "var": (lambda x: np.var(x, axis=0), A),
    "var, ddof": (lambda x: np.var(x, ddof=1), A),
    "var, correction": (lambda x: np.var(x, correction=1), A),
    "std": (lambda x: np.std(x, axis=1, keepdims=True), A),
    "prod": (lambda x: np.prod(x, axis=1), A),
    "cumsum": (lambda x: np.cumsum(x, axis=1), A),
    "cumsum, flat": (np.cumsum, A),
    "reshape": (lambda x: np.reshape(x, (3, -1)), A),
    "transpose": (np.transpose, CUBE),
    "transpose, axes": (lambda x: np.transpose(x, (1, 2, 0)), CUBE),
    "swapaxes": (lambda x: np.swapaxes(x, 0, -1), CUBE),
    "moveaxis": (lambda x: np.moveaxis(x, 0, -1), CUBE),
    "moveaxis, several": (lambda x: np.moveaxis(x, [0, 1], [-1, 0]), CUBE),
    "expand_dims": (lambda x: np.expand_dims(x, (0, -1)), A),
    "squeeze": (np.squeeze, WIDE),
    "squeeze, axis": (lambda x: np.squeeze(x, axis=-1), WIDE),
    "squeeze, axes": (lambda x: np.squeeze(x, axis=(1, 3)), WIDE),
    "ravel": (np.ravel, CUBE),
    "broadcast_to": (lambda x: np.broadcast_to(x, (2, 2, 3)), A),
    "flip": (np.flip, A),
    "flip, axis": (lambda x: np.flip(x, axis=1), A),
    "matrix_transpose": (np.matrix_transpose, CUBE),
    "concatenate": (lambda x, y: np.concatenate([x, y]), A, B),
    "concatenate, flat": (lambda x, y: np.concatenate([x, y], axis=None), A, V),
    "concatenate with an array": (lambda x: np.concatenate((B, x), axis=1), A),
    "stack": (lambda x, y: np.stack([x, y]), A, B),
    "stack, last": (lambda x, y: np.stack([x, y], axis=-1), A, B),
    "stack with an array": (lambda x: np.stack([B, x], 1), A),
    "split": (lambda x: np.split(x, 3, axis=1)[1], A),
    "split at": (lambda x: np.split(x, [1, 2], axis=-1)[2], A),
    "array_split": (lambda x: np.array_split(x, 2, axis=1)[0], A),
    "pad": (lambda x: np.pad(x, 1), A),
    "pad, widths": (lambda x: np.pad(x, ((0, 1), (2, 0))), A),
    "pad, one width an axis": (lambda x: np.pad(x, ((1, 2),)), A),
    "pad, value": (lambda x: np.pad(x, 1, constant_values=2.0), A),
    **{
        f"pad, {mode}": (lambda x, mode=mode: np.pad(x, ((1, 1), (2, 1)), mode=mode), A)
        for mode in ("edge", "reflect", "symmetric", "wrap")
    },
    "dot, vectors": (np.dot, V, V),
    "dot, matrices": (np.dot, A, B.T),
    "dot, matrix and vector": (np.dot, A, V),
    "dot, number": (lambda x: np.dot(2.0, x), A),
    "dot, N-D": (np.dot, CUBE, np.ones((2, 2, 3)) * V),
    "dot, N-D and vector": (np.dot, CUBE, V[:2]),
    "outer": (np.outer, V, A),
    "einsum": (lambda x, y: np.einsum("ij,kj->ik", x, y), A, B),
    "einsum, implicit": (lambda x, y: np.einsum("ij,kj", x, y), A, B),
    "einsum, trace": (lambda x: np.einsum("ii", x), A[:, :2]),
    "einsum, ellipsis": (lambda x, y: np.einsum("...i,i->...", x, y), CUBE, V[:2]),
    "einsum, array": (lambda x: np.einsum("ij,ij->", A, x), B),
    "einsum, three": (lambda x, y, z: np.einsum("ij,kj,k->i", x, y, z, optimize=True), A, B, V[:2]),
    "slice": (lambda x: x[:, ::-2], A),
    "row": (lambda x: x[1], A),
    "element": (lambda x: x[1, -1], A),
    "newaxis and ellipsis": (lambda x: x[..., None, 1:], CUBE),
    "integer array": (lambda x: x[:, np.array([0, 0, -1])], A),
    "list": (lambda x: x[[1, 1, 0]], A),
    "mask": (lambda x: x[A > 0], A),
    "mask of rows": (lambda x: x[np.array([True, False])], A),
    "mesh": (lambda x: x[np.ix_([1, 0], [2, 2])], A),
    "mixed": (lambda x: x[np.array([0, 1, 1]), 1:], CUBE),
    "advanced around a slice": (lambda x: x[[0, 1], :, [1, 0]], CUBE),
    "index by a Tensor": (lambda x: x[Tensor([1, 0, 1])], A),
}


@pytest.mark.parametrize("name", FORMULAE)
def test_a_function_has_numpys_value(name: str) -> None:
    f, *arrays = FORMULAE[name]
    out, expected = f(*map(Tensor, arrays)), f(*arrays)
    assert isinstance(out, Tensor)
    np.testing.assert_allclose(out.data, expected, rtol=1e-14)
    assert (out.shape, out.dtype) == (np.shape(expected), np.asarray(expected).dtype)


@pytest.mark.parametrize("name", FORMULAE)
def test_a_function_has_its_first_and_second_derivative(name: str) -> None:
    f, *arrays = FORMULAE[name]
    gradcheck(f, *arrays, order=2)


OPERATORS = {
    operator.add: np.add,
    operator.sub: np.subtract,
    operator.mul: np.multiply,
    operator.truediv: np.divide,
    operator.floordiv: np.floor_divide,
    operator.mod: np.remainder,
    operator.pow: np.power,
    operator.matmul: np.matmul,
    operator.lt: np.less,
    operator.le: np.less_equal,
    operator.gt: np.greater,
    operator.ge: np.greater_equal,
    operator.eq: np.equal,
    operator.ne: np.not_equal,
}
LEFTS = {
    "tensor": Tensor(P[:, :2]),
    "array": P[:, :2],
    "float": 2.5,
    "int": 2,
    "numpy scalar": np.float64(2.5),
    "list": P[:, :2].tolist(),
    "0-d array": np.array(2.5),
}


PAIRS = [
    (op, left)
    for op in OPERATORS
    for left in LEFTS
    if op is not operator.matmul or left in ("tensor", "array", "list")  # matmul takes no scalars
]


@pytest.mark.parametrize(("op", "left"), PAIRS, ids=lambda part: getattr(part, "__name__", part))
def test_an_operator_is_the_function(op: Any, left: str) -> None:
    x, y = LEFTS[left], Tensor(Q[:, 1:])
    plain = x.data if isinstance(x, Tensor) else x
    for out in (op(x, y), OPERATORS[op](x, y)):
        assert isinstance(out, Tensor)
        np.testing.assert_array_equal(out.data, OPERATORS[op](plain, y.data), strict=True)


@pytest.mark.parametrize(
    "op", [operator.neg, operator.pos, operator.abs, operator.invert], ids=lambda op: op.__name__
)
def test_an_operator_of_one_tensor_is_that_of_the_array(op: Any) -> None:
    array = A > 0 if op is operator.invert else A
    np.testing.assert_array_equal(op(Tensor(array)).data, op(array), strict=True)


@pytest.mark.parametrize("op", [operator.and_, operator.or_, operator.xor], ids=lambda op: op.__name__)
def test_masks_combine(op: Any) -> None:
    out = op(Tensor(A) > 0, B > 0)
    np.testing.assert_array_equal(out.data, op(A > 0, B > 0), strict=True)


METHODS: dict[str, Any] = {
    "sum": lambda x: x.sum(axis=0, keepdims=True),
    "mean": lambda x: x.mean(axis=0, keepdims=True),
    "max": lambda x: x.max(axis=1),
    "min": lambda x: x.min(),
    "var": lambda x: x.var(axis=0, ddof=1),
    "std": lambda x: x.std(),
    "prod": lambda x: x.prod(axis=-1),
    "cumsum": lambda x: x.cumsum(axis=1),
    "argmax": lambda x: x.argmax(axis=1),
    "argmin": lambda x: x.argmin(),
    "all": lambda x: x.all(axis=0),
    "any": lambda x: x.any(),
    "clip": lambda x: x.clip(-1, 1),
    "clip by keyword": lambda x: x.clip(max=1),
    "round": lambda x: x.round(1),
    "dot": lambda x: x.dot(V),
    "reshape": lambda x: x.reshape(3, 2),
    "reshape, tuple": lambda x: x.reshape((3, -1)),
    "transpose": lambda x: x.transpose(),
    "transpose, numbers": lambda x: x.transpose(1, 0),
    "transpose, tuple": lambda x: x.transpose((1, 0)),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "squeeze": lambda x: x[None].squeeze(),
    "ravel": lambda x: x.ravel(),
    "flatten": lambda x: x.flatten(),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "copy": lambda x: x.copy(),
    "astype": lambda x: x.astype(np.float32),
    "item": lambda x: x[0, 0].item(),
    "tolist": lambda x: x.tolist(),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_ndarrays(name: str) -> None:
    out, expected = METHODS[name](Tensor(A)), METHODS[name](A)
    np.testing.assert_array_equal(out.data if isinstance(out, Tensor) else out, expected, strict=True)


OF_THE_REGISTRY = ("exp", "log", "sqrt", "tanh", "sigmoid", "relu")


@pytest.mark.parametrize("name", OF_THE_REGISTRY)
def test_a_method_is_the_registered_operation(name: str) -> None:
    np.testing.assert_array_equal(getattr(Tensor(P), name)().data, REGISTRY[name](P))


def test_logsumexp_takes_an_axis() -> None:
    expected = np.log(np.sum(np.exp(A), axis=1, keepdims=True))
    np.testing.assert_allclose(Tensor(A).logsumexp(axis=1, keepdims=True).data, expected)


NO_OPERATION = {
    "backward",
    "data",
    "detach",
    "device",
    "dtype",
    "grad",
    "graph",
    "is_leaf",
    "item",
    "itemsize",
    "mark_written",
    "nbytes",
    "ndim",
    "numpy",
    "register_hook",
    "origin",
    "requires_grad",
    "requires_grad_",
    "shape",
    "size",
    "strides",
    "tolist",
}
UNDER_ANOTHER_NAME = {"T", "mT", "abs", "conj", "conjugate", "copy", "flatten"}


def test_every_method_is_an_operation_or_known_not_to_be() -> None:
    names = {name for name in dir(Tensor(1.0)) if not name.startswith("_")}
    refused = {name.removeprefix("ndarray.") for name in (*UNSUPPORTED, *ATTRIBUTES)}
    known = NO_OPERATION | UNDER_ANOTHER_NAME | refused | REGISTRY.keys() | {f.__name__ for f in FUNCTIONS}
    assert names - known == set()


def test_every_method_of_ndarray_that_is_a_registered_function_is_one_of_tensor() -> None:
    functions = {name for name in dir(np.ndarray) if getattr(np, name, None) in FUNCTIONS}
    rare = {"real", "imag"}  # attributes; np.real(t) does it
    assert {name for name in functions - rare if not hasattr(Tensor, name)} == set()


def test_every_ufunc_runs_its_own_operation() -> None:
    others = {ufunc.__name__: op.name for ufunc, op in UFUNCS.items() if ufunc.__name__ != op.name}
    assert others == {"radians": "deg2rad", "degrees": "rad2deg"}


def test_a_function_of_many_operations_is_right_to_second_order() -> None:
    def model(x: Any, w: Any, b: Any) -> Any:
        hidden = np.tanh(x @ w + b)
        scores = hidden - np.max(hidden, axis=1, keepdims=True)
        return np.mean(np.log(np.sum(np.exp(scores), axis=1))) + np.var(w) * np.prod(b)

    gradcheck(model, A, A.T[:, :2] + 0.1, np.array([0.3, -0.4]), order=2)
