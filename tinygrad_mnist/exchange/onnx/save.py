"""Write a model as a file of ONNX: recorded, converted, checked, run beside the model, put in its place."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.engine.observe import observed_by
from tinygrad_mnist.engine.tape import recording as on_the_tape
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.exchange.onnx.arguments import Arguments, named_outputs
from tinygrad_mnist.exchange.onnx.builder import Builder, Value
from tinygrad_mnist.exchange.onnx.checks import check_given, check_parameters
from tinygrad_mnist.exchange.onnx.converters import CONVERTERS, MODULES
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.exchange.onnx.pictures import Pictures
from tinygrad_mnist.exchange.onnx.program import (
    Step,
    compare,
    compare_outputs,
    needed,
    require_same_sizes,
    shape_between,
)
from tinygrad_mnist.exchange.onnx.proto import OPSET, checked, model_proto, require_onnx, written
from tinygrad_mnist.exchange.onnx.recording import Recording, Ref, place_in_memory
from tinygrad_mnist.exchange.onnx.reference import greatest_difference
from tinygrad_mnist.exchange.onnx.refused import REFUSED
from tinygrad_mnist.exchange.onnx.sizes import Size
from tinygrad_mnist.files import write_error
from tinygrad_mnist.nn import Module
from tinygrad_mnist.nn.module import evaluation_mode

if TYPE_CHECKING:
    from tinygrad_mnist.data import Standardizer

__all__ = ["Exported", "Port", "save"]

Array = NDArray[Any]
Sizes = tuple[int, int]

_BATCHES = (3, 8)
"""The sizes of the two batches that a model is recorded with. Half, a quarter and the remainder of one follow
from them in no line, so that they are found out not to follow from the size of any batch."""

_LARGEST = 16
"""The largest batch of the example that the file is tried on."""

_LARGE = (257, 37, 11)
"""Larger batches, in which ``x[:100]``, ``x[:30]`` and ``x[:8]`` are not ``x``. A model is recorded on the
first in which it computes no more than `_MOST_RECORDED` numbers, or on the last."""

_MOST_RECORDED = 1 << 20
"""Numbers that the nodes compute at most in a large batch."""

_MOST_TRIED = 1 << 22
"""Numbers that the nodes compute at most while a file is tried: about two seconds in ``onnx.reference``."""


@dataclass(frozen=True)
class Port:
    """An input or an output of a file.

    Parameters
    ----------
    name : str
        Its name.
    dtype : str
        NumPy's name of the dtype of its elements.
    shape : tuple of int or str
        Its lengths; ``"batch"`` where the size of the batch is open.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} ({', '.join(map(str, self.shape))})"


