"""A run: train by a recipe, evaluate once on the test part, and write down all of it.

The test part is looked at once, at the end, with the state that was the best on the validation part.

Where several processes train together, each of them comes here. What one of them finds wrong before training
is an error of all. The first one claims the directory and writes; the others evaluate with it, and have ended
when it draws.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.data import Dataset, find_augmentation
from tinygrad_mnist.data.scaling import page_of
from tinygrad_mnist.numbers import percent_text
from tinygrad_mnist.training.checkpoints.checkpoint import Checkpoint
from tinygrad_mnist.training.checkpoints.checkpointing import EVERY
from tinygrad_mnist.training.display.tensorboard import TensorBoard
from tinygrad_mnist.training.distributed.abort import ending_all
from tinygrad_mnist.training.distributed.agreement import agreed, from_writer, require_equal_versions
from tinygrad_mnist.training.distributed.communicator import Communicator, as_communicator
from tinygrad_mnist.training.distributed.recovery import again_if_lost
from tinygrad_mnist.training.errors import DivergedError, RunError, is_interrupt
from tinygrad_mnist.training.evaluation import Evaluation, evaluate
from tinygrad_mnist.training.loop.by_recipe import planned
from tinygrad_mnist.training.loop.callbacks import Callback
from tinygrad_mnist.training.loop.history import History
from tinygrad_mnist.training.loop.interrupts import deferred
from tinygrad_mnist.training.loop.result import Fit
from tinygrad_mnist.training.loop.threads import threads_in_use
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.recipe.recipe_file import recipe_text
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.report.reproduction import extensions
from tinygrad_mnist.training.report.trained_run import TrainedRun, data_hashes
from tinygrad_mnist.training.report.write import write_report
from tinygrad_mnist.training.runs.directory import CHECKPOINT, PICTURES, REPORT, TENSORBOARD, RunDirectory
from tinygrad_mnist.training.runs.pictures import draw_pictures
from tinygrad_mnist.training.runs.ranks import directory_of_all, processes_of, require_same_run
from tinygrad_mnist.training.runs.recorder import Recorder
from tinygrad_mnist.training.runs.versions import machine, versions
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import Parts, data_title, notify_of_background, split


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a run.

    Of several processes the first one has all of it. The others have what was known when it began to draw: no
    pictures, no report.

    Parameters
    ----------
    summary : dict
        As ``summary.json`` has it; see `train`.
    directory : Path
        The run directory.
    pictures : tuple of Path
        The pictures in it.
    checkpoint : Checkpoint
        The trained model.
    missing : tuple of Path
        Files that could not be written after training, as on a full disk. The callbacks were told why.
    interrupted : bool
        Whether Ctrl-C ended the drawing of the pictures; those that are not there are in `missing`, too.
    report : Path or None
        The page about the run, if it was written.
    """

    summary: dict[str, Any]
    directory: Path
    pictures: tuple[Path, ...]
    checkpoint: Checkpoint
    missing: tuple[Path, ...] = ()
    interrupted: bool = False
    report: Path | None = None


