"""DLPack: other libraries share the memory of Tensors that may be written to, and are told of the others."""

import ctypes
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import JitError, Tensor, grad, jit, nn, no_grad

DTYPES = "?bhilBHILefd"


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


@pytest.fixture
def leaf() -> Tensor:
    return Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)


def write(array: np.ndarray, value: Any) -> None:
    """Fill an array that was taken; NumPy 2.1 calls all of them read-only, which they are not."""
    ctypes.memset(address(array), 0, array.nbytes)
    if array.flags.writeable:
        array[...] = value


def readonly(values: Any) -> np.ndarray:
    array = np.array(values)
    array.flags.writeable = False
    return array


# ---- what is shared --------------------------------------------------------------------------------------


@pytest.mark.parametrize("char", DTYPES)
def test_numpy_shares_the_memory(char: str) -> None:
    t = Tensor(np.arange(6).astype(char).reshape(2, 3))
    array = np.from_dlpack(t)
    assert address(array) == address(t.data)
    np.testing.assert_array_equal(array, t.data, strict=True)
    write(array, 0)
    assert not t.data.any()
    t.data[1, 2] = 1
    assert array[1, 2] == 1


@pytest.mark.parametrize(
    "array",
    [np.arange(24.0).reshape(4, 6)[::2, ::3], np.arange(6.0).reshape(2, 3).T, np.array(2.5), np.ones((0, 3))],
    ids=["strided", "transposed", "number", "empty"],
)
def test_layouts_stay_as_they_are(array: np.ndarray) -> None:
    taken = np.from_dlpack(Tensor(array))
    np.testing.assert_array_equal(taken, array, strict=True)
    if array.size:
        assert (address(taken), taken.strides) == (address(array), array.strides)


def test_memory_lives_as_long_as_what_was_taken() -> None:
    array = np.from_dlpack(Tensor(np.arange(100_000.0)))
    np.testing.assert_array_equal(array, np.arange(100_000.0))


def test_a_result_without_a_tape_is_shared() -> None:
    t = Tensor([1.0, 2.0]) * 2
    assert address(np.from_dlpack(t)) == address(t.data)


def test_the_device_is_the_cpu() -> None:
    assert Tensor([1.0]).__dlpack_device__() == np.ones(1).__dlpack_device__() == (1, 0)
    assert address(np.from_dlpack(t := Tensor([1.0]), device="cpu")) == address(t.data)


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (2, 0)])
def test_both_versions_of_the_protocol_are_spoken(version: Any) -> None:
    capsule = Tensor([1.0]).__dlpack__(max_version=version)
    assert ("dltensor_versioned" in repr(capsule)) is (version is not None and version >= (1, 0))


# ---- copies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "t",
    [Tensor([1.0, 2.0]), Tensor(readonly([1.0, 2.0])), (Tensor([1.0], requires_grad=True) * 2).detach()],
    ids=["writable", "read-only", "result"],
)
def test_a_copy_is_given_where_it_is_asked_for(t: Tensor) -> None:
    array = np.from_dlpack(t, copy=True)
    before = t.data.copy()
    write(array, 7)
    np.testing.assert_array_equal(t.data, before)


@pytest.mark.parametrize(
    "array", [np.arange(6.0)[::-1], np.arange(3, dtype=">f4")], ids=["backwards", "order"]
)
def test_what_cannot_be_shared_is_copied(array: np.ndarray) -> None:
    taken = np.from_dlpack(Tensor(array))
    np.testing.assert_array_equal(taken, array)
    assert not np.shares_memory(taken, array)
    with pytest.raises(BufferError, match=r"cannot be shared without a copy; leave out copy=False"):
        np.from_dlpack(Tensor(array), copy=False)


# ---- what is refused -------------------------------------------------------------------------------------


def test_a_leaf_that_requires_a_gradient_is_refused(leaf: Tensor) -> None:
    said = r"shape \(2, 3\) requires a gradient, which another .*; give t\.detach\(\), .* t\.data"
    for copy in (None, True, False):
        with pytest.raises(BufferError, match=said):
            np.from_dlpack(leaf, copy=copy)
    assert not np.shares_memory(np.from_dlpack(leaf.detach()), leaf.data)
    assert np.shares_memory(np.from_dlpack(leaf.data), leaf.data)


def test_a_write_through_the_data_of_a_leaf_is_noticed_when_it_is_marked(leaf: Tensor) -> None:
    loss = np.sum(leaf * leaf)
    write(np.from_dlpack(leaf.data), 7)
    leaf.mark_written()
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


def test_a_parameter_is_refused_until_it_is_frozen() -> None:
    weight = nn.Linear(3, 2).weight
    with pytest.raises(BufferError, match="requires a gradient"):
        np.from_dlpack(weight)
    weight.requires_grad_(False)
    assert address(np.from_dlpack(weight)) == address(weight.data)


