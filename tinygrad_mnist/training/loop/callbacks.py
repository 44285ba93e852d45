"""Callbacks: methods of yours that a training calls as it goes on."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from tinygrad_mnist.training.errors import TrainingError
from tinygrad_mnist.training.loop.compilation import JitDecision
from tinygrad_mnist.training.loop.history import Record

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training


class Callback:
    """The base of all callbacks: its methods do nothing, and a subclass defines those that it needs.

    Each method is given the training that is under way, with its ``model``, ``optimizer``, ``step``,
    ``loss``, ``lr``, ``history`` and more: see `Training`. The time that `on_step_end` takes counts as
    training.

    A callback that has to go on where it stopped, after an interruption, returns its state from `state_dict`.

    Where several processes train together, each of them tells its callbacks, and `Training.stop` in one of
    them ends the training in all. A callback that writes or prints is told in the first process alone, if its
    class says ``on_every_rank = False``; it must make no exchange.

    Attributes
    ----------
    on_every_rank : bool
        Whether it is told in each process.

    Raises
    ------
    TypeError
        If a subclass defines a method ``on_...`` that is never called; the message names the nearest.

    Examples
    --------
    >>> class Losses(Callback):
    ...     def on_epoch_end(self, training):
    ...         print(f"epoch {training.epoch:g}: loss {training.loss:.3f}")
    >>> class Typo(Callback):
    ...     def on_epoch_finish(self, training):
    ...         pass
    Traceback (most recent call last):
    TypeError: Typo.on_epoch_finish is never called; did you mean on_epoch_begin? ...
    """

    on_every_rank: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls):
            if name.startswith("on_") and name not in EVENTS:
                near = difflib.get_close_matches(name, EVENTS, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}? " if near else ""
                raise TypeError(f"{cls.__name__}.{name} is never called; {hint}(all: {', '.join(EVENTS)})")

    def on_train_begin(self, training: Training) -> None:
        """Receive the training before its first step; one that goes on has ``training.step`` above 0."""

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        """Receive whether steps are compiled, before the first; once more if the model cannot be."""

    def on_epoch_begin(self, training: Training) -> None:
        """Receive the training before the first step of a pass through the data."""

    def on_epoch_end(self, training: Training) -> None:
        """Receive the training after the last step of a whole pass through the data."""

    def on_step_end(self, training: Training) -> None:
        """Receive the training after a step: ``training.step``, ``.loss`` and ``.lr`` are those of it."""

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Receive an evaluation on the validation part; ``best`` is True if none before was better."""

    def on_interrupt(self, training: Training) -> None:
        """Note that Ctrl-C or SIGTERM ends the training, between two steps, after something was learned."""

    def on_diverge(self, training: Training) -> str | None:
        """Return a sentence about why the loss is not finite, which the error then ends with; or None.

        ``training.batch`` has the inputs and targets of the step.
        """
        return None

    def on_train_end(self, training: Training) -> None:
        """Receive the training after its last step, with the last state; the best is put back after it."""

    def on_exit(self, training: Training) -> None:
        """Note that training is over: the last method that is called, also where an error ended it."""

    def on_notice(self, training: Training | None, sentence: str) -> None:
        """Receive a sentence for the user; ``training`` is None where it comes before training begins."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the callback has to remember, as plain data; nothing here."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned."""


EVENTS: Final = tuple(name for name in vars(Callback) if name.startswith("on_"))
"""The methods that are called."""


class CallbackList:
    """Several callbacks, which are told one after the other; a method that is not overridden costs nothing.

    Parameters
    ----------
    callbacks : sequence of Callback
        They are told in this order.
    is_writer : bool
        Whether those are told too that are for one process alone.

    Raises
    ------
    TrainingError
        If one is no Callback.
    """

    def __init__(self, callbacks: Sequence[Callback], *, is_writer: bool = True) -> None:
        given: Sequence[object] = callbacks
        for callback in given:
            if not isinstance(callback, Callback):
                what = (
                    f"the class {callback.__name__}; make one: {callback.__name__}()"
                    if isinstance(callback, type)
                    else f"a {type(callback).__name__}; derive it from training.Callback"
                )
                raise TrainingError(f"callbacks holds {what}")
        self.callbacks = list(callbacks)
        self._tell(told=[callback for callback in callbacks if is_writer or callback.on_every_rank])

    def _tell(self, told: Sequence[Callback]) -> None:
        """Let some of them be told."""
        self.methods: dict[str, list[Callable[..., Any]]] = {
            event: [
                getattr(callback, event)
                for callback in told
                if getattr(type(callback), event) is not getattr(Callback, event) or event in vars(callback)
            ]
            for event in EVENTS
        }
        self._all = dict(self.methods)

    def tell_all(self) -> None:
        """Let those be told too that are for the process that writes alone, as it is this one now."""
        self._tell(self.callbacks)

    def listen(self, callback: Callback, event: str, switch: bool) -> None:
        """Let a callback be told of an event, or with False be told no more, so that it costs nothing."""
        method = getattr(callback, event)
        told = [one for one in self.methods[event] if one != method]
        if switch:  # in its place: who saves a state has to be told after the others
            told = [one for one in self._all[event] if one in (*told, method)]
        self.methods[event] = told  # another list: one may be gone through

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of those callbacks that have one, with the names of their classes.

        One without a state has an empty one here, if another of its class has one: they come back in order.
        """
        states = [(type(callback).__name__, callback.state_dict()) for callback in self.callbacks]
        named = {name for name, state in states if state}
        return [{"class": name, "state": state} for name, state in states if name in named]

    def load_state_dict(self, states: Sequence[Mapping[str, Any]]) -> list[str]:
        """Give each callback its state; return the classes of the states that none was there for."""
        waiting = list(self.callbacks)
        left = []
        for entry in states:
            found = next((one for one in waiting if type(one).__name__ == entry["class"]), None)
            if found is not None:
                waiting.remove(found)
            if not entry["state"]:
                continue
            if found is None:
                left.append(str(entry["class"]))
            else:
                found.load_state_dict(entry["state"])
        return left
