import contextlib
import gzip
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tinygrad_mnist.data import DataError, read_idx
from tinygrad_mnist.data.idx import StoredArray

Encode = Callable[[NDArray[Any]], bytes]
DTYPES = ["u1", "i1", "i2", "i4", "f4", "f8"]
SMALL = np.arange(6, dtype=np.int16).reshape(2, 3)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "some-file"


def fault(path: Path, content: bytes) -> str:
    """Read the content, which must be refused by a message that names the file."""
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_idx(path)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
@given(data=st.data())
def test_what_was_written_is_read(
    data: st.DataObject, dtype: str, compress: Callable[[bytes], bytes], encode_idx: Encode, path: Path
) -> None:
    shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
    array = data.draw(hnp.arrays(np.dtype(dtype), shapes))
    path.write_bytes(compress(encode_idx(array)))
    read = read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


def test_the_array_is_writeable_and_contiguous(encode_idx: Encode, path: Path) -> None:
    path.write_bytes(encode_idx(SMALL))
    flags = read_idx(path).flags
    assert flags.writeable
    assert flags.c_contiguous


def test_a_string_is_taken_for_a_path(encode_idx: Encode, path: Path) -> None:
    path.write_bytes(encode_idx(SMALL))
    np.testing.assert_array_equal(read_idx(str(path)), SMALL)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_content_and_not_name_says_whether_it_is_gzipped(
    suffix: str, encode_idx: Encode, tmp_path: Path
) -> None:
    path = tmp_path / f"misnamed{suffix}"
    content = encode_idx(SMALL)
    path.write_bytes(content if suffix else gzip.compress(content))
    np.testing.assert_array_equal(read_idx(path), SMALL)


@pytest.mark.parametrize("dtype", DTYPES)
def test_truncation_at_every_byte_is_found(dtype: str, encode_idx: Encode, path: Path) -> None:
    content = encode_idx(SMALL.astype(dtype))
    for length in range(len(content)):
        assert "truncated" in fault(path, content[:length])


def test_truncation_of_a_gzip_stream_at_every_byte_is_found(encode_idx: Encode, path: Path) -> None:
    content = gzip.compress(encode_idx(SMALL))
    for length in range(len(content)):
        assert "truncated" in fault(path, content[:length])


def test_a_changed_byte_in_a_gzip_stream_never_changes_the_array(encode_idx: Encode, path: Path) -> None:
    content = gzip.compress(encode_idx(SMALL))
    for position in range(10, len(content)):  # what stands before has no influence: times and names
        changed = bytearray(content)
        changed[position] ^= 0x10
        fault(path, bytes(changed))


def test_an_overlong_file_is_found(encode_idx: Encode, path: Path) -> None:
    assert "longer" in fault(path, encode_idx(SMALL) + b"\0")


def test_an_overlong_gzip_stream_is_found(encode_idx: Encode, path: Path) -> None:
    assert "longer" in fault(path, gzip.compress(encode_idx(SMALL) + b"\0"))


def test_bytes_after_a_gzip_stream_are_found(encode_idx: Encode, path: Path) -> None:
    assert "damaged" in fault(path, gzip.compress(encode_idx(SMALL)) + b"more")


@pytest.mark.parametrize("magic", [b"\x89PNG", b"hell", b"\0\1\x08\1", b"\1\0\x08\1"])
def test_a_wrong_magic_number_is_named(magic: bytes, path: Path) -> None:
    message = fault(path, magic + bytes(100))
    assert "not an IDX file" in message
    assert magic.hex(" ") in message


def test_every_unknown_type_code_is_named(path: Path) -> None:
    for code in set(range(256)) - {0x08, 0x09, 0x0B, 0x0C, 0x0D, 0x0E}:
        message = fault(path, bytes([0, 0, code, 1, 0, 0, 0, 1, 0]))
        assert f"unknown IDX type code 0x{code:02x}" in message


