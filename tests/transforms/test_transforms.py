"""``grad``, ``value_and_grad``, ``vjp``, ``jvp`` and ``hvp``: what goes in, what comes out, how they nest."""

import gc
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import (
    Tensor,
    checkpoint,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    nn,
    no_grad,
    optim,
    value_and_grad,
    vjp,
)
from tinygrad_mnist.engine.tape import recording
from tinygrad_mnist.nn.functional import cross_entropy

X = np.array([0.3, -1.2, 2.0])
V = np.array([1.0, 0.5, -2.0])
Pair = namedtuple("Pair", "a b")


def product(x: Any, y: Any) -> Any:
    return np.sum(x * np.sin(y))


# ---- arguments and results -------------------------------------------------------------------------------


def test_gradients_of_several_arguments_come_as_a_tuple() -> None:
    by_x, by_y = grad(product, argnums=(0, 1))(X, V)
    np.testing.assert_allclose(by_x, np.sin(V))
    np.testing.assert_allclose(by_y, X * np.cos(V))
    np.testing.assert_allclose(grad(product, argnums=-1)(X, V), by_y)
    assert isinstance(grad(product, argnums=[0])(X, V), tuple)


def test_keyword_arguments_are_passed_on() -> None:
    assert grad(lambda x, *, power: x**power)(2.0, power=3) == 12.0


def test_trees_go_in_and_come_out() -> None:
    def f(tree: Any) -> Any:
        return tree["w"][0] * tree["w"][1] + tree["p"].a * tree["p"].b[0] ** 2

    tree = {"w": [2.0, 3.0], "p": Pair(4.0, (5.0, None)), "unused": np.ones(2)}
    value, gradient = value_and_grad(f)(tree)
    assert value == 106.0
    assert gradient["w"] == [3.0, 2.0]
    assert gradient["p"] == Pair(25.0, (40.0, None))
    assert gradient["unused"].tolist() == [0.0, 0.0]
    out, tangent = jvp(lambda t: {"out": [f(t)]}, (tree,), (tree,))
    assert (out, tangent) == ({"out": [106.0]}, {"out": [2 * 6.0 + 3 * 100.0]})
    out, pullback = vjp(lambda t: (t["w"][0] * 2, t["p"]), tree)
    (gradient,) = pullback((1.0, Pair(10.0, (100.0, None))))
    assert gradient["w"] == [2.0, 0.0]
    assert gradient["p"] == Pair(10.0, (100.0, None))


def test_aux_comes_back_as_arrays() -> None:
    def f(x: Any) -> Any:
        y = x * x
        return np.sum(y), {"y": y, "name": "f"}

    (value, aux), gradient = value_and_grad(f, has_aux=True)(X)
    assert value == np.sum(X**2)
    assert type(aux["y"]) is np.ndarray
    assert aux["name"] == "f"
    np.testing.assert_array_equal(grad(f, has_aux=True)(X)[0], gradient)
    assert vjp(f, X, has_aux=True)[2]["name"] == "f"
    assert jvp(f, (X,), (V,), has_aux=True)[2]["name"] == "f"
    with pytest.raises(TypeError, match="has_aux=True expects a function that returns"):
        grad(np.sum, has_aux=True)(X)


def test_arrays_give_arrays_and_tensors_give_tensors_on_the_tape() -> None:
    for argument, kind in ((X, np.ndarray), (Tensor(X), Tensor), (Tensor(X, requires_grad=True), Tensor)):
        value, gradient = value_and_grad(lambda x: np.sum(x**3))(argument)
        out, pullback = vjp(lambda x: x**3, argument)
        results = [value, gradient, out, *pullback(V), *jvp(lambda x: x**3, (argument,), (V,))]
        assert all(type(result) is kind for result in results)
        if getattr(argument, "requires_grad", False):
            assert all(result.requires_grad for result in results)


def test_a_gradient_on_the_tape_reaches_a_parameter_that_the_function_uses() -> None:
    w = Tensor(2.0, requires_grad=True)
    np.sum(grad(lambda x: np.sum(w * x**2))(Tensor(X)) ** 2).backward()  # (2 w x)^2, by w: 8 w x^2
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.item(), np.sum(8 * 2.0 * X**2))


