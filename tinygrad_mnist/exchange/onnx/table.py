"""The table of converters: for each operation a function that writes it in ONNX's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = ["CONVERTERS", "MODULES", "converts", "converts_module"]

Converter = Callable[..., Any]
"""``converter(build, *arguments, **static)``, the signature of the operation with the builder in front.

Arguments are `Value`. Options are as the operation takes them, with a `Value` in the place of an array that
was computed from the inputs, and a `Size` in the place of a number that follows from the batch size. It
returns a `Value`, or a tuple of them; their shapes and dtypes are in ``build.results``."""

CONVERTERS: Final[dict[str, Converter]] = {}
"""By the name of the operation in `engine.op.REGISTRY`. Of an operation that is not here, and has a formula,
the formula is written; one without is refused by name."""

MODULES: Final[dict[type, tuple[Callable[..., bool], Converter]]] = {}
"""By the class of a module that one operator of ONNX computes: whether it does so with the options of this
module and for these arguments, ``can(module, *arguments)``, and ``converter(build, module, *arguments)``."""


def converts(*names: str) -> Callable[[Converter], Converter]:
    """Return a decorator that makes its function the converter of some operations.

    Parameters
    ----------
    *names : str
        The names of the operations in the registry.

    Returns
    -------
    callable
        The decorator. The function is called as ``converter(build, *arguments, **options)``, with the
        arguments and options of the operation; ``build.node("Softsign", x)`` adds a node of ONNX and returns
        its result, ``build.constant(array)`` a constant, and ``raise build.refuse("...")`` refuses the call.

    Examples
    --------
    >>> from tinygrad_mnist.exchange.onnx.table import CONVERTERS
    >>> @converts("softsign")
    ... def softsign(build, x):
    ...     return build.node("Softsign", x)
    >>> CONVERTERS.pop("softsign") is softsign
    True
    """

    def enter(converter: Converter) -> Converter:
        for name in names:
            CONVERTERS[name] = converter
        return converter

    return enter


def converts_module(*classes: type, can: Callable[..., bool]) -> Callable[[Converter], Converter]:
    """Return a decorator that makes its function the converter of whole modules of some classes."""

    def enter(converter: Converter) -> Converter:
        for each in classes:
            MODULES[each] = can, converter
        return converter

    return enter
