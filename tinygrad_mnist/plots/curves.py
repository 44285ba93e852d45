"""The course of a training: loss and accuracy over time, of one run or of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.plots.figure import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LINE,
    OCHRE,
    PURPLE,
    SIDE,
    VERMILLION,
    WIDTH,
    new_page,
    shortened,
    text_width,
    write_text,
)
from tinygrad_mnist.plots.lines import (
    LABEL,
    MOST_POINTS,
    Values,
    label_ends,
    log_axis,
    new_panel,
    note,
    panels,
    running_mean,
    thinned,
    time_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

MOST_RUNS: Final = 10
"""Runs over each other that can still be told apart."""

_TIMES = {"epoch": "epochs", "step": "steps", "images_seen": "images seen"}
_ACCURACY_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 100)
_NAMED = 4  # lines whose names and values have room beside a panel
_SMOOTHED = 40  # values from which on a line is smoothed
_SMOOTH: Final = "pale: single values; bold: their running mean"
_PARTS = 50  # of a line, each as long as the window of its mean
_DASHES: Final = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1, 1, 1, 1, 1)))
_COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, OCHRE)
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


@dataclass(frozen=True)
class _Look:
    colour: str
    dashes: Any
    marker: str
    linewidth: float = 1.7


@dataclass(frozen=True)
class _Line:
    """A line with its look; `raw` and `values` are the same where it is too short to be smoothed."""

    name: str
    times: Values
    raw: Values
    values: Values
    window: int
    look: _Look

    @property
    def end(self) -> float:
        return float(self.values[-1])


def plot_training(
    history: Sequence[Row],
    *,
    losses: ArrayLike | None = None,
    steps_per_epoch: float | None = None,
    title: str = "Training",
    time: str | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw loss and accuracy over time, in two panels.

    The training part is a solid line (a single value a ring), the validation part a dashed one with dots;
    each has its name and its last value at its end. A line of 40 values and more is drawn pale, and bold its
    running mean, over a fiftieth of them and at
    least 3. The time begins at 0. Losses that span a factor of ten are drawn on
    a logarithmic scale, and accuracies above 90 % on a scale that is stretched near 100 %; a note above the
    panel says so.

    Parameters
    ----------
    history : sequence of mappings
        A row for each moment, in order, with the keys `train_loss`, `validation_loss` (nats),
        `train_accuracy` and `validation_accuracy` (0 to 1). The time is the first of `epoch`, `step` and
        `images_seen` that grows from row to row. A row may lack a value, or have None or nan for it.
    losses : array_like, shape (steps,), optional
        The training loss of every step, from step 1; takes the place of `train_loss`. Rows then need `step`.
    steps_per_epoch : float, optional
        Draws `losses` over epochs, rather than over steps.
    title : str
        The line on top.
    time : str, optional
        The label of the time axis; by default that of the key.
    width : float, optional
        Inches. Below 7 the panels stand under each other.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are `losses`, and a row lacks its step.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> rows = [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.2, "validation_accuracy": 0.9}]
    >>> figure = plot_training(rows)
    >>> [axes.texts[0].get_text() for axes in figure.axes]
    ['Loss', 'Accuracy']
    """
    key, times = _times(history)
    steps: Values | None = None
    if losses is not None:
        steps = np.asarray(losses, dtype=np.float64)
        if steps.ndim != 1:
            raise ValueError(f"losses of shape (steps,) were expected, not {steps.shape}")
        key, times = _times_of_steps(history, steps_per_epoch)
    places, height = panels(width, 2)
    notes = [_SMOOTH] if max(len(history), 0 if steps is None else len(steps)) >= _SMOOTHED else []
    notes += [_not_finite(steps)] if steps is not None else []
    page = new_page(width, height, title, "; ".join(filter(None, notes)))
    for place, heading, quantity in zip(places, ("Loss", "Accuracy"), ("loss", "accuracy"), strict=True):
        axes = new_panel(page, place, heading, time or _TIMES.get(key, key))
        lines = []
        for part, look in _PARTS_OF_A_RUN.items():
            if part == "train" and quantity == "loss" and steps is not None:
                moments = np.arange(1, len(steps) + 1) / (steps_per_epoch or 1)
                found = steps
            else:
                moments, found = times, _column(history, f"{part}_{quantity}")
            lines += _line(part, moments, found, look)
        _fill(axes, lines, quantity, times)
        if quantity == "loss" and steps is not None and not np.isfinite(steps).all():
            first = (np.flatnonzero(~np.isfinite(steps))[0] + 1) / (steps_per_epoch or 1)
            axes.axvline(first, color=INK, linewidth=1.2, linestyle=(0, (1, 1.5)))
    return page.figure


