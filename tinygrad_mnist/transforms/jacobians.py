"""Jacobians and Hessians, in forward or reverse mode, whichever needs fewer passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.engine.tree import unflatten
from tinygrad_mnist.transforms.forward import in_time_order, push
from tinygrad_mnist.transforms.reverse import Argnums, gradient_of
from tinygrad_mnist.transforms.trace import Trace, argument_positions, taped, trace

LARGEST: Final = 2**32
"""The largest Jacobian in bytes, unless the caller allows more: 4 GiB."""


def jacobian(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, max_bytes: int = LARGEST
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of ``f``.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns such.
    argnums : int or sequence of int
        The positional arguments to differentiate by.
    has_aux : bool
        Whether ``f`` returns ``(result, aux)``; then the function returns ``(jacobian, aux)``.
    max_bytes : int
        The largest Jacobian that is computed, in bytes.

    Returns
    -------
    callable
        It takes the same arguments. If result and argument are arrays, it returns an array of shape
        ``(*result.shape, *argument.shape)`` in the dtype of the argument; if they are trees, the structure of
        the result with that of the argument in the place of each leaf; for several ``argnums``, tuples of
        these.

    Raises
    ------
    MemoryError
        When called, before anything large is computed, if the result would take more than ``max_bytes``.

    Notes
    -----
    ``f`` runs once. Its tape is then passed once for each element of the arguments (forward mode) or of the
    result (reverse mode), whichever are fewer.

    Examples
    --------
    >>> import numpy as np
    >>> jacobian(lambda x: x**2)(np.array([1.0, 2.0, 3.0]))
    array([[2., 0., 0.],
           [0., 4., 0.],
           [0., 0., 6.]])
    """
    return _jacobian(f, argnums, has_aux, max_bytes, "jacobian")


def _jacobian(
    f: Callable[..., Any], argnums: Argnums, has_aux: bool, max_bytes: int, transform: str
) -> Callable[..., Any]:
    """Return `jacobian` of ``f``; errors name the transform that it is a part of."""

    @wraps(f)
    def derivative(*args: Any, **kwargs: Any) -> Any:
        positions = argument_positions(argnums, len(args))
        traced = trace(f, args, kwargs, positions, transform, has_aux)
        _check_size(traced, max_bytes)
        columns, rows = (sum(a.size for a in arrays) for arrays in (traced.primals, traced.outs))
        with taped():
            blocks = _by_columns(traced) if columns <= rows else _by_rows(traced)
        single = isinstance(argnums, (int, np.integer))
        leaves = []
        for row in blocks:
            groups = traced.as_arguments([traced.as_result(block) for block in row])
            leaves.append(groups[0] if single else tuple(groups))
        whole = unflatten(traced.out_structure, leaves)
        return (whole, traced.aux) if has_aux else whole

    return derivative


def hessian(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False, *, max_bytes: int = LARGEST
) -> Callable[..., Any]:
    """Return a function that computes the Hessian of a scalar function: the Jacobian of its gradient.

    Parameters
    ----------
    f : callable
        A function of arrays, alone or in nested dicts, lists and tuples, that returns a scalar.
    argnums : int or sequence of int
        The positional arguments to differentiate by.
    has_aux : bool
        Whether ``f`` returns ``(scalar, aux)``; then the function returns ``(hessian, aux)``.
    max_bytes : int
        The largest Hessian that is computed, in bytes.

    Returns
    -------
    callable
        It takes the same arguments. If the argument is an array, it returns an array of shape
        ``(*argument.shape, *argument.shape)``; if it is a tree, its structure with that structure in each
        leaf.

    Raises
    ------
    MemoryError
        When called, if the result would take more than ``max_bytes``.

    Examples
    --------
    >>> import numpy as np
    >>> hessian(lambda x: np.prod(x))(np.array([1.0, 2.0, 3.0]))
    array([[0., 3., 2.],
           [3., 0., 1.],
           [2., 1., 0.]])
    """
    gradient = gradient_of(f, argnums, has_aux, "hessian")
    return _jacobian(gradient, argnums, has_aux, max_bytes, "hessian")


def _check_size(traced: Trace, max_bytes: int) -> None:
    sizes = [
        (out.size * primal.nbytes, (*out.shape, *primal.shape))
        for out in traced.outs
        for primal in traced.primals
    ]
    total = sum(size for size, _ in sizes)
    if total > max_bytes:
        largest = max(sizes)
        raise MemoryError(
            f"the derivative would take {total:,} bytes (its largest part has shape {largest[1]}), more than "
            f"max_bytes={max_bytes:,}; use jvp, vjp or hvp for its product with a vector, or pass max_bytes="
        )


def _by_columns(traced: Trace) -> list[list[Any]]:
    """Return a block for each result and argument, by forward mode.

    Each element of an argument takes one pass along the tape, and gives one column.
    """
    order = in_time_order(traced.origins, traced.boundaries)
    columns: list[list[list[Any]]] = [[[] for _ in traced.primals] for _ in traced.outs]
    for position, (node, primal) in enumerate(zip(traced.boundaries, traced.primals, strict=True)):
        for basis in _basis(primal.shape, primal.dtype):
            start = {node: Tensor(basis) if traced.on_tape else basis}
            arrived = push(start, order, traced.origins, traced.on_tape)
            for column, tangent in zip(columns, arrived, strict=True):
                column[position].append(tangent)
    return [
        [_block(parts, out, primal, -1) for parts, primal in zip(column, traced.primals, strict=True)]
        for column, out in zip(columns, traced.outs, strict=True)
    ]


def _by_rows(traced: Trace) -> list[list[Any]]:
    """Return a block for each result and argument, by reverse mode.

    Each element of a result takes one walk back along the tape, and gives one row.
    """
    blocks = []
    for position, out in enumerate(traced.outs):
        rows: list[list[Any]] = [[] for _ in traced.primals]
        cotangents: list[Any] = [None] * len(traced.outs)
        for basis in _basis(out.shape, out.dtype):
            cotangents[position] = Tensor(basis) if traced.on_tape else basis
            for row, part in zip(rows, traced.pull_back(cotangents, retain=True), strict=True):
                row.append(part)
        blocks.append(
            [_block(parts, out, primal, 0) for parts, primal in zip(rows, traced.primals, strict=True)]
        )
    return blocks


def _basis(shape: tuple[int, ...], dtype: Any) -> Iterator[Any]:
    """Yield the arrays of a shape that have a single 1."""
    for position in range(math.prod(shape)):
        array = np.zeros(shape, dtype)
        array.flat[position] = 1
        yield array


def _block(parts: Sequence[Any], out: Any, primal: Any, axis: int) -> Any:
    """Return rows or columns as one array; None stands for one of zeros."""
    shape = (*out.shape, *primal.shape)
    if all(part is None for part in parts):
        return np.zeros(shape, primal.dtype)
    zeros = np.zeros(out.shape if axis else primal.shape, primal.dtype)
    stacked = np.stack([zeros if part is None else part for part in parts], axis=axis)
    whole = np.reshape(stacked, shape)
    return whole if whole.dtype == primal.dtype else whole.astype(primal.dtype)
