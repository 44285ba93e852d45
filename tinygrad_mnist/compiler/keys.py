"""The key of a call: what decides whether a compiled program may be replayed.

It has three parts: the signature of the arguments (`signature`), what the function reads besides, such as
globals and the modules that they hold (`Guards`), and the modes that are on (`modes`). `Keys` makes the keys
of one function. `reason` says in words how a key differs from the keys that are known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from types import MethodType
from typing import Any, Final
from weakref import WeakMethod, ref

import numpy as np

from tinygrad_mnist.compiler.addresses import address_of
from tinygrad_mnist.compiler.facts import Plain, Words, differences, fact_of, layout_of
from tinygrad_mnist.compiler.guards import GuardKey, Guards, is_object, parameter_names
from tinygrad_mnist.engine import shards
from tinygrad_mnist.engine.shards import Shard
from tinygrad_mnist.engine.tape import Leaf, recording
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import flatten
from tinygrad_mnist.nn.module import _evaluating

__all__ = ["Guards", "Key", "Keys", "modes", "reason", "signature"]

FEW: Final = 8
"""The number of arrays that are compared with each other for common memory. Of more, that takes too long."""


Signature = tuple[Hashable, tuple[Hashable, ...], tuple[Hashable, ...], tuple[Hashable, ...]]
"""The key of arguments: their structure, each leaf, what has memory in common, what is the same Tensor."""


# ---- the arguments ---------------------------------------------------------------------------------------


def signature(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], Any, Signature]:
    """Return the leaves of the arguments of a call, their structure, and the key of both.

    Parameters
    ----------
    args : tuple
        The positional arguments: arrays, Tensors and other objects, in nested dicts, lists and (named)
        tuples.
    kwargs : mapping
        The arguments by name; their order does not matter.

    Returns
    -------
    leaves : list
        All leaves in order, Python's numbers and other objects too.
    structure : object
        Put together with leaves by `engine.tree.unflatten`, it is ``(args, kwargs)``, the names in order.
    key : hashable
        Of arrays and Tensors it has shape, dtype, memory layout, and whether they require a gradient; of
        anything else the value, or which object it is; and which arrays have memory in common. A NumPy scalar
        counts by its value, as Python's numbers do: an array of no axes is an input.

    Examples
    --------
    >>> import numpy as np
    >>> batch = np.ones((128, 784), np.float32)
    >>> leaves, structure, key = signature((batch, 0.1), {})
    >>> key == signature((batch + 1, 0.1), {})[2], key == signature((batch, 0.2), {})[2]
    (True, False)
    """
    leaves, structure = flatten((args, dict(sorted(kwargs.items()))))
    arrays = [
        (number, leaf._array if isinstance(leaf, Tensor) else leaf)
        for number, leaf in enumerate(leaves)
        if isinstance(leaf, (Tensor, np.ndarray))
    ]
    common = tuple(
        (arrays[i][0], arrays[j][0], same) for i, j, same in _common_memory([a for _, a in arrays])
    )
    # Two Tensors may be one object, or two with the same array, and a gradient goes to each of them.
    tensors = [(n, leaf) for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    twins = tuple((m, n) for (m, one), (n, other) in combinations(tensors, 2) if one is other)
    return leaves, structure, (_outline(structure), tuple(map(_leaf_key, leaves)), common, twins)


def _common_memory(arrays: Sequence[Any]) -> Iterator[tuple[int, int, bool]]:
    """Yield the pairs of arrays that may have memory in common, and whether they are the same object."""
    own = [array.flags.owndata for array in arrays]  # two that own theirs have none in common
    is_compared = len(arrays) <= FEW
    for (i, one), (j, other) in combinations(enumerate(arrays), 2):
        if one is other or (is_compared and not (own[i] and own[j]) and np.may_share_memory(one, other)):
            yield i, j, one is other


def _leaf_key(leaf: Any) -> Hashable:
    if isinstance(leaf, Tensor):
        array, origin = leaf._array, leaf.origin
        gradient = None if origin is None else Words("leaf" if type(origin) is Leaf else "result")
        hooks = bool(origin is not None and origin.hooks)
        return array.shape, array.dtype, layout_of(array), type(leaf), gradient, hooks
    if isinstance(leaf, np.ndarray):
        layout = layout_of(leaf)
        if type(leaf) is np.ndarray:
            return (leaf.shape, leaf.dtype) if layout == "C" else (leaf.shape, leaf.dtype, layout)
        return leaf.shape, leaf.dtype, layout, type(leaf)
    return fact_of(leaf)


def _outline(structure: Any) -> Hashable:
    """Return a structure as something that can be hashed."""
    if structure is None:
        return None
    if isinstance(structure, dict):
        return type(structure), tuple((key, _outline(part)) for key, part in structure.items())
    if isinstance(structure, (list, tuple)):
        return type(structure), *map(_outline, structure)
    return _LEAF


_LEAF: Final = "*"


def are_apart(arrays: Sequence[Any]) -> bool:
    """Return whether arrays that are contiguous have no memory in common."""
    end = 0
    for first, size in sorted((address_of(array), array.nbytes) for array in arrays):
        if first < end:
            return False
        end = first + size
    return True


# ---- the modes -------------------------------------------------------------------------------------------

errors_in_numpy = getattr(getattr(getattr(np, "_core", None), "umath", None), "_extobj_contextvar", None)
"""NumPy's own variable of `np.errstate`: to read it takes a tenth of the time of `np.geterr`."""