def train(
    recipe: Recipe,
    dataset: Dataset,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    source: str | None = None,
    callbacks: Sequence[Callback] = (),
    jit: str = "auto",
    report: bool = True,
    tensorboard: bool = False,
    checkpoint_every: str = EVERY,
    communicator: Any = None,
) -> Outcome:
    """Train a digit recogniser and write a run directory.

    Equal recipes, data, seeds, numbers of threads and processes, and ``jit`` give equal bits on the same
    machine.

    The directory receives, while training goes on, ``last.npz`` (the state to go on from, with `resume_run`)
    and ``previous.npz`` (the one before), ``metrics.jsonl`` and ``checkpoint.npz`` (the evaluations and the
    best state so far, with ``last.npz`` and at evaluations five seconds apart), and at the end
    ``predictions.png``, ``training.png`` (where matplotlib is installed), ``graph.svg``, ``graph.html``
    (where there is something to lay them out), ``report.html`` with its pictures in ``pictures/``, and
    ``summary.json``:

    - ``recipe``, ``changes`` (what differs from the recipe of that name) and ``config`` (all values of it),
      ``model_file`` (path, function and SHA-256, where a file of Python builds the model; else null),
      ``data``, ``data_source``, ``class_names``, ``seed``, ``threads`` (of BLAS, as asked for; null if
      unknown), ``versions``, ``data_sha256`` (of the training and the test part), ``notices`` (what was said
      until the end of training);
    - ``processes``: null for one process; of several their number, ``ranks``, how many of them ran on each of
      the ``hosts``, the mean share of the time of training, ``waiting_share``, that one of them spent on
      exchanges with the others, and those that were ``lost`` on the way;
    - ``jit`` (as asked for), ``compiled`` (whether the steps were), ``compiled_reason`` (why, in words);
    - ``parameters``: numbers that were learned;
    - ``epochs``, ``steps``: what was done; ``best_epoch``, ``best_step``: when the state that was kept was
      reached; ``extended``: for each time that the run was made longer the ``epochs`` until then, the
      ``steps`` done, and whether it had ``ended`` by itself; ``interrupted``; ``complete`` (whether
      pictures and report were written, too);
    - ``train_accuracy``, ``validation_accuracy``, ``test_accuracy`` (0 to 1) and ``test_loss`` (without label
      smoothing): of that state, on all of each part; ``train_images``, ``validation_images``,
      ``test_images``: how many;
    - ``train_seconds``: wall time of the steps (drawing and standardising batches, forward, backward,
      clipping, update, and their compiling where they are compiled), without evaluations, reading of data,
      and writing of files; ``images_per_second``: images seen in that time.

    Parameters
    ----------
    recipe : Recipe
        The model, and how to train it.
    dataset : Dataset
        The data.
    seed : int
        The root of all randomness, at least 0.
    out : path-like, optional
        The directory to write to; see `RunDirectory`. By default ``runs/<recipe>-<time>``, or
        ``runs/<file>-<time>`` for a model of a file.
    source : str, optional
        What is to be asked for to get the data set again; its name by default.
    callbacks : sequence of Callback
        They are told how it goes.
    jit : str
        Whether the steps and evaluations are compiled; see `follow`.
    report : bool
        Whether to write the report.
    tensorboard : bool
        Whether to write event files into the folder ``tensorboard``: see `TensorBoard`.
    checkpoint_every : str
        How often ``last.npz`` is written: "500 steps", "30 seconds", "2 minutes". It is written before the
        first step, on an interrupt and at the end, too. In a directory with an earlier run the first one
        takes that run's place: it is written when it is due, or at the first evaluation.
    communicator : mpi4py.MPI.Comm or Communicator, optional
        The processes that train together, such as ``MPI.COMM_WORLD``: each of them calls `train` with the
        same recipe, data and seed. Directory, report and pictures are written by the first one.

    Returns
    -------
    Outcome

    Raises
    ------
    TrainingError
        If the directory cannot be used, or the loss is no longer finite; or if processes that are to train
        together have other data, recipes, seeds or versions. What one of them finds wrong before the first
        step is an error of all of them. A file that cannot be written once
        training goes on does not end it: the callbacks are told, it is tried again the next time, and it is
        in the outcome's ``missing`` if the disk lacks it at the end.
    DataError
        If the data does not fit the recipe.
    KeyboardInterrupt
        If the user pressed Ctrl-C before anything was learned; the directory is then as it was. Later, the
        first one ends training, and the best state is kept and evaluated all the same; the second one ends
        the run at once. One that comes while the pictures are drawn ends that, and nothing is raised.
    """
    name = recipe.name if recipe.model_file is None else recipe.model_file.name
    communicator = as_communicator(communicator)
    require_equal_versions(communicator)
    with directory_of_all(communicator, lambda: RunDirectory(out, name)) as directory:
        with agreed(communicator):
            rngs = generators(seed)
            parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
            origin = {"data": source or dataset.name, "seed": seed}
            checkpoint = _untrained(recipe, dataset, parts, rngs, origin)
            facts = {"data": data_hashes(dataset), **machine(communicator)}
            told = with_events(callbacks, directory, recipe) if tensorboard else callbacks
            recorder = Recorder(told, directory, checkpoint, facts, checkpoint_every)
        require_same_run(communicator, recipe, seed, jit, facts["data"])
        notify_of_background(find_augmentation(recipe.augmentation), parts.background, recorder.notify)
        result = fit_run(recorder, parts, rngs, jit, communicator)
        return finish(recorder, dataset, parts, result, rngs["sample"], report)


def with_events(callbacks: Sequence[Callback], directory: RunDirectory, recipe: Recipe) -> list[Callback]:
    """Return the callbacks with one that writes event files for TensorBoard, in the process that writes."""
    if not directory.is_ours:
        return list(callbacks)
    return [*callbacks, TensorBoard(directory.file(TENSORBOARD), text=recipe_text(recipe))]