def plot_comparison(
    runs: Mapping[str, Sequence[Row]],
    *,
    title: str = "Comparison",
    time: str | None = None,
    width: float = WIDTH,
) -> Figure:
    """Draw the losses and accuracies of several runs over each other.

    Each run has a colour, a marker and a pattern of its line, and its name at the end of its line; a number
    where there are many runs or long names. Under the panels they are explained.

    Parameters
    ----------
    runs : mapping of str to sequence of mappings
        The rows of each run by its name, as `plot_training` takes them; 1 to 10 runs.
    title : str
        The line on top.
    time : str, optional
        The label of the time axis; by default that of the key, where it is the same for all.
    width : float, optional
        Inches. Below 7 the panels stand under each other.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are no runs, too many, or they have no time in common.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> runs = {"small": [{"epoch": 1, "train_loss": 0.5}], "large": [{"epoch": 1, "train_loss": 0.4}]}
    >>> figure = plot_comparison(runs)
    >>> [axes.texts[0].get_text() for axes in figure.axes[:-1]]
    ['Training loss']
    """
    if not 1 <= len(runs) <= MOST_RUNS:
        raise ValueError(f"1 to {MOST_RUNS} runs can be told apart, not {len(runs)}")
    keys = [key for key in _TIMES if all(_grows(_column(rows, key)) for rows in runs.values())]
    if not keys:
        raise ValueError(f"the rows of all runs need one of {', '.join(_TIMES)} that grows from row to row")
    # names where they fit beside the panels, else numbers, which the legend explains
    is_short = len(runs) <= _NAMED and all(text_width(name) <= LABEL for name in runs)
    labels = list(runs) if is_short else [str(k + 1) for k in range(len(runs))]
    shown: list[tuple[str, str, list[_Line]]] = []
    for heading, column in _QUANTITIES.items():
        lines = []
        for k, rows in enumerate(runs.values()):
            lines += _line(labels[k], _column(rows, keys[0]), _column(rows, column), _look(k, len(runs)))
        if lines:
            shown.append((heading, column.rpartition("_")[2], lines))
    places, height = panels(width, len(shown))
    is_smoothed = any(line.window > 1 for _, _, lines in shown for line in lines)
    page = new_page(width, height + len(runs) * LINE + 0.1, title, _SMOOTH if is_smoothed else "")
    last = np.concatenate([_column(rows, keys[0]) for rows in runs.values()])
    for place, (heading, quantity, lines) in zip(places, shown, strict=True):
        _fill(new_panel(page, place, heading, time or _TIMES[keys[0]]), lines, quantity, last)
    legend = page.canvas()
    for k, name in enumerate(runs):
        look, y = _look(k, len(runs)), height + (k + 0.5) * LINE
        x = [SIDE, SIDE + 0.25, SIDE + 0.5]
        legend.plot(x, 3 * [y], markevery=[1], **_options(look))
        text = name if is_short else f"{k + 1}: {name}"
        write_text(legend, SIDE + 0.6, y, shortened(text, width - SIDE - 0.7), va="center")
    return page.figure


_QUANTITIES: Final = {
    "Training loss": "train_loss",
    "Validation loss": "validation_loss",
    "Training accuracy": "train_accuracy",
    "Validation accuracy": "validation_accuracy",
}


_PARTS_OF_A_RUN: Final = {"train": _Look(BLUE, "-", ""), "validation": _Look(VERMILLION, _DASHES[1], "o")}


