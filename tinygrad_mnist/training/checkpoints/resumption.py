"""The whole state of a training, and a training that goes on from it to the same bits.

What is random in the batches is saved as it was at the beginning of the pass that is under way: one draw
there decides on the order of the pass, so the batches that are done are drawn again and left out. All other
random states are those between two steps: those of the model, of the loss, and of both sources of batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.optim import LRScheduler
from tinygrad_mnist.training.checkpoints.random_state import (
    generators_of,
    random_state,
    set_generators_of,
    set_random_state,
)
from tinygrad_mnist.training.errors import CheckpointError, TrainingError
from tinygrad_mnist.training.loop.compilation import JitDecision, hindrance
from tinygrad_mnist.training.loop.history import History, Record, known
from tinygrad_mnist.training.recipe.choices import JIT

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.course import Training

STEPPED, EVALUATED, DONE = range(3)
"""How far a training is between two steps: the step is done, or the evaluation after it too, or all."""

_MAY_DIFFER: Final = frozenset({"epochs"})
"""The settings that may be others when training goes on."""


def state_of(training: Training) -> dict[str, Any]:
    """Return the state of a training: plain data and arrays, none of which it changes later.

    Raises
    ------
    TrainingError
        If an interrupt ended the last step half-way.
    """
    if not training.is_whole:
        raise TrainingError("a step is half done, so this state is none that training could go on from")
    model = training.model
    schedule, average, best = training.schedule, training.average, training.best
    return {
        "model": model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "schedule": None if schedule is None else schedule.state_dict(),
        "average": None if average is None else average.state_dict(),
        "data": _state_of_source(training.data),
        "random": random_state(model),
        "generators": generators_of(_owners(training)),
        "loss": _loss_state(training),
        "validation": _state_of_source(training.validation),
        "modes": _modes(training),
        "frozen": {"at first": list(training.frozen_at_first), "now": frozen(training)},
        "position": {
            "step": training.step,
            "batch": training.batch_number,
            "phase": training.phase,
            "samples": training.samples,
            "seconds": training.seconds,
            "stopped": training.stopped,
        },
        "settings": _settings(training),
        "history": training.history.to_dict(),
        "best": best and {"record": best.to_dict(), "state": training.best_state},
        "callbacks": training.callbacks.state_dict(),
        "decision": asdict(training.decision),
    }


def restore(training: Training, state: Mapping[str, Any]) -> None:
    """Put a training that has not begun where another one was; see `Training.load_state_dict`.

    All that can be checked is, before anything is loaded. What is found only by loading, as by a callback of
    the user's, has the parts put back that were loaded before.
    """
    reached = _Reached.read(training, state)
    undo = _undoing(training, state, reached.is_longer)
    try:
        left = _load(training, state, reached)
    except BaseException:
        training.drawn = None
        for action in reversed(undo):
            with suppress(Exception):
                action()
        raise
    reached.take_over(training)
    for sentence in reached.warnings:
        training.warn(sentence)
    if left:
        training.notify(f"the checkpoint has states of callbacks that are not here: {', '.join(left)}")


# ---- the parts of a training -------------------------------------------------------------------------------


def frozen(training: Training) -> list[str]:
    """Return the places of the parameters that get no gradients."""
    return [place for place, parameter in _parameters(training) if not parameter.requires_grad]


def _modules(training: Training) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of the model, and those of a loss that is one, with their places."""
    for name, owner in (("model", training.model), ("loss", training.loss_function)):
        if isinstance(owner, nn.Module):
            for path, module in owner.named_modules():
                yield f"{name}:{path}", module


def _modes(training: Training) -> dict[str, bool]:
    """Return for each module whether it is in training mode, also inside `nn.evaluation_mode`."""
    return {place: vars(module)["training"] for place, module in _modules(training)}


def _parameters(training: Training) -> Iterator[tuple[str, nn.Parameter]]:
    for name, owner in (("model", training.model), ("loss", training.loss_function)):
        if isinstance(owner, nn.Module):
            for path, parameter in owner.named_parameters():
                yield f"{name}:{path}", parameter


def _owners(training: Training) -> dict[str, object]:
    """Return what may hold generators besides the model."""
    return {"loss": training.loss_function, "data": training.data, "validation": training.validation}


def _loss_state(training: Training) -> dict[str, Any]:
    loss = training.loss_function
    return dict(loss.state_dict()) if isinstance(loss, nn.Module) else {}


