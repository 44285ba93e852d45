"""Threads of our own, which share the pieces of a compiled program.

A program for several threads is a table of *pieces* in the order in which one thread would run them. Each
piece is a function and a range, ``function(argument, begin, end)``, and says how many pieces before it must
be done first. Whoever is free takes the next piece: the calling thread and the pool's threads alike. So a
thread that the system takes off its core holds up one piece, and without any other thread the caller does all
the work itself. As pieces are cut by sizes alone, and each is computed by one thread, the bits are those of
one thread.

A compiled program uses it so. The table is written by :func:`table`, from the pieces of each phase::

    halves = [("loop", begin, end) for begin, end in ranges(1000, grain=16)]
    text, count = table("pieces", [halves, [("after", 0, 1)]])      # `after` reads all that `loop` writes

and the program calls, once for all pieces, what returns when they are done::

    declare void @tg_pool_run(ptr, ptr, i64, ptr)
    call void @tg_pool_run(ptr %pool, ptr @pieces, i64 9, ptr %argument)

It is compiled with ``symbols={"tg_pool_run": pool(2).run_address}``, and given ``pool(2).state_address`` as
``%pool``. :meth:`Pool.start` comes before each call: it does nothing but look whether the threads are there
(after a fork they are not). Pieces of 20 microseconds and more cost nothing to hand out. Below about 200
microseconds in all, waking a thread costs more than it saves.

How it works. The pool's state holds a *ticket*: the number of the job and of its next piece, in one word,
which a thread takes by adding 1 if it is still what it has read. The number of the job is even while pieces
can be taken. So a thread that comes late takes no piece of a job that it has not read. A second word counts
the pieces that are done. Who waits spins for a short time, then sleeps. Between jobs a thread sleeps on a
condition variable, inside one call of machine code and without Python's lock.

Beside a busy process, a thread can lose its core for milliseconds in the middle of a piece, for which all
others wait. A caller that had to wait so long runs its next jobs alone, for 5 to 80 milliseconds. That
changes the time and no bit of the result.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any, Final

from tinygrad_mnist.compiler import machine

_SIZE: Final = 1024
"""The bytes of a pool's state: see the offsets in `_TEXT`, each in a cache line of its own."""

