"""The error for a package that is not installed: what it is needed for, and the extra that brings it.

This module is below all others and imports none of them.
"""

from __future__ import annotations


def missing_package(purpose: str, extra: str, *packages: str, instead: str = "") -> ImportError:
    """Return the error for packages of an extra that are not installed.

    Parameters
    ----------
    purpose : str
        What they are needed for, as the end of "Pillow is needed".
    extra : str
        The extra that brings them.
    *packages : str
        Their names.
    instead : str
        What can be done without them, if anything.

    Examples
    --------
    >>> print(missing_package("to read a.jpg", "images", "Pillow"))
    Pillow is needed to read a.jpg: install it with pip install "tinygrad_mnist[images]"
    >>> print(missing_package("to serve", "serve", "starlette", "PIL", instead="or export it"))
    starlette, PIL are needed to serve: install them with pip install "tinygrad_mnist[serve]", or export it
    """
    verb, object_ = ("is", "it") if len(packages) == 1 else ("are", "them")
    return ImportError(
        f"{', '.join(packages)} {verb} needed {purpose}: install {object_} with "
        f'pip install "tinygrad_mnist[{extra}]"{instead and f", {instead}"}'
    )
