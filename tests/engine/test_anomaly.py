"""``detect_anomaly``: where the first value that is not finite came from, and arrays that were changed."""

import inspect
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, detect_anomaly, grad, jvp, nn, no_grad
from tinygrad_mnist.engine.anomaly import AnomalyError


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """NumPy's own warnings come first elsewhere."""
    with np.errstate(all="ignore"):
        yield


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values), requires_grad=True)


def line_of(call: str) -> str:
    """``file:number`` of the line in this file that holds ``call``; each test has its own."""
    source = inspect.getsource(inspect.getmodule(line_of)).splitlines()  # type: ignore[arg-type]
    number = next(i for i, line in enumerate(source, 1) if call in line)
    return f"{__file__}:{number}"


def test_the_first_value_that_is_not_finite_is_reported_with_all_that_is_known() -> None:
    x = leaf(2.0, 0.0, -1.0, 0.0)
    with detect_anomaly(), pytest.raises(AnomalyError) as raised:
        np.exp(np.log(x) * 2)  # the forward line
    message = str(raised.value)
    assert message.startswith(
        "the result of 'log' is not finite: -inf at index (1,), 3 of 4 entries of shape "
    )
    assert "shape (4,) and dtype float64" in message
    assert "applied to: float64 (4,), requires a gradient" in message
    assert line_of("# the forward line") in message
    assert "np.exp(np.log(x) * 2)" in message
    assert "in test_the_first_value" in message


def test_a_backward_pass_that_overflows_is_reported_with_the_line_of_the_forward_pass() -> None:
    x = leaf(0.0, 4.0)
    with detect_anomaly():
        y = np.sqrt(x)  # the square root
        total = np.sum(y)
        with pytest.raises(AnomalyError, match=r"the gradient of 'sqrt' by argument 0") as raised:
            total.backward()
    assert line_of("# the square root") in str(raised.value)
    assert "inf at index (0,), 1 of 2 entries" in str(raised.value)
    assert x.grad is None


def test_parameter_and_module_are_named() -> None:
    class Root(nn.Module):
        def forward(self, x: Any) -> Any:
            return np.sqrt(x)  # the root

    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), Root()))
    x = np.ones((1, 2), np.float32)
    model[0].weight.data = np.array([[1, np.inf], [1, 1]], np.float32)
    with (
        detect_anomaly(),
        pytest.raises(AnomalyError, match="argument 1 of 'linear' is not finite") as raised,
    ):
        model(x)
    message = str(raised.value)
    assert "parameter '0.weight'" in message
    assert "in module: 0 (Linear)" in message
    model[0].weight.data = np.array([[0, 0], [1, 1]], np.float32)
    model[0].bias.data = np.zeros(2, np.float32)
    with detect_anomaly():
        out = np.sum(model(x))
        with pytest.raises(AnomalyError, match=r"gradient of 'sqrt' by argument 0") as raised:
            out.backward()
    assert "in module: 1.1 (Root)" in str(raised.value)
    assert line_of("# the root") in str(raised.value)


def test_the_gradient_of_a_parameter_is_named() -> None:
    w = nn.Parameter(np.array([0.0]))
    w.name = "scale"
    with (
        detect_anomaly(),
        pytest.raises(AnomalyError, match=r"argument 0 \(parameter 'scale'\) is not finite"),
    ):
        np.sum(np.sqrt(w)).backward()


def test_a_cotangent_that_is_not_finite_is_called_one() -> None:
    with (
        detect_anomaly(),
        pytest.raises(AnomalyError, match="the cotangent given to the result of 'multiply'"),
    ):
        (leaf(1.0) * 2.0).backward(np.array([np.nan]))


def test_what_the_guard_makes_zero_is_no_anomaly() -> None:
    x = leaf(0.0, 4.0)
    for create_graph in (False, True):
        with detect_anomaly():
            np.sum(np.where(x.data > 0, np.sqrt(x), 0.0)).backward(create_graph=create_graph)
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.5]


def test_the_second_backward_pass_is_watched_too() -> None:
    x = leaf(0.0)
    with detect_anomaly():
        (x**1.5).backward(create_graph=True)
        assert x.grad is not None
        with pytest.raises(AnomalyError, match="not finite"):
            x.grad.backward()


def test_tangents_are_watched_too() -> None:
    with detect_anomaly(), pytest.raises(AnomalyError, match="the tangent of 'sqrt' is not finite: inf"):
        jvp(np.sqrt, (np.zeros(2),), (np.ones(2),))


ALLOWED = np.array([[True, False, True], [True, True, False]])
HIDDEN = np.where(ALLOWED, 0.0, -np.inf)


def scores() -> Tensor:
    return Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)


def with_hidden(x: Any, index: Any, value: Any) -> Any:
    x = x * 1.0
    x[index] = value
    return x


