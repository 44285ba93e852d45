"""What a classifier of points in the plane makes of the plane."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.plots.figure import GREY, INK, PathLike, new_figure, style, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RESOLUTION = 240  # points of the grid on the longer side
_DARK, _LIGHT = (
    ("#A64B00", "#1F5A96"),
    ("#F4BE8A", "#9CC0E4"),
)  # orange and blue: the colour-blind see them too


def plot_decision_boundary(
    predict: Callable[[NDArray[np.float64]], ArrayLike],
    points: ArrayLike,
    labels: ArrayLike,
    path: PathLike | None = None,
    *,
    title: str = "Decision boundary",
) -> Path | Figure:
    """Draw the probability of class 1 over the plane, the boundary where it is one half, and the points.

    Parameters
    ----------
    predict : callable
        From points of shape (m, 2), float64, to the probability of class 1: shape (m,) or (m, 1), or (m, 2)
        with that of class 0 before it.
    points : array_like, shape (n, 2)
        The points of the data; n is 1 or more.
    labels : array_like, shape (n,)
        Their classes, 0 (circles) and 1 (triangles).
    path : path-like, optional
        Where to write it; the ending names the format.
    title : str
        The line on top.

    Returns
    -------
    Path or matplotlib.figure.Figure
        The path, or the figure where there is none.

    Raises
    ------
    ValueError
        Where a shape is another.
    ImportError
        Where matplotlib is not installed.

    Examples
    --------
    >>> right_of_y = lambda points: 1 / (1 + np.exp(-points[:, 0]))
    >>> figure = plot_decision_boundary(right_of_y, [[-1.0, 0.0], [1.0, 0.5]], [0, 1])
    >>> figure.axes[0].get_title(loc="left")
    'Decision boundary'
    """
    xy, classes = np.asarray(points, dtype=np.float64), np.asarray(labels)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or classes.shape != (len(xy),):
        raise ValueError(
            "points of shape (n, 2) and labels of shape (n,) were expected, "
            f"not {xy.shape} and {classes.shape}"
        )
    across, down = _grid(xy)
    plane = np.stack(np.meshgrid(across, down), axis=-1)
    chance = _chances(predict, plane.reshape(-1, 2)).reshape(plane.shape[:2])
    width = 6.4
    panel = (0.09, 0.78)  # left edge and width of the panel
    tall = width * panel[1] * float(np.ptp(down) / np.ptp(across))
    height = tall + 1.35
    figure = new_figure(width, height)
    from matplotlib.colors import LinearSegmentedColormap  # there: `new_figure` says how to get it

    axes = figure.add_axes((panel[0], 0.45 / height, panel[1], tall / height))
    style(axes)
    shades = LinearSegmentedColormap.from_list("chance", [_LIGHT[0], "white", _LIGHT[1]])
    filled = axes.contourf(across, down, chance, levels=np.linspace(0, 1, 21), cmap=shades)
    if chance.min() < 0.5 < chance.max():
        axes.contour(across, down, chance, levels=[0.5], colors=INK, linewidths=1.6)
    for value, marker, size in ((0, "o", 26), (1, "^", 32)):
        chosen = xy[classes == value]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=size,
            marker=marker,
            c=_DARK[value],
            edgecolors="white",
            linewidths=0.7,
            label=f"class {value}",
        )
    axes.set(xlim=(across[0], across[-1]), ylim=(down[0], down[-1]))
    axes.set_title(title, loc="left", fontsize=14, fontweight="bold", color=INK, pad=30)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handletextpad=0.2,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
    bar_axes = figure.add_axes((panel[0] + panel[1] + 0.025, 0.45 / height, 0.02, tall / height))
    bar = figure.colorbar(filled, cax=bar_axes, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.set_label("probability of class 1", fontsize=9, color=GREY)
    bar.outline.set_visible(False)
    bar_axes.tick_params(colors=GREY, labelsize=8, length=2)
    return write(figure, path)


def _grid(xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates across and down that leave some room around the points, in equal steps."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    room = 0.12 * max(float((high - low).max()), 1e-6)
    sides = high - low + 2 * room
    sides = np.maximum(sides, sides.max() / 3)  # points on a line still get a plane
    middle = (low + high) / 2
    steps = np.maximum(2, np.rint(_RESOLUTION * sides / sides.max())).astype(int)
    first, second = (
        np.linspace(m - side / 2, m + side / 2, n) for m, side, n in zip(middle, sides, steps, strict=True)
    )
    return first, second


def _chances(predict: Callable[[NDArray[np.float64]], Any], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of class 1 at each point, whichever way `predict` gives it."""
    chances = np.asarray(predict(xy), dtype=np.float64)
    if chances.shape == (len(xy), 2):
        return chances[:, 1]
    if chances.shape not in ((len(xy),), (len(xy), 1)):
        raise ValueError(
            f"predict was given {len(xy)} points and should return shape (m,), (m, 1) or (m, 2), "
            f"not {chances.shape}"
        )
    return chances.reshape(-1)
