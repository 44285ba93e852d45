"""Lowering: each operation as instructions, those that a loop can spell where there are such.

An elementwise ufunc is one instruction, in the dtype that NumPy would compute in. Other operations have a
formula here, in NumPy on Tensors, or their own forward is one. What has none is a call of NumPy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.compiler.program import ELEMENTWISE, REDUCTIONS, VIEWS
from tinygrad_mnist.compiler.symbols import Symbol
from tinygrad_mnist.engine.observe import observed_by, users_line
from tinygrad_mnist.engine.op import Op
from tinygrad_mnist.engine.tape import Node, boundary, recording
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.engine.walk import _fit, walk

Tracing = Any  # `trace.Tracer`, which stands above


def lower(tracing: Tracing, op: Op, arrays: Sequence[Any], static: Mapping[str, Any]) -> Any:
    """Write what an operation computes; return the symbol of its result, or a tuple of several."""
    if (special := _SPECIAL.get(op.name)) is not None:
        result = special(tracing, arrays, static)
        if result is not None:
            return result
    if isinstance(op.forward, np.ufunc) and op.forward.__name__ in ELEMENTWISE:
        return ufunc(tracing, op.forward, arrays)
    formula = FORMULAS.get(op.name) or (op.forward if op.kind == "elementwise" else None)
    # A forward that calls its own operation is none of simpler ones.
    if formula is not None and not isinstance(formula, np.ufunc) and op.name not in tracing.lowering:
        tracing.lowering.append(op.name)
        try:
            with suppress(JitError, TypeError, ValueError, AttributeError):  # it is no formula of Tensors
                return by_formula(tracing, formula, arrays, static)
            tracing.refused = None
        finally:
            tracing.lowering.pop()
    return call(tracing, op.name, op.forward, arrays, static, own=True, joint=op.joint is not None)


def by_formula(
    tracing: Tracing, formula: Callable[..., Any], arrays: Sequence[Any], static: Mapping[str, Any]
) -> Symbol:
    """Run a formula on Tensors of the arguments, off the tape."""
    token = recording.set(False)
    try:
        given = [_lift(array, None) if isinstance(array, Symbol) else array for array in arrays]
        return tracing.symbol(formula(*given, **static))  # type: ignore[no-any-return]
    finally:
        recording.reset(token)


# ---- elementwise -----------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _loop_dtypes(function: np.ufunc, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the dtypes of the loop that NumPy runs for arguments of some dtypes, and of Python's types."""
    return function.resolve_dtypes((*kinds, *[None] * function.nout))


def ufunc(tracing: Tracing, function: np.ufunc, arrays: Sequence[Any]) -> Symbol:
    """Write an elementwise ufunc."""
    kinds: list[Any] = []
    are_numbers = True
    for array in arrays:
        if type(array) is Symbol and not array.weak:
            kinds.append(array.value.dtype)
            are_numbers = False
        elif isinstance(array, (bool, np.bool_)):
            kinds.append(np.dtype(bool))
            are_numbers = False
        else:
            kinds.append(float if type(array) is Symbol else type(array))
    if are_numbers:  # of Python's numbers alone: there is none to follow
        dtypes = _loop_dtypes(function, tuple(np.dtype(kind) for kind in kinds))
        weak = all(not isinstance(array, Symbol) or array.weak for array in arrays)
    else:
        dtypes, weak = _loop_dtypes(function, tuple(kinds)), False
    if dtypes[-1] == np.bool_ and any(map(_is_out_of_range, arrays, dtypes)):
        examples = [np.zeros((), a.dtype) if isinstance(a, Symbol) else a for a in arrays]  # as for others
        answer = Symbol(tracing.builder.constant(function(*examples)))
        return _broadcast_to(tracing, [answer], {"shape": np.broadcast_shapes(*map(np.shape, arrays))})
    inputs = [cast(tracing, tracing.symbol(a, d), d) for a, d in zip(arrays, dtypes, strict=False)]
    shape = _broadcast_shape(*[one.shape for one in inputs])
    result = instruction(tracing, function.__name__, inputs, shape, dtypes[-1], {}, function)
    result.weak = weak and result.dtype == np.float64
    return result


