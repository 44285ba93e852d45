"""The service as an application of ASGI: its routes, and what all its answers have in common.

A path is looked up in a table, and a handler answers. Whatever goes wrong comes back as JSON with one
sentence. No middleware stands between: what holds for every answer is done in one place, `_finish`. All that
is here takes 0.05 ms of the processor for a picture; `BaseHTTPMiddleware` of starlette alone took 0.19.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tinygrad_mnist.data import DataError
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.serve import metrics
from tinygrad_mnist.serve.admission import Admission, Room
from tinygrad_mnist.serve.batching import Batcher, Job
from tinygrad_mnist.serve.bodies import ALONE, READERS, Body, media_type, too_many
from tinygrad_mnist.serve.errors import Refused, overloaded
from tinygrad_mnist.serve.headers import NOT_STORED, REVALIDATED, STRICT, bare_host, host_name, is_loopback
from tinygrad_mnist.serve.kept import FullError, KeptDrawings
from tinygrad_mnist.serve.limits import Limits
from tinygrad_mnist.serve.openapi import document
from tinygrad_mnist.serve.page_files import page_files
from tinygrad_mnist.training.prediction import prepare_found

if TYPE_CHECKING:
    from tinygrad_mnist.data.prepare import Prepared
    from tinygrad_mnist.serve.recognition import Recogniser

logger = logging.getLogger("tinygrad_mnist.serve")

Handler = Callable[[Request], Awaitable[Response]]

JSON: Final = "application/json"
ELSEWHERE: Final = "elsewhere"
"""The route of a request to a path that is not there, in metrics: paths are the visitors' choice."""