def fit_run(
    recorder: Recorder,
    parts: Parts,
    rngs: Mapping[str, np.random.Generator],
    jit: str,
    communicator: Communicator | None,
    resume: Mapping[str, Any] | None = None,
) -> Fit:
    """Train, or go on. If a new run has learned nothing, leave the directory as it was."""
    directory, checkpoint = recorder.directory, recorder.checkpoint
    try:
        with agreed(communicator):
            training = planned(
                checkpoint.recipe,
                checkpoint.model,
                parts,
                rngs=rngs,
                callbacks=recorder.all,
                jit=jit,
                communicator=communicator,
            )
        result = training.run(resume)
    except DivergedError as error:
        best = recorder.training and recorder.training.best
        if best is None:
            if resume is None:
                directory.withdraw()
            raise
        kept = f"the state of epoch {best.epoch:g} is kept in {directory.file(CHECKPOINT)}"
        raise DivergedError(f"{error}; {kept}") from error
    except BaseException:  # Ctrl-C before anything was learned, too
        if resume is None and (recorder.training is None or recorder.training.step == 0):
            directory.withdraw()
        raise
    if not recorder.is_writer:
        recorder.training = training  # so that callbacks are told what comes now, too
    return result


def finish(
    recorder: Recorder,
    dataset: Dataset,
    parts: Parts,
    result: Fit,
    rng: np.random.Generator,
    report: bool,
) -> Outcome:
    """Evaluate the best state, and write summary, pictures and report."""
    directory, checkpoint = recorder.directory, recorder.checkpoint
    evaluated = _evaluated if result.communicator is None else _evaluated_together
    summary, missing, on_test = evaluated(recorder, dataset, parts, result)
    if not recorder.is_writer:
        origin = {**checkpoint.origin, "jit": summary["jit"], "compiled": summary["compiled"]}
        return Outcome(summary, directory.path, (), replace(checkpoint, origin=origin), missing)
    # not one file could be written, so an earlier run stays as it is; or the directory is gone for good
    if not (recorder.is_owner and directory.path.is_dir()):
        return Outcome(summary, directory.path, (), checkpoint, missing)
    outcome = _with_pictures(summary, on_test, recorder, dataset, result.history, rng, report)
    if not (outcome.interrupted or outcome.missing or recorder.unwritten):
        summary["complete"] = True
        recorder.write_summary(summary)
    return replace(outcome, missing=(*recorder.unwritten, *outcome.missing))


_Evaluated: TypeAlias = tuple[dict[str, Any], tuple[Path, ...], Evaluation]
"""The summary, the files that could not be written until then, and the evaluation on the test part."""


def _evaluated(recorder: Recorder, dataset: Dataset, parts: Parts, result: Fit) -> _Evaluated:
    """Evaluate the best state, and write the summary; the first Ctrl-C does not end that."""
    try:
        return _evaluate_all(recorder, dataset, parts, result)
    except KeyboardInterrupt:
        if result.interrupted:
            raise
        recorder.tell("on_interrupt")
        return _evaluate_all(recorder, dataset, parts, result)


def _evaluated_together(recorder: Recorder, dataset: Dataset, parts: Parts, result: Fit) -> _Evaluated:
    """Do the same in several processes, where a signal waits: all of them have to take part in exchanges."""
    ranks = result.communicator
    assert ranks is not None
    with ending_all(ranks), deferred() as interrupts:
        found = again_if_lost(ranks, partial(_evaluate_all, recorder, dataset, parts, result))
    try:
        with agreed(ranks):
            interrupts.take()
    except KeyboardInterrupt:
        if result.interrupted:
            raise
        recorder.tell("on_interrupt")
    return found


def _evaluate_all(recorder: Recorder, dataset: Dataset, parts: Parts, result: Fit) -> _Evaluated:
    """Evaluate the best state on the training and the test part, and write the summary."""
    ranks, forward, standardizer = result.communicator, result.forward, recorder.checkpoint.standardizer
    with agreed(ranks):
        if ranks is None or ranks.is_writer:
            recorder.complete(result)
    on_train, on_test = (
        evaluate(forward, images, labels, standardizer, communicator=ranks)
        for images, labels in (
            (parts.train_images, parts.train_labels),
            (dataset.test_images, dataset.test_labels),
        )
    )
    processes = processes_of(result)

    def written() -> tuple[dict[str, Any], tuple[Path, ...]]:
        summary = _summary(recorder, dataset, parts, result, on_train, on_test, processes)
        recorder.write_summary(summary)
        return summary, tuple(recorder.unwritten)

    summary, missing = from_writer(ranks, written)
    return summary, missing, on_test