def _is_out_of_range(number: Any, dtype: Any) -> bool:
    """Return whether a Python number is one that an integer dtype cannot hold, as -100 of unsigned ones."""
    if type(number) is not int or dtype.kind not in "iu":
        return False
    info = np.iinfo(dtype)
    return not info.min <= number <= info.max


def _broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape to which some shapes broadcast."""
    longest = max(shapes, key=len)
    for shape in shapes:
        if shape and shape != longest:
            return np.broadcast_shapes(*shapes)
    return longest


def instruction(
    tracing: Tracing,
    name: str,
    inputs: Sequence[Symbol],
    shape: Sequence[int],
    dtype: Any,
    static: Mapping[str, Any],
    run: Callable[..., Any],
    *,
    key: Any = (),
) -> Symbol:
    """Write an instruction of one result that a loop can spell."""
    (value,) = tracing.builder.instruction(
        name, [one.value for one in inputs], [(tuple(shape), dtype)], static, run, line=tracing.line, key=key
    )
    return Symbol(value)


def cast(tracing: Tracing, symbol: Symbol, dtype: Any) -> Symbol:
    """Return a symbol in another dtype."""
    if symbol.dtype is dtype or symbol.dtype == dtype:
        return symbol
    dtype = np.dtype(dtype)
    return instruction(
        tracing, "astype", [symbol], symbol.shape, dtype, {}, lambda x: np.asarray(x).astype(dtype)
    )


def _astype(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    dtype = static.get("dtype")
    return None if dtype is None else cast(tracing, tracing.symbol(arrays[0]), dtype).copy()


def _where(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    condition, *choices = arrays
    kinds = [
        np.zeros((), c.dtype) if isinstance(c, Symbol) and not c.weak else 0.0 if isinstance(c, Symbol) else c
        for c in choices
    ]
    dtype = np.result_type(*kinds)
    chooser = tracing.symbol(condition, bool)
    if chooser.dtype != np.bool_:
        chooser = ufunc(tracing, np.not_equal, [chooser, 0])
    inputs = [chooser, *(cast(tracing, tracing.symbol(choice, dtype), dtype) for choice in choices)]
    shape = np.broadcast_shapes(*(one.shape for one in inputs))
    return instruction(tracing, "where", inputs, shape, dtype, {}, np.where)


def _power(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    """Write a power with a Python number as NumPy does: by a square, a root or a reciprocal."""
    base, exponent = arrays
    if not isinstance(base, Symbol) or base.dtype.kind != "f":
        return None
    if isinstance(exponent, Symbol):
        return ufunc(tracing, np.power, arrays)
    known = {2: np.square, 0.5: np.sqrt, 1: np.positive, -1: np.reciprocal}
    if exponent in known:
        return ufunc(tracing, known[exponent], [base])
    if exponent == 3:
        return ufunc(tracing, np.multiply, [ufunc(tracing, np.square, [base]), base])
    return ufunc(tracing, np.power, arrays)


# ---- reductions ------------------------------------------------------------------------------------------


def _axes(symbol: Symbol, axis: Any) -> tuple[int, ...]:
    return (
        tuple(range(symbol.ndim)) if axis is None else tuple(sorted(normalize_axis_tuple(axis, symbol.ndim)))
    )


def _reduced_shape(symbol: Symbol, axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    if keepdims:
        return tuple(1 if axis in axes else length for axis, length in enumerate(symbol.shape))
    return tuple(length for axis, length in enumerate(symbol.shape) if axis not in axes)


@lru_cache(maxsize=256)
def _dtype_of_reduction(function: Callable[..., Any], dtype: np.dtype[Any]) -> np.dtype[Any]:
    found: np.dtype[Any] = function(np.ones(1, dtype)).dtype
    return found


def reduction(tracing: Tracing, name: str, symbol: Symbol, axis: Any, keepdims: bool) -> Symbol:
    """Write a sum, a product or an extreme over some axes."""
    axes = _axes(symbol, axis)
    function = getattr(np, name)
    dtype = _dtype_of_reduction(function, symbol.dtype)
    if not axes:
        return cast(tracing, symbol, dtype).copy()
    if name in ("max", "min") and any(symbol.shape[a] == 0 for a in axes):
        function(np.empty(symbol.shape, symbol.dtype), axis=axes)  # raises, as NumPy does
    if name not in ("any", "all"):
        symbol = cast(tracing, symbol, dtype)
    static = {
        "axis": axes,
        "keepdims": False,
    }  # axes that are kept are put back by a reshape, which costs nothing
    run = partial(function, axis=axes)
    out = instruction(tracing, name, [symbol], _reduced_shape(symbol, axes, False), dtype, static, run)
    return _reshape(tracing, [out], {"shape": _reduced_shape(symbol, axes, True)}) if keepdims else out


def _reducer(name: str) -> Callable[..., Symbol]:
    def write(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
        symbol = tracing.symbol(arrays[0])
        half = symbol.dtype == np.float16 and name == "sum"
        if half:
            symbol = cast(tracing, symbol, np.float32)
        out = reduction(tracing, name, symbol, static.get("axis"), static.get("keepdims", False))
        return cast(tracing, out, np.float16) if half else out

    return write


def _mean(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    symbol = tracing.symbol(arrays[0])
    dtype = symbol.dtype if symbol.dtype.kind == "f" else np.dtype(np.float64)
    wide = cast(tracing, symbol, np.float32 if dtype == np.float16 else dtype)
    total = reduction(tracing, "sum", wide, static.get("axis"), static.get("keepdims", False))
    count = symbol.size // max(total.size, 1)
    mean = ufunc(tracing, np.divide, [total, float(count) if count else np.nan])
    return cast(tracing, mean, dtype)


# ---- views -----------------------------------------------------------------------------------------------


def _reshape(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    symbol = tracing.symbol(arrays[0])
    shape = static["shape"]
    if type(shape) is not tuple or math.prod(shape) != symbol.size or min(shape, default=0) < 0:
        shape = np.broadcast_to(np.empty(()), symbol.shape).reshape(shape).shape
    return instruction(tracing, "reshape", [symbol], shape, symbol.dtype, {}, lambda x: np.reshape(x, shape))


def _transpose(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    symbol: Symbol = tracing.symbol(arrays[0])
    axes = static.get("axes")
    axes = tuple(range(symbol.ndim))[::-1] if axes is None else normalize_axis_tuple(axes, symbol.ndim)
    if axes == tuple(range(symbol.ndim)):
        return symbol.copy()
    shape = [symbol.shape[axis] for axis in axes]
    return instruction(
        tracing, "transpose", [symbol], shape, symbol.dtype, {"axes": tuple(axes)},
        lambda x: np.transpose(x, axes),
    )  # fmt: skip


def _broadcast_to(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    symbol = tracing.symbol(arrays[0])
    shape: tuple[int, ...] = np.broadcast_to(
        np.broadcast_to(np.empty(()), symbol.shape), static["shape"]
    ).shape
    return instruction(
        tracing, "broadcast_to", [symbol], shape, symbol.dtype, {}, lambda x: np.broadcast_to(x, shape)
    )


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, slice) or type(part) is int for part in parts
    ) and not any(isinstance(part, bool) for part in parts)


def _getitem(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    symbol: Symbol = tracing.symbol(arrays[0])
    index = static["index"]
    parts = index if isinstance(index, tuple) else (index,)
    index = tuple(int(part) if isinstance(part, np.integer) else part for part in parts)
    if not _is_basic(index) or any(isinstance(part, slice) and (part.step or 1) < 0 for part in index):
        return None  # NumPy turns an axis around: LLVM's vectoriser stumbles over loops that run backwards
    shape = np.broadcast_to(np.empty(()), symbol.shape)[index].shape
    if shape == symbol.shape and all(part is Ellipsis or part == slice(None) for part in index):
        return symbol.copy()
    return instruction(
        tracing, "getitem", [symbol], shape, symbol.dtype, {"index": index}, lambda x: x[index]
    )


def _set_at(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    symbol, index = tracing.symbol(arrays[0]), static["index"]
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in parts):
        return None
    value = cast(tracing, tracing.symbol(arrays[1], symbol.dtype), symbol.dtype)
    return _broadcast_to(tracing, [value], {"shape": symbol.shape})


STACKED: Final = 4
"""The most arrays whose stack is written as a choice by place; of more, NumPy copies faster."""


def _concatenate(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    """Write a stack of a few arrays, each of length 1 along the axis, as a choice between them."""
    symbols = [tracing.symbol(array) for array in arrays]
    shape, count = symbols[0].shape, len(symbols)
    axis = static["axis"] % len(shape) if shape else 0
    is_stack = shape[axis : axis + 1] == (1,) and all(one.shape == shape for one in symbols)
    if not is_stack or not 1 < count <= STACKED:
        return None
    places = np.arange(count).reshape(tuple(count if i == axis else 1 for i in range(len(shape))))
    result: Symbol = symbols[-1]
    for number in reversed(range(count - 1)):
        here = Symbol(tracing.builder.constant(places == number))
        result = _where(tracing, [here, symbols[number], result], {})
    return result


def _scatter_add(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol | None:
    """Write the transpose of a choice along the first axis: zeros, but in that place."""
    symbol, index, shape = tracing.symbol(arrays[0]), static["index"], static["shape"]
    if type(index) is not int or not 1 < shape[0] <= STACKED or symbol.dtype.kind != "f":
        return None
    places = np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1)) == index % shape[0]
    placed = _reshape(tracing, [symbol], {"shape": (1, *shape[1:])})
    return _where(tracing, [Symbol(tracing.builder.constant(places)), placed, 0.0], {})


def _matmul(tracing: Tracing, arrays: Sequence[Any], static: Mapping[str, Any]) -> Symbol:
    one, other = map(tracing.symbol, arrays)
    dtype = np.result_type(one.dtype, other.dtype)
    rows, columns = list(one.shape), list(other.shape)
    inner = -min(2, len(columns))
    if rows[-1:] == columns[inner:][:1]:  # the sums are left out, as it is for the shape alone
        rows[-1] = columns[inner] = 0
    shape = np.matmul(*(np.broadcast_to(np.zeros((), bool), each) for each in (rows, columns))).shape
    inputs = [cast(tracing, each, dtype) for each in (one, other)]
    return instruction(tracing, "matmul", inputs, shape, dtype, {}, np.matmul)


_SPECIAL: Final[dict[str, Callable[..., Symbol | None]]] = {
    "astype": _astype, "where": _where, "power": _power, "sum": _reducer("sum"), "max": _reducer("max"),
    "min": _reducer("min"), "mean": _mean, "reshape": _reshape, "transpose": _transpose,
    "broadcast_to": _broadcast_to, "getitem": _getitem, "set_at": _set_at, "matmul": _matmul,
    "concatenate": _concatenate, "scatter_add": _scatter_add,
    "identity": lambda tracing, arrays, static: tracing.symbol(arrays[0]).copy(),
}  # fmt: skip
"""Operations that are written by a function of their own; None leaves an odd case to NumPy."""


def _softmax(x: Any, axis: Any) -> Any:
    powers = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return powers / np.sum(powers, axis=axis, keepdims=True)


def _log_softmax(x: Any, axis: Any) -> Any:
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def _var(x: Any, axis: Any, ddof: int, keepdims: bool) -> Any:
    apart = x - np.mean(x, axis=axis, keepdims=True)
    count = x.size // max(np.mean(x, axis=axis).size, 1)
    return np.sum(np.square(apart), axis=axis, keepdims=keepdims) / max(count - ddof, 0)


FORMULAS: Final[dict[str, Callable[..., Any]]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
}
"""Operations whose forward is faster than plain for NumPy, and plain here."""


# ---- calls of NumPy --------------------------------------------------------------------------------------


_SPELLED: Final = ELEMENTWISE | REDUCTIONS | VIEWS | {"matmul"}
"""The names that a loop has a meaning for."""


class _Hole:
    """The place of a symbol in the arguments of a call."""

    def __init__(self, position: int) -> None:
        self.position = position

    def __repr__(self) -> str:
        return f"<{self.position}>"


def _with_holes(tree: Any, found: list[Symbol]) -> Any:
    if isinstance(tree, Tensor):
        tree = tree._array
    if isinstance(tree, Symbol):
        found.append(tree)
        return _Hole(len(found) - 1)
    if type(tree) in (list, tuple):
        return type(tree)(_with_holes(part, found) for part in tree)
    if isinstance(tree, dict):
        return {key: _with_holes(part, found) for key, part in tree.items()}
    return tree


def _filled(tree: Any, arrays: Sequence[Any]) -> Any:
    if isinstance(tree, _Hole):
        return arrays[tree.position]
    if type(tree) in (list, tuple):
        return type(tree)(_filled(part, arrays) for part in tree)
    if isinstance(tree, dict):
        return {key: _filled(part, arrays) for key, part in tree.items()}
    return tree


def call(
    tracing: Tracing,
    name: str,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    own: bool = False,
    joint: bool = False,
    like: Any = None,
) -> Any:
    """Write a call of a Python function on arrays, which runs between two loops.

    Parameters
    ----------
    own : bool
        Whether the arguments may be symbolised: Python's numbers stay weak.
    joint : bool
        Whether it is the forward of a fused operation, which returns what its rule needs beside the result.
    like : tuple of arrays, optional
        What the results look like, if that is known without a run.
    """
    found: list[Symbol] = []
    args, kwargs = _with_holes(tuple(args), found), _with_holes(dict(kwargs), found)

    def run(*arrays: Any) -> Any:
        out = function(*_filled(args, arrays), **_filled(kwargs, arrays))
        return out[0] if joint else out

    if like is None:
        like = _looks(name, run, found)
    several = isinstance(like, (tuple, list))
    likes = [np.asarray(one) for one in (like if several else (like,))]
    values = tracing.builder.instruction(
        f"call {name}" if name in _SPELLED else name,
        [one.value for one in found],
        [(one.shape, one.dtype) for one in likes],
        {"args": args, **kwargs},
        run,
        line=tracing.line,
        key=function,  # not its name: a rule for each argument is another function
    )
    symbols = tuple(map(Symbol, values))
    if not several:
        return symbols[0]
    return type(like)(*symbols) if hasattr(like, "_fields") else type(like)(symbols)


def outside(
    tracing: Tracing,
    name: str,
    run: Callable[..., Any],
    symbols: Sequence[Symbol],
    static: Mapping[str, Any],
    refuse: Callable[[], None] | None = None,
) -> tuple[Symbol, ...]:
    """Write a call that has an effect, and whose results look as its arguments do.

    Each such call is made, in its order. The other arguments are those of an `Instruction`.
    """
    tracing.noted += 1  # so that nobody takes it for one that was made before
    values, looks = [one.value for one in symbols], [(one.shape, one.dtype) for one in symbols]
    made = tracing.builder.instruction(
        name, values, looks, static, run, line=tracing.line, effect=True, refuse=refuse
    )
    return tuple(map(Symbol, made))


def _looks(name: str, run: Callable[..., Any], symbols: Sequence[Symbol]) -> Any:
    """Return results for examples of the arguments; raise if their shape depends on the values."""
    with np.errstate(all="ignore"), warnings.catch_warnings(), observed_by(None):
        warnings.simplefilter("ignore")
        like = run(*map(_example, symbols))
        other = like
        with suppress(Exception):  # the function may not be defined there
            other = run(*map(_other_example, symbols))
    if _shapes(like) != _shapes(other):
        raise JitError(
            f"the shape of what {name} returns depends on values, at {users_line()}; a program needs to know "
            "it: choose by np.where, and keep the shape"
        )
    return like


def _shapes(tree: Any) -> Any:
    return [np.shape(one) for one in (tree if isinstance(tree, (tuple, list)) else (tree,))]


def _other_example(symbol: Symbol) -> Any:
    """Return another array that looks like a symbol."""
    return np.full(symbol.shape, symbol.dtype.kind == "b", symbol.dtype)


def _example(symbol: Symbol) -> Any:
    """Return an array that looks like a symbol, on which most functions are defined."""
    if symbol.dtype.kind != "f":
        return np.zeros(symbol.shape, symbol.dtype)
    if symbol.ndim >= 2 and symbol.shape[-1] == symbol.shape[-2]:
        return np.broadcast_to(np.diag(np.linspace(1, 2, symbol.shape[-1])), symbol.shape).astype(
            symbol.dtype
        )
    return np.ones(symbol.shape, symbol.dtype)


_FACTS: Final = frozenset(
    {
        np.shape, np.ndim, np.size, np.result_type, np.can_cast, np.common_type, np.min_scalar_type,
        np.zeros_like, np.ones_like, np.empty_like, np.isrealobj, np.iscomplexobj, np.may_share_memory,
        np.shares_memory, np.full_like,
    }
)  # fmt: skip
"""Functions that ask for the shape or dtype alone: they are answered while tracing."""


def numpy_call(tracing: Tracing, function: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Write a call of a NumPy function on symbols, or answer it where it asks for no value."""
    if function in (np.all, np.any) and len(args) == 1 and isinstance(args[0], Symbol):
        options = {key: value for key, value in kwargs.items() if value is not np._NoValue}
        if options.keys() <= {"axis", "keepdims"}:
            symbol = args[0]
            if symbol.dtype != np.bool_:
                symbol = ufunc(tracing, np.not_equal, [symbol, 0])
            return reduction(
                tracing, function.__name__, symbol, options.get("axis"), options.get("keepdims", False)
            )
    if function in _FACTS:
        found: list[Symbol] = []
        holes = _with_holes((tuple(args), dict(kwargs)), found)
        examples = [np.broadcast_to(np.zeros((), one.dtype), one.shape) for one in found]
        args, kwargs = _filled(holes, examples)
        return function(*args, **kwargs)
    return call(tracing, getattr(function, "__name__", "call"), function, args, kwargs)


