"""A run that goes on ends in the bits of one that was never interrupted, whatever its recipe, at any step."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.compiler.machine import why_unavailable
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import (
    SCHEDULES,
    Callback,
    CheckpointError,
    ModelFileError,
    Recipe,
    RecipeError,
    RunError,
    Training,
    find_model_file,
    load_checkpoint,
    resume_run,
    save_checkpoint,
    train,
)
from tinygrad_mnist.training.checkpoints.checkpoint import load_state
from tinygrad_mnist.training.recipe.recipes import changes_for
from tinygrad_mnist.training.runs import resumed_run
from tinygrad_mnist.training.runs.verification import first_difference

pytestmark = pytest.mark.usefixtures("no_pictures")

compiles = pytest.mark.skipif(why_unavailable() is not None, reason="nothing can be compiled here")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: no power is cut here."""
    monkeypatch.setattr("os.fsync", lambda _: None)


class Copies(Callback):
    """Keeps what a kill in some steps, or in each, would leave: the directory as it is."""

    def __init__(self, run: Path, steps: list[int] | None) -> None:
        self.run, self.steps = run, steps

    def on_step_end(self, training: Training) -> None:
        if self.steps is None or training.step in self.steps:
            shutil.copytree(self.run, f"at{training.step}", ignore=shutil.ignore_patterns(".*"))


class Presses(Callback):
    """Presses Ctrl-C in a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, training: Training) -> None:
        if training.step == self.step:
            raise KeyboardInterrupt


class Told(Callback):
    """Keeps the notices."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def on_notice(self, training: Training | None, sentence: str) -> None:
        self.sentences.append(sentence)


def require_same_bits(recipe: Recipe, data: Dataset, steps: list[int] | None, **options: Any) -> None:
    """Train once; then go on from what a kill in some steps, or in all, would have left."""
    whole = Path("whole")
    copies = Copies(whole, steps)
    train(recipe, data, seed=5, out=whole, callbacks=[copies], checkpoint_every="1 step", **options)
    expected = load_state(whole)
    for run in Path().glob("at*"):
        resume_run(run, data=data)
        assert first_difference(expected, load_state(run)) is None, f"killed {run}"
        summaries = [json.loads((path / "summary.json").read_text()) for path in (whole, run)]
        assert summaries[0]["test_loss"] == summaries[1]["test_loss"]


CHANGES: dict[str, dict[str, Any]] = {
    **{f"schedule {name}": {"schedule": name} for name in SCHEDULES},
    "dropout": {"dropout": 0.3, "batch_norm": True},
    "augmentation": {"augmentation": "affine-8x8"},
    "hard images": {"hard": (3.0, 0.1)},
    "average": {"ema": 0.9},
    "patience": {"patience": 1, "evaluate_every": 0.25, "lr": 0.3},
    "accumulated batches": {"accumulate": 3, "clip_norm": 0.1},
    "all images a step": {"batch_size": None, "epochs": 7},
    "momentum": {"optimizer": "sgd", "lr": 0.05},
}
TOGETHER: dict[str, Any] = {"dropout": 0.3, "augmentation": "affine-8x8", "ema": 0.9, "batch_norm": True}


@pytest.fixture
def recipe(small: Recipe) -> Recipe:
    """Two passes and a half, with five evaluations."""
    return small.changed(epochs=2.5, evaluate_every=0.5)


