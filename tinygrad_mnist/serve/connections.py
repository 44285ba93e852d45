"""A connection that nobody can hold open for nothing, and whose every answer has the headers of the service.

What uvicorn answers by itself, to what is no HTTP, never reaches an application: it is worded here. And
uvicorn waits without end for the headers of a request, and for a visitor to take an answer in. `Gate` sets
those an end, and bounds the number of connections.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from tinygrad_mnist.serve.errors import Refused, overloaded
from tinygrad_mnist.serve.headers import LARGEST_HEADERS, NOT_STORED, STRICT
from tinygrad_mnist.serve.limits import Limits
from tinygrad_mnist.serve.metrics import Metrics

_LINGERING: Final = 2.0
"""Seconds in which a visitor may take in the answer to a request that is not read to its end."""


class Gate:
    """The connections that are open, and the end of those that take too long.

    Parameters
    ----------
    limits : Limits
        How many there may be, and how long they may take.
    descriptors : int
        Connections of any kind that the process can have open.
    metrics : Metrics
        What counts refusals.
    """

    def __init__(self, limits: Limits, descriptors: int, metrics: Metrics) -> None:
        self.limits = limits
        self.metrics = metrics
        self.most = min(limits.connections, descriptors // 2)
        self.descriptors = descriptors
        self.served: set[Connection] = set()
        self.refused: set[Connection] = set()
        metrics.watch("connections", "Connections that are served", lambda: len(self.served))

    def let_in(self, connection: Connection) -> bool:
        """Return whether a new connection is served. One that is not is told so when its request comes."""
        if len(self.served) < self.most:
            self.served.add(connection)
            return True
        self.refused.add(connection)
        if len(self.served) + len(self.refused) > self.descriptors:  # no room to wait in
            connection.refuse_at_once()
        return False

    def let_out(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self.served.discard(connection)
        self.refused.discard(connection)

    def sweep(self, now: float) -> None:
        """End the connections that take too long; called several times a second."""
        for connection in [*self.served, *self.refused]:
            connection.end_if_late(now)


class Connection(H11Protocol):
    """A connection of HTTP.

    Attributes
    ----------
    since : float or None
        Since when something is waited for: the rest of the headers of a request, or the end of the
        connection; None while a request is answered, and between two.
    is_half_closed : bool
        Whether the visitor has said that he sends no more. He may still wait for an answer.
    """

    gate: Gate

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self.since: float | None = self.loop.time()
        self.has_sent = False  # anything at all: browsers open connections that they may never use
        self.is_ending = False
        self.is_half_closed = False
        self.unsent_since: float | None = None
        self.is_served = self.gate.let_in(self)

    def refuse_at_once(self) -> None:
        """Answer before the request has come, and close."""
        self.is_ending = True
        self.transport.write(last_answer(self._crowded()))
        self.transport.close()

    def _crowded(self) -> Refused:
        return overloaded(f"{self.gate.most:,} connections are open already", "connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.gate.let_out(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a piece of a request."""
        self.has_sent = True
        if self.is_ending:  # what comes after the last answer is not read
            return
        if not self.is_served:
            self._end(self._crowded())
            return
        if self.since is None and not self._is_answering:
            self.since = self.loop.time()
        super().data_received(data)
        if self._is_answering:
            self.since = None

    def eof_received(self) -> bool:  # type: ignore[override]
        """Give the answer to what was asked, although the visitor has closed his side."""
        self.is_half_closed = True
        self._close_if_all_is_answered()
        return True  # what is not closed by now is closed after the answer

    def on_response_complete(self) -> None:
        """Go on to the next request, or close if there cannot be one."""
        super().on_response_complete()
        if self.is_half_closed:
            self._close_if_all_is_answered()

    def _close_if_all_is_answered(self) -> None:
        """Close a connection on which nothing more comes, unless an answer is still to be given."""
        is_cut_off = self.has_sent and self.since is not None and not self._has_body_left
        if self._is_answering:
            if not self._has_body_left:
                return
            is_cut_off = True
        if is_cut_off and not self.is_ending:
            self._end(_CUT_OFF)
        self.transport.close()

    @property
    def _last(self) -> RequestResponseCycle | None:
        """The last request, and its answer; None before the first."""
        return self.cycle

    @property
    def _is_answering(self) -> bool:
        return self._last is not None and not self._last.response_complete

    def end_if_late(self, now: float) -> None:
        """End the connection if the visitor takes too long to ask, or to take in an answer."""
        limits = self.gate.limits
        if self.is_ending:
            if self.since is not None and now - self.since > _LINGERING:
                self.transport.abort()
            return
        if not self.transport.get_write_buffer_size():
            self.unsent_since = None
        elif self.unsent_since is None:
            self.unsent_since = now
        elif now - self.unsent_since > limits.request_seconds:
            self.gate.metrics.rejected("unread")
            self.transport.abort()
            return
        if self.since is None or now - self.since <= limits.header_seconds:
            return
        if not self.has_sent or self._has_body_left:
            self.transport.abort()
            return
        self._end(
            Refused(
                408,
                f"the headers did not arrive within {limits.header_seconds:g} seconds; send them again",
                reason="slow",
            )
        )

    @property
    def _has_body_left(self) -> bool:
        """Return whether the last request was answered, and its body still comes."""
        return self._last is not None and self._last.more_body

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        status = getattr(sys.exception(), "error_status_hint", 400)  # an error of the parser, h11
        self._end(_NO_HTTP.get(status, _NO_HTTP[400]))

    def shutdown(self) -> None:
        """End the connection, now or after the answer that it waits for."""
        if self.is_ending:
            self.transport.abort()
        else:
            super().shutdown()

    def _end(self, refusal: Refused) -> None:
        """Send a last answer, and close: first our side, so that the answer is not lost, then the whole."""
        self.gate.metrics.rejected(refusal.reason)
        self._unset_keepalive_if_required()
        self.is_ending = True
        self.since = self.loop.time()
        last = self._last
        has_begun = last is not None and last.response_started and not last.response_complete
        if last is not None:  # an application that still reads the request learns that there is no more
            last.disconnected = True
            last.message_event.set()
        if has_begun or self.transport.is_closing():
            self.transport.abort()
            return
        self.flow.resume_reading()
        self.transport.write(last_answer(refusal))
        if self.transport.can_write_eof():
            with suppress(OSError):  # the visitor may be gone by now
                self.transport.write_eof()


