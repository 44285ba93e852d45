"""The process of the service: sockets, signals, and the server of HTTP."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from tinygrad_mnist.serve.application import Application
from tinygrad_mnist.serve.batching import Batcher
from tinygrad_mnist.serve.limits import Limits

if TYPE_CHECKING:
    from tinygrad_mnist.serve.recognition import Recogniser


class Server(uvicorn.Server):
    """A server that ends with status 0 when it is asked to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """Stop at SIGTERM and Ctrl-C."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(address)
    return found


def serve(recogniser: Recogniser, sockets: list[socket.socket], limits: Limits | None = None) -> None:
    """Answer requests until the process is asked to stop."""
    limits = limits or Limits()
    with Batcher(recogniser) as batcher:
        config = uvicorn.Config(
            Application(recogniser, batcher, limits),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=limits.idle_seconds,
            timeout_graceful_shutdown=limits.stop_seconds,
        )
        Server(config).run(sockets)
