"""The origin of a loss that is not finite: the data, an operation, or steps that were too large.

When a loss is found to be NaN, the step has already written NaN into the weights. So weights are kept on the
way (`Snapshots`), and the step is run again from them, in eager and under `detect_anomaly`, on a copy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.engine.anomaly import AnomalyError, detect_anomaly
from tinygrad_mnist.engine.dtypes import is_float
from tinygrad_mnist.engine.observe import observed_by, users_line
from tinygrad_mnist.engine.tape import recording
from tinygrad_mnist.training.lints.looks import (
    Loss,
    array_of,
    as_tensors,
    copy_of,
    not_finite_rows,
    unchanged,
)

Arrays = dict[str, NDArray[Any]]

GROWTH: Final = 3.0
"""The factor by which a loss has grown, where it is said to have grown."""


class Snapshots:
    """Copies of the weights and buffers of a model, made on the way: the last two.

    Parameters
    ----------
    model : Module
        The model; of no model there are no snapshots.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        model = nn.Module() if model is None else model
        self.parameters = dict(model.named_parameters())
        self.buffers = {
            f"{path}.{name}" if path else name: (module, name)
            for path, module in model.named_modules()
            for name, _ in module.named_buffers(recurse=False)
        }
        self.kept: list[tuple[int, Arrays]] = []

    def note(self, step: int) -> None:
        """Make a snapshot after the steps 1, 2, 4, 8 and so on."""
        if not step & (step - 1):
            self.take(step)

    def take(self, step: int) -> None:
        """Make a snapshot of the weights after a step."""
        # into the memory of the older of the two: new memory takes longer to write to
        memory = self.kept[0][1] if len(self.kept) == 2 else {}
        state = {name: _copied(array, memory.get(name)) for name, array in self._arrays()}
        self.kept = [*self.kept[-1:], (step, state)]

    def add(self, step: int, state: Mapping[str, NDArray[Any]]) -> None:
        """Add a state that somebody else has kept, if it is of all parameters and buffers."""
        if all(name in state for name, _ in self._arrays()):
            self.kept = sorted([*self.kept, (step, dict(state))], key=itemgetter(0))

    def _arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, parameter in self.parameters.items():
            yield name, parameter.data
        for name, (module, own) in self.buffers.items():
            yield name, getattr(module, own)

    def before(self, step: int) -> tuple[int, Arrays] | None:
        """Return the last snapshot from before a step in which all is finite, and its step."""
        for at, state in reversed(self.kept):
            floats = filter(is_float, state.values())
            if at < step and all(bool(np.all(np.isfinite(array))) for array in floats):
                return at, state
        return None


def _copied(array: NDArray[Any], memory: NDArray[Any] | None) -> NDArray[Any]:
    """Return a copy of an array, in the given memory if that fits."""
    if memory is None or memory.shape != array.shape or memory.dtype != array.dtype:
        return array.copy(order="K")
    memory[...] = array
    return memory


def origin(
    model: nn.Module,
    loss: Loss,
    batches: Mapping[int, tuple[Any, Any]],
    snapshots: Snapshots,
    losses: Sequence[float] = (),
    lr: float | None = None,
) -> str | None:
    """Return in words why a loss is not finite; None if nothing was found.

    Parameters
    ----------
    model : Module
        The model, which is not changed.
    loss : callable
        ``loss(outputs, targets)``.
    batches : mapping
        Inputs and targets by the number of their step: of the step whose loss is not finite, which is the
        last one, and if possible of the step before, whose gradient may have been the first.
    snapshots : Snapshots
        Weights from before.
    losses : sequence of float
        The losses of the steps before it.
    lr : float, optional
        The learning rate.

    Returns
    -------
    str or None
        The end of a sentence.
    """
    if (spoiled := spoiled_batch(*batches[max(batches)])) is not None:
        return spoiled
    anomaly = _first_anomaly(model, loss, batches, snapshots)
    step, what = anomaly or (max(batches), None)
    found = list(filter(None, [_growth_text(losses), what]))
    if not found:
        return None
    if step > 1:  # else the weights are those of the beginning, and no rate has changed them
        was = "" if lr is None else f" (it was {lr:g})"
        found.append(f"take a lower learning rate{was} or clip the gradients to a smaller norm")
    return "; ".join(found)


