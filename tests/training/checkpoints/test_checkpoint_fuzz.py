"""Whatever stands in a file: `load_checkpoint` returns a model that computes, or raises its own clear error.

The seeds are sound checkpoints of several kinds. What is drawn is how they are damaged: their bytes, the
members of the archive, the JSON of the header, the headers of the arrays, the numbers.
"""

import io
import json
import os
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinygrad_mnist import Tensor
from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.optim import Adam
from tinygrad_mnist.training import (
    RECIPES,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_state,
    save_checkpoint,
)
from tinygrad_mnist.training.checkpoints.random_state import random_state, set_random_state
from tinygrad_mnist.training.prediction import predict_by_checkpoint
from tinygrad_mnist.training.recipe.models import build_model

Members = dict[str, bytes]
DEFAULT = settings.default
assert DEFAULT is not None
SEVERAL = settings(DEFAULT, max_examples=2 * DEFAULT.max_examples)

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 3, 2)).astype(np.uint8)
RECIPE = RECIPES["mlp"].changed(hidden=(3,))


def written(folder: Path, **changes: Any) -> Members:
    """The members of the archive of a sound checkpoint."""
    recipe = RECIPE.changed(**changes)
    model = build_model(recipe, (3, 2), 3, rng=np.random.default_rng(0))
    names, origin = ("a", "b", "ü"), {"data": "digits", "seed": 1, "train_images": 10}
    save_checkpoint(folder / "x.npz", Checkpoint(model, recipe, (3, 2), names, Standardizer(33, 78), origin))
    with zipfile.ZipFile(folder / "x.npz") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files are written, one after the other, in one place."""
    global _folder
    _folder = tmp_path_factory.mktemp("fuzz")
    return _folder


_folder = Path()

KINDS: list[dict[str, Any]] = [
    {},
    {"hidden": ()},
    {"hidden": (4, 2), "dropout": 0.5, "activation": "gelu"},
    {"batch_norm": False},
    {
        "model": "layers",
        "hidden": (),
        "batch_norm": False,
        "layers": (
            "conv 2 2x2 padding same",
            "norm",
            "activation",
            "max-pool 2",
            "flatten",
            "linear 3",
            "norm",
        ),
    },
]


@cache
def seed(kind: int) -> Members:
    return written(_folder, **KINDS[kind])


def packed(members: Members | list[tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return buffer.getvalue()


def array(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=True)
    return buffer.getvalue()


def outcome(content: bytes) -> str:
    """Load it and predict with it; return the message of the error, or nothing."""
    path = _folder / "checkpoint.npz"
    path.write_bytes(content)
    try:
        probabilities = predict_by_checkpoint(load_checkpoint(path), IMAGES)
    except CheckpointError as error:
        message = str(error)
        assert len(message) < 2000
        assert message.isprintable()
        return message
    assert probabilities.shape == (4, 3)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    return ""


kinds = st.integers(0, len(KINDS) - 1)
packings = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_the_seeds_are_sound(kind: int, packing: int) -> None:
    assert outcome(packed(seed(kind), packing)) == ""


# ---- bytes -----------------------------------------------------------------------------------------------


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    content = bytearray(packed(seed(draw(kinds)), draw(packings)))
    for _ in range(draw(st.integers(1, 3))):
        # the structure of an archive is at its end, and in front of each member
        at = draw(st.integers(0, len(content)) | st.integers(max(0, len(content) - 700), len(content)))
        some = draw(st.binary(max_size=8) | st.sampled_from([b"\0" * 8, b"\xff" * 8, b"PK\x01\x02"]))
        until = at + draw(st.sampled_from([0, len(some), len(some), len(some), 1, 30, 10_000]))
        content[at:until] = some
    return bytes(content)


@settings(DEFAULT, max_examples=4 * DEFAULT.max_examples)
@given(damaged_bytes())
def test_bytes(content: bytes) -> None:
    outcome(content)


def with_field(offset: int, value: bytes) -> bytes:
    """A checkpoint with another value in the entry of each member in the directory of the archive."""
    content = bytearray(packed(seed(0)))
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + offset : at + offset + len(value)] = value
        at = content.find(b"PK\x01\x02", at + 4)
    return bytes(content)


@pytest.mark.parametrize(
    ("offset", "value", "word"),
    [
        pytest.param(8, b"\x01\x00", "encrypted", id="encrypted"),
        pytest.param(8, b"\x20\x00", "damaged", id="patched"),
        pytest.param(8, b"\x40\x00", "damaged", id="strongly encrypted"),
        pytest.param(6, b"\xff\x00", "damaged", id="a later version of zip"),
        pytest.param(10, b"\x0c\x00", "packed in a way", id="bzip2"),
        pytest.param(10, b"\x0e\x00", "packed in a way", id="lzma"),
        pytest.param(10, b"\x63\x00", "packed in a way", id="no packing"),
        pytest.param(20, b"\x00" * 4, "damaged", id="no packed bytes"),
        pytest.param(24, b"\xff\xff\xff\x7f", "damaged", id="2 GB"),
        pytest.param(42, b"\xff\xff\xff\x7f", "damaged", id="elsewhere"),
    ],
)
def test_fields_of_the_archive(offset: int, value: bytes, word: str) -> None:
    assert word in outcome(with_field(offset, value))


# ---- members ---------------------------------------------------------------------------------------------


@st.composite
def damaged_members(draw: st.DrawFn) -> bytes:
    members = list(seed(draw(kinds)).items())
    names = st.sampled_from([name for name, _ in members])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(members) - 1))
        name, content = members[at]
        match draw(st.integers(0, 5)):
            case 0:
                del members[at]
            case 1:
                members[at] = draw(names | st.text(max_size=5)) or "x", content
            case 2:
                members.append((draw(names), content))
            case 3:
                members[at] = name, draw(st.binary(max_size=100))
            case 4:
                members[at] = name, content[: draw(st.integers(0, len(content)))]
            case _:
                members[at] = name, content + draw(st.binary(min_size=1, max_size=9))
    draw(st.randoms(use_true_random=False)).shuffle(members)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, that a name is there twice
        return packed(members, draw(packings | st.sampled_from([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])))


@SEVERAL
@given(damaged_members())
def test_members(content: bytes) -> None:
    outcome(content)


# ---- the JSON of the header ------------------------------------------------------------------------------

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10),
    st.sampled_from([10**18, 10**400, -(10**30), 1e308, -1e-320, 5e-324, float("inf"), float("nan")]),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["88", "\ud800", "\0", "\x1b[31m", "mlp", "~nobody", "x" * 5000]),
)
anything = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in plain data with each of its keys."""
    keys = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
    return [place for key in keys for place in ((value, key), *places(value[key]))]


