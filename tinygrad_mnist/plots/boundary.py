"""The decision boundary of a classifier of points in the plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.plots.figure import BLUE, INK, PAPER, TEXT, VERMILLION, WIDTH, check_width, new_page
from tinygrad_mnist.plots.tiles import RAMP, SCALE_HEIGHT, draw_image, draw_scale, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = NDArray[np.float64]

_RESOLUTION = 240  # points of the grid on the longer side
_COLOURS = (BLUE, VERMILLION)  # of the classes: the plane behind the points has them, too, paler
_PALENESS = 0.4
_LEFT, _RIGHT = 0.6, 0.25  # inches beside the panel
_WIDEST = 5.2  # inches of the panel


def plot_decision_boundary(
    predict: Callable[[Points], ArrayLike],
    points: ArrayLike,
    labels: ArrayLike,
    *,
    title: str = "Decision boundary",
    width: float = WIDTH,
) -> Figure:
    """Draw the probability of class 1 over the plane, the boundary where it is one half, and the points.

    Parameters
    ----------
    predict : callable
        A function of points, float64 of shape (m, 2), that returns the probability of class 1: shape (m,) or
        (m, 1), or (m, 2) with that of class 0 before it.
    points : array_like, shape (n, 2)
        The points of the data; n is 1 or more.
    labels : array_like, shape (n,)
        Their classes, 0 (circles) and 1 (triangles).
    title : str
        The line on top.
    width : float, optional
        Inches. The panel is at most 5.2 inches wide.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        A shape is not as above.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> right_of_y = lambda points: 1 / (1 + np.exp(-points[:, 0]))
    >>> figure = plot_decision_boundary(right_of_y, [[-1.0, 0.0], [1.0, 0.5]], [0, 1])
    >>> figure.texts[0].get_text()
    'Decision boundary'
    """
    xy, classes = np.asarray(points, dtype=np.float64), np.asarray(labels)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy) or classes.shape != (len(xy),):
        raise ValueError(
            "points of shape (n, 2) and labels of shape (n,) were expected, "
            f"not {xy.shape} and {classes.shape}"
        )
    check_width(width)
    across, down = _grid(xy)
    wide = min(width - _LEFT - _RIGHT, _WIDEST)
    tall = wide * float(np.ptp(down) / np.ptp(across))  # one unit is as long in both directions
    page = new_page(width, tall + 0.8 + SCALE_HEIGHT, title)
    axes = page.axes(_LEFT, 0.35, wide, tall)
    axes.set(xlim=(across[0], across[-1]), ylim=(down[0], down[-1]))
    _plane(axes, predict, across, down)
    _points(axes, xy, classes)
    ends = "0", "0.5", "1"
    label = "probability of class 1; the line is where it is 0.5"
    draw_scale(page, (_LEFT, tall + 0.8, wide), ends, label, signed(RAMP, 1.0, _PALENESS))
    return page.figure


def _plane(axes: Axes, predict: Callable[[Points], ArrayLike], across: Points, down: Points) -> None:
    """Shade the plane by the probability of class 1, and draw the line where it is one half."""
    plane = np.stack(np.meshgrid(across, down), axis=-1)
    probability = _probability(predict, plane.reshape(-1, 2)).reshape(plane.shape[:2])
    pixels = signed(2 * probability - 1, 1.0, _PALENESS)
    draw_image(axes, pixels[::-1], (across[0], across[-1], down[0], down[-1]))
    if probability.min() < 0.5 < probability.max():  # else matplotlib warns that there is no line
        axes.contour(across, down, probability, levels=[0.5], colors=INK, linewidths=1.6)


def _points(axes: Axes, xy: Points, classes: NDArray[Any]) -> None:
    """Draw the points of both classes, and the legend above the panel."""
    for value, marker, size in ((0, "o", 26), (1, "^", 32)):
        chosen = xy[classes == value]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=size,
            marker=marker,
            c=_COLOURS[value],
            edgecolors=PAPER,
            linewidths=0.7,
            label=f"class {value}",
        )
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=2,
        frameon=False,
        fontsize=TEXT,
        labelcolor=INK,
        handletextpad=0.2,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _grid(xy: Points) -> tuple[Points, Points]:
    """Return coordinates across and down in equal steps, with a margin around the points."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    margin = 0.12 * max(float((high - low).max()), 1e-6)
    sides = high - low + 2 * margin
    sides = np.maximum(sides, sides.max() / 3)  # points on a line still get a plane
    middle = (low + high) / 2
    steps = np.maximum(2, np.rint(_RESOLUTION * sides / sides.max())).astype(int)
    first, second = (
        np.linspace(m - side / 2, m + side / 2, n) for m, side, n in zip(middle, sides, steps, strict=True)
    )
    return first, second


def _probability(predict: Callable[[Points], Any], xy: Points) -> Points:
    """Return the probability of class 1 at each point, from any of the shapes that `predict` may return."""
    probability = np.asarray(predict(xy), dtype=np.float64)
    if probability.shape == (len(xy), 2):
        return probability[:, 1]
    if probability.shape not in ((len(xy),), (len(xy), 1)):
        raise ValueError(
            f"predict was given {count_text(len(xy), 'point')} and should return shape (m,), (m, 1) or "
            f"(m, 2), not {probability.shape}"
        )
    return probability.reshape(-1)
