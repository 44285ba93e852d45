"""The mistakes of a model: the confusion matrix, the most frequent ones, and the accuracy of each class."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.numbers import count_text, percent_text
from tinygrad_mnist.training.evaluation import by_class, confusion_matrix
from tinygrad_mnist.training.report.drawn import Drawn, figure
from tinygrad_mnist.training.report.markup import Content, Markup, element, join, table
from tinygrad_mnist.training.report.results import interval_text

MOST_CLASSES: Final = 20
"""Classes up to which a confusion matrix is a table that one can read; of more it is a picture."""
SIDE_BY_SIDE: Final = 12
"""Classes up to which counts and shares stand beside each other on a wide screen."""
LONGEST_NAME: Final = 14
"""Signs of a name before a row that have room; the whole name is told where the pointer is."""
LONGEST_LEVEL: Final = 4
"""Signs of the longest name up to which the headings of columns are not turned."""
MOST_ROWS: Final = 100
"""Classes up to which all are listed with their accuracies; of more, those with the most errors."""
MOST_MISTAKES: Final = 5
"""The most frequent mistakes, which are listed below it."""


def mistakes(drawn: Drawn) -> Content:
    """Return the confusion matrix and the accuracy of each class; None without data."""
    run = drawn.run
    if run.dataset is None or run.predicted is None:
        return None
    names = run.checkpoint.class_names
    counts = confusion_matrix(run.dataset.test_labels, run.predicted, len(names))
    return join(
        element(
            "p",
            "How often each class (a row) was taken for each class (a column). Right answers are on the "
            "diagonal. The more frequent a mistake is, the stronger is its colour"
            + ("; the largest of each table is framed." if len(names) <= MOST_CLASSES else "."),
        ),
        _matrices(counts, names) if len(names) <= MOST_CLASSES else _picture(drawn),
        _frequent(counts, names),
        element("h3", "Accuracy a class"),
        _class_table(counts, names),
    )


def _matrices(counts: NDArray[np.int64], names: tuple[str, ...]) -> Markup:
    """Return the confusion matrix in numbers of images and in shares."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # a thousand without its comma, and 100 without its decimal, are as narrow as a telephone needs them
    texts = [[f"{n}" if n < 10_000 else f"{n:,}" for n in row] for row in counts.tolist()]
    percents = [
        ["100" if share == 1 else f"{min(100 * share, 99.9):.1f}" for share in row] for row in shares.tolist()
    ]
    return element(
        "div",
        element("div", element("h3", "Counts"), _matrix(counts, counts, texts, names, "numbers of images")),
        element(
            "div",
            element("h3", "Shares of each row, in percent"),
            _matrix(counts, shares, percents, names, "shares of each row in percent"),
        ),
        class_="pair" if len(names) <= SIDE_BY_SIDE else None,
    )


def _picture(drawn: Drawn) -> Content:
    """Return the confusion matrix of many classes, as it was drawn."""
    return figure(drawn, "confusion") or element("p", "A confusion matrix of so many classes is a picture.")


def _matrix(
    counts: NDArray[np.int64],
    values: NDArray[np.generic],
    texts: list[list[str]],
    names: tuple[str, ...],
    what: str,
) -> Markup:
    """Return a confusion matrix as a table, mistakes shaded by the values that it shows."""
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, values).astype(float)
    worst = float(mistakes.max())
    rows = []
    for i, name in enumerate(names):
        cells = [element("th", name, scope="row", title=_whole(name, LONGEST_NAME))]
        for j in range(len(names)):
            count = int(counts[i, j])
            kinds = [
                kind
                for kind, holds in (("right", i == j), ("strong", i != j and mistakes[i, j] == worst > 0))
                if holds
            ]
            # half of the colour at most, so that ink stays readable on it
            depth = 45 * mistakes[i, j] / worst if worst else 0
            cells.append(
                element(
                    "td",
                    texts[i][j] if count else "·",
                    class_=" ".join(kinds) or None,
                    style=f"--share:{depth:.0f}%" if depth else None,
                    title=f"{count:,} of class {name} taken for {names[j]}" if count and i != j else None,
                )
            )
        rows.append(element("tr", cells))
    caption = f"Confusion matrix: {what}"
    longest = max(map(len, names))
    turned = longest > LONGEST_LEVEL
    headings = (
        element("th", element("span", name), scope="col", title=_whole(name, LONGEST_LEVEL)) for name in names
    )
    head = element("tr", element("th", "true", scope="col"), headings)
    # All columns are as wide as the longest number of any needs, so that the diagonal is straight.
    digits = max(_digits(text) for row in texts for text in row)
    room = f"--classes:{len(names)};--digits:{digits:g};--name:{min(max(longest, 4), LONGEST_NAME)}"
    made = element(
        "table",
        element("caption", caption),
        element("thead", head),
        element("tbody", rows),
        class_="turned" if turned else None,
        style=room,
    )
    return element("div", made, class_="wide matrix", tabindex=0, role="region", aria_label=caption)


def _whole(name: str, room: int) -> str | None:
    """Return a name that may not be seen whole, for the pointer to tell."""
    return name if len(name) > room else None


def _digits(text: str) -> float:
    """Return the width of a number in digits."""
    return len(text) - 0.5 * (text.count(",") + text.count("."))


def _frequent(counts: NDArray[np.int64], names: tuple[str, ...]) -> Markup:
    """Return the most frequent mistakes as a list."""
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_MISTAKES]
    found = [
        (int(i), int(j))
        for i, j in zip(*np.unravel_index(order, counts.shape), strict=True)
        if mistakes[i, j]
    ]
    if not found:
        return element("p", "There are no mistakes.")
    items = (f"{names[i]} for {names[j]} ({count_text(int(mistakes[i, j]), 'time')})" for i, j in found)
    return element("p", "Taken most often: ", "; ".join(items), ".")


def _class_table(counts: NDArray[np.int64], names: tuple[str, ...]) -> Markup:
    found = list(by_class(counts, names))
    if len(found) > MOST_ROWS:
        found = sorted(found, key=lambda one: one.correct - one.images)[:MOST_ROWS]
    wrong = [1 - one.correct / one.images if one.images else 0.0 for one in found]
    worst = max(wrong)
    rows = []
    for one, share in zip(found, wrong, strict=True):
        length = 100 * share / worst if worst else 0.0
        bar = element("span", element("i", style=f"width:{length:.1f}%"), class_="bar", aria_hidden="true")
        interval = element("small", interval_text(one.correct, one.images)) if one.images else None
        rows.append(
            (
                one.name,
                join(percent_text(1 - share) if one.images else "-", interval),
                f"{one.images - one.correct:,} of {one.images:,}",
                bar,
                one.confused_with,
            )
        )
    heading = (
        *("class", join("accuracy", element("small", "95 % interval")), "wrong"),
        *("error rate, the worst is full", "most often for"),
    )
    made = table(heading, rows, "Accuracy of each class on the test part", words=(3, 4))
    return element("div", made, class_="classes")
