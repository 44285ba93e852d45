"""The bar chart of the results: what ours takes of each rival's time, with the targets as marks.

Readable on light and on dark pages: nothing behind it, and a style sheet that turns the colour of the words.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks import parts
from benchmarks.harness import Table, Target
from benchmarks.results import verdict, which
from tinygrad_mnist.files import replacing

INK = "#24292f"
ON_DARK = "#d0d7de"
ON_BAR = "#ffffff"
SHADES = ("#1f6f8b", "#7a5195", "#b0413e", "#4d6b2f")
COLOURS = {"met": "#2f9e6e", "missed": "#d9772b"}
INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(INKED, INK),
}
DARK = "".join(f"[style*='{what}: {INK}'] {{ {what}: {ON_DARK} !important }} " for what in ("fill", "stroke"))
MOST = 2.0
"""Longer bars are cut; the figure beside them says how long they are."""
NEAR = 0.2
"""A figure would stand on a mark that is so near to the end of its bar: it goes to the right of it."""

Row = tuple[Table, Target, float]


def draw(tables: Sequence[Table], path: Path) -> None:
    """Draw what was measured of all targets."""
    rows = [
        (table, target, ratio)
        for table in tables
        for target in table.targets
        if (ratio := table.ratio(target.ours, target.against)) is not None
    ]
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.5, 0.48 * len(rows) + 1.2), layout="constrained")
        for place, row in enumerate(rows):
            draw_bar(axes, place, row)
        axes.set_yticks(range(len(rows)), list(map(label, rows)), fontsize=7)
        axes.invert_yaxis()
        axes.axvline(1, color=INK, linewidth=0.6, linestyle=":")
        axes.set(
            xlim=(0, MOST * 1.08),
            xlabel="what ours takes, the rival = 1; the mark is the target: green is met, orange missed",
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure that is readable on light and on dark pages, whole or not at all."""
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    sheet = f"@media (prefers-color-scheme: dark) {{ {DARK}}}"
    svg = drawn.getvalue().replace("</style>", f"{sheet}</style>", 1)
    with replacing(path) as temporary:
        temporary.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", "utf-8")


def draw_parts(tables: Sequence[Table], path: Path) -> None:
    """Draw the parts of each step, one after the other; the whole of the hand-written one is 1."""
    if not tables:
        return
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9.5, 0.9 * len(tables) + 1.4), layout="constrained")
        places: dict[float, str] = {}
        for number, table in enumerate(tables):
            times = {name: timing.median for name, timing in table.timings.items()}
            whole = sum(times[parts.named(part, parts.BY_HAND)] for part in parts.PARTS)
            for row, who in enumerate((parts.OURS, parts.BY_HAND)):
                place = number * 2.4 + row * 0.9
                places[place] = f"{table.title.removeprefix(parts.TITLE + ', ')}\n{who}"
                start = 0.0
                for part, colour in zip(parts.PARTS, SHADES, strict=True):
                    width = times[parts.named(part, who)] / whole
                    axes.barh(place, width, left=start, height=0.7, color=colour)
                    if width > 0.06:
                        text = f"{part}\n{times[parts.named(part, who)] * 1e6:,.0f} µs"
                        axes.text(
                            start + width / 2, place, text, ha="center", va="center", fontsize=7, color=ON_BAR
                        )
                    start += width
                axes.annotate(
                    f"{start:.2f}", (start, place), va="center", xytext=(5, 0), textcoords="offset points"
                )
            edge = times[parts.PRODUCTS] / whole
            axes.plot([edge] * 2, [number * 2.4 - 0.45, number * 2.4 + 1.35], color=INK, linewidth=2)
        axes.set_yticks(list(places), list(places.values()), fontsize=7)
        axes.invert_yaxis()
        axes.set(
            xlabel="forward, loss, backward and update; the hand-written step = 1; the mark: its matrix "
            "products alone",
            xlim=(0, None),
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        save(figure, path)


def label(row: Row) -> str:
    """Return the comparison in two lines."""
    table, target, _ = row
    return f"{table.title}\n{which(table, target)} against {target.against}".replace("\n ", "\n")


def draw_bar(axes: Any, place: int, row: Row) -> None:
    """Draw a bar, the mark of its target, and the number."""
    table, target, ratio = row
    end = min(ratio, MOST)
    axes.barh(place, end, height=0.55, color=COLOURS[verdict(table, target)])
    axes.plot([target.at_most] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=2)
    beside = max(end, target.at_most) if abs(target.at_most - end) < NEAR else end
    offset = {"xytext": (5, 0), "textcoords": "offset points"}
    axes.annotate(f"{ratio:.2f}", (beside, place), va="center", fontweight="bold", **offset)
