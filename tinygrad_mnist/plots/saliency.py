"""Saliency: images, and over them the gradient of an output with respect to their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_mnist.numbers import math_text
from tinygrad_mnist.plots.figure import LINE, SIDE, WIDTH, check_width, new_page, shortened, write_text
from tinygrad_mnist.plots.tiles import (
    RAMP,
    SCALE_HEIGHT,
    Grid,
    draw_scale,
    draw_tiles,
    on_paper,
    over,
    signed,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TILE, _GAP, _BETWEEN = 1.0, 0.06, 0.2  # inches: side, between image and gradient, between two pairs


def plot_saliency(
    images: ArrayLike,
    gradients: ArrayLike,
    *,
    captions: Sequence[str] | None = None,
    title: str = "What predictions depend on",
    below: str = "beside each image: how the output rises (orange) or falls (blue) with each pixel",
    as_ink: bool = True,
    width: float = WIDTH,
) -> Figure:
    """Draw images, and beside each the gradient of an output with respect to its pixels, laid over it.

    All gradients are on one symmetric scale. It ends at the 99.5th percentile of their size, so that a few
    pixels do not hide the others.

    Parameters
    ----------
    images : array_like, shape (n, h, w)
        Light on dark, as most data sets have them; n is 1 or more.
    gradients : array_like, shape (n, h, w) or (n, 1, h, w)
        Of an output, such as the score of the predicted class, with respect to the image.
    captions : sequence of str, optional
        A line under each pair.
    title, below : str
        The line on top, and those under it.
    as_ink : bool, optional
        Draw light pixels dark, as ink on paper; else the images are drawn as they are.
    width : float, optional
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        The shapes do not fit together, or a gradient is not finite.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_saliency(np.zeros((2, 8, 8)), np.ones((2, 8, 8)), captions=["a 3", "a 5"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['a 3', 'a 5']
    """
    pictures, slopes = np.asarray(images), np.asarray(gradients, dtype=np.float64)
    if slopes.ndim == 4 and slopes.shape[1] == 1:  # as a model's input has them
        slopes = slopes[:, 0]
    if pictures.ndim != 3 or not pictures.size or slopes.shape != pictures.shape:
        raise ValueError(
            "images and gradients of shape (n, h, w) were expected, n of 1 or more, "
            f"not {pictures.shape} and {slopes.shape}"
        )
    if not np.isfinite(slopes).all():
        raise ValueError(f"{(~np.isfinite(slopes)).sum():,} of {slopes.size:,} gradients are not finite")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(pictures)} images need as many captions, not {len(captions)}")
    check_width(width)
    n, height, wide = pictures.shape
    scale = float(np.percentile(abs(slopes), 99.5)) or float(abs(slopes).max()) or 1.0
    pair = 2 * _TILE + _GAP
    columns = min(n, max(1, math.floor((width - 2 * SIDE + _BETWEEN) / (pair + _BETWEEN))))
    across = min((width - 2 * SIDE + _BETWEEN) / columns, 1.25 * (pair + _BETWEEN))
    side = (across - _BETWEEN - _GAP) / 2
    tall = side * height / wide
    down = tall + (LINE + 0.1 if captions else 0.1)
    body = -(-n // columns) * down
    page = new_page(width, body + SCALE_HEIGHT + 0.2, title, below)
    canvas = page.canvas()
    plain = on_paper(pictures, as_ink)
    faint = 255 - (255 - plain) // 4  # so that the colours over it are seen
    faint[..., 3] = 255
    pairs = np.stack([plain, over(signed(slopes, scale), faint)], axis=1)
    for k, start in ((0, SIDE), (1, SIDE + side + _GAP)):
        draw_tiles(canvas, pairs[:, k], Grid(columns, start, 0.05, across, down, side, tall))
    grid = Grid(columns, SIDE, 0.05, across, down, side, tall)
    for k, caption in enumerate(captions or ()):
        x, y = grid.corner(k)
        write_text(canvas, x, y + tall + LINE - 0.03, shortened(caption, 2 * side + _GAP))
    ends = math_text(-scale), "0", math_text(scale)
    label = "gradient of the output, by the pixel"
    bar = over(signed(RAMP, 1.0), np.full((1, 1, 4), 255, np.uint8))
    draw_scale(page, (SIDE, body + 0.1, width - 2 * SIDE), ends, label, bar)
    return page.figure
