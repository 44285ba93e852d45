"""The builder: what converters write nodes, constants and shapes with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from inspect import signature
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.program import Counted, Expanded, Step
from tinygrad_mnist.exchange.onnx.recording import Ref, place_in_memory
from tinygrad_mnist.exchange.onnx.sizes import BATCH, Length, Shape, Size, is_fixed

__all__ = ["Builder", "Node", "Result", "Value"]

Array = NDArray[Any]
INDEX = np.dtype(np.int64)


@dataclass(eq=False)
class Value:
    """A value that nodes take and give: a result, an input of the model, or a constant.

    Parameters
    ----------
    dtype : dtype
        NumPy's dtype of the elements.
    shape : tuple, optional
        The lengths, integers and `Size`; None of a value on the way inside a converter.
    name : str
        Its name in the file; that of a constant is found when a node takes it.
    array : ndarray, optional
        The elements of a constant.
    is_number : bool
        Whether it was a Python number, which takes the dtype of what it is combined with.
    """

    dtype: np.dtype[Any]
    shape: Shape | None = None
    name: str = ""
    array: Array | None = None
    is_number: bool = False


@dataclass(frozen=True)
class Node:
    """A node of the file to be: an operator, the names of what it takes and gives, and its attributes."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    doc: str


@dataclass(frozen=True)
class Result:
    """The shape and the dtype that a result has in our model."""

    shape: Shape
    dtype: np.dtype[Any]