def header_of(kind: int) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(str(np.load(io.BytesIO(seed(kind)["checkpoint.npy"]))))
    return header


def with_json(kind: int, text: str) -> bytes:
    return packed({**seed(kind), "checkpoint.npy": array(np.array(text))})


@st.composite
def damaged_json(draw: st.DrawFn) -> bytes:
    kind = draw(kinds)
    header = header_of(kind)
    for _ in range(draw(st.integers(1, 2))):
        container, key = draw(st.sampled_from(places(header)))
        if draw(st.integers(0, 9)):
            container[key] = draw(anything)
        else:
            del container[key]
    text = json.dumps(header)
    if not draw(st.integers(0, 9)):
        text = text[: draw(st.integers(0, len(text)))]
    return with_json(kind, text)


@settings(DEFAULT, max_examples=4 * DEFAULT.max_examples)
@given(damaged_json())
def test_json(content: bytes) -> None:
    outcome(content)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "NaN", '"\ufffe"', "", "null", "1" * 5000])
def test_texts_that_are_no_header(text: str) -> None:
    assert "header" in outcome(with_json(0, text))


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("format", True, "format True"),
        ("format", 1.0, "format 1.0"),
        ("format", "1", "format '1'"),
        ("image_shape", "32", "image_shape"),
        ("image_shape", [3.0, 2.0], "image_shape"),
        ("image_shape", [True, 6], "image_shape"),
        ("image_shape", [3, 2, 1], "image_shape"),
        ("image_shape", [10**400, 2], "pixels at most"),
        ("class_names", ["a", "b", "a"], "'a'"),
        ("class_names", ["a", "b", "\ud800"], "class_names"),
        ("class_names", ["a", "b", ""], "class_names"),
        ("class_names", ["a", "b", "b "], "'b'"),
        ("class_names", ["a", "b", "c" * 10_000], "class_names"),
        ("class_names", ["a", "b", 3], "class_names"),
        ("class_names", "abc", "class_names"),
        ("standardizer", {"mean": 0, "std": 5e-324}, "standardizer"),
        ("standardizer", {"mean": 1e300, "std": 1}, "standardizer"),
        ("standardizer", {"mean": 10**400, "std": 1}, "standardizer"),
        ("standardizer", {"mean": "33", "std": "78"}, "standardizer"),
        ("standardizer", {"mean": True, "std": True}, "standardizer"),
        ("origin", {"data": "a\0b"}, "origin"),
        ("origin", {"data": "\ud800"}, "origin"),
        ("origin", {"data": ["digits"]}, "origin"),
        ("origin", {"train_images": "many"}, "train_images"),
        ("recipe", nested(900), "recipe"),
        ("recipe", {**RECIPE.to_dict(), "activation": nested(900)}, "activation"),
        ("recipe", {**RECIPE.to_dict(), "hidden": [10**4000]}, "another model"),
        ("recipe", {**RECIPE.to_dict(), "hidden": [2] * 200_000}, "another model"),
        ("recipe", {**RECIPE.to_dict(), "hidden": ["x" * 1000] * 1000}, "hidden"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_entries_that_make_no_sense(name: str, value: Any, word: str) -> None:
    message = outcome(with_json(0, json.dumps({**header_of(0), name: value})))
    assert word in message


# ---- the headers of arrays, and their numbers ------------------------------------------------------------


@st.composite
def damaged_headers(draw: st.DrawFn) -> bytes:
    members = dict(seed(draw(kinds)))
    name = draw(st.sampled_from(list(members)))
    content = members[name]
    end = content.index(b"\n") + 1
    header, numbers = content[:end], content[end:]
    old, new = draw(
        st.sampled_from(
            [
                (b"NUMPY\x01", b"NUMPY\x02"),
                (b"<f4", b"|O"),
                (b"<f4", b"<U999999999"),
                (b"<f4", b">f4"),
                (b"<f4", b"<f8"),
                (b"<f4", b"<M8[s]"),
                (b"<f4", b"|V0"),
                (b"<f4", b"c"),
                (b"False", b"True"),
                (b"False", b"None"),
                (b"(3,", b"(3, 99999999999999999999,"),
                (b"(3,", b"(3, -1,"),
                (b"(3,", b"(" + b"(" * 2000),
                (b"), }", b"), 'a': 1}"),
                (b"), }", b"), "),
                (b"{", b"\xff"),
            ]
        )
    )
    changed = header.replace(old, new, 1)
    if draw(st.booleans()):  # with a length that fits
        changed = changed[:8] + (len(changed) - 10).to_bytes(2, "little") + changed[10:]
    return packed({**members, name: changed + numbers}, draw(packings))


@SEVERAL
@given(damaged_headers())
def test_headers_of_arrays(content: bytes) -> None:
    outcome(content)


def changed_numbers(name: str, change: Callable[[Any], Any]) -> bytes:
    member = f"model.{name}.npy"
    return packed({**seed(0), member: array(change(np.load(io.BytesIO(seed(0)[member]))))})


@settings(DEFAULT)
@given(
    st.sampled_from(["0.weight", "0.bias", "1.running_var", "1.num_batches_tracked", "3.weight"]),
    st.sampled_from(["f2", "f4", ">f4", "f8", "i8", "u8", "c8", "?", "U3", "O"]),
    st.sampled_from([0, 1, -1, 1e-45, 65504, 1e14, -1e15, 3e38, 1e300, np.inf, -np.inf, np.nan]),
    st.booleans(),
)
@example("0.weight", "f8", 1e300, True)
def test_numbers(name: str, dtype: str, value: float, everywhere: bool) -> None:
    def change(old: Any) -> Any:
        new = old.astype(dtype)
        new[... if everywhere else (0,) * old.ndim] = np.full(1, value).astype(dtype)[0]
        return new

    with np.errstate(all="ignore"):
        outcome(changed_numbers(name, change))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("0.weight", lambda old: np.full_like(old, 3e38), ("beyond 1e+15", "0.weight")),
        ("0.weight", lambda old: np.full(old.shape, 1e300), ("beyond 1e+15", "0.weight")),
        ("1.running_var", lambda old: -np.ones_like(old), ("negative variance", "1.running_var")),
        ("1.num_batches_tracked", lambda old: old - 9, ("negative count", "1.num_batches_tracked")),
        ("0.weight", lambda old: old > 0, ("0.weight", "dtype bool", "float32")),
        ("0.bias", lambda old: old.astype(int), ("0.bias", "dtype int64", "float32")),
        ("0.bias", lambda old: old.astype(complex), ("0.bias", "dtype complex128")),
        ("1.num_batches_tracked", lambda old: old * 1.0, ("dtype float64", "int64")),
        ("0.bias", lambda old: old.astype(object), ("pickled", "0.bias")),
        ("0.bias", lambda old: old * np.nan, ("not finite", "0.bias")),
    ],
)
def test_numbers_that_no_training_ends_with(
    name: str, change: Callable[[Any], Any], words: tuple[str, ...]
) -> None:
    message = outcome(changed_numbers(name, change))
    assert all(word in message for word in words), message


