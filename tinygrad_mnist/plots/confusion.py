"""A confusion matrix, and what it says of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.numbers import count_text, percent_text
from tinygrad_mnist.plots.figure import (
    BLUE,
    GREY,
    INK,
    LINE,
    NARROW,
    PALE,
    SIDE,
    TEXT,
    VERMILLION,
    WIDTH,
    check_width,
    class_names,
    new_page,
    shortened,
    text_width,
    wrapped,
    write_text,
)
from tinygrad_mnist.plots.intervals import wilson_interval
from tinygrad_mnist.plots.tiles import Pixels, draw_image, rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Counts = NDArray[Any]
CellTexts = list[list[tuple[str, str]]]

_TOP = 0.42  # inches above the matrix, for "predicted" and the names
_LISTED: Final = 10  # of the most frequent mistakes, where cells are too small for numbers
_SMALL: Final = 7.4  # points of digits
_STRONGEST: Final = 0.55  # opacity of a cell: ink is read on it, in light and dark
_GREATEST = 0.62  # inches of the side of a cell


def plot_confusion(
    matrix: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw a confusion matrix: how often each true class was predicted as each class.

    A cell holds its count, and below it the percent of its row. The diagonal is blue. Mistakes are shaded
    orange by their share of the row, so that the frequent ones stand out beside the far larger counts on the
    diagonal. Where cells are too small for numbers (more than ten classes in 5 inches, or thirty in 9), the
    most frequent mistakes are listed below.

    Parameters
    ----------
    matrix : array_like, shape (k, k), int
        Entry (i, j) counts the samples of class i that were predicted as j. k is 1 or more.
    names : sequence of str, optional
        The names of the classes; by default 0 to k - 1.
    title : str, optional
        The line on top; by default the number of right predictions.
    width : float, optional
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The matrix is not square, holds something else than counts, or there are not as many names as classes.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_confusion([[40, 2], [1, 57]])
    >>> figure.texts[0].get_text()
    '97 of 100 right (97.00 %)'
    """
    counts = _counts(matrix)
    k = len(counts)
    named = class_names(names, k)
    check_width(width)
    left = 0.42 + min(0.2 * width, max(text_width(name) for name in named))
    cell = min((width - left - SIDE) / k, max(_GREATEST, 1.9 / k))
    # a thousand without its comma is narrower; small digits are for wide pages, which no telephone shows
    styles = [(",", TEXT), ("", TEXT), *([("", _SMALL)] if width >= NARROW else [])]
    fitting = [(form, size) for form, size in styles if _fit(_cell_texts(counts, form), size, cell)]
    lines = [] if fitting else _most_frequent(counts, named, width)
    total, right = int(counts.sum()), int(np.trace(counts))
    slanted = max(text_width(name) for name in named) > 0.95 * cell
    top = _TOP + (min(0.16 * width, max(text_width(name) for name in named)) if slanted else 0)
    if fitting:
        below = "in each cell: the count, and below it percent of the true class"
    else:
        below = "shaded by the share of the true class"
    page = new_page(
        width,
        top + k * cell + 0.1 + (0.15 + LINE * len(lines) if lines else 0),
        title or f"{right:,} of {total:,} right ({percent_text(right / max(total, 1))})",
        below,
    )
    axes = page.axes(left, top, k * cell, k * cell)
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5))
    draw_image(axes, _shades(counts), (-0.5, k - 0.5, k - 0.5, -0.5))
    if fitting:
        _write_cells(axes, counts, *fitting[0], cell)
    _frame(axes, named, cell, left - 0.42, top - _TOP if slanted else None)
    canvas = page.canvas()
    for i, (line, colour) in enumerate(lines):
        write_text(canvas, SIDE, top + k * cell + 0.1 + (i + 1) * LINE, line, color=colour)
    return page.figure


