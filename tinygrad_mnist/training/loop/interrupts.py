"""Ctrl-C, SIGTERM and SIGHUP during training: taken between two steps, so that what is saved is whole.

A signal may come in the middle of a step, when some weights have changed and others not. So the first one is
only noted, and training asks for it where its state is whole. The second one is taken at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

MARK: Final = "raises_interrupt"
"""The attribute of a signal handler that raises `KeyboardInterrupt`, and may do so later."""

_HANGUP: Final[int | None] = getattr(signal, "SIGHUP", None)
_DEFAULTS: Final[dict[signal.Signals, Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    **({signal.SIGHUP: signal.SIG_DFL} if hasattr(signal, "SIGHUP") else {}),  # the terminal is closed
}
"""The signals, and how Python takes each; where it is taken otherwise, as under nohup, that stays."""


class Interrupts:
    """The signals that came, and whether one is waiting to be taken."""

    def __init__(self) -> None:
        self.pending: KeyboardInterrupt | None = None
        self._is_others = False  # whether it is that of another process

    def note(self, interrupt: KeyboardInterrupt) -> None:
        """Let an interrupt wait until it is taken; another one that waits already is raised at once.

        A second SIGHUP is none: both the shell and the system send one when a terminal is closed.

        Raises
        ------
        KeyboardInterrupt
            If one waits.
        """
        if self.pending is None:
            self.pending = interrupt
        elif self._is_others:  # a signal for all processes reaches one after the other
            self._is_others = False
        elif not (self.is_hangup and _is_hangup(interrupt)):
            raise interrupt

    def join(self, arguments: tuple[Any, ...]) -> None:
        """Let an interrupt wait here that came in another process, unless one came here too."""
        if self.pending is None:
            self.pending, self._is_others = KeyboardInterrupt(*arguments), True

    @property
    def is_hangup(self) -> bool:
        """True if the interrupt that came is SIGHUP."""
        return self.pending is not None and _is_hangup(self.pending)

    def take(self) -> None:
        """Raise the interrupt that waits, if there is one."""
        if self.pending is not None:
            raise self.pending


@contextmanager
def deferred() -> Iterator[Interrupts]:
    """Let signals wait inside, in the main thread, where Python or the command line would take them.

    Where a program has a handler of its own, that stays.
    """
    interrupts = Interrupts()
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.note(KeyboardInterrupt(number))

    if threading.current_thread() is threading.main_thread():
        for number, default in _DEFAULTS.items():
            handler = signal.getsignal(number)
            if handler == default or _is_marked(handler):
                before[number] = handler
                signal.signal(number, note)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            # what comes after training is not ended by the second one either
            is_done = interrupts.is_hangup and number == _HANGUP and _is_marked(handler)
            signal.signal(number, signal.SIG_IGN if is_done else handler)


def _is_hangup(interrupt: KeyboardInterrupt) -> bool:
    return bool(interrupt.args) and interrupt.args[0] == _HANGUP


def _is_marked(handler: Callable[..., Any] | int | None) -> bool:
    return bool(getattr(handler, MARK, False))
