"""A recorder of the tape that notes each operation of a forward pass, with its arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from itertools import count
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.observe import Recorder, is_own, users_line
from tinygrad_mnist.engine.op import Op
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.refused import CHOOSING
from tinygrad_mnist.nn import Module

__all__ = ["Call", "Recording", "Ref", "place_in_memory"]

Array = NDArray[Any]
Key = tuple[Any, ...]

WITHOUT_VALUES: Final = frozenset((
    np.shape, np.ndim, np.size, np.result_type, np.common_type, np.can_cast, np.min_scalar_type,
    np.shares_memory, np.may_share_memory, np.einsum_path, np.isrealobj, np.iscomplexobj,
    np.zeros_like, np.ones_like, np.empty_like, np.array_repr, np.array_str, np.array2string,
    np.diag_indices_from, np.tril_indices_from, np.triu_indices_from,
))  # fmt: skip
"""NumPy functions without a gradient whose results are constants in a file: they follow from shapes alone, or
are for people to read."""


@dataclass(frozen=True)
class Ref:
    """The result of a call by its number, or an input of the model (``call`` is -1)."""

    call: int
    index: int = 0


@dataclass
class Call:
    """An operation, or a module that is converted as a whole, as it ran.

    Parameters
    ----------
    name : str
        The name of the operation in the registry, or of the class of the module.
    arguments : tuple
        For each argument a `Ref`, or the array or number that it is.
    static : object
        The keyword arguments; with a `Ref` where an array is that an earlier call computed.
    results : tuple of ndarray
        What it returned.
    several : bool
        Whether it returned a tuple.
    path : str
        The path of the module in which it ran, with dots.
    doc : str
        That module and its options, as ``repr`` shows them.
    line : str
        The user's line that asked for it.
    module : Module, optional
        The module that is converted as a whole.
    """

    name: str
    arguments: tuple[Any, ...]
    static: Any
    results: tuple[Array, ...]
    several: bool
    path: str
    doc: str
    line: str
    module: Module | None = None

    def __str__(self) -> str:
        inside = f" in module '{self.path}'" if self.path else ""
        return f"'{self.name}'{inside} ({self.line})"


@dataclass
class _Whole:
    """A module that is converted as a whole, while it runs; ``out`` is the last result in it."""

    module: Module
    arguments: tuple[Any, ...]
    line: str
    out: Array | None = None


class Recording(Recorder):
    """The calls of one forward pass that depend on its inputs, in the order in which they ran.

    An array is known by its place in memory, as a view of a whole array has its values. All are kept until
    the end, so that no place is taken twice.

    Parameters
    ----------
    inputs : sequence of ndarray
        The arrays of the model's inputs.
    operations : mapping
        The operations that have a converter, by name. Of another the formula is recorded, where it has one.
    modules : mapping
        For each class of modules that is converted as a whole whether one can be:
        ``can(module, *arguments)``.
    """

    for_other_values = True

    def __init__(
        self,
        inputs: list[Array],
        operations: Mapping[str, Any],
        modules: Mapping[type, Callable[..., bool]],
    ) -> None:
        self.calls: list[Call] = []
        self.refused: ExportError | None = None  # why this cannot be exported, whoever has caught the error
        self.models: dict[Module, str] = {}  # the outermost modules in their order, each with its path
        self._operations = operations
        self._wholes = modules
        self._known: dict[Key, Ref] = {}
        self._kept: list[Any] = list(inputs)
        self._paths: dict[int, str] = {}  # of the modules, by id
        self._inside: list[Module] = []  # the modules that run, the innermost last
        self._expanding: list[str] = []  # the operations whose formula is recorded
        self._whole: _Whole | None = None  # the module that is converted as a whole, while it runs
        for index, array in enumerate(inputs):
            self._known[place_in_memory(array)] = Ref(-1, index)

    def source(self, value: Any) -> Any:
        """Return the `Ref` of an array that was computed from the inputs; anything else as it is."""
        if isinstance(value, Tensor):
            value = value._array
        if isinstance(value, np.ndarray):
            return self._known.get(place_in_memory(value), value)
        if type(value) is slice:
            return slice(self.source(value.start), self.source(value.stop), self.source(value.step))
        if type(value) in (list, tuple):
            return type(value)(map(self.source, value))
        if isinstance(value, dict):
            return {key: self.source(each) for key, each in value.items()}
        return value

    # ---- what the tape tells ---------------------------------------------------------------------------

    def entered(self, module: Any, given: Any = ()) -> None:
        """Note the path of a module that begins to run."""
        if id(module) not in self._paths:
            self._name(module)
        self._inside.append(module)
        can = self._wholes.get(type(module))
        if self._whole is None and can is not None and "forward" not in vars(module):
            inputs, options = given
            arguments = tuple(self.source(each) for each in inputs)
            if not options and _depends(arguments) and can(module, *inputs):
                self._whole = _Whole(module, arguments, users_line())

    def _name(self, module: Any) -> None:
        """Give a module and those in it their paths; one in no other has its class in front."""
        if not self._inside:
            self.models[module] = self._free_name(type(module).__name__) if self.models else ""
            around = self.models[module]
        else:
            around = ".".join(filter(None, (self._paths[id(self._inside[-1])], type(module).__name__)))
        for path, each in module.named_modules():
            self._paths.setdefault(id(each), ".".join(filter(None, (around, path))))

    def _free_name(self, stem: str) -> str:
        taken = set(self.models.values())
        return next(name for n in count() if (name := f"{stem}_{n}" if n else stem) not in taken)

    def left(self, module: Any) -> None:
        """Note that a module has run."""
        whole = self._whole
        if whole is not None and whole.module is module:
            self._whole = None
            if whole.out is not None:
                name = type(module).__name__
                self._add(name, whole.arguments, {}, (whole.out,), False, whole.line, module)
        self._inside.pop()

    def called(self, function: Any, args: Any, kwargs: Any) -> None:
        """Refuse a NumPy function that chooses by values which depend on the inputs."""
        choosing = CHOOSING.get(function.__name__)
        if choosing is None:
            return
        for position, name in choosing.arguments.items():
            given = kwargs.get(name, args[position] if position < len(args) else None)
            if _depends(self.source(given)):
                self.refused = ExportError(
                    f"np.{function.__name__} at {users_line()} looks at the values of {name!r}, which depend "
                    "on the inputs, to choose what it gives; a file of ONNX would choose the same for all "
                    f"inputs: {choosing.advice}"
                )
                raise self.refused

    def evaluated(self, function: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Note a NumPy function without a gradient, such as ``np.argmax``, unless it computes a constant."""
        if self._whole is not None or function in WITHOUT_VALUES:
            return
        bound = signature(function).bind(*args, **kwargs).arguments
        options = {name: self.source(value) for name, value in bound.items() if name != "out"}
        if not _depends(options):
            return
        outs = result if isinstance(result, tuple) else (result,)
        if not all(isinstance(out, Tensor) for out in outs):
            raise self._is_read(f"by np.{function.__name__}")
        first = next(iter(options))
        arrays = tuple(out._array for out in outs)
        self._kept.append(arrays)
        several = isinstance(result, tuple)
        self._add(function.__name__, (options.pop(first),), options, arrays, several, users_line())

    def read(self, tensor: Any) -> None:
        """Refuse that a value which depends on the inputs is read: it would be a constant in the file."""
        if isinstance(self.source(tensor), Ref):
            raise self._is_read(f"out of a Tensor of shape {tensor.shape}")

    def _is_read(self, how: str) -> ExportError:
        self.refused = ExportError(
            f"a value that depends on the inputs is read {how} at "
            f"{users_line()}; what is computed of it or decided by it would be a constant in the file: "
            "use operations on Tensors (np.where in the place of if), and leave out what prints"
        )
        return self.refused

    def applied(self, op: Any, arrays: tuple[Any, ...], out: Any, node: Any, static: Any) -> None:
        """Note an operation, unless it computes a constant."""
        outs = out if type(out) is tuple else (out,)
        self._kept.append(outs)
        if self._whole is not None:
            self._whole.out = outs[0]
            return
        arguments, options = tuple(map(self.source, arrays)), self.source(dict(static))
        if not (_depends(arguments) or _depends(options)):
            return
        if (
            op.name == "where"
            and type(arguments[1]) is type(arguments[2]) is Ref
            and arguments[1] == arguments[2]
        ):
            # `nn.functional.embedding` chooses between rows with and without a gradient, which are equal.
            self._known[place_in_memory(out)] = arguments[1]
        elif op.name in self._operations:
            self._add(op.name, arguments, options, outs, type(out) is tuple, users_line())
        elif (plain := _plain_way(op)) is not None and op.name not in self._expanding:
            self._expanding.append(op.name)
            self._expand(plain, arrays, outs, static)
            self._expanding.pop()
        elif not all(place_in_memory(one) in self._known for one in outs):  # else what runs inside was told
            self._add(op.name, arguments, options, outs, type(out) is tuple, users_line())

    def _expand(self, plain: Any, arrays: tuple[Any, ...], outs: tuple[Array, ...], static: Any) -> None:
        """Record what an operation is composed of, in its place."""
        lifted = [Tensor(each) if isinstance(each, np.ndarray) else each for each in arrays]
        found = plain(*lifted, **static)
        for made, out in zip(found if type(found) is tuple else (found,), outs, strict=True):
            source = self.source(made)
            if isinstance(source, Ref):
                self._known[place_in_memory(out)] = source

    def _add(
        self,
        name: str,
        arguments: tuple[Any, ...],
        static: Any,
        outs: tuple[Array, ...],
        several: bool,
        line: str,
        module: Module | None = None,
    ) -> None:
        inside = self._inside[-1] if self._inside else None
        path = "" if inside is None else self._paths[id(inside)]
        doc = "" if inside is None else f"{type(inside).__name__}({inside.extra_repr()})"
        for index, out in enumerate(outs):
            self._known[place_in_memory(out)] = Ref(len(self.calls), index)
        self.calls.append(Call(name, arguments, static, outs, several, path, doc, line, module))


def _plain_way(op: Op) -> Callable[..., Any] | None:
    """Return what an operation without a converter is composed of: its formula, or a user's own function."""
    if op.formula is not None and not op.exchanges:
        return op.formula
    return None if isinstance(op.forward, np.ufunc) or is_own(op.forward) else op.forward


def _depends(value: Any) -> bool:
    """Return whether there is a `Ref` in a tree."""
    if isinstance(value, (list, tuple)):
        return any(map(_depends, value))
    if isinstance(value, dict):
        return any(map(_depends, value.values()))
    if type(value) is slice:
        return _depends((value.start, value.stop, value.step))
    return isinstance(value, Ref)


def place_in_memory(array: Array) -> Key:
    """Return what tells an array from others: its place in memory, and how it lies there."""
    if not array.size:
        return (id(array),)
    return array.ctypes.data, array.shape, array.strides, array.dtype.str
