"""The load test: so many requests at a time, each answer kept, and a lost or wrong one found out."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from benchmarks import load, service
from benchmarks.harness import DisagreementError


class Small(asyncio.Protocol):
    """Answers each request by its body, in two pieces; hangs up at one that asks for it."""

    most = open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        Small.open += 1
        Small.most = max(Small.most, Small.open)

    def data_received(self, data: bytes) -> None:
        body = data.partition(b"\r\n\r\n")[2]
        if body == b"hang up":
            self.transport.close()
            return
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        self.transport.write(answer[:30])
        asyncio.get_running_loop().call_later(0.001, self.transport.write, answer[30:])

    def connection_lost(self, error: Exception | None) -> None:
        Small.open -= 1


@contextmanager
def listening() -> Iterator[int]:
    """Run the small service in a thread; its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(Small, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.call_later, 0.05, loop.stop)
        thread.join()
        loop.close()


def test_a_load_keeps_each_answer_and_how_long_it_took() -> None:
    requests = [service.request(b"body %d" % number) for number in range(60)]
    Small.most = 0
    with listening() as port:
        found = load.drive(port, requests, 7)
    assert [answer.partition(b"\r\n\r\n")[2] for answer in found.answers] == [
        b"body %d" % number for number in range(60)
    ]
    assert Small.most == 7
    assert all(0 < waited < found.seconds for waited in found.waited)


def test_a_request_that_nobody_answers_is_lost_and_found_out() -> None:
    requests = [service.request(body) for body in (b"hang up", b"body 1", b"body 2")]
    with listening() as port:
        found = load.drive(port, requests, 2)
    assert [bool(answer) for answer in found.answers] == [False, True, True]
    with pytest.raises(DisagreementError, match="ours answered request 1 by ''"):
        service.check("ours", found.answers, np.ones((3, 1)))


def test_wrong_probabilities_are_found_out() -> None:
    def answer(probabilities: list[float], status: int = 200) -> bytes:
        body = json.dumps({"predictions": [{"probabilities": probabilities}]}).encode()
        return b"HTTP/1.1 %d OK\r\n\r\n" % status + body

    expected = np.array([[0.25, 0.75], [1.0, 0.0]])
    service.check("ours", [answer([0.25, 0.75]), answer([0.99995, 0.00005])], expected)
    with pytest.raises(DisagreementError, match="ours answered request 2 by other probabilities"):
        service.check("ours", [answer([0.25, 0.75]), answer([0.999, 0.001])], expected)
    with pytest.raises(DisagreementError, match="request 1 by other probabilities"):
        service.check("ours", [answer([float("nan"), 0.75])], expected)
    with pytest.raises(DisagreementError, match=r"theirs answered request 1 by 'HTTP/1.1 503 OK'"):
        service.check("theirs", [answer([0.25, 0.75], 503)], expected)


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "find_spec", lambda package: None)
    with pytest.raises(service.SkippedError, match=r"starlette is not installed: pip install '\.\[serve\]'"):
        service.run(1)
