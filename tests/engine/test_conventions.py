"""Gradients where the textbook stops: the conventions, a test each, and the page that lists them.

The true derivative where it exists; for a convex function the subgradient of least norm; for a concave one
the supergradient of least norm; the limit by continuity; otherwise NaN. And what was not chosen contributes
nothing; `test_reach.py` has more of that.
"""

from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from scripts import make_conventions as conventions
from scripts.make_conventions import DTYPES, ROWS, Row, answer, cell
from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.testing import gradcheck

INF, NAN = np.inf, np.nan
logsumexp, relu, leaky_relu, log_softmax, softmax = (
    REGISTRY[name] for name in ("logsumexp", "relu", "leaky_relu", "log_softmax", "softmax")
)


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=[False, True], ids=["plain", "recorded"])
def recorded(request: pytest.FixtureRequest) -> bool:
    """Whether the backward pass is itself recorded: the conventions hold there too."""
    return bool(request.param)


def gradients(f: Any, *values: Any, dtype: Any, recorded: bool, cotangent: Any = None) -> list[Any]:
    """The gradients of ``sum(f(...))``, which have the dtype of the input: so float32 never leaks."""
    leaves = [Tensor(np.array(value, dtype), requires_grad=True) for value in values]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        out = f(*leaves)
        out.backward(np.ones(out.shape) if cotangent is None else cotangent, create_graph=recorded)
    found = []
    for leaf in leaves:
        assert leaf.grad is not None
        assert leaf.grad.dtype == dtype
        found.append(leaf.grad.data)
    return found