def test_under_no_grad_transforms_work_and_their_results_need_no_gradient() -> None:
    x = Tensor(X, requires_grad=True)
    with no_grad():
        results = [grad(np.sum)(x), *jvp(np.sin, (x,), (V,)), vjp(np.sin, x)[0]]
        assert grad(lambda x: np.sum(x * x))(X).tolist() == (2 * X).tolist()
    assert not any(result.requires_grad for result in results)


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: np.float64(2), lambda x: Tensor(1.0)])
def test_a_constant_has_gradient_zero(f: Any) -> None:
    assert grad(f)(X).tolist() == [0.0, 0.0, 0.0]
    assert jvp(f, (X,), (V,))[1] == 0.0
    assert vjp(f, X)[1](1.0)[0].tolist() == [0.0, 0.0, 0.0]
    assert hvp(f, (X,), (V,)).tolist() == [0.0, 0.0, 0.0]


def test_an_argument_that_is_not_used_gets_zeros() -> None:
    by_x, by_y = grad(lambda x, y: np.sum(x), argnums=(0, 1))(X, Tensor(V))
    assert by_y.tolist() == [0.0, 0.0, 0.0]
    assert by_x.tolist() == [1.0, 1.0, 1.0]


def test_a_result_of_integers_has_a_tangent_of_zeros() -> None:
    out, tangent = jvp(lambda x: (np.argmax(x), x), (X,), (V,))
    assert (out[0], tangent[0]) == (2, 0.0)
    np.testing.assert_array_equal(tangent[1], V)


def test_the_function_itself_may_return_its_argument() -> None:
    _, pullback = vjp(lambda x: x, X)
    given = V.copy()
    (gradient,) = pullback(given)
    given[0] = 100.0
    np.testing.assert_array_equal(gradient, V)
    np.testing.assert_array_equal(jvp(lambda x: x, (X,), (V,))[1], V)


def test_gradients_share_no_memory_and_can_be_written_to() -> None:
    by_x, by_y = grad(lambda x, y: np.sum(x + y), argnums=(0, 1))(X, V)
    by_x += 1
    assert by_y.tolist() == [1.0, 1.0, 1.0]
    x, y = Tensor(X), Tensor(V)
    one, other = grad(lambda x, y: np.sum(x + y), argnums=(0, 1))(x, y)
    one = one * 1.0
    one += 1.0
    assert other.tolist() == [1.0, 1.0, 1.0]


def test_a_pullback_can_be_called_again_and_does_not_see_later_writes() -> None:
    x = X.copy()
    _, pullback = vjp(lambda x: x * x, x)
    first = pullback(V)[0]
    x[:] = 100.0
    np.testing.assert_array_equal(pullback(V)[0], first)
    np.testing.assert_allclose(first, 2 * X * V)


def test_a_pullback_of_a_tensor_is_on_the_tape() -> None:
    _, pullback = vjp(np.sin, X)
    g = Tensor(V, requires_grad=True)
    np.sum(pullback(g)[0]).backward()
    assert g.grad is not None
    np.testing.assert_allclose(g.grad.data, np.cos(X))


def test_float32_stays_float32() -> None:
    x = X.astype(np.float32)
    out, tangent = jvp(lambda x: np.exp(x) * 2.0, (x,), (V,))
    _, pullback = vjp(lambda x: np.exp(x) * 2.0, x)
    assert {out.dtype, tangent.dtype, pullback(V)[0].dtype, grad(np.sum)(x).dtype} == {np.dtype("f4")}


def test_zeros_in_a_tangent_that_is_given_are_left_out() -> None:
    _, tangent = jvp(np.sqrt, (np.array([0.0, 4.0]),), (np.array([0.0, 1.0]),))
    assert tangent.tolist() == [0.0, 0.25]
    with np.errstate(divide="ignore"):
        assert jvp(np.sqrt, (0.0,), (1.0,))[1] == np.inf


