"""What all transforms begin with: run a function with some of its arguments under boundaries of the tape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine import errors
from tinygrad_mnist.engine.tape import Leaf, Node, boundary, recording, walk
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.engine.tree import flatten, leaves_like, unflatten


@contextmanager
def taped() -> Iterator[None]:
    """Record inside, even under ``no_grad``."""
    token = recording.set(True)
    try:
        yield
    finally:
        recording.reset(token)


@dataclass
class Trace:
    """A function that ran, and the tape between its arguments and its results.

    Attributes
    ----------
    primals : list of ndarray
        The values of the leaves of the arguments that are differentiated.
    boundaries : list of Node
        A node for each of them.
    structures : list
        How these leaves make up each argument.
    outs : list of Tensor
        The leaves of the result.
    origins : list of Node or None
        Where each of them came from, as far as it is on the tape.
    out_structure : object
        How they make up the result.
    aux : object
        What the function returned besides.
    given : bool
        Whether results are Tensors: an argument was one.
    live : bool
        Whether the caller records: not under ``no_grad``.
    lifted : bool
        Whether results are on the caller's tape.
    """

    primals: list[Any]
    boundaries: list[Node]
    structures: list[Any]
    outs: list[Tensor]
    origins: list[Any]
    out_structure: Any
    aux: Any
    given: bool
    live: bool
    lifted: bool

    def results(self, tensors: Sequence[Any]) -> Any:
        """Leaves of the result's structure as what the caller is to see: arrays, or Tensors."""
        return unflatten(self.out_structure, map(self.shown, tensors))

    def shown(self, value: Any) -> Any:
        """A Tensor or an array as what the caller is to see."""
        if self.lifted:
            return as_tensor(value)
        array = as_array(value)
        return Tensor(array) if self.given else array

    def grouped(self, leaves: Sequence[Any]) -> list[Any]:
        """One leaf a boundary, put together as the arguments were."""
        rest = iter(leaves)
        return [unflatten(structure, rest) for structure in self.structures]

    def pull(self, cotangents: Sequence[Any], retain: bool) -> list[Any]:
        """The cotangents of the arguments' leaves: arrays, or Tensors where one is given."""
        on_tensors = any(isinstance(cotangent, Tensor) for cotangent in cotangents)
        seeds = [
            (origin, as_tensor(cotangent) if on_tensors else cotangent)
            for origin, cotangent in zip(self.origins, cotangents, strict=True)
            if origin is not None and cotangent is not None
        ]
        if on_tensors:
            with taped():
                arrived = walk(seeds, targets=self.boundaries, lift=_lift, retain=True)
        else:
            arrived = walk(seeds, targets=self.boundaries, retain=retain)
        parts = [
            arrived[node] if node in arrived else _zeros(primal, on_tensors)
            for node, primal in zip(self.boundaries, self.primals, strict=True)
        ]
        return owned(parts, cotangents)


def trace(
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    positions: Sequence[int],
    transform: str,
    has_aux: bool = False,
) -> Trace:
    """Run ``f`` with the arguments at ``positions`` under boundaries.

    Raises
    ------
    TypeError
        If a leaf of them is no floating-point array, or ``has_aux`` is set and ``f`` returns no pair.
    """
    live = recording.get()
    arguments, structures = list(args), []
    primals: list[Any] = []
    boundaries: list[Node] = []
    given = on_tape = False
    for position in positions:
        leaves, structure = flatten(args[position])
        tensors = []
        for leaf in leaves:
            given = given or isinstance(leaf, Tensor)
            primals.append(_floats(leaf, position, transform))
            origin = leaf.origin if isinstance(leaf, Tensor) and live else None
            on_tape = on_tape or origin is not None
            boundaries.append(boundary(primals[-1], origin))
            tensors.append(_lift(primals[-1], boundaries[-1]))
        arguments[position] = unflatten(structure, tensors)
        structures.append(structure)
    with taped():
        out = f(*arguments, **kwargs)
    aux = None
    if has_aux:
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(
                f"{transform} with has_aux=True expects a function that returns (result, aux); this one "
                f"returned {'a tuple of ' + str(len(out)) if isinstance(out, tuple) else type(out).__name__}"
            )
        out, aux = out
    leaves, out_structure = flatten(out)
    outs = [as_tensor(leaf) for leaf in leaves]
    origins = [out.origin if type(out.origin) is Node else None for out in outs]
    traced = Trace(primals, boundaries, structures, outs, origins, out_structure, None, given, live, False)
    traced.lifted = live and (on_tape or _uses_outer_tape(origins, boundaries, leaves=given))
    traced.aux = _plain(aux, traced)
    return traced


