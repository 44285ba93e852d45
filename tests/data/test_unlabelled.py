"""Pictures to recognise: what is taken, their ids, their labels, and what a mistake is told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.data import DataError, read_unlabelled
from tinygrad_mnist.data.unlabelled import TAKEN, read_to_predict

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 3)).astype(np.uint8)

EncodeIdx = Callable[[np.ndarray], bytes]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as raised:
        read_unlabelled(path)
    message = str(raised.value)
    assert str(path) in message
    assert TAKEN in message
    assert "\n" not in message
    return message


def test_an_idx_file_numbers_its_pictures(tmp_path: Path, encode_idx: EncodeIdx) -> None:
    (tmp_path / "pictures").write_bytes(encode_idx(IMAGES))
    found = read_to_predict(tmp_path / "pictures")
    np.testing.assert_array_equal(found.images, IMAGES)
    assert (found.ids, found.id_heading, found.labels) == (("1", "2", "3", "4"), "ImageId", None)


def test_emnist_s_pictures_are_set_upright(tmp_path: Path, encode_idx: EncodeIdx) -> None:
    idx = tmp_path / "emnist-letters-test-images-idx3-ubyte"
    idx.write_bytes(encode_idx(IMAGES))
    table = tmp_path / "emnist-letters-test.csv"
    np.savetxt(table, np.column_stack([[1, 2, 26, 1], IMAGES.reshape(4, 9)]), "%d", ",")
    for path in (idx, table):
        np.testing.assert_array_equal(read_unlabelled(path), IMAGES.transpose(0, 2, 1))
    assert read_to_predict(table).labels == ("Aa", "Bb", "Zz", "Aa")


def test_labels_are_named_by_the_list_beside_the_data(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", np.column_stack([[1, 0, 1, 1], IMAGES.reshape(4, 9)]), "%d", ",")
    assert read_to_predict(tmp_path / "a.csv").labels == ("1", "0", "1", "1")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert read_to_predict(tmp_path / "a.csv").labels == ("dog", "cat", "dog", "dog")
    (tmp_path / "classes.txt").write_text("cat\ncat\n")  # that names no classes, which is no hindrance
    assert read_to_predict(tmp_path / "a.csv").labels == ("1", "0", "1", "1")


def test_files_of_arrays_are_told_what_is_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=IMAGES)
    np.save(tmp_path / "a.npy", IMAGES)
    for name in ("a.npz", "a.npy"):
        assert "is a file of NumPy or an archive" in refusal(tmp_path / name)


def test_a_picture_is_told_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert refusal(tmp_path / "a.png").endswith("name it without --data")


def test_a_folder_of_tables_is_told_which_to_name(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("or a folder of pictures was expected")
    for name in ("sample_submission.csv", "train.csv", "test.csv"):
        (tmp_path / name).write_text("x")
    assert refusal(tmp_path).endswith(f"; name {tmp_path / 'test.csv'}")
    (tmp_path / "test.csv").unlink()
    assert refusal(tmp_path).endswith(f"; name {tmp_path / 'train.csv'}")


def test_a_folder_of_idx_files_is_told_which_to_name(tmp_path: Path) -> None:
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"):
        (tmp_path / name).write_bytes(b"")
    assert refusal(tmp_path).endswith(f"; name {tmp_path / 't10k-images-idx3-ubyte.gz'}")
