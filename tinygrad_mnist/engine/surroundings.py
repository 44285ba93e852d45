"""The surroundings of a checkpointed function: what has to be there again when it is run again.

`nn.functional_call` puts other values into a module for the time of one call. A function that is checkpointed
inside runs again much later, when the module has its own values back. It stands in the engine because modules
and transforms both need it, and neither knows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar

Surroundings = tuple[Callable[[], AbstractContextManager[None]], ...]

surroundings: ContextVar[Surroundings] = ContextVar("surroundings", default=())
"""Functions that return the context managers to be entered, the outer one first, in this thread or task."""


@contextmanager
def entered(functions: Surroundings) -> Iterator[None]:
    """Enter the context managers that some functions return."""
    with ExitStack() as stack:
        for function in functions:
            stack.enter_context(function())
        yield
