"""The choice of the images that are worth the most training: those near the boundary between two classes.

A network learns most digits in its first hundred steps, and then sees them again and again. What it still has
to learn is in the few that look like another class. A linear classifier, fitted at once to all images, finds
them well enough: where its margin is small or negative, the image is hard.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.batching import one_hot
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.numbers import count_text

_BLOCK: Final = 1024
"""Images at a time."""


def ridge_margins(images: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float32]:
    """Return how clearly a linear classifier tells each image from the other classes.

    The classifier is a ridge regression from pixels to one-hot labels Y. Pixels are averaged in blocks of
    2 x 2 and scaled to 0..1; X has a row for each of the N images, and a column of ones. The weights

        W = (X.T @ X + 0.01 * N * I)^-1 @ X.T @ Y

    minimise ``|X @ W - Y|**2 + 0.01 * N * |W|**2``. The margin of an image is its score ``X @ W`` for its own
    class, less the greatest of the others.

    Parameters
    ----------
    images : ndarray
        uint8, shape (n, height, width), each side 2 or more. A last row or column of an odd side is left out.
    labels : ndarray
        Integers from 0, shape (n,).

    Returns
    -------
    ndarray
        float32, shape (n,); negative where another class has the greater score.

    Raises
    ------
    DataError
        The images or the labels are not as above.

    Examples
    --------
    >>> from tinygrad_mnist.data import load_digits
    >>> digits = load_digits()
    >>> margins = ridge_margins(digits.train_images, digits.train_labels)
    >>> bool(np.mean(margins > 0) > 0.8)
    True
    """
    if images.dtype != np.uint8 or images.ndim != 3 or not len(images) or min(images.shape[1:]) < 2:
        raise DataError(
            f"images are uint8 of shape (n, height, width), each side 2 or more, not {images.dtype} of shape "
            f"{images.shape}"
        )
    if len(labels) != len(images):
        counts = f"{count_text(len(images), 'image')} and {count_text(len(labels), 'label')}"
        raise DataError(f"there are {counts}; the two must agree")
    targets = one_hot(labels, max(2, int(labels.max()) + 1))
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(images), _BLOCK)]
    # X is computed once more for the scores: to keep all of it takes longer, as it is larger than the cache
    columns = _averaged(images[:1]).size
    gram = 0.01 * len(images) * np.eye(columns, dtype=np.float32)
    correlation = np.zeros((columns, targets.shape[1]), np.float32)
    for block in blocks:
        x = _averaged(images[block])
        gram += x.T @ x
        correlation += x.T @ targets[block]
    weights = np.linalg.solve(gram, correlation)
    margins = np.empty(len(images), np.float32)
    for block in blocks:
        scores = _averaged(images[block]) @ weights
        own = np.arange(len(scores)), labels[block]
        right = scores[own]
        scores[own] = -np.inf
        margins[block] = right - scores.max(axis=1)
    return margins


def _averaged(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the means of blocks of 2 x 2 pixels in 0..1, a row an image, and a column of ones."""
    height, width = (side - side % 2 for side in images.shape[1:])
    sums = np.add(images[:, 0:height:2, :width], images[:, 1:height:2, :width], dtype=np.uint16)
    pixels = (sums[:, :, ::2] + sums[:, :, 1::2]).reshape(len(images), -1)
    x = np.ones((len(images), pixels.shape[1] + 1), np.float32)
    np.multiply(pixels, np.float32(1 / (4 * 255)), out=x[:, :-1])
    return x


def hard_images(
    margins: NDArray[Any], share: float, k: float, h: float, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Choose images to train on, the hard ones more often than the easy ones.

    The images are ranked by their margins. With r the rank as a share (0 for the least margin, 1 for the
    greatest), images are drawn without replacement with weights exp(-k * r). Some are drawn from all images
    alike, so that what is typical of a class is not forgotten; they come first, when a network has yet to
    learn it.

    Parameters
    ----------
    margins : ndarray
        Shape (n,): the smaller, the harder. `ridge_margins` returns them.
    share : float
        The share of the images to choose, above 0 and at most 1.
    k : float
        How much more often the hardest are drawn, at least 0: exp(k) times as often as the easiest.
    h : float
        The share of the chosen images that is drawn from all alike, from 0 to 1.
    rng : numpy.random.Generator
        The generator that draws.

    Returns
    -------
    ndarray
        Indices, each at most once, ``round(share * n)`` but at least 1: those that were drawn alike, then the
        others; either part in random order.

    Raises
    ------
    DataError
        The margins are not of shape (n,), or a number is out of range.

    Examples
    --------
    >>> chosen = hard_images(np.arange(100.0), share=0.3, k=3, h=0.1, rng=np.random.default_rng(0))
    >>> len(chosen), bool(np.mean(chosen) < 40)
    (30, True)
    """
    n = margins.size
    if margins.ndim != 1 or not n:
        raise DataError(f"margins have the shape (n,), n of 1 or more, not {margins.shape}")
    if not (0 < share <= 1 and 0 <= k < np.inf and 0 <= h <= 1):
        raise DataError(f"share is in (0, 1], k at least 0, h from 0 to 1; {share=}, {k=} and {h=} are not")
    count = max(1, round(share * n))
    order = rng.permutation(n)
    alike, others = np.split(order, [round(h * count)])
    rank = np.empty(n)
    rank[np.argsort(margins, kind="stable")] = np.arange(n) / n
    # The least of exponential variables with rates w are a draw without replacement with weights w:
    # P. S. Efraimidis and P. G. Spirakis (2006), Weighted random sampling with a reservoir.
    # Their logarithms do not overflow.
    arrival = np.log(rng.standard_exponential(len(others))) + k * rank[others]
    hard = np.sort(np.argsort(arrival, kind="stable")[: count - len(alike)])
    return np.concatenate([alike, others[hard]])