def _with_pictures(
    summary: dict[str, Any],
    on_test: Evaluation,
    recorder: Recorder,
    dataset: Dataset,
    history: History,
    rng: np.random.Generator,
    report: bool,
) -> Outcome:
    """Draw the pictures and write the report; Ctrl-C ends that, and costs nothing else."""
    directory, checkpoint = recorder.directory, recorder.checkpoint
    title = data_title(dataset.name, summary["data_source"])
    interrupted = False
    try:
        with suppress(OSError):  # what is drawn over it says so
            directory.clear_drawn()
        pictures, undrawn = draw_pictures(
            directory,
            checkpoint,
            dataset,
            on_test.probabilities,
            history,
            f"{checkpoint.recipe.name}, {title}: {percent_text(on_test.accuracy)} of the test part "
            "recognised",
            rng,
            recorder.notify,
        )
        if report:
            given = on_test.probabilities
            write_report(TrainedRun(directory.path, checkpoint, summary, history, dataset, given=given))
    except RunError as error:  # of the report: that the pictures could not be written has been said
        recorder.notify(str(error))
        undrawn += (directory.file(REPORT),)
    except BaseException as error:
        if not is_interrupt(error):
            raise
        interrupted = True
        paths = [directory.file(name) for name in (*PICTURES, *([REPORT] if report else []))]
        pictures = tuple(path for path in paths if path.exists())
        undrawn = tuple(path for path in paths if path not in pictures)
        recorder.notify(f"interrupted: {', '.join(path.name for path in undrawn)} not drawn")
    page = directory.file(REPORT)
    return Outcome(
        summary,
        directory.path,
        pictures,
        checkpoint,
        undrawn,
        interrupted=interrupted,
        report=page if report and page.exists() else None,
    )


def new_model(recipe: Recipe, parts: Parts, rngs: Mapping[str, np.random.Generator]) -> nn.Module:
    """Return a model with new weights, which draws from the generators of a run."""
    return build_model(
        recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )


def _untrained(
    recipe: Recipe,
    dataset: Dataset,
    parts: Parts,
    rngs: Mapping[str, np.random.Generator],
    origin: dict[str, Any],
) -> Checkpoint:
    """Return a checkpoint with a new model. The model is trained in place, so this stays the checkpoint."""
    return Checkpoint(
        model=new_model(recipe, parts, rngs),
        recipe=recipe,
        image_shape=dataset.image_shape,
        class_names=dataset.class_names,
        standardizer=parts.standardizer,
        origin={
            **origin,
            "dataset": dataset.name,
            "train_images": len(parts.train_images),
            "is_centred": dataset.is_centred,
            "page": page_of(parts.train_images[:1000]),
            "background": parts.background,
        },
    )


def _summary(
    recorder: Recorder,
    dataset: Dataset,
    parts: Parts,
    result: Fit,
    on_train: Evaluation,
    on_test: Evaluation,
    processes: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return what ``summary.json`` holds; `train` documents it."""
    checkpoint = recorder.checkpoint
    recipe, steps = checkpoint.recipe, len(result.history.losses)
    assert result.plan is not None
    assert result.best is not None
    return {
        "recipe": recipe.name,
        "changes": recipe.changes(),
        "model_file": recipe.model_file and recipe.model_file.to_dict(),
        "data": dataset.name,
        "data_source": checkpoint.origin["data"],
        "class_names": list(checkpoint.class_names),
        "seed": checkpoint.origin["seed"],
        "parameters": result.plan.parameters,
        "epochs": steps / result.plan.steps_per_epoch,
        "steps": steps,
        "best_epoch": result.best.epoch,
        "best_step": result.best.step,
        "interrupted": result.interrupted,
        "extended": [one._asdict() for one in extensions(checkpoint.origin)],
        "complete": False,
        "train_seconds": result.seconds,
        "images_per_second": result.images / result.seconds if result.seconds else 0.0,  # Ctrl-C in the first
        "train_accuracy": on_train.accuracy,
        "validation_accuracy": result.best.validation_accuracy,
        "test_accuracy": on_test.accuracy,
        "test_loss": on_test.loss,
        "train_images": len(parts.train_images),
        "validation_images": len(parts.validation_images),
        "test_images": len(dataset.test_images),
        "threads": threads_in_use(),
        "processes": processes,
        "jit": result.decision.jit,
        "compiled": result.decision.compiled,
        "compiled_reason": result.decision.reason,
        "versions": versions(),
        "data_sha256": recorder.facts["data"],
        "notices": list(recorder.notices),
        "config": recipe.to_dict(),
    }