_TEXT: Final = """
; State: 0 ticket, 64 done, 128 pieces, 136 count, 144 argument, 192 sleeping, 256 stop, 320 owner,
; 328 alone until, 336 caution (both in nanoseconds), 384 mutex, 640 condition.
%piece = type { ptr, i64, i64, i64 }

declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @usleep(i32)
declare i32 @clock_gettime(i32, ptr)
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
DECLARE_PAUSE

define void @tg_pool_init(ptr %pool) {
  %mutex = getelementptr i8, ptr %pool, i64 384
  %condition = getelementptr i8, ptr %pool, i64 640
  %a = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  %b = call i32 @pthread_cond_init(ptr %condition, ptr null)
  store i64 4294967296, ptr %pool      ; job 1: odd, so there is nothing to take
  ret void
}

; Run all pieces; with the pool's threads, unless they work for another caller. After a job that had to wait
; long, as a thread lost its core to another process, jobs are run alone for a while: each time for twice as
; long as the last time.
define void @tg_pool_run(ptr %pool, ptr %pieces, i64 %count, ptr %argument) {
entry:
  %done = getelementptr i8, ptr %pool, i64 64
  %its_pieces = getelementptr i8, ptr %pool, i64 128
  %its_count = getelementptr i8, ptr %pool, i64 136
  %its_argument = getelementptr i8, ptr %pool, i64 144
  %owner = getelementptr i8, ptr %pool, i64 320
  %some = icmp sgt i64 %count, 0
  br i1 %some, label %ask, label %end
ask:
  %asked = cmpxchg ptr %owner, i64 0, i64 1 acq_rel monotonic
  %ours = extractvalue { i64, i1 } %asked, 1
  br i1 %ours, label %look, label %alone
look:
  %its_alone_until = getelementptr i8, ptr %pool, i64 328
  %its_caution = getelementptr i8, ptr %pool, i64 336
  %alone_until = load i64, ptr %its_alone_until
  %began = call i64 @now()
  %together = icmp sge i64 %began, %alone_until
  br i1 %together, label %shared, label %give_back
give_back:
  store atomic i64 0, ptr %owner release, align 8
  br label %alone
alone:
  %i = phi i64 [ 0, %ask ], [ 0, %give_back ], [ %next, %alone ]
  %piece = getelementptr %piece, ptr %pieces, i64 %i
  call void @call_piece(ptr %piece, ptr %argument)
  %next = add i64 %i, 1
  %left = icmp slt i64 %next, %count
  br i1 %left, label %alone, label %end
shared:
  store atomic i64 0, ptr %done monotonic, align 8
  store atomic ptr %pieces, ptr %its_pieces monotonic, align 8
  store atomic i64 %count, ptr %its_count monotonic, align 8
  store atomic ptr %argument, ptr %its_argument monotonic, align 8
  %before = load atomic i64, ptr %pool monotonic, align 8
  %opened = add i64 %before, 4294967296
  store atomic i64 %opened, ptr %pool seq_cst, align 8
  call void @tg_pool_wake(ptr %pool)
  %slept_between = call i64 @take(ptr %pool)
  %slept_at_the_end = call i64 @wait(ptr %done, i64 %count)
  %closed = add i64 %opened, 4294967296
  store atomic i64 %closed, ptr %pool release, align 8
  %slept = add i64 %slept_between, %slept_at_the_end
  %long = icmp sgt i64 %slept, SLEEPS_OF_A_GOOD_JOB
  %caution = load i64, ptr %its_caution
  %less = lshr i64 %caution, 1
  %twice = shl i64 %caution, 1
  %at_least = call i64 @llvm.smax.i64(i64 %twice, i64 SHORTEST_CAUTION)
  %more = call i64 @llvm.smin.i64(i64 %at_least, i64 LONGEST_CAUTION)
  %new_caution = select i1 %long, i64 %more, i64 %less
  store i64 %new_caution, ptr %its_caution
  br i1 %long, label %beware, label %let_go
beware:
  %ended = call i64 @now()
  %until = add i64 %ended, %more
  store i64 %until, ptr %its_alone_until
  br label %let_go
let_go:
  store atomic i64 0, ptr %owner release, align 8
  br label %end
end:
  ret void
}

; The time in nanoseconds.
define internal i64 @now() {
  %time = alloca { i64, i64 }
  %e = call i32 @clock_gettime(i32 MONOTONIC, ptr %time)
  %its_nanoseconds = getelementptr i8, ptr %time, i64 8
  %seconds = load i64, ptr %time
  %nanoseconds = load i64, ptr %its_nanoseconds
  %scaled = mul i64 %seconds, 1000000000
  %sum = add i64 %scaled, %nanoseconds
  ret i64 %sum
}

; What a thread of the pool does until it is told to stop.
define void @tg_pool_work(ptr %pool) {
entry:
  %stop = getelementptr i8, ptr %pool, i64 256
  %sleeping = getelementptr i8, ptr %pool, i64 192
  %mutex = getelementptr i8, ptr %pool, i64 384
  %condition = getelementptr i8, ptr %pool, i64 640
  br label %look
look:
  %seen = phi i64 [ 1, %entry ], [ %seen, %pause ], [ %seen, %awake ], [ %job, %run ]
  %spins = phi i64 [ 0, %entry ], [ %spun, %pause ], [ 0, %awake ], [ 0, %run ]
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %job = lshr i64 %ticket, 32
  %new = call i1 @is_new(i64 %job, i64 %seen)
  br i1 %new, label %run, label %idle
run:
  %t = call i64 @take(ptr %pool)
  br label %look
idle:
  %told = load atomic i64, ptr %stop acquire, align 8
  %go_on = icmp eq i64 %told, 0
  br i1 %go_on, label %spin, label %end
spin:
  %spun = add i64 %spins, 1
  %patient = icmp slt i64 %spun, SPINS_BETWEEN_JOBS
  br i1 %patient, label %pause, label %sleep
pause:
  PAUSE
  br label %look
sleep:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %s = atomicrmw add ptr %sleeping, i64 1 seq_cst
  br label %check
check:
  %ticket2 = load atomic i64, ptr %pool seq_cst, align 8
  %job2 = lshr i64 %ticket2, 32
  %new2 = call i1 @is_new(i64 %job2, i64 %seen)
  %told2 = load atomic i64, ptr %stop seq_cst, align 8
  %stops = icmp ne i64 %told2, 0
  %get_up = or i1 %new2, %stops
  br i1 %get_up, label %awake, label %lie
lie:
  %w = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
awake:
  %r = atomicrmw sub ptr %sleeping, i64 1 seq_cst
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %look
end:
  ret void
}

define internal i1 @is_new(i64 %job, i64 %seen) alwaysinline {
  %parity = and i64 %job, 1
  %open = icmp eq i64 %parity, 0
  %other = icmp ne i64 %job, %seen
  %new = and i1 %open, %other
  ret i1 %new
}

; Wake the threads that sleep. They count themselves before they look at the ticket a last time, and this
; looks at the count after the ticket was written: one of the two sees what the other did.
define void @tg_pool_wake(ptr %pool) {
entry:
  %sleeping = getelementptr i8, ptr %pool, i64 192
  %mutex = getelementptr i8, ptr %pool, i64 384
  %condition = getelementptr i8, ptr %pool, i64 640
  %n = load atomic i64, ptr %sleeping seq_cst, align 8
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %wake, label %end
wake:
  %l = call i32 @pthread_mutex_lock(ptr %mutex)
  %b = call i32 @pthread_cond_broadcast(ptr %condition)
  %u = call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %end
end:
  ret void
}

; Take pieces and run them until none is left; return how often this thread slept in between.
define internal i64 @take(ptr %pool) noinline {
entry:
  %done = getelementptr i8, ptr %pool, i64 64
  %its_pieces = getelementptr i8, ptr %pool, i64 128
  %its_count = getelementptr i8, ptr %pool, i64 136
  %its_argument = getelementptr i8, ptr %pool, i64 144
  br label %look
look:
  %slept = phi i64 [ 0, %entry ], [ %slept, %ask ], [ %slept_more, %mine ]
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %closed = and i64 %ticket, 4294967296
  %open = icmp eq i64 %closed, 0
  %pieces = load atomic ptr, ptr %its_pieces monotonic, align 8
  %count = load atomic i64, ptr %its_count monotonic, align 8
  %argument = load atomic ptr, ptr %its_argument monotonic, align 8
  %number = and i64 %ticket, 4294967295
  %left = icmp slt i64 %number, %count
  %both = and i1 %open, %left
  br i1 %both, label %ask, label %end
ask:
  ; If the ticket is still the same, so is the job, and what was read of it holds until this piece is done.
  %following = add i64 %ticket, 1
  %asked = cmpxchg ptr %pool, i64 %ticket, i64 %following acq_rel monotonic
  %ours = extractvalue { i64, i1 } %asked, 1
  br i1 %ours, label %mine, label %look
mine:
  %piece = getelementptr %piece, ptr %pieces, i64 %number
  %its_first = getelementptr %piece, ptr %piece, i64 0, i32 3
  %first = load i64, ptr %its_first, align 8
  %s = call i64 @wait(ptr %done, i64 %first)
  %slept_more = add i64 %slept, %s
  call void @call_piece(ptr %piece, ptr %argument)
  %d = atomicrmw add ptr %done, i64 1 acq_rel
  br label %look
end:
  ret i64 %slept
}

define internal void @call_piece(ptr %piece, ptr %argument) {
  %its_begin = getelementptr %piece, ptr %piece, i64 0, i32 1
  %its_end = getelementptr %piece, ptr %piece, i64 0, i32 2
  %function = load ptr, ptr %piece, align 8
  %begin = load i64, ptr %its_begin, align 8
  %end = load i64, ptr %its_end, align 8
  call void %function(ptr %argument, i64 %begin, i64 %end)
  ret void
}

; Wait until a counter has reached a number: spin for longer than a piece takes; then sleep, so that a core is
; free for the thread that is waited for. Return how often it slept.
define internal i64 @wait(ptr %counter, i64 %number) noinline {
entry:
  %at_once = load atomic i64, ptr %counter acquire, align 8
  %already = icmp sge i64 %at_once, %number
  br i1 %already, label %end, label %begin
begin:
  %began = call i64 @now()
  br label %look
look:
  %sleeps = phi i64 [ 0, %begin ], [ 0, %spin ], [ %slept, %sleep ]
  %value = load atomic i64, ptr %counter acquire, align 8
  %reached = icmp sge i64 %value, %number
  br i1 %reached, label %end, label %again
again:
  %time = call i64 @now()
  %waited = sub i64 %time, %began
  %patient = icmp slt i64 %waited, SPIN_WITHIN_A_JOB
  br i1 %patient, label %spin, label %sleep
spin:
  PAUSE
  br label %look
sleep:
  %slept = add i64 %sleeps, 1
  %u = call i32 @usleep(i32 20)
  br label %look
end:
  %times = phi i64 [ 0, %entry ], [ %sleeps, %look ]
  ret i64 %times
}
"""

