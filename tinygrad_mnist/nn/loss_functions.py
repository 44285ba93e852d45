"""The losses as functions; `functional` offers them, and `losses` wraps them in modules.

What has the weight or the probability 0 contributes 0 to a loss, even where it is multiplied by infinity: a
class that is masked away by a logit of -inf, say.

Where several processes share a batch, each has the loss of its rows (see `engine.shards`). The mean of these
losses, weighted by rows, is the loss of the whole batch. A mean over rows is so by itself. What divides by a
sum of weights, or is a sum, asks what the weights of all rows are, or how many rows there are.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinygrad_mnist.engine.conditions import found
from tinygrad_mnist.engine.dtypes import float_dtype, is_float, is_integer
from tinygrad_mnist.engine.shards import current as current_shard
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.batch_axis import rows_each
from tinygrad_mnist.nn.inputs import Array, TensorLike, element, real_input, values_of
from tinygrad_mnist.ops import loss
from tinygrad_mnist.ops.exchange import mean_over_shards
from tinygrad_mnist.ops.loss import IGNORED, multiply_no_nan

REDUCTIONS: Final = ("mean", "sum", "none")
"""What may be done with the losses of the single rows or elements."""

_HALF: Final = np.dtype(np.float16)
_SMALLEST_LOG: Final = -100.0
"""The least logarithm in `binary_cross_entropy`, PyTorch's: the loss of one element is at most 100."""

# ---- losses of classes -----------------------------------------------------------------------------------


