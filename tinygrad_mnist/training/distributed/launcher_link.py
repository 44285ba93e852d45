"""The link of a rank to our launcher: its output streams, signals, and word of how the rank ends.

The launcher and the ranks are on one machine, and the link is a Unix socket. Through it a rank gets standard
output and standard error of the launcher themselves. So a terminal is a terminal for it, nothing is held back
on the way, and what MPI prints on its own account does not mix with it. If the launcher is gone, even by
``kill -9``, the socket ends, and the rank takes that for SIGTERM: it saves, and ends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

LAUNCHER: Final = "TINYGRAD_MNIST_LAUNCHER"
"""The variable of the environment that has the path of the launcher's socket."""

STREAMS: Final = (1, 2)
"""The numbers of the files that a rank is given: standard output and standard error."""

RANK: Final = "rank"
JOINED: Final = "joined"
STATUS: Final = "status"
UNSAID: Final = "unsaid"
PID: Final = "pid"
IS_FIRST: Final = "is_first"
ENDS_ALL: Final = "ends_all"
"""The words of a rank to the launcher, keys of JSON objects, each in a line.

First its number; then that MPI has brought it together with the others; at last its
exit status, with the sentence on what is wrong if it has not printed that itself, and whether it wrote, or
ends all.
"""


class LauncherLink:
    """The end of the link that a rank holds.

    Parameters
    ----------
    path : str
        The socket of the launcher.
    rank : int
        The number of this process.

    Raises
    ------
    OSError
        If nobody is there.
    """

    def __init__(self, path: str, rank: int) -> None:
        self._path, self._rank = Path(path), rank
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._is_done = False
        self._tell({RANK: rank, PID: os.getpid()})
        _, streams, _, _ = socket.recv_fds(self._socket, 1, len(STREAMS))
        for stream, number in zip(streams, STREAMS, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        threading.Thread(target=self._listen, daemon=True).start()

    def join(self) -> None:
        """Say that MPI has brought this process together with the others."""
        self._tell({JOINED: True})

    def end(
        self,
        status: int,
        unsaid: str | None = None,
        *,
        is_first: bool | None = None,
        ends_all: bool = False,
    ) -> None:
        """Say with which exit status this process ends, and why if the user does not know it yet.

        That of the first one, which writes (by default rank 0), is the status of the training; or that of
        one that ends all.
        """
        self._is_done = True
        first = self._rank == 0 if is_first is None else is_first
        self._tell({STATUS: status, UNSAID: unsaid, IS_FIRST: first, ENDS_ALL: ends_all})

    def _tell(self, word: dict[str, Any]) -> None:
        try:
            self._socket.sendall(f"{json.dumps(word)}\n".encode())
        except OSError:  # the launcher is gone, which `_listen` finds out
            return

    def _listen(self) -> None:
        """Raise the signals that the launcher passes on, each a byte."""
        while True:
            try:
                numbers = self._socket.recv(1)
            except OSError:
                numbers = b""
            if not numbers:
                self._tidy_up()
            if self._is_done:
                return
            os.kill(os.getpid(), numbers[0] if numbers else signal.SIGTERM)
            if not numbers:
                return

    def _tidy_up(self) -> None:
        """Remove the socket of a launcher that is gone; another rank may have done it."""
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            self._path.parent.rmdir()


def find_link(rank: int) -> LauncherLink | None:
    """Return the link to the launcher that has started this process; None if it was started otherwise.

    The variable of the environment that says so is removed: processes that this one starts are no ranks.
    """
    global _found
    path = os.environ.pop(LAUNCHER, None)
    _found = None if path is None else LauncherLink(path, rank)
    return _found


_found: LauncherLink | None = None


def tell_end_of_all(status: int) -> None:
    """Tell the launcher, if one has started this process, that it ends all, and has told the user why."""
    if _found is not None:
        _found.end(status, is_first=False, ends_all=True)