def _state_of_source(source: Any) -> Any:
    return source.state_dict() if hasattr(source, "state_dict") else None


def _settings(training: Training) -> dict[str, Any]:
    """Return what has to be the same when training goes on."""
    schedule = training.schedule
    return {
        "epochs": training.epochs,
        "batch_size": getattr(training.data, "batch_size", None),
        "batches a pass": training.batches,
        "accumulate": training.accumulate,
        "clip_norm": training.clip_norm,
        "ema": training.ema,
        "patience": training.patience,
        "evaluate_every": training.evaluate_every,
        "optimizer": type(training.optimizer).__name__,
        "schedule": None if schedule is None else type(schedule).__name__,
    }


# ---- loading -----------------------------------------------------------------------------------------------


def _load(training: Training, state: Mapping[str, Any], reached: _Reached) -> list[str]:
    """Load all parts; return the classes of callbacks that are not here.

    Raises
    ------
    CheckpointError
        If some do not fit; the message names each of them.
    """
    faults: list[str] = []
    left: list[str] = []

    def load(name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # a part may be the user's own, and raise anything
            faults.append(f"{name} ({_sentence(error)})")

    for name, part, saved in _stateful(training, state, reached.is_longer):
        load(name, partial(part.load_state_dict, saved))
    load("modes and frozen parameters", lambda: _load_flags(training, state, reached.warnings))
    load("batches", lambda: _open(training, reached.position["batch"]))
    load("callbacks", lambda: left.extend(training.callbacks.load_state_dict(state["callbacks"])))
    # last: a pass may draw from the same generator
    load("random numbers", lambda: set_random_state(training.model, state["random"]))
    if "generators" in state:
        load("random numbers", lambda: set_generators_of(_owners(training), state["generators"]))
    if faults:
        raise CheckpointError(
            f"the checkpoint does not fit this training, by its {'; and by its '.join(faults)}"
        )
    return left


def _stateful(training: Training, state: Mapping[str, Any], is_longer: bool) -> list[tuple[str, Any, Any]]:
    """Return the parts that load a state, in the order of loading, with names and states."""
    parts: list[tuple[str, Any, Any]] = [("model", training.model, state["model"])]
    optimizer = ("optimizer", training.optimizer, state["optimizer"])
    schedule = []
    if training.schedule is not None:
        saved = state["schedule"]
        schedule = [("schedule", training.schedule, _laid_out(training, saved) if is_longer else saved)]
    # a schedule sets the rates of the optimiser: by its new length, or else they are those that were saved
    parts += [optimizer, *schedule] if is_longer else [*schedule, optimizer]
    if training.average is not None:
        parts.append(("average", training.average, state["average"]))
    if state.get("loss"):
        parts.append(("loss", training.loss_function, state["loss"]))
    if state.get("validation") is not None:
        parts.append(("validation part", training.validation, state["validation"]))
    if state["data"] is not None:
        parts.append(("batches", training.data, state["data"]))
    return parts


def _laid_out(training: Training, saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state of a schedule that is laid out here over another number of steps.

    It is at the step that was reached. One with a `step` of its own may remember more, so it keeps all.
    """
    schedule = training.schedule
    assert schedule is not None
    if _remembers(schedule):
        return saved
    return {**schedule.state_dict(), "last_epoch": saved["last_epoch"]}


def _remembers(schedule: LRScheduler | None) -> bool:
    return schedule is not None and type(schedule).step is not LRScheduler.step


def _load_flags(training: Training, state: Mapping[str, Any], warnings: list[str]) -> None:
    """Let the modules be in their modes, and the parameters frozen that were; older files do not say it."""
    _set_modes(training, state.get("modes", {}))
    if "frozen" not in state:
        return
    first, now, here = state["frozen"]["at first"], state["frozen"]["now"], frozen(training)
    if here not in (first, now):
        warnings.append(
            "other parameters are frozen here than in the training that goes on, so results will differ"
        )
        return
    for place, parameter in _parameters(training):
        if parameter.requires_grad == (place in now):
            parameter.requires_grad_(place not in now)
    training.frozen_at_first = list(first)


def _set_modes(training: Training, modes: Mapping[str, bool]) -> None:
    for place, module in _modules(training):
        module.training = bool(modes.get(place, module.training))


def _open(training: Training, batch: int) -> None:
    training.drawn = training.opened(batch) if batch else None


def _undoing(training: Training, state: Mapping[str, Any], is_longer: bool) -> list[Callable[[], Any]]:
    """Return what puts each part back where it is now; the last is to be called first."""
    owners, modes = _owners(training), _modes(training)
    trained = [(parameter, parameter.requires_grad) for _, parameter in _parameters(training)]
    undo: list[Callable[[], Any]] = [
        partial(set_generators_of, owners, generators_of(owners)),
        partial(set_random_state, training.model, random_state(training.model)),
        partial(_set_modes, training, modes),
        *(partial(parameter.requires_grad_, flag) for parameter, flag in trained),
    ]
    for _, part, _ in [*_stateful(training, state, is_longer), ("callbacks", training.callbacks, None)]:
        with suppress(Exception):  # one of the user's may have no state yet
            undo.append(partial(part.load_state_dict, part.state_dict()))
    return undo


def _sentence(error: Exception) -> str:
    """Return the text of an error in one line."""
    text = " ".join(str(error).replace(":\n  - ", ": ").replace("\n  - ", "; ").split())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


# ---- checks ----------------------------------------------------------------------------------------------

_FORM: Final[dict[str, type | tuple[type, ...]]] = {
    "model": Mapping,
    "optimizer": Mapping,
    "schedule": (Mapping, type(None)),
    "average": (Mapping, type(None)),
    "data": object,
    "random": Mapping,
    "position": Mapping,
    "settings": Mapping,
    "history": Mapping,
    "best": (Mapping, type(None)),
    "callbacks": Sequence,
    "decision": Mapping,
}
"""What the state of a training has, and of which types."""


@dataclass
class _Reached:
    """The part of a state that is plain data: how far a training has come. It is checked."""

    position: Mapping[str, Any]
    history: History
    best: Record | None
    best_state: Mapping[str, Any] | None
    decision: JitDecision
    is_longer: bool
    warnings: list[str]

    @classmethod
    def read(cls, training: Training, state: Mapping[str, Any]) -> _Reached:
        """Check a state, and return what it says."""
        _require_form(state)
        settings, own = _settings(training), training.model.state_dict()
        _require_same_model(state["model"], own)
        _require_same_settings(state["settings"], settings)
        warnings: list[str] = []
        decision = _decision(training, state["decision"], warnings)
        position = state["position"]
        _require_position(training, position)
        try:
            history = History.from_dict(state["history"])
            best = state["best"] and Record.from_dict(state["best"]["record"])
            best_state = state["best"] and state["best"]["state"]
            is_right = _is_history(history, position["step"], best)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"the history in the checkpoint is damaged ({_sentence(error)})") from error
        if not is_right:
            raise CheckpointError(f"the history in the checkpoint is not that of {position['step']} steps")
        if best_state is not None:
            _require_same_model(best_state, own)
        if _loss_state(training) and "loss" not in state:
            warnings.append("the checkpoint has no state of the loss, so results may differ")
        is_longer = state["settings"].get("epochs") != settings["epochs"]
        if (
            is_longer
            and training.schedule is not None
            and _laid_out(training, {"last_epoch": 0}) == {"last_epoch": 0}
        ):
            name = type(training.schedule).__name__
            warnings.append(f"{name} has a step of its own, so it goes on with all its settings of before")
        return cls(position, history, best, best_state, decision, is_longer, warnings)

    def take_over(self, training: Training) -> None:
        """Let a training be there."""
        position, history = self.position, self.history
        training.step, training.batch_number = position["step"], position["batch"]
        training.phase = position["phase"]
        training.samples, training.seconds = position["samples"], position["seconds"]
        training.stopped = position["stopped"] and not self.is_longer
        training.history = history
        training.lr = history.rates[-1] if history.rates else training.lr
        training.loss = history.losses[-1] if history.losses else math.nan
        training.best = self.best
        training.best_state = None if self.best_state is None else dict(self.best_state)
        training.decision = self.decision


def _require_form(state: Any) -> None:
    """Raise an error if this is no state of a training."""
    if not isinstance(state, Mapping):
        raise CheckpointError(f"the state of a training is a dict, not a {type(state).__name__}")
    lacking = [repr(name) for name in _FORM if name not in state]
    faults = [f"it lacks {', '.join(lacking)}"] if lacking else []
    faults += [
        f"{name!r} is of type {type(state[name]).__name__}"
        for name, kind in _FORM.items()
        if name in state and not isinstance(state[name], kind)
    ]
    if faults:
        raise CheckpointError(
            f"this is no state of a training, which `fit(checkpoint=...)` writes: {'; '.join(faults)}"
        )


def _require_position(training: Training, position: Mapping[str, Any]) -> None:
    """Raise an error if a training cannot be there, or is over before."""
    step: Any = position.get("step")
    seconds: Any = position.get("seconds")
    if not _is_count(step):
        raise CheckpointError(f"the checkpoint is damaged: its step is {step!r:.60}")
    expected = {
        "batch": step % training.steps_per_epoch * training.accumulate,
        "phase": position.get("phase") if position.get("phase") in (STEPPED, EVALUATED, DONE) else "known",
        "samples": position.get("samples") if _is_count(position.get("samples")) else "a count",
        "seconds": seconds if _is_number(seconds) and 0 <= seconds < math.inf else "a time",
        "stopped": bool(position.get("stopped")),
    }
    for name, value in expected.items():
        if position.get(name) != value:
            raise CheckpointError(
                f"the checkpoint is damaged: its {name} is {position.get(name)!r:.60} after step {step}"
            )
    if step > training.steps:
        raise CheckpointError(
            f"{count_text(step, 'step')} are done there, and epochs={training.epochs:g} are "
            f"{count_text(training.steps, 'step')} here; name as many epochs, or more"
        )


def _is_history(history: History, step: int, best: Record | None) -> bool:
    """Return whether a history can be that of so many steps."""
    numbers = [*history.losses, *history.rates]
    records = [*history.records, *([] if best is None else [best])]
    return (
        len(history.losses) == len(history.rates) == step
        and all(_is_number(number) for number in numbers)
        and all(_is_record(record) and record.step <= step for record in records)
        and all(_is_count(one.step) for one in history.gradients)
        and _is_count(history.clipped)
    )


def _is_record(record: Record) -> bool:
    needed = (record.epoch, record.seconds, record.lr, record.train_loss, record.validation_loss)
    optional = (record.train_accuracy, record.validation_accuracy)
    return (
        _is_count(record.step)
        and all(map(_is_number, needed))
        and all(number is None or _is_number(number) for number in optional)
        and isinstance(record.metrics, dict)
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and type(value) is not bool


def _decision(training: Training, values: Mapping[str, Any], warnings: list[str]) -> JitDecision:
    """Return the decision whether to compile: that of before, since compiled steps round otherwise."""
    own = training.decision
    try:
        saved = JitDecision(**known(JitDecision, values))
    except TypeError as error:
        raise CheckpointError(
            f"the checkpoint is damaged: its decision whether to compile ({error})"
        ) from error
    if saved.jit not in JIT or type(saved.compiled) is not bool:
        raise CheckpointError(
            f"the checkpoint has a decision whether to compile that is unknown here: {saved!r:.100}"
        )
    if saved.compiled != own.compiled and own.jit != "auto":
        raise CheckpointError(
            f"until now the steps were {'' if saved.compiled else 'not '}compiled, so with jit={own.jit!r} "
            "the results would change; leave it out"
        )
    # whatever was decided here: by its steps alone, it need not have come to whether compiling is possible
    if saved.compiled and (reason := hindrance()):
        warnings.append(
            f"until now the steps were compiled, but {reason}: results will differ in their last digits"
        )
        return own
    return saved


def _require_same_model(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise an error that names what differs between the state of a model and this model."""
    faults = [f"{name} is missing there" for name in own if name not in saved]
    faults += [f"{name} is not in this model" for name in saved if name not in own]
    for name in [name for name in own if name in saved]:
        there, here = np.asarray(saved[name]), np.asarray(own[name])
        if (there.shape, there.dtype) != (here.shape, here.dtype):
            faults.append(f"{name} is {there.dtype} {there.shape} there, and {here.dtype} {here.shape} here")
    if faults:
        more = f"; and {count_text(len(faults) - 3, 'other difference')}" if len(faults) > 3 else ""
        raise CheckpointError(f"the checkpoint is that of another model: {'; '.join(faults[:3])}{more}")


def _require_same_settings(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise an error that names the settings that differ."""
    differ = [
        f"{name} was {saved.get(name)!r} there, and is {own[name]!r} here"
        for name in own
        if name not in _MAY_DIFFER and saved.get(name) != own[name]
    ]
    if differ:
        raise CheckpointError(f"the checkpoint is that of another training: {'; '.join(differ)}")
