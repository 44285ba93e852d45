"""``check_op`` puts a declared operation through everything that ours are put through.

Each property is a function of one call of the operation; Hypothesis draws the calls from its declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np
from hypothesis import HealthCheck, given, reject, settings
from numpy.typing import NDArray

from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.testing.gradcheck import gradcheck
from tinygrad_mnist.testing.report import DiscontinuityError, GradientError
from tinygrad_mnist.testing.strategies import LAYOUTS, MAGNITUDES, Call, laid_out, op_inputs

Array = NDArray[Any]
Property = Callable[[Op, tuple[Any, ...], Mapping[str, Any]], None]


def check_op(op: Op, max_examples: int = 50, properties: Sequence[str] | None = None) -> None:
    """Check an operation against its own declaration, on inputs that Hypothesis draws.

    Parameters
    ----------
    op : Op
        The operation; it need not be registered.
    max_examples : int
        How many calls to draw for each property.
    properties : sequence of str, optional
        Which of :data:`PROPERTIES` to check; by default all.

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


PATIENCE = 5.0
"""Seconds for which a smaller call that fails is looked for."""

COMMON = (1.0,)
"""Magnitudes for second derivatives: of a gradient far out, differences see little but its rounding; that the
gradient itself is right there is what the first order checks."""


def _check(op: Op, holds: Property, max_examples: int) -> None:
    judged: list[bool] = []
    noisy: list[GradientError] = []
    failed: dict[str, float] = {}  # when, by call; the first comes first

    @settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
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
    """Positions of the arguments that have a gradient."""
    return [
        i
        for i, argument in enumerate(arguments)
        if isinstance(argument, np.ndarray)
        and argument.dtype.kind == "f"
        and (op.kind == "fused" or op.rules[i] is not None)
    ]


def _function(
    op: Op, arguments: Sequence[Any], static: Mapping[str, Any]
) -> tuple[Callable[..., Any], list[Array]]:
    """The operation as a function of what is differentiated alone (several results joined), and that."""
    positions = differentiable(op, arguments)

    def function(*primals: Any) -> Any:
        complete = list(arguments)
        for position, primal in zip(positions, primals, strict=True):
            complete[position] = primal
        out = op(*complete, **static)
        return np.concatenate([np.ravel(one) for one in out]) if isinstance(out, tuple) else out

    return function, [arguments[i] for i in positions]


def _cotangent(shape: tuple[int, ...], dtype: Any = np.float64) -> Array:
    """Numbers of both signs, none near 0, the same for a shape."""
    rng = np.random.default_rng(len(shape))
    return np.asarray(rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)).astype(dtype)


def _value_and_gradients(
    function: Callable[..., Any], primals: Sequence[Array], create_graph: bool = False
) -> tuple[Tensor, list[Array]]:
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    out = function(*leaves)
    out.backward(_cotangent(out.shape, out.dtype), create_graph=create_graph)
    return out, [np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad.data for leaf in leaves]


def _assert_same(ours: Any, theirs: Any, rtol: float, where: str = "") -> None:
    """Equal but for the order of a sum, in which large terms may have cancelled."""
    size = max((float(np.max(np.abs(one), initial=1.0)) for one in (ours, theirs)), default=1.0)
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=0.1 * rtol * size, err_msg=where)


