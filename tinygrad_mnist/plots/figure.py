"""The parts that all pictures share: a page with its heading, one style of axes, colours, sizes of text.

A page is laid out in inches from its top left corner, so that a picture can be made for any width: a
telephone shows 5 inches as 400 pixels, where the smallest text here is still 8 points high.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.extras import missing_package
from tinygrad_mnist.numbers import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PathLike = str | os.PathLike[str]

# After Okabe and Ito (2008): the colour-blind tell them apart, too. No picture says anything by colour alone.
BLUE, VERMILLION, GREEN, PURPLE, OCHRE = "#0072B2", "#C8460A", "#007A5E", "#A24A84", "#806600"
INK, GREY, PALE, PAPER = "#222222", "#6B6B6B", "#D9D9D9", "#FFFFFF"
PALETTE: Final = {
    "ink": INK,
    "grey": GREY,
    "pale": PALE,
    "paper": PAPER,
    "blue": BLUE,
    "vermillion": VERMILLION,
    "green": GREEN,
    "purple": PURPLE,
    "ochre": OCHRE,
}
"""The colours of all pictures by name; a page that holds them as SVG may replace each."""

TITLE, HEADING, TEXT = 13.0, 11.0, 9.6  # sizes of text in points
LINE = 0.19  # inches from one line of TEXT to the next
SIDE = 0.15  # inches beside everything
WIDTH, NARROW = 9.0, 7.0  # inches: of a picture, and below which panels stand under each other
NARROWEST: Final = 3.0
DOTS_PER_INCH = 130


@dataclass(frozen=True)
class Page:
    """A figure with a heading, and room below it that is filled in inches from its top left corner.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    width : float
        Inches.
    height : float
        Inches of the room.
    """

    figure: Figure
    width: float
    height: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return axes in the room: thin grey lines on two sides, small grey numbers, without a background."""
        whole = float(self.figure.get_size_inches()[1])
        bottom = self.height - top - height
        axes = self.figure.add_axes(
            (left / self.width, bottom / whole, width / self.width, height / whole), facecolor="none"
        )
        for side, spine in axes.spines.items():
            spine.set(visible=side in ("left", "bottom"), color=GREY, linewidth=0.8)
        axes.tick_params(colors=GREY, labelsize=TEXT, length=3, width=0.8)
        axes.grid(False)
        return axes

    def canvas(self) -> Axes:
        """Return axes that fill the room, without lines, whose unit is an inch; y grows downwards."""
        axes = self.axes(0, 0, self.width, self.height)
        axes.axis("off")
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        return axes


