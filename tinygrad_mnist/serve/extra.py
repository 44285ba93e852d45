"""The packages that the service needs: those of the extra `serve`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

PACKAGES: Final = ("starlette", "uvicorn", "python_multipart", "prometheus_client", "PIL")


def require_extra() -> None:
    """Raise an ImportError that names what to install, if a package is missing.

    Examples
    --------
    >>> require_extra()
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise ImportError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} needed to serve a model: install "
            'what is needed with pip install "tinygrad_mnist[serve]".'
        )
