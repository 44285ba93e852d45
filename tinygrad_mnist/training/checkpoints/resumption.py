"""The whole state of a training, and a training that goes on from it to the same bits.

What is random in the batches is saved as it was at the beginning of the pass that is under way: one draw
there decides on the order of the pass, so the batches that are done are drawn again and left out. All other
random states are those between two steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.checkpoints.random_state import random_state, set_random_state
from tinygrad_mnist.training.errors import CheckpointError, TrainingError
from tinygrad_mnist.training.loop.compilation import JitDecision, hindrance
from tinygrad_mnist.training.loop.history import History, Record
from tinygrad_mnist.training.loop.sources import opened

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
    model, source = training.model, training.data
    schedule, average, best = training.schedule, training.average, training.best
    return {
        "model": model.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "schedule": None if schedule is None else schedule.state_dict(),
        "average": None if average is None else average.state_dict(),
        "data": source.state_dict() if hasattr(source, "state_dict") else None,
        "random": random_state(model),
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
    """Put a training that has not begun where another one was; see `Training.load_state_dict`."""
    settings = _settings(training)
    _require_same_model(state["model"], training.model.state_dict())
    _require_same_settings(state["settings"], settings)
    is_longer = state["settings"]["epochs"] != settings["epochs"]
    _load_decision(training, state["decision"])
    training.model.load_state_dict(state["model"])
    training.optimizer.load_state_dict(state["optimizer"])
    if training.schedule is not None:
        schedule = state["schedule"]
        if is_longer:  # as it was laid out here, over another number of steps, at the step that was reached
            schedule = {**training.schedule.state_dict(), "last_epoch": schedule["last_epoch"]}
        training.schedule.load_state_dict(schedule)
    if training.average is not None:
        training.average.load_state_dict(state["average"])
    _load_position(training, state, is_longer)
    if state["data"] is not None:
        training.data.load_state_dict(state["data"])  # type: ignore[attr-defined]
    training.drawn = opened(training.data, training.batch_number) if training.batch_number else None
    left = training.callbacks.load_state_dict(state["callbacks"])
    set_random_state(training.model, state["random"])  # last: a pass may draw from the same generator
    if left:
        training.notify(f"the checkpoint has states of callbacks that are not here: {', '.join(left)}")


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


def _load_position(training: Training, state: Mapping[str, Any], is_longer: bool) -> None:
    """Take over what was done so far."""
    position, best = state["position"], state["best"]
    training.step, training.batch_number = position["step"], position["batch"]
    training.phase = position["phase"]
    training.samples, training.seconds = position["samples"], position["seconds"]
    training.stopped = position["stopped"] and not is_longer
    training.history = history = History.from_dict(state["history"])
    training.lr = history.rates[-1] if history.rates else training.lr
    training.loss = history.losses[-1] if history.losses else math.nan
    training.best = Record.from_dict(best["record"]) if best else None
    training.best_state = best["state"] if best else None


def _load_decision(training: Training, values: Mapping[str, Any]) -> None:
    """Take over the decision whether to compile, since compiled steps round otherwise."""
    saved, own = JitDecision(**values), training.decision
    if saved.compiled != own.compiled and own.jit != "auto":
        raise CheckpointError(
            f"until now the steps were {'' if saved.compiled else 'not '}compiled, so with jit={own.jit!r} "
            "the results would change; leave it out"
        )
    # whatever was decided here: by its steps alone, it need not have come to whether compiling is possible
    if saved.compiled and (reason := hindrance()):
        training.warn(
            f"until now the steps were compiled, but {reason}: results will differ in their last digits"
        )
        return
    training.decision = saved


# ---- checks ----------------------------------------------------------------------------------------------


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
