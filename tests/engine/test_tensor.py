"""A Tensor behaves as users of NumPy and PyTorch expect of an array, and says what it refuses."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor


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
    "__array_interface__", "__array_struct__", "__dlpack__", "__dlpack_device__",
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
