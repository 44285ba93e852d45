"""Runs side by side: the test, what differs, the images on which they disagree, and the file."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tests.training.report.conftest import NASTY
from tests.training.report.test_page import Reader
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Outcome, RunError
from tinygrad_mnist.training.recipe.recipes import find_recipe
from tinygrad_mnist.training.report.comparison import (
    compare_pairs,
    comparison_page,
    differences,
    is_comparison,
    named,
)
from tinygrad_mnist.training.report.pictures import Picture
from tinygrad_mnist.training.report.statistics import holm, mcnemar
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.report.write import _squeezed, require_comparison_path

Made = Callable[..., TrainedRun]


def answers(dataset: Dataset, *wrong: int) -> np.ndarray:
    """Probabilities of a model that is wrong on some images, and sure of all."""
    said = dataset.test_labels.copy()
    said[list(wrong)] = (said[list(wrong)] + 1) % 4
    return np.where(said[:, None] == np.arange(4), 0.97, 0.01).astype(np.float32)


@pytest.fixture
def pair(made: Made, patterns: Dataset) -> dict[str, TrainedRun]:
    """Two runs: 1 image that the first alone recognises, 8 that the second alone does, 2 that none does."""
    first = made("first", given=answers(patterns, *range(8), 20, 21))
    second = made("second", given=answers(patterns, 20, 21, 30))
    return named([first, second])


def page(runs: dict[str, TrainedRun]) -> Reader:
    return Reader(comparison_page(runs, []))


def test_a_pair_is_tested_on_the_images_that_one_alone_recognises(pair: dict[str, TrainedRun]) -> None:
    (found,) = compare_pairs(pair)
    assert (found.first, found.second, found.only_first, found.only_second) == ("first", "second", 1, 8)
    assert found.p == found.corrected == mcnemar(1, 8)
    assert found.verdict == "second is better"


def test_several_tests_are_corrected(made: Made, patterns: Dataset) -> None:
    wrong = [range(9), range(7, 9), range(8, 9)]
    runs = named([made(f"r{k}", given=answers(patterns, *some)) for k, some in enumerate(wrong)])
    found = compare_pairs(runs)
    assert [(test.first, test.second) for test in found] == [("r0", "r1"), ("r0", "r2"), ("r1", "r2")]
    assert [test.p for test in found] == [mcnemar(0, 7), mcnemar(0, 8), mcnemar(0, 1)]
    assert [test.corrected for test in found] == holm([test.p for test in found])


def test_many_runs_are_tested_against_the_best(made: Made, patterns: Dataset) -> None:
    runs = named([made(f"r{k}", given=answers(patterns, *range(k))) for k in (5, 4, 3, 0, 2, 1, 6)])
    found = compare_pairs(runs)
    assert len(found) == 6
    assert {test.first for test in found} == {"r0"}
    assert "shown are those with the best" in page(runs).text


def test_tests_with_the_best_are_corrected_for_all_pairs_among_which_it_was_found(
    made: Made, patterns: Dataset
) -> None:
    wrong = {f"r{k}": set(range(2 * k)) for k in (3, 4, 0, 1, 2, 5, 6)}
    runs = named([made(name, given=answers(patterns, *some)) for name, some in wrong.items()])
    p_values = {
        frozenset(pair): mcnemar(len(wrong[pair[1]] - wrong[pair[0]]), len(wrong[pair[0]] - wrong[pair[1]]))
        for pair in combinations(wrong, 2)
    }
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    for test in compare_pairs(runs):
        pair = frozenset((test.first, test.second))
        assert (test.p, test.corrected) == (p_values[pair], corrected[pair])
        assert (test.only_first, test.only_second) == (len(wrong[test.second]), 0)


def test_runs_on_other_images_are_not_tested(made: Made, patterns: Dataset) -> None:
    other = replace(patterns, test_images=255 - patterns.test_images)
    runs = named([made("first"), made("second", dataset=other), made("third", dataset=None)])
    assert compare_pairs(runs) == []
    text = page(runs).text
    assert "different test images" in text
    assert "Without its data no test of third was possible" in text
    assert "none can be said to be better" in text


def lead(runs: dict[str, TrainedRun]) -> list[str]:
    return re.findall(r'<p class="lead">(.*?)</p>', comparison_page(runs, []))


def test_the_result_compares_nothing_across_test_images(made: Made, patterns: Dataset) -> None:
    other = replace(patterns, test_images=255 - patterns.test_images)
    runs = named(
        [
            made("a", given=answers(patterns, *range(9))),
            made("b", given=answers(patterns)),
            made("c", dataset=other, given=answers(patterns, 1, 2, 3)),
            made("d", dataset=None, summary={}),
        ]
    )
    first, second, third = lead(runs)
    assert first.startswith("Of a, b, tested on the same images, b recognises most: 100.00 %.")
    assert "It is better" in first
    assert second == "c recognises 95.00 % of its test images; no other run was tested on these."
    assert third == "How well d recognises unseen images is not known."


def test_runs_whose_data_is_gone_are_grouped_by_the_hash_of_the_training(
    made: Made, outcome: Outcome
) -> None:
    gone = {**outcome.summary, "data_sha256": {"train": "1", "test": "2"}}
    runs = named([made(name, dataset=None, summary=gone) for name in "ab"] + [made("c")])
    assert [sentence.split(" recognises")[0] for sentence in lead(runs)[:2]] == [
        "Of a, b, tested on the same images, a",
        "c",
    ]


def test_what_two_values_say_is_listed_once(made: Made, outcome: Outcome) -> None:
    checkpoint = outcome.checkpoint
    layers = find_recipe("cnn-digits")
    other = replace(
        checkpoint,
        recipe=layers,
        origin={**checkpoint.origin, "dataset": "x.npz", "data": "/some/where/x.npz"},
    )
    found = dict(differences(named([made("first"), made("second", checkpoint=other)])))
    assert found["recipe"][1] == "cnn-digits"
    assert found["data"][1] == "x.npz"
    assert not {"model", "data from", "batch_norm"} & set(found)


def test_data_of_one_name_from_two_places_is_told_apart(made: Made, outcome: Outcome) -> None:
    checkpoint = outcome.checkpoint
    other = replace(checkpoint, origin={**checkpoint.origin, "data": "/some/where/else"})
    assert list(dict(differences(named([made("a"), made("b", checkpoint=other)])))) == ["data from"]


def test_losses_with_different_label_smoothing_are_not_compared(made: Made, outcome: Outcome) -> None:
    checkpoint = outcome.checkpoint
    other = replace(checkpoint, recipe=checkpoint.recipe.changed(label_smoothing=0.3))
    curve = [Picture("loss", "<svg></svg>")]
    alike, apart = [made("a"), made("b")], [made("c"), made("d", checkpoint=other)]
    assert "label smoothing" not in Reader(comparison_page(named(alike), curve)).text
    assert "d 0.3). So one that is lower" in Reader(comparison_page(named(apart), curve)).text


def test_runs_of_very_different_lengths_have_the_share_of_their_training_as_time() -> None:
    rows = {"short": [{"epoch": 1.0}, {"epoch": 2.0}], "long": [{"epoch": 15.0}, {"epoch": 60.0}]}
    assert _squeezed({name: [dict(row) for row in found] for name, found in rows.items()}) is not None
    _squeezed(rows)
    assert [[row["epoch"] for row in found] for found in rows.values()] == [[50.0, 100.0], [25.0, 100.0]]
    assert _squeezed({"a": [{"epoch": 2.0}], "b": [{"epoch": 6.0}]}) is None
    assert _squeezed({"a": [{"step": 2}], "b": [{"epoch": 6.0}]}) is None


def test_long_names_are_numbers_under_the_images(made: Made, patterns: Dataset) -> None:
    long = "a run whose name has many signs"
    runs = named([made(long, given=answers(patterns, 1, 2)), made("b", given=answers(patterns, 3))])
    text = page(runs).text
    assert f"The runs have numbers: 1: {long}; 2: b." in text
    images = re.findall(r"<small>([^<]*)</small></span>", comparison_page(runs, []))
    assert images == ["1", "2"] * 3


def test_what_differs_is_all_that_is_listed(made: Made, outcome: Outcome) -> None:
    checkpoint = outcome.checkpoint
    other = replace(
        checkpoint,
        recipe=checkpoint.recipe.changed(lr=0.5, hidden=(8, 8)),
        origin={**checkpoint.origin, "seed": 4},
    )
    summary = {**outcome.summary, "versions": {**outcome.summary["versions"], "numpy": "1.0"}}
    runs = named([made("first"), made("second", checkpoint=other, summary=summary)])
    found = dict(differences(runs))
    assert set(found) == {"lr", "hidden", "seed", "numpy"}
    assert found["hidden"] == ["8", "8,8"]
    assert found["seed"] == ["3", "4"]


def test_the_number_of_processes_is_a_difference(made: Made, outcome: Outcome) -> None:
    several = {"ranks": 4, "hosts": {"a": 4}, "waiting_share": 0.1, "lost": []}
    one, of_four = made("one"), made("four", summary={**outcome.summary, "processes": several})
    before = made("before", summary={k: v for k, v in outcome.summary.items() if k != "processes"})
    assert dict(differences(named([one, of_four]))) == {"processes": ["1", "4"]}
    assert differences(named([one, before])) == []


def test_equal_runs_differ_in_nothing(made: Made) -> None:
    runs = named([made("first"), made("second")])
    assert differences(runs) == []
    text = page(runs).text
    assert "Nothing: they have the same recipe" in text
    assert "they are right and wrong on the same images" in text


def test_the_page_says_which_is_better_and_shows_where_they_disagree(pair: dict[str, TrainedRun]) -> None:
    found = page(pair)
    assert "second recognises most" in found.text
    assert "It is better than each run" in found.text
    assert "9 pictures" in found.text or "9 digits" in found.text
    assert found.tags.count("img") == 9


def test_a_difference_that_chance_gives_is_no_finding(made: Made, patterns: Dataset) -> None:
    runs = named([made("first", given=answers(patterns, 1, 2)), made("second", given=answers(patterns, 3))])
    text = page(runs).text
    assert "From first it does not differ by more than chance may give" in text
    assert "no more than chance may give" in text


def test_runs_of_the_same_name_have_their_paths(made: Made, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    runs = named([made("same"), made("a/same")])
    assert list(runs) == [str(tmp_path / "same"), str(tmp_path / "a" / "same")]


def test_names_never_become_markup(made: Made) -> None:
    runs = named([made("<b>x", names=NASTY), made("y", names=NASTY)])
    found = page(runs)
    assert "script" not in found.tags
    assert "<b>x" in found.text


def test_only_a_comparison_is_replaced(pair: dict[str, TrainedRun], tmp_path: Path) -> None:
    mine, old = tmp_path / "mine.html", tmp_path / "old.html"
    mine.write_text("<p>precious</p>")
    old.write_text(comparison_page(pair, []))
    assert is_comparison(old)
    require_comparison_path(old)
    require_comparison_path(tmp_path / "new.html")
    with pytest.raises(RunError, match="no comparison of runs"):
        require_comparison_path(mine)
