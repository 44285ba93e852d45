"""A graph as a file, in the format that the suffix names, and as what a notebook shows."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from html import escape
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.files import target_of, write
from tinygrad_mnist.graph.formats.layout import fitting, to_svg
from tinygrad_mnist.graph.graph import Graph


def _markdown(graph: Graph, view: str, **options: Any) -> str:
    return f"```mermaid\n{graph.mermaid(view, **options)}```\n"


def _outline(graph: Graph, view: str, **options: Any) -> str:
    return graph.text(view, **{"width": None, **options})  # nothing is shortened


WRITERS: Final[dict[str, Callable[..., str | bytes]]] = {
    ".dot": Graph.dot,
    ".gv": Graph.dot,
    ".svg": Graph.svg,
    ".png": Graph.png,
    ".pdf": Graph.pdf,
    ".html": Graph.html,
    ".mmd": Graph.mermaid,
    ".mermaid": Graph.mermaid,
    ".md": _markdown,
    ".txt": _outline,
    ".json": lambda graph, view, **options: graph.json(),  # all of it, whatever a picture would show
}
"""By suffix."""

_shown = count(1)


def save(graph: Graph, path: str | PathLike[str], view: str = "modules", **options: Any) -> Path:
    """Write a graph to a file, all or nothing.

    Parameters
    ----------
    graph : Graph
    path : path
        Its suffix names the format; see ``WRITERS``.
    view : str
    **options
        Of the method that writes the format.

    Raises
    ------
    ValueError
        If the suffix names no format.
    OSError
        If it cannot be written: there is no such directory, or it is one itself.
    """
    writer = writer_of(path)  # before any work
    return write(path, writer(graph, view, **options))


def writer_of(path: str | PathLike[str]) -> Callable[..., str | bytes]:
    """What writes a graph to a path; errors as for `save`."""
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        known = ", ".join(WRITERS)
        name = Path(path).name
        raise ValueError(f"cannot tell a format by {name!r}; expected a name that ends in {known}")
    target_of(path)
    return writer


def mimebundle(graph: Graph) -> dict[str, str]:
    """What a notebook may show of a graph. Never raises."""
    return bundle(
        graph.text,
        lambda prefix: to_svg(fitting(graph, "modules", {}), "auto", prefix),
        graph.json,
        f"{len(graph.nodes)} nodes, which could not be outlined",
    )


def bundle(
    outline: Callable[[], str], picture: Callable[[str], str], data: Callable[[], str], otherwise: str
) -> dict[str, str]:
    """A picture if something lays it out, and text. Never raises.

    Parameters
    ----------
    outline : callable
        Gives the text.
    picture : callable
        Gives SVG whose ids begin with a prefix.
    data : callable
        Gives a text that differs where pictures do, so that they can stand on one page.
    otherwise : str
        What to say if there is not even a text.
    """
    try:
        text = outline()
    except Exception as error:  # a notebook shows nothing at all if this raises
        return {"text/plain": f"{otherwise}: {error}"}
    try:
        digest = sha256(data().encode()).hexdigest()[:8]
        return {"image/svg+xml": picture(f"g{digest}-{next(_shown)}-"), "text/plain": text}
    except Exception as error:
        told = f"{text}\nno picture: {error}\n"
        return {"text/html": f"<pre>{escape(told)}</pre>", "text/plain": told}