def test_weights_that_are_too_large_together() -> None:
    members = seed(2)
    large = {
        name: array(np.full_like(np.load(io.BytesIO(content)), 1e15))
        for name, content in members.items()
        if name.endswith("weight.npy")
    }
    assert "too large" in outcome(packed({**members, **large}))


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4"])
def test_other_floats_are_converted(dtype: str) -> None:
    assert outcome(changed_numbers("0.weight", lambda old: old.astype(dtype))) == ""


def test_arrays_in_fortran_order() -> None:
    assert outcome(changed_numbers("0.weight", np.asfortranarray)) == ""


# ---- files that would take more than they are ------------------------------------------------------------


def peak_of(content: bytes) -> tuple[str, int]:
    """The message, and the most memory that was held at a time, in bytes."""
    tracemalloc.start()
    try:
        return outcome(content), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def zeros(shape: tuple[int, ...]) -> bytes:
    """The header of an array of zeros, and so many zeros."""
    buffer = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + bytes(4 * int(np.prod(shape)))


def test_entries_that_do_not_belong_there_are_not_read() -> None:
    content = packed({**seed(0), "model.9.weight.npy": zeros((4000, 4000))}, zipfile.ZIP_DEFLATED)
    message, peak = peak_of(content)
    assert "unexpected: 9.weight" in message
    assert peak < 2_000_000


