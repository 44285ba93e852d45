"""Reach: the elements at which a cotangent, or a tangent, can arrive at all.

An element that ``where``, an index or a maximum did not choose contributes nothing to a derivative, however
infinite the slopes behind it are. Its cotangent is 0, and a rule would multiply that 0 by the slope: NaN. Not
every 0 is one of an element that was not chosen: a cotangent that happens to be 0 must give NaN there, as in
IEEE arithmetic. So a careful walk carries, beside each cotangent, where it can arrive: its reach, a boolean
array of the cotangent's shape, or None for everywhere. What a rule returns for elements out of reach is set
to 0.

How far the cotangents of the arguments reach is asked of the rules themselves. A *probe* is a cotangent that
is NaN within reach and 0 elsewhere. A rule that adds, copies, selects or multiplies by finite numbers makes
NaN of what depends on an element within reach, and 0 of all else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.op import Op

Reach = Any
"""A boolean array, True where something can arrive; None where it can everywhere."""

NOWHERE: Final = np.zeros((), bool)
"""The reach of what nothing arrives at; it broadcasts to any shape."""


def reach_of_seed(g: Any) -> Reach:
    """Return the reach of a cotangent or tangent that a user gave: its exact zeros are no part of it.

    So a row of a Jacobian stays 0 where it is 0 by structure. But the zeros of a Tensor that is on the tape
    are values: somebody may differentiate by it.
    """
    if g is None or getattr(g, "origin", None) is not None:
        return None
    return _simplest(np.asarray(getattr(g, "_array", g)) != 0)


def _simplest(reach: Any) -> Reach:
    return None if reach.all() else reach


def kept(part: Any, reach: Reach) -> Any:
    """Return a cotangent or tangent with exact zeros out of reach. On a Tensor this is recorded."""
    return part if reach is None else np.where(reach, part, 0)


def joined(one: Reach, other: Reach) -> Reach:
    """Return the reach of the sum of two cotangents."""
    return None if one is None or other is None else _simplest(one | other)


def broadcast_reach(reach: Reach, shape: tuple[int, ...]) -> Reach:
    """Return a reach in the shape of its cotangent."""
    return None if reach is None else np.broadcast_to(reach, shape)


def narrowed(reach: Reach, shape: tuple[int, ...]) -> Reach:
    """Return the reach of a cotangent that is summed down to ``shape``, from which its own was broadcast."""
    if reach is None or reach.shape == shape:
        return reach
    return _simplest(np.reshape(np.any(reach, axis=broadcast_axes(reach.shape, shape)), shape))


def broadcast_axes(shape: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes that broadcasting an array of shape ``before`` to ``shape`` added or stretched."""
    extra = len(shape) - len(before)  # broadcasting puts new axes in front
    stretched = (i + extra for i, size in enumerate(before) if size == 1 and shape[i + extra] != 1)
    return (*range(extra), *stretched)


def probe(reach: Reach, like: Any) -> Any:
    """Return a cotangent for ``like``, NaN within reach and 0 elsewhere; a tuple of them for a tuple."""
    if type(like) is tuple:
        return tuple(map(probe, [None] * len(like) if reach is None else reach, like))
    if reach is None:
        return np.full(like.shape, np.nan, like.dtype)
    return np.where(broadcast_reach(reach, like.shape), np.nan, 0).astype(like.dtype)


def reach_of_probe(probed: Any) -> Reach:
    """Return how far a probe got; a tuple for several results."""
    if type(probed) is tuple:
        return tuple(map(reach_of_probe, probed))
    return _simplest(np.isnan(probed))


def with_finite_values(value: Any) -> Any:
    """Return an array with 1 for each NaN and infinity, so that 0 times it is 0; of a tuple, a tuple."""
    if type(value) is tuple:
        return tuple(map(with_finite_values, value))
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return value
    return np.where(np.isfinite(value), value, 1)


def argument_reach(
    op: Op, position: int, reach: Reach, out: Any, arrays: Sequence[Any], static: Any
) -> Reach:
    """Return how far the cotangent of an argument reaches, before it is summed down to the argument's shape.

    Parameters
    ----------
    op : Op
        The operation; its rule for this argument is not None.
    position : int
        The argument.
    reach : bool array, tuple or None
        How far the cotangent of the result reaches.
    out, arrays, static
        The operation's result and arguments, as arrays.
    """
    if not op.chooses:
        if reach is None and op.kind != "linear" and not op.exchanges:  # all processes probe, or none
            return None
        if op.kind == "elementwise":
            return reach
        if op.stacked:
            return _reach_of_stack(reach, out, position, arrays)
    if op.kind == "multilinear":
        arrays = [np.ones_like(array) for array in arrays]
    elif not op.chooses and op.kind == "general":
        out, arrays = with_finite_values(out), [with_finite_values(array) for array in arrays]
    rule = op.rules[position]
    assert rule is not None
    there = reach_of_probe(rule(probe(reach, out), out, *arrays, **static))
    # The rule of a maximum is NaN where its result is, whether or not that is reached.
    return both(there, reach) if op.kind == "elementwise" else there


def both(one: Reach, other: Reach) -> Reach:
    """Return where both of two reaches are."""
    return other if one is None else one if other is None else one & other


def _reach_of_stack(reach: Reach, out: Any, position: int, arrays: Sequence[Any]) -> Reach:
    """Return the reach of a stack of matrices: all of a matrix if any element of its results is reached."""
    outs, reaches = (out, reach) if type(out) is tuple else ((out,), (reach,))
    depth = max(array.ndim for array in arrays) - 2
    matrices = [
        np.any(
            np.broadcast_to(True if one is None else one, result.shape), axis=tuple(range(depth, result.ndim))
        )
        for one, result in zip(reaches, outs, strict=True)
    ]
    matrix = np.any(np.stack(matrices), axis=0)[..., None, None]
    return _simplest(np.broadcast_to(matrix, (*matrix.shape[:-2], *arrays[position].shape[-2:])))


def cleaned(
    op: Op, reach: Reach, out: Any, arguments: Sequence[Any], arrays: Sequence[Any], static: Any
) -> Any:
    """Return the arguments of a product with zeros where they only meet what is out of reach.

    A product sums over terms: one whose cotangent is out of reach must not bring NaN into the sum.
    """
    if reach is None and not op.chooses:
        return arguments
    return [
        argument
        if op.rules[position] is None
        else kept(
            argument, narrowed(argument_reach(op, position, reach, out, arrays, static), np.shape(array))
        )
        for position, (argument, array) in enumerate(zip(arguments, arrays, strict=True))
    ]
