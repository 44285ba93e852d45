"""Runs side by side: curves over each other, what differs in their recipes, and which is better by a test."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist._version import __version__
from tinygrad_mnist.numbers import count_text, percent_text
from tinygrad_mnist.training.report.drawn import paragraphs
from tinygrad_mnist.training.report.examples import confidence_text, shown
from tinygrad_mnist.training.report.listing import value_text
from tinygrad_mnist.training.report.markup import Content, Markup, document, element, image, join, table
from tinygrad_mnist.training.report.page import style_sheet
from tinygrad_mnist.training.report.pictures import Picture
from tinygrad_mnist.training.report.reproduction import extensions
from tinygrad_mnist.training.report.results import counted, interval_text, noun, time_text
from tinygrad_mnist.training.report.statistics import SIGNIFICANCE, holm, mcnemar
from tinygrad_mnist.training.report.trained_run import TrainedRun

MOST_FOR_ALL_PAIRS: Final = 6
"""Runs up to which every pair is tested; of more, each is tested against the best."""
DISAGREEMENTS: Final = 24
"""The number of images that are shown on which runs disagree."""


class PairTest(NamedTuple):
    """McNemar's test of two runs on the same test images.

    ``only_first`` and ``only_second`` count the images that one of them alone recognises; ``p`` is the
    p-value, and ``corrected`` the same, corrected for the number of tests.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p: float
    corrected: float

    @property
    def verdict(self) -> str:
        """The finding, in words."""
        if self.corrected >= SIGNIFICANCE:
            return "no difference that chance would not give"
        return f"{self.first if self.only_first > self.only_second else self.second} is better"


def named(runs: Sequence[TrainedRun]) -> dict[str, TrainedRun]:
    """Return runs by their names; by their paths, where two have the same name."""
    names = [run.name for run in runs]
    return {
        name if names.count(name) == 1 else str(run.path): run for name, run in zip(names, runs, strict=True)
    }


def compare_pairs(runs: Mapping[str, TrainedRun]) -> list[PairTest]:
    """Return McNemar's test of runs on the same test images: of each pair, or of each with the best.

    Parameters
    ----------
    runs : mapping of str to TrainedRun
        The runs by name; those without data, or alone with theirs, take no part.
    """
    groups: dict[str, list[str]] = {}
    for name, run in runs.items():
        if run.right is not None:
            groups.setdefault(run.hashes["test"], []).append(name)
    pairs: list[tuple[str, str]] = []
    for names in groups.values():
        if len(names) <= MOST_FOR_ALL_PAIRS:
            pairs += combinations(names, 2)
        else:
            best = max(names, key=lambda name: int(_right(runs[name]).sum()))
            pairs += [(best, name) for name in names if name != best]
    counts = []
    for first, second in pairs:
        one, other = _right(runs[first]), _right(runs[second])
        counts.append((int((one & ~other).sum()), int((other & ~one).sum())))
    p_values = [mcnemar(b, c) for b, c in counts]
    return [
        PairTest(*pair, *count, p, corrected)
        for pair, count, p, corrected in zip(pairs, counts, p_values, holm(p_values), strict=True)
    ]


def _right(run: TrainedRun) -> NDArray[np.bool_]:
    assert run.right is not None
    return run.right


def differences(runs: Mapping[str, TrainedRun]) -> list[tuple[str, list[str]]]:
    """Return what differs between runs: a name, and the value of each run.

    Examples
    --------
    >>> differences({})
    []
    """
    columns = [_settings(run) for run in runs.values()]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, [column.get(name, "-") for column in columns]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _settings(run: TrainedRun) -> dict[str, str]:
    """Return all that a run was told, and what it depended on, as text."""
    summary, origin = run.summary, run.checkpoint.origin
    recipe = run.checkpoint.recipe.to_dict()
    recipe.pop("description")
    settings = {"recipe": recipe.pop("name"), **recipe}
    settings |= {"seed": origin.get("seed"), "data": origin.get("dataset"), "data from": origin.get("data")}
    if longer := extensions(origin):
        settings["made longer after steps"] = [one.steps for one in longer]
    settings |= {f"SHA-256 of the {part} part": digest[:12] for part, digest in run.hashes.items()}
    settings |= {
        name: summary[name] for name in ("threads", "jit", "compiled", "interrupted") if name in summary
    }
    versions = summary.get("versions")
    settings |= versions if isinstance(versions, Mapping) else {}
    return {name: value_text(value) for name, value in settings.items()}