@pytest.mark.parametrize("dimensions", [0, 33, 255])
def test_an_impossible_number_of_dimensions_is_named(dimensions: int, path: Path) -> None:
    content = bytes([0, 0, 0x08, dimensions]) + dimensions * (1).to_bytes(4, "big") + b"\0"
    assert f"{dimensions} dimensions" in fault(path, content)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_header_that_lies_gets_no_memory(compress: Callable[[bytes], bytes], path: Path) -> None:
    content = compress(bytes([0, 0, 0x0E, 3]) + 3 * b"\xff\xff\xff\xff" + bytes(1000))
    tracemalloc.start()
    try:
        message = fault(path, content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "truncated" in message
    assert peak < 10_000_000


def test_dimensions_beyond_every_array_are_refused_even_if_one_is_zero(path: Path) -> None:
    content = bytes([0, 0, 0x0E, 4]) + bytes(4) + 3 * b"\xff\xff\xff\xff"
    assert "no array" in fault(path, content)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent cannot be read"):
        read_idx(tmp_path / "absent")


def test_a_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a directory"):
        read_idx(tmp_path)


@given(content=st.binary(max_size=40) | st.binary(max_size=36).map(b"\0\0\x08\1".__add__))
def test_whatever_the_bytes_are_only_a_data_error_is_raised(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_idx(path)


def header(dtype: int, *shape: int) -> bytes:
    return bytes([0, 0, dtype, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)


def test_what_a_gzip_file_unzips_to_is_limited_by_its_header(path: Path) -> None:
    zeros = gzip.compress(header(0x08, 3900, 1000, 1000) + bytes(1 << 22), 1)
    message = fault(path, zeros + gzip.compress(bytes(1 << 20), 1) * 3900)
    assert "3,900,000,000 bytes in all, and at most 268,435,456 are unzipped" in message
    assert "truncated" in fault(path, zeros)  # so short a file cannot hold as much


@pytest.mark.parametrize("promised", [5, 7])
def test_a_plain_file_of_another_size_is_refused_by_its_header(
    promised: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredArray, "chunks", None)
    assert ("longer" if promised == 5 else "truncated") in fault(path, header(0x08, promised) + bytes(6))


def test_a_large_file_takes_the_memory_of_its_array_and_no_more(path: Path) -> None:
    path.write_bytes(gzip.compress(header(0x0E, 1000, 1000) + bytes(8_000_000), 1))
    tracemalloc.start()
    try:
        read_idx(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000 + 5_000_000


def test_a_pipe_has_no_size_and_is_read(path: Path, encode_idx: Encode, tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("a system without named pipes")
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=[encode_idx(SMALL)])
    writer.start()
    with pytest.raises(DataError, match="cannot be read"):  # to look whether it is gzipped is to go back
        read_idx(fifo)
    writer.join()


SEEDS = [
    header(0x08, 2, 3) + bytes(range(6)),
    header(0x0D, 4) + np.arange(4, dtype=">f4").tobytes(),
    header(0x0B, 0, 5),
    header(0x09, 2, 2, 2) + bytes(8),
]
SEEDS += [gzip.compress(seed, mtime=0) for seed in SEEDS]


@settings(max_examples=10 * settings().max_examples)
@given(
    content=st.sampled_from(SEEDS),
    changes=st.lists(
        st.tuples(
            st.integers(0, 40),
            st.integers(0, 3),
            st.binary(max_size=4) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_damaged_file_gives_an_array_or_a_sentence_in_little_memory(
    content: bytes, changes: list[tuple[int, int, bytes]], path: Path
) -> None:
    damaged = bytearray(content)
    for place, removed, new in changes:
        damaged[place : place + removed] = new
    path.write_bytes(damaged)
    sentence = ""
    tracemalloc.start()
    try:
        array = read_idx(path)
    except DataError as error:
        sentence = str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 5_000_000
    if sentence:
        assert str(path) in sentence
        assert "\n" not in sentence
    else:
        assert array.nbytes <= len(damaged) * 1032
