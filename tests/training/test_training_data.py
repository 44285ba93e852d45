"""Which data goes with a recipe."""

from pathlib import Path
from typing import Any

import pytest

from tinygrad_mnist.data import DataError, Dataset, load, load_digits
from tinygrad_mnist.training import DATASETS, RECIPES, DatasetChoice, choose
from tinygrad_mnist.training.training_data import data_title


def test_digits_take_the_recipe_made_for_them() -> None:
    notes: list[str] = []
    chosen = choose(data="digits", changes={"epochs": 2}, notify=notes.append)
    assert (chosen.recipe, chosen.source) == (RECIPES["cnn-digits"].changed(epochs=2), "digits")
    assert len(notes) == 1
    assert "'cnn-digits' takes the place of 'cnn'" in notes[0]


def test_the_old_name_of_a_recipe_is_followed() -> None:
    assert choose("default", data="digits").recipe == RECIPES["digits"]


def test_the_recipe_digits_brings_its_data() -> None:
    notes: list[str] = []
    chosen = choose("digits", notify=notes.append)
    assert chosen.dataset.name == "digits"
    assert notes == []


def test_another_recipe_is_followed_on_digits() -> None:
    assert choose("three-layer", data="digits").recipe == RECIPES["three-layer"]


def test_where_mnist_cannot_be_had_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(notify: Any) -> Dataset:
        notify("no MNIST")
        return load_digits()

    monkeypatch.setitem(DATASETS, "auto", DatasetChoice(load, "whatever is there"))
    notes: list[str] = []
    chosen = choose(notify=notes.append)
    assert (chosen.recipe, chosen.source) == (RECIPES["cnn-digits"], "digits")
    assert notes[0] == "no MNIST"


def test_a_directory_is_remembered_by_its_full_path(
    mnist_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mnist_directory.parent)
    assert choose(data=mnist_directory.name).source == str(mnist_directory.resolve())


def test_a_data_set_of_ones_own_is_remembered_by_its_name(
    patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "mine", DatasetChoice(lambda notify: patterns, "my patterns"))
    chosen = choose("digits", data="mine")
    assert (chosen.dataset, chosen.source) == (patterns, "mine")


def test_changes_to_a_recipe_that_is_given_hold_for_the_one_that_takes_its_place() -> None:
    changes = {"batch_size": 128}  # that of the recipe `mlp`, and not of `digits`
    chosen = choose(RECIPES["mlp"].changed(**changes), changes, data="digits")
    assert chosen.recipe == RECIPES["digits"].changed(batch_size=128)


def test_the_names_in_the_table_are_those_that_data_knows() -> None:
    with pytest.raises(DataError, match=f"choose among {', '.join(DATASETS)} and a directory"):
        load("no such data")


def test_the_name_of_a_directory_is_printable_in_a_sentence() -> None:
    assert data_title("a\x1b[31m\udcffé", "/data") == r"a\x1b[31m\udcffé"
