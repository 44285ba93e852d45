"""The server on real sockets: connections that take too long, are too many, or speak no HTTP; and its end."""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from asyncio import selector_events
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import SMALL, untrained
from tests.serve.exchanges import STARTED, Answer, exchange, get, parsed, post
from tests.serve.pictures import PNG
from tinygrad_mnist.cli import main
from tinygrad_mnist.serve.headers import STRICT
from tinygrad_mnist.serve.limits import Limits
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.serve.server import bind, serve
from tinygrad_mnist.training import save_checkpoint

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
"""For what must come: no test waits so long, on whatever machine."""
PATIENT = Limits(
    body_bytes=100_000,
    header_seconds=SECONDS,
    body_seconds=SECONDS,
    request_seconds=SECONDS,
    stop_seconds=2,
)
HASTY = replace(PATIENT, header_seconds=0.2, body_seconds=0.2)
"""For visitors who never send the rest."""
SERVE = "tinygrad_mnist.serve.server.serve"


@contextmanager
def running(recogniser: Recogniser, limits: Limits) -> Iterator[tuple[int, Callable[[], None]]]:
    """Serve in a thread, and give the port and what stops it."""
    sockets = bind("127.0.0.1", 0)
    stop: Any = None
    is_started = threading.Event()

    def started(given: Callable[[], None]) -> None:
        nonlocal stop
        stop = given
        is_started.set()

    thread = threading.Thread(target=serve, args=(recogniser, sockets, limits), kwargs={"started": started})
    thread.start()
    assert is_started.wait(SECONDS)
    try:
        yield sockets[0].getsockname()[1], stop
    finally:
        stop()
        thread.join(SECONDS)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(recogniser: Recogniser) -> Iterator[int]:
    """A service that waits, for all tests that leave it as it was."""
    with running(recogniser, PATIENT) as (found, _):
        yield found


@pytest.fixture(scope="module")
def hasty(recogniser: Recogniser) -> Iterator[int]:
    """A service that hardly waits."""
    with running(recogniser, HASTY) as (found, _):
        yield found


def begin(port: int, sent: bytes = b"") -> socket.socket:
    """Open a connection, and send some bytes."""
    connection = socket.create_connection(("127.0.0.1", port), SECONDS)
    connection.sendall(sent)
    return connection


def begin_in_time(port: int, sent: bytes) -> socket.socket:
    """Open a connection, and send some bytes before a hasty service gives it up."""
    while True:
        began = time.monotonic()
        connection = begin(port, sent)
        if time.monotonic() - began < HASTY.header_seconds:
            return connection
        connection.close()


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < SECONDS
        time.sleep(0.01)


def holds_one(port: int) -> bool:
    """Whether a service has begun to read the body of a request."""
    return b"tinygrad_mnist_requests_held 1.0" in exchange(port, get("/metrics"), SECONDS).body


def lets_nobody_in(port: int) -> bool:
    """Whether a service has begun to end."""
    try:
        begin(port).close()
    except ConnectionRefusedError:
        return True
    return False


def read(connection: socket.socket) -> Answer:
    """Return the answer that comes, without sending anything more."""
    connection.settimeout(SECONDS)
    received = b""
    while (found := parsed(received, False)) is None:
        if not (chunk := connection.recv(1 << 16)):
            return parsed(received, True) or Answer(why="closed")
        received += chunk
    return found


def assert_clear(answer: Answer, status: int, part: str) -> None:
    """An answer that uvicorn or the gate gives has the form of all the others."""
    assert answer.status == status, answer
    assert part in answer.json()["error"]
    assert {name: answer.headers[name] for name in STRICT} == STRICT
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


def head(length: int) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % length


def test_a_connection_takes_one_request_after_the_other(port: int) -> None:
    with begin(port) as connection:
        for _ in range(3):
            connection.sendall(head(len(PNG)) + PNG)
            assert read(connection).status == 200


def test_requests_in_one_piece_are_answered_in_their_order(port: int) -> None:
    with begin(
        port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + head(len(PNG)) + PNG
    ) as connection:
        received = b""
        connection.settimeout(SECONDS)
        while received.count(b"HTTP/1.1 200 OK") < 2 or b"predictions" not in received:
            received += connection.recv(1 << 16)
    assert received.index(b'"status"') < received.index(b'"predictions"')


