"""The number of threads that BLAS computes matrix products with.

The matrices here are small, and OpenBLAS's threads wait for each other by spinning: on cores that are shared
two of them can take twenty times as long as one. So one thread is the default, everywhere; and where more are
asked for, products that are too small to be shared are still computed by one.

BLAS reads its variables of the environment when NumPy is imported; afterwards only threadpoolctl (the extra
``threads``) can change and tell the number. So this module must not import NumPy at its top.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any, Final

from tinygrad_mnist.numbers import count_text

VARIABLES: Final = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "OMP_NUM_THREADS",
)
"""The variables from which the BLAS libraries that NumPy is built with read their number of threads."""

WORTH_SHARING: Final = 1 << 27
"""Multiplications in a matrix product that is large enough to be shared by several threads.

A smaller one is done sooner than a thread may have to wait for its core.

Measured on two cores, a training step by two threads beside one by one thread: of 784-64-32-16-10 and 128
rows (6 million in the largest product) 0.95 alone, and 2.0 where another process wants a core; of
784-512-512-10 and 256 rows (103 million) 0.66 alone, 1.4 to 2.3 beside one process, and 11 beside several.
"""


def set_threads(count: int, warn_of_cores: bool = True) -> str | None:
    """Let BLAS compute with ``count`` threads, in this process and those that it starts.

    Call it before NumPy is imported; later it needs threadpoolctl.

    Parameters
    ----------
    count : int
        At least 1.
    warn_of_cores : bool
        Whether more threads than cores are told of.

    Returns
    -------
    str or None
        None if the number is set and suits this machine; otherwise a sentence that tells the user why not.

    Raises
    ------
    ValueError
        If ``count`` is less than 1.
    """
    if count < 1:
        raise ValueError(f"threads must be at least 1, not {count}")
    in_time = "numpy" not in sys.modules
    for variable in VARIABLES:
        os.environ[variable] = str(count)
    with suppress(ImportError):
        import numpy  # noqa: F401  (so that its BLAS is there to be limited)
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=count, user_api="blas")
    found = threads_in_use()
    if found is None:
        if in_time:
            return None
        return (
            f"NumPy was imported before, so that BLAS may not keep to {count} thread{'s' * (count > 1)}; "
            'install threadpoolctl (pip install "tinygrad_mnist[threads]")'
        )
    if found != count:
        asked = f"{count_text(count, 'thread')} {'was' if count == 1 else 'were'} asked for"
        return f"{asked}, but BLAS here computes with {found}"
    if warn_of_cores and count > (cores := _cores()):
        return (
            f"{count} threads wait for each other on {cores} core{'s' * (cores > 1)}; ask for {cores} at most"
        )
    return None


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_in_use() -> int | None:
    """Return the number of threads that BLAS computes with; None where threadpoolctl is not there to tell.

    Where several libraries are loaded, it is the largest of their numbers.
    """
    try:
        import numpy  # noqa: F401  (so that its BLAS is there to be asked)
        from threadpoolctl import threadpool_info
    except ImportError:
        return None
    counts: list[int] = [
        int(library["num_threads"]) for library in threadpool_info() if library["user_api"] == "blas"
    ]
    return max(counts, default=None)


@contextmanager
def threads_as(count: int | None) -> Iterator[None]:
    """Let BLAS compute with a number of threads inside, where threadpoolctl is there; None changes none."""
    if count is None or threads_in_use() in (None, count):
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=count, user_api="blas"):
        yield


@contextmanager
def threads_for(multiplications: int) -> Iterator[str | None]:
    """Let BLAS compute with one thread inside, if the largest of its products is too small to be shared.

    Yields a sentence for the user where that differs from what was asked for, and else None. Without
    threadpoolctl nothing changes.

    Parameters
    ----------
    multiplications : int
        Of the largest matrix product: rows times columns times the length of the sums.

    Examples
    --------
    >>> with threads_for(128 * 784 * 64):
    ...     threads_in_use() in (1, None)
    True
    """
    with _limit.changing:
        count = _limit.before if _limit.users else threads_in_use()
        limited = multiplications < WORTH_SHARING and count not in (1, None)
        if limited:
            _limit.enter(count)
    if not limited:
        yield None
        return
    try:
        yield f"one thread computes the small matrices of this model, as {count} would wait for each other"
    finally:
        with _limit.changing:
            _limit.leave()


class _Limit:
    """The limit of one thread while any of several trainings wants it; the last one to end takes it away.

    BLAS has one number of threads for the whole process. A training that took the limit away for itself would
    take it from another that goes on in another thread of Python.
    """

    def __init__(self) -> None:
        self.changing = Lock()  # held around all that follows
        self.users = 0
        self.before: int | None = None
        self.limits: Any = None

    def enter(self, count: int | None) -> None:
        from threadpoolctl import threadpool_limits

        if not self.users:
            self.before, self.limits = count, threadpool_limits(limits=1, user_api="blas")
        self.users += 1

    def leave(self) -> None:
        self.users -= 1
        if not self.users:
            self.limits.restore_original_limits()


_limit: Final = _Limit()
