"""The pickle of a state dict, as ``torch.save`` writes it: read without running anything, and written.

A pickle is a program for a small stack machine, and Python's own machine calls whatever the program names.
The machine here knows the instructions that a state dict is made of, and calls nothing: for the few names
that a state dict needs it notes what they would make. Everything else is refused by its name.

A value that is noted once may come up again by two bytes, so what is done with a value each time it is used
takes a bounded time, whatever its size: shapes, calls and texts have a largest length, and no numbers of the
file's choice are hashed, as a file can choose them so that all have the same hash.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tinygrad_mnist.exchange.weights.entries import Array
from tinygrad_mnist.numbers import quoted, short_text


class Storage(NamedTuple):
    """A piece of memory that tensors lie in: a file of its own in the archive."""

    dtype: str  # of PyTorch; "bytes" where the tensors say it
    key: str
    size: int  # in elements of the dtype


class Strided(NamedTuple):
    """A tensor: where it lies in a storage, all numbers in elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Named(NamedTuple):
    """A name that a state dict needs: a kind, and what is known of it."""

    kind: str
    value: Any


class PickleError(Exception):
    """A fault in a pickle, as the end of a sentence."""


ALONE: Final = "in PyTorch, save the state dict alone: torch.save(model.state_dict(), path)"

BYTES: Final = "bytes"
STORAGES: Final[dict[str, str]] = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}
"""PyTorch's dtypes, by the classes of their storages. Later dtypes have no class of their own."""
_LATER_DTYPES: Final = (
    *("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    *("float8_e8m0fnu", "float4_e2m1fn_x2", "complex32"),
)
_LARGEST_STACK: Final = 20_000
"""The most values that wait on the stack; ``torch.save`` lets 2,000 wait."""
_LARGEST_MEMO: Final = 200_000
"""The most values that are noted to come up again; ``torch.save`` notes 7 for each tensor."""
_MOST_STEPS: Final = 1_500_000
"""The most instructions: what as many tensors take as can be noted."""
_STEPS_BESIDE: Final = 50_000
"""The most instructions beside those of the tensors: the versions of modules, a few for each."""
_STEPS_OF_A_TENSOR: Final = 60
"""The most instructions that a tensor adds; ``torch.save`` writes 30 to 45."""
_MOST_AXES: Final = 64
"""The most axes of a tensor, in PyTorch and NumPy."""
_MOST_ARGUMENTS: Final = 8
"""The most arguments of a call that a state dict needs."""
_LONGEST_TEXT: Final = 1000
"""The most characters of a name or a key: two equal ones are compared whole each time they meet."""
_LARGEST_INDEX: Final = 1 << 20
"""The largest number that is a key, as the states of an optimiser have them."""


# ---- the names -------------------------------------------------------------------------------------------


def _tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    *more: Any,
    dtype: str | None = None,
) -> Strided:
    """Return what ``torch._utils._rebuild_tensor_v2`` would make."""
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple:
        raise PickleError("a tensor in it is not described by numbers")
    if max(len(shape), len(strides)) > _MOST_AXES:
        raise PickleError(f"a tensor in it has more than {_MOST_AXES} axes, which none can have")
    if not (_are_sizes(shape) and _are_sizes(strides) and _are_sizes((offset,))):
        raise PickleError("a tensor in it is not described by numbers")
    if len(shape) != len(strides):
        raise PickleError("a tensor in it has more axes than strides, or fewer")
    if more and more[0]:  # what PyTorch does to the numbers whenever it reads them
        marks = ", ".join(map(str, more[0])) if type(more[0]) is dict else "something"
        raise PickleError(
            f"a tensor in it is marked as {short_text(marks)}; make its values plain before it is "
            "saved, as in tensor.resolve_neg()"
        )
    return Strided(storage, dtype or storage.dtype, offset, shape, strides)


def _tensor_with_dtype(*arguments: Any) -> Strided:
    """Return what ``torch._utils._rebuild_tensor_v3`` would make: the dtype is the seventh argument."""
    *before, dtype = arguments[:7]
    if type(dtype) is not _Named or dtype.kind != "dtype":
        raise PickleError("a tensor in it has no dtype")
    return _tensor(*before, *arguments[7:], dtype=dtype.value)


def _parameter(data: Any, requires_grad: Any, hooks: Any) -> Strided:
    """Return the values of what ``torch._utils._rebuild_parameter`` would make."""
    if type(data) is not Strided:
        raise PickleError("a parameter in it is no tensor")
    return data


