"""A server in a process of its own, and a client that sends any bytes, be they HTTP or not."""

import json
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STARTED = 60.0
"""Seconds that a server may take until it answers."""


@dataclass
class Server:
    """A service of one run on loopback."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}"

    def peak(self) -> float | None:
        """Return the most bytes that the process held so far; None where the system does not say."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        except OSError:
            return None
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return 1024.0 * int(found[1]) if found else None

    def stop(self) -> int:
        """Ask the server to end, and return its exit status."""
        self.process.terminate()
        try:
            return self.process.wait(STARTED)
        finally:
            self.process.kill()


def free_port() -> int:
    """Return a port that nobody listens at just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def serving(run: Path, *options: str, port: int | None = None) -> Iterator[Server]:
    """Start `tinygrad-mnist serve` on a run, wait until it answers, and end it at last."""
    port = port or free_port()
    command = [sys.executable, "-m", "tinygrad_mnist", "serve", str(run), "--port", str(port), *options]
    log = run.parent / f"serve-{port}.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    server = Server(port, process, log)
    try:
        began = time.monotonic()
        while exchange(port, get("/healthz"), STARTED).status != 200:
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() - began < STARTED, log.read_text("utf-8")
            time.sleep(0.05)
        yield server
    finally:
        server.stop()


# ---- one exchange ----------------------------------------------------------------------------------------

Pieces = tuple[tuple[bytes, int], ...]
"""What is sent: pieces of bytes, and how often each is repeated."""


def plain(method: str, path: str) -> Pieces:
    """Return a request without a body."""
    lines = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return ((lines.encode("latin-1"), 1),)


def get(path: str) -> Pieces:
    """Return a plain request for a path."""
    return plain("GET", path)


def post(body: bytes, kind: str | None = "image/png", path: str = "/predict", *headers: str) -> Pieces:
    """Return a request that posts a body of a type to a path."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        f"Content-Length: {len(body)}",
        *([] if kind is None else [f"Content-Type: {kind}"]),
        *headers,
    ]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return ((head, 1), (body, 1))


@dataclass
class Answer:
    """What came back: no status if there was none, and then why."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    why: str = ""
    seconds: float = 0.0

    def json(self) -> Any:
        """Return the body as strict JSON: NaN and Infinity are none."""

        def refuse(name: str) -> None:
            raise ValueError(f"{name} is no JSON")

        return json.loads(self.body, parse_constant=refuse)


def exchange(port: int, pieces: Pieces, seconds: float = 60.0) -> Answer:
    """Send pieces, read meanwhile, and return the answer; the sending ends when there is one."""
    began = time.monotonic()
    answer = Answer()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
            answer = talk(connection, pieces, began + seconds)
    except OSError as error:
        answer.why = type(error).__name__
    answer.seconds = time.monotonic() - began
    return answer


def talk(connection: socket.socket, pieces: Pieces, until: float) -> Answer:
    """Send and read on a connection until an answer is whole, or the connection or the time ends."""
    connection.setblocking(False)
    waiting = (memoryview(piece) for piece, times in pieces for _ in range(times))
    sending: memoryview | None = next(waiting, None)
    received, ended, why = bytearray(), False, ""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while (answer := parsed(bytes(received), ended)) is None:
            if ended:
                return Answer(why=why or "closed")
            if (left := until - time.monotonic()) <= 0:
                return Answer(why="nothing came in time")
            for _, ready in selector.select(left):
                try:
                    if ready & selectors.EVENT_READ:
                        chunk = connection.recv(1 << 16)
                        received += chunk
                        ended = not chunk
                    elif sending is not None:
                        sending = sending[connection.send(sending) :] or next(waiting, None)
                except BlockingIOError:
                    continue
                except ConnectionError as error:
                    if ready & selectors.EVENT_READ:
                        ended, why = True, type(error).__name__
                    sending = None  # what was answered before can still be read
            if sending is None:
                selector.modify(connection, selectors.EVENT_READ)
    return answer


def parsed(received: bytes, ended: bool) -> Answer | None:
    """Return the answer that some bytes hold; None if it is not whole yet."""
    head, blank, body = received.partition(b"\r\n\r\n")
    if not blank:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    status = int(first.split(" ")[1])
    if status < 200:
        return parsed(body, ended)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if (length := headers.get("content-length")) is not None:
        body = body[: int(length)]
        whole = len(body) == int(length)
    else:
        whole = ended
    return Answer(status, headers, body) if whole else None