def positions_of(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """``argnums`` as positions among ``count`` arguments."""
    numbers = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(map(index, argnums))
    if any(not -count <= number < count for number in numbers):
        raise TypeError(f"argnums={argnums} was given, but {count} positional arguments")
    positions = tuple(number % count for number in numbers)
    if len(set(positions)) < len(positions):
        raise ValueError(f"argnums={argnums} names an argument twice")
    return positions


def owned(parts: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Gradients that share nothing: rules may return their cotangent as it is, or a view of it."""
    held = {id(other) for other in others}
    out = []
    for part in parts:
        if isinstance(part, Tensor):
            part = _lift(part.data, part.origin)
        elif part is not None and (part.base is not None or id(part) in held):
            part = part.copy()
        held.add(id(part))
        out.append(part)
    return out


def matched(values: Any, structure: Any, likes: Sequence[Any], name: str) -> list[Any]:
    """The leaves of a tangent or cotangent, checked and in the dtypes of what they belong to.

    Raises
    ------
    TypeError
        If the tree has another structure.
    ValueError
        If a leaf has another shape.
    """
    leaves = leaves_like(structure, values, name)
    out = []
    for leaf, like in zip(leaves, likes, strict=True):
        value = leaf if isinstance(leaf, Tensor) else errors.as_array(leaf)
        if value.shape != like.shape:
            raise ValueError(f"{name} has a leaf of shape {value.shape}; expected {like.shape}")
        if value.dtype.kind not in "fbiu":
            raise TypeError(f"{name} has a leaf of dtype {value.dtype}; expected {like.dtype}")
        out.append(value if value.dtype == like.dtype else value.astype(like.dtype))
    return out


def _floats(leaf: Any, position: int, transform: str) -> Any:
    data = as_array(leaf)
    if data.dtype.kind != "f":
        raise TypeError(
            f"{transform} was given dtype {data.dtype} for argument {position}; it differentiates floats "
            "only, so convert it first, as in np.asarray(x, float)"
        )
    return data


def _zeros(primal: Any, on_tensors: bool) -> Any:
    zeros = np.zeros_like(primal)
    return Tensor(zeros) if on_tensors else zeros


def as_tensor(value: Any) -> Tensor:
    """A Tensor as it is, or the Tensor of an array."""
    return value if isinstance(value, Tensor) else Tensor(value)


def as_array(value: Any) -> Any:
    """The values."""
    return value.data if isinstance(value, Tensor) else errors.as_array(value)


def _plain(aux: Any, traced: Trace) -> Any:
    leaves, structure = flatten(aux)
    return unflatten(structure, (traced.shown(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves))


def _uses_outer_tape(origins: Sequence[Any], boundaries: Sequence[Node], leaves: bool) -> bool:
    """Whether a result also depends on nodes older than the boundaries: on what an outer transform made.

    With ``leaves``, whether on a parameter too: given Tensors, the gradient can be differentiated by it.
    """
    oldest = min((node.time for node in boundaries), default=0)
    stops = set(boundaries)
    waiting = [origin for origin in origins if origin is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if node in stops:
            continue
        if node.time < oldest:
            return True
        if leaves and any(type(parent) is Leaf for parent in node.parents):
            return True
        new = {parent for parent in node.parents if type(parent) is Node and parent not in seen}
        seen |= new
        waiting.extend(new)
    return False
