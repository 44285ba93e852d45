"""The proof that a training by a recipe can be interrupted: each time it goes on in a new process.

One process trains without an interruption. Others train the same steps by turns: each goes on from the file
that the one before left when it ended. Wherever they change over, and at the end, all that a training is has
to be equal to the bit: weights, optimiser, random numbers, losses, records.

The recipe is the user's, but for the number of its steps, and the images are some of the user's: so that a
few steps have several passes and evaluations. The module is run as the program of such a process, too.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training.checkpoints.checkpoint import load_state, save_state
from tinygrad_mnist.training.errors import TrainingError
from tinygrad_mnist.training.loop.by_recipe import planned
from tinygrad_mnist.training.loop.callbacks import Callback
from tinygrad_mnist.training.loop.course import Training
from tinygrad_mnist.training.loop.history import Record
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.runs.run import new_model
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import Choice, split

STEPS: Final = 60
PASSES: Final = 2.5
"""The passes that the steps are, about: a whole one, the next, and one that is not whole."""
EVALUATIONS: Final = 6
_IMAGES: Final = "images.npz"
CAUSES: Final = (
    "what can cause it: a model that draws from a generator which none of its modules holds, as one of its "
    "file does; that keeps values in other places than parameters and buffers; that reads a clock or a file; "
    "or a BLAS that does not compute the same twice, as some do with several threads"
)
"""The sentence about what to look for where something differs."""


@dataclass(frozen=True)
class Point:
    """A moment at which a process ends, and another one goes on.

    Parameters
    ----------
    step : int
        Steps that are done.
    event : str
        The method of callbacks that is called then.
    place : str
        Where it lies, in words.
    """

    step: int
    event: str
    place: str


@dataclass(frozen=True)
class Verification:
    """The result of a verification: all that was compared, and the first difference.

    Parameters
    ----------
    steps, passes, records, arrays : int or float
        Steps and passes that were done; evaluations and arrays that were compared.
    points : tuple of Point
        Where processes changed over.
    difference : str or None
        The first thing that differs, in words; None if nothing does.
    """

    steps: int
    passes: float
    records: int
    arrays: int
    points: tuple[Point, ...]
    difference: str | None


def verify_resume(
    choice: Choice,
    *,
    steps: int = STEPS,
    points: int = 6,
    seed: int = 0,
    jit: str = "auto",
    tell: Callable[[str], None] = lambda sentence: None,
) -> Verification:
    """Prove that a training by a recipe ends in the same bits if it is interrupted, on this machine.

    Parameters
    ----------
    choice : Choice
        The recipe and the data.
    steps : int
        The most steps that are done; never more than by the recipe.
    points : int
        The number of interruptions.
    seed : int
        The seed.
    jit : str
        Whether steps are compiled; "auto" is as in the whole training.
    tell : callable
        Is given a line for each interruption.

    Returns
    -------
    Verification

    Raises
    ------
    TrainingError
        If a process fails; the sentence is its own.
    """
    recipe, dataset = choice.recipe, choice.dataset
    compiled, whole = _as_planned(recipe, dataset, seed, jit)
    short, images = _shortened(recipe, dataset, min(steps, whole))
    with TemporaryDirectory() as folder:
        _write_images(Path(folder, _IMAGES), dataset, images, seed)
        job = {
            **{"recipe": short.to_dict(), "classes": dataset.classes, "seed": seed},
            **{"jit": "on" if compiled else "off", "folder": folder, "stop": None},
        }
        reference = {**job, "name": "whole", "points": []}
        try:
            plan = _run(reference)
        except JitError as error:
            if jit != "auto":
                raise TrainingError(str(error)) from error
            compiled = False  # as the whole training would be
            reference["jit"] = "off"
            plan = _run(reference)
        chosen = _points(plan["steps"], plan["steps_per_epoch"], plan["evaluations"], points)
        passes = plan["steps"] / plan["steps_per_epoch"]
        tell(
            f"{plan['steps']} steps in {passes:.3g} passes through {images:,} images, "
            f"{len(plan['evaluations'])} evaluations; steps are {'' if compiled else 'not '}compiled"
        )
        given = [(point.step, point.event) for point in chosen]
        _run({**reference, "name": "saved", "points": given})
        difference = _compare(folder, "end of whole", "end of saved", "at the end, after states were saved")
        ends = [*[f"to step {point.step}, {point.place}" for point in chosen[1:]], "to the end"]
        for number, (point, end) in enumerate(zip(chosen, ends, strict=True)):
            if difference:
                break
            if number == 0:
                _run({**reference, "name": "parts", "points": given, "stop": 0})
            _run({**reference, "name": "parts", "points": given, "stop": number + 1, "resume": number})
            last = number + 1 == len(chosen)
            moment = "end" if last else str(number + 1)
            difference = _compare(
                folder, f"{moment} of saved", f"{moment} of parts", f"{end}, in a new process"
            )
            verdict = "differs" if difference else "equal"
            tell(f"from step {point.step}, {point.place}, {end}: {verdict}")
        state = load_state(Path(folder, "end of whole.npz"))
    return Verification(
        steps=plan["steps"],
        passes=passes,
        records=len(state["history"]["records"]),
        arrays=sum(1 for _, value in _leaves(state) if isinstance(value, np.ndarray)),
        points=tuple(chosen),
        difference=difference,
    )


def _as_planned(recipe: Recipe, dataset: Dataset, seed: int, jit: str) -> tuple[bool, int]:
    """Return whether the steps of the whole training would be compiled, and how many they are."""
    rngs = generators(seed)
    parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
    training = planned(recipe, new_model(recipe, parts, rngs), parts, rngs=rngs, jit=jit)
    return training.decision.compiled, training.steps


def _shortened(recipe: Recipe, dataset: Dataset, steps: int) -> tuple[Recipe, int]:
    """Return the recipe for that many steps, and how many images there are to be for some passes."""
    images = len(dataset.train_images)
    if recipe.batch_size is None:
        return recipe.changed(epochs=steps, evaluate_every=max(1, steps / EVALUATIONS)), images
    batches = max(1, round(steps / PASSES)) * recipe.accumulate
    images = min(images, round((batches + 0.5) * recipe.batch_size / (1 - recipe.validation)))
    trained = images - round(images * recipe.validation)
    per_pass = -(-max(1, trained // recipe.batch_size) // recipe.accumulate)
    epochs = steps / per_pass
    return recipe.changed(epochs=epochs, evaluate_every=epochs / min(EVALUATIONS, steps)), images


def _write_images(path: Path, dataset: Dataset, count: int, seed: int) -> None:
    """Write some training images, at random, as they may be in the order of their classes."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset.train_images))[:count])
    np.savez(path, images=dataset.train_images[chosen], labels=dataset.train_labels[chosen])