_NO_HTTP: Final = {
    400: Refused(400, "what was sent is no HTTP/1.1 request; see RFC 9112", reason="http"),
    431: Refused(431, f"the headers have more than {LARGEST_HEADERS:,} bytes; send fewer", reason="headers"),
    501: Refused(501, "the Transfer-Encoding is none but chunked; send the body as it is", reason="http"),
}
"""The errors that the parser of HTTP tells apart, by status."""

_CUT_OFF: Final = Refused(
    400, "the request is cut off: its sender closed the connection before its end", reason="http"
)

_PHRASES: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
}


def last_answer(refusal: Refused) -> bytes:
    """Return the bytes of an answer after which the connection is closed.

    Examples
    --------
    >>> print(last_answer(Refused(408, "too slow", reason="slow")).decode().splitlines()[0])
    HTTP/1.1 408 Request Timeout
    """
    content = json.dumps({"error": refusal.sentence}).encode()
    headers: dict[str, Any] = {
        "content-type": "application/json",
        "content-length": len(content),
        "connection": "close",
        "cache-control": NOT_STORED,
        **STRICT,
        **refusal.headers,
    }
    lines = [f"{name}: {value}" for name, value in headers.items()]
    first = f"HTTP/1.1 {refusal.status} {_PHRASES[refusal.status]}"
    return "\r\n".join([first, *lines, "", ""]).encode() + content


def connections_of(gate: Gate) -> type[Connection]:
    """Return the class of connections that come through a gate."""
    return type("Connection", (Connection,), {"gate": gate})
