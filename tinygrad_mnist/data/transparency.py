"""The page behind a picture with transparent parts: the grey value that lets its ink be seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int16]

_STRIP = 1 << 20
"""Pixels that are laid on their page at a time."""
_SIDE = 1024
"""Pixels a side that are enough to tell ink from page."""
_CONTRAST = 64
"""Grey values between ink and paper, at least."""
_SOFT = 16
"""Grey values by which a soft edge differs from the ink inside, at least."""


def on_page(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay a picture with transparent parts on its page; `grey` is written to, and returned.

    Examples
    --------
    >>> on_page(np.array([[20, 0]], np.uint8), np.array([[255, 0]], np.uint8))
    array([[ 20, 255]], dtype=uint8)
    """
    fill = page(grey, alpha)
    height = max(1, _STRIP // grey.shape[1])
    for top in range(0, len(grey), height):  # floats take eight times the room
        rows = slice(top, top + height)
        share = alpha[rows] / 255
        grey[rows] = np.rint(share * grey[rows] + (1 - share) * fill)
    return grey


def page(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> float:
    """Return the grey value to lay a picture on.

    A cut-out has paper of its own, and the page continues it. Else the ink stands alone, and its page is
    white or black: whichever its soft edges go over to, or the contrary of the ink where they are hard. The
    grey value that is stored in the transparent parts is a better one, if it lies on the same side: a colour
    key is the colour of the page. Often it is not, as programs erase to black.

    Parameters
    ----------
    grey : ndarray, shape (h, w)
        Grey values, those of the transparent parts, too.
    alpha : ndarray, shape (h, w)
        0 where nothing is seen, 255 where all is.

    Returns
    -------
    float
        From 0 to 255.

    Examples
    --------
    A dark stroke on nothing; what is stored around it is as dark:

    >>> alpha = np.array([[0, 0, 0], [0, 255, 0], [0, 0, 0]], np.uint8)
    >>> page(np.full((3, 3), 20, np.uint8), alpha)
    255.0
    """
    step = -(-max(grey.shape) // _SIDE)
    levels, alpha = grey[::step, ::step].astype(np.int16), alpha[::step, ::step]
    solid = alpha >= max(int(alpha.max()), 1) / 2
    if not solid.any():
        return 255.0  # nothing is seen on any page
    at_edge = solid & _spread(~solid)
    inside = solid & ~at_edge
    stored = _stored(levels[alpha == 0], levels[solid])
    if not (inside.any() and at_edge.any()):
        return _page_of_thin_strokes(levels[solid], stored)
    paper = _paper(levels[at_edge], levels[inside])
    if paper is not None:
        return paper
    ink, edge = float(np.median(levels[inside])), float(np.median(levels[at_edge]))
    white = edge > ink if abs(edge - ink) >= _SOFT else ink < 128
    end = 255.0 if white else 0.0
    return stored if stored is not None and abs(stored - end) < abs(stored - ink) else end


def _spread(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a pixel or one of its eight neighbours is set."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    spread: NDArray[np.bool_] = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return spread


def _stored(hidden: Levels, seen: Levels) -> float | None:
    """Return the grey value that is stored in the transparent parts; None if it is the ink's, or unknown."""
    if not hidden.size:
        return None
    level = float(np.median(hidden))
    return None if np.mean(seen == level) >= 0.02 else level


def _paper(edge: Levels, inside: Levels) -> float | None:
    """Return the level of the paper that a cut-out has of its own; None if it has none.

    Paper is of one level where it borders on the transparent parts, and much of the picture has that level.
    """
    low, high = np.quantile(inside, (0.005, 0.995))
    lower, level, upper = np.quantile(edge, (0.25, 0.5, 0.75))
    slack = (high - low) / 6
    is_even = upper - lower <= 2 * slack and np.mean(np.abs(inside - level) <= slack) >= 0.25
    return float(level) if is_even and high - low >= _CONTRAST else None


def _page_of_thin_strokes(seen: Levels, stored: float | None) -> float:
    """Return the page of strokes that have no inside: any of their pixels may belong to a soft edge."""
    low, high = np.quantile(seen, (0.02, 0.98))
    if stored is None or high - low < _CONTRAST:
        return 255.0 if low < 255 - high else 0.0
    # soft edges nearly reach the page; what is stored is believed, unless they come nearer to the other end
    near, far = (255 - high, low) if stored >= 128 else (low, 255 - high)
    if near <= far + 2 * _SOFT:
        return stored
    return 0.0 if stored >= 128 else 255.0
