"""``checkpoint``: keep the arguments of a function instead of its tape, and run it again for its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from threading import get_ident
from typing import Any

import numpy as np

from tinygrad_mnist.engine.observe import recorder, unmuted
from tinygrad_mnist.engine.op import EachArgument, Op, Sample
from tinygrad_mnist.engine.random_state import Draws
from tinygrad_mnist.engine.tape import Leaf, Node, boundary, recording, walk
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.engine.tree import flatten, unflatten
from tinygrad_mnist.transforms.forward import in_time_order, push
from tinygrad_mnist.transforms.trace import owned, taped


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes what ``f`` does and keeps no tape: its gradient runs ``f`` again.

    A chain of n layers in pieces of about sqrt(n) needs memory for 2 sqrt(n) of them, and one more forward
    pass (Chen et al. 2016, "Training deep nets with sublinear memory cost").

    Parameters
    ----------
    f : callable
        A function of Tensors and whatever else, which returns Tensors, alone or in nested dicts, lists and
        tuples: a module, say. Called with the same arguments, it must compute the same. Parameters that it
        uses without being given them get their gradients too.

    Returns
    -------
    callable
        Takes the same arguments and returns the same.

    Notes
    -----
    When ``f`` runs again, layers of this package draw the random numbers that they drew the first time
    (dropout has the same mask), and their generators and running statistics stay as they are. Generators of
    the caller's own that ``f`` uses directly are not known here: the second run then computes something else,
    which is found out. Make such a generator inside ``f``, of a seed that ``f`` is given.

    Raises
    ------
    RuntimeError
        In the backward pass, if ``f`` computes another result than the first time.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import Tensor
    >>> x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> y = checkpoint(lambda x: np.exp(np.sin(x)))(x)
    >>> y
    Tensor([2.31977682, 2.48257773], op=checkpoint)
    >>> np.sum(y).backward()
    >>> np.allclose(x.grad.data, np.exp(np.sin([1, 2])) * np.cos([1, 2]))
    True
    """

    @wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not recording.get():
            return f(*args, **kwargs)
        replay = _Replay(f, args, kwargs)
        return replay.first()

    return run


# ---- running again ---------------------------------------------------------------------------------------


