"""Lines over time: thinning, running means, names at the ends, numbers of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.plots.figure import GREY, HEADING, INK, LINE, NARROW, PALE, Page, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Values = NDArray[np.float64]

MOST_POINTS: Final = 800
"""Points of a line: more are not seen on a page."""
LEFT, BETWEEN, HEAD, FOOT = 0.68, 0.3, 0.38, 0.52  # inches around a panel
LABEL: Final = 1.05
"""Inches to the right of a panel, for the names of its lines."""


def thinned(times: Values, values: Values, most: int = MOST_POINTS) -> tuple[Values, Values]:
    """Return a line of at most `most` points that keeps the least and the greatest value of each stretch.

    Examples
    --------
    >>> x = np.arange(10.0)
    >>> thinned(x, np.sin(x), 4)[0].tolist()
    [0.0, 0.0, 5.0, 5.0]
    """
    n = len(values)
    if n <= most:
        return times, values
    starts = np.linspace(0, n, most // 2 + 1).astype(int)[:-1]
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    return times[starts].repeat(2), np.stack([low, high], axis=1).reshape(-1)


def running_mean(values: Values, window: int) -> Values:
    """Return the mean of the finite values in a window around each; NaN where there are none.

    Examples
    --------
    >>> running_mean(np.array([1.0, 2.0, np.nan, 6.0]), 3).tolist()
    [1.5, 1.5, 4.0, 6.0]
    """
    known = np.isfinite(values)
    sums = _window_sums(np.where(known, values, 0.0), window)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / _window_sums(known.astype(np.float64), window))


def _window_sums(values: Values, window: int) -> Values:
    """Return the sum of the values in a window around each.

    Nothing is subtracted: the difference of two cumulative sums has lost the digits of small values behind a
    large one. Where values are cut into blocks as long as a window, each window is the end of one block and
    the beginning of the next (van Herk 1992).
    """
    n = len(values)
    padded = np.zeros(-(-(n + 2 * window) // window) * window)
    padded[(window - 1) // 2 : (window - 1) // 2 + n] = values
    blocks = padded.reshape(-1, window)
    beginnings = np.cumsum(blocks, axis=1).reshape(-1)
    ends = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].reshape(-1)
    first = np.arange(n)
    is_block = first % window == 0  # which its beginning is already the sum of
    return np.asarray(np.where(is_block, 0.0, ends[first]) + beginnings[first + window - 1])


def compact(x: float) -> str:
    """Return a number of steps in few signs.

    Examples
    --------
    >>> [compact(x) for x in (0, 0.5, 250, 12_000, 2_500_000)]
    ['0', '0.5', '250', '12k', '2.5M']
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(x) >= size:
            return f"{x / (1e3 if unit == 'k' else size):.4g}{unit}"
    return f"{x:.4g}"


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places moved as little as keeps them `gap` apart, in their order, and within `low` and `high`.

    Examples
    --------
    >>> [round(x, 2) for x in spread([0.5, 0.5, 0.9], 0.2, 0.0, 1.0)]
    [0.4, 0.6, 0.9]
    """
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    order = np.argsort(np.asarray(places), kind="stable")
    blocks: list[list[float]] = []  # mean of the wished places of first members, number of members
    for place in np.asarray(places)[order] - gap * np.arange(len(places)):
        blocks.append([float(place), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (second, m), (first, n) = blocks.pop(), blocks.pop()
            blocks.append([(first * n + second * m) / (n + m), n + m])
    wished = [place for place, count in blocks for _ in range(int(count))]
    highest = max(low, high - gap * (len(places) - 1))
    moved = [min(max(place, low), highest) + gap * k for k, place in enumerate(wished)]
    return [moved[int(np.flatnonzero(order == k)[0])] for k in range(len(places))]


def inches_of(axes: Axes) -> tuple[float, float]:
    """Return width and height of axes in inches."""
    box = axes.get_window_extent()
    return box.width / axes.figure.dpi, box.height / axes.figure.dpi


def label_ends(axes: Axes, labels: Sequence[tuple[float, Sequence[str], str]]) -> None:
    """Write names to the right of a panel at the ends of its lines, kept apart.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Its limits and scale are set.
    labels : sequence of (y, lines of text, colour)
        y in the panel's data.
    """
    if not labels:
        return
    lines = max(len(texts) for _, texts, _ in labels)
    width, height = inches_of(axes)
    gap = (lines * LINE * 0.85 + 0.04) / height
    to_panel = axes.transData + axes.transAxes.inverted()
    end = axes.get_xlim()[1]
    places = [float(to_panel.transform((end, y))[1]) for y, _, _ in labels]
    places = [0.0 if not np.isfinite(place) else place for place in places]
    for place, (_, texts, colour) in zip(spread(places, gap, gap / 4, 1 - gap / 4), labels, strict=True):
        for k, text in enumerate(texts):
            y = place + ((len(texts) - 1) / 2 - k) * LINE * 0.85 / height
            write_text(axes, 1 + 0.1 / width, y, text, color=colour, transform=axes.transAxes, va="center")


def panels(
    page_width: float, count: int, height: float = 2.3
) -> tuple[list[tuple[float, float, float, float]], float]:
    """Return the places (left, top, width, height) of panels, and the height of the room for them.

    They stand side by side, two in a row, and under each other where the page is narrow.
    """
    across = 1 if page_width < NARROW else min(count, 2)
    whole = page_width / across
    places = []
    for k in range(count):
        row, column = divmod(k, across)
        top = row * (HEAD + height + FOOT) + HEAD
        places.append((column * whole + LEFT, top, whole - LEFT - LABEL - 0.1, height))
    return places, -(-count // across) * (HEAD + height + FOOT)


def new_panel(page: Page, place: tuple[float, float, float, float], heading: str, time: str) -> Axes:
    """Return axes with a heading, the name of the time below them, and pale lines across."""
    axes = page.axes(*place)
    height = place[3]
    options = {"transform": axes.transAxes}
    write_text(axes, 0, 1 + 0.12 / height, heading, fontsize=HEADING, color=INK, **options)
    write_text(axes, 0.5, -0.45 / height, time, color=GREY, ha="center", **options)
    axes.grid(axis="y", color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def note(axes: Axes, text: str) -> None:
    """Write a note above the right end of a panel."""
    write_text(axes, 1, 1 + 0.12 / inches_of(axes)[1], text, color=GREY, ha="right", transform=axes.transAxes)


def time_axis(axes: Axes, first: float, last: float) -> None:
    """Let the time run from 0, or from the first moment where that is earlier, with few short numbers."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low = min(0.0, first)
    axes.set_xlim(low, last if last > low else low + 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: compact(x)))


def log_axis(axes: Axes, low: float, high: float) -> None:
    """Make y logarithmic, from `low` to `high`, with a handful of numbers in plain digits."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = np.log10(high / low)
    subs = (1, 2, 5) if decades < 2.3 else (1,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=7))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