def rule_call(
    tracing: Tracing,
    op: Op,
    rule: Callable[..., Any],
    g: Any,
    out: Any,
    arguments: Sequence[Any],
    static: Mapping[str, Any],
    array: Any,
) -> Any:
    """Write a gradient rule as a call on arrays: one that looks at values cannot be traced."""
    like = np.broadcast_to(np.zeros((), array.dtype), array.shape)

    def run(g: Any, out: Any, *arrays: Any, **options: Any) -> Any:
        part = rule(g, out, *arrays, **options)
        part = np.zeros_like(like) if part is None else np.asarray(part)
        fits = part.shape == like.shape and part.dtype == like.dtype
        return part if fits else _fit(op, part, like)

    return call(tracing, f"gradient of {op.name}", run, (g, out, *arguments), static, like=like)


def joint_call(tracing: Tracing, node: Any, g: Any) -> Sequence[Any]:
    """Write the joint rule of a fused operation, whose formula cannot be traced, as a call on arrays."""
    op, arrays = node.op, node.arrays
    needed = [parent is not None for parent in node.parents]

    def run(g: Any, *arguments: Any, **static: Any) -> Any:
        out, saved = op.forward(*arguments, **static)
        parts = op.joint(g, needed, out, saved, *arguments, **static)
        return tuple(
            np.zeros(np.shape(a), np.asarray(a).dtype) if part is None else part
            for part, a in zip(parts, arguments, strict=True)
        )

    likes = tuple(np.broadcast_to(np.zeros((), a.dtype), a.shape) for a in arrays)
    found: Sequence[Any] = call(tracing, f"gradient of {op.name}", run, (g, *arrays), node.static, like=likes)
    return found


