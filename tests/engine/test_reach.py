"""What was not chosen is dead, and what is zero is not: in every mode and order, through every operation.

The oracle: a function that was never computed for the elements that are not chosen.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.nn.functional as F
from tinygrad_mnist import Tensor, checkpoint, grad, hessian, hvp, jacobian, jvp, vjp
from tinygrad_mnist.engine.observe import Recorder, observed_by
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.engine.reach import argument_reach, broadcast_axes, joined, narrowed, reach_of_seed

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the values, which are infinite or NaN

softmax, log_softmax, logsumexp = (REGISTRY[name] for name in ("softmax", "log_softmax", "logsumexp"))
MASK = np.array([False, True, False, True])
Function = Callable[[Any], Any]

SINGULAR: dict[str, tuple[Function, float]] = {
    "x ** 1.5": (lambda x: x**1.5, 0.0),
    "x sqrt(x)": (lambda x: x * np.sqrt(x), 0.0),
    "reciprocal": (np.reciprocal, 0.0),
    "1 / x": (lambda x: 1 / x, 0.0),
    "1 / sqrt(x)": (lambda x: 1 / np.sqrt(x), 0.0),
    "sqrt of a negative number": (np.sqrt, -1.0),
    "x log(x)": (lambda x: x * np.log(x), 0.0),
    "log(x) ** 2": (lambda x: np.square(np.log(x)), 0.0),
    "sin(1 / x)": (lambda x: np.sin(1 / x), 0.0),
    "hypot(log(x), 1)": (lambda x: np.hypot(np.log(x), 1.0), 0.0),
    "einsum": (lambda x: np.einsum("i,i->i", x, np.log(x)), 0.0),
    "einsum of a diagonal": (
        lambda x: np.einsum("ii->i", x[:, None] + np.diag(np.ones(x.size)) * np.log(x)), 0.0,
    ),
    "log(1 + exp(x))": (lambda x: np.log(1 + np.exp(x)), 2000.0),
    "0 ** x": (lambda x: 0.0**x, -1.0),
    "x ** x": (lambda x: x**x, 0.0),
    "arccos": (np.arccos, 1.0),
    "arctanh": (np.arctanh, 1.0),
    "tan of inf": (np.tan, np.inf),
    "NaN": (lambda x: x * x * np.exp(x), np.nan),
    "softmax of rows": (lambda x: softmax(np.stack([x, 1 / x], axis=1), axis=1)[:, 0], 0.0),
    "logsumexp of rows": (lambda x: logsumexp(np.stack([x, 1 / x], axis=1), axis=1, keepdims=False), 0.0),
    "log_softmax of rows": (lambda x: log_softmax(np.stack([x, np.log(x)], axis=1), axis=1)[:, 0], 0.0),
    "norm of rows": (lambda x: np.linalg.norm(np.stack([x, 1 / x], axis=1), axis=1), 0.0),
    "std of rows": (lambda x: np.std(np.stack([x, 1 / x], axis=1), axis=1), 0.0),
    "prod of rows": (lambda x: np.prod(np.stack([x, np.log(x)], axis=1), axis=1), 0.0),
    "cumprod of rows": (lambda x: np.cumprod(np.stack([x, np.log(x)], axis=1), axis=1)[:, 1], 0.0),
    "a product by a matrix": (lambda x: (np.stack([x, np.log(x)], axis=1) @ np.ones((2, 1)))[:, 0], 0.0),
    "a layer": (lambda x: F.linear(np.stack([x, np.log(x)], axis=1), np.ones((1, 2)))[:, 0], 0.0),
    "gelu(log(x))": (lambda x: F.gelu(np.log(x)), 0.0),
    "relu(1 / x)": (lambda x: F.relu(1 / x), 0.0),
    "softplus(1 / x)": (lambda x: REGISTRY["softplus"](1 / x), 0.0),
    "slogdet": (lambda x: np.linalg.slogdet(x[:, None, None] * np.eye(2))[1], 0.0),
    "inverse": (
        lambda x: np.linalg.inv(x[:, None, None] * np.eye(2) + 1 / x[:, None, None])[:, 0, 1], np.inf,
    ),
    "a checkpoint": (checkpoint(lambda x: x * np.log(x)), 0.0),
    "one of a checkpoint's results": (lambda x: checkpoint(lambda x: (np.log(x), x**1.5))(x)[1], 0.0),
}  # fmt: skip

CHOICES: dict[str, Function] = {
    "where": lambda y: np.where(MASK, y, 0.0),
    "select": lambda y: np.select([MASK], [y], 0.0),
    "index": lambda y: y[MASK],
    "an index of integers": lambda y: y[[1, 3]],
    "slices": lambda y: y[1::2],
    "take": lambda y: np.take(y, [1, 3]),
    "take_along_axis": lambda y: np.take_along_axis(y, np.array([1, 3]), axis=0),
    "split": lambda y: np.stack([np.split(y, 4)[1], np.split(y, 4)[3]]),
    "the diagonal": lambda y: np.diagonal(y[:, None] + np.zeros(4))[1::2],
    "an assignment": lambda y: _assigned(y),
    "compress": lambda y: np.compress(MASK, y),
    "nested": lambda y: np.where(MASK, np.where(MASK, y, 1.0), 0.0)[1:],
}  # fmt: skip


def _assigned(y: Any) -> Any:
    y = y.copy()
    y[~MASK] = 0.0
    return y


def points(at: float) -> Any:
    return np.array([at, 0.5, at, 0.75])


def spread(chosen: Any) -> Any:
    """Zeros, with what belongs to the chosen elements in its place."""
    whole = np.zeros((4,) * chosen.ndim)
    whole[np.ix_(*[MASK] * chosen.ndim)] = chosen
    return whole


def assert_derivatives_of_what_was_chosen(f: Function, choose: Function, at: float) -> None:
    """First and second derivatives, in every mode, are those of the chosen elements alone, and else 0."""
    x, v = points(at), np.array([1.0, -2.0, 3.0, 0.5])

    def chosen(x: Any) -> Any:
        return np.sum(choose(f(x)))

    def alone(x: Any) -> Any:
        return np.sum(f(x))

    first, second = spread(grad(alone)(x[MASK])), spread(hessian(alone)(x[MASK]))
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(grad(chosen)(x), first, **close)
    np.testing.assert_allclose(jvp(chosen, (x,), (v,))[1], first @ v, **close)
    np.testing.assert_allclose(grad(checkpoint(chosen))(x), first, **close)
    np.testing.assert_allclose(jvp(checkpoint(chosen), (x,), (v,))[1], first @ v, **close)
    np.testing.assert_allclose(grad(lambda x: np.sum(grad(chosen)(x) * v))(x), second @ v, **close)
    np.testing.assert_allclose(hvp(chosen, (x,), (v,)), second @ v, **close)
    np.testing.assert_allclose(grad(lambda x: jvp(chosen, (x,), (v,))[1])(x), second @ v, **close)
    np.testing.assert_allclose(hessian(chosen)(x), second, **close)
    np.testing.assert_allclose(hvp(checkpoint(chosen), (x,), (v,)), second @ v, **close)


@pytest.mark.parametrize("case", SINGULAR)
def test_a_branch_that_was_not_chosen_leaks_nothing_whatever_it_computed(case: str) -> None:
    f, at = SINGULAR[case]
    assert_derivatives_of_what_was_chosen(f, CHOICES["where"], at)


@pytest.mark.parametrize("case", CHOICES)
def test_whatever_chose_leaves_out_what_it_did_not_choose(case: str) -> None:
    assert_derivatives_of_what_was_chosen(lambda x: x * np.log(x) + np.sin(1 / x), CHOICES[case], 0.0)


EXTREMES: dict[str, tuple[Function, float]] = {
    "maximum": (lambda x: np.maximum(np.log(x), -2.0), 0.0),
    "clip": (lambda x: np.clip(np.log(x), -2.0, 2.0), 0.0),
    "relu": (lambda x: F.relu(2 + np.log(x)), 0.0),
    "max": (lambda x: np.max(np.stack([np.log(x), -np.ones(4)], axis=1), axis=1), 0.0),
    "fmax of NaN": (lambda x: np.fmax(np.log(x), -2.0), -1.0),
}  # fmt: skip


@pytest.mark.parametrize("case", EXTREMES)
def test_an_extreme_leaves_out_what_was_less(case: str) -> None:
    f, at = EXTREMES[case]
    x = points(at)
    gradient = grad(lambda x: np.sum(f(x)))(x)
    np.testing.assert_allclose(gradient, np.where(MASK, 1 / x, 0))
    np.testing.assert_allclose(jacobian(f)(x), np.diag(np.where(MASK, 1 / x, 0)))
    np.testing.assert_allclose(hessian(lambda x: np.sum(f(x)))(x), np.diag(np.where(MASK, -1 / x**2, 0)))


@pytest.mark.parametrize("name", ["nanmean", "nansum", "nanstd", "nanvar", "nanmax", "nanmedian"])
@pytest.mark.parametrize(
    "square", [lambda x: x * x, np.square, lambda x: x**2, np.exp], ids=["x * x", "square", "x ** 2", "exp"]
)
def test_functions_that_skip_nan_leave_it_out(name: str, square: Function) -> None:
    f = getattr(np, name)
    x = np.array([np.nan, 1.0, 2.0, 4.0])
    for derivative in (grad, lambda g: lambda x: np.sum(hessian(g)(x), axis=0)):
        found = derivative(lambda x: f(square(x)))(x)
        assert found[0] == 0
        np.testing.assert_allclose(found[1:], derivative(lambda x: f(square(x)))(x[1:]), atol=1e-12)


def test_rows_of_missing_data_add_nothing_to_the_gradient_of_a_weight() -> None:
    x, w = np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 3.0]]), np.array([[0.5], [2.0]])
    rows = np.array([[True], [False], [False]])
    for layer in (lambda w: x @ w, lambda w: F.linear(x, w.T), lambda w: np.einsum("ij,jk->ik", x, w)):
        gradient = grad(lambda w, layer=layer: np.sum(np.where(rows, layer(w), 0.0) ** 2))(w)
        np.testing.assert_allclose(gradient, 2 * (x[:1] @ w) * x[:1].T)


def test_the_entropy_of_a_masked_softmax() -> None:
    allowed = np.array([True, True, False, True])

    def entropy(logits: Any) -> Any:
        weights = np.where(allowed, np.exp(logits), 0.0)
        p = weights / np.sum(weights)
        return -np.sum(np.where(allowed, p * np.log(p), 0.0))

    def compact(logits: Any) -> Any:
        p = softmax(logits, axis=0)
        return -np.sum(p * np.log(p))

    logits = np.array([0.1, 0.2, 0.3, -1.0])
    expected = np.insert(grad(compact)(logits[allowed]), 2, 0.0)
    np.testing.assert_allclose(grad(entropy)(logits), expected, atol=1e-12)
    second = hessian(entropy)(logits)[np.ix_(allowed, allowed)]
    np.testing.assert_allclose(second, hessian(compact)(logits[allowed]), atol=1e-12)


# ---- what is zero is not dead ----------------------------------------------------------------------------

ZERO_BY_VALUE: dict[str, tuple[Function, Any]] = {
    "sqrt(x) ** 2": (lambda x: np.sqrt(x) ** 2, 0.0),
    "cbrt(x) ** 3": (lambda x: np.cbrt(x) ** 3, 0.0),
    "exp(log(x))": (lambda x: np.exp(np.log(x)), 0.0),
    "arccos(x) ** 2": (lambda x: np.arccos(x) ** 2, 1.0),
    "cosh(sqrt(x))": (lambda x: np.cosh(np.sqrt(x)), 0.0),
    "0 sqrt(x)": (lambda x: 0 * np.sqrt(x), 0.0),
    "x * (1 / x)": (lambda x: x * (1 / x), 0.0),
}


@pytest.mark.parametrize("case", ZERO_BY_VALUE)
def test_a_cotangent_that_is_zero_by_value_gives_nan_in_both_modes(case: str) -> None:
    f, at = ZERO_BY_VALUE[case]
    x = np.asarray(at)
    assert np.isnan(grad(f)(x))
    assert np.isnan(jvp(f, (x,), (np.ones_like(x),))[1])
    assert np.isnan(grad(checkpoint(f))(x))


def test_a_product_by_logarithms_is_right_or_nan() -> None:
    gradient = grad(lambda x: np.exp(np.sum(np.log(x))))(np.array([0.0, 3.0]))
    assert np.isnan(gradient[0])
    assert gradient[1] == 0


def test_zeros_that_a_user_gives_are_structure_so_a_jacobian_stays_diagonal() -> None:
    x = np.array([6.0, 7.0, 8.0])

    def f(x: Any) -> Any:
        return x * np.log(np.cos(x))  # NaN for 8

    row = vjp(f, x)[1](np.eye(3)[0])[0]
    np.testing.assert_allclose(row, [np.log(np.cos(6.0)) - 6 * np.tan(6.0), 0, 0])
    np.testing.assert_allclose(jvp(f, (x,), (np.eye(3)[0],))[1], row)
    np.testing.assert_array_equal(jacobian(f)(x) == 0, ~np.eye(3, dtype=bool))


def test_zeros_of_a_tensor_on_the_tape_are_values() -> None:
    """The derivative by a direction that is 0 is the Jacobian, and not 0."""
    v = Tensor(np.zeros(2), requires_grad=True)
    pulled = vjp(lambda x: x**2, Tensor(np.array([1.0, 2.0])))[1](v)[0]
    np.sum(pulled).backward()
    assert v.grad is not None
    np.testing.assert_array_equal(v.grad.data, [2, 4])


@pytest.mark.parametrize(
    "f",
    [
        lambda a: np.linalg.slogdet(a)[1], lambda a: np.exp(np.linalg.slogdet(a)[1]),
        lambda a: np.sum(np.linalg.svdvals(a) ** 2), lambda a: np.sum(np.linalg.eigvalsh(a) ** 2),
        lambda a: np.linalg.norm(a, "nuc") ** 2, lambda a: np.linalg.norm(a, 2) ** 2,
    ],
)  # fmt: skip
def test_the_second_derivative_at_a_singular_matrix_is_nan_and_not_zero(f: Function) -> None:
    assert np.any(np.isnan(hessian(f)(np.zeros((2, 2)))))


def test_the_second_derivative_of_a_root_of_squares_is_nan_and_not_zero() -> None:
    assert np.all(np.isnan(hessian(lambda x: np.sqrt(np.sum(x * x)) ** 2)(np.zeros(2))))


# ---- hooks and recorders hear of one walk only -----------------------------------------------------------


def test_hooks_fire_once_though_the_tape_is_walked_twice() -> None:
    came = []
    x = Tensor(np.array([0.0, 0.5]), requires_grad=True)
    x.register_hook(lambda g: came.append(("x", g.data.tolist())))
    y = np.log(x)
    y.register_hook(lambda g: came.append(("log", g.data.tolist())))
    z = x * y
    z.register_hook(lambda g: came.append(("product", g.data.tolist())))
    np.sum(np.where(x.data > 0, z, 0.0)).backward()
    assert [name for name, _ in came] == ["product", "log", "x"]
    assert came[1] == ("log", [0.0, 0.5])
    np.testing.assert_allclose(came[2][1], [0, np.log(0.5) + 1])


def test_a_hook_is_never_shown_what_a_careful_walk_takes_back() -> None:
    shown = []
    x = Tensor(np.array([0.0, 0.5]), requires_grad=True)
    y = x * 1.0
    y.register_hook(lambda g: shown.append(g.data.copy()))
    np.sum(np.where(x.data > 0, np.log(y), 0.0)).backward()
    np.testing.assert_array_equal(shown, [[0.0, 2.0]])


@pytest.mark.parametrize("in_doubt", [False, True])
def test_hooks_inside_checkpoints_fire_once(in_doubt: bool) -> None:
    """Also where they ran before the NaN came up that makes the walk begin again."""
    came = []

    def f(x: Any) -> Any:
        y = x * 1.0
        y.register_hook(lambda g: came.append(g.data.copy()))
        return y * np.log(x) if in_doubt else y + x * np.log(x)

    def g(x: Any) -> Any:
        return checkpoint(f)(x) + checkpoint(f)(x)

    x = Tensor(np.array([0.0, 0.5]), requires_grad=True)
    np.sum(np.where(x.data > 0, checkpoint(g)(x), 0.0)).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, [0, 2 * (np.log(0.5) + (1 if in_doubt else 2))])
    assert len(came) == 2


@pytest.mark.parametrize("careful", [False, True])
def test_a_hook_may_fill_what_was_out_of_reach(careful: bool) -> None:
    x = Tensor(np.array([0.0, 4.0]), requires_grad=True)
    y = np.sqrt(x)
    y.register_hook(lambda g: np.ones(2))
    np.sum(np.where(x.data > 0, y, 0.0)).backward(create_graph=careful)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [np.inf, 0.25])


@pytest.mark.parametrize(
    "product",
    [
        lambda x, w: x @ w, lambda x, w: np.einsum("i,i->", x, w), np.dot,
        lambda x, w: F.linear(x, w[None])[0],
    ],
)  # fmt: skip
def test_what_a_tangent_does_not_reach_adds_nothing_to_a_product(product: Any) -> None:
    x, w = np.array([3.0, 5.0]), np.array([2.0, np.inf])
    assert jvp(lambda x: product(x, w), (x,), (np.array([1.0, 0.0]),))[1] == 2.0
    np.testing.assert_array_equal(jacobian(lambda x: product(x, w))(x), w)


def test_a_recorder_is_told_of_each_gradient_once_and_of_the_right_one() -> None:
    x = Tensor(np.array([0.0, 0.5]), requires_grad=True)
    came: list[Any] = []

    class Listener(Recorder):
        def walked(self, node: Any, g: Any, cotangents: dict[Any, Any], arrived: dict[Any, Any]) -> None:
            came.append((node.op.name, np.isnan(g).any()))

    with observed_by(Listener()):
        np.sum(np.where(x.data > 0, x * np.log(x), 0.0)).backward()
    assert came == [("sum", False), ("where", False), ("multiply", False), ("log", False)]


# ---- the arithmetic of reach -----------------------------------------------------------------------------


def test_zeros_of_a_given_array_are_out_of_reach_and_of_a_tensor_on_the_tape_are_not() -> None:
    np.testing.assert_array_equal(reach_of_seed(np.array([0.0, 2.0])), [False, True])
    np.testing.assert_array_equal(reach_of_seed(Tensor([0.0, 2.0])), [False, True])
    assert reach_of_seed(np.ones(2)) is None
    assert reach_of_seed(Tensor(np.zeros(2), requires_grad=True)) is None


def test_the_reach_of_a_sum_is_that_of_either() -> None:
    a, b = np.array([True, False, False]), np.array([False, True, False])
    np.testing.assert_array_equal(joined(a, b), [True, True, False])
    assert joined(a, ~a) is None
    assert joined(a, None) is None


def test_reach_is_narrowed_as_a_cotangent_is_summed() -> None:
    reach = np.array([[True, False], [False, False]])
    np.testing.assert_array_equal(narrowed(reach, (2,)), [True, False])
    np.testing.assert_array_equal(narrowed(reach, (2, 1)), [[True], [False]])
    assert broadcast_axes((4, 2, 3), (2, 1)) == (0, 2)


def test_the_rule_says_which_elements_a_linear_operation_reaches() -> None:
    x = np.arange(4.0)
    reach = argument_reach(REGISTRY["getitem"], 0, None, x[1:3], (x,), {"index": slice(1, 3)})
    np.testing.assert_array_equal(reach, [False, True, True, False])


def test_a_hook_that_removes_itself_keeps_its_result_in_the_second_pass() -> None:
    def gradients(first: float) -> tuple[Any, Any]:
        x = Tensor(np.array([first, 2.0]), requires_grad=True)
        w = Tensor(np.ones(2), requires_grad=True)
        a = w * 1.0
        a.register_hook(lambda g: g * 7)
        q = np.log(x) * x * 1.0
        handle = q.register_hook(lambda g: (handle.remove(), g * 3)[1])
        (np.sum(np.where(MASK[:2], q, 0.0)) + np.sum(a)).backward()
        assert x.grad is not None
        assert w.grad is not None
        return x.grad.data[1], w.grad.data

    for one, other in zip(gradients(0.0), gradients(1.0), strict=True):
        np.testing.assert_allclose(one, other)


@pytest.mark.parametrize("hook", [lambda g: g, lambda g: np.clip(g.data, -1, 1), lambda g: None])
def test_a_hook_that_fills_nothing_does_not_bring_nan_back(hook: Function) -> None:
    x = Tensor(np.array([0.0, 2.0]), requires_grad=True)
    y = np.log(x)
    y.register_hook(hook)
    np.sum(np.where(x.data > 0, y, 0.0)).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [0.0, 0.5])


@pytest.mark.parametrize(
    "choose",
    [
        lambda y: np.maximum(y, -5.0), lambda y: np.minimum(y, 5.0), lambda y: np.clip(y, -5.0, 5.0),
        lambda y: F.relu(y + 5) - 5, lambda y: F.leaky_relu(y), lambda y: np.fmax(y, -5.0),
    ],
)  # fmt: skip
def test_a_choice_between_nans_that_was_not_chosen_leaks_nothing(choose: Function) -> None:
    x = np.array([-1.0, 2.0])

    def f(x: Any) -> Any:
        return np.sum(np.where(x > 0, choose(np.log(x)), 0.0))

    np.testing.assert_allclose(grad(f)(x), [0.0, 0.5])
    np.testing.assert_allclose(jvp(f, (x,), (np.ones(2),))[1], 0.5)
    np.testing.assert_allclose(hessian(f)(x), np.diag([0.0, -0.25]))


def test_the_backward_pass_of_what_was_not_chosen_warns_of_nothing() -> None:
    x = Tensor(np.array([0.0, 2.0]), requires_grad=True)
    for f in (lambda x: x * np.log(x), lambda x: np.sin(1 / x), lambda x: np.log(x) * np.mean(x)):
        with np.errstate(all="ignore"):
            y = np.sum(np.where(x.data > 0, f(x), 0.0))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            y.backward()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("frozen", ["none", "weight", "bias"])
def test_a_linear_layer_of_parameters_tells_of_nan_that_was_not_chosen(bad: float, frozen: str) -> None:
    """The walk does not look at the gradient of the weight itself, as that takes time."""
    x = np.array([[1.0, 2.0], [0.5, bad], [3.0, -1.0]])
    rows = np.isfinite(x).all(axis=1, keepdims=True)
    w = Tensor(np.array([[0.5, 2.0], [1.0, -1.0]]), requires_grad=frozen != "weight")
    b = Tensor(np.array([0.1, 0.2]), requires_grad=frozen != "bias")
    with np.errstate(invalid="ignore"):
        np.sum(np.where(rows, F.linear(x, w, b), 0.0)).backward()
    found = {"weight": w.grad, "bias": b.grad}
    expected = {"weight": np.tile(x[[0, 2]].sum(axis=0), (2, 1)), "bias": [2.0, 2.0]}
    for name, value in expected.items():
        if name != frozen:
            gradient = found[name]
            assert gradient is not None
            np.testing.assert_array_equal(gradient.data, value)


def test_a_linear_layer_tells_of_nan_in_what_comes_from_behind_it() -> None:
    x = np.array([[1.0, 2.0], [0.0, 0.0]])
    w, b = Tensor(np.eye(2), requires_grad=True), Tensor(np.zeros(2), requires_grad=True)
    with np.errstate(all="ignore"):
        y = F.linear(x, w, b)
        np.sum(np.where(x > 0, y * np.log(y), 0.0)).backward()
    assert w.grad is not None
    assert b.grad is not None
    slope = np.log(x[0]) + 1
    np.testing.assert_allclose(w.grad.data, np.outer(slope, x[0]))
    np.testing.assert_allclose(b.grad.data, slope)