# ---- errors ----------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_an_error_in_a_sentence() -> None:
    with pytest.raises(TypeError, match=r"returned shape \(3,\) and dtype float64"):
        grad(np.sin)(X)
    with pytest.raises(TypeError, match="dtype int64 for argument 1; it differentiates floats only"):
        grad(lambda x, n: x, argnums=1)(1.0, 2)
    with pytest.raises(TypeError, match="argnums=2 was given, but 1 positional arguments"):
        grad(np.sum, argnums=2)(X)
    with pytest.raises(ValueError, match="names an argument twice"):
        grad(product, argnums=(1, -1))(X, V)
    with pytest.raises(TypeError, match=r"as tuples or lists of arguments, as in jvp\(f, \(x,\), \(v,\)\)"):
        jvp(np.sin, X, V)
    with pytest.raises(ValueError, match=r"tangent has a leaf of shape \(2,\); expected \(3,\)"):
        jvp(np.sin, (X,), (V[:2],))
    with pytest.raises(TypeError, match=r"the tangent has the structure \[\*, \*\]; expected \[\*\]"):
        jvp(np.sin, (X,), (V, V))
    with pytest.raises(TypeError, match=r"the cotangent has the structure \*; expected \(\*, \*\)"):
        vjp(lambda x: (x, x), X)[1](V)


def test_a_tape_that_was_freed_inside_is_found_out() -> None:
    def f(x: Any) -> Any:
        y = np.sum(x * x)
        y.backward()
        return y

    with pytest.raises(RuntimeError, match="freed"):
        jvp(f, (X,), (V,))


def test_exceptions_leave_no_state_behind() -> None:
    def fails(x: Any) -> Any:
        raise ValueError("inside")

    for run in (grad(fails), lambda x: jvp(fails, (x,), (x,)), lambda x: vjp(fails, x)):
        with no_grad():
            with pytest.raises(ValueError, match="inside"):
                run(X)
            assert not recording.get()
        assert recording.get()


def test_an_error_in_forward_mode_names_the_operation() -> None:
    from tinygrad_mnist.engine.op import Op, Sample
    from tinygrad_mnist.engine.tensor import apply

    def rule(g: Any, out: Any, x: Any) -> Any:
        raise ValueError("wrong rule")

    bad = Op("bad", np.sin, "elementwise", (rule,), samples=(Sample(((),)),))
    with pytest.raises(ValueError, match="wrong rule") as raised:
        jvp(lambda x: apply(bad, (x,)), (X,), (V,))
    assert "in the tangent of 'bad' of float64 (3,)" in raised.value.__notes__


# ---- nesting ---------------------------------------------------------------------------------------------


def sine(x: Any) -> Any:
    return np.sin(x)


def along(f: Any) -> Any:
    """The derivative of a function of one number, by forward mode."""
    return lambda x: jvp(f, (x,), (np.ones_like(x),))[1]


@pytest.mark.parametrize("outer", [grad, along], ids=["grad", "jvp"])
@pytest.mark.parametrize("middle", [grad, along], ids=["grad", "jvp"])
@pytest.mark.parametrize("inner", [grad, along], ids=["grad", "jvp"])
def test_third_derivatives_by_any_nesting(outer: Any, middle: Any, inner: Any) -> None:
    np.testing.assert_allclose(outer(middle(inner(lambda x: np.sin(x) * x)))(0.7), -3 * np.sin(0.7)
                               - 0.7 * np.cos(0.7))  # fmt: skip
    np.testing.assert_allclose(outer(middle(inner(sine)))(0.7), -np.cos(0.7))


@pytest.mark.parametrize("inner", [grad, along], ids=["grad", "jvp"])
@pytest.mark.parametrize("outer", [grad, along], ids=["grad", "jvp"])
def test_perturbations_are_not_confused(outer: Any, inner: Any) -> None:
    # Siskind & Pearlmutter (2005): d/dx [x d/dy (x + y)] at 1 is 1, and 2 where the two are confused
    assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(1.0) == 1.0
    assert outer(lambda x: x * inner(lambda y: x * y * y)(2.0))(3.0) == 24.0


def test_the_derivative_by_a_tangent_is_the_jacobian() -> None:
    gradient = grad(lambda v: np.sum(jvp(np.sin, (X,), (v,))[1]))(V)
    np.testing.assert_allclose(gradient, np.cos(X))


def test_the_derivative_by_a_cotangent_is_the_transposed_jacobian() -> None:
    tangent = jvp(lambda g: vjp(np.sin, X)[1](g)[0], (V,), (X,))[1]
    np.testing.assert_allclose(tangent, X * np.cos(X))


