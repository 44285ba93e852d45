"""Values, not views: what copies share, what cannot be written to; and errors that name the operation."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad


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


# ---- what nobody may change under the tape ---------------------------------------------------------------


@pytest.mark.parametrize("values", [lambda t: t.data, lambda t: t.detach().numpy()])
def test_the_values_of_a_recorded_result_are_read_only(values: Callable[[Tensor], Any]) -> None:
    y = np.exp(Tensor([0.0, 1.0], requires_grad=True))
    with pytest.raises(ValueError, match="read-only"):
        values(y)[:] = 0


def test_an_index_array_that_changes_later_changes_no_gradient() -> None:
    x, index = Tensor([1.0, 2.0, 3.0], requires_grad=True), np.array([0, 0])
    y = np.sum(x[index])
    index[:] = 2
    y.backward()
    np.testing.assert_array_equal(x.grad.data, [2, 0, 0])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("index", "gradient"),
    [
        (((0, 0),), [2, 0, 0]),
        ((range(0, 2),), [1, 1, 0]),
        (([0, 2, 2],), [1, 0, 2]),
        (([],), [0, 0, 0]),
    ],
    ids=["a tuple in a tuple", "a range", "a list", "an empty list"],
)
def test_indices_repeat_whatever_sequence_names_them(index: Any, gradient: list[int]) -> None:
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    np.sum(x[index]).backward()
    np.testing.assert_array_equal(x.grad.data, gradient)  # type: ignore[union-attr]


# ---- what a Tensor may hold ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [np.array([1j]), np.array(["a"]), np.array([None])], ids=["complex", "str", "object"]
)
def test_data_of_another_kind_is_refused(values: Any) -> None:
    t = Tensor([1.0])
    with pytest.raises(TypeError, match=r"\.data was given dtype"):
        t.data = values
    np.testing.assert_array_equal(t.data, [1.0])


def test_a_masked_array_is_refused_on_either_side() -> None:
    masked, t = np.ma.masked_array([1.0, 2.0], mask=[True, False]), Tensor([1.0, 2.0], requires_grad=True)
    for product in (lambda: t * masked, lambda: masked * t):
        with pytest.raises(TypeError, match=r"masked array|would lose"):
            product()


MATRIX_USES: dict[str, Callable[[Any, Any], Any]] = {
    "t * m": lambda t, m: t * m,
    "m * t": lambda t, m: m * t,
    "m @ t": lambda t, m: m @ t,
    "m - t": lambda t, m: m - t,
    "m < t": lambda t, m: m < t,
    "t *= m": lambda t, m: (t * 1).__imul__(m),
    "t[0] = m": lambda t, m: (t * 1).__setitem__(0, m),
    "ufunc": lambda t, m: np.multiply(m, t),
    "ufunc.outer": lambda t, m: np.multiply.outer(t, m),
    "concatenate": lambda t, m: np.concatenate([t, m]),
    "kron, a formula": lambda t, m: np.kron(t, m),
    "average, a formula": lambda t, m: np.average(t, weights=m),
    "Tensor": lambda t, m: Tensor(m),
    "data": lambda t, m: setattr(Tensor(np.ones((2, 2))), "data", m),
    "grad": lambda t, m: grad(np.sum)(m),
    "backward": lambda t, m: (t * 1).backward(m),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("use", MATRIX_USES)
def test_a_matrix_is_refused_whose_product_would_be_another(use: str) -> None:
    t = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with pytest.raises(TypeError, match=r"np\.matrix.*np\.asarray\(matrix\), and multiply by @"):
        MATRIX_USES[use](t, np.matrix([[1.0, 0.0], [0.0, 1.0]]))


def test_the_gradient_keeps_the_dtype_of_its_tensor_when_that_changes() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    np.sum(x * x).backward()
    x.data = x.data.astype(np.float32)
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    np.sum(x * x).backward()
    assert x.grad.dtype == np.float32
    x.grad = np.array([1, 2])
    assert x.grad.dtype == np.float32


# ---- switching the gradient off and on -------------------------------------------------------------------


def test_freezing_hides_the_gradient_and_thawing_brings_it_back() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    np.sum(x * x).backward()
    x.requires_grad_(False)
    assert x.grad is None
    x.requires_grad_(True)
    np.testing.assert_array_equal(x.grad.data, [2, 4])  # type: ignore[union-attr]


def test_a_gradient_that_is_cleared_while_frozen_stays_cleared() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    np.sum(x * x).backward()
    x.requires_grad_(False)
    x.grad = None
    assert x.requires_grad_(True).grad is None


def test_a_tape_recorded_before_freezing_still_finds_its_leaf() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = np.sum(x * x)
    x.requires_grad_(False).requires_grad_(True)
    y.backward()
    np.testing.assert_array_equal(x.grad.data, [2, 4])  # type: ignore[union-attr]


def test_a_write_is_found_though_freezing_came_between() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = np.sum(x * x)
    x.requires_grad_(False)
    x.data = np.zeros(2)
    with pytest.raises(RuntimeError, match="was changed"):
        y.backward()


# ---- gradients that are recorded -------------------------------------------------------------------------


def test_recorded_gradients_add_up() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        np.sum(x * x).backward(create_graph=True)
    np.testing.assert_array_equal(x.grad.data, [4, 8])  # type: ignore[union-attr]


def test_recorded_gradients_of_two_leaves_share_no_memory() -> None:
    x, y = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    np.sum(x + y).backward(create_graph=True)
    assert x.grad is not None
    assert y.grad is not None
    assert not np.shares_memory(x.grad.data, y.grad.data)


def test_a_cotangent_of_another_dtype_is_brought_into_that_of_the_tensor() -> None:
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    (x * 2).backward(np.array([1.0, 2.0]))
    assert x.grad is not None
    assert x.grad.dtype == np.float32
