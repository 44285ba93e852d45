"""The packages that the service needs: those of the extra `serve`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

PACKAGES: Final = ("starlette", "uvicorn", "python_multipart", "prometheus_client", "PIL")


def missing_packages() -> list[str]:
    """Return the packages that are not installed."""
    return [package for package in PACKAGES if find_spec(package) is None]


def require_extra() -> None:
    """Raise an ImportError that names what to install, if a package is missing.

    Examples
    --------
    >>> require_extra()
    """
    if missing := missing_packages():
        raise ImportError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} needed to serve a model: install "
            'what is needed with pip install "tinygrad_mnist[serve]".'
        )
