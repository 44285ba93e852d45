"""Data sets that are told from MNIST by their pictures or names, and the names of classes that they bring."""

from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.data import load, read_unlabelled
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.known_sets import (
    EMNIST_NAMES,
    KNOWN_SETS,
    KnownSet,
    emnist_split,
    known_by_name,
    known_by_pictures,
)

LABELS = np.repeat(np.arange(10), 6000)


def with_statistics(mean: float, std: float) -> np.ndarray:
    """Return 60,000 pictures whose pixels, black and one grey, have a mean and a deviation."""
    grey = (mean**2 + std**2) / mean
    pixels = np.zeros(784, np.uint8)
    pixels[: round(784 * mean / grey)] = round(255 * grey)
    return np.broadcast_to(pixels.reshape(28, 28), (60_000, 28, 28))


@pytest.mark.parametrize("known", KNOWN_SETS, ids=lambda known: known.title)
def test_a_set_is_told_by_its_pixels_whatever_their_order(
    known: KnownSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = with_statistics(known.mean, known.std)
    monkeypatch.setattr(
        "tinygrad_mnist.data.known_sets._TOLERANCE", 0.002
    )  # as grey values are whole numbers
    assert known_by_pictures(pictures, LABELS) == known
    assert known_by_pictures(pictures, LABELS[::-1]) == known
    assert known_by_pictures(pictures[:-1], LABELS[:-1]) is None


def test_the_official_mnist_is_none_of_them(mnist_dir: Path) -> None:
    dataset = load(mnist_dir, notify=pytest.fail)
    assert dataset.class_names == tuple("0123456789")
    assert (dataset.form, dataset.is_centred) == ("IDX files", True)


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("data/fashion-mnist", "Fashion-MNIST"),
        ("FashionMNIST/raw", "Fashion-MNIST"),
        ("fashion-mnist_train.csv", "Fashion-MNIST"),
        ("KMNIST/raw", "KMNIST"),
        ("kuzushiji.npz", "KMNIST"),
        ("mnist", None),
        ("fashion/deep/er", None),
    ],
)
def test_a_set_is_told_by_its_name(path: str, title: str | None) -> None:
    known = known_by_name(Path(path), np.arange(10))
    assert (known and known.title) == title


@pytest.mark.parametrize(
    ("shape", "page", "names", "is_centred"),
    [
        ((6, 6), 0, "0123", True),
        ((6, 6), 0, "abcd", False),
        ((6, 5), 0, "0123", False),
        ((6, 6), 255, "0123", False),
    ],
)
def test_pictures_are_taken_for_digits_by_names_squares_and_dark_borders(
    tmp_path: Path, shape: tuple[int, int], page: int, names: str, is_centred: bool
) -> None:
    images = np.full((20, *shape), page, np.uint8)
    images[:, 2, 2] = 100
    np.savez(tmp_path / "set.npz", x_train=images, y_train=np.array(list(names))[np.arange(20) % 4])
    assert load(tmp_path / "set.npz").is_centred is is_centred


def test_other_labels_are_of_no_known_set() -> None:
    assert known_by_name(Path("fashion"), np.arange(11)) is None
    assert known_by_name(Path("fashion"), np.array(["a", "b"])) is None


def test_the_names_are_used_and_said(tmp_path: Path) -> None:
    path = tmp_path / "fashion_small.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28)).astype(np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(40) % 10, x_test=images, y_test=np.arange(40) % 10)
    said: list[str] = []
    dataset = load(path, notify=said.append)
    assert dataset.class_names[::9] == ("T-shirt/top", "Ankle boot")
    assert (dataset.form, dataset.is_centred) == ("Fashion-MNIST in an .npz file", False)
    assert said == [f"{path}: its classes are taken for those of Fashion-MNIST, after its name."]


def test_a_list_beside_the_data_goes_before_its_name(tmp_path: Path) -> None:
    path = tmp_path / "fashion_small.npz"
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4)).astype(np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(8) % 2)
    (tmp_path / "class_names.txt").write_text("hat\nscarf\n")
    assert load(path).class_names == ("hat", "scarf")
    (tmp_path / "class_names.txt").write_bytes(b"\xff\n\xfe\n")
    with pytest.raises(DataError, match=r"class_names.txt cannot be read as a text in UTF-8"):
        load(path)


def test_emnist_s_splits_have_as_many_classes_as_published() -> None:
    sizes = {split: len(names) for split, names in EMNIST_NAMES.items()}
    assert sizes == {"digits": 10, "mnist": 10, "letters": 26, "balanced": 47, "bymerge": 47, "byclass": 62}
    assert min(EMNIST_NAMES["letters"]) == 1


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("emnist-byclass-train-images-idx3-ubyte", "byclass"),
        ("emnist-letters-train", "letters"),
        ("emnist-letters-", "letters"),
        ("EMNIST-Letters-test.csv", "letters"),
        ("kemnist-x", None),
        ("", None),
    ],
)
def test_the_split_stands_in_the_name(name: str, split: str | None) -> None:
    assert emnist_split(name) == split


# ---- files that are no data set ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "empty.csv is empty, where the four IDX files of MNIST"),
        ("archive.zip", b"PK\3\4", "is an archive; unpack it, and name the directory"),
        ("archive.tar.gz", b"\x1f\x8b", "is an archive"),
        ("notes.md", b"hello", "is no data set, where the four IDX files"),
        ("seven.png", b"\x89PNG", "is a single picture, where the four IDX files"),
        ("model.pkl", b"\x80\4", "is no data set"),
    ],
)
def test_another_file_is_told_what_is_taken(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        load(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_another_directory_is_told_what_is_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with pytest.raises(DataError, match=r"it has deep, notes.txt, where the four IDX files of MNIST"):
        load(tmp_path)
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"several .npz files, a.npz, b.npz; name the one to read"):
        load(tmp_path)


def test_a_device_is_not_read(tmp_path: Path) -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("a system without it")
    with pytest.raises(DataError, match="is neither a file nor a directory"):
        load("/dev/zero")
    with pytest.raises(DataError, match="is neither a file nor a directory"):
        read_unlabelled("/dev/zero")
    with pytest.raises(DataError, match="absent cannot be read"):
        read_unlabelled(tmp_path / "absent")