# a step in a pass, the one before an evaluation, the first of a pass, the one before the end
@pytest.mark.parametrize(
    ("changes", "steps"),
    [(CHANGES[name], [5, 9]) for name in ("patience", "all images a step", "momentum")]
    + [
        ({**TOGETHER, "schedule": schedule}, [random.Random(schedule).randint(1, 20)])
        for schedule in SCHEDULES
    ]
    + [({**CHANGES["hard images"], **CHANGES["accumulated batches"]}, [4, 7])],
)
def test_it_ends_in_the_same_bits(
    recipe: Recipe, patterns: Dataset, changes: dict[str, Any], steps: list[int]
) -> None:
    require_same_bits(recipe.changed(**changes), patterns, steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_it_ends_in_the_same_bits_from_every_step(recipe: Recipe, patterns: Dataset, name: str) -> None:
    require_same_bits(recipe.changed(**CHANGES[name]), patterns, None)


@compiles
def test_compiled_steps_end_in_the_same_bits(recipe: Recipe, patterns: Dataset) -> None:
    require_same_bits(recipe.changed(**TOGETHER), patterns, [9, 12], jit="on")


def test_patience_ends_a_training_and_a_run_that_goes_on_remembers(recipe: Recipe, patterns: Dataset) -> None:
    impatient = recipe.changed(**CHANGES["patience"])
    outcome = train(impatient, patterns, seed=5, out="run")
    assert outcome.summary["steps"] < 20
    assert resume_run("run", data=patterns).summary == outcome.summary


MODEL = """
import numpy as np
from tinygrad_mnist import nn

class Noise(nn.Module):
    def __init__(self):
        super().__init__()
        self.mine = {"noise": np.random.default_rng(3)}

    def forward(self, x):
        if not self.training:
            return x
        noise = self.mine["noise"].normal(size=x.shape) + np.random.normal(size=x.shape)
        return x + noise.astype(np.float32)

def build(image_shape, classes):
    height, width = image_shape
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), Noise(), nn.Linear(height * width, classes))
"""


def own_model(recipe: Recipe, text: str = MODEL) -> Recipe:
    Path("mymodel.py").write_text(text)
    return recipe.changed(**changes_for(find_model_file("mymodel.py:build")))


def test_a_model_of_a_file_ends_in_the_same_bits(recipe: Recipe, patterns: Dataset) -> None:
    require_same_bits(own_model(recipe), patterns, [5, 16])


def test_a_run_goes_on_with_the_same_model_file_alone(recipe: Recipe, patterns: Dataset) -> None:
    train(own_model(recipe), patterns, out="run", callbacks=[Presses(3)])
    Path("mymodel.py").rename("moved.py")
    with pytest.raises(ModelFileError, match="there is no file"):
        resume_run("run", data=patterns)
    Path("other.py").write_text(MODEL.replace("0.1", "0.2"))
    with pytest.raises(CheckpointError, match=r"other\.py:build is not the file that built the model of run"):
        resume_run("run", data=patterns, model=find_model_file("other.py:build"))
    resume_run("run", data=patterns, model=find_model_file("moved.py:build"))
    assert not json.loads(Path("run/summary.json").read_text())["interrupted"]


# ---- more epochs, and what cannot be changed ---------------------------------------------------------------


def test_more_epochs_are_those_of_a_longer_training(recipe: Recipe, patterns: Dataset) -> None:
    """Where the learning rate does not depend on their number, to the bit."""
    flat = recipe.changed(schedule="constant", epochs=2, evaluate_every=1)
    train(flat, patterns, out="run")
    outcome = resume_run("run", {"epochs": 3}, data=patterns)
    longer = train(flat.changed(epochs=3), patterns, out="whole")
    assert outcome.summary["steps"] == 24
    assert outcome.summary["test_loss"] == longer.summary["test_loss"]
    assert load_state("run")["history"]["losses"] == load_state("whole")["history"]["losses"]


def test_fewer_epochs_than_are_done_are_refused(recipe: Recipe, patterns: Dataset) -> None:
    train(recipe, patterns, out="run")
    with pytest.raises(RecipeError, match=r"epochs cannot be 2, as 2.5 are done; name more"):
        resume_run("run", {"epochs": 2}, data=patterns)


@pytest.mark.parametrize(
    ("field", "value", "other"), [("lr", 0.01, 0.5), ("batch_size", 16, 8), ("ema", 0, 0.5)]
)
def test_what_a_run_is_trained_by_cannot_be_changed(
    recipe: Recipe, patterns: Dataset, field: str, value: float, other: float
) -> None:
    train(recipe, patterns, out="run", callbacks=[Presses(3)])
    before = Path("run/last.npz").read_bytes()
    with pytest.raises(RecipeError, match=f"{field} cannot be changed when a run goes on; it is {value}"):
        resume_run("run", {field: other}, data=patterns)
    with pytest.raises(RecipeError, match="seed cannot be changed when a run goes on; it is 0"):
        resume_run("run", data=patterns, seed=1)
    changed = replace(patterns, train_images=patterns.train_images ^ np.uint8(1))
    with pytest.raises(RunError, match="is not the data that the run was trained on"):
        resume_run("run", data=changed)
    assert Path("run/last.npz").read_bytes() == before
    resume_run("run", {field: value}, data=patterns, seed=0)


# ---- the directory -----------------------------------------------------------------------------------------


def test_a_finished_run_stays_as_it_is(recipe: Recipe, patterns: Dataset) -> None:
    first = train(recipe, patterns, out="run")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    told = Told()
    again = resume_run("run", data=patterns, callbacks=[told])
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    assert told.sentences == ["this training is finished, after 20 steps; for more, name more epochs"]
    assert again.summary == first.summary


def test_a_run_from_before_that_kept_weights_alone_cannot_go_on(recipe: Recipe, patterns: Dataset) -> None:
    outcome = train(recipe, patterns, out="run")
    Path("old").mkdir()
    save_checkpoint("old/checkpoint.npz", outcome.checkpoint)
    with pytest.raises(CheckpointError, match=r"old holds the weights of a model alone"):
        resume_run("old", data=patterns)


def test_the_state_before_is_offered_where_the_last_is_damaged(recipe: Recipe, patterns: Dataset) -> None:
    whole = train(recipe, patterns, out="whole")
    train(recipe, patterns, out="run", callbacks=[Presses(7)], checkpoint_every="3 steps")
    content = bytearray(Path("run/last.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    Path("run/last.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"name run.previous.npz to go on from step 6"):
        resume_run("run", data=patterns)
    again = resume_run("run/previous.npz", data=patterns)
    assert again.summary["test_loss"] == whole.summary["test_loss"]
    for name in ("last.npz", "previous.npz"):
        load_checkpoint(Path("run", name), training=True)


def test_two_processes_in_one_run_are_refused(recipe: Recipe, patterns: Dataset) -> None:
    train(recipe, patterns, out="run", callbacks=[Presses(3)])

    class Second(Callback):
        def on_train_begin(self, training: Training) -> None:
            with pytest.raises(RunError, match=r"another run is writing into run .process"):
                resume_run("run", data=patterns)

    resume_run("run", data=patterns, callbacks=[Second()])


def test_an_earlier_run_is_there_until_something_was_learned(recipe: Recipe, patterns: Dataset) -> None:
    train(recipe, patterns, seed=1, out="run")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}

    class Looks(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.step < 4:
                found = {path.name: path.read_bytes() for path in Path("run").glob("[!.]*")}
                assert found == before

    train(recipe, patterns, seed=2, out="run", callbacks=[Looks()])
    assert {load_checkpoint(path).origin["seed"] for path in Path("run").glob("*.npz")} == {2}


def test_a_run_killed_while_it_took_the_place_of_another_clears_the_rest(
    recipe: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    train(recipe, patterns, seed=1, out="run")
    with monkeypatch.context() as patch:
        patch.setattr("tinygrad_mnist.training.runs.directory.RunDirectory.clear", killed)
        with pytest.raises(Killed):
            train(recipe, patterns, seed=2, out="run")
    assert json.loads(Path("run/summary.json").read_text())["seed"] == 1
    resume_run("run", data=patterns, callbacks=[Presses(6)])
    assert {load_checkpoint(path).origin["seed"] for path in Path("run").glob("*.npz")} == {2}
    assert json.loads(Path("run/summary.json").read_text())["seed"] == 2


def test_another_machine_is_said_once(
    recipe: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(recipe, patterns, out="run", callbacks=[Presses(3)])
    now = resumed_run.machine()
    other = {**now, "threads": 7, "versions": {**now["versions"], "numpy": "9.9"}}
    monkeypatch.setattr(resumed_run, "machine", lambda communicator: other)
    told = Told()
    outcome = resume_run("run", data=patterns, callbacks=[told])
    (sentence,) = told.sentences
    assert f"(threads: {now['threads']} then, 7 now; numpy: {np.__version__} then, 9.9 now)" in sentence
    assert outcome.summary["notices"] == [sentence]


# ---- a finished run ----------------------------------------------------------------------------------------


def copy_of_another(path: Path) -> None:
    shutil.copy(Path("other") / path.name, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("damage", [cut, copy_of_another, Path.unlink])
@pytest.mark.parametrize("name", ["checkpoint.npz", "metrics.jsonl"])
def test_a_damaged_file_of_a_finished_run_is_written_again(
    small: Recipe, patterns: Dataset, damage: Any, name: str
) -> None:
    short = small.changed(epochs=0.5)
    whole = train(short, patterns, out="run")
    train(short, patterns, seed=9, out="other")
    path = Path("run", name)
    before = path.read_bytes()
    damage(path)
    assert resume_run("run", data=patterns).summary == whole.summary
    if name == "metrics.jsonl":
        assert path.read_bytes() == before
    saved = load_checkpoint("run").model.state_dict()
    trained = whole.checkpoint.model.state_dict()
    assert all(np.array_equal(saved[key], value) for key, value in trained.items())


def test_a_report_is_not_left_of_an_earlier_state(small: Recipe, patterns: Dataset) -> None:
    train(small.changed(epochs=0.5), patterns, out="run", report=False)
    drawn = [Path("run", name) for name in ("report.html", "graph.svg", "pictures/curves.svg")]
    own = Path("run/notes.txt")
    drawn[2].parent.mkdir()
    for path in (*drawn, own):
        path.touch()
    resume_run("run", {"epochs": 1}, data=patterns, report=False)
    assert own.exists()
    assert not any(path.exists() for path in drawn)
    assert not drawn[2].parent.exists()


# ---- what cannot be written --------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    recipe: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, told = train(recipe, patterns, out="whole"), Told()
    fsync = __import__("os").fsync

    class Fills(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.step == 5:
                monkeypatch.setattr("os.fsync", full)
            if training.step == 12:
                monkeypatch.setattr("os.fsync", fsync)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    outcome = train(recipe, patterns, out="run", callbacks=[Fills(), told], checkpoint_every="1 step")
    assert not outcome.missing
    states = [{**load_state(name), "callbacks": []} for name in ("whole", "run")]  # it has the notices
    assert first_difference(*states) is None
    assert outcome.summary["test_loss"] == whole.summary["test_loss"]
    assert [sentence.split(" ")[0] for sentence in told.sentences] == [
        *("run/last.npz", "run/checkpoint.npz", "run/metrics.jsonl"),
        *("run/last.npz", "run/checkpoint.npz", "run/metrics.jsonl"),
    ]


class Deletes(Callback):
    """Removes the directory after a step, and, where it is told to, leaves a file in its place."""

    def __init__(self, blocked: bool = False) -> None:
        self.blocked = blocked

    def on_step_end(self, training: Training) -> None:
        if training.step == 6:
            shutil.rmtree("run")
            if self.blocked:
                Path("run").touch()


def test_a_directory_that_is_deleted_is_made_again(recipe: Recipe, patterns: Dataset) -> None:
    whole, told = train(recipe, patterns, out="whole"), Told()
    outcome = train(recipe, patterns, out="run", callbacks=[Deletes(), told])
    assert told.sentences == ["run was removed, and is made again"]
    assert not outcome.missing
    assert outcome.summary["test_loss"] == whole.summary["test_loss"]
    assert {path.name for path in Path("run").iterdir()} == {
        *("last.npz", "checkpoint.npz", "metrics.jsonl", "summary.json")
    }
    assert load_state("run")["position"]["step"] == 20
    assert Path("run/metrics.jsonl").read_text().count("\n") == 5


def test_a_directory_that_cannot_be_made_again_is_one_sentence(recipe: Recipe, patterns: Dataset) -> None:
    told = Told()
    outcome = train(recipe, patterns, out="run", callbacks=[Deletes(True), told], checkpoint_every="1 step")
    assert {path.name for path in outcome.missing} >= {"last.npz", "checkpoint.npz", "summary.json"}
    removed = "run was removed, and cannot be made again"
    assert told.sentences == [f"{removed}; training goes on, and it is tried again", removed]
    assert outcome.summary["steps"] == 20
