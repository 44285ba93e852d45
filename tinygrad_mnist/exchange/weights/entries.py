"""The arrays of a state dict, as every format needs them, and dtypes that PyTorch has and NumPy has not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.dtypes import is_real
from tinygrad_mnist.engine.errors import weight_array
from tinygrad_mnist.engine.other_libraries import library_of
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.exchange.weights.errors import WeightsError
from tinygrad_mnist.nn import Module
from tinygrad_mnist.numbers import quoted

Array = NDArray[Any]
Entries = dict[str, Array]

_LONGEST_NAME: Final = 1000
_DTYPES: Final = frozenset("?bhilqBHILQefd")
"""The characters of the dtypes that every format has."""


def entries_of(state: Mapping[str, Any] | Module) -> Entries:
    """Return the arrays of a state dict or a module, by name, as other tools take them.

    Parameters
    ----------
    state : mapping or Module
        Arrays, Tensors, or what ``np.asarray`` takes, by name.

    Returns
    -------
    dict of str to ndarray
        C-contiguous arrays in this machine's byte order, not copied where they are so already. Entries that
        are the same memory, as tied parameters are, are one object.

    Raises
    ------
    WeightsError
        If it is no such mapping, or a name or an array cannot be given to other tools.
    """
    if isinstance(state, Module):
        state = state._state()
    if not isinstance(state, Mapping):
        raise _no_state_dict(state)
    entries: Entries = {}
    seen: dict[tuple[Any, ...], tuple[Array, Array]] = {}  # the first keeps its memory from being used again
    for name, value in state.items():
        _require_name(name)
        given = _array(name, value)
        place = (given.ctypes.data if given.size else name, given.shape, given.strides, given.dtype.str)
        if place not in seen:
            # not ascontiguousarray, which makes an array of one axis of a number
            seen[place] = given, np.asarray(given, given.dtype.name, order="C")
        entries[name] = seen[place][1]
    return entries


def _no_state_dict(given: Any) -> WeightsError:
    """Return the error for what is neither a module of ours nor a state dict."""
    name = type(given).__name__
    if library_of(given) == "PyTorch" and hasattr(given, "state_dict"):
        return WeightsError(f"a PyTorch module ({name}) was given; give its state_dict()")
    return WeightsError(f"a {name} was given; expected a module, or a state dict with arrays by name")


def twins_of(entries: Entries) -> dict[str, str]:
    """Return each name that stands for the same array as another, with the first name of it.

    Examples
    --------
    >>> tied = np.zeros(3)
    >>> twins_of({"decoder.weight": tied, "bias": np.zeros(3), "encoder.weight": tied})
    {'encoder.weight': 'decoder.weight'}
    """
    first: dict[int, str] = {}
    for name in sorted(entries):
        first.setdefault(id(entries[name]), name)
    return {name: first[id(array)] for name, array in entries.items() if first[id(array)] != name}


def _require_name(name: Any) -> None:
    """Raise if a name cannot stand in every format."""
    if isinstance(name, str) and name and "\0" not in name:
        try:
            if len(name.encode()) <= _LONGEST_NAME:
                return
        except UnicodeEncodeError:  # half a character
            pass
    raise WeightsError(
        f"{quoted(name)} cannot be the name of a weight; expected a text of 1 to {_LONGEST_NAME} bytes"
    )


def _array(name: str, value: Any) -> Array:
    """Return the values of an entry as an array; raise if it is none of numbers that every format has."""
    if isinstance(value, Mapping):
        raise WeightsError(
            f"{name!r} is a dict of its own; a state dict has arrays by name: join the names, as in "
            f'"{name}.{next(iter(value), "weight")}"'
        )
    try:
        array: Array = value.data if isinstance(value, Tensor) else weight_array(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{name}: {error}") from error
    if not is_real(array) or array.dtype.char not in _DTYPES:
        raise WeightsError(
            f"{name} has dtype {array.dtype}; expected booleans, integers, or floats of 16, 32 or 64 bits: "
            "convert it with .astype first"
        )
    return array


def from_bfloat16(raw: bytes | bytearray, order: str = "<") -> Array:
    """Return numbers of 16 bits, the upper half of a float32 each, as float32.

    Parameters
    ----------
    raw : bytes
        The numbers.
    order : str
        Their byte order, ``<`` or ``>``.

    Returns
    -------
    ndarray, shape (n,), float32

    Examples
    --------
    >>> from_bfloat16(bytes([0x80, 0x3F, 0xC0, 0x40]))
    array([1., 6.], dtype=float32)
    """
    return (np.frombuffer(raw, f"{order}u2").astype(np.uint32) << 16).view(np.float32)


def unread_dtype(path: object, name: str, dtype: str) -> WeightsError:
    """Return the error for an array of numbers that NumPy does not have."""
    if dtype.lower().startswith("c"):
        return WeightsError(
            f"{path} has {quoted(name)} in {dtype}; complex numbers are not supported: save their parts, as "
            "in torch.view_as_real(tensor)"
        )
    return WeightsError(
        f"{path} has {quoted(name)} in {dtype}, which NumPy does not have; convert it where the file was "
        "made, as in tensor.float(), and save it again"
    )
