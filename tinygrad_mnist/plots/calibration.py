"""The calibration of a classifier: whether it is as often right as it is sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.numbers import count_text, percent_text
from tinygrad_mnist.plots.figure import (
    BLUE,
    GREY,
    PALE,
    WIDTH,
    new_page,
    probabilities_and_labels,
    write_text,
)
from tinygrad_mnist.plots.intervals import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Confidence and accuracy in bins of confidence.

    Parameters
    ----------
    edges : ndarray, shape (bins + 1,), float64
        The ends of the bins, from 0 to 1.
    counts : ndarray, shape (bins,), int64
        The predictions in each bin.
    confidence, accuracy : ndarray, shape (bins,), float64
        The mean of each bin; NaN where it is empty.
    error : float
        The expected calibration error, 0 to 1.
    """

    edges: Values
    counts: NDArray[np.int64]
    confidence: Values
    accuracy: Values
    error: float


def calibration(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> Calibration:
    r"""Return how the confidence of predictions agrees with how often they are right.

    The confidence of a prediction is its largest probability. Predictions are put into bins of equal width;
    bin m holds those with a confidence above (m - 1)/M and up to m/M. The expected calibration error is

    .. math:: \mathrm{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{n}
              \left|\mathrm{acc}(B_m) - \mathrm{conf}(B_m)\right|

    Parameters
    ----------
    probabilities : array_like, shape (n, k)
        Of each class for each sample; a row sums to 1.
    labels : array_like, shape (n,), int
        The true classes, from 0.
    bins : int, optional
        The number of bins, M.

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        A shape, a label or a probability is not as above, or there are no samples.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), On Calibration of Modern Neural Networks, equation 3.

    Examples
    --------
    >>> found = calibration([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], [0, 1, 1], bins=2)
    >>> found.counts.tolist(), found.accuracy.round(3).tolist(), round(found.error, 3)
    ([0, 3], [nan, 0.667], 0.1)
    """
    p, truth = probabilities_and_labels(probabilities, labels)
    if bins < 1:
        raise ValueError(f"there is at least 1 bin, not {bins}")
    edges = np.linspace(0, 1, bins + 1)
    confidence, right = np.minimum(p.max(axis=1), 1.0), p.argmax(axis=1) == truth
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: an empty bin has no mean
        means = np.bincount(place, confidence, bins) / counts
        shares = np.bincount(place, right, bins) / counts
    filled = counts > 0
    error = float(counts[filled] @ abs(shares - means)[filled] / len(p))
    return Calibration(edges, counts, means, shares, error)


def plot_calibration(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    bins: int = 15,
    title: str | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw the accuracy of predictions over their confidence, and how many there are of each confidence.

    A point below the diagonal means that the model is too sure. The bar of a point is the 95 % interval of
    Wilson. The counts below it are drawn on a logarithmic scale.

    Parameters
    ----------
    probabilities, labels, bins
        As `calibration` takes them.
    title : str, optional
        The line on top; by default the expected calibration error.
    width : float, optional
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        See `calibration`.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_calibration([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], [0, 1, 1])
    >>> figure.texts[0].get_text()
    'Expected calibration error 43.33 %'
    """
    found = calibration(probabilities, labels, bins)
    n = int(found.counts.sum())
    filled = np.flatnonzero(found.counts)
    mean = float(found.counts[filled] @ found.confidence[filled] / n)
    share = float(found.counts[filled] @ found.accuracy[filled] / n)
    page = new_page(
        width,
        5.75,
        title or f"Expected calibration error {percent_text(found.error)}",
        f"{count_text(n, 'prediction')} in {count_text(bins, 'bin')} of equal width: mean confidence "
        f"{percent_text(mean)}, accuracy {percent_text(share)}; above the diagonal the model is not sure "
        "enough, below it too sure",
    )
    side = min(width - 1.25, 5.5)
    above = page.axes(0.8, 0.35, side, 3.0)
    write_text(above, 0, 1.045, "accuracy, with its 95 % interval", transform=above.transAxes, color=GREY)
    above.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    low, high = (100 * end for end in wilson_interval(*_right(found, filled)))
    x, y = 100 * found.confidence[filled], 100 * found.accuracy[filled]
    above.vlines(x, low, high, color=BLUE, linewidth=1.2)
    above.plot(x, y, color=BLUE, marker="o", markersize=5, linewidth=1.6, clip_on=False)
    above.set(xlim=(0, 100), ylim=(0, 100))
    below = page.axes(0.8, 3.95, side, 1.15)
    write_text(
        below,
        0,
        1.12,
        "predictions in the bin, on a logarithmic scale",
        transform=below.transAxes,
        color=GREY,
    )
    middles = 50 * (found.edges[1:] + found.edges[:-1])
    below.bar(middles, found.counts, 80 / bins, bottom=0.5, color=PALE)
    below.set(xlim=(0, 100), yscale="log", ylim=(0.5, 40.0 * found.counts.max()), yticks=[])
    below.tick_params(which="minor", left=False)
    below.spines["left"].set_visible(False)
    for k in filled:
        if bins <= 20:
            options = {"rotation": 90, "rotation_mode": "anchor", "va": "center"}
            write_text(below, middles[k], found.counts[k] * 1.6 + 0.5, f"{found.counts[k]:,}", **options)
    for axes in (above, below):
        axes.xaxis.set_major_formatter("{x:g} %")
    above.yaxis.set_major_formatter("{x:g} %")
    above.grid(color=PALE, linewidth=0.6)
    above.set_axisbelow(True)
    write_text(below, 0.5, -0.42, "confidence", transform=below.transAxes, color=GREY, ha="center")
    return page.figure


def _right(found: Calibration, filled: NDArray[np.intp]) -> tuple[Values, Values]:
    totals = found.counts[filled].astype(np.float64)
    return np.rint(found.accuracy[filled] * totals), totals
