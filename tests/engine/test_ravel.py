"""A tree of arrays becomes one vector and comes back, with its gradient."""

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tinygrad_mnist import Tensor, grad, hessian, jvp, ravel_pytree, vjp


class Pair(NamedTuple):
    first: Any
    second: Any


leaves = arrays(
    np.float64, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.floats(-9, 9)
)
trees = st.recursive(
    leaves | st.none(),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.lists(parts, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), parts, max_size=3),
        st.builds(Pair, parts, parts),
    ),
    max_leaves=6,
)


def leaves_of(tree: Any) -> list[Any]:
    if tree is None:
        return []
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [leaf for part in tree for leaf in leaves_of(part)] if isinstance(tree, (list, tuple)) else [tree]


@given(trees)
def test_a_tree_comes_back_as_it_was(tree: Any) -> None:
    flat, unravel = ravel_pytree(tree)
    assert flat.ndim == 1
    expected = [element for leaf in leaves_of(tree) for element in leaf.ravel()]
    np.testing.assert_array_equal(flat, expected)
    again = unravel(flat)
    np.testing.assert_equal(again, tree)
    assert repr(again) == repr(tree)


def test_nothing_is_shared() -> None:
    one = np.ones(3)
    flat, unravel = ravel_pytree(one)
    flat[0] = 5
    unravel(flat)[1] = 7
    np.testing.assert_array_equal(one, np.ones(3))
    np.testing.assert_array_equal(flat, [5, 1, 1])


def test_one_dtype_takes_any() -> None:
    flat, unravel = ravel_pytree([np.ones(2, np.float32), 2.0])  # Python's number is weak
    assert flat.dtype == np.float32
    assert [leaf.dtype for leaf in unravel(np.zeros(3))] == [np.float64, np.float64]


def test_several_dtypes_are_promoted_and_each_leaf_gets_back_its_own() -> None:
    tree = OrderedDict(
        count=np.array([1, 2]), half=np.ones(1, np.float16), single=np.ones((1, 1), np.float32)
    )
    flat, unravel = ravel_pytree(tree)
    assert flat.dtype == np.result_type(np.int64, np.float16, np.float32)
    again = unravel(2 * flat)
    assert [leaf.dtype for leaf in again.values()] == [leaf.dtype for leaf in tree.values()]
    np.testing.assert_array_equal(again["count"], [2, 4])
    with pytest.raises(
        TypeError, match=r"was given dtype float32; expected float64, .* int64, float16, float32"
    ):
        unravel(flat.astype(np.float32))
    with pytest.raises(ValueError, match=r"\[1.5 2.5\] for a leaf of dtype int64"):
        unravel(flat + 0.5)


@pytest.mark.parametrize("shape", [(), (5,), (6, 1), (7,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    _, unravel = ravel_pytree({"a": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"expected \(6,\)"):
        unravel(np.ones(shape))


@pytest.mark.parametrize("leaf", ["text", np.array([1j]), np.array([None])], ids=repr)
def test_what_is_no_real_number_is_refused(leaf: Any) -> None:
    with pytest.raises(TypeError, match="ravel_pytree was given dtype"):
        ravel_pytree([np.ones(1), leaf])


def test_both_ways_are_differentiated() -> None:
    """f(tree) = sum(w^2) * b; by hand: 2 w b, and sum(w^2)."""
    tree = {"w": np.array([[1.0, 2.0]]), "b": np.array(3.0)}
    flat, unravel = ravel_pytree(tree)

    def of_vector(vector: Any) -> Any:
        parts = unravel(vector)
        return np.sum(parts["w"] ** 2) * parts["b"]

    slope = np.array([6.0, 12.0, 5.0])
    curvature = np.array([[6.0, 0, 2], [0, 6, 4], [2, 4, 0]])
    np.testing.assert_array_equal(grad(of_vector)(flat), slope)
    np.testing.assert_array_equal(hessian(of_vector)(flat), curvature)
    np.testing.assert_array_equal(jvp(of_vector, (flat,), (np.ones(3),))[1], slope.sum())
    (back,) = vjp(lambda t: ravel_pytree(t)[0], tree)[1](np.array([1.0, 2.0, 3.0]))
    np.testing.assert_equal(back, {"w": np.array([[1.0, 2.0]]), "b": np.array(3.0)})


def test_tensors_stay_on_the_tape() -> None:
    weight = Tensor(np.ones(2, np.float32), requires_grad=True)
    flat, unravel = ravel_pytree([weight, np.zeros(1, np.float64)])
    assert isinstance(flat, Tensor)
    np.sum(unravel(flat * np.arange(1.0, 4.0))[0]).backward()
    np.testing.assert_array_equal(weight.grad.data, np.array([1, 2], np.float32))
    assert weight.grad.dtype == np.float32
