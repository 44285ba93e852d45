"""show-data draws the data that it is given, or says in one sentence what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_mnist.cli import main
from tinygrad_mnist.data import AUGMENTATIONS, Augmenter, Dataset, load_digits
from tinygrad_mnist.training import training_data
from tinygrad_mnist.training.runs import data_picture


def test_it_writes_a_picture_and_says_of_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-data", "--data", "digits"]) == 0
    with Image.open("data.png") as picture:
        picture.load()
        assert min(picture.size) > 600
    assert capsys.readouterr().out == (
        "data.png: the bundled digits, 1,438 training and 359 test images of 8 x 8 pixels in 10 classes; "
        "augmentation: rotation 10 scale 0.1 shear 0.1 shift 0.5\n"
    )


def test_data_of_ones_own_takes_the_augmentation_for_its_size(
    capsys: pytest.CaptureFixture[str], mnist_like: Path
) -> None:
    assert main(["show-data", "--data", str(mnist_like), "-o", "own.svg"]) == 0
    assert "<svg" in Path("own.svg").read_text("utf-8")
    said = capsys.readouterr().out
    assert said.startswith("own.svg: data, 200 training and 50 test images of 28 x 28 pixels")
    assert said.endswith("shift 1 elastic 15\n")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What would be drawn, in place of a picture."""
    found: dict[str, Any] = {}

    def note(images: Any, versions: Any, labels: Any, **texts: Any) -> None:
        found.update(images=images, versions=versions, labels=labels, **texts)

    monkeypatch.setattr(data_picture.plots, "plot_augmentation", note)
    monkeypatch.setattr(data_picture.plots, "save", lambda *_: None)
    return found


def test_the_seed_and_the_augmentation_count(drawn: dict[str, Any]) -> None:
    def of(*options: str) -> bytes:
        assert main(["show-data", "--data", "digits", *options]) == 0
        return bytes(drawn["versions"].tobytes())

    first = of()
    assert first == of("--seed", "0", "--augmentation", "affine-8x8")
    assert first != of("--seed", "1")
    assert first != of("--augmentation", "shift 1")


def test_without_augmentation_there_are_more_images_in_place_of_versions(drawn: dict[str, Any]) -> None:
    assert main(["show-data", "--data", "digits", "--augmentation", "none"]) == 0
    count = data_picture.IMAGES_ALONE
    np.testing.assert_array_equal(drawn["labels"], np.repeat(np.arange(10), count))
    assert drawn["versions"].shape == (10 * count, 0, 8, 8)
    assert len(np.unique(drawn["images"], axis=0)) == 10 * count
    assert drawn["below"] == "images as they are, without augmentation"


def on_paper(dataset: Dataset, paper: int = 255) -> Dataset:
    """Ink on paper, with the same images as light on dark; the brightest of these is black."""
    train, test = (paper - np.minimum(part, paper) for part in (dataset.train_images, dataset.test_images))
    return replace(dataset, train_images=train, test_images=test, is_centred=False)


def test_dark_on_light_stays_so_when_it_is_augmented(drawn: dict[str, Any]) -> None:
    ranges, path = AUGMENTATIONS["affine"], Path("x.png")
    data_picture.draw_data(load_digits(), "digits", ranges, path, 3)
    dark = dict(drawn)
    data_picture.draw_data(on_paper(load_digits()), "digits", ranges, path, 3)
    np.testing.assert_allclose(drawn["versions"], 255 - dark["versions"], atol=1e-3)
    assert (dark["as_ink"], drawn["as_ink"]) == (True, False)


def test_a_light_background_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], drawn: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        training_data,
        "load",
        lambda *_, **__: on_paper(load_digits(), 240),  # any path stands for it
    )
    sentence = (
        "The pictures have a light background: augmentation fills in its grey value, 240, at the border"
    )
    assert main(["show-data", "--data", "paper"]) == 0
    assert sentence in capsys.readouterr().err
    assert main(["show-data", "--data", "paper", "--augmentation", "none"]) == 0
    assert capsys.readouterr().err == ""


def test_a_class_without_images_has_no_row(drawn: dict[str, Any]) -> None:
    digits = load_digits()
    kept = digits.train_labels >= 7
    few = replace(digits, train_images=digits.train_images[kept], train_labels=digits.train_labels[kept])
    data_picture.draw_data(few, "digits", AUGMENTATIONS["none"], Path("x.png"), 0)
    np.testing.assert_array_equal(np.unique(drawn["labels"]), [7, 8, 9])
    assert drawn["title"] == "3 of 10 classes of digits"


def test_what_is_drawn_is_what_training_sees(drawn: dict[str, Any]) -> None:
    digits, affine = load_digits(), AUGMENTATIONS["affine"]
    data_picture.draw_data(digits, "digits", affine, Path("x.png"), 3)
    assert drawn["names"] == digits.class_names
    np.testing.assert_array_equal(drawn["labels"], np.repeat(np.arange(10), data_picture.IMAGES))
    augment = Augmenter(affine, (8, 8), 3)
    for image, versions, label in zip(drawn["images"], drawn["versions"], drawn["labels"], strict=True):
        (number, *_) = np.flatnonzero((digits.train_images == image).all(axis=(1, 2)))
        assert digits.train_labels[number] == label
        for epoch, version in enumerate(versions):
            np.testing.assert_array_equal(version, augment(image[None], [number], epoch)[0])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--augmentation", "afine"], "there is no augmentation 'afine'; did you mean affine? (all: none, "),
        (["--augmentation", "affine shift"], "'affine' is followed by 'shift', which is no number"),
        (["--augmentation", "scale 2"], "scale of an augmentation is a number of at least 0 and below 1"),
        (["--out", "data.gif"], "data.gif ends in none of .png .svg .pdf"),
        (["--out", "nowhere/data.png"], "there is no directory 'nowhere'"),
        (["--seed", "-1"], "-1 is not 0 or more"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_what_is_misused_is_one_sentence(
    error_of: Callable[..., str], options: list[str], sentence: str
) -> None:
    assert sentence in error_of("show-data", "--data", "digits", *options, status=2)
    assert not list(Path().glob("*.*"))


def test_data_that_is_not_there_is_one_sentence(error_of: Callable[..., str]) -> None:
    assert "there is no data set" in error_of("show-data", "--data", "nowhere")
    assert not Path("data.png").exists()


def test_without_matplotlib_the_extra_is_named(
    error_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert "tinygrad_mnist[plot]" in error_of("show-data", "--data", "digits")


def test_a_picture_of_the_data_is_not_drawn_over(error_of: Callable[..., str]) -> None:
    for k in range(12):
        path = Path("pets", "cat" if k % 2 else "dog", f"{k}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(load_digits().test_images[k]).save(path)
    Path("link.png").symlink_to("pets/cat/1.png")
    content = Path("pets/cat/1.png").read_bytes()
    for out in ("pets/cat/1.png", "./pets/dog/../cat/1.png", "link.png"):
        sentence = error_of("show-data", "--data", "pets", "-o", out, status=2)
        assert f"--out {out} is, or is in, pets, which this command reads, and would be lost" in sentence
    assert Path("pets/cat/1.png").read_bytes() == content
    for _ in range(2):  # a drawing beside the folders is drawn anew
        assert main(["show-data", "--data", "pets", "-o", "pets/data.svg"]) == 0
