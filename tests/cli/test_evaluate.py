"""The confusion matrix of `evaluate`, on the screen and as JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.training import evaluate_checkpoint, load_checkpoint


def test_the_confusion_matrix_is_printed_and_right_aligned(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run_directory)]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()[-11:]
    found = evaluate_checkpoint(load_checkpoint(run_directory)).confusion
    assert heading.split() == ["digit", *map(str, range(10))]
    numbers = [[0 if cell == "." else int(cell.replace(",", "")) for cell in row.split()[1:]] for row in rows]
    assert np.array_equal(numbers, found)
    assert {len(row) for row in rows} == {len(heading)}
    assert found.dtype == np.int64


def test_json_takes_the_place_of_the_tables(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run_directory), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    confusion = np.array(values["confusion"])
    assert confusion.sum() == values["images"]
    assert np.trace(confusion) == values["correct"] == sum(one["correct"] for one in values["classes"])
    assert values["accuracy"] == values["correct"] / values["images"]
    assert values["class_names"] == list("0123456789")
    assert values["data"] == "digits"


def test_json_goes_to_a_file_beside_the_tables(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run_directory), "--json", "found.json"]) == 0
    assert capsys.readouterr().out.startswith("test accuracy")
    assert json.loads(Path("found.json").read_text())["runs"] == [str(run_directory)]


@pytest.mark.parametrize("name", ["checkpoint.npz", "summary.json", "metrics.jsonl"])
def test_json_never_replaces_what_is_read(
    run_directory: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = (run_directory / name).read_bytes()
    assert main(["evaluate", str(run_directory), "--json", str(run_directory / name)]) == 2
    assert (run_directory / name).read_bytes() == before
    assert "would be lost" in capsys.readouterr().err


def test_json_that_cannot_be_written_is_said_before_the_work(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run_directory), "--json", "nowhere/x.json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--json nowhere/x.json cannot be written" in err
