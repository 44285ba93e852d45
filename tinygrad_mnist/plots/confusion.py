"""Which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_mnist.plots.figure import GREY, INK, PALE, PathLike, new_figure, style, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_confusion(
    matrix: ArrayLike,
    path: PathLike | None = None,
    *,
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Path | Figure:
    """Draw a confusion matrix: how often each true class was predicted as each.

    Every count is written. Mistakes are shaded by their number, so that the frequent ones stand out beside
    the far larger counts on the diagonal; on the right stands the share of each true class that is
    recognised.

    Parameters
    ----------
    matrix : array_like, shape (k, k), int
        Entry (i, j) counts what is i and was taken for j. k is 1 or more.
    path : path-like, optional
        Where to write it; the ending names the format.
    names : sequence of str, optional
        The classes' names; by default 0 to k - 1.
    title : str, optional
        By default how many of how many are right.

    Returns
    -------
    Path or matplotlib.figure.Figure
        The path, or the figure where there is none.

    Raises
    ------
    ValueError
        Where the matrix is not square, or the names are not as many.
    ImportError
        Where matplotlib is not installed.

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
    total, right = int(counts.sum()), int(np.trace(counts))
    mistakes = np.where(np.eye(k, dtype=bool), 0, counts)
    worst = max(1, int(mistakes.max()))
    # In inches: a cell holds the longest count and name.
    longest = max(map(len, names))
    cell = max(0.52 if counts.max() < 10_000 else 0.66, 0.1 * longest + 0.15)
    left, right_side, top, bottom = 0.65 + 0.1 * longest, 1.0, 0.95, 0.3
    width, height = max(k * cell, 2.6) + left + right_side, k * cell + top + bottom
    figure = new_figure(width, height)
    axes = figure.add_axes((left / width, bottom / height, k * cell / width, k * cell / height))
    style(axes)
    axes.imshow(np.ma.masked_equal(mistakes, 0), cmap="Oranges", vmin=0, vmax=worst * 1.25, aspect="auto")
    for i in range(k):
        axes.axhspan(i - 0.5, i + 0.5, i / k, (i + 1) / k, color="#DCE9F2")
        for j in range(k):
            strong = i == j or mistakes[i, j] > 0.6 * worst
            axes.text(
                j,
                i,
                f"{counts[i, j]:,}" if counts[i, j] else "·",
                ha="center",
                va="center",
                fontsize=9,
                color=(INK if i == j or counts[i, j] else GREY)
                if mistakes[i, j] <= 0.75 * worst
                else "white",
                fontweight="bold" if strong and counts[i, j] else "normal",
            )
        of_class = int(counts[i].sum())
        share = f"{counts[i, i] / of_class:.1%}".replace("%", " %") if of_class else "–"
        axes.text(k - 0.35, i, share, ha="left", va="center", fontsize=9, color=INK)
    axes.text(k - 0.35, -0.68, "recognised", ha="left", va="bottom", fontsize=9, color=GREY)
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
    line = f"{right:,} of {total:,} right ({right / max(total, 1):.2%})".replace("%", " %")
    figure.text(0.2 / width, 1 - 0.32 / height, title or line, fontsize=14, fontweight="bold", color=INK)
    return write(figure, path)
