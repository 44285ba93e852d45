"""The files of the page, read once from the package: a path that is asked for is looked up, never opened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import Final

INDEX: Final = "index.html"

KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
"""The media types of the files of the page by their suffix; others are not shown."""


@dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Parameters
    ----------
    content : bytes
        All of it.
    kind : str
        Its media type.
    tag : str
        Its `ETag`: another content has another.
    """

    content: bytes
    kind: str
    tag: str


def page_files() -> dict[str, PageFile]:
    """Return the files of the page by the paths of their addresses; ``/`` is the page itself."""
    folder = resources.files("tinygrad_mnist.serve") / "page"
    found = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        kind = KINDS.get(PurePosixPath(file.name).suffix)
        if kind is not None:
            content = file.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            found["/" if file.name == INDEX else f"/{file.name}"] = PageFile(content, kind, tag)
    return found
