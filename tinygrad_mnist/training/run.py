"""A run: train by a recipe, evaluate once on the test part, and write down all of it.

The test part is looked at once, at the end, with the state that was the best on the validation part.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist.data import Dataset, find_augmentation
from tinygrad_mnist.data.scaling import page_of
from tinygrad_mnist.files import write_json, write_json_lines
from tinygrad_mnist.numbers import percent_text
from tinygrad_mnist.training.callbacks import Callback, CallbackList
from tinygrad_mnist.training.checkpoint import Checkpoint, save_checkpoint
from tinygrad_mnist.training.compilation import JitDecision
from tinygrad_mnist.training.course import Fit, Training
from tinygrad_mnist.training.directory import CHECKPOINT, METRICS, PICTURES, REPORT, SUMMARY, RunDirectory
from tinygrad_mnist.training.errors import DivergedError, RunError, is_interrupt, writing
from tinygrad_mnist.training.evaluation import Evaluation, evaluate
from tinygrad_mnist.training.history import History, Record
from tinygrad_mnist.training.loop import follow
from tinygrad_mnist.training.models import build_model
from tinygrad_mnist.training.pictures import draw_pictures
from tinygrad_mnist.training.recipes import Recipe
from tinygrad_mnist.training.report.trained_run import TrainedRun, data_hashes
from tinygrad_mnist.training.report.write import write_report
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.threads import threads_in_use
from tinygrad_mnist.training.training_data import Parts, data_title, notify_of_background, split
from tinygrad_mnist.training.versions import versions


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a run.

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
) -> Outcome:
    """Train a digit recogniser and write a run directory.

    Equal recipes, data, seeds, numbers of threads and ``jit`` give equal bits on the same machine.

    The directory receives ``metrics.jsonl`` and ``checkpoint.npz`` while training goes on (at each
    evaluation, and when it was the best), and at the end ``predictions.png``, ``training.png`` (where
    matplotlib is installed), ``graph.svg``, ``graph.html`` (where there is something to lay them out),
    ``report.html`` with its pictures in ``pictures/``, and ``summary.json``:

    - ``recipe``, ``changes`` (what differs from the recipe of that name) and ``config`` (all values of it),
      ``model_file`` (path, function and SHA-256, where a file of Python builds the model; else null),
      ``data``, ``data_source``, ``class_names``, ``seed``, ``threads`` (of BLAS, as asked for; null if
      unknown), ``versions``, ``data_sha256`` (of the training and the test part), ``notices`` (what was said
      until the end of training);
    - ``jit`` (as asked for), ``compiled`` (whether the steps were), ``compiled_reason`` (why, in words);
    - ``parameters``: numbers that were learned;
    - ``epochs``, ``steps``: what was done; ``best_epoch``, ``best_step``: when the state that was kept was
      reached; ``interrupted``;
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

    Returns
    -------
    Outcome

    Raises
    ------
    TrainingError
        If the directory cannot be used, the checkpoint or the metrics not be written, or the loss is no
        longer finite. What cannot be written after training is in the outcome's ``missing``, and the
        callbacks are told.
    DataError
        If the data does not fit the recipe.
    KeyboardInterrupt
        If the user pressed Ctrl-C before anything was learned; the directory is then as it was. Later, the
        first one ends training, and the best state is kept and evaluated all the same; the second one ends
        the run at once. One that comes while the pictures are drawn ends that, and nothing is raised.
    """
    name = recipe.name if recipe.model_file is None else recipe.model_file.name
    with RunDirectory(out, name) as directory:
        return _train(recipe, dataset, seed, directory, source, callbacks, jit, report)


def _train(
    recipe: Recipe,
    dataset: Dataset,
    seed: int,
    directory: RunDirectory,
    source: str | None,
    callbacks: Sequence[Callback],
    jit: str,
    report: bool,
) -> Outcome:
    """Train and evaluate, and write the files of the run."""
    rngs = generators(seed)
    parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
    checkpoint = _untrained(recipe, dataset, parts, rngs, {"data": source or dataset.name, "seed": seed})
    recorder = _Recorder(callbacks, directory, checkpoint)
    notify_of_background(find_augmentation(recipe.augmentation), parts.background, recorder.notify)
    result = _fit(recorder, parts, rngs, jit)
    try:
        finished = _finish(recorder, dataset, parts, result)
    except KeyboardInterrupt:
        if result.interrupted:
            raise
        recorder.tell("on_interrupt")
        finished = _finish(recorder, dataset, parts, result)
    return _with_pictures(finished, recorder, dataset, result.history, rngs["sample"], report)


@dataclass(frozen=True, eq=False)
class _Finished:
    """A run that has been evaluated: its summary, the test part, and what could not be written."""

    summary: dict[str, Any]
    on_test: Evaluation
    missing: tuple[Path, ...]


def _finish(recorder: _Recorder, dataset: Dataset, parts: Parts, result: Fit) -> _Finished:
    """Evaluate the best state on the training and the test part, and write the summary."""
    recorder.complete(result)
    checkpoint = recorder.checkpoint
    forward, standardizer = result.forward, checkpoint.standardizer
    on_train = evaluate(forward, parts.train_images, parts.train_labels, standardizer)
    on_test = evaluate(forward, dataset.test_images, dataset.test_labels, standardizer)
    summary = _summary(checkpoint, dataset, parts, result, on_train, on_test, recorder.notices)
    return _Finished(summary, on_test, recorder.write_summary(summary))


def _with_pictures(
    finished: _Finished,
    recorder: _Recorder,
    dataset: Dataset,
    history: History,
    rng: np.random.Generator,
    report: bool,
) -> Outcome:
    """Draw the pictures and write the report; Ctrl-C ends that, and costs nothing else."""
    directory, checkpoint, summary = recorder.directory, recorder.checkpoint, finished.summary
    title = data_title(dataset.name, summary["data_source"])
    interrupted = False
    try:
        pictures, undrawn = draw_pictures(
            directory,
            checkpoint,
            dataset,
            finished.on_test.probabilities,
            history,
            f"{checkpoint.recipe.name}, {title}: {percent_text(finished.on_test.accuracy)} of the test part "
            "recognised",
            rng,
            recorder.notify,
        )
        if report:
            given = finished.on_test.probabilities
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
        finished.missing + undrawn,
        interrupted=interrupted,
        report=page if report and page.exists() else None,
    )


def _untrained(
    recipe: Recipe,
    dataset: Dataset,
    parts: Parts,
    rngs: Mapping[str, np.random.Generator],
    origin: dict[str, Any],
) -> Checkpoint:
    """Return a checkpoint with a new model. The model is trained in place, so this stays the checkpoint."""
    model = build_model(
        recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )
    return Checkpoint(
        model=model,
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


def _fit(recorder: _Recorder, parts: Parts, rngs: Mapping[str, np.random.Generator], jit: str) -> Fit:
    """Train. If there is nothing to keep, leave the directory as it was."""
    directory, checkpoint = recorder.directory, recorder.checkpoint
    try:
        return follow(
            checkpoint.recipe,
            checkpoint.model,
            parts,
            rngs=rngs,
            callbacks=[recorder, *recorder.callbacks],
            jit=jit,
        )
    except DivergedError as error:
        if recorder.best is None:
            directory.release()
            raise
        kept = f"the state of epoch {recorder.best.epoch:g} is kept in {directory.file(CHECKPOINT)}"
        raise DivergedError(f"{error}; {kept}") from error
    except BaseException:  # Ctrl-C before anything was learned, too
        directory.release()
        raise


def _summary(
    checkpoint: Checkpoint,
    dataset: Dataset,
    parts: Parts,
    result: Fit,
    on_train: Evaluation,
    on_test: Evaluation,
    notices: list[str],
) -> dict[str, Any]:
    """Return what ``summary.json`` holds; `train` documents it."""
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
        "jit": result.decision.jit,
        "compiled": result.decision.compiled,
        "compiled_reason": result.decision.reason,
        "versions": versions(),
        "data_sha256": data_hashes(dataset),
        "notices": list(notices),
        "config": recipe.to_dict(),
    }


class _Recorder(Callback):
    """A callback that writes metrics and the best checkpoint as they come, and can tell the others."""

    def __init__(
        self, callbacks: Sequence[Callback], directory: RunDirectory, checkpoint: Checkpoint
    ) -> None:
        self.callbacks, self.directory, self.checkpoint = callbacks, directory, checkpoint
        self.training: Training | None = None
        self.records: list[Record] = []  # those that are on the disk; so is the state of the best
        self.best: Record | None = None
        self.notices: list[str] = []

    def on_notice(self, training: Training | None, sentence: str) -> None:
        self.notices.append(sentence)

    def on_train_begin(self, training: Training) -> None:
        self.training = training

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        origin = {**self.checkpoint.origin, "jit": decision.jit, "compiled": decision.compiled}
        self.checkpoint = replace(self.checkpoint, origin=origin)

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        with training.averaged():
            self._write([*self.records, record], record if best else self.best)

    def complete(self, result: Fit) -> None:
        """Write what Ctrl-C kept from being written at the last evaluation; the model has the best state."""
        self._write(result.history.records, result.best)

    def _write(self, records: list[Record], best: Record | None) -> None:
        """Write the checkpoint and the metrics, where they are not on the disk already."""
        if best is not self.best:
            save_checkpoint(self.directory.file(CHECKPOINT), self.checkpoint)
            self.best = best
        if not self.records:
            self.directory.clear(CHECKPOINT)  # not before: until now an earlier run is whole
        if len(records) > len(self.records):
            metrics = self.directory.file(METRICS)
            with writing(metrics):
                write_json_lines(metrics, [record.to_dict() for record in records])
            self.records = list(records)

    def tell(self, event: str, *details: Any) -> None:
        """Call a method of the other callbacks."""
        for method in CallbackList(self.callbacks).methods[event]:
            method(self.training, *details)

    def notify(self, sentence: str) -> None:
        """Give the other callbacks a sentence for the user."""
        self.notices.append(sentence)
        self.tell("on_notice", sentence)

    def write_summary(self, summary: Mapping[str, Any]) -> tuple[Path, ...]:
        """Write the summary; return its path, if it could not be written, after saying so."""
        path = self.directory.file(SUMMARY)
        try:
            with writing(path):
                write_json(path, summary)
        except RunError as error:
            self.notify(str(error))
            return (path,)
        return ()