# ---- the page ---------------------------------------------------------------------------------------------

KIND: Final = "comparison"


def comparison_page(
    runs: Mapping[str, TrainedRun], pictures: Iterable[Picture], missing: Iterable[str] = ()
) -> str:
    """Return the page that compares runs.

    Parameters
    ----------
    runs : mapping of str to TrainedRun
        Two or more, by name.
    pictures : iterable of Picture
        Their curves over each other.
    missing : iterable of str
        Sentences on what could not be drawn.
    """
    tests = compare_pairs(runs)
    curves = [element("figure", element("div", Markup(one.svg), class_="picture")) for one in pictures]
    sections: list[tuple[str, Content]] = [
        ("Results", _results(runs)),
        ("Is one better?", _tests(runs, tests)),
        ("What differs", _differences(runs)),
        ("Curves", element("div", curves, class_="pair") if curves else None),
        ("Images on which they disagree", _disagreements(runs)),
        ("Notices", _missing(runs, missing)),
    ]
    title = f"Comparison of {count_text(len(runs), 'run')}"
    return document(
        title,
        style_sheet(),
        element("header", element("h1", title), element("p", _lead(runs, tests), class_="lead")),
        element(
            "main", (element("section", element("h2", heading), body) for heading, body in sections if body)
        ),
        element("footer", element("p", f"Written by tinygrad_mnist {__version__}.", class_="quiet")),
        kind=KIND,
    )


def _accuracy(run: TrainedRun) -> float:
    found = counted(run)
    return -1.0 if found is None else found[0] / found[1]


def _lead(runs: Mapping[str, TrainedRun], tests: Sequence[PairTest]) -> str:
    """Return the result in a sentence or two."""
    best, *others = sorted(runs, key=lambda name: -_accuracy(runs[name]))
    if _accuracy(runs[best]) < 0:
        return "How well these models recognise unseen images is not known."
    sentence = f"{best} recognises most: {percent_text(_accuracy(runs[best]))} of its test images."
    beaten = {
        test.second if test.first == best else test.first
        for test in tests
        if best in (test.first, test.second) and test.corrected < SIGNIFICANCE
    }
    compared = {
        name for test in tests if best in (test.first, test.second) for name in (test.first, test.second)
    }
    equal = [name for name in others if name in compared and name not in beaten]
    if not tests:
        return f"{sentence} No two of them were tested on the same images, so none can be said to be better."
    if not equal:
        return f"{sentence} It is better than each run that was tested on the same images (McNemar's test)."
    return (
        f"{sentence} From {', '.join(equal)} it does not differ by more than chance may give "
        f"(McNemar's test, p at least {SIGNIFICANCE:g})."
    )


def _results(runs: Mapping[str, TrainedRun]) -> Content:
    rows = []
    for name, run in runs.items():
        found, summary = counted(run), run.summary
        seconds, epochs = summary.get("train_seconds"), summary.get("epochs")
        validation, speed = summary.get("validation_accuracy"), summary.get("images_per_second")
        rows.append(
            (
                name,
                "-" if found is None else percent_text(found[0] / found[1]),
                "-" if found is None else interval_text(*found),
                "-" if found is None else f"{found[1] - found[0]:,} of {found[1]:,}",
                percent_text(validation) if isinstance(validation, float) else "-",
                f"{sum(parameter.size for parameter in run.checkpoint.model.parameters()):,}",
                f"{round(epochs, 2):g}" if isinstance(epochs, int | float) else "-",
                time_text(seconds) if isinstance(seconds, float) else "-",
                f"{speed:,.0f}" if isinstance(speed, float) else "-",
            )
        )
    heading = (
        *("run", "test accuracy", "95 % interval", "wrong", "validation", "parameters", "epochs"),
        *("training time", "images a second"),
    )
    return table(heading, rows, "Accuracies and times of the runs")


