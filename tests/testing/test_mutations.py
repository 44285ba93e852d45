"""The checks are checked: a rule broken on purpose is found, for every operation and every argument."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import REGISTRY, EachArgument, Op
from tinygrad_mnist.testing.properties import PROPERTIES, differentiable
from tinygrad_mnist.testing.report import DiscontinuityError
from tinygrad_mnist.testing.strategies import Call, op_inputs

DIFFERENTIABLE = [op for op in REGISTRY.values() if op.kind != "constant"]
Mutation = Callable[[Any], Any]


def scaled_at_the_largest(part: Any, factor: float) -> Any:
    """Works on Tensors too, which the forward mode runs rules on."""
    factors = np.ones(np.shape(part))
    if factors.size:
        values = part.data if isinstance(part, Tensor) else part
        factors[np.unravel_index(np.argmax(np.abs(values)), factors.shape)] = factor
    return part * factors


MUTATIONS: dict[str, Mutation] = {
    "one entry zeroed": lambda part: scaled_at_the_largest(part, 0.0),
    "one entry off by 1 %": lambda part: scaled_at_the_largest(part, 1.01),
    "sign flipped": lambda part: -part,
    "all zero": lambda part: part * 0,
    "a constant added": lambda part: part + 0.01,
    "not a number": lambda part: part * np.nan,
    "rolled by one": lambda part: np.reshape(np.roll(np.ravel(part), 1), np.shape(part)),
}

# A part that is wrong in all entries is easier to see than one that is wrong in a single one.
HARD_TO_SEE = ("one entry zeroed", "one entry off by 1 %")


def every_sixth(ops: list[Op]) -> list[Any]:
    """Operations for a test of the check, not of them: five of six run with the slow tests."""
    return [pytest.param(op, marks=pytest.mark.slow if i % 6 else ()) for i, op in enumerate(ops)]


# What is hard to see is looked for in all operations; what is easy, which takes longer, in every sixth.
BROKEN_RULES = [
    pytest.param(
        op, name, id=f"{op.name}-{name}", marks=pytest.mark.slow if i % 6 or name not in HARD_TO_SEE else ()
    )
    for i, op in enumerate(DIFFERENTIABLE)
    for name in MUTATIONS
    if name in HARD_TO_SEE or i % 6 == 0
]
EQUIVALENT = {
    # the batch norm takes the bias away with the mean: its gradient is 0, and what multiplies it leaves it so
    (name, "linear_batch_norm_relu", 2): "the gradient is 0"
    for name in HARD_TO_SEE
}


@cache
def calls(op: Op, count: int = 30) -> tuple[Call, ...]:
    """Calls of an operation, as the registry test draws them."""
    drawn: list[Call] = []

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(op_inputs(op))
    def collect(call: Call) -> None:
        drawn.append(call)

    collect()
    return tuple(drawn)


def positions(op: Op) -> Iterator[int]:
    return iter(sorted({i for arguments, _ in calls(op) for i in differentiable(op, arguments)}))


def mutated(op: Op, position: int, mutate: Mutation) -> Op:
    """The operation with the rule of one argument broken; not registered."""
    if op.joint is not None:
        joint = op.joint

        def broken(*args: Any, **static: Any) -> list[Any]:
            parts = list(joint(*args, **static))
            if position < len(parts) and parts[position] is not None:
                parts[position] = mutate(parts[position])
            return parts

        return replace(op, joint=broken)
    rules = op.rules

    def each(i: int, *args: Any, **static: Any) -> Any:
        part = rules[i](*args, **static)
        return mutate(part) if i == position else part

    if isinstance(rules, EachArgument):
        return replace(op, rules=EachArgument(each))
    return replace(
        op, rules=tuple(None if rule is None else EachArgument(each)[i] for i, rule in enumerate(rules))
    )


def is_found(broken: Op, original: Op, check: str, count: int = 30) -> bool:
    """Whether a check fails on one of the calls that are drawn for the original."""
    for arguments, static in calls(original, count):
        try:
            PROPERTIES[check](broken, arguments, static)
        except DiscontinuityError:
            continue
        except AssertionError:
            return True
    return False


@pytest.mark.parametrize(("op", "mutation"), BROKEN_RULES)
def test_a_broken_rule_is_found_for_each_argument(op: Op, mutation: str) -> None:
    missed = []
    for position in positions(op):
        if (mutation, op.name, position) in EQUIVALENT:
            continue
        broken = mutated(op, position, MUTATIONS[mutation])
        # few calls have two entries or more, which a roll needs to be seen: draw more if need be
        found = any(is_found(broken, op, "first_order", count) for count in (30, 300))
        if not found:
            missed.append(position)
    assert missed == []


@pytest.mark.slow  # it guards the list of exceptions above, not the package
@pytest.mark.parametrize(("mutation", "name", "position"), EQUIVALENT)
def test_an_equivalent_mutant_is_one(mutation: str, name: str, position: int) -> None:
    op = REGISTRY[name]
    assert not is_found(mutated(op, position, MUTATIONS[mutation]), op, "first_order")


# ---- what only the second derivative sees ----------------------------------------------------------------

NO_CURVATURE = {
    "positive", "negative", "add", "subtract", "remainder", "absolute", "maximum", "minimum", "max", "min",
    "clip", "fmod", "fabs", "copysign", "ldexp", "deg2rad", "rad2deg", "fmax", "fmin", "rectifier",
    "slope_undefined", "kink",  # which have a slope of 1 where they have one
    "statistics_over_shards",  # which has curvature where there are several shards
}  # fmt: skip
CURVED = [op for op in DIFFERENTIABLE if op.kind not in ("linear", "fused") and op.name not in NO_CURVATURE]


def detached(op: Op) -> Op:
    """The operation with rules whose first derivative is right, and whose second derivative is lost."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(plain, value))
        return value.detach() if isinstance(value, Tensor) else value

    def each(i: int, g: Any, *others: Any, **static: Any) -> Any:
        return op.rules[i](g, *map(plain, others), **static)

    return replace(op, rules=EachArgument(each))


