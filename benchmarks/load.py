"""A client that keeps a service busy: so many requests at a time over connections that stay open.

It runs in a process of its own, on a core of its own, and does no more than it must: the requests are made
before, the answers are looked at afterwards.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

PATIENCE = 60.0
"""Seconds after which a load is given up."""


@dataclass
class Load:
    """Requests, and what came of them.

    Parameters
    ----------
    requests : sequence of bytes
        The requests, each whole.
    """

    requests: Sequence[bytes]
    sent: int = 0
    answers: list[bytes] = field(init=False)
    """The answer to each request, with its headers; empty if there was none."""
    waited: list[float] = field(init=False)
    """The seconds from each request to its answer."""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.answers = [b""] * len(self.requests)
        self.waited = [0.0] * len(self.requests)

    def next(self) -> int | None:
        """Return the number of the next request; None if all were sent."""
        if self.sent == len(self.requests):
            return None
        self.sent += 1
        return self.sent - 1


class Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.received = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        """Send the next request, or end."""
        self.number = self.load.next()
        if self.number is None:
            self.transport.close()
            return
        self.began = time.perf_counter()
        self.transport.write(self.load.requests[self.number])

    def data_received(self, data: bytes) -> None:
        """Note an answer that is whole, and go on."""
        self.received += data
        if self.number is None or len(self.received) < whole(self.received):
            return
        self.load.waited[self.number] = time.perf_counter() - self.began
        self.load.answers[self.number], self.received = self.received, b""
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        """End, be it early: the requests that nobody answered have no answer."""
        if not self.ended.done():
            self.ended.set_result(None)


def whole(received: bytes) -> float:
    """Return how long an answer is, by what was received of it; infinity if that is not known yet."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return float("inf")
    head = received[:end].lower()
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return end + 4 + int(rest.partition(b"\r\n")[0]) if found else float("inf")


def drive(port: int, requests: Sequence[bytes], at_a_time: int, core: int | None = None) -> Load:
    """Send requests to a port of this machine, so many at a time, and return what came of them."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    load = Load(requests)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        pairs = [
            await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
            for _ in range(min(at_a_time, len(requests)))
        ]
        await asyncio.wait_for(asyncio.gather(*(connection.ended for _, connection in pairs)), PATIENCE)

    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        asyncio.run(run())
        load.seconds = time.perf_counter() - began
    finally:
        gc.enable()
    return load
