"""Guards: what a function reads besides its arguments, and whether it is still what it was.

A program that was compiled from a function has its globals, closure, defaults and modules built in. What they
are is a set of facts, which a `Collection` finds.

To find and compare all facts takes longer than a small step. So each check compares what can be compared
fast: the version of the structure, and which objects the globals, closures, attributes and containers hold.
Only if that has changed, all facts are found anew.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter, call
from typing import Any, Final
from weakref import ref

import numpy as np

from tinygrad_mnist.compiler.collection import SELF, Collection, GroupOptions
from tinygrad_mnist.compiler.facts import Facts, is_plain
from tinygrad_mnist.engine.structure import structure_version
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten

KNOWN: Final = 64
"""The number of keys of one function that are kept, so that a key that comes again is the same object."""


def is_object(leaf: Any) -> bool:
    """Return whether a leaf of the arguments is neither an array, nor a Tensor, nor a plain value."""
    return not isinstance(leaf, (np.ndarray, Tensor)) and not is_plain(leaf)


def parameter_names(function: Any) -> tuple[str, ...]:
    """Return the names of the parameters of a function that may be given by position."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # nothing that has a signature
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


class GuardKey:
    """The facts about what a function reads, to be hashed and compared."""

    __slots__ = ("__weakref__", "_hash", "facts")

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._hash = hash(frozenset(facts.items()))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, GuardKey) and self._hash == other._hash and self.facts == other.facts


class Guards:
    """A look at what a function reads besides its arguments.

    Parameters
    ----------
    function : callable
        A function, a method, a module, or another callable object. It is kept; the object of a method is not.
    args, kwargs : tuple, mapping
        The arguments of a call: what they hold besides arrays, Tensors and plain values, such as a model, is
        guarded too, under the name of the argument. It is not kept.

    Examples
    --------
    >>> from tinygrad_mnist.compiler.facts import differences
    >>> scale = [0.5]
    >>> def f(x):
    ...     return x * scale[0]
    >>> guards = Guards(f)
    >>> before = guards.key()
    >>> guards.key() is before
    True
    >>> scale[0] = 0.7
    >>> print(*differences(before.facts, guards.key().facts))
    scale[0] was 0.5, is 0.7
    """

    def __init__(
        self, function: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self._roots: list[tuple[str, Callable[[], Any]]] = []
        while isinstance(function, types.MethodType):
            self._add_root(SELF, function.__self__)
            function = function.__func__
        self._roots.append(("", lambda: function))
        given: dict[int | str, Any] = dict(enumerate(args))
        given.update((kwargs or {}).items())
        objects = [
            (position, leaf)
            for position, argument in given.items()
            for leaf in flatten(argument)[0]
            if is_object(leaf)
        ]
        names: dict[int | str, str] = dict(enumerate(parameter_names(function))) if objects else {}
        for position, leaf in objects:
            self._add_root(names.get(position, str(position)), leaf)
        self._attributes: set[str] = set()  # that the code reads, of whatever object
        self._known: dict[GuardKey, GuardKey] = {}
        self.watch: Watch | None = None
        self._key = self.key()

    def _add_root(self, name: str, value: Any) -> None:
        try:
            self._roots.append((name, ref(value)))
        except TypeError:  # it admits no weak reference
            self._roots.append((name, lambda: value))

    def key(self) -> GuardKey:
        """Return the key of what the function reads now; while nothing changes, the same object."""
        watch = self.watch
        if watch is not None and watch.is_unchanged():
            return self._key
        version = structure_version()
        found = self.collected()
        if len(self._known) >= KNOWN:
            self._known.clear()
        key = GuardKey(found.facts)
        self._key = self._known.setdefault(key, key)
        self.watch = Watch(found, version)
        return self._key

    def collected(self) -> Collection:
        """Return all that the function reads now."""
        while True:
            count = len(self._attributes)
            found = Collection(self._attributes)
            for name, root in self._roots:
                found.add_root(name, root())
            found.finish()
            if len(self._attributes) == count:  # else an object that was met before has more to be read
                return found


# ---- the fast comparison ---------------------------------------------------------------------------------

_CELL_CONTENTS: Final = attrgetter("cell_contents")

_UNREADABLE: Final = (AttributeError, KeyError, RuntimeError, ValueError)
"""The errors of reading a name that was deleted, a cell that is empty, or a dict while it grows."""


class Watch:
    """A fast comparison: whether the same objects are in the places that a collection looked into.

    Numbers, strings and containers are kept, so that no other object gets their identity. Whatever else there
    was is known by a weak reference: when one of them dies, everything here is dropped.
    """

    def __init__(self, found: Collection, version: int) -> None:
        self.version = version
        self.reads: list[Callable[[], Iterable[Any]]] = [
            partial(map, _CELL_CONTENTS, found.cells),
            *(partial(read, holder) for read, holder in found.readers),
            *(partial(iter, sequence) for sequence in found.sequences),
            *(partial(iter, mapping) for mapping in found.mappings),
            *(mapping.values for mapping in found.mappings),
        ]
        self.sized = [*found.sequences, *found.mappings, *found.large]
        self.absent = found.absent
        self.groups: list[GroupOptions] = found.groups
        self.identities: list[int] | None = None
        self.lengths: list[int] = []
        self.kept: list[Any] = []
        try:
            contents = list(chain.from_iterable(map(call, self.reads)))
        except _UNREADABLE:  # then all facts are found at each check
            return
        own = ref(self)

        def drop(_: object) -> None:
            if (watch := own()) is not None:
                watch.drop()

        for value in (*contents, *found.objects):
            try:
                self.kept.append(ref(value, drop))
            except TypeError:
                self.kept.append(value)
        self.lengths = list(map(len, self.sized))
        self.identities = list(map(id, contents))

    def drop(self) -> None:
        """Let go of everything; the next check finds a change."""
        self.identities = None
        for held in (self.kept, self.reads, self.sized, self.absent, self.groups):
            held.clear()

    def is_unchanged(self) -> bool:
        """Return whether everything is as it was. If not, the facts may still be equal."""
        return self.holds_the_same() and all(group.is_unchanged() for group in self.groups)

    def holds_the_same(self) -> bool:
        """Return whether all but the options of optimisers is as it was."""
        if self.version != structure_version() or self.identities is None:
            return False
        try:
            if list(map(id, chain.from_iterable(map(call, self.reads)))) != self.identities:
                return False
            if self.sized and list(map(len, self.sized)) != self.lengths:
                return False
            for namespace, names in self.absent:
                if not namespace.keys().isdisjoint(names):
                    return False
        except _UNREADABLE:
            return False
        return True
