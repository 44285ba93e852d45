"""The state of a training as plain data and arrays, exact to the bit, without pickle.

A state is a tree: dicts, lists and tuples, with numbers, texts, None and arrays at its ends. `pack` takes it
apart into what JSON holds and arrays by name, as an ``.npz`` file has them; `unpack` puts it together again.
What JSON has no word for is a dict with one key that begins with ``$``:

=============  =============================================================================
``$array``     the name of an array; with ``as``, it stands for a list or a tuple of numbers;
               with ``dtype``, for an array of a dtype that NumPy's files hold as bytes
``$scalar``    dtype and bytes of a NumPy scalar
``$tuple``     the entries of a tuple
``$dict``      pairs of key and value, where a key is no text, or begins with ``$``
``$int``       an integer of more than 64 bits, in hexadecimal digits
``$float``     the eight bytes of infinity or NaN
``$text``      the bytes, in UTF-8, of a text with halves of characters
``$bytes``     bytes
=============  =============================================================================
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.training.errors import TrainingError

Arrays: TypeAlias = dict[str, NDArray[Any]]

_MODEL: Final = "model"
"""The branch whose arrays are named as those of any checkpoint, ``model.0.weight``."""
_ROOT: Final = "training"
_DEEPEST: Final = 100
_MANY: Final = 32
"""Numbers of one kind from which a list of them is an array: to write and read a million takes no time."""
_LONGEST_NAME: Final = 4000


def pack(tree: Any) -> tuple[Any, Arrays]:
    """Take a tree apart into plain data, which JSON holds, and arrays by name.

    Parameters
    ----------
    tree : object
        Dicts with texts or integers as keys, lists, tuples, None, bool, int, float, str, bytes, and NumPy
        arrays and scalars of any dtype but objects. A class derived from one of these is another type.

    Returns
    -------
    plain : object
        What `json.dumps` writes without NaN.
    arrays : dict
        The arrays of the tree, not copied, under the names of their places: ``training.optimizer.step``, and
        ``model.0.weight`` for those under ``"model"``. A long list of floats, or of integers, is one of them.

    Raises
    ------
    TrainingError
        If something else is in the tree; the message names its place and its type.

    Examples
    --------
    >>> plain, arrays = pack({"step": 3, "betas": (0.9, 0.99), "state": {0: {"sum": np.zeros(2)}}})
    >>> plain["betas"]
    {'$tuple': [0.9, 0.99]}
    >>> list(arrays)
    ['training.state.0.sum']
    >>> unpack(plain, arrays)
    {'step': 3, 'betas': (0.9, 0.99), 'state': {0: {'sum': array([0., 0.])}}}
    """
    packer = _Packer()
    return packer.packed(tree, ()), packer.arrays


def unpack(plain: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Put a tree together again that `pack` took apart.

    Parameters
    ----------
    plain : object
        Plain data, from anybody.
    arrays : mapping
        The arrays by name; they are not copied.

    Returns
    -------
    object
        The tree: equal in values, types, dtypes, bits, and the order of keys.

    Raises
    ------
    ValueError
        If the plain data is not as `pack` writes it, or does not name each of the arrays once.
    """
    unpacker = _Unpacker(arrays)
    tree = unpacker.unpacked(plain, 0)
    if unpacker.left:
        raise ValueError(f"the array {next(iter(unpacker.left))} belongs to nothing")
    return tree


# ---- taking apart ------------------------------------------------------------------------------------------

_Path: TypeAlias = tuple[Any, ...]


