"""A training that goes on where one of its processes was lost: the others go back to their last whole step.

MPI has to be started with its fault tolerance (``mpiexec --with-ft ulfm``). Then an exchange with a lost
process is an error in the others. They agree on a smaller communicator, take the state of the one that is
furthest, share out the batches anew, and go on. Two of them are never more than one exchange apart.

What is not here: a process that hangs, which the time limit of an exchange ends; and a machine that vanishes
without MPI being told of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.checkpoints.random_state import Generators
from tinygrad_mnist.training.checkpoints.resumption import DONE
from tinygrad_mnist.training.distributed.agreement import agreed
from tinygrad_mnist.training.distributed.communicator import Communicator, is_fault_tolerant
from tinygrad_mnist.training.distributed.errors import RankLostError
from tinygrad_mnist.training.loop.callbacks import Callback

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training

Result = TypeVar("Result")


def again_if_lost(communicator: Communicator, function: Callable[[], Result]) -> Result:
    """Return what a function returns in all processes; if one is lost meanwhile, the others call it again.

    Parameters
    ----------
    communicator : Communicator
        The processes, all of which come here.
    function : callable
        It may be called again from its beginning.

    Raises
    ------
    RankLostError
        If a process is lost, and MPI was started without its fault tolerance.
    """
    if not _can_go_on(communicator):
        return function()
    while True:
        try:
            result, is_done = function(), True
        except RankLostError:
            is_done = False
        if communicator.settled(is_done):
            return result
        communicator.shrink()


def _can_go_on(communicator: Communicator | None) -> bool:
    """Return whether the others could go on without one of these processes."""
    return isinstance(communicator, Communicator) and communicator.size > 1 and is_fault_tolerant()


class _Place(NamedTuple):
    """The place that a training has come to; of two places the later one is the larger."""

    step: int
    phase: int
    records: int

    @classmethod
    def of(cls, training: Training) -> _Place:
        return cls(training.step, training.phase, len(training.history.records))


class Recovery:
    """The means by which a training goes on without a process that is lost.

    Before each step it keeps what a step changes before its gradients are summed: buffers, random numbers and
    the place in the pass. Weights and the optimiser's state change after the last exchange.

    Parameters
    ----------
    training : Training
        The training.
    communicator : Communicator
        The processes.
    """

    @classmethod
    def of(cls, training: Training) -> Recovery | None:
        """Return what a training needs, where several processes train and MPI could go on without one."""
        communicator = training.communicator
        if communicator is None or not _can_go_on(communicator):
            return None
        return cls(training, communicator)

    def __init__(self, training: Training, communicator: Communicator) -> None:
        self.training, self.communicator = training, communicator
        self._was_writer = communicator.is_writer
        self._generators: Generators | None = None
        self._places: list[tuple[nn.Module, str]] = []  # of the buffers: to find them takes long
        self._buffers: list[NDArray[Any]] = []
        self._noted = (0, 0, 0)

    def guard(self, function: Callable[[], None]) -> None:
        """Call a function that trains to the end; call it again, to do what is left, if a process is lost."""
        training, communicator = self.training, self.communicator
        lost: list[str] | None = None
        while True:
            try:
                if lost is not None:
                    self._rejoin(lost)
                    lost = None
                function()
                is_done = True
            except RankLostError:
                is_done = False
            if communicator.settled(is_done):
                return
            if not training.is_whole:
                self._put_back()
            lost = [*(lost or []), *communicator.shrink()]

    # ---- a step that is half done --------------------------------------------------------------------------

    def note(self) -> None:
        """Keep what the next step may change before its last exchange."""
        training = self.training
        if self._generators is None or training.batch_number == 0:  # a module may have made another one
            owners = {
                "loss": training.loss_function,
                "data": training.data,
                "validation": training.validation,
            }
            self._generators = Generators(training.model, owners)
            self._places = _places_of_buffers(training)
        self._generators.note()
        self._buffers = [getattr(module, name).copy() for module, name in self._places]
        self._noted = training.step, training.batch_number, training.samples

    def _put_back(self) -> None:
        """Put back what a step has changed that was not finished."""
        training = self.training
        step, batch_number, samples = self._noted
        if training.step != step:  # its loss was not finite: there is nothing to go on with
            raise RankLostError(step=training.step, advice=self.communicator.advice())
        training.batch_number, training.samples = batch_number, samples
        for (module, name), values in zip(self._places, self._buffers, strict=True):
            getattr(module, name)[...] = values
        assert self._generators is not None
        self._generators.put_back()
        training.is_whole = True

    # ---- the processes that are left -----------------------------------------------------------------------

    def _rejoin(self, lost: list[str]) -> None:
        """Let all processes that are left have the state of the one that is furthest, and share the work."""
        training, communicator = self.training, self.communicator
        here = _Place.of(training)
        places: list[_Place] = communicator.gather(here)
        root = places.index(max(places))
        with agreed(communicator):
            state = training.state_dict() if communicator.rank == root else None
        state = communicator.broadcast(state, root)
        with agreed(communicator):
            training.load_state_dict({**state, "callbacks": self._loadable(state["callbacks"])})
            training.share_out_again()
            if communicator.is_writer and not self._was_writer:
                self._take_over()
            else:
                self._tell_what_was_missed(here)
            self._was_writer = communicator.is_writer
        if lost:
            training.warn(_told(lost, here.step, training.step, communicator.size))

    def _loadable(self, states: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the states of callbacks that are those of this process too.

        Callbacks of the process that writes have their own; what another has of them is older.
        """
        every = {
            type(callback).__name__
            for callback in self.training.callbacks.callbacks
            if callback.on_every_rank or not self._was_writer
        }
        return [state for state in states if state["class"] in every]

    def _take_over(self) -> None:
        """Write and print from now on, in the place of a process that is lost."""
        training = self.training
        training.callbacks.tell_all()
        for method in training.callbacks.methods["on_train_begin"]:
            callback = _owner(method)
            if callback is not None and not callback.on_every_rank:
                method(training)

    def _tell_what_was_missed(self, before: _Place) -> None:
        """Tell callbacks of the step and the evaluation that were done elsewhere, but those with a state."""
        training = self.training
        if training.step > before.step:
            self._tell("on_step_end")
        for record in training.history.records[before.records :]:
            self._tell("on_evaluate", record, record.step == getattr(training.best, "step", None))
        if training.step > before.step and training.phase == DONE and training.batch_number == 0:
            self._tell("on_epoch_end")

    def _tell(self, event: str, *details: Any) -> None:
        for method in self.training.callbacks.methods[event]:
            callback = _owner(method)
            if callback is None or not (callback.on_every_rank and callback.state_dict()):
                method(self.training, *details)


def _owner(method: Callable[..., Any]) -> Callback | None:
    """Return the callback that a method is of; None of a function that somebody put in its place."""
    owner = getattr(method, "__self__", None)
    return owner if isinstance(owner, Callback) else None


def _places_of_buffers(training: Training) -> list[tuple[nn.Module, str]]:
    """Return the modules of a model, and of a loss that is one, with the names of their buffers."""
    return [
        (module, name)
        for owner in (training.model, training.loss_function)
        if isinstance(owner, nn.Module)
        for module in owner.modules()
        for name, _ in module.named_buffers(recurse=False)
    ]


def _told(lost: list[str], here: int, step: int, left: int) -> str:
    """Return in words who was lost, and what is done about it.

    Examples
    --------
    >>> print(_told(["rank 2 on node3"], 7, 8, 3))
    rank 2 on node3 was lost after 7 steps; 3 processes go on after 8 steps
    """
    were = "was" if len(lost) == 1 else "were"
    go = "goes" if left == 1 else "go"
    return (
        f"{', '.join(lost)} {were} lost after {count_text(here, 'step')}; "
        f"{count_text(left, 'process')} {go} on after {count_text(step, 'step')}"
    )
