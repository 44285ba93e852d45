"""The layers, activations and losses as functions, without state and without gradient code.

Each is a thin layer over the operations in `tinygrad_mnist.ops`: checks, defaults and PyTorch's arguments. On
Tensors they are recorded; where all arguments are arrays, they return arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from tinygrad_mnist.engine.conditions import found
from tinygrad_mnist.engine.dtypes import float_dtype, is_integer
from tinygrad_mnist.engine.pytorch_names import missing_name, with_keyword_advice
from tinygrad_mnist.engine.random_state import is_replay
from tinygrad_mnist.engine.shards import current as current_shard
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.batch_draws import random_rows
from tinygrad_mnist.nn.convolution_functions import conv1d, conv2d, conv_transpose2d
from tinygrad_mnist.nn.dropout_functions import dropout, dropout2d
from tinygrad_mnist.nn.inputs import Array, TensorLike, as_input, detached, element, values_of
from tinygrad_mnist.nn.loss_functions import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
    one_hot,
    smooth_l1_loss,
)
from tinygrad_mnist.nn.pooling_functions import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from tinygrad_mnist.nn.resizing_functions import interpolate
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.ops import activation, elementwise, normalization
from tinygrad_mnist.ops.half import single, stored
from tinygrad_mnist.ops.linear import linear as linear_operation
from tinygrad_mnist.ops.softmax import log_softmax as log_softmax_operation
from tinygrad_mnist.ops.softmax import softmax as softmax_operation

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "elu",
    "embedding",
    "flatten",
    "gelu",
    "group_norm",
    "hardtanh",
    "huber_loss",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "random_rows",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]

# ---- activations -----------------------------------------------------------------------------------------


def relu(input: TensorLike) -> Tensor:
    """Return ``max(x, 0)``, with gradient 0 at 0; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    out: Tensor = activation.relu(as_input(input))
    return out