def test_a_recorded_result_is_refused(leaf: Tensor) -> None:
    result = leaf * 2
    with pytest.raises(BufferError, match=r"requires a gradient.*; give t\.detach\(\)\.copy\(\)"):
        np.from_dlpack(result)
    with pytest.raises(BufferError, match="read-only values"):
        np.from_dlpack(result.detach())
    write(np.from_dlpack(result.detach().copy()), 0)
    np.testing.assert_array_equal(result.data, leaf.data * 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tensor(readonly([1.0])),
        lambda: Tensor([1.0, 2.0])[1:],
        lambda: Tensor([[1.0, 2.0]]).T,
        lambda: Tensor(np.broadcast_to(1.0, (3,))),
    ],
    ids=["array", "index", "transposed", "broadcast"],
)
@pytest.mark.parametrize("version", [None, (1, 0)])
def test_read_only_values_are_refused_and_it_is_said_what_to_do(
    make: Callable[[], Tensor], version: Any
) -> None:
    said = r"has read-only values, into which .*np\.from_dlpack\(t, copy=True\) or t\.copy\(\); np\.asarray"
    with pytest.raises(BufferError, match=said):
        make().__dlpack__(max_version=version)
    make().copy().__dlpack__(max_version=version)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stream": 1}, "stream 1 was asked for; the values are on the CPU"),
        ({"dl_device": (2, 0)}, r"the device \(2, 0\) was asked for; all Tensors are on the CPU, \(1, 0\)"),
    ],
)
def test_other_devices_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BufferError, match=said):
        Tensor([1.0]).__dlpack__(**options)


def test_numbers_that_dlpack_does_not_have_are_refused() -> None:
    if np.dtype(np.longdouble) == np.float64:
        pytest.skip("a long double is a double here")
    with pytest.raises(
        BufferError, match=r"DLPack has no .*; convert it first, as in t\.astype\(np\.float64\)"
    ):
        np.from_dlpack(Tensor(np.ones(2, np.longdouble)))


def test_a_gradient_is_not_lost_inside_a_transform() -> None:
    with pytest.raises(BufferError, match="requires a gradient"):
        grad(lambda x: Tensor(np.from_dlpack(x)).sum())(np.ones(2))
    with no_grad():
        assert np.from_dlpack(Tensor([1.0]) * 2).tolist() == [2.0]


def test_a_jitted_function_has_no_values_to_share() -> None:
    pytest.importorskip("llvmlite")
    with pytest.raises(JitError, match="is read at"):
        jit(lambda x: Tensor(np.from_dlpack(x)) * 2)(Tensor(np.ones(20)))


# ---- PyTorch and JAX -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch says when it is imported is not ours
        return pytest.importorskip("torch")


@pytest.mark.peers
@pytest.mark.parametrize("char", DTYPES)
def test_pytorch_shares_the_memory(char: str, torch: Any) -> None:
    t = Tensor(np.arange(6).astype(char).reshape(2, 3).T)
    tensor = torch.from_dlpack(t)
    assert tensor.data_ptr() == address(t.data)
    np.testing.assert_array_equal(tensor.numpy(), t.data, strict=True)
    tensor[1, 1] = 0
    assert t.data[1, 1] == 0
    back = Tensor(tensor)
    assert address(back.data) == address(t.data)


@pytest.mark.peers
def test_pytorch_is_told_what_it_cannot_share(leaf: Tensor, torch: Any) -> None:
    for take in (torch.from_dlpack, torch.asarray, torch.as_tensor):
        with pytest.raises(BufferError, match="requires a gradient"):
            take(leaf)
        with pytest.raises(BufferError, match="read-only"):
            take((leaf * 2).detach())
    assert torch.from_dlpack((leaf * 2).detach(), copy=True).tolist() == (leaf.data * 2).tolist()
    assert torch.from_dlpack(Tensor(np.arange(3.0)[::-1])).tolist() == [2, 1, 0]  # it would abort the process


def test_jax_shares_the_memory() -> None:
    jax = pytest.importorskip("jax")
    memory = np.zeros(1000, np.float32)
    start = -address(memory) % 64 // 4  # JAX shares what begins at a multiple of 64, and copies the rest
    t = Tensor(memory[start : start + 100])
    array = jax.dlpack.from_dlpack(t)
    assert array.unsafe_buffer_pointer() == address(t.data)
    back = Tensor(array)
    assert address(back.data) == address(t.data)
    assert not back.data.flags.writeable
    with pytest.raises(BufferError, match="read-only"):
        jax.dlpack.from_dlpack(back)
    assert jax.dlpack.from_dlpack(back.copy()).tolist() == t.tolist()
