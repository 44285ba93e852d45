"""A declaration is checked when made, runs on arrays and on Tensors, and is found by NumPy's dispatch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import (
    FUNCTIONS,
    KINDS,
    REGISTRY,
    UFUNCS,
    EachArgument,
    Op,
    Sample,
    constant,
    elementwise,
    fused,
    general,
    implements,
    linear,
    multilinear,
    register,
)

SAMPLES = (Sample(((3,),)),)


@pytest.fixture
def registries() -> Iterator[None]:
    """The registries as they were, after a test that declares something."""
    before = [(registry, dict(registry)) for registry in (REGISTRY, UFUNCS, FUNCTIONS)]
    yield
    for registry, content in before:
        registry.clear()
        registry.update(content)


def double(x: Any) -> Any:
    return 2 * x


# ---- what a declaration must say -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "odd"}, "'double' is of kind 'odd'; choose one of"),
        ({"kind": "general"}, "'double' gives no samples, so its gradient cannot be checked"),
        ({"kind": "fused", "samples": SAMPLES}, "a joint rule belongs to kind 'fused'"),
        ({"kind": "general", "samples": SAMPLES, "joint": double}, "a joint rule belongs to kind 'fused'"),
        ({"kind": "fused", "samples": SAMPLES, "joint": double}, "'double' needs the plain formula"),
        (
            {"kind": "general", "samples": SAMPLES, "rules": (double, double)},
            "'double' has 2 rules, but a sample of 1 arguments; give a rule for each argument",
        ),
    ],
)
def test_a_declaration_that_lacks_something_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Op("double", double, **options)


def test_a_constant_operation_needs_no_samples() -> None:
    assert Op("sign", np.sign, "constant").samples == ()


def test_the_kinds_in_the_registry_are_the_known_ones() -> None:
    assert {op.kind for op in REGISTRY.values()} == set(KINDS)


def test_a_name_is_declared_once() -> None:
    with pytest.raises(ValueError, match="an operation named 'exp' is registered already"):
        register(Op("exp", np.exp, "constant"))


def test_repr_names_operation_and_kind() -> None:
    assert repr(REGISTRY["multiply"]) == "<Op multiply, elementwise>"


def test_a_declaration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        REGISTRY["exp"].name = "other"  # type: ignore[misc]


# ---- running one -----------------------------------------------------------------------------------------


def test_on_arrays_an_operation_is_its_forward_function() -> None:
    out = REGISTRY["sigmoid"](np.zeros(2))
    assert type(out) is np.ndarray
    np.testing.assert_array_equal(out, [0.5, 0.5])


def test_on_arrays_a_fused_operation_returns_its_result_alone() -> None:
    np.testing.assert_array_equal(REGISTRY["relu"](np.array([-1.0, 2.0])), [0, 2])


@pytest.mark.parametrize("position", [0, 1])
def test_a_tensor_at_any_position_is_found(position: int) -> None:
    arguments: list[Any] = [np.ones(2), np.ones(2)]
    arguments[position] = Tensor(np.ones(2), requires_grad=True)
    assert REGISTRY["add"](*arguments).requires_grad


def test_the_rules_of_many_arguments_know_which_is_meant() -> None:
    rules = EachArgument(lambda position, g, out, *arrays: g * arrays[position])
    assert rules[1](2.0, None, 3.0, 5.0) == 10.0


# ---- the ways to declare ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("declare", "kind"),
    [
        (lambda: elementwise(double, lambda g, out, x: 2 * g), "elementwise"),
        (lambda: linear(double, lambda g, out, x: 2 * g, samples=SAMPLES), "linear"),
        (lambda: multilinear(double, (lambda g, out, x: 2 * g,), samples=SAMPLES), "multilinear"),
        (lambda: general(double, lambda g, out, x: 2 * g, samples=SAMPLES), "general"),
        (
            lambda: fused(lambda x: (2 * x, None), lambda g, *a: (2 * g,), double, "double", samples=SAMPLES),
            "fused",
        ),
    ],
    ids=["elementwise", "linear", "multilinear", "general", "fused"],
)
def test_a_users_operation_is_registered_and_differentiated(declare: Any, kind: str) -> None:
    op = declare()
    x = Tensor(np.ones(3), requires_grad=True)
    op(x).backward(np.ones(3))
    assert REGISTRY["double"] is op
    assert op.kind == kind
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [2, 2, 2])


@pytest.mark.usefixtures("registries")
def test_a_declared_ufunc_is_dispatched() -> None:
    elementwise(np.nextafter, lambda g, out, x, y: g, None)
    assert np.nextafter(Tensor(1.0), 2.0).item() > 1


@pytest.mark.usefixtures("registries")
def test_a_constant_ufunc_is_dispatched_and_needs_no_gradient() -> None:
    for registry, key in ((REGISTRY, "heaviside"), (UFUNCS, np.heaviside), (FUNCTIONS, np.heaviside)):
        registry.pop(key, None)  # type: ignore[attr-defined]
    constant(np.heaviside)
    assert not np.heaviside(Tensor(1.0, requires_grad=True), 0.5).requires_grad


@pytest.mark.usefixtures("registries")
def test_a_function_that_is_implemented_is_dispatched() -> None:
    @implements(np.ptp)
    def ptp(a: Any) -> Any:
        return np.max(a) - np.min(a)

    assert np.ptp(Tensor([1.0, 4.0])).item() == 3


def test_a_declaration_cannot_replace_what_a_numpy_function_does() -> None:
    with pytest.raises(ValueError, match=r"numpy\.sin has its operation already"):
        elementwise(np.sin, lambda g, out, x: 7 * g, name="another_sine")
    assert "another_sine" not in REGISTRY
