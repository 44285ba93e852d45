"""The agreements of the processes of one training: how it begins, what state they have, and what ends it.

All of them come to each of these functions at the same step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.data import Batches
from tinygrad_mnist.data.batching import Portion
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.distributed.agreement import (
    agreed,
    ranks_text,
    require_equal,
    require_equal_versions,
)
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.loop.interrupts import Interrupts

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training

LETTERS: Final = 12
"""How much of a SHA-256 is shown: enough to see that two differ."""


def begin(training: Training, communicator: Communicator) -> None:
    """Let all processes begin with the state of the first one.

    Raises
    ------
    TrainingError
        In all of them, if one has another model, other data or other settings than the others.
    """
    require_equal_versions(communicator)
    with agreed(communicator):
        facts = _facts(training)
    require_equal(communicator, facts, "give each of them the same model, data and arguments")
    take_state(training, communicator)
    assert training.gradients is not None
    training.gradients.orders = communicator.broadcast(training.gradients.orders)


def take_state(training: Training, communicator: Communicator, root: int = 0) -> None:
    """Let all processes have the state of one of them."""
    state = None
    with agreed(communicator):
        if communicator.rank == root:
            state = training.state_dict()
    state = communicator.broadcast(state, root)
    with agreed(communicator):
        if communicator.rank != root:
            training.load_state_dict(state)


def _facts(training: Training) -> dict[str, Any]:
    """Return what has to be the same in all processes, by name."""
    optimizer, schedule = training.optimizer, training.schedule
    facts = {
        "the model": _sha256(_outline(training.model)),
        "the loss": type(training.loss_function).__name__,
        "the optimiser": type(optimizer).__name__,
        "the schedule": None if schedule is None else type(schedule).__name__,
        "the number of batches": training.batches,
        "the SHA-256 of the data": _data_sha256(training.data),
        "the SHA-256 of the validation part": _data_sha256(training.validation),
        "the kind of the data": type(training.data).__name__,
        "jit": training.jit,
        "the decision whether steps are compiled": training.decision.compiled,
    }
    names = ("epochs", "accumulate", "clip_norm", "ema", "patience", "evaluate_every", "batch_size")
    return {**facts, **{name: getattr(training, name) for name in names}}


def _outline(model: nn.Module) -> Iterator[bytes]:
    """Yield the names, shapes and dtypes of what a model has, and which parameters are trained."""
    for name, values in model.state_dict().items():
        yield f"{name} {values.shape} {values.dtype};".encode()
    for name, parameter in model.named_parameters():
        yield f"{name} {parameter.requires_grad};".encode()


def _data_sha256(data: Any) -> str | None:
    """Return the hash of all samples, in the order that they have; None where they are not held in arrays."""
    if not isinstance(data, Batches):
        return None
    arrays = (data.inputs, data.targets)
    looks = (f"{array.shape} {array.dtype};".encode() for array in arrays)
    return _sha256(chain(looks, map(_bytes_of, arrays)))


def _sha256(parts: Iterator[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:LETTERS]


# ---- between two steps -------------------------------------------------------------------------------------


def agree(communicator: Communicator, *, stop: bool, interrupts: Interrupts | None) -> bool:
    """Return whether one of the processes was told to stop; raise the interrupt that came in one of them.

    Raises
    ------
    KeyboardInterrupt
        If one has an interrupt, with the number of its signal.
    """
    pending = None if interrupts is None else interrupts.pending
    stops, interrupted = communicator.sum([np.array([stop, pending is not None], np.int64)])[0]
    if interrupted:
        arguments = next(one for one in communicator.gather(pending and pending.args) if one is not None)
        if interrupts is None:
            raise KeyboardInterrupt(*arguments)
        interrupts.join(arguments)
        interrupts.take()
    return bool(stops)


def require_same_state(training: Training, communicator: Communicator) -> None:
    """Let all processes have the state of the first one where weights differ from its, and say so."""
    digests = communicator.gather(_sha256(_values(training)))
    other = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if not other:
        return
    take_state(training, communicator)
    ranks, done = ranks_text(other, communicator.hosts), count_text(training.step, "step")
    training.warn(
        f"the weights of {ranks} differed from those of rank 0 after {done}, and "
        "are now the same; the cause may be a callback that changes weights in one process, a layer with "
        "random numbers of its own, or machines of another kind"
    )


def _values(training: Training) -> Iterator[Any]:
    """Yield the bytes of what a model has, and of the moving average of its weights."""
    for array in training.model.state_dict().values():
        yield _bytes_of(array)
    if training.average is not None:
        yield _bytes_of(training.average.values)


def _bytes_of(array: NDArray[Any]) -> Any:
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""


def whole_batch(portion: Portion, communicator: Communicator) -> tuple[Tensor, Tensor]:
    """Return the inputs and targets of a batch of which each process has some rows."""
    found = communicator.gather(tuple(np.asarray(part) for part in portion))
    if portion.total < communicator.size:
        found = found[:1]
    x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Tensor(x), Tensor(y)
