"""The exit status of a process that an interrupt ended."""

from __future__ import annotations

import signal


def status_of(interrupt: KeyboardInterrupt) -> int:
    """Return 128 and the number of the signal, as shells count; without one, that of Ctrl-C.

    Examples
    --------
    >>> status_of(KeyboardInterrupt()), status_of(KeyboardInterrupt(15))
    (130, 143)
    """
    number = interrupt.args[0] if interrupt.args else None
    return 128 + (number if isinstance(number, int) else signal.SIGINT)
