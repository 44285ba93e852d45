"""Files of weights from anybody: each is read as it is, or refused in one sentence, with little memory."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_mnist.exchange import WeightsError, load_weights, save_weights
from tinygrad_mnist.exchange.weights import torch_pickle
from tinygrad_mnist.exchange.weights.torch_pickle import Storage, Strided

SUFFIXES = [".npz", ".pt", ".safetensors"]
MOST = 40 << 20
"""Bytes of memory that a file of a few kilobytes may cost: what any file may take, and the machinery."""


@contextmanager
def little_memory(most: int = MOST) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def refuse(path: Path, content: bytes, said: str | None = None) -> None:
    path.write_bytes(content)
    with little_memory(), pytest.raises(WeightsError, match=said) as raised:
        load_weights(path)
    text = str(raised.value)
    assert text.startswith(str(path))
    assert len(text) < 400 + len(str(path))
    assert "\n" not in text


# ---- any bytes -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    weights = {"layer.weight": np.arange(6.0).reshape(2, 3), "layer.bias": np.ones(3, np.float32)}
    for suffix in SUFFIXES:
        save_weights(weights, folder / f"a{suffix}")
    return {suffix: (folder / f"a{suffix}").read_bytes() for suffix in SUFFIXES}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_cut_off_is_refused(suffix: str, good: dict[str, bytes], tmp_path: Path) -> None:
    content = good[suffix]
    for length in {0, 1, 7, 8, 30, *range(len(content) // 7, len(content) - 1, len(content) // 7)}:
        refuse(tmp_path / f"a{suffix}", content[:length])
    refuse(tmp_path / f"a{suffix}", content[:-1])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "other", [*SUFFIXES, b"", b"\0" * 100, b"\x89PNG\r\n\x1a\n", b"{}", b"PK\x05\x06" + bytes(18)]
)
def test_another_kind_of_file_is_refused(
    suffix: str, other: Any, good: dict[str, bytes], tmp_path: Path
) -> None:
    if other == suffix or (suffix == ".npz" and other == b"PK\x05\x06" + bytes(18)):
        return
    refuse(tmp_path / f"a{suffix}", good[other] if isinstance(other, str) else other)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_bytes_are_read_or_refused(
    suffix: str, good: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(good[suffix])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(content)))
        content[place:place] = data.draw(st.binary(max_size=20))
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    path.write_bytes(content)
    with little_memory(120 << 20):  # a header may ask for the 64 MB that any file may take
        try:
            found = load_weights(path)
        except WeightsError as error:
            said = str(error)
        else:
            said = str(path)
            assert all(type(array) is np.ndarray for array in found.values())
    assert str(path) in said


# ---- safetensors -----------------------------------------------------------------------------------------


def safetensors_of(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: Any = (1,), offsets: Any = (0, 4), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "content",
    [
        safetensors_of({"a": tensor()}, bytes(2)),
        safetensors_of({"a": tensor()}, bytes(6)),
        safetensors_of({"a": tensor(), "b": tensor()}, bytes(4)),
        safetensors_of({"a": tensor([1 << 40, 1 << 40])}, bytes(4)),
        safetensors_of({"a": tensor([1 << 40])}, bytes(4)),
        safetensors_of({"a": tensor(offsets=[1 << 40, (1 << 40) + 4])}, bytes(4)),
        safetensors_of({"a": tensor(offsets=[4, 8])}, bytes(8)),
        safetensors_of({"a": tensor(offsets=[4, 0])}, bytes(8)),
        safetensors_of({"a": tensor([-1])}, bytes(4)),
        safetensors_of({"a": tensor("x")}, bytes(4)),
        safetensors_of({"a": tensor(dtype="X9")}, bytes(4)),
        safetensors_of({"a": tensor([0, 1 << 62], [0, 0])}),
        safetensors_of({"a": tensor([1] * 65)}, bytes(4)),
        safetensors_of({"__metadata__": {"a": 3}}),
        safetensors_of(b"[" * 100_000),
        safetensors_of(b"{}", length=1 << 60),
        safetensors_of(b'{"a":' * 100_000),
    ],
)
def test_a_header_of_safetensors_that_does_not_hold_is_refused(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    refuse(tmp_path / "a.safetensors", content)


def test_metadata_of_safetensors_names_only_what_is_there(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    names = {"b": "a", "c": "missing", "a": "b", "d": "b", "format": "a", "x.e": "a"}
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_of({"__metadata__": names, "a": tensor()}, bytes(4)))
    assert {*load_weights(path)} == {"a", "x.e"}
    assert {*load_weights(path, names)} == {"a", "b", "x.e"}


def test_metadata_of_safetensors_hides_no_tensor(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    header = {"__metadata__": {"b": "a"}, "a": tensor(), "b": tensor(offsets=[4, 8])}
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_of(header, np.array([1, 2], np.float32).tobytes()))
    assert load_weights(path)["b"].tolist() == [2]


# ---- NumPy's files ---------------------------------------------------------------------------------------


def npz_of(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def npy_of(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npz_of(**{"a.npy": npy_of(HEADER % "(1000000, 1000000)")}), "longer or shorter than it says"),
        (npz_of(**{"a.npy": npy_of(HEADER % "(13000000,)", bytes(104_000_000))}), "would take"),
        (npz_of(**{"a.npy": npy_of(HEADER % "(3,)".replace("f8", "O"), bytes(8))}), "longer or shorter"),
        (
            npz_of(**{"a.npy": npy_of(HEADER.replace("<f8", "|O") % "(1,)", pickle.dumps(3))}),
            "objects of Python's",
        ),
        (npz_of(**{"a.npy": npy_of(HEADER.replace("<f8", "<c16") % "(1,)", bytes(16))}), "complex128"),
        (npz_of(**{"a.npy": npy_of(HEADER.replace("<f8", "<U2") % "(1,)", bytes(8))}), "dtype <U2"),
        (npz_of(**{"a.npy": npy_of(HEADER.replace("<f8", "<V2") % "(1,)", bytes(2))}), "numbers of 16 bits"),
        (npz_of(**{"a.npy": b"nonsense"}), "no header of an array"),
        (npz_of(**{"../a.txt": b"text"}), r"has '\.\./a\.txt', which is no array; take it out"),
        (
            npz_of(**{"a": npy_of(HEADER % "(0,)"), "a.npy": npy_of(HEADER % "(0,)")}),
            "two arrays of the name 'a'",
        ),
        (
            npz_of(**{"a.npy": npy_of(HEADER.replace("'<f8'", "[('a', '<f4')]") % "(0,)")}),
            "array with fields",
        ),
        (npz_of(**{"a.npy": npy_of(HEADER.replace("<f8", "<M8[D]") % "(0,)")}), "'a', an array of dates"),
        (npz_of(**{"a.npy": npy_of(HEADER.replace("<f8", "<m8[s]") % "(0,)")}), "'a', an array of times"),
        (npz_of(**{"a.npy": b"\x93NUMPY\x03\x00" + bytes(20)}), r"a header of version 3\.0"),
        (npz_of(**{"a" * 5000: b""}), "which is no array"),
    ],
    ids=[
        *("huge", "bomb", "short", "pickled", "complex", "text", "bfloat16", "nonsense", "path"),
        *("twice", "fields", "dates", "times", "version", "long"),
    ],
)
def test_a_file_of_numpys_that_does_not_hold_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    assert len(content) < 200_000
    refuse(tmp_path / "a.npz", content, said)


# ---- PyTorch's files -------------------------------------------------------------------------------------


def pt_of(program: bytes, packing: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as archive:
        archive.writestr("archive/data.pkl", program)
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return made.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def numbers(*values: Any) -> bytes:
    return b"(" + b"".join(number(value) for value in values) + b"t"


def storage(kind: bytes = b"FloatStorage", key: bytes | None = None, size: Any = 6) -> bytes:
    return (
        b"("
        + text("storage")
        + b"ctorch\n"
        + kind
        + b"\n"
        + (key or text("0"))
        + text("cpu")
        + number(size)
        + b"tQ"
    )


def rebuilt(shape: Any = (2, 3), strides: Any = (3, 1), offset: Any = 0, held: bytes | None = None) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + (held or storage()) + number(offset)
        + numbers(*shape) + numbers(*strides) + b"\x89}tR"
    )  # fmt: skip


def program(value: bytes, name: bytes | None = None) -> bytes:
    return b"\x80\x02}" + (name or text("a")) + value + b"s."


DATA = {"data/0": np.arange(6, dtype=np.float32).tobytes()}


def test_the_pickles_of_these_tests_are_read_where_they_are_right(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pt_of(program(rebuilt()), **DATA))
    np.testing.assert_array_equal(
        load_weights(tmp_path / "a.pt")["a"], np.arange(6, dtype="f4").reshape(2, 3)
    )


class Runs:
    """An object whose pickle calls something."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (eval, ("1/0",), r"(__)?builtin(s|__)\.eval"),
        (exec, ("1/0",), r"(__)?builtin(s|__)\.exec"),
        (os.system, ("exit 1",), r"(posix|nt)\.system"),
        (zipfile.ZipFile, ("x",), r"zipfile\.ZipFile"),
        (getattr, (dict, "fromkeys"), r"(__)?builtin(s|__)\.getattr"),
    ],
)
def test_what_a_pickle_would_call_is_refused_by_name(
    protocol: int, function: Any, arguments: Any, named: str, tmp_path: Path
) -> None:
    try:
        calls = pickle.dumps({"a": Runs(function, *arguments)}, protocol)
    except pickle.PicklingError:
        pytest.skip("it has no name")
    said = rf"it asks for {named}, which no state dict needs" if protocol > 1 else "which no state dict needs"
    refuse(tmp_path / "a.pt", pt_of(calls), said)


