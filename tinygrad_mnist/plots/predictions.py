"""Sample digits, each with its predicted and its true label; and the most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.numbers import count_text, percent_text
from tinygrad_mnist.plots.figure import (
    GREY,
    INK,
    LINE,
    PALE,
    SIDE,
    VERMILLION,
    WIDTH,
    check_labels,
    check_width,
    class_names,
    new_page,
    probabilities_and_labels,
    shortened,
    text_width,
    write_text,
)
from tinygrad_mnist.plots.tiles import Grid, draw_tiles, on_paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches: the side of a digit, the gap between two of them, and the longest name.
_DIGIT, _GAP, _LONGEST = 0.86, 0.16, 1.35


def plot_predictions(
    images: ArrayLike,
    predicted: ArrayLike,
    labels: ArrayLike | None,
    confidence: ArrayLike,
    *,
    title: str | None = None,
    columns: int | None = None,
    names: Sequence[str] | None = None,
    as_ink: bool = True,
    width: float = WIDTH,
) -> Figure:
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
    title : str, optional
        The line on top; by default the number of right predictions.
    columns : int, optional
        The most digits in a row; by default as many as fit, the last row as full as possible.
    names : sequence of str, optional
        The names of the classes, by label; by default the labels themselves. Long ones are cut off.
    as_ink : bool, optional
        Draw light pixels dark, as ink on paper; else the pictures are drawn as they are.
    width : float, optional
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The shapes do not fit together, a label has no name, or a confidence is no probability.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_predictions(np.zeros((2, 8, 8), np.uint8), [3, 5], [3, 6], [0.98, 0.51])
    >>> figure.texts[0].get_text()
    '1 of 2 sample digits right'
    """
    pictures, said = np.asarray(images), np.asarray(predicted)
    sure = np.asarray(confidence, dtype=np.float64)
    truth = None if labels is None else np.asarray(labels)
    _check(pictures, said, truth, sure)
    check_width(width)
    names = _names(names, said, truth)
    noun = "digit" if _are_digits(names) else "class"
    things = count_text(len(said), "digit" if noun == "digit" else "picture")
    if truth is None:
        line, below = f"{things} recognised", f"predicted {noun} · confidence"
    else:
        right = int((said == truth).sum())
        line = f"{right} of {len(said)} sample {things.partition(' ')[2]} right"
        below = f"predicted {noun} · confidence, true {noun} below"
    captions = []
    for k, (guess, share) in enumerate(zip(said, sure, strict=True)):
        is_wrong = truth is not None and bool(guess != truth[k])
        true = None if truth is None else shortened(names[truth[k]], _LONGEST)
        second = None if true is None else f"wrong: is {true}" if is_wrong else f"is {true}"
        captions.append(_Caption(_said(names[guess], share, is_wrong), second, is_wrong))
    return _draw(on_paper(pictures, as_ink), captions, title or line, below, columns, width)


def plot_mistakes(
    images: ArrayLike,
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    most: int = 20,
    title: str | None = None,
    names: Sequence[str] | None = None,
    as_ink: bool = True,
    width: float = WIDTH,
) -> Figure:
    """Draw the most confident mistakes, the worst first, with the probability of the true class.

    Parameters
    ----------
    images : array_like, shape (n, h, w)
        All images, of right predictions too.
    probabilities : array_like, shape (n, k)
        Of each class for each image; a row sums to 1.
    labels : array_like, shape (n,), int
        The true labels.
    most : int, optional
        The number of mistakes that are drawn, if there are so many.
    title, names, as_ink, width
        As `plot_predictions` takes them; the title tells by default how many mistakes there are.

    Returns
    -------
    matplotlib.figure.Figure
        Where there is no mistake, a page that says so.

    Raises
    ------
    ValueError
        The shapes do not fit together, or a label or a probability is not as above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_mistakes(np.zeros((2, 8, 8), np.uint8), [[0.9, 0.1], [0.8, 0.2]], [0, 1])
    >>> figure.texts[0].get_text()
    'The only mistake among 2'
    """
    pictures = np.asarray(images)
    p, truth = probabilities_and_labels(probabilities, labels)
    if pictures.ndim != 3 or len(pictures) != len(p):
        raise ValueError(f"images of shape ({len(p)}, h, w) were expected, not {pictures.shape}")
    if most < 1:
        raise ValueError(f"at least 1 mistake is drawn, not {most}")
    named = class_names(names, p.shape[1])
    said = p.argmax(axis=1)
    wrong = np.flatnonzero(said != truth)
    chosen = wrong[np.argsort(-p[wrong, said[wrong]], kind="stable")[:most]]
    if not wrong.size:
        return new_page(width, 0.2, title or f"No mistakes among {len(p):,}").figure
    if len(wrong) == 1:
        line = f"The only mistake among {len(p):,}"
    elif len(chosen) < len(wrong):
        line = f"The {len(chosen)} most confident of {len(wrong):,} mistakes among {len(p):,}"
    else:
        line = f"All {len(wrong):,} mistakes among {len(p):,}, the most confident first"
    captions = [
        _Caption(
            _said(named[said[k]], p[k, said[k]], True),
            f"is {shortened(named[truth[k]], _LONGEST)} · {_confidence(p[k, truth[k]])}",
            True,
        )
        for k in chosen
    ]
    below = "predicted class · confidence, true class and its probability below"
    return _draw(on_paper(pictures[chosen], as_ink), captions, title or line, below, None, width)