EACH_ARGUMENT = {
    "maximum(x, x)": (np.maximum, (2.0, 2.0), (0.5, 0.5)),
    "minimum(x, x)": (np.minimum, (2.0, 2.0), (0.5, 0.5)),
    "maximum(x, 0) at 0": (lambda x: np.maximum(x, 0), (0.0,), (0.5,)),
    "minimum(x, 0) at 0": (lambda x: np.minimum(x, 0), (0.0,), (0.5,)),
    "max of ties": (lambda x: np.max(x), ([1.0, 3.0, 3.0, 2.0],), ([0, 0.5, 0.5, 0],)),
    "min of ties": (lambda x: np.min(x), ([3.0, 1.0, 1.0, 1.0],), ([0, 1 / 3, 1 / 3, 1 / 3],)),
    "max of ties along an axis": (
        lambda x: np.max(x, axis=1), ([[1.0, 1.0], [2.0, 1.0]],), ([[0.5, 0.5], [1, 0]],),
    ),
    "max of ties over two axes": (lambda x: np.max(x, axis=(0, 1)), (np.ones((2, 1)),), ([[0.5], [0.5]],)),
    "relu at 0": (relu, ([0.0, -0.0],), ([0, 0],)),
    "leaky_relu at 0": (lambda x: leaky_relu(x, negative_slope=0.25), (0.0,), (0.25,)),
    "abs at 0": (np.abs, (0.0,), (0.0,)),
    "sqrt at 0": (np.sqrt, (0.0,), (INF,)),
    "log at 0": (np.log, (0.0,), (INF,)),
    "reciprocal at 0": (np.reciprocal, (0.0,), (-INF,)),
    "where(x > 0, log(x), 0)": (lambda x: np.where(x > 0, np.log(x), 0), ([-1.0, 0.0, 2.0],), ([0, 0, 0.5],)),
    "where(x > 0, sqrt(x), 0)": (lambda x: np.where(x > 0, np.sqrt(x), 0), ([-1.0, 0, 4],), ([0, 0, 0.25],)),
    "where(x != 0, 1/x, 0)": (lambda x: np.where(x != 0, 1 / x, 0), ([0.0, 2.0],), ([0, -0.25],)),
    "std of constant input": (np.std, ([2.0, 2.0, 2.0],), ([0, 0, 0],)),
    "std of constant rows": (lambda x: np.std(x, axis=1), ([[1, 1], [0, 2]],), ([[0, 0], [-0.5, 0.5]],)),
    "x ** 0 at 0, an int": (lambda x: x**0, (0.0,), (0.0,)),
    "x ** 0 at 0, a float": (lambda x: x**0.0, (0.0,), (0.0,)),
    "x ** y at (0, 0), d/dx": (lambda x: x ** np.zeros((), x.dtype), (0.0,), (0.0,)),
    "x ** 1 at 0": (lambda x: x**1, (0.0,), (1.0,)),
    "x ** 2 at 0": (lambda x: x**2, (0.0,), (0.0,)),
    "x ** 0.5 at 0": (lambda x: x**0.5, (0.0,), (INF,)),
    "0 ** y for y >= 0": (lambda y: 0.0**y, ([0.0, 2.0],), ([0, 0],)),
    "0 ** y for y < 0": (lambda y: 0.0**y, (-1.0,), (-INF,)),
    "(-2) ** y": (lambda y: (-2.0) ** y, (2.0,), (NAN,)),
    "prod with one zero": (np.prod, ([2.0, 0.0, 3.0],), ([0, 6, 0],)),
    "prod with two zeros": (np.prod, ([2.0, 0.0, 0.0],), ([0, 0, 0],)),
    "prod with zeros along an axis": (
        lambda x: np.prod(x, axis=0), ([[0.0, 2.0], [3.0, 4.0]],), ([[3, 4], [0, 2]],),
    ),
    "logsumexp of all -inf": (lambda x: logsumexp(x, axis=None, keepdims=False), ([-INF, -INF],), ([0, 0],)),
    "logsumexp with one row of -inf": (
        lambda x: logsumexp(x, axis=1, keepdims=False), ([[-INF, -INF], [0, 0]],), ([[0, 0], [0.5, 0.5]],),
    ),
    "logsumexp with one -inf": (lambda x: logsumexp(x, axis=0, keepdims=False), ([-INF, 1.0],), ([0, 1],)),
    "logsumexp with one inf": (lambda x: logsumexp(x, axis=0, keepdims=False), ([INF, 1e4],), ([1, 0],)),
    "logsumexp of inf and -inf": (lambda x: logsumexp(x, axis=0, keepdims=False), ([INF, -INF],), ([1, 0],)),
    "logsumexp with two inf": (
        lambda x: logsumexp(x, axis=1, keepdims=True), ([[INF, INF, 1.0]],), ([[NAN, NAN, 0]],),
    ),
    "max with NaN": (lambda x: np.max(x), ([1.0, NAN, 3.0],), ([0, 1, 0],)),
    "min with NaN": (lambda x: np.min(x), ([1.0, NAN, 3.0],), ([0, 1, 0],)),
    "max with NaN along an axis": (
        lambda x: np.max(x, axis=1), ([[1.0, NAN, NAN], [2.0, 5.0, 1.0]],), ([[0, 0.5, 0.5], [0, 1, 0]],),
    ),
    **{
        f"where(|x| < 10, {f.__name__}(x), x)": (
            lambda x, f=f: np.where(np.abs(x) < 10, f(x), x), ([2000.0, 0.0],), ([1, at_0],),
        )
        for f, at_0 in (
            (np.exp, 1), (np.expm1, 1), (np.sinh, 1), (np.cosh, 0), (np.exp2, np.log(2)), (np.i0, 0),
        )
    },
    "ELU": (lambda x: np.where(x > 0, x, np.exp(x) - 1), ([1000.0, -INF],), ([1, 0],)),
    "clip at a constant bound": (lambda x: np.clip(x, -1, 1), ([-1.0, 0.0, 1.0],), ([0, 1, 0],)),
    "clip at a Tensor bound": (lambda x, low: np.clip(x, low, None), (1.0, 1.0), (0.5, 0.5)),
    "cumprod with one zero": (np.cumprod, ([2.0, 0.0, 3.0],), ([1, 8, 0],)),
    "cumprod with two zeros": (np.cumprod, ([0.0, 0.0, 3.0],), ([1, 0, 0],)),
    "logaddexp(-inf, -inf)": (np.logaddexp, (-INF, -INF), (0, 0)),
    "logaddexp(-inf, 0)": (np.logaddexp, (-INF, 0.0), (0, 1)),
    "logaddexp(inf, 1)": (np.logaddexp, (INF, 1.0), (1, 0)),
    "logaddexp(inf, -inf)": (np.logaddexp, (INF, -INF), (1, 0)),
    "logaddexp(inf, inf)": (np.logaddexp, (INF, INF), (NAN, NAN)),
    "logaddexp2(-inf, -inf)": (np.logaddexp2, (-INF, -INF), (0, 0)),
    "logaddexp2(inf, 1)": (np.logaddexp2, (INF, 1.0), (1, 0)),
    "norm at 0": (np.linalg.norm, ([0.0, 0.0],), ([0, 0],)),
    "norm of rows, one of them 0": (
        lambda x: np.linalg.norm(x, axis=1), ([[0.0, 0.0], [3.0, 4.0]],), ([[0, 0], [0.6, 0.8]],),
    ),
    "Frobenius norm at 0": (np.linalg.norm, (np.zeros((2, 2)),), (np.zeros((2, 2)),)),
    "hypot(0, 0)": (np.hypot, (0.0, 0.0), (0, 0)),
    "sinc at 0": (np.sinc, ([0.0, 0.5],), ([0, -4 / np.pi],)),
    "arctan2(0, 0)": (np.arctan2, (0.0, 0.0), (NAN, NAN)),
    "sort with ties is stable": (lambda x: np.sort(x)[:2], ([2.0, 1.0, 1.0],), ([0, 1, 1],)),
    "first of sorted ties": (lambda x: np.sort(x)[0], ([2.0, 1.0, 1.0],), ([0, 1, 0],)),
    "median of an odd number": (np.median, ([3.0, 1.0, 2.0],), ([0, 0, 1],)),
    "median of an even number": (np.median, ([4.0, 1.0, 2.0, 3.0],), ([0, 0, 0.5, 0.5],)),
    "fmax(x, x)": (np.fmax, (2.0, 2.0), (0.5, 0.5)),
    "fabs at 0": (np.fabs, (0.0,), (0.0,)),
    "repeated indices": (lambda x: x[[0, 0, 1]], ([1.0, 2.0, 3.0],), ([2, 1, 0],)),
    "repeated negative indices": (lambda x: x[np.array([-1, 2])], ([1.0, 2.0, 3.0],), ([0, 0, 2],)),
}  # fmt: skip


