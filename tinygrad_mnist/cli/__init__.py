"""The command line: a file a command. It parses, calls and prints; what is decided is decided elsewhere.

Nothing here imports NumPy before a command needs it, so that ``--help`` and ``--version`` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from tinygrad_mnist.cli.failure import BROKEN_PIPE, INTERRUPTED, explain
from tinygrad_mnist.cli.parser import make_parser

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status: 0; 1 if something failed; 2 if the command was misused; 130 after Ctrl-C, if it came
        before anything was learned; 141 if nobody reads the output any longer.

    Examples
    --------
    >>> main(["train", "--recipe", "digts"])
    2
    """
    try:
        arguments = make_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as stop:  # argparse ends so: after --help with 0, after a mistake with 2
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        print("tinygrad-mnist: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        sentence, status = explained
        print(f"tinygrad-mnist: {sentence}", file=sys.stderr)
        return status


def _drop_output() -> None:
    """Let what is still to be written go nowhere, so that the interpreter's last flush does not fail."""
    with suppress(OSError, ValueError):  # no file behind standard output, as under a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