@dataclass(frozen=True)
class Exported:
    """A file of ONNX that was written, and how far its results are from those of the model.

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
        The greatest difference of an output, as ``onnx.reference`` computes it from the file, to that of the
        model, on a few batches; relative to the largest number of the output where that is above 1.
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
    """One recorded call of the model: what it was given and returned, and where that comes from."""

    inputs: list[Array]
    recording: Recording
    names: list[str]
    outputs: list[Array]
    sources: list[Any]


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
    """Write a model, or any function of arrays, as a file of ONNX, which other tools run.

    The model is run in evaluation mode on small batches made of the example, and the operations that it
    asks for are written as ONNX's. The file is checked, and run by ``onnx.reference`` beside the model,
    before it takes the place of an older one.

    Parameters
    ----------
    model : Module or callable
        What is written. Its parameters become initializers under the names of the state dict, and the paths
        of its modules the beginnings of the names of nodes: ``/features/0/Conv``.
    example : array_like, Tensor, tuple or dict
        The arguments of one call: an array, or what a Tensor is made of; a tuple of positional arguments; or
        a dict of keyword arguments. They may be nested, too. Arrays, also those of other libraries, become
        inputs, anything else stays as it is.
    path : path-like
        The file to write; its name ends in ``.onnx``.
    standardizer : Standardizer, optional
        What makes standardised images of grey values: it becomes a part of the file, which then takes
        pictures, uint8 of shape (batch, height, width), as they are before they are standardised.
    dynamic : bool or iterable of str
        The inputs whose first axis is the batch, of any size in the file: all, none, or those named.
    input_names, output_names : sequence of str, optional
        The names of inputs (by default those of the arguments) and outputs (by default ``output``, the keys
        of a dict, or ``output_0``, ``output_1``, ...).
    metadata : mapping of str to str, optional
        What is noted in the file besides, as its ``metadata_props``.
    description : str
        A text on the model, for people.

    Returns
    -------
    Exported
        What was written, and how far its results are from those of the model.

    Raises
    ------
    ExportError
        If something cannot be written, by its name and place: an operation that ONNX does not have, a branch
        on data, a value that was computed past the tape; if a parameter holds NaN, or an output has no
        finite number to be compared; if an argument is of another kind, or the file cannot be written.
        Nothing is written then.
    ImportError
        If the package onnx is not installed: the extra ``onnx`` brings it.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from tinygrad_mnist import nn, onnx
    >>> model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = onnx.save(model, np.zeros((1, 4), np.float32), f"{folder}/model.onnx")
    >>> print(*found.inputs, *found.outputs, sep=", ")
    input: float32 (batch, 4), output: float32 (batch, 3)
    """
    require_onnx()
    names = {"input_names": input_names, "output_names": output_names}
    check_given(model, path, standardizer, dynamic, names, metadata, description)
    arguments = Arguments.of(model, example, input_names, dynamic)
    pictures = None if standardizer is None else Pictures.of(standardizer, arguments)
    sizes = _BATCHES if arguments.is_dynamic else (1, 1)
    first = _run(model, arguments, arguments.batch(sizes[0]))
    second = _run(model, arguments, arguments.batch(sizes[1], other=True))
    steps = compare(first.recording.calls, second.recording.calls, sizes)
    sources = compare_outputs(first.sources, second.sources, sizes)
    if arguments.is_dynamic:
        _compare_with_large(model, arguments, second, steps)
    state = _state_names(first.recording.models)
    build = Builder(state)
    _add_inputs(build, first, second, arguments, sizes, pictures)
    _convert(build, steps, sources)
    held = set(state.values())
    check_parameters({name: array for name, array in build.initializers.items() if name in held})
    outputs = _add_outputs(build, sources, first.names, output_names)
    proto = checked(model_proto(build, outputs, metadata or {}, description))
    trials = _trials(model, arguments, (first, second), pictures)
    difference = greatest_difference(proto, arguments.names, trials)
    try:
        size = written(proto, path)
    except OSError as error:
        raise ExportError(write_error(path, error)) from error
    return Exported(
        Path(path),
        size,
        tuple(map(_port, build.inputs)),
        tuple(map(_port, outputs)),
        OPSET,
        len(build.nodes),
        difference,
    )


def _run(model: Callable[..., Any], arguments: Arguments, arrays: list[Array]) -> _Run:
    """Run the model on arrays, and record it.

    NumPy's warnings are not shown: the values are made up.
    """
    listener = Recording(arrays, CONVERTERS, {each: can for each, (can, _) in MODULES.items()})
    token = on_the_tape.set(True)  # without a tape some layers take a shortcut past the recorder
    try:
        with _in_silence(), observed_by(listener):
            returned = arguments.call(model, [Tensor(array) for array in arrays])
    except ExportError:
        raise
    except Exception as error:
        if listener.refused is not None:  # a function of NumPy's may have made another error of it
            raise listener.refused from error
        raise _explained(error, model, arguments, arrays) from error
    finally:
        on_the_tape.reset(token)
    if listener.refused is not None:  # the model has caught it
        raise listener.refused
    named = named_outputs(returned)
    outputs = [array for _, array in named]
    return _Run(arrays, listener, [name for name, _ in named], outputs, list(map(listener.source, outputs)))


@contextmanager
def _in_silence() -> Iterator[None]:
    """Evaluate modules, without warnings of numbers: the values are made up, and no user's."""
    with evaluation_mode(), np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _explained(
    error: Exception, model: Callable[..., Any], arguments: Arguments, arrays: list[Array]
) -> Exception:
    """Return an error of the model as it is, unless the size of the batch is what it does not take."""

    def runs_on(given: list[Array]) -> bool:
        try:
            with _in_silence():
                arguments.call(model, [Tensor(array) for array in given])
        except Exception:
            return False
        return True

    size = arguments.length(arrays)
    if size is None or runs_on(arrays) or not runs_on(arguments.arrays):
        return error
    return ExportError(
        f"the model runs on the example, but not on a batch of {size}: {error}; let it take batches "
        "of any size, or export it with dynamic=False"
    )


def _state_names(models: Mapping[Module, str]) -> dict[Any, str]:
    """Return the names of parameters and buffers in the state dict, by their place in memory."""
    names: dict[Any, str] = {}
    for model, path in models.items():
        held: list[tuple[str, Any]] = [*model.named_parameters(), *model.named_buffers()]
        for name, value in held:
            array = value._array if isinstance(value, Tensor) else value
            names.setdefault(place_in_memory(array), f"{path}.{name}" if path else name)
    return names


