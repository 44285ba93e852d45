"""A run: train by a recipe, judge once on the test part, and write down all of it.

The test part is looked at once, at the end, with the state that was the best on the validation part.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import directory as names
from tinygrad_mnist.training.checkpoint import Checkpoint, save_checkpoint
from tinygrad_mnist.training.directory import RunDirectory
from tinygrad_mnist.training.errors import DivergedError, RunError
from tinygrad_mnist.training.files import write_json, write_json_lines
from tinygrad_mnist.training.graphs import draw_graph
from tinygrad_mnist.training.history import Record
from tinygrad_mnist.training.loop import Fit, fit
from tinygrad_mnist.training.metrics import evaluate
from tinygrad_mnist.training.model import build_model
from tinygrad_mnist.training.parts import split
from tinygrad_mnist.training.pictures import draw_pictures
from tinygrad_mnist.training.recipes import RECIPES, Recipe
from tinygrad_mnist.training.reporter import Plan, Reporter
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.threads import threads_in_use
from tinygrad_mnist.training.versions import versions
from tinygrad_mnist.training.wording import name_data, percent


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a run left.

    Parameters
    ----------
    summary : dict
        As ``summary.json`` has it; see `train`.
    directory : Path
        Where the files are.
    pictures : tuple of Path
        The pictures among them.
    checkpoint : Checkpoint
        The trained model.
    faults : tuple of str
        A sentence for each file that could not be written after training, as on a full disk.
    """

    summary: dict[str, Any]
    directory: Path
    pictures: tuple[Path, ...]
    checkpoint: Checkpoint
    faults: tuple[str, ...] = ()


def train(
    recipe: Recipe,
    dataset: Dataset,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    source: str | None = None,
    reporter: Reporter | None = None,
) -> Outcome:
    """Train a digit recogniser and write a run directory.

    Equal recipes, data, seeds and numbers of threads give equal bits on the same machine.

    The directory receives ``metrics.jsonl`` and ``checkpoint.npz`` while training goes on (at each
    evaluation, and when it was the best), and at the end ``predictions.png``, ``training.png`` (where
    matplotlib is installed), ``graph.svg``, ``graph.html`` (where there is something to lay them out) and
    ``summary.json``:

    - ``recipe``, ``changes`` (what differs from the recipe of that name) and ``config`` (all values of it),
      ``data``, ``data_source``, ``seed``, ``threads`` (of BLAS, as asked for; null if unknown), ``versions``;
    - ``parameters``: numbers that were learned;
    - ``epochs``, ``steps``: what was done; ``best_epoch``, ``best_step``: when the state that was kept was
      reached; ``interrupted``;
    - ``train_accuracy``, ``validation_accuracy``, ``test_accuracy`` (0 to 1) and ``test_loss`` (without label
      smoothing): of that state, on all of each part; ``train_images``, ``validation_images``,
      ``test_images``: how many;
    - ``train_seconds``: wall time of the steps (drawing and standardising batches, forward, backward,
      clipping, update), without evaluations, reading of data, and writing of files; ``images_per_second``:
      images seen in that time.

    Parameters
    ----------
    recipe : Recipe
        What to train, and how.
    dataset : Dataset
        The data.
    seed : int
        The root of all randomness, at least 0.
    out : path-like, optional
        Where to write; see `RunDirectory`. By default ``runs/<recipe>-<time>``.
    source : str, optional
        What to load to get the data set again; its name by default.
    reporter : Reporter, optional
        Is told how it goes.

    Returns
    -------
    Outcome

    Raises
    ------
    TrainingError
        If the directory cannot be used, the checkpoint or the metrics not be written, or the loss is no
        longer finite. What cannot be written after training is in the outcome's ``faults``.
    DataError
        If the data does not fit the recipe.
    KeyboardInterrupt
        If the user pressed Ctrl-C before anything was learned; the directory is then as it was.
    """
    rngs = generators(seed)
    parts = split(dataset, recipe.validation, rngs["split"])
    model = build_model(
        recipe, parts.features, parts.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )
    checkpoint = Checkpoint(
        model=model,
        recipe=recipe,
        image_shape=dataset.image_shape,
        class_names=tuple(map(str, range(dataset.classes))),
        standardizer=parts.standardizer,
        origin={
            "data": source or dataset.name,
            "dataset": dataset.name,
            "train_images": len(parts.train_images),
            "seed": seed,
        },
    )
    directory = RunDirectory(out, recipe.name)
    recorder = _Recorder(reporter or Reporter(), directory, checkpoint)
    try:
        done = fit(recipe, model, parts, rngs=rngs, reporter=recorder)
    except DivergedError as error:
        if recorder.best is None:
            directory.release()
            raise
        kept = f"the state of epoch {recorder.best.epoch:g} is kept in {directory.file(names.CHECKPOINT)}"
        raise DivergedError(f"{error}; {kept}") from error
    except BaseException:
        directory.release()
        raise
    training = evaluate(model, parts.train_images, parts.train_labels, parts.standardizer)
    test = evaluate(model, dataset.test_images, dataset.test_labels, parts.standardizer)
    summary = {
        "recipe": recipe.name,
        "changes": changes(recipe),
        "data": dataset.name,
        "data_source": source or dataset.name,
        "seed": seed,
        "parameters": done.plan.parameters,
        **_course(done),
        "train_accuracy": training.accuracy,
        "validation_accuracy": done.best.validation_accuracy,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "train_images": len(parts.train_images),
        "validation_images": len(parts.validation_images),
        "test_images": len(dataset.test_images),
        "threads": threads_in_use(),
        "versions": versions(),
        "config": recipe.to_dict(),
    }
    faults: tuple[str, ...] = ()
    try:
        write_json(directory.file(names.SUMMARY), summary)
    except RunError as error:
        faults = (str(error),)
    on = name_data(dataset.name, source or dataset.name)
    title = f"{recipe.name}, {on}: {percent(test.accuracy)} of the test part recognised"
    pictures, undrawn = draw_pictures(
        directory,
        dataset,
        test.probabilities,
        done.history,
        title,
        recipe.full_batch,
        rngs["sample"],
        recorder.note,
    )
    graphs, unwritten = draw_graph(directory, checkpoint, dataset, recorder.note)
    return Outcome(summary, directory.path, pictures + graphs, checkpoint, faults + undrawn + unwritten)


