"""With what a run was made: the versions that its numbers depend on."""

from __future__ import annotations

import platform

import numpy as np

from tinygrad_mnist._version import __version__


def versions() -> dict[str, str]:
    """Versions of Python, NumPy, this package, and of the BLAS that NumPy was built with.

    Examples
    --------
    >>> sorted(versions())
    ['blas', 'numpy', 'python', 'tinygrad_mnist']
    """
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tinygrad_mnist": __version__,
        "blas": _blas(),
    }


def _blas() -> str:
    configuration = np.show_config(mode="dicts")
    blas = configuration.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
