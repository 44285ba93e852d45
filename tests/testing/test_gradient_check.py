"""`gradcheck` accepts what is right, however badly scaled, finds what is wrong, and says which entry."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import Op
from tinygrad_mnist.testing import GradientError, gradcheck
from tinygrad_mnist.testing.finite_differences import differentiate

X = np.array([0.5, -1.0, 2.0])
RANDOM = np.random.default_rng(0)


def lost(t: Any) -> Any:
    """The values without their gradient."""
    return t.detach()


RIGHT = {
    "smooth": (lambda x: np.exp(x) * np.sin(x), X),
    "scalar result": (lambda x: np.sum(x**3), X),
    "0-d input": (lambda x: np.tanh(x) * x, np.array(0.3)),
    "matrix": (lambda x: x @ x.T, np.arange(6.0).reshape(2, 3)),
    "tuple of results": (lambda x: (x * x, np.sum(np.sin(x))), X),
    "nested results": (lambda x: {"a": x * x, "b": [np.sin(x), (np.sum(x),)]}, X),
    "result is the input": (lambda x: x, X),
    "constant": (lambda x: Tensor(np.ones(3)), X),
    "empty": (lambda x: x * 2, np.zeros((0, 3))),
    "small slope": (lambda x: 1e-8 * x, X),
    "small slopes beside large ones": (lambda x: np.stack([1e8 * x[0], 1e-8 * x[1], x[2]]), X),
    "sum of small and large slopes": (lambda x: 1e8 * x[0] + 1e-8 * x[1], X),
    "values near overflow": (np.exp, np.array([700.0, -700.0, 0.0])),
    "values near underflow": (lambda x: x * 1e-300, X),
    "large arguments": (lambda x: np.log(x) * x, np.array([1e8, 1e-8, 1.0])),
    "near a pole": (lambda x: 1 / x, np.array([1e-6, -1e-4])),
    "near the edge of the domain": (np.sqrt, np.array([1e-9])),
    "fast oscillation": (lambda x: np.sin(500 * x), X),
    "a kink 1/1000 away": (np.abs, np.array([1e-3, -1e-3])),
    "at a minimum": (lambda x: np.var(x), np.ones(4)),
    "beside a minimum": (lambda x: 1 / np.sqrt(1 - x * x), np.array([-1.1e-16])),
    "saturated": (np.tanh, np.array([30.0, -30.0])),
}

WRONG = {
    "nothing": (lambda x: lost(x) * 2.0 + 0 * x, X),
    "nothing of a small slope": (lambda x: 1e-8 * lost(x), X),
    "one entry beside one of 1e8": (lambda x: np.stack([1e8 * x[0], lost(x[1])]), X),
    "one entry beside one of 1e8, in one sum": (lambda x: 1e8 * x[0] + lost(x[1]), X),
    "one entry of 1e-8": (lambda x: np.stack([x[0], 1e-8 * lost(x[1])]), X),
    "a factor of 1.01": (lambda x: 1.01 * x * x - 0.01 * lost(x * x), X),
    "a factor of 1.01 of a small slope": (lambda x: 1e-12 * (1.01 * x - 0.01 * lost(x)), X),
    "a sign": (lambda x: 2 * lost(x) - x, X),
    "half of a square": (lambda x: x * lost(x), X),
    "the transpose": (lambda x: lost(x) + x.T - lost(x.T), np.arange(4.0).reshape(2, 2)),
    "one entry near overflow": (
        lambda x: np.stack([np.exp(x[0]), lost(np.exp(x[1]))]),
        np.array([700.0, -300.0]),
    ),
}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", RIGHT)
def test_a_right_gradient_is_accepted(case: str, order: int) -> None:
    f, x = RIGHT[case]
    assert gradcheck(f, x, order=order).passed


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_gradient_is_found(case: str) -> None:
    f, x = WRONG[case]
    with pytest.raises(GradientError):
        gradcheck(f, x)


@pytest.mark.parametrize("seed", range(5))
def test_the_verdict_does_not_depend_on_the_cotangent(seed: int) -> None:
    gradcheck(lambda x: np.log(x) / x, np.abs(X), order=2, seed=seed)
    with pytest.raises(GradientError):
        gradcheck(lambda x: 1.01 * x - 0.01 * lost(x), X, seed=seed)


def test_a_lost_second_derivative_is_found_at_order_2_only() -> None:
    op = Op(
        "cube", lambda x: x**3, "elementwise", rules=(lambda g, out, x: g * 3 * np.asarray(_plain(x)) ** 2,),
        samples="broadcast",
    )  # fmt: skip
    assert gradcheck(op, X).passed
    with pytest.raises(GradientError, match="gradient of the gradient"):
        gradcheck(op, X, order=2)


def _plain(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def test_a_second_derivative_that_has_lost_the_cotangent_is_found() -> None:
    op = Op(
        "square", np.square, "elementwise", rules=(lambda g, out, x: 2 * _plain(g) * x,), samples="broadcast"
    )
    with pytest.raises(GradientError, match="cotangent 0"):
        gradcheck(op, X, order=2)


def test_the_error_names_input_index_and_both_values() -> None:
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda x, y: np.sum(x) + np.stack([y[0, 0], lost(y[0, 1])]), X, np.ones((1, 2)))
    entry, other = caught.value.report.failures
    assert {entry.mode, other.mode} == {"reverse", "forward"}
    assert (entry.order, entry.input, entry.index, entry.verdict) == (1, "input 1", (0, 1), "wrong")
    assert (entry.output, entry.output_index) == ("output 0", (1,))
    for part in ("wrong in 1 of 10 entries", "input 1", "(0, 1)", f"{entry.numeric:.6g}"[:6]):
        assert part in str(caught.value)


def test_the_error_is_an_assertion() -> None:
    assert issubclass(GradientError, AssertionError)


def test_the_table_shows_the_worst_entries_and_counts_the_others() -> None:
    with pytest.raises(GradientError, match="and 28 more"):
        gradcheck(lambda x: lost(x), np.ones(40))


def test_the_report_has_every_entry_with_its_analytic_and_numeric_value() -> None:
    report = gradcheck(lambda x: np.sum(x**2), X, modes=["reverse"])
    assert [entry.index for entry in report.entries] == [(0,), (1,), (2,)]
    np.testing.assert_allclose([e.analytic for e in report.entries], [e.numeric for e in report.entries])


def test_a_right_report_names_its_largest_error() -> None:
    report = gradcheck(np.exp, X)
    assert 0 <= report.largest_error < 1e-9
    assert "smooth" in str(report)


def test_what_is_no_float_is_handed_on() -> None:
    labels, mask = np.array([0, 2]), np.array([True, False, True])

    def picked(x: Any, labels: Any, mask: Any, scale: Any) -> Any:
        return x[labels] * scale + np.sum(x[mask])

    report = gradcheck(picked, X, labels, mask, 3)
    assert {entry.input for entry in report.entries} == {"input 0"}


def test_a_float_is_an_input() -> None:
    assert {entry.input for entry in gradcheck(lambda x, y: x * y, 2.0, 3.0).entries} == {
        "input 0",
        "input 1",
    }


def test_a_tensor_is_an_input_and_its_gradient_stays_none() -> None:
    x = Tensor(X, requires_grad=True)
    gradcheck(np.exp, x, order=2)
    assert x.grad is None


def test_the_inputs_stay_what_they_are() -> None:
    x = X.copy()
    gradcheck(np.exp, x, order=2)
    np.testing.assert_array_equal(x, X)


def test_a_step_can_be_given() -> None:
    assert gradcheck(np.sin, X, eps=1e-3).passed


def test_noise_that_hides_the_derivative_is_not_passed_over() -> None:
    def noisy(x: Any) -> Any:
        return x + np.sin(1e9 * x.data) * 1e-3  # a part that the tape does not see

    with pytest.raises(GradientError):
        gradcheck(noisy, X)


@pytest.mark.parametrize(
    ("f", "inputs", "order", "error", "message"),
    [
        (lambda x: x.astype(np.float32), (X,), 1, ValueError, "returned float32 for float64"),
        (np.exp, (np.arange(3),), 1, TypeError, "no float"),
        (np.exp, (X,), 3, ValueError, "order=3"),
        (lambda x: np.argmax(x), (X,), 1, ValueError, "returned int64"),
        (lambda x: x * np.inf, (X,), 1, ValueError, "not finite"),
        (lambda x: None, (X,), 1, TypeError, "returned None"),
        (lambda x: x * RANDOM.random(), (X,), 1, ValueError, "not deterministic"),
    ],
)  # fmt: skip
def test_what_cannot_be_checked_is_refused(f: Any, inputs: Any, order: int, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        gradcheck(f, *inputs, order=order)


@pytest.mark.parametrize("options", [{"rtol": -1e-3}, {"atol": np.nan}])
def test_a_tolerance_that_is_none_is_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="expected a number that is not negative"):
        gradcheck(np.exp, X, **options)


# ---- the differences -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1e-6, 0.3, 1.0, 40.0])
def test_differences_are_as_certain_as_they_say(at: float) -> None:
    derivative, uncertainty, *_ = differentiate(np.log, at)
    assert abs(derivative - 1 / at) <= uncertainty <= 1e-6 / at


def test_a_function_that_is_nowhere_defined_gets_infinite_uncertainty() -> None:
    assert differentiate(lambda t: np.array(np.nan), 1.0)[1] == np.inf


# ---- without hypothesis ----------------------------------------------------------------------------------

WITHOUT = "import sys; sys.modules['hypothesis'] = None; import tinygrad_mnist.testing as testing; "


def test_gradcheck_works_without_hypothesis() -> None:
    code = WITHOUT + "import numpy as np; testing.gradcheck(np.sin, np.ones(2), order=2)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["check_op", "strategies"])
def test_the_absence_of_hypothesis_is_one_sentence(name: str) -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT + f"testing.{name}"], capture_output=True, text=True)
    assert f"testing.{name} draws its inputs with Hypothesis, which is not installed" in ran.stderr


def test_check_op_is_a_function_whatever_was_imported_first() -> None:
    code = "import tinygrad_mnist.testing.properties, tinygrad_mnist.testing as t; t.check_op.__call__"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="gradcheck was given a str; expected a function"):
        gradcheck("a", np.ones(2))  # type: ignore[arg-type]


@pytest.mark.parametrize(("result", "what"), [("a", "a str"), ({}, "a dict"), ((), "a tuple")])
def test_a_function_that_returns_no_tensor_is_refused(result: Any, what: str) -> None:
    with pytest.raises(TypeError, match=f"function returned {what}; expected a Tensor"):
        gradcheck(lambda x: result, np.ones(2))
