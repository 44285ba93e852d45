"""Operations: a forward function, its gradient rules, and the inputs on which to check them.

An :class:`Op` is data. It knows no Tensor and no tape: its rules are written in NumPy's own language, and
NumPy's dispatch decides whether they run on arrays (an ordinary backward pass) or on Tensors (a gradient of a
gradient). Everything else, the dispatch of NumPy's functions, the operator, the label in a drawing, the
gradient check, is derived from the declaration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.declaration import Place, place_of_declaration

Rule = Callable[..., Any]
"""``rule(g, out, *arrays, **static)``: the cotangent of one argument, linear in ``g``."""

KINDS: Final = ("elementwise", "linear", "multilinear", "general", "fused", "constant")


@dataclass(frozen=True)
class Domain:
    """Real numbers on which an argument is checked: an interval, less a margin around its kinks.

    Parameters
    ----------
    low, high : float
        Bounds of the values that are drawn; where there is no bound, numbers of all sizes are, most of them
        between -3 and 3.
    kinks : tuple of float
        Points where the operation is not smooth; values keep ``margin`` away from them.
    margin : float
        Distance kept from each kink.
    distinct : bool
        Whether all values must differ by ``margin`` (for operations that compare, such as ``max``).
    """

    low: float = -math.inf
    high: float = math.inf
    kinks: tuple[float, ...] = ()
    margin: float = 0.1
    distinct: bool = False


REAL = Domain()
POSITIVE = Domain(0.2)
NONZERO = Domain(kinks=(0.0,), margin=0.2)
INSIDE_UNIT = Domain(-0.9, 0.9)
DISTINCT = Domain(distinct=True)


@dataclass(frozen=True)
class Sample:
    """One way to call an operation in its check: the shapes of its arguments and its static arguments.

    Parameters
    ----------
    shapes : tuple of shapes
        One shape for each argument; values are drawn from the operation's domain.
    static : mapping
        Keyword arguments of the call, passed as they are.
    constants : mapping
        Arguments that are given as they are and take no gradient (labels, say), by position.
    prepare : mapping
        Functions that make of a drawn array what the operation takes (a regular matrix, say), by position.
    """

    shapes: tuple[tuple[int, ...], ...]
    static: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[int, Any] = field(default_factory=dict)
    prepare: Mapping[int, Callable[[Any], Any]] = field(default_factory=dict)


class EachArgument:
    """The rules of an operation with any number of arguments: one rule, told which argument is meant.

    Parameters
    ----------
    rule : callable
        ``rule(position, g, out, *arrays, **static)``.
    """

    def __init__(self, rule: Callable[..., Any]) -> None:
        self.rule = rule

    def __getitem__(self, position: int) -> Rule:
        return partial(self.rule, position)


Rules = Sequence[Rule | None] | EachArgument


@dataclass(frozen=True, eq=False)
class Op:
    """One operation: forward, gradient rules, and all that is derived from them.

    Parameters
    ----------
    name : str
        NumPy's or the field's name; errors and drawings use it.
    forward : callable
        ``forward(*arrays, **static)``; a fused operation returns ``(out, saved)``.
    kind : str
        One of ``elementwise``, ``linear``, ``multilinear``, ``general``, ``fused``, ``constant``.
    rules : sequence of callables
        One rule for each argument (None where an argument has no gradient); empty for fused operations.
    joint : callable, optional
        A fused operation's rule for all arguments, on arrays alone:
        ``joint(g, needed, out, saved, *arrays, **static)`` returns one array (or None) an argument, which
        nobody else holds. ``needed`` holds one bool for each argument.
    formula : callable, optional
        The same function in plain NumPy. It documents a fused operation, is the oracle it is tested against,
        and is what is differentiated for a second derivative.
    jvp : callable, optional
        The forward rule, where the one that follows from the kind is wrong or slow: ``jvp(tangents, out,
        *arrays, **static)``, with None for an argument that does not move, returns the tangent of ``out``.
    label : str
        What a drawing shows (``name`` when empty).
    domain : Domain or tuple of Domain
        On which inputs the operation is checked; one for all arguments, or one for each.
    samples : str or tuple of Sample
        ``"broadcast"``, ``"reduction"`` or ``"index"`` name families that the check draws from.
    broadcasts : bool
        Whether arguments broadcast, so that the walk sums a cotangent down to its argument's shape.
    singular : bool
        Whether a local derivative can be infinite, as that of a square root at 0. NumPy's warnings are off
        while its rules run: what divides by 0 off the chosen path is no news, and what does on it shows.
    may_hold_nan : callable, optional
        Of a fused operation, a faster way to see whether NaN is among the cotangents of its arguments than a
        look at each: ``may_hold_nan(out, parts)`` is False only if there is none, or none that comes from
        what was not chosen.
    chooses : bool
        Whether a result is made of some elements of an argument and not of others, whatever these are, as a
        maximum is: the rule gives the others 0 without a product, as ``np.where`` does. Of linear operations
        this is known without being said.
    told : callable, optional
        What a drawing writes of a call, in the place of its options: ``told(arrays, static)`` returns a text.
    flops : callable, optional
        The floating-point operations of a product: ``flops(out, *arrays)``. A gradient takes as many by each
        of the first two arguments.
    stacked : bool
        Whether the arguments are stacks of matrices in their last two axes, each with a result of its own.
    nested : callable, optional
        A rule for all arguments that walks a tape of its own: ``nested(walk, g, reach, out, *arrays,
        **static)`` returns the cotangents and how far they reach (see `engine.reach`);
        ``walk(seeds, targets, reaches)`` continues the walk that has come here on that tape.
    nested_jvp : callable, optional
        The same for forward mode: ``nested_jvp(push, tangents, reaches, out, *arrays, **static)``.
    exchanges : bool
        Whether its forward and its rules exchange values between processes (see `engine.shards`): all of them
        run it, and its rules, equally often and in one order, whatever their values are.
    """

    name: str
    forward: Callable[..., Any]
    kind: str
    rules: Rules = ()
    joint: Callable[..., Any] | None = None
    formula: Callable[..., Any] | None = None
    jvp: Callable[..., Any] | None = None
    label: str = ""
    domain: Domain | tuple[Domain, ...] = REAL
    samples: str | tuple[Sample, ...] = ()
    broadcasts: bool = False
    singular: bool = False
    may_hold_nan: Callable[[Any, Sequence[Any]], bool] | None = None
    chooses: bool = False
    told: Callable[[Sequence[Any], Mapping[str, Any]], str] | None = None
    flops: Callable[..., int] | None = None
    stacked: bool = False
    nested: Callable[..., Any] | None = None
    nested_jvp: Callable[..., Any] | None = None
    exchanges: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"operation {self.name!r} is of kind {self.kind!r}; choose one of {KINDS}")
        if self.kind != "constant" and not self.samples:
            raise ValueError(
                f"operation {self.name!r} gives no samples, so its gradient cannot be checked; pass samples="
            )
        if (self.kind == "fused") != (self.joint is not None):
            raise ValueError(f"operation {self.name!r}: a joint rule belongs to kind 'fused', and only to it")
        if self.kind == "fused" and self.formula is None:
            raise ValueError(f"fused operation {self.name!r} needs the plain formula that it speeds up")
        if self.rules and not isinstance(self.rules, EachArgument) and not isinstance(self.samples, str):
            for sample in self.samples:
                if len(self.rules) != len(sample.shapes):
                    raise ValueError(
                        f"operation {self.name!r} has {len(self.rules)} rules, but a sample of "
                        f"{len(sample.shapes)} arguments; give a rule for each argument, or None"
                    )

    def __call__(self, *arguments: Any, **static: Any) -> Any:
        """Run on arrays; or, where an argument is a Tensor, let it record the operation."""
        # Asked of the arguments, as NumPy asks for __array_ufunc__, so that this file need not know Tensor.
        for argument in arguments:
            apply = getattr(argument, "__apply_op__", None)
            if apply is not None:
                return apply(self, arguments, static)
        out = self.forward(*arguments, **static)
        return out[0] if self.joint is not None else out

    def __repr__(self) -> str:
        return f"<Op {self.name}, {self.kind}>"


REGISTRY: Final[dict[str, Op]] = {}
"""Every operation by name; the gradient check is parametrised over it."""

UFUNCS: Final[dict[np.ufunc, Op]] = {}
"""The operation behind each NumPy ufunc."""

FUNCTIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {}
"""The function that runs when a NumPy function is called on a Tensor, by that NumPy function. Of the ufuncs,
only those that are composed of others and methods (``np.add.reduce``) are here."""

CONSTANTS: Final[set[Callable[..., Any]]] = set()
"""Keys of FUNCTIONS whose results need no gradient, as they are piecewise constant; they take all of NumPy's
options."""

_PLACES: Final[dict[str, Place]] = {}
"""Where each operation was declared."""

UNSUPPORTED: Final[dict[str, str]] = {}
"""The advice for each NumPy function that raises on Tensors, by its name (``fft.rfft``, ``add.at``)."""


def register(op: Op, *functions: Callable[..., Any]) -> Op:
    """Put an operation into the registry, as what the given NumPy functions do on Tensors.

    A declaration that is run again, as in a cell of a notebook or a module that is reloaded, replaces the one
    of before, also for the NumPy functions.

    Raises
    ------
    ValueError
        If an operation of that name was declared elsewhere, or a NumPy function has an operation already.
    """
    place, old, before = place_of_declaration(__name__), REGISTRY.get(op.name), _PLACES.get(op.name)
    if old is not None and (before is None or not before.is_repeated_by(place)):
        where = f" ({before})" if before is not None else ""
        raise ValueError(f"an operation named {op.name!r} is registered already{where}; choose another name")
    tables: tuple[dict[Any, Any], ...] = (UFUNCS, FUNCTIONS)
    # All checks come before the first entry, so that a declaration that fails leaves nothing behind.
    for function in functions:
        if any(table.get(function, old) is not old for table in tables):
            name = _name(function, None)
            raise ValueError(
                f"numpy.{name} has its operation already, and one more would change every use of it; declare "
                f"yours on a function of its own, such as lambda x: np.{name}(x)"
            )
    if old is not None:
        for table in tables:
            for function in [function for function, held in table.items() if held is old]:
                del table[function]
    REGISTRY[op.name], _PLACES[op.name] = op, place
    for function in functions:
        if isinstance(function, np.ufunc):
            UFUNCS[function] = op
        else:
            FUNCTIONS[function] = op
    return op


def _name(function: Callable[..., Any], name: str | None) -> str:
    return name or str(getattr(function, "__name__", function))


def elementwise(
    forward: Callable[..., Any],
    *rules: Rule | None,
    name: str | None = None,
    domain: Domain | tuple[Domain, ...] = REAL,
    **options: Any,
) -> Op:
    """Declare an operation that acts on each element; ``rules`` are one for each argument.

    Each rule is ``g`` times a local derivative, so the same rule serves reverse and forward mode.

    Parameters
    ----------
    forward : callable
        ``forward(*arrays, **static)``. Of a ufunc, the operation becomes what it does on Tensors.
    *rules : callable or None
        ``rule(g, out, *arrays, **static)`` for each argument: the gradient ``g`` by the result, times the
        derivative of the result by this argument. None where an argument has no gradient.
    name : str, optional
        The name in the registry, in errors and drawings; that of ``forward`` when absent.
    domain : Domain or tuple of Domain
        Where the operation is checked; see `Op`, as for all further ``options``.

    Returns
    -------
    Op
        The operation, to be called on arrays and Tensors.

    Raises
    ------
    ValueError
        If the name was declared elsewhere, or what is declared does not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.op import Domain, elementwise
    >>> softsign = elementwise(
    ...     lambda x: x / (1 + np.abs(x)),
    ...     lambda g, out, x: g / (1 + np.abs(x)) ** 2,
    ...     name="softsign",
    ...     domain=Domain(kinks=(0.0,)),
    ... )
    >>> softsign(np.array([1.0, -3.0]))
    array([ 0.5 , -0.75])
    >>> x = Tensor([1.0, -3.0], requires_grad=True)
    >>> softsign(x).sum().backward()
    >>> x.grad
    Tensor([0.25  , 0.0625])
    """
    op = Op(
        _name(forward, name),
        forward,
        "elementwise",
        rules,
        domain=domain,
        **{"samples": "broadcast", "broadcasts": True, **options},
    )
    return register(op, *([forward] if isinstance(forward, np.ufunc) else []))


def linear(
    forward: Callable[..., Any],
    *rule: Rule | None,
    rules: Rules = (),
    name: str | None = None,
    **options: Any,
) -> Op:
    """Declare an operation that is linear in its arguments together: its forward is its own derivative.

    That is, ``f(a x + b y) = a f(x) + b f(y)``. The rule is the transpose of the operation.

    Parameters
    ----------
    forward : callable
        ``forward(*arrays, **static)``.
    *rule : callable or None
        ``rule(g, out, *arrays, **static)``, one for each argument; or give them as ``rules``.
    rules : sequence of callables or EachArgument
        The rules of an operation with any number of arguments.
    name : str, optional
        The name in the registry, in errors and drawings; that of ``forward`` when absent.
    **options
        ``samples``, on which the operation is checked, and whatever else `Op` takes.

    Returns
    -------
    Op
        The operation, to be called on arrays and Tensors.

    Raises
    ------
    ValueError
        If the name was declared elsewhere, or what is declared does not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.op import Sample, linear
    >>> differences = linear(
    ...     lambda x: x[1:] - x[:-1],
    ...     lambda g, out, x: np.concatenate([-g[:1], g[:-1] - g[1:], g[-1:]]),
    ...     name="differences",
    ...     samples=(Sample(((4,),)),),
    ... )
    >>> differences(np.array([1.0, 4.0, 9.0]))
    array([3., 5.])
    >>> x = Tensor([1.0, 4.0, 9.0], requires_grad=True)
    >>> np.sum(differences(x) ** 2).backward()
    >>> x.grad
    Tensor([-6., -4., 10.])
    """
    return register(Op(_name(forward, name), forward, "linear", rule or rules, **options))


def multilinear(forward: Callable[..., Any], rules: Rules, name: str | None = None, **options: Any) -> Op:
    """Declare an operation that is linear in each argument alone (a product).

    Parameters
    ----------
    forward : callable
        ``forward(*arrays, **static)``.
    rules : sequence of callables
        ``rule(g, out, *arrays, **static)`` for each argument; it may use the other arguments.
    name : str, optional
        The name in the registry, in errors and drawings; that of ``forward`` when absent.
    **options
        ``samples``, on which the operation is checked, and whatever else `Op` takes.

    Returns
    -------
    Op
        The operation, to be called on arrays and Tensors.

    Raises
    ------
    ValueError
        If the name was declared elsewhere, or what is declared does not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.op import Sample, multilinear
    >>> weighted_sum = multilinear(
    ...     lambda w, x: w @ x,
    ...     (lambda g, out, w, x: g * x, lambda g, out, w, x: g * w),
    ...     name="weighted_sum",
    ...     samples=(Sample(((3,), (3,))),),
    ... )
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> loss = weighted_sum(w, np.array([10.0, 20.0]))
    >>> loss.backward()
    >>> loss.item(), w.grad
    (50.0, Tensor([10., 20.]))
    """
    return register(Op(_name(forward, name), forward, "multilinear", rules, **options))


def general(forward: Callable[..., Any], *rules: Rule | None, name: str | None = None, **options: Any) -> Op:
    """Declare any other operation, by one rule for each argument.

    Parameters
    ----------
    forward : callable
        ``forward(*arrays, **static)``. Options that are no arrays, such as ``axis``, are keywords.
    *rules : callable or None
        ``rule(g, out, *arrays, **static)`` for each argument: its gradient, given the gradient ``g`` by the
        result. It calls NumPy's functions and writes into no array, so it can be differentiated itself.
    name : str, optional
        The name in the registry, in errors and drawings; that of ``forward`` when absent.
    **options
        ``samples``, on which the operation is checked, and whatever else `Op` takes.

    Returns
    -------
    Op
        The operation, to be called on arrays and Tensors.

    Raises
    ------
    ValueError
        If the name was declared elsewhere, or what is declared does not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.op import Domain, Sample, general
    >>> def geometric_mean_rule(g, out, x, axis):
    ...     return np.expand_dims(g * out, axis) / (x.shape[axis] * x)
    >>> geometric_mean = general(
    ...     lambda x, axis: np.exp(np.mean(np.log(x), axis=axis)),
    ...     geometric_mean_rule,
    ...     name="geometric_mean",
    ...     domain=Domain(0.2),
    ...     samples=(Sample(((3,),), {"axis": 0}), Sample(((2, 3),), {"axis": -1})),
    ... )
    >>> x = Tensor([1.0, 4.0], requires_grad=True)
    >>> mean = geometric_mean(x, axis=0)
    >>> mean.backward()
    >>> mean.item(), x.grad
    (2.0, Tensor([1.  , 0.25]))
    """
    return register(Op(_name(forward, name), forward, "general", rules, **options))


def fused(
    forward: Callable[..., Any],
    joint: Callable[..., Any],
    formula: Callable[..., Any],
    name: str,
    **options: Any,
) -> Op:
    """Declare a fast version of a plain formula: forward and joint rule on arrays, and the formula.

    Parameters
    ----------
    forward : callable
        ``forward(*arrays, **static)`` returns the result, and what the rule needs later.
    joint : callable
        ``joint(g, needed, out, saved, *arrays, **static)`` returns the gradients of all arguments: arrays
        that nobody else holds, or None where ``needed`` is false. It runs on arrays alone.
    formula : callable
        The same function in plain NumPy: the check compares with it, and second derivatives are its.
    name : str
        The name in the registry, in errors and drawings.
    **options
        ``samples``, on which the operation is checked, and whatever else `Op` takes.

    Returns
    -------
    Op
        The operation, to be called on arrays and Tensors.

    Raises
    ------
    ValueError
        If the name was declared elsewhere, or what is declared does not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.op import Sample, fused
    >>> def forward(x, y):
    ...     difference = x - y
    ...     return difference @ difference, difference
    >>> def joint(g, needed, out, difference, x, y):
    ...     part = 2 * g * difference
    ...     return part if needed[0] else None, -part if needed[1] else None
    >>> squared_distance = fused(
    ...     forward,
    ...     joint,
    ...     lambda x, y: np.sum((x - y) ** 2),
    ...     name="squared_distance",
    ...     samples=(Sample(((3,), (3,))),),
    ... )
    >>> x = Tensor([1.0, 4.0], requires_grad=True)
    >>> distance = squared_distance(x, np.array([0.0, 2.0]))
    >>> distance.backward()
    >>> distance.item(), x.grad
    (5.0, Tensor([2., 4.]))
    """
    return register(Op(name, forward, "fused", joint=joint, formula=formula, **options))


def constant(*ufuncs: np.ufunc) -> None:
    """Declare ufuncs that are piecewise constant, so that their results need no gradient."""
    for ufunc in ufuncs:
        register(Op(ufunc.__name__, ufunc, "constant"), ufunc)


def implements(*functions: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that makes its function what the given NumPy functions do on Tensors."""

    def declare(implementation: Callable[..., Any]) -> Callable[..., Any]:
        for function in functions:
            FUNCTIONS[function] = implementation
        implementation.__doc__ = implementation.__doc__ or functions[0].__doc__
        implementation.__qualname__ = _name(functions[0], None)  # what Python's own TypeErrors say
        return implementation

    return declare
