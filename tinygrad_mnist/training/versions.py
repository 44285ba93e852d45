"""The versions of what computes, for the files of a run."""

from __future__ import annotations

import platform

import numpy as np

from tinygrad_mnist._version import __version__


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
