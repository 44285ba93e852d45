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
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.report.drawn import paragraphs
from tinygrad_mnist.training.report.examples import confidence_text, shown
from tinygrad_mnist.training.report.listing import value_text
from tinygrad_mnist.training.report.markup import Content, Markup, document, element, image, join, table
from tinygrad_mnist.training.report.page import style_sheet
from tinygrad_mnist.training.report.pictures import Picture
from tinygrad_mnist.training.report.processes import processes
from tinygrad_mnist.training.report.reproduction import extensions
from tinygrad_mnist.training.report.results import counted, interval_text, noun, number, share, time_text
from tinygrad_mnist.training.report.statistics import SIGNIFICANCE, holm, mcnemar
from tinygrad_mnist.training.report.trained_run import TrainedRun

MOST_FOR_ALL_PAIRS: Final = 6
"""Runs up to which every pair is shown; of more, those of each with the best."""
DISAGREEMENTS: Final = 24
"""The number of images that are shown on which runs disagree."""
NAMED, SHORT = 6, 10
"""Runs, and signs of their names, up to which names stand under each image; else numbers do."""


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
            return "no more than chance may give"
        return f"{self.first if self.only_first > self.only_second else self.second} is better"


def named(runs: Sequence[TrainedRun]) -> dict[str, TrainedRun]:
    """Return runs by their names; by their paths, where two have the same name."""
    names = [run.name for run in runs]
    return {
        name if names.count(name) == 1 else str(run.path): run for name, run in zip(names, runs, strict=True)
    }


def compare_pairs(runs: Mapping[str, TrainedRun]) -> list[PairTest]:
    """Return McNemar's test of runs on the same test images: of each pair, or of each with the best.

    The best is known only from these images. So all pairs are tested and corrected for, also those that are
    not returned: else the luckiest of many equal runs would be found to be better far too often.

    Parameters
    ----------
    runs : mapping of str to TrainedRun
        The runs by name; those without data, or alone with theirs, take no part.
    """
    groups = _tested_together(runs)
    pairs = [pair for names in groups for pair in combinations(names, 2)]
    counts = []
    for first, second in pairs:
        one, other = _right(runs[first]), _right(runs[second])
        counts.append((int((one & ~other).sum()), int((other & ~one).sum())))
    p_values = [mcnemar(b, c) for b, c in counts]
    tests = [
        PairTest(*pair, *count, p, corrected)
        for pair, count, p, corrected in zip(pairs, counts, p_values, holm(p_values), strict=True)
    ]
    found: list[PairTest] = []
    for names in groups:
        of_group = [test for test in tests if test.first in names]
        if len(names) > MOST_FOR_ALL_PAIRS:
            best = max(names, key=lambda name: int(_right(runs[name]).sum()))
            of_group = [_turned(test, best) for test in of_group if best in (test.first, test.second)]
        found += of_group
    return found


def _tested_together(runs: Mapping[str, TrainedRun]) -> list[list[str]]:
    """Return the names of runs on the same test images, a list for each."""
    groups: dict[str, list[str]] = {}
    for name, run in runs.items():
        if run.right is not None:
            groups.setdefault(run.hashes["test"], []).append(name)
    return list(groups.values())


def _turned(test: PairTest, first: str) -> PairTest:
    """Return the test with a run of its two as the first."""
    if test.first == first:
        return test
    return PairTest(first, test.first, test.only_second, test.only_first, test.p, test.corrected)


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
    rows = {name: [column.get(name, "-") for column in columns] for name in names}
    for name, other in _SAID_BY.items():
        values, others = rows.get(name, []), rows.get(other, [])
        if len(set(zip(values, others, strict=False))) == len(set(others)):
            rows.pop(name, None)  # the other tells all the runs apart that this one does
    return [(name, values) for name, values in rows.items() if len(set(values)) > 1]


_SAID_BY: Final = {"model": "recipe", "data from": "data"}
"""Values that are left out where another says the same in words that a reader knows better."""


def _settings(run: TrainedRun) -> dict[str, str]:
    """Return all that a run was told, and what it depended on, as text."""
    summary, origin = run.summary, run.checkpoint.origin
    recipe = run.checkpoint.recipe.to_dict()
    recipe.pop("description")
    recipe["norm"] = _norm(run.checkpoint.recipe)  # which two values say, each for another kind of model
    del recipe["batch_norm"]
    settings = {"recipe": recipe.pop("name"), **recipe}
    settings |= {"seed": origin.get("seed"), "data": origin.get("dataset"), "data from": origin.get("data")}
    if longer := extensions(origin):
        settings["made longer after steps"] = [one.steps for one in longer]
    settings |= {f"SHA-256 of the {part} part": digest[:12] for part, digest in run.hashes.items()}
    settings |= {
        name: summary[name] for name in ("threads", "jit", "compiled", "interrupted") if name in summary
    }
    settings["processes"] = 1 if (several := processes(summary)) is None else several.ranks
    versions = summary.get("versions")
    settings |= versions if isinstance(versions, Mapping) else {}
    return {name: value_text(value) for name, value in settings.items()}


