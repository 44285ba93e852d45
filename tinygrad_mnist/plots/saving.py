"""Figures as files, and as SVG for a page.

SVG keeps text as text, holds no date and no random number, and is as wide as its place. In a page its colours
are those that the page sets as variables of CSS by the names of `PALETTE`: ``--ink``, ``--paper`` ...
"""

from __future__ import annotations

import io
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from tinygrad_mnist.files import replacing
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.plots.figure import DOTS_PER_INCH, PALETTE, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_REFERENCE: Final = re.compile(r"url\(#([^)]+)\)")
_FAMILY: Final = re.compile(r"font-family: [^;]*;? ?")
_SHORTHAND: Final = re.compile(r"(font: [^;]*?px )[^;]*")  # of matplotlib before 3.10
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tinygrad_mnist",
    "svg.image_inline": True,
}
_ONE_AT_A_TIME: Final = threading.Lock()  # what `_drawing` changes belongs to the whole process


def save(figure: Figure, path: PathLike) -> Path:
    """Write a figure into a file, whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
        The file; its ending names the format, as ``.png``, ``.svg`` and ``.pdf``. Without one it is PNG.

    Returns
    -------
    Path

    Raises
    ------
    OSError
        The file cannot be written. What was there before stays.
    ValueError
        No picture has a format of this name.

    Examples
    --------
    >>> import tempfile
    >>> from tinygrad_mnist import plots
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(plots.plot_confusion([[40, 2], [1, 57]]), f"{folder}/confusion.png").name
    'confusion.png'
    """
    path = Path(path)
    form = path.suffix.removeprefix(".").lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if form not in known:
        raise ValueError(
            f"{path.name}: a picture is written as {', '.join(sorted(known))}, and not as {form!r}; give the "
            "file another ending, as .png or .svg"
        )
    with replacing(path) as unfinished:
        if form == "svg":
            unfinished.write_text(_written(_clean(figure, _heading(figure), "", "")), "utf-8")
        else:
            with _drawing():
                figure.savefig(unfinished, format=form, dpi=DOTS_PER_INCH)
    return path


def svg(figure: Figure, title: str | None = None, description: str = "", *, prefix: str | None = None) -> str:
    """Return a figure as SVG for a page: no background, and colours that the page may set.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    title, description : str, optional
        What a screen reader says; by default the heading of the figure.
    prefix : str, optional
        The beginning of all ids. By default it is made from what is drawn, so that pictures in one page
        differ; a picture that stands there twice needs two.

    Returns
    -------
    str
        An ``<svg>`` element that is as wide as its place. Each colour of `PALETTE` is ``var(--ink, #222222)``
        and so on.

    Examples
    --------
    >>> from tinygrad_mnist import plots
    >>> text = svg(plots.plot_confusion([[40, 2], [1, 57]]), description="Three mistakes.")
    >>> "<title>97 of 100 right" in text, "var(--ink, #222222)" in text
    (True, True)
    """
    root = _clean(figure, _heading(figure) if title is None else title, description, prefix)
    root.attrib.pop("height", None)
    root.set("width", "100%")
    text = _written(root)
    for name, colour in PALETTE.items():
        text = text.replace(colour.lower(), f"var(--{name}, {colour.lower()})")
    return text


def _heading(figure: Figure) -> str:
    lines = [text.get_text() for text in figure.texts if text.get_fontweight() == "bold"]
    return " ".join(lines)


@contextmanager
def _drawing() -> Iterator[None]:
    """Set what matplotlib asks of the whole process, for one thread at a time."""
    import matplotlib

    with _ONE_AT_A_TIME, warnings.catch_warnings(), matplotlib.rc_context(_SETTINGS):
        # names of classes may have signs that no installed font has: those are drawn as boxes
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        yield


def _clean(figure: Figure, title: str, description: str, prefix: str | None) -> ElementTree.Element:
    """Return the SVG of a figure without metadata, rules for the whole page, and ids that nobody needs."""
    file = io.BytesIO()
    with _drawing():
        figure.savefig(
            file,
            format="svg",
            transparent=prefix != "",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    if prefix is None:
        prefix = f"p{zlib.crc32(file.getvalue()):08x}-"
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):  # the rules of the latter are for *
                parent.remove(child)
    used = {element.get(_LINK, "")[1:] for element in root.iter() if element.tag != f"{_SVG}image"}
    used.update(name for e in root.iter() for name in _REFERENCE.findall(" ".join(e.attrib.values())))
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in used:
            element.set("id", f"{prefix}{name}")
        for key, value in list(element.items()):
            if key == _LINK and value.startswith("#"):
                element.set(key, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(rf"url(#{prefix}\1)", value))
            elif key == "style":
                element.set(key, _SHORTHAND.sub(lambda found: found[1] + FONT, _FAMILY.sub("", value)))
            elif key == "transform" and value.startswith("rotate(-0 "):
                del element.attrib[key]
    root.set("style", f"stroke-linejoin: round; stroke-linecap: butt; font-family: {FONT}")
    root.set("role", "img")
    for k, (tag, text) in enumerate((("title", title), ("desc", description))):
        if text:
            element = ElementTree.Element(f"{_SVG}{tag}")
            element.text = printable(text)
            root.insert(k, element)
    return root


def _written(root: ElementTree.Element) -> str:
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", _LINK[1 : _LINK.index("}")])
    return ElementTree.tostring(root, "unicode")