MOST_ERRSTATES: Final = 16
_known_errstates: dict[int, tuple[Any, Hashable]] = {}


def _errstate() -> Hashable:
    """Return what NumPy does at a division by zero and the like."""
    if errors_in_numpy is None:
        return tuple(np.geterr().values())
    current = errors_in_numpy.get(None)
    known = _known_errstates.get(id(current))
    if known is None or known[0] is not current:
        if len(_known_errstates) >= MOST_ERRSTATES:  # each `with np.errstate(...)` makes one
            _known_errstates.clear()
        known = _known_errstates[id(current)] = current, tuple(np.geterr().values())
    return known[1]


_MODES: Final = ("grad mode", "evaluation mode", "np.errstate", "the rows of the batch")


def rows_of(shard: Shard | None) -> Hashable:
    """Return what a program knows of a shard. It finds the exchange anew, which may be another one then."""
    return None if shard is None else Words(f"{shard.rows} from {shard.start} of {shard.total}")


def modes() -> tuple[Hashable, ...]:
    """Return the modes that are on in this thread or task, in the order of their names in `reason`.

    They are whether operations are recorded, `evaluation_mode`, `np.errstate`, and the rows of a batch that
    this process has. Where somebody watches the operations, as `detect_anomaly` does, or a checkpointed
    function runs again, nothing is compiled.
    """
    return recording.get(), _evaluating.get(), _errstate(), rows_of(shards.current())


# ---- the keys of a function ------------------------------------------------------------------------------

MOST_GUARDS: Final = 32
"""The number of combinations of objects among the arguments for which guards are kept."""


Key = tuple[Signature, GuardKey, tuple[Hashable, ...]]
"""The key of a call: the signature of its arguments, the key of its guards, the modes. It can be hashed."""


