"""Every registered operation keeps every promise; parametrised over the registry, so that none escapes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import REAL, REGISTRY, Op
from tinygrad_mnist.testing.properties import PROPERTIES, check_op
from tinygrad_mnist.testing.strategies import arrays_in, shapes

DIFFERENTIABLE = [op for op in REGISTRY.values() if op.kind != "constant"]
CONSTANT = [op for op in REGISTRY.values() if op.kind == "constant" and op.name != "isnat"]  # of dates alone
SHARES = {"first_order": 0.6, "second_order": 0.2}
"""The share of a profile's examples that a check has, at least 8; that of any other is 0.4. A call at second
order takes as long as three at first."""


# What they are made of is not slow: linear, batch_norm, relu, and the operations that have these as rules.
SLOW = {
    (name, "second_order")
    for name in (
        "linear_batch_norm_relu", "conv2d_with_bias", "conv2d_by_input", "conv2d_by_weight",
        "interpolate2d_by_input", "avg_pool2d_by_input", "overlap_add",
    )
}  # fmt: skip


def is_slow(number: int, op: Op, check: str) -> bool:
    """Say whether a check runs with the slow tests alone.

    The second order takes half of the time. `tests/ops/test_coverage.py` and
    `tests/compiler/test_registry.py` compare second derivatives, too, so that here one half of the operations
    is enough for `make test`.
    """
    return (op.name, check) in SLOW or (check == "second_order" and number % 2 == 1)


CHECKS = [
    pytest.param(
        op, check, id=f"{op.name}-{check}", marks=[pytest.mark.slow] if is_slow(number, op, check) else []
    )
    for number, op in enumerate(DIFFERENTIABLE)
    for check in PROPERTIES
]


@pytest.mark.parametrize(("op", "check"), CHECKS)
def test_every_operation_keeps(op: Op, check: str) -> None:
    examples = int(SHARES.get(check, 0.4) * settings().max_examples)
    check_op(op, max_examples=max(8, examples), properties=[check])


@pytest.mark.parametrize("op", CONSTANT, ids=lambda op: op.name)
@given(data=st.data())
def test_a_piecewise_constant_operation_has_numpys_value_and_needs_no_gradient(
    op: Op, data: st.DataObject
) -> None:
    array_shapes = (data.draw(shapes(min_side=0)),) * op.forward.nin
    arrays = data.draw(arrays_in([REAL] * op.forward.nin, array_shapes))
    if op.name in ("left_shift", "right_shift", "gcd", "lcm"):
        arrays = tuple(np.abs(array).astype(np.int64) % 50 for array in arrays)
    elif op.name.startswith("bitwise") or op.name == "invert":
        arrays = tuple(array > 0 for array in arrays)
    elif op.name == "floor_divide":
        arrays = (arrays[0], np.where(arrays[1] == 0, 1.0, arrays[1]))
    out = op(*(Tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays))
    assert not out.requires_grad
    np.testing.assert_array_equal(out.data, op.forward(*arrays), strict=True)