class Builder:
    """The graph of a file, while it grows.

    Parameters
    ----------
    names : mapping
        The names of parameters and buffers in the state dict, by their place in memory.

    Attributes
    ----------
    results : tuple of Result
        What the operation that is converted gives in our model.
    """

    def __init__(self, names: Mapping[Any, str]) -> None:
        self.nodes: list[Node] = []
        self.initializers: dict[str, Array] = {}
        self.values: dict[str, Value] = {}  # those whose shape is known, by name
        self.results: tuple[Result, ...] = ()
        self._names = names
        self._taken: dict[str, int] = {}  # a stem of names: how often it was asked for
        self._path, self._doc, self._place = "", "", "the model"
        self._constants: dict[Any, str] = {}  # what a constant is: its name
        self._batch: Value | None = None
        self._made: list[tuple[Value, ...]] = []  # the results of each step
        self._outputs: set[str] = set()  # names of outputs of the model
        self.inputs: list[Value] = []  # of the file
        self._sources: list[Value] = []  # what the model is given of them

    # ---- for converters: nodes ---------------------------------------------------------------------------

    def node(
        self, kind: str, *inputs: Value | None, dtype: DTypeLike | None = None, **attributes: Any
    ) -> Value:
        """Add a node with one result, and return that.

        Parameters
        ----------
        kind : str
            The operator of ONNX.
        *inputs : Value or None
            What it takes; None where an optional input is left out.
        dtype : dtype, optional
            The dtype of the result; by default that of the first input.
        **attributes
            Its attributes: numbers, strings, sequences of them. None leaves one out.
        """
        return self.nodes_results(kind, *inputs, dtypes=(dtype,), **attributes)[0]

    def nodes_results(
        self, kind: str, *inputs: Value | None, dtypes: Iterable[DTypeLike | None], **attributes: Any
    ) -> tuple[Value, ...]:
        """Add a node with several results, one for each dtype, and return them."""
        name = self._unique(f"{self._path}/{kind}")
        taken = [each for each in inputs if each is not None]
        names = tuple("" if each is None else self._name_of(each, name, i) for i, each in enumerate(inputs))
        kept = {key: value for key, value in attributes.items() if value is not None}
        for key, value in kept.items():
            self.require_fixed(value, key)
        outs = tuple(
            Value(np.dtype(taken[0].dtype if dtype is None else dtype), name=f"{name}_output_{index}")
            for index, dtype in enumerate(dtypes)
        )
        self.nodes.append(Node(kind, name, names, tuple(out.name for out in outs), kept, self._doc))
        return outs

    def require_fixed(self, value: Any, what: str) -> None:
        """Raise an ExportError if a number in an option follows from the batch size."""
        if isinstance(value, Size):
            raise ExportError(
                f"{self._place}: {what} is {value} and so follows from the size of the batch, which ONNX "
                "does not take there; export with dynamic=False"
            )
        if isinstance(value, (list, tuple)):
            for each in value:
                self.require_fixed(each, what)

    def refuse(self, why: str) -> ExportError:
        """Return the error that refuses the operation that is converted: ``raise build.refuse(...)``."""
        return ExportError(f"{self._place} cannot be written as ONNX: {why}")

    # ---- for converters: constants and dtypes ------------------------------------------------------------

    def constant(self, value: Any, dtype: DTypeLike | None = None) -> Value:
        """Return a constant; it is written when a node takes it."""
        array = np.asarray(value, dtype)
        return Value(array.dtype, array.shape, array=array)

    def indices(self, *numbers: int) -> Value:
        """Return a constant vector of int64, as axes, paddings and shapes are given."""
        return self.constant(numbers, INDEX)

    def cast(self, value: Value, dtype: DTypeLike) -> Value:
        """Return a value in a dtype."""
        wanted = np.dtype(dtype)
        if value.dtype == wanted:
            return value
        # A parameter stays as it is, under its name, and a node converts it; any other constant is converted.
        if value.array is not None and place_in_memory(value.array) not in self._names:
            return self.constant(value.array.astype(wanted))
        out = self.node("Cast", value, dtype=wanted, to=wanted)
        out.shape = value.shape
        return out

    def promoted(self, *values: Value) -> tuple[Value, ...]:
        """Return values in the one dtype that NumPy computes with: ONNX converts nothing by itself."""
        dtype = np.result_type(
            *(each.dtype.type(1).item() if each.is_number else each.dtype for each in values)
        )
        return tuple(self.cast(each, dtype) for each in values)

    # ---- for converters: shapes --------------------------------------------------------------------------

    @property
    def batch(self) -> Value:
        """The size of the batch, a vector of one int64."""
        if self._batch is None:
            source = next(
                (each, each.shape.index(BATCH)) for each in self.inputs if each.shape and BATCH in each.shape
            )
            around, self._path = self._path, ""
            self._batch = self.node("Shape", source[0], dtype=INDEX, start=source[1], end=source[1] + 1)
            self._path = around
            self._batch.shape = (1,)
        return self._batch

    def length(self, length: Length) -> Value:
        """Return a length as a vector of one int64."""
        if not isinstance(length, Size):
            return self.indices(length)
        value = self.batch
        if length.factor != 1:
            value = self.node("Mul", value, self.indices(length.factor))
        if length.offset:
            value = self.node("Add", value, self.indices(length.offset))
        return value

    def lengths(self, shape: Iterable[Length]) -> Value:
        """Return a shape as a vector of int64: a constant, or computed where it follows from the batch."""
        known = tuple(shape)
        if is_fixed(known):
            return self.indices(*(length for length in known if not isinstance(length, Size)))
        if len(known) == 1:
            return self.length(known[0])
        return self.node("Concat", *(self.length(each) for each in known), axis=0)

    def reshape(self, value: Value, shape: Shape) -> Value:
        """Return a value in another shape; a single length that follows from the batch is left open."""
        open_ends = [i for i, length in enumerate(shape) if isinstance(length, Size)]
        if len(open_ends) == 1 and 0 not in shape:
            target = self.indices(*(-1 if isinstance(length, Size) else length for length in shape))
        else:
            target = self.lengths(shape)
        out = self.node("Reshape", value, target, allowzero=1 if 0 in shape else None)
        out.shape = shape
        return out

    def expand(self, value: Value, shape: Shape) -> Value:
        """Return a value repeated to a shape that it broadcasts to."""
        out = self.node("Expand", value, self.lengths(shape))
        out.shape = shape
        return out

    # ---- for the exporter ------------------------------------------------------------------------------

    def add_input(self, name: str, dtype: np.dtype[Any], shape: Shape) -> Value:
        """Add an input of the model."""
        self._taken[name] = 1
        self.inputs.append(Value(dtype, shape, name))
        self._sources.append(self.inputs[-1])
        return self.inputs[-1]

    def feed(self, value: Value, shape: Shape) -> None:
        """Let a value be what the model is given in the place of the last input."""
        value.shape = shape
        self.values[value.name] = value
        self._sources[-1] = value

    def convert(self, step: Step, converter: Any) -> None:
        """Write one step of the program."""
        self._path = "".join(f"/{part}" for part in step.path.split(".") if part)
        self._doc, self._place = step.doc, step.place
        self.results = tuple(starmap(Result, zip(step.shapes, step.dtypes, strict=True)))
        arguments: list[Any] = [self._argument(each) for each in step.arguments]
        options = self._option(step.static)
        if step.module is not None:
            arguments.insert(0, step.module)
        try:
            signature(converter).bind(self, *arguments, **options)
        except TypeError as error:
            raise self.refuse(f"it is called in a way that has no converter ({error})") from error
        found = converter(self, *arguments, **options)
        outs = found if isinstance(found, tuple) else (found,)
        self._made.append(tuple(starmap(self._stamped, zip(outs, self.results, strict=True))))

    def skip(self) -> None:
        """Note a step that no output needs."""
        self._made.append(())

    def within(self, path: str, doc: str) -> None:
        """Let the next nodes stand under a path of names."""
        self._path, self._doc, self._place = path, doc, doc

    def value(self, source: Any) -> Value:
        """Return the value of an argument."""
        if isinstance(source, Value):
            return source
        if isinstance(source, Ref):
            return self._sources[source.index] if source.call < 0 else self._made[source.call][source.index]
        if isinstance(source, Expanded):
            return self.expand(self.constant(source.array), source.shape)
        if isinstance(source, Counted):
            return self._counted(source)
        if isinstance(source, Size):
            out = self.node("Squeeze", self.length(source), self.indices(0))
            return Value(out.dtype, (), out.name, is_number=True)
        array = np.asarray(source)
        return Value(array.dtype, array.shape, array=array, is_number=type(source) in (bool, int, float))

    def _counted(self, source: Counted) -> Value:
        """Return positions that go on by a step from each example to the next."""
        scalar = self.node("Squeeze", self.batch, self.indices(0))
        zero, one = self.constant(0, INDEX), self.constant(1, INDEX)
        numbers = self.node("Range", zero, scalar, one)
        out = self.reshape(numbers, tuple(n if isinstance(n, Size) else 1 for n in source.shape))
        dtype = source.start.dtype
        computed = dtype if dtype.kind == "f" else INDEX
        out = self.cast(out, computed)
        if np.any(source.step != 1):
            out = self.node("Mul", out, self.constant(source.step, computed))
        if np.any(source.start != 0) or source.start.size > 1:
            out = self.node("Add", out, self.constant(source.start, computed))
        out = self.cast(out, dtype)
        out.shape = source.shape
        return out

    def renamed(self, value: Value, name: str) -> Value:
        """Return an output of the model under its name: the node that made it gives it that name."""
        maker = next((i for i, node in enumerate(self.nodes) if value.name in node.outputs), None)
        if maker is None or value.array is not None or value.name in self._outputs:
            self.within("", "an output of the model")
            out = self.node("Identity", value)
            out.shape = value.shape
            return self.renamed(out, name)
        new = {value.name: name}
        self.nodes = [
            Node(
                node.kind,
                node.name,
                tuple(new.get(each, each) for each in node.inputs),
                tuple(new.get(each, each) for each in node.outputs),
                node.attributes,
                node.doc,
            )
            for node in self.nodes
        ]
        self.values.pop(value.name, None)
        value.name = name
        self._outputs.add(name)
        return value

    def _stamped(self, value: Value, result: Result) -> Value:
        """Return a result of a converter with the dtype and the shape that it has in our model."""
        value = self.cast(value, result.dtype)
        if value.array is None:
            value.shape = result.shape
            self.values[value.name] = value
        return value

    def _argument(self, source: Any) -> Any:
        return tuple(map(self.value, source)) if type(source) in (list, tuple) else self.value(source)

    def _option(self, value: Any) -> Any:
        """Return an option with a `Value` in the place of what was computed."""
        if isinstance(value, (Ref, Expanded, Counted)):
            return self.value(value)
        if isinstance(value, dict):
            return {key: self._option(each) for key, each in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(self._option, value))
        return value

    def _name_of(self, value: Value, node: str, position: int) -> str:
        """Return the name of a value; a constant is written, once."""
        if value.array is None:
            return value.name
        array = value.array
        own = self._names.get(place_in_memory(array))
        key: Any = place_in_memory(array)
        if own is None and array.size <= 64:  # equal numbers are written once
            key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = self._unique(own or f"{node}_input_{position}")
            self.initializers[name] = array
        value.name = self._constants[key]
        return value.name

    def _unique(self, stem: str) -> str:
        count = self._taken.get(stem, 0)
        self._taken[stem] = count + 1
        return f"{stem}_{count}" if count else stem
