"""Products, einsum, diagonals and convolutions: NumPy's values, and gradients that differences confirm."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.testing import gradcheck

Function = Callable[..., Any]


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    rng = np.random.default_rng(len(shapes))
    return [rng.uniform(-1, 1, shape) for shape in shapes]


PRODUCTS: dict[str, tuple[Function, tuple[tuple[int, ...], ...]]] = {
    "matmul": (np.linalg.matmul, ((2, 3), (3, 2))),
    "dot of scalars and matrices": (np.dot, ((), (2, 2))),
    "dot of vectors": (np.dot, ((3,), (3,))),
    "dot beyond two axes": (np.dot, ((2, 3), (2, 3, 2))),
    "vdot": (np.vdot, ((2, 3), (3, 2))),
    "vecdot": (np.vecdot, ((2, 3), (3,))),
    "vecdot along an axis": (lambda x, y: np.vecdot(x, y, axis=0), ((3, 2), (3, 1))),
    "linalg.vecdot along an axis": (lambda x, y: np.linalg.vecdot(x, y, axis=0), ((3, 2), (3, 2))),
    "inner": (np.inner, ((2, 3), (4, 3))),
    "inner of a vector": (np.inner, ((3,), (2, 2, 3))),
    "inner of a scalar": (np.inner, ((), (3,))),
    "outer": (np.outer, ((2, 2), (3,))),
    "linalg.outer": (np.linalg.outer, ((2,), (3,))),
    "tensordot": (np.tensordot, ((2, 3, 2), (3, 2, 2))),
    "tensordot over one axis": (lambda a, b: np.tensordot(a, b, 1), ((2, 3), (3, 2))),
    "tensordot over none": (lambda a, b: np.linalg.tensordot(a, b, axes=0), ((2,), (2, 1))),
    "tensordot over pairs": (lambda a, b: np.tensordot(a, b, ((0, -1), (1, 0))), ((2, 2, 3), (3, 2))),
    "tensordot over one pair": (lambda a, b: np.tensordot(a, b, ([1], [0])), ((2, 3), (3,))),
    "kron": (np.kron, ((2, 3), (2, 2))),
    "kron of fewer axes": (np.kron, ((2,), (2, 1, 2))),
    "kron of a scalar": (np.kron, ((2,), ())),
    "cross": (np.cross, ((2, 3), (3,))),
    "cross along an axis": (lambda a, b: np.cross(a, b, axis=0), ((3, 2), (3, 2))),
    "cross along several axes": (lambda a, b: np.cross(a, b, axisa=0, axisc=0), ((3, 2), (2, 3))),
    "linalg.cross": (lambda a, b: np.linalg.cross(a, b, axis=0), ((3, 2), (3, 1))),
    "multi_dot of two": (lambda *x: np.linalg.multi_dot(x), ((3,), (3,))),
    "multi_dot": (lambda *x: np.linalg.multi_dot(x), ((2, 3), (3, 1), (1, 4), (4, 2))),
    "multi_dot between vectors": (lambda *x: np.linalg.multi_dot(x), ((2,), (2, 3), (3, 2), (2,))),
    "trace": (np.trace, ((3, 3),)),
    "trace elsewhere": (lambda x: np.trace(x, 1, 2, 0), ((2, 3, 3),)),
    "linalg.trace": (lambda x: np.linalg.trace(x, offset=-1), ((2, 3, 3),)),
    "diagonal": (lambda x: np.diagonal(x, 1, -1, 0), ((3, 2, 2),)),
    "linalg.diagonal": (np.linalg.diagonal, ((2, 2, 3),)),
    "diag of a vector": (lambda x: np.diag(x, -1), ((3,),)),
    "diag of a matrix": (lambda x: np.diag(x, 1), ((2, 3),)),
    "diagonal beyond the corner": (lambda x: np.diag(x, 5), ((2, 3),)),
    "diagflat": (lambda x: np.diagflat(x, 1), ((2, 2),)),
    "tril": (lambda x: np.tril(x, -1), ((2, 3, 3),)),
    "tril of a vector": (np.tril, ((3,),)),
    "triu": (lambda x: np.triu(x, 1), ((3, 2),)),
    "polyval": (np.polyval, ((3,), (2, 2))),
    "polyval at a number": (np.polyval, ((3,), ())),
    "einsum": (lambda x, y: np.einsum("ij,jk", x, y), ((2, 3), (3, 2))),
    "einsum by lists": (lambda x, y: np.einsum(x, [0, 1], y, [1, 2]), ((2, 3), (3, 2))),
    "einsum by lists, result too": (lambda x, y: np.einsum(x, [2, 0], y, [2, 0], [0]), ((2, 3), (2, 3))),
    "einsum by lists, ellipsis": (lambda x: np.einsum(x, [..., 0], [...]), ((2, 3),)),
    "einsum of broadcast letters": (lambda x, y: np.einsum("ij,ij->j", x, y), ((1, 3), (2, 3))),
    "einsum of broadcast letters that are summed": (
        lambda x, y: np.einsum("ai,ai->i", x, y),
        ((1, 2), (4, 2)),
    ),
    "einsum of broadcast letters, all summed": (
        lambda x, y: np.einsum("ai,ai->", x, y, optimize=True),
        ((4, 1), (1, 2)),
    ),
    "einsum, optimised": (lambda *x: np.einsum("ij,jk,kl->l", *x, optimize=True), ((2, 2), (2, 3), (3, 2))),
    "einsum along a path": (
        lambda *x: np.einsum("ij,jk,kl->il", *x, optimize=["einsum_path", (1, 2), (0, 1)]),
        ((2, 2), (2, 3), (3, 2)),
    ),
    "einsum by greed within bounds": (
        lambda *x: np.einsum("ij,jk,kl->il", *x, optimize=("greedy", 100)),
        ((2, 2), (2, 3), (3, 2)),
    ),
}
if hasattr(np, "matvec"):
    PRODUCTS |= {
        "matvec": (np.matvec, ((2, 3), (3,))),
        "matvec, batched": (np.matvec, ((2, 2, 3), (2, 3))),
        "vecmat": (np.vecmat, ((2,), (2, 3))),
        "vecmat, batched": (np.vecmat, ((3, 1, 2), (2, 3))),
    }


@pytest.mark.parametrize(("function", "shapes"), PRODUCTS.values(), ids=PRODUCTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_value_shape_and_dtype_are_numpys(
    function: Function, shapes: tuple[tuple[int, ...], ...], dtype: Any
) -> None:
    inputs = [array.astype(dtype) for array in arrays(*shapes)]
    expected = function(*inputs)
    out = function(*(Tensor(array, requires_grad=True) for array in inputs))
    assert out.requires_grad
    assert out.dtype == dtype
    np.testing.assert_allclose(out.data, expected, rtol=10 * np.finfo(dtype).eps, atol=np.finfo(dtype).eps)
    assert out.shape == np.shape(expected)


@pytest.mark.parametrize(("function", "shapes"), PRODUCTS.values(), ids=PRODUCTS)
def test_first_and_second_derivatives_are_right(
    function: Function, shapes: tuple[tuple[int, ...], ...]
) -> None:
    gradcheck(function, *arrays(*shapes), order=2)


@pytest.mark.parametrize(("function", "shapes"), PRODUCTS.values(), ids=PRODUCTS)
def test_an_argument_may_be_an_array_or_a_list(
    function: Function, shapes: tuple[tuple[int, ...], ...]
) -> None:
    inputs = arrays(*shapes)
    expected = function(*inputs)
    for i in range(len(inputs)):
        mixed = [Tensor(x) if j == i else x for j, x in enumerate(inputs)]
        out = function(*mixed)
        assert isinstance(out, Tensor)
        np.testing.assert_allclose(out.data, expected, rtol=1e-14, atol=1e-15)
        listed = [x if isinstance(x, Tensor) else x.tolist() for x in mixed]
        np.testing.assert_allclose(function(*listed).data, expected, rtol=1e-14, atol=1e-15)


# ---- convolution and polynomials -------------------------------------------------------------------------

LENGTHS = [(4, 3), (4, 2), (3, 3), (2, 2), (2, 5), (3, 4), (1, 3), (1, 1)]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("function", [np.convolve, np.correlate])
@pytest.mark.parametrize(("n", "m"), LENGTHS)
def test_convolution_in_every_mode(function: Function, n: int, m: int, mode: str) -> None:
    a, v = arrays((n,), (m,))
    out = function(Tensor(a), Tensor(v), mode)
    np.testing.assert_allclose(out.data, function(a, v, mode), rtol=1e-12, atol=1e-15, strict=True)
    gradcheck(lambda a, v: function(a, v, mode), a, v, order=2)


def test_the_default_mode_is_numpys() -> None:
    a, v = arrays((4,), (2,))
    np.testing.assert_allclose(np.convolve(Tensor(a), v).data, np.convolve(a, v))
    np.testing.assert_allclose(np.correlate(Tensor(a), v).data, np.correlate(a, v))
    np.testing.assert_allclose(np.convolve(a, Tensor(2.0)).data, np.convolve(a, 2.0))


@pytest.mark.parametrize("increasing", [False, True])
@pytest.mark.parametrize("n", [None, 0, 1, 4])
def test_vander(n: int | None, increasing: bool) -> None:
    x = np.array([-0.7, 0.4, 1.3])
    np.testing.assert_allclose(np.vander(Tensor(x), n, increasing).data, np.vander(x, n, increasing))
    if n != 0:
        gradcheck(lambda x: np.vander(x, n, increasing), x, order=2)


def test_vander_of_float32_stays_float32_and_knows_powers_of_zero() -> None:
    x = Tensor(np.array([0.0, 2.0], np.float32), requires_grad=True)
    out = np.vander(x, 3)
    np.testing.assert_array_equal(out.data, np.array([[0, 0, 1], [4, 2, 1]], np.float32), strict=True)
    np.sum(out).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, np.array([1, 5], np.float32), strict=True)


def test_einsum_path_is_numpys() -> None:
    x, y, z = arrays((2, 9), (9, 3), (3, 2))
    path = np.einsum_path("ij,jk,kl", Tensor(x, requires_grad=True), Tensor(y), z)[0]
    assert path == np.einsum_path("ij,jk,kl", x, y, z)[0]


def test_multi_dot_takes_the_cheapest_order() -> None:
    tall, wide, column = arrays((50, 1), (1, 50), (50, 1))
    out = np.linalg.multi_dot([Tensor(tall, requires_grad=True), wide, column])
    assert out.origin.arrays[1].shape == (1, 1)


# ---- errors ----------------------------------------------------------------------------------------------

X = Tensor(np.ones((2, 3)), requires_grad=True)
UNSUPPORTED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "dot": (lambda: np.dot(X, X), ValueError, r"dot: shapes \(2, 3\) and \(2, 3\) do not match"),
    "inner": (lambda: np.inner(X, X.T), ValueError, "inner: shapes"),
    "vdot": (lambda: np.vdot(X, X[0]), ValueError, "vdot: shapes"),
    "vecdot": (lambda: np.vecdot(X, X.T), ValueError, "vecdot: shapes"),
    "tensordot": (lambda: np.tensordot(X, X, 1), ValueError, "tensordot: axes"),
    "tensordot over too many": (lambda: np.tensordot(X, X, 3), ValueError, "tensordot: axes=3"),
    "linalg.outer": (lambda: np.linalg.outer(X, X), ValueError, "linalg.outer: shapes"),
    "cross in the plane": (lambda: np.cross(X[:, :2], X[:, :2]), ValueError, "cross: vectors of 2 and 2"),
    "multi_dot of one": (lambda: np.linalg.multi_dot([X]), ValueError, "multi_dot: 1 arrays"),
    "multi_dot of a stack": (lambda: np.linalg.multi_dot([X[None], X.T]), np.linalg.LinAlgError, "multi_dot"),
    "multi_dot of others": (lambda: np.linalg.multi_dot([X, X]), ValueError, "multi_dot: .* do not match"),
    "trace": (lambda: np.trace(X[0]), ValueError, "trace: shape"),
    "diagonal": (lambda: np.diagonal(X[0]), ValueError, "diagonal: shape"),
    "diag": (lambda: np.diag(X[None]), ValueError, "diag: shape"),
    "convolve": (lambda: np.convolve(X, X), ValueError, "convolve: object too deep"),
    "convolve of nothing": (lambda: np.convolve(X[0, :0], X[0]), ValueError, "convolve: a cannot be empty"),
    "mode": (lambda: np.convolve(X[0], X[0], "circular"), ValueError, "convolve: mode='circular'"),
    "vander": (lambda: np.vander(X), ValueError, "vander: shape"),
    "einsum": (lambda: np.einsum("ij,jk", X), ValueError, "einsum: "),
    "einsum without subscripts": (lambda: np.einsum(X, X), TypeError, "einsum: expected the subscripts"),
    "out": (lambda: np.dot(X, X.T, out=np.ones((2, 2))), TypeError, "does not take out="),
    "axes of a ufunc": (
        lambda: np.matmul(X, X.T, axes=[(0, 1), (0, 1), (0, 1)]),
        TypeError,
        "matmul on a Tensor does not take axes=",
    ),
    "dtype": (lambda: np.trace(X, dtype=np.float32), TypeError, "does not take dtype="),
}


@pytest.mark.parametrize(("call", "error", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_does_not_fit_is_refused_by_name(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
