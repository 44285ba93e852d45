"""A program made ready means what it meant."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tests.compiler.random_programs import RandomProgram
from tests.compiler.steps import mlp_step
from tinygrad_mnist.compiler.layout import contiguous
from tinygrad_mnist.compiler.prepare import prepare
from tinygrad_mnist.compiler.program import interpret


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("blas", [False, True])
def test_a_program_means_the_same_when_it_is_ready(seed, blas):
    made = RandomProgram(seed)
    arrays = [array.copy(order="K") for array in made.arrays]
    expected = interpret(made.program, made.arrays, made.scalars)
    result = interpret(prepare(made.program, blas=blas).program, arrays, made.scalars)
    assert (result is None) == (expected is None)
    for got, wanted in zip(result[0] if result else [], expected[0] if expected else [], strict=True):
        np.testing.assert_array_equal(got, wanted)
    for array, other in zip(arrays, made.arrays, strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("fortran", [False, True])
def test_a_gradient_lies_as_its_parameter_does(fortran):
    program, _, _ = mlp_step([20, 16, 5], 12, fortran=fortran)
    ready = prepare(program)
    strides = dict(zip(program.inputs, program.strides, strict=True))
    gradients = [value for value in program.watched if value.ndim == 2]
    weights = [target for _, target in program.writes if target.ndim == 2][::3]
    lies = {value.shape: ready.layouts[value].strides for value in gradients}
    assert lies == {weight.shape: strides[weight] for weight in weights}


def test_a_nan_in_what_is_watched_is_a_condition_that_does_not_hold():
    b = Builder()
    x = b.input(np.zeros((2, 3)))
    b.program.watched.append(b.add(x, 1.0))
    ready = prepare(b.program).program
    assert not ready.watched
    assert interpret(ready, [np.zeros((2, 3))]) is not None
    assert interpret(ready, [np.full((2, 3), np.nan)]) is None


def test_a_product_reads_a_copy_of_what_blas_cannot_read():
    b = Builder()
    arrays = [np.zeros((6, 8))[::-1], np.zeros((16, 5))[::2]]
    b.program.outputs.append(b.matmul(*map(b.input, arrays)))
    ready = prepare(b.program)
    product = ready.program.instructions[-1]
    assert ready.layouts[product.inputs[0]] == contiguous(product.inputs[0])
    assert product.inputs[1] is b.program.inputs[1]


@pytest.mark.parametrize(("matrices", "kind"), [(64, "product"), (65, "call")])
def test_numpy_multiplies_a_large_stack(matrices, kind):
    b = Builder()
    x = b.input(np.zeros((matrices, 2, 2)))
    b.program.outputs.append(b.matmul(x, x))
    ready = prepare(b.program)
    assert ready.kinds[ready.producers[b.program.outputs[0]]] == kind
