"""Drawings that are kept: as they were drawn, whole, within limits, and for a training to take."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.serve.pictures import PNG, Drawing, stroke
from tinygrad_mnist.data import DataError, load, load_digits, read_unlabelled
from tinygrad_mnist.data.images import read_image
from tinygrad_mnist.data.pillow_images import read_outline
from tinygrad_mnist.data.prepare import Preparation
from tinygrad_mnist.files import Lock
from tinygrad_mnist.serve import kept as kept_module
from tinygrad_mnist.serve.kept import FullError, KeptDrawings
from tinygrad_mnist.training import RECIPES, predict_picture, train
from tinygrad_mnist.training.prediction import preparation_of
from tinygrad_mnist.training.runs import run as run_module

DIGITS = tuple("0123456789")
MNIST = Preparation((28, 28))


def drawing(k: int = 0) -> Drawing:
    """A stroke on white paper; each number is another."""
    return stroke(120 + k, 90)


def test_a_drawing_is_kept_as_it_was_drawn(tmp_path: Path) -> None:
    kept = KeptDrawings(tmp_path / "new" / "drawings", MNIST, DIGITS)
    path = kept.keep(io.BytesIO(PNG), "7")
    assert path.parent == tmp_path / "new" / "drawings" / "7"
    assert path.suffix == ".png"
    np.testing.assert_array_equal(read_image(path), stroke())
    assert (kept.drawings, kept.bytes) == (1, path.stat().st_size)


def test_nothing_of_its_file_is_kept_but_the_grey_values(tmp_path: Path) -> None:
    stream = io.BytesIO()
    image = Image.fromarray(np.stack([drawing()] * 3, axis=-1))
    image.getexif()[0x010E] = "who drew it"
    image.save(stream, "PNG", exif=image.getexif())
    stream.write(b"<script>")
    path = KeptDrawings(tmp_path, MNIST, DIGITS).keep(io.BytesIO(stream.getvalue()), "7")
    content = path.read_bytes()
    assert b"who drew it" not in content
    assert b"script" not in content
    assert not read_outline(path).is_coloured


def test_equal_drawings_are_one_file(tmp_path: Path) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS)
    paths = [kept.keep(drawing(k), "7") for k in (0, 1, 0)]
    assert len(set(paths)) == kept.drawings == 2
    assert paths[0] == paths[2]


def files(directory: Path) -> list[str]:
    """The pictures in a directory, each by the name of its folder; a folder without one counts, too."""
    folders = [path for path in directory.iterdir() if path.is_dir()]
    return sorted(folder.name for folder in folders for _ in list(folder.iterdir()) or [None])


def test_the_last_answer_to_a_drawing_holds(tmp_path: Path) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS)
    for name in "127":
        path = kept.keep(drawing(), name)
        assert files(tmp_path) == [name]
        assert path.parent.name == name
        assert (kept.drawings, kept.bytes) == (1, path.stat().st_size)


def test_another_answer_needs_no_room(tmp_path: Path) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS, most_drawings=2)
    for k in range(2):
        kept.keep(drawing(k), "1")
    kept.keep(drawing(0), "2")
    assert files(tmp_path) == ["1", "2"]
    with pytest.raises(FullError):
        kept.keep(drawing(2), "3")
    assert files(tmp_path) == ["1", "2"]  # and no empty folder, which no training takes


def test_answers_of_a_model_with_other_classes_hold_too(tmp_path: Path) -> None:
    KeptDrawings(tmp_path, MNIST, ("one", "two")).keep(drawing(), "one")
    KeptDrawings(tmp_path, MNIST, DIGITS).keep(drawing(), "1")
    assert files(tmp_path) == ["1"]


def test_a_drawing_that_got_two_classes_in_former_versions_keeps_the_last(tmp_path: Path) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS)
    path = kept.keep(drawing(), "1")
    for name in "23":
        (tmp_path / name).mkdir()
        (tmp_path / name / path.name).write_bytes(path.read_bytes())
    kept.keep(drawing(), "2")
    assert files(tmp_path) == ["2"]
    assert kept.drawings == 1


def test_a_drawing_that_cannot_be_moved_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS)
    path = kept.keep(drawing(), "1")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_module.os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        kept.keep(drawing(), "2")
    assert files(tmp_path) == ["1"]
    np.testing.assert_array_equal(read_image(path), drawing())


def test_services_of_one_directory_keep_its_limit_and_one_class_of_each_drawing(tmp_path: Path) -> None:
    """Objects stand for processes: the lock between them is one of open files, and not of a process."""
    services = [KeptDrawings(tmp_path, MNIST, DIGITS, most_drawings=6) for _ in range(3)]

    def keep(number: int) -> None:
        with suppress(FullError):
            services[number % 3].keep(drawing(number % 8), DIGITS[number % 10])

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(keep, range(60)))
    names = [path.name for path in tmp_path.glob("*/*.png")]
    assert len(names) == len(set(names)) == 6
    assert [path.name for path in tmp_path.iterdir() if not path.is_dir()] == ["drawings.json"]


def test_a_process_that_writes_for_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS)
    monkeypatch.setattr(kept_module, "_PATIENCE", 0.0)
    lock = Lock(tmp_path / ".lock")
    with pytest.raises(OSError, match=r"another process is writing there: process [0-9]+ on"):
        kept.keep(drawing(), "1")
    lock.release()
    kept.keep(drawing(), "1")


def test_what_was_kept_before_counts(tmp_path: Path) -> None:
    before = KeptDrawings(tmp_path, MNIST, DIGITS)
    for k in range(3):
        before.keep(drawing(k), "7")
    kept = KeptDrawings(tmp_path, MNIST, DIGITS, most_drawings=4)
    assert (kept.drawings, kept.bytes) == (3, before.bytes)
    kept.keep(drawing(3), "1")
    with pytest.raises(
        FullError, match=r"4 drawings of .* are kept, and at most 4 of 256 MiB are; move them elsewhere$"
    ):
        kept.keep(drawing(4), "2")
    kept.keep(drawing(3), "1")  # it is there already
    next((tmp_path / "7").iterdir()).unlink()  # as the sentence says
    kept.keep(drawing(4), "2")


def test_bytes_are_limited(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8)
    noise[:, :20] = 255
    kept = KeptDrawings(tmp_path, Preparation((60, 60), is_centred=False), DIGITS, most_bytes=5000)
    kept.keep(noise, "7")
    with pytest.raises(FullError, match=r"at most 10,000 of 4\.88 KiB"):
        kept.keep(noise[::-1], "7")
    assert len(list((tmp_path / "7").iterdir())) == 1


def test_threads_keep_no_more_than_may_be(tmp_path: Path) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS, most_drawings=10)

    def keep(k: int) -> bool:
        try:
            kept.keep(drawing(k % 30), DIGITS[k % 2])
        except FullError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(keep, range(60)))
    assert kept.drawings == len(list(tmp_path.glob("*/*.png"))) == 10


@pytest.mark.parametrize(
    ("picture", "name", "reason"),
    [
        (drawing(), "11", "there is no class '11'; the classes are 0, 1, 2"),
        (drawing(), "../7", "there is no class"),
        (np.full((50, 50), 255, np.uint8), "7", "the array: the picture is blank"),
        (io.BytesIO(b"no picture"), "7", "the file object is not a picture"),
        (np.zeros((1, 2049), np.uint8), "7", "has 1 x 2049 pixels, and drawings of at most 2048 a side"),
    ],
)
def test_what_cannot_be_trained_on_is_not_kept(tmp_path: Path, picture: Any, name: str, reason: str) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS)
    with pytest.raises(DataError, match=reason):
        kept.keep(picture, name)
    assert [path.name for path in tmp_path.iterdir()] == ["drawings.json"]


UNSAFE = [
    "",
    ".",
    "..",
    ".7",
    "a/b",
    "a\\b",
    "a:b",
    "a\0",
    "7 ",
    "7.",
    " 7",
    "CON",
    "nul.txt",
    "test",
    "x" * 256,
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_class_that_cannot_be_a_folder_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="as the folder of a class cannot be called so"):
        KeptDrawings(tmp_path / "new", MNIST, ("7", name))
    assert not (tmp_path / "new").exists()


def test_classes_of_any_usual_name_are_kept(tmp_path: Path) -> None:
    names = ("T-shirt, top", "a", "é", "お", "10")
    kept = KeptDrawings(tmp_path, MNIST, names)
    for number, name in enumerate(names):
        for k in range(5):
            kept.keep(drawing(5 * number + k), name)
    assert sorted(load(tmp_path).class_names) == sorted(names)


def test_a_directory_of_other_pictures_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    Image.fromarray(drawing()).save(tmp_path / "cats" / "1.png")
    with pytest.raises(DataError, match=r"has pictures that were not kept here .* name an empty directory"):
        KeptDrawings(tmp_path, MNIST, DIGITS)
    assert [path.name for path in tmp_path.iterdir()] == ["cats"]


def test_drawings_for_another_preparation_are_left_alone(tmp_path: Path) -> None:
    KeptDrawings(tmp_path, MNIST, DIGITS)
    KeptDrawings(tmp_path, MNIST, DIGITS)
    with pytest.raises(DataError, match=r"placed signs of 28 x 28 pixels on a dark page, and .* of 8 x 8"):
        KeptDrawings(tmp_path, Preparation((8, 8)), DIGITS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is no JSON"),
        ("{}", "lacks image_shape"),
        ('{"image_shape": [28, 27], "is_centred": true, "page": "dark"}', "only square"),
        ('{"image_shape": [0, 0], "is_centred": true, "page": "dark"}', "from 1 to"),
        ('{"image_shape": [28, 28], "is_centred": true, "page": ["dark"]}', "dark or a light page"),
        ("[" * 50_000, "is no JSON"),
    ],
)
def test_a_damaged_file_of_a_folder_is_told(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "drawings.json").write_text(content)
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(drawing()).save(tmp_path / name / "1.png")
    with pytest.raises(DataError, match=rf"drawings\.json.*{reason}.*remove it"):
        load(tmp_path)


@pytest.mark.parametrize("page", ["dark", "light"])
@pytest.mark.parametrize("is_centred", [True, False])
def test_kept_drawings_are_read_as_a_model_is_shown_them(tmp_path: Path, page: str, is_centred: bool) -> None:
    preparation = Preparation((28, 28), is_centred, page)
    kept = KeptDrawings(tmp_path, preparation, DIGITS)
    for k in range(10):
        kept.keep(drawing(k), DIGITS[k % 2])
    said: list[str] = []
    dataset = load(tmp_path, notify=said.append)
    assert (dataset.class_names, dataset.is_centred) == (("0", "1"), is_centred)
    assert "on 28 x 28 pixels, as a model is shown them" in said[0]
    shown = {bytes(preparation(drawing(k)).image) for k in range(10)}
    found = {bytes(image) for part in (dataset.train_images, dataset.test_images) for image in part}
    assert found == shown
    assert read_unlabelled(tmp_path, (8, 8)).shape == (10, 8, 8)


def test_a_drawing_that_is_blank_is_named_when_it_is_read(tmp_path: Path) -> None:
    kept = KeptDrawings(tmp_path, MNIST, DIGITS)
    kept.keep(drawing(0), "1")
    kept.keep(drawing(1), "2")
    Image.new("L", (30, 30), 255).save(tmp_path / "2" / "blank.png")
    with pytest.raises(DataError, match=r"blank\.png: the picture is blank"):
        load(tmp_path)


def test_a_model_is_trained_on_kept_drawings_and_recognises_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn large and anywhere on white paper: as a whole, scaled, they could hardly be told apart."""
    digits = load_digits()
    kept = KeptDrawings(tmp_path / "drawings", Preparation((8, 8)), DIGITS)
    rng = np.random.default_rng(0)
    drawings = []
    for image, label in zip(digits.train_images[:110], digits.train_labels[:110], strict=True):
        margins = rng.integers(4, 80, (2, 2))
        drawings.append(255 - np.pad(image.repeat(6, axis=0).repeat(6, axis=1), margins))
        kept.keep(drawings[-1], str(label))
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
    dataset = load(tmp_path / "drawings", notify=lambda sentence: None)
    checkpoint = train(
        RECIPES["digits"].changed(epochs=20), dataset, out=tmp_path / "run", report=False
    ).checkpoint
    assert preparation_of(checkpoint) == Preparation((8, 8))
    seen = [predict_picture(checkpoint, drawn).name for drawn in drawings]
    right = np.mean([name == str(label) for name, label in zip(seen, digits.train_labels, strict=False)])
    assert right > 0.9


def test_the_file_of_a_folder_says_what_it_is(tmp_path: Path) -> None:
    KeptDrawings(tmp_path, MNIST, DIGITS)
    values = json.loads((tmp_path / "drawings.json").read_text())
    assert values.pop("about").startswith("The pictures here are as they were drawn")
    assert values == {"image_shape": [28, 28], "is_centred": True, "page": "dark"}
