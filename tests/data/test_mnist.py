import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, DataUnavailableError, cache_directory, load_mnist, mnist
from tinygrad_mnist.data.download import RemoteFile

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

    monkeypatch.setattr(mnist, "download_files", download)
    assert len(load_mnist().train_images) == 30
    assert asked == NAMES[1:3]


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{variable}/tinygrad_mnist"),
        ("linux", None, "{home}/.cache/tinygrad_mnist"),
        ("darwin", "XDG_CACHE_HOME", "{home}/Library/Caches/tinygrad_mnist"),
        ("win32", "LOCALAPPDATA", "{variable}/tinygrad_mnist"),
        ("win32", None, "{home}/AppData/Local/tinygrad_mnist"),
    ],
)
def test_the_cache_is_where_the_system_has_caches(
    platform: str, variable: str | None, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "variable"))
    assert cache_directory() == Path(expected.format(home=tmp_path / "home", variable=tmp_path / "variable"))


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="XDG's rule is for other systems")
def test_a_relative_cache_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == Path.home() / ".cache" / "tinygrad_mnist"


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(DataUnavailableError, match="no home directory"):
        cache_directory()


def test_the_official_files_have_the_published_counts(mnist_dir: Path) -> None:
    dataset = load_mnist(mnist_dir)
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_images.shape == (10_000, 28, 28)
    # the labels of a class in the training part, as LeCun's page and many papers give them
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(dataset.train_labels).tolist() == counts
    assert dataset.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
