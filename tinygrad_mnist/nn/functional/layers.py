"""Layers as functions: linear, batch_norm, layer_norm, dropout, flatten."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import NDArray

from tinygrad_mnist.engine.random_state import is_replay
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.functional.inputs import TensorLike, as_input
from tinygrad_mnist.nn.init import RNG, generator
from tinygrad_mnist.ops import linear as linear_op
from tinygrad_mnist.ops import normalization

Array = NDArray[Any]


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """``input @ weight.T + bias``.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (..., in).
    weight : Tensor or ndarray
        Shape (out, in), as in PyTorch; fastest in Fortran order.
    bias : Tensor or ndarray, optional
        Shape (out,).

    Returns
    -------
    Tensor
        Shape (..., out); the dtype by NumPy's promotion.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[1.0, 1.0], [0.0, 3.0]]), np.array([0.5, 0.0]))
    array([[3.5, 6. ]])
    """
    out: Tensor
    if bias is None:
        out = linear_op.linear(input, weight)
    else:
        out = linear_op.linear(input, weight, bias)
    return out


def batch_norm(
    input: TensorLike,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over the batch, or by running statistics; then scale and shift.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C) or (N, C, L).
    running_mean, running_var : ndarray, optional
        Shape (C,). In training they move, in place, towards the statistics of the batch (the variance
        unbiased); in evaluation they are used.
    weight, bias : Tensor or ndarray, optional
        Shape (C,).
    training : bool
        Whether to normalise by the statistics of this batch.
    momentum : float
        How far the running statistics move: 0.1 is a tenth of the way.
    eps : float
        Added to the variance.

    Returns
    -------
    Tensor
        The shape of the input.

    Raises
    ------
    ValueError
        If the input is of another shape, has a single value a channel in training, or the running statistics
        are missing in evaluation.

    References
    ----------
    Ioffe & Szegedy (2015), "Batch normalization", algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> batch_norm(np.array([[1.0], [3.0]]), training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    input = as_input(input)
    if input.ndim == 3:
        n, channels, length = input.shape
        rows = input.transpose(0, 2, 1).reshape(n * length, channels)
        flat = batch_norm(rows, running_mean, running_var, weight, bias, training, momentum, eps)
        return flat.reshape(n, length, channels).transpose(0, 2, 1)
    if input.ndim != 2:
        raise ValueError(f"input of shape {input.shape} was given; expected (N, C) or (N, C, L)")
    input, weight, bias = _ready(input, (input.shape[1],), weight, bias)
    if training:
        return _normalized_by_batch(input, running_mean, running_var, weight, bias, momentum, eps)
    if running_mean is None or running_var is None:
        raise ValueError(
            "batch norm in evaluation needs running_mean and running_var; expected arrays, not None"
        )
    # one scale and one shift; the running statistics, which training writes to, stay out of the tape
    scale = weight / np.sqrt(running_var + eps)
    return input * scale + (bias - running_mean.copy() * scale)  # type: ignore[return-value]


def _normalized_by_batch(
    input: TensorLike,
    running_mean: Array | None,
    running_var: Array | None,
    weight: TensorLike,
    bias: TensorLike,
    momentum: float,
    eps: float,
) -> Tensor:
    n = input.shape[0]
    if n < 2:
        raise ValueError(
            f"batch norm in training needs more than one value a channel; got input of shape {input.shape}. "
            "Leave out a last batch of one (drop_last=True), or call .eval() on the model to evaluate"
        )

    observe = observer(running_mean, running_var, momentum, n)
    out: Tensor = normalization.batch_norm(input, weight, bias, eps=eps, observe=observe)
    return out


def observer(
    running_mean: Array | None, running_var: Array | None, momentum: float, n: int
) -> Callable[[Array, Array], None] | None:
    """What moves running statistics towards those of a batch of ``n``; None where they stay."""
    if (running_mean is None and running_var is None) or is_replay():
        return None

    def move_running_statistics(mean: Array, var: Array) -> None:
        if running_mean is not None:
            _move(running_mean, mean, momentum, 1.0)
        if running_var is not None:
            _move(running_var, var, momentum, n / (n - 1))

    return move_running_statistics


def _move(running: Array, new: Array, momentum: float, factor: float) -> None:
    """Move running statistics towards ``factor * new``, in place."""
    running *= 1 - momentum
    running += new * (momentum * factor)


def layer_norm(
    input: TensorLike,
    normalized_shape: int | tuple[int, ...],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last axes, each sample by itself; then scale and shift.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (..., *normalized_shape).
    normalized_shape : int or tuple of int
        The lengths of the axes to normalise over.
    weight, bias : Tensor or ndarray, optional
        Shape ``normalized_shape``.
    eps : float
        Added to the variance.

    Returns
    -------
    Tensor
        The shape of the input.

    Raises
    ------
    ValueError
        If the input does not end in ``normalized_shape``.

    References
    ----------
    Ba, Kiros & Hinton (2016), "Layer normalization", equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> layer_norm(np.array([[1.0, 3.0]]), 2, eps=0.0)
    array([[-1.,  1.]])
    """
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    axes = len(shape)
    input = as_input(input)
    if not axes or input.shape[-axes:] != shape:
        raise ValueError(f"input of shape {input.shape} was given; expected its last axes to be {shape}")
    input, weight, bias = _ready(input, shape, weight, bias)
    if axes == 1:
        out: Tensor = normalization.layer_norm(input, weight, bias, eps=eps)
        return out
    rows = input.reshape(*input.shape[:-axes], math.prod(shape))
    out = normalization.layer_norm(rows, weight.reshape(-1), bias.reshape(-1), eps=eps)
    return out.reshape(input.shape)


