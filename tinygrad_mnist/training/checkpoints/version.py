"""The version of a model: a short text that equal models have in common, and others do not."""

from __future__ import annotations

import hashlib

import numpy as np

from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, require_checkpoint


def model_version(checkpoint: Checkpoint) -> str:
    """Return the first 12 hex digits of a SHA-256 over the weights and the standardisation of a model.

    Equal weights under equal names have equal versions, wherever they are stored.
    """
    require_checkpoint(checkpoint)
    digest = hashlib.sha256()
    for name, values in sorted(checkpoint.model.state_dict().items()):
        array = np.asarray(values)
        array = array.astype(array.dtype.newbyteorder("<"), order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    standardizer = checkpoint.standardizer
    digest.update(f"mean {standardizer.mean!r} std {standardizer.std!r} crop {standardizer.crop}".encode())
    return digest.hexdigest()[:12]