class _Replay:
    """One call of a checkpointed function: what is needed to run it again."""

    def __init__(self, f: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.f = f
        self.given, self.structure = flatten((args, kwargs))
        self.moving = [
            i for i, leaf in enumerate(self.given) if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        self.before: list[np.random.Generator] = []
        self.outside: list[Any] = []  # nodes and leaves that f used without being given them
        self.parts: dict[int, dict[int, Any]] = {}  # by thread: cotangents computed, not yet fetched
        self.single = False

    def run(self, arrays: Sequence[Any], parents: Sequence[Any], again: bool) -> tuple[list[Node], Any]:
        """Run the function on a tape that begins at boundaries."""
        boundaries = [boundary(array, parent) for array, parent in zip(arrays, parents, strict=True)]
        leaves = list(self.given)
        for position, array, node in zip(self.moving, arrays, boundaries, strict=True):
            leaves[position] = _lift(array, node)
        args, kwargs = unflatten(self.structure, leaves)
        with Draws(self.before, again).noted(), taped(), unmuted():
            return boundaries, self.f(*args, **kwargs)

    def first(self) -> Any:
        """Run for the value, note what was used from outside, and put one node on the tape for all."""
        tensors = [self.given[i] for i in self.moving]
        for i in self.moving:
            self.given[i] = None  # its values are in the node, which can be freed
        start = boundary(np.zeros(()))
        arrays = [tensor.data for tensor in tensors]
        boundaries, out = self.run(arrays, [None] * len(arrays), again=False)
        leaves, structure = flatten(out)
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.requires_grad]
        origins = [leaves[i].origin for i in places]
        values = [leaves[i].data for i in places]
        seen = _outside(origins, values, boundaries, start.time)
        self.outside = list(seen)
        self.places = places
        self.single = len(places) == 1
        parents = (*(tensor.origin for tensor in tensors), *self.outside)
        arrays = [*arrays, *seen.values()]
        if not places:
            return unflatten(structure, leaves)
        result = values[0] if self.single else tuple(values)
        whole = Node(checkpointed, tuple(arrays), result, None, parents, {"replay": self})
        if (watching := recorder.get()) is not None:
            watching.applied(checkpointed, tuple(arrays), result, whole, {})
        for i, node, value in zip(places, [whole] if self.single else whole.outputs(), values, strict=True):
            leaves[i] = _lift(value, node)
        return unflatten(structure, leaves)

    def again(self, arguments: Sequence[Any], expected: Any) -> tuple[list[Node], list[Any]]:
        """Run again on arrays or Tensors; the boundaries, and where the results came from."""
        moving = arguments[: len(self.moving)]
        arrays = [a.data if isinstance(a, Tensor) else a for a in moving]
        parents = [a.origin if isinstance(a, Tensor) else None for a in moving]
        boundaries, out = self.run(arrays, parents, again=True)
        leaves, _ = flatten(out)
        results = [leaf for i, leaf in enumerate(leaves) if i in self.places]
        if not _all_same(results, [expected] if self.single else expected):
            name = getattr(self.f, "__qualname__", type(self.f).__name__)
            raise RuntimeError(
                f"checkpoint: {name} computed another result when it was run again for its gradient; let it "
                "change nothing that it reads, and make a generator that it draws from inside it, of a seed "
                "that it is given"
            )
        return boundaries, [result.origin for result in results]

    def cotangents(self, g: Any, out: Any, arguments: Sequence[Any]) -> list[Any]:
        """The cotangents of all arguments."""
        boundaries, origins = self.again(arguments, out)
        gs = [g] if self.single else g
        on_tensors = any(isinstance(one, Tensor) for one in gs)
        seeds = [
            (origin, Tensor(one) if on_tensors and not isinstance(one, Tensor) else one)
            for origin, one in zip(origins, gs, strict=True)
            if type(origin) is Node
        ]
        targets = [*boundaries, *self.outside]
        with unmuted():
            arrived = walk(seeds, targets=targets, lift=_lift if on_tensors else None, retain=on_tensors)
        for origin, one in zip(origins, gs, strict=True):
            if type(origin) is Leaf:  # returned as it is
                arrived[origin] = one if origin not in arrived else arrived[origin] + one
        return owned([arrived.get(target) for target in targets], gs)


def _all_same(results: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether the results are those of the first run, but for rounding (memory may lie otherwise)."""
    return len(results) == len(expected) and all(map(_same, results, expected))


def _same(result: Any, expected: Any) -> bool:
    new, old = (one.data if isinstance(one, Tensor) else one for one in (result, expected))
    if not isinstance(result, Tensor) or new.shape != old.shape or new.dtype != old.dtype:
        return False
    if np.array_equal(new, old):
        return True
    close = np.sqrt(np.finfo(old.dtype).eps)
    largest = np.max(np.abs(old), initial=0, where=np.isfinite(old))
    return np.allclose(new, old, rtol=close, atol=close * largest, equal_nan=True)


def _outside(
    origins: Sequence[Any], values: Sequence[Any], boundaries: Sequence[Node], start: int
) -> dict[Any, Any]:
    """The array of each Leaf, and of each Node older than ``start``, that results depend on."""
    found: dict[Any, Any] = {}
    seen = set(boundaries)
    waiting = list(zip(origins, values, strict=True))
    while waiting:
        node, array = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node) is Leaf or node.time < start:
            found[node] = array
        else:
            waiting.extend(zip(node.parents, node.arrays, strict=True))
    return found


def _rule(position: int, g: Any, out: Any, *arguments: Any, replay: _Replay) -> Any:
    """The cotangent of one argument; those of all are computed when the first is asked for."""
    parts = replay.parts.get(get_ident())
    if parts is None or position not in parts:
        parts = replay.parts[get_ident()] = dict(enumerate(replay.cotangents(g, out, arguments)))
    part = parts.pop(position)
    if not parts:
        del replay.parts[get_ident()]
    return part


def _jvp(parts: Sequence[Any], out: Any, *arguments: Any, replay: _Replay) -> Any:
    """Run again, and push the tangents through."""
    boundaries, origins = replay.again(arguments, out)
    starts = [*boundaries, *replay.outside]
    seeds = {node: part for node, part in zip(starts, parts, strict=True) if part is not None}
    lift = _lift if any(isinstance(part, Tensor) for part in seeds.values()) else None
    arrived = push(seeds, in_time_order(origins, [node for node in starts if type(node) is Node]), lift)
    tangents = tuple(arrived.get(origin) for origin in origins)
    return tangents[0] if replay.single else tangents


checkpointed = Op(
    "checkpoint",
    lambda *arrays, replay: None,
    "general",
    EachArgument(_rule),
    jvp=_jvp,
    samples=(Sample(((2,),)),),
)
