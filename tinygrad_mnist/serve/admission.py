"""Admission: how many requests are answered at a time, and how many bytes of them are held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad_mnist.serve.errors import overloaded
from tinygrad_mnist.serve.limits import Limits


class Admission:
    """Room for requests with a body, and the count of what is taken of it.

    It is used from the event loop alone, so it needs no lock.

    Attributes
    ----------
    requests, held : int
        The requests that have room now, and the bytes of their bodies.

    Examples
    --------
    >>> admission = Admission(Limits(requests=1))
    >>> with admission.room() as room:
    ...     room.take(100)
    ...     admission.requests, admission.held
    (1, 100)
    >>> admission.requests, admission.held
    (0, 0)
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.requests = 0
        self.held = 0

    @contextmanager
    def room(self) -> Iterator[Room]:
        """Give one request room.

        Raises
        ------
        Refused
            If as many requests have room as may.
        """
        if self.requests >= self._limits.requests:
            raise overloaded(f"{self.requests} requests are being answered already", "requests")
        self.requests += 1
        room = Room(self, self._limits.held_bytes)
        try:
            yield room
        finally:
            self.requests -= 1
            self.held -= room.taken


class Room:
    """The room of one request.

    Attributes
    ----------
    taken : int
        The bytes that it holds.
    """

    def __init__(self, admission: Admission, most: int) -> None:
        self._admission = admission
        self._most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """Count further bytes; raise `Refused` if all requests together would hold too many."""
        if self._admission.held + size > self._most:
            raise overloaded("the bodies of other requests take all the memory there is for them", "memory")
        self._admission.held += size
        self.taken += size
