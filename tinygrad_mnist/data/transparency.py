"""The page behind a picture with transparent parts: the grey value that lets its ink be seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SIDE = 1024
"""Pixels a side that are enough to tell ink from page."""
_CONTRAST = 64
"""Grey values between ink and page, or between a dark and a light part of what is seen."""
_ALIKE = 8
"""Grey values that may lie between two pixels of the same colour."""


def page(grey: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> float:
    """Return the grey value to lay a picture on.

    A cut-out has paper of its own: what borders on the transparent parts is of one level, and there is another
    level inside. Then the page continues the paper. Else the ink stands alone. Its page is the colour that is
    stored in the transparent parts, as long as the ink is not like it; a colour key is that of the page. Where
    it is, as programs often erase to black, the page is the contrary.

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
    """
    step = -(-max(grey.shape) // _SIDE)
    levels, alpha = grey[::step, ::step].astype(np.int16), alpha[::step, ::step]
    solid = alpha >= max(int(alpha.max()), 1) / 2
    touching = solid & _spread(~solid)
    inner = solid & ~touching
    paper = _paper(levels, touching, inner)
    if paper is not None:
        return paper
    seen, hidden = levels[solid], levels[alpha == 0]
    ink = float(np.median(levels[inner] if inner.any() else seen))
    return _behind(seen, ink, float(np.median(hidden)) if hidden.size else ink)


def _spread(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a pixel or one of its eight neighbours is set."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    spread: NDArray[np.bool_] = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return spread


def _paper(
    levels: NDArray[np.int16], touching: NDArray[np.bool_], inner: NDArray[np.bool_]
) -> float | None:
    """Return the level of the paper that a cut-out has of its own; None if it has none."""
    if not (touching.any() and inner.any()):
        return None
    low, high = np.quantile(levels[inner], (0.005, 0.995))
    lower, level, upper = np.quantile(levels[touching], (0.25, 0.5, 0.75))
    is_level = upper - lower <= (high - low) / 3
    return float(level) if high - low >= _CONTRAST and is_level else None


def _behind(seen: NDArray[np.int16], ink: float, hidden: float) -> float:
    """Return the page of ink that stands alone, whose transparent parts have the grey value `hidden`."""
    low, high = np.quantile(seen, (0.02, 0.98))
    if np.mean(np.abs(seen - hidden) <= _ALIKE) >= 0.1:
        return _contrary(hidden)
    if high - low < _CONTRAST:  # ink of one level
        return hidden if abs(hidden - ink) >= _CONTRAST else _contrary(ink)
    # its edges go over into the page
    if min(abs(hidden - low), abs(hidden - high)) <= 3 * _ALIKE:
        return hidden
    return 255.0 if 255 - high < low else 0.0


def _contrary(level: float) -> float:
    return 255.0 if level < 128 else 0.0