def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int = IGNORED,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return ``-sum(weight * target * log_softmax(input))`` over the classes, reduced.

    Parameters
    ----------
    input : Tensor or ndarray
        Logits, shape (N, C), (N, C, d1, ...) or (C,).
    target : Tensor or ndarray
        Integer labels of the shape of the input without the axis C: (N,), (N, d1, ...) or (); or one-hot rows
        or probabilities of the shape of the input.
    weight : Tensor or ndarray, optional
        The weight of each class, shape (C,).
    ignore_index : int
        The label of rows that are left out: they contribute nothing to the loss, its mean and its gradient.
    reduction : str
        ``mean``, ``sum``, or ``none`` for one number for each row. ``mean`` divides by the sum of the weights
        of the labels; for probabilities, by the number of rows.
    label_smoothing : float
        The share of the uniform distribution that is mixed into the target, from 0 to 1.

    Returns
    -------
    Tensor
        A scalar; for ``none`` the shape of the labels.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, an option is unknown, probabilities are NaN, or ``ignore_index`` is
        given for probabilities.
    IndexError
        If a label is not a class.
    TypeError
        If one of the arrays is masked.

    References
    ----------
    Szegedy et al. (2016), "Rethinking the Inception architecture", section 7, for the label smoothing.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.log(np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]]))
    >>> cross_entropy(logits, np.array([0, 0]), reduction="none").round(4)
    array([0.6931, 1.3863])
    >>> float(cross_entropy(logits, np.array([0, -1]), ignore_index=-1))
    0.693147...
    """
    if not isinstance(input, Tensor):
        input = real_input(input)
    if type(target) is not np.ndarray:
        target = _as_target(target)
    if input.dtype == _HALF:  # float16 is for storage: its exponentials and sums are taken in float32
        wide = cross_entropy(
            input.astype(np.float32),
            target,
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
        return wide.astype(_HALF)
    is_plain = weight is None and ignore_index == IGNORED and input.ndim == 2
    if is_plain and (current_shard() is None or not _may_be_ignored(target)):
        try:
            return _plain_cross_entropy(input, target, reduction, label_smoothing)
        except IndexError:  # a label is no class; looked for only now, as this takes time
            if not np.any(target == ignore_index):
                raise
    return _weighted_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


def _plain_cross_entropy(
    input: TensorLike, target: TensorLike, reduction: str, label_smoothing: float
) -> Tensor:
    """Return the loss of logits (N, C), where all classes weigh the same and no label is left out."""
    if target.ndim == 2 and not is_float(target) and target.shape == input.shape:
        target = _one_hot_floats(target, 1, float_dtype(input.dtype))
    # The operation reduces by itself: one node on the tape instead of two. A mean of no rows is NaN by
    # NumPy's rule.
    if reduction not in ("mean", "sum") or not input.size:
        return _reduced(loss.cross_entropy(input, target, label_smoothing=label_smoothing), reduction, input)
    out: Tensor = loss.cross_entropy(input, target, label_smoothing=label_smoothing, reduction=reduction)
    return out if reduction == "mean" else _of_all_shards(out, input)


def _weighted_cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """Return the loss in general: one of rows of weighted probabilities, which need not sum to 1."""
    require_label(ignore_index)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} was given; expected a number from 0 to 1")
    soft = input.ndim > 0 and target.shape == input.shape
    if soft:
        rows, targets, kept, shape = _probability_rows(input, target, ignore_index)
    else:
        rows, targets, kept, shape = _one_hot_rows(input, target, ignore_index)
    share = kept[:, None].astype(rows.dtype)
    if weight is not None:
        share = share * _class_weight(weight, rows)
    count = len(rows) if soft else _count_by_shard(np.sum(share * targets), reduction)
    smoothed = (1 - label_smoothing) * targets + label_smoothing / rows.shape[1]
    return _reduced(loss.cross_entropy(rows, share * smoothed), reduction, input, shape, count)


def _probability_rows(
    input: TensorLike, target: TensorLike, ignore_index: int
) -> tuple[Any, Any, Array, tuple[int, ...]]:
    """Return logits and probabilities as rows (n, C), that all rows are kept, and the shape of the losses."""
    if ignore_index >= 0:
        raise ValueError(
            f"ignore_index={ignore_index} was given with probabilities as targets; it is for labels: to "
            "leave out a row of probabilities, set it to 0"
        )
    axis = _class_axis(input)
    rows = _as_rows(input, axis)
    if not is_float(target):
        target = _one_hot_floats(target, axis, rows.dtype)
    return rows, _as_rows(target, axis), np.ones(len(rows), bool), _without(input.shape, axis)


def _one_hot_rows(
    input: TensorLike, target: TensorLike, ignore_index: int
) -> tuple[Any, Any, Array, tuple[int, ...]]:
    """Return logits as rows (n, C), one-hot rows of labels, which are kept, and the shape of the losses."""
    rows, labels, shape = _labelled_rows(input, target, " (or probabilities of the input's shape)")
    kept = _kept(labels, rows.shape[1], ignore_index)
    rows = np.where(kept[:, None], rows, 0)  # so that not even a NaN in an ignored row has a gradient
    one_hot_rows = (labels[:, None] == np.arange(rows.shape[1])).astype(rows.dtype)
    return rows, one_hot_rows, kept, shape


def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int = IGNORED,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative log-likelihood: minus the entry of each row at its label, weighted and reduced.

    Parameters
    ----------
    input : Tensor or ndarray
        Log-probabilities, as `log_softmax` gives them; shape (N, C), (N, C, d1, ...) or (C,).
    target : Tensor or ndarray
        Integer labels of the shape of the input without the axis C: (N,), (N, d1, ...) or ().
    weight : Tensor or ndarray, optional
        The weight of each class, shape (C,).
    ignore_index : int
        The label of rows that are left out: they contribute nothing to the loss, its mean and its gradient.
    reduction : str
        ``mean``, which divides by the sum of the weights of the labels, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        If shapes or dtypes do not fit, or an option is unknown.
    IndexError
        If a label is not a class.
    TypeError
        If one of the arrays is masked.

    Examples
    --------
    >>> import numpy as np
    >>> float(nll_loss(np.array([[-1.0, -2.0], [-3.0, -4.0]]), np.array([0, 1])))
    2.5
    """
    require_label(ignore_index)
    input, target = real_input(input), _as_target(target)
    if input.dtype == _HALF:  # as in cross_entropy
        wide = input.astype(np.float32)
        return nll_loss(wide, target, weight, ignore_index=ignore_index, reduction=reduction).astype(_HALF)
    rows, labels, shape = _labelled_rows(input, target)
    kept = _kept(labels, rows.shape[1], ignore_index)
    labels = np.where(kept, labels, 0)
    share = kept.astype(rows.dtype)
    if weight is not None:
        share = np.where(kept, element(_class_weight(weight, rows), labels), 0)
    losses = -_times_share(element(rows, np.arange(len(labels)), labels), share)
    return _reduced(losses, reduction, input, shape, _count_by_shard(np.sum(share), reduction))