_PAUSES: Final = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
    "arm64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
"""The instruction that tells a processor that a loop only waits, by LLVM's name of its kind."""

_PATIENCE: Final = {
    "SPINS_BETWEEN_JOBS": 1000,
    "SPIN_WITHIN_A_JOB": 200_000,
    "SLEEPS_OF_A_GOOD_JOB": 4,
    "SHORTEST_CAUTION": 5_000_000,
    "LONGEST_CAUTION": 80_000_000,
    "MONOTONIC": 6 if sys.platform == "darwin" else 1,
}
"""The limits of waiting. Between jobs a thread looks so often, for some tens of microseconds, before it
sleeps. Within a job it looks for so many nanoseconds, longer than a piece takes; a sleep takes 70
microseconds at least. Where the caller then sleeps more often than that, the machine counts as busy, and
jobs are run alone for so many nanoseconds. And the number of the clock that never goes back."""

PIECE: Final = "%piece = type { ptr, i64, i64, i64 }"
"""LLVM's type of a piece: its function, the range, and how many pieces must be done first."""


def table(name: str, phases: Iterable[Iterable[tuple[str, int, int]]]) -> tuple[str, int]:
    """Return the LLVM IR of a table of pieces, a constant of some name, and how many they are.

    Parameters
    ----------
    name : str
        The constant is called ``@name``. Its text uses the type of `PIECE`, which a module defines once.
    phases : iterable
        Of each phase its pieces ``(function, begin, end)``. A phase begins when all before it is done; pieces
        of one phase can run at the same time. A function is
        ``void @function(ptr argument, i64 begin, i64 end)``.

    Examples
    --------
    >>> print(table("pieces", [[("loop", 0, 8), ("loop", 8, 16)], [("sum", 0, 1)]])[0])
    @pieces = internal constant [3 x %piece] [
      %piece { ptr @loop, i64 0, i64 8, i64 0 },
      %piece { ptr @loop, i64 8, i64 16, i64 0 },
      %piece { ptr @sum, i64 0, i64 1, i64 2 }
    ]
    """
    lines: list[str] = []
    for phase in phases:
        first = len(lines)
        lines += [f"  %piece {{ ptr @{f}, i64 {begin}, i64 {end}, i64 {first} }}" for f, begin, end in phase]
    body = ",\n".join(lines)
    return f"@{name} = internal constant [{len(lines)} x %piece] [\n{body}\n]", len(lines)


