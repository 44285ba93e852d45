"""Checks of gradients: ``gradcheck`` for a function, ``check_op`` for a declared operation.

``gradcheck`` needs NumPy alone. ``check_op`` and ``strategies`` draw inputs with Hypothesis, which comes
with ``pip install 'tinygrad_mnist[testing]'`` and is imported when they are first used. A pytest plugin
offers ``gradcheck`` as a fixture, and the Hypothesis profiles ``fast``, ``ci`` and ``thorough``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tinygrad_mnist.testing.gradcheck import gradcheck
from tinygrad_mnist.testing.report import Entry, GradientError, Report

if TYPE_CHECKING:
    from tinygrad_mnist.testing import strategies
    from tinygrad_mnist.testing.properties import check_op

__all__ = ["Entry", "GradientError", "Report", "check_op", "gradcheck", "strategies"]


def __getattr__(name: str) -> Any:
    if name not in ("check_op", "strategies"):
        raise AttributeError(f"module 'tinygrad_mnist.testing' has no attribute {name!r}")
    try:
        strategies = importlib.import_module("tinygrad_mnist.testing.strategies")
        properties = importlib.import_module("tinygrad_mnist.testing.properties")
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ModuleNotFoundError(
            f"tinygrad_mnist.testing.{name} draws its inputs with Hypothesis, which is not installed: "
            "pip install 'tinygrad_mnist[testing]'",
            name=error.name,
        ) from error
    return strategies if name == "strategies" else properties.check_op
