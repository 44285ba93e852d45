"""The methods of `Graph` that draw and write.

They stand above the views and the formats, and are put on `Graph` from here: so the plain data knows nothing
of pictures. A format is loaded when it is asked for, with what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import sha256
from html import escape
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any

from tinygrad_mnist.files import write
from tinygrad_mnist.graph import views
from tinygrad_mnist.graph.data import Graph
from tinygrad_mnist.graph.drawing import Drawing
from tinygrad_mnist.graph.folding import BUDGET
from tinygrad_mnist.graph.formats import FORMATS, writer_of


def draw(
    self: Graph,
    view: str = "modules",
    *,
    depth: int | None = None,
    expand: Collection[str] = (),
    budget: int = BUDGET,
) -> Drawing:
    """Return the boxes, arrows and words of a picture, before it is laid out.

    Parameters
    ----------
    view : str
        ``modules`` (a box for each call of a module), ``operations`` (every operation, inside its modules),
        ``backward`` (the gradients, arrows reversed) or ``profile`` (times and memory).
    depth : int, optional
        How many levels of modules to open; by default as many as the budget allows.
    expand : collection of str
        Ids of modules to open all the same: ``model/3``.
    budget : int
        Most boxes to show before more is folded, where ``depth`` does not say.
    """
    return views.draw(self, view, depth=depth, expand=expand, budget=budget)


def dot(self: Graph, view: str = "modules", *, theme: str = "light", **options: Any) -> str:
    """Return the picture in Graphviz's language; options as for `draw`."""
    from tinygrad_mnist.graph.formats.dot import to_dot

    return to_dot(self.draw(view, **options), theme)


def svg(self: Graph, view: str = "modules", *, theme: str = "auto", **options: Any) -> str:
    """Return the picture as SVG; ``auto`` follows the reader's light or dark setting."""
    from tinygrad_mnist.graph.formats.layout import fitting
    from tinygrad_mnist.graph.formats.svg import to_svg

    return to_svg(fitting(self, view, options), theme)


def png(self: Graph, view: str = "modules", *, theme: str = "light", **options: Any) -> bytes:
    """Return the picture as PNG."""
    return _rendered(self, "png", view, theme, options)


def pdf(self: Graph, view: str = "modules", *, theme: str = "light", **options: Any) -> bytes:
    """Return the picture as PDF."""
    return _rendered(self, "pdf", view, theme, options)


def _rendered(graph: Graph, format: str, view: str, theme: str, options: dict[str, Any]) -> bytes:
    from tinygrad_mnist.graph.formats.dot import to_dot
    from tinygrad_mnist.graph.formats.layout import fitting, render

    return render(to_dot(fitting(graph, view, options), theme), format)


def html(self: Graph, view: str = "modules", **options: Any) -> str:
    """Return one page that holds all levels, to search and walk through; it works without a network."""
    from tinygrad_mnist.graph.formats.html import to_html

    return to_html(self, view, **options)


def mermaid(self: Graph, view: str = "modules", **options: Any) -> str:
    """Return the picture in Mermaid's language, which Markdown on many sites draws."""
    from tinygrad_mnist.graph.formats.mermaid import to_mermaid

    return to_mermaid(self.draw(view, **options))


def text(self: Graph, view: str = "modules", *, color: bool = False, **options: Any) -> str:
    """Return an aligned outline, of 120 columns at most; options as for `draw`, and ``width`` in columns."""
    from tinygrad_mnist.graph.formats.text import to_text

    return to_text(self, view, color=color, **options)


# ---- files -------------------------------------------------------------------------------------------------


def save(self: Graph, path: str | PathLike[str], view: str = "modules", **options: Any) -> Path:
    """Write a file in the format that its suffix names, all or nothing, and return its path.

    Parameters
    ----------
    path : path
        Its suffix names the format: one of ``FORMATS``.
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
    writer = writer_of(path, FORMATS)  # before any work
    return write(path, writer(self, view, **options))


# ---- notebooks -----------------------------------------------------------------------------------------


def _repr_mimebundle_(self: Graph, include: Any = None, exclude: Any = None) -> dict[str, str]:
    """Return what a notebook may show of a graph. Never raise."""
    from tinygrad_mnist.graph.formats.layout import fitting
    from tinygrad_mnist.graph.formats.svg import to_svg

    return bundle(
        self.text,
        lambda prefix: to_svg(fitting(self, "modules", {}), "auto", prefix),
        self.json,
        f"{len(self.nodes)} nodes, which could not be outlined",
    )


_shown = count(1)


def bundle(
    outline: Callable[[], str], picture: Callable[[str], str], data: Callable[[], str], otherwise: str
) -> dict[str, str]:
    """Return a picture if something lays it out, and text, for a notebook. Never raise.

    Parameters
    ----------
    outline : callable
        Gives the text.
    picture : callable
        Gives SVG whose ids begin with a prefix.
    data : callable
        Gives a text that differs where pictures do, so that they can stand on one page.
    otherwise : str
        The sentence to show if there is not even a text.
    """
    try:
        text = outline()
    except Exception as error:  # a notebook shows nothing at all if this raises
        return {"text/plain": f"{otherwise}: {error}"}
    try:
        # One page may show the same picture twice, in the light of different runs: no id may be there twice.
        digest = sha256(data().encode()).hexdigest()[:8]
        return {"image/svg+xml": picture(f"g{digest}-{next(_shown)}-"), "text/plain": text}
    except Exception as error:
        told = f"{text}\nno picture: {error}\n"
        return {"text/html": f"<pre>{escape(told)}</pre>", "text/plain": told}


for _method in (draw, dot, svg, png, pdf, html, mermaid, text, save, _repr_mimebundle_):
    _method.__qualname__ = f"Graph.{_method.__name__}"
    setattr(Graph, _method.__name__, _method)
