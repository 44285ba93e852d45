"""Forward mode of every registered operation, against finite differences and against reverse mode."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor, jvp, vjp
from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.testing.properties import differentiable_function
from tinygrad_mnist.testing.strategies import op_inputs

DIFFERENTIABLE = [op for op in REGISTRY.values() if op.kind != "constant"]
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
SIGN_FREE = ("eigh", "svd")  # a vector may change its sign from one matrix to the next

# The checks of operations compare tangents with differences, too; more examples are drawn in CI.
ALONG_LINES, TRANSPOSED = max(5, settings().max_examples // 6), max(4, settings().max_examples // 10)
by_operation = pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)


def direction(shape: tuple[int, ...], seed: int) -> Any:
    """Numbers of both signs, none near 0."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def outputs(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple) else [out]


@by_operation
@settings(max_examples=ALONG_LINES)
@given(data=st.data())
def test_the_tangent_is_the_derivative_along_a_line(op: Op, data: st.DataObject) -> None:
    values, primals = differentiable_function(op, *data.draw(op_inputs(op)))
    vectors = [direction(primal.shape, i) for i, primal in enumerate(primals)]

    def function(*arguments: Any) -> Any:
        return np.square(values(*arguments)) if op.name in SIGN_FREE else values(*arguments)

    def along(step: float) -> Any:
        out = function(*(Tensor(p + step * v) for p, v in zip(primals, vectors, strict=True)))
        return np.concatenate([np.ravel(one.data).astype(float) for one in outputs(out)])

    def difference(h: float) -> Any:
        return (along(h) - along(-h)) / (2 * h)

    numeric, doubt = np.zeros(along(0.0).shape), np.full(along(0.0).shape, np.inf)
    largest = max((float(np.max(np.abs(p), initial=0.0)) for p in primals), default=0.0)
    for h in STEPS:  # for each element that step at which halving it changes least, and rounding of p + h v
        wide, near = difference(h), difference(h / 2)
        here = np.abs(near - wide) + 4 * np.finfo(float).eps * largest / h * np.abs(near)
        better = here < doubt
        numeric = np.where(better, (4 * near - wide) / 3, numeric)
        doubt = np.where(better, here, doubt)
    tangents = outputs(jvp(function, primals, vectors)[1])
    analytic = np.concatenate([np.ravel(tangent) for tangent in tangents])
    size = np.max(np.abs(along(0.0)), initial=1.0) + np.max(np.abs(numeric), initial=0.0)
    np.testing.assert_array_less(np.abs(analytic - numeric), 1e-6 * np.abs(numeric) + doubt + 1e-8 * size)
    assert np.all(doubt < 1e-2 * size)


@by_operation
@settings(max_examples=TRANSPOSED)
@given(data=st.data())
def test_forward_and_reverse_mode_are_transposes(op: Op, data: st.DataObject) -> None:
    function, primals = differentiable_function(op, *data.draw(op_inputs(op)))
    vectors = [direction(primal.shape, i) for i, primal in enumerate(primals)]
    out, tangent = jvp(function, primals, vectors)
    _, pullback = vjp(function, *primals)
    cotangents = [direction(one.shape, 100 + i) for i, one in enumerate(outputs(out))]
    parts = pullback(tuple(cotangents) if isinstance(out, tuple) else cotangents[0])
    forward = sum(np.sum(g * t) for g, t in zip(cotangents, outputs(tangent), strict=True))
    reverse = sum(np.sum(p * v) for p, v in zip(parts, vectors, strict=True))
    size = sum(np.sum(np.abs(p * v)) for p, v in zip(parts, vectors, strict=True))
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-12 + 1e-10 * size)


@by_operation
@settings(max_examples=5)
@given(data=st.data())
def test_tangents_that_are_recorded_are_the_same(op: Op, data: st.DataObject) -> None:
    function, primals = differentiable_function(op, *data.draw(op_inputs(op)))
    vectors = [direction(primal.shape, i) for i, primal in enumerate(primals)]
    plain = outputs(jvp(function, primals, vectors)[1])
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    lifted = outputs(jvp(function, leaves, vectors)[1])
    for array, tensor in zip(plain, lifted, strict=True):
        assert isinstance(tensor, Tensor)
        np.testing.assert_allclose(tensor.data, array, rtol=1e-9, atol=1e-12)


@by_operation
@settings(max_examples=5)
@given(data=st.data())
def test_float32_tangents_stay_float32(op: Op, data: st.DataObject) -> None:
    arguments, static = data.draw(op_inputs(op))
    if "dtype" in static:
        return
    narrow = [a.astype(np.float32) if getattr(a, "dtype", None) == np.float64 else a for a in arguments]
    function, primals = differentiable_function(op, narrow, static)
    out, tangent = jvp(function, primals, [direction(p.shape, i) for i, p in enumerate(primals)])
    for one, moved in zip(outputs(out), outputs(tangent), strict=True):
        if one.dtype.kind == "f":
            assert one.dtype == moved.dtype == np.float32
