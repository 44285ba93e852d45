"""A declaration is checked when made, runs on arrays and on Tensors, and is found by NumPy's dispatch."""

import contextlib
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


# ---- a name that is declared again -----------------------------------------------------------------------


def test_a_name_is_declared_once() -> None:
    message = r"an operation named 'exp' is registered already \(.*elementwise.py, line \d+\); choose another"
    with pytest.raises(ValueError, match=message):
        register(Op("exp", np.exp, "constant"))


DECLARATION = "op = elementwise(lambda x: {} * x, lambda g, out, x: {} * g, name='again')"


def declare_in(file: str, factor: int, lines: int = 0, **names: Any) -> Op:
    """Run the code of a file that declares an operation, after some empty lines."""
    names["elementwise"] = elementwise
    exec(compile("\n" * lines + DECLARATION.format(factor, factor), file, "exec"), names)
    op = names["op"]
    assert isinstance(op, Op)
    return op


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("<ipython-input-1-0a1b2c>", "<ipython-input-2-9f8e7d>", {"__name__": "__main__"}),
        ("/tmp/ipykernel_123/456.py", "/tmp/ipykernel_123/789.py", {"__name__": "__main__"}),
        ("<stdin>", "<stdin>", {"__name__": "__main__"}),
        ("/shell/1", "/shell/2", {"__name__": "__main__"}),
        ("/code/own.py", "/code/own.py", {"__name__": "own", "__file__": "/code/own.py"}),
        ("/code/own.py", "/code/own.py", {"__name__": "__main__", "__file__": "/code/own.py"}),
    ],
    ids=["IPython", "a notebook", "the console", "another console", "a reload", "a script"],
)
@pytest.mark.parametrize("moved", [0, 3])
def test_a_declaration_that_is_run_again_replaces_the_one_of_before(
    first: str, second: str, names: dict[str, Any], moved: int
) -> None:
    declare_in(first, 2, **names)
    op = declare_in(second, 3, moved, **names)
    assert REGISTRY["again"] is op
    x = Tensor(1.0, requires_grad=True)
    op(x).backward()
    assert x.grad is not None
    assert (op(x).item(), x.grad.item()) == (3, 3)


@pytest.mark.usefixtures("registries")
def test_a_name_declared_in_another_place_is_an_error_that_says_where() -> None:
    op = declare_in("/code/own.py", 2, 4, __name__="own", __file__="/code/own.py")
    with pytest.raises(ValueError, match=r"'again' is registered already \(/code/own.py, line 5\)"):
        declare_in("/code/other.py", 3, __name__="other", __file__="/code/other.py")
    with pytest.raises(ValueError, match="registered already"):
        declare_in("<stdin>", 3, __name__="__main__")
    assert REGISTRY["again"] is op


@pytest.mark.usefixtures("registries")
def test_two_declarations_of_one_name_in_one_file_are_an_error() -> None:
    twice = "\n".join([DECLARATION.format(2, 2), "", DECLARATION.format(3, 3)])
    names = {"__name__": "own", "__file__": "/code/own.py", "elementwise": elementwise}
    for _ in range(2):
        with pytest.raises(ValueError, match=r"\(/code/own.py, line 1\)"):
            exec(compile(twice, "/code/own.py", "exec"), names)

    def here() -> Op:
        return elementwise(double, lambda g, out, x: 2 * g, name="here")

    def there() -> Op:
        return elementwise(double, lambda g, out, x: 2 * g, name="here")

    assert here() is not here()
    with pytest.raises(ValueError, match="registered already"):
        there()


@pytest.mark.usefixtures("registries")
def test_a_replaced_operation_gives_up_its_numpy_functions() -> None:
    old, new = (
        register(Op("ptp_twice", double, "general", samples=SAMPLES, rules=(None,)), *functions)
        for functions in ([double, np.nextafter], [np.nextafter])
    )
    assert old is not new
    assert double not in FUNCTIONS
    assert UFUNCS[np.nextafter] is new


@pytest.mark.usefixtures("registries")
def test_a_declaration_that_fails_leaves_the_one_of_before() -> None:
    for function in (np.nextafter, np.sin):
        with contextlib.suppress(ValueError):
            register(Op("nearest", double, "general", samples=SAMPLES, rules=(None,)), function)
    assert UFUNCS[np.nextafter] is REGISTRY["nearest"]
    assert UFUNCS[np.sin] is REGISTRY["sin"]


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
