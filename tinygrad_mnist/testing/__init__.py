"""Checks of gradients: ``gradcheck`` for a function, ``check_op`` for a declared operation.

``gradcheck`` needs NumPy alone. ``check_op`` and ``strategies`` draw inputs with Hypothesis, which comes
with ``pip install 'tinygrad_mnist[testing]'``. A pytest plugin offers ``gradcheck`` as a fixture, and the
Hypothesis profiles ``fast``, ``ci`` and ``thorough``. The names are loaded when they are first used, as the
plugin is part of every session of pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygrad_mnist.testing import strategies
    from tinygrad_mnist.testing.gradient_check import gradcheck
    from tinygrad_mnist.testing.properties import check_op
    from tinygrad_mnist.testing.report import Entry, GradientError, Report

__all__ = ["Entry", "GradientError", "Report", "check_op", "gradcheck", "strategies"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tinygrad_mnist.testing' has no attribute {name!r}")
    try:
        value = _loaded(name)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ModuleNotFoundError(
            f"tinygrad_mnist.testing.{name} draws its inputs with Hypothesis, which is not installed: "
            "pip install 'tinygrad_mnist[testing]'",
            name=error.name,
        ) from error
    globals()[name] = value
    return value


def _loaded(name: str) -> Any:
    if name == "strategies":
        return import_module("tinygrad_mnist.testing.strategies")
    if name == "check_op":
        return import_module("tinygrad_mnist.testing.properties").check_op
    if name == "gradcheck":
        return import_module("tinygrad_mnist.testing.gradient_check").gradcheck
    return getattr(import_module("tinygrad_mnist.testing.report"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
