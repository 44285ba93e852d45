"""Tolerances that are derived follow from those they are derived from; none can be changed by accident."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from tinygrad_mnist.testing.tolerances import TOLERANCES

EPS = np.finfo(float).eps
SMALLEST_MUTATION = 0.01  # of the rules that test_mutations.py breaks


def test_error_and_rounding_balance_at_the_first_step() -> None:
    h, levels = TOLERANCES.first_step, TOLERANCES.richardson_levels
    assert h ** (2 * levels) == EPS * 2**levels / h


def test_a_settled_derivative_is_as_certain_as_rtol_asks_for() -> None:
    assert TOLERANCES.safety * TOLERANCES.settled == pytest.approx(TOLERANCES.rtol["float64"])


def test_a_verdict_needs_less_doubt_than_the_smallest_mistake() -> None:
    assert TOLERANCES.decisive < SMALLEST_MUTATION / 3


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_the_relative_tolerance_follows_from_the_dtype(dtype: str) -> None:
    derived = np.finfo(dtype).eps ** 0.4
    assert derived / 2.2 < TOLERANCES.rtol[dtype] < 2.2 * derived


def test_a_kink_is_told_from_a_smooth_slope_a_steep_one_and_a_jump() -> None:
    """As the step shrinks to a quarter, the gap between both slopes keeps these parts."""
    smooth, power_of_three_halves, root, jump = 1 / 4, 1 / 2, 2, 4
    assert smooth < TOLERANCES.kink_bend < power_of_three_halves
    assert root < TOLERANCES.jump_growth < jump


def test_a_tolerance_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TOLERANCES.safety = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        TOLERANCES.rtol["float32"] = 1.0  # type: ignore[index]
