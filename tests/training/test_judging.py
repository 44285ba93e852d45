from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.data import DataError, Dataset, load_digits
from tinygrad_mnist.training import Checkpoint, Outcome, TrainingError, judge, judging, recognise


def large(image: np.ndarray, *, margin: int = 40, invert: bool = False) -> np.ndarray:
    """A digit of 8 x 8 pixels as somebody would have drawn it: larger, off the middle, on paper."""
    drawn = np.pad(image.repeat(20, axis=0).repeat(20, axis=1), ((margin, 10), (5, margin)))
    return 255 - drawn if invert else drawn


def test_a_verdict_counts_right_and_wrong(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "load", lambda name: patterns)
    verdict = judge(outcome.checkpoint)
    assert verdict.accuracy == outcome.summary["test_accuracy"]
    assert sum(total for _, total, _, _ in verdict.classes) == verdict.images == 60
    assert sum(right for _, _, right, _ in verdict.classes) == verdict.right


def test_a_verdict_has_a_row_for_each_true_class(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that sees a 2 everywhere is right on all twos, and takes all others for them."""
    always_two = nn.Linear(25, 4)
    always_two.load_state_dict({"weight": np.zeros((4, 25)), "bias": np.array([0, 0, 1, 0])})
    monkeypatch.setattr(judging, "load", lambda name: patterns)
    verdict = judge(replace(outcome.checkpoint, model=always_two))
    assert verdict.classes == (("0", 15, 0, "2"), ("1", 15, 0, "2"), ("2", 15, 15, "-"), ("3", 15, 0, "2"))


def test_the_data_that_it_was_trained_on_is_the_default(digits_model: Checkpoint) -> None:
    verdict = judge(digits_model)
    assert (verdict.data, verdict.images) == ("digits", 359)
    assert verdict.accuracy > 0.95


def test_data_of_another_size_is_refused(outcome: Outcome) -> None:
    with pytest.raises(TrainingError, match=r"5 x 5 pixels in 4 classes, but digits has 8 x 8 in 10"):
        judge(outcome.checkpoint, "digits")


@pytest.mark.parametrize("invert", [False, True], ids=["light on dark", "dark on light"])
def test_pictures_of_another_size_are_recognised(
    digits_model: Checkpoint, invert: bool, tmp_path: Path
) -> None:
    digits = load_digits()
    path = tmp_path / "stack.npy"
    np.save(path, np.stack([large(image, invert=invert) for image in digits.test_images[:40]]))
    seen = [recognise(digits_model, path, index).name for index in range(40)]
    right = np.mean([name == str(label) for name, label in zip(seen, digits.test_labels, strict=False)])
    assert right >= 0.8


def test_confidence_is_the_probability_of_the_name(digits_model: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "digit.npy", load_digits().test_images[0])
    seen = recognise(digits_model, tmp_path / "digit.npy")
    assert seen.image.shape == (8, 8)
    assert seen.confidence == seen.probabilities.max() == seen.probabilities[int(seen.name)]
    assert seen.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_number_of_a_picture_may_stand_behind_its_file(digits_model: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "stack.npy"
    np.save(path, load_digits().test_images[:3])
    beside = recognise(digits_model, path, 1)
    behind = recognise(digits_model, f"{path}:1", 2)
    np.testing.assert_array_equal(beside.probabilities, behind.probabilities)


def test_a_file_whose_name_ends_in_a_number(digits_model: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "odd:1"
    try:
        with path.open("wb") as file:
            np.save(file, load_digits().test_images[0])
    except OSError:
        pytest.skip("no such file names here")
    assert recognise(digits_model, path).confidence > 0


def test_a_blank_picture_is_refused(digits_model: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "blank.npy", np.full((9, 9), 200, np.uint8))
    with pytest.raises(DataError, match="blank"):
        recognise(digits_model, tmp_path / "blank.npy")


def test_a_picture_that_shows_nothing_is_named_as_it_was_asked_for(
    digits_model: Checkpoint, tmp_path: Path
) -> None:
    np.save(tmp_path / "blank.npy", np.full((2, 9, 9), 200, np.uint8))
    with pytest.raises(DataError, match=r"blank\.npy:1: the picture is blank"):
        recognise(digits_model, f"{tmp_path / 'blank.npy'}:1")


def test_a_number_below_zero_is_a_number(digits_model: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", load_digits().test_images[:3])
    with pytest.raises(DataError, match=r"stack\.npy holds 3 pictures.* none of index -1"):
        recognise(digits_model, f"{tmp_path / 'stack.npy'}:-1")