def _as_target(target: TensorLike) -> TensorLike:
    """Return a target as `real_input` does, with an error for masked arrays that says what to do."""
    if type(target) is not np.ndarray and isinstance(target, np.ma.MaskedArray):
        raise TypeError(
            "target is a masked array, and its masked labels would count; leave them out with "
            "target.filled(ignore_index), where ignore_index is -100 unless another one is given"
        )
    return real_input(target)


def _class_axis(input: TensorLike) -> int:
    """Return the axis of the classes: the second, or the only one."""
    return min(input.ndim - 1, 1)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _labelled_rows(
    input: TensorLike, target: TensorLike, alternative: str = ""
) -> tuple[Any, Any, tuple[int, ...]]:
    """Return an input as rows (n, C), the labels (n,), and the shape of the losses.

    Raises
    ------
    ValueError
        If the target does not hold a label for each row; the ``alternative`` is what else might be given.
    """
    if not input.ndim:
        raise ValueError("input of shape () was given; expected (N, C), (N, C, d1, ...) or (C,)")
    axis = _class_axis(input)
    shape = _without(input.shape, axis)
    if target.shape != shape or not is_integer(target):
        raise ValueError(
            f"input of shape {input.shape} and target of shape {target.shape} and dtype {target.dtype} were "
            f"given; expected integer labels of shape {shape}{alternative}"
        )
    return _as_rows(input, axis), target.reshape(-1), shape


def _as_rows(values: Any, axis: int) -> Any:
    """Return values as floats in rows (n, C), where ``axis`` is that of the classes."""
    if not is_float(values):
        values = values.astype(float_dtype(values.dtype))
    last = np.moveaxis(values, axis, -1)
    return last.reshape(math.prod(last.shape[:-1]), last.shape[-1])


def _one_hot_floats(target: TensorLike, axis: int, dtype: DTypeLike) -> TensorLike:
    """Return one-hot rows of integers or booleans as floats; raise for other integers."""
    target = real_input(target)
    values = values_of(target)
    if found((values != 0) & (values != 1)) or found(np.sum(values, axis=axis) > 1):
        raise ValueError(
            f"target of shape {values.shape} and dtype {values.dtype} was given, whose rows are not one-hot; "
            "expected one-hot rows, probabilities as floats, or labels: one number instead of a row"
        )
    return target.astype(dtype)


def require_label(ignore_index: Any) -> None:
    """Raise a TypeError if the label that is ignored is no integer: no label would be equal to it."""
    if not isinstance(ignore_index, (int, np.integer)) or isinstance(ignore_index, bool):
        raise TypeError(f"ignore_index={ignore_index!r} was given; expected an integer, as labels are")


def _may_be_ignored(target: TensorLike) -> bool:
    """Return whether one of some labels may be the usual ignored one: not where their dtype has no sign."""
    return target.ndim == 1 and np.dtype(target.dtype).kind != "u"


def _kept(labels: Any, classes: int, ignore_index: int) -> Any:
    """Return which labels are not to be ignored; raise an IndexError if one of them is no class."""
    kept = labels != ignore_index
    _check_labels(np.where(kept, labels, 0), classes)
    return kept


