"""The loss that needs its own operation: softmax cross-entropy, fused, its plain formula beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.op import Domain, Sample, fused
from tinygrad_mnist.ops.special import floating


def _forward(logits: Any, targets: Any, label_smoothing: float = 0.0) -> tuple[Any, Any]:
    """The cross-entropy of each row: ``-sum(targets * log_softmax(logits))``.

    ``logits`` (n, c); ``targets`` integer labels (n,), or probabilities (n, c). ``label_smoothing`` mixes the
    targets with the uniform distribution (Szegedy et al. 2016, section 7).
    """
    n, classes = _checked(logits, targets, label_smoothing)
    logits = floating(logits)
    shifted = logits - logits.T.copy().max(axis=0)[:, None]  # the copy makes the maximum run along memory
    softmax = np.exp(shifted)
    total = softmax.dot(np.ones(classes, softmax.dtype))
    log_total = np.log(total)
    softmax *= (1 / total)[:, None]
    if targets.ndim == 1:
        out = log_total - shifted.ravel().take(np.arange(n) * classes + targets)
        if label_smoothing:
            uniform = log_total - shifted.dot(np.full(classes, 1 / classes, shifted.dtype))
            out = (1 - label_smoothing) * out + label_smoothing * uniform
    else:
        out = np.einsum("ij,ij->i", _smoothed(targets, label_smoothing), log_total[:, None] - shifted)
    return out, softmax


def _checked(logits: Any, targets: Any, label_smoothing: float) -> tuple[int, int]:
    if logits.ndim != 2:
        raise ValueError(f"logits of shape {logits.shape} were given; expected (n, classes)")
    n, classes = logits.shape
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing={label_smoothing} was given; expected a number from 0 to 1")
    if np.ndim(targets) == 2 and targets.shape == logits.shape and targets.dtype.kind == "f":
        return n, classes
    if np.shape(targets) != (n,) or targets.dtype.kind not in "iu":
        raise ValueError(
            f"targets of shape {np.shape(targets)} and dtype {targets.dtype} were given for logits of shape "
            f"{logits.shape}; expected integer labels of shape {(n,)}, or probabilities as floats of shape "
            f"{logits.shape}"
        )
    if n and (targets.min() < 0 or targets.max() >= classes):
        wrong = targets[(targets < 0) | (targets >= classes)][0]
        raise IndexError(f"label {wrong} is not one of the {classes} classes 0 to {classes - 1}")
    return n, classes


def _smoothed(targets: Any, label_smoothing: float) -> Any:
    if not label_smoothing:
        return targets
    return (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]


def _joint(
    g: Any, needed: Any, out: Any, softmax: Any, logits: Any, targets: Any, label_smoothing: float = 0.0
) -> tuple[Any, Any]:
    n, classes = softmax.shape
    targets_part = None
    if targets.ndim == 1:
        part = softmax.copy()  # in C order, so that ravel gives a view of it
        if label_smoothing:
            part -= label_smoothing / classes
        part.ravel()[np.arange(n) * classes + targets] -= 1 - label_smoothing
    else:
        smoothed = _smoothed(targets, label_smoothing)
        part = softmax * np.sum(smoothed, axis=1, keepdims=True)
        part -= smoothed
        if needed[1]:
            logits = floating(logits)
            shifted = logits - np.max(logits, axis=1, keepdims=True)
            log_softmax = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
            targets_part = (label_smoothing - 1) * log_softmax * g[:, None]
    part *= g[:, None]
    return part, targets_part


def _formula(logits: Any, targets: Any, label_smoothing: float = 0.0) -> Any:
    shifted = logits - np.max(logits, axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    if targets.ndim == 1:
        targets = np.eye(logits.shape[1], dtype=logits.dtype)[targets]
    return -np.sum(_smoothed(targets, label_smoothing) * log_softmax, axis=1)


cross_entropy = fused(
    _forward,
    _joint,
    _formula,
    name="cross_entropy",
    domain=(Domain(), Domain(0.1, 0.9)),
    samples=tuple(
        Sample(((3, 4), (3, 4)), {"label_smoothing": smoothing}, constants)
        for smoothing in (0.0, 0.2)
        for constants in ({1: np.array([3, 0, 3])}, {})
    ),
)