def _first_anomaly(
    model: nn.Module, loss: Loss, batches: Mapping[int, tuple[Any, Any]], snapshots: Snapshots
) -> tuple[int, str] | None:
    """Run the steps again, the first one first; return the step and the text of the first anomaly."""
    for step in sorted(batches):
        if (kept := snapshots.before(step)) is None:
            continue
        at, state = kept
        if what := _anomaly(model, loss, batches[step], state):
            whose = "from before it" if at == step - 1 else f"after step {at:,}"
            which = "this step" if step == max(batches) else f"step {step:,}"
            return step, f"{which}, run again with the weights {whose}: {what}"
    return None


def spoiled_batch(inputs: Any, targets: Any) -> str | None:
    """Return in words that a batch itself holds NaN or infinity; None if it does not."""
    for name, values in (("inputs", inputs), ("targets", targets)):
        if (array := array_of(values)) is not None and (found := bad_rows(array, name)):
            return f"{found}, before the model has seen them"
    return None


def bad_rows(array: NDArray[Any], name: str) -> str:
    """Return in words which rows of a batch hold NaN or infinity; an empty string for none.

    Examples
    --------
    >>> bad_rows(np.array([[0.0, 1.0], [np.nan, 2.0], [np.inf, 0.0]]), "inputs")
    'the inputs hold nan in row 1 (2 of 3 rows are not finite)'
    """
    if not is_float(array) or not array.ndim:
        return ""
    rows = not_finite_rows(array)
    if not len(rows):
        return ""
    bad = array[rows[0]][~np.isfinite(array[rows[0]])]
    verb = "is" if len(rows) == 1 else "are"
    count = f"{len(rows):,} of {len(array):,} rows {verb} not finite"
    return f"the {name} hold {bad.flat[0]} in row {rows[0]} ({count})"


def _anomaly(model: nn.Module, loss: Loss, batch: tuple[Any, Any], state: Arrays) -> str | None:
    """Run a step on a copy of the model; return in words the first value that is not finite."""
    token = recording.set(True)
    outside = users_line()
    try:
        with unchanged(model, loss):
            twin = copy_of(model)
            for name, parameter in twin.named_parameters():
                parameter.data[...] = state[name]
            for name, buffer in twin.named_buffers():
                buffer[...] = state[name]
            with observed_by(None), detect_anomaly(), np.errstate(all="ignore"):
                loss(twin(as_tensors(batch[0])), as_tensors(batch[1])).backward()
    except AnomalyError as error:
        return _one_line(str(error), outside)
    finally:
        recording.reset(token)
    return None


def _one_line(message: str, outside: str) -> str:
    """Return the message of an anomaly as one line; a line of code outside the model is left out."""
    first, *context = message.split("\n")
    what = re.sub(r"^.*?: (?=the |argument )", "", first)  # the path of the module, which comes again below
    parts = [part.strip() for part in context]
    kept = [part for part in parts if part.startswith(("in module: ", "at: ")) and part != f"at: {outside}"]
    return "; ".join([what, *kept])


def _growth_text(losses: Sequence[float]) -> str | None:
    """Return in words that the loss had grown over the steps before; None if it had not."""
    last = [loss for loss in losses[-20:] if math.isfinite(loss)]
    if len(last) < 2 or last[-1] <= GROWTH * abs(min(last)) or last[-1] < losses[0]:
        return None
    lowest = len(losses) - len(last) + 1 + last.index(min(last))
    return (
        f"the loss had grown from {min(last):.3g} in step {lowest:,} to {last[-1]:.3g} in step "
        f"{len(losses):,}, as it does when steps are too large"
    )
