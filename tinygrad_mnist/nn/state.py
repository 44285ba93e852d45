"""Loading a state dict: everything that does not fit is listed in one error, and then nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.tensor import Tensor

Array = NDArray[Any]


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(..., strict=False)`` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(
    owner: str, entries: Mapping[str, Tensor | Array], state: Mapping[str, Any], strict: bool
) -> IncompatibleKeys:
    """Write the values of a state dict into parameters and buffers, in their dtype and memory order.

    Parameters
    ----------
    owner : str
        Whose state it is; for the error.
    entries : mapping
        Parameters (Tensors) and buffers (arrays) by name.
    state : mapping
        Arrays, Tensors or whatever ``np.asarray`` takes, by name.
    strict : bool
        Whether missing and unexpected entries are errors.

    Returns
    -------
    IncompatibleKeys
        The names that one side lacks.

    Raises
    ------
    ValueError
        If something does not fit; the message lists all of it.
    """
    missing = [name for name in entries if name not in state]
    unexpected = [name for name in state if name not in entries]
    values: dict[str, Array] = {}
    problems = []
    if strict:
        problems += [f"missing: {name} of shape {entries[name].shape}" for name in missing]
        problems += [f"unexpected: {name}" for name in unexpected]
    for name, entry in entries.items():
        if name not in state:
            continue
        try:
            values[name] = _fitting(state[name], entry)
        except (TypeError, ValueError, RuntimeError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("\n  - ".join([f"the state dict does not fit this {owner}:", *problems]))
    for name, value in values.items():
        write(entries[name], value)
    return IncompatibleKeys(missing, unexpected)


def _fitting(value: Any, entry: Tensor | Array) -> Array:
    """The value in an array of its own, once it is sure that it can be written into the entry.

    Of its own, for it may be part of what is written to: of the same model's arrays, exchanged.
    """
    array = value.data if isinstance(value, Tensor) else np.asarray(value)
    if array.shape != entry.shape:
        raise ValueError(f"shape {array.shape} was given; expected {entry.shape}")
    if not np.can_cast(array.dtype, entry.dtype, "same_kind"):
        raise ValueError(f"dtype {array.dtype} was given; expected {entry.dtype}")
    if not isinstance(entry, Tensor) and not entry.flags.writeable:
        raise ValueError("the buffer is a read-only array; register one that can be written to")
    return array.astype(entry.dtype)


def write(target: Tensor | Array, values: Any) -> None:
    """Write values into a parameter or buffer: the array, its dtype and its memory order stay."""
    if not isinstance(target, Tensor):
        target[...] = values
    elif target.data.flags.writeable:
        target.data[...] = values
        target.mark_written()
    else:  # wrapped around an array that is not ours to change
        fresh = np.empty_like(target.data)
        fresh[...] = values
        target.data = fresh
