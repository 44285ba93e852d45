"""Files of weights: what is written, what is read of others' files, and what is refused."""

import io
import os
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, exchange, nn
from tinygrad_mnist.exchange import WeightsError, load_weights, save_weights
from tinygrad_mnist.exchange.weights import npz_format
from tinygrad_mnist.exchange.weights.entries import entries_of
from tinygrad_mnist.training import save_state

FILES = Path(__file__).parent / "files"
SUFFIXES = list(exchange.FORMATS)

COUNTED = np.arange(6.0).reshape(2, 3)
ARRAYS = {
    "transposed": COUNTED.T,
    "strided": np.arange(24.0).reshape(4, 6)[::2, ::3],
    "backwards": COUNTED[::-1, ::-1],
    "broadcast": np.broadcast_to(np.arange(3.0), (4, 3)),
    "big-endian": COUNTED.astype(">f4"),
    "big-endian integers, strided": np.arange(6).astype(">i2")[::2],
    "Fortran": np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    "number": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3)),
    "empty, transposed": np.zeros((3, 0, 2), np.float16).T,
    "Zeichen ä.0": np.ones(1),
    "booleans": np.array([[True, False]]).T,
    "not finite": np.array([np.nan, np.inf, -0.0]),
    "long long": np.arange(3, dtype="q"),
    **{np.dtype(char).name: np.arange(5).astype(char) for char in "?bhilBHILefd"},
}


