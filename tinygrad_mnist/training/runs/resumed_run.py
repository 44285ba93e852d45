"""Runs that go on: from the last state that was saved, to the bits that they would have ended in.

A run that was killed after its last step, while it was evaluated or drawn, is finished here, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.files import json_line
from tinygrad_mnist.numbers import printable
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint, load_checkpoint, recipe_of_checkpoint
from tinygrad_mnist.training.checkpoints.checkpointing import EVERY
from tinygrad_mnist.training.display.tensorboard import is_installed
from tinygrad_mnist.training.distributed.agreement import agreed, from_writer, require_equal_versions
from tinygrad_mnist.training.distributed.communicator import Communicator, as_communicator
from tinygrad_mnist.training.errors import CheckpointError, RecipeError, RunError, TrainingError
from tinygrad_mnist.training.loop.callbacks import Callback, CallbackList
from tinygrad_mnist.training.loop.history import Record
from tinygrad_mnist.training.loop.result import Fit
from tinygrad_mnist.training.loop.spread import steps_of
from tinygrad_mnist.training.loop.threads import threads_as
from tinygrad_mnist.training.recipe.model_file import ModelFile
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.report.reproduction import EXTENDED, Extension, extensions
from tinygrad_mnist.training.report.trained_run import data_hashes
from tinygrad_mnist.training.runs.directory import (
    CHECKPOINT,
    LAST,
    METRICS,
    PICTURES,
    PREVIOUS,
    REPORT,
    SUMMARY,
    RunDirectory,
)
from tinygrad_mnist.training.runs.ranks import directory_of_all, require_same_run
from tinygrad_mnist.training.runs.recorder import RUN, Recorder
from tinygrad_mnist.training.runs.run import Outcome, finish, fit_run, new_model, with_events
from tinygrad_mnist.training.runs.versions import differences, machine
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import load_data, split


def resume_run(
    run: str | os.PathLike[str],
    changes: Mapping[str, Any] | None = None,
    *,
    data: str | Dataset | None = None,
    model: ModelFile | None = None,
    seed: int | None = None,
    threads: int | None = None,
    jit: str = "auto",
    callbacks: Sequence[Callback] = (),
    tensorboard: bool = False,
    report: bool = True,
    checkpoint_every: str = EVERY,
    communicator: Any = None,
) -> Outcome:
    """Go on with a run that `train` began, from the last state that it saved.

    It ends in the bits in which it would have ended without an interruption: with the same data, seed, number
    of threads, processes and versions, on the same machine. A run of which all is there stays as it is.
    It may go on with another number of processes: losses are then those without an interruption but for
    rounding.

    Parameters
    ----------
    run : path-like
        The run directory; or a file in it, such as ``previous.npz`` where ``last.npz`` is damaged.
    changes : mapping, optional
        ``{"epochs": 20}`` for more epochs: the learning rate goes on as in a training of that many. Other
        values of the recipe may be given, but have to be those of the run.
    data : str or Dataset, optional
        The data of the run, where it is in another place now.
    model : ModelFile, optional
        The file that builds the model, where it is in another place now.
    seed : int, optional
        The seed of the run, which cannot be changed.
    threads : int, optional
        Threads that BLAS computes with; as many as until now by default, where threadpoolctl can say so and
        the number of processes is the same.
    jit : str
        With "auto" steps are compiled if they were until now.
    callbacks : sequence of Callback
        They are told how it goes.
    tensorboard : bool
        Whether to write event files. Where the run has some, that goes on in any case.
    report, checkpoint_every, communicator
        As in `train`. Of several processes the first one reads the state, and sends it to the others; the
        data, and the file that builds a model, are read by each.

    Returns
    -------
    Outcome

    Raises
    ------
    RunError
        If there is no such directory, or another process trains in it.
    CheckpointError
        If it holds no state to go on from, or a damaged one.
    RecipeError
        If something is to be changed that cannot be, or there are to be fewer epochs than are done.
    TrainingError, DataError, KeyboardInterrupt
        As in `train`; and if the data or the model's file is not that of the run.
    """
    communicator = as_communicator(communicator)
    require_equal_versions(communicator)
    file = Path(os.path.expanduser(run))
    if not file.is_file():
        file /= LAST
    with directory_of_all(communicator, lambda: RunDirectory.of_run(file.parent)) as directory:
        heard = CallbackList(callbacks, is_writer=directory.is_ours).methods["on_notice"]

        def notify(sentence: str) -> None:
            for method in heard:
                method(None, sentence)

        kept = from_writer(communicator, lambda: _without_model(_load(file, model, notify)))
        with agreed(communicator):
            recipe = _continued(kept, changes or {}, seed)
            dataset, source = _data(kept, data, notify)
            goes_on = tensorboard or (directory.has_events and is_installed())
            told = with_events(callbacks, directory, recipe) if goes_on else callbacks
        require_same_run(communicator, recipe, kept.origin["seed"], jit, _facts(kept)["data"])
        with threads_as(threads or _threads_until_now(kept, communicator)):
            with agreed(communicator):
                rngs = generators(kept.origin["seed"])
                parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
                parts = replace(parts, standardizer=kept.standardizer)
                checkpoint = _goes_on(kept, recipe, new_model(recipe, parts, rngs), source)
                facts = {"data": _facts(kept)["data"], **machine(communicator)}
                recorder = Recorder(told, directory, checkpoint, facts, checkpoint_every)
                if differ := differences(_facts(kept), facts):
                    recorder.notify(
                        f"this is not quite the machine of before ({'; '.join(differ)}): results may differ "
                        "in their last digits from those without an interruption"
                    )
                recorder.keeps_previous = file.name == LAST  # a damaged one would take the place of this
                if directory.is_ours and _facts(kept).get("replaces"):
                    directory.clear(file.name)
            result = fit_run(recorder, parts, rngs, jit, communicator, resume=kept.training)
            summary = from_writer(
                communicator, lambda: _whole(recorder, result) if recorder.training is None else None
            )
            if summary:
                return _unchanged(recorder, summary)
            return finish(recorder, dataset, parts, result, rngs["sample"], report)


def _without_model(kept: Checkpoint) -> Checkpoint:
    """Return a checkpoint that can be sent: each process builds the model, which may be of a user's class."""
    return replace(kept, model=nn.Identity())


