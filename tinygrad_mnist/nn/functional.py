"""The layers and losses as functions: thin over the operations, without state and without gradient code.

On Tensors they are recorded; where all arguments are arrays, they return arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tinygrad_mnist.engine.random_state import is_replay
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.init import RNG, generator
from tinygrad_mnist.ops import activation, elementwise, loss, normalization, special

__all__ = [
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "flatten",
    "gelu",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]

Array = NDArray[Any]
TensorLike = Tensor | Array


def as_input(value: Tensor | ArrayLike) -> TensorLike:
    """A Tensor as it is, anything else as an array, for those who ask for its shape or dtype."""
    return value if isinstance(value, Tensor) else np.asarray(value)


# ---- activations -----------------------------------------------------------------------------------------


def relu(input: TensorLike) -> Tensor:
    """``max(x, 0)``, with gradient 0 at 0; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    out: Tensor = activation.relu(input)
    return out


def leaky_relu(input: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """``x`` where it is positive, ``negative_slope * x`` elsewhere; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.array([-1.0, 2.0]), 0.1)
    array([-0.1,  2. ])
    """
    out: Tensor = activation.leaky_relu(input, negative_slope=negative_slope)
    return out


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """``x`` times the normal distribution function of ``x``; any shape.

    Parameters
    ----------
    input : Tensor or ndarray
        Floating-point.
    approximate : str
        ``none`` for the exact function, ``tanh`` for the approximation by tanh.

    Raises
    ------
    ValueError
        If ``approximate`` is something else.

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
    """The hyperbolic tangent; any shape."""
    out: Tensor = elementwise.tanh(input)
    return out


def sigmoid(input: TensorLike) -> Tensor:
    """``1 / (1 + exp(-x))`` without overflow; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    out: Tensor = special.sigmoid(input)
    return out


def softmax(input: TensorLike, dim: int) -> Tensor:
    """``exp(x) / sum(exp(x))`` along an axis, without overflow.

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
    out: Tensor = activation.softmax(input, axis=dim)
    return out


def log_softmax(input: TensorLike, dim: int) -> Tensor:
    """The logarithm of the softmax along an axis, exact where the softmax is 0 in floating point.

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
    out: Tensor = activation.log_softmax(input, axis=dim)
    return out


# ---- layers ----------------------------------------------------------------------------------------------


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
        out = normalization.linear(input, weight)
    else:
        out = normalization.linear(input, weight, bias)
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


# ---- losses ----------------------------------------------------------------------------------------------


def cross_entropy(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", label_smoothing: float = 0.0
) -> Tensor:
    """``-sum(target * log_softmax(input))`` of each row, reduced.

    Parameters
    ----------
    input : Tensor or ndarray
        Logits, shape (N, C).
    target : Tensor or ndarray
        Integer labels of shape (N,); or one-hot rows or probabilities of shape (N, C).
    reduction : str
        ``mean`` over the rows, ``sum``, or ``none`` for one number a row.
    label_smoothing : float
        How much of the uniform distribution to mix into the target, from 0 to 1.

    Returns
    -------
    Tensor
        A scalar; shape (N,) for ``none``.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or an option is unknown.
    IndexError
        If a label is not a class.

    References
    ----------
    Szegedy et al. (2016), "Rethinking the Inception architecture", section 7, for the label smoothing.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.log(np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]))
    >>> cross_entropy(logits, np.array([0, 0]), reduction="none").round(4)
    array([0.6931, 1.3863])
    """
    input, target = as_input(input), as_input(target)
    if target.ndim == 2 and target.dtype.kind != "f":
        target = target.astype(input.dtype)  # one-hot integers
    if reduction not in ("mean", "sum") or not input.size:
        return _reduced(loss.cross_entropy(input, target, label_smoothing=label_smoothing), reduction)
    out: Tensor = loss.cross_entropy(input, target, label_smoothing=label_smoothing, reduction=reduction)
    return out


def nll_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """The negative log-likelihood: minus the entry of each row that its label names, reduced.

    Parameters
    ----------
    input : Tensor or ndarray
        Log-probabilities, shape (N, C), as `log_softmax` gives them.
    target : Tensor or ndarray
        Integer labels, shape (N,).
    reduction : str
        ``mean``, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit.
    IndexError
        If a label is not a class.

    Examples
    --------
    >>> import numpy as np
    >>> float(nll_loss(np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.array([0, 1])))
    2.5
    """
    input = as_input(input)
    labels = target.data if isinstance(target, Tensor) else np.asarray(target)
    if input.ndim != 2 or labels.shape != input.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"input of shape {input.shape} and target of shape {labels.shape} and dtype {labels.dtype} "
            "were given; expected (N, C) and integer labels of shape (N,)"
        )
    n, classes = input.shape
    if n and not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise IndexError(f"label {wrong} is not one of the {classes} classes 0 to {classes - 1}")
    return _reduced(-input[np.arange(n), labels], reduction)