def test_entries_of_another_shape_are_not_read() -> None:
    content = packed({**seed(0), "model.0.weight.npy": zeros((4000, 4000))}, zipfile.ZIP_DEFLATED)
    message, peak = peak_of(content)
    assert "(4000, 4000) was given; expected (3, 6)" in message
    assert peak < 2_000_000


def test_a_small_file_of_a_huge_model_is_not_read() -> None:
    """All of it fits together: 64 MB of zeros in 70 kB, and more."""
    units = 1_500_000
    header = json.dumps({**header_of(1), "recipe": {**header_of(1)["recipe"], "hidden": [units]}})
    shapes = {"0.weight": (units, 6), "0.bias": (units,), "3.weight": (3, units), "3.bias": (3,)}
    shapes |= {f"1.{name}": (units,) for name in ("weight", "bias", "running_mean", "running_var")}
    members = {f"model.{name}.npy": zeros(shape) for name, shape in shapes.items()}
    members["model.1.num_batches_tracked.npy"] = array(np.array(0))
    content = packed({**members, "checkpoint.npy": array(np.array(header))}, zipfile.ZIP_DEFLATED)
    message, peak = peak_of(content)
    assert "would take" in message
    assert "of memory" in message
    assert peak < 3_000_000


def test_a_recipe_of_many_layers_is_compared_and_not_built() -> None:
    """200,000 layers would be modules for a gigabyte."""
    header = {**header_of(0), "recipe": {**RECIPE.to_dict(), "hidden": [2] * 200_000}}
    message, peak = peak_of(with_json(0, json.dumps(header)))
    assert "missing: 4.weight of shape (2,);" in message
    assert message.endswith("and more")
    assert peak < 30_000_000