@pytest.mark.parametrize("case", EACH_ARGUMENT)
def test_the_gradient_is_the_convention(case: str, dtype: Any, recorded: bool) -> None:
    f, values, expected = EACH_ARGUMENT[case]
    found = gradients(f, *values, dtype=dtype, recorded=recorded)
    for gradient, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, value, rtol=1e-6)


@pytest.mark.parametrize("f", [np.sqrt, np.log, np.reciprocal, lambda x: x**0.5, lambda x: 1 / x])
def test_zeros_in_a_cotangent_that_is_given_are_left_out(f: Any, dtype: Any, recorded: bool) -> None:
    (gradient,) = gradients(f, [0.0, 1.0], dtype=dtype, recorded=recorded, cotangent=np.array([0.0, 1.0]))
    assert gradient[0] == 0
    assert gradient[1] != 0


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (np.log, 0.0), (np.sqrt, 0.0), (np.reciprocal, 0.0), (lambda t: t**0.5, 0.0), (lambda t: 1 / t, 0.0),
        (np.log1p, -1.0), (np.arcsin, 1.0), (np.arccos, -1.0),
    ],
    ids=["log", "sqrt", "reciprocal", "power", "divide", "log1p", "arcsin", "arccos"],
)  # fmt: skip
def test_a_branch_that_where_did_not_choose_adds_nothing(
    f: Any, x: float, dtype: Any, recorded: bool
) -> None:
    (gradient,) = gradients(
        lambda t: np.where(t.data == x, 0, f(t)), [x, 0.5], dtype=dtype, recorded=recorded
    )
    assert gradient[0] == 0
    assert gradient[1] != 0


def test_a_cotangent_of_zero_by_value_keeps_its_second_derivative(dtype: Any) -> None:
    x = Tensor(np.array(1.0, dtype), requires_grad=True)
    (np.log(x) ** 2).backward(create_graph=True)  # its cotangent at 1 is 0, its Hessian 2
    gradient, x.grad = x.grad, None
    assert gradient is not None
    gradient.backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, 2, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Degrees of freedom:RuntimeWarning")