def _points(steps: int, per_pass: int, evaluations: list[int], count: int) -> list[Point]:
    """Choose where to interrupt: the telling moments first, and then others, evenly spaced."""
    middle = evaluations[len(evaluations) // 2]
    telling = [
        Point(min(per_pass, steps) // 2, "on_step_end", "in a pass"),
        Point(middle, "on_step_end", "before an evaluation"),
        Point(0, "on_train_begin", "before the first step"),
        Point(per_pass, "on_step_end", "at the end of a pass"),
        Point(evaluations[0], "on_evaluate", "after an evaluation"),
        Point(per_pass + 1, "on_step_end", "at the beginning of a pass"),
    ]
    others = [Point(round(steps * part), "on_step_end", "on the way") for part in _fractions(4 * count)]
    chosen: list[Point] = []
    for point in [*telling, *others]:
        is_inside = 0 < point.step < steps or point.event == "on_train_begin"
        if (
            is_inside
            and len(chosen) < count
            and (point.step, point.event) not in [(other.step, other.event) for other in chosen]
        ):
            chosen.append(point)
    return sorted(chosen, key=lambda point: (point.step, point.event == "on_evaluate"))


def _fractions(count: int) -> Iterator[float]:
    """Yield numbers between 0 and 1 that lie evenly, however many are taken: van der Corput's sequence."""
    for number in range(1, count + 1):
        yield sum(int(bit) / 2 ** (place + 1) for place, bit in enumerate(reversed(f"{number:b}")))


# ---- comparing -------------------------------------------------------------------------------------------


def _compare(folder: str, first: str, second: str, where: str) -> str | None:
    """Return the first difference of the states in two files, and where it is."""
    difference = first_difference(*(load_state(Path(folder, f"{name}.npz")) for name in (first, second)))
    return f"{where}: {difference}" if difference else None


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return the first difference of two states of a training, in words; None if they are equal to the bit.

    Times may differ. Losses come first, as they say in which step it began.
    """
    losses = (state["history"]["losses"] for state in (one, other))
    for step, (was, now) in enumerate(zip(*losses, strict=False), start=1):
        if not _same(was, now):
            return f"the loss of step {step} is {now!r}, and was {was!r} without an interruption"
    leaves = [dict(_leaves(tree)) for tree in (one, other)]
    for name, was in leaves[0].items():
        if name not in leaves[1]:
            return f"{name} is missing"
        if not _same(was, leaves[1][name]):
            return f"{name} is another"
    if more := leaves[1].keys() - leaves[0].keys():
        return f"{min(more)} is there, and was not without an interruption"
    return None


def _leaves(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the ends of a tree with their places, but for times."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key != "seconds":
                yield from _leaves(value, f"{place}.{key}".removeprefix("."))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from _leaves(value, f"{place}[{number}]")
    else:
        yield place, tree


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are of one type, and have the same bits."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        same = one.dtype == other.dtype and one.shape == other.shape
        return same and one.tobytes() == other.tobytes()
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


# ---- a process -------------------------------------------------------------------------------------------


def _run(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job in a new process; return what it prints."""
    home = str(Path(__file__).parents[3])  # what holds the package: -m finds its modules there
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    ran = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    if ran.returncode:
        lines = ran.stderr.strip().splitlines() or [f"status {ran.returncode}"]
        raise TrainingError(f"the training has failed: {lines[-1]}")
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    if "failed" in result:
        kind = JitError if result["is_of_jit"] else TrainingError
        raise kind(f"the training has failed: {result['failed']}")
    return result


class _Stop(BaseException):
    """The end of a process at a point."""


class _Saving(Callback):
    """A callback that saves the state at points, and ends training at one of them."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.job = job
        self.points = {(step, event): number for number, (step, event) in enumerate(job["points"])}

    def _reach(self, training: Training, event: str) -> None:
        number = self.points.get((training.step, event))
        if number is None or number <= self.job.get("resume", -1):
            return
        save_state(self._file(str(number)), training.state_dict())
        if number == self.job["stop"]:
            raise _Stop

    def _file(self, moment: str) -> Path:
        return Path(self.job["folder"], f"{moment} of {self.job['name']}.npz")

    def on_train_begin(self, training: Training) -> None:
        self._reach(training, "on_train_begin")

    def on_step_end(self, training: Training) -> None:
        self._reach(training, "on_step_end")

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        self._reach(training, "on_evaluate")

    def on_train_end(self, training: Training) -> None:
        save_state(self._file("end"), training.state_dict())


def _do(job: dict[str, Any]) -> dict[str, Any]:
    """Train as a job says; return the plan."""
    random.seed(job["seed"])  # what belongs to the process begins with other numbers in each
    np.random.seed(job["seed"] % (1 << 32))  # noqa: NPY002
    recipe, rngs = Recipe.from_dict(job["recipe"]), generators(job["seed"])
    with np.load(Path(job["folder"], _IMAGES)) as file:
        images, labels = file["images"], file["labels"]
    dataset = Dataset("some images", images, labels, images[:1], labels[:1], classes=job["classes"])
    parts = split(dataset, recipe.validation, rngs["split"], recipe.crop)
    model = new_model(recipe, parts, rngs)
    training = planned(recipe, model, parts, rngs=rngs, callbacks=[_Saving(job)], jit=job["jit"])
    if "resume" in job:
        training.load_state_dict(load_state(Path(job["folder"], f"{job['resume']} of {job['name']}.npz")))
    with suppress(_Stop):
        training.run()
    return {
        "steps": training.step,
        "steps_per_epoch": training.steps_per_epoch,
        "evaluations": [record.step for record in training.history.records],
    }


def _do_or_say(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job; return in words why it cannot be done, if that is so."""
    try:
        return _do(job)
    except (TrainingError, JitError) as error:
        text = " ".join(str(error).split())
        return {
            "failed": f"{text[:500]}{'...' * (len(text) > 500)}",
            "is_of_jit": isinstance(error, JitError),
        }


if __name__ == "__main__":
    print(json.dumps(_do_or_say(json.load(sys.stdin))))
