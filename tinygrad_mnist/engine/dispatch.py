"""NumPy's signatures: fit the arguments of a NumPy function to ours, and reject options without effect.

`tensor` receives what NumPy dispatches. Here stands what it does before it runs anything: arguments that were
given in NumPy's order and under NumPy's names become those of our function, and an option that a recorded
operation cannot honour raises by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NoReturn

import numpy as np

from tinygrad_mnist.engine.op import UNSUPPORTED

OPTIONS: Final[dict[str, str]] = {
    "out": "assign its result, as in t[...] = result; and an ndarray takes in place no Tensor that requires "
    "a gradient, so write a = a + t, or a += t.detach().numpy()",
    "where": "use np.where on the argument or on the result",
    "dtype": "convert the argument or the result with .astype(dtype)",
    "casting": "convert the arguments with .astype(dtype) first",
    "order": "Tensors promise no layout in memory; transpose before and after for Fortran's order",
    "subok": "leave it out: the result is a Tensor",
    "signature": "convert the arguments with .astype(dtype) first",
    "writeable": "leave it out: a Tensor is a value, not a view",
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
"""Values of options that have the same effect as leaving the option out."""


def raise_unsupported_option(name: str, option: str) -> NoReturn:
    """Raise a TypeError for an option that a recorded operation cannot honour; say what to write instead."""
    advice = OPTIONS.get(option, "leave it out, or use .detach().numpy() where no gradient is needed")
    raise TypeError(f"numpy.{name} on a Tensor does not take {option}=: {advice}")


@cache
def _signature(func: Any, function: Any) -> tuple[tuple[Any, ...], frozenset[str] | None, int]:
    """Return NumPy's parameters, our function's keywords (None: any), and how many positions they share."""
    try:
        theirs = tuple(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):
        theirs = ()  # an older NumPy's ufunc, or a method of one
    ours = tuple(inspect.signature(function).parameters.values())
    names = None if any(p.kind is p.VAR_KEYWORD for p in ours) else frozenset(p.name for p in ours)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    limit = sum(p.kind in positional for p in ours)
    if not theirs or any(p.kind is p.VAR_POSITIONAL for p in (*theirs, *ours)):
        return theirs, names, 1 << 30  # as many as one likes
    # Up to here both agree on what a position means. A later argument is passed by NumPy's name for it.
    common = 0
    while common < min(limit, len(theirs)) and (
        ours[common].name == theirs[common].name or theirs[common].kind is theirs[common].POSITIONAL_ONLY
    ):
        common += 1
    return theirs, names, common


def fit_arguments(
    func: Callable[..., Any],
    function: Callable[..., Any],
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Reorder arguments from NumPy's order to that of ``function``; raise for one that it lacks.

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
    theirs, names, common = _signature(func, function)
    if len(args) > common:
        if len(args) > len(theirs):
            raise TypeError(f"numpy.{name} takes {len(theirs)} arguments; {len(args)} were given")
        kwargs = {**{p.name: v for p, v in zip(theirs[common:], args[common:], strict=False)}, **kwargs}
        args = args[:common]
    if not kwargs:
        return args, {}
    kept = {}
    for option, value in kwargs.items():
        if value is np._NoValue:  # NumPy's mark of an option that was not given
            continue
        if names is None or option in names:
            kept[option] = value
        elif not is_default(option, value, theirs):
            raise_unsupported_option(name, option)
    return args, kept


def is_default(option: str, value: Any, theirs: tuple[Any, ...] = ()) -> bool:
    """Return whether a value is NumPy's default, or None, and so changes nothing."""
    if (
        value is None
        or value is np._NoValue
        or (type(value) is tuple and all(part is None for part in value))
    ):
        return True
    plain = [p.default for p in theirs if p.name == option and p.default is not p.empty]
    return isinstance(value, (bool, int, str)) and value in (*plain, *_DEFAULTS.get(option, ()))


def raise_no_gradient(name: str) -> NoReturn:
    """Raise a TypeError for a NumPy function without a gradient rule; say what to use instead."""
    advice = UNSUPPORTED.get(name, "compose it of functions that have one")
    raise TypeError(
        f"numpy.{name} has no gradient rule for Tensors; {advice}, or use .detach().numpy() where no "
        "gradient is needed"
    )


def check_options(name: str, kwargs: Mapping[str, Any]) -> None:
    """Raise for a keyword argument of a ufunc that a recorded operation cannot honour."""
    for option, value in kwargs.items():
        if not is_default(option, value):
            raise_unsupported_option(name, option)
