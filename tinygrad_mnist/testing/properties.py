"""``check_op`` checks an operation against its declaration: every property that ours have to have.

Each property is a function of one call of the operation; Hypothesis draws the calls from its declaration. A
failure ends with a script that repeats the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np
from hypothesis import HealthCheck, Phase, given, reject, settings
from numpy.typing import NDArray

from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.testing.gradient_check import gradcheck
from tinygrad_mnist.testing.report import DiscontinuityError, GradientError
from tinygrad_mnist.testing.strategies import LAYOUTS, MAGNITUDES, Call, laid_out, op_inputs
from tinygrad_mnist.testing.tolerances import TOLERANCES

Array = NDArray[Any]
Property = Callable[[Op, tuple[Any, ...], Mapping[str, Any]], None]


def check_op(op: Op, max_examples: int = 50, properties: Sequence[str] | None = None) -> None:
    """Check an operation against its own declaration, on inputs that Hypothesis draws.

    Parameters
    ----------
    op : Op
        The operation; it need not be registered.
    max_examples : int
        Number of calls to draw for each property.
    properties : sequence of str, optional
        Names in :data:`PROPERTIES` to check; by default all.

    Raises
    ------
    AssertionError
        Where a property does not hold (``GradientError`` for a wrong gradient), for the smallest call found.

    Examples
    --------
    >>> from tinygrad_mnist.engine.op import REGISTRY
    >>> check_op(REGISTRY["tanh"], max_examples=5)
    """
    for name in properties or PROPERTIES:
        _check(op, PROPERTIES[name], max_examples)


PATIENCE = 2.0
"""Seconds for which a smaller call that fails is looked for."""

COMMON = (1.0,)
"""Magnitudes for second derivatives: of a gradient far out, differences see little but its rounding.

The first order checks that the gradient itself is right there.
"""


def _check(op: Op, holds: Property, max_examples: int) -> None:
    """Check one property of an operation on calls that Hypothesis draws.

    Hypothesis seeds what it draws by the source of ``check``, comments left out: to edit its code is to draw
    others.
    """
    judged: list[bool] = []
    noisy: list[GradientError] = []
    failed: dict[str, float] = {}  # when, by call; the first comes first

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
        # Without `explain`, which varies the smallest failing call to comment on it: the script says more.
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    @given(op_inputs(op, MAGNITUDES if holds is not second_order else COMMON))
    def check(call: Call) -> None:
        key = repr(call)
        if failed and key not in failed and perf_counter() > next(iter(failed.values())) + PATIENCE:
            return  # small enough: from here on only what has failed before fails again
        try:
            holds(op, *call)
            judged.append(True)
        except DiscontinuityError:
            reject()  # the sign of an eigenvector, say, is another a little to the side
        except Exception as error:
            if isinstance(error, GradientError) and error.report.only_noise:
                noisy.append(error)  # of numbers of all sizes some cancel; others decide
                return
            failed.setdefault(key, perf_counter())
            name = holds.__name__
            error.add_note(f"while checking {name!r} of operation '{op.name}'; this repeats it:\n")
            error.add_note(script_of(op, *call, name))
            raise

    check()
    if noisy and not judged:
        raise noisy[0]


def differentiable(op: Op, arguments: Sequence[Any]) -> list[int]:
    """Return the positions of the arguments that have a gradient."""
    return [
        i
        for i, argument in enumerate(arguments)
        if isinstance(argument, np.ndarray)
        and is_float(argument)
        and (op.kind == "fused" or op.rules[i] is not None)
    ]


def differentiable_function(
    op: Op, arguments: Sequence[Any], static: Mapping[str, Any]
) -> tuple[Callable[..., Any], list[Array]]:
    """Return an operation as a function of its differentiable arguments alone, and those arguments.

    Several results are joined into one vector.
    """
    positions = differentiable(op, arguments)

    def function(*primals: Any) -> Any:
        complete = list(arguments)
        for position, primal in zip(positions, primals, strict=True):
            complete[position] = primal
        out = op(*complete, **static)
        return np.concatenate([np.ravel(one) for one in out]) if isinstance(out, tuple) else out

    return function, [arguments[i] for i in positions]


def _cotangent(shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    """Return numbers of both signs, none near 0, the same for a shape."""
    rng = np.random.default_rng(len(shape))
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)).astype(dtype)


def _value_and_gradients(
    function: Callable[..., Any], primals: Sequence[Array], create_graph: bool = False
) -> tuple[Tensor, list[Array]]:
    """Return the result of a function and its gradients; a gradient that is None is one of zeros."""
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    out = function(*leaves)
    out.backward(_cotangent(out.shape, out.dtype), create_graph=create_graph)
    return out, [np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad.data for leaf in leaves]


def _assert_same(ours: Any, theirs: Any, rtol: float, where: str = "") -> None:
    """Raise an AssertionError unless both are equal but for the order of a sum.

    Large terms of it may have cancelled, so a part of the largest number is accepted besides.
    """
    size = max((float(np.max(np.abs(one), initial=1.0)) for one in (ours, theirs)), default=1.0)
    atol = TOLERANCES.same_share * rtol * size
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=where)


def value(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that the forward function agrees with the formula, where there is one."""
    if op.formula is not None:
        expected = op.formula(*arguments, **static)
        where = "the forward pass and the formula differ"
        _assert_same(op(*arguments, **static), expected, TOLERANCES.same_rtol, where)


