"""Small data files in the format of MNIST's, and a browser."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# They hold no tests, and cannot be imported without Playwright: `--doctest-modules` would fail on them.
collect_ignore = ["browser.py", "serve/visitor.py"]

TYPE_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def _encode(array: NDArray[Any]) -> bytes:
    code = TYPE_CODES[array.dtype.str[1:]]
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="session")
def encode_idx() -> Callable[[NDArray[Any]], bytes]:
    """The content of an IDX file that holds an array."""
    return _encode


@pytest.fixture(scope="session")
def small_mnist() -> dict[str, bytes]:
    """Files as MNIST's, with 30 training and 10 test images; uncompressed, by name."""
    images = np.arange(40 * 28 * 28).astype(np.uint8).reshape(40, 28, 28)
    labels = np.arange(40).astype(np.uint8) % 10
    return {
        "train-images-idx3-ubyte": _encode(images[:30]),
        "train-labels-idx1-ubyte": _encode(labels[:30]),
        "t10k-images-idx3-ubyte": _encode(images[30:]),
        "t10k-labels-idx1-ubyte": _encode(labels[30:]),
    }


@pytest.fixture
def mnist_directory(tmp_path: Path, small_mnist: dict[str, bytes]) -> Path:
    """A directory with `small_mnist`, gzipped."""
    directory = tmp_path / "some-mnist"
    directory.mkdir()
    for name, content in small_mnist.items():
        (directory / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    return directory


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium for the tests of one file.

    Not for longer: while Playwright runs, its event loop is this thread's, and `asyncio.run` of another test
    would be refused.
    """
    from tests.browser import chromium

    with chromium() as started:
        yield started
