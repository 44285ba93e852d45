"""Check the gradients of every operation, of some, or of a function of your own, by finite differences."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tinygrad_mnist.cli.inputs import require_no_input
from tinygrad_mnist.cli.output import FAILED, show
from tinygrad_mnist.cli.shared_options import whole_number
from tinygrad_mnist.numbers import printable

if TYPE_CHECKING:
    from types import ModuleType

    from tinygrad_mnist.testing.survey import Finding

NAME: Final = "gradcheck"
HELP: Final = "check gradients against finite differences"

MOST_EXAMPLES: Final = 100_000
"""The most calls of one operation that can be asked for: they take hours, even of a cheap one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "ops",
        metavar="OP",
        nargs="*",
        help="an operation (default: all of them), an operation of your own as FILE.py:NAME, or a function "
        "without arguments in FILE.py:NAME that returns (f, input, ...) to check f at",
    )
    parser.add_argument(
        "--order", type=int, choices=(1, 2), default=1, help="2 checks the gradient of the gradient too"
    )
    parser.add_argument(
        "--examples",
        type=_examples,
        default=20,
        metavar="N",
        help=f"calls to try of each operation (default 20, at most {MOST_EXAMPLES:,})",
    )
    parser.add_argument(
        "--dtype", choices=("float64", "float32"), default="float64", help="the dtype to compute in (float64)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the findings to a file too")


def _examples(text: str) -> int:
    """Return the number of calls to try."""
    number = whole_number(text)
    if not 1 <= number <= MOST_EXAMPLES:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {MOST_EXAMPLES:,}")
    return number


def run(arguments: argparse.Namespace) -> int:
    """Print a table with a line for each operation; the status is 1 if something is wrong."""
    from time import perf_counter

    from tinygrad_mnist.files import require_writable, write_error, write_json
    from tinygrad_mnist.numbers import count_text
    from tinygrad_mnist.training import RecipeError

    if arguments.json:
        try:
            require_writable(arguments.json)  # before the work
        except OSError as error:
            raise RecipeError(f"--json {write_error(arguments.json, error)}") from error
        require_no_input("--json", arguments.json, *(op.rpartition(":")[0] or op for op in arguments.ops))
    start = perf_counter()
    findings = _check_all(find_subjects(arguments.ops), arguments)
    failed = [found for found in findings if found.verdict != "right"]
    for found in failed:
        show("", *f"{found.name}: {found.failure}".split("\n"))
    seconds = perf_counter() - start
    print(
        f"\n{count_text(len(findings), 'operation')}, "
        f"{count_text(sum(f.examples for f in findings), 'example')}, "
        f"{count_text(sum(f.entries for f in findings), 'derivative')} to order {arguments.order} "
        f"in {seconds:.0f} s: " + (f"{len(failed)} not right" if failed else "all right")
    )
    if arguments.json:
        from dataclasses import asdict

        write_json(
            arguments.json,
            {
                "order": arguments.order,
                "dtype": arguments.dtype,
                "seconds": seconds,
                "passed": not failed,
                "operations": [asdict(found) for found in findings],
            },
        )
    return FAILED if failed else 0


def _check_all(subjects: Sequence[Subject], arguments: argparse.Namespace) -> list[Finding]:
    """Check one after the other, and print a line for each when it is done."""
    width = max(9, *(len(subject.name) for subject in subjects))
    print(f"{'operation':{width}}  examples  entries  largest error  kinks  verdict")
    live = sys.stderr.isatty()  # then the name of the one that is being checked is shown, and wiped away
    findings = []
    for number, subject in enumerate(subjects, 1):
        if live:
            print(f"\r[{number}/{len(subjects)}] {subject.name}\x1b[K", end="", file=sys.stderr, flush=True)
        found = subject.check(arguments.order, arguments.examples, arguments.dtype)
        findings.append(found)
        if live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        print(
            f"{found.name:{width}}  {found.examples:>8}  {found.entries:>7}  "
            f"{found.largest_error:>13.1e}  {found.kinks:>5}  {found.verdict}",
            flush=True,
        )
    return findings


# ---- what to check: operations by name, and what a file of the user's defines -----------------------------


