"""The norm of each layer's gradient over time: whether gradients vanish or explode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.plots.figure import (
    BLUE,
    GREEN,
    GREY,
    INK,
    OCHRE,
    PURPLE,
    VERMILLION,
    WIDTH,
    new_page,
    shortened,
    text_width,
    write_text,
)
from tinygrad_mnist.plots.lines import (
    LEFT,
    Values,
    label_ends,
    log_axis,
    new_panel,
    note,
    running_mean,
    thinned,
    time_axis,
)
from tinygrad_mnist.plots.tiles import SCALE_HEIGHT, draw_image, draw_scale, signed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES: Final = 8
"""Layers that have a line each; more are rows of a heat map."""

_COLOURS: Final = (BLUE, VERMILLION, GREEN, PURPLE, OCHRE, GREY, INK, BLUE)
_DASHES: Final = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_PARTS: Final = 40  # of a line, each as long as the window of its mean
_ROW = 0.185  # inches of a layer in the heat map


def norms_by_layer(norms: Mapping[str, ArrayLike]) -> dict[str, Values]:
    """Return the gradient norm of each layer from those of its parameters.

    Parameters
    ----------
    norms : mapping of str to array_like, shape (n,)
        By the names of parameters, such as ``0.weight``.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        By the names of layers, such as ``0``: what stands before the last dot. The norm of a layer is that of
        all its parameters together.

    Examples
    --------
    >>> {name: norm.tolist() for name, norm in norms_by_layer({"0.weight": [3.0], "0.bias": [4.0]}).items()}
    {'0': [5.0]}
    """
    layers: dict[str, Values] = {}
    for name, norm in norms.items():
        layer = name.rpartition(".")[0] or name
        layers[layer] = np.hypot(layers.get(layer, 0.0), np.asarray(norm, dtype=np.float64))
    return layers


def plot_gradient_norms(
    steps: ArrayLike,
    norms: Mapping[str, ArrayLike],
    *,
    clip: float | None = None,
    steps_per_epoch: float | None = None,
    title: str = "Gradient norms",
    width: float = WIDTH,
) -> Figure:
    """Draw the norm of each layer's gradient over time, on a logarithmic scale.

    Up to 8 layers have a line each, with its name at its end; of 80 values and more the running mean is
    bold. More layers are rows of a heat map, in the order that
    they are given in: blue where the norm is below the median of all, orange where it is above. So vanishing
    gradients are seen as a side that is blue, exploding ones as orange. Norms that are 0 or not finite are
    marked.

    Parameters
    ----------
    steps : array_like, shape (n,)
        When the norms were taken; growing.
    norms : mapping of str to array_like, shape (n,)
        The norms of each layer, or of each parameter, by its name.
    clip : float, optional
        The norm of all gradients together from which on they were clipped.
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
        A shape is not as above, a norm is negative, or there is nothing to draw.
    ImportError
        matplotlib is not installed.

    Examples
    --------
    >>> figure = plot_gradient_norms([1, 2, 3], {"first": [1e-6, 1e-7, 0], "last": [1.0, 0.5, 0.4]})
    >>> figure.texts[1].get_text()
    'first: 0 in 1 of 3 samples'
    """
    times = np.asarray(steps, dtype=np.float64)
    values = {name: np.asarray(norm, dtype=np.float64) for name, norm in norms.items()}
    _check(times, values)
    times, time = times / (steps_per_epoch or 1), "epochs" if steps_per_epoch else "steps"
    limit = clip if clip is not None and clip > 0 else None
    notes = _oddities(values)
    if limit is not None:
        notes.append(f"gradients are clipped where the norm of all together is above {limit:g}")
    if len(values) > MOST_LINES:
        return _heat_map(times, values, time, title, notes, width)
    return _lines(times, values, limit, time, title, notes, width)


def _check(times: Values, values: Mapping[str, Values]) -> None:
    if times.ndim != 1 or not times.size or not (np.diff(times) > 0).all():
        raise ValueError("steps of shape (n,) that grow were expected, n of 1 or more")
    if not values:
        raise ValueError("norms of at least one layer were expected")
    for name, norm in values.items():
        if norm.shape != times.shape or (norm < 0).any():
            raise ValueError(f"norms of {name!r} are of shape {times.shape} and at least 0, not {norm.shape}")


def _oddities(values: Mapping[str, Values]) -> list[str]:
    """Return a note on each layer with norms that no logarithm has; the first three are named."""
    notes = []
    for name, norm in values.items():
        for what, count in (("0", (norm == 0).sum()), ("not finite", (~np.isfinite(norm)).sum())):
            if count:
                notes.append(f"{name}: {what} in {count:,} of {count_text(norm.size, 'sample')}")
    return notes if len(notes) <= 3 else [*notes[:3], f"and {len(notes) - 3} more"]


def _lines(
    times: Values,
    values: Mapping[str, Values],
    limit: float | None,
    time: str,
    title: str,
    notes: list[str],
    width: float,
) -> Figure:
    """Draw a line a layer."""
    height = 2.8
    label = min(max(text_width(name) for name in values) + 0.15, 0.36 * width)
    page = new_page(width, 0.35 + height + 0.55, title, "; ".join(notes))
    axes = new_panel(page, (LEFT, 0.35, width - LEFT - label - 0.1, height), "", time)
    drawable = [norm[np.isfinite(norm) & (norm > 0)] for norm in values.values()]
    joined = np.concatenate([*drawable, [] if limit is None else [limit]])
    low, high = (float(joined.min()) / 1.6, float(joined.max()) * 1.6) if joined.size else (0.1, 10.0)
    time_axis(axes, times[0], times[-1])
    log_axis(axes, low, high)
    window = max(3, times.size // _PARTS) if times.size >= 2 * _PARTS else 1
    remarks = [f"bold: mean of {window}"] if window > 1 else []
    if any(len(norm) < times.size for norm in drawable):
        remarks.append("▾ is 0, ▴ not finite")
    note(axes, ", ".join([*remarks, "log scale"]))
    labels = []
    for k, (name, norm) in enumerate(values.items()):
        logs = np.log10(norm, out=np.full(norm.shape, np.nan), where=np.isfinite(norm) & (norm > 0))
        smooth = 10 ** running_mean(logs, window)
        if window > 1:
            axes.plot(*thinned(times, 10**logs), color=_COLOURS[k], linewidth=0.6, alpha=0.35)
        every = max(1, times.size // 8)
        axes.plot(
            times,
            smooth,
            color=_COLOURS[k],
            linestyle=_DASHES[k % len(_DASHES)],
            linewidth=1.7,
            marker=_MARKERS[k],
            markersize=4.5,
            markevery=(k * every // len(values), every),  # at different moments, so that all are seen
        )
        for chosen, place, marker in ((norm == 0, low, "v"), (~np.isfinite(norm), high, "^")):
            where = times[chosen][:: max(1, int(chosen.sum()) // 40)]
            at = np.full(where.shape, place)
            axes.plot(where, at, color=_COLOURS[k], linestyle="", marker=marker, clip_on=False)
        end = smooth[-1] if np.isfinite(smooth[-1]) else low if norm[-1] == 0 else high
        labels.append((float(end), (shortened(name, label - 0.1),), _COLOURS[k]))
    if limit is not None:
        axes.axhline(limit, color=INK, linewidth=1, linestyle=(0, (2, 2)))
    label_ends(axes, labels)
    return page.figure


def _heat_map(
    times: Values, values: Mapping[str, Values], time: str, title: str, notes: list[str], width: float
) -> Figure:
    """Draw a row a layer."""
    label = min(max(text_width(name) for name in values) + 0.15, 0.34 * width)
    rows, wide = len(values), width - label - 0.35
    if any((norm == 0).any() or not np.isfinite(norm).all() for norm in values.values()):
        notes = ["● is 0, ✗ not finite", *notes]
    below = "; ".join(["a row a layer, from the first to the last", *notes])
    page = new_page(width, rows * _ROW + 0.65 + SCALE_HEIGHT, title, below)
    axes = page.axes(label, 0.05, wide, rows * _ROW)
    time_axis(axes, 0, times[-1])
    axes.set(ylim=(rows, 0), yticks=[])
    logs, kinds = _sampled(np.stack(list(values.values())))
    known = logs[np.isfinite(logs)]
    middle = float(np.median(known)) if known.size else 0.0
    scale = max(1.0, float(abs(known - middle).max(initial=0.0)))
    first = float(times[0]) if times.size > 1 else 0.0
    draw_image(axes, signed(logs - middle, scale), (first, float(times[-1]), rows, 0))
    for kind, marker in ((1, "o"), (2, "x")):
        row, column = np.nonzero(kinds == kind)
        x = first + (column + 0.5) / logs.shape[1] * (times[-1] - first)
        every = slice(None, None, max(1, row.size // 2000))
        axes.plot(x[every], row[every] + 0.5, color=INK, linestyle="", marker=marker, markersize=3)
    across = axes.get_yaxis_transform()
    for k, name in enumerate(values):
        text = shortened(name, label - 0.12)
        write_text(axes, -0.08 / wide, k + 0.5, text, ha="right", va="center", transform=across)
    write_text(axes, 0.5, rows + 0.45 / _ROW, time, ha="center", color=GREY, transform=across)
    low, median, high = (f"{10.0 ** (middle + part * scale):.2g}" for part in (-1, 0, 1))
    line = "norm, log scale, the median in the middle"
    draw_scale(page, (label, rows * _ROW + 0.65, wide), (low, median, high), line)
    return page.figure


def _sampled(norms: Values) -> tuple[Values, Values]:
    """Return the logarithms of norms in at most 200 columns, NaN where there is none, and why.

    Why is 1 where the norm is 0, and 2 where it is not finite. A column that stands for several has the
    greatest logarithm and the worst reason.
    """
    kinds = np.where(np.isfinite(norms), (norms == 0).astype(np.float64), 2.0)
    logs = np.log10(np.where(kinds == 0, norms, np.nan), where=kinds == 0, out=np.full(norms.shape, np.nan))
    columns = min(norms.shape[1], 200)
    starts = np.linspace(0, norms.shape[1], columns + 1).astype(int)[:-1]
    return np.fmax.reduceat(logs, starts, axis=1), np.maximum.reduceat(kinds, starts, axis=1)
