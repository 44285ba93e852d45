"""Whole programs as machine code, against what `interpret` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.random_programs import RandomProgram
from tests.compiler.steps import mlp_step
from tinygrad_mnist.compiler.executable import build
from tinygrad_mnist.compiler.program import interpret

pytest.importorskip("llvmlite")


@pytest.mark.parametrize("fortran", [False, True])
def test_a_training_step_gives_what_numpy_gives(fortran):
    program, arrays, scalars = mlp_step([20, 16, 8, 5], 12, dtype=np.float64, fortran=fortran)
    expected = [array.copy(order="K") for array in arrays]
    step = build(program)
    for _ in range(5):
        outputs, _ = step(arrays, scalars)
        wanted, _ = interpret(program, expected, scalars)
        np.testing.assert_allclose(outputs[0], wanted[0], rtol=1e-9)
    for array, other in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-6, atol=1e-7)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_a_random_program_gives_what_numpy_gives(seed):
    made = RandomProgram(seed)
    expected = [array.copy(order="K") for array in made.arrays]
    wanted = interpret(made.program, expected, made.scalars)
    result = build(made.program)(made.arrays, made.scalars)
    assert (result is None) == (wanted is None)
    for got, value in zip([] if result is None else result[0], [] if wanted is None else wanted[0], strict=True):
        assert got.dtype == value.dtype
        assert got.shape == value.shape
        np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-3)
    for array, other in zip(made.arrays, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-3, atol=1e-3)