class Keys:
    """The keys of the calls of one function.

    Parameters
    ----------
    function : callable
        A function, a method, a module, or another callable object.

    Examples
    --------
    >>> import numpy as np
    >>> scale = [0.5]
    >>> keys = Keys(lambda x: x * scale[0])
    >>> _, _, first = keys((np.ones(3),), {})
    >>> keys((np.zeros(3),), {})[2] == first
    True
    >>> scale[0] = 0.7
    >>> print(reason(keys((np.ones(3),), {})[2], [first]))
    scale[0] was 0.5, is 0.7
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        # A method is known by its object, which is not kept.
        is_weak = isinstance(function, MethodType) and _can_be_weak(function)
        self._function: Callable[[], Any] = WeakMethod(function) if is_weak else lambda: function
        self._guards: dict[tuple[Hashable, ...], Guards] = {}
        self.last: Guards | None = None  # those of the last call

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[Any], Any, Key]:
        """Return the leaves and the structure of the arguments of a call, and its key."""
        leaves, structure, given = signature(args, kwargs)
        self.last = guards = self.guards(args, kwargs, leaves)
        return leaves, structure, (given, guards.key(), modes())

    def guards(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], leaves: Sequence[Any]) -> Guards:
        """Return the guards of a call: other objects among the arguments have others."""
        objects = tuple(fact_of(leaf) for leaf in leaves if is_object(leaf))
        guards = self._guards.get(objects)
        if guards is None:
            if len(self._guards) >= MOST_GUARDS:
                del self._guards[next(iter(self._guards))]  # the oldest
            guards = self._guards[objects] = Guards(self._function(), args, kwargs)
        return guards


def _can_be_weak(method: MethodType) -> bool:
    try:
        ref(method.__self__)
    except TypeError:
        return False
    return True


# ---- why a key is new ------------------------------------------------------------------------------------


def reason(new: Key, known: Iterable[Key], function: Callable[..., Any] | None = None) -> str:
    """Return in words how a key differs from the closest one that is known; ``first call`` if none is.

    Parameters
    ----------
    new : Key
        The key of a call.
    known : iterable of Key
        Those of the calls before it.
    function : callable, optional
        Its parameters are the names of the arguments; they are numbers otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> def step(x, rate): ...
    >>> calls = [(np.ones((128, 784)), 0.1), (np.ones((96, 784)), 0.1), (np.ones((96, 784)), 0.2)]
    >>> found = [keys(call, {})[2] for keys in [Keys(step)] for call in calls]
    >>> print(reason(found[1], found[:1], step))
    argument x: shape was (128, 784), is (96, 784)
    >>> print(reason(found[2], found[:2], step))
    argument rate was 0.1, is 0.2; Python's numbers are part of the key, an array such as np.array(0.2) is not
    """
    names = parameter_names(function)
    facts = _facts(new, names)
    # Of keys that differ in the same number of facts, the one that was added last.
    found = [differences(_facts(key, names), facts) for key in known]
    if not found:
        return "first call"
    closest = min(reversed(found), key=len)
    if not closest:
        return "the same key"
    first, rest = closest[0], len(closest) - 1
    text = str(first)
    is_float = isinstance(first.now, Plain) and issubclass(first.now.type, float)
    if is_float and first.name.startswith("argument "):
        text += f"; Python's numbers are part of the key, an array such as np.array({first.now!r}) is not"
    if rest:
        text += f" (and {rest} more)"
    return text


def _facts(key: Key, names: tuple[str, ...]) -> dict[str, Hashable]:
    """Return what a key says, by name."""
    given, guards, state = key
    return {
        **_argument_facts(given, names),
        **dict(zip(_MODES, map(_mode_fact, state), strict=True)),
        **guards.facts,
    }


def _mode_fact(value: Hashable) -> Hashable:
    """Return a mode as a fact that is shown as it is."""
    return Words(" ".join(value)) if isinstance(value, tuple) else value


def _argument_facts(given: Any, names: tuple[str, ...]) -> dict[str, Hashable]:
    """Return what the key of a signature says, by name."""
    (_, positional, (_, named)), keys, common, twins = given
    count = len(positional) - 1
    own = [*names[:count], *map(str, range(len(names[:count]), count))]
    facts: dict[str, Hashable] = {}
    waiting = [*zip(own, positional[1:], strict=True), *named]
    waiting.reverse()
    leaves = iter(keys)
    found: list[str] = []
    while waiting:
        path, outline = waiting.pop()
        name = f"argument {path}"
        if outline == _LEAF:
            found.append(path)
            facts.update(_leaf_facts(name, next(leaves)))
        elif outline is None:
            facts[name] = None
        else:
            parts = outline[1] if issubclass(outline[0], dict) else [*enumerate(outline[1:])]
            of = f" with {', '.join(repr(key) for key, _ in parts)}" if issubclass(outline[0], dict) else ""
            facts[name] = Words(f"a {outline[0].__name__} of {len(parts)}{of}")
            waiting += reversed([(f"{path}[{key!r}]", part) for key, part in parts])
    for i, j, same in common:
        words = "the same array" if same else "memory in common"
        facts[f"what arguments {found[i]} and {found[j]} have"] = Words(words)
    for i, j in twins:
        facts[f"what arguments {found[i]} and {found[j]} are"] = Words("the same Tensor")
    return facts


_LEAF_FACTS: Final = ("shape", "dtype", "memory layout", "type", "requires_grad", "hooks")
_USUAL: Final = (None, None, Words("C"), np.ndarray, None, False)
"""The facts of an array that the key of a leaf leaves out, in the order of `_LEAF_FACTS`."""


def _leaf_facts(name: str, key: Any) -> dict[str, Hashable]:
    """Return what the key of a leaf says, by name."""
    if not isinstance(key, tuple):
        return {name: key}
    whole = dict(zip(_LEAF_FACTS, (*key, *_USUAL[len(key) :]), strict=True))
    kind: Any = whole.pop("type")
    whole["dtype"] = fact_of(whole["dtype"])
    return {
        name: Words("an array" if kind is np.ndarray else f"a {kind.__name__}"),
        **{f"{name}: {what}": value for what, value in whole.items()},
    }
