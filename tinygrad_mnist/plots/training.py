"""The course of a training: loss and accuracy over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.plots.figure import BLUE, GREY, INK, PALE, VERMILLION, PathLike, new_figure, style, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
Row = Mapping[str, Any]

_TIMES = {"epoch": "epochs", "step": "steps", "images_seen": "images seen"}
_ACCURACY_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 100)
_TITLE_LENGTH = 68  # characters that the page is wide enough for; longer titles are smaller
_LABEL_GAP = 0.12  # between the labels at the ends of two lines, as a part of the panel's height


@dataclass(frozen=True)
class _Line:
    name: str
    times: Values
    values: Values
    is_training: bool


def plot_training(
    history: Sequence[Row],
    path: PathLike | None = None,
    *,
    title: str = "Training",
    time: str | None = None,
) -> Path | Figure:
    """Draw loss and accuracy over time, in two panels.

    The training part is a solid line (a single value a ring), the validation part a dashed one with dots;
    each has its name and its last value at its end. The time begins at 0. Losses that span a factor of ten
    are drawn on a logarithmic scale, and accuracies above 90 % on a scale that is stretched near 100 %; a
    note above the panel says so.

    Parameters
    ----------
    history : sequence of mappings
        A row for each moment, in order, with the keys `train_loss`, `validation_loss` (nats),
        `train_accuracy` and `validation_accuracy` (0 to 1). The time is the first of `epoch`, `step` and
        `images_seen` that grows from row to row. A row may lack a value, or have None or nan for it.
    path : path-like, optional
        The file to write; its ending names the format.
    title : str
        The line on top.
    time : str, optional
        The label of the time axis; by default that of the key.

    Returns
    -------
    Path or matplotlib.figure.Figure
        The path, or the figure if there is no path.

    Raises
    ------
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> rows = [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.2, "validation_accuracy": 0.9}]
    >>> figure = plot_training(rows)
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['Loss', 'Accuracy']
    """
    figure = new_figure(9.6, 4.2)
    size = 14 * min(1, _TITLE_LENGTH / max(len(title), 1))
    # no mathematics: the title may hold the name of a directory with two dollar signs
    figure.text(0.065, 0.9, title, fontsize=size, fontweight="bold", color=INK, parse_math=False)
    left = figure.add_axes((0.065, 0.14, 0.335, 0.62))
    right = figure.add_axes((0.565, 0.14, 0.335, 0.62))
    key, times = _times(history)
    for axes, heading, quantity, factor in (
        (left, "Loss", "loss", 1.0),
        (right, "Accuracy", "accuracy", 100.0),
    ):
        style(axes)
        axes.set_title(heading, loc="left", fontsize=11, color=INK, pad=10)
        axes.set_xlabel(time or _TIMES.get(key, key), fontsize=9, color=GREY)
        lines = [
            line
            for part in ("train", "validation")
            if (line := _line(history, times, f"{part}_{quantity}", factor)).values.size
        ]
        if not lines:
            axes.text(
                0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes, fontsize=10, color=GREY
            )
            axes.set(xticks=[], yticks=[])
            continue
        _draw(axes, lines)
        if quantity == "loss":
            _loss_scale(axes, lines)
        else:
            _accuracy_scale(axes, lines)
        axes.set_xlim(left=min(0.0, times[0]))  # a single evaluation is at the end of a training, not alone
        axes.grid(axis="y", color=PALE, linewidth=0.6)
        axes.set_axisbelow(True)
        _name_lines(axes, lines, "{:.2f} %" if quantity == "accuracy" else "{:.3g}")
    return write(figure, path)


def _times(history: Sequence[Row]) -> tuple[str, Values]:
    """Return the key of the time, and the time of each row."""
    for key in _TIMES:
        times = np.array([_number(row, key) for row in history])
        if times.size and np.isfinite(times).all() and (np.diff(times) > 0).all():
            return key, times
    return "rows", np.arange(1.0, len(history) + 1)


def _number(row: Row, key: str) -> float:
    value = row.get(key)
    return math.nan if value is None else float(value)


def _line(history: Sequence[Row], times: Values, key: str, factor: float) -> _Line:
    values = np.array([_number(row, key) for row in history], dtype=np.float64) * factor
    known = np.isfinite(values)
    name = key.partition("_")[0]
    return _Line(name, times[known], values[known], name == "train")


def _draw(axes: Axes, lines: list[_Line]) -> None:
    for line in lines:
        count = line.values.size
        is_ring = line.is_training and count == 1  # which a dot of the validation part leaves to be seen
        axes.plot(
            line.times,
            line.values,
            color=BLUE if line.is_training else VERMILLION,
            linestyle="-" if line.is_training else (0, (4, 2)),
            linewidth=1.6 if count <= 200 else 0.9,
            marker="o" if is_ring or not line.is_training else "",
            markerfacecolor="none" if is_ring else None,
            markeredgewidth=1.6 if is_ring else None,
            markersize=10 if is_ring else 4 if count <= 40 else 3,
            markevery=max(1, count // 20),
            clip_on=False,
        )


def _loss_scale(axes: Axes, lines: list[_Line]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = min(line.values.min() for line in lines), max(line.values.max() for line in lines)
    if low <= 0 or high < 10 * low:
        axes.set_ylim(bottom=min(0.0, low))
        return
    axes.set_yscale("log")
    _note_scale(axes, "log scale")
    axes.set_ylim(low / 1.25, high * 1.15)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", which="minor", left=False)


def _accuracy_scale(axes: Axes, lines: list[_Line]) -> None:
    low, high = min(line.values.min() for line in lines), max(line.values.max() for line in lines)
    if high < 90:
        margin = max(1.0, 0.08 * (high - low))
        axes.set_ylim(max(0.0, low - margin), high + margin)
        axes.yaxis.set_major_formatter("{x:g} %")
        return
    # The scale is the logarithm of the error, with half a percent added: of an error of 0 there is none.
    axes.set_yscale("function", functions=(_stretched, _unstretched))
    _note_scale(axes, "stretched near 100 %")
    ticks = [tick for tick in _ACCURACY_TICKS if tick >= low]
    below = max([tick for tick in _ACCURACY_TICKS if tick < low], default=0)
    axes.set_ylim(below, 100)
    axes.set_yticks([below, *(tick for tick in ticks if tick != below)])
    axes.yaxis.set_major_formatter("{x:g} %")


def _note_scale(axes: Axes, note: str) -> None:
    axes.set_title(note, loc="right", fontsize=8, color=GREY, pad=10)


def _stretched(percent: Values) -> Values:
    return -np.log10(np.maximum(100.5 - percent, 1e-3))


def _unstretched(place: Values) -> Values:
    return 100.5 - 10.0**-place


def _name_lines(axes: Axes, lines: list[_Line], form: str) -> None:
    """Name each line at its end, with its last value, the labels kept apart where the lines meet."""
    end = max(line.times[-1] for line in lines)
    to_panel = axes.transData + axes.transAxes.inverted()
    places = [to_panel.transform((end, line.values[-1]))[1] for line in lines]
    if len(lines) == 2 and abs(places[0] - places[1]) < _LABEL_GAP:
        middle = min(max((places[0] + places[1]) / 2, _LABEL_GAP / 2), 1 - _LABEL_GAP / 2)
        upper = int(places[1] >= places[0])
        places[upper], places[1 - upper] = middle + _LABEL_GAP / 2, middle - _LABEL_GAP / 2
    for line, place in zip(lines, places, strict=True):
        axes.text(
            1.04,
            place,
            f"{line.name}\n{form.format(line.values[-1])}",
            transform=axes.transAxes,
            color=BLUE if line.is_training else VERMILLION,
            fontsize=9,
            va="center",
            linespacing=1.15,
        )
