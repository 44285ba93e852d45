"""The formats that graphs are written in: one table, by the suffix of a file.

A new format is a file in this folder and a row of ``FORMATS``: `Graph.save`, the command line and the tests
read the table. What writes a format is loaded when it is asked for, with what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tinygrad_mnist.files import target_of

if TYPE_CHECKING:
    from tinygrad_mnist.graph.data import Graph

Writer = TypeVar("Writer", bound=Callable[..., "str | bytes"])


def _method(name: str) -> Callable[..., str | bytes]:
    """Return a function that writes a graph and a view by a method of the graph."""

    def write(graph: Graph, view: str, **options: Any) -> str | bytes:
        written: str | bytes = getattr(graph, name)(view, **options)
        return written

    return write


def _markdown(graph: Graph, view: str, **options: Any) -> str:
    return f"```mermaid\n{graph.mermaid(view, **options)}```\n"


def _whole_text(graph: Graph, view: str, **options: Any) -> str:
    return graph.text(view, **{"width": None, **options})  # nothing is shortened


def _whole_json(graph: Graph, view: str, **options: Any) -> str:
    return graph.json()  # all of it, whatever a picture would show


FORMATS: Final[dict[str, Callable[..., str | bytes]]] = {
    ".dot": _method("dot"),
    ".gv": _method("dot"),
    ".svg": _method("svg"),
    ".png": _method("png"),
    ".pdf": _method("pdf"),
    ".html": _method("html"),
    ".mmd": _method("mermaid"),
    ".mermaid": _method("mermaid"),
    ".md": _markdown,
    ".txt": _whole_text,
    ".json": _whole_json,
}
"""All formats of files: by suffix, the function that writes a graph and a view."""


def writer_of(path: str | PathLike[str], formats: Mapping[str, Writer]) -> Writer:
    """Return the row of a table of formats that the suffix of a path names.

    Raises
    ------
    ValueError
        If the suffix is not in the table.
    OSError
        If there can be no file of that name: there is no such directory, or it is one itself.
    """
    path = Path(path)
    writer = formats.get(path.suffix.lower())
    if writer is None:
        known = ", ".join(formats)
        raise ValueError(f"cannot tell a format by {path.name!r}; expected a name that ends in {known}")
    target_of(path)
    return writer