def changes(recipe: Recipe) -> dict[str, Any]:
    """In what a recipe differs from the one that it was made from."""
    values, original = recipe.to_dict(), RECIPES[recipe.name].to_dict() if recipe.name in RECIPES else {}
    return {
        field.name: values[field.name]
        for field in fields(recipe)
        if field.name != "description" and values[field.name] != original.get(field.name)
    }


def _course(done: Fit) -> dict[str, Any]:
    steps = len(done.history.losses)
    return {
        "epochs": steps / done.plan.steps_per_epoch,
        "steps": steps,
        "best_epoch": done.best.epoch,
        "best_step": done.best.step,
        "interrupted": done.interrupted,
        "train_seconds": done.seconds,
        "images_per_second": done.images / done.seconds,
    }


class _Recorder(Reporter):
    """Writes metrics and the best checkpoint as they come, and passes all on."""

    def __init__(self, reporter: Reporter, directory: RunDirectory, checkpoint: Checkpoint) -> None:
        self.reporter, self.directory, self.checkpoint = reporter, directory, checkpoint
        self.records: list[Record] = []
        self.best: Record | None = None
        self.stepped = reporter.stepped  # type: ignore[method-assign]  # once a step: without a detour

    def started(self, plan: Plan) -> None:
        self.reporter.started(plan)

    def evaluated(self, record: Record, best: bool) -> None:
        if not self.records:
            self.directory.clear()
        self.records.append(record)
        write_json_lines(self.directory.file(names.METRICS), [entry.to_dict() for entry in self.records])
        if best:
            save_checkpoint(self.directory.file(names.CHECKPOINT), self.checkpoint)
            self.best = record
        self.reporter.evaluated(record, best)

    def interrupted(self) -> None:
        self.reporter.interrupted()

    def note(self, sentence: str) -> None:
        self.reporter.note(sentence)
