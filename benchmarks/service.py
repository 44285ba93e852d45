"""The service under load, on loopback: 2,000 requests, 50 at a time, beside the smallest service of PyTorch.

Both serve the same weights of the recipe `cnn-fast`, each in a process of its own on one core, and are loaded
in turn by one client on another core. Every answer is compared with the probabilities that the model gives.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import load, peers
from benchmarks.harness import CORES, DisagreementError, SkippedError, Table, Target, Timing, interleave
from benchmarks.recipe import mnist

OURS, AGAINST = "tinygrad_mnist", "PyTorch"
REQUESTS, AT_A_TIME, WARM_UP = 2000, 50, 300
REQUEST, PROCESSOR = "a request", "a request, processor's time"
PERCENTILES = {"50th percentile": 50, "99th percentile": 99}
"""Of how long each request waited."""
MEASURES = (REQUEST, PROCESSOR, *PERCENTILES)
"""The time for all requests by their number is that of the clock, and that of the processor. Where others use
the cores, only the second can be compared: a service of two threads gets more of a core than one of one."""
TOLERANCE = 1e-4
STARTED = 60.0


@dataclass(frozen=True)
class Pictures:
    """Requests of one kind, and the right answers.

    Parameters
    ----------
    title
        What they are.
    requests
        Requests of HTTP, each whole.
    probabilities
        What is to be answered, shape (n, classes).
    at_most
        The share of the time of PyTorch's service that ours is to take; both prepare pictures alike.
    """

    title: str
    requests: list[bytes]
    probabilities: Any
    at_most: float


def run(rounds: int = 5) -> list[Table]:
    """Measure both services in turn, with digits as MNIST has them and with large drawings of them."""
    for package in ("starlette", "uvicorn", "PIL"):
        if find_spec(package) is None:
            raise SkippedError(f"{package} is not installed: pip install '.[serve]'")
    dataset = mnist()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = str(train(dataset, Path(folder, "run")))
        commands = {OURS: ["tinygrad_mnist", "serve", directory, "--port"]}

        def enter_pytorch() -> None:
            import torch  # noqa: F401  (only whether it is there)

            commands[AGAINST] = ["benchmarks.peers.torch_service", directory]

        peers.take_part("PyTorch", enter_pytorch)
        services = {name: stack.enter_context(serving(command)) for name, command in commands.items()}
        client = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        kinds = (digits(directory, dataset), drawings(directory, dataset))
        return [on(pictures, services, client, rounds) for pictures in kinds]


def train(dataset: Any, out: Path) -> Path:
    """Train the recipe `cnn-fast`; return the run directory."""
    from tinygrad_mnist.training import RECIPES, train

    train(RECIPES["cnn-fast"], dataset, seed=0, out=out, source="mnist", report=False)
    return out


@dataclass(frozen=True)
class Service:
    """A service that runs: its port, and the number of its process."""

    port: int
    process: int

    def processor(self) -> float | None:
        """Return the seconds that it computed so far; None where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process}/stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(command: list[str]) -> Iterator[Service]:
    """Start a service on the first core, and wait until it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-m", *command, str(port)], stdout=said, stderr=said)
        if CORES:
            os.sched_setaffinity(process.pid, CORES[:1])
        try:
            until = time.monotonic() + STARTED
            while not listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    last = said.read().decode().strip()[-300:]
                    raise SkippedError(f"the service {' '.join(command[:2])} did not start: {last}")
                time.sleep(0.05)
            yield Service(port, process.pid)
        finally:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    """Return whether somebody listens at a port of this machine."""
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


# ---- pictures ----------------------------------------------------------------------------------------------


def digits(directory: str, dataset: Any) -> Pictures:
    """Return requests with test digits as they are."""
    return asked(directory, "28 x 28 pictures", dataset.test_images[:REQUESTS], 0.7)


def drawings(directory: str, dataset: Any) -> Pictures:
    """Return requests with the same digits as somebody draws them: dark on light, ten times as large."""
    from PIL import Image

    large = [
        np.array(Image.fromarray(255 - digit).resize((280, 280), Image.Resampling.BICUBIC))
        for digit in dataset.test_images[:REQUESTS]
    ]
    return asked(directory, "280 x 280 drawings", large, 0.9)


def asked(directory: str, title: str, pictures: Any, at_most: float) -> Pictures:
    """Return requests with pictures, and what a model answers to each."""
    from PIL import Image

    from tinygrad_mnist import Tensor, nn, no_grad
    from tinygrad_mnist.data.prepare import place_digit
    from tinygrad_mnist.training import load_checkpoint

    checkpoint = load_checkpoint(directory)
    requests = []
    for picture in pictures:
        file = BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        requests.append(request(file.getvalue()))
    images = np.stack([place_digit(picture).image for picture in pictures])
    checkpoint.model.eval()
    with no_grad():
        logits = checkpoint.model(Tensor(checkpoint.standardizer(images)))
        probabilities = nn.functional.softmax(logits, dim=1).numpy()
    return Pictures(title, requests, probabilities, at_most)


def request(picture: bytes) -> bytes:
    """Return a request with a PNG."""
    head = (
        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    )
    return head.encode() + picture


# ---- measuring ---------------------------------------------------------------------------------------------


def on(pictures: Pictures, services: dict[str, Service], client: ProcessPoolExecutor, rounds: int) -> Table:
    """Load the services in turn with pictures of one kind."""
    taken: dict[str, list[float]] = {}

    def measure(name: str, requests: list[bytes]) -> float:
        service = services[name]
        before = service.processor()
        found = client.submit(load.drive, service.port, requests, AT_A_TIME, client_core()).result()
        after = service.processor()
        check(name, found.answers, pictures.probabilities)
        measured = {REQUEST: found.seconds / len(requests)}
        if before is not None and after is not None:
            measured[PROCESSOR] = (after - before) / len(requests)
        for what, percentile in PERCENTILES.items():
            measured[what] = float(np.percentile(found.waited, percentile))
        for what, seconds in measured.items():
            taken.setdefault(row(what, name), []).append(seconds)
        return 0.0

    rivals: dict[str, Callable[[], float]] = {}
    for name in services:
        measure(name, pictures.requests[:WARM_UP])
        rivals[name] = partial(measure, name, pictures.requests)
    taken.clear()
    interleave(rivals, rounds)
    names = [row(what, name) for what in MEASURES for name in services]
    timings = {name: Timing.of(taken[name]) for name in names if name in taken}
    notes = tuple(
        f"{name} answers {1 / timings[row(REQUEST, name)].median:,.0f} requests a second" for name in services
    )
    targets = tuple(
        Target(row(what, OURS), row(what, AGAINST), at_most)
        for what, at_most in ((REQUEST, pictures.at_most), ("99th percentile", 1.0))
    )
    title = f"the service under load, {REQUESTS:,} requests, {AT_A_TIME} at a time, {pictures.title}"
    return Table(title, "ms", "", timings, targets, notes)


def row(measured: str, name: str) -> str:
    """Return the name of a measured time in the table."""
    return f"{measured}, {name}"


def client_core() -> int | None:
    """Return the core of the client: not that of the services, where there are two."""
    return CORES[-1] if CORES else None


def check(name: str, answers: list[bytes], probabilities: Any) -> None:
    """Raise an error if an answer is missing, or is another than the model's."""
    for number, (answer, expected) in enumerate(zip(answers, probabilities, strict=False)):
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.split(b" ")[1:2] != [b"200"]:
            raise DisagreementError(f"{name} answered request {number + 1} by {head[:80].decode()!r}")
        found = json.loads(body)["predictions"][0]["probabilities"]
        if not np.abs(np.array(found) - expected).max() <= TOLERANCE:
            raise DisagreementError(f"{name} answered request {number + 1} by other probabilities than ours")
