"""What ``gradcheck`` was asked to check: operations by name, and what a file of the user's defines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from tinygrad_mnist.training.errors import RecipeError, TrainingError


@dataclass(frozen=True)
class Subject:
    """One line of the table: a name, and how to check it."""

    name: str
    check: Callable[[int, int, str], Any]


def find_subjects(names: Sequence[str]) -> list[Subject]:
    """The operations of these names, each once, or all that have a gradient.

    Raises
    ------
    RecipeError
        If there is no such operation, file or function (the sentence names the nearest), or if the file
        cannot be loaded.
    ModuleNotFoundError
        If Hypothesis is not installed.
    """
    import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
    from tinygrad_mnist import testing
    from tinygrad_mnist.engine.op import REGISTRY

    _ = testing.strategies  # says how to install Hypothesis
    known = {name: op for name, op in REGISTRY.items() if op.kind != "constant"}
    if not names:
        return [_of_op(op, op.name) for op in known.values()]
    subjects = []
    for name in dict.fromkeys(names):
        if ".py:" in name:
            subjects.append(_of_file(name))
        elif name.endswith(".py"):
            raise RecipeError(f"{name} is a file; say what in it to check: {_offer(_load(name))}")
        elif name in known:
            subjects.append(_of_op(known[name], name))
        elif name in REGISTRY:
            raise RecipeError(f"{name} is piecewise constant: it has no gradient to check")
        else:
            near = get_close_matches(name, known, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "without names all are checked"
            raise RecipeError(f"there is no operation {name!r} with a gradient; {hint}")
    return subjects


def _of_op(op: Any, name: str) -> Subject:
    from dataclasses import replace

    from tinygrad_mnist.testing.survey import survey

    def check(order: int, examples: int, dtype: str) -> Any:
        return replace(next(survey([op], order, examples, dtype)), name=name)

    return Subject(name, check)


def _load(file: str) -> ModuleType:
    """A file of the user's, as a module."""
    path = Path(file)
    if not path.is_file():
        raise RecipeError(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{file} cannot be loaded: {_in_words(error)}") from error
    return module


def _offer(module: ModuleType) -> str:
    """How to name what a module defines that can be checked."""
    names = _checkable(module)
    if not names:
        return "there is no operation in it, and no function without arguments"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"add :NAME, which may be {', '.join(names[:8])}{more}"


def _checkable(module: ModuleType) -> list[str]:
    """The operations that a module makes, and its functions that take no arguments, but for ``main``."""
    from tinygrad_mnist.engine.op import REGISTRY, Op

    ours = {id(op) for op in REGISTRY.values()}
    return [
        name
        for name, found in vars(module).items()
        if (isinstance(found, Op) and id(found) not in ours) or _is_case(found, module)
    ]


def _is_case(found: Any, module: ModuleType) -> bool:
    """Whether it is a function of this module that can be called without arguments."""
    if not isinstance(found, FunctionType) or found.__module__ != module.__name__ or found.__name__ == "main":
        return False
    variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    parameters = signature(found).parameters.values()
    return all(one.default is not Parameter.empty or one.kind in variable for one in parameters)


def _of_file(where: str) -> Subject:
    file, _, name = where.rpartition(":")
    module = _load(file)
    if not hasattr(module, name):
        near = get_close_matches(name, _checkable(module), 1)
        hint = f"did you mean {near[0]}?" if near else _offer(module)
        raise RecipeError(f"{file} defines no {name!r}; {hint}")
    found = getattr(module, name)
    from tinygrad_mnist.engine.op import Op

    return _of_op(found, where) if isinstance(found, Op) else _of_function(found, where)


def _of_function(make: Any, where: str) -> Subject:
    """A function without arguments, that says what to check and at which inputs."""
    from time import perf_counter

    import numpy as np

    from tinygrad_mnist.testing import GradientError, gradcheck
    from tinygrad_mnist.testing.survey import Finding

    if not callable(make):
        raise RecipeError(f"{where} is neither an operation nor a function")
    try:
        f, *inputs = make()
    except (Exception, SystemExit) as error:
        raise RecipeError(
            f"{where} is to be a function without arguments that returns (f, input, ...); {_in_words(error)}"
        ) from error

    def check(order: int, examples: int, dtype: str) -> Any:
        start, failure, verdict = perf_counter(), None, "right"
        arrays = [x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs]
        try:
            report = gradcheck(f, *arrays, order=order)
        except GradientError as error:
            report, failure = error.report, str(error)
            verdict = report.failures[0].verdict
        except (Exception, SystemExit) as error:
            raise TrainingError(f"{where}: {_in_words(error)}") from error
        seconds = perf_counter() - start
        counts = len(report.entries), report.largest_error, len(report.kinks)
        return Finding(where, 1, *counts, verdict, seconds, failure)

    return Subject(where, check)


def _in_words(error: BaseException) -> str:
    """What a user's code raised, in one sentence."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
