from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.data import DataError, Standardizer, load_digits
from tinygrad_mnist.training import Checkpoint, predict, predict_picture

STANDARDIZER = Standardizer(mean=100.0, std=50.0)


def test_probabilities_add_up(model: nn.Module, images: np.ndarray) -> None:
    probabilities = predict(model, images, STANDARDIZER)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_batches_make_no_difference(model: nn.Module, images: np.ndarray, batch_size: int) -> None:
    whole = predict(model, images, STANDARDIZER)
    np.testing.assert_allclose(predict(model, images, STANDARDIZER, batch_size), whole, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_and_the_state_stay(model: nn.Module, images: np.ndarray, training: bool) -> None:
    model.train(training)
    before = model.state_dict()
    predict(model, images, STANDARDIZER)
    assert model.training is training
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


def test_no_tape_is_recorded(model: nn.Module, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    forward = nn.Linear.forward

    def watched(self: nn.Linear, *inputs: object) -> object:
        out = forward(self, *inputs)  # type: ignore[arg-type]
        recorded.append(out.requires_grad)
        return out

    monkeypatch.setattr(nn.Linear, "forward", watched)
    predict(model, images, STANDARDIZER)
    assert recorded == [False, False]


# ---- of a picture in a file -------------------------------------------------------------------------------


def large(image: np.ndarray, *, margin: int = 40, invert: bool = False) -> np.ndarray:
    """A digit of 8 x 8 pixels as somebody would have drawn it: larger, off the middle, on paper."""
    drawn = np.pad(image.repeat(20, axis=0).repeat(20, axis=1), ((margin, 10), (5, margin)))
    return 255 - drawn if invert else drawn


@pytest.mark.parametrize("invert", [False, True], ids=["light on dark", "dark on light"])
def test_pictures_of_another_size_are_recognised(
    digits_model: Checkpoint, invert: bool, tmp_path: Path
) -> None:
    digits = load_digits()
    path = tmp_path / "stack.npy"
    np.save(path, np.stack([large(image, invert=invert) for image in digits.test_images[:40]]))
    seen = [predict_picture(digits_model, path, index).name for index in range(40)]
    right = np.mean([name == str(label) for name, label in zip(seen, digits.test_labels, strict=False)])
    assert right >= 0.8


def test_confidence_is_the_probability_of_the_name(digits_model: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "digit.npy", load_digits().test_images[0])
    seen = predict_picture(digits_model, tmp_path / "digit.npy")
    assert seen.image.shape == (8, 8)
    assert seen.confidence == seen.probabilities.max() == seen.probabilities[int(seen.name)]
    assert seen.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_the_number_of_a_picture_may_stand_behind_its_file(digits_model: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "stack.npy"
    np.save(path, load_digits().test_images[:3])
    beside = predict_picture(digits_model, path, 1)
    behind = predict_picture(digits_model, f"{path}:1", 2)
    np.testing.assert_array_equal(beside.probabilities, behind.probabilities)


def test_a_file_whose_name_ends_in_a_number(digits_model: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "odd:1"
    try:
        with path.open("wb") as file:
            np.save(file, load_digits().test_images[0])
    except OSError:
        pytest.skip("no such file names here")
    assert predict_picture(digits_model, path).confidence > 0


def test_a_blank_picture_is_refused(digits_model: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "blank.npy", np.full((9, 9), 200, np.uint8))
    with pytest.raises(DataError, match="blank"):
        predict_picture(digits_model, tmp_path / "blank.npy")


def test_a_picture_that_shows_nothing_is_named_as_it_was_asked_for(
    digits_model: Checkpoint, tmp_path: Path
) -> None:
    np.save(tmp_path / "blank.npy", np.full((2, 9, 9), 200, np.uint8))
    with pytest.raises(DataError, match=r"blank\.npy:1: the picture is blank"):
        predict_picture(digits_model, f"{tmp_path / 'blank.npy'}:1")


def test_a_number_below_zero_is_a_number(digits_model: Checkpoint, tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", load_digits().test_images[:3])
    with pytest.raises(DataError, match=r"stack\.npy holds 3 pictures.* none of index -1"):
        predict_picture(digits_model, f"{tmp_path / 'stack.npy'}:-1")
