"""The data sets: by name, from a directory or the cache; what is wrong with them is named."""

import gzip
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_mnist.data import (
    DataError,
    Dataset,
    DataUnavailableError,
    datasets,
    load,
    load_digits,
    load_mnist,
)
from tinygrad_mnist.data.download import RemoteFile

# ---- by name -------------------------------------------------------------------------------------------


def fail_if_notified(sentence: str) -> None:
    pytest.fail(f"nothing was to be said, but: {sentence}")


@pytest.fixture
def no_mirror(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch", reason="pooch is not installed")
    monkeypatch.setattr(datasets, "MIRRORS", ("http://127.0.0.1:1/", "http://no-such-host.invalid:99999/"))


def test_digits_are_the_digits() -> None:
    assert load("digits", notify=fail_if_notified).name == "digits"


def test_a_directory_gives_its_name(mnist_directory: Path) -> None:
    dataset = load(mnist_directory, notify=fail_if_notified)
    assert dataset.name == "some-mnist"
    assert len(dataset.train_images) == 30


def test_a_directory_may_be_given_as_a_string(mnist_directory: Path) -> None:
    assert len(load(str(mnist_directory)).train_images) == 30


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match="'minst'; choose among auto, mnist, digits and a directory"):
        load("minst")


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_mnist_comes_from_the_directory_in_the_environment(
    name: str, mnist_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(mnist_directory))
    dataset = load(name, notify=fail_if_notified)
    assert dataset.name == "mnist"
    assert len(dataset.train_images) == 30


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_a_wrong_directory_in_the_environment_is_an_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"lacks train-images-idx3-ubyte, .* of the four files"):
        load(name, notify=fail_if_notified)


def test_auto_takes_the_digits_where_there_is_no_network_and_says_so_in_a_sentence(no_mirror: None) -> None:
    said: list[str] = []
    assert load("auto", notify=said.append).name == "digits"
    (sentence,) = said
    assert "\n" not in sentence
    assert "instead of MNIST, because" in sentence
    assert "could not be downloaded" in sentence
    assert "127.0.0.1" not in sentence
    assert "--data DIR or $TINYGRAD_MNIST_DATA" in sentence
    assert sentence.endswith(".")


def test_auto_warns_if_nobody_listens(no_mirror: None) -> None:
    with pytest.warns(UserWarning, match="instead of MNIST, because") as caught:
        load()
    assert caught[0].filename == __file__


