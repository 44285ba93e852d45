"""A Tensor behaves as users of NumPy and PyTorch expect of an array, and says what it refuses."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


# ---- making one ------------------------------------------------------------------------------------------


def test_an_ndarray_is_wrapped_without_a_copy() -> None:
    array = np.ones(3)
    assert Tensor(array).data is array


@pytest.mark.parametrize(
    "data",
    [1.5, 1, True, [1, 2], [[1.0], [2.0]], (1.0, 2), np.float32(1), range(3), np.ones(2, np.float16)],
    ids=repr,
)
def test_the_dtype_and_shape_are_numpys(data: Any) -> None:
    t, array = Tensor(data), np.asarray(data)
    assert (t.dtype, t.shape) == (array.dtype, array.shape)


def test_a_dtype_can_be_asked_for() -> None:
    assert Tensor([1, 2], dtype=np.float32).dtype == np.float32


def test_a_tensor_is_taken_by_its_values() -> None:
    t = leaf([1.0])
    again = Tensor(t)
    assert again.data is t.data
    assert not again.requires_grad


@pytest.mark.parametrize(
    "data", [1j, [1j], ["a"], [None], np.array([object()])], ids=["1j", "[1j]", "text", "None", "object"]
)
def test_what_is_no_real_number_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match="expected real numbers or booleans"):
        Tensor(data)


def test_a_masked_array_is_refused() -> None:
    with pytest.raises(TypeError, match="masked"):
        Tensor(np.ma.array([1.0, 2.0], mask=[True, False]))


def test_a_power_has_no_modulus() -> None:
    with pytest.raises(TypeError, match=r"pow of a Tensor takes no modulus; write t\*\*exponent % modulus"):
        pow(Tensor([2.0, 3.0]), 2, 3)
    np.testing.assert_array_equal(pow(Tensor([2.0, 3.0]), 2, None).data, [4.0, 9.0])


def test_a_list_of_tensors_is_refused_with_the_way_to_join_them() -> None:
    with pytest.raises(TypeError, match=r"np\.stack"):
        Tensor([leaf(1.0), leaf(2.0)])


@pytest.mark.parametrize("values", [[1, 2], [True]], ids=repr)
def test_what_is_no_float_cannot_require_a_gradient(values: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot require a gradient; make it a float first"):
        Tensor(values, requires_grad=True)


# ---- what it is ------------------------------------------------------------------------------------------


def test_shape_ndim_size_dtype_and_nbytes_are_the_arrays() -> None:
    t = Tensor(np.ones((2, 3), np.float32))
    assert (t.shape, t.ndim, t.size, t.dtype, t.nbytes) == ((2, 3), 2, 6, np.float32, 24)


def test_len_is_that_of_the_first_axis() -> None:
    assert len(Tensor(np.ones((2, 3)))) == 2


def test_a_0d_tensor_has_no_len() -> None:
    with pytest.raises(TypeError):
        len(Tensor(1.0))


def test_iteration_gives_rows_with_a_gradient() -> None:
    t = leaf([[1.0, 2.0], [3.0, 4.0]])
    first, second = t
    np.sum(first * 10 + second).backward()
    assert t.grad is not None
    np.testing.assert_array_equal(t.grad.data, [[10, 10], [1, 1]])


def test_a_0d_tensor_cannot_be_iterated_over() -> None:
    with pytest.raises(TypeError, match="0-d"):
        iter(Tensor(1.0))


@pytest.mark.parametrize("convert", [float, int, bool, complex], ids=lambda f: f.__name__)
def test_one_element_converts_as_a_number(convert: Any) -> None:
    assert convert(Tensor(2.0)) == convert(np.array(2.0))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_float_of_one_element_of_any_shape(shape: tuple[int, ...]) -> None:
    assert float(Tensor(np.full(shape, 2.5))) == 2.5


def test_float_works_on_what_requires_a_gradient() -> None:
    assert float(leaf(2.5) * 2) == 5.0


@pytest.mark.parametrize("convert", [float, int], ids=lambda f: f.__name__)
def test_several_elements_are_no_number(convert: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        convert(Tensor([1.0, 2.0]))


def test_the_truth_of_several_elements_is_ambiguous() -> None:
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Tensor([1.0, 2.0]))


def test_an_integer_tensor_is_an_index() -> None:
    assert [10, 20, 30][Tensor(1)] == 20  # type: ignore[call-overload]


def test_item_is_a_python_number() -> None:
    assert type(Tensor(np.float32(1.5)).item()) is float


def test_tolist_is_nested_lists() -> None:
    assert Tensor([[1, 2]]).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (Tensor([1.0, 2.0]), "Tensor([1., 2.])"),
        (leaf([1.0]), "Tensor([1.], requires_grad=True)"),
        (leaf([1.0]) * 2, "Tensor([2.], op=multiply)"),
        (Tensor(np.ones(1, np.float32)), "Tensor([1.], dtype=float32)"),
        (Tensor(1.0), "Tensor(1.)"),
    ],
)
def test_repr_shows_values_dtype_and_how_it_was_made(t: Tensor, text: str) -> None:
    assert repr(t) == text


def test_the_rows_of_a_repr_stand_below_each_other() -> None:
    assert repr(Tensor(np.eye(2))) == "Tensor([[1., 0.],\n        [0., 1.]])"


def test_a_0d_tensor_takes_a_format() -> None:
    assert f"{Tensor(1.23456):.2f}" == "1.23"


def test_membership_is_by_value() -> None:
    t = Tensor([1.0, 2.0])
    assert 2.0 in t
    assert 3.0 not in t


# ---- comparison and hash ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"])
@pytest.mark.parametrize(
    "other", [2.0, np.array([1.0, 5.0, 3.0]), Tensor([1.0, 5.0, 3.0])], ids=["float", "array", "tensor"]
)
def test_comparison_is_elementwise_and_needs_no_gradient(name: str, other: Any) -> None:
    t = leaf([1.0, 2.0, 3.0])
    out = getattr(t, name)(other)
    plain = other.data if isinstance(other, Tensor) else other
    np.testing.assert_array_equal(out.data, getattr(t.data, name)(plain), strict=True)
    assert not out.requires_grad


def test_comparison_works_with_the_array_on_the_left() -> None:
    out = np.array([1.0, 3.0]) < Tensor([2.0, 2.0])
    assert isinstance(out, Tensor)
    assert out.tolist() == [True, False]


def test_a_hash_is_of_identity() -> None:
    one, other = Tensor([1.0]), Tensor([1.0])
    assert {one: "one", other: "other"}[one] == "one"


# ---- arrays out of it ------------------------------------------------------------------------------------


def test_numpy_gives_the_array() -> None:
    t = Tensor([1.0])
    assert t.numpy() is t.data


@pytest.mark.parametrize("t", [leaf([1.0]), leaf([1.0]) * 2], ids=["leaf", "result"])
def test_numpy_of_what_requires_a_gradient_says_detach(t: Tensor) -> None:
    with pytest.raises(RuntimeError, match=r"\.detach\(\)\.numpy\(\)"):
        t.numpy()


@pytest.mark.parametrize(
    "convert", [np.asarray, np.array, lambda t: np.array([t, t])], ids=["asarray", "array", "list"]
)
def test_an_array_of_what_requires_a_gradient_says_detach(convert: Any) -> None:
    with pytest.raises(TypeError, match=r"\.detach\(\)\.numpy\(\), or np\.stack"):
        convert(leaf([1.0]))


def test_asarray_of_a_plain_tensor_is_its_array() -> None:
    t = Tensor([1.0])
    assert np.asarray(t) is t.data


def test_asarray_takes_a_dtype() -> None:
    assert np.asarray(Tensor([1.0]), dtype=np.float32).dtype == np.float32


def test_np_array_copies() -> None:
    t = Tensor([1.0])
    assert not np.shares_memory(np.array(t), t.data)


def test_detach_requires_no_gradient_and_has_the_values() -> None:
    t = leaf([1.0, 2.0]) * 2
    assert not t.detach().requires_grad
    assert t.detach().tolist() == [2.0, 4.0]


def test_what_is_detached_is_a_constant() -> None:
    t = leaf([3.0])
    (t * t.detach()).backward()
    assert t.grad is not None
    assert t.grad.item() == 3


def test_writing_into_a_detached_leaf_leaves_the_leaf() -> None:
    t = leaf([1.0])
    t.detach().data[0] = 5
    assert t.item() == 1


# ---- dtype -----------------------------------------------------------------------------------------------


def test_astype_converts_and_brings_the_gradient_back_in_the_first_dtype() -> None:
    t = leaf([1.5], np.float32)
    wide = t.astype(np.float64)
    (wide * wide).backward()
    assert t.grad is not None
    assert (wide.dtype, t.grad.dtype, t.grad.item()) == (np.float64, np.float32, 3)


def test_astype_to_integers_needs_no_gradient() -> None:
    assert not leaf([1.5]).astype(int).requires_grad


@pytest.mark.parametrize(
    "f", [lambda t: t * 2.0, lambda t: 2 * t + 1, lambda t: t**2, lambda t: 1 / t, lambda t: t @ t]
)
def test_python_numbers_are_weak(f: Any) -> None:
    assert f(leaf([1.0], np.float32)).dtype == np.float32


def test_float64_arrays_are_strong_as_in_numpy() -> None:
    assert (leaf([1.0], np.float32) * np.ones(1)).dtype == np.float64


# ---- leaves and results ----------------------------------------------------------------------------------


def test_a_leaf_is_what_a_user_made() -> None:
    assert [Tensor(1.0).is_leaf, leaf(1.0).is_leaf, (leaf(1.0) * 2).is_leaf] == [True, True, False]


def test_requires_grad_can_be_asked_for_later_and_given_up() -> None:
    t = Tensor([1.0])
    assert t.requires_grad_() is t
    assert t.requires_grad
    t.requires_grad = False
    assert not t.requires_grad


def test_asking_twice_keeps_the_gradient() -> None:
    t = leaf(1.0)
    (t * 2).backward()
    assert t.requires_grad_().grad is not None


def test_a_result_cannot_stop_requiring_a_gradient() -> None:
    with pytest.raises(RuntimeError, match=r"'multiply'.*\.detach\(\)"):
        (leaf(1.0) * 2).requires_grad_(False)


def test_a_gradient_is_a_tensor_or_none() -> None:
    t = leaf([1.0])
    assert t.grad is None
    (t * 2).backward()
    assert isinstance(t.grad, Tensor)


def test_a_gradient_can_be_set_and_cleared() -> None:
    t = leaf([1.0])
    t.grad = np.array([5.0])  # type: ignore[assignment]
    assert t.grad is not None
    t.grad = None
    assert t.grad is None


def test_a_gradient_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\.grad of shape \(2,\) was given to a Tensor of shape \(1,\)"):
        leaf([1.0]).grad = np.ones(2)  # type: ignore[assignment]


# ---- .data -----------------------------------------------------------------------------------------------


def test_data_can_be_replaced_by_another_dtype() -> None:
    t = leaf([1.0, 2.0])
    t.data = np.array([3, 4], np.float32)
    assert (t.dtype, t.tolist()) == (np.float32, [3, 4])


def test_data_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) was given shape \(3,\)"):
        leaf([1.0, 2.0]).data = np.ones(3)


def test_data_of_a_result_cannot_be_replaced() -> None:
    with pytest.raises(RuntimeError, match=r"'multiply' cannot be replaced.*\.detach\(\)"):
        (leaf([1.0]) * 2).data = np.ones(1)


def test_integers_cannot_replace_what_requires_a_gradient() -> None:
    with pytest.raises(TypeError, match="expected floats"):
        leaf([1.0]).data = np.array([1])


# ---- the attributes of an ndarray ------------------------------------------------------------------------

NOT_OURS = {
    # they hand out memory, and NumPy would take the values from there without their gradient
    "__array_interface__", "__array_struct__",
    # for subclasses of ndarray, and for its pickles
    "__array_finalize__", "__array_wrap__", "__array_priority__", "__array_namespace__", "__class_getitem__",
    "__setstate__",
    # Python asks __float__; an array raises too
    "__complex__", "__delitem__",
}  # fmt: skip


def test_every_attribute_of_an_ndarray_is_there_or_refused_by_name() -> None:
    t = Tensor([[1.5, 2.0]])
    for name in set(dir(np.ndarray)) - NOT_OURS:
        assert hasattr(Tensor, name), f"decide on ndarray.{name}"
        try:
            getattr(t, name)
        except AttributeError as error:
            assert f"ndarray.{name} is not an attribute of Tensors; " in str(error)  # noqa: PT017


def test_what_is_not_ours_would_be_ndarrays_and_is_not_there() -> None:
    assert {name for name in NOT_OURS if name in dir(np.ndarray) and hasattr(Tensor, name)} == set()


def test_strides_itemsize_and_device_are_the_arrays() -> None:
    x = np.arange(6.0).reshape(2, 3).T
    t = Tensor(x)
    assert (t.strides, t.itemsize, t.device) == (x.strides, x.itemsize, x.device)


def test_round_is_numpys_and_needs_no_gradient() -> None:
    t = Tensor([1.26, -0.5], requires_grad=True)
    assert round(t).tolist() == [1.0, -0.0]
    assert round(t, 1).tolist() == [1.3, -0.5]
    assert not round(t).requires_grad


def test_an_item_may_be_named_by_its_index() -> None:
    t = Tensor([[1.0, 2.0], [3.0, 4.0]])
    assert (t.item(2), t.item(0, 1)) == (3.0, 2.0)


def test_shifts_in_place_are_assignments() -> None:
    t = Tensor([1, 2])
    same = t
    t <<= 2
    assert (same.tolist(), t is same) == ([4, 8], True)
    part = t[:1]
    with pytest.raises(TypeError, match="cannot be assigned to"):
        part >>= 1


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
