"""Weights in NumPy's ``.npz`` files, an entry for each name. Tied arrays stand there once for each name."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from tinygrad_mnist.engine.dtypes import is_real
from tinygrad_mnist.exchange.weights.entries import Entries, unread_dtype
from tinygrad_mnist.exchange.weights.errors import WeightsError
from tinygrad_mnist.npz import Purpose, open_npz, write_npz
from tinygrad_mnist.numbers import quoted

_EMPTY: Final = b"PK\x05\x06" + bytes(18)
"""An archive without members: that of a module without parameters."""

_WEIGHTS: Final = Purpose(
    error=WeightsError,
    kind="file of weights",
    instead="name one that save_weights or numpy.savez has written",
    again="take another copy of it",
    pickled="holds objects of Python's beside arrays; write the arrays alone",
    always_unpacked=1 << 26,
    largest_ratio=25,  # weights cannot be packed much smaller than they are
    too_large="no file of weights is packed like that",
)


def write(path: Path, entries: Entries) -> None:
    """Write arrays by name."""
    with path.open("wb") as file:
        write_npz(file, entries)


def read(path: Path, names: Collection[str] | None = None) -> Entries:
    """Return the arrays of a file by name; each has its own, whatever names are wanted."""
    if path.stat().st_size == len(_EMPTY) and path.read_bytes() == _EMPTY:
        return {}
    with open_npz(path, _WEIGHTS) as reader:
        entries = {name: reader.entry(name) for name in reader.names}
        for name, entry in entries.items():
            if entry.dtype.kind == "V":  # as NumPy writes bfloat16 and other dtypes that are not its own
                raise unread_dtype(path, name, f"numbers of {8 * entry.dtype.itemsize} bits")
            if entry.dtype.kind == "U" and name in ("checkpoint", "training"):
                raise WeightsError(
                    f"{path} is a checkpoint of a training, which has more in it than weights; it is read by "
                    "training.load_checkpoint, or by load_state if save_state has written it"
                )
            if not is_real(entry.dtype):
                raise WeightsError(
                    f"{path} has {quoted(name)} of dtype {entry.dtype}; files of weights hold real numbers "
                    "and booleans"
                )
        reader.require_moderate(list(entries))
        return {
            name: reader.read(name, entry).astype(entry.dtype.newbyteorder("="), copy=False)
            for name, entry in entries.items()
        }
