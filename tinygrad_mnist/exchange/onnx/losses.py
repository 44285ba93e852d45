"""Converter of the cross-entropy; the other losses are composed of other operations."""

from __future__ import annotations

import numpy as np

from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.expression import Expression, expressions, where
from tinygrad_mnist.exchange.onnx.reduction import log_softmax_of, reduced
from tinygrad_mnist.exchange.onnx.shape import fixed, rank, shape_of
from tinygrad_mnist.exchange.onnx.table import converts


@converts("cross_entropy")
def cross_entropy(
    build: Builder, logits: Value, targets: Value, label_smoothing: float = 0.0, reduction: str = "none"
) -> Value:
    """Return the cross-entropy of each row, or their mean or sum, for labels or probabilities.

    A class of probability 0 adds nothing, even if its logit is -inf.
    """
    (scores,) = expressions(build, logits)
    losses = -log_softmax_of(scores, (1,))
    (classes,) = fixed(build, shape_of(logits)[1:])
    if rank(targets) == 1:
        labels = build.node("Unsqueeze", build.cast(targets, np.int64), build.indices(1))
        chosen = Expression(build, labels).equals(np.arange(classes)).cast(losses.dtype)
    else:
        (chosen,) = expressions(build, targets)
    if label_smoothing:
        chosen = chosen * (1 - label_smoothing) + label_smoothing / classes
    rows = reduced("ReduceSum", where(chosen.equals(0), 0, losses) * chosen, (1,), False)
    return (
        rows.value if reduction == "none" else reduced(f"Reduce{reduction.title()}", rows, (0,), False).value
    )
