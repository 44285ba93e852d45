"""Some images of each class, and beside each what augmentation makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.plots.figure import BLUE, GREY, INK, PathLike, new_figure, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In inches: the width of an image, the gaps after an original and between two strips, and the borders.
_WIDE, _GAP, _BETWEEN = 0.5, 0.1, 0.25
_SIDE, _TOP, _BOTTOM, _LETTER = 0.3, 0.85, 0.25, 0.1
_NARROWEST = 4.2  # holds the title and the line under it
_LONGEST = 28  # letters of a name


def plot_augmentation(
    images: ArrayLike,
    versions: ArrayLike,
    labels: ArrayLike,
    path: PathLike | None = None,
    *,
    names: Sequence[str] | None = None,
    title: str = "Images of each class",
    below: str = "framed: the image as it is",
    as_ink: bool = True,
) -> Path | Figure:
    """Draw images in a row for each class, and beside each its augmented versions.

    Parameters
    ----------
    images : array_like, shape (n, h, w)
        Light on dark, as most data sets have them; drawn as ink on paper. n is 1 or more.
    versions : array_like, shape (n, v, h, w)
        v versions of each image, on the same scale; v may be 0.
    labels : array_like, shape (n,), int
        The class of each image, from 0.
    path : path-like, optional
        The file to write; its ending names the format.
    names : sequence of str, optional
        The names of the classes; by default 0 to the greatest label. Each class with an image has a row.
    title, below : str, optional
        The line on top, and the one under it.
    as_ink : bool, optional
        Draw light pixels dark, as ink on paper; else the images are drawn as they are.

    Returns
    -------
    Path or matplotlib.figure.Figure
        The path, or the figure if there is no path.

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
    >>> [text.get_text() for text in figure.axes[0].texts[2:]]
    ['no', 'yes']
    """
    pictures, changed, classes = np.asarray(images), np.asarray(versions), np.asarray(labels)
    _check(pictures, changed, classes)
    names = [str(k) for k in range(classes.max() + 1)] if names is None else list(map(_short, names))
    if not 0 <= classes.min() <= classes.max() < len(names):
        raise ValueError(f"labels are 0 to {len(names) - 1}, the classes that have names")
    in_use = np.unique(classes)
    names = [names[k] for k in in_use]
    of_class = [np.flatnonzero(classes == k) for k in in_use]
    tall = _WIDE * pictures.shape[1] / pictures.shape[2]
    versions_wide = changed.shape[1] * _WIDE * (1 + _apart(pictures.shape[2]) / pictures.shape[2])
    strip = _WIDE + (_GAP + versions_wide if changed.shape[1] else 0)
    left = _SIDE + _LETTER * max(map(len, names)) + 0.15
    width = max(left + max(map(len, of_class)) * (strip + _BETWEEN) - _BETWEEN + _SIDE, _NARROWEST)
    height = _TOP + len(names) * (tall + _GAP) + _BOTTOM
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.text(_SIDE, 0.4, title, fontsize=14, color=INK, fontweight="bold", parse_math=False)
    axes.text(_SIDE, 0.62, below, fontsize=9, color=GREY, parse_math=False)
    strongest = max(1, pictures.max())
    for row, (name, members) in enumerate(zip(names, of_class, strict=True)):
        top = _TOP + row * (tall + _GAP)
        label = axes.text(left - 0.15, top + tall / 2, name, fontsize=10, color=INK, parse_math=False)
        label.set(ha="right", va="center")
        for column, member in enumerate(members):
            corner = left + column * (strip + _BETWEEN), top
            _strip(axes, pictures[member], changed[member], corner, tall, strongest, as_ink)
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")  # at the end, as each imshow changes them
    return write(figure, path)


def _check(pictures: NDArray[Any], changed: NDArray[Any], classes: NDArray[Any]) -> None:
    n = len(pictures) if pictures.ndim else 0
    agree = changed.shape[:1] == classes.shape == (n,) and changed.shape[2:] == pictures.shape[1:]
    if pictures.ndim != 3 or not pictures.size or not agree:
        raise ValueError(
            "images of shape (n, h, w), n of 1 or more, versions of shape (n, v, h, w) and labels of shape "
            f"(n,) were expected, not {pictures.shape}, {changed.shape} and {classes.shape}"
        )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _apart(width: int) -> int:
    """Return the columns of blank pixels that keep two images of this width apart."""
    return max(1, width // 14)


def _strip(
    axes: Axes,
    picture: NDArray[Any],
    versions: NDArray[Any],
    corner: tuple[float, float],
    height: float,
    strongest: float,
    as_ink: bool,
) -> None:
    """Draw an image in a frame, and its versions side by side to the right of it."""
    from matplotlib.patches import Rectangle

    left, top = corner
    apart = _apart(picture.shape[1])
    parts = [(left, picture)]
    if len(versions):
        blank = 0 if as_ink else strongest  # as the paper
        spaced = [np.pad(version, ((0, 0), (0, apart)), constant_values=blank) for version in versions]
        parts.append((left + _WIDE + _GAP, np.hstack(spaced)))
    for start, pixels in parts:
        end = start + _WIDE * pixels.shape[1] / picture.shape[1]
        axes.imshow(
            pixels,
            cmap="gray_r" if as_ink else "gray",
            vmin=0,
            vmax=strongest,
            extent=(start, end, top + height, top),
            interpolation="nearest",
        )
    axes.add_patch(Rectangle(corner, _WIDE, height, fill=False, edgecolor=BLUE, linewidth=1.2))