def value(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """The forward function agrees with the formula, where there is one."""
    if op.formula is not None:
        expected = op.formula(*arguments, **static)
        _assert_same(op(*arguments, **static), expected, 1e-10)


def first_order(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Gradient and tangent agree with finite differences."""
    function, primals = _function(op, arguments, static)
    gradcheck(function, *primals)


def second_order(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """The gradient of the gradient, and its tangent, agree with finite differences."""
    function, primals = _function(op, arguments, static)
    gradcheck(function, *primals, order=2)


def recorded_rule(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """The gradient is the same when it is recorded: for a fused operation, that of its formula."""
    function, primals = _function(op, arguments, static)
    _, gradients = _value_and_gradients(function, primals)
    _, recorded = _value_and_gradients(function, primals, create_graph=True)
    for gradient, other in zip(gradients, recorded, strict=True):
        _assert_same(gradient, other, 1e-10)


def each_argument_alone(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """An argument's gradient is the same whether or not the others need one."""
    function, primals = _function(op, arguments, static)
    _, together = _value_and_gradients(function, primals)
    for i, gradient in enumerate(together):
        leaf = Tensor(primals[i], requires_grad=True)
        out = function(*(leaf if j == i else primal for j, primal in enumerate(primals)))
        out.backward(_cotangent(out.shape))
        assert leaf.grad is not None, f"argument {i} of {op.name} has no gradient when it alone needs one"
        _assert_same(leaf.grad.data, gradient, 1e-12)


def float32(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Float32 in gives float32 out and a float32 gradient, close to those in float64."""
    function, primals = _function(op, arguments, static)
    narrow = [primal.astype(np.float32) for primal in primals]
    constants = [_narrowed(argument) for argument in arguments]
    function32, _ = _function(op, constants, static)
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


def _narrowed(argument: Any) -> Any:
    is_wide = isinstance(argument, np.ndarray) and argument.dtype == np.float64
    return argument.astype(np.float32) if is_wide else argument


def _assert_close(narrow: Array, wide: Array) -> None:
    size = float(np.max(np.abs(wide), initial=1.0))
    np.testing.assert_allclose(narrow, wide, rtol=1e-4, atol=2e-5 * size)


def memory_layouts(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Inputs in Fortran order, strided, reversed and read-only give the same value and gradient."""
    function, primals = _function(op, arguments, static)
    out, expected = _value_and_gradients(function, primals)
    for layout in LAYOUTS:
        other, gradients = _value_and_gradients(function, [laid_out(primal, layout) for primal in primals])
        _assert_same(other.data, out.data, 1e-12, layout)
        for gradient, contiguous in zip(gradients, expected, strict=True):
            _assert_same(gradient, contiguous, 1e-10, layout)


def inputs_unchanged(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Neither the forward pass nor the gradient writes into the arguments, the result or the cotangent."""
    function, primals = _function(op, arguments, static)
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
    """A gradient has the shape of its argument, ``()`` too, recorded or not, and is an ndarray."""
    function, primals = _function(op, arguments, static)
    for create_graph in (False, True):
        for gradient, primal in zip(
            _value_and_gradients(function, primals, create_graph)[1], primals, strict=True
        ):
            assert type(gradient) is np.ndarray, f"a gradient of {op.name} is a {type(gradient).__name__}"
            assert gradient.shape == primal.shape, f"{op.name}: gradient {gradient.shape} of {primal.shape}"


def memory_of_its_own(op: Op, arguments: tuple[Any, ...], static: Mapping[str, Any]) -> None:
    """Gradients share no memory with each other or with anything else; a result, none that can be written."""
    function, primals = _function(op, arguments, static)
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
"""What is checked, by name."""


HEADING = "import numpy as np\nimport tinygrad_mnist.ops\nfrom tinygrad_mnist.engine.op import REGISTRY\n"


def script_of(op: Op, arguments: Sequence[Any], static: Mapping[str, Any], check: str) -> str:
    """Python that makes one call of an operation and puts it through one property.

    Parameters
    ----------
    op : Op
        The operation. One that is not registered is imported from where it stands, if that is at the top of
        the module of one of its functions; otherwise it has to be put where the script says so.
    arguments, static
        The call.
    check : str
        The name of the property, among `tinygrad_mnist.testing.properties.PROPERTIES`.

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
    """A line that gets the operation."""
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
    """Python that makes this value again.

    Examples
    --------
    >>> literal((np.zeros((1, 2)), slice(None), {"axis": np.intp(1)}))
    "(np.array([[0.0, 0.0]], dtype='float64'), slice(None, None, None), {'axis': 1})"
    """
    if isinstance(value, np.ndarray):
        made = f"np.array({value.tolist()!r}, dtype={value.dtype.name!r})".replace("nan", "np.nan")
        made = made.replace("inf", "np.inf")
        return made if value.size else f"np.zeros({value.shape}, dtype={value.dtype.name!r})"
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.dtype):
        return repr(value.name)
    if isinstance(value, type) and issubclass(value, np.generic):
        return repr(np.dtype(value).name)
    if isinstance(value, tuple):
        return (
            "("
            + "".join(f"{literal(part)}, " for part in value).rstrip(" " if len(value) == 1 else ", ")
            + ")"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {literal(part)}" for key, part in value.items()) + "}"
    return repr(value)
