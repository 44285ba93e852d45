"""A confusion matrix: how often each class was predicted as each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.numbers import percent_text
from tinygrad_mnist.plots.figure import GREY, INK, PALE, PathLike, new_figure, style, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Counts = NDArray[Any]


def plot_confusion(
    matrix: ArrayLike,
    path: PathLike | None = None,
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Path | Figure:
    """Draw a confusion matrix: how often each true class was predicted as each class.

    Every count is written. Mistakes are shaded by their number, so that the frequent ones stand out beside
    the far larger counts on the diagonal. On the right stands the share of each true class that is
    recognised.

    Parameters
    ----------
    matrix : array_like, shape (k, k), int
        Entry (i, j) counts the samples of class i that were predicted as j. k is 1 or more.
    path : path-like, optional
        The file to write; its ending names the format.
    names : sequence of str, optional
        The names of the classes; by default 0 to k - 1.
    title : str, optional
        The line on top; by default the number of right predictions.

    Returns
    -------
    Path or matplotlib.figure.Figure
        The path, or the figure if there is no path.

    Raises
    ------
    ValueError
        The matrix is not square, or there are not as many names as classes.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_confusion([[40, 2], [1, 57]])
    >>> figure.texts[0].get_text()
    '97 of 100 right (97.00 %)'
    """
    counts = np.asarray(matrix)
    k = len(counts) if counts.ndim else 0
    if counts.shape != (k, k) or k == 0:
        raise ValueError(f"a confusion matrix is square, of shape (k, k), not {counts.shape}")
    names = [str(i) for i in range(k)] if names is None else list(names)
    if len(names) != k:
        raise ValueError(f"{k} classes need as many names, not {len(names)}")
    figure, axes = _page(counts, names)
    _cells(axes, counts)
    _shares(axes, counts)
    _frame(axes, names)
    total, right = int(counts.sum()), int(np.trace(counts))
    line = f"{right:,} of {total:,} right ({percent_text(right / max(total, 1), 2)})"
    width, height = figure.get_size_inches()
    figure.text(0.2 / width, 1 - 0.32 / height, title or line, fontsize=14, fontweight="bold", color=INK)
    return write(figure, path)


def _page(counts: Counts, names: list[str]) -> tuple[Figure, Axes]:
    """Make a page as large as the cells need: each holds the longest count and name."""
    k, longest = len(names), max(map(len, names))
    # all in inches
    cell = max(0.52 if counts.max() < 10_000 else 0.66, 0.1 * longest + 0.15)
    left, right, top, bottom = 0.65 + 0.1 * longest, 1.0, 0.95, 0.3
    width, height = max(k * cell, 2.6) + left + right, k * cell + top + bottom
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, bottom / height, k * cell / width, k * cell / height))
    style(axes)
    return figure, axes


def _cells(axes: Axes, counts: Counts) -> None:
    """Shade each cell and write its count: the diagonal in blue, mistakes in orange by their number."""
    k = len(counts)
    mistakes = np.where(np.eye(k, dtype=bool), 0, counts)
    worst = max(1, int(mistakes.max()))
    # cells without a mistake stay white; the scale ends beyond the worst, whose orange would be brown
    axes.imshow(np.ma.masked_equal(mistakes, 0), cmap="Oranges", vmin=0, vmax=worst * 1.25, aspect="auto")
    for i in range(k):
        axes.axhspan(i - 0.5, i + 0.5, i / k, (i + 1) / k, color="#DCE9F2")
        for j in range(k):
            count, mistake = counts[i, j], mistakes[i, j]
            if mistake > 0.75 * worst:
                colour = "white"  # on dark orange
            else:
                colour = INK if i == j or count else GREY
            bold = count and (i == j or mistake > 0.6 * worst)
            axes.text(
                j,
                i,
                f"{count:,}" if count else "·",
                ha="center",
                va="center",
                fontsize=9,
                color=colour,
                fontweight="bold" if bold else "normal",
            )


def _shares(axes: Axes, counts: Counts) -> None:
    """Write the share of each true class that is recognised, to the right of its row."""
    edge = len(counts) - 0.35
    for i, of_class in enumerate(counts.sum(axis=1)):
        share = percent_text(counts[i, i] / of_class, 1) if of_class else "–"
        axes.text(edge, i, share, ha="left", va="center", fontsize=9, color=INK)
    axes.text(edge, -0.68, "recognised", ha="left", va="bottom", fontsize=9, color=GREY)


def _frame(axes: Axes, names: list[str]) -> None:
    """Write the names of the classes on top and on the left, and rule lines between the cells."""
    k = len(names)
    axes.set_xticks(range(k), names)
    axes.set_yticks(range(k), names)
    axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PALE, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.tick_params(axis="both", labelsize=10, labelcolor=INK, top=False, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("predicted", fontsize=9, color=GREY, labelpad=5)
    axes.set_ylabel("true", fontsize=9, color=GREY, labelpad=5)
