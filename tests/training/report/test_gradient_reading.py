"""What sentences say of gradient norms."""

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.training.loop.history import GradientNorms
from tinygrad_mnist.training.report.gradient_reading import layer_norms, read_gradients


def norms(*layers: float, steps: int = 5) -> list[GradientNorms]:
    """The same norms in each step, a weight for each layer."""
    return [
        GradientNorms(step, {f"{k}.weight": norm for k, norm in enumerate(layers)})
        for step in range(1, steps + 1)
    ]


def said(samples: list[GradientNorms]) -> str:
    return " ".join(read_gradients(layer_norms(samples)))


def test_parameters_of_a_layer_are_one_norm() -> None:
    found = layer_norms([GradientNorms(4, {"a.weight": 3.0, "a.bias": 4.0, "b.c.weight": 2.0, "scale": 1.0})])
    assert list(found.norms) == ["a", "b.c", "scale"]
    assert found.norms["a"].tolist() == [5.0]
    assert found.total() == pytest.approx([np.sqrt(30)])


def test_even_norms_are_within_bounds() -> None:
    text = said(norms(0.5, 0.7, 1.0))
    assert "neither vanish nor explode" in text
    assert "0.5 in the first layer (0) and 1 in the last (2)" in text
    assert "within bounds" in text


def test_small_first_layers_vanish() -> None:
    assert "vanish on their way back: the median norm is 0.0001 in the first" in said(norms(1e-4, 0.1, 1.0))


def test_large_first_layers_grow() -> None:
    assert "grow on their way back" in said(norms(1e4, 0.1, 1.0))


def test_a_peak_over_time_is_named_with_its_step() -> None:
    samples = norms(1.0, 1.0)
    samples[3] = GradientNorms(4, {"0.weight": 500.0, "1.weight": 1.0})
    text = said(samples)
    assert "exploded for a while" in text
    assert "in step 4" in text


def test_a_layer_without_gradient_is_named() -> None:
    assert "No gradient at all came to: 1." in said(norms(1.0, 0.0, 1.0))


def test_a_gradient_that_is_not_finite_is_named_with_its_step() -> None:
    samples = [*norms(1.0, 1.0), GradientNorms(9, {"0.weight": float("nan"), "1.weight": 1.0})]
    assert "In step 9 the gradient is not finite." in said(samples)


def test_a_single_layer_has_a_course_over_time_only() -> None:
    assert said(norms(1.0)).startswith("Over time")


def test_clipping_has_its_share() -> None:
    assert read_gradients(layer_norms(norms(1.0)), 3, 0.5, 12)[-1] == (
        "Clipping to a norm of 0.5 acted in 3 of 12 steps (25.0 %)."
    )


def test_layers_are_named_with_what_they_are() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 1)))
    norms = {"0.weight": 1.0, "2.0.weight": 2.0, "gone.weight": 3.0}
    assert list(layer_norms([GradientNorms(1, norms)], model).norms) == ["0 Linear", "2.0 Linear", "gone"]
