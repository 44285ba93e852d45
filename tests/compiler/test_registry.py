"""Every registered operation through `jit`: its value, its gradient and the gradient of its gradient.

Compiled derivatives are compared with finite differences of compiled values, as `testing.survey` does for
eager, and with eager's. The walk is over the registry: a new operation is checked without being named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tests.compiler.helpers import assert_close
from tests.ops.samples import call_of, samples_of
from tinygrad_mnist import Tensor, grad, jit, jvp
from tinygrad_mnist.engine.op import REGISTRY, Op, Sample
from tinygrad_mnist.testing import gradcheck
from tinygrad_mnist.testing.properties import differentiable_function
from tinygrad_mnist.testing.report import DiscontinuityError, GradientError
from tinygrad_mnist.testing.strategies import op_inputs

DIFFERENTIABLE = [op for op in REGISTRY.values() if op.kind != "constant"]
CONSTANT = [op for op in REGISTRY.values() if op.kind == "constant" and op.name != "isnat"]  # of dates alone
NESTED = {"checkpoint"}
"""Operations that a function makes of others, and that nobody calls: tried in `test_cases_everything`."""


def scalar(function: Any) -> Any:
    """Return a function as one whose result is a number: its results times fixed factors."""

    def value(*primals: Any) -> Any:
        out = function(*primals)
        factors = np.cos(1.0 + np.arange(np.size(out))).reshape(np.shape(out))
        return np.sum(out * factors)

    return value


def check(op: Op, arguments: Sequence[Any], static: Any, differences: bool = True) -> None:
    """Check value, gradient and second derivatives of one call, all compiled as one program."""
    function, primals = differentiable_function(op, arguments, static)
    places = tuple(range(len(primals)))
    value = scalar(function)
    slopes = grad(value, places)

    def along(*primals: Any) -> Any:  # a number of the gradient, so that it has a gradient again
        return sum(np.sum(np.sin(2.0 + i) * slope * slope) for i, slope in enumerate(slopes(*primals)))

    curvatures = grad(along, places)

    def everything(*primals: Any) -> Any:
        out, numbers = function(*primals), (value(*primals), along(*primals))
        return {
            "out": out,
            "numbers": numbers,
            "slopes": slopes(*primals),
            "curvatures": curvatures(*primals),
        }

    compiled = jit(everything)
    with np.errstate(all="ignore"):
        expected = everything(*primals)
        for _ in range(2):  # the first call is eager
            assert_close(expected, compiled(*primals), op.name, 1e-9)
        assert len(compiled.compilations) == 1, "it was not compiled"
        if differences and sum(primal.size for primal in primals):
            for order, derivatives in enumerate(("slopes", "curvatures")):
                check_differences(compiled, order, derivatives, primals)


def check_differences(compiled: Any, number: int, derivatives: str, primals: Sequence[Any]) -> None:
    """Compare compiled derivatives with finite differences of compiled values."""
    as_operation = Op(
        "compiled",
        lambda *arrays: np.asarray(compiled(*arrays)["numbers"][number]),
        "general",
        [
            lambda g, out, *arrays, i=i: g * np.asarray(compiled(*arrays)[derivatives][i])
            for i in range(len(primals))
        ],
        samples=(Sample(tuple(primal.shape for primal in primals)),),
    )
    try:
        gradcheck(as_operation, *primals, modes=["reverse"])
    except DiscontinuityError:  # an eigenvector may change its sign
        return
    except GradientError as error:
        if not error.report.only_noise:
            raise


CALLED = [op for op in DIFFERENTIABLE if op.name not in NESTED]
by_operation = pytest.mark.parametrize("op", CALLED, ids=lambda op: op.name)


@by_operation
def test_every_operation_is_compiled_with_its_first_and_second_derivatives(op: Op) -> None:
    of_several = op.samples == "broadcast"  # once of equal shapes, and once of others
    count = 2 if of_several and len(samples_of(op)[0].shapes) > 1 else 1
    for i, sample in enumerate(samples_of(op)[:count]):
        check(op, *call_of(op, sample), differences=i == 0)


@pytest.mark.slow
@by_operation
def test_every_sample_of_every_operation(op: Op) -> None:
    for sample in samples_of(op)[1:]:
        check(op, *call_of(op, sample))


@pytest.mark.slow
@by_operation
@settings(max_examples=6)
@given(data=st.data())
def test_calls_that_are_drawn(op: Op, data: st.DataObject) -> None:
    check(op, *data.draw(op_inputs(op, (1.0,))), differences=False)


@pytest.mark.slow
@by_operation
def test_forward_mode_is_compiled(op: Op) -> None:
    function, primals = differentiable_function(op, *call_of(op, samples_of(op)[0]))
    vectors = [np.cos(np.arange(primal.size)).reshape(primal.shape) for primal in primals]

    def push(*primals: Any) -> Any:
        return jvp(function, primals, vectors)

    compiled = jit(push)
    for _ in range(2):
        assert_close(push(*primals), compiled(*primals), op.name, 1e-9)


@pytest.mark.slow
@by_operation
def test_float32_stays_float32_in_compiled_code(op: Op) -> None:
    arguments, static = call_of(op, samples_of(op)[0])
    narrow = [a.astype(np.float32) if getattr(a, "dtype", None) == np.float64 else a for a in arguments]
    function, primals = differentiable_function(op, narrow, static)
    value = grad(scalar(lambda *p: function(*p).astype(np.float32)), tuple(range(len(primals))))
    compiled = jit(lambda *p: (function(*p), value(*p)))
    for _ in range(2):
        assert_close((function(*primals), value(*primals)), compiled(*primals), op.name, 1e-4)


def values_for(op: Op) -> list[Any]:
    """Return arguments of an operation that is piecewise constant."""
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-3, 3, (2, 5)) for _ in range(op.forward.nin)]
    if op.name in ("left_shift", "right_shift", "gcd", "lcm"):
        return [np.abs(array).astype(np.int64) for array in arrays]
    if op.name.startswith("bitwise") or op.name == "invert":
        return [array > 0 for array in arrays]
    if op.name.startswith("is"):
        return [np.array([[1.0, np.nan, np.inf, -np.inf, 0.0]])]
    return arrays


def test_every_operation_that_is_piecewise_constant_is_compiled() -> None:
    arguments = [values_for(op) for op in CONSTANT]

    def everything(arguments: Any) -> Any:
        return {op.name: op(*map(Tensor, arrays)) for op, arrays in zip(CONSTANT, arguments, strict=True)}

    compiled = jit(everything)
    with np.errstate(all="ignore"):
        for _ in range(2):
            assert_close(everything(arguments), compiled(arguments), "constant")
