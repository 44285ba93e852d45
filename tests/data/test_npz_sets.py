"""Data sets in .npz files: shapes, dtypes, colour, labels of all kinds, faults, attacks, damage."""

import io
import re
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, load

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(2, 256, (20, 6, 6)).astype(np.uint8)
LABELS = np.arange(20) % 4


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path / "set.npz", **arrays)
    return path / "set.npz"


def whole(images: NDArray[Any] = IMAGES, labels: NDArray[Any] = LABELS) -> dict[str, NDArray[Any]]:
    return {"x_train": images[:16], "y_train": labels[:16], "x_test": images[16:], "y_test": labels[16:]}


def fault(path: Path, **changes: Any) -> str:
    """Load the set with some arrays changed, which must be refused by a message that names the file."""
    file = write(path, **{**whole(), **changes})
    with pytest.raises(DataError) as raised:
        load(file)
    message = str(raised.value)
    assert str(file) in message
    assert "\n" not in message
    return message


def test_keras_s_names_are_read_without_a_word(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, **whole()), notify=pytest.fail)
    np.testing.assert_array_equal(dataset.train_images, IMAGES[:16])
    np.testing.assert_array_equal(dataset.test_labels, LABELS[16:])
    assert (dataset.name, dataset.form) == ("set.npz", "an .npz file")


def test_a_directory_with_one_file_stands_for_the_file(tmp_path: Path) -> None:
    write(tmp_path, **whole())
    assert len(load(tmp_path).train_images) == 16


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "y_train", "X_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_other_usual_names_are_read(tmp_path: Path, names: tuple[str, ...]) -> None:
    file = write(tmp_path, **dict(zip(names, whole().values(), strict=True)))
    assert len(load(file).test_images) == 4


@pytest.mark.parametrize(
    "shaped",
    [
        IMAGES[..., None],
        IMAGES[:, None],
        IMAGES.reshape(20, 36),
        np.asfortranarray(IMAGES),
        IMAGES.astype(np.int64),
        IMAGES.astype(np.float32),
        np.stack([IMAGES] * 3, axis=-1),
        np.stack([IMAGES] * 3, axis=1),
    ],
    ids=["one channel", "channel first", "rows", "fortran", "int64", "float32", "colour", "colour first"],
)
def test_every_usual_shape_and_dtype_gives_the_same_pictures(tmp_path: Path, shaped: NDArray[Any]) -> None:
    dataset = load(write(tmp_path, **whole(shaped)))
    assert dataset.train_images.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train_images, IMAGES[:16])


def test_colour_is_made_grey_with_a_word_and_as_pillow_does(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    colour = RNG.integers(0, 256, (20, 6, 6, 3)).astype(np.uint8)
    said: list[str] = []
    dataset = load(write(tmp_path, **whole(colour)), notify=said.append)
    expected = [np.asarray(image.fromarray(picture).convert("L")) for picture in colour[:16]]
    np.testing.assert_array_equal(dataset.train_images, expected)
    assert said[0].endswith("set.npz: colour is made grey.")


def test_shares_of_white_are_scaled_with_a_word_and_on_one_scale(tmp_path: Path) -> None:
    shares = IMAGES / np.float32(255)
    shares[:16] /= 2  # the training part alone would be brighter
    shares[16] = 1
    said: list[str] = []
    dataset = load(write(tmp_path, **whole(shares)), notify=said.append)
    np.testing.assert_array_equal(dataset.train_images, np.rint(shares[:16].astype(float) * 255))
    assert "values from 0 to 1 are scaled to 0 to 255" in said[0]


def test_black_and_white_bytes_are_scaled(tmp_path: Path) -> None:
    dataset = load(write(tmp_path, **whole((IMAGES > 128).astype(np.uint8))))
    np.testing.assert_array_equal(dataset.train_images, np.where(IMAGES[:16] > 128, 255, 0))


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(np.uint8),
        LABELS[:, None],
        LABELS.astype(np.float64),
        np.eye(4)[LABELS],
        LABELS.astype(str),
    ],
    ids=["uint8", "a column", "floats", "one-hot", "texts"],
)
def test_every_usual_kind_of_labels_gives_the_same_classes(tmp_path: Path, labels: NDArray[Any]) -> None:
    dataset = load(write(tmp_path, **whole(labels=labels)))
    np.testing.assert_array_equal(dataset.train_labels, LABELS[:16])
    assert dataset.class_names == ("0", "1", "2", "3")


