"""Write a model as a file of ONNX: recorded, converted, checked, run beside the model, and put in its place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist._version import __version__
from tinygrad_mnist.engine.observe import observed_by
from tinygrad_mnist.engine.tape import recording as on_the_tape
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.exchange.onnx.builder import Builder, Result, Value
from tinygrad_mnist.exchange.onnx.converters import CONVERTERS, MODULES
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.examples import Arguments, named_leaves
from tinygrad_mnist.exchange.onnx.program import Step, compare, needed, shape_between
from tinygrad_mnist.exchange.onnx.proto import OPSET, checked, difference_to, model_proto, require_onnx
from tinygrad_mnist.exchange.onnx.recording import Recording, place_in_memory
from tinygrad_mnist.exchange.onnx.sizes import Shape, Size
from tinygrad_mnist.files import replacing
from tinygrad_mnist.nn import Module
from tinygrad_mnist.nn.module import evaluation_mode

if TYPE_CHECKING:
    from tinygrad_mnist.data import Standardizer

__all__ = ["Exported", "Port", "save"]

Array = NDArray[Any]

_BATCHES: Final = (2, 3)
"""The sizes of the two batches that a model is recorded with."""

_TOLERANCE: Final = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-9}
"""The greatest difference to our model that is taken, relative to the largest number of an output."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a file: its name, NumPy's dtype, and its shape, where ``batch`` is open."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how far its results are from those of the model.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Its length in bytes.
    inputs, outputs : tuple of Port
        What it takes and gives.
    opset : int
        The version of ONNX's operators.
    nodes : int
        The number of nodes.
    difference : float
        The greatest difference to our model on the batches that it was recorded with, as run by
        ``onnx.reference``; relative to the largest number of an output, where that is above 1.
    """

    path: Path
    size: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    opset: int
    nodes: int
    difference: float


@dataclass
class _Run:
    """One recorded call of the model."""

    inputs: list[Array]
    recording: Recording
    names: list[str]
    outputs: list[Any]
    sources: list[Any] = field(default_factory=list)


def save(
    model: Callable[..., Any],
    example: Any,
    path: str | os.PathLike[str],
    *,
    standardizer: Standardizer | None = None,
    dynamic: bool | Iterable[str] = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    description: str = "",
) -> Exported:
    """Write a model, or any function of arrays, as a file of ONNX that other tools run.

    The model is run in evaluation mode on two small batches made of the example, and its operations are
    written as they were recorded. The file is checked, and run by ``onnx.reference`` beside the model, before
    it takes the place of an older one.
    """
    require_onnx()
    arguments = Arguments.of(model, example, input_names, dynamic)
    sizes = _BATCHES if arguments.is_dynamic else (1, 1)
    first = _run(model, arguments, arguments.batch(sizes[0], other=False))
    second = _run(model, arguments, arguments.batch(sizes[1], other=True))
    steps = compare(first.recording.calls, second.recording.calls, sizes)
    build = Builder(_state_names(first.recording.models))
    _add_inputs(build, first, second, arguments, sizes)
    _convert(build, steps, first)
    outputs = _add_outputs(build, first, output_names)
    proto = model_proto(build, outputs, {"producer": __version__, **(metadata or {})}, description)
    proto = checked(proto)
    difference = max(
        difference_to(proto, arguments.names, run.inputs, run.outputs) for run in (first, second)
    )
    with replacing(path) as unfinished:
        unfinished.write_bytes(proto.SerializeToString())
    return Exported(
        Path(path),
        os.path.getsize(path),
        tuple(map(_port, build.inputs)),
        tuple(map(_port, outputs)),
        OPSET,
        len(build.nodes),
        difference,
    )


def _run(model: Callable[..., Any], arguments: Arguments, arrays: list[Array]) -> _Run:
    """Run the model on arrays, and record it."""
    conditions = {each: can for each, (can, _) in MODULES.items()}
    listener = Recording(arrays, CONVERTERS, conditions)
    token = on_the_tape.set(True)  # without a tape some layers take a shortcut past the recorder
    try:
        with evaluation_mode(), observed_by(listener):
            returned = arguments.call(model, map(Tensor, arrays))
    finally:
        on_the_tape.reset(token)
    leaves = named_leaves(returned, "")
    names = [name or "output" for name, _ in leaves]
    outputs = [leaf._array if isinstance(leaf, Tensor) else np.asarray(leaf) for _, leaf in leaves]
    return _Run(arrays, listener, names, outputs, [listener.source(output) for output in outputs])


def _state_names(models: Sequence[Module]) -> dict[Any, str]:
    """Return the names of parameters and buffers in the state dict, by their place in memory."""
    names: dict[Any, str] = {}
    for model in models:
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            array = value._array if isinstance(value, Tensor) else value
            names.setdefault(place_in_memory(array), name)
    return names


def _add_inputs(
    build: Builder, first: _Run, second: _Run, arguments: Arguments, sizes: tuple[int, int]
) -> None:
    for name, one, two in zip(arguments.names, first.inputs, second.inputs, strict=True):
        shape = shape_between(one.shape, two.shape, sizes)
        build.add_input(name, one.dtype, shape or ())


def _convert(build: Builder, steps: Sequence[Step], run: _Run) -> None:
    used = needed(steps, run.sources)
    unknown = [
        step
        for step, is_used in zip(steps, used, strict=True)
        if is_used and step.module is None and step.name not in CONVERTERS
    ]
    if unknown:
        raise ExportError(
            f"{unknown[0].place} has no counterpart in ONNX; compute it of other operations, or leave it to "
            "what runs after the file"
        )
    for step, is_used in zip(steps, used, strict=True):
        if not is_used:
            build.skip()
        elif step.module is not None:
            build.convert(step, MODULES[type(step.module)][1])
        else:
            build.convert(step, CONVERTERS[step.name])


def _add_outputs(build: Builder, run: _Run, names: Sequence[str] | None) -> list[Value]:
    own = run.names if names is None else list(names)
    return [build.renamed(build.value(source), name) for source, name in zip(run.sources, own, strict=True)]


def _port(value: Value) -> Port:
    return Port(
        value.name,
        value.dtype.name,
        tuple(str(n) if isinstance(n, Size) else n for n in value.shape or ()),
    )