def _ready(
    input: TensorLike, shape: tuple[int, ...], weight: TensorLike | None, bias: TensorLike | None
) -> tuple[TensorLike, TensorLike, TensorLike]:
    """Input, weight and bias as the operations take them: none missing, the input in the result's dtype."""
    if weight is None:
        weight = np.ones(shape, input.dtype if input.dtype.kind == "f" else np.float64)
    if bias is None:
        bias = np.zeros(shape, weight.dtype)
    if weight.shape != shape or bias.shape != shape:
        raise ValueError(
            f"weight {weight.shape} and bias {bias.shape} were given; expected shape {shape} of both"
        )
    if input.dtype != weight.dtype and input.dtype != (dtype := np.result_type(input.dtype, weight.dtype)):
        input = input.astype(dtype)
    return input, weight, bias


def dropout(input: TensorLike, p: float = 0.5, training: bool = True, *, rng: RNG = None) -> TensorLike:
    """Make each element 0 with probability ``p`` and the others larger by ``1 / (1 - p)``; in training only.

    Parameters
    ----------
    input : Tensor or ndarray
        Any shape, floating-point.
    p : float
        From 0 to 1.
    training : bool
        Without it, the input is returned as it is.
    rng : Generator or int, optional
        Where the random numbers come from.

    Raises
    ------
    ValueError
        If ``p`` is not a probability.

    References
    ----------
    Srivastava et al. (2014), "Dropout", here "inverted", so that evaluation needs no factor (their section
    10).

    Examples
    --------
    >>> import numpy as np
    >>> sorted(set(dropout(np.ones(100), 0.75, rng=0).tolist()))
    [0.0, 4.0]
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p={p} was given; expected a probability from 0 to 1")
    if not training or p == 0:
        return input
    input = as_input(input)
    dtype = input.dtype if input.dtype.kind == "f" else np.dtype(np.float64)
    keep = generator(rng).random(input.shape, np.float32) >= p
    mask = keep.astype(dtype)
    if p < 1:
        mask *= 1 / (1 - p)
    return input * mask


def flatten(input: TensorLike, start_dim: int = 0, end_dim: int = -1) -> TensorLike:
    """Join the axes from ``start_dim`` to ``end_dim`` (included) into one.

    Raises
    ------
    numpy.exceptions.AxisError
        If one of the axes does not exist.
    ValueError
        If ``end_dim`` comes before ``start_dim``.

    Examples
    --------
    >>> import numpy as np
    >>> flatten(np.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    input = as_input(input)
    shape = input.shape
    if not shape:
        return input.reshape(1)
    start, end = normalize_axis_index(start_dim, len(shape)), normalize_axis_index(end_dim, len(shape))
    if start == end:
        return input
    if start > end:
        raise ValueError(
            f"start_dim={start_dim} comes after end_dim={end_dim} in shape {shape}; exchange them"
        )
    return input.reshape(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