def test_var_of_one_element_with_ddof_1_is_nan(dtype: Any, recorded: bool) -> None:
    (gradient,) = gradients(lambda x: np.var(x, ddof=1), [3.0], dtype=dtype, recorded=recorded)
    np.testing.assert_array_equal(gradient, [NAN])


def test_var_of_one_element_with_ddof_1_warns_as_numpy_does(dtype: Any) -> None:
    with pytest.warns(RuntimeWarning, match="Degrees of freedom"), np.errstate(all="ignore"):
        np.var(Tensor(np.array([3.0], dtype), requires_grad=True), ddof=1)


def test_logsumexp_of_all_minus_infinity_is_minus_infinity(dtype: Any) -> None:
    out = logsumexp(Tensor(np.full(3, -INF, dtype)), axis=0, keepdims=False)
    assert out.item() == -INF


@pytest.mark.parametrize(
    "f",
    [
        np.sign, np.floor, np.ceil, np.trunc, np.rint, np.round, np.signbit, np.argmax, np.argmin, np.argsort,
        np.isnan, lambda x: x > 0, lambda x: x == x, lambda x: x // 2, np.all, np.count_nonzero,
    ],
)  # fmt: skip
def test_what_is_piecewise_constant_needs_no_gradient(f: Any, dtype: Any) -> None:
    out = f(Tensor(np.array([0.0, 1.0, -2.0], dtype), requires_grad=True))
    assert not getattr(out, "requires_grad", False)


def test_log_softmax_of_logits_of_10_000_is_stable(dtype: Any, recorded: bool) -> None:
    logits = [[1e4, 0.0, -1e4], [1e4, 1e4, 1e4]]
    out = log_softmax(Tensor(np.array(logits, dtype)), axis=1).data
    np.testing.assert_allclose(out, [[0, -1e4, -2e4], [-np.log(3)] * 3], rtol=1e-6)
    (gradient,) = gradients(
        lambda x: log_softmax(x, axis=1), logits, dtype=dtype, recorded=recorded, cotangent=np.eye(3)[:2]
    )
    np.testing.assert_allclose(gradient, [[0, 0, 0], [-1 / 3, 2 / 3, -1 / 3]], atol=1e-6)


def test_softmax_of_logits_of_10_000_is_stable(dtype: Any, recorded: bool) -> None:
    (gradient,) = gradients(
        lambda x: softmax(x, axis=0),
        [1e4, 0.0],
        dtype=dtype,
        recorded=recorded,
        cotangent=np.array([1.0, 0.0]),
    )
    np.testing.assert_array_equal(gradient, [0, 0])


@pytest.mark.parametrize(
    "f",
    [
        np.exp, lambda x: x * 2, np.sum, lambda x: np.sum(x, axis=0), np.prod, lambda x: np.prod(x, axis=0),
        np.cumsum, lambda x: x.reshape(3, 0), lambda x: x.T, lambda x: x @ np.ones((3, 2)), relu,
        lambda x: np.concatenate([x, x]), lambda x: x[:, 1:], lambda x: logsumexp(x, axis=0, keepdims=True),
    ],
)  # fmt: skip
def test_empty_arrays_have_empty_gradients(f: Any, dtype: Any, recorded: bool) -> None:
    (gradient,) = gradients(f, np.zeros((0, 3)), dtype=dtype, recorded=recorded)
    assert gradient.shape == (0, 3)


@pytest.mark.filterwarnings("ignore:Degrees of freedom:RuntimeWarning", "ignore:Mean of empty:RuntimeWarning")
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
@pytest.mark.parametrize("f", [np.std, np.var, np.mean])
def test_moments_of_empty_arrays_have_empty_gradients(f: Any, axis: Any, dtype: Any, recorded: bool) -> None:
    (gradient,) = gradients(lambda x: f(x, axis=axis), np.zeros((0, 3)), dtype=dtype, recorded=recorded)
    assert gradient.shape == (0, 3)


@pytest.mark.parametrize("f", [np.max, np.min, np.argmax])
def test_an_extreme_of_nothing_raises_as_numpy_does(f: Any, dtype: Any) -> None:
    with pytest.raises(ValueError, match=r"zero-size array|empty sequence"):
        f(Tensor(np.zeros(0, dtype)))