def ranges(length: int, *, grain: int = 1, most: int = 8) -> list[tuple[int, int]]:
    """Return at most so many ranges that together are ``0, length``, each but the last of whole grains.

    They depend on no number of threads, so that the bits do not either.

    Examples
    --------
    >>> ranges(100, grain=16, most=4)
    [(0, 32), (32, 64), (64, 96), (96, 100)]
    """
    grains = -(-length // grain)
    step = grain * max(1, -(-grains // most))
    return [(begin, min(begin + step, length)) for begin in range(0, length, step)]


def available() -> bool:
    """Return whether this system can have a pool: one with POSIX threads, and `llvmlite`."""
    return sys.platform != "win32" and machine.available()


class Pool:
    """Threads that wait for the pieces of compiled programs; see the head of this file.

    Parameters
    ----------
    threads : int
        How many threads share the work, the calling one included.

    Attributes
    ----------
    state_address : int
        Where the pool's state stands in memory: the first argument of ``tg_pool_run``.
    run_address : int
        Where ``tg_pool_run`` stands in memory.
    """

    def __init__(self, threads: int) -> None:
        if threads < 2:
            raise ValueError(f"a pool has at least 2 threads, not {threads}: one needs no pool")
        self.threads = threads
        self._library = _library()
        self.run_address = self._library.address("tg_pool_run")
        self._memory = ctypes.create_string_buffer(_SIZE + 64)
        self.state_address = ctypes.addressof(self._memory) + -ctypes.addressof(self._memory) % 64
        self._workers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._call("tg_pool_init")

    def start(self) -> None:
        """Start the threads, if they are not there yet."""
        if self._workers:
            return
        with self._lock:
            if not self._workers:
                work = self._function("tg_pool_work")
                workers = [
                    # A daemon: Python waits for no thread that sleeps in machine code. `stop` ends it before.
                    threading.Thread(
                        target=work, args=(self.state_address,), name="tinygrad-pool", daemon=True
                    )
                    for _ in range(self.threads - 1)
                ]
                for worker in workers:
                    worker.start()
                self._workers = workers

    def stop(self) -> None:
        """End the threads, and wait until they are gone. `start` makes new ones."""
        with self._lock:
            stop = ctypes.c_int64.from_address(self.state_address + 256)
            stop.value = 1
            self._call("tg_pool_wake")
            for worker in self._workers:
                worker.join()
            self._workers = []
            stop.value = 0

    def forked(self) -> None:
        """Begin anew in a forked process: no thread came along, and what they held is held by nobody."""
        self._lock = threading.Lock()
        self._workers = []
        ctypes.memset(self.state_address, 0, _SIZE)
        self._call("tg_pool_init")

    def _function(self, name: str) -> Any:
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._library.address(name))

    def _call(self, name: str) -> None:
        self._function(name)(self.state_address)


_pools: dict[int, Pool] = {}


def pool(threads: int) -> Pool:
    """Return the pool of so many threads; all programs of a process share it.

    Parameters
    ----------
    threads : int
        At least 2.
    """
    if threads not in _pools:
        _pools.setdefault(threads, Pool(threads))
    return _pools[threads]


@functools.cache
def _library() -> machine.Compiled:
    """Return the pool's machine code."""
    text = _TEXT
    declare, pause = _PAUSES.get(machine.host().triple.partition("-")[0], ("", ""))
    for word, value in {"DECLARE_PAUSE": declare, "PAUSE": pause, **_PATIENCE}.items():
        text = text.replace(word, str(value))
    return machine.compile_ir(text)


def _stop_all() -> None:
    for each in list(_pools.values()):
        each.stop()


def _all_forked() -> None:
    for each in list(_pools.values()):
        each.forked()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_all_forked)
