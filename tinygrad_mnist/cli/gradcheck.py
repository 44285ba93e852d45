"""Prove that gradients are right: of every operation, of some, or of a function of your own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.cli import values

NAME: Final = "gradcheck"
HELP: Final = "check gradients against finite differences"

MOST_EXAMPLES: Final = 100_000
"""Calls of one operation: hours of them, for one of the cheap ones."""


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
        "--dtype", choices=("float64", "float32"), default="float64", help="what to compute in (float64)"
    )
    parser.add_argument("--json", metavar="FILE", help="write what was found to a file too")


def _examples(text: str) -> int:
    """How many calls to try."""
    count = values.whole_number(text)
    if not 1 <= count <= MOST_EXAMPLES:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {MOST_EXAMPLES:,}")
    return count


def _refuse_unwritable(path: Path) -> None:
    """Say before the work that what it finds could not be written."""
    from tempfile import TemporaryFile

    from tinygrad_mnist.files import target_of
    from tinygrad_mnist.training.errors import RecipeError

    try:
        target = target_of(path)
        if not target.exists() or target.is_file():
            TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise RecipeError(f"--json {path} cannot be written: {error.strerror}") from error


def run(arguments: argparse.Namespace) -> int:
    """Print a table with a line for each operation; the status is 1 if something is wrong."""
    import time

    from tinygrad_mnist.cli.checked import find_subjects
    from tinygrad_mnist.training.files import write_json

    if arguments.json:
        _refuse_unwritable(Path(arguments.json))
    start = time.perf_counter()
    subjects = find_subjects(arguments.ops)
    width = max(len(subject.name) for subject in subjects)
    print(f"{'operation':{max(width, 9)}}  examples  entries  largest error  kinks  verdict")
    live = sys.stderr.isatty()
    findings: list[Any] = []
    for number, subject in enumerate(subjects, 1):
        if live:
            print(f"\r[{number}/{len(subjects)}] {subject.name}\x1b[K", end="", file=sys.stderr, flush=True)
        found = subject.check(arguments.order, arguments.examples, arguments.dtype)
        findings.append(found)
        if live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        print(
            f"{found.name:{max(width, 9)}}  {found.examples:>8}  {found.entries:>7}  "
            f"{found.largest_error:>13.1e}  {found.kinks:>5}  {found.verdict}",
            flush=True,
        )
    failed = [found for found in findings if found.verdict != "right"]
    for found in failed:
        print(f"\n{found.name}: {found.failure}")
    examples, entries = sum(f.examples for f in findings), sum(f.entries for f in findings)
    seconds = time.perf_counter() - start
    print(
        f"\n{_count(len(findings), 'operation')}, {_count(examples, 'example')}, "
        f"{_count(entries, 'derivative')} to order {arguments.order} in {seconds:.0f} s: "
        + (f"{len(failed)} not right" if failed else "all right")
    )
    if arguments.json:
        from dataclasses import asdict

        write_json(
            Path(arguments.json),
            {
                "order": arguments.order,
                "dtype": arguments.dtype,
                "seconds": seconds,
                "passed": not failed,
                "operations": [asdict(found) for found in findings],
            },
        )
    return 1 if failed else 0


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
