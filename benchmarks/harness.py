"""Timing that can be compared: rivals take turns in one run, and their medians are set in ratio.

Machines are shared and noisy, so a time alone says little. Every round measures each rival once, in turn;
what slows the machine down slows all of them. How much of its core the process got is measured too.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median, quantiles

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
)
CORES = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
"""The cores that this process may use, before it is pinned; empty where the system does not say."""

UNITS = {"µs": 1e6, "ms": 1e3, "s": 1.0, "MB": 1e-6}
"""The units in which a table shows seconds or bytes, and their factors."""


class SkippedError(Exception):
    """A subject that cannot be measured here; the message is a sentence that says why."""


class FileError(Exception):
    """A file of the benchmarks that cannot be read for what it is; the message is a sentence."""


class DisagreementError(Exception):
    """Rivals did not compute the same, so that no time counts; the message is a sentence that says where."""


def pin_to_one_thread() -> None:
    """Keep to one BLAS thread and, if the system allows it, one core; call it before any import of NumPy.

    The core is what holds JAX to one thread too, which reads none of the variables.
    """
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    if CORES:
        os.sched_setaffinity(0, CORES[-1:])


@dataclass(frozen=True)
class Timing:
    """The time of one rival in seconds (or its bytes): the median and the quartiles over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Timing:
        """Summarise the measurements of all rounds."""
        values = list(values)
        low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        return cls(median(values), low, high)


def limit(value: float, unit: str) -> dict[str, Timing]:
    """Return a rival that always takes so many seconds or bytes, for a target that is an amount."""
    return {f"{value * UNITS[unit]:g} {unit}": Timing(value, value, value)}


@dataclass(frozen=True)
class Target:
    """The first of two rivals is to take at most so much of what the second takes."""

    ours: str
    against: str
    at_most: float


@dataclass(frozen=True)
class Table:
    """The comparison of one run."""

    title: str
    unit: str
    ours: str
    timings: dict[str, Timing]
    targets: tuple[Target, ...] = ()
    notes: tuple[str, ...] = ()
    share: float | None = None
    """The share of its core that this process got while it measured; None where others measured for it."""

    def ratio(self, first: str, second: str) -> float | None:
        """Return the ratio of two rivals' medians; None if one of them did not take part."""
        if first not in self.timings or second not in self.timings:
            return None
        return self.timings[first].median / self.timings[second].median


def interleave(rivals: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Call each rival once a round, every other round in the opposite order; return what they measured."""
    values: dict[str, list[float]] = {name: [] for name in rivals}
    names = list(rivals)
    for _ in range(rounds):
        for name in names:
            values[name].append(rivals[name]())
        names.reverse()
    return values


@dataclass
class Race:
    """The timings of `race`, and the share of its core that the process got meanwhile."""

    timings: dict[str, Timing] = field(default_factory=dict)
    share: float = 0.0


def race(
    rivals: Mapping[str, Callable[[], object]], rounds: int, calls: int = 10, operations: int = 1
) -> Race:
    """Time rivals in turn, after a warm-up.

    Parameters
    ----------
    rivals : mapping of str to callable
        What is timed.
    rounds : int
        How often each has its turn.
    calls : int
        How often it is called in a turn.
    operations : int
        How many operations a call stands for; the timings are those of one.
    """
    for run in rivals.values():
        for _ in range(calls):
            run()
    # The garbage collector leaves alone what exists by now: no rival pays for the size of another's library.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    wall, own = time.perf_counter(), time.process_time()
    values = interleave(
        {name: partial(seconds_of, run, calls, calls * operations) for name, run in rivals.items()}, rounds
    )
    share = (time.process_time() - own) / (time.perf_counter() - wall)
    return Race({name: Timing.of(taken) for name, taken in values.items()}, min(share, 1.0))


def seconds_of(run: Callable[[], object], calls: int, operations: int) -> float:
    """Return the seconds that an operation takes, over some calls."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / operations