def test_texts_are_the_names_of_classes(tmp_path: Path) -> None:
    names = np.array(["pear 10", "pear 9", "apple", "fig"])
    dataset = load(write(tmp_path, **whole(labels=names[LABELS])))
    assert dataset.class_names == ("apple", "fig", "pear 9", "pear 10")
    np.testing.assert_array_equal(np.array(dataset.class_names)[dataset.test_labels], names[LABELS[16:]])


def test_a_file_beside_it_names_the_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("zero\none\n\ntwo\nthree\n", encoding="utf-8")
    assert load(write(tmp_path, **whole())).class_names == ("zero", "one", "two", "three")


def test_too_few_names_beside_it_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("zero\none\n", encoding="utf-8")
    assert "has the label 2, which has no name among the 2" in fault(tmp_path)


def test_without_a_test_part_one_is_set_aside_and_always_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, x_train=IMAGES, y_train=LABELS)
    said: list[str] = []
    first, second = load(file, notify=said.append), load(file)
    assert "so 4 of its 20 pictures are set aside as one" in said[0]
    assert np.bincount(first.test_labels).tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(first.test_images, second.test_images)


def test_a_validation_part_joins_the_training_part_with_a_word(tmp_path: Path) -> None:
    said: list[str] = []
    dataset = load(write(tmp_path, **whole(), x_val=IMAGES[:3], y_val=LABELS[:3]), notify=said.append)
    assert len(dataset.train_images) == 19
    assert "its validation part joins the training part" in said[0]


def test_labels_with_a_gap_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    dataset = load(write(tmp_path, **whole(labels=LABELS + (LABELS > 1))), notify=said.append)
    assert dataset.class_names == ("0", "1", "3", "4")
    assert "no picture has the label 2, so that is no class" in said[0]