def _look(k: int, runs: int) -> _Look:
    """Return the look of run k: no two have the same marker, and one that lies below others is wider."""
    dashes = _DASHES[(k + k // len(_COLOURS)) % len(_DASHES)]
    return _Look(_COLOURS[k % len(_COLOURS)], dashes, _MARKERS[k], 1.3 + 1.5 * (runs - 1 - k) / runs)


# ---- lines from rows -------------------------------------------------------------------------------------


def _times(history: Sequence[Row]) -> tuple[str, Values]:
    """Return the key of the time, and the time of each row."""
    for key in _TIMES:
        times = _column(history, key)
        if _grows(times):
            return key, times
    return "rows", np.arange(1.0, len(history) + 1)


def _times_of_steps(history: Sequence[Row], steps_per_epoch: float | None) -> tuple[str, Values]:
    times = _column(history, "step")
    if not np.isfinite(times).all():
        raise ValueError("each row needs its 'step' where there are losses of steps")
    return ("epoch", times / steps_per_epoch) if steps_per_epoch else ("step", times)


def _grows(times: Values) -> bool:
    return bool(times.size and np.isfinite(times).all() and (np.diff(times) > 0).all())


def _column(history: Sequence[Row], key: str) -> Values:
    return np.array([math.nan if row.get(key) is None else float(row[key]) for row in history], np.float64)


def _line(name: str, times: Values, raw: Values, look: _Look) -> list[_Line]:
    """Return the line as a list, which is empty where nothing is known."""
    known = np.isfinite(raw)
    times, raw = times[known], raw[known]
    if not raw.size:
        return []
    window = max(3, len(raw) // _PARTS) if len(raw) >= _SMOOTHED else 1
    return [_Line(name, times, raw, running_mean(raw, window), window, look)]


# ---- drawing a panel -------------------------------------------------------------------------------------


def _fill(axes: Axes, lines: list[_Line], quantity: str, times: Values) -> None:
    """Draw lines, the scale that suits them, and their names."""
    if not lines:
        write_text(axes, 0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes, color=GREY)
        axes.set(xticks=[], yticks=[])
        return
    factor = 100.0 if quantity == "accuracy" else 1.0
    for line in lines:
        _draw(axes, line, factor)
    firsts, lasts = [line.times[0] for line in lines], [line.times[-1] for line in lines]
    # a single evaluation is at the end of a training, not alone
    time_axis(axes, float(min([*firsts, *times[:1]])), float(max([*lasts, *times[-1:]])))
    text = _accuracy_scale(axes, lines) if factor > 1 else _loss_scale(axes, lines)
    note(axes, text)
    form = "{:.2f} %" if factor > 1 else "{:.3g}"
    texts = [(line.name, form.format(factor * line.end)) for line in lines]
    joined = [": ".join(pair) for pair in texts]
    is_one_line = all(text_width(text) <= LABEL for text in joined)
    labels = [
        (factor * line.end, (text,) if is_one_line else pair, line.look.colour)
        for line, text, pair in zip(lines, joined, texts, strict=True)
    ]
    label_ends(axes, labels)


def _draw(axes: Axes, line: _Line, factor: float) -> None:
    count = line.values.size
    if line.window > 1:
        x, y = thinned(line.times, line.raw)
        axes.plot(x, factor * y, color=line.look.colour, linewidth=0.6, alpha=0.35)
    step = max(1, count // MOST_POINTS)
    x, y = line.times[::step], factor * line.values[::step]
    if x[-1] != line.times[-1]:
        x, y = np.append(x, line.times[-1]), np.append(y, factor * line.end)
    options = _options(line.look)
    if not line.look.marker and count == 1:  # a ring, which a dot of the validation part leaves to be seen
        options |= {"marker": "o", "markerfacecolor": "none", "markeredgewidth": 1.6, "markersize": 10}
    axes.plot(x, y, markevery=max(1, len(x) // 12), clip_on=False, **options)


def _options(look: _Look) -> dict[str, Any]:
    """Return the look in the names of `Axes.plot`."""
    return {
        "color": look.colour,
        "linestyle": look.dashes,
        "linewidth": look.linewidth,
        "marker": look.marker,
        "markersize": 1.5 + 1.7 * look.linewidth,
    }


def _extent(lines: list[_Line]) -> tuple[float, float]:
    """Return the least and the greatest value, without the rarest of raw lines."""
    values = [line.values for line in lines]
    values += [np.percentile(line.raw, (1, 99)) for line in lines if line.window > 1]
    joined = np.concatenate(values)
    return float(joined.min()), float(joined.max())


def _loss_scale(axes: Axes, lines: list[_Line]) -> str:
    low, high = _extent(lines)
    if low <= 0 or high < 10 * low:
        margin = 0.05 * (high - min(0.0, low)) or 1.0
        axes.set_ylim(min(0.0, 1.05 * low), high + margin)
        return ""
    log_axis(axes, low / 1.25, high * 1.15)
    return "log scale"


def _accuracy_scale(axes: Axes, lines: list[_Line]) -> str:
    low, high = (100 * end for end in _extent(lines))
    if high < 90:
        margin = max(1.0, 0.08 * (high - low))
        axes.set_ylim(max(0.0, low - margin), high + margin)
        axes.yaxis.set_major_formatter("{x:g} %")
        return ""
    # The scale is the logarithm of the error, with half a percent added: of an error of 0 there is none.
    axes.set_yscale("function", functions=(_stretched, _unstretched))
    ticks = [tick for tick in _ACCURACY_TICKS if tick >= low]
    below = max([tick for tick in _ACCURACY_TICKS if tick < low], default=0)
    axes.set_ylim(below, 100)
    axes.set_yticks([below, *(tick for tick in ticks if tick != below)])
    axes.yaxis.set_major_formatter("{x:g} %")
    return "stretched scale"


def _stretched(percent: Values) -> Values:
    return -np.log10(np.maximum(100.5 - percent, 1e-3))


def _unstretched(place: Values) -> Values:
    return 100.5 - 10.0**-place


def _not_finite(losses: Values) -> str:
    """Return a sentence on steps whose loss is not finite; nothing where all are."""
    bad = np.flatnonzero(~np.isfinite(losses))
    if not bad.size:
        return ""
    steps = count_text(len(losses), "step")
    return f"✗ the loss is not finite in {bad.size:,} of {steps}, first in step {bad[0] + 1:,} (dotted line)"