def file_of(tmp_path: Path, suffix: str, content: bytes) -> Path:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_arrays_come_back_as_they_are(suffix: str, tmp_path: Path) -> None:
    save_weights(ARRAYS, tmp_path / f"a{suffix}")
    found = load_weights(tmp_path / f"a{suffix}")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        expected = array.astype(array.dtype.newbyteorder("="))
        np.testing.assert_array_equal(found[name], expected, strict=True, err_msg=name)
        assert found[name].dtype.isnative
        assert found[name].flags.c_contiguous
        assert found[name].flags.writeable
        assert found[name].dtype.name == array.dtype.name


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_arrays_make_equal_files(suffix: str, tmp_path: Path) -> None:
    for name in "ab":
        save_weights(ARRAYS, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_given_may_be_tensors_and_what_becomes_an_array(suffix: str, tmp_path: Path) -> None:
    leaf = Tensor([1.0, 2.0], requires_grad=True)
    save_weights({"leaf": leaf, "result": leaf * 2, "list": [1.0, 2.0], "number": 3}, tmp_path / f"a{suffix}")
    found = load_weights(tmp_path / f"a{suffix}")
    assert {name: array.tolist() for name, array in found.items()} == {
        "leaf": [1.0, 2.0], "result": [2.0, 4.0], "list": [1.0, 2.0], "number": 3,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bfloat16_is_written_as_float32(suffix: str, tmp_path: Path) -> None:
    values = np.array([1.5, -6.0], pytest.importorskip("ml_dtypes").bfloat16)
    save_weights({"a": values}, tmp_path / f"a{suffix}")
    found = load_weights(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(found["a"], np.array([1.5, -6], np.float32), strict=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_module_without_weights_has_a_file(suffix: str, tmp_path: Path) -> None:
    nn.ReLU().save(tmp_path / f"a{suffix}")
    assert load_weights(tmp_path / f"a{suffix}") == {}
    assert nn.Tanh().load(tmp_path / f"a{suffix}") == ([], [])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_suffix_may_be_in_capitals_and_the_path_a_text(suffix: str, tmp_path: Path) -> None:
    path = f"{tmp_path}{os.sep}a{suffix.upper()}"
    save_weights({"a": np.ones(2)}, path)
    assert load_weights(path)["a"].tolist() == [1, 1]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of files")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_others_may_read_the_file_as_any_other(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    save_weights({"a": np.ones(2)}, tmp_path / f"a{suffix}")
    assert (tmp_path / f"a{suffix}").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_tensors_begin_in_the_file_where_pytorch_can_map_them(tmp_path: Path) -> None:
    save_weights(ARRAYS, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        for member in archive.infolist():
            begin = member.header_offset + 30 + len(member.filename) + len(member.extra)
            assert begin % 64 == 0, member.filename


# ---- tied arrays -----------------------------------------------------------------------------------------


def tied() -> nn.Module:
    """Two layers with one weight, as one Parameter and as one array, and one with its transpose."""
    model = nn.Sequential(*(nn.Linear(300, 300, bias=False) for _ in range(4)))
    model[1].weight = model[0].weight
    model[2].weight.data = model[0].weight.data
    model[3].weight.data = model[0].weight.data.T
    return model


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_tied_weights_are_tied_in_the_file(suffix: str, tmp_path: Path) -> None:
    model = tied()
    model.save(tmp_path / f"a{suffix}")
    found = load_weights(tmp_path / f"a{suffix}")
    assert sorted(found) == [f"{i}.weight" for i in range(4)]
    np.testing.assert_array_equal(found["3.weight"], model[0].weight.data.T)
    copies = 4 if suffix == ".npz" else 2  # NumPy's files have a place for each name
    assert (tmp_path / f"a{suffix}").stat().st_size == pytest.approx(copies * 360_000, rel=0.01)
    if suffix != ".npz":
        assert found["0.weight"] is found["1.weight"] is found["2.weight"]
    twin = tied()
    twin.load(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(twin[3].weight.data, model[3].weight.data)


def test_the_file_of_safetensors_says_which_names_are_the_same(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    weight = np.ones(3)
    save_weights({"z": weight, "b": weight, "a": np.ones(3), "format": weight}, tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt", "z": "b"}
        assert sorted(file.keys()) == ["a", "b", "format"]
    found = load_weights(tmp_path / "a.safetensors")
    assert found["z"] is found["b"]


def test_words_about_a_file_of_safetensors_are_no_names(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path, arrays = tmp_path / "a.safetensors", {name: np.ones(2, np.float32) for name in "abc"}
    numpy.save_file(arrays, path, metadata={"format": "pt", "author": "c", "epoch": "b"})
    assert sorted(load_weights(path)) == ["a", "b", "c"]
    numpy.save_file(arrays, path, metadata={"format": "pt", "epoch": "b"})
    model = nn.Module()
    for name in "abc":
        setattr(model, name, nn.Parameter(np.zeros(2)))
    model.load(path)
    assert model.a.data.tolist() == [1, 1]


def test_a_tied_weight_is_loaded_beside_words_about_the_file(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    model = nn.Module()
    model.first = nn.Linear(2, 2, bias=False)
    model.w = model.v = model.first.weight
    names = {"author": "me", "v": "first.weight", "w": "first.weight"}
    numpy.save_file({"first.weight": np.ones((2, 2))}, tmp_path / "a.safetensors", metadata=names)
    model.load(tmp_path / "a.safetensors")
    assert model.v.data.tolist() == [[1, 1], [1, 1]]


# ---- what cannot be written ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": np.ones(2, complex)}, "a has dtype complex128; expected booleans, integers, or floats of 16"),
        ({"a": np.array(["text"])}, "a has dtype <U4"),
        ({"a": np.ones(2, np.longdouble)}, "a has dtype float128|a has dtype longdouble"),
        ({"a": None}, "a has dtype object"),
        ({"a": {"weight": 1.0}}, r"'a' is a dict of its own.*\"a\.weight\""),
        ({"": 1.0}, "'' cannot be the name of a weight"),
        ({3: 1.0}, "'3' cannot be the name of a weight"),
        ({"a\0b": 1.0}, "cannot be the name"),
        ({"\udcff": 1.0}, "cannot be the name"),
        ({"a" * 1001: 1.0}, "expected a text of 1 to 1000 bytes"),
        ([np.ones(2)], "a list was given; expected a module, or a state dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_what_cannot_be_written_is_refused_and_the_old_file_stays(
    suffix: str, state: Any, said: str, tmp_path: Path
) -> None:
    if "longdouble" in said and np.dtype(np.longdouble) == np.float64:
        pytest.skip("a long double is a double here")
    path = file_of(tmp_path, suffix, b"old")
    with pytest.raises(WeightsError, match=said):
        save_weights(state, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_module_of_pytorchs_is_told_from_ours(tmp_path: Path) -> None:
    theirs = type("Module", (), {"__module__": "torch.nn", "state_dict": dict})
    of_a_user = type("Net", (theirs,), {})()
    said = r"a PyTorch module \(Net\) was given; give its state_dict\(\)"
    for use in (lambda: save_weights(of_a_user, tmp_path / "a.npz"), lambda: entries_of(of_a_user)):
        with pytest.raises(WeightsError, match=said):
            use()
    with pytest.raises(TypeError, match=r"a Net was given; give its state_dict\(\)"):
        nn.Linear(2, 2).load_state_dict(of_a_user)


@pytest.mark.parametrize("given", [io.BytesIO(), b"a.npz", None, 3, nn.ReLU()])
def test_what_is_no_path_is_refused_in_a_sentence(given: Any) -> None:
    said = f"type {type(given).__name__} was given; expected the path of a file, whose suffix chooses"
    for use in (nn.Linear(2, 1).save, nn.Linear(2, 1).load):
        with pytest.raises(TypeError, match=said):
            use(given)


def test_a_name_that_safetensors_needs_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    with pytest.raises(WeightsError, match="'__metadata__' cannot be the name"):
        save_weights({"__metadata__": np.ones(2)}, tmp_path / "a.safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_where_nothing_can_be_written_is_said(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be written \(there is no directory"):
        save_weights({"a": 1.0}, tmp_path / "none" / f"a{suffix}")


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, entries: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(
        exchange.FORMATS, ".npz", exchange.FORMATS[".npz"].__class__("npz", fails, npz_format.read)
    )
    path = file_of(tmp_path, ".npz", b"old")
    with pytest.raises(WeightsError, match=r"file\.npz cannot be written \(No space left on device\)"):
        save_weights({"a": 1.0}, path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["model", "model.bin", "model.pickle", "model.pt.zip"])
def test_another_suffix_is_refused(name: str, tmp_path: Path) -> None:
    said = r"no suffix of a file of weights; name it with \.safetensors, \.npz, \.pt or \.pth"
    with pytest.raises(WeightsError, match=said):
        save_weights({"a": 1.0}, tmp_path / name)
    with pytest.raises(WeightsError, match=said):
        load_weights(tmp_path / name)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
def test_what_is_no_file_is_refused(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_weights(tmp_path / f"none{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(WeightsError, match="is a directory"):
        load_weights(tmp_path / f"folder{suffix}")
    with pytest.raises(WeightsError, match=r"is a directory; .*training\.load_checkpoint"):
        load_weights(tmp_path)


@pytest.mark.parametrize("suffix", [".npz", ".pt", ".safetensors"])
@pytest.mark.parametrize("other", [".npz", ".PT", ".pth", ".safetensors"])
def test_a_file_with_the_suffix_of_another_format_is_told_what_it_is(
    suffix: str, other: str, tmp_path: Path
) -> None:
    if exchange.FORMATS[suffix] is exchange.FORMATS[other.lower()]:
        return
    nn.Linear(3, 2).save(tmp_path / f"a{suffix}")
    os.rename(tmp_path / f"a{suffix}", tmp_path / f"b{other}")
    said = rf"has the content of a \{suffix} file \(.*\), not of a \{other} file; rename it to b\{suffix}$"
    with pytest.raises(WeightsError, match=said):
        load_weights(tmp_path / f"b{other}")


def test_a_checkpoint_of_a_training_is_told_from_weights(tmp_path: Path) -> None:
    save_state(tmp_path / "a.npz", {"model": nn.Linear(3, 2).state_dict()})
    with pytest.raises(WeightsError, match=r"is a checkpoint of a training.* by training\.load_checkpoint"):
        nn.Linear(3, 2).load(tmp_path / "a.npz")


def test_without_safetensors_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_mnist\[safetensors\]"'):
        save_weights({"a": 1.0}, tmp_path / "a.safetensors")
    assert os.listdir(tmp_path) == []
    with pytest.raises(ImportError, match="safetensors is needed for"):
        load_weights(file_of(tmp_path, ".safetensors", b""))


# ---- into a module ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_does_not_fit_changes_nothing(suffix: str, tmp_path: Path) -> None:
    nn.Linear(3, 2).save(tmp_path / f"a{suffix}")
    other = nn.Linear(3, 5)
    before = other.state_dict()
    with pytest.raises(ValueError, match=r"weight: shape \(2, 3\) was given; expected \(5, 3\)"):
        other.load(tmp_path / f"a{suffix}")
    assert all(np.array_equal(before[name], value) for name, value in other.state_dict().items())
    part = nn.Sequential(nn.Linear(3, 2))
    missing, unexpected = part.load(tmp_path / f"a{suffix}", strict=False)
    assert (missing, sorted(unexpected)) == (["0.weight", "0.bias"], ["bias", "weight"])


def test_loading_keeps_the_dtype_and_makes_older_tapes_stale(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    model.save(tmp_path / "a.npz")
    twin = nn.Linear(3, 2).astype(np.float64)
    loss = np.sum(twin(np.ones((1, 3))) ** 2)
    twin.load(tmp_path / "a.npz")
    assert twin.weight.dtype == np.float64
    np.testing.assert_array_equal(twin.weight.data, model.weight.data)
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


# ---- what others write -----------------------------------------------------------------------------------


def test_pytorchs_tensors_of_every_kind_are_read() -> None:
    found = load_weights(FILES / "odd.pt")
    assert len(found) == 20
    for name, array in found.items():
        shape = {
            "transposed": (2, 3),
            "tied": (2, 3),
            "twin": (2, 3),
            "number": (),
            "empty": (0, 3),
            "bool": (2,),
        }
        expected = np.arange(array.size).reshape(shape.get(name, (6,)))
        np.testing.assert_array_equal(array, expected, err_msg=name)
        assert array.shape == expected.shape, name
        if name in np.sctypeDict and name != "bfloat16":  # a name that JAX gives to NumPy
            assert array.dtype == name
    assert found["bfloat16"].dtype == np.float32
    assert found["tied"] is found["twin"]


def safetensors_of(header: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + data


def test_bfloat16_of_safetensors_is_read_as_float32(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    content = safetensors_of(
        '{"a":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},'
        '"b":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}',
        b"\x80\x3f\xc0\xc0" + struct.pack("<f", 2.5),
    )
    found = load_weights(file_of(tmp_path, ".safetensors", content))
    np.testing.assert_array_equal(found["a"], np.array([[1], [-6]], np.float32), strict=True)
    np.testing.assert_array_equal(found["b"], np.array(2.5, np.float32), strict=True)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "C64"])
def test_dtypes_that_are_not_read_are_named(dtype: str, tmp_path: Path) -> None:
    if pytest.importorskip("safetensors").__version__.startswith("0.5") and dtype == "C64":
        pytest.skip("safetensors does not know it yet")
    size = 8 if dtype == "C64" else 1
    header = f'{{"scale":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{size}]}}}}'
    with pytest.raises(
        WeightsError, match=rf"has 'scale' in {dtype}(, which .* tensor\.float\(\)|; complex)"
    ):
        load_weights(file_of(tmp_path, ".safetensors", safetensors_of(header, bytes(size))))


def test_numpys_own_file_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **{"layer.weight": COUNTED.T, "n": np.array(3, ">i8")})
    found = load_weights(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["layer.weight"], COUNTED.T)
    np.testing.assert_array_equal(found["n"], np.array(3), strict=True)


def test_numpy_reads_our_npz_file(tmp_path: Path) -> None:
    save_weights(ARRAYS, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(file[name], array, err_msg=name)
