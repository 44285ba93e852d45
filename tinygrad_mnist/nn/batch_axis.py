"""Whether a Tensor holds samples of the batch, where several processes share one: by how it was made.

Each process has some rows of the batch, and all of the weights. So a mask that is drawn for samples is cut,
and one for weights is not; a sum over samples is a part of one, and a sum over weights is the whole. Shapes
alone do not tell: a weight may have as many rows as the batch. The tape does: samples come in as arrays, and
weights as Parameters, which have names. Where it does not know, as of what an operation does with the axes,
shapes decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from tinygrad_mnist.engine.shards import Shard
from tinygrad_mnist.engine.tape import Leaf, Node
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.inputs import TensorLike
from tinygrad_mnist.nn.parameter import Parameter

Axes = frozenset[int]
"""The axes of an array along which there are samples; none of what depends on weights alone."""

_NONE: Final[Axes] = frozenset()
_FIRST: Final[Axes] = frozenset({0})
_UNKNOWN: Final[Axes] = frozenset({-100})
_SUMMED: Final[Axes] = frozenset({-200})
"""Of what is a sum over samples, such as a product of two matrices along them."""


def rows_each(value: TensorLike, shard: Shard) -> int | None:
    """Return how many rows of an input belong to each sample of the batch; None of what is no batch.

    What is made of Parameters alone is none. What is on no tape is one if its first axis is a multiple of the
    samples that this process has.

    Raises
    ------
    ValueError
        If the samples are along another axis than the first.
    """
    if isinstance(value, Parameter) or not value.ndim:
        return None
    origin = value.origin if isinstance(value, Tensor) else None
    fits = value.shape[0] % shard.rows == 0
    if type(origin) is Node:
        axes = _axes_of(origin, shard.rows)
        if axes and not (fits and 0 in axes):
            raise ValueError(
                f"an array of shape {value.shape} comes from the batch, but its first axis is not that of "
                f"the samples, of which this process has {shard.rows}; where several processes share a "
                "batch, dropout and losses with reduction='sum' need the samples along the first axis: "
                "transpose after them, or use reduction='mean'"
            )
        fits = bool(axes)
    return value.shape[0] // shard.rows if fits else None


def _axes_of(last: Node, rows: int) -> Axes:
    """Return along which axes of the result of an operation there are samples."""
    nodes: dict[Node, None] = {last: None}
    queue = [last]
    while queue:
        for parent in queue.pop().parents:
            if type(parent) is Node and parent not in nodes:
                nodes[parent] = None
                queue.append(parent)
    found: dict[Node, Axes] = {}
    for node in sorted(nodes, key=lambda node: node.time):  # arguments before results
        found[node] = _axes_of_result(node, list(_arguments(node, found, rows)), rows)
    return found[last]


def _arguments(node: Node, found: dict[Node, Axes], rows: int) -> Iterator[tuple[Any, Axes]]:
    """Yield the arguments of an operation, but numbers; and along which axes of each there are samples."""
    arrays = node.arrays or ()  # None of a tape that was walked
    is_elementwise = node.op.kind == "elementwise"
    known = [found[parent] if type(parent) is Node else _NONE for parent in node.parents]
    of_weights = [
        array.shape
        for array, parent, axes in zip(arrays, node.parents, known, strict=False)
        if parent is not None and not axes and array.ndim
    ]
    for array, parent, axes in zip(arrays, node.parents, known, strict=False):
        if type(parent) is Node:
            yield array, axes
        elif not getattr(array, "ndim", 0) or (type(parent) is Leaf and parent.name is not None):
            continue
        elif is_elementwise and (any(known) or (array.shape in of_weights and array.shape[0] != rows)):
            continue  # the mask of samples that are known, or of a weight
        else:  # an array that is on no tape, such as the batch itself
            fitting = [axis for axis, length in enumerate(array.shape) if length and length % rows == 0]
            yield array, frozenset(fitting[:1])


def _axes_of_result(node: Node, arguments: Iterable[tuple[Any, Axes]], rows: int) -> Axes:
    """Return along which axes of a result there are samples, by those of the arguments."""
    given = [(array, axes) for array, axes in arguments if axes]
    shape = getattr(node.out, "shape", None)  # None of several results, and of a tape that was walked
    if shape is None:
        return _FIRST if given or node.arrays is None else _NONE
    if not given or not shape:
        return _NONE
    followed = [(array, axes) for array, axes in given if axes != _SUMMED]
    if not followed:
        return _SUMMED
    axes = followed[0][1]
    if axes != _UNKNOWN:
        if node.op.kind == "elementwise":  # shapes are aligned at their ends
            moved = [{axis + len(shape) - one.ndim for axis in of_one} for one, of_one in followed]
            return frozenset(axis for of_one in moved for axis in of_one if axis >= 0) or _UNKNOWN
        if node.op.name == "transpose":
            order = node.static.get("axes") or range(len(shape))[::-1]
            return frozenset(to for to, axis in enumerate(order) if axis % len(shape) in axes)
        if node.op.name == "matmul" and len(shape) == 2:
            return _axes_of_product(node, followed) or _SUMMED
    return _FIRST if shape[0] % rows == 0 else _UNKNOWN  # layers have samples along the first axis


def _axes_of_product(node: Node, given: Iterable[tuple[Any, Axes]]) -> Axes:
    """Return along which axes of a product of two matrices there are samples."""
    assert node.arrays is not None
    first, second = node.arrays
    return frozenset(
        axis
        for array, axes in given
        for axis, factor in ((0, first), (1, second))
        if array is factor and axis in axes
    )