@pytest.mark.slow  # it shows that the mutants of the next test are what they should be
@pytest.mark.parametrize("op", CURVED, ids=lambda op: op.name)
def test_a_rule_that_loses_the_second_derivative_passes_first_order(op: Op) -> None:
    assert not is_found(detached(op), op, "first_order")


LONG_SEARCH = {
    "share", "einsum", "svd", "qr", "matmul", "det", "norm", "inverse_power",
    "conv2d", "conv2d_by_input", "conv2d_by_weight", "conv2d_with_bias",
}  # fmt: skip
SEARCHED = [
    *every_sixth([op for op in CURVED if op.name not in LONG_SEARCH]),
    *(pytest.param(op, marks=pytest.mark.slow) for op in CURVED if op.name in LONG_SEARCH),
]


@pytest.mark.parametrize("op", SEARCHED, ids=lambda op: op.name)
def test_a_rule_that_loses_the_second_derivative_is_found_at_second_order(op: Op) -> None:
    assert is_found(detached(op), op, "second_order")


# ---- the rule of another argument ------------------------------------------------------------------------

SYMMETRIC = {"add": "the rule of both arguments is the same"}
BINARY = [
    op
    for op in DIFFERENTIABLE
    if op.kind == "elementwise" and op.name not in SYMMETRIC and sum(r is not None for r in op.rules) == 2
]


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_the_rule_of_the_other_argument_is_found(op: Op) -> None:
    rules = tuple(op.rules[i] for i in range(2))
    assert is_found(replace(op, rules=rules[::-1]), op, "first_order")


# ---- what differences do not see -------------------------------------------------------------------------


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.formula], ids=lambda op: op.name)
def test_a_formula_that_is_another_function_is_found(op: Op) -> None:
    assert op.formula is not None
    formula = op.formula
    broken = replace(op, formula=lambda *args, **static: formula(*args, **static) * 1.01)
    assert is_found(broken, op, "value")


def wrapped(op: Op, change: Callable[[Any, Any], Any]) -> Op:
    """An elementwise operation of one argument with ``change(part, g)`` after its rule."""
    (rule,) = op.rules
    return replace(op, rules=(lambda g, out, x, **static: change(rule(g, out, x, **static), g),))


def writes_into(array: Any) -> Any:
    if isinstance(array, np.ndarray) and array.flags.writeable:
        array += 1
    return array


BROADCASTING = [op for op in BINARY if op.broadcasts and op.samples == "broadcast"]


@pytest.mark.parametrize("op", BROADCASTING, ids=lambda op: op.name)
def test_a_gradient_that_is_not_unbroadcast_is_found(op: Op) -> None:
    found = []
    for arguments, static in calls(op):
        try:
            PROPERTIES["gradient_shapes"](replace(op, broadcasts=False), arguments, static)
        except ValueError as error:
            found.append("a rule returns the shape of its argument" in str(error))
    assert found
    assert all(found)


