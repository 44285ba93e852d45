"""A tree that was packed and written as JSON and arrays comes back equal to the bit."""

import json
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_mnist.training import TrainingError, load_state, save_state
from tinygrad_mnist.training.checkpoints.state import pack, unpack


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "x.npz"


def bits(value: Any) -> Any:
    """All that distinguishes a value, in what can be compared by ``==``."""
    if isinstance(value, np.ndarray | np.generic):
        order = value.flags.f_contiguous, value.flags.c_contiguous
        content = "".join(value) if isinstance(value, np.str_) else np.asarray(value).tobytes()
        return type(value), value.dtype, value.shape, order, content
    if isinstance(value, list | tuple):
        return type(value), [bits(entry) for entry in value]
    if isinstance(value, dict):
        return [(bits(key), bits(entry)) for key, entry in value.items()]
    return type(value), struct.pack("d", value) if isinstance(value, float) else value


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    dtypes = st.one_of(
        hnp.scalar_dtypes(),
        hnp.unicode_string_dtypes(),
        hnp.byte_string_dtypes(),
        hnp.array_dtypes(hnp.scalar_dtypes(), max_size=3),
    )
    dtype = draw(dtypes)
    shape = draw(hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=3))
    size = int(np.prod(shape)) * dtype.itemsize
    array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), f"V{dtype.itemsize}").view(dtype)
    array = array.reshape(shape, order=draw(st.sampled_from("CF")))
    if dtype.kind in "Ub":  # whose bytes are not all there are
        array = np.ones(shape, dtype, order=draw(st.sampled_from("CF")))
    return array


texts = st.text(st.characters(categories=["L", "N", "P", "Cs", "Cc"]), max_size=4) | st.sampled_from(
    ["$array", "$", "a.b", "\ud800\udc00", "a\0"]
)
ends = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 200), 1 << 200),
    st.floats(),
    texts,
    st.binary(max_size=5),
    arrays(),
    arrays().filter(lambda array: array.size > 0).map(lambda array: array.reshape(-1)[0]),
    texts.map(np.str_),
    st.binary(max_size=3).map(np.bytes_),
    st.lists(st.floats(), min_size=30, max_size=40),
    st.lists(st.integers(-(1 << 64), 1 << 64), min_size=30, max_size=40).map(tuple),
)
trees = st.recursive(
    ends,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts | st.integers(-9, 9), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(trees)
@example({"a": {"b": np.zeros(1)}, "a.b": np.ones(1), "model": {"x": np.zeros(2)}, 1: 2, "1": 3})
@example([-0.0, float("nan"), float("inf"), 10**5000, [1.0] * 40, [1] * 39 + [True], (2.0,) * 32, ()])
@example(
    [
        np.array([[1, 2, 3], [4, 5, 6]], ">f4", order="F"),
        np.zeros(0),
        np.array(1.5),
        np.float32(2),
        np.zeros(2, "M8[s]"),
    ]
)
def test_a_tree_comes_back(path: Path, tree: Any) -> None:
    """From its file by this package, and by NumPy and JSON alone."""
    save_state(path, tree)
    assert bits(load_state(path)) == bits(tree)
    with np.load(path) as content:
        arrays = dict(content)
    del arrays["checkpoint"]
    plain = json.loads(str(arrays.pop("training")))
    assert bits(unpack(plain, arrays)) == bits(tree)


def test_arrays_are_named_by_their_places() -> None:
    optimizer = {"state": {0: {"step": 3, "exp_avg": np.zeros(2)}}}
    _, found = pack({"model": {"0.weight": np.ones(2)}, "optimizer": optimizer, "losses": [0.5] * 100})
    assert list(found) == ["model.0.weight", "training.optimizer.state.0.exp_avg", "training.losses"]
    assert found["training.losses"].dtype == np.float64


def test_nothing_is_copied() -> None:
    array = np.zeros(5)
    _, found = pack({"a": array})
    assert found["training.a"] is array


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": [0, {"b": {1, 2}}]}, "training.a.1.b is of type set, which cannot be saved"),
        ({"a": np.array([None])}, "training.a is an array of object"),
        ({"a": np.ma.zeros(2)}, "training.a is of type numpy.ma.MaskedArray"),
        ({"a": OrderedDict()}, "training.a is of type collections.OrderedDict"),
        ({"a": {2.5: 1}}, "training.a has the key 2.5 of type float"),
        ({True: 1}, "training has the key True of type bool"),
        (1j, "training is of type complex"),
        ({"a": np.zeros(2, [])}, "training.a is an array of"),
    ],
)
def test_what_cannot_be_packed_is_named_by_its_place_and_type(tree: Any, words: str) -> None:
    with pytest.raises(TrainingError) as caught:
        pack(tree)
    assert words in str(caught.value)


def test_a_list_in_itself_is_refused() -> None:
    tree: list[Any] = []
    tree.append(tree)
    with pytest.raises(TrainingError, match="or in itself"):
        pack({"a": tree})


def test_many_numbers_are_one_array() -> None:
    plain, found = pack({"losses": [0.5] * 1_000_000})
    assert len(found) == 1
    assert len(json.dumps(plain)) < 100
    assert unpack(plain, found)["losses"][-1] == 0.5


@pytest.mark.parametrize(
    "plain",
    [
        {"$array": "b"},
        {"$array": ["a"]},
        {"$array": "a", "as": "set"},
        {"$array": "a", "as": "list", "more": 1},
        {"$array": "a", "dtype": "O"},
        {"$array": "a", "dtype": "<f4"},
        {"$array": "a", "dtype": "nonsense"},
        {"$array": "a", "dtype": [["x", "<f8", [10**9, 10**9]]]},
        [{"$array": "a"}, {"$array": "a"}],
        [],
        {"$tuple": 3},
        {"$dict": [[1]]},
        {"$dict": [[[1], 2]]},
        {"$dict": {"a": 1}},
        {"$int": "x"},
        {"$int": 3},
        {"$float": "00"},
        {"$text": "zz"},
        {"$bytes": None},
        {"$scalar": ["O", "00"]},
        {"$scalar": ["<f4", "00"]},
        {"$scalar": ["<f4"]},
        {"$scalar": [3, 3]},
        {"$pickle": "x"},
        {"$tuple": [], "b": 1},
    ],
)
def test_plain_data_that_pack_does_not_write_is_refused(plain: Any) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        unpack(plain, {"a": np.zeros(2)})
    assert type(caught.value) is ValueError


def test_plain_data_that_is_deep_is_refused() -> None:
    plain: Any = 1
    for _ in range(900):
        plain = {"$tuple": [plain]}
    with pytest.raises(ValueError, match="nested too deep"):
        unpack(plain, {})