@pytest.mark.parametrize(
    "masked",
    [
        lambda x: with_hidden(x, ~ALLOWED, -np.inf),
        lambda x: with_hidden(x, (slice(None), [0, 2]), np.array([0.0, -np.inf])),
        lambda x: with_hidden(x, ([0, 1], [1, 2]), np.full(2, -np.inf)),
        lambda x: np.where(ALLOWED, x, -np.inf),
        lambda x: np.where(ALLOWED, x, np.full((2, 3), -np.inf)),
        lambda x: np.where(ALLOWED, x, Tensor(-np.inf)),
        lambda x: x + HIDDEN,
        lambda x: x + Tensor(HIDDEN),
        lambda x: x + np.where(ALLOWED, 0.5, -np.inf),  # a bias and a mask in one
        lambda x: (x + HIDDEN) * 0.125,
        lambda x: np.transpose(np.transpose(x) + HIDDEN.T),
        lambda x: np.concatenate([x, Tensor(HIDDEN[:, :1])], axis=1),
        lambda x: np.pad(x, ((0, 0), (1, 1)), constant_values=-np.inf),
        lambda x: -np.where(ALLOWED, -x, np.inf),
    ],
)
def test_a_mask_of_infinity_is_no_anomaly(masked: Any) -> None:
    x = scores()
    softmax = nn.Softmax(-1)
    with detect_anomaly():
        hidden = masked(x)
        top = np.max(hidden, axis=-1, keepdims=True)
        weights = np.exp(hidden - top)
        weights = weights / np.sum(weights, axis=-1, keepdims=True)
        np.sum(top + np.sum(np.square(weights) + softmax(hidden) * 2.0)).backward()
    assert np.all(np.isfinite(x.grad.data))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: np.where(ALLOWED, x, -np.inf) * 0 + 1, "the result of 'multiply' is not finite: nan"),
        (lambda x: np.exp(x * 1e4 + HIDDEN), "the result of 'exp' is not finite: inf at index"),
        (lambda x: (x + HIDDEN) @ np.ones((3, 2)), "the result of 'matmul' is not finite: -inf"),
        (lambda x: (x + HIDDEN) - (x + HIDDEN), "the result of 'subtract' is not finite: nan"),
        (lambda x: np.where(ALLOWED, x, np.nan), "the result of 'where' is not finite: nan"),
        (lambda x: x + np.array([np.inf, 1.0, 2.0]), "argument 1 of 'add' is not finite already: inf"),
        (lambda x: np.log(x), "the result of 'log' is not finite: -inf"),
    ],
)
def test_what_a_mask_makes_wrong_is_an_anomaly(f: Any, message: str) -> None:
    with detect_anomaly(), pytest.raises(AnomalyError, match=message):
        f(scores())


def test_a_parameter_is_no_mask() -> None:
    with detect_anomaly(), pytest.raises(AnomalyError, match=r"argument 1 of 'add' is not finite already"):
        scores() + Tensor(HIDDEN, requires_grad=True)


def test_transforms_and_checkpoints_are_watched() -> None:
    with detect_anomaly():
        with pytest.raises(AnomalyError, match="'log'"):
            grad(lambda x: np.sum(np.log(x)))(np.zeros(2))
        with pytest.raises(AnomalyError, match="'sqrt'"):
            np.sum(checkpoint(np.sqrt)(leaf(0.0))).backward()
        assert grad(lambda x: np.sum(checkpoint(np.exp)(x)))(np.zeros(1)).tolist() == [1.0]


def test_results_that_need_no_gradient_are_watched() -> None:
    with detect_anomaly(), no_grad(), pytest.raises(AnomalyError, match="the result of 'divide'"):
        Tensor([1.0]) / Tensor([0.0])


def test_each_of_several_results_is_watched() -> None:
    singular = Tensor(np.zeros((2, 2)), requires_grad=True)  # of sign 0, which is finite, and logarithm -inf
    with detect_anomaly(), pytest.raises(AnomalyError, match="the result of 'slogdet' is not finite: -inf"):
        np.linalg.slogdet(singular)


def test_integers_and_booleans_are_finite() -> None:
    with detect_anomaly():
        assert (Tensor([1, 2]) > 1).tolist() == [False, True]


@pytest.mark.parametrize("which", ["argument", "constant", "result"])
def test_an_array_that_was_changed_after_it_was_recorded_is_found(which: str) -> None:
    data, factor = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    with detect_anomaly():
        x = Tensor(data, requires_grad=True)
        y = np.exp(x * factor)  # the product
        total = np.sum(y)  # the sum
        result = y.data
        result.flags.writeable = True  # as somebody may who insists
        {"argument": data, "constant": factor, "result": result}[which][0] = 7.0
        with pytest.raises(AnomalyError, match="was changed after it was recorded") as raised:
            total.backward()
    expected = {"argument": "argument 0 of 'multiply'", "constant": "argument 1 of 'multiply'"}
    assert str(raised.value).startswith(expected.get(which, "argument 0 of 'sum'"))
    assert line_of("# the product" if which != "result" else "# the sum") in str(raised.value)


def test_a_result_that_was_changed_before_anything_used_it_is_found() -> None:
    with detect_anomaly():
        y = np.exp(leaf(1.0, 2.0))
        result = y.data
        result.flags.writeable = True
        result[0] = 7.0
        with pytest.raises(AnomalyError, match="the result of 'exp' was changed after it was recorded"):
            y.backward(np.ones(2))


def test_an_array_that_is_left_alone_raises_nothing() -> None:
    x = leaf(1.0, 2.0)
    with detect_anomaly():
        q, r = np.linalg.qr(np.outer(x, x) + np.eye(2))
        np.sum(q[0] * r[0]).backward()
    assert x.grad is not None


def test_nothing_is_left_behind() -> None:
    with pytest.raises(AnomalyError), detect_anomaly():
        nn.Sequential(nn.Tanh())(Tensor([np.nan]))
    np.log(leaf(0.0))  # raises nothing
    with detect_anomaly(), pytest.raises(AnomalyError) as raised:
        np.log(leaf(0.0))
    assert "in module" not in str(raised.value)


def test_threads_are_watched_each_by_its_own() -> None:
    def overflow() -> Any:
        with np.errstate(divide="ignore"):
            return np.log(leaf(0.0)).item()

    with detect_anomaly(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(overflow).result() == -np.inf


def test_the_message_is_plain_text() -> None:
    with detect_anomaly(), pytest.raises(AnomalyError) as raised:
        np.log(leaf(0.0))
    assert re.fullmatch(r"[^\n]+\n  applied to: [^\n]+\n  at: [^\n]+", str(raised.value))