@dataclass(frozen=True)
class _Caption:
    """The lines under an image, and whether it is marked as wrong."""

    first: str
    second: str | None
    is_wrong: bool

    @property
    def width(self) -> float:
        return max(text_width(text, bold=self.is_wrong) for text in (self.first, self.second or ""))


def _said(name: str, share: float, is_wrong: bool) -> str:
    return f"{'✗ ' if is_wrong else ''}{shortened(name, _LONGEST)} · {_confidence(share)}"


def _confidence(share: float) -> str:
    """Return a probability in whole percent; one that would round up to 100 % is given as ">99 %"."""
    return ">99 %" if 0.995 <= share < 1 else percent_text(share, 0)


def _names(names: Sequence[str] | None, said: NDArray[Any], truth: NDArray[Any] | None) -> list[str]:
    """Return a name for each label; raise a ValueError where one has none."""
    every = said if truth is None else np.concatenate([said, truth])
    classes = int(every.max()) + 1 if names is None else len(names)
    check_labels(every, classes, "predicted and true labels")
    return class_names(names, classes)


def _are_digits(names: Sequence[str]) -> bool:
    return all(name in tuple("0123456789") for name in names)


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
    if not ((sure >= 0) & (sure <= 1.000001)).all():
        raise ValueError(f"confidences are 0 to 1, not {sure.min()} to {sure.max()}")


def _columns(n: int, fitting: int) -> int:
    """Return how many digits stand in a row: about as many as fit, the last row nearly full."""
    if n <= fitting:
        return n
    return min(range(max(1, fitting - 2), fitting + 1), key=lambda k: (-(-n // k), -n % k, fitting - k))


def _draw(
    tiles: NDArray[np.uint8],
    captions: list[_Caption],
    title: str,
    below: str,
    columns: int | None,
    width: float,
) -> Figure:
    """Draw tiles (n, h, w, 4) in rows, each with its caption."""
    from_one = max(_DIGIT, *(caption.width for caption in captions)) + _GAP
    fitting = max(1, math.floor((width - 2 * SIDE + _GAP) / from_one))
    columns = _columns(len(tiles), fitting if columns is None else max(1, min(columns, fitting)))
    across = min((width - 2 * SIDE + _GAP) / columns, 1.3 * from_one)
    lines = 1 if captions[0].second is None else 2
    down = _DIGIT + lines * LINE + 0.14
    tiles = _square(tiles)
    left = SIDE + (across - _GAP - _DIGIT) / 2
    grid = Grid(columns, left, 0.05, across, down, _DIGIT, _DIGIT)
    page = new_page(width, -(-len(tiles) // columns) * down + 0.1, title, below)
    canvas = page.canvas()
    draw_tiles(canvas, tiles, grid)
    for k, caption in enumerate(captions):
        _write(canvas, *grid.corner(k), caption)
    return page.figure


def _square(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return tiles made square by transparent pixels, so that their aspect is kept."""
    height, width = tiles.shape[1:3]
    side = max(height, width)
    y, x = (side - height) // 2, (side - width) // 2
    square = np.zeros((len(tiles), side, side, 4), np.uint8)
    square[:, y : y + height, x : x + width] = tiles
    return square


def _write(canvas: Axes, left: float, top: float, caption: _Caption) -> None:
    """Draw the border around a digit, and write the lines under it."""
    from matplotlib.patches import Rectangle

    border = (VERMILLION, 3.0) if caption.is_wrong else (PALE, 0.8)
    canvas.add_patch(
        Rectangle((left, top), _DIGIT, _DIGIT, fill=False, edgecolor=border[0], linewidth=border[1])
    )
    weight = "bold" if caption.is_wrong else "normal"
    for k, text in enumerate((caption.first, caption.second)):
        if text is not None:
            colour = VERMILLION if caption.is_wrong else (INK, GREY)[k]
            place = left + _DIGIT / 2, top + _DIGIT + (k + 1) * LINE
            write_text(canvas, *place, text, ha="center", color=colour, fontweight=weight)