def _add_inputs(
    build: Builder,
    first: _Run,
    second: _Run,
    arguments: Arguments,
    sizes: Sizes,
    pictures: Pictures | None,
) -> None:
    for name, one, two in zip(arguments.names, first.inputs, second.inputs, strict=True):
        shape = shape_between(one.shape, two.shape, sizes) or ()
        if pictures is None:
            build.add_input(name, one.dtype, shape)
        else:
            pictures.write(build, name, shape)


def _convert(build: Builder, steps: Sequence[Step], sources: Sequence[Any]) -> None:
    """Write the steps that the outputs depend on, once it is known that all can be written."""
    used = needed(steps, sources)
    if not any(isinstance(source, Ref) for source in sources):
        raise ExportError(
            "no output of the model depends on its inputs on the tape; compute by operations on Tensors, not "
            "by NumPy on their .data"
        )
    unknown = [
        step
        for step, is_used in zip(steps, used, strict=True)
        if is_used and step.module is None and step.name not in CONVERTERS
    ]
    if unknown:
        others = f" (nor have {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        why = f": {REFUSED[unknown[0].name]}" if unknown[0].name in REFUSED else ""
        raise ExportError(
            f"{unknown[0].place} has no counterpart in ONNX{others}{why}; compute it by other operations, or "
            "leave it out of what is exported"
        )
    for step, is_used in zip(steps, used, strict=True):
        if not is_used:
            build.skip()
        elif step.module is not None:
            build.convert(step, MODULES[type(step.module)][1])
        else:
            build.convert(step, CONVERTERS[step.name])


def _add_outputs(
    build: Builder, sources: Sequence[Any], own: Sequence[str], names: Sequence[str] | None
) -> list[Value]:
    """Give the outputs their names."""
    given = list(own if names is None else names)
    taken = {each.name for each in build.inputs} | build.initializers.keys()
    if names is None:
        given = [f"{name}_output" if name in taken else name for name in given]
    if len(given) != len(sources) or len(set(given)) < len(given) or taken & set(given):
        raise ExportError(
            f"output_names={given} was given for {len(sources)} outputs; expected a name for each that no "
            "other has, and no input or parameter"
        )
    return [build.renamed(build.value(source), name) for source, name in zip(sources, given, strict=True)]


def _trials(
    model: Callable[..., Any], arguments: Arguments, runs: Sequence[_Run], pictures: Pictures | None
) -> list[tuple[list[Array], list[Array]]]:
    """Return what the file is tried on, and what it has to give; the most telling first.

    That are a batch of 1, and the same of the other sign, on which a choice or a branch may depend; the two
    that were recorded, values in another order, other integers, and the example: as many as `_MOST_TRIED`
    allows, as ``onnx.reference`` is slow, but the first two always.
    """
    first, second = runs
    given = [first.inputs, arguments.shuffled(first.inputs), *arguments.renumbered(first.inputs)]
    given.append(second.inputs)
    if arguments.is_dynamic:
        given = [arguments.batch(1), *given, arguments.batch(min(arguments.size, _LARGEST))]
    if any(array.dtype.kind == "f" for array in given[0]):
        given.insert(1, arguments.opposite(given[0]))
    each = _numbers_of_a_row(first, _BATCHES[0])
    trials: list[tuple[list[Array], list[Array]]] = []
    left = float(_MOST_TRIED)
    for number, arrays in enumerate(given):
        left -= each * (arguments.length(arrays) or _BATCHES[0])
        if number > 1 and trials and left < 0:
            break
        trial = arrays if pictures is None else pictures.like(arrays)
        inputs = trial if pictures is None else pictures.standardized(trial)
        try:
            trials.append((trial, _run(model, arguments, inputs).outputs))
        except Exception:  # some models take no batch of 1, or no negative numbers
            continue
    return trials


def _numbers_of_a_row(run: _Run, rows: int) -> float:
    """Return how many numbers a model computes for each of some rows."""
    return sum(result.size for call in run.recording.calls for result in call.results) / rows


def _compare_with_large(
    model: Callable[..., Any], arguments: Arguments, second: _Run, steps: Sequence[Step]
) -> None:
    """Raise an ExportError if numbers follow from the size of a large batch in another way."""
    each = _numbers_of_a_row(second, _BATCHES[1])
    for size in _LARGE:
        if size * each > _MOST_RECORDED and size != _LARGE[-1]:
            continue
        try:
            large = _run(model, arguments, arguments.batch(size))
        except Exception:  # some models take no large batch
            continue
        sizes = _BATCHES[1], size
        require_same_sizes(steps, compare(second.recording.calls, large.recording.calls, sizes), size)
        compare_outputs(second.sources, large.sources, sizes)
        return


def _port(value: Value) -> Port:
    shape = (str(n) if isinstance(n, Size) else n for n in value.shape or ())
    return Port(value.name, value.dtype.name, tuple(shape))