def _threads_until_now(kept: Checkpoint, communicator: Communicator | None) -> int | None:
    """Return the number of threads that the run had; None if the number of processes is another now."""
    before, now = _facts(kept).get("processes", 1), 1 if communicator is None else communicator.size
    threads: int | None = _facts(kept).get("threads")
    return threads if before == now else None


def _goes_on(kept: Checkpoint, recipe: Recipe, model: nn.Module, source: str) -> Checkpoint:
    """Return the checkpoint of a run that goes on, with a model that has not its state yet."""
    origin = {**kept.origin, "data": source}
    if recipe.epochs != kept.recipe.epochs:
        origin[EXTENDED] = [list(one) for one in (*extensions(origin), _extension(kept))]
    return replace(kept, model=model, recipe=recipe, training=None, origin=origin)


def _load(file: Path, model: ModelFile | None, notify: Any) -> Checkpoint:
    """Return the checkpoint to go on from."""
    if not file.exists():
        previous = file.with_name(PREVIOUS)
        if previous.exists():
            raise CheckpointError(
                f"{file.parent} has no {LAST}; name {previous} to go on from the one before"
            )
        raise CheckpointError(
            f"{file.parent} holds the weights of a model alone, and no {LAST} with the state of its training "
            "to go on from; train anew"
        )
    if model is not None:
        trained = recipe_of_checkpoint(file).model_file
        if trained is not None and trained.sha256 != model.sha256:  # it is not even run
            raise CheckpointError(
                f"{model} is not the file that built the model of {file.parent}, or has changed since; a run "
                "goes on with the same model"
            )
    kept = load_checkpoint(file, training=True, model=model, notify=notify)
    if not isinstance(kept.training, dict) or not isinstance(kept.training.get(RUN), dict):
        raise CheckpointError(f"{file} holds the state of a training that was no run; fit(resume=) takes it")
    return kept