LAYERED = {**RECIPE.to_dict(), "model": "layers", "hidden": [], "batch_norm": False}


@pytest.mark.parametrize(
    ("layers", "image_shape", "word"),
    [
        (["norm"] * 20_000, [3, 2], "layers must be at most 1,000 texts, not 20,000"),
        (
            ["avg-pool 999999", "flatten"],
            [999_999, 999_999],
            "images have 16,777,216 pixels at most, not 999999 x 999999",
        ),
        (["conv 9999 1x1", "avg-pool 3000", "flatten"], [3000, 3000], "numbers for one image"),
        (["conv 4 9x9", "flatten"], [3, 2], "does not fit the 1 x 3 x 2"),
        (["conv 4 3x3 padding 999999", "avg-pool 9", "flatten"], [3, 2], "numbers for one image"),
    ],
)
def test_layers_that_would_fill_the_memory_are_not_built(
    layers: list[str], image_shape: list[int], word: str
) -> None:
    header = {**header_of(0), "recipe": {**LAYERED, "layers": layers}, "image_shape": image_shape}
    message, peak = peak_of(with_json(0, json.dumps(header)))
    assert word in message
    assert peak < 60_000_000


def test_a_header_that_is_too_long() -> None:
    message, peak = peak_of(with_json(0, " " * (1 << 22)))
    assert "its header has 16 MiB" in message
    assert peak < 2_000_000


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("there are no pipes with a name")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is no file"):
        load_checkpoint(tmp_path / "pipe")


# ---- the state of a training: equal, or an error -----------------------------------------------------------


def trained() -> Checkpoint:
    """A checkpoint with the whole state of a training, as those that training goes on from."""
    recipe = RECIPE.changed(dropout=0.5)
    model = build_model(recipe, (3, 2), 3, rng=np.random.default_rng(0), dropout_rng=np.random.default_rng(1))
    optimizer = Adam(model.parameters())
    model(Tensor(np.ones((4, 1, 3, 2), np.float32))).sum().backward()
    optimizer.step()
    training = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": random_state(model),
        "history": {"losses": [0.5] * 40},
        "position": {"step": 3},
    }
    origin = {"data": "digits", "seed": 1, "train_images": 10}
    return Checkpoint(model, recipe, (3, 2), ("a", "b", "ü"), Standardizer(33, 78), origin, training)


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    path = folder / "whole" / "last.npz"
    path.parent.mkdir()
    save_checkpoint(path, trained())
    return path


def regions(path: Path) -> dict[str, list[int]]:
    """The places of each kind of bytes in an archive of arrays."""
    found: dict[str, list[int]] = {}
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            start = member.header_offset
            numbers = content.index(b"\n", start) + 1
            end = (
                content.index(b"PK", start + 2) if member is not archive.infolist()[-1] else archive.start_dir
            )
            kind = "text" if member.filename in ("checkpoint.npy", "training.npy") else "numbers"
            for name, begin, until in (
                ("header of a member", start, start + 30),
                ("name of a member", start + 30, start + 50 + len(member.filename)),
                ("header of an array", start + 50 + len(member.filename), numbers),
                (kind, numbers, end),
            ):
                found.setdefault(name, []).extend(range(begin, until))
        found["directory"] = list(range(archive.start_dir, len(content) - 22))
        found["end record"] = list(range(len(content) - 22, len(content)))
    return found


