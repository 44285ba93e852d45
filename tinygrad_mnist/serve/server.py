"""The process of the service: its sockets, its signals, and the server of HTTP."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from tinygrad_mnist.data.pillow_images import silenced
from tinygrad_mnist.serve.application import Application
from tinygrad_mnist.serve.batching import Batcher
from tinygrad_mnist.serve.bodies import Body
from tinygrad_mnist.serve.connections import LARGEST_HEADERS, Gate, connections_of
from tinygrad_mnist.serve.limits import Limits
from tinygrad_mnist.serve.metrics import Metrics

if TYPE_CHECKING:
    from tinygrad_mnist.serve.kept import KeptDrawings
    from tinygrad_mnist.serve.recognition import Recogniser

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_RESERVED: Final = 64
"""Descriptors for what is no connection: files, libraries, the event loop."""
_ENOUGH: Final = 1 << 15
_BACKLOG: Final = 2048
"""Connections that the system holds until they are taken in."""


class Server(uvicorn.Server):
    """A server that ends as if nothing was wrong when it is asked to stop, and sweeps its connections."""

    def __init__(
        self, config: uvicorn.Config, gate: Gate, started: Callable[[Callable[[], None]], None]
    ) -> None:
        super().__init__(config)
        self._gate = gate
        self._tell_started = started

    def stop(self) -> None:
        """Finish what is held, and end; may be called from any thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        self._tell_started(self.stop)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal, and at once at a second Ctrl-C."""
        if threading.current_thread() is not threading.main_thread():  # which no signal reaches
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def on_tick(self, counter: int) -> bool:
        """Sweep; called ten times a second."""
        self._gate.sweep(asyncio.get_running_loop().time())
        return await super().on_tick(counter)


def serve(
    recogniser: Recogniser,
    sockets: list[socket.socket],
    limits: Limits | None = None,
    *,
    hosts: Collection[str] | None = None,
    kept: KeptDrawings | None = None,
    log: Callable[[str], None] | None = None,
    started: Callable[[Callable[[], None]], None] = lambda stop: None,
) -> None:
    """Answer requests until the process gets SIGTERM or Ctrl-C; then finish what is held, and return.

    Parameters
    ----------
    recogniser : Recogniser
        The model.
    sockets : list of socket
        What `bind` returned. They are closed at the end.
    limits : Limits, optional
        What requests may take.
    hosts : collection of str, optional
        The names that the service may be asked for by; any by default.
    kept : KeptDrawings, optional
        Where drawings that visitors correct are kept; they are not, by default.
    log : callable, optional
        Given a line for each request.
    started : callable, optional
        Called when requests are answered, with a function that stops the service as SIGTERM does.
    """
    limits = limits or Limits()
    description = recogniser.describe()
    metrics = Metrics(description["name"], description["version"])
    warm_up(recogniser, limits)
    gate = Gate(limits, raise_descriptors() - _RESERVED, metrics)
    with silenced(), Batcher(recogniser, metrics.recognised) as batcher:
        config = uvicorn.Config(
            Application(recogniser, batcher, metrics, limits, hosts=hosts, kept=kept, log=log),
            http=connections_of(gate),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=limits.idle_seconds,
            timeout_graceful_shutdown=limits.stop_seconds,
            h11_max_incomplete_event_size=LARGEST_HEADERS,
        )
        Server(config, gate, started).run(sockets)


def warm_up(recogniser: Recogniser, limits: Limits) -> None:
    """Do once what an answer takes, so that the first visitor waits for no import and no compilation."""
    from PIL import Image

    recogniser.warm_up()
    drawing = Image.new("L", (80, 80), 255)
    drawing.paste(0, (36, 10, 44, 70))
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        drawing.save(file, kind)
        (picture,) = Body(file.getvalue(), f"image/{kind.lower()}").pictures(limits)
        recogniser.answer([recogniser.prepare(picture)], explain=True)


def raise_descriptors() -> int:
    """Let the process have as many files and connections open as it may, and return their number."""
    if sys.platform == "win32":
        return 8192  # connections are no files there
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):  # a system may have a limit of its own below
            return soft
        return wanted
    return wanted if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)


# ---- addresses ---------------------------------------------------------------------------------------------


def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets that are bound to all addresses of a host, at one port.

    Parameters
    ----------
    host : str
        A name or an address.
    port : int
        0 to have the system choose one.

    Raises
    ------
    OSError
        With a sentence as its ``strerror``: if there is no such host, or the port cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(errno.EADDRNOTAVAIL, f"the host {host!r} has no address ({reason})") from error
    sockets: list[socket.socket] = []
    with ExitStack() as stack:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = stack.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":  # elsewhere it would let two services have one port
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            port = port or (sockets[0].getsockname()[1] if sockets else 0)
            try:
                one.bind((address[0], port, *address[2:]))
                one.listen(_BACKLOG)  # two may bind one port as long as neither listens
            except OSError as error:
                raise OSError(error.errno, _binding_error(host, port, error)) from error
            sockets.append(one)
        stack.pop_all()
    return sockets


def _binding_error(host: str, port: int, error: OSError) -> str:
    """Return the sentence that says why an address cannot be had, and what to do."""
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is in use by another program; choose another, or 0, by --port"
        case errno.EACCES | errno.EPERM:
            return f"port {port} of {host} may not be used; choose one from 1024 by --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine; choose another by --host"
    return f"port {port} of {host} cannot be had ({error.strerror or error})"
