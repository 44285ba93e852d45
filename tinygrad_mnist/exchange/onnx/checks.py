"""Checks of what `onnx.save` is given, before anything is run for it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.files import require_writable, write_error

__all__ = ["check_given", "check_parameters"]

SUFFIX: Final = ".onnx"


def check_given(
    model: Any,
    path: Any,
    standardizer: Any,
    dynamic: Any,
    names: Mapping[str, Any],
    metadata: Any,
    description: Any,
) -> None:
    """Raise an ExportError with a sentence for an argument of another kind than `onnx.save` takes.

    Parameters
    ----------
    model, path, standardizer, dynamic, metadata, description
        As `onnx.save` takes them.
    names : mapping
        The sequences of names, or None, by the argument that they were given for.
    """
    _check_model(model)
    _check_path(path)
    if standardizer is not None and not isinstance(standardizer, Standardizer):
        raise ExportError(f"standardizer={standardizer!r} was given; expected a Standardizer")
    if not isinstance(dynamic, (bool, str)):
        _check_texts("dynamic", dynamic, "True, False, or the names of inputs")
    for argument, given in names.items():
        if given is not None:
            _check_texts(argument, given, "a sequence of names")
    if not (metadata is None or isinstance(metadata, Mapping)):
        raise ExportError(f"metadata={metadata!r} was given; expected a dict of texts")
    if not isinstance(description, str):
        raise ExportError(f"description={description!r} was given; expected a text")


def _check_model(model: Any) -> None:
    if any(base.__module__.startswith("torch.") for base in type(model).__mro__):
        raise ExportError(
            f"the model is PyTorch's ({type(model).__name__}), which this package does not run; write it by "
            "torch.onnx.export, or load its weights into the same model of tinygrad_mnist.nn"
        )
    if not callable(model):
        raise ExportError(
            f"a model of type {type(model).__name__} was given; expected a Module, or a function of arrays"
        )


def _check_path(path: Any) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise ExportError(f"path={path!r} was given; expected the name of a file")
    if Path(path).suffix.lower() != SUFFIX:
        raise ExportError(f"{os.fspath(path)} has no suffix of a file of ONNX; name it with {SUFFIX}")
    if Path(path).is_dir():
        raise ExportError(f"{os.fspath(path)} is a directory; name a file in it")
    try:
        require_writable(path)
    except OSError as error:
        raise ExportError(write_error(path, error)) from error


def _check_texts(argument: str, given: Any, expected: str) -> None:
    """Raise an ExportError unless texts were given, none of them empty."""
    is_text = isinstance(given, Iterable) and not isinstance(given, str)
    texts: Sequence[Any] = list(given) if is_text else []
    if not is_text or not all(isinstance(each, str) and each for each in texts):
        raise ExportError(f"{argument}={given!r} was given; expected {expected}, none of them empty")


def check_parameters(arrays: Mapping[str, Any]) -> None:
    """Raise an ExportError that names the first parameter with NaN.

    Infinity is taken: a mask may hold it.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            count = int(np.isnan(array).sum())
            raise ExportError(
                f"the parameter {name!r} holds NaN ({count} of {array.size} numbers), and so would the file; "
                "load weights that are numbers: a training that diverged leaves none"
            )
