"""The application of ASGI: what it answers, to whom, and with which headers. Without sockets."""

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.serve.pictures import PNG, encoded, stroke
from tinygrad_mnist.data.images import read_image
from tinygrad_mnist.serve.application import Application
from tinygrad_mnist.serve.batching import Batcher
from tinygrad_mnist.serve.headers import STRICT
from tinygrad_mnist.serve.kept import KeptDrawings
from tinygrad_mnist.serve.limits import Limits
from tinygrad_mnist.serve.metrics import Metrics
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.training import predict_picture
from tinygrad_mnist.training.prediction import preparation_of

SECONDS = 60.0
"""For what must come; nothing waits so long."""
LOW = Limits(
    body_bytes=20_000,
    json_bytes=10_000,
    held_bytes=30_000,
    pictures=3,
    explained=2,
    pixels=40_000,
    scans=2,
    requests=2,
    body_seconds=SECONDS,
    request_seconds=SECONDS,
)
"""Little of everything but of time: what is answered does not depend on how fast the machine is."""
HASTY = replace(LOW, body_seconds=0.1)
"""For those who never send the rest."""


class Client:
    """Requests to an application, each in an event loop of its own."""

    def __init__(self, app: Application) -> None:
        self.app = app

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", trust_env=False
            ) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


@pytest.fixture
def serve(recogniser: Recogniser) -> Iterator[Callable[..., Client]]:
    """Start an application with some limits and options, and return a client of it."""
    with Batcher(recogniser) as batcher:

        def start(limits: Limits | None = None, **options: Any) -> Client:
            metrics = Metrics("test", recogniser.version)
            app = Application(recogniser, batcher, metrics, limits or LOW, **options)
            return Client(app)

        yield start


@pytest.fixture
def client(serve: Callable[..., Client]) -> Client:
    return serve()


def form(*files: bytes, end: bytes = b"--X--\r\n") -> bytes:
    head = b'--X\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n'
    return b"".join(head + file + b"\r\n" for file in files) + end


FORM = "multipart/form-data; boundary=X"
ARRAY = stroke(12, 10)