def _dict(*pairs: Any) -> dict[Any, Any]:
    """Return what ``collections.OrderedDict`` would make of nothing, as a pickle asks for it."""
    if pairs:
        raise PickleError("a dict in it is written in a way that PyTorch does not write")
    return {}


_NAMES: Final[dict[str, _Named]] = {
    "collections.OrderedDict": _Named("call", _dict),
    "torch._utils._rebuild_tensor_v2": _Named("call", _tensor),
    "torch._utils._rebuild_tensor_v3": _Named("call", _tensor_with_dtype),
    "torch._utils._rebuild_parameter": _Named("call", _parameter),
    "torch.storage.UntypedStorage": _Named("storage", BYTES),
    **{f"torch.{name}": _Named("storage", dtype) for name, dtype in STORAGES.items()},
    **{f"torch.{dtype}": _Named("dtype", dtype) for dtype in _LATER_DTYPES},
}


def _are_sizes(group: tuple[Any, ...]) -> bool:
    """Return whether all are whole numbers, none of them negative or beyond 63 bits."""
    return all(type(number) is int and 0 <= number < 1 << 63 for number in group)


def _is_key(key: Any) -> bool:
    """Return whether a key of a dict is short, and hashed in a way that the file cannot foresee."""
    if type(key) is str:
        return len(key) <= _LONGEST_TEXT
    return type(key) is int and 0 <= key <= _LARGEST_INDEX


# ---- the machine -----------------------------------------------------------------------------------------


class _Machine:
    """The stack machine of a pickle, for what a state dict is made of.

    Attributes
    ----------
    stack : list
        The values that wait.
    marks : list of int
        The lengths of the stack at which groups of values begin.
    memo : dict
        Values that come up again, by their number.
    storages : dict
        The storages by their keys. PyTorch writes no key with two dtypes or sizes.
    steps_left : int
        The number of instructions that may follow.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.steps_left = _STEPS_BESIDE

    def group(self) -> list[Any]:
        """Take the values since the last mark off the stack."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, kind: type) -> Any:
        """Return the value on top of the stack, which has to be of a type."""
        if type(self.stack[-1]) is not kind:
            raise PickleError(f"a {kind.__name__} in it is none")
        return self.stack[-1]

    def name(self, module: Any, name: Any) -> None:
        """Push what a name stands for; refuse a name that no state dict needs."""
        if type(module) is not str or type(name) is not str:
            raise PickleError("it asks for something that is not named by a text")
        dotted = f"{module}.{name}"
        if dotted not in _NAMES:
            raise PickleError(
                f"it asks for {short_text(dotted, 200)}, which no state dict needs, and nothing "
                f"of it was run; {ALONE}"
            )
        self.stack.append(_NAMES[dotted])

    def call(self) -> None:
        """Push what a call would make."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not _Named or function.kind != "call" or type(arguments) is not tuple:
            raise PickleError("it calls what is no function")
        if len(arguments) > _MOST_ARGUMENTS:
            raise PickleError("it calls a function with more arguments than that takes")
        self.stack.append(function.value(*arguments))
        if type(self.stack[-1]) is Strided:
            self.steps_left += _STEPS_OF_A_TENSOR

    def storage(self) -> None:
        """Push the storage that is described by ``("storage", class, key, device, size)``."""
        match self.stack.pop():
            case ("storage", _Named("storage", str(dtype)), str(key), str(), int(size)) if (
                0 <= size < 1 << 63 and len(key) <= _LONGEST_TEXT
            ):
                found = Storage(dtype, key, size)
                if self.storages.setdefault(key, found) != found:
                    raise PickleError(f"storage {quoted(key)} is described in it in two ways")
                self.stack.append(self.storages[key])
            case _:
                raise PickleError("a storage in it is described in a way that PyTorch does not write")

    def set_items(self, values: list[Any]) -> None:
        """Put keys and values into the dict on top of the stack."""
        keys = values[::2]
        if not all(map(_is_key, keys)):
            raise PickleError("a dict in it has keys that are neither texts nor numbers of usual length")
        self.top(dict).update(zip(keys, values[1::2], strict=True))

    def build(self) -> None:
        """Drop the attributes of a dict: the versions of PyTorch's modules, which ours do not have."""
        self.stack.pop()
        self.top(dict)

    def step(self, code: str, value: Any) -> None:
        """Do one instruction."""
        if (act := _INSTRUCTIONS.get(code)) is None:
            raise PickleError(f"it has the instruction {code}, which no state dict needs")
        act(self, value)
        self.steps_left -= 1
        if self.steps_left < 0:
            raise PickleError(f"it describes more than its tensors; {ALONE}")
        if len(self.stack) + len(self.marks) > _LARGEST_STACK or len(self.memo) > _LARGEST_MEMO:
            raise PickleError("it holds more values at a time than a state dict")


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, _: Any) -> None:
        values = tuple(machine.stack[-count:])
        del machine.stack[-count:]
        machine.stack.append(values)

    return act


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _remember(machine: _Machine, number: Any) -> None:
    machine.memo[len(machine.memo) if number is None else number] = machine.stack[-1]


