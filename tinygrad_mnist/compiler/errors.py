"""The errors of a function that cannot be compiled, and of one that runs as it is."""

from __future__ import annotations


class JitError(RuntimeError):
    """The error of a function that does what cannot be replayed; it says where, and what to write.

    Examples
    --------
    >>> issubclass(JitError, RuntimeError)
    True
    """


class RunsEagerly(Exception):
    """Raised while tracing where a function has to run as it is; the message says why.

    Attributes
    ----------
    is_said : bool
        Whether a user would not expect it, and is told.
    is_often : bool
        Whether it holds for all calls of the same key, and not only for those with the same Tensors.
    """

    def __init__(self, why: str, is_said: bool = False, is_often: bool = True) -> None:
        super().__init__(why)
        self.is_said, self.is_often = is_said, is_often
