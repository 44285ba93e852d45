"""What a stranger sends gets a clear answer, and the service lives on: 500 requests, and 10,000 at once."""

import asyncio
import socket
import struct
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.serve.exchanges import Answer, Server, exchange, parsed, post
from tinygrad_mnist.data import load_digits

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from tests.serve.hostile import Case, cases, some
from tests.serve.pictures import encoded
from tinygrad_mnist.serve.limits import Limits

MOST_MEMORY = 500e6
"""Bytes that the process of the service may hold at most."""
AT_A_TIME = 4
STRICT = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def fault(case: Case, answer: Answer) -> str | None:
    """Return what is wrong with an answer; None if nothing is."""
    if answer.status is None:
        return None if not case.is_http and "time" not in answer.why else f"no answer: {answer.why}"
    if answer.status not in case.statuses:
        return f"{answer.status}, not one of {sorted(case.statuses)}: {answer.body[:200]!r}"
    if not case.is_http and answer.headers.get("content-type", "").startswith("text/plain"):
        return None  # the server of HTTP itself could not read it
    if lacking := [name for name, value in STRICT.items() if answer.headers.get(name) != value]:
        return f"the headers lack {lacking}"
    try:
        found = answer.json()
    except ValueError as error:
        return None if answer.status < 300 else f"no JSON: {error}"
    if answer.status >= 400:
        sentence = found.get("error", "") if set(found) == {"error"} else ""
        is_clear = 15 < len(sentence) < 400 and "\n" not in sentence and "Traceback" not in sentence
        return None if is_clear else f"no sentence: {found}"
    rows = [one["probabilities"] for one in found.get("predictions", ())]
    return None if np.allclose(np.sum(rows, axis=-1), 1, atol=1e-4) else f"probabilities {rows}"


def faults(server: Server, given: list[Case]) -> list[str]:
    """Send requests, some at a time, and return what is wrong with the answers."""
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        answers = list(pool.map(lambda case: exchange(server.port, case.pieces), given))
    found = [(case, fault(case, answer)) for case, answer in zip(given, answers, strict=True)]
    return [f"{case.name}, {case.pieces[0][0][:80]!r}: {wrong}" for case, wrong in found if wrong]


def a_digit() -> tuple[bytes, str]:
    """Return a PNG of a digit, and the digit."""
    digits = load_digits()
    return encoded(digits.test_images[0]), str(digits.test_labels[0])


def assert_it_lives(server: Server) -> None:
    """An ordinary request is answered right, the memory was bounded, and no error of ours was logged."""
    picture, name = a_digit()
    answer = exchange(server.port, post(picture))
    assert answer.status == 200
    assert answer.json()["predictions"][0]["class"] == name
    assert server.process.poll() is None
    peak = server.peak()
    assert peak is None or peak < MOST_MEMORY
    assert "Traceback" not in server.log.read_text("utf-8")


def test_some_hostile_requests_get_clear_answers(digits_server: Server) -> None:
    assert faults(digits_server, some(80)) == []
    assert_it_lives(digits_server)


@pytest.mark.slow
def test_500_hostile_requests_get_clear_answers(digits_server: Server) -> None:
    given = cases()
    assert len(given) == 500
    assert faults(digits_server, given) == []
    assert_it_lives(digits_server)


def test_visitors_who_are_gone_before_the_answer_leave_no_error(digits_server: Server) -> None:
    picture = b"".join(piece for piece, _ in post(a_digit()[0]))
    for request in (picture, picture[:-20], b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\n", b"SM\r\n\r\n"):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", digits_server.port)) as visitor:
                visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                visitor.sendall(2 * request)
    assert_it_lives(digits_server)


# ---- a crowd -----------------------------------------------------------------------------------------------

CROWD = 10_000
PATIENCE = 25.0
"""Seconds until a visitor of the crowd gives up."""


def descriptors(needed: int) -> None:
    """Allow this process so many open connections; skip the test where that cannot be."""
    resource = pytest.importorskip("resource", reason="the limit of open files is not to be had here")
    current, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if current < needed:
        if most not in (resource.RLIM_INFINITY,) and most < needed:
            pytest.skip(f"{needed:,} connections are more than the {most:,} open files that are allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


class Visitor(asyncio.Protocol):
    """Asks once, and notes what comes until the connection ends, be it by a reset after the answer."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def visit(port: int, request: bytes) -> str:
    """Ask once, and return the status, or why there is none."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        _, visitor = await loop.create_connection(lambda: Visitor(request), "127.0.0.1", port)
    except ConnectionRefusedError:
        return "refused"
    is_late = (
        loop.time() - began > Limits().header_seconds / 2
    )  # the crowd has one process, which may be slow
    await visitor.ended
    answer = parsed(bytes(visitor.received), True)
    if answer is None:
        return "late" if is_late else "no answer"
    return str(answer.status) if answer.status == 200 or answer.json()["error"] else "no sentence"


async def crowd(port: int, request: bytes) -> Counter[str]:
    """Ask as often as a crowd does, all at once; count what came of it."""
    asking = [asyncio.wait_for(visit(port, request), PATIENCE) for _ in range(CROWD)]
    found = await asyncio.gather(*asking, return_exceptions=True)
    return Counter(one if isinstance(one, str) else repr(one) for one in found)


@pytest.mark.slow
def test_ten_thousand_at_once_get_an_answer_or_are_told_to_come_again(digits_server: Server) -> None:
    descriptors(CROWD + 200)
    request = b"".join(piece * times for piece, times in post(a_digit()[0]))
    found = asyncio.run(crowd(digits_server.port, request))
    assert set(found) <= {"200", "503", "429", "refused", "late"}, found
    assert found["200"] >= 200
    assert found["late"] < CROWD / 10
    assert_it_lives(digits_server)
