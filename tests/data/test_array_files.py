"""Data sets of arrays in files of their own: .npy files, and the .npz files of KMNIST."""

from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.data import DataError, load

IMAGES = np.random.default_rng(0).integers(2, 256, (12, 4, 5)).astype(np.uint8)
LABELS = np.arange(12) % 3


def write(path: Path) -> Path:
    np.save(path / "x_train.npy", IMAGES)
    np.save(path / "y_train.npy", LABELS)
    np.save(path / "x_test.npy", IMAGES[:5])
    np.save(path / "y_test.npy", LABELS[:5])
    return path


def test_npy_files_are_read(tmp_path: Path) -> None:
    dataset = load(write(tmp_path), notify=pytest.fail)
    np.testing.assert_array_equal(dataset.train_images, IMAGES)
    np.testing.assert_array_equal(dataset.test_labels, LABELS[:5])
    assert dataset.form == ".npy files"


def test_the_files_of_kmnist_are_read(tmp_path: Path) -> None:
    tmp_path /= "kmnist"
    tmp_path.mkdir()
    for part in ("train", "test"):
        np.savez(tmp_path / f"kmnist-{part}-imgs.npz", IMAGES)
        np.savez(tmp_path / f"kmnist-{part}-labels.npz", LABELS.astype(np.uint8))
    (tmp_path / "kmnist_classmap.csv").write_text("index,codepoint,char\n0,U+304A,o\n")
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.test_images, IMAGES)
    assert dataset.form == "KMNIST in .npz files"  # by the name of the folder, as the pictures are random


def test_the_order_of_the_axes_in_the_file_makes_no_difference(tmp_path: Path) -> None:
    np.save(write(tmp_path) / "x_train.npy", np.asfortranarray(IMAGES))
    np.testing.assert_array_equal(load(tmp_path).train_images, IMAGES)


def test_texts_are_names(tmp_path: Path) -> None:
    names = np.array(["pea", "nut", "bay"])[LABELS]
    np.save(write(tmp_path) / "y_train.npy", names)
    np.save(tmp_path / "y_test.npy", names[:5])
    assert load(tmp_path).class_names == ("bay", "nut", "pea")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("x_train.npy", IMAGES[:11], "there are 11 pictures and 12 labels"),
        ("x_train.npy", IMAGES.astype(str), "pictures of type <U3"),
        ("y_train.npy", LABELS.astype("M8[s]"), "labels of type datetime64"),
        ("y_train.npy", IMAGES, r"labels of shape \(12, 4, 5\)"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    np.save(write(tmp_path) / name, array)
    with pytest.raises(DataError, match=message) as raised:
        load(tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_a_pickled_array_is_not_read(tmp_path: Path) -> None:
    np.save(write(tmp_path) / "y_train.npy", LABELS.astype(object), allow_pickle=True)
    with pytest.raises(DataError, match="labels of type object"):
        load(tmp_path)


def test_a_damaged_file_gives_a_set_or_a_sentence(tmp_path: Path) -> None:
    content = (write(tmp_path) / "x_train.npy").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(content)
        for place in rng.integers(0, 140, 2):
            damaged[place] = rng.integers(256)
        (tmp_path / "x_train.npy").write_bytes(damaged)
        sentence = ""
        try:
            load(tmp_path)
        except DataError as error:
            sentence = str(error)
        assert not sentence or (str(tmp_path) in sentence and "\n" not in sentence)