def test_a_name_that_is_needed_is_called_with_what_it_needs_alone(tmp_path: Path) -> None:
    for value, said in [
        (
            b"ccollections\nOrderedDict\n" + b"(]](" + text("a") + text("b") + b"lat" + b"R",
            "instruction LIST",
        ),
        (b"ccollections\nOrderedDict\n(" + text("a") + b"tR", "written in a way that PyTorch does not write"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "cut off or damaged"),
        (b"ctorch._utils\n_rebuild_parameter\n(" + text("a") + b"\x88}tR", "a parameter in it is no tensor"),
        (b"ctorch\nFloatStorage\n)R", "calls what is no function"),
        (b"ctorch\nFloatStorage\n}b", "a dict in it is none"),
        (text("a") + b")R", "calls what is no function"),
        (b"ctorch\nuint16\n", "type _Named"),
    ]:
        refuse(tmp_path / "a.pt", pt_of(program(value), **DATA), said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (rebuilt(shape=(2, 4)), "beyond the end of its storage"),
        (rebuilt(offset=1), "beyond the end"),
        (rebuilt(offset=1 << 62), "beyond the end"),
        (rebuilt(strides=(1 << 62, 1)), "beyond the end"),
        (rebuilt(shape=(1 << 40, 1 << 40), strides=(0, 0)), "a shape that none can have"),
        (rebuilt(shape=(1 << 20, 1 << 20), strides=(0, 0)), r"would take 4 TiB|would take"),
        (rebuilt(shape=(1 << 63,), strides=(1,)), "not described by numbers"),
        (rebuilt(shape=(-1, 3)), "not described by numbers"),
        (rebuilt(strides=(-3, 1)), "not described by numbers"),
        (rebuilt(offset=-1), "not described by numbers"),
        (rebuilt(shape=(True, 3)), "not described by numbers"),
        (rebuilt(strides=(1,)), "more axes than strides"),
        (rebuilt(shape=[1] * 65, strides=[1] * 65), "more than 64 axes"),
        (rebuilt(shape=[-1] * 65, strides=[1]), "more than 64 axes"),
        (rebuilt(held=storage(size=1 << 40)), "not as long as it says"),
        (rebuilt(held=storage(size=-6)), "described in a way"),
        (rebuilt(held=storage(size=1 << 63)), "described in a way"),
        (rebuilt(held=storage(key=text("0" * 1001))), "described in a way"),
        (b"(" + storage() + storage(size=7) + b"t", "storage '0' is described in it in two ways"),
        (rebuilt()[:-2] + b"}NNtR", "more arguments than that takes"),
        (rebuilt(held=storage(b"DoubleStorage")), "not as long as it says"),
        (rebuilt(held=storage(key=text("1"))), "missing"),
        (rebuilt(held=storage(key=text("../../data/0"))), "missing"),
        (rebuilt(held=storage(key=text("/etc/passwd"))), "missing"),
        (rebuilt(held=storage(key=number(0))), "described in a way"),
        (rebuilt(held=text("a")), "not described by numbers"),
        (rebuilt(held=storage(b"ComplexFloatStorage", size=3)), "complex64; complex"),
        (rebuilt(held=storage(b"QInt8Storage", size=24)), "qint8, which NumPy does not have"),
        (rebuilt(held=storage(b"NewStorage")), r"torch\.NewStorage"),
        (rebuilt()[:-2] + b"}" + text("neg") + b"\x88stR", "is marked as neg; .*resolve_neg"),
        (number(3), "an object of type int under 'a'"),
        (b"N", "an object of type NoneType under 'a'"),
        (
            b"}",
            r"a dict under 'a', where .* arrays; .* torch\.save\(model\.state_dict\(\), path\)$",
        ),
        (b"}" + text("b") + rebuilt() + b"s" + text("c") + b"Ns", "a dict under 'a', .*model"),
        (b"}" + text("b") + rebuilt() + b"s", r"has a state dict under 'a', .*\['a'\], path\)$"),
        (b"}s" + text("m") + b"}" + text("b") + rebuilt() + b"s", "has a state dict under 'm'"),
        (b"}s" + text("state") + b"}s" + text("param_groups") + b"]", "is the state of an optimiser"),
        (text("b"), "type str"),
    ],
)
def test_a_tensor_that_does_not_hold_is_refused(value: bytes, said: str, tmp_path: Path) -> None:
    refuse(tmp_path / "a.pt", pt_of(program(value), **DATA), said)


