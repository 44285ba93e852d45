"""``checkpoint``: the same values, gradients and random numbers, in less memory."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, grad, hvp, jvp, nn, no_grad

X = np.array([[0.3, -1.2, 2.0], [1.0, 0.2, -0.4]])


def f(x: Any, w: Any) -> Any:
    return np.tanh(x @ w) * np.exp(x)


W = np.array([[0.2, 0.1, -0.3], [1.0, -0.4, 0.2], [0.5, 0.3, 0.9]])


def test_values_and_gradients_are_the_same() -> None:
    def total(run: Callable[..., Any]) -> Any:
        return grad(lambda x, w: np.sum(run(x, w) ** 2), argnums=(0, 1))(X, W)

    for plain, again in zip(total(f), total(checkpoint(f)), strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-14)


@pytest.mark.parametrize("arguments", ["given", "outside"])
def test_every_order_and_mode_agrees(arguments: str) -> None:
    def loss(run: Callable[..., Any]) -> Callable[..., Any]:
        if arguments == "given":
            return lambda w: np.sum(run(f)(X, w) ** 2)
        return lambda w: np.sum(run(lambda x: f(x, w))(Tensor(X)) ** 2)

    plain, again, v = loss(lambda f: f), loss(checkpoint), np.cos(W)
    np.testing.assert_allclose(grad(again)(W), grad(plain)(W), rtol=1e-13)
    np.testing.assert_allclose(jvp(again, (W,), (v,))[1], jvp(plain, (W,), (v,))[1], rtol=1e-13)
    np.testing.assert_allclose(hvp(again, (W,), (v,)), hvp(plain, (W,), (v,)), rtol=1e-12)
    second = [grad(lambda w, run=run: np.sum(grad(run)(w) * v))(W) for run in (again, plain)]
    np.testing.assert_allclose(*second, rtol=1e-12)
    tangent = [grad(lambda w, run=run: jvp(run, (w,), (v,))[1])(W) for run in (again, plain)]
    np.testing.assert_allclose(*tangent, rtol=1e-12)


def test_parameters_that_are_used_get_their_gradients() -> None:
    nn.manual_seed(0)
    layer = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = Tensor(X.astype(np.float32), requires_grad=True)
    found = []
    for run in (layer, checkpoint(layer)):
        layer.zero_grad()
        x.grad = None
        np.sum(run(x) ** 2).backward()
        found.append([p.grad.data.copy() for p in [*layer.parameters(), x] if p.grad is not None])
    assert len(found[0]) == len(found[1]) == 5
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-6)


def test_a_parameter_that_is_returned_as_it_is_gets_both_parts() -> None:
    w, x = Tensor([2.0, 3.0], requires_grad=True), Tensor([5.0, 7.0], requires_grad=True)
    same, product = checkpoint(lambda x: (w, w * x))(x)
    (same + product * 10).backward(np.ones(2))
    assert w.grad is not None
    np.testing.assert_array_equal(w.grad.data, [51, 71])


def test_trees_and_other_arguments_pass_through() -> None:
    def g(tree: Any, scale: float, *, name: str) -> Any:
        assert name == "g"
        return {"double": tree["x"] * scale, "n": 3, "pair": (tree["x"] ** 2, tree["c"])}

    x, c = Tensor(X, requires_grad=True), np.ones(2)
    out = checkpoint(g)({"x": x, "c": c}, 2.0, name="g")
    assert out["n"] == 3
    assert out["pair"][1] is c
    (np.sum(out["double"]) + np.sum(out["pair"][0])).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, 2 + 2 * X)


def test_one_of_several_results_may_be_left_unused() -> None:
    x = Tensor(X, requires_grad=True)
    first, _ = checkpoint(lambda x: (x * 2, x * 3))(x)
    np.sum(first).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, np.full_like(X, 2))


def test_what_is_returned_as_it_is_gets_its_gradient() -> None:
    x, y = Tensor([1.0], requires_grad=True), Tensor([2.0], requires_grad=True)
    same, other = checkpoint(lambda x: (x, y))(x)
    (same * 2 + other * 3).backward()
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad.tolist(), y.grad.tolist()) == ([2.0], [3.0])
    x.grad.data[:] = 0
    assert y.grad.tolist() == [3.0]


def test_gradients_share_no_memory() -> None:
    x, y = Tensor([1.0], requires_grad=True), Tensor([2.0], requires_grad=True)
    checkpoint(lambda x, y: (x + y) * 1.0)(x, y).backward()
    assert x.grad is not None
    assert y.grad is not None
    assert not np.shares_memory(x.grad.data, y.grad.data)


def test_without_a_gradient_the_function_just_runs() -> None:
    assert not checkpoint(f)(Tensor(X), W).requires_grad
    with no_grad():
        assert not checkpoint(f)(Tensor(X, requires_grad=True), W).requires_grad
    assert type(checkpoint(f)(X, W)) is np.ndarray


def test_a_tape_that_is_kept_can_be_walked_again() -> None:
    x = Tensor(X, requires_grad=True)
    out = np.sum(checkpoint(f)(x, W))
    out.backward(retain_graph=True)
    first = x.grad
    x.grad = None
    out.backward()
    assert first is not None
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, first.data)


def test_a_parameter_changed_before_the_backward_pass_is_found_out() -> None:
    layer = nn.Linear(3, 2)
    out = np.sum(checkpoint(layer)(X.astype(np.float32)))
    layer.weight.data = layer.weight.data * 2
    with pytest.raises(RuntimeError, match=r"parameter 'weight' .* was changed .* 'checkpoint'"):
        out.backward()


def test_an_error_in_the_second_run_leaves_nothing_behind() -> None:
    calls = []

    def fails(x: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("second")
        return nn.functional.dropout(x * 2, rng=generator)

    generator = np.random.default_rng(0)
    x = Tensor(X, requires_grad=True)
    out = np.sum(checkpoint(fails)(x))
    with pytest.raises(ValueError, match="second"):
        out.backward(retain_graph=True)
    state = generator.bit_generator.state
    out.backward()
    assert x.grad is not None
    assert generator.bit_generator.state == state
    nn.functional.dropout(x, rng=generator)  # draws again, rather than from a replay
    assert generator.bit_generator.state != state


# ---- random numbers and running statistics ---------------------------------------------------------------


def random_layers() -> nn.Module:
    nn.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 50), nn.Dropout(0.5), nn.BatchNorm1d(50), nn.Dropout(0.3))
    nn.manual_seed(2)
    return model


@pytest.mark.parametrize("nested", [False, True])
def test_the_same_random_numbers_are_drawn_and_statistics_move_once(nested: bool) -> None:
    def through(model: Any, x: Any) -> Any:
        return nn.functional.dropout(model(x), 0.2)  # from the common tree

    found = []
    for checkpointed in (False, True):
        model = random_layers()
        run: Callable[..., Any] = lambda x, model=model: through(model, x)
        if checkpointed:
            inner = checkpoint(run)
            run = checkpoint(lambda x, inner=inner: inner(x) * 1.0) if nested else inner
        x = Tensor(X.astype(np.float32), requires_grad=True)
        out = run(x)
        np.sum(out**2).backward()
        later = run(x).detach().data  # generators stand where they would
        assert x.grad is not None
        found.append([out.data, x.grad.data, later, *model.state_dict().values()])
    for plain, again in zip(*found, strict=True):
        np.testing.assert_allclose(again, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["backward", "second order", "jvp"])
def test_a_function_that_is_not_repeatable_is_found_out(mode: str) -> None:
    generator = np.random.default_rng(0)

    def noisy(x: Any) -> Any:
        return x * generator.standard_normal(3)

    run: dict[str, Callable[[], Any]] = {
        "backward": lambda: grad(lambda x: np.sum(checkpoint(noisy)(x)))(X),
        "second order": lambda: hvp(lambda x: np.sum(checkpoint(noisy)(x) ** 2), (X,), (X,)),
        "jvp": lambda: jvp(checkpoint(noisy), (X,), (X,)),
    }
    with pytest.raises(RuntimeError, match=r"noisy computed another result .* of a seed that it is given"):
        run[mode]()


def test_a_generator_of_a_seed_that_is_given_is_repeatable() -> None:
    def noisy(x: Any, seed: int) -> Any:
        return x * np.random.default_rng(seed).standard_normal(3)

    found = grad(lambda x: np.sum(checkpoint(noisy)(x, 3)))(X)
    np.testing.assert_array_equal(found, np.broadcast_to(np.random.default_rng(3).standard_normal(3), (2, 3)))


def test_another_shape_in_the_second_run_is_found_out() -> None:
    sizes = iter([2, 3])
    out = np.sum(checkpoint(lambda x: x[: next(sizes)])(Tensor([1.0, 2.0, 3.0], requires_grad=True)))
    with pytest.raises(RuntimeError, match="computed another result"):
        out.backward()


def test_what_is_no_number_is_the_same_again() -> None:
    x = Tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(all="ignore"):
        np.sum(checkpoint(lambda x: x / (x - 1) * np.log(x))(x)).backward()
    assert x.grad is not None


# ---- memory ----------------------------------------------------------------------------------------------


def peak(step: Callable[[], Any]) -> int:
    step()
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_memory_of_a_chain_falls_to_the_square_root() -> None:
    x = Tensor(np.full(50_000, 0.5), requires_grad=True)

    def layers(n: int) -> Callable[[Any], Any]:
        def run(h: Any) -> Any:
            for _ in range(n):
                h = np.sin(h)
            return h

        return run

    def step(pieces: int) -> None:
        h = x
        for _ in range(pieces):
            h = checkpoint(layers(100 // pieces))(h) if pieces > 1 else layers(100)(h)
        x.grad = None
        np.sum(h).backward()

    layer = x.nbytes
    assert peak(lambda: step(1)) > 100 * layer
    assert peak(lambda: step(10)) < 27 * layer  # 10 arguments, 10 of one piece, and what the walk holds