def test_a_class_that_is_in_the_test_part_alone_is_told(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[19] = 4
    said: list[str] = []
    assert load(write(tmp_path, **whole(labels=labels)), notify=said.append).classes == 5
    assert "no training picture shows 4, so that cannot be learned" in said[0]


def test_a_large_class_number_takes_no_memory(tmp_path: Path) -> None:
    labels = np.where(LABELS == 3, 10**14, LABELS)
    assert load(write(tmp_path, **whole(labels=labels))).class_names[-1] == str(10**14)


with_nan = IMAGES.astype(np.float32)
with_nan[5, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": IMAGES[:16, :5].reshape(16, 30)}, "pictures of shape 16 x 30, where"),
        ({"x_train": np.zeros((16, 6, 6, 4), np.uint8)}, "pictures of shape 16 x 6 x 6 x 4, where"),
        ({"x_train": np.zeros((16, 6, 6, 3, 1), np.uint8)}, "where .n, h, w.,"),
        ({"x_train": np.zeros((0, 6, 6), np.uint8)}, "holds no pictures: its shape is 0 x 6 x 6"),
        ({"x_train": np.uint8(3)}, "its shape is a single number"),
        ({"x_train": IMAGES[:16].astype(str)}, "pictures of type <U3, where numbers were expected"),
        ({"x_train": with_nan[:16]}, "in 1 of 16 pictures, the first of them number 5"),
        ({"x_train": IMAGES[:16] / 1.0 - 10}, "holds values from -8 to 245, where 0 to 255"),
        ({"x_train": IMAGES[:16].astype(int) * 1000}, "where 0 to 255 .or 0 to 1, or to 65535. was expected"),
        ({"x_train": IMAGES[:16, :5]}, r"height and width \(6, 6\), and those of the training part \(5, 6\)"),
        ({"x_train": IMAGES[:15]}, "there are 15 pictures and 16 labels"),
        ({"y_train": LABELS[:16] + 0.5}, "the label 0.5 at position 0, where whole numbers"),
        ({"y_train": np.full(16, np.nan)}, "the label nan at position 0"),
        ({"y_train": np.full((16, 2, 2), 1)}, r"labels of shape \(16, 2, 2\)"),
        ({"y_train": np.full((16, 2), 7)}, r"labels of shape \(16, 2\)"),
        ({"y_train": LABELS[:16].astype("M8[s]")}, "'y_train', an array of dates"),
        ({"y_train": LABELS[:16].astype(complex)}, "labels of type complex128"),
        ({"y_train": np.array([""] * 16)}, "an empty label at position 0"),
        ({"y_train": np.array(["x" * 300] * 16)}, "a label of 300 characters at position 0"),
        (
            {"y_train": LABELS[:16].astype(object)},
            "has an array of objects; save numbers or texts .'y_train' is pickled",
        ),
        ({"y_train": np.zeros(16, int), "y_test": np.zeros(4, int)}, "all pictures have the label 0"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    found = fault(tmp_path, **changes)
    assert re.search(message, found), found


def test_other_arrays_are_listed(tmp_path: Path) -> None:
    file = write(tmp_path, **{"a": IMAGES, "b\n": LABELS})
    with pytest.raises(DataError, match=r"has the arrays a, b\\n, where x_train, y_train, x_test and y_test"):
        load(file)


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    labels = np.arange(2001)
    file = write(tmp_path, x_train=np.full((2001, 2, 2), 9, np.uint8), y_train=labels)
    with pytest.raises(DataError, match="more than 2,000 different labels"):
        load(file)


def test_too_few_pictures_for_a_test_part(tmp_path: Path) -> None:
    file = write(tmp_path, x_train=IMAGES[:2], y_train=LABELS[:2])
    with pytest.raises(DataError, match="2 pictures, too few to set some aside"):
        load(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello", "it is no .npz file"), (b"PK\x05\x06" + bytes(18), "without any array")],
)
def test_another_file_of_that_name_is_told_so(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "set.npz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(file)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    header = io.BytesIO()
    shape = (3_000_000, 28, 28)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x_train.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            member.write(bytes(1 << 20))
        with archive.open("y_train.npy", "w") as member:
            np.lib.format.write_array(member, np.arange(4))
    content = bytearray(file.read_bytes())
    # the sizes that the archive tells are those that the header promises
    real = (len(header.getvalue()) + (1 << 20)).to_bytes(8, "little")
    told = (len(header.getvalue()) + 3_000_000 * 784).to_bytes(8, "little")
    for width in (8, 4):
        content = bytearray(bytes(content).replace(real[:width], told[:width]))
    file.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as raised:
            load(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(file) in str(raised.value)
    assert peak < 50_000_000


SOUND = io.BytesIO()
np.savez_compressed(SOUND, **whole())
STORED = io.BytesIO()
np.savez(STORED, **whole())


@settings(max_examples=60)
@given(
    content=st.sampled_from([SOUND.getvalue(), STORED.getvalue()]),
    changes=st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3), st.binary(max_size=4)), min_size=1, max_size=4
    ),
)
def test_a_damaged_file_gives_a_set_or_a_sentence(
    content: bytes, changes: list[tuple[int, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(content)
    for place, removed, new in changes:
        damaged[place : place + removed] = new
    file = tmp_path_factory.getbasetemp() / "damaged.npz"
    file.write_bytes(damaged)
    sentence = ""
    try:
        load(file)
    except DataError as error:
        sentence = str(error)
    if sentence:
        assert str(file) in sentence
        assert "\n" not in sentence