def doubled(times: int) -> bytes:
    """A tuple of tuples that would be spelt in 2**times words."""
    return b"(" + text("x") + b"t" + b"".join(b"q%c" % i + b"h%c" % i + b"\x86" for i in range(times))


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (b"", "cut off or damaged"),
        (b".", "holds no dict|cut off"),
        (b"\x80\x02}", "cut off or damaged"),
        (b"\x80\x02].", "holds no dict"),
        (b"\x80\x02}}.", "holds no dict"),
        (b"\x80\x02}" + b"(" * 30_000 + b".", "more values at a time"),
        (b"\x80\x02" + b"}" * 30_000 + b".", "more values at a time"),
        (b"\x80\x04}" + b"\x94" * 300_000 + b".", "describes more than its tensors"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", None),
        (b"\x80\x02}X\xff\xff\xff\xff", "cut off or damaged"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.", None),
        (b"\x80\x02h\x05.", "cut off or damaged"),
        (b"\x80\x02ios\nsystem\n.", "instruction INST"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x0f", "cut off or damaged|instruction"),
        (program(b"N", name=doubled(60)), "keys that are neither texts nor numbers"),
        (program(b"N", name=text("a" * 1001)), "keys that are neither .* of usual length"),
        (program(b"N", name=number((1 << 61) - 1)), "keys that are neither .* of usual length"),
        (program(b"N", name=number(-1)), "keys that are neither .* of usual length"),
        (b"\x80\x04}" + doubled(60) + text("system") + b"\x93s.", "not named by a text"),
    ],
)
def test_a_pickle_that_is_damaged_or_an_attack_is_refused(
    pickled: bytes, said: str | None, tmp_path: Path
) -> None:
    if said is None:
        (tmp_path / "a.pt").write_bytes(pt_of(pickled))
        with little_memory():
            assert load_weights(tmp_path / "a.pt") == {}
    else:
        refuse(tmp_path / "a.pt", pt_of(pickled), said)


@pytest.mark.parametrize("values", [b")" + b"\x85" * 100_000, b"}" + b"}b" * 50_000], ids=["depth", "length"])
def test_a_pickle_of_more_instructions_than_its_tensors_need_is_refused(
    values: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the megabytes that a pickle may have, they would take many seconds."""
    refuse(tmp_path / "a.pt", pt_of(program(values)), "it describes more than its tensors")
    tensors = b"}(" + b"".join(text(f"layer.{i}") + rebuilt() for i in range(3000)) + b"u."
    (tmp_path / "a.pt").write_bytes(pt_of(tensors, **DATA))  # 60,000 instructions
    assert len(load_weights(tmp_path / "a.pt")) == 3000
    monkeypatch.setattr(torch_pickle, "_MOST_STEPS", 50_000)
    refuse(tmp_path / "a.pt", pt_of(tensors, **DATA), "more tensors than are read")
    monkeypatch.setattr(torch_pickle, "_LARGEST_MEMO", 1000)
    refuse(tmp_path / "a.pt", pt_of(b"\x80\x04}" + b"\x94" * 2000 + b"."), "more values at a time")


def test_numbers_of_a_files_choice_are_not_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They could be chosen so that thousands of tensors have one hash, and each is compared with all."""

    def refuse_to_hash(self: object) -> int:
        raise AssertionError

    for kind in (Storage, Strided):
        monkeypatch.setattr(kind, "__hash__", refuse_to_hash)
    values = {"a": rebuilt(), "b": rebuilt(), "c": rebuilt((6,), (1,))}
    items = b"".join(text(name) + value for name, value in values.items())
    (tmp_path / "a.pt").write_bytes(pt_of(b"\x80\x02}(" + items + b"u.", **DATA))
    found = load_weights(tmp_path / "a.pt")
    assert found["a"] is found["b"]
    assert found["c"].tolist() == [0, 1, 2, 3, 4, 5]


def test_an_archive_that_pytorch_does_not_write_is_refused(tmp_path: Path) -> None:
    path, right = tmp_path / "a.pt", program(rebuilt())
    refuse(path, pt_of(right, zipfile.ZIP_DEFLATED, **DATA), "packed in a way that PyTorch does not write")
    refuse(path, pt_of(right, **DATA, **{"constants.pkl": b""}), "a TorchScript archive, which is a program")
    refuse(path, pt_of(right, **DATA, **{"b/data.pkl": right}), "torch.save has not written it")
    refuse(path, pt_of(right, **DATA, byteorder=b"middle"), "damaged")
    refuse(path, pt_of(right + bytes(5 << 20), **DATA), "describes more than a state dict")
    refuse(path, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.rest", "by a PyTorch before 1.6")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of the name
        for content in (right, right):
            archive.writestr("archive/data.pkl", content)
    refuse(path, made.getvalue(), "two files in it have the same name")


def test_files_in_an_archive_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", program(rebuilt()))
        archive.writestr("archive/data/0", bytes(10_000))
        stored = archive.getinfo("archive/data/0")
        for name in range(1, 9):
            twin = zipfile.ZipInfo(f"archive/data/{name}")
            twin.header_offset, twin.CRC = stored.header_offset, stored.CRC
            twin.file_size = twin.compress_size = stored.file_size
            archive.filelist.append(twin)
    refuse(tmp_path / "a.pt", made.getvalue(), "lie over each other")


def test_numbers_of_another_byte_order_are_read(tmp_path: Path) -> None:
    data = {"data/0": np.arange(6, dtype=">f4").tobytes(), "byteorder": b"big"}
    (tmp_path / "a.pt").write_bytes(pt_of(program(rebuilt()), **data))
    np.testing.assert_array_equal(load_weights(tmp_path / "a.pt")["a"].ravel(), np.arange(6))
    data["data/0"] = np.array([0x3F80, 0xC0C0], ">u2").tobytes()
    value = rebuilt((2,), (1,), held=storage(b"BFloat16Storage", size=2))
    (tmp_path / "a.pt").write_bytes(pt_of(program(value), **data))
    np.testing.assert_array_equal(load_weights(tmp_path / "a.pt")["a"], [1, -6])
