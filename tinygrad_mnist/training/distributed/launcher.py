"""The start of several processes on this machine by mpiexec, and all that is between them and the user.

``launch`` starts mpiexec and stays until all is over. Ctrl-C and other signals are handed to the ranks, which
save and end: mpiexec itself would kill them half a second later. Their output goes where that of the
launcher goes; what MPI prints is shown only where no rank could tell the user what happened. The exit status
is that of the training, as its first rank reports it. That of mpiexec may be 0 where a process was killed.

Neither NumPy nor MPI is loaded here.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import Any, Final

from tinygrad_mnist.training.distributed.launcher_link import (
    ENDS_ALL,
    IS_FIRST,
    JOINED,
    LAUNCHER,
    PID,
    RANK,
    STATUS,
    STREAMS,
    UNSAID,
)
from tinygrad_mnist.training.distributed.open_mpi import Launch

START_LIMIT: Final = 120.0
"""Seconds after which MPI has to have brought all processes together."""

END_LIMIT: Final = 20.0
"""Seconds that the others have to end once one process has ended with an error."""

KILL_LIMIT: Final = 3.0
"""Seconds that mpiexec has to end the processes, which takes it half of one."""

_PASSED_ON: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_PATH_LIMIT: Final = 90
"""What a path of a socket may be long, with its name: 104 bytes on macOS, 108 on Linux."""
_WORDS: Final = 20_000
"""Bytes that are kept of what MPI prints."""


def launch(made: Launch, notify: Callable[[str], None]) -> int:
    """Start the processes, stay until all have ended, and return the exit status of the training.

    Parameters
    ----------
    made : Launch
        What is started. Each process calls `find_link` and says how it ends.
    notify : callable
        Is given a sentence for the user where the processes could not tell him themselves what happened.

    Returns
    -------
    int
        The exit status that the first of the processes that were not killed has reported; 1 if none has; 128
        and the number of the signal if one has ended all before.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(_short_folder())
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(folder / "socket"))
        listener.listen(made.processes)
        signals = stack.enter_context(_noted_signals())
        process = subprocess.Popen(
            made.command,
            env={**made.environment, LAUNCHER: str(folder / "socket")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C in a terminal reaches nobody but us
        )
        course = _Course(made.processes, process, listener, signals)
        stack.callback(course.close)
        course.run()
        return course.verdict(notify)


@contextmanager
def _short_folder() -> Iterator[Path]:
    """Make a folder that nobody else can enter, by a path that is short enough for that of a socket."""
    parent = tempfile.gettempdir()
    short = parent if len(os.fsencode(parent)) <= _PATH_LIMIT - 30 else "/tmp"
    with tempfile.TemporaryDirectory(prefix="tinygrad-mnist-", dir=short, ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextmanager
def _noted_signals() -> Iterator[socket.socket]:
    """Note the signals that are passed on; each is a byte that can be read from the socket.

    Those that are ignored, as SIGHUP under nohup, stay ignored. Others that the program takes are there, too.
    """
    read, write = socket.socketpair()
    read.setblocking(False)
    write.setblocking(False)
    before: dict[int, Any] = {}
    wakeup: int | None = None

    def note(number: int, frame: FrameType | None) -> None:
        """Do nothing: Python has written the number to the socket."""

    if threading.current_thread() is threading.main_thread():
        wakeup = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        for number in _PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, note)
    try:
        yield read
    finally:
        if wakeup is not None:
            signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        read.close()
        write.close()


@dataclass(eq=False)
class _Rank:
    """A process, as far as it has told."""

    link: socket.socket
    number: int | None = None
    pid: int | None = None
    has_joined: bool = False
    status: int | None = None
    is_first: bool = False
    """Whether it wrote, when it ended."""
    ends_all: bool = False
    unsaid: str | None = None
    is_gone: bool = False
    text: bytes = b""


def _is_running(rank: _Rank) -> bool:
    """Return whether a process has not ended; one that has, and that nobody has waited for, is a zombie."""
    try:
        os.kill(rank.pid or 0, 0)
    except OSError:
        return False
    with suppress(OSError):  # where there is no /proc
        return Path(f"/proc/{rank.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return rank.pid is not None


@dataclass(eq=False)
class _Course:
    """The course of the processes from the start to the end of all."""

    processes: int
    process: subprocess.Popen[bytes]
    listener: socket.socket
    signals: socket.socket
    ranks: list[_Rank] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    """The numbers of those that ended without a word, the first one first."""
    words: bytes = b""
    """The last of what MPI has printed."""
    caught: list[int] = field(default_factory=list)
    """The signals that came."""
    fault: str | None = None
    """Why all were ended from here, if so."""
    deadline: float | None = None
    """When all are ended from here."""
    has_ended: bool = False
    """Whether mpiexec has ended."""
    is_killing: bool = False
    """Whether mpiexec was told to end all."""

    def run(self) -> None:
        """Wait until mpiexec has ended, and do what is to be done until then."""
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self._end_within(START_LIMIT, f"MPI has not brought all processes together after {START_LIMIT:g} s")
        with selectors.DefaultSelector() as selector:
            self.selector = selector
            selector.register(self.listener, selectors.EVENT_READ, self._accept)
            selector.register(self.signals, selectors.EVENT_READ, self._take_signals)
            selector.register(self.process.stdout, selectors.EVENT_READ, self._take_words)
            while not self.has_ended:
                self._step(None if self.deadline is None else max(0.0, self.deadline - monotonic()))
            self.process.wait()
            # what the ranks have told last; they have ended, or else they end now that mpiexec is gone
            limit = monotonic() + (KILL_LIMIT if self.is_killing else END_LIMIT)
            while any(not rank.is_gone for rank in self.ranks) and monotonic() < limit:
                for rank in self.ranks:
                    with suppress(OSError):
                        rank.link.shutdown(socket.SHUT_WR)
                self._step(0.1)

    def _step(self, seconds: float | None) -> None:
        for key, _ in self.selector.select(seconds):
            key.data()
        if self.deadline is not None and monotonic() >= self.deadline:
            self._kill()

    # ---- what happens ------------------------------------------------------------------------------------

    def _accept(self) -> None:
        link, _ = self.listener.accept()
        rank = _Rank(link)
        self.ranks.append(rank)
        self.selector.register(link, selectors.EVENT_READ, lambda: self._hear(rank))

    def _hear(self, rank: _Rank) -> None:
        try:
            text = rank.link.recv(4096)
        except OSError:
            text = b""
        *lines, rank.text = (rank.text + text).split(b"\n")
        for line in lines:
            self._take(rank, json.loads(line))
        if not text:
            self._lose(rank)

    def _take(self, rank: _Rank, word: dict[str, Any]) -> None:
        if RANK in word:
            rank.number, rank.pid = word[RANK], word[PID]
            with suppress(OSError):
                socket.send_fds(rank.link, [b"\0"], STREAMS)
                if self.caught and rank.number == 0:
                    rank.link.send(bytes(self.caught[:1]))
        if JOINED in word:
            rank.has_joined = True
            if self._have_joined() and self.fault is not None:
                self.deadline = self.fault = None
        if STATUS in word:
            rank.status, rank.unsaid, rank.is_first, rank.ends_all = (
                word[name] for name in (STATUS, UNSAID, IS_FIRST, ENDS_ALL)
            )
            if rank.ends_all:  # mpiexec would leave one that is stopped, which speaks of MPI when it goes on
                self._kill_ranks(but=rank)
                self._end_within(KILL_LIMIT, None)
            elif rank.status:
                self._end_within(END_LIMIT, None)

    def _lose(self, rank: _Rank) -> None:
        """Note that a process has ended: before all were joined, the others would wait for it for ever."""
        rank.is_gone = True
        if rank.status is None and rank.number is not None and not self.is_killing:
            self.lost.append(rank.number)
        self.selector.unregister(rank.link)
        if not self._have_joined():
            self._end_within(KILL_LIMIT, None)
        elif all(each.is_gone for each in self.ranks):
            self._end_within(END_LIMIT, None)

    def _have_joined(self) -> bool:
        return len(self.ranks) == self.processes and all(rank.has_joined for rank in self.ranks)

    def _take_words(self) -> None:
        assert self.process.stdout is not None
        words = self.process.stdout.read(65536)
        if words == b"":
            self.selector.unregister(self.process.stdout)
            self.has_ended = True
        elif words:
            self.words = (self.words + words)[-_WORDS:]

    def _take_signals(self) -> None:
        for number in self.signals.recv(64):
            if number not in _PASSED_ON:
                continue
            is_hangup = number == getattr(signal, "SIGHUP", None)
            if is_hangup and number in self.caught:  # both the shell and the system send one
                continue
            self.caught.append(number)
            living = [rank for rank in self.ranks if rank.number is not None and not rank.is_gone]
            if len(self.caught) > 2 or not living:
                self._kill()
                continue
            # the ranks agree on an interrupt that one of them has; the first one may be drawing pictures
            # when all is done, and ends that, while the others wait for it
            with suppress(OSError):
                min(living, key=lambda rank: rank.number or 0).link.send(bytes([number]))
            if len(self.caught) == 2:
                self._end_within(KILL_LIMIT, None)

    # ---- the end of all ----------------------------------------------------------------------------------

    def _end_within(self, seconds: float, fault: str | None) -> None:
        """End all from here after some seconds, if they have not ended by themselves."""
        until = monotonic() + seconds
        if self.deadline is None or until < self.deadline:
            self.deadline, self.fault = until, fault

    def _kill(self) -> None:
        """Let mpiexec kill all; if it does not within seconds, do it from here."""
        if self.process.poll() is None and not self.is_killing:
            self.is_killing = True
            self.process.terminate()
            self.deadline = monotonic() + KILL_LIMIT
            return
        self.deadline = None
        _kill_session(self.process.pid)

    def _kill_ranks(self, but: _Rank) -> None:
        for rank in self.ranks:
            if rank is not but and not rank.is_gone and rank.pid is not None:
                with suppress(OSError):
                    os.kill(rank.pid, signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing running, also of processes that have not told of themselves yet."""
        _kill_session(self.process.pid)
        self.process.wait()
        limit = monotonic() + KILL_LIMIT
        while any(map(_is_running, self.ranks)) and monotonic() < limit:
            sleep(0.02)
        if self.process.stdout is not None:
            self.process.stdout.close()
        for rank in self.ranks:
            rank.link.close()

    # ---- what is said of it ------------------------------------------------------------------------------

    def verdict(self, notify: Callable[[str], None]) -> int:
        """Return the exit status; tell the user what he does not know from the processes."""
        for ended in sorted(self.ranks, key=lambda rank: not rank.ends_all):
            if ended.status is not None and (ended.ends_all or ended.is_first):
                return ended.status
        told = [rank.status for rank in self.ranks if rank.status is not None]
        says = not told or 0 not in self.lost  # in place of the first one
        if self.caught and says:
            notify("interrupted")
            return 128 + self.caught[0]
        unsaid = [rank for rank in self.ranks if rank.unsaid is not None]
        if says and unsaid:
            notify(f"rank {unsaid[0].number} of {self.processes}: {unsaid[0].unsaid}")
            return unsaid[0].status or 1
        if b"MPI_ABORT" not in self.words:  # a rank that ends all has said why
            notify(self._sentence())
        return max(told, default=0) or 1

    def _sentence(self) -> str:
        if not self.ranks:
            what = f"mpiexec has started none of the {self.processes} processes"
        elif self.process.returncode < 0 and not self.is_killing:
            name = signal.Signals(-self.process.returncode).name
            return f"mpiexec was ended by {name} before the training was done"
        elif self.fault is not None or not self.lost:
            what = self.fault or "the processes did not end, and were killed"
        else:
            what = f"rank {self.lost[0]} of {self.processes} ended before the training was done"
        text = re.sub(r"\[warn\].*|-{5,}|[\x00-\x08\x0e-\x1f\x7f]", "", self.words.decode(errors="replace"))
        said = " ".join(text.split())
        return f"{what}{said and f'; MPI says: {said}'}"


# ---- the processes of a session --------------------------------------------------------------------------


def _kill_session(leader: int) -> None:
    """Kill the processes of a session, and those that they start meanwhile."""
    killed: set[int] = set()
    while found := set(_session(leader)) - killed:
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        killed |= found


def _session(leader: int) -> Iterator[int]:
    """Yield the numbers of the processes of a session, also of those whose parent has ended."""
    if Path("/proc/self").exists():
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=False)
        pids = [int(word) for word in listed.stdout.split()]
    for pid in pids:
        with suppress(OSError):  # it has ended
            if os.getsid(pid) == leader:
                yield pid
