"""The first step of every transform: run a function, and know the tape between its arguments and its results.

The arguments that are differentiated are put behind boundaries: nodes at which a walk stops. So a transform
sees its own part of the tape only, and transforms nest: what the outer one differentiates is older than the
boundaries of the inner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from typing import Any

import numpy as np

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine import errors
from tinygrad_mnist.engine.dtypes import is_float, is_real
from tinygrad_mnist.engine.readings import lost, noting_readings
from tinygrad_mnist.engine.tape import Leaf, Node, boundary, recording
from tinygrad_mnist.engine.tensor import Tensor, _lift
from tinygrad_mnist.engine.tree import flatten, leaves_like, unflatten
from tinygrad_mnist.engine.walk import walk


@contextmanager
def taped() -> Iterator[None]:
    """Record the operations inside, even under ``no_grad``: a transform computes by the tape."""
    token = recording.set(True)
    try:
        yield
    finally:
        recording.reset(token)


@dataclass
class Trace:
    """A function that was run, and the tape between its arguments and its results.

    Attributes
    ----------
    primals : list of ndarray
        The leaves of the arguments that are differentiated: their values.
    boundaries : list of Node
        A node for each of them.
    structures : list
        The structure of each argument, which its leaves are put together by.
    outs : list of Tensor
        The leaves of the result.
    origins : list of Node or None
        The node that each of them came from; None if it does not depend on anything that is recorded.
    out_structure : object
        The structure of the result.
    aux : object
        The second result of a function with ``has_aux``.
    tensors_given : bool
        Whether an argument was a Tensor, so that results are Tensors, too.
    caller_records : bool
        Whether the caller records: not under ``no_grad``.
    on_tape : bool
        Whether the results are put on the tape of the caller.
    """

    primals: list[Any]
    boundaries: list[Node]
    structures: list[Any]
    outs: list[Tensor]
    origins: list[Node | None]
    out_structure: Any
    aux: Any
    tensors_given: bool
    caller_records: bool
    on_tape: bool

    def results(self, leaves: Sequence[Any]) -> Any:
        """Return leaves put together as the result of the function, as the caller is to get them."""
        return unflatten(self.out_structure, map(self.as_result, leaves))

    def as_result(self, value: Any) -> Any:
        """Return a Tensor or an array as the caller is to get it: as an array, or as a Tensor."""
        if self.on_tape:
            return as_tensor(value)
        array = as_array(value)
        return Tensor(array) if self.tensors_given else array

    def as_arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """Return one leaf for each boundary put together as the arguments were."""
        rest = iter(leaves)
        return [unflatten(structure, rest) for structure in self.structures]

    def pull_back(self, cotangents: Sequence[Any], retain: bool) -> list[Any]:
        """Walk the tape back, and return the cotangents of the leaves of the arguments.

        They are arrays; Tensors, and on the tape, if one of the given cotangents is a Tensor.
        """
        on_tensors = any(isinstance(cotangent, Tensor) for cotangent in cotangents)
        seeds = [
            (origin, as_tensor(cotangent) if on_tensors else cotangent)
            for origin, cotangent in zip(self.origins, cotangents, strict=True)
            if origin is not None and cotangent is not None
        ]
        if on_tensors:
            with taped():
                arrived = walk(seeds, _lift, targets=self.boundaries, record=True)
        else:
            arrived = walk(seeds, _lift, targets=self.boundaries, retain=retain)
        parts = [
            arrived[node] if node in arrived else _zeros(primal, on_tensors)
            for node, primal in zip(self.boundaries, self.primals, strict=True)
        ]
        return without_shared_memory(parts, cotangents)


def trace(
    f: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    positions: Sequence[int],
    transform: str,
    has_aux: bool = False,
) -> Trace:
    """Run ``f`` with boundaries under the arguments at ``positions``.

    Parameters
    ----------
    f : callable
        The function.
    args, kwargs : sequence, mapping
        Its arguments.
    positions : sequence of int
        The positional arguments that are differentiated.
    transform : str
        The name of the transform, for errors.
    has_aux : bool
        Whether ``f`` returns ``(result, aux)``.

    Raises
    ------
    TypeError
        If a leaf of these arguments is no floating-point array, or ``has_aux`` is set and ``f`` returns no
        pair.
    RuntimeError
        If a value was read out of an argument as a Python number, and the result depends on that argument in
        no other way: its gradient would be lost.
    """
    caller_records = recording.get()
    trees = [flatten(args[position]) for position in positions]
    structures = [structure for _, structure in trees]
    leaves = [leaf for members, _ in trees for leaf in members]
    primals = _float_arrays(trees, positions, transform)
    # Each boundary knows where its leaf came from: so a gradient of what this transform returns can go
    # further back.
    parents = [leaf.origin if caller_records and isinstance(leaf, Tensor) else None for leaf in leaves]
    boundaries = [boundary(primal, parent) for primal, parent in zip(primals, parents, strict=True)]
    tensors = iter(map(_lift, primals, boundaries))
    arguments = list(args)
    for position, structure in zip(positions, structures, strict=True):
        arguments[position] = unflatten(structure, tensors)

    with taped(), noting_readings() as readings:
        out = f(*arguments, **kwargs)
    out, aux = _split_aux(out, transform) if has_aux else (out, None)

    out_leaves, out_structure = flatten(out)
    outs = list(map(as_tensor, out_leaves))
    origins = list(map(origin_node, outs))
    if readings:
        owners = [position for position, members in zip(positions, trees, strict=True) for _ in members[0]]
        for leaf, line in lost(readings, boundaries, origins):
            raise RuntimeError(_lost_message(transform, owners[leaf], line))
    tensors_given = any(isinstance(leaf, Tensor) for leaf in leaves)
    returned = [*outs, *(leaf for leaf in flatten(aux)[0] if isinstance(leaf, Tensor))]
    on_tape = caller_records and (
        any(parent is not None for parent in parents) or _uses_outer_tape(returned, boundaries)
    )
    traced = Trace(
        primals, boundaries, structures, outs, origins, out_structure, None, tensors_given, caller_records,
        on_tape
    )  # fmt: skip
    traced.aux = _aux_result(aux, traced)
    return traced


def _lost_message(transform: str, position: int, line: str) -> str:
    return (
        f"{transform}: argument {position} was read out as a Python number, and reaches the result in no "
        f"other way, so that its gradient would be lost\n  at: {line}\n"
        "compute with NumPy's functions instead, as in np.sin(x) for math.sin(x); where a number without a "
        "gradient is meant, read out x.detach()"
    )


def _split_aux(out: Any, transform: str) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(
            f"{transform} with has_aux=True expects a function that returns (result, aux); this one "
            f"returned {'a tuple of ' + str(len(out)) if isinstance(out, tuple) else type(out).__name__}"
        )
    return out


def argument_positions(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """Return ``argnums`` as positions among ``count`` arguments, none of them negative.

    Raises
    ------
    TypeError
        If there is no such argument.
    ValueError
        If one is named twice.
    """
    numbers = (argnums,) if isinstance(argnums, (int, np.integer)) else tuple(map(index, argnums))
    if any(not -count <= number < count for number in numbers):
        raise TypeError(f"argnums={argnums} was given, but {count} positional arguments")
    positions = tuple(number % count for number in numbers)
    if len(set(positions)) < len(positions):
        raise ValueError(f"argnums={argnums} names an argument twice")
    return positions


def without_shared_memory(parts: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    """Return gradients of which no two share memory, nor one with any of ``others``.

    A rule may return its cotangent as it is, or a view of it; a caller who writes into one gradient must not
    change another. An array that is a view, or that was seen before, is copied.
    """
    held = {id(other) for other in others}
    out = []
    for part in parts:
        if isinstance(part, Tensor):
            part = _lift(
                part.data, part.origin
            )  # values of Tensors are not written to: a new Tensor is enough
        elif part is not None and (part.base is not None or id(part) in held):
            part = part.copy()
        held.add(id(part))
        out.append(part)
    return out


def matching_leaves(values: Any, structure: Any, likes: Sequence[Any], name: str) -> list[Any]:
    """Return the leaves of a tangent or cotangent, each in the dtype of what it belongs to.

    Raises
    ------
    TypeError
        If the tree has another structure, or a leaf is not of numbers.
    ValueError
        If a leaf has another shape.
    """
    leaves = leaves_like(structure, values, name)
    out = []
    for leaf, like in zip(leaves, likes, strict=True):
        value = leaf if isinstance(leaf, Tensor) else errors.as_array(leaf)
        if value.shape != like.shape:
            raise ValueError(f"{name} has a leaf of shape {value.shape}; expected {like.shape}")
        if not is_real(value):
            raise TypeError(f"{name} has a leaf of dtype {value.dtype}; expected {like.dtype}")
        out.append(value if value.dtype == like.dtype else value.astype(like.dtype))
    return out


def as_tensor(value: Any) -> Tensor:
    """Return a Tensor as it is, and of an array a Tensor."""
    return value if isinstance(value, Tensor) else Tensor(value)


def as_array(value: Any) -> Any:
    """Return the values of a Tensor, or an array_like as an array."""
    return value.data if isinstance(value, Tensor) else errors.as_array(value)


def origin_node(tensor: Tensor) -> Node | None:
    """Return the node that made a Tensor; None for a parameter, and for what is not on the tape."""
    return tensor.origin if type(tensor.origin) is Node else None


def _float_arrays(
    trees: Sequence[tuple[list[Any], Any]], positions: Sequence[int], transform: str
) -> list[Any]:
    """Return the values of all leaves of the arguments; raise if one is not of floats."""
    arrays = []
    for position, (leaves, _) in zip(positions, trees, strict=True):
        for leaf in leaves:
            data = as_array(leaf)
            if not is_float(data):
                raise TypeError(
                    f"{transform} was given dtype {data.dtype} for argument {position}; it differentiates "
                    "floats only, so convert it first, as in np.asarray(x, float)"
                )
            arrays.append(data)
    return arrays


def _zeros(primal: Any, on_tensors: bool) -> Any:
    zeros = np.zeros_like(primal)
    return Tensor(zeros) if on_tensors else zeros


def _aux_result(aux: Any, traced: Trace) -> Any:
    leaves, structure = flatten(aux)
    return unflatten(
        structure, (traced.as_result(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves)
    )


def _uses_outer_tape(results: Sequence[Tensor], boundaries: Sequence[Node]) -> bool:
    """Return whether a result depends on what the function did not get as an argument but is on a tape.

    That is a leaf, such as a parameter of a module that the function captured, or a node that is older than
    the boundaries. A gradient of what the transform returns is to go there.
    """
    oldest = min((node.time for node in boundaries), default=0)
    seen: set[Any] = {None, *boundaries}
    waiting: list[Any] = [result.origin for result in results]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        if type(node) is Leaf or node.time < oldest:
            return True
        seen.add(node)
        waiting.extend(node.parents)
    return False