def test_hessian_products_of_hessian_products() -> None:
    def f(x: Any) -> Any:
        return np.sum(x**4)

    np.testing.assert_allclose(hvp(f, (X,), (V,)), 12 * X**2 * V)
    product = hvp(lambda x: np.sum(hvp(f, (x,), (V,))), (X,), (V,))  # of 12 sum(v x^2)
    np.testing.assert_allclose(product, 24 * V * V)


def test_a_hessian_product_of_several_arguments() -> None:
    by_x, by_y = hvp(lambda x, y: np.sum(x * x * y), (X, V), (V, X))
    np.testing.assert_allclose(by_x, 2 * V * V + 2 * X * X)
    np.testing.assert_allclose(by_y, 2 * X * V)


def test_a_hessian_product_through_fused_operations() -> None:
    labels = np.array([0, 2, 1])
    logits, v = np.outer(X, V), np.outer(V, X) / 3

    def f(x: Any) -> Any:
        return np.mean(cross_entropy(np.tanh(x), labels))

    h = 1e-5
    numeric = (grad(f)(logits + h * v) - grad(f)(logits - h * v)) / (2 * h)
    np.testing.assert_allclose(hvp(f, (logits,), (v,)), numeric, rtol=1e-6, atol=1e-9)


def test_a_second_function_may_use_what_the_first_one_recorded() -> None:
    def f(x: Any) -> Any:
        y = x * x
        return grad(lambda z: z * y)(3.0) + along(lambda z: z * y * z)(3.0)  # x^2 + 6 x^2

    np.testing.assert_allclose(grad(f)(2.0), 28.0)
    np.testing.assert_allclose(along(f)(2.0), 28.0)


def test_depth_is_no_limit() -> None:
    def f(x: Any) -> Any:
        for _ in range(20_000):
            x = x * 1.0001
        return x

    np.testing.assert_allclose(jvp(f, (1.0,), (1.0,))[1], 1.0001**20_000)
    np.testing.assert_allclose(grad(f)(1.0), 1.0001**20_000)


@pytest.mark.parametrize(
    "run",
    [
        lambda f: grad(f)(X),
        lambda f: grad(lambda x: np.sum(grad(f)(x)))(X),
        lambda f: vjp(f, X)[1](1.0),
        lambda f: jvp(f, (X,), (V,)),
        lambda f: hvp(f, (X,), (V,)),
        lambda f: hessian(f)(X),
        lambda f: hvp(lambda x: checkpoint(f)(x), (X,), (V,)),
    ],
)
def test_no_garbage_is_left_to_the_collector(run: Any) -> None:
    def f(x: Any) -> Any:
        return np.sum(np.exp(x)) * np.max(x)

    run(f)
    gc.collect()
    gc.disable()
    try:
        run(f)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_threads_do_not_disturb_each_other() -> None:
    def work(seed: int) -> bool:
        x = np.random.default_rng(seed).normal(size=5)
        for i in range(30):
            if (seed + i) % 3 == 0:
                with no_grad():
                    _ = Tensor(x, requires_grad=True) * 2
            second = hvp(lambda x: np.sum(np.exp(x) * x), (x,), (x,))
            if not np.allclose(second, (x + 2) * np.exp(x) * x):
                return False
        return recording.get()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


# ---- what the function captured --------------------------------------------------------------------------


def captured(transform: Any, f: Any, x: Any) -> Any:
    """The last result of a transform of ``f``, at an array."""
    result = {
        "grad": lambda: grad(f)(x),
        "value_and_grad": lambda: value_and_grad(f)(x)[1],
        "value": lambda: value_and_grad(f)(x)[0],
        "aux": lambda: grad(lambda x: (np.sum(x * x), f(x)), has_aux=True)(x)[1],
        "vjp": lambda: vjp(f, x)[1](np.ones(()))[0],
        "jvp": lambda: jvp(f, (x,), (np.ones_like(x),))[1],
        "jacobian": lambda: jacobian(f)(x),
        "hessian": lambda: hessian(f)(x),
        "hvp": lambda: hvp(f, (x,), (np.ones_like(x),)),
    }[transform]()
    return result


