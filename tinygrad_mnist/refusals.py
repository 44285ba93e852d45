"""What is refused at the tape, and in which words: stale parameters, assignments through views."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, NoReturn

import numpy as np


def describe(arrays: Sequence[Any]) -> str:
    """Dtypes and shapes of arguments, for an error: ``float64 (3, 4), float64 (5,), 2.0``."""
    return ", ".join(
        f"{a.dtype} {a.shape}"
        if hasattr(a, "dtype") and hasattr(a, "shape")
        else f"[{describe(a)}]"
        if isinstance(a, (list, tuple))
        else repr(a)
        for a in arrays
    )


def blamed(error: Exception, name: str, arrays: Sequence[Any]) -> Exception:
    """An error of NumPy's as one that names the operation and its arguments."""
    kinds: tuple[type[Exception], ...] = (
        np.linalg.LinAlgError, np.exceptions.AxisError, IndexError, ValueError, TypeError,
    )  # fmt: skip
    kind = next(kind for kind in kinds if isinstance(error, kind))
    message = str(error).removeprefix(f"{name}: ").removeprefix(f"{name.split('.')[-1]}: ")
    return kind(f"{name}: {message} (arguments: {describe(arrays)})")


@contextmanager
def blaming(name: str, args: Sequence[Any]) -> Iterator[None]:
    """Let an error that names neither operation nor shapes do so."""
    try:
        yield
    except (ValueError, IndexError) as error:
        if "(arguments: " in str(error):
            raise
        raise blamed(error, name, args) from error


def as_array(value: Any) -> Any:
    """``np.asarray``, but for arrays that would be something else then: see `refuse_class`."""
    refuse_class(type(value))
    return np.asarray(value)


def refuse_class(kind: type) -> None:
    """Raise for a masked array, whose mask would be lost, and a matrix, whose ``*`` would be another."""
    if issubclass(kind, np.ma.MaskedArray):
        raise TypeError("a Tensor cannot take in a masked array; fill it first (array.filled(value))")
    if issubclass(kind, np.matrix):
        raise TypeError(
            "a Tensor cannot take in an np.matrix, whose * is a matrix product and a Tensor's is not; "
            "convert it with np.asarray(matrix), and multiply by @"
        )


def refuse_kind(array: Any, name: str) -> Any:
    """The array, unless it holds something else than real numbers and booleans."""
    if array.dtype.kind not in "fbiu":
        raise TypeError(
            f"{name} was given dtype {array.dtype}; expected real numbers or booleans: complex numbers, "
            "objects and strings are not supported"
        )
    return array


def refuse_freed(name: str) -> NoReturn:
    """Raise: a walk met a part of the tape that an earlier one has freed."""
    raise RuntimeError(
        f"backward met '{name}' on a part of the tape that an earlier backward has freed; call that backward "
        "with retain_graph=True, or compute the result again"
    )


def refuse_stale(node: Any) -> None:
    """Raise if a leaf among a node's parents was written to after the node recorded it."""
    for parent, array in zip(node.parents, node.arrays, strict=True):
        if getattr(parent, "written", 0) > node.time:
            name = f"parameter '{parent.name}'" if parent.name else "a Tensor"
            raise RuntimeError(
                f"{name} of shape {array.shape} was changed (by an optimiser or by '.data =') after "
                f"'{node.op.name}' recorded it, so this backward would mix old and new values; compute the "
                "result again after the change"
            )


def refuse_assignment(data: Any, origin: Any) -> None:
    """Raise if a Tensor cannot be assigned to: a leaf that requires a gradient, or a view of another.

    Parameters
    ----------
    data : ndarray
        Its values.
    origin : Node, Leaf or None
        Where it came from.
    """
    if hasattr(origin, "grad"):
        name = f"parameter '{origin.name}'" if origin.name else "a Tensor"
        raise TypeError(
            f"{name} of shape {data.shape} requires a gradient, so it cannot be assigned to; assign to a "
            "copy of it (.copy()), or to its .data where no gradient is meant"
        )
    arrays = getattr(origin, "arrays", None)
    if data.base is None or (arrays is not None and origin.op.name == "identity"):
        return
    is_view = not data.flags.writeable if arrays is None else any(_shares(data, array) for array in arrays)
    if is_view:
        how = "an index, a reshape or another view" if origin is None else f"'{origin.op.name}'"
        raise TypeError(
            f"a Tensor of shape {data.shape} was made by {how} and cannot be assigned to, as NumPy would "
            "write into the array behind it; assign to that one, as in t[i] = t[i] + v for t[i] += v, or to "
            "a copy (.copy())"
        )


def _shares(data: Any, array: Any) -> bool:
    return isinstance(array, np.ndarray) and np.may_share_memory(data, array)


def refuse_misfit(data: Any, result: Any) -> None:
    """Raise if an in-place operation would change the shape of a Tensor, or the kind of its dtype."""
    if result.shape != data.shape:
        raise ValueError(f"a Tensor of shape {data.shape} cannot become one of shape {result.shape} in place")
    if not np.can_cast(result.dtype, data.dtype, "same_kind"):
        raise TypeError(f"a Tensor of dtype {data.dtype} cannot become one of {result.dtype} in place")