def _norm(recipe: Recipe) -> str:
    """Return the kind of norm in a model that a recipe describes."""
    has_norm = "norm" in recipe.layers if recipe.model == "layers" else recipe.batch_norm
    return recipe.norm if has_norm else "none"


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
        ("Curves", join(_smoothing(runs), element("div", curves, class_="pair")) if curves else None),
        ("Images on which they disagree", _disagreements(runs)),
        ("Notices", _missing(runs, missing)),
    ]
    title = f"Comparison of {count_text(len(runs), 'run')}"
    return document(
        title,
        style_sheet(),
        element(
            "header",
            element("h1", title),
            (element("p", sentence, class_="lead") for sentence in _lead(runs, tests)),
        ),
        element(
            "main", (element("section", element("h2", heading), body) for heading, body in sections if body)
        ),
        element("footer", element("p", f"Written by tinygrad_mnist {__version__}.", class_="quiet")),
        kind=KIND,
    )


def _accuracy(run: TrainedRun) -> float:
    found = counted(run)
    return -1.0 if found is None else found[0] / found[1]


def _lead(runs: Mapping[str, TrainedRun], tests: Sequence[PairTest]) -> list[str]:
    """Return a sentence or two on the runs of each set of test images: across sets nothing is compared."""
    groups: dict[str, list[str]] = {}
    unknown = []
    for name, run in runs.items():
        if counted(run) is None:
            unknown.append(name)
        else:
            groups.setdefault(_test_part(run) or f"unknown, of {name}", []).append(name)
    if not groups:
        return ["How well these models recognise unseen images is not known."]
    found = [_lead_of(names, runs, tests, alone=len(groups) == 1) for names in groups.values()]
    if unknown:
        found.append(f"How well {', '.join(unknown)} recognises unseen images is not known.")
    if not tests:
        found.append("No two of them were tested on the same images, so none can be said to be better.")
    return found


def _test_part(run: TrainedRun) -> str | None:
    """Return the SHA-256 of the images that a run was tested on: of those here, else of those then."""
    then = run.summary.get("data_sha256")
    found = run.hashes.get("test") or (then.get("test") if isinstance(then, Mapping) else None)
    return found if isinstance(found, str) else None


def _lead_of(
    names: Sequence[str], runs: Mapping[str, TrainedRun], tests: Sequence[PairTest], *, alone: bool
) -> str:
    """Return the result of runs on the same test images; ``alone`` where there are no others."""
    best, *others = sorted(names, key=lambda name: -_accuracy(runs[name]))
    accuracy = percent_text(_accuracy(runs[best]))
    if not others:
        return f"{best} recognises {accuracy} of its test images; no other run was tested on these."
    if alone:
        sentence = f"{best} recognises most: {accuracy} of its test images."
    else:
        sentence = f"Of {', '.join(names)}, tested on the same images, {best} recognises most: {accuracy}."
    compared = {
        test.second if test.first == best else test.first: test.corrected < SIGNIFICANCE
        for test in tests
        if best in (test.first, test.second)
    }
    if not compared:
        return sentence
    equal = [name for name in others if name in compared and not compared[name]]
    if not equal:
        return f"{sentence} It is better than each run that was tested on the same images (McNemar's test)."
    return (
        f"{sentence} From {', '.join(equal)} it does not differ by more than chance may give "
        f"(McNemar's test, p at least {SIGNIFICANCE:g})."
    )


def _smoothing(runs: Mapping[str, TrainedRun]) -> Markup | None:
    """Return a sentence on losses that were made to differ; None where they were not."""
    found = {name: run.checkpoint.recipe.label_smoothing for name, run in runs.items()}
    if len(set(found.values())) < 2:
        return None
    each = ", ".join(f"{name} {smoothing:g}" for name, smoothing in found.items())
    return element(
        "p",
        f"The losses are those that were trained, with different label smoothing ({each}). So one that is "
        "lower than another is not better for that; the accuracies can be compared.",
    )


def _results(runs: Mapping[str, TrainedRun]) -> Content:
    rows = []
    for name, run in runs.items():
        found, summary = counted(run), run.summary
        seconds, epochs = number(summary, "train_seconds"), number(summary, "epochs")
        validation, speed = share(summary, "validation_accuracy"), number(summary, "images_per_second")
        rows.append(
            (
                name,
                "-" if found is None else percent_text(found[0] / found[1]),
                "-" if found is None else interval_text(*found),
                "-" if found is None else f"{found[1] - found[0]:,} of {found[1]:,}",
                "-" if validation is None else percent_text(validation),
                f"{sum(parameter.size for parameter in run.checkpoint.model.parameters()):,}",
                "-" if epochs is None else f"{round(epochs, 2):g}",
                "-" if seconds is None else time_text(seconds),
                "-" if speed is None else f"{speed:,.0f}",
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
        element("p", "All pairs were tested and corrected for; shown are those with the best.")
        if any(len(names) > MOST_FOR_ALL_PAIRS for names in _tested_together(runs))
        else None,
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
    is_short = len(largest) <= NAMED and all(len(name) <= SHORT for name in largest)
    called = list(largest) if is_short else [str(k + 1) for k in range(len(largest))]
    legend = None if is_short else "; ".join(f"{k + 1}: {name}" for k, name in enumerate(largest))
    items = [_disagreement(largest, called, int(k)) for k in chosen]
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
        element("p", f"The runs have numbers: {legend}.") if legend else None,
        element("ul", items, class_="digits two"),
    )


def _sureness(run: TrainedRun) -> NDArray[np.float32]:
    assert run.probabilities is not None
    sure: NDArray[np.float32] = run.probabilities.max(axis=1)
    return sure


def _disagreement(runs: Mapping[str, TrainedRun], called: Sequence[str], k: int) -> Markup:
    """Return an image with what each run says, which is called by its name or its number."""
    first = next(iter(runs.values()))
    assert first.dataset is not None
    names = first.checkpoint.class_names
    lines = []
    for name, run in zip(called, runs.values(), strict=True):
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