def _tests(runs: Mapping[str, TrainedRun], tests: Sequence[PairTest]) -> Content:
    apart = sorted({run.hashes["test"] for run in runs.values() if run.hashes})
    notes = []
    without = [name for name, run in runs.items() if run.right is None]
    if without:
        notes.append(f"Without its data no test of {', '.join(without)} was possible.")
    if len(apart) > 1:
        notes.append(
            "The runs have different test images. Runs are tested only against those with the same images: "
            "accuracies on different images say little about which model is better."
        )
    if not tests:
        return join(paragraphs(notes), element("p", "There was no pair to test."))
    rows = [
        (
            f"{test.first} and {test.second}",
            f"{test.only_first:,}",
            f"{test.only_second:,}",
            p_text(test.p),
            p_text(test.corrected),
            test.verdict,
        )
        for test in tests
    ]
    heading = ("runs", "only the first right", "only the second right", "p", "p, corrected", "finding")
    return join(
        element(
            "p",
            "McNemar's test looks at the images that one of two models alone recognises. If neither were "
            "better, each would have about half of them. p is the probability that chance splits them at "
            "least as unevenly: the exact binomial test, two-sided, corrected for the number of tests by "
            f"Holm's method. Below {SIGNIFICANCE:g} one model is better on images of this kind. It says "
            "nothing about what another seed of the same recipe would give.",
        ),
        paragraphs(notes),
        table(heading, rows, "McNemar's test of pairs of runs", words=(5,)),
    )


def p_text(p: float) -> str:
    """Return a p-value.

    Examples
    --------
    >>> p_text(0.0531), p_text(0.00001), p_text(1.0)
    ('0.053', '< 0.0001', '1')
    """
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def _differences(runs: Mapping[str, TrainedRun]) -> Content:
    rows = differences(runs)
    if not rows:
        return element("p", "Nothing: they have the same recipe, seed, data and versions.")
    cells = [(name, *values) for name, values in rows]
    return table(
        ("value", *runs), cells, "Values that differ between the runs", words=range(1, len(runs) + 1)
    )


def _disagreements(runs: Mapping[str, TrainedRun]) -> Content:
    """Show the images that some of the runs on the same images recognise, and others do not."""
    groups: dict[str, dict[str, TrainedRun]] = {}
    for name, run in runs.items():
        if run.right is not None:
            groups.setdefault(run.hashes["test"], {})[name] = run
    largest = max(groups.values(), key=len, default={})
    if len(largest) < 2:
        return None
    right = np.array([_right(run) for run in largest.values()])
    places = np.flatnonzero(right.any(axis=0) & ~right.all(axis=0))
    if not len(places):
        return element("p", "There are none: they are right and wrong on the same images.")
    # first those on which those that are wrong are the surest
    sure = np.array([_sureness(run) for run in largest.values()])
    order = np.argsort(-np.where(right, 0.0, sure)[:, places].max(axis=0), kind="stable")
    chosen = places[order][:DISAGREEMENTS]
    items = [_disagreement(largest, int(k)) for k in chosen]
    first = next(iter(largest.values()))
    which = (
        f"{len(chosen)} of them, those with the most confident mistakes"
        if len(chosen) < len(places)
        else "all"
    )
    return join(
        element(
            "p", f"{len(places):,} {noun(first)}s are recognised by some and not by others; shown: {which}."
        ),
        element("ul", items, class_="digits two"),
    )


def _sureness(run: TrainedRun) -> NDArray[np.float32]:
    assert run.probabilities is not None
    sure: NDArray[np.float32] = run.probabilities.max(axis=1)
    return sure


def _disagreement(runs: Mapping[str, TrainedRun], k: int) -> Markup:
    """Return an image with what each run says."""
    first = next(iter(runs.values()))
    assert first.dataset is not None
    names = first.checkpoint.class_names
    lines = []
    for name, run in runs.items():
        assert run.predicted is not None
        said, is_right = int(run.predicted[k]), bool(_right(run)[k])
        sure = confidence_text(float(_sureness(run)[k]))
        lines.append(
            element(
                "span",
                element("b", "✓ " if is_right else "✗ ", names[said]),
                f" · {sure} ",
                element("small", name),
            )
        )
    true = names[int(first.dataset.test_labels[k])]
    picture = image(shown(first, first.dataset.test_images[k]), f"test image {k}, class {true}")
    return element("li", picture, element("span", "is ", element("b", true)), lines)


def _missing(runs: Mapping[str, TrainedRun], missing: Iterable[str]) -> Content:
    sentences = [f"{name}: {sentence}" for name, run in runs.items() for sentence in run.missing]
    sentences += missing
    return element("ul", (element("li", sentence) for sentence in sentences)) if sentences else None


def is_comparison(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a page that `comparison_page` made; False if there is none."""
    try:
        with Path(path).open("rb") as file:
            return f'content="tinygrad_mnist {KIND}"'.encode() in file.read(1000)
    except OSError:
        return False


def curve_rows(run: TrainedRun) -> list[dict[str, Any]]:
    """Return the evaluations of a run as rows."""
    return [record.to_dict() for record in run.history.records]