def new_page(width: float, height: float, title: str, below: str = "") -> Page:
    """Return a white page with a title and lines of grey text below it.

    Parameters
    ----------
    width : float
        Inches.
    height : float
        Inches of the room below the heading.
    title, below : str
        Broken into lines that fit the width. They are no mathematics: a name may hold dollar signs.

    Raises
    ------
    ImportError
        matplotlib is not installed; the message says how to get it.
    ValueError
        The width is less than 3 inches, or the page is too large to be drawn.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_package("for pictures", "plot", "matplotlib") from error
    check_width(width)
    texts = [(line, TITLE) for line in wrapped(title, width - 2 * SIDE, TITLE, bold=True)]
    texts += [(line, TEXT) for line in wrapped(below, width - 2 * SIDE, TEXT)]
    heading = 0.12 + sum(0.26 if size == TITLE else LINE for _, size in texts) + 0.1
    whole = height + heading
    if max(width, whole) * DOTS_PER_INCH >= 2**16:
        raise ValueError(f"a picture of {width:.0f} x {whole:.0f} inches is too large; draw fewer things")
    figure = Figure(figsize=(width, whole), dpi=DOTS_PER_INCH, facecolor=PAPER)
    y = 0.12
    for line, size in texts:
        y += 0.26 if size == TITLE else LINE
        text = figure.text(SIDE / width, 1 - (y - 0.05) / whole, line, fontsize=size, parse_math=False)
        text.set(color=INK if size == TITLE else GREY, fontweight="bold" if size == TITLE else "normal")
    return Page(figure, width, height)


def check_width(width: float) -> None:
    """Raise a ValueError unless a picture can be this wide."""
    if not width >= NARROWEST or not np.isfinite(width):
        raise ValueError(f"a picture is at least {NARROWEST:g} inches wide, not {width}")


def write_text(axes: Axes, x: float, y: float, text: str, **options: Any) -> None:
    """Write a line into axes, in small ink from the left unless said otherwise; it is no mathematics."""
    given: dict[str, Any] = {"fontsize": TEXT, "color": INK, "parse_math": False} | options
    axes.text(x, y, printable(text), **given)


# ---- the width of text -----------------------------------------------------------------------------------

_THIN, _BROAD = frozenset(" .,:;'!|()[]{}iljIfrt-/·\"`"), frozenset("mMWw%@—…")


def text_width(text: str, size: float = TEXT, bold: bool = False) -> float:
    """Return about how many inches a text is wide; rather too many than too few.

    Examples
    --------
    >>> text_width("mmm") > text_width("aaa") > text_width("iii")
    True
    """
    ems = 0.0
    for sign in text:
        if unicodedata.east_asian_width(sign) in "WF" or sign in _BROAD:
            ems += 1.0
        else:
            ems += 0.36 if sign in _THIN else 0.64
    return ems * size / 72 * (1.1 if bold else 1.0)


def shortened(text: str, width: float, size: float = TEXT, bold: bool = False) -> str:
    """Return a text that is at most `width` inches wide: its end is cut off where it is longer.

    Examples
    --------
    >>> shortened("Ankle boot", 0.6), shortened("Bag", 0.6)
    ('Ankle…', 'Bag')
    """
    text = printable(text)
    if text_width(text, size, bold) <= width + 1e-6:
        return text
    while text and text_width(f"{text}…", size, bold) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def wrapped(text: str, width: float, size: float = TEXT, bold: bool = False) -> list[str]:
    """Return a text as lines that are at most `width` inches wide.

    Examples
    --------
    >>> wrapped("broken between words", 1.1)
    ['broken', 'between words']
    """
    lines: list[str] = []
    for word in printable(text).split():
        both = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(both, size, bold) <= width:
            lines[-1] = both
            continue
        while text_width(word, size, bold) > width and len(word) > 1:  # no line holds it
            end = max(1, int(len(word) * width / text_width(word, size, bold)))
            lines.append(word[:end])
            word = word[end:]
        lines.append(word)
    return lines


# ---- what callers give -----------------------------------------------------------------------------------


def class_names(names: Sequence[str] | None, classes: int) -> list[str]:
    """Return a name for each class, by default its number; raise a ValueError if there are too few."""
    if names is None:
        return [str(k) for k in range(classes)]
    if isinstance(names, str) or len(names) < classes:
        raise ValueError(f"{classes} classes need as many names, not {len(names)}")
    return [printable(str(name)) for name in names[:classes]]


def check_labels(labels: NDArray[Any], classes: int, what: str = "labels") -> None:
    """Raise a ValueError unless labels are whole numbers from 0 to `classes` - 1."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{what} are whole numbers, not of dtype {labels.dtype}")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"{what} are 0 to {classes - 1} where there are {classes} classes, "
            f"not {labels.min()} to {labels.max()}"
        )


def probabilities_and_labels(probabilities: Any, labels: Any) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return probabilities (n, k) and labels (n,) as arrays; raise a ValueError unless they are such."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if p.ndim != 2 or not p.size or y.shape != p.shape[:1]:
        raise ValueError(
            "probabilities of shape (n, k) and labels of shape (n,) were expected, "
            f"not {p.shape} and {y.shape}"
        )
    check_labels(y, p.shape[1])
    sums = p.sum(axis=1)
    bad = np.flatnonzero(~((p >= 0).all(axis=1) & (abs(sums - 1) < 1e-3)))  # NaN is bad, too
    if bad.size:
        raise ValueError(
            f"each row of probabilities is at least 0 and sums to 1: row {bad[0]} sums to {sums[bad[0]]:.4g} "
            f"and has a minimum of {p[bad[0]].min():.4g}; give the softmax of the outputs"
        )
    return p, y.astype(np.intp)
