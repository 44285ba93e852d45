"""The mask of ReLU is read from its result, where that frees a product."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tinygrad_mnist import jit, nn
from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.masks import masks_of_results
from tinygrad_mnist.compiler.program import interpret

X = np.array([[1.0, -2.0], [np.nan, 0.5], [-0.0, 3.0]])
W = np.array([[1.0, -1.0, 0.0], [2.0, 0.5, -0.0]])


def relu_and_mask(*, bias=True, result_of="product", needs_argument=False):
    """Return a program of a ReLU, and what a rule makes of its argument."""
    b = Builder()
    x, w, g = (b.input(array) for array in (X, W, np.ones((3, 3))))
    z = b.matmul(x, w) if result_of == "product" else b.add(b.sum(x, axis=1, keepdims=True), b.sum(w, axis=0))
    if bias:
        z = b.add(z, b.input(np.array([0.5, 0.0, -1.0])))
    below = b.less_equal(z, 0.0)
    a = b.where(b.less(0.0, z), z, b.where(below, 0.0, z))
    part = b.where(b.greater(z, 0.0), g, b.where(below, 0.0, np.nan))
    b.program.outputs += [a, part, *([z] if needs_argument else [])]
    return b.program, z


def readers(instructions, value):
    return [instruction.name for instruction in instructions if value in instruction.inputs]


@pytest.mark.parametrize("bias", [False, True])
def test_only_the_relu_reads_its_argument(bias):
    program, z = relu_and_mask(bias=bias)
    written = masks_of_results(program, program.instructions)
    arrays = [X, W, np.ones((3, 3)), *([np.array([0.5, 0.0, -1.0])] if bias else [])]
    expected, _ = interpret(program, arrays)
    program.instructions = written
    result, _ = interpret(program, arrays)
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert readers(written, z).count("less_equal") == 1
    part = next(i for i in written if program.outputs[1] in i.outputs)
    compared = next(i for i in written if part.inputs[0] in i.outputs)
    assert compared.inputs[0] is program.outputs[0]


@pytest.mark.parametrize("case", [{"result_of": "sum"}, {"needs_argument": True}])
def test_an_argument_that_is_no_product_or_that_others_need_is_read_as_before(case):
    program, _ = relu_and_mask(**case)
    assert masks_of_results(program, program.instructions) == program.instructions


@pytest.mark.skipif(not machine.available(), reason="needs llvmlite")
def test_a_product_adds_the_bias_and_applies_relu_in_a_training_step():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(32, 48, rng=rng), nn.ReLU(), nn.Linear(48, 4, rng=rng))
    x = rng.standard_normal((64, 32), dtype=np.float32)

    @jit
    def step(x):
        model.zero_grad()
        loss = np.mean(model(x) ** 2)
        loss.backward()
        return loss

    for _ in range(2):
        step(x)
    first = next(line for line in str(step.explain(x)).splitlines() if "matmul" in line)
    assert "add" in first
    assert "where" in first
