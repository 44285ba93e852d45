"""Runs side by side: the test, what differs, the images on which they disagree, and the file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.report.conftest import NASTY
from tests.training.report.test_page import Reader
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Outcome, RunError
from tinygrad_mnist.training.report.comparison import (
    compare_pairs,
    comparison_page,
    differences,
    is_comparison,
    named,
)
from tinygrad_mnist.training.report.statistics import holm, mcnemar
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.report.write import require_comparison_path

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


def test_runs_on_other_images_are_not_tested(made: Made, patterns: Dataset) -> None:
    other = replace(patterns, test_images=255 - patterns.test_images)
    runs = named([made("first"), made("second", dataset=other), made("third", dataset=None)])
    assert compare_pairs(runs) == []
    text = page(runs).text
    assert "different test images" in text
    assert "Without its data no test of third was possible" in text
    assert "none can be said to be better" in text


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
    assert "no difference that chance would not give" in text


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