def _facts(kept: Checkpoint) -> dict[str, Any]:
    assert kept.training is not None
    facts: dict[str, Any] = kept.training[RUN]
    return facts


def _continued(kept: Checkpoint, changes: Mapping[str, Any], seed: int | None) -> Recipe:
    """Return the recipe with as many epochs as are asked for; refuse any other change."""
    if seed is not None and seed != kept.origin["seed"]:
        raise _refusal("seed", kept.origin["seed"])
    recipe = kept.recipe
    for field, value in changes.items():
        if field != "epochs" and getattr(recipe.changed(**{field: value}), field) != getattr(recipe, field):
            raise _refusal(field, getattr(recipe, field))
    if "epochs" not in changes:
        return recipe
    longer = recipe.changed(epochs=changes["epochs"])
    assert kept.training is not None
    done, steps_per_epoch = kept.training["position"]["step"], kept.training["history"]["steps_per_epoch"]
    if steps_of(longer.epochs, steps_per_epoch) < done:
        raise RecipeError(
            f"epochs cannot be {longer.epochs:g}, as {done / steps_per_epoch:g} are done; name more", "epochs"
        )
    return longer


def _extension(kept: Checkpoint) -> Extension:
    """Return what a run was that is made longer now."""
    assert kept.training is not None
    position, steps_per_epoch = kept.training["position"], kept.training["history"]["steps_per_epoch"]
    steps = position["step"]
    ended = position["stopped"] or steps == steps_of(kept.recipe.epochs, steps_per_epoch)
    return Extension(kept.recipe.epochs, steps, ended)


def _refusal(field: str, value: Any) -> RecipeError:
    return RecipeError(
        f"{field} cannot be changed when a run goes on; it is {value}: leave it out, or train a new run",
        field,
    )


def _data(kept: Checkpoint, data: str | Dataset | None, notify: Any) -> tuple[Dataset, str]:
    """Return the data of the run, and what is to be asked for to get it."""
    if isinstance(data, Dataset):
        dataset, source = data, kept.origin["data"]
    else:
        dataset, source = load_data(data or kept.origin["data"], notify)
    if data_hashes(dataset) != _facts(kept).get("data"):
        raise RunError(
            f"{printable(str(source))} is not the data that the run was trained on until now: images or "
            "labels differ; name the same data"
        )
    return dataset, source


# ---- a run of which all is there ---------------------------------------------------------------------------


def _whole(recorder: Recorder, result: Fit) -> dict[str, Any] | None:
    """Return the summary of a run whose files are those of its last state; None if some are to be written."""
    directory = recorder.directory
    try:
        summary = json.loads(directory.file(SUMMARY).read_text("utf-8"))
        lines = directory.file(METRICS).read_text("utf-8").splitlines()
        records = [json_line(Record.from_dict(json.loads(line)).to_dict()) for line in lines]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    is_complete = (
        isinstance(summary, dict)
        and summary.get("complete")
        and not summary.get("interrupted")
        and summary.get("steps") == len(result.history.losses)
        and records == [json_line(record.to_dict()) for record in result.history.records]
        and _has_best_state(recorder)
    )
    return summary if is_complete else None


def _has_best_state(recorder: Recorder) -> bool:
    """Return whether the checkpoint in the directory has the weights that the model has now."""
    path, own = recorder.directory.file(CHECKPOINT), recorder.checkpoint
    try:
        saved = load_checkpoint(path, model=own.recipe.model_file).model.state_dict()
    except TrainingError:
        return False
    state = own.model.state_dict()
    return saved.keys() == state.keys() and all(np.array_equal(saved[name], state[name]) for name in state)


def _unchanged(recorder: Recorder, summary: dict[str, Any]) -> Outcome:
    directory = recorder.directory
    page = directory.file(REPORT)
    return Outcome(
        summary,
        directory.path,
        tuple(path for path in map(directory.file, PICTURES) if path.exists()),
        recorder.checkpoint,
        report=page if page.exists() else None,
    )
