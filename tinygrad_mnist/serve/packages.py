"""The packages that the service needs: those of the extra `serve`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from tinygrad_mnist.extras import missing_package

PACKAGES: Final = ("starlette", "uvicorn", "python_multipart", "prometheus_client", "PIL")


def missing_packages() -> list[str]:
    """Return the packages that are not installed."""
    return [package for package in PACKAGES if find_spec(package) is None]


def require_packages() -> None:
    """Raise an ImportError that names what to install, if a package is missing.

    Examples
    --------
    >>> require_packages()
    """
    if missing := missing_packages():
        raise missing_package("to serve a model", "serve", *missing)