class Application:
    """The service.

    Parameters
    ----------
    recogniser : Recogniser
        The model.
    batcher : Batcher
        The thread that it answers in.
    counted : Metrics
        What counts.
    limits : Limits, optional
        What requests may take.
    hosts : collection of str, optional
        The names and addresses that the service may be asked for by, without a port, besides those of this
        machine for itself; None where any will do.
    kept : KeptDrawings, optional
        Where drawings that visitors correct are kept; they are not, by default.
    log : callable, optional
        Given a line for each request.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        batcher: Batcher,
        counted: metrics.Metrics,
        limits: Limits | None = None,
        *,
        hosts: Collection[str] | None = None,
        kept: KeptDrawings | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.metrics = counted
        self.admission = Admission(self.limits)
        self._recogniser = recogniser
        self._batcher = batcher
        self._hosts = None if hosts is None else frozenset(map(bare_host, hosts))
        self._kept = kept
        self._log = log
        self._page = page_files()
        self._model = {**recogniser.describe(), "keeps": kept is not None}
        self._document = json.dumps(document(self._model, self.limits))
        self.routes: dict[str, dict[str, Handler]] = {
            "/model": {"GET": self._describe},
            "/predict": {"POST": self._predict},
            "/corrections": {"POST": self._correct},
            "/healthz": {"GET": self._health},
            "/metrics": {"GET": self._count},
            "/openapi.json": {"GET": self._specify},
            **{path: {"GET": self._show} for path in self._page},
        }
        counted.watch("requests_held", "Requests with a body that are being answered", self._requests)
        counted.watch("held_bytes", "Bytes of the bodies of these requests", lambda: self.admission.held)
        counted.watch("queue_length", "Requests that no batch has taken yet", lambda: batcher.waiting)
        if kept is not None:
            counted.watch("kept_drawings", "Drawings that are kept", lambda: kept.drawings)

    def _requests(self) -> int:
        return self.admission.requests

    # ---- one request ---------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever it is."""
        if scope["type"] != "http":
            return
        started = monotonic()
        request = Request(_in_origin_form(scope), receive)
        try:
            response = await self._answered(request)
        except Refused as refusal:
            response = self._refusal(refusal)
        except Gone:
            return
        except asyncio.CancelledError:  # the time is over that the server had to end
            response = self._refusal(overloaded("the service is being stopped", "stopped"))
        except Exception as error:
            path = _shown(request.scope["path"])
            logger.error("%s %s: an error inside", request.method, path, exc_info=error)
            response = self._refusal(_FAULT)
        self._finish(request, response, monotonic() - started)
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        self._require_own_host(request)
        handler = self._handler(request)
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                return await handler(request)
        except TimeoutError:
            raise overloaded(
                f"the answer took longer than {self.limits.request_seconds:g} seconds", "seconds"
            ) from None

    def _require_own_host(self, request: Request) -> None:
        """Raise `Refused` for a request to another name than ours, or from another site's page.

        A page of somebody else can have a name of its own lead to 127.0.0.1, and would then be taken for
        ours by the browser of whoever opens it (DNS rebinding).
        """
        if self._hosts is not None:
            name = host_name(request.headers.get("host", ""))
            if name is None or not (is_loopback(name) or name in self._hosts):
                raise Refused(
                    400,
                    f"the service is not known by the name {_shown(name or '')!r}; open it as "
                    "http://127.0.0.1, or start it with --allow-host NAME",
                    reason="host",
                )
        if request.method == "POST" and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Refused(
                403, "the request comes from a page of another site; open the page of this one", reason="site"
            )

    def _handler(self, request: Request) -> Handler:
        path, method = request.scope["path"], request.method
        handlers = self.routes.get(path)
        if handlers is None:
            raise Refused(
                404,
                f"there is nothing at {_shown(path)}; /openapi.json lists what there is",
                reason="path",
            )
        if method == "OPTIONS":
            return self._allow
        found = handlers.get("GET" if method == "HEAD" else method)
        if found is None:
            raise Refused(
                405,
                f"{_shown(method)} is no method of {path}; it takes {_allowed(handlers)}",
                reason="method",
                headers={"Allow": _allowed(handlers)},
            )
        return found

    def _refusal(self, refusal: Refused) -> Response:
        self.metrics.rejected(refusal.reason)
        return Response(json.dumps({"error": refusal.sentence}), refusal.status, refusal.headers, JSON)

    def _finish(self, request: Request, response: Response, seconds: float) -> None:
        """Give an answer the headers that all have; count it, and write it down if that is asked for."""
        response.raw_headers += _STRICT
        response.headers.setdefault("cache-control", NOT_STORED)
        path = request.scope["path"]
        route = "/" if path in self._page else path if path in self.routes else ELSEWHERE
        self.metrics.answered(route, response.status_code, seconds)
        if request.method == "HEAD":
            response.body = b""  # its length stays in the headers
        if self._log is not None:
            client = request.client.host if request.client else "-"
            self._log(
                f"{client} {_shown(request.method)} {_shown(path)} {response.status_code} "
                f"{1000 * seconds:.1f} ms"
            )

    # ---- what answers --------------------------------------------------------------------------------------

    async def _describe(self, request: Request) -> Response:
        return _json(self._model)

    async def _health(self, request: Request) -> Response:
        if not self._batcher.is_alive:
            raise Refused(503, "the thread that recognises has ended; start the service anew", reason="fault")
        return _json({"status": "ok", "version": self._recogniser.version})

    async def _count(self, request: Request) -> Response:
        return Response(self.metrics.text(), headers={"content-type": metrics.CONTENT_TYPE})

    async def _specify(self, request: Request) -> Response:
        return Response(self._document, media_type=JSON)

    async def _allow(self, request: Request) -> Response:
        return Response(status_code=204, headers={"allow": _allowed(self.routes[request.scope["path"]])})

    async def _show(self, request: Request) -> Response:
        file = self._page[request.scope["path"]]
        headers = {"content-type": file.kind, "etag": file.tag, "cache-control": REVALIDATED}
        known = request.headers.get("if-none-match", "")
        if known.strip() == "*" or file.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            del headers["content-type"]
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers)

    async def _predict(self, request: Request) -> Response:
        explain = _flag(request, "explain")
        deadline = monotonic() + self.limits.request_seconds
        with self.admission.room() as room:
            body = await self._body(request, room, READERS)
            job = Job(lambda: self._prepared(body, explain), deadline, explain, body.is_quick)
            return Response(await self._batcher.answer(job), media_type=JSON)

    async def _correct(self, request: Request) -> Response:
        if self._kept is None:
            raise Refused(
                403, "drawings are not kept; the service has to be started with --keep DIR", reason="keep"
            )
        name = _parameter(request, "class")
        if not name:
            raise Refused(422, "the class of the drawing is not said; add ?class=NAME", reason="query")
        with self.admission.room() as room:
            body = await self._body(request, room, ("image/png",))
            await self._batcher.aside(lambda: self._keep(body, name))
            return _json({"kept": True}, 201)

    def _keep(self, body: Body, name: str) -> None:
        """Keep the drawing of a body in the folder of a class."""
        assert self._kept is not None
        (drawing,) = body.pictures(self.limits)
        try:
            self._kept.keep(drawing, name)
        except DataError as error:
            raise _blank(error) from error
        except FullError as error:
            raise Refused(507, str(error), reason="full") from error
        except OSError as error:
            logger.error("a drawing cannot be kept", exc_info=error)
            raise Refused(
                507, f"the drawing cannot be written ({error.strerror or error})", reason="full"
            ) from error

    def _prepared(self, body: Body, explain: bool) -> list[Prepared]:
        """Return the pictures of a body as the model is shown them."""
        pictures = body.pictures(self.limits)
        if explain and len(pictures) > self.limits.explained:
            raise too_many(len(pictures), self.limits.explained, " with explain=1")
        try:
            return [prepare_found(self._recogniser.checkpoint, picture) for picture in pictures]
        except DataError as error:
            raise _blank(error) from error

    # ---- bodies --------------------------------------------------------------------------------------------

    async def _body(self, request: Request, room: Room, kinds: Collection[str]) -> Body:
        """Receive the body of a request, of one of some media types."""
        given = request.headers.get("content-type", "")
        kind, options = media_type(given)
        if kind not in kinds:
            raise Refused(
                415,
                f"the body is {_shown(kind) or 'of no media type'}; send {_choice(kinds)}, and name it "
                "as Content-Type",
                reason="type",
            )
        boundary = options.get("boundary", "")
        if kind == "multipart/form-data" and not boundary:
            raise Refused(400, "the Content-Type of the form names no boundary", reason="form")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "the body is encoded; send it as it is", reason="type")
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                return Body(await self._content(request, room), kind, boundary)
        except TimeoutError:
            raise Refused(
                408,
                f"the body did not arrive within {self.limits.body_seconds:g} seconds; send it again",
                reason="slow",
            ) from None

    async def _content(self, request: Request, room: Room) -> bytes:
        """Return all bytes of a body; they are counted as they come, whatever its length was said to be."""
        most = self.limits.body_bytes
        parts: list[bytes] = []
        said = request.headers.get("content-length", "")
        size = int(said[:20]) if said.isdecimal() else 0
        while size <= most:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            if part := message.get("body", b""):
                room.take(len(part))
                parts.append(part)
                size = max(size, room.taken)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
        raise Refused(
            413,
            f"the body has more than {most:,} bytes; scale the picture down, or send fewer",
            reason="bytes",
        )


