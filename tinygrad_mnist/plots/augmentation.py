"""Some images of each class, and beside each what augmentation makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.plots.figure import (
    BLUE,
    SIDE,
    WIDTH,
    check_labels,
    check_width,
    class_names,
    new_page,
    shortened,
    text_width,
    write_text,
)
from tinygrad_mnist.plots.tiles import Grid, draw_tiles, on_paper

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches: the width of an image, the gaps after an original, between versions and between two strips.
_WIDE, _GAP, _APART, _BETWEEN = 0.5, 0.1, 0.03, 0.25
_LONGEST = 2.3  # of a name


def plot_augmentation(
    images: ArrayLike,
    versions: ArrayLike,
    labels: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    title: str = "Images of each class",
    below: str = "framed: the image as it is",
    as_ink: bool = True,
    width: float = WIDTH,
) -> Figure:
    """Draw images in a row for each class, and beside each its augmented versions.

    Parameters
    ----------
    images : array_like, shape (n, h, w)
        Light on dark, as most data sets have them; drawn as ink on paper. n is 1 or more.
    versions : array_like, shape (n, v, h, w)
        v versions of each image, on the same scale; v may be 0.
    labels : array_like, shape (n,), int
        The class of each image, from 0.
    names : sequence of str, optional
        The names of the classes; by default 0 to the greatest label. Each class with an image has a row.
    title, below : str, optional
        The line on top, and the one under it.
    as_ink : bool, optional
        Draw light pixels dark, as ink on paper; else the images are drawn as they are.
    width : float, optional
        Inches. Images are half an inch wide, less where a row would not fit.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The shapes do not fit together, or a class has no name.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> images = np.zeros((3, 8, 8), np.uint8)
    >>> figure = plot_augmentation(images, np.zeros((3, 5, 8, 8)), [0, 1, 1], names=["no", "yes"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['no', 'yes']
    """
    pictures, changed, classes = np.asarray(images), np.asarray(versions), np.asarray(labels)
    _check(pictures, changed, classes)
    check_width(width)
    count = int(classes.max()) + 1 if names is None else len(names)
    check_labels(classes, count)
    in_use = np.unique(classes)
    every = class_names(names, count)
    named = [shortened(every[k], min(_LONGEST, 0.4 * width)) for k in in_use]
    of_class = [np.flatnonzero(classes == k) for k in in_use]
    columns, parts = max(map(len, of_class)), changed.shape[1]
    left = SIDE + max(map(text_width, named)) + 0.1
    strip = _WIDE + (_GAP + parts * (_WIDE + _APART) if parts else 0) + _BETWEEN
    scale = min(1.0, (width - left - SIDE) / (columns * strip - _BETWEEN))
    wide, strip = scale * _WIDE, scale * strip
    tall = wide * pictures.shape[1] / pictures.shape[2]
    page = new_page(width, len(named) * (tall + _GAP) + 0.1, title, below)
    canvas = page.canvas()
    tiles = np.zeros((1 + parts, len(named), columns, *pictures.shape[1:], 4), np.uint8)
    strongest = max(1, pictures.max())
    for row, members in enumerate(of_class):
        tiles[0, row, : len(members)] = on_paper(pictures[members], as_ink, strongest)
        tiles[1:, row, : len(members)] = on_paper(changed[members].swapaxes(0, 1), as_ink, strongest)
    for part, of_all in enumerate(tiles):
        start = left + (scale * (_WIDE + _GAP + (part - 1) * (_WIDE + _APART)) if part else 0)
        grid = Grid(columns, start, 0.05, strip, tall + _GAP, wide, tall)
        draw_tiles(canvas, of_all.reshape(-1, *of_all.shape[2:]), grid)
    for row, (name, members) in enumerate(zip(named, of_class, strict=True)):
        top = 0.05 + row * (tall + _GAP)
        write_text(canvas, left - 0.1, top + tall / 2, name, ha="right", va="center")
        for column in range(len(members)):
            _frame(canvas, left + column * strip, top, wide, tall)
    return page.figure


def _frame(canvas: Axes, left: float, top: float, width: float, height: float) -> None:
    from matplotlib.patches import Rectangle

    canvas.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=BLUE, linewidth=1.2))


def _check(pictures: NDArray[Any], changed: NDArray[Any], classes: NDArray[Any]) -> None:
    n = len(pictures) if pictures.ndim else 0
    agree = changed.shape[:1] == classes.shape == (n,) and changed.shape[2:] == pictures.shape[1:]
    if pictures.ndim != 3 or not pictures.size or not agree:
        raise ValueError(
            "images of shape (n, h, w), n of 1 or more, versions of shape (n, v, h, w) and labels of shape "
            f"(n,) were expected, not {pictures.shape}, {changed.shape} and {classes.shape}"
        )