def _recall(machine: _Machine, number: int) -> None:
    machine.stack.append(machine.memo[number])


_INSTRUCTIONS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    **dict.fromkeys(["BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"], _push),
    "BINFLOAT": _push,
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.group())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": lambda machine, _: _append(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.group()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.group()),
    **dict.fromkeys(["BINPUT", "LONG_BINPUT", "MEMOIZE"], _remember),
    **dict.fromkeys(["BINGET", "LONG_BINGET"], _recall),
    "GLOBAL": lambda machine, names: machine.name(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(machine.stack.pop(-2), machine.stack.pop()),
    "BINPERSID": lambda machine, _: machine.storage(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}
"""The instructions of a pickle that a state dict is made of, by the names of `pickletools`."""


def _append(machine: _Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def read_pickle(program: bytes) -> dict[Any, Any]:
    """Return the dict that a pickle would make, with a `Strided` for each tensor; nothing is called.

    Parameters
    ----------
    program : bytes
        The pickle.

    Returns
    -------
    dict
        With strings and tensors, if it is a state dict; but any keys and plain values.

    Raises
    ------
    PickleError
        If it is cut off or damaged, or asks for anything that a state dict does not need.
    """
    machine = _Machine()
    try:
        for count, (code, value, _) in enumerate(pickletools.genops(program)):
            if count == _MOST_STEPS:
                raise PickleError("it holds more tensors than are read")
            machine.step(code.name, value)
    except (ValueError, IndexError, KeyError, TypeError, UnicodeError, OverflowError) as error:
        raise PickleError(f"its description of the tensors is cut off or damaged ({error})") from error
    if len(machine.stack) != 1 or type(machine.stack[0]) is not dict:
        raise PickleError(f"it holds no dict; {ALONE}")
    found: dict[Any, Any] = machine.stack[0]
    return found


# ---- writing ---------------------------------------------------------------------------------------------

_CLASSES: Final = {dtype: name for name, dtype in STORAGES.items()}


def write_pickle(entries: dict[str, tuple[Array, str]]) -> bytes:
    """Return the pickle of a state dict.

    Parameters
    ----------
    entries : dict of str to (ndarray, str)
        C-contiguous arrays by name, each with the key of its storage.

    Returns
    -------
    bytes
        As ``torch.save`` writes it, but for what is noted to come up again.
    """
    parts = [b"\x80\x02", _DICT]
    for name, (array, key) in entries.items():
        dtype = array.dtype.name
        is_later = dtype not in _CLASSES
        kind = b"ctorch.storage\nUntypedStorage\n" if is_later else f"ctorch\n{_CLASSES[dtype]}\n".encode()
        size = array.nbytes if is_later else array.size
        parts += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v%d\n(" % (3 if is_later else 2),
            *(b"(", _text("storage"), kind, _text(key), _text("cpu"), _number(size), b"tQ"),
            _number(0),
            _numbers(array.shape),
            _numbers(tuple(stride // array.itemsize for stride in array.strides)),
            b"\x89",
            _DICT,
            f"ctorch\n{dtype}\n".encode() if is_later else b"",
            b"tRs",
        ]
    return b"".join([*parts, b"."])


_DICT: Final = b"ccollections\nOrderedDict\n)R"


def _text(text: str) -> bytes:
    content = text.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


def _number(number: int) -> bytes:
    return pickle.dumps(number, 2)[2:-1]  # without its beginning and its end


def _numbers(numbers: tuple[int, ...]) -> bytes:
    return b"".join([b"(", *map(_number, numbers), b"t"])