def first_order(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that gradient and tangent agree with finite differences."""
    function, primals = differentiable_function(op, arguments, static)
    gradcheck(function, *primals)


def second_order(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that the gradient of the gradient, and its tangent, agree with finite differences."""
    function, primals = differentiable_function(op, arguments, static)
    gradcheck(function, *primals, order=2)


def recorded_rule(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that a recorded gradient is the same: for a fused operation, it is that of its formula."""
    function, primals = differentiable_function(op, arguments, static)
    _, gradients = _value_and_gradients(function, primals)
    _, recorded = _value_and_gradients(function, primals, create_graph=True)
    for gradient, other in zip(gradients, recorded, strict=True):
        _assert_same(gradient, other, TOLERANCES.same_rtol)


def each_argument_alone(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that an argument's gradient is the same whether or not the others need one."""
    function, primals = differentiable_function(op, arguments, static)
    _, together = _value_and_gradients(function, primals)
    for i, gradient in enumerate(together):
        leaf = Tensor(primals[i], requires_grad=True)
        out = function(*(leaf if j == i else primal for j, primal in enumerate(primals)))
        out.backward(_cotangent(out.shape))
        assert leaf.grad is not None, f"argument {i} of {op.name} has no gradient when it alone needs one"
        _assert_same(leaf.grad.data, gradient, TOLERANCES.reordered_rtol)


def float32(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that float32 in gives float32 out and a float32 gradient, close to those in float64."""
    function, primals = differentiable_function(op, arguments, static)
    narrow = [primal.astype(np.float32) for primal in primals]
    constants = [narrowed(argument) for argument in arguments]
    function32, _ = differentiable_function(op, constants, static)
    out, expected = _value_and_gradients(function, [primal.astype(np.float64) for primal in narrow])
    out32, gradients = _value_and_gradients(function32, narrow)
    recorded = _value_and_gradients(function32, narrow, create_graph=True)[1]
    if "dtype" not in static:
        assert out32.dtype == np.float32, f"{op.name} of float32 gave {out32.dtype}"
    _assert_close(out32.data, out.data)
    for gradient, again, wide in zip(gradients, recorded, expected, strict=True):
        assert gradient.dtype == np.float32, f"the gradient of {op.name} of float32 is {gradient.dtype}"
        assert again.dtype == np.float32, f"the recorded gradient of {op.name} of float32 is {again.dtype}"
        _assert_close(gradient, wide)


def narrowed(argument: Any, dtype: Any = np.float32) -> Any:
    """Return a float64 array in a narrower dtype, and anything else as it is."""
    is_wide = isinstance(argument, np.ndarray) and argument.dtype == np.float64
    return argument.astype(dtype) if is_wide else argument


def _assert_close(narrow: Array, wide: Array) -> None:
    """Raise an AssertionError unless a float32 array is close to a float64 one."""
    size = float(np.max(np.abs(wide), initial=1.0))
    rtol, atol = TOLERANCES.check_op_float32_rtol, TOLERANCES.check_op_float32_atol
    np.testing.assert_allclose(narrow, wide, rtol=rtol, atol=atol * size)


def memory_layouts(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that inputs in any memory layout, read-only ones too, give the same value and gradient."""
    function, primals = differentiable_function(op, arguments, static)
    out, expected = _value_and_gradients(function, primals)
    for layout in LAYOUTS:
        other, gradients = _value_and_gradients(function, [laid_out(primal, layout) for primal in primals])
        _assert_same(other.data, out.data, TOLERANCES.reordered_rtol, layout)
        for gradient, contiguous in zip(gradients, expected, strict=True):
            _assert_same(gradient, contiguous, TOLERANCES.same_rtol, layout)


def inputs_unchanged(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that nothing writes into the arguments, the result or the cotangent."""
    function, primals = differentiable_function(op, arguments, static)
    before = [primal.copy() for primal in primals]
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    out = function(*leaves)
    result, cotangent = out.data.copy(), _cotangent(out.shape)
    given = cotangent.copy()
    out.backward(given)
    for primal, kept in zip(primals, before, strict=True):
        np.testing.assert_array_equal(primal, kept, f"{op.name} wrote into an argument")
    np.testing.assert_array_equal(out.data, result, f"the gradient of {op.name} wrote into its result")
    np.testing.assert_array_equal(given, cotangent, f"the gradient of {op.name} wrote into the cotangent")


def gradient_shapes(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that a gradient is an ndarray of the shape of its argument, ``()`` too, recorded or not."""
    function, primals = differentiable_function(op, arguments, static)
    for create_graph in (False, True):
        for gradient, primal in zip(
            _value_and_gradients(function, primals, create_graph)[1], primals, strict=True
        ):
            assert type(gradient) is np.ndarray, f"a gradient of {op.name} is a {type(gradient).__name__}"
            assert gradient.shape == primal.shape, f"{op.name}: gradient {gradient.shape} of {primal.shape}"


def memory_of_its_own(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Check that gradients share no memory with anything, and a result none that can be written."""
    function, primals = differentiable_function(op, arguments, static)
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    out = function(*leaves)
    for primal in primals:
        assert not out.data.flags.writeable or not np.shares_memory(out.data, primal), (
            f"writing into the result of {op.name} would change its argument"
        )
    result, cotangent = out.data, _cotangent(out.shape)
    out.backward(cotangent)
    gradients = [leaf.grad.data for leaf in leaves if leaf.grad is not None]
    for i, gradient in enumerate(gradients):
        assert gradient.flags.writeable, f"a gradient of {op.name} cannot be written to"
        for other in (*primals, result, cotangent, *gradients[:i]):
            assert not np.shares_memory(gradient, other), f"a gradient of {op.name} shares memory"


PROPERTIES: Final[dict[str, Property]] = {
    check.__name__: check
    for check in (
        value,
        first_order,
        second_order,
        recorded_rule,
        each_argument_alone,
        float32,
        memory_layouts,
        inputs_unchanged,
        gradient_shapes,
        memory_of_its_own,
    )
}
"""The properties that are checked, by name."""


# ---- a failing call as a script --------------------------------------------------------------------------

HEADING: Final = """import numpy as np
import tinygrad_mnist.ops
from tinygrad_mnist.engine.op import REGISTRY
"""


def script_of(op: Op, arguments: Sequence[Any], static: Mapping[str, Any], check: str) -> str:
    """Return Python that makes one call of an operation and checks one property of it.

    Parameters
    ----------
    op : Op
        The operation. One that is not registered is imported from the file of one of its functions, if it
        stands at the top of that; otherwise the user has to put it where the script says so.
    arguments, static
        The call.
    check : str
        The name of the property, among :data:`PROPERTIES`.

    Examples
    --------
    >>> from tinygrad_mnist.engine.op import REGISTRY
    >>> print(script_of(REGISTRY["tanh"], (np.array([0.5]),), {}, "first_order").splitlines()[-1])
    PROPERTIES['first_order'](op, arguments, static)
    """
    return (
        f"{HEADING}from tinygrad_mnist.testing.properties import PROPERTIES\n\n"
        f"{_found(op)}\n"
        f"arguments = {literal(tuple(arguments))}\n"
        f"static = {literal(dict(static))}\n"
        f"PROPERTIES[{check!r}](op, arguments, static)"
    )


def _found(op: Op) -> str:
    """Return the line of a script that gets the operation."""
    if REGISTRY.get(op.name) is op:
        return f"op = REGISTRY[{op.name!r}]"
    rules = op.rules if isinstance(op.rules, tuple) else ()
    for function in (op.forward, op.joint, *rules):
        around = getattr(function, "__globals__", {})
        names = [name for name, value in around.items() if value is op]
        if names and "__file__" in around:
            return f"import runpy\n\nop = runpy.run_path({str(around['__file__'])!r})[{names[0]!r}]"
    return f"op = ...  # your operation {op.name!r}"


def literal(value: Any) -> str:
    """Return Python that makes this value again.

    Examples
    --------
    >>> literal((np.zeros((1, 2)), slice(None), {"axis": np.intp(1)}))
    "(np.array([[0.0, 0.0]], dtype='float64'), slice(None, None, None), {'axis': 1})"
    """
    if isinstance(value, np.ndarray):
        return _array_literal(value)
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.dtype):
        return repr(value.name)
    if isinstance(value, type) and issubclass(value, np.generic):
        return repr(np.dtype(value).name)
    if isinstance(value, tuple):
        comma = "," if len(value) == 1 else ""
        return f"({', '.join(map(literal, value))}{comma})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {literal(part)}' for key, part in value.items())}}}"
    return repr(value)


def _array_literal(array: Array) -> str:
    """Return Python that makes an array again; the numbers that ``repr`` writes without a module get one."""
    dtype = array.dtype.name
    if not array.size:
        return f"np.zeros({array.shape}, dtype={dtype!r})"
    numbers = repr(array.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
    return f"np.array({numbers}, dtype={dtype!r})"
