"""The weights of a first layer, or the filters of a convolution, as images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.numbers import math_text, size_text
from tinygrad_mnist.plots.figure import PALE, SIDE, WIDTH, check_width, new_page
from tinygrad_mnist.plots.tiles import SCALE_HEIGHT, Grid, draw_scale, draw_tiles, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 0.1  # inches between two tiles
_TILE = 0.72  # inches of the side of a tile, about


def plot_weights(
    weights: ArrayLike,
    *,
    shape: tuple[int, int] | None = None,
    most: int = 40,
    title: str | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw the weights that lead to each unit as an image, all on one symmetric scale.

    Blue is negative, orange positive; what is empty is 0.

    Parameters
    ----------
    weights : array_like, shape (units, pixels) or (filters, channels, h, w)
        Of a layer that takes images: `Linear.weight`, or `Conv2d.weight`. The channels of a filter stand
        side by side.
    shape : (int, int), optional
        Height and width of the image that a row of `Linear.weight` belongs to; by default a square.
    most : int, optional
        The number of units that are drawn: those with the largest norm, in their order.
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
        The weights are no images, or not finite.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_weights(np.linspace(-1, 1, 3 * 16).reshape(3, 16))
    >>> [text.get_text() for text in figure.texts]
    ['Weights of 3 units', '4 x 4 pixels each; weights from −1 to 1']
    """
    filters = _as_filters(np.asarray(weights, dtype=np.float64), shape)
    check_width(width)
    if most < 1:
        raise ValueError(f"at least 1 unit is drawn, not {most}")
    n, channels, height, wide = filters.shape
    norms = np.sqrt((filters**2).sum(axis=(1, 2, 3)))
    chosen = np.sort(np.argsort(-norms, kind="stable")[:most])
    shown = filters[chosen]
    noun = "unit" if np.ndim(weights) == 2 else "filter"
    which = f"{len(chosen)} of {n} {noun}s, those with the largest norm: " if len(chosen) < n else ""
    each = size_text((height, wide)) + (f" pixels in {channels} channels" if channels > 1 else " pixels")
    below = f"{which}{each} each; weights from {math_text(shown.min())} to {math_text(shown.max())}"
    scale = float(abs(shown).max()) or 1.0
    tiles = _side_by_side(shown)
    across = max(_TILE, min(0.45 * channels * wide / height, width - 2 * SIDE - _GAP)) + _GAP
    columns = min(len(chosen), max(1, math.floor((width - 2 * SIDE + _GAP) / across)))
    across = min((width - 2 * SIDE + _GAP) / columns, 1.35 * across)
    side = across - _GAP
    tall = side * tiles.shape[1] / tiles.shape[2]
    rows = -(-len(chosen) // columns)
    body = rows * (tall + _GAP)
    page = new_page(width, body + SCALE_HEIGHT + 0.2, title or f"Weights of {n} {noun}{'s' * (n > 1)}", below)
    canvas = page.canvas()
    grid = Grid(columns, SIDE, 0.05, across, tall + _GAP, side, tall)
    draw_tiles(canvas, signed(tiles, scale), grid)
    _frames(canvas, grid, len(chosen))
    ends = math_text(-scale), "0", math_text(scale)
    draw_scale(page, (SIDE, body + 0.1, width - 2 * SIDE), ends, "weight")
    return page.figure


def _as_filters(weights: NDArray[np.float64], shape: tuple[int, int] | None) -> NDArray[np.float64]:
    if weights.ndim not in (2, 4) or not weights.size:
        raise ValueError(
            "weights of shape (units, pixels) or (filters, channels, h, w) were expected, "
            f"not {weights.shape}"
        )
    if not np.isfinite(weights).all():
        raise ValueError(f"{(~np.isfinite(weights)).sum():,} of {weights.size:,} weights are not finite")
    if weights.ndim == 4:
        return weights
    side = math.isqrt(weights.shape[1])
    height, width = (side, side) if shape is None else shape
    if height * width != weights.shape[1]:
        raise ValueError(
            f"{weights.shape[1]} weights a unit are no image of {size_text((height, width))} pixels: "
            "give the shape of the images"
        )
    return weights.reshape(len(weights), 1, height, width)


def _side_by_side(filters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return filters (n, c, h, w) as images (n, h, c * (w + 1) - 1), a column of zeros between channels."""
    spaced = np.pad(filters, ((0, 0), (0, 0), (0, 0), (0, 1)))
    n, channels, height, width = spaced.shape
    return spaced.transpose(0, 2, 1, 3).reshape(n, height, channels * width)[:, :, :-1]


def _frames(canvas: Any, grid: Grid, count: int) -> None:
    """Draw a thin line around each tile: its weights near 0 have no colour."""
    from matplotlib.collections import PolyCollection

    corners = np.array([grid.corner(k) for k in range(count)])
    square = np.array([(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)])
    frames = PolyCollection(
        list(corners[:, None] + square), facecolors="none", edgecolors=PALE, linewidths=0.8
    )
    canvas.add_collection(frames, autolim=False)
