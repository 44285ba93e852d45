"""Sets of four IDX files: names of all kinds, EMNIST's transposed pictures and letters, what is missing."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, load

Encode = Callable[[NDArray[Any]], bytes]
IMAGES = np.random.default_rng(0).integers(2, 256, (24, 6, 5)).astype(np.uint8)
LABELS = (np.arange(24) % 3).astype(np.uint8)


@pytest.fixture
def write(tmp_path: Path, encode_idx: Encode) -> Callable[..., Path]:
    """Write the four files of a set; return their directory."""

    def write(
        train: str = "{}train-{}-ubyte",
        test: str = "{}t10k-{}-ubyte",
        prefix: str = "",
        images: NDArray[Any] = IMAGES,
        labels: NDArray[Any] = LABELS,
    ) -> Path:
        for pattern, part in ((train, slice(0, 18)), (test, slice(18, 24))):
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                content = encode_idx(array[part])
                name = pattern.format(prefix, kind)
                (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return tmp_path

    return write


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_four_files_are_read(write: Callable[..., Path], ending: str) -> None:
    dataset = load(write("{}train-{}-ubyte" + ending, "{}t10k-{}-ubyte" + ending), notify=pytest.fail)
    np.testing.assert_array_equal(dataset.train_images, IMAGES[:18])
    np.testing.assert_array_equal(dataset.test_labels, LABELS[18:])
    assert (dataset.image_shape, dataset.class_names) == ((6, 5), ("0", "1", "2"))
    assert dataset.form == "IDX files"


def test_a_file_unpacked_on_windows_has_a_dot_in_its_name(tmp_path: Path, write: Callable[..., Path]) -> None:
    directory = write("{}train-{}-ubyte", "{}t10k-{}-ubyte")
    for path in list(directory.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(load(directory).train_images) == 18


def test_they_may_lie_alone_in_a_folder_below(write: Callable[..., Path], tmp_path: Path) -> None:
    directory = write()
    below = directory / "MNIST" / "raw"
    below.mkdir(parents=True)
    for path in directory.glob("*-ubyte"):
        path.rename(below / path.name)
    assert load(directory).name == tmp_path.name


def test_one_of_the_files_stands_for_the_set(write: Callable[..., Path]) -> None:
    directory = write()
    dataset = load(directory / "train-images-idx3-ubyte")
    assert len(dataset.test_images) == 6


def test_several_sets_in_a_directory_are_named(write: Callable[..., Path]) -> None:
    write("{}train-{}-ubyte", "{}test-{}-ubyte", "emnist-digits-")
    directory = write("{}train-{}-ubyte", "{}test-{}-ubyte", "emnist-letters-", labels=LABELS + 1)
    with pytest.raises(DataError, match="2 data sets: emnist-digits, emnist-letters; choose one by the name"):
        load(directory)
    dataset = load(directory / "emnist-letters-test-labels-idx1-ubyte")
    assert dataset.class_names[:3] == ("Aa", "Bb", "Cc")


def test_emnist_is_set_upright_and_its_letters_begin_at_one(write: Callable[..., Path]) -> None:
    directory = write("{}train-{}-ubyte.gz", "{}test-{}-ubyte.gz", "emnist-letters-", labels=LABELS + 1)
    said: list[str] = []
    dataset = load(directory, notify=said.append)
    np.testing.assert_array_equal(dataset.train_images, IMAGES[:18].transpose(0, 2, 1))
    np.testing.assert_array_equal(dataset.train_labels, LABELS[:18])
    assert (dataset.classes, dataset.class_names[25]) == (26, "Zz")
    assert dataset.form == "the IDX files of EMNIST, split letters"
    assert "transposed" in said[0]
    assert "Dd, Ee, Ff, Gg, Hh and 18 more" in said[0]


def test_the_mapping_file_names_the_classes(write: Callable[..., Path]) -> None:
    directory = write("{}train-{}-ubyte", "{}test-{}-ubyte", "emnist-balanced-")
    (directory / "emnist-balanced-mapping.txt").write_text("0 48\n1 65\n2 97\n")
    assert load(directory).class_names == ("0", "A", "a")


@pytest.mark.parametrize("content", ["0 48\n1 x\n", "0 48\n", "0 48\n1 99999999999\n", "0 10\n1 11\n", "é"])
def test_a_mapping_file_that_is_none_is_named(write: Callable[..., Path], content: str) -> None:
    directory = write("{}train-{}-ubyte", "{}test-{}-ubyte", "emnist-balanced-")
    (directory / "emnist-balanced-mapping.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"emnist-balanced-mapping.txt is no mapping of EMNIST"):
        load(directory)


def test_a_label_without_a_name_in_the_mapping_is_named(write: Callable[..., Path]) -> None:
    directory = write("{}train-{}-ubyte", "{}test-{}-ubyte", "emnist-balanced-")
    (directory / "emnist-balanced-mapping.txt").write_text("0 48\n1 65\n")
    with pytest.raises(DataError, match="has the label 2, which has no name among the 2"):
        load(directory)


def test_without_a_test_part_one_is_set_aside(write: Callable[..., Path]) -> None:
    directory = write()
    for path in directory.glob("t10k*"):
        path.unlink()
    said: list[str] = []
    dataset = load(directory, notify=said.append)
    assert (len(dataset.train_images), len(dataset.test_images)) == (14, 4)
    assert said == [
        f"{directory}: it has no test part, so 4 of its 18 pictures are set aside as one, always the same."
    ]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("train-labels-idx1-ubyte", "lacks a file with the train labels"),
        ("train-images-idx3-ubyte", "lacks a file with the train images"),
        ("t10k-labels-idx1-ubyte", "lacks a file with the test labels"),
    ],
)
def test_a_missing_file_is_named(write: Callable[..., Path], missing: str, message: str) -> None:
    directory = write()
    (directory / missing).unlink()
    with pytest.raises(DataError, match=message):
        load(directory)


def test_more_labels_than_pictures(write: Callable[..., Path], encode_idx: Encode) -> None:
    directory = write()
    (directory / "train-labels-idx1-ubyte").write_bytes(encode_idx(LABELS))
    with pytest.raises(DataError, match="there are 18 pictures and 24 labels"):
        load(directory)


def test_pictures_where_labels_should_be(write: Callable[..., Path], encode_idx: Encode) -> None:
    directory = write()
    (directory / "train-labels-idx1-ubyte").write_bytes(encode_idx(IMAGES))
    with pytest.raises(DataError, match=r"where labels of shape \(n,\) were expected"):
        load(directory)


def test_an_idx_file_of_another_name_is_told_so(tmp_path: Path, encode_idx: Encode) -> None:
    path = tmp_path / "pictures.idx"
    path.write_bytes(encode_idx(IMAGES))
    with pytest.raises(DataError, match="not called as one of a set is"):
        load(path)


def test_a_damaged_file_is_named(write: Callable[..., Path]) -> None:
    path = write() / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="train-images-idx3-ubyte is truncated"):
        load(path.parent)
