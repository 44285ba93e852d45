"""Ctrl-C, SIGTERM and SIGHUP, as the command line takes them.

All raise `KeyboardInterrupt`. While modules are imported, Python may turn that into another error, or drop
it and print a traceback. So the process ends there at once, as nothing is half done then.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn

from tinygrad_mnist.cli.start import launcher_link, speaks
from tinygrad_mnist.exit_status import status_of

SENTENCE: Final = "tinygrad-mnist: interrupted"

_DEFAULTS: Final[dict[signal.Signals, Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    **({signal.SIGHUP: signal.SIG_DFL} if hasattr(signal, "SIGHUP") else {}),  # the terminal is closed
}
"""The signals, and how Python takes each; where it is taken otherwise, as under nohup, that stays."""

_leaves_imports = False


@contextmanager
def as_interrupts(is_program: bool) -> Iterator[None]:
    """Take the signals inside.

    Parameters
    ----------
    is_program : bool
        Whether the process is that of the command line. Then a signal during an import ends it, and a later
        one changes nothing, as all is done; else the handlers that were there come back.
    """
    global _leaves_imports
    _leaves_imports = is_program
    taken = []
    for number, default in _DEFAULTS.items():
        if signal.getsignal(number) == default:
            try:
                signal.signal(number, _interrupt)
            except ValueError:  # in another thread than the main one, which no signal reaches
                break
            taken.append(number)
    try:
        yield
    finally:
        _leaves_imports = False
        for number in taken:
            signal.signal(number, signal.SIG_IGN if is_program else _DEFAULTS[number])


@contextmanager
def raised_in_imports() -> Iterator[None]:
    """Raise `KeyboardInterrupt` inside while modules are imported, too, as there is something to be kept."""
    global _leaves_imports
    before, _leaves_imports = _leaves_imports, False
    try:
        yield
    finally:
        _leaves_imports = before


def ignore_interrupts() -> None:
    """Ignore the signals from now on: for a process that has done its part, and waits for the others."""
    for number in (*_DEFAULTS, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])):
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    interrupt = KeyboardInterrupt(int(number))
    while _leaves_imports and frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            if speaks():
                os.write(2, f"{SENTENCE}\n".encode())
            if (launcher := launcher_link()) is not None:
                launcher.end(status_of(interrupt), is_first=speaks())
            os._exit(status_of(interrupt))
        frame = frame.f_back
    raise interrupt


_interrupt.raises_interrupt = True  # type: ignore[attr-defined]  # training may let it wait until a step is done
