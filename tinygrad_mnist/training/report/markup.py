"""HTML made of elements, so that a text can never become markup: whatever is no `Markup` is escaped."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.numbers import printable

_EMPTY: Final = frozenset({"br", "hr", "img", "link", "meta"})
"""Elements that have no end tag."""


class Markup(str):
    """A text that is HTML, and goes into a page as it is."""

    __slots__ = ()


Content = str | Iterable["Content"] | None
"""What stands in an element: text, `Markup`, nothing, or several of these."""


def join(*content: Content) -> Markup:
    """Return contents one after the other.

    Examples
    --------
    >>> join("a < b", Markup("<br>"), None, ["c", "d"])
    'a &lt; b<br>cd'
    """
    parts: list[str] = []
    for one in content:
        if isinstance(one, Markup):
            parts.append(one)
        elif isinstance(one, str):
            parts.append(html.escape("\n".join(map(printable, one.split("\n")))))
        elif one is not None:
            parts.append(join(*one))
    return Markup("".join(parts))


def element(tag: str, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """Return an element.

    Parameters
    ----------
    tag : str
        Its name.
    *content : str, Markup, iterable of these, or None
        What stands in it.
    **attributes : str, int, bool or None
        Its attributes. ``class_`` is the class, ``aria_label`` is ``aria-label``; True is an attribute
        without a value, None and False are none.

    Examples
    --------
    >>> element("p", "1 < 2", element("b", "!"), class_="note", aria_label='"')
    '<p class="note" aria-label="&quot;">1 &lt; 2<b>!</b></p>'
    """
    said = ""
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        said += f" {name.removesuffix('_').replace('_', '-')}"
        if value is not True:
            said += f'="{html.escape(printable(str(value)))}"'
    if tag in _EMPTY:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{join(*content)}</{tag}>")


def table(
    heading: Sequence[Content],
    rows: Iterable[Sequence[Content]],
    caption: str,
    *,
    words: Collection[int] = (),
) -> Markup:
    """Return a table in a box of its own that scrolls, the first cell of each row its heading.

    Parameters
    ----------
    heading : sequence of content
        The headings of the columns.
    rows : iterable of sequences of content
        The cells.
    caption : str
        What it shows, for whoever hears the page.
    words : collection of int
        The numbers of the columns, besides the first, that hold words; the others are aligned on the right.
    """

    def kind(column: int) -> str | None:
        return None if column == 0 or column in words else "number"

    head = element("tr", (element("th", cell, scope="col", class_=kind(i)) for i, cell in enumerate(heading)))
    body = [
        element(
            "tr",
            element("th", row[0], scope="row"),
            (element("td", cell, class_=kind(i)) for i, cell in enumerate(row[1:], start=1)),
        )
        for row in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", head),
            element("tbody", body),
        ),
        class_="wide",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def image(pixels: NDArray[np.uint8], alt: str, scale: int = 1) -> Markup:
    """Return an ``<img>`` with its picture in it.

    Parameters
    ----------
    pixels : ndarray
        uint8, shape (height, width) for grey, (height, width, 3) for colours.
    alt : str
        The words in its place.
    scale : int
        Pixels of the page, at least, for each of its own.
    """
    height, width = pixels.shape[:2]
    source = f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"
    return element("img", src=source, alt=alt, width=width * scale, height=height * scale)


def png(pixels: NDArray[np.uint8]) -> bytes:
    r"""Return a picture as the bytes of a PNG file; small ones need no library.

    Source: the specification of PNG (ISO/IEC 15948), sections 5 and 11: a header, the rows each with the
    number of its filter (0, none), compressed, and an end, each with its length and checksum.

    Examples
    --------
    >>> png(np.zeros((2, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def document(title: str, style: str, *body: Content, kind: str) -> Markup:
    """Return a whole page, which may load nothing: its policy forbids scripts and all addresses."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="generator", content=f"tinygrad_mnist {kind}"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    return Markup(f"<!DOCTYPE html>\n{element('html', head, element('body', *body), lang='en')}\n")