def test_auto_takes_the_digits_without_pooch_and_names_the_extra(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    said: list[str] = []
    assert load("auto", notify=said.append).name == "digits"
    assert 'pip install "tinygrad_mnist[download]"' in said[0]


def test_auto_takes_the_digits_if_nothing_may_be_downloaded(cache: Path) -> None:
    said: list[str] = []
    assert load("auto", notify=said.append, download=False).name == "digits"
    assert len(said) == 1


def test_mnist_by_name_is_an_error_where_there_is_no_network(no_mirror: None) -> None:
    with pytest.raises(
        DataUnavailableError, match=r"could not be downloaded.*, or name a directory .* --data DIR"
    ):
        load("mnist", notify=fail_if_notified)


def test_an_empty_name_is_an_error() -> None:
    with pytest.raises(DataError, match="name of the data set is empty"):
        load("", notify=fail_if_notified)


# ---- a data set ----------------------------------------------------------------------------------------

IMAGES = np.zeros((5, 8, 6), np.uint8)
LABELS = np.array([0, 1, 2, 1, 0])
SOUND = Dataset("blank", IMAGES, LABELS, IMAGES[:2], LABELS[:2], classes=3)


def test_the_image_shape_is_height_and_width() -> None:
    assert SOUND.image_shape == (8, 6)


def test_repr_counts_and_shows_no_pixels() -> None:
    assert repr(SOUND) == "Dataset('blank': 5 training and 2 test images of 8 x 6 pixels, 3 classes)"


def test_it_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        SOUND.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": IMAGES[:4]}, "blank, training part: there are 4 images and 5 labels"),
        ({"test_labels": LABELS[:1]}, "blank, test part: there are 2 images and 1 labels"),
        ({"train_images": IMAGES.astype(np.float32)}, "not float32"),
        ({"train_images": IMAGES.reshape(5, 48)}, r"not uint8 of shape \(5, 48\)"),
        ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, r"shape \(0, 8, 6\)"),
        ({"test_images": np.zeros((2, 6, 8), np.uint8)}, r"\(8, 6\) and the test images \(6, 8\)"),
        ({"train_labels": LABELS.astype(np.float64)}, "not float64"),
        ({"train_labels": LABELS[:, None]}, r"shape \(5, 1\)"),
        ({"train_labels": LABELS + 1}, "labels are 0 to 2, and 1 to 3 were found"),
        ({"train_labels": LABELS - 1}, "labels are 0 to 2, and -1 to 1 were found"),
        ({"classes": 1}, "at least 2 classes, not 1"),
        (
            {"train_images": np.broadcast_to(np.uint8(0), (5, 4096, 4097))},
            "an image has 16,777,216 pixels at most, not 4096 x 4097",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(SOUND, **change)


# ---- MNIST ---------------------------------------------------------------------------------------------

Encode = Callable[[NDArray[Any]], bytes]
NAMES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def test_the_files_are_read_from_a_directory(mnist_directory: Path) -> None:
    dataset = load_mnist(mnist_directory)
    assert dataset.name == "mnist"
    assert dataset.classes == 10
    assert dataset.train_images.shape == (30, 28, 28)
    assert dataset.test_images.shape == (10, 28, 28)
    np.testing.assert_array_equal(dataset.test_labels, np.arange(10))


def test_the_files_need_not_be_gzipped(mnist_directory: Path, small_mnist: dict[str, bytes]) -> None:
    for name in NAMES[:2]:
        (mnist_directory / f"{name}.gz").unlink()
        (mnist_directory / name).write_bytes(small_mnist[name])
    assert len(load_mnist(mnist_directory).train_images) == 30


def test_the_environment_names_a_directory(
    mnist_directory: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(mnist_directory))
    assert len(load_mnist().train_images) == 30


def test_the_argument_goes_before_the_environment(
    mnist_directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(tmp_path / "absent"))
    assert len(load_mnist(mnist_directory).train_images) == 30


def test_a_directory_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent does not exist"):
        load_mnist(tmp_path / "absent")


def test_an_environment_variable_that_is_wrong_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(tmp_path / "absent"))
    with pytest.raises(
        DataError, match=r"absent \(which \$TINYGRAD_MNIST_DATA names\) does not exist"
    ) as raised:
        load_mnist()
    assert not isinstance(raised.value, DataUnavailableError)


def test_a_file_where_a_directory_should_be_is_an_error(mnist_directory: Path) -> None:
    with pytest.raises(DataError, match="is not a directory"):
        load_mnist(mnist_directory / f"{NAMES[0]}.gz")


def test_every_missing_file_is_named(mnist_directory: Path) -> None:
    for name in NAMES[1:3]:
        (mnist_directory / f"{name}.gz").unlink()
    with pytest.raises(DataError, match=f"lacks {NAMES[1]}, {NAMES[2]} of the four"):
        load_mnist(mnist_directory)


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_is_named(name: str, mnist_directory: Path) -> None:
    path = mnist_directory / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"truncated gzip file") as raised:
        load_mnist(mnist_directory)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (NAMES[0], np.zeros((30, 28, 27), np.uint8), r"shape \(30, 28, 27\)"),
        (NAMES[0], np.zeros((30, 28, 28), np.float32), "float32"),
        (NAMES[0], np.zeros(30, np.uint8), r"shape \(30,\)"),
        (NAMES[0], np.zeros((0, 28, 28), np.uint8), r"shape \(0, 28, 28\)"),
        (NAMES[1], np.zeros((30, 28, 28), np.uint8), r"shape \(30, 28, 28\)"),
        (NAMES[1], np.zeros(30, np.int32), "int32"),
        (NAMES[1], np.zeros(29, np.uint8), "has 30 images and train-labels-idx1-ubyte 29 labels"),
        (NAMES[3], np.array([0, 1, 12, 3, 4, 5, 6, 7, 8, 9], np.uint8), "the label 12 at position 2"),
    ],
)
def test_a_file_with_something_else_in_it_is_named(
    name: str, array: NDArray[Any], message: str, mnist_directory: Path, encode_idx: Encode
) -> None:
    (mnist_directory / f"{name}.gz").write_bytes(gzip.compress(encode_idx(array)))
    with pytest.raises(DataError, match=message) as raised:
        load_mnist(mnist_directory)
    assert name in str(raised.value)


