"""Functions that move, choose and assign elements do to Tensors what they do to arrays, on any arguments."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tinygrad_mnist import Tensor
from tinygrad_mnist.testing import gradcheck


def numbered(shape: tuple[int, ...]) -> Any:
    return np.arange(float(np.prod(shape, dtype=int))).reshape(shape) + 0.5


SHAPES = npst.array_shapes(max_dims=3, max_side=4)


@st.composite
def shapes_and_axes(draw: st.DrawFn) -> tuple[tuple[int, ...], int | None]:
    shape = draw(SHAPES)
    return shape, draw(st.one_of(st.none(), st.integers(-len(shape), len(shape) - 1)))


def same(ours: Any, expected: Any) -> None:
    assert isinstance(ours, Tensor)
    np.testing.assert_array_equal(ours.data, expected, strict=True)


@given(given=shapes_and_axes(), shift=st.integers(-7, 7))
def test_roll(given: tuple[Any, Any], shift: int) -> None:
    x, axis = numbered(given[0]), given[1]
    same(np.roll(Tensor(x), shift, axis), np.roll(x, shift, axis))


@given(given=shapes_and_axes(), data=st.data())
def test_repeat(given: tuple[Any, Any], data: st.DataObject) -> None:
    x, axis = numbered(given[0]), given[1]
    length = x.size if axis is None else x.shape[axis]
    repeats = data.draw(
        st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=length, max_size=length))
    )
    same(np.repeat(Tensor(x), repeats, axis), np.repeat(x, repeats, axis))


@given(shape=SHAPES, reps=st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=1, max_size=4)))
def test_tile(shape: Any, reps: Any) -> None:
    same(np.tile(Tensor(numbered(shape)), reps), np.tile(numbered(shape), reps))


@given(given=shapes_and_axes(), data=st.data())
def test_delete_and_insert(given: tuple[Any, Any], data: st.DataObject) -> None:
    x, axis = numbered(given[0]), given[1]
    length = x.size if axis is None else x.shape[axis]
    places = data.draw(st.one_of(
        st.integers(-length, length - 1),
        st.lists(st.integers(-length, length - 1), min_size=1, max_size=3),
    ))  # fmt: skip
    same(np.delete(Tensor(x), places, axis), np.delete(x, places, axis))
    same(np.insert(Tensor(x), places, -9.0, axis), np.insert(x, places, -9.0, axis))
    same(np.insert(Tensor(x), places, Tensor(-9.0), axis), np.insert(x, places, -9.0, axis))


@given(given=shapes_and_axes(), data=st.data(), mode=st.sampled_from(["raise", "wrap", "clip"]))
def test_take(given: tuple[Any, Any], data: st.DataObject, mode: str) -> None:
    x, axis = numbered(given[0]), given[1]
    length = x.size if axis is None else x.shape[axis]
    bounds = (-length, length - 1) if mode == "raise" else (-9, 9)
    indices = data.draw(
        npst.arrays(np.int64, npst.array_shapes(min_dims=0, max_dims=2), elements=st.integers(*bounds))
    )
    same(np.take(Tensor(x), indices, axis, mode=mode), np.take(x, indices, axis, mode=mode))
    same(np.take(Tensor(x), Tensor(indices), axis, mode=mode), np.take(x, indices, axis, mode=mode))


@given(given=shapes_and_axes(), count=st.integers(1, 3), data=st.data())
def test_take_and_put_along_axis(given: tuple[Any, Any], count: int, data: st.DataObject) -> None:
    x, axis = numbered(given[0]), given[1]
    shape = (count,) if axis is None else tuple(
        count if i == axis % x.ndim else n for i, n in enumerate(x.shape)
    )  # fmt: skip
    length = x.size if axis is None else x.shape[axis]
    indices = data.draw(npst.arrays(np.int64, shape, elements=st.integers(-length, length - 1)))
    same(np.take_along_axis(Tensor(x), indices, axis), np.take_along_axis(x, indices, axis))
    target, expected = Tensor(x.copy()), x.copy()
    np.put_along_axis(target, indices, -1.0, axis)
    np.put_along_axis(expected, indices, -1.0, axis)
    same(target, expected)


@given(shape=SHAPES, data=st.data())
def test_put_place_putmask_and_copyto(shape: Any, data: st.DataObject) -> None:
    x = numbered(shape)
    mask = data.draw(npst.arrays(np.bool_, shape))
    values = numbered((data.draw(st.integers(1, 5)),)) - 20
    places = data.draw(st.lists(st.integers(-x.size, x.size - 1), max_size=4))
    for write in (
        lambda a: np.put(a, places, values),
        lambda a: np.place(a, mask, values),
        lambda a: np.putmask(a, mask, values),
        lambda a: np.copyto(a, 3.0),
    ):
        target, expected = Tensor(x.copy()), x.copy()
        write(target)
        write(expected)
        same(target, expected)


@given(shape=SHAPES, data=st.data())
def test_compress_and_extract(shape: Any, data: st.DataObject) -> None:
    x = numbered(shape)
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    condition = data.draw(npst.arrays(np.bool_, x.shape[axis]))
    same(np.compress(condition, Tensor(x), axis), np.compress(condition, x, axis))
    mask = data.draw(npst.arrays(np.bool_, shape))
    same(np.extract(mask, Tensor(x)), np.extract(mask, x))
    same(np.extract(Tensor(mask), Tensor(x)), np.extract(mask, x))


@pytest.mark.parametrize("values", [[0, 0, 1.5, 0, 2.5, 0], [0, 0], [1.0], [0, 1.0]])
@pytest.mark.parametrize("trim", ["fb", "f", "b"])
def test_trim_zeros_is_that_of_numpy_and_a_slice(values: Any, trim: str) -> None:
    x = np.array(values, float)
    leaf = Tensor(x, requires_grad=True)
    out = np.trim_zeros(leaf, trim)
    same(out, np.trim_zeros(x, trim))
    np.sum(out * 2.0).backward()
    assert leaf.grad is not None
    assert np.sum(leaf.grad.data) == 2 * out.size


def test_block_joins_blocks_of_several_dimensions() -> None:
    a, b = numbered((2, 2)), numbered((2, 1))
    gradcheck(lambda a, b: np.block([[a, b, 1.0 * b], [np.ones((1, 4))]]), a, b, order=2)
    nested = [[a, b], [b.T, np.array(7.0)]]
    same(np.block([[Tensor(a), Tensor(b)], [Tensor(b.T), Tensor(7.0)]]), np.block(nested))


def test_piecewise_takes_the_last_condition_that_holds() -> None:
    x = np.linspace(-2, 2, 9)
    functions = [lambda x: x**2, np.exp, -1.0]
    conditions = [x < 1, x > 0]
    same(np.piecewise(Tensor(x), conditions, functions), np.piecewise(x, conditions, functions))


def test_piecewise_counts_its_functions() -> None:
    with pytest.raises(ValueError, match="piecewise: with 1 conditions"):
        np.piecewise(Tensor([1.0, 2.0]), [np.array([True, False])], [1.0, 2.0, 3.0])


def test_select_counts_its_conditions() -> None:
    with pytest.raises(ValueError, match="select: 1 conditions were given for 2 choices"):
        np.select([np.array([True])], [Tensor([1.0]), Tensor([2.0])])


def test_a_result_is_a_tensor_though_only_the_index_was_one() -> None:
    x = np.arange(4.0)
    index = Tensor(np.array([3, 0]))
    same(np.choose(Tensor(np.array([0, 1])), [x[:2], x[2:]]), np.array([0.0, 3.0]))
    same(np.compress(Tensor(np.array([True, False, True])), x), x[[0, 2]])
    same(np.insert(x, index, 9.0), np.insert(x, [3, 0], 9.0))
