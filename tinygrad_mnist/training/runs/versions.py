"""The versions of what computes, for the files of a run."""

from __future__ import annotations

import platform
from contextlib import suppress
from typing import Any

import numpy as np

from tinygrad_mnist._version import __version__
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.loop.threads import threads_in_use


def versions() -> dict[str, str]:
    """Return the versions that numbers depend on: Python, NumPy, its BLAS, and this package.

    Examples
    --------
    >>> sorted(versions())
    ['blas', 'numpy', 'python', 'tinygrad_mnist']
    """
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tinygrad_mnist": __version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }


def machine(communicator: Communicator | None = None) -> dict[str, Any]:
    """Return what the last digits of numbers depend on besides seed and data.

    That is versions, threads, the processor, and the number of processes that train together.

    Where threadpoolctl is not installed, the number of threads is None, and so are the kernels that BLAS has
    chosen for the processor.
    """
    kernels = None
    with suppress(ImportError):
        from threadpoolctl import threadpool_info

        found = [library for library in threadpool_info() if library["user_api"] == "blas"]
        kernels = ", ".join(sorted({library.get("architecture") or "unknown" for library in found}))
    return {
        "versions": versions(),
        "threads": threads_in_use(),
        "processor": platform.machine(),
        "kernels": kernels,
        "processes": 1 if communicator is None else communicator.size,
    }


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what differs between two machines, in words.

    Examples
    --------
    >>> here = machine()
    >>> differences({**here, "threads": 2}, {**here, "threads": 1})
    ['threads: 2 then, 1 now']
    """
    flat = [{**side, **side.get("versions", {})} for side in (then, now)]
    return [
        f"{name}: {flat[0].get(name)} then, {value} now"
        for name, value in flat[1].items()
        if name != "versions" and name in flat[0] and flat[0][name] != value
    ]
