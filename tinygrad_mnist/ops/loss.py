"""Operations of losses: softmax cross-entropy, fused, with its plain formula; the product with a weight.

All other losses are composed, in `nn`.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.dtypes import is_float, is_integer
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.op import Domain, Sample, elementwise, fused
from tinygrad_mnist.ops.elementwise import floating
from tinygrad_mnist.ops.normalization import filled
from tinygrad_mnist.ops.values import arrays_of

multiply_no_nan = elementwise(
    lambda x, y: np.where(y == 0, 0, x) * y,
    lambda g, out, x, y: g * y,
    lambda g, out, x, y: g * x,
    name="multiply_no_nan",
    formula=lambda x, y: x * y,
    label="×",
)
"""``x * y``, and 0 where y is 0, even if x is infinite or NaN; the name is TensorFlow's.

What has the weight or the probability 0 contributes nothing to a loss: a class that is masked away by a logit
of -inf, say.
"""

IGNORED: Final = -100
"""The label of a row that losses leave out where nothing else is said, as in PyTorch.

The operation here refuses it, and `nn.functional.cross_entropy` then takes another path. A compiled program
has one path alone, so the formula knows the label while it is traced.
"""

# ---- softmax cross-entropy -------------------------------------------------------------------------------


@cache
def _unsigned(dtype: Any) -> Any:
    """Return the unsigned dtype of the same size and byte order."""
    return np.dtype(dtype.str.replace("i", "u"))


def _forward(
    logits: Any, targets: Any, label_smoothing: float = 0.0, reduction: str = "none"
) -> tuple[Any, Any]:
    """Return the cross-entropy of each row, ``-sum(targets * log_softmax(logits))``, or their mean or sum.

    ``logits`` have shape (n, c); ``targets`` are integer labels (n,), or probabilities (n, c).
    ``label_smoothing`` mixes the targets with the uniform distribution (Szegedy et al. 2016, section 7).
    """
    n, classes = _checked(logits, targets, label_smoothing)
    logits = floating(logits)
    # Few classes make short rows, which NumPy reduces slowly: the maximum is taken over the first axis of a
    # transposed copy, and the sum is a matrix product with ones.
    shifted = logits - np.maximum.reduce(logits.T.copy())[:, None]
    softmax = np.exp(shifted)
    total = softmax.dot(filled(classes, 1.0, softmax.dtype))
    log_total = np.log(total)
    softmax *= (1 / total)[:, None]
    labelled = None
    if targets.ndim == 1:
        # where the labels' entries are in the flat array; take is faster than an index of two axes
        labelled = _row_starts(n, classes) + targets.astype(np.intp, copy=False)
        out = log_total - shifted.ravel().take(labelled)
        if label_smoothing:
            uniform = log_total - shifted.dot(filled(classes, 1 / classes, shifted.dtype))
            out = (1 - label_smoothing) * out + label_smoothing * uniform
    else:
        smoothed, losses = _smoothed(targets, label_smoothing), log_total[:, None] - shifted
        out = np.einsum("ij,ij->i", smoothed, losses)
        if np.isnan(out).any():  # rare, so that the usual case pays for one look only
            out = _without_masked(smoothed, losses)
    weight = _weight(n, reduction)
    return out if weight is None else filled(n, weight, out.dtype).dot(out), (softmax, labelled)


def _without_masked(targets: Any, losses: Any) -> Any:
    """Return the loss of each row, in which a class of probability 0 is 0, even if its logit is -inf."""
    if np.isnan(targets).any():
        raise ValueError("targets with NaN were given; expected probabilities")
    return np.einsum("ij,ij->i", targets, np.where(targets == 0, 0, losses))


@lru_cache(maxsize=32)
def _row_starts(n: int, classes: int) -> Any:
    """Return the position in a flat array (n * classes,) at which each row begins."""
    starts = np.arange(0, n * classes, classes)
    starts.flags.writeable = False
    return starts


def _weight(n: int, reduction: str) -> float | None:
    """Return the factor of each row in a mean or a sum; None if the rows stay apart."""
    return {"none": None, "mean": 1 / max(n, 1), "sum": 1.0}[reduction]


def _checked(logits: Any, targets: Any, label_smoothing: float) -> tuple[int, int]:
    if logits.ndim != 2:
        raise ValueError(f"logits of shape {logits.shape} were given; expected (n, classes)")
    n, classes = logits.shape
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} was given; expected a number from 0 to 1")
    if np.ndim(targets) == 2 and targets.shape == logits.shape and is_float(targets):
        return n, classes
    if np.shape(targets) != (n,) or not is_integer(targets):
        raise ValueError(
            f"targets of shape {np.shape(targets)} and dtype {targets.dtype} were given for logits of shape "
            f"{logits.shape}; expected integer labels of shape {(n,)}, or probabilities as floats of shape "
            f"{logits.shape}"
        )
    # read as unsigned, a negative label is a large one: one pass over the labels finds both faults
    unsigned = targets.view(_unsigned(targets.dtype))
    if n and np.maximum.reduce(unsigned) >= classes:
        wrong = targets[(targets < 0) | (targets >= classes)][0]
        raise IndexError(f"label {wrong} is not one of the {classes} classes 0 to {classes - 1}")
    return n, classes


def _smoothed(targets: Any, label_smoothing: float) -> Any:
    if not label_smoothing:
        return targets
    return (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]


def _joint(
    g: Any,
    needed: Any,
    out: Any,
    saved: Any,
    logits: Any,
    targets: Any,
    label_smoothing: float = 0.0,
    reduction: str = "none",
) -> tuple[Any, Any]:
    softmax, labelled = saved
    n, classes = softmax.shape
    weight = _weight(n, reduction)
    scale = g[:, None] if weight is None else g * g.dtype.type(weight)
    targets_part = None
    # the gradient by the logits is softmax - targets, in each row
    if labelled is not None:
        part = np.multiply(softmax, scale, order="C")  # so that ravel gives a view of it
        if label_smoothing:
            part -= scale * (label_smoothing / classes)
        part.ravel()[labelled] -= (scale if weight is not None else g) * (1 - label_smoothing)
    else:
        smoothed = _smoothed(targets, label_smoothing)
        part = softmax * np.sum(smoothed, axis=1, keepdims=True)  # they need not sum to 1
        part -= smoothed
        if needed[1]:
            logits = floating(logits)
            shifted = logits - np.max(logits, axis=1, keepdims=True)
            log_softmax = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
            targets_part = (label_smoothing - 1) * log_softmax * scale
        part *= scale
    return part, targets_part


def _formula(logits: Any, targets: Any, label_smoothing: float = 0.0, reduction: str = "none") -> Any:
    # The result is the same for any number that is subtracted from a row, so nothing is to be differentiated
    # by the largest.
    shifted = logits - np.max(arrays_of(logits), axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    kept = None
    if targets.ndim == 1:
        if (tracing := tracer()) is not None:  # the operation itself raises, which a traced one cannot
            are_classes = (targets >= 0) & (targets < logits.shape[1])
            if targets.dtype.kind == "i":
                kept = targets != IGNORED
                are_classes = are_classes | ~kept
            tracing.require(np.all(are_classes))
        targets = (targets[:, None] == np.arange(logits.shape[1])).astype(logits.dtype)
    targets = _smoothed(targets, label_smoothing)
    if kept is not None and label_smoothing:  # without smoothing, an ignored row has zeros already
        targets = targets * kept[:, None].astype(targets.dtype)
    rows = -np.sum(multiply_no_nan(log_softmax, targets), axis=1)
    if reduction == "mean" and kept is not None:
        return np.sum(rows) / np.sum(kept.astype(rows.dtype))
    return np.mean(rows) if reduction == "mean" else np.sum(rows) if reduction == "sum" else rows


cross_entropy = fused(
    _forward,
    _joint,
    _formula,
    name="cross_entropy",
    domain=(Domain(), Domain(0.1, 0.9)),
    samples=tuple(
        Sample(((3, 4), (3, 4)), {"label_smoothing": smoothing, "reduction": reduction}, constants)
        for smoothing, reduction in ((0.0, "none"), (0.2, "none"), (0.0, "mean"), (0.2, "mean"), (0.2, "sum"))
        for constants in ({1: np.array([3, 0, 3])}, {})
    ),
)
