"""np.linalg: NumPy's values and named tuples, and gradients that differences and PyTorch confirm."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad
from tinygrad_mnist.testing import gradcheck

Function = Callable[..., Any]
la = np.linalg
RNG = np.random.default_rng(7)


def matrices(*shape: int) -> Any:
    """Matrices without any structure."""
    return RNG.uniform(-1, 1, shape)


def regular(*shape: int) -> Any:
    """Matrices that are well conditioned, their singular and eigenvalues apart."""
    return 0.2 * matrices(*shape) + np.eye(*shape[-2:]) * (2 + 3 * np.arange(shape[-1]))


FUNCTIONS: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "inv": (la.inv, (matrices(3, 3),)),
    "inv, batched": (la.inv, (matrices(2, 2, 2),)),
    "solve": (la.solve, (matrices(3, 3), matrices(3, 2))),
    "solve for a vector": (la.solve, (matrices(3, 3), matrices(3))),
    "solve, batched": (la.solve, (matrices(2, 2, 2), matrices(2, 3))),
    "solve for one vector, batched": (la.solve, (matrices(2, 2, 2), matrices(2))),
    "solve, broadcast": (la.solve, (matrices(2, 2), matrices(3, 2, 1))),
    "pinv of a tall matrix": (la.pinv, (matrices(3, 2),)),
    "pinv of wide matrices": (la.pinv, (matrices(2, 2, 3),)),
    "pinv within rtol": (lambda x: la.pinv(x, rtol=None), (matrices(2, 2),)),
    "lstsq": (lambda a, b: la.lstsq(a, b)[0], (matrices(4, 2), matrices(4))),
    "lstsq, underdetermined": (lambda a, b: la.lstsq(a, b)[0], (matrices(2, 3), matrices(2, 2))),
    "lstsq, residuals": (lambda a, b: la.lstsq(a, b)[1], (matrices(4, 2), matrices(4, 2))),
    "tensorinv": (la.tensorinv, (regular(6, 6).reshape(2, 3, 6),)),
    "tensorsolve": (la.tensorsolve, (regular(4, 4).reshape(2, 2, 4), matrices(2, 2))),
    "tensorsolve, moved": (
        lambda a, b: la.tensorsolve(a, b, axes=(1,)),
        (regular(4, 4).reshape(2, 4, 2), matrices(2, 2)),
    ),
    **{
        f"matrix_power {n}": (lambda x, n=n: la.matrix_power(x, n), (matrices(2, 2, 2),))
        for n in (-3, -1, 0, 1, 2, 3, 5)
    },
    "det": (la.det, (matrices(3, 3),)),
    "det, larger and batched": (la.det, (matrices(2, 5, 5),)),
    "slogdet": (lambda x: la.slogdet(x).logabsdet, (matrices(2, 3, 3),)),
    "slogdet, one and negative": (lambda x: la.slogdet(x)[1], (-regular(3, 3),)),
    "cholesky": (la.cholesky, (regular(3, 3),)),
    "cholesky, batched": (la.cholesky, (regular(2, 2, 2),)),
    "cholesky, upper": (lambda x: la.cholesky(x, upper=True), (regular(3, 3),)),
    "qr": (la.qr, (regular(3, 3),)),
    "qr of tall matrices": (la.qr, (regular(2, 3, 2),)),
    "qr of a wide matrix": (la.qr, (regular(2, 4),)),
    "qr, r alone": (lambda x: la.qr(x, "r"), (regular(3, 2),)),
    "eigh": (la.eigh, (regular(3, 3),)),
    "eigh, upper and batched": (lambda x: la.eigh(x, "U"), (regular(2, 3, 3),)),
    "eigvalsh": (la.eigvalsh, (matrices(2, 3, 3),)),
    "eigvalsh, upper": (lambda x: la.eigvalsh(x, UPLO="u"), (matrices(3, 3),)),
    "svd": (lambda x: la.svd(x, full_matrices=False), (regular(3, 3),)),
    "svd, full": (la.svd, (regular(2, 2),)),
    "svd of tall matrices": (lambda x: la.svd(x, False), (regular(2, 3, 2),)),
    "svd of a wide matrix": (lambda x: la.svd(x, full_matrices=False), (regular(2, 4),)),
    "svd, values alone": (lambda x: la.svd(x, compute_uv=False), (matrices(3, 2),)),
    "svdvals": (la.svdvals, (matrices(2, 2, 3),)),
}
for order in (None, 2, -2, 1, -1, np.inf, -np.inf, "fro", "nuc"):
    FUNCTIONS |= {
        f"matrix norm {order}": (lambda x, o=order: la.norm(x, o), (matrices(2, 3),)),
        f"matrix norm {order} of axes": (lambda x, o=order: la.norm(x, o, (2, 0)), (matrices(2, 3, 2),)),
        f"matrix norm {order} kept": (
            lambda x, o=order: la.norm(x, o, (0, 2), keepdims=True),
            (matrices(2, 3, 2),),
        ),
        f"matrix_norm {order}": (lambda x, o=order: la.matrix_norm(x, ord=o or "fro"), (matrices(2, 2, 3),)),
        f"cond {order}": (lambda x, o=order: la.cond(x, o), (matrices(2, 2, 2),)),
    }
for order in (2, 1, 0, -1, 3, 2.5, 0.5, np.inf, -np.inf):
    FUNCTIONS |= {
        f"norm {order}": (lambda x, o=order: la.norm(x, o), (matrices(3),)),
        f"norm {order} of axis": (lambda x, o=order: la.norm(x, o, 0, True), (matrices(3, 2),)),
        f"vector_norm {order}": (
            lambda x, o=order: la.vector_norm(x, ord=o, axis=(0, 2), keepdims=True),
            (matrices(2, 2, 2),),
        ),
    }
FUNCTIONS |= {
    "norm": (la.norm, (matrices(2, 2, 2),)),
    "norm of rows": (lambda x: la.norm(x, axis=-1), (matrices(2, 3),)),
    "cond of a tall matrix": (la.cond, (matrices(3, 2),)),
    "vector_norm of all": (la.vector_norm, (matrices(2, 2),)),
}


def several(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize(("function", "inputs"), FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_value_shape_and_dtype_are_numpys(
    function: Function, inputs: tuple[Any, ...], dtype: Any
) -> None:
    inputs = tuple(array.astype(dtype) for array in inputs)
    expected = function(*inputs)
    out = function(*(Tensor(array, requires_grad=True) for array in inputs))
    assert type(out) is (type(expected) if isinstance(expected, tuple) else Tensor)
    for one, other in zip(several(out), several(expected), strict=True):
        np.testing.assert_allclose(one.data, other, rtol=2000 * np.finfo(dtype).eps, atol=1e-6)
        assert one.data.shape == np.shape(other)
        assert one.dtype == dtype


@pytest.mark.parametrize(("function", "inputs"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_first_and_second_derivatives_are_right(function: Function, inputs: tuple[Any, ...]) -> None:
    gradcheck(function, *inputs, order=2)


@pytest.mark.parametrize(("function", "inputs"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_gradients_of_float32_are_float32_and_those_of_float64(
    function: Function, inputs: tuple[Any, ...]
) -> None:
    gradients = []
    for dtype in (np.float32, np.float64):
        leaves = [Tensor(array.astype(np.float32).astype(dtype), requires_grad=True) for array in inputs]
        for out in several(function(*leaves)):
            if out.requires_grad:
                np.sum(np.sin(out)).backward(retain_graph=True)
        gradients.append(
            [np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad.data for leaf in leaves]
        )
    for narrow, wide in zip(*gradients, strict=True):
        assert narrow.dtype == np.float32
        np.testing.assert_allclose(narrow, wide, rtol=5e-3, atol=1e-3 * np.max(np.abs(wide)))


# ---- what has several results, or no gradient ------------------------------------------------------------


def test_lstsq_has_numpys_four_results() -> None:
    for m, n in ((4, 2), (2, 4), (2, 2)):
        a, b = matrices(m, n), matrices(m)
        ours, numpys = la.lstsq(Tensor(a), Tensor(b)), la.lstsq(a, b)
        assert ours[2] == numpys[2]
        for i in (0, 1, 3):
            np.testing.assert_allclose(ours[i].data, numpys[i], rtol=1e-9, strict=True)


def test_the_sign_of_slogdet_and_the_rank_need_no_gradient() -> None:
    x = Tensor(-np.eye(3), requires_grad=True)
    assert la.slogdet(x).sign.item() == -1
    assert not la.slogdet(x).sign.requires_grad
    rank = la.matrix_rank(x)
    assert int(rank) == 3
    assert not getattr(rank, "requires_grad", False)


def test_matrices_of_integers_become_floats() -> None:
    x = np.array([[2, 1], [1, 3]])
    for function in (la.inv, la.det, la.norm, la.svdvals, la.pinv, la.eigvalsh, la.cholesky):
        np.testing.assert_allclose(function(Tensor(x)).data, function(x), rtol=1e-14, strict=True)


def test_a_condition_number_of_a_singular_matrix_is_numpys() -> None:
    for p in (None, -2, 1, "fro"):
        for x in (np.zeros((2, 2)), np.diag([1.0, 0.0])):
            np.testing.assert_array_equal(la.cond(Tensor(x), p).data, la.cond(x, p))
    assert np.isnan(la.cond(Tensor(np.full((2, 2), np.nan)), 1).item())


@pytest.mark.parametrize("p", [None, -2, 1, -1, np.inf, "fro", "nuc"])
def test_an_empty_matrix_has_no_condition_as_in_numpy(p: Any) -> None:
    for empty in (np.zeros((0, 0)), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((2, 0, 0))):
        with pytest.raises(LinAlgError, match="cond is not defined on empty arrays"):
            la.cond(empty, p)
        with pytest.raises(LinAlgError, match=r"cond: a matrix of shape .* has no condition"):
            la.cond(Tensor(empty), p)
    none = np.zeros((0, 2, 2))
    np.testing.assert_array_equal(la.cond(Tensor(none), p).data, la.cond(none, p), strict=True)


# ---- gauge: signs of vectors, bases of a complement ------------------------------------------------------

WEIGHTS = matrices(4, 4)
GAUGE_FREE: dict[str, tuple[Function, Any]] = {
    "exponential by eigh": (lambda x: (lambda w, v: (v * np.exp(w)) @ v.T)(*la.eigh(x)), matrices(3, 3)),
    "projector by eigh": (lambda x: (lambda v: v @ v.T)(la.eigh(x).eigenvectors[:, :2]), matrices(3, 3)),
    "polar factor by svd": (lambda x: (lambda u, s, vh: u @ vh)(*la.svd(x, False)), matrices(3, 2)),
    "complement of the rows": (lambda x: (lambda u: u @ u.T)(la.svd(x).U[:, 2:]), matrices(4, 2)),
    "complement of the columns": (lambda x: (lambda vh: vh.T @ vh)(la.svd(x).Vh[2:]), matrices(2, 4)),
    "projector by qr": (lambda x: (lambda q: q @ q.T)(la.qr(x).Q), matrices(4, 2)),
}


@pytest.mark.parametrize(("function", "x"), GAUGE_FREE.values(), ids=GAUGE_FREE)
def test_a_function_of_vectors_without_their_signs_has_its_gradient(function: Function, x: Any) -> None:
    gradcheck(function, x, order=2)


def test_a_triangle_that_is_not_read_has_no_gradient() -> None:
    x = regular(3, 3)
    upper, lower = np.triu_indices(3, 1), np.tril_indices(3, -1)
    assert not grad(lambda x: np.sum(la.cholesky(x)))(x)[upper].any()
    assert not grad(lambda x: np.sum(la.cholesky(x, upper=True)))(x)[lower].any()
    assert not grad(lambda x: np.sum(la.eigvalsh(x) ** 3))(x)[upper].any()
    assert not grad(lambda x: np.sum(la.eigvalsh(x, "U") ** 3))(x)[lower].any()


# ---- where matrices are singular or values coincide ------------------------------------------------------


def test_eigenvalues_that_coincide_have_a_finite_gradient() -> None:
    np.testing.assert_array_equal(grad(lambda x: np.sum(la.eigvalsh(x)))(np.eye(3)), np.eye(3))
    np.testing.assert_array_equal(
        grad(lambda x: np.sum(la.eigvalsh(x) * np.arange(3)))(np.eye(3)), np.diag([0.0, 1, 2])
    )
    apart = grad(lambda x: la.eigh(x).eigenvectors[2, 2] ** 2)(np.diag([1.0, 1.0, 3.0]))
    np.testing.assert_allclose(apart, np.zeros((3, 3)), atol=1e-15)


def test_vectors_of_values_that_coincide_have_no_gradient() -> None:
    weights = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert np.isnan(grad(lambda x: np.sum(la.eigh(x).eigenvectors * weights))(np.eye(2))).any()
    assert np.isnan(grad(lambda x: np.sum(la.svd(x).U * weights))(np.eye(2))).any()


def test_a_singular_value_of_zero_has_gradient_zero_as_the_absolute_value() -> None:
    np.testing.assert_array_equal(grad(lambda x: np.sum(la.svdvals(x)))(np.zeros((3, 2))), np.zeros((3, 2)))
    nuclear = grad(lambda x: la.norm(x, "nuc"))(np.diag([2.0, 0.0]))
    np.testing.assert_array_equal(nuclear, np.diag([1.0, 0.0]))


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_the_determinant_has_its_derivatives_at_every_rank(rank: int) -> None:
    gradcheck(la.det, np.diag([1.0, 2.0, 3.0, 4.0] * (np.arange(4) < rank)), order=2)
    q = la.qr(matrices(5, 5)).Q  # singular but for rounding
    # with the sum beside it, the rounding of a determinant of 0 is no part of what is checked
    gradcheck(lambda x: la.det(x) + np.sum(x), q[:, :rank] @ q[:, :rank].T, atol=1e-12)


def test_the_determinant_of_an_exactly_singular_larger_matrix() -> None:
    x = np.diag([1.0, 2.0, 3.0, 4.0, 0.0])
    np.testing.assert_allclose(grad(la.det)(x), np.diag([0.0, 0, 0, 0, 24]), atol=1e-12)
    stack = np.stack([x, 2 * np.eye(5)])
    gradient = grad(lambda x: np.sum(la.det(x)))(stack)
    np.testing.assert_allclose(gradient[1], 16 * np.eye(5), rtol=1e-12)


def test_a_singular_matrix_that_where_did_not_choose_poisons_nothing() -> None:
    def chosen(x: Any) -> Any:
        sign, logabsdet = la.slogdet(x)
        return np.sum(np.where(sign != 0, logabsdet, 0))

    gradient = grad(chosen)(np.stack([np.ones((2, 2)), 2 * np.eye(2)]))
    np.testing.assert_array_equal(gradient, np.stack([np.zeros((2, 2)), 0.5 * np.eye(2)]))
    assert np.isnan(grad(lambda x: la.slogdet(x).logabsdet)(np.ones((2, 2)))).all()


VECTOR_ORDERS = [None, 2, 1, 0, 3, 0.5, -1, np.inf, -np.inf]
MATRIX_ORDERS = [None, "fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("order", "shape"), [(o, (3,)) for o in VECTOR_ORDERS] + [(o, (2, 2)) for o in MATRIX_ORDERS]
)
def test_a_norm_has_gradient_zero_at_zero(order: Any, shape: tuple[int, ...], dtype: Any) -> None:
    gradient = grad(lambda x: la.norm(x, order) + 0 * np.sum(x))(np.zeros(shape, dtype))
    np.testing.assert_array_equal(gradient, np.zeros(shape, dtype), strict=True)


def test_a_norm_that_several_share_is_split_evenly() -> None:
    np.testing.assert_array_equal(
        grad(lambda x: la.norm(x, np.inf))(np.array([3.0, -3.0, 1.0])), [0.5, -0.5, 0.0]
    )
    np.testing.assert_array_equal(grad(lambda x: la.norm(x, 2))(np.eye(2)), 0.5 * np.eye(2))
    np.testing.assert_array_equal(grad(lambda x: la.norm(x, 1))(np.eye(2)), 0.5 * np.eye(2))


def test_an_element_that_is_zero_has_gradient_zero_in_norms_of_every_order() -> None:
    for order in (0.5, 1, 1.5, 2, 3):
        gradient = grad(lambda x, order=order: la.norm(x, order))(np.array([3.0, 0.0, -4.0]))
        assert gradient[1] == 0
        assert np.isfinite(gradient).all()


def test_norms_carry_nan_and_of_nothing_are_zero() -> None:
    for order in (None, 1, 2, 3, np.inf):
        assert np.isnan(la.norm(Tensor([1.0, np.nan]), order).item())
        assert la.norm(Tensor(np.empty(0)), order).item() == 0


# ---- errors ----------------------------------------------------------------------------------------------

X = Tensor(2 * np.eye(2), requires_grad=True)
ROW = X[:1]
LinAlgError = la.LinAlgError
UNSUPPORTED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "singular": (lambda: la.inv(0 * X), LinAlgError, "inv: Singular matrix"),
    "indefinite": (lambda: la.cholesky(-X), LinAlgError, "cholesky: Matrix is not positive definite"),
    **{
        f"{function.__name__} of a row": (
            lambda function=function: function(ROW), LinAlgError, f"{function.__name__}: .*square",
        )
        for function in (la.inv, la.det, la.slogdet, la.cholesky, la.eigh)
    },
    "eigvalsh of a row": (lambda: la.eigvalsh(ROW), LinAlgError, "square"),
    "power of a row": (lambda: la.matrix_power(ROW, 2), LinAlgError, "matrix_power: shape"),
    "power of a fraction": (lambda: la.matrix_power(X, 0.5), TypeError, "integer"),
    "cond of a row": (lambda: la.cond(ROW, 1), LinAlgError, "cond: shape"),
    "solve": (lambda: la.solve(X, ROW), ValueError, "solve: "),
    "lstsq": (lambda: la.lstsq(X, ROW), LinAlgError, "lstsq: shapes"),
    "tensorinv": (lambda: la.tensorinv(X, 0), ValueError, "tensorinv: ind=0"),
    "tensorsolve": (lambda: la.tensorsolve(X, ROW), LinAlgError, "tensorsolve: shapes"),
    "eig": (lambda: la.eig(X), TypeError, "linalg.eig .* np.linalg.eigh"),
    "eigvals": (lambda: la.eigvals(X), TypeError, "linalg.eigvals .* np.linalg.eigh"),
    "qr complete": (lambda: la.qr(X, "complete"), TypeError, "mode='complete'; use 'reduced'"),
    "svd hermitian": (lambda: la.svd(X, hermitian=True), TypeError, "use np.linalg.eigh"),
    "pinv hermitian": (lambda: la.pinv(X, hermitian=True), TypeError, "leave it out"),
    "UPLO": (lambda: la.eigh(X, "M"), ValueError, "eigh: UPLO='M'"),
    "norm of a vector": (lambda: la.norm(X[0], "fro"), ValueError, "norm: invalid norm order 'fro'"),
    "norm of a matrix": (lambda: la.norm(X, 3), ValueError, "norm: invalid norm order 3"),
    "norm of more": (lambda: la.norm(X[None], 2), ValueError, "norm: ord=2 over 3 axes"),
    "norm of no such axis": (lambda: la.norm(X, axis=2), np.exceptions.AxisError, "norm: axis"),
    "float16": (lambda: la.inv(X.astype(np.float16)), TypeError, "inv: array type float16"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_does_not_fit_is_refused_by_name(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
