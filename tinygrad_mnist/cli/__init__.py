"""The command line: a file a command, which parses, calls and prints. Nothing is decided here.

Nothing here imports NumPy before a command needs it, so that ``--help`` and ``--version`` answer at once; and
this file imports next to nothing before `main` runs, so that Ctrl-C is answered from the first moment.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

INTERRUPTED = 130
"""128 + SIGINT, as shells count."""
BROKEN_PIPE = 141
"""128 + SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status: 0; 1 if something failed; 2 if the command was misused; 141 if nobody reads the
        output any longer, which ends every command but a training: that goes on, and prints no more. 130
        after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP, but for one that ends a training which has
        learned something: then the rest is done.

    Examples
    --------
    >>> main(["train", "--recipe", "digts"])
    2
    """
    try:
        from tinygrad_mnist.cli.interrupts import as_interrupts
        from tinygrad_mnist.cli.start import as_one_of_several

        with as_interrupts(is_program=argv is None), as_one_of_several() as told:
            return told(_run(argv))
    except KeyboardInterrupt:  # before the imports above were done, or before it was known as one of several
        from tinygrad_mnist.cli.start import speaks

        if speaks():
            print("tinygrad-mnist: interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    """Run one command; return its exit status."""
    from tinygrad_mnist.cli.interrupts import SENTENCE
    from tinygrad_mnist.cli.start import speaks
    from tinygrad_mnist.exit_status import status_of

    try:
        from tinygrad_mnist.cli.parser import make_parser

        _prepare_output()
        arguments = make_parser().parse_args(argv)
        arguments.words = argv
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt as interrupt:
        if speaks():
            print(SENTENCE, file=sys.stderr)
        return status_of(interrupt)
    except SystemExit as stop:  # argparse ends so: after --help with 0, after a mistake with 2
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        from tinygrad_mnist.cli.output import drop

        drop(sys.stdout)
        return BROKEN_PIPE
    except Exception as error:
        from tinygrad_mnist.cli.output import explain, notify

        explained = explain(error)
        if explained is None:
            raise
        sentence, status = explained
        notify(sentence)
        return status


def _prepare_output() -> None:
    """Make the streams take any text: a closed one (``>&-``) leads nowhere, odd characters are escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (open to the end)
        elif getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
