"""What a stranger sends gets a clear answer, and the service lives on: 500 requests, and 10,000 at once."""

import selectors
import socket
import struct
import time
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
PATIENCE = 120.0
"""Seconds in which all have been told something, on whatever machine."""
IN_TIME = Limits().header_seconds / 2
"""Seconds from the first packet to the request after which a visitor may be sent away without a word."""


def descriptors(needed: int) -> None:
    """Allow this process so many open connections; skip the test where that cannot be."""
    resource = pytest.importorskip("resource", reason="the limit of open files is not to be had here")
    current, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if current < needed:
        if most not in (resource.RLIM_INFINITY,) and most < needed:
            pytest.skip(f"{needed:,} connections are more than the {most:,} open files that are allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


class Visitor:
    """Asks once, and notes what comes until the connection ends, be it by a reset after the answer."""

    def __init__(self, port: int) -> None:
        self.received = bytearray()
        self.asked: float | None = None
        self.began = time.monotonic()
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.connect_ex(("127.0.0.1", port))

    def go_on(self, request: bytes) -> str | None:
        """Ask or read; at the end return the status, or why there is none."""
        try:
            if self.asked is None:
                self.asked = time.monotonic()
                assert self.connection.send(request) == len(request)
                return None
            if chunk := self.connection.recv(1 << 16):
                self.received += chunk
                return None
        except ConnectionRefusedError:
            return "refused"
        except ConnectionError:
            pass
        answer = parsed(bytes(self.received), True)
        if answer is None:
            return "no answer" if self.asked - self.began < IN_TIME else "late"
        return str(answer.status) if answer.status == 200 or answer.json()["error"] else "no sentence"


def crowd(port: int, request: bytes) -> Counter[str]:
    """Ask as often as a crowd does, all at once; count what came of it.

    Who asked late, as the crowd has one process and shares its machine, asks again.
    """
    found: Counter[str] = Counter()
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:

        def come() -> None:
            visitor = Visitor(port)
            selector.register(visitor.connection, selectors.EVENT_WRITE, visitor)

        for _ in range(CROWD):
            come()
        while selector.get_map():
            assert time.monotonic() - began < PATIENCE, found
            for key, _ in selector.select(1):
                visitor = key.data
                outcome = visitor.go_on(request)
                if outcome is None:
                    selector.modify(visitor.connection, selectors.EVENT_READ, visitor)
                    continue
                selector.unregister(visitor.connection)
                visitor.connection.close()
                if outcome == "late":
                    come()
                else:
                    found[outcome] += 1
    return found


@pytest.mark.slow
def test_ten_thousand_at_once_get_an_answer_or_are_told_to_come_again(digits_server: Server) -> None:
    descriptors(CROWD + 200)
    request = b"".join(piece * times for piece, times in post(a_digit()[0]))
    found = crowd(digits_server.port, request)
    assert found.total() == CROWD
    assert set(found) <= {"200", "503", "429", "refused"}, found
    assert found["200"] >= 200
    assert_it_lives(digits_server)