def as_arrays(result: Any) -> Any:
    """Return the arrays of a result of Tensors."""
    if isinstance(result, (tuple, list)):
        return tuple(map(as_arrays, result))
    return result._array if isinstance(result, Tensor) else np.asarray(result)


def pulled_back(
    tracing: Tracing,
    name: str,
    function: Callable[..., Any],
    position: int,
    g: Any,
    out: Any,
    arrays: Sequence[Any],
) -> Any:
    """Write the cotangent of an argument of a function of Tensors, by a walk over its tape between loops."""
    if any(isinstance(one, Tensor) for one in (g, *arrays)):
        raise JitError(
            f"{name} looks at values, so a jitted function cannot differentiate it twice, at {users_line()}"
        )
    like = np.broadcast_to(np.zeros((), arrays[position].dtype), arrays[position].shape)

    def run(g: Any, *given: Any) -> Any:
        under = [boundary(array) for array in given]
        token = recording.set(True)
        try:
            result = function(*map(_lift, given, under))
        finally:
            recording.reset(token)
        if not isinstance(result.origin, Node):
            return np.zeros(like.shape, like.dtype)
        arrived = walk([(result.origin, g)], _lift, targets=under)
        return arrived.get(under[position], np.zeros(like.shape, like.dtype))

    return call(tracing, f"gradient of {name}", run, (g, *arrays), {}, like=like)
