"""The agreements of the processes of one training: how it begins, what state they have, and what ends it.

All of them come to each of these functions at the same step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.data import Batches
from tinygrad_mnist.data.batching import Portion
from tinygrad_mnist.engine.shards import prepared
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.distributed.agreement import (
    agreed,
    ranks_text,
    require_equal,
    require_equal_versions,
)
from tinygrad_mnist.training.distributed.communicator import Communicator
from tinygrad_mnist.training.distributed.sharing import sha256_of
from tinygrad_mnist.training.loop.interrupts import Interrupts

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training


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
    if not communicator.is_writer:  # that a model computes in float64 is said by the first process
        vars(training.model)["_float64_settled"] = True


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
        "the model": _outline(training.model),
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


def _outline(model: nn.Module) -> str:
    """Return in short what a model has: names, shapes and dtypes, and which parameters are trained."""
    values = [f"{name} {values.shape} {values.dtype}" for name, values in model.state_dict().items()]
    trained = [f"{name} {parameter.requires_grad}" for name, parameter in model.named_parameters()]
    text = "; ".join([*values, *trained])
    return f"{type(model).__name__} {sha256_of([np.frombuffer(text.encode(), np.uint8)])}"


def _data_sha256(data: Any) -> str | None:
    """Return the hash of all samples, in the order that they have; None where they are not held in arrays."""
    return sha256_of([data.inputs, data.targets]) if isinstance(data, Batches) else None


# ---- between two steps -------------------------------------------------------------------------------------


class Boundary:
    """The agreement of all processes between two steps on whether they go on.

    Parameters
    ----------
    communicator : Communicator
        The processes.
    """

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator
        self._flags = np.zeros(2)
        self._given = (self._flags,)
        self._summed = prepared(communicator, self._given)

    def agree(self, *, stop: bool, interrupts: Interrupts | None) -> bool:
        """Return whether one process was told to stop; raise the interrupt that came in one of them.

        Raises
        ------
        KeyboardInterrupt
            If one has an interrupt, with the number of its signal.
        """
        pending = None if interrupts is None else interrupts.pending
        flags = self._flags
        flags[0], flags[1] = stop, pending is not None
        stops, interrupted = self._summed(self._given)[0].tolist()
        if interrupted:
            told = self._communicator.gather(pending and pending.args)
            arguments = next(one for one in told if one is not None)
            if interrupts is None:
                raise KeyboardInterrupt(*arguments)
            interrupts.join(arguments)
            interrupts.take()
        return bool(stops)


def require_same_state(training: Training, communicator: Communicator) -> None:
    """Let all processes have the state of the first one where weights differ from its, and say so."""
    digests = communicator.gather(sha256_of(_weights(training)))
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


def _weights(training: Training) -> list[NDArray[Any]]:
    """Return what a model has, and the moving average of its weights."""
    average = [] if training.average is None else [training.average.values]
    return [*training.model.state_dict().values(), *average]


def whole_batch(portion: Portion, communicator: Communicator) -> tuple[Tensor, Tensor]:
    """Return the inputs and targets of a batch of which each process has some rows."""
    found = communicator.gather(tuple(np.asarray(part) for part in portion))
    if portion.total < communicator.size:
        found = found[:1]
    x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Tensor(x), Tensor(y)