def status_of(app: Application, target: str, host: bytes) -> int:
    """Return the status of the answer to a target that httpx does not send."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": target, "query_string": b""}
    asyncio.run(app({**scope, "headers": [(b"host", host)], "client": None}, receive, send))
    return int(sent[0]["status"])


# ---- pictures of every kind --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body", "count"),
    [
        ("image/png", PNG, 1),
        ("IMAGE/PNG; x=y", PNG, 1),
        ("image/jpeg", encoded(stroke(), "JPEG", quality=95), 1),
        ("application/json", json.dumps(ARRAY.tolist()).encode(), 1),
        ("application/json; charset=utf-8", json.dumps({"image": ARRAY.tolist()}).encode(), 1),
        ("application/json", json.dumps({"images": [ARRAY.tolist(), stroke(30, 40).tolist()]}).encode(), 2),
        ("application/json", json.dumps((ARRAY / 255).tolist()).encode(), 1),
        ("application/json", json.dumps([ARRAY.tolist()] * 3).encode(), 3),
        (FORM, form(PNG), 1),
        (FORM, form(PNG, encoded(stroke(), "JPEG")), 2),
    ],
)
def test_pictures_of_each_kind_are_answered_in_their_order(
    client: Client, kind: str, body: bytes, count: int
) -> None:
    answer = client.post("/predict", content=body, headers={"content-type": kind})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"model", "classes", "predictions"}
    assert len(found["predictions"]) == count
    for one in found["predictions"]:
        assert one["class"] == found["classes"][one["index"]]
        assert np.isclose(sum(one["probabilities"]), 1, atol=1e-5)
        assert np.shape(one["image"]) == (28, 28)
        assert "explanation" not in one


def test_a_picture_is_answered_as_predict_picture_answers_it(client: Client, recogniser: Recogniser) -> None:
    found = client.post("/predict", content=PNG, headers={"content-type": "image/png"}).json()
    expected = predict_picture(recogniser.checkpoint, io.BytesIO(PNG))
    one = found["predictions"][0]
    assert one["class"] == expected.name
    np.testing.assert_allclose(one["probabilities"], expected.probabilities, atol=1e-6)
    np.testing.assert_array_equal(one["image"], expected.image)
    np.testing.assert_allclose(one["placement"], expected.placement)


def test_a_large_jpeg_is_scaled_down_and_placed_on_the_picture_that_was_given(
    serve: Callable[..., Client], recogniser: Recogniser
) -> None:
    large = np.kron(stroke(50, 50), np.ones((83, 83), np.uint8))  # 4150 a side: read at a half
    body = encoded(large, "JPEG")
    client = serve(Limits(pixels=1 << 25, request_seconds=SECONDS))
    found = client.post("/predict", content=body, headers={"content-type": "image/jpeg"}).json()
    expected = predict_picture(recogniser.checkpoint, io.BytesIO(body))
    np.testing.assert_allclose(found["predictions"][0]["placement"], expected.placement)


def test_arrays_of_one_request_are_on_one_scale(client: Client) -> None:
    """A faint picture beside a strong one is blank, as all have the same white."""
    faint, strong = (ARRAY // 85).tolist(), ARRAY.tolist()
    assert client.post("/predict", json=faint).status_code == 200
    answer = client.post("/predict", json=[strong, faint])
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("array 1: ")


def test_an_explanation_comes_where_it_is_asked_for(client: Client, recogniser: Recogniser) -> None:
    png = {"content-type": "image/png"}
    assert "explanation" not in client.post("/predict?explain=0", content=PNG, headers=png).text
    answer = client.post("/predict?explain=1", content=PNG, headers=png)
    explanation = answer.json()["predictions"][0]["explanation"]
    assert np.shape(explanation["saliency"]) == (28, 28)
    assert explanation["first_layer"]["kind"] == "Linear"


# ---- what is refused ---------------------------------------------------------------------------------------

JSON = "application/json"
BLANK = encoded(np.full((30, 30), 255, np.uint8))
REFUSED = {
    "no content type": ("", PNG, 415, "no media type"),
    "another type": ("text/plain", PNG, 415, "application/json or multipart/form-data, and name it"),
    "GIF as PNG": ("image/png", encoded(stroke(), "GIF"), 422, "neither a PNG nor a JPEG"),
    "no bytes": ("image/png", b"", 422, "empty"),
    "a cut PNG": ("image/png", PNG[:100], 422, "damaged or cut off"),
    "a PNG's beginning": ("image/png", PNG[:20], 422, "neither a PNG nor a JPEG"),
    "a JPEG's beginning": ("image/jpeg", b"\xff\xd8\xff\xe0", 422, "damaged"),
    "blank": ("image/png", BLANK, 422, "the picture is blank: it shows no digit"),
    "too many pixels": ("image/png", encoded(np.zeros((201, 200), np.uint8)), 413, "200 x 201 pixels"),
    "a JPEG of too many pixels": (
        "image/jpeg",
        encoded(np.zeros((201, 200), np.uint8), "JPEG"),
        413,
        "200 x 201 pixels",
    ),
    "too many pixels together": (
        FORM,
        form(*[encoded(stroke(120, 120))] * 3),
        413,
        "43,200 pixels together",
    ),
    "scans": ("image/jpeg", encoded(stroke(), "JPEG", progressive=True), 422, "more than 2 scans"),
    "too long": ("image/png", bytes(20_001), 413, "more than 20,000 bytes"),
    "too much JSON": (JSON, b"[[" + b"0," * 5000 + b"0]]", 413, "10,005 bytes"),
    "empty JSON": (JSON, b" ", 400, "empty"),
    "half of JSON": (JSON, b"[[1, 2], [3", 400, "no JSON"),
    "no UTF-8": (JSON, b'[["\xff"]]', 400, "UTF-8"),
    "UTF-16": (JSON, "[[1]]".encode("utf-16"), 400, "no JSON"),
    "depth": (JSON, b"[" * 3000 + b"]" * 3000, 400, "nested deeper"),
    "depth of objects": (JSON, b'{"image":' * 5 + b"1" + b"}" * 5, 400, "nested deeper"),
    "NaN": (JSON, b"[[1, NaN]]", 422, "NaN"),
    "infinity": (JSON, b"[[1, -Infinity]]", 422, "-Infinity"),
    "an infinite number": (JSON, b"[[1, 1e999]]", 422, "outside of 0 to 65535"),
    "a huge whole number": (JSON, b"[[1, " + b"9" * 5000 + b"]]", 422, "too long"),
    "a large whole number": (JSON, b"[[1, " + b"9" * 400 + b"]]", 422, "outside of 0 to 65535"),
    "a negative number": (JSON, b"[[1, -1]]", 422, "outside of 0 to 65535"),
    "a key twice": (JSON, b'{"image": [[1]], "image": [[2]]}', 400, "same key twice"),
    "another key": (JSON, b'{"picture": [[1]]}', 422, "other keys"),
    "two keys": (JSON, b'{"image": [[1]], "images": [[[1]]]}', 422, "other keys"),
    "null": (JSON, b"null", 422, "null alone"),
    "a number": (JSON, b"7", 422, "a number alone"),
    "true": (JSON, b'{"image": true}', 422, "true or false alone"),
    "an empty array": (JSON, b"[]", 422, "an empty array"),
    "empty rows": (JSON, b"[[], []]", 422, "no array of rows"),
    "an empty picture": (JSON, b"[[[1]], []]", 422, "array 1"),
    "a row": (JSON, b"[1, 2]", 422, "single values"),
    "ragged": (JSON, b"[[1, 2], [3]]", 422, "rows of 1 and of 2"),
    "rows and numbers": (JSON, b"[[1, 2], 3]", 422, "no array of rows"),
    "texts": (JSON, b'[["1", "2"]]', 422, "a text"),
    "true among numbers": (JSON, b"[[1, true, null]]", 422, "null and true or false"),
    "arrays in rows": (JSON, b"[[1, [2]]]", 422, "an array"),
    "four axes": (JSON, b"[[[[1]]]]", 422, "an array"),
    "too many arrays": (JSON, b"[[[1]], [[1]], [[1]], [[1]]]", 413, "taken; send several requests"),
    "no boundary": ("multipart/form-data", form(PNG), 400, "boundary"),
    "a cut form": (FORM, form(PNG)[:-40], 400, "cut off"),
    "no form": (FORM, b"hello", 400, "form"),
    "a form without a file": (
        FORM,
        b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--X--\r\n',
        422,
        "no file",
    ),
    "too many files": (FORM, form(*[b"x"] * 4), 413, "4 pictures"),
    "a text in a form": (FORM, form(PNG, b"hello"), 422, "file 1 is neither"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_by_one_sentence(client: Client, case: str) -> None:
    kind, body, status, part = REFUSED[case]
    answer = client.post("/predict", content=body, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    (sentence,) = answer.json().values()
    assert part in sentence
    assert len(sentence) < 300
    assert "the picture: the picture" not in sentence
    assert "\n" not in sentence


def test_explanations_are_bounded(client: Client) -> None:
    answer = client.post("/predict?explain=1", json=[ARRAY.tolist()] * 3)
    assert answer.status_code == 413
    assert "at most 2 are taken with explain=1" in answer.json()["error"]


def test_a_flag_is_0_or_1(client: Client) -> None:
    answer = client.post("/predict?explain=yes", content=PNG, headers={"content-type": "image/png"})
    assert answer.status_code == 422
    assert "'yes'" in answer.json()["error"]


def test_a_parameter_is_given_once(client: Client) -> None:
    answer = client.post("/predict?explain=0&explain=1", content=PNG, headers={"content-type": "image/png"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "explain is given 2 times; give it once"


def test_an_encoded_body_is_refused(client: Client) -> None:
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    assert client.post("/predict", content=PNG, headers=headers).status_code == 415


# ---- bodies that come in pieces ----------------------------------------------------------------------------


class Exchange:
    """One request to an application, its body as ASGI's messages; what `receive` waits for never comes."""

    def __init__(self, *parts: bytes, headers: dict[str, str] | None = None) -> None:
        headers = {"host": "localhost", "content-type": "image/png", **(headers or {})}
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/predict",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        self.parts = list(parts)
        self.sent: list[Any] = []
        self.is_stuck = False

    async def receive(self) -> Any:
        if not self.parts:
            self.is_stuck = True
            await asyncio.Event().wait()
        part = self.parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": part != b""}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self, app: Any) -> None:
        await app(self.scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def error(self) -> str:
        return str(json.loads(self.sent[1]["body"])["error"])


def test_a_body_in_pieces_is_put_together(client: Client) -> None:
    exchange = Exchange(PNG[:50], PNG[50:], b"")
    asyncio.run(exchange.run(client.app))
    assert exchange.status == 200


@pytest.mark.parametrize("said", [{}, {"content-length": "10"}])
def test_bytes_are_counted_as_they_come_whatever_was_said(client: Client, said: dict[str, str]) -> None:
    exchange = Exchange(*[bytes(5000)] * 100, headers=said)
    asyncio.run(exchange.run(client.app))
    assert exchange.status == 413
    assert len(exchange.parts) == 95


def test_a_length_that_is_too_large_is_refused_before_the_body(client: Client) -> None:
    exchange = Exchange(headers={"content-length": "20001"})
    asyncio.run(exchange.run(client.app))
    assert exchange.status == 413
    assert not exchange.is_stuck


def test_a_sender_that_stops_is_told_so(serve: Callable[..., Client]) -> None:
    exchange = Exchange(PNG[:50])
    asyncio.run(exchange.run(serve(HASTY).app))
    assert exchange.status == 408
    assert "within 0.1 seconds" in exchange.error


def test_requests_beyond_the_limit_are_refused_at_once_and_later_ones_are_not(
    serve: Callable[..., Client],
) -> None:
    app = serve(HASTY).app

    async def run() -> tuple[list[Exchange], Exchange]:
        stuck = [Exchange(PNG[:50]) for _ in range(3)]
        await asyncio.gather(*(one.run(app) for one in stuck))
        later = Exchange(PNG, b"")
        await later.run(app)
        return stuck, later

    stuck, later = asyncio.run(run())
    assert [one.status for one in stuck] == [408, 408, 503]
    assert dict(stuck[2].sent[0]["headers"])[b"retry-after"] == b"1"
    assert not stuck[2].is_stuck
    assert later.status == 200


def test_the_bytes_of_all_requests_are_bounded(serve: Callable[..., Client]) -> None:
    app = serve(HASTY).app

    async def run() -> list[Exchange]:
        both = [Exchange(bytes(16_000)) for _ in range(2)]
        await asyncio.gather(*(one.run(app) for one in both))
        return both

    assert sorted(one.status for one in asyncio.run(run())) == [408, 503]


def test_a_visitor_who_leaves_gets_no_answer(client: Client) -> None:
    exchange = Exchange()

    async def leave() -> Any:
        return {"type": "http.disconnect"}

    exchange.receive = leave  # type: ignore[method-assign]
    asyncio.run(exchange.run(client.app))
    assert exchange.sent == []


# ---- paths, methods, headers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/nothing", "/page/page.css", "/../files.py", "/%2e%2e/server.py", "/a%00", "/a%1b[31m"]
)
def test_what_is_not_there_is_said_so(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "/openapi.json" in answer.json()["error"]
    assert "\x1b" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST, OPTIONS"),
        ("DELETE", "/model", "GET, HEAD, OPTIONS"),
        ("POST", "/", "GET, HEAD, OPTIONS"),
        ("TRACE", "/healthz", "GET, HEAD, OPTIONS"),
    ],
)
def test_another_method_is_refused_with_those_that_are_allowed(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    options = client.request("OPTIONS", path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")


def test_head_has_the_headers_of_get_and_no_body(client: Client) -> None:
    get, head = client.get("/model"), client.request("HEAD", "/model")
    assert head.content == b""
    assert head.headers == get.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/model", 200),
        ("GET", "/metrics", 200),
        ("OPTIONS", "/model", 204),
        ("GET", "/nothing", 404),
        ("PUT", "/model", 405),
        ("POST", "/predict", 415),
        ("POST", "/corrections", 403),
    ],
)
def test_every_answer_has_the_strict_headers(client: Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in STRICT} == STRICT
    assert answer.headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
    assert "server" not in answer.headers
    # browsers ignore it by http from another machine, and say so in the console
    assert "cross-origin-opener-policy" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_a_fault_is_logged_with_its_traceback_and_answered_without(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(Recogniser, "probabilities", fail)
    answer = client.post("/predict", content=PNG, headers={"content-type": "image/png"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert {name: answer.headers[name] for name in STRICT} == STRICT
    assert "a secret" in caplog.text
    assert "Traceback" in caplog.text


def test_a_mistake_of_a_visitor_is_not_logged(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.post("/predict", content=b"x", headers={"content-type": "image/png"})
    assert caplog.text == ""


def test_a_model_that_takes_too_long_is_answered_by_503(
    serve: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work itself goes on, and is finished before the batcher ends."""
    go_on = threading.Event()

    def fail() -> None:
        raise AssertionError("nobody waits for this")

    monkeypatch.setattr(Recogniser, "probabilities", lambda *_: go_on.wait(SECONDS) and fail())
    client = serve(replace(LOW, request_seconds=0.1))
    answer = client.post("/predict", content=PNG, headers={"content-type": "image/png"})
    go_on.set()
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("hosts", "host", "status"),
    [
        ([], "localhost", 200),
        ([], "LOCALHOST:8000", 200),
        ([], "127.0.0.1:8000", 200),
        ([], "[::1]:8000", 200),
        ([], "evil.example", 400),
        ([], "localhost.evil.example", 400),
        ([], "127.0.0.1.evil.example:8000", 400),
        ([], "localhost@evil.example", 400),
        ([], "", 400),
        (["digits.example"], "Digits.Example:80", 200),
        (["digits.example"], "digits.example.", 200),
        (["digits.example"], "evil.example", 400),
        (["Digits.Example.", "[fd00::1]"], "digits.example", 200),
        (["[fd00::1]"], "[fd00::1]:8000", 200),
        (None, "evil.example", 200),
    ],
)
def test_only_own_names_are_answered_on_loopback(
    serve: Callable[..., Client], hosts: list[str] | None, host: str, status: int
) -> None:
    answer = serve(hosts=hosts).get("/model", headers={"host": host})
    assert answer.status_code == status


def test_a_name_that_no_request_can_have_is_refused_at_the_start(serve: Callable[..., Client]) -> None:
    with pytest.raises(ValueError, match="is no name of a host; name it alone"):
        serve(hosts=["a.b:80"])


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_pages_of_other_sites_cannot_post(client: Client, site: str, status: int) -> None:
    headers = {"content-type": "image/png", "sec-fetch-site": site}
    assert client.post("/predict", content=PNG, headers=headers).status_code == status


# ---- the page, the description, the counters ---------------------------------------------------------------


def test_a_file_of_the_page_is_not_sent_again(client: Client) -> None:
    first = client.get("/page.css")
    assert first.headers["content-type"] == "text/css; charset=utf-8"
    tag = first.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = client.get("/page.css", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/page.css", headers={"if-none-match": '"other"'}).status_code == 200


def test_the_page_is_html(client: Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.lower().startswith("<!doctype html>")


def test_health_names_the_version_of_the_model(client: Client, recogniser: Recogniser) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "version": recogniser.version}


def test_requests_pictures_and_refusals_are_counted(client: Client) -> None:
    client.post("/predict", json=[ARRAY.tolist()] * 2)
    client.post("/predict", content=b"x", headers={"content-type": "image/png"})
    client.get("/nothing")
    text = client.get("/metrics").text
    for line in (
        'tinygrad_mnist_requests_total{route="/predict",status="200"} 1.0',
        'tinygrad_mnist_requests_total{route="/predict",status="422"} 1.0',
        'tinygrad_mnist_requests_total{route="elsewhere",status="404"} 1.0',
        'tinygrad_mnist_request_seconds_count{route="/predict"} 2.0',
        'tinygrad_mnist_rejected_total{reason="format"} 1.0',
        'tinygrad_mnist_rejected_total{reason="path"} 1.0',
        "tinygrad_mnist_requests_held 0.0",
        "tinygrad_mnist_held_bytes 0.0",
        "tinygrad_mnist_queue_length 0.0",
    ):
        assert line in text.splitlines()


def test_a_line_is_logged_for_each_request_where_that_is_asked_for(serve: Callable[..., Client]) -> None:
    lines: list[str] = []
    client = serve(log=lines.append)
    client.get("/nothing%1b[31m")
    assert len(lines) == 1
    assert " GET /nothing\\x1b[31m 404 " in lines[0]


# ---- drawings that are kept --------------------------------------------------------------------------------


@pytest.fixture
def keeping(serve: Callable[..., Client], recogniser: Recogniser, tmp_path: Path) -> Callable[..., Client]:
    def start(**options: Any) -> Client:
        classes = recogniser.checkpoint.class_names
        return serve(kept=KeptDrawings(tmp_path, preparation_of(recogniser.checkpoint), classes, **options))

    return start


PICTURE = {"content-type": "image/png"}


def test_a_correction_is_kept_in_the_folder_of_its_class(
    keeping: Callable[..., Client], tmp_path: Path
) -> None:
    client = keeping()
    assert client.get("/model").json()["keeps"] is True
    answer = client.post("/corrections?class=7", content=PNG, headers=PICTURE)
    assert (answer.status_code, answer.json()) == (201, {"kept": True})
    (path,) = tmp_path.glob("*/*.png")
    assert path.parent.name == "7"
    np.testing.assert_array_equal(read_image(path), stroke())
    assert "tinygrad_mnist_kept_drawings 1.0" in client.get("/metrics").text.splitlines()


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "part"),
    [
        ("/corrections", PNG, "image/png", 422, "add ?class=NAME"),
        ("/corrections?class=7&class=8", PNG, "image/png", 422, "class is given 2 times"),
        ("/corrections?class=7&class=7", PNG, "image/png", 422, "class is given 2 times"),
        ("/corrections?class=x", PNG, "image/png", 422, "there is no class 'x'"),
        ("/corrections?class=..%2F7", PNG, "image/png", 422, "there is no class"),
        ("/corrections?class=7", PNG, "application/json", 415, "send image/png"),
        ("/corrections?class=7", BLANK, "image/png", 422, "the picture is blank"),
        ("/corrections?class=7", b"x", "image/png", 422, "neither a PNG nor a JPEG"),
    ],
)
def test_what_is_no_correction_is_refused_and_nothing_is_kept(
    keeping: Callable[..., Client], tmp_path: Path, path: str, body: bytes, kind: str, status: int, part: str
) -> None:
    answer = keeping().post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert part in answer.json()["error"]
    assert "the picture: the picture" not in answer.json()["error"]
    assert list(tmp_path.glob("**/*.png")) == []


def test_no_more_is_kept_than_may_be(keeping: Callable[..., Client]) -> None:
    client = keeping(most_drawings=1)
    assert client.post("/corrections?class=7", content=PNG, headers=PICTURE).status_code == 201
    other = encoded(stroke(40, 40))
    answer = client.post("/corrections?class=7", content=other, headers=PICTURE)
    assert answer.status_code == 507
    assert "at most 1" in answer.json()["error"]


def test_nothing_is_kept_without_being_asked_for(client: Client) -> None:
    answer = client.post("/corrections?class=7", content=PNG, headers=PICTURE)
    assert answer.status_code == 403
    assert "--keep DIR" in answer.json()["error"]
    assert client.get("/model").json()["keeps"] is False


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://127.0.0.1:8000/healthz", b"elsewhere.example", 200),
        ("HTTP://localhost/healthz", b"", 200),
        ("https://[::1]:8000/", b"127.0.0.1", 200),
        ("http://localhost", b"127.0.0.1", 200),
        ("http://localhost/nothing", b"127.0.0.1", 404),
        ("http://elsewhere.example/healthz", b"127.0.0.1", 400),
        ("http://é.example/healthz", b"127.0.0.1", 400),
        ("http:///healthz", b"127.0.0.1", 400),
        ("ftp://127.0.0.1/healthz", b"127.0.0.1", 404),
        ("http:/127.0.0.1/healthz", b"127.0.0.1", 404),
    ],
)
def test_a_target_in_absolute_form_is_taken_and_its_host_counts(
    serve: Callable[..., Client], target: str, host: bytes, status: int
) -> None:
    assert status_of(serve(hosts=[]).app, target, host) == status