def leaky_relu(input: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """Return ``x`` where it is positive and ``negative_slope * x`` elsewhere; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.array([-1.0, 2.0]), 0.1)
    array([-0.1,  2. ])
    """
    out: Tensor = activation.leaky_relu(as_input(input), negative_slope=negative_slope)
    return out


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """Return ``x`` times the normal distribution function of ``x``; any shape.

    Parameters
    ----------
    input : Tensor or ndarray
        Floating-point.
    approximate : str
        ``none`` for the exact function, ``tanh`` for its approximation by tanh.

    Raises
    ------
    ValueError
        If ``approximate`` is neither.

    References
    ----------
    Hendrycks & Gimpel (2016), "Gaussian error linear units (GELUs)", section 2.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    out: Tensor = activation.gelu(as_input(input), approximate=approximate)
    return out


def tanh(input: TensorLike) -> Tensor:
    """Return the hyperbolic tangent; any shape."""
    out: Tensor = elementwise.tanh(as_input(input))
    return out


def sigmoid(input: TensorLike) -> Tensor:
    """Return ``1 / (1 + exp(-x))``, without overflow; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    out: Tensor = elementwise.sigmoid(as_input(input))
    return out


def elu(input: TensorLike, alpha: float = 1.0) -> Tensor:
    """Return the exponential linear unit: ``x`` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere.

    References
    ----------
    Clevert, Unterthiner & Hochreiter (2016), "Fast and accurate deep network learning by exponential linear
    units (ELUs)", equation 15.

    Examples
    --------
    >>> import numpy as np
    >>> elu(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """
    input = as_input(input)
    positive = input > 0
    # Where x is positive the exponential is not used, so it is that of 0, which does not overflow.
    return np.where(positive, input, alpha * np.expm1(np.where(positive, 0, input)))  # type: ignore[return-value]


def silu(input: TensorLike) -> Tensor:
    """Return the sigmoid linear unit ``x * sigmoid(x)``, also called swish; 0 at -inf.

    References
    ----------
    Elfwing, Uchibe & Doya (2018), "Sigmoid-weighted linear units", equation 7.

    Examples
    --------
    >>> import numpy as np
    >>> silu(np.array([-1.0, 2.0])).round(4)
    array([-0.2689,  1.7616])
    """
    input = as_input(input)
    far = np.abs(input) > _SILU_IS_RELU
    near = np.where(far, 0, input)  # at -inf and inf, infinity times 0 would be NaN
    return np.where(far, relu(input), near * sigmoid(near))  # type: ignore[return-value]


_SILU_IS_RELU = 2e4
"""A distance from 0 at which ``exp(-x)`` has underflowed to 0, even in NumPy's longest dtype."""


def softplus(input: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return ``log(1 + exp(beta * x)) / beta``, without overflow; any shape.

    Where ``beta * x > threshold`` it is ``x`` itself.

    Raises
    ------
    ValueError
        If ``beta`` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> softplus(np.array([0.0, 1000.0])).round(4)
    array([6.931e-01, 1.000e+03])
    """
    if not beta:
        raise ValueError(f"beta={beta} was given; expected another number than 0")
    input = as_input(input)
    scaled = input * beta
    return np.where(scaled > threshold, input, elementwise.softplus(scaled) / beta)  # type: ignore[return-value]


def hardtanh(input: TensorLike, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """Return ``x`` clipped to the interval from ``min_val`` to ``max_val``, with gradient 0 at its ends.

    Raises
    ------
    ValueError
        If ``min_val`` is greater than ``max_val``.

    Examples
    --------
    >>> import numpy as np
    >>> hardtanh(np.array([-3.0, 0.5, 3.0]))
    array([-1. ,  0.5,  1. ])
    """
    if not min_val <= max_val:
        raise ValueError(f"min_val={min_val} and max_val={max_val} were given; expected min_val <= max_val")
    return np.clip(as_input(input), min_val, max_val)  # type: ignore[return-value]


_DIM: Final = {"axis": "it is called dim here, as in PyTorch"}


@with_keyword_advice(_DIM)
def softmax(input: TensorLike, dim: int) -> Tensor:
    """Return ``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Raises
    ------
    numpy.exceptions.AxisError
        If the axis does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.array([[1000.0, 1000.0]]), dim=1)
    array([[0.5, 0.5]])
    """
    out: Tensor = softmax_operation(as_input(input), axis=dim)
    return out


@with_keyword_advice(_DIM)
def log_softmax(input: TensorLike, dim: int) -> Tensor:
    """Return the logarithm of the softmax along an axis, exact even where the softmax underflows to 0.

    Raises
    ------
    numpy.exceptions.AxisError
        If the axis does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax(np.array([[1000.0, 0.0]]), dim=1)
    array([[    0., -1000.]])
    """
    out: Tensor = log_softmax_operation(as_input(input), axis=dim)
    return out


# ---- layers ----------------------------------------------------------------------------------------------


def linear(input: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """Return ``input @ weight.T + bias``.

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
        out = linear_operation(input, weight)
    else:
        out = linear_operation(input, weight, bias)
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
    """Normalise each channel by the batch or by the running statistics; then scale and shift.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C), (N, C, L) or (N, C, H, W); more axes behind these are taken, too.
    running_mean, running_var : ndarray, optional
        Shape (C,). In training they are moved, in place, towards the mean and the unbiased variance of the
        batch; in evaluation the input is normalised by them.
    weight, bias : Tensor or ndarray, optional
        Shape (C,).
    training : bool
        Whether to normalise by the statistics of this batch.
    momentum : float
        The share of this batch in the running statistics: 0.1 moves them a tenth of the way.
    eps : float
        A number that is added to the variance.

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
    if input.ndim < 2:
        raise ValueError(
            f"input of shape {input.shape} was given; expected (N, C), (N, C, L) or (N, C, H, W)"
        )
    if input.ndim > 2:
        n, channels, *lengths = input.shape
        if training and rows_of_batch(n * math.prod(lengths)) < 2:
            raise _too_few_values(input.shape)
        # The channels become the columns: no copy is made of images whose channels lie last in memory.
        axes = range(input.ndim)
        rows = input.transpose(0, *axes[2:], 1).reshape(n * math.prod(lengths), channels)
        flat = batch_norm(rows, running_mean, running_var, weight, bias, training, momentum, eps)
        return flat.reshape(n, *lengths, channels).transpose(0, axes[-1], *axes[1:-1])
    input, weight, bias = _with_defaults(input, (input.shape[1],), weight, bias)
    if training:
        return _batch_norm_training(input, running_mean, running_var, weight, bias, momentum, eps)
    if running_mean is None or running_var is None:
        raise ValueError(
            "batch norm in evaluation needs running_mean and running_var; expected arrays, not None"
        )
    _check_statistics(running_mean, running_var, input.shape[1:])
    # One scale and one shift a channel. The copy keeps the running mean off the tape: training writes into
    # it, and a backward pass that comes later would read the new values.
    scale = single(weight) / np.sqrt(single(running_var) + eps)
    out = normalization.scale_and_shift(single(input), scale, bias - running_mean.copy() * scale)
    return stored(out, input.dtype)  # type: ignore[no-any-return]


def _batch_norm_training(
    input: TensorLike,
    running_mean: Array | None,
    running_var: Array | None,
    weight: TensorLike,
    bias: TensorLike,
    momentum: float,
    eps: float,
) -> Tensor:
    n, shard = rows_of_batch(input.shape[0]), current_shard()
    if n < 2:
        raise _too_few_values(input.shape)
    update = statistics_updater(running_mean, running_var, momentum, n)
    out: Tensor
    if shard is None:
        out = normalization.batch_norm(input, weight, bias, eps=eps, observe=update)
    else:
        out = normalization.synchronized_batch_norm(input, weight, bias, eps=eps, shard=shard, observe=update)
    return out


def rows_of_batch(rows: int) -> int:
    """Return how many rows a batch has of which some are here: more where other processes have the others."""
    shard = current_shard()
    return rows if shard is None else shard.rows_of_all(rows)


def _too_few_values(shape: tuple[int, ...]) -> ValueError:
    """Return the error of an input of which no mean and variance can be taken in each channel."""
    if shape[0] * math.prod(shape[2:]) == 1:
        return ValueError(
            f"batch norm in training needs more than one value a channel; got input of shape {shape}. Leave "
            "out a last batch of one (drop_last=True), or call .eval() on the model to evaluate"
        )
    empty = "an empty last axis" if len(shape) == 3 else "images without pixels"
    where = "an empty batch" if shape[0] == 0 else empty
    return ValueError(
        f"batch norm in training was given {where}: input of shape {shape} has no value to take a mean of; "
        "leave it out"
    )


def statistics_updater(
    running_mean: Array | None, running_var: Array | None, momentum: float, n: int
) -> Callable[[Array, Array], None] | None:
    """Return a function that moves running statistics towards those of a batch of ``n`` rows.

    Returns
    -------
    callable or None
        ``update(mean, var)`` of the biased variance; None where nothing has to be moved. That is so, too,
        while a checkpointed function runs again: the batch has been counted the first time.
    """
    if (running_mean is None and running_var is None) or is_replay():
        return None

    def update(mean: Array, var: Array) -> None:
        if running_mean is not None:
            if running_mean.shape != mean.shape or (
                running_var is not None and running_var.shape != var.shape
            ):
                _check_statistics(running_mean, running_var, mean.shape)
            _move_towards(running_mean, mean, momentum, 1.0)
        if running_var is not None:
            _move_towards(running_var, var, momentum, n / (n - 1))  # the unbiased variance

    return update


def _check_statistics(mean: Array | None, var: Array | None, shape: tuple[int, ...]) -> None:
    """Raise if running statistics are not one number a channel; NumPy would broadcast a single one."""
    for name, array in (("running_mean", mean), ("running_var", var)):
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} of shape {array.shape} was given; expected {shape}")


def _move_towards(running: Array, new: Array, momentum: float, factor: float) -> None:
    """Set ``running`` to ``(1 - momentum) * running + momentum * factor * new``, in place."""
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
        A number that is added to the variance.

    Returns
    -------
    Tensor
        The shape of the input.

    Raises
    ------
    ValueError
        If the last axes of the input are not ``normalized_shape``.

    References
    ----------
    Ba, Kiros & Hinton (2016), "Layer normalization", equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> layer_norm(np.array([[1.0, 3.0]]), 2, eps=0.0)
    array([[-1.,  1.]])
    """
    input, shape = _last_axes(input, normalized_shape)
    axes = len(shape)
    input, weight, bias = _with_defaults(input, shape, weight, bias)
    if axes == 1:
        out: Tensor = normalization.layer_norm(input, weight, bias, eps=eps)
        return out
    # The operation normalises over one axis.
    rows = input.reshape(*input.shape[:-axes], math.prod(shape))
    out = normalization.layer_norm(rows, weight.reshape(-1), bias.reshape(-1), eps=eps)
    return out.reshape(input.shape)


def _last_axes(
    input: TensorLike, normalized_shape: int | list[int] | tuple[int, ...]
) -> tuple[TensorLike, tuple[int, ...]]:
    """Return the input and the shape that is normalised over; raise if that is not the shape of its end."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    input = as_input(input)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(f"input of shape {input.shape} was given; expected its last axes to be {shape}")
    return input, shape


def rms_norm(
    input: TensorLike,
    normalized_shape: int | list[int] | tuple[int, ...],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root of the mean square over the last axes, each sample by itself; then scale.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (..., *normalized_shape).
    normalized_shape : int or sequence of int
        The lengths of the axes to normalise over.
    weight : Tensor or ndarray, optional
        Shape ``normalized_shape``.
    eps : float, optional
        A number that is added to the mean square; by default the machine epsilon of the input's dtype.

    Returns
    -------
    Tensor
        The shape of the input.

    Raises
    ------
    ValueError
        If the last axes of the input are not ``normalized_shape``, the weight has another shape, or ``eps``
        is negative.

    References
    ----------
    Zhang & Sennrich (2019), "Root mean square layer normalization", equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> rms_norm(np.array([[1.0, 7.0]]), 2, eps=0.0)
    array([[0.2, 1.4]])
    """
    input, shape = _last_axes(input, normalized_shape)
    input, weight, _ = _with_defaults(input, shape, weight, None)
    dtype = input.dtype
    if eps is None:
        eps = float(np.finfo(dtype).eps)
    if not eps >= 0:
        raise ValueError(f"eps={eps} was given; expected 0 or a positive number")
    if dtype == np.float16:  # for storage: squares and their means are taken in float32
        input = input.astype(np.float32)
    axes = tuple(range(-len(shape), 0))
    # The root is taken of numbers up to 1, as squares of the input might overflow or be 0. The result does
    # not depend on the scale, so neither do its derivatives.
    scale = np.maximum(np.max(np.abs(detached(input)), axis=axes, keepdims=True, initial=0), math.sqrt(eps))
    scale = np.where(scale == 0, 1, scale)
    ratio = input / scale
    mean_square = np.mean(np.square(ratio), axis=axes, keepdims=True)
    normalised = ratio / np.sqrt(mean_square + np.square(math.sqrt(eps) / scale))
    out: Tensor = normalised.astype(dtype) * weight
    return out


def group_norm(
    input: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each group of channels of each sample by itself; then scale and shift each channel.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C) or (N, C, d1, ...).
    num_groups : int
        The number of groups; it divides C.
    weight, bias : Tensor or ndarray, optional
        Shape (C,).
    eps : float
        A number that is added to the variance.

    Returns
    -------
    Tensor
        The shape of the input.

    Raises
    ------
    ValueError
        If the groups do not divide the channels, weight or bias have another shape, or the input has fewer
        than two axes.

    References
    ----------
    Wu & He (2018), "Group normalization", equation 7.

    Examples
    --------
    >>> import numpy as np
    >>> group_norm(np.array([[1.0, 3.0, 10.0, 30.0]]), 2, eps=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    input = as_input(input)
    if input.ndim < 2:
        raise ValueError(f"input of shape {input.shape} was given; expected (N, C) or (N, C, d1, ...)")
    n, channels = input.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"num_groups={num_groups} was given for input of shape {input.shape}; expected a divisor of its "
            f"{count_text(channels, 'channel')}"
        )
    input, weight, bias = _with_defaults(input, (channels,), weight, bias)
    length = math.prod(input.shape[1:]) // num_groups
    groups = layer_norm(input.reshape(n, num_groups, length), length, eps=eps)
    by_channel = (channels, *(1,) * (input.ndim - 2))
    out = groups.reshape(input.shape) * weight.reshape(by_channel) + bias.reshape(by_channel)
    return out


def _with_defaults(
    input: TensorLike, shape: tuple[int, ...], weight: TensorLike | None, bias: TensorLike | None
) -> tuple[TensorLike, TensorLike, TensorLike]:
    """Return input, weight and bias as the operations take them.

    A missing weight is 1 and a missing bias 0; the input is converted to the dtype of the result.

    Raises
    ------
    ValueError
        If weight or bias have another shape.
    """
    if weight is None:
        weight = np.ones(shape, float_dtype(input.dtype))
    if bias is None:
        bias = np.zeros(shape, weight.dtype)
    if weight.shape != shape or bias.shape != shape:
        name, wrong = ("weight", weight) if weight.shape != shape else ("bias", bias)
        raise ValueError(f"{name} of shape {wrong.shape} was given; expected {shape}")
    if input.dtype != weight.dtype and input.dtype != (dtype := np.result_type(input.dtype, weight.dtype)):
        input = input.astype(dtype)
    return input, weight, bias


def embedding(input: TensorLike, weight: TensorLike, padding_idx: int | None = None) -> Tensor:
    """Return the row of a table for each index; the gradients of an index that occurs twice add up.

    Parameters
    ----------
    input : Tensor or ndarray
        Integer indices, any shape.
    weight : Tensor or ndarray
        The table, shape (num_embeddings, embedding_dim).
    padding_idx : int, optional
        The index of a row that gets no gradient; a negative one counts from the end.

    Returns
    -------
    Tensor
        Shape (*input.shape, embedding_dim).

    Raises
    ------
    TypeError
        If the indices are not integers.
    ValueError
        If the table has not two axes.
    IndexError
        If an index or ``padding_idx`` is no row of the table.

    Examples
    --------
    >>> import numpy as np
    >>> embedding(np.array([2, 0]), np.array([[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]))
    array([[2. , 2.5],
           [0. , 0.5]])
    """
    weight, input = as_input(weight), as_input(input)
    indices = values_of(input)
    if weight.ndim != 2:
        raise ValueError(
            f"weight of shape {weight.shape} was given; expected (num_embeddings, embedding_dim)"
        )
    if not is_integer(indices):
        raise TypeError(f"indices of dtype {indices.dtype} were given; expected integers")
    length = weight.shape[0]
    if found((indices < 0) | (indices >= length)):
        wrong = indices[(indices < 0) | (indices >= length)][0]
        raise IndexError(f"index {wrong} is not one of the {length} rows 0 to {length - 1} of the table")
    # By the Tensor itself, where there is one, so that a recorder can tell where the index comes from.
    rows: Tensor = element(weight, input)
    if padding_idx is None:
        return rows
    is_padding = (indices == padding_row(padding_idx, length))[..., None]
    return np.where(is_padding, detached(rows), rows)  # type: ignore[return-value]


def padding_row(padding_idx: int, length: int) -> int:
    """Return the index of the padding in a table, counted from its beginning."""
    if not -length <= padding_idx < length:
        raise IndexError(f"padding_idx={padding_idx} is not one of the {length} rows of the table")
    return padding_idx % length


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


if not TYPE_CHECKING:  # to a type checker an unknown name stays an error

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name)
