"""The error of a function that cannot be compiled."""

from __future__ import annotations


class JitError(RuntimeError):
    """The error of a function that does what cannot be replayed; it says where, and what to write.

    Examples
    --------
    >>> issubclass(JitError, RuntimeError)
    True
    """
