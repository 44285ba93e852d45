"""Nested containers are taken apart and put together again, whatever their kinds."""

import gc
import weakref
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist.engine.tree import flatten, leaves_like, unflatten


class Pair(NamedTuple):
    first: Any
    second: Any


def containers(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(parts, max_size=3),
        st.lists(parts, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), parts, max_size=3),
        st.builds(Pair, parts, parts),
    )


trees = st.recursive(st.integers() | st.none(), containers, max_leaves=8)


@given(trees)
def test_a_tree_is_put_together_as_it_was(tree: Any) -> None:
    leaves, structure = flatten(tree)
    again = unflatten(structure, leaves)
    assert again == tree
    assert repr(again) == repr(tree)  # list or tuple or named tuple, at every level


@given(trees)
def test_a_structure_holds_no_leaf(tree: Any) -> None:
    leaves, structure = flatten(tree)
    assert [str(leaf) for leaf in flatten(structure)[0]] == ["*"] * len(leaves)


@given(trees)
def test_a_tree_has_its_own_structure(tree: Any) -> None:
    leaves, structure = flatten(tree)
    assert leaves_like(structure, tree, "it") == leaves


def test_none_is_no_leaf() -> None:
    assert flatten([None, 1, {"a": None}])[0] == [1]


def test_subclasses_of_dict_stay_what_they_are() -> None:
    ordered = OrderedDict(b=1, a=2)
    default = defaultdict(list, {"a": 1})
    for tree in (ordered, default):
        leaves, structure = flatten(tree)
        again = unflatten(structure, leaves)
        assert type(again) is type(tree)
        assert list(again.items()) == list(tree.items())


def test_the_original_containers_stay_as_they_are() -> None:
    tree = {"a": [1, 2]}
    unflatten(flatten(tree)[1], [10, 20])
    assert tree == {"a": [1, 2]}


def test_keys_may_come_in_another_order() -> None:
    structure = flatten({"a": 1, "b": 2})[1]
    assert leaves_like(structure, {"b": 20, "a": 10}, "it") == [10, 20]


@pytest.mark.parametrize(
    ("tree", "other", "where"),
    [
        ([1, 2], [1], r"the tangent has the structure \[\*\]; expected \[\*, \*\]"),
        ([1], 1, r"the tangent has the structure \*; expected \[\*\]"),
        (1, [1], r"the tangent has the structure \[\*\]; expected \*"),
        ({"a": 1}, {"b": 1}, r"expected \{'a': \*\}"),
        ({"a": [1, (2, 3)]}, {"a": [1, (2,)]}, r"the tangent\['a'\]\[1\] has the structure"),
        ({0: 1}, [1], "has the structure"),
        ([None], [1], "has the structure"),
    ],
)
def test_another_structure_is_refused_and_located(tree: Any, other: Any, where: str) -> None:
    with pytest.raises(TypeError, match=where):
        leaves_like(flatten(tree)[1], other, "the tangent")


def test_lists_and_tuples_may_stand_for_each_other() -> None:
    assert leaves_like(flatten((1, 2))[1], [10, 20], "it") == [10, 20]


def test_leaves_die_without_the_garbage_collector() -> None:
    class Leaf:
        pass

    gc.collect()
    gc.disable()
    try:
        leaf = Leaf()
        dead = weakref.ref(leaf)
        leaves, structure = flatten([leaf])
        unflatten(structure, leaves)
        leaves_like(structure, [leaf], "it")
        del leaf, leaves
        assert dead() is None
    finally:
        gc.enable()
