"""Trees of arrays: flatten nested dicts, lists and tuples to a list, and build them again.

Named tuples keep their type, and so do subclasses of dict and list. None is a container of nothing.
Whatever else there is, is a leaf.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any


class _Leaf:
    """The mark of a leaf in the structure of a tree."""

    def __repr__(self) -> str:
        return "*"


_LEAF = _Leaf()


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """Return the leaves of a tree in order, and its structure, which holds none of them.

    Examples
    --------
    >>> flatten({"weight": 1.0, "rest": [2.0, (3.0, None)]})
    ([1.0, 2.0, 3.0], {'weight': *, 'rest': [*, (*, None)]})
    """
    leaves: list[Any] = []
    return leaves, _take_apart(tree, leaves)


# Functions that call themselves stand alone: a closure that does is a cycle, and would keep leaves alive.
def _take_apart(tree: Any, leaves: list[Any]) -> Any:
    parts = _children(tree)
    if parts is None:
        leaves.append(tree)
        return _LEAF
    return _like(tree, [_take_apart(part, leaves) for _, part in parts])


def unflatten(structure: Any, leaves: Iterable[Any]) -> Any:
    """Return the tree of a structure with other leaves.

    Examples
    --------
    >>> leaves, structure = flatten({"weight": 1.0, "rest": [2.0, 3.0]})
    >>> unflatten(structure, [10 * leaf for leaf in leaves])
    {'weight': 10.0, 'rest': [20.0, 30.0]}
    """
    return _put_together(structure, iter(leaves))


def _put_together(structure: Any, rest: Iterator[Any]) -> Any:
    if structure is _LEAF:
        return next(rest)
    return _like(structure, [_put_together(part, rest) for _, part in _children(structure) or ()])


def leaves_like(structure: Any, tree: Any, name: str) -> list[Any]:
    """Return the leaves of a tree that must have a given structure; dicts may order their keys otherwise.

    Parameters
    ----------
    structure : object
        From `flatten`.
    tree : object
        What was given.
    name : str
        What it is, for the error.

    Raises
    ------
    TypeError
        If it has another structure; the message says where.

    Examples
    --------
    >>> _, structure = flatten({"weight": 1.0, "bias": 2.0})
    >>> leaves_like(structure, {"bias": 20.0, "weight": 10.0}, "the tangent")
    [10.0, 20.0]
    """
    return list(_matched(structure, tree, name))


def _matched(expected: Any, given: Any, path: str) -> Iterator[Any]:
    parts = _children(given)
    if expected is _LEAF and parts is None:
        yield given
        return
    # Lists and dicts are compared alike, by their keys: a list's are its positions.
    wanted = None if expected is _LEAF else dict(_children(expected) or ())
    found = None if parts is None else dict(parts)
    same = wanted is not None and found is not None and wanted.keys() == found.keys()
    if not same or isinstance(expected, dict) != isinstance(given, dict):
        outline = repr(flatten(given)[1])
        raise TypeError(f"{path} has the structure {outline}; expected {expected!r}, where * is an array")
    for key, part in (wanted or {}).items():
        yield from _matched(part, (found or {})[key], f"{path}[{key!r}]")


def _children(part: Any) -> list[tuple[Any, Any]] | None:
    """Return keys and parts of a container; None for a leaf."""
    if part is None:
        return []
    if isinstance(part, dict):
        return list(part.items())
    if isinstance(part, (list, tuple)):
        return list(enumerate(part))
    return None


def _like(part: Any, children: list[Any]) -> Any:
    """Return a container of the same type with other parts."""
    if part is None:
        return None
    if isinstance(part, dict):
        twin = copy.copy(part)  # keeps what a subclass has besides its entries, a defaultdict's factory say
        twin.update(zip(part, children, strict=True))
        return twin
    if hasattr(part, "_fields"):  # a named tuple
        return type(part)(*children)
    return type(part)(children)