def test_the_cache_is_read(mnist_directory: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    mnist_directory.rename(cache)
    assert len(load_mnist(download=False).train_images) == 30


def test_an_empty_cache_that_may_not_be_filled_is_an_error(cache: Path) -> None:
    with pytest.raises(DataUnavailableError, match="was not to be downloaded") as raised:
        load_mnist(download=False)
    assert str(cache) in str(raised.value)


def test_only_what_the_cache_lacks_is_downloaded(
    mnist_directory: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, small_mnist: dict[str, bytes]
) -> None:
    cache.parent.mkdir(parents=True)
    mnist_directory.rename(cache)
    (cache / f"{NAMES[1]}.gz").unlink()
    (cache / f"{NAMES[2]}.gz").write_bytes(b"damaged")
    asked = []

    def download(files: list[RemoteFile], directory: Path, mirrors: Any, *, progress: bool) -> None:
        for file in files:
            asked.append(file.name)
            (directory / file.name).write_bytes(small_mnist[file.name])

    monkeypatch.setattr(datasets, "download_files", download)
    assert len(load_mnist().train_images) == 30
    assert asked == NAMES[1:3]


def test_the_official_files_have_the_published_counts(mnist_dir: Path) -> None:
    dataset = load_mnist(mnist_dir)
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_images.shape == (10_000, 28, 28)
    # the labels of a class in the training part, as LeCun's page and many papers give them
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.train_labels).tolist() == counts
    assert dataset.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


# ---- the bundled digits --------------------------------------------------------------------------------

DIGITS = load_digits()


def test_there_are_1797_digits_of_which_a_fifth_is_the_test_part() -> None:
    assert DIGITS.train_images.shape == (1438, 8, 8)
    assert DIGITS.test_images.shape == (359, 8, 8)
    assert DIGITS.classes == 10


def test_the_test_part_has_a_fifth_of_each_class() -> None:
    train, test = np.bincount(DIGITS.train_labels), np.bincount(DIGITS.test_labels)
    assert np.all(np.abs(test - 0.2 * (train + test)) < 1)


def test_the_grey_values_go_from_0_to_255_in_17_steps() -> None:
    values = np.unique(DIGITS.train_images)
    assert values.tolist() == [round(ink * 255 / 16) for ink in range(17)]


def test_it_is_the_same_each_time_and_nobody_s_changes_are_seen() -> None:
    changed = load_digits()
    changed.train_images[:] = 0
    np.testing.assert_array_equal(load_digits().train_images, DIGITS.train_images)


def test_they_are_scikit_learn_s() -> None:
    source = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits()
    with (resources.files("tinygrad_mnist.data") / "digits.npz").open("rb") as stream:
        stored = dict(np.load(stream, allow_pickle=False))
    np.testing.assert_array_equal(stored["images"], source.images)
    np.testing.assert_array_equal(stored["labels"], source.target)


def test_the_file_is_small() -> None:
    assert len((resources.files("tinygrad_mnist.data") / "digits.npz").read_bytes()) < 50_000


def test_licence_and_citation_lie_beside_it() -> None:
    text = (resources.files("tinygrad_mnist.data") / "digits.txt").read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "10.24432/C50P49" in text