def plot_class_accuracy(
    matrix: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    title: str = "Accuracy of each class",
    width: float = WIDTH,
) -> Figure:
    """Draw how many samples of each true class are recognised, with a 95 % interval.

    Parameters
    ----------
    matrix : array_like, shape (k, k), int
        A confusion matrix, as `plot_confusion` takes it.
    names : sequence of str, optional
        The names of the classes; by default 0 to k - 1.
    title : str, optional
        The line on top.
    width : float, optional
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        See `plot_confusion`.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_class_accuracy([[40, 2], [1, 57]], names=["no", "yes"])
    >>> [text.get_text() for text in figure.axes[0].texts[:4]]
    ['no', '95.2 % of 42', 'yes', '98.3 % of 58']
    """
    counts = _counts(matrix)
    k = len(counts)
    named = class_names(names, k)
    totals, right = counts.sum(axis=1), counts.diagonal()
    low, high = (100 * end for end in wilson_interval(right, totals))
    shares = [
        f"{percent_text(r / n, 1)} of {n:,}" if n else "no samples"
        for r, n in zip(right, totals, strict=True)
    ]
    left = SIDE + min(0.3 * width, max(text_width(name) for name in named)) + 0.12
    room = max(text_width(text) for text in shares) + 0.2
    row = 0.26 if k <= 40 else LINE
    page = new_page(
        width, k * row + 0.6, title, "with the 95 % interval of Wilson; dashed: all classes together"
    )
    axes = page.axes(left, 0.05, width - left - room - SIDE, k * row)
    known = totals > 0
    least = low[known].min() if known.any() else 0.0
    lowest = np.floor(least) if least >= 90 else 5 * np.floor(least / 5)
    axes.set(xlim=(lowest, 100), ylim=(k - 0.5, -0.5), yticks=[])
    axes.xaxis.set_major_formatter("{x:g} %")
    axes.grid(axis="x", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    if known.any():
        axes.axvline(100 * right.sum() / totals.sum(), color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    rows = np.flatnonzero(known)
    axes.hlines(rows, low[known], high[known], color=BLUE, linewidth=1.6)
    axes.plot(100 * right[known] / totals[known], rows, color=BLUE, linestyle="", marker="o", markersize=6,
              clip_on=False)  # fmt: skip
    sides = {"transform": axes.get_yaxis_transform(), "va": "center"}
    inches = width - left - room - SIDE
    for i, (name, share) in enumerate(zip(named, shares, strict=True)):
        write_text(axes, -0.1 / inches, i, shortened(name, left - SIDE - 0.1), ha="right", **sides)
        write_text(axes, 1 + 0.12 / inches, i, share, color=INK if totals[i] else GREY, **sides)
    return page.figure


def _counts(matrix: ArrayLike) -> Counts:
    counts = np.asarray(matrix)
    k = len(counts) if counts.ndim else 0
    if counts.shape != (k, k) or k == 0:
        raise ValueError(f"a confusion matrix is square, of shape (k, k), not {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0).any() or (counts != np.rint(counts)).any():
        raise ValueError("a confusion matrix holds counts: whole numbers, 0 or more")
    return counts.astype(np.int64)


def _row_shares(counts: Counts) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))


def _fit(texts: CellTexts, size: float, cell: float) -> bool:
    """Return whether all numbers fit into cells of this many inches."""
    longest = max(text_width(text, size) for row in texts for pair in row for text in pair)
    return longest <= 0.97 * cell and 2 * LINE * size / TEXT - 0.02 <= cell


def _cell_texts(counts: Counts, form: str) -> CellTexts:
    """Return the count and the percent of each cell; nothing is a dot."""
    percents = 100 * _row_shares(counts)
    return [
        [
            (f"{count:{form}}", "100" if count == counts[i].sum() else f"{min(percents[i, j], 99.9):.1f}")
            if count
            else ("·", "")
            for j, count in enumerate(row)
        ]
        for i, row in enumerate(counts)
    ]


def _shades(counts: Counts) -> Pixels:
    """Return a pixel a cell: blue on the diagonal, orange for mistakes, by their share of the worst."""
    shares = _row_shares(counts)
    diagonal = np.eye(len(counts), dtype=bool)
    worst = max(float(shares[~diagonal].max(initial=0)), 1e-9)
    pixels = np.zeros((*counts.shape, 4), np.uint8)
    pixels[..., :3] = np.where(diagonal[..., None], rgb(BLUE), rgb(VERMILLION))
    # a single mistake is still seen
    opacity = np.where(diagonal, 0.28, np.where(counts > 0, 0.06 + 0.94 * shares / worst, 0) * _STRONGEST)
    pixels[..., 3] = np.rint(255 * opacity)
    return pixels


def _write_cells(axes: Axes, counts: Counts, form: str, size: float, cell: float) -> None:
    step = LINE * 0.46 * size / TEXT / cell
    options = {"ha": "center", "va": "center", "fontsize": size}
    for i, row in enumerate(_cell_texts(counts, form)):
        for j, (count, share) in enumerate(row):
            if not counts[i, j]:
                write_text(axes, j, i, count, color=GREY, **options)
                continue
            write_text(axes, j, i - step, count, fontweight="bold" if i == j else "normal", **options)
            write_text(axes, j, i + step, share, **options)


def _frame(axes: Axes, names: list[str], cell: float, room: float, slanted: float | None) -> None:
    """Write the names of the classes on top and on the left, and rule lines between the cells.

    Names on top that are wider than a cell stand upright, in `slanted` inches. Of more names than the page
    has room for, every second or third is written.
    """
    k = len(names)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set(xticks=[], yticks=[])
    lines = np.arange(k + 1) - 0.5
    for draw in (axes.hlines, axes.vlines):
        draw(lines, -0.5, k - 0.5, color=PALE, linewidth=0.6 if k <= 40 else 0.2, clip_on=False)
    every = -(-int(LINE * 100) // int(cell * 100 + 1))
    for i in range(0, k, every):
        write_text(axes, -0.5 - 0.07 / cell, i, shortened(names[i], room), ha="right", va="center")
        if slanted is None:
            write_text(axes, i, -0.5 - 0.07 / cell, names[i], ha="center", va="bottom")
        else:
            text = shortened(names[i], slanted)
            options = {"rotation": 90, "rotation_mode": "anchor", "va": "center"}
            write_text(axes, i, -0.5 - 0.07 / cell, text, ha="left", **options)
    edge = -0.5 - (_TOP + (slanted or 0) - 0.14) / cell
    write_text(axes, -0.5, edge, "predicted →", color=GREY)
    options = {"rotation": 90, "rotation_mode": "anchor", "va": "center"}
    write_text(axes, -0.5 - (room + 0.28) / cell, -0.5, "← true", color=GREY, ha="right", **options)


def _most_frequent(counts: Counts, names: list[str], width: float) -> list[tuple[str, str]]:
    """Return lines that list the most frequent mistakes, each with its colour."""
    shares = _row_shares(counts)
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_LISTED]
    found = [divmod(int(place), len(counts)) for place in order if mistakes.flat[place]]
    if not found:
        return []
    room = (width - 2 * SIDE - text_width(" → : 10,000 times, 10.0 %")) / 2
    heading = "the most frequent mistakes: true → predicted, and the share of the true class"
    lines = [(line, GREY) for line in wrapped(heading, width - 2 * SIDE)]
    for i, j in found:
        pair = f"{shortened(names[i], room)} → {shortened(names[j], room)}"
        times = count_text(int(counts[i, j]), "time")
        lines.append((f"{pair}: {times}, {percent_text(shares[i, j], 1)}", INK))
    return lines