def refuse_values(data: Any, origin: Any, array: Any) -> None:
    """Raise if ``array`` cannot become the ``.data`` of a Tensor of ``data`` that came from ``origin``."""
    if array.shape != data.shape:
        raise ValueError(f".data of shape {data.shape} was given shape {array.shape}; shapes must agree")
    if hasattr(origin, "op"):
        raise RuntimeError(
            f"the values of a result of '{origin.op.name}' cannot be replaced, as its tape would no longer "
            "describe them; use .detach() first"
        )
    if origin is not None and array.dtype.kind != "f":
        raise TypeError(f"a Tensor that requires a gradient was given dtype {array.dtype}; expected floats")


OPTIONS: Final[dict[str, str]] = {
    "out": "assign its result, as in t[...] = result; and an ndarray takes no Tensor in place, so write "
    "a = a + t, or a += t.detach().numpy()",
    "where": "use np.where on the argument or on the result",
    "dtype": "convert the argument or the result with .astype(dtype)",
    "casting": "convert the arguments with .astype(dtype) first",
    "order": "Tensors promise no layout in memory; transpose before and after for Fortran's order",
    "subok": "leave it out: the result is a Tensor",
    "signature": "convert the arguments with .astype(dtype) first",
    "like": "leave it out: the result is a Tensor",
    "device": "leave it out: Tensors are on the CPU",
    "axes": "move the axes with np.moveaxis first",
    "axis": "move the axis with np.moveaxis first",
    "keepdims": "use np.expand_dims on the result",
    "reflect_type": "for 'odd', subtract the 'even' padding from twice the edge",
}
"""What to write instead of an option that a recorded operation cannot honour."""

_DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "casting": ("same_kind", "safe"), "order": ("K",), "subok": (True, False), "where": (True,),
    "reflect_type": ("even",), "device": ("cpu",),
}  # fmt: skip
"""Values that say no more than leaving the option out would."""


def refuse_option(name: str, option: str) -> NoReturn:
    """Raise: an option that a recorded operation cannot honour."""
    advice = OPTIONS.get(option, "leave it out, or use .detach().numpy() where no gradient is needed")
    raise TypeError(f"numpy.{name} on a Tensor does not take {option}=: {advice}")


@cache
def _positions(func: Any, function: Any) -> tuple[tuple[Any, ...], frozenset[str] | None, int]:
    """NumPy's parameters, the keywords of ours (None: any), and how many positions the two have in common."""
    try:
        theirs = tuple(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):
        theirs = ()  # an older NumPy's ufunc, or a method of one
    ours = tuple(inspect.signature(function).parameters.values())
    names = None if any(p.kind is p.VAR_KEYWORD for p in ours) else frozenset(p.name for p in ours)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    limit = sum(p.kind in positional for p in ours)
    if not theirs or any(p.kind is p.VAR_POSITIONAL for p in (*theirs, *ours)):
        return theirs, names, 1 << 30
    common = 0
    while common < min(limit, len(theirs)) and (
        ours[common].name == theirs[common].name or theirs[common].kind is theirs[common].POSITIONAL_ONLY
    ):
        common += 1
    return theirs, names, common


def fitted(
    func: Callable[..., Any],
    function: Callable[..., Any],
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments in NumPy's order as those of ``function``; others are refused by name.

    Parameters
    ----------
    func, function : callable
        NumPy's function, and what runs in its place on Tensors.
    name : str
        What errors call it.
    args, kwargs : tuple, mapping
        The arguments, as NumPy takes them.

    Returns
    -------
    tuple, dict
        The arguments, without those that say what NumPy's defaults do.

    Raises
    ------
    TypeError
        If an option would have an effect that a recorded operation cannot have.
    """
    theirs, names, common = _positions(func, function)
    if len(args) > common:
        if len(args) > len(theirs):
            raise TypeError(f"numpy.{name} takes {len(theirs)} arguments; {len(args)} were given")
        kwargs = {**{p.name: v for p, v in zip(theirs[common:], args[common:], strict=False)}, **kwargs}
        args = args[:common]
    if not kwargs:
        return args, {}
    kept = {}
    for option, value in kwargs.items():
        if value is np._NoValue:
            continue
        if names is None or option in names:
            kept[option] = value
        elif not says_nothing(option, value, theirs):
            refuse_option(name, option)
    return args, kept


def says_nothing(option: str, value: Any, theirs: tuple[Any, ...] = ()) -> bool:
    """Whether a value is the default of NumPy, or None."""
    if (
        value is None
        or value is np._NoValue
        or (type(value) is tuple and all(part is None for part in value))
    ):
        return True
    plain = [p.default for p in theirs if p.name == option and p.default is not p.empty]
    return isinstance(value, (bool, int, str)) and value in (*plain, *_DEFAULTS.get(option, ()))