class _Packer:
    """The arrays that were found so far, by name."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}

    def packed(self, value: Any, path: _Path) -> Any:
        """Return a value as plain data."""
        kind = type(value)
        if kind in (bool, type(None)):
            return value
        if kind in _WRITERS:
            if len(path) > _DEEPEST:
                raise TrainingError(
                    f"{_place(path[:3])} cannot be saved: it is nested {_DEEPEST} deep, or in itself"
                )
            return _WRITERS[kind](self, value, path)
        if isinstance(value, np.generic):
            return self.scalar(value, path)
        raise _refusal(value, path)

    def array(self, value: NDArray[Any], path: _Path, **more: Any) -> Any:
        """Return the reference to an array, which is kept under the name of its place."""
        described = _described(value.dtype)
        if described is None:
            raise _refusal(value, path)
        if value.dtype.kind in "mM" or value.dtype.names is not None:  # which are not read as they are
            more["dtype"] = described
            value = value.view(f"V{value.dtype.itemsize}")
        name = self._free_name(path)
        self.arrays[name] = value
        return {"$array": name, **more}

    def _free_name(self, path: _Path) -> str:
        """Return a name that no other array has; it is that of a file in an archive, too."""
        name = ".".join(map(str, path)) if path[:1] == (_MODEL,) else _place(path or ("tree",))
        name = "".join(sign if sign.isprintable() and sign != "\\" else "_" for sign in name[:_LONGEST_NAME])
        free, number = name, 1
        while free in self.arrays:
            number += 1
            free = f"{name}-{number}"
        return free

    def scalar(self, value: np.generic, path: _Path) -> Any:
        # texts end in no NUL as array elements, but may as scalars
        if isinstance(value, np.str_):
            return {"$scalar": ["str", self.packed("".join(value), path)]}
        if isinstance(value, np.bytes_):
            return {"$scalar": ["bytes", bytes(value).hex()]}
        described = _described(value.dtype)
        if described is None:
            raise _refusal(value, path)
        return {"$scalar": [described, value.tobytes().hex()]}

    def integer(self, value: int, path: _Path) -> Any:
        return value if -(1 << 63) <= value < 1 << 64 else {"$int": f"{value:x}"}

    def floating(self, value: float, path: _Path) -> Any:
        return value if value - value == 0 else {"$float": struct.pack(">d", value).hex()}

    def text(self, value: str, path: _Path) -> Any:
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON would join two halves of a character
            return {"$text": value.encode("utf-8", "surrogatepass").hex()}
        return value

    def some_bytes(self, value: bytes, path: _Path) -> Any:
        return {"$bytes": value.hex()}

    def sequence(self, value: Sequence[Any], path: _Path) -> Any:
        numbers = _as_array(value)
        if numbers is not None:
            return self.array(numbers, path, **{"as": type(value).__name__})
        entries = [self.packed(entry, (*path, number)) for number, entry in enumerate(value)]
        return entries if type(value) is list else {"$tuple": entries}

    def mapping(self, value: Mapping[Any, Any], path: _Path) -> Any:
        for key in value:
            if type(key) not in (str, int):
                raise TrainingError(
                    f"{_place(path)} has the key {key!r} of type {_name_of(type(key))}; a state that can be "
                    "saved has texts or integers as keys"
                )
        entries = [(key, self.packed(entry, (*path, key))) for key, entry in value.items()]
        if all(type(key) is str and key[:1] != "$" and self.text(key, path) is key for key in value):
            return dict(entries)
        return {"$dict": [[self.packed(key, path), entry] for key, entry in entries]}


_WRITERS: Final[dict[type, Callable[[_Packer, Any, _Path], Any]]] = {
    int: _Packer.integer,
    float: _Packer.floating,
    str: _Packer.text,
    bytes: _Packer.some_bytes,
    list: _Packer.sequence,
    tuple: _Packer.sequence,
    dict: _Packer.mapping,
    np.ndarray: _Packer.array,
    np.memmap: _Packer.array,
}
"""For each type, how a value of it is packed."""


def _as_array(numbers: Sequence[Any]) -> NDArray[Any] | None:
    """Return a long list of floats, or of integers of 64 bits, as an array; None for any other."""
    if len(numbers) < _MANY:
        return None
    match set(map(type, numbers)):
        case kinds if kinds == {float}:
            return np.array(numbers, np.float64)
        case kinds if kinds == {int}:
            try:
                return np.array(numbers, np.int64)
            except OverflowError:
                return None
    return None


def _described(dtype: np.dtype[Any]) -> Any:
    """Return a dtype as text, or as a list of fields; None for one that does not come back by it."""
    if dtype.hasobject or (not dtype.itemsize and dtype.kind not in "SU"):
        return None
    described = dtype.str if dtype.names is None else np.lib.format.dtype_to_descr(dtype)
    try:
        return described if _dtype(described) == dtype else None
    except (TypeError, ValueError):
        return None


def _place(path: _Path) -> str:
    return ".".join([_ROOT, *map(str, path)])


def _name_of(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _refusal(value: Any, path: _Path) -> TrainingError:
    kind = f"of type {_name_of(type(value))}"
    if type(value) is np.ndarray:
        kind = f"an array of {value.dtype}"
    return TrainingError(
        f"{_place(path)} is {kind}, which cannot be saved; a state holds dicts, lists, tuples, numbers, "
        "texts, bytes, None and NumPy arrays"
    )


# ---- putting together --------------------------------------------------------------------------------------


class _Unpacker:
    """The arrays that no place has asked for yet."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.left = dict(arrays)

    def unpacked(self, plain: Any, depth: int) -> Any:
        """Return the value that plain data stands for."""
        if depth > 2 * _DEEPEST:
            raise ValueError("it is nested too deep")
        if type(plain) is list:
            return [self.unpacked(entry, depth + 1) for entry in plain]
        if type(plain) is not dict:
            return plain
        tag = next(iter(plain), "")
        if tag[:1] != "$":
            return {key: self.unpacked(entry, depth + 1) for key, entry in plain.items()}
        if tag not in _READERS:
            raise ValueError(f"{tag[:60]!r} is unknown")
        try:
            return _READERS[tag](
                self, plain[tag], depth + 1, **{key: plain[key] for key in plain if key != tag}
            )
        except (TypeError, OverflowError, MemoryError) as error:
            raise ValueError(f"{tag} has what it cannot have") from error

    def array(self, name: Any, depth: int, **more: Any) -> Any:
        if name not in self.left:
            raise ValueError(f"an array {str(name)[:200]!r} is not there, or wanted twice")
        array = self.left.pop(name)
        match more:
            case {"as": "list" | "tuple" as kind, **others} if not others and array.ndim == 1:
                numbers = array.tolist()
                return numbers if kind == "list" else tuple(numbers)
            case {"dtype": described, **others} if not others:
                dtype = _dtype(described)
                if array.dtype.itemsize != dtype.itemsize:
                    raise ValueError(f"the array {name} has elements of another size than it says")
                return array.view(dtype)
            case _ if not more:
                return array
        raise ValueError(f"the array {name} has unknown entries")

    def scalar(self, content: Any, depth: int) -> Any:
        described, value = content
        if described == "str":
            return np.str_(self.unpacked(value, depth))
        if described == "bytes":
            return np.bytes_(bytes.fromhex(value))
        return np.frombuffer(bytes.fromhex(value), _dtype(described), 1)[0]

    def integer(self, digits: Any, depth: int) -> int:
        return int(digits, 16)

    def floating(self, digits: Any, depth: int) -> float:
        try:
            (value,) = struct.unpack(">d", bytes.fromhex(digits))
        except struct.error as error:
            raise ValueError("a float has another number of bytes") from error
        return float(value)

    def text(self, digits: Any, depth: int) -> str:
        return bytes.fromhex(digits).decode("utf-8", "surrogatepass")

    def some_bytes(self, digits: Any, depth: int) -> bytes:
        return bytes.fromhex(digits)

    def sequence(self, entries: Any, depth: int) -> tuple[Any, ...]:
        return tuple(self.unpacked(entry, depth) for entry in entries)

    def mapping(self, pairs: Any, depth: int) -> dict[Any, Any]:
        return {self.unpacked(key, depth): self.unpacked(entry, depth) for key, entry in pairs}


_READERS: Final[dict[str, Callable[..., Any]]] = {
    "$array": _Unpacker.array,
    "$scalar": _Unpacker.scalar,
    "$tuple": _Unpacker.sequence,
    "$dict": _Unpacker.mapping,
    "$int": _Unpacker.integer,
    "$float": _Unpacker.floating,
    "$text": _Unpacker.text,
    "$bytes": _Unpacker.some_bytes,
}
"""For each word that begins with ``$``, how it is unpacked."""


def _dtype(described: Any) -> np.dtype[Any]:
    """Return the dtype that `_described` described; a file may say anything."""
    dtype: np.dtype[Any]
    if isinstance(described, str):
        dtype = np.dtype(described)
    else:
        dtype = np.lib.format.descr_to_dtype([_field(field) for field in described])
    if dtype.hasobject:
        raise ValueError("objects are not read")
    return dtype


def _field(field: Any) -> tuple[Any, ...]:
    """Return the description of a field with tuples in place of lists, as NumPy has them."""
    name, described, *shape = field
    if isinstance(described, list):
        described = [_field(inner) for inner in described]
    return (tuple(name) if isinstance(name, list) else name, described, *map(tuple, shape))