@pytest.mark.parametrize(
    ("sent", "status", "part"),
    [
        (b"hello\r\n\r\n", 400, "no HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", 400, "no HTTP"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "no HTTP"),  # without Host
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 400_000 + b"\r\n\r\n", 431, "16,384 bytes"),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400, "no HTTP"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "no HTTP"),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nnumber\r\n", 400, "no HTTP"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nnumber\r\n", 400, "no HTTP"),
    ],
)
def test_what_is_no_http_is_told_so_as_everything_else(
    port: int, sent: bytes, status: int, part: str
) -> None:
    with begin(port, sent) as connection:
        assert_clear(read(connection), status, part)
        assert connection.recv(1) == b""  # and closed


def test_a_visitor_who_is_gone_before_the_last_answer_leaves_no_error(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(transport: asyncio.Transport) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(selector_events._SelectorSocketTransport, "write_eof", gone)
    with begin(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nhello\r\n\r\n") as connection:
        assert read(connection).status == 200
    assert exchange(port, get("/healthz")).status == 200
    assert caplog.text == ""


def test_headers_that_do_not_come_are_waited_for_in_vain(hasty: int) -> None:
    with begin_in_time(hasty, b"GET / HTTP/1.1\r\nHost:") as connection:
        assert_clear(read(connection), 408, "within 0.2 seconds")


def test_headers_that_come_bit_by_bit_are_not_waited_for_longer(hasty: int) -> None:
    with begin_in_time(hasty, b"GET / HTTP/1.1\r\n") as connection, suppress(OSError):
        began = time.monotonic()
        connection.settimeout(0.05)
        received = b""
        while not received and time.monotonic() - began < SECONDS:
            connection.sendall(b"A: b\r\n")
            with suppress(TimeoutError):
                received += connection.recv(1000)
    assert b" 408 " in received


def test_a_second_request_that_does_not_end_is_not_waited_for(hasty: int) -> None:
    with begin_in_time(hasty, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        assert read(connection).status == 200
        connection.sendall(b"GET /heal")
        assert_clear(read(connection), 408, "within 0.2 seconds")


def test_a_connection_that_sends_nothing_is_closed_without_a_word(hasty: int) -> None:
    with begin(hasty) as connection, suppress(ConnectionError):
        assert connection.recv(1) == b""


def test_a_body_that_does_not_come_is_waited_for_in_vain(hasty: int) -> None:
    with begin_in_time(hasty, head(1000) + b"abc") as connection:
        assert_clear(read(connection), 408, "the body did not arrive within 0.2 seconds")


def test_a_body_that_is_too_long_is_refused_while_it_comes(port: int) -> None:
    """The answer arrives although the visitor still sends, and the connection ends soon after."""
    chunk = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    pieces = ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n", 1), (chunk, 100_000))
    assert_clear(exchange(port, pieces, SECONDS), 413, "more than 100,000 bytes")


@pytest.mark.skipif(not hasattr(socket, "MSG_DONTWAIT"), reason="this system cannot read without waiting")
def test_a_body_that_goes_on_after_the_answer_is_cut_off_without_another(hasty: int) -> None:
    received = b""
    with begin_in_time(hasty, HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as connection:
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < SECONDS:
                connection.sendall(b"1000\r\n" + bytes(0x1000) + b"\r\n")
                time.sleep(0.001)
                with suppress(BlockingIOError):
                    received += connection.recv(1 << 16, socket.MSG_DONTWAIT)
        assert time.monotonic() - began < SECONDS
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_visitor_who_wants_to_be_told_to_go_on_is(port: int) -> None:
    with begin(port, HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(PNG)) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(PNG)
        assert read(connection).status == 200
    with begin(port, HEAD + b"Expect: 100-continue\r\nContent-Length: 100001\r\n\r\n") as connection:
        assert read(connection).status == 413


def test_connections_beyond_the_limit_are_told_to_come_back(recogniser: Recogniser) -> None:
    with running(recogniser, replace(PATIENT, connections=3)) as (port, _):
        others = [begin(port, b"GET / HTTP/1.1\r\n") for _ in range(3)]
        answer = exchange(port, post(PNG), SECONDS)
        assert_clear(answer, 503, "3 connections are open already")
        assert answer.headers["retry-after"] == "1"
        for other in others:
            other.close()
        until(lambda: exchange(port, post(PNG), SECONDS).status == 200)  # they are gone


def test_an_answer_that_nobody_takes_in_is_given_up(recogniser: Recogniser) -> None:
    """The visitor asks for more than the buffers of the system hold, and reads none of it."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running(recogniser, replace(PATIENT, request_seconds=0.2)) as (port, _):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.settimeout(SECONDS)
        connection.connect(("127.0.0.1", port))
        began = time.monotonic()
        with connection, suppress(ConnectionError):
            connection.sendall(request * 1000)
            while time.monotonic() - began < SECONDS:
                connection.sendall(request)
                time.sleep(0.05)
        assert time.monotonic() - began < SECONDS


def test_many_requests_at_once_are_answered_or_told_to_come_back(recogniser: Recogniser) -> None:
    limits = replace(PATIENT, requests=5, connections=50)
    with running(recogniser, limits) as (port, _), ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: exchange(port, post(PNG), SECONDS), range(200)))
        assert {answer.status for answer in answers} <= {200, 503}
        assert sum(answer.status == 200 for answer in answers) > 0
        assert exchange(port, post(PNG), SECONDS).status == 200


# ---- the end -----------------------------------------------------------------------------------------------


def test_what_is_held_is_answered_before_the_end(recogniser: Recogniser) -> None:
    service = running(recogniser, replace(PATIENT, stop_seconds=SECONDS))
    with service as (port, stop), begin(port) as idle, begin(port, head(len(PNG)) + PNG[:50]) as held:
        until(lambda: holds_one(port))
        stop()
        assert idle.recv(1) == b""
        until(lambda: lets_nobody_in(port))
        held.sendall(PNG[50:])
        assert read(held).status == 200


def test_the_end_does_not_wait_for_who_never_finishes(recogniser: Recogniser) -> None:
    limits = replace(PATIENT, stop_seconds=0)
    with running(recogniser, limits) as (port, stop), begin(port, head(len(PNG)) + PNG[:50]) as held:
        until(lambda: holds_one(port))
        stop()
        assert read(held).status == 503


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "checkpoint.npz"
    save_checkpoint(path, untrained(SMALL))
    return path


@contextmanager
def process(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the command, and wait for the line that names the port."""
    command = [sys.executable, "-m", "tinygrad_mnist", "serve", str(run), "--port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as started:
        try:
            assert started.stdout is not None
            line = started.stdout.readline()
            yield started, int(line.rpartition(":")[2].strip("/\n"))
        finally:
            started.kill()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
def test_sigterm_finishes_what_is_held_and_ends_with_status_0(run: Path) -> None:
    with process(run) as (server, port), begin(port, head(len(PNG)) + PNG[:50]) as held:
        until(lambda: holds_one(port))
        server.send_signal(signal.SIGTERM)
        until(lambda: lets_nobody_in(port))
        held.sendall(PNG[50:])
        assert read(held).status == 200
        output, errors = server.communicate(timeout=STARTED)
        assert server.returncode == 0
        assert errors == ""
        assert output.endswith("stopped\n")


# ---- the command -------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], run: Path, *options: str) -> tuple[int, str]:
    """Return status and sentence of a command that does not get so far as to serve."""
    status = main(["serve", str(run), *options])
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.count("\n") == 1
    return status, found.err


def test_a_port_in_use_is_said_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        status, sentence = refused(capsys, run, "--port", str(port))
    assert status == 1
    assert f"port {port} of 127.0.0.1 is in use" in sentence


@pytest.mark.parametrize(
    ("options", "status", "part"),
    [
        (["--host", "no.such.host.invalid", "--port", "0"], 1, "has no address"),
        (["--host", "192.0.2.1", "--port", "0"], 1, "is no address of this machine"),
        (["--host", "a" * 300, "--port", "0"], 1, "has no address"),
        (["--port", "70000"], 2, "70000 is no port"),
        (["--port", "http"], 2, "no whole number"),
        (["--threshold", "1.5"], 2, "1.5 is no probability"),
        (["--allow-host", "http://a.b/"], 2, "--allow-host: 'http://a.b/' is no name of a host"),
        (["--allow-host", "a.b:80"], 2, "'a.b:80' is no name of a host"),
        (["--allow-host", "*"], 2, "name it alone, as digits.example or 192.0.2.7"),
        (["--keep", __file__, "--port", "0"], 1, "is a file, where a directory for drawings was expected"),
        (["--keep", f"{__file__}/a", "--port", "0"], 1, "cannot be written (Not a directory); name a dir"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    run: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int, part: str
) -> None:
    found, sentence = refused(capsys, run, *options)
    assert found == status
    assert part in sentence


def test_a_privileged_port_is_said_so(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:  # as for everybody but root
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    status, sentence = refused(capsys, run, "--port", "80")
    assert status == 1
    assert "port 80 of 127.0.0.1 may not be used; choose one from 1024" in sentence


def test_a_run_that_is_not_there_is_said_so_and_the_port_is_free_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        status, sentence = refused(capsys, tmp_path / "nothing", "--port", "0")
        assert status == 1
        assert "nothing" in sentence


def test_a_missing_package_is_named_with_its_extra(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygrad_mnist.serve.packages.find_spec", lambda name: None)
    status, sentence = refused(capsys, run)
    assert status == 1
    assert "starlette" in sentence
    assert 'pip install "tinygrad_mnist[serve]"' in sentence


def test_beyond_loopback_there_is_a_warning_and_any_name_will_do(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(SERVE, lambda *_, **options: given.update(options))
    assert main(["serve", str(run), "--port", "0"]) == 0
    assert capsys.readouterr().err == ""
    assert given["hosts"] == []
    assert main(["serve", str(run), "--port", "0", "--host", "0.0.0.0"]) == 0
    assert "asks for no password" in capsys.readouterr().err
    assert given["hosts"] is None
    main(["serve", str(run), "--port", "0", "--host", "0.0.0.0", "--allow-host", "a.example"])
    assert given["hosts"] == ["a.example"]


def test_a_directory_that_cannot_be_written_is_found_at_the_start(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tinygrad_mnist.files.require_writable", refuse)
    status, sentence = refused(capsys, run, "--keep", str(tmp_path), "--port", "0")
    assert status == 1
    assert f"{tmp_path} cannot be written (Permission denied); name a directory for drawings" in sentence


@pytest.mark.parametrize(
    ("host", "others", "expected"),
    [
        ("127.0.0.1", ["192.0.2.7"], ["http://127.0.0.1:{}/"]),
        (
            "0.0.0.0",
            ["192.0.2.7", "10.0.0.3"],
            [
                "http://127.0.0.1:{}/",
                "on other machines: http://192.0.2.7:{}/, http://10.0.0.3:{}/",
            ],
        ),
        ("0.0.0.0", [], ["http://127.0.0.1:{}/", "on other machines: this one has no address in a network"]),
    ],
)
def test_the_addresses_that_can_be_opened_are_printed(
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    others: list[str],
    expected: list[str],
) -> None:
    def serve(_: Recogniser, sockets: list[socket.socket], **options: Any) -> None:
        ports.append(sockets[0].getsockname()[1])
        options["started"](lambda: None)

    ports: list[int] = []
    monkeypatch.setattr(SERVE, serve)
    monkeypatch.setattr("tinygrad_mnist.serve.addresses.own_addresses", lambda family: others)
    assert main(["serve", str(run), "--port", "0", "--host", host]) == 0
    *lines, stops, _ = capsys.readouterr().out.splitlines()
    assert stops == "Ctrl-C stops it"
    assert len(lines) == len(expected)
    for line, part in zip(lines, expected, strict=True):
        assert part.replace("{}", str(ports[0])) in line


def test_a_model_of_small_digits_has_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SERVE, lambda *_, **options: None)
    save_checkpoint(tmp_path / "checkpoint.npz", untrained(SMALL, data="digits"))
    assert main(["serve", str(tmp_path / "checkpoint.npz"), "--port", "0"]) == 0
    assert "often errs on other people's handwriting" in capsys.readouterr().err


def test_all_that_an_answer_takes_is_done_before_the_first_visitor_comes(
    recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("warm_up", "prepare", "answer"):
        real = getattr(Recogniser, name)
        monkeypatch.setattr(
            Recogniser, name, lambda *of, real=real, name=name, **to: (done.append(name), real(*of, **to))[1]
        )
    with running(recogniser, PATIENT):
        assert done == ["warm_up", "prepare", "answer", "prepare", "answer"]
