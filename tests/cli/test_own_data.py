"""Data of one's own from training to a prediction: each format, by the commands that a user types."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.data import load_digits

ErrorOf = Callable[..., str]
DIGITS = load_digits()
IMAGES, LABELS = DIGITS.train_images[:400, 1:], DIGITS.train_labels[:400]  # 7 x 8 pixels
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def as_npz(path: Path) -> Path:
    np.savez(path / "set.npz", x_train=IMAGES, y_train=np.array(NAMES)[LABELS])
    return path / "set.npz"


def as_csv(path: Path) -> Path:
    rows = np.concatenate([LABELS[:, None], DIGITS.train_images[:400].reshape(400, -1)], axis=1)
    heading = ",".join(["label", *(f"pixel{k}" for k in range(64))])
    np.savetxt(path / "train.csv", rows, "%d", ",", header=heading, comments="")
    (path / "classes.txt").write_text("\n".join(NAMES))
    return path


def as_folders(path: Path) -> Path:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    for k, (picture, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (path / NAMES[label]).mkdir(exist_ok=True)
        image.fromarray(picture).save(path / NAMES[label] / f"{k}.png")
    return path


@pytest.mark.parametrize(
    "write",
    [as_folders, pytest.param(as_npz, marks=pytest.mark.slow), pytest.param(as_csv, marks=pytest.mark.slow)],
)
def test_a_set_is_trained_on_evaluated_and_used(
    write: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    path = write(folder)
    arguments = ["--recipe", "digits", "--epochs", "4", "--out", "run", "--jit", "off"]
    assert main(["train", "--data", str(path), *arguments]) == 0
    captured = capsys.readouterr()
    assert f"{path}: it has no test part, so 80 of its 400 pictures are set aside" in captured.err
    assert "320 training and 80 test images" in captured.out
    assert "on 80 unseen pictures (" in captured.out
    summary = json.loads(Path("run/summary.json").read_text())
    assert sorted(summary["class_names"]) == sorted(NAMES)
    assert summary["test_accuracy"] > 0.5

    assert main(["evaluate", "run"]) == 0
    out = capsys.readouterr().out
    assert f"test accuracy {100 * summary['test_accuracy']:.2f} %" in out
    assert "class" in out.splitlines()[1]
    assert {line.split()[0] for line in out.splitlines()[2 : 2 + len(NAMES)]} == set(NAMES)

    np.save("pictures.npy", DIGITS.train_images[:10] if write is as_csv else IMAGES[:10])
    assert main(["predict", "run", *(f"pictures.npy:{k}" for k in range(10))]) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["image", "class", "confidence"]
    right = [row.split()[1] == NAMES[label] for row, label in zip(rows, LABELS, strict=False)]
    assert sum(right) >= 5


def test_what_is_no_data_is_told_what_is_taken(error_of: ErrorOf) -> None:
    Path("notes.md").write_text("hello")
    message = error_of("train", "--data", "notes.md")
    assert "notes.md is no data set, where the four IDX files of MNIST" in message
    assert "CSV file" in message
