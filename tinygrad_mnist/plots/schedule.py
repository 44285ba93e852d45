"""The learning rate over the steps of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_mnist.plots.figure import BLUE, WIDTH, new_page
from tinygrad_mnist.plots.lines import HEAD, LEFT, log_axis, new_panel, note, thinned, time_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_schedule(
    rates: ArrayLike,
    *,
    steps_per_epoch: float | None = None,
    title: str = "Learning rate",
    width: float = WIDTH,
) -> Figure:
    """Draw the learning rate of each step, with its first, highest and last value.

    Parameters
    ----------
    rates : array_like, shape (steps,)
        From step 1. The scale is logarithmic where a quarter of them are below a thirtieth of the highest,
        and none is 0.
    steps_per_epoch : float, optional
        Draws them over epochs, rather than over steps.
    title : str
        The line on top.
    width : float, optional
        Inches.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are no rates, or one is not finite.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_schedule(0.1 * np.linspace(1, 0, 50))
    >>> figure.texts[1].get_text()
    'step 1: 0.1, highest: 0.1 in step 1, last: 0'
    """
    values = np.asarray(rates, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"rates of shape (steps,), finite, were expected, not {values.shape} of them")
    top = int(values.argmax())
    below = f"step 1: {values[0]:.3g}, highest: {values[top]:.3g} in step {top + 1:,}, last: {values[-1]:.3g}"
    height = 1.9
    page = new_page(width, HEAD - 0.2 + height + 0.55, title, below)
    place = (LEFT, HEAD - 0.2, width - LEFT - 0.35, height)
    axes = new_panel(page, place, "", "epochs" if steps_per_epoch else "steps")
    times = np.arange(1, len(values) + 1) / (steps_per_epoch or 1)
    axes.plot(*thinned(times, values), color=BLUE, linewidth=1.8, marker="o" if len(values) == 1 else "")
    time_axis(axes, 0, times[-1])
    low, high = float(values.min()), float(values.max())
    if low > 0 and np.percentile(values, 25) < high / 30:
        log_axis(axes, low / 1.3, high * 1.3)
        note(axes, "log scale")
    else:
        axes.set_ylim(min(0.0, low), 1.08 * high if high > 0 else 1.0)
    return page.figure
