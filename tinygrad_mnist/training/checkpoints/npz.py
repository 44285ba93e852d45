"""Reading of checkpoints, ``.npz`` files that anybody may have written, by `tinygrad_mnist.npz`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tinygrad_mnist import npz
from tinygrad_mnist.npz import Entry, NpzReader
from tinygrad_mnist.training.errors import CheckpointError

__all__ = ["Entry", "NpzReader", "open_npz"]

_CHECKPOINT: Final = npz.Purpose(
    error=CheckpointError,
    kind="checkpoint",
    instead="name a directory that 'tinygrad-mnist train' has written",
    again="take another copy of it, or train again",
    pickled="is cut off or damaged; take another copy of it, or train again",
    always_unpacked=1 << 26,
    largest_ratio=25,  # weights in float32 cannot be packed much smaller than they are
    too_large="no training writes such a file",
)


def open_npz(path: Path) -> AbstractContextManager[NpzReader]:
    """Open a checkpoint for reading; raise a `CheckpointError` if it is none, or damaged."""
    return npz.open_npz(path, _CHECKPOINT)
