"""Nested dicts, lists and tuples of arrays: taken apart into a flat list, and put together again.

Named tuples keep their type, and so do subclasses of dict and list. None is a container of nothing.
Whatever else there is, is a leaf.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any


class _Leaf:
    """Where a leaf was, in the structure of a tree."""

    def __repr__(self) -> str:
        return "*"


_LEAF = _Leaf()


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves of a tree in order, and its structure, which holds none of them.

    Examples
    --------
    >>> flatten({"weight": 1.0, "rest": [2.0, (3.0, None)]})
    ([1.0, 2.0, 3.0], {'weight': *, 'rest': [*, (*, None)]})
    """
    leaves: list[Any] = []

    def visit(part: Any) -> Any:
        parts = _children(part)
        if parts is None:
            leaves.append(part)
            return _LEAF
        return _like(part, [visit(child) for _, child in parts])

    return leaves, visit(tree)


def unflatten(structure: Any, leaves: Iterable[Any]) -> Any:
    """The tree of this structure with these leaves.

    Examples
    --------
    >>> leaves, structure = flatten({"weight": 1.0, "rest": [2.0, 3.0]})
    >>> unflatten(structure, [10 * leaf for leaf in leaves])
    {'weight': 10.0, 'rest': [20.0, 30.0]}
    """
    rest = iter(leaves)

    def visit(part: Any) -> Any:
        if part is _LEAF:
            return next(rest)
        return _like(part, [visit(child) for _, child in _children(part) or ()])

    return visit(structure)


def leaves_like(structure: Any, tree: Any, name: str) -> list[Any]:
    """The leaves of a tree that must have a structure; dicts may list their keys in another order.

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

    def visit(expected: Any, part: Any, path: str) -> Iterator[Any]:
        given = _children(part)
        if expected is _LEAF and given is None:
            yield part
            return
        wanted = dict(_children(expected) or ()) if expected is not _LEAF else None
        found = None if given is None else dict(given)
        same = wanted is not None and found is not None and wanted.keys() == found.keys()
        if not same or isinstance(expected, dict) != isinstance(part, dict):
            raise TypeError(
                f"{name}{path} has the structure {_outline(part)}; expected {expected!r}, where * is an array"
            )
        for key, child in (wanted or {}).items():
            yield from visit(child, (found or {})[key], f"{path}[{key!r}]")

    return list(visit(structure, tree, ""))


def _outline(tree: Any) -> str:
    return repr(flatten(tree)[1])


def _children(part: Any) -> list[tuple[Any, Any]] | None:
    """Keys and parts of a container; None for a leaf."""
    if part is None:
        return []
    if isinstance(part, dict):
        return list(part.items())
    if isinstance(part, (list, tuple)):
        return list(enumerate(part))
    return None


def _like(part: Any, children: list[Any]) -> Any:
    """A container of the same type with other parts."""
    if part is None:
        return None
    if isinstance(part, dict):
        twin = copy.copy(part)  # whatever dict it is, a defaultdict say
        twin.update(zip(part, children, strict=True))
        return twin
    if hasattr(part, "_fields"):  # a named tuple
        return type(part)(*children)
    return type(part)(children)
