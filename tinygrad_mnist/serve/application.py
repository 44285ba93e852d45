"""The service as an application of ASGI: its routes, and what every answer has in common."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import PurePosixPath
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tinygrad_mnist.serve.batching import Batcher, Job
from tinygrad_mnist.serve.bodies import READERS, Body, media_type
from tinygrad_mnist.serve.errors import RETRY, Refused, overloaded
from tinygrad_mnist.serve.headers import NOT_STORED, REVALIDATED, STRICT, host_name, is_loopback
from tinygrad_mnist.serve.limits import Limits

if TYPE_CHECKING:
    from tinygrad_mnist.serve.recognition import Recogniser

logger = logging.getLogger("tinygrad_mnist.serve")

FILES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
"""The kinds of files of the page, by their suffix."""


class Application:
    """The routes of the service.

    Parameters
    ----------
    recogniser : Recogniser
        The model.
    batcher : Batcher
        The thread that it runs in.
    limits : Limits
        What a request may take.
    """

    def __init__(self, recogniser: Recogniser, batcher: Batcher, limits: Limits | None = None) -> None:
        self.recogniser = recogniser
        self.batcher = batcher
        self.limits = limits or Limits()
        self.page = _page()
        self.routes: dict[str, dict[str, Callable[[Request], Awaitable[Response]]]] = {
            "/model": {"GET": self.model},
            "/healthz": {"GET": self.health},
            "/predict": {"POST": self.predict},
            "/corrections": {"POST": self.correct},
            **{path: {"GET": self.file} for path in self.page},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                response = await self.handler(request)(request)
        except Refused as refusal:
            response = error_response(refusal)
        except TimeoutError:
            response = error_response(overloaded("the request took too long", "seconds"))
        except Exception as error:
            logger.error("%s %s", request.method, request.url.path, exc_info=error)
            response = error_response(Refused(500, "an error inside the service", reason="fault"))
        response.headers.update(STRICT)
        response.headers.setdefault("cache-control", NOT_STORED)
        await response(scope, receive, send)

    def handler(self, request: Request) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers a request."""
        methods = self.routes.get(request.url.path)
        if methods is None:
            raise Refused(404, f"there is nothing at {request.url.path}", reason="path")
        found = methods.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            allowed = ", ".join(methods)
            raise Refused(
                405, f"{request.method} is not for {request.url.path}, but {allowed}", reason="method",
                headers={"Allow": allowed},
            )
        return found

    async def model(self, request: Request) -> Response:
        """Answer with what the model is."""
        return json_response(self.recogniser.describe())

    async def health(self, request: Request) -> Response:
        """Answer that the service runs."""
        return json_response({"status": "ok", "version": self.recogniser.version})

    async def file(self, request: Request) -> Response:
        """Answer with a file of the page."""
        content, kind = self.page[request.url.path]
        return Response(content, headers={"content-type": kind, "cache-control": REVALIDATED})

    async def predict(self, request: Request) -> Response:
        """Answer with the classes of pictures."""
        kind, options = media_type(request.headers.get("content-type", ""))
        if kind not in READERS:
            raise Refused(415, f"{kind!r} is not taken; send one of {', '.join(READERS)}", reason="type")
        body = Body(await self.body(request), kind, options)
        job = Job(
            lambda: [self.recogniser.prepare(picture) for picture in body.pictures(self.limits)],
            request.query_params.get("explain") == "1",
            monotonic() + self.limits.request_seconds,
        )
        return Response(await self.batcher.answer(job), media_type="application/json")

    async def correct(self, request: Request) -> Response:
        """Keep a drawing."""
        raise Refused(403, "drawings are not kept; start the service with --keep DIR", reason="keep")

    async def body(self, request: Request) -> bytes:
        """Return the body of a request."""
        parts, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self.limits.body_bytes:
                raise Refused(413, "the body is too large", reason="bytes")
            parts.append(chunk)
        return b"".join(parts)


def json_response(value: Mapping[str, Any], status: int = 200) -> Response:
    """Return plain data as a response."""
    return Response(json.dumps(value, allow_nan=False), status, media_type="application/json")


def error_response(refusal: Refused) -> Response:
    """Return the response that says why a request is refused."""
    response = json_response({"error": refusal.sentence}, refusal.status)
    response.headers.update(refusal.headers)
    return response


def _page() -> dict[str, tuple[bytes, str]]:
    """Return the files of the page by their paths: content and kind."""
    folder = resources.files("tinygrad_mnist.serve") / "page"
    if not folder.is_dir():
        return {}
    found = {
        f"/{file.name}": (file.read_bytes(), FILES[PurePosixPath(file.name).suffix])
        for file in folder.iterdir()
        if PurePosixPath(file.name).suffix in FILES
    }
    if "/index.html" in found:
        found["/"] = found["/index.html"]
    return found