class Gone(Exception):
    """A visitor who left before the request was there."""


def _in_origin_form(scope: Scope) -> Scope:
    """Return a request to a whole address as one to its path; its host counts (RFC 9112, section 3.2.2)."""
    scheme, separator, rest = scope["path"].partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return scope
    host, _, path = rest.partition("/")
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {**scope, "path": f"/{path}", "headers": [*others, (b"host", host.encode())]}


_STRICT: Final = [(name.encode(), value.encode()) for name, value in STRICT.items()]
_FAULT: Final = Refused(
    500, "an error inside the service, which its log tells more about; try another picture", reason="fault"
)


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(value, allow_nan=False), status, media_type=JSON)


def _allowed(handlers: Mapping[str, Handler]) -> str:
    """Return the methods of a path, for a header."""
    return ", ".join([*handlers, *(["HEAD"] if "GET" in handlers else []), "OPTIONS"])


def _choice(kinds: Collection[str]) -> str:
    """Return media types from which one is to be chosen, for a sentence."""
    *others, last = kinds
    return f"{', '.join(others)} or {last}" if others else last


def _blank(error: DataError) -> Refused:
    """Return the error for a picture that shows nothing; one that is alone need not be named."""
    return Refused(422, str(error).removeprefix(f"{ALONE}: "), reason="blank")


def _parameter(request: Request, name: str) -> str:
    """Return a parameter of the query, empty where it is not given."""
    if not request.scope["query_string"]:
        return ""
    found = request.query_params.getlist(name)
    if len(found) > 1:
        raise Refused(422, f"{name} is given {len(found)} times; give it once", reason="query")
    return found[0] if found else ""


def _flag(request: Request, name: str) -> bool:
    """Return whether a parameter of the query is 1."""
    value = _parameter(request, name) or "0"
    if value not in ("0", "1"):
        raise Refused(422, f"{name} is {_shown(value)!r}; expected 0 or 1", reason="query")
    return value == "1"


def _shown(text: str) -> str:
    """Return a text of a visitor's for a sentence: short, and without signs that a terminal acts on."""
    return printable(text if len(text) <= 80 else f"{text[:80]}...")
