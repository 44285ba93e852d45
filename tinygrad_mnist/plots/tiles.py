"""Many small images as one, in a grid; and numbers of both signs as colours on one symmetric scale.

matplotlib draws one image much faster than a hundred. What is not covered is transparent: a grid fits a light
and a dark page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.plots.figure import BLUE, GREY, LINE, VERMILLION, Page, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pixels = NDArray[np.uint8]
"""Of shape (..., h, w, 4): red, green, blue and opacity."""

_FEWEST, _MOST = 28, 128  # pixels of the side of a tile: smaller ones are drawn larger, larger ones coarser


def rgb(colour: str) -> Pixels:
    """Return red, green and blue of a colour such as ``#0072B2``."""
    return np.frombuffer(bytes.fromhex(colour[1:]), np.uint8)


def on_paper(images: NDArray[Any], as_ink: bool, strongest: float | None = None) -> Pixels:
    """Return grey images (..., h, w) as pixels: light ones dark on white if `as_ink`, else as they are."""
    strongest = max(1, images.max()) if strongest is None else strongest
    share = np.clip(np.nan_to_num(images.astype(np.float64)) / strongest, 0, 1)
    grey = np.rint(255 * (1 - share if as_ink else share)).astype(np.uint8)
    return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)


def signed(values: NDArray[Any], scale: float, strongest: float = 1.0) -> Pixels:
    """Return numbers as pixels: from blue (-scale) over nothing (0) to vermillion (scale).

    Parameters
    ----------
    values : ndarray, shape (...)
        What is beyond the scale gets the colour of its end; NaN none.
    scale : float
        Above 0.
    strongest : float
        The opacity at the ends.
    """
    share = np.clip(np.nan_to_num(values / scale, nan=0.0, posinf=1, neginf=-1), -1, 1)
    pixels = np.empty((*values.shape, 4), np.uint8)
    pixels[..., :3] = np.where(share[..., None] > 0, rgb(VERMILLION), rgb(BLUE))
    pixels[..., 3] = np.rint(255 * strongest * abs(share))
    return pixels


def over(top: Pixels, bottom: Pixels) -> Pixels:
    """Return pixels laid over opaque ones."""
    opacity = top[..., 3:] / 255
    mixed = opacity * top + (1 - opacity) * bottom
    mixed[..., 3] = 255
    return np.rint(mixed).astype(np.uint8)


@dataclass(frozen=True)
class Grid:
    """The places of tiles in a grid, in inches.

    Parameters
    ----------
    columns : int
    left, top : float
        Of the first tile.
    across, down : float
        From one tile to the next.
    width, height : float
        Of a tile.
    """

    columns: int
    left: float
    top: float
    across: float
    down: float
    width: float
    height: float

    def corner(self, k: int) -> tuple[float, float]:
        """Return the upper left corner of tile k."""
        row, column = divmod(k, self.columns)
        return self.left + column * self.across, self.top + row * self.down


def draw_tiles(axes: Axes, tiles: Pixels, grid: Grid) -> None:
    """Draw tiles (n, h, w, 4) into a canvas, as one image."""
    tiles = _sampled(tiles)
    n, h, w = tiles.shape[:3]
    rows, columns = -(-n // grid.columns), min(n, grid.columns)
    # in pixels, from one tile to the next: rounded, so that the tiles' places are right to half a pixel
    across, down = grid.across * w / grid.width, grid.down * h / grid.height
    picture = np.zeros((round((rows - 1) * down) + h, round((columns - 1) * across) + w, 4), np.uint8)
    for k, tile in enumerate(tiles):
        row, column = divmod(k, grid.columns)
        y, x = round(row * down), round(column * across)
        picture[y : y + h, x : x + w] = tile
    wide, tall = picture.shape[1] * grid.width / w, picture.shape[0] * grid.height / h
    draw_image(axes, picture, (grid.left, grid.left + wide, grid.top + tall, grid.top))


def draw_image(axes: Axes, pixels: Pixels, extent: tuple[float, float, float, float]) -> None:
    """Draw pixels at (left, right, bottom, top), with sharp edges; the axes keep their limits."""
    limits = axes.get_xlim(), axes.get_ylim()
    # "none" keeps the pixels as they are in SVG, where "nearest" would enlarge them
    axes.imshow(pixels, extent=extent, interpolation="none", aspect="auto")
    axes.set(xlim=limits[0], ylim=limits[1])


def _sampled(tiles: Pixels) -> Pixels:
    side = max(tiles.shape[1:3])
    if side > _MOST:
        step = -(-side // _MOST)
        return tiles[:, ::step, ::step]
    times = -(-_FEWEST // side)
    return tiles.repeat(times, axis=1).repeat(times, axis=2)


RAMP: Final = np.linspace(-1, 1, 101)[None]
"""Numbers from end to end of a scale."""
SCALE_HEIGHT: Final = 0.2 + 2 * LINE
"""Inches that `draw_scale` needs."""


def draw_scale(
    page: Page,
    place: tuple[float, float, float],
    ends: tuple[str, str, str],
    label: str,
    colours: Pixels | None = None,
) -> None:
    """Draw a bar of colours, with what stands at its ends and in its middle, and a label below.

    Parameters
    ----------
    page : Page
    place : (float, float, float)
        Left, top and the width of the room, in inches.
    ends : (str, str, str)
    label : str
    colours : ndarray, shape (1, n, 4), optional
        By default those that `signed` gives `RAMP`.
    """
    left, top, room = place
    width = min(3.0, room)
    axes = page.axes(left, top, width, 0.12)
    axes.axis("off")
    axes.set(xlim=(-1, 1), ylim=(1, 0))
    draw_image(axes, signed(RAMP, 1.0) if colours is None else colours, (-1, 1, 1, 0))
    step = 1 / 0.12  # of an inch, in the axes' unit
    for x, text, side in zip((-1, 0, 1), ends, ("left", "center", "right"), strict=True):
        write_text(axes, x, 1 + 0.16 * step, text, ha=side)
    write_text(axes, -1, 1 + (0.16 + LINE) * step, label, color=GREY)