def mse_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """``(input - target)**2``, reduced over all elements.

    Parameters
    ----------
    input, target : Tensor or ndarray
        Of one shape. Integers and booleans are taken as floats: of the other's dtype, or float64.
    reduction : str
        ``mean``, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        If the shapes differ: broadcasting here is nearly always a mistake.

    Examples
    --------
    >>> import numpy as np
    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    input, target = _floats_of_one_shape(input, target)
    return _reduced(np.square(input - target), reduction)


def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    *,
    reduction: str = "mean",
    pos_weight: TensorLike | float | None = None,
) -> Tensor:
    """``-p * target * log(s) - (1 - target) * log(1 - s)``, ``s = sigmoid(input)``; no overflow; reduced.

    Parameters
    ----------
    input : Tensor or ndarray
        Logits, any shape.
    target : Tensor or ndarray
        Probabilities, of the same shape; integers and booleans are taken as floats.
    reduction : str
        ``mean``, ``sum`` or ``none``.
    pos_weight : array_like, optional
        The weight ``p`` of the positive examples, broadcast to the shape of the input.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> binary_cross_entropy_with_logits(np.array([0.0, -1000.0]), np.array([1.0, 1.0]), reduction="none")
    array([6.9314...e-01, 1.0000...e+03])
    """
    input, target = _floats_of_one_shape(input, target)
    # each side of 0 by a formula that is smooth there, does not overflow and cancels nothing
    positive = input >= 0
    tail = np.log1p(np.exp(np.where(positive, -input, input)))
    share: Any = target if pos_weight is None else pos_weight * target
    slope = np.where(positive, 1 - target, -share)
    return _reduced(slope * input + (1 - target + share) * tail, reduction)


def one_hot(target: ArrayLike | Tensor, num_classes: int = -1, dtype: DTypeLike = np.int64) -> NDArray[Any]:
    """A row for each label, 1 at its class and 0 elsewhere.

    Parameters
    ----------
    target : array_like
        Integer labels, any shape.
    num_classes : int
        How many; by default one more than the largest label.
    dtype : dtype
        Of the result.

    Returns
    -------
    ndarray
        Shape (*target.shape, num_classes).

    Raises
    ------
    TypeError
        If the labels are not integers.
    IndexError
        If a label is not a class.

    Examples
    --------
    >>> one_hot([1, 0], 3)
    array([[0, 1, 0],
           [1, 0, 0]])
    """
    labels = target.data if isinstance(target, Tensor) else np.asarray(target)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels of dtype {labels.dtype} were given; expected integers")
    if num_classes < 0:
        num_classes = int(labels.max(initial=-1)) + 1
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        wrong = labels[(labels < 0) | (labels >= num_classes)][0]
        raise IndexError(f"label {wrong} is not one of the {num_classes} classes 0 to {num_classes - 1}")
    rows = np.zeros((*labels.shape, num_classes), dtype)
    np.put_along_axis(rows, labels[..., None], 1, axis=-1)
    return rows


def _floats_of_one_shape(input: TensorLike, target: TensorLike) -> tuple[TensorLike, TensorLike]:
    """Integers and booleans, whose differences wrap or are refused, as floats of the other's dtype."""
    input, target = as_input(input), as_input(target)
    if input.shape != target.shape:
        raise ValueError(
            f"input of shape {input.shape} and target of shape {target.shape} were given; expected one shape"
        )
    if input.dtype.kind != "f":
        input = input.astype(target.dtype if target.dtype.kind == "f" else np.float64)
    if target.dtype.kind != "f":
        target = target.astype(input.dtype)
    return input, target


def _reduced(losses: Any, reduction: str) -> Tensor:
    out: Tensor
    if reduction == "mean":
        out = _mean(losses)
    elif reduction == "sum":
        out = losses.sum()
    elif reduction == "none":
        out = losses
    else:
        raise ValueError(f"reduction={reduction!r} was given; expected 'mean', 'sum' or 'none'")
    return out


def _mean(losses: Any) -> Any:
    n = losses.size
    if losses.ndim != 1 or n == 0 or losses.dtype.kind != "f":  # 1 / n is no integer
        return losses.mean()
    # measured: forwards and back this product takes 12 us less than a mean
    return losses @ np.full(n, 1 / n, losses.dtype)
