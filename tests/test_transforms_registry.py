"""Forward mode of every registered operation, against finite differences and against reverse mode."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor, jvp, vjp
from tinygrad_mnist.op import REGISTRY, Op
from tinygrad_mnist.testing.differences import differentiate
from tinygrad_mnist.testing.properties import _function
from tinygrad_mnist.testing.strategies import op_inputs

DIFFERENTIABLE = [op for op in REGISTRY.values() if op.kind != "constant"]
by_operation = pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)


def direction(shape: tuple[int, ...], seed: int) -> Any:
    """Numbers of both signs, none near 0."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def outputs(out: Any) -> list[Any]:
    return list(out) if isinstance(out, tuple) else [out]


@by_operation
@settings(max_examples=15)
@given(data=st.data())
def test_the_tangent_is_the_derivative_along_a_line(op: Op, data: st.DataObject) -> None:
    function, primals = _function(op, *data.draw(op_inputs(op)))
    vectors = [direction(primal.shape, i) for i, primal in enumerate(primals)]

    def along(step: float) -> Any:
        try:
            out = function(*(Tensor(p + step * v) for p, v in zip(primals, vectors, strict=True)))
        except np.linalg.LinAlgError:  # no such factorisation this far away
            return np.full(size_of_out, np.nan)
        return np.concatenate([np.ravel(one.data).astype(float) for one in outputs(out)])

    tangents = outputs(jvp(function, primals, vectors)[1])
    size_of_out = sum(tangent.size for tangent in tangents)
    numeric, doubt, size = differentiate(along, 0.0)
    analytic = np.concatenate([np.ravel(tangent) for tangent in tangents])
    scale = float(np.max(np.abs(numeric), initial=1e-6))
    np.testing.assert_array_less(
        np.abs(analytic - numeric), 1e-6 * scale + 20 * doubt + 1e-12 * size + 1e-300
    )


@by_operation
@settings(max_examples=10)
@given(data=st.data())
def test_forward_and_reverse_mode_are_transposes(op: Op, data: st.DataObject) -> None:
    function, primals = _function(op, *data.draw(op_inputs(op)))
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
    function, primals = _function(op, *data.draw(op_inputs(op)))
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
    function, primals = _function(op, narrow, static)
    out, tangent = jvp(function, primals, [direction(p.shape, i) for i, p in enumerate(primals)])
    for one, moved in zip(outputs(out), outputs(tangent), strict=True):
        if one.dtype.kind == "f":
            assert one.dtype == moved.dtype == np.float32
