"""A value that is read out as a number loses its gradient: where nothing is left of it, transforms say so."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, grad, hessian, hvp, jacobian, jvp, no_grad, value_and_grad, vjp

X = np.array(2.0)

TRANSFORMS: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "grad": lambda f: grad(f)(X),
    "value_and_grad": lambda f: value_and_grad(f)(X),
    "vjp": lambda f: vjp(f, X),
    "jvp": lambda f: jvp(f, (X,), (X,)),
    "hvp": lambda f: hvp(f, (X,), (X,)),
    "jacobian": lambda f: jacobian(f)(X),
    "hessian": lambda f: hessian(f)(X),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_tells_of_a_lost_gradient_with_the_line(name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{name}: argument 0 was read out") as raised:
        TRANSFORMS[name](lambda x: math.sin(x))
    message = str(raised.value)
    assert "test_readings.py:" in message
    assert "TRANSFORMS[name](lambda x: math.sin(x))" in message
    assert "np.sin(x) for math.sin(x)" in message
    assert "x.detach()" in message


@pytest.mark.parametrize(
    "f",
    [
        lambda x: float(x) * 2,
        lambda x: (x * x).item(),
        lambda x: np.exp(x).tolist(),
        lambda x: complex(x).real,
        lambda x: int(x),
        lambda x: math.floor(x),
        lambda x: np.sum(np.array([float(x), 1.0])),
        lambda x: checkpoint(lambda y: y * 3.0)(float(x)),
        lambda x: checkpoint(lambda y: math.sin(2 * y))(x),
        lambda x: checkpoint(checkpoint(lambda y: math.sin(y)))(x),
    ],
)
def test_every_way_to_read_a_number_is_told(f: Any) -> None:
    with pytest.raises(RuntimeError, match="was read out as a Python number"):
        grad(f)(X)


def test_the_argument_that_is_lost_is_named_among_several() -> None:
    def scaled(w: Any, b: Any) -> Any:
        return np.sum(w) * math.exp(b)

    with pytest.raises(RuntimeError, match="argument 1 was read out"):
        grad(scaled, argnums=(0, 1))(np.ones(3), X)
    np.testing.assert_allclose(grad(scaled)(np.ones(3), X), np.full(3, math.exp(2.0)))
    with pytest.raises(RuntimeError, match="argument 0 was read out"):
        grad(lambda p: scaled(p["w"], p["b"]))({"w": np.ones(3), "b": X})


def test_what_the_outer_transform_loses_inside_the_inner_is_told() -> None:
    with pytest.raises(RuntimeError, match="argument 0 was read out"):
        grad(lambda x: grad(lambda y: y * float(x))(X))(X)
    with pytest.raises(RuntimeError, match="hessian: argument 0 was read out"):
        hessian(lambda x: x * math.sin(x))(X)  # its first derivative is a number to the second


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x: x * 2 if float(x) > 0 else -x, 2.0),
        (lambda x: x * x + float(x), 4.0),  # a part that is meant not to be differentiated cannot be told
        (lambda x: math.sin(x.detach()), 0.0),
        (checkpoint(lambda x: x * 2 if float(x) > 0 else -x), 2.0),
        (lambda x: 1.0 if x > 0 else 2.0, 0.0),
        (lambda x: float(len(repr(x))), 0.0),
    ],
)
def test_what_may_be_meant_is_silent(f: Any, expected: float) -> None:
    assert grad(f)(X) == expected


def test_a_number_read_without_recording_is_silent() -> None:
    def f(x: Any) -> Any:
        with no_grad():
            return float(x) * 3

    assert grad(f)(X) == 0.0


def test_a_number_beside_the_result_is_silent() -> None:
    assert grad(lambda x: (x * x, float(x)), has_aux=True)(X) == (4.0, 2.0)


def test_outside_of_transforms_nothing_is_noted() -> None:
    with pytest.raises(RuntimeError, match="was read out"):
        grad(lambda x: float(x))(X)
    x = Tensor(2.0, requires_grad=True)
    y = x * x
    assert (float(y), y.item(), int(y), y.tolist()) == (4.0, 4.0, 4, 4.0)
    y.backward()
    assert float(x.grad) == 4.0  # type: ignore[arg-type]