@pytest.mark.parametrize(
    "f", [np.exp, np.sum, np.max, relu, lambda x: x + 1, lambda x: x[()], np.cumsum, np.prod]
)
def test_a_0d_array_keeps_shape_and_dtype(f: Any, dtype: Any, recorded: bool) -> None:
    (gradient,) = gradients(f, 0.5, dtype=dtype, recorded=recorded)
    assert type(gradient) is np.ndarray
    assert gradient.shape == ()


def test_batch_norm_of_one_row_says_what_to_do(dtype: Any) -> None:
    layer = nn.BatchNorm1d(2)
    with pytest.raises(ValueError, match="drop_last"):
        layer(Tensor(np.ones((1, 2), dtype)))


def test_batch_norm_of_one_row_works_in_evaluation(dtype: Any) -> None:
    assert nn.BatchNorm1d(2, dtype=dtype).eval()(Tensor(np.ones((1, 2), dtype))).shape == (1, 2)


@pytest.mark.parametrize("f", [np.median, lambda x: np.median(x[:3])])
def test_the_median_of_ties_gives_all_to_the_middle_that_was_chosen(
    f: Any, dtype: Any, recorded: bool
) -> None:
    (gradient,) = gradients(f, [1.0, 1.0, 1.0, 1.0], dtype=dtype, recorded=recorded)
    assert np.sum(gradient) == 1
    assert np.all(gradient >= 0)


def test_a_vector_of_norm_0_has_the_subgradient_of_least_norm_at_every_order(dtype: Any) -> None:
    for order in (2, None):
        (gradient,) = gradients(
            lambda x, order=order: np.linalg.norm(x, order), [0.0, 0.0], dtype=dtype, recorded=False
        )
        np.testing.assert_array_equal(gradient, [0, 0])


# ---- a subgradient lies between the left and the right derivative, and is the least of them ---------------

CONVEX = {
    "abs": (np.abs, 0.0),
    "relu": (relu, 0.0),
    "maximum": (lambda x: np.maximum(x, 1.0), 1.0),
    "max": (lambda x: np.max(np.stack([x, -x])), 0.0),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CONVEX)
def test_the_gradient_at_a_kink_is_bracketed_by_the_one_sided_derivatives(case: str, dtype: str) -> None:
    f, at = CONVEX[case]
    report = gradcheck(f, np.array(at, dtype))
    assert {entry.verdict for entry in report.entries} == {"valid subgradient"}
    for entry in report.kinks:
        assert entry.left is not None
        assert entry.right is not None
        assert entry.left - 1e-6 <= entry.analytic <= entry.right + 1e-6


@pytest.mark.parametrize("h", [1e-2, 1e-3])
def test_beside_a_kink_the_gradient_is_the_derivative(h: float) -> None:
    gradcheck(lambda x: np.abs(x) + relu(x) + np.maximum(x, 0), np.array([h, -h]))


# ---- the page: it says what is measured, here in both dtypes, and in peers -----------------------------

PAGE = conventions.TARGET.read_text("utf-8")
CELLS: dict[str, list[str]] = {
    case: cells
    for case, *cells in (line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| "))
}
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.case)


def test_the_page_lists_the_rows() -> None:
    assert list(CELLS) == ["case", *(row.case for row in ROWS)]


@pytest.mark.parametrize("dtype", DTYPES)
@each_row
def test_the_page_says_what_happens_here(row: Row, dtype: str) -> None:
    assert CELLS[row.case][2] == answer(row, conventions.ours(), dtype) + conventions.remark(row)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("column", "library", "measure"),
    [(0, "PyTorch", conventions.pytorchs), (1, "JAX", conventions.jaxs)],
    ids=["PyTorch", "JAX"],
)
def test_the_page_says_what_a_peer_does(column: int, library: str, measure: Any) -> None:
    pytest.importorskip(conventions.LIBRARIES[library], reason=f"{library} is not installed")
    if conventions.release(library) not in " ".join(PAGE.split()):
        pytest.skip(f"the page is about another release of {library}")
    gradients = measure()
    measured = {row.case: cell(row, gradients) for row in ROWS}
    assert measured == {case: cells[column] for case, cells in CELLS.items() if case != "case"}
