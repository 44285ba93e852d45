"""What ``jit`` raises when a function cannot be compiled, or must not be compiled again."""

from __future__ import annotations


class JitError(RuntimeError):
    """A function that `jit` was given cannot be replayed, or was compiled again where that is an error."""
