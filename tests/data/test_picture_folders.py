"""Data sets in folders of pictures: parts, sizes, colour, what is no picture, what is broken."""

import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, load, picture_folders, read_unlabelled
from tinygrad_mnist.data.scaling import scaled

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(2, 256, (12, 5, 4)).astype(np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Folders of the classes "9", "10" and "cat", with 4 pictures each."""
    draw(tmp_path, ("9", "10", "cat"))
    return tmp_path


def draw(path: Path, names: tuple[str, ...], images: NDArray[Any] = IMAGES) -> None:
    for k, image in enumerate(images):
        folder = path / names[k % len(names)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{k}.png")


def sentence(path: Path) -> str:
    said: list[str] = []
    load(path, notify=said.append)
    assert len(said) == 1
    return said[0]


def test_a_folder_is_a_class_and_10_comes_after_9(folders: Path) -> None:
    dataset = load(folders)
    assert dataset.class_names == ("9", "10", "cat")
    assert dataset.image_shape == (5, 4)
    assert (dataset.form, dataset.is_centred) == ("folders of pictures", False)
    shown = {
        dataset.class_names[label]: image
        for image, label in zip(dataset.train_images, dataset.train_labels, strict=True)
    }
    for k, name in enumerate(("9", "10", "cat")):
        assert bytes(shown[name]) in {bytes(image) for image in IMAGES[k::3]}


def test_a_test_part_is_set_aside_and_said(folders: Path) -> None:
    assert sentence(folders) == (
        f"{folders}: it has no test part, so 2 of its 12 pictures are set aside as one, always the same."
    )


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing"), ("train", "val")])
def test_train_and_test_have_folders_of_their_own(tmp_path: Path, train: str, test: str) -> None:
    draw(tmp_path / train, ("a", "b"))
    draw(tmp_path / test, ("a", "b"), IMAGES[:4])
    dataset = load(tmp_path)
    assert len(dataset.train_images) == 12
    np.testing.assert_array_equal(dataset.test_images, IMAGES[[0, 2, 1, 3]])


def test_a_validation_part_joins_the_training_part_with_a_word(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        draw(tmp_path / part, ("a", "b"))
    said: list[str] = []
    assert len(load(tmp_path, notify=said.append).train_images) == 24
    assert "its validation part joins the training part" in said[0]


def test_a_test_folder_without_classes_is_no_test_part(tmp_path: Path) -> None:
    draw(tmp_path / "train", ("a", "b"))
    draw(tmp_path, ("test",))
    assert len(load(tmp_path).train_images) == 10
    np.testing.assert_array_equal(read_unlabelled(tmp_path / "test"), IMAGES)


def test_the_set_may_lie_alone_in_a_folder(tmp_path: Path) -> None:
    draw(tmp_path / "mnist_png" / "training", ("a", "b"))
    draw(tmp_path / "mnist_png" / "testing", ("a", "b"))
    assert len(load(tmp_path).test_images) == 12


def test_pictures_may_lie_deeper_and_other_files_are_left_out_with_a_word(folders: Path) -> None:
    (folders / "cat" / "more").mkdir()
    Image.fromarray(IMAGES[0]).save(folders / "cat" / "more" / "a.JPG", "JPEG")
    (folders / "cat" / "notes.txt").write_text("x")
    (folders / "readme.md").write_text("x")
    for hidden in (".DS_Store", "Thumbs.db"):
        (folders / "cat" / hidden).write_text("x")
    (folders / ".git").mkdir()
    assert "1 other file is left out; it has no test part, so 3 of its 13 pictures" in sentence(folders)


def test_other_sizes_are_scaled_to_the_most_frequent_with_a_word(folders: Path) -> None:
    large = np.kron(IMAGES[0], np.ones((2, 2), np.uint8))
    Image.fromarray(large).save(folders / "9" / "0.png")
    assert "the pictures have 2 sizes up to 10 x 8 pixels, and 1 of 12 are scaled to 5 x 4;" in sentence(
        folders
    )
    dataset = load(folders)
    images = np.concatenate([dataset.train_images, dataset.test_images])
    assert bytes(IMAGES[0]) in {bytes(image) for image in images}


def test_large_pictures_are_scaled_down_with_a_word(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_folders, "LONGEST_SIDE", 3)
    assert "the pictures have a size of 5 x 4 pixels, and all are scaled to 3 x 2;" in sentence(folders)
    assert load(folders).image_shape == (3, 2)


def test_colour_is_made_grey_with_a_word(folders: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (5, 4, 3)).astype(np.uint8)).save(folders / "9" / "0.png")
    assert "colour is made grey;" in sentence(folders)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_picture_is_named(folders: Path, content: bytes) -> None:
    path = folders / "10" / "1.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        load(folders)
    assert str(path) in str(raised.value)


def test_a_picture_that_is_cut_off_is_named(folders: Path) -> None:
    path = folders / "10" / "1.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"1.png is damaged or cut off"):
        load(folders)


def test_a_decompression_bomb_is_refused_by_its_header(folders: Path) -> None:
    path = folders / "10" / "1.png"
    content = bytearray(path.read_bytes())
    content[16:24] = 2 * (20_000).to_bytes(4, "big")  # width and height
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(DataError, match="has more than 64,000,000 pixels"):
        load(folders)


def test_too_many_pictures_are_refused_by_their_headers(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_folders, "MOST_BYTES", 12 * 20 - 1)
    with pytest.raises(DataError, match="12 pictures, which take 240 bytes at 5 x 4 pixels"):
        load(folders)


def test_a_class_without_pictures_is_named(folders: Path) -> None:
    (folders / "dog").mkdir()
    with pytest.raises(DataError, match="where those of the class 'dog' were expected"):
        load(folders)


def test_a_directory_of_anything_is_no_data_set(folders: Path) -> None:
    for name in ("docs", "src", "tests"):
        (folders / name).mkdir()
    with pytest.raises(DataError, match=r"it has 9, 10, cat, docs, \.\.\., where the four IDX files"):
        load(folders)


def test_one_class_only_is_told_so(tmp_path: Path) -> None:
    draw(tmp_path, ("cat",))
    with pytest.raises(DataError, match="it has the pictures of one class only, 'cat'"):
        load(tmp_path)


def test_pictures_without_folders_are_told_so(tmp_path: Path) -> None:
    draw(tmp_path, (".",))
    with pytest.raises(DataError, match="it has 12 pictures, but no folder for each class"):
        load(tmp_path)


def test_parts_without_folders_for_the_classes_are_no_classes(tmp_path: Path) -> None:
    draw(tmp_path, ("train_images", "test_images"))
    with pytest.raises(DataError, match="it has test_images, train_images, where the four IDX files"):
        load(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    draw(tmp_path, ("bus", "train"))
    assert load(tmp_path).class_names == ("bus", "train")


def test_a_name_that_is_no_text_is_told_so(tmp_path: Path) -> None:
    draw(tmp_path, ("cat",))
    try:
        (tmp_path / "b\udcffd").mkdir()
    except (OSError, UnicodeError):
        pytest.skip("a system without such names")
    Image.fromarray(IMAGES[0]).save(tmp_path / "b\udcffd" / "0.png")
    with pytest.raises(DataError, match=r"b\\udcffd' is no text in UTF-8; rename it"):
        load(tmp_path)


def test_unlabelled_pictures_are_scaled_to_the_size_that_is_asked_for(tmp_path: Path) -> None:
    draw(tmp_path, (".",))
    assert read_unlabelled(tmp_path, (3, 3)).shape == (12, 3, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no pictures"):
        read_unlabelled(tmp_path / "empty")


def test_without_pillow_the_extra_is_named(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"tinygrad_mnist\[images\]"):
        load(folders)


def test_scaling_keeps_the_mean_and_does_nothing_to_what_fits() -> None:
    picture = RNG.integers(0, 256, (12, 8)).astype(np.uint8)
    assert scaled(picture, (12, 8)) is picture
    np.testing.assert_allclose(scaled(picture, (3, 2)), picture.reshape(3, 4, 2, 4).mean((1, 3)), atol=0.5)
    assert scaled(picture, (24, 16)).mean() == pytest.approx(picture.mean(), abs=2)
