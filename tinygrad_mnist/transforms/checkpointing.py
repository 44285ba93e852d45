"""Checkpointing: ``checkpoint`` saves memory by keeping the arguments of a function instead of its tape.

The function runs again when its gradient is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any

import numpy as np

from tinygrad_mnist.engine.observe import recorder, tracer, unmuted
from tinygrad_mnist.engine.op import Op, Sample
from tinygrad_mnist.engine.random_state import Draws
from tinygrad_mnist.engine.readings import hand_on, noting_readings
from tinygrad_mnist.engine.surroundings import entered, surroundings
from tinygrad_mnist.engine.tape import Leaf, Node, boundary, recording
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.engine.tree import flatten, unflatten
from tinygrad_mnist.transforms.forward import in_time_order
from tinygrad_mnist.transforms.trace import taped, without_shared_memory


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that computes the same as ``f`` and keeps no tape; its gradient runs ``f`` again.

    A chain of n layers, in pieces of about sqrt(n), then needs memory for 2 sqrt(n) of them, and one more
    forward pass.

    Parameters
    ----------
    f : callable
        A function of Tensors and other things, such as a module. It returns Tensors, alone or in nested
        dicts, lists and tuples. Called again with the same arguments, it must compute the same. Parameters
        that it uses without being given them get their gradients, too.

    Returns
    -------
    callable
        It takes the same arguments and returns the same results.

    Notes
    -----
    When ``f`` runs again, the layers of this package draw the same random numbers as the first time (dropout
    has the same mask), and their generators and running statistics do not change. A generator that ``f`` uses
    directly is not known here: the second run then computes another result, which is an error. Make such a
    generator inside ``f``, of a seed that ``f`` is given.

    Raises
    ------
    TypeError
        If ``f`` is a generator, a coroutine or an asynchronous generator function.
    RuntimeError
        In the backward pass, if ``f`` computes another result than the first time.

    References
    ----------
    Chen, Xu, Zhang & Guestrin (2016), "Training deep nets with sublinear memory cost", arXiv:1604.06174.

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
    if isgeneratorfunction(f) or iscoroutinefunction(f) or isasyncgenfunction(f):
        raise TypeError(
            f"checkpoint was given {getattr(f, '__qualname__', f)}, whose body runs only after the call; "
            "give it a function that returns its results"
        )

    @wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        # There may be no tape to save, and no gradient to come. And a compiled program keeps only what it
        # needs, in memory that it uses again.
        if not recording.get() or tracer() is not None:
            return f(*args, **kwargs)
        return _Replay(f, args, kwargs).run_first()

    return run


# ---- running again ---------------------------------------------------------------------------------------


def _is_differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad


class _Replay:
    """One call of a checkpointed function, with all that is needed to run it again.

    The tape gets one node for the whole call. The arguments of that node are the differentiable arguments of
    the function, and behind them what it used from outside: parameters of a module, or results of earlier
    operations.
    """

    def __init__(self, f: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.f = f
        self.arguments, self.structure = flatten((args, kwargs))
        self.inputs = [i for i, leaf in enumerate(self.arguments) if _is_differentiable(leaf)]
        self.outputs: list[int] = []  # the positions of differentiable results among all
        self.outside: list[Any] = []  # nodes and leaves that f used without being given them
        self.generators: list[np.random.Generator] = []  # that layers drew from, as they were before
        self.surroundings = surroundings.get()

    def _run(self, arrays: Sequence[Any], parents: Sequence[Any], again: bool) -> tuple[list[Node], Any]:
        """Run the function on a tape that begins at boundaries; return these and the result."""
        boundaries = [boundary(array, parent) for array, parent in zip(arrays, parents, strict=True)]
        leaves = list(self.arguments)
        for position, array, node in zip(self.inputs, arrays, boundaries, strict=True):
            leaves[position] = _lift(array, node)
        args, kwargs = unflatten(self.structure, leaves)
        around = entered(self.surroundings if again else ())
        with around, Draws(self.generators, again).noted(), taped(), unmuted():
            return boundaries, self.f(*args, **kwargs)

    def run_first(self) -> Any:
        """Run the function, and return its result with one node on the tape for the whole call."""
        tensors = [self.arguments[i] for i in self.inputs]
        for i in self.inputs:
            self.arguments[i] = None  # the values are in the node, and are freed with it
        start = boundary(np.zeros(()))  # only for its time: what is older comes from outside
        arrays = [tensor.data for tensor in tensors]
        with noting_readings() as readings:
            boundaries, out = self._run(arrays, [None] * len(arrays), again=False)
        if readings:
            hand_on(readings, boundaries, [tensor.origin for tensor in tensors])
        leaves, structure = flatten(out)
        self.outputs = [i for i, leaf in enumerate(leaves) if _is_differentiable(leaf)]
        if not self.outputs:
            return unflatten(structure, leaves)
        results = [leaves[i] for i in self.outputs]
        used = _used_from_outside(results, boundaries, start.time)
        self.outside = list(used)
        values = [result.data for result in results]
        node = self._node((*arrays, *used.values()), [tensor.origin for tensor in tensors], values)
        # What is returned knows only this node. The tape of this run dies with the variables here.
        origins = [node] if len(values) == 1 else node.outputs()
        for i, origin, value in zip(self.outputs, origins, values, strict=True):
            leaves[i] = _lift(value, origin)
        return unflatten(structure, leaves)

    def _node(self, arrays: tuple[Any, ...], parents: Sequence[Any], values: Sequence[Any]) -> Node:
        """Return the node of the call, and tell a recorder of it."""
        result = values[0] if len(values) == 1 else tuple(values)
        node = Node(checkpointed, arrays, result, None, (*parents, *self.outside), {"replay": self})
        if (watching := recorder.get()) is not None:
            watching.applied(checkpointed, arrays, result, node, {})
        return node

    def run_again(self, arguments: Sequence[Any], expected: Any) -> tuple[list[Node], list[Any]]:
        """Run the function again on arrays or Tensors; return the boundaries and the origins of the results.

        Raises
        ------
        RuntimeError
            If the results are not those of the first run.
        """
        inputs = arguments[: len(self.inputs)]
        arrays = [a.data if isinstance(a, Tensor) else a for a in inputs]
        parents = [a.origin if isinstance(a, Tensor) else None for a in inputs]
        boundaries, out = self._run(arrays, parents, again=True)
        leaves, _ = flatten(out)
        results = [leaf for i, leaf in enumerate(leaves) if i in self.outputs]
        if not _all_same(results, self.as_sequence(expected)):
            name = getattr(self.f, "__qualname__", type(self.f).__name__)
            raise RuntimeError(
                f"checkpoint: {name} computed another result when it was run again for its gradient; let it "
                "change nothing that it reads, and make a generator that it draws from inside it, of a seed "
                "that it is given"
            )
        return boundaries, [result.origin for result in results]

    def as_sequence(self, value: Any) -> Any:
        """Return the results of the node, or their cotangents, as a sequence, even if there is only one."""
        return [value] if len(self.outputs) == 1 else value

    def cotangents(
        self, walk: Callable[..., Any], g: Any, reach: Any, out: Any, arguments: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Return the cotangents of all arguments of the node, and how far they reach."""
        boundaries, origins = self.run_again(arguments, out)
        gs = self.as_sequence(g)
        reaches = [None] * len(gs) if reach is None else self.as_sequence(reach)
        on_tensors = any(isinstance(one, Tensor) for one in gs)
        seeds = [
            (origin, Tensor(one) if on_tensors and not isinstance(one, Tensor) else one)
            for origin, one in zip(origins, gs, strict=True)
        ]
        on_tape = [i for i, origin in enumerate(origins) if type(origin) is Node]
        targets = [*boundaries, *self.outside]
        with unmuted():
            arrived, reached, _ = walk([seeds[i] for i in on_tape], targets, [reaches[i] for i in on_tape])
        for origin, one in zip(origins, gs, strict=True):
            if type(origin) is Leaf:  # a parameter that was returned as it is: there is no tape to walk
                arrived[origin] = one if origin not in arrived else arrived[origin] + one
        parts = without_shared_memory([arrived.get(target) for target in targets], gs)
        return parts, [reached.get(target) for target in targets]

    def tangents(
        self, push: Callable[..., Any], parts: Sequence[Any], reaches: Any, out: Any, arguments: Sequence[Any]
    ) -> tuple[Any, Any]:
        """Return the tangents of the results, and how far they reach."""
        boundaries, origins = self.run_again(arguments, out)
        starts = [*boundaries, *self.outside]
        seeds = {node: part for node, part in zip(starts, parts, strict=True) if part is not None}
        order = in_time_order(origins, [node for node in starts if type(node) is Node])
        arrived, reached = push(seeds, order, dict(zip(starts, reaches, strict=True)))
        tangents = tuple(arrived.get(origin) for origin in origins)
        reach = tuple(reached.get(origin) for origin in origins)
        return (tangents[0], reach[0]) if len(tangents) == 1 else (tangents, reach)


def _all_same(results: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Return whether the results are those of the first run, up to rounding.

    Rounding differs if arrays lie in memory in another way, as BLAS and NumPy then sum in another order.
    """
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


def _used_from_outside(results: Sequence[Tensor], boundaries: Sequence[Node], start: int) -> dict[Any, Any]:
    """Return each Leaf, and each Node older than ``start``, that results depend on, with its array."""
    found: dict[Any, Any] = {}
    seen = set(boundaries)
    waiting: list[tuple[Any, Any]] = [(result.origin, result.data) for result in results]
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


checkpointed = Op(
    "checkpoint",
    lambda *arrays, replay: None,
    "general",
    nested=lambda walk, g, reach, out, *arguments, replay: replay.cotangents(walk, g, reach, out, arguments),
    nested_jvp=lambda push, parts, reaches, out, *arguments, replay: replay.tangents(
        push, parts, reaches, out, arguments
    ),
    samples=(Sample(((2,),)),),
)