REGIONS = [
    "header of a member",
    "name of a member",
    "header of an array",
    "text",
    "numbers",
    "directory",
    "end record",
]


def content_of(path: Path) -> Any:
    found = load_checkpoint(path, training=True)
    settings = found.recipe, found.image_shape, found.class_names, found.standardizer, found.origin
    return settings, found.training, found.model.state_dict()


def is_equal_or_refused(content: bytes, expected: Any, path: Path) -> bool:
    """Whether a damaged file was refused; otherwise it must have the same content."""
    path.write_bytes(content)
    try:
        found = content_of(path)
    except CheckpointError:
        return True
    np.testing.assert_equal(found, expected)
    return False


@pytest.mark.parametrize("region", REGIONS)
def test_a_flipped_byte_is_refused_or_changes_nothing(whole: Path, folder: Path, region: str) -> None:
    content, expected = whole.read_bytes(), content_of(whole)
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.choice(regions(whole)[region], 22, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.integers(8)
        refused += is_equal_or_refused(bytes(flipped), expected, folder / "flipped.npz")
    assert refused > 2  # a directory also holds dates and such


@pytest.mark.slow
def test_many_flipped_bytes_are_refused_or_change_nothing(whole: Path, folder: Path) -> None:
    content, expected = whole.read_bytes(), content_of(whole)
    texts = regions(whole)["numbers"] + regions(whole)["text"]
    rng = np.random.default_rng(0)
    structure = sorted({*range(len(content))} - {*texts})
    for at in (*rng.choice(structure, 1200, replace=False), *rng.choice(texts, 300)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << rng.integers(8)
        is_equal_or_refused(bytes(flipped), expected, folder / "flipped.npz")


def test_a_file_that_is_cut_off_anywhere_is_refused(whole: Path, folder: Path) -> None:
    content = whole.read_bytes()
    ends = [*range(24), *range(24, len(content), 401), *range(len(content) - 24, len(content))]
    for end in ends:
        assert is_equal_or_refused(content[:end], None, folder / "cut.npz")


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@given(st.data())
def test_the_json_of_a_state_of_somebody(whole: Path, folder: Path, data: st.DataObject) -> None:
    """Where the checksums fit, what is read is a tree, or an error of ours."""
    members = members_of(whole)
    plain = json.loads(str(np.load(io.BytesIO(members["training.npy"]))))
    if data.draw(st.booleans()):
        plain = {"random": plain["random"]}
    container, key = data.draw(st.sampled_from(places(plain)))
    container[key] = data.draw(anything)
    path = folder / "json.npz"
    names = ("checkpoint.npy", *(name for name in members if name[:-4] in json.dumps(plain)))
    text = {"training.npy": array(np.array(json.dumps(plain)))}
    path.write_bytes(packed({**{name: members[name] for name in names}, **text}))
    model = trained().model
    before = random_state(model)
    with suppress(CheckpointError):
        state = load_state(path)
        if isinstance(state, dict) and isinstance(state.get("random"), dict):
            set_random_state(model, state["random"])
    set_random_state(model, before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda members: members.pop("training.optimizer.state.0.exp_avg.npy"),
            "is not there, or wanted twice",
        ),
        (
            lambda members: members.update({"training.x.npy": array(np.zeros(1))}),
            "training.x belongs to nothing",
        ),
        (lambda members: members.update({"training.npy": array(np.zeros(1))}), "'training' is no text"),
        (lambda members: members.update({"training.npy": array(np.array("{"))}), "no JSON"),
        (lambda members: members.update({"training.npy": array(np.array(DEEP))}), "no JSON"),
        (lambda members: members.pop("training.npy"), "holds weights alone"),
        (lambda members: members.update({"more.npy": array(np.zeros(1))}), "unexpected: more"),
    ],
)
def test_a_state_that_does_not_fit_its_arrays(
    whole: Path, folder: Path, change: Callable[[Members], Any], words: str
) -> None:
    members = members_of(whole)
    change(members)
    path = folder / "unfit.npz"
    path.write_bytes(packed(members))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, training=True)
    assert words in str(caught.value)
