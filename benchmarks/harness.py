"""Timing that can be compared: rivals take turns in one run, and their medians are set in ratio.

Machines are shared and noisy, so a time alone says little. Every round runs each rival once, in turn; what
slows the machine down slows all of them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def pin_to_one_thread() -> None:
    """One BLAS thread and, where the system allows it, one core. Call before NumPy is imported."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@dataclass(frozen=True)
class Timing:
    """What one rival took, in seconds a call: the median and the quartiles over the rounds."""

    median: float
    low: float
    high: float


def race(rivals: Mapping[str, Callable[[], object]], rounds: int = 40, calls: int = 10) -> dict[str, Timing]:
    """Time rivals in turn: ``rounds`` times ``calls`` calls of each, after a warm-up."""
    for run in rivals.values():
        for _ in range(calls):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, run in rivals.items():
            start = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - start) / calls)
    timings = {}
    for name, values in seconds.items():
        low, _, high = quantiles(values, n=4)
        timings[name] = Timing(median(values), low, high)
    return timings


def report(title: str, timings: Mapping[str, Timing], ours: str) -> None:
    """Print a table: median, quartiles, and how long ours takes against each rival."""
    print(f"\n{title}")
    print(f"  {'':34}{'median':>10}  {'quartiles':>19}   ours takes")
    for name, timing in timings.items():
        ratio = "" if name == ours else f"{timings[ours].median / timing.median:.2f} of it"
        spread = f"{timing.low * 1e6:.0f} to {timing.high * 1e6:.0f}"
        print(f"  {name:34}{timing.median * 1e6:8.0f}us  {spread:>17}us   {ratio}")


def machine() -> str:
    """One line on where this runs, with a warning when others keep the machine busy."""
    line = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5 * (os.cpu_count() or 1):
        line += f"; WARNING: the machine is busy (load {load:.1f}), trust the ratios only"
    return line
