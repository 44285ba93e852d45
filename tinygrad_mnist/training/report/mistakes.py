"""The mistakes of a model: the confusion matrix, the most frequent ones, and the accuracy of each class."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.numbers import percent_text
from tinygrad_mnist.training.evaluation import by_class, confusion_matrix
from tinygrad_mnist.training.report.drawn import Drawn
from tinygrad_mnist.training.report.markup import Content, Markup, element, join, table
from tinygrad_mnist.training.report.results import interval_text

MOST_CLASSES: Final = 20
"""Classes up to which a confusion matrix is a table that one can read."""
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
    if len(names) <= MOST_CLASSES:
        matrix: Content = element(
            "div",
            element("div", element("h3", "Counts"), _matrix(counts, names, shares=False)),
            element(
                "div", element("h3", "Shares of each row, in percent"), _matrix(counts, names, shares=True)
            ),
            class_="pair",
        )
    else:
        matrix = element("p", f"The confusion matrix of {len(names)} classes is the picture confusion.png.")
    return join(
        element(
            "p",
            "How often each class (a row) was taken for each class (a column). Right answers are on the "
            "diagonal; what is mistaken most often is framed.",
        ),
        matrix,
        _frequent(counts, names),
        element("h3", "Accuracy a class"),
        _class_table(counts, names),
    )


def _matrix(counts: NDArray[np.int64], names: tuple[str, ...], shares: bool) -> Markup:
    """Return the confusion matrix as a table, mistakes shaded by their share of the row."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    share = counts / totals
    mistakes = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    worst = int(mistakes.max())
    rows = []
    for i, name in enumerate(names):
        cells = [element("th", name, scope="row")]
        for j in range(len(names)):
            count = int(counts[i, j])
            text = "·" if not count else percent_text(share[i, j], 1)[:-2] if shares else f"{count:,}"
            kinds = [
                kind
                for kind, holds in (("right", i == j), ("strong", i != j and count == worst > 0))
                if holds
            ]
            # half of the colour at most, so that ink stays readable on it
            depth = 0 if i == j or not worst else 45 * mistakes[i, j] / worst
            cells.append(
                element(
                    "td",
                    text,
                    class_=" ".join(kinds) or None,
                    style=f"--share:{depth:.0f}%" if depth else None,
                    title=f"{count:,} of class {name} taken for {names[j]}" if count and i != j else None,
                )
            )
        rows.append(element("tr", cells))
    caption = f"Confusion matrix: {'shares of each row in percent' if shares else 'numbers of images'}"
    head = element("tr", element("th", "true", scope="col"), (element("th", n, scope="col") for n in names))
    made = element("table", element("caption", caption), element("thead", head), element("tbody", rows))
    return element("div", made, class_="wide matrix", tabindex=0, role="region", aria_label=caption)


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
    items = (f"{names[i]} for {names[j]} ({mistakes[i, j]:,} times)" for i, j in found)
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
        rows.append(
            (
                one.name,
                percent_text(1 - share) if one.images else "-",
                f"{one.images - one.correct:,} of {one.images:,}",
                bar,
                one.confused_with,
                interval_text(one.correct, one.images) if one.images else "-",
            )
        )
    heading = ("class", "accuracy", "wrong", "share of the wrong", "most often for", "95 % interval")
    return table(heading, rows, "Accuracy of each class on the test part", words=(3, 4))
