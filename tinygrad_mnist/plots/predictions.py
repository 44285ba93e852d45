"""A grid of sample digits, each with its predicted and its true label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.numbers import percent_text, printable
from tinygrad_mnist.plots.figure import GREY, INK, PALE, VERMILLION, PathLike, new_figure, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches: a digit, from one digit to the next, and the borders of the page.
_DIGIT, _ACROSS, _DOWN, _DOWN_WITHOUT_LABELS = 0.86, 1.08, 1.36, 1.18
_CHARACTER = 0.085  # the mean width of a character in the lines below a picture
_GAP = 0.1  # between two captions
_LONGEST = 18  # characters of a name
_SIDE, _TOP, _BOTTOM = 0.3, 0.85, 0.1
_NARROWEST = 4.2  # holds the title and the line under it


def plot_predictions(
    images: ArrayLike,
    predicted: ArrayLike,
    labels: ArrayLike | None,
    confidence: ArrayLike,
    path: PathLike | None = None,
    *,
    title: str | None = None,
    columns: int | None = None,
    names: Sequence[str] | None = None,
    as_ink: bool = True,
) -> Path | Figure:
    """Draw sample digits, each with its predicted label, the confidence, and its true label.

    A wrong one is marked by colour, a thick border, a cross and the word "wrong".

    Parameters
    ----------
    images : array_like, shape (n, h, w), uint8
        Light on dark, as the data sets have them; drawn as ink on paper. n is 1 or more.
    predicted : array_like, shape (n,), int
        The predicted labels.
    labels : array_like, shape (n,), int, or None
        The true labels, if they are known.
    confidence : array_like, shape (n,), float
        The probability of each prediction, 0 to 1.
    path : path-like, optional
        The file to write; its ending names the format.
    title : str, optional
        The line on top; by default the number of right predictions.
    columns : int, optional
        The number of digits in a row; by default a little more than the number of rows, chosen so that the
        last row is as full as possible.
    names : sequence of str, optional
        The names of the classes, by label; by default the labels themselves. Long ones are cut off.
    as_ink : bool, optional
        Draw light pixels dark, as ink on paper; else the pictures are drawn as they are.

    Returns
    -------
    Path or matplotlib.figure.Figure
        The path, or the figure if there is no path.

    Raises
    ------
    ValueError
        The shapes do not fit together.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_predictions(np.zeros((2, 8, 8), np.uint8), [3, 5], [3, 6], [0.98, 0.51])
    >>> figure.axes[0].get_title(loc="left")
    '1 of 2 sample digits right'
    """
    pictures, said = np.asarray(images), np.asarray(predicted)
    sure = np.asarray(confidence, dtype=np.float64)
    truth = None if labels is None else np.asarray(labels)
    _check(pictures, said, truth, sure)
    n = len(pictures)
    columns = columns or _columns(n)
    rows = math.ceil(n / columns)
    said_names = _named(said, names)
    true_names: list[str] | list[None] = [None] * n if truth is None else _named(truth, names)
    across = _across([*said_names, *true_names])
    down = _DOWN_WITHOUT_LABELS if truth is None else _DOWN
    width = max(columns * across - (_ACROSS - _DIGIT) + 2 * _SIDE, _NARROWEST)
    height = rows * down + _TOP + _BOTTOM
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    _head(axes, said, truth, title, "digit" if _are_digits(names) else "class")
    strongest = max(1, pictures.max())
    for k in range(n):
        left = _SIDE + k % columns * across + (across - _ACROSS) / 2
        top = _TOP + k // columns * down
        axes.imshow(
            pictures[k],
            cmap="gray_r" if as_ink else "gray",
            vmin=0,
            vmax=strongest,
            extent=_extent(left, top, pictures.shape[1:]),
            interpolation="nearest",
        )
        wrong = truth is not None and bool(said[k] != truth[k])
        _caption(axes, left, top, said_names[k], true_names[k], sure[k], wrong)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")  # again, as each imshow changes them
    return write(figure, path)


def _named(labels: NDArray[Any], names: Sequence[str] | None) -> list[str]:
    """Return the name of each label as text for a caption, cut off where it is long."""
    texts = [str(label) if names is None else printable(names[int(label)]) for label in labels]
    return [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in texts]


def _are_digits(names: Sequence[str] | None) -> bool:
    return names is None or all(name in tuple("0123456789") for name in names)


def _across(captions: Sequence[str | None]) -> float:
    """Return the inches from one picture to the next, so that the captions below them stay apart."""
    longest = max(len(caption or "") for caption in captions)
    return max(_ACROSS, (longest + len("✗  · 100 %")) * _CHARACTER + _GAP) if longest > 1 else _ACROSS


def _extent(left: float, top: float, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Return the place of a picture in the middle of its square, its aspect kept."""
    height, width = (_DIGIT * side / max(shape) for side in shape)
    x, y = left + (_DIGIT - width) / 2, top + (_DIGIT - height) / 2
    return x, x + width, y + height, y


