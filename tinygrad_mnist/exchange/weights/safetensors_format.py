"""Weights as safetensors, by the library of that name, as `safetensors.torch.save_model` writes a model.

Tied arrays stand in the file once, and its metadata has the other names, each with the one that is there.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import numpy as np

from tinygrad_mnist.exchange.weights.entries import Entries, from_bfloat16, twins_of, unread_dtype
from tinygrad_mnist.exchange.weights.errors import WeightsError
from tinygrad_mnist.extras import missing_package
from tinygrad_mnist.numbers import quoted

_FORMAT: Final = "format"
_RESERVED: Final = "__metadata__"
_BFLOAT16: Final = "BF16"
_READ: Final = frozenset(
    ["BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64", _BFLOAT16]
)
"""The dtypes that are read, by the format's names."""
_MOST_ELEMENTS: Final = np.iinfo(np.intp).max // 8


def write(path: Path, entries: Entries) -> None:
    """Write arrays by name: C-contiguous ones, as the library takes the bytes behind each as they lie."""
    save = _library(path).numpy.save
    if _RESERVED in entries:
        raise WeightsError(f"{_RESERVED!r} cannot be the name of a weight in safetensors; choose another")
    twins = {name: first for name, first in twins_of(entries).items() if name != _FORMAT}
    # `format: pt` is what other tools look for: the names and layouts are PyTorch's
    held = {name: array for name, array in entries.items() if name not in twins}
    # not its save_file, which makes a file that other users cannot read
    path.write_bytes(save(held, {**twins, _FORMAT: "pt"}))


def read(path: Path, names: Collection[str] | None = None) -> Entries:
    """Return the arrays of a file by name; a tied one under each of its names.

    Parameters
    ----------
    path : Path
        The file.
    names : collection of str, optional
        The names of tied arrays that are wanted; by default those that look like names of arrays.
    """
    library = _library(path)
    try:
        with library.safe_open(path, framework="numpy") as file:  # checks the header against the length
            outlines = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            dtypes = {name: outline.get_dtype() for name, outline in outlines.items()}
            for name, outline in outlines.items():
                _require_readable(path, name, dtypes[name], outline.get_shape())
            # NumPy has no bfloat16, so that the library gives it as bytes alone, and only with all the rest
            raw = dict(library.deserialize(path.read_bytes())) if _BFLOAT16 in dtypes.values() else {}
            entries: Entries = {
                name: from_bfloat16(raw[name]["data"]).reshape(raw[name]["shape"])
                if dtype == _BFLOAT16
                else file.get_tensor(name)
                for name, dtype in dtypes.items()
            }
            metadata: dict[str, str] = file.metadata() or {}
    except library.SafetensorError as error:
        raise WeightsError(
            f"{path} is no safetensors file, or is cut off or damaged; take another copy of it ({error})"
        ) from error
    metadata.pop(_FORMAT, None)
    twins = {name: first for name, first in metadata.items() if name not in entries and first in entries}
    wanted = _likely(twins, is_all=len(twins) == len(metadata)) if names is None else {*names}
    return entries | {name: entries[first] for name, first in twins.items() if name in wanted}


def _likely(twins: dict[str, str], *, is_all: bool) -> set[str]:
    """Return which entries of the metadata are names of tied arrays, and not words about the file.

    A person may have written ``author: b`` there, and an array is called ``b``. Of tied arrays the writers
    keep the first name of all, in the order of texts. A layer's array has a dot in its name; names without
    one are taken where nothing else stands in the metadata.
    """
    ordered = {name for name, first in twins.items() if first < name}
    return {name for name in ordered if "." in name or (is_all and len(ordered) == len(twins))}


def _require_readable(path: Path, name: str, dtype: str, shape: list[int]) -> None:
    """Raise if NumPy has no such dtype or, of an empty array, no such shape: headers may have both."""
    if dtype not in _READ:
        raise unread_dtype(path, name, dtype)
    if len(shape) > 64 or math.prod(max(side, 1) for side in shape) > _MOST_ELEMENTS:
        raise WeightsError(f"{path} has {quoted(name)} of a shape that no array can have")


def _library(path: Path) -> Any:
    """Return the library; raise an error that says how it is installed."""
    try:
        import safetensors.numpy
    except ImportError as error:
        instead = "or write .npz or .pt files, which need nothing"
        raise missing_package(f"for {path}", "safetensors", "safetensors", instead=instead) from error
    return safetensors
