"""The time limit of an exchange: a process that waits too long for the others says so, and ends.

An exchange runs in C, where neither an exception nor a handler of a signal can interrupt it. So a thread
looks at the clock, and ends the process.
"""

from __future__ import annotations

import os
import sys
import threading
from time import monotonic
from typing import Final

from tinygrad_mnist.training.errors import TrainingError

VARIABLE: Final = "TINYGRAD_MNIST_EXCHANGE_SECONDS"
"""The variable of the environment that sets the limit."""

DEFAULT_SECONDS: Final = 60.0

STATUS: Final = 75
"""The exit status of a process that has waited too long: EX_TEMPFAIL of sysexits.h, as one may try again."""


def seconds_of(limit: float | None) -> float:
    """Return the time limit that holds: what is given, else that of the environment, else the default.

    Raises
    ------
    TrainingError
        If it is no number above 0.
    """
    given: object = limit
    name = "time_limit"
    if limit is None:
        name, given = VARIABLE, os.environ.get(VARIABLE, DEFAULT_SECONDS)
    try:
        seconds = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise TrainingError(f"{name} is {given!r}; give seconds, a number above 0")
    return seconds


class Watch:
    """A thread that ends this process when it has waited in one exchange for longer than a limit.

    Parameters
    ----------
    who : str
        This process, for the message.
    seconds : float
        The limit.
    """

    def __init__(self, who: str, seconds: float) -> None:
        self.who, self.seconds = who, seconds
        self._waiting: tuple[float, str] | None = None  # since when, and in what
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="time limit of exchanges", daemon=True).start()

    def begin(self, exchange: str) -> None:
        """Count the time from now on as waiting."""
        self._waiting = monotonic(), exchange

    def end(self) -> None:
        """Count no longer."""
        self._waiting = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self.seconds / 4)):
            waiting = self._waiting
            if waiting is not None and monotonic() - waiting[0] > self.seconds:
                self._end_process(waiting[1])

    def _end_process(self, exchange: str) -> None:
        sys.stderr.write(
            f"{self.who} has waited more than {self.seconds:g} seconds for the others in {exchange}, and "
            f"ends; go on from the last checkpoint with --resume, or set {VARIABLE} to more seconds\n"
        )
        sys.stderr.flush()
        os._exit(STATUS)
