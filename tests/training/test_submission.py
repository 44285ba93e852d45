"""The table of predictions: its lines, its counts, and what it does not overwrite."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.training import Checkpoint, CheckpointError, Outcome, RunError, write_submission
from tinygrad_mnist.training.prediction import predict_by_checkpoint


@pytest.fixture
def checkpoint(outcome: Outcome) -> Checkpoint:
    """A model of four patterns, whose classes have names that a table has to quote."""
    return replace(outcome.checkpoint, class_names=("bag", 'a "b"', "c, d", "e"))


@pytest.fixture
def pictures() -> np.ndarray:
    """Pictures of that model's size."""
    return np.random.default_rng(0).integers(0, 256, (30, 5, 5)).astype(np.uint8)


def test_each_line_has_the_number_and_the_class_of_a_picture(
    checkpoint: Checkpoint, pictures: np.ndarray
) -> None:
    counts = write_submission("table.csv", checkpoint, pictures)
    with open("table.csv", encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)
    predicted = predict_by_checkpoint(checkpoint, pictures).argmax(axis=1)
    names = [checkpoint.class_names[index] for index in predicted]
    assert heading == ["ImageId", "Label"]
    assert rows == [[str(number), name] for number, name in enumerate(names, start=1)]
    assert counts == {name: names.count(name) for name in set(names)}


def test_shifts_are_averaged_where_that_is_asked_for(checkpoint: Checkpoint, pictures: np.ndarray) -> None:
    counts = write_submission("table.csv", checkpoint, pictures, tta=True)
    predicted = predict_by_checkpoint(checkpoint, pictures, tta=True).argmax(axis=1)
    assert counts == {checkpoint.class_names[i]: np.count_nonzero(predicted == i) for i in set(predicted)}


def test_pictures_of_another_size_leave_what_is_there(checkpoint: Checkpoint) -> None:
    Path("table.csv").write_text("ImageId,Label\n")
    with pytest.raises(CheckpointError, match="takes images of 5 x 5 pixels, but these have 5 x 6"):
        write_submission("table.csv", checkpoint, np.zeros((2, 5, 6), np.uint8))
    assert Path("table.csv").read_text() == "ImageId,Label\n"


@pytest.mark.parametrize(
    "old", ["", "ImageId,Label\n1,bag\n", "id,label\n", "\ufefffile,label\r\na.png,e\r\n"]
)
def test_an_older_table_is_replaced(checkpoint: Checkpoint, pictures: np.ndarray, old: str) -> None:
    Path("table.csv").write_text(old, "utf-8")
    write_submission("table.csv", checkpoint, pictures)
    assert Path("table.csv").read_text("utf-8").count("\n") == 31


@pytest.mark.parametrize(
    "old", ["label,pixel0\n", "notes", "ImageId,Label,pixel0\n", "a,label\n", "\n", "\0PK"]
)
def test_a_file_that_is_no_table_stays(checkpoint: Checkpoint, pictures: np.ndarray, old: str) -> None:
    Path("table.csv").write_text(old)
    with pytest.raises(RunError, match=r"table\.csv is there, and is no table of predictions; name another"):
        write_submission("table.csv", checkpoint, pictures)
    assert Path("table.csv").read_text() == old


def test_a_table_that_cannot_be_written(checkpoint: Checkpoint, pictures: np.ndarray) -> None:
    with pytest.raises(RunError, match=r"no.table\.csv cannot be written"):
        write_submission("no/table.csv", checkpoint, pictures)