class Subject(NamedTuple):
    """A line of the table: a name, and the check, a function of order, number of examples and dtype."""

    name: str
    check: Callable[[int, int, str], Finding]


def find_subjects(names: Sequence[str]) -> list[Subject]:
    """Return the operations of these names, each once, or all that have a gradient.

    Raises
    ------
    RecipeError
        If there is no such operation, file or function (the sentence names the nearest), or if the file
        cannot be loaded.
    ModuleNotFoundError
        If Hypothesis is not installed.
    """
    from difflib import get_close_matches

    import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
    from tinygrad_mnist import testing
    from tinygrad_mnist.engine.op import REGISTRY
    from tinygrad_mnist.training import RecipeError

    _ = testing.strategies  # raises the error that says how to install Hypothesis
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
            hint = f"did you mean {' or '.join(near)}?" if near else "without names, all are checked"
            raise RecipeError(f"there is no operation {name!r} with a gradient; {hint}")
    return subjects


def _of_op(op: Any, name: str) -> Subject:
    """Return the check of an operation."""
    from dataclasses import replace

    from tinygrad_mnist.testing.survey import survey

    def check(order: int, examples: int, dtype: str) -> Finding:
        return replace(next(survey([op], order, examples, dtype)), name=name)

    return Subject(name, check)


def _load(file: str) -> ModuleType:
    """Load a file of the user's as a module."""
    import importlib.util
    from pathlib import Path

    from tinygrad_mnist.training import RecipeError

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
    """Return a hint at the names that a module defines and that can be checked."""
    names = _checkable(module)
    if not names:
        return "there is no operation in it, and no function without arguments"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"add :NAME, which may be {', '.join(names[:8])}{more}"


def _checkable(module: ModuleType) -> list[str]:
    """Return the operations that a module makes and its functions without arguments, but for ``main``."""
    from tinygrad_mnist.engine.op import REGISTRY, Op

    ours = {id(op) for op in REGISTRY.values()}
    return [
        name
        for name, found in vars(module).items()
        if (isinstance(found, Op) and id(found) not in ours) or _is_case(found, module)
    ]


def _is_case(found: Any, module: ModuleType) -> bool:
    """Return whether it is a function of this module that can be called without arguments."""
    from inspect import Parameter, signature
    from types import FunctionType

    if not isinstance(found, FunctionType) or found.__module__ != module.__name__ or found.__name__ == "main":
        return False
    variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    parameters = signature(found).parameters.values()
    return all(one.default is not Parameter.empty or one.kind in variable for one in parameters)


def _of_file(where: str) -> Subject:
    """Return the check of ``FILE.py:NAME``."""
    from difflib import get_close_matches

    from tinygrad_mnist.engine.op import Op
    from tinygrad_mnist.training import RecipeError

    file, _, name = where.rpartition(":")
    module = _load(file)
    if not hasattr(module, name):
        near = get_close_matches(name, _checkable(module), 1)
        hint = f"did you mean {near[0]}?" if near else _offer(module)
        raise RecipeError(f"{file} defines no {name!r}; {hint}")
    found = getattr(module, name)
    shown = printable(where)
    return _of_op(found, shown) if isinstance(found, Op) else _of_function(found, shown)


def _of_function(make: Any, where: str) -> Subject:
    """Return the check of what a function of the user's returns: a function, and its inputs."""
    from time import perf_counter

    import numpy as np

    from tinygrad_mnist.testing import GradientError, gradcheck
    from tinygrad_mnist.testing.survey import Finding
    from tinygrad_mnist.training import RecipeError, TrainingError

    if not callable(make):
        raise RecipeError(f"{where} is neither an operation nor a function")
    try:
        f, *inputs = make()
    except (Exception, SystemExit) as error:
        raise RecipeError(
            f"{where} must be a function without arguments that returns (f, input, ...); {_in_words(error)}"
        ) from error

    def check(order: int, examples: int, dtype: str) -> Finding:
        start, failure, verdict = perf_counter(), None, "right"
        # whole numbers and booleans stay: they are indices and masks, and have no derivative
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
    """Return an error of the user's code in one sentence."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
