"""The parts that all pictures share: a blank figure, one style of axes, colours, writing a file."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_mnist.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PathLike = str | os.PathLike[str]

# After Okabe and Ito (2008): the colour-blind tell them apart, too. No picture says anything by colour alone.
BLUE, VERMILLION = "#0072B2", "#C8460A"
INK, GREY, PALE = "#222222", "#6B6B6B", "#D9D9D9"

DOTS_PER_INCH = 130


def new_figure(width: float, height: float) -> Figure:
    """Return a blank white figure of `width` by `height` inches.

    Raises
    ------
    ImportError
        matplotlib is not installed; the message says how to get it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'matplotlib is needed for pictures: install it with pip install "tinygrad_mnist[plot]".'
        ) from error
    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white")


def style(axes: Axes) -> None:
    """Draw axes as thin grey lines on two sides with small grey numbers, whatever the user's own style is."""
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=GREY, linewidth=0.8)
    axes.tick_params(colors=GREY, labelsize=9, length=3, width=0.8)
    axes.grid(False)


def write(figure: Figure, path: PathLike | None) -> Path | Figure:
    """Write a figure in the format that the path's ending names, whole or not at all.

    Returns
    -------
    Path or Figure
        The path, or the figure itself if `path` is None.
    """
    if path is None:
        return figure
    path = Path(path)
    with replacing(path) as unfinished, warnings.catch_warnings():
        # names of classes may have signs that no installed font has: those are drawn as boxes
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure.savefig(unfinished, format=path.suffix.removeprefix(".") or "png", dpi=DOTS_PER_INCH)
    return path
