"""The error of a function that cannot be compiled."""

from __future__ import annotations


class JitError(RuntimeError):
    """What a jitted function does that cannot be replayed; the message says where, and what to write.

    Examples
    --------
    >>> issubclass(JitError, RuntimeError)
    True
    """