def _class_weight(weight: TensorLike, rows: TensorLike) -> TensorLike:
    """Return the weights of the classes in the dtype of the rows; raise if there is not one for each."""
    weight = real_input(weight)
    if weight.shape != rows.shape[1:]:
        raise ValueError(
            f"weight of shape {weight.shape} was given for {rows.shape[1]} classes; expected {rows.shape[1:]}"
        )
    _check_no_nan(weight, "weight", "one number for each class")
    return weight.astype(rows.dtype)


# ---- losses of differences -------------------------------------------------------------------------------


def mse_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """Return ``(input - target)**2``, reduced over all elements.

    Parameters
    ----------
    input, target : Tensor or ndarray
        Arrays of one shape. Integers and booleans are converted to the dtype of the other, or to float64.
    reduction : str
        ``mean``, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        If the shapes differ. Broadcasting them would nearly always hide a mistake.

    Examples
    --------
    >>> import numpy as np
    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    input, target = _floats_of_one_shape(input, target)
    return _reduced(np.square(input - target), reduction, input)


def l1_loss(input: TensorLike, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """Return ``|input - target|``, with gradient 0 where they are equal, reduced over all elements.

    Parameters
    ----------
    input, target : Tensor or ndarray
        Arrays of one shape.
    reduction : str
        ``mean``, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> float(l1_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    1.0
    """
    input, target = _floats_of_one_shape(input, target)
    return _reduced(np.abs(input - target), reduction, input)


def huber_loss(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """Return half the square of ``d = input - target`` up to ``delta``, and further out a straight line.

    It is ``d**2 / 2`` where ``|d| < delta``, and ``delta * (|d| - delta / 2)`` elsewhere.

    Parameters
    ----------
    input, target : Tensor or ndarray
        Arrays of one shape.
    reduction : str
        ``mean``, ``sum`` or ``none``.
    delta : float
        The difference at which the square ends; positive.

    Raises
    ------
    ValueError
        If the shapes differ, or ``delta`` is not positive.

    References
    ----------
    Huber (1964), "Robust estimation of a location parameter", section 3.

    Examples
    --------
    >>> import numpy as np
    >>> huber_loss(np.array([0.5, 3.0]), np.array([0.0, 0.0]), reduction="none")
    array([0.125, 2.5  ])
    """
    if not delta > 0:
        raise ValueError(f"delta={delta} was given; expected a positive number")
    input, target = _floats_of_one_shape(input, target)
    difference = input - target
    near, distance = _near(difference, delta)
    losses = np.where(near, 0.5 * distance**2, delta * (np.abs(difference) - 0.5 * delta))
    return _reduced(losses, reduction, input)


def _near(difference: Any, bound: float) -> tuple[Any, Any]:
    """Return where a difference is less than the bound, and the difference there; 0 elsewhere."""
    near = np.abs(difference) < bound
    return near, np.where(near, difference, 0)  # so that no square overflows where it is not used


def smooth_l1_loss(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Return ``|d|`` of ``d = input - target``, rounded off by a parabola where it is less than ``beta``.

    It is ``d**2 / (2 * beta)`` where ``|d| < beta``, and ``|d| - beta / 2`` elsewhere: the Huber loss over
    ``beta``.

    Parameters
    ----------
    input, target : Tensor or ndarray
        Arrays of one shape.
    reduction : str
        ``mean``, ``sum`` or ``none``.
    beta : float
        The difference at which the parabola ends; 0 makes it `l1_loss`.

    Raises
    ------
    ValueError
        If the shapes differ, or ``beta`` is negative.

    References
    ----------
    Girshick (2015), "Fast R-CNN", equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> smooth_l1_loss(np.array([0.5, 3.0]), np.array([0.0, 0.0]), reduction="none")
    array([0.125, 2.5  ])
    """
    if not beta >= 0:
        raise ValueError(f"beta={beta} was given; expected 0 or a positive number")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    input, target = _floats_of_one_shape(input, target)
    difference = input - target
    near, distance = _near(difference, beta)
    square = 0.5 * distance * (distance / beta)
    return _reduced(np.where(near, square, np.abs(difference) - 0.5 * beta), reduction, input)


# ---- losses of probabilities -----------------------------------------------------------------------------


def binary_cross_entropy(
    input: TensorLike, target: TensorLike, weight: TensorLike | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Return ``-target * log(input) - (1 - target) * log(1 - input)``, weighted and reduced.

    Each logarithm is at least -100, as in PyTorch, so the loss is finite. Where it would be less, the
    gradient is 0. For logits, `binary_cross_entropy_with_logits` is exact everywhere.

    Parameters
    ----------
    input : Tensor or ndarray
        Probabilities, any shape.
    target : Tensor or ndarray
        Probabilities, of the same shape; integers and booleans are converted to floats.
    weight : array_like, optional
        The weight of each element, broadcast to the shape of the input.
    reduction : str
        ``mean`` over all elements, ``sum`` or ``none``.

    Raises
    ------
    ValueError
        If the shapes do not fit, an input is not from 0 to 1, or a target is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> binary_cross_entropy(np.array([0.5, 0.0]), np.array([1.0, 1.0]), reduction="none")
    array([  0.69314718, 100.        ])
    """
    input, target = _floats_of_one_shape(input, target)
    _check_no_nan(target)
    values = values_of(input)
    if found(~((values >= 0) & (values <= 1))):
        wrong = values[~((values >= 0) & (values <= 1))][0]
        raise ValueError(
            f"input with the element {wrong} was given; expected probabilities from 0 to 1: apply sigmoid, "
            "or pass logits to binary_cross_entropy_with_logits"
        )
    losses = -(target * _bounded_log(input) + (1 - target) * _bounded_log1p(-input))
    return _reduced(_weighted(losses, weight), reduction, input)


def _bounded_log(x: Any) -> Any:
    """Return the logarithm, or -100 where it is less."""
    small = x <= math.exp(_SMALLEST_LOG)
    return np.where(small, _SMALLEST_LOG, np.log(np.where(small, 1, x)))


def _bounded_log1p(x: Any) -> Any:
    """Return the logarithm of 1 + x, or -100 where it is less: at -1, as the float before has one of -37."""
    return np.where(x == -1, _SMALLEST_LOG, np.log1p(np.where(x == -1, 0, x)))


def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    reduction: str = "mean",
    pos_weight: TensorLike | float | None = None,
) -> Tensor:
    """Return the binary cross-entropy of ``s = sigmoid(input)``, without overflow, weighted and reduced.

    It is ``-p * target * log(s) - (1 - target) * log(1 - s)`` of each element, with ``p = pos_weight``.

    Parameters
    ----------
    input : Tensor or ndarray
        Logits, any shape.
    target : Tensor or ndarray
        Probabilities, of the same shape; integers and booleans are converted to floats.
    weight : array_like, optional
        The weight of each element, broadcast to the shape of the input.
    reduction : str
        ``mean`` over all elements, ``sum`` or ``none``.
    pos_weight : array_like, optional
        The weight ``p`` of the positive examples, broadcast to the shape of the input.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a target is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> binary_cross_entropy_with_logits(np.array([0.0, -1000.0]), np.array([1.0, 1.0]), reduction="none")
    array([6.9314...e-01, 1.0000...e+03])
    """
    input, target = _floats_of_one_shape(input, target)
    _check_no_nan(target)
    # With x = input and tail = log(1 + exp(-|x|)): -log(s) is tail for x >= 0 and tail - x for x < 0, and
    # -log(1 - s) is tail + x and tail. So each side of 0 has a formula that does not overflow and cancels
    # nothing, and is smooth there, unlike |x|: the gradient at 0 is right, too.
    positive = input >= 0
    tail = np.log1p(np.exp(np.where(positive, -input, input)))
    share = target if pos_weight is None else _broadcast_weight(pos_weight, input, "pos_weight") * target
    slope = np.where(positive, 1 - target, -share)
    losses = _times_share(input, slope) + (1 - target + share) * tail
    return _reduced(_weighted(losses, weight), reduction, input)


def kl_div(
    input: TensorLike, target: TensorLike, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """Return the Kullback-Leibler divergence ``target * (log(target) - input)``, reduced.

    Parameters
    ----------
    input : Tensor or ndarray
        Log-probabilities, any shape.
    target : Tensor or ndarray
        Probabilities of the same shape; log-probabilities with ``log_target``.
    reduction : str
        ``batchmean``, the sum divided by the length of the first axis, which is the divergence of the
        distributions; ``mean`` over all elements; ``sum`` or ``none``.
    log_target : bool
        Whether the target holds logarithms.

    Raises
    ------
    ValueError
        If the shapes differ, or a target is NaN or a negative probability.

    References
    ----------
    Kullback & Leibler (1951), "On information and sufficiency", equation 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> p, q = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    >>> float(kl_div(np.log(q), p, reduction="batchmean"))
    0.143841...
    """
    input, target = _floats_of_one_shape(input, target)
    _check_no_nan(target)
    if log_target:
        share = np.exp(target)
        used = share != 0  # elsewhere both logarithms may be -inf, and their difference NaN
        losses = share * (np.where(used, target, 0) - np.where(used, input, 0))
    else:
        if found(values_of(target) < 0):
            raise ValueError(
                "target with negative numbers was given; expected probabilities, or their logarithms with "
                "log_target=True"
            )
        # p log(p) is 0 at 0, where the logarithm is infinite
        own = target * np.log(np.where(target == 0, 1, target))
        losses = own - _times_share(input, target)
    if reduction == "batchmean":
        rows = input.shape[0] if input.ndim else 1
        return _reduced(losses, "mean", input, count=rows)
    return _reduced(losses, reduction, input)


# ---- what they share -------------------------------------------------------------------------------------


def one_hot(target: ArrayLike | Tensor, num_classes: int = -1, dtype: DTypeLike = np.int64) -> TensorLike:
    """Return a row for each label, with 1 at its class and 0 elsewhere.

    Parameters
    ----------
    target : array_like
        Integer labels, any shape.
    num_classes : int
        The length of a row; by default one more than the largest label.
    dtype : dtype
        The dtype of the result.

    Returns
    -------
    ndarray
        Shape (*target.shape, num_classes); a Tensor of labels that are in one.

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
    labels = real_input(target)
    if not is_integer(labels):
        raise TypeError(f"labels of dtype {labels.dtype} were given; expected integers")
    if num_classes < 0:
        num_classes = int(np.max(labels)) + 1 if labels.size else 0
    _check_labels(labels, num_classes)
    if isinstance(labels, Tensor):  # by operations, so that a recorder can tell where the rows come from
        return (labels[..., None] == np.arange(num_classes)).astype(dtype)
    rows = np.zeros((*labels.shape, num_classes), dtype)
    np.put_along_axis(rows, labels[..., None], 1, axis=-1)
    return rows


def _check_labels(labels: TensorLike, classes: int) -> None:
    """Raise an IndexError that names the first label that is no class."""
    labels = values_of(labels)
    if found((labels < 0) | (labels >= classes)):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise IndexError(f"label {wrong} is not one of the {classes} classes 0 to {classes - 1}")


def _check_no_nan(values: TensorLike, name: str = "target", expected: str = "probabilities") -> None:
    """Raise a ValueError for what is not a number."""
    if found(np.isnan(values_of(values))):
        raise ValueError(f"{name} with NaN was given; expected {expected}")


def _floats_of_one_shape(input: TensorLike, target: TensorLike) -> tuple[TensorLike, TensorLike]:
    """Return input and target as floats, of the dtype of the other if only one is.

    A difference of unsigned integers would wrap around, and NumPy raises for one of booleans.

    Raises
    ------
    ValueError
        If they have different shapes.
    """
    input, target = real_input(input), real_input(target)
    if input.shape != target.shape:
        raise ValueError(
            f"input of shape {input.shape} and target of shape {target.shape} were given; expected one shape"
        )
    if not is_float(input):
        input = input.astype(float_dtype(target.dtype))
    if not is_float(target):
        target = target.astype(input.dtype)
    return input, target


def _weighted(losses: Any, weight: TensorLike | None) -> Any:
    """Return the losses of single elements times their weights, if any."""
    return losses if weight is None else _times_share(losses, _broadcast_weight(weight, losses, "weight"))


def _times_share(values: Any, share: Any) -> Any:
    """Return ``values * share``, and 0 where the share is 0, whatever the value is.

    Such a value gets no gradient: it might be the logarithm of 0, whose slope is infinite. Where the share is
    differentiated, too, the value is kept, as it is the derivative by the share.
    """
    if not getattr(share, "requires_grad", False):
        values = np.where(share == 0, 0, values)
    return multiply_no_nan(values, share)


def _broadcast_weight(weight: TensorLike | float, like: TensorLike, name: str) -> TensorLike:
    """Return weights in the dtype of ``like``; raise if they do not broadcast to its shape."""
    weight = real_input(weight)
    try:
        fits = np.broadcast_shapes(weight.shape, like.shape) == like.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{name} of shape {weight.shape} was given for input of shape {like.shape}; expected a shape "
            "that broadcasts to it"
        )
    _check_no_nan(weight, name, "numbers")
    return weight.astype(like.dtype)


def _reduced(
    losses: Any,
    reduction: str,
    input: TensorLike,
    shape: tuple[int, ...] | None = None,
    count: Any = None,
) -> Tensor:
    """Return the mean, the sum or the losses themselves.

    Parameters
    ----------
    losses : Tensor or ndarray
        The losses of rows or elements.
    reduction : str
        One of ``REDUCTIONS``.
    input : Tensor or ndarray
        Of what they are the losses.
    shape : tuple of int, optional
        The shape of the result for ``none``, if it is another one.
    count : number, optional
        What the sum is divided by in a mean; by default the number of losses.
    """
    out: Tensor
    if losses.dtype == _HALF and reduction != "none":  # float16 is for storage: sums are taken in float32
        return _reduced(losses.astype(np.float32), reduction, input, shape, count).astype(_HALF)
    if reduction == "mean":
        out = _mean(losses) if count is None else losses.sum() / count
    elif reduction == "sum":
        out = _of_all_shards(losses.sum(), input)
    elif reduction == "none":
        out = losses if shape is None else losses.reshape(shape)
    else:
        raise ValueError(f"reduction={reduction!r} was given; expected 'mean', 'sum' or 'none'")
    return out


def _mean(losses: Any) -> Any:
    n = losses.size
    if losses.ndim != 1 or n == 0:
        return losses.mean()
    # Measured: forward and backward together, this product takes 12 us less than a mean.
    return losses @ np.full(n, 1 / n, losses.dtype)


def _count_by_shard(count: Any, reduction: str) -> Any:
    """Return what a shard divides the sum of its losses by, of what a whole batch would: the sum of weights.

    It is the sum of all weights, times the rows of the shard over those of the batch. All processes exchange
    it, whatever their labels are.
    """
    shard = current_shard()
    if shard is None or reduction != "mean":
        return count
    wide = count.astype(np.float64) / shard.rows  # of a row, as what is exchanged is weighted by rows
    return (shard.rows * mean_over_shards(wide, shard=shard)).astype(count.dtype)


def _of_all_shards(total: Any, input: TensorLike) -> Any:
    """Return a sum over the rows of a shard so that its mean over all shards is the sum over all rows.

    A sum over what is made of Parameters alone stays as it is: it is the same in all processes, and so is its
    mean.
    """
    shard = current_shard()
    if shard is None or rows_each(input, shard) is None:
        return total
    return total * (shard.total / shard.rows)
