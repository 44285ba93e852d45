"""The bounds on errors of derivatives, beside mpmath's numbers, for every elementwise operation."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, hessian, jvp, nn
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.ops import elementwise
from tinygrad_mnist.testing.accuracy import (
    BOUNDS,
    EXCEPTIONS,
    MEASURED_WITH,
    measure,
    points,
    unmeasured,
)
from tinygrad_mnist.testing.true_functions import multiprecision, references

F = nn.functional
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "accuracy.md"


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", list(references()))
def test_derivatives_are_within_the_bounds(name: str, dtype: Any) -> None:
    found = measure(name, dtype, count=45, exempt=True)
    for order in (1, 2):
        assert found.errors[order] <= BOUNDS[order], f"derivative {order} at {found.worst[order]}"


def test_every_elementwise_operation_is_measured() -> None:
    assert unmeasured() == [], "give them a reference in tinygrad_mnist/testing/true_functions.py"
    assert set(MEASURED_WITH) <= set(REGISTRY)
    assert set(MEASURED_WITH.values()) <= set(references())


def test_few_operations_are_exceptions_and_the_page_says_why() -> None:
    page = PAGE.read_text("utf-8")
    assert len(EXCEPTIONS) <= 5
    for name, reason in EXCEPTIONS.items():
        assert f"| `{name}` | {reason} |" in page
        assert any(reference.exempt is not None for reference in references()[name])


def test_the_page_has_a_row_for_every_operation() -> None:
    page = PAGE.read_text("utf-8")
    for name in references():
        assert f"\n| `{name}`" in page, "run scripts/make_accuracy.py"


def test_the_references_are_the_derivatives_of_their_values() -> None:
    import mpmath

    with mpmath.workdps(40):
        for name, several in references().items():
            for reference in several:
                arguments = points(reference, np.float64, 30)
                usual = [np.abs(x) for x in arguments if isinstance(x, np.ndarray)]
                at = int(np.argmin(np.sum([np.abs(x - 0.7) for x in usual], axis=0)))
                where = [mpmath.mpf(float(x[at])) if isinstance(x, np.ndarray) else x for x in arguments]
                for i, slope in enumerate(reference.first):
                    if slope is not None:
                        order = tuple(int(i == j) for j in range(len(where)))
                        numeric = mpmath.diff(reference.value, tuple(where), order)
                        assert abs(numeric - slope(*where)) < 1e-12 * (1 + abs(numeric)), (name, i)


def test_a_wrong_derivative_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    naive = elementwise.Op(
        "tanh", np.tanh, "elementwise", (lambda g, out, x: g * (1 - out * out),), samples="broadcast"
    )
    monkeypatch.setitem(REGISTRY, "tanh", naive)
    assert measure("tanh", count=90).errors[1] > 1e3


def test_without_mpmath_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpmath", None)
    with pytest.raises(ModuleNotFoundError, match="pip install mpmath"):
        multiprecision.__wrapped__()


def test_an_operation_without_a_reference_is_named() -> None:
    with pytest.raises(KeyError, match="'cumsum' has no reference"):
        measure("cumsum")


# ---- both modes, and both ways to a derivative -------------------------------------------------------------

SMOOTH = {
    "tanh": np.tanh,
    "sigmoid": F.sigmoid,
    "softplus": elementwise.softplus,
    "log_sigmoid": elementwise.log_sigmoid,
    "expm1": np.expm1,
    "arctan": np.arctan,
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, "tanh"),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", SMOOTH)
def test_forward_mode_is_as_accurate_as_reverse_mode(name: str, dtype: Any) -> None:
    x = np.array([-36.0, -20.0, -12.0, -8.0, -3.0, 0.0, 0.5, 7.0, 15.0, 36.0], dtype)
    reverse = grad(lambda t: np.sum(SMOOTH[name](t)))(x)
    forward = jvp(SMOOTH[name], (x,), (np.ones_like(x),))[1]
    np.testing.assert_allclose(forward, reverse, rtol=500 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16], ids=lambda dtype: dtype.__name__)
def test_gelu_far_out_is_flat_or_straight(approximate: str, dtype: Any) -> None:
    far = 1e20 if dtype is not np.float16 else 6e4
    x = np.array([-np.inf, -far, far, np.inf], dtype)
    np.testing.assert_array_equal(F.gelu(x, approximate), [0, 0, x[2], np.inf])
    slope = grad(lambda t: np.sum(F.gelu(t, approximate)))
    np.testing.assert_array_equal(slope(x), [0, 0, 1, 1])
    np.testing.assert_array_equal(
        jvp(lambda t: F.gelu(t, approximate), (x,), (np.ones_like(x),))[1], [0, 0, 1, 1]
    )
    np.testing.assert_array_equal(grad(lambda t: np.sum(slope(t)))(x), [0, 0, 0, 0])


@pytest.mark.parametrize(
    "f", [np.hypot, np.arctan2, np.logaddexp, np.logaddexp2, np.power], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_a_hessian_of_two_arguments_is_symmetric(f: Any, dtype: Any) -> None:
    for pair in ([15, 0], [0.3, 700], [1e-9, 3], [2e4, 2.5], [1.5, 1.5]):
        matrix = hessian(lambda v: f(v[0], v[1]))(np.array(pair, dtype))
        assert matrix[0, 1] == matrix[1, 0]


def test_the_hessian_of_a_squared_hypot_at_0_is_not_silently_0() -> None:
    matrix = hessian(lambda v: np.hypot(v[0], v[1]) ** 2 / 2)(np.zeros(2))
    assert np.all(np.isnan(matrix))
    np.testing.assert_array_equal(grad(lambda v: np.hypot(v[0], v[1]) ** 2 / 2)(np.zeros(2)), [0, 0])


CHOOSING = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "maximum": lambda x: np.maximum(x, 0),
    "minimum, second": lambda x: np.minimum(0, x),
    "fmax": lambda x: np.fmax(x, np.nan),
    "clip": lambda x: np.clip(x, -1, 1),
    "abs": np.abs,
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, "tanh"),
    "sigmoid": F.sigmoid,
    "i0": np.i0,
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("name", CHOOSING)
def test_the_derivative_at_nan_is_nan_in_both_modes_and_at_its_neighbour_it_is_a_number(
    name: str, dtype: Any
) -> None:
    x = np.array([np.nan, 0.5], dtype)
    t = Tensor(x, requires_grad=True)
    np.sum(CHOOSING[name](t)).backward()
    assert t.grad is not None
    tangent = jvp(CHOOSING[name], (x,), (np.ones_like(x),))[1]
    for derivative in (t.grad.data, tangent):
        np.testing.assert_array_equal(np.isnan(derivative), [True, False])
        assert derivative.dtype == dtype


@pytest.mark.parametrize("name", CHOOSING)
def test_the_derivative_of_a_single_nan_is_nan(name: str) -> None:
    x = np.array(np.nan)
    assert np.isnan(grad(CHOOSING[name])(x))
    assert np.isnan(jvp(CHOOSING[name], (x,), (np.ones(()),))[1])