ONE_RESULT = [op for op in DIFFERENTIABLE if op.kind == "elementwise"]


@pytest.mark.parametrize("op", every_sixth(ONE_RESULT), ids=lambda op: op.name)
def test_a_value_of_float64_for_float32_is_found(op: Op) -> None:
    forward = op.forward
    leaking = replace(op, forward=lambda *args, **static: forward(*args, **static) * np.float64(1))
    assert is_found(leaking, op, "float32")


@pytest.mark.parametrize("op", every_sixth(ONE_RESULT), ids=lambda op: op.name)
def test_a_rule_that_leaks_float64_is_equivalent_since_the_tape_casts(op: Op) -> None:
    for position in positions(op):
        assert not is_found(mutated(op, position, lambda part: part * np.float64(1)), op, "float32")


TANH = REGISTRY["tanh"]
LAYER_NORM = REGISTRY["layer_norm"]
assert LAYER_NORM.joint is not None
layer_norm_joint = LAYER_NORM.joint
BROKEN = {
    "recorded_rule": [
        replace(LAYER_NORM, joint=lambda *args, **kw: [part * 2 for part in layer_norm_joint(*args, **kw)])
    ],
    "each_argument_alone": [
        replace(
            LAYER_NORM,
            joint=lambda g, needed, *args, **kw: layer_norm_joint(g * all(needed), needed, *args, **kw),
        )
    ],
    "float32": [replace(TANH, forward=lambda x: np.tanh(np.float64(1) * x))],
    "inputs_unchanged": [
        replace(TANH, forward=lambda x: np.tanh(writes_into(x))),
        wrapped(TANH, lambda part, g: part + 0 * writes_into(g)),
    ],
    "memory_layouts": [replace(TANH, forward=lambda x: np.tanh(x.ravel(order="K").reshape(x.shape)))],
    "memory_of_its_own": [
        replace(
            LAYER_NORM,
            joint=lambda g, needed, out, *args, **kw: [
                out,
                *layer_norm_joint(g, needed, out, *args, **kw)[1:],
            ],
        )
    ],
}


@pytest.mark.parametrize("check", BROKEN)
def test_a_careless_operation_is_found(check: str) -> None:
    for op in BROKEN[check]:
        assert any(is_found(op, REGISTRY[op.name], check, count) for count in (30, 300)), op


# ---- wrong in one part of the domain ---------------------------------------------------------------------

PARTS: dict[str, Callable[[Any], Any]] = {
    "large": lambda x: np.abs(x) > 20,
    "positive and large": lambda x: x > 20,
    "huge": lambda x: np.abs(x) > 500,
    "tiny": lambda x: (np.abs(x) < 1e-3) & (x != 0),
    "negative": lambda x: x < 0,
}
UNBOUNDED = [REGISTRY[name] for name in ("arctan", "square", "multiply")]


def wrong_in(op: Op, part: str) -> Op:
    """The operation with a rule of its first argument that is wrong by a factor in one part of the domain."""
    rules = op.rules

    def each(i: int, g: Any, out: Any, *arguments: Any) -> Any:
        correct = rules[i](g, out, *arguments)
        x = arguments[0].data if isinstance(arguments[0], Tensor) else arguments[0]
        return correct * np.where(PARTS[part](x), 1.5, 1.0) if i == 0 else correct

    return replace(op, rules=tuple(EachArgument(each)[i] for i in range(len(rules))))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("op", UNBOUNDED, ids=lambda op: op.name)
def test_a_rule_that_is_wrong_in_one_part_of_the_domain_is_found(op: Op, part: str) -> None:
    assert is_found(wrong_in(op, part), op, "first_order", count=50)  # check_op's default


def test_the_smallest_call_that_shows_it_is_simple() -> None:
    """Only the magnitude that is needed, and common numbers otherwise."""
    found = find(op_inputs(REGISTRY["sin"]), lambda call: bool(np.any(np.abs(call[0][0]) > 20)))
    assert found[0][0].shape == ()
    assert found[0][0] in (30.0, 100.0)


@pytest.mark.parametrize("name", ["exp", "sinh", "power", "prod", "square"])
def test_values_that_overflow_are_not_drawn(name: str) -> None:
    for arguments, static in calls(REGISTRY[name], 200):
        narrow = [x.astype(np.float32) if isinstance(x, np.ndarray) else x for x in arguments]
        assert np.all(np.isfinite(REGISTRY[name](*narrow, **static)))