def _columns(n: int) -> int:
    """Return a number of columns that makes the page a little wider than high, its last row nearly full."""
    if n <= 5:
        return n
    ideal = min(10, max(5, math.ceil(math.sqrt(1.3 * n))))
    return min(range(max(5, ideal - 2), min(10, ideal + 2) + 1), key=lambda k: (-n % k, abs(k - ideal)))


def _check(
    pictures: NDArray[Any], said: NDArray[Any], truth: NDArray[Any] | None, sure: NDArray[np.float64]
) -> None:
    n = len(pictures) if pictures.ndim else 0
    others = [said.shape, sure.shape] + ([] if truth is None else [truth.shape])
    if pictures.ndim != 3 or not pictures.size or any(shape != (n,) for shape in others):
        raise ValueError(
            "images of shape (n, h, w), n of 1 or more, and predicted, labels and confidence of shape (n,) "
            f"were expected, not {pictures.shape} and {', '.join(map(str, others))}"
        )


def _head(axes: Axes, said: NDArray[Any], truth: NDArray[Any] | None, title: str | None, noun: str) -> None:
    n = len(said)
    things = f"{'digit' if noun == 'digit' else 'picture'}{'' if n == 1 else 's'}"
    if truth is None:
        line = f"{n} {things} recognised"
        below = f"predicted {noun} · confidence"
    else:
        line = f"{int((said == truth).sum())} of {n} sample {things} right"
        below = f"predicted {noun} · confidence, true {noun} below"
    axes.set_title(
        title or line,
        loc="left",
        x=_SIDE / axes.get_xlim()[1],
        y=1 - 0.4 / axes.get_ylim()[0],
        pad=0,
        fontsize=14,
        color=INK,
        fontweight="bold",
    )
    axes.text(_SIDE, 0.6, below, fontsize=9, color=GREY, va="baseline")


def _caption(
    axes: Axes, left: float, top: float, said: str, truth: str | None, sure: float, wrong: bool
) -> None:
    """Draw the border around a digit, and write the lines under it."""
    from matplotlib.patches import Rectangle

    border = (VERMILLION, 3.0) if wrong else (PALE, 0.8)
    axes.add_patch(
        Rectangle((left, top), _DIGIT, _DIGIT, fill=False, edgecolor=border[0], linewidth=border[1])
    )
    middle = left + _DIGIT / 2
    bold = "bold" if wrong else "normal"
    first = f"{'✗ ' if wrong else ''}{said} · {_confidence(sure)}"
    axes.text(
        middle,
        top + _DIGIT + 0.19,
        first,
        ha="center",
        fontsize=10,
        color=VERMILLION if wrong else INK,
        fontweight=bold,
    )
    if truth is not None:
        axes.text(
            middle,
            top + _DIGIT + 0.35,
            f"wrong: is {truth}" if wrong else f"is {truth}",
            ha="center",
            fontsize=9,
            color=VERMILLION if wrong else GREY,
            fontweight=bold,
        )


def _confidence(share: float) -> str:
    """Return a probability in whole percent; one that would round up to 100 % is given as ">99 %"."""
    return ">99 %" if 0.995 <= share < 1 else percent_text(share, 0)
