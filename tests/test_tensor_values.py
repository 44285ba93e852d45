"""Values, not views: what copies share, what cannot be written to; and errors that name the operation."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


# ---- copies ----------------------------------------------------------------------------------------------


def test_a_shallow_copy_shares_the_array_but_not_the_gradient() -> None:
    t = leaf([1.0])
    (t * 2).backward()
    twin = copy.copy(t)
    assert twin.data is t.data
    assert twin.requires_grad
    assert twin.grad is None


def test_a_deep_copy_of_a_leaf_has_its_own_array_and_gradient() -> None:
    t = leaf([1.0])
    (t * 2).backward()
    twin = copy.deepcopy(t)
    assert not np.shares_memory(twin.data, t.data)
    assert twin.grad is not None
    assert t.grad is not None
    assert not np.shares_memory(twin.grad.data, t.grad.data)
    assert twin.is_leaf


def test_a_deep_copy_learns_alone() -> None:
    t = leaf([1.0])
    twin = copy.deepcopy(t)
    (twin * 2).backward()
    assert t.grad is None


def test_a_tensor_that_stands_twice_in_a_structure_is_copied_once() -> None:
    t = leaf([1.0])
    first, second = copy.deepcopy([t, t])
    assert first is second


def test_a_deep_copy_of_a_result_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"'multiply' cannot be deep-copied.*\.detach\(\)"):
        copy.deepcopy(leaf([1.0]) * 2)


@pytest.mark.parametrize("t", [Tensor([1, 2]), leaf([[1.5]], np.float32)], ids=["plain", "leaf"])
def test_a_pickle_keeps_values_dtype_and_the_wish_for_a_gradient(t: Tensor) -> None:
    again = pickle.loads(pickle.dumps(t))
    np.testing.assert_array_equal(again.data, t.data, strict=True)
    assert again.requires_grad == t.requires_grad


def test_a_pickle_of_a_result_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'multiply' cannot be pickled.*\.detach\(\)"):
        pickle.dumps(leaf([1.0]) * 2)


def test_copy_has_its_own_memory_and_passes_the_gradient_on() -> None:
    t = leaf([1.0])
    twin = t.copy()
    assert not np.shares_memory(twin.data, t.data)
    (twin * 3).backward()
    assert t.grad is not None
    assert t.grad.item() == 3


# ---- values, not views -----------------------------------------------------------------------------------

VIEWS = {
    "reshape": lambda t: t.reshape(3, 2),
    "ravel": lambda t: t.ravel(),
    "transpose": lambda t: t.T,
    "swapaxes": lambda t: t.swapaxes(0, 1),
    "slice": lambda t: t[:, 1:],
    "row": lambda t: t[0],
    "newaxis": lambda t: t[None],
    "expand_dims": lambda t: np.expand_dims(t, 0),
    "squeeze": lambda t: np.expand_dims(t, 0).squeeze(),
    "broadcast_to": lambda t: np.broadcast_to(t, (2, 2, 3)),
    "flip": lambda t: np.flip(t),
    "split": lambda t: np.split(t, 2)[0],
    "iteration": lambda t: next(iter(t)),
    "element": lambda t: t[0, 0],
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_numpy_makes_a_view_cannot_be_written_to(name: str) -> None:
    out = VIEWS[name](leaf(np.ones((2, 3))))
    assert not out.data.flags.writeable or out.data.base is None
    if out.data.base is not None:
        with pytest.raises(ValueError, match="read-only"):
            out.data[...] = 5


# ---- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "error", "message"),
    [
        (lambda t: t @ np.ones((2, 2)), ValueError, r"matmul: .*\(2, 3\), float64 \(2, 2\)"),
        (lambda t: t + np.ones(2), ValueError, r"add: .*\(2, 3\).*\(2,\)"),
        (lambda t: t.reshape(5), ValueError, r"reshape: .*\(2, 3\)"),
        (lambda t: t[5], IndexError, r"getitem: .*\(2, 3\)"),
        (lambda t: t.sum(axis=7), np.exceptions.AxisError, r"sum: axis 7 .*\(2, 3\)"),
        (lambda t: np.concatenate([t, np.ones((1, 2))]), ValueError, r"concatenate: .*\(2, 3\).*\(1, 2\)"),
        (lambda t: np.einsum("ij,jk", t, t), ValueError, r"einsum: "),
        (lambda t: np.broadcast_to(t, (2, 2)), ValueError, r"broadcast_to: .*\(2, 3\)"),
        (lambda t: t.transpose(0, 0), ValueError, r"transpose: .*\(2, 3\)"),
        (lambda t: np.squeeze(t, axis=0), ValueError, r"squeeze: .*\(2, 3\)"),
        (lambda t: t + 1j, TypeError, r"add: .*complex"),
        (lambda t: t * "a", TypeError, r"multiply"),
    ],
    ids=["matmul", "add", "reshape", "getitem", "sum", "concatenate", "einsum", "broadcast_to", "transpose",
         "squeeze", "complex", "string"],
)  # fmt: skip
def test_an_error_names_the_operation_and_the_shapes(f: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        f(leaf(np.ones((2, 3))))


def test_an_error_in_an_operation_keeps_numpys_as_its_cause() -> None:
    with pytest.raises(ValueError, match="add") as caught:
        leaf([1.0, 2.0]) + np.ones(3)
    assert isinstance(caught.value.__cause__, ValueError)