TRANSFORMS = ["grad", "value_and_grad", "value", "aux", "vjp", "jvp", "jacobian", "hessian", "hvp"]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_a_transform_returns_is_on_the_tape_if_a_parameter_was_captured(transform: str) -> None:
    """Else a loss that contains it would be trained without that term, and without a word."""
    x, w = np.array([0.5, -1.0]), np.array([2.0, 3.0])
    parameter = Tensor(w, requires_grad=True)

    def loss(w: Any) -> Any:
        return np.sum(captured(transform, lambda x: np.sum(np.sin(w * x) * x), x) ** 2)

    np.sum(loss(parameter)).backward()
    assert parameter.grad is not None
    steps = 1e-6 * np.eye(2)
    difference = [(loss(w + step) - loss(w - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(parameter.grad.data, difference, rtol=1e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_transform_of_arrays_returns_arrays_if_nothing_was_captured_or_recorded(transform: str) -> None:
    x, parameter = np.array([0.5, -1.0]), Tensor(np.array([2.0, 3.0]), requires_grad=True)
    assert isinstance(captured(transform, lambda x: np.sum(np.sin(x) * x), x), np.ndarray)
    with no_grad():
        assert isinstance(captured(transform, lambda x: np.sum(np.sin(parameter * x)), x), np.ndarray)


def test_a_parameter_that_is_returned_as_it_is_stays_on_the_tape() -> None:
    parameter = Tensor(2.0, requires_grad=True)
    value, gradient = value_and_grad(lambda x: parameter)(np.ones(2))
    assert value.requires_grad
    np.testing.assert_array_equal(np.asarray(gradient), [0, 0])


# ---- operations of several results -----------------------------------------------------------------------

SEVERAL = {
    "slogdet": lambda a: np.linalg.slogdet(a)[1],
    "svd": lambda a: np.sum(np.linalg.svd(a)[0] ** 3),
    "svdvals": lambda a: np.sum(np.linalg.svdvals(a) ** 2),
    "eigh": lambda a: np.sum(np.linalg.eigh(a)[1] ** 4),
    "eigvalsh": lambda a: np.sum(np.linalg.eigvalsh(a) ** 3),
    "qr": lambda a: np.sum(np.linalg.qr(a)[1] ** 2),
    "norm 2": lambda a: np.linalg.norm(a, 2),
    "norm nuc": lambda a: np.linalg.norm(a, "nuc"),
    "cond": np.linalg.cond,
    "a checkpoint of a tuple": lambda a: sum(np.sum(b) for b in checkpoint(lambda a: (a * a, np.exp(a)))(a)),
    "a checkpoint of a dict": lambda a: np.sum(checkpoint(lambda a: {"b": a * a, "c": a})(a)["b"]),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_operations_of_several_results_in_a_checkpoint_and_after_a_write(case: str) -> None:
    f, a = SEVERAL[case], np.array([[3.0, 1.0], [0.5, 2.0]])
    v = np.array([[1.0, -1.0], [0.5, 2.0]])
    expected, tangent, second = grad(f)(a), jvp(f, (a,), (v,))[1], hvp(f, (a,), (v,))
    for g in (checkpoint(f), checkpoint(checkpoint(f))):
        np.testing.assert_allclose(grad(g)(a), expected, rtol=1e-12)
        np.testing.assert_allclose(jvp(g, (a,), (v,))[1], tangent, rtol=1e-9)
        np.testing.assert_allclose(hvp(g, (a,), (v,)), second, rtol=1e-9)
    leaf, other = Tensor(a, requires_grad=True), nn.Parameter(np.ones(2))
    out = f(leaf)
    np.sum(other * other).backward()
    optim.SGD([other], lr=0.1).step()  # a write to a leaf that has nothing to do with it
    out.backward()
    assert leaf.grad is not None
    np.testing.assert_allclose(leaf.grad.data, expected, rtol=1e-12)


def test_a_checkpoint_of_a_generator_function_is_refused() -> None:
    def rows(x: Any) -> Any:
        yield x

    async def later(x: Any) -> Any:
        return x

    for f in (rows, later):
        with pytest.raises(TypeError, match="returns its results"):
            checkpoint(f)
