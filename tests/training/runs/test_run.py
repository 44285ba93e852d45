import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.data import DataError, Dataset
from tinygrad_mnist.training import (
    Callback,
    DivergedError,
    Outcome,
    Recipe,
    RunError,
    Training,
    TrainingError,
    evaluate,
    load_checkpoint,
    resume_run,
    train,
)
from tinygrad_mnist.training.checkpoints.checkpoint import load_state
from tinygrad_mnist.training.loop import by_recipe, compilation
from tinygrad_mnist.training.runs import recorder
from tinygrad_mnist.training.runs import run as run_module
from tinygrad_mnist.training.runs.directory import FILES, RunDirectory
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split


class Impatient(Callback):
    """Presses Ctrl-C after a step, or before the first."""

    def __init__(self, interrupt_after: int) -> None:
        self.interrupt_after = interrupt_after

    def on_train_begin(self, training: Training) -> None:
        if self.interrupt_after == 0:
            raise KeyboardInterrupt

    def on_step_end(self, training: Training) -> None:
        if training.step == self.interrupt_after:
            raise KeyboardInterrupt


pytestmark = pytest.mark.usefixtures("no_pictures")


class DivergingLoss:
    """Cross-entropy for some steps, and then no number."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.left -= 1
        return nn.CrossEntropyLoss()(logits, labels) * (1.0 if self.left >= 0 else float("nan"))


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_all_files_are_written(outcome: Outcome) -> None:
    files = {*FILES} - {"report.html"}  # which was left out
    assert {entry.name for entry in outcome.directory.iterdir()} == files
    assert all((outcome.directory / name).stat().st_size for name in files)


def test_the_summary_says_all(outcome: Outcome, small: Recipe) -> None:
    summary = read(outcome.directory / "summary.json")
    assert summary == outcome.summary
    assert set(summary) >= {
        "recipe", "data", "seed", "parameters", "epochs", "train_accuracy", "validation_accuracy",
        "test_accuracy", "train_seconds", "images_per_second", "versions", "config", "threads",
    }  # fmt: skip
    assert set(summary["versions"]) == {"python", "numpy", "tinygrad_mnist", "blas"}
    assert (summary["recipe"], summary["data"], summary["seed"], summary["epochs"]) == (
        "digits",
        "patterns",
        3,
        4,
    )
    assert Recipe.from_dict(summary["config"]) == small
    assert summary["class_names"] == ["0", "1", "2", "3"]
    assert summary["images_per_second"] == pytest.approx(4 * 128 / summary["train_seconds"])


@pytest.mark.parametrize(("jit", "compiled"), [("auto", False), ("on", True)])
def test_the_decision_to_compile_stands_in_the_run(
    small: Recipe, patterns: Dataset, compiler: list[object], jit: str, compiled: bool
) -> None:
    outcome = train(small.changed(epochs=1), patterns, out="run", jit=jit)
    assert (outcome.summary["jit"], outcome.summary["compiled"]) == (jit, compiled)
    assert ("jit is on" in outcome.summary["compiled_reason"]) is compiled
    origin = load_checkpoint("run").origin
    assert (origin["jit"], origin["compiled"]) == (jit, compiled)


def test_a_model_that_could_not_be_compiled_is_recorded_as_it_was_trained(
    small: Recipe, patterns: Dataset, compiler: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise JitError("this model cannot be compiled")

    monkeypatch.setattr(compilation, "COMPILE_COST", 0.0)
    monkeypatch.setattr(compilation, "compiled", lambda *_: refused)
    outcome = train(small.changed(epochs=1), patterns, out="run")
    assert (outcome.summary["compiled"], outcome.summary["compiled_reason"]) == (
        False,
        "this model cannot be compiled",
    )
    assert load_checkpoint("run").origin["compiled"] is False


def test_the_summary_names_what_was_changed(outcome: Outcome) -> None:
    assert set(outcome.summary["changes"]) == {
        "hidden",
        "epochs",
        "batch_size",
        "evaluate_every",
        "validation",
        "dropout",
        "label_smoothing",
    }


def test_metrics_have_a_line_for_each_evaluation(outcome: Outcome) -> None:
    lines = (outcome.directory / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert max(row["validation_accuracy"] for row in rows) == outcome.summary["validation_accuracy"]


def test_the_test_accuracy_is_that_of_the_checkpoint(outcome: Outcome, patterns: Dataset) -> None:
    kept = load_checkpoint(outcome.directory)
    result = evaluate(kept.model, patterns.test_images, patterns.test_labels, kept.standardizer)
    assert (result.accuracy, result.loss) == (outcome.summary["test_accuracy"], outcome.summary["test_loss"])


def test_the_train_accuracy_is_that_on_the_whole_training_part(small: Recipe, patterns: Dataset) -> None:
    """The records have that on a sample, which differs while there are mistakes."""
    done = train(small.changed(epochs=1, lr=1e-4), patterns, seed=3)
    parts = split(patterns, small.validation, generators(3)["split"])
    kept = done.checkpoint
    whole = evaluate(kept.model, parts.train_images, parts.train_labels, kept.standardizer)
    assert done.summary["train_accuracy"] == whole.accuracy
    (record,) = map(json.loads, (done.directory / "metrics.jsonl").read_text().splitlines())
    assert record["train_accuracy"] != whole.accuracy  # or else this test would see nothing


def test_standardisation_never_saw_validation_or_test(small: Recipe, patterns: Dataset) -> None:
    """With other test images, and the training images as they are, it stays."""
    bright = Dataset(
        "bright",
        patterns.train_images,
        patterns.train_labels,
        np.full_like(patterns.test_images, 255),
        patterns.test_labels,
        classes=4,
    )
    a, b = (
        train(small, data, out=name).checkpoint.standardizer
        for data, name in ((patterns, "a"), (bright, "b"))
    )
    assert a == b
    whole = patterns.train_images.mean()
    assert a.mean != whole  # the validation part is not in it


def test_equal_seeds_write_equal_checkpoints(small: Recipe, patterns: Dataset) -> None:
    states = [
        train(small, patterns, seed=seed, out=f"run{k}").checkpoint.model.state_dict()
        for k, seed in enumerate((1, 1, 2))
    ]
    same, other = (
        all(np.array_equal(states[0][name], states[k][name]) for name in states[0]) for k in (1, 2)
    )
    assert same
    assert not other


def test_a_negative_seed_is_refused(small: Recipe, patterns: Dataset) -> None:
    with pytest.raises(TrainingError, match="seed must be"):
        train(small, patterns, seed=-1)


def test_a_run_replaces_an_earlier_one(small: Recipe, patterns: Dataset) -> None:
    train(small, patterns, seed=3, out="run")
    Path("run/training.png").write_text("old")
    train(small, patterns, seed=4, out="run")
    assert read(Path("run/summary.json"))["seed"] == 4
    assert not Path("run/training.png").exists()  # of the earlier run: it would not belong to this one


def test_a_directory_with_other_things_is_refused_before_training(small: Recipe, patterns: Dataset) -> None:
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear")
    with pytest.raises(RunError, match=r"letter\.txt"):
        train(small, patterns, out="mine", callbacks=[Impatient(interrupt_after=0)])


def test_ctrl_c_ends_with_a_summary(small: Recipe, patterns: Dataset) -> None:
    outcome = train(small, patterns, out="run", callbacks=[Impatient(interrupt_after=11)])
    summary = read(Path("run/summary.json"))
    assert summary["interrupted"]
    assert (summary["steps"], summary["best_step"]) == (11, 8)
    assert load_checkpoint("run").recipe == outcome.checkpoint.recipe


def test_ctrl_c_before_anything_was_learned_leaves_nothing(small: Recipe, patterns: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small, patterns, out="a/run", callbacks=[Impatient(interrupt_after=0)])
    assert not Path("a").exists()


def test_ctrl_c_before_anything_was_learned_keeps_the_earlier_run(small: Recipe, patterns: Dataset) -> None:
    train(small.changed(epochs=1), patterns, seed=3, out="run")
    with pytest.raises(KeyboardInterrupt):
        train(small, patterns, out="run", callbacks=[Impatient(interrupt_after=0)])
    assert read(Path("run/summary.json"))["seed"] == 3


def interrupting_once(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, call: int) -> None:
    """Have Ctrl-C pressed in the middle of that call of a function, and never again."""
    real, calls = getattr(where, name), iter(range(1, 1000))

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, interrupted)


def complete(directory: Path, patterns: Dataset) -> dict[str, Any]:
    """The summary of a run of which nothing is lost or half written."""
    summary: dict[str, Any] = read(directory / "summary.json")
    kept = load_checkpoint(directory)
    tested = evaluate(kept.model, patterns.test_images, patterns.test_labels, kept.standardizer)
    assert tested.accuracy == summary["test_accuracy"]
    steps = [json.loads(line)["step"] for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert summary["best_step"] in steps
    assert steps == sorted(set(steps))
    assert not list(directory.glob(".*"))
    return summary


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("name", ["save_checkpoint", "write_json_lines"])
def test_ctrl_c_while_something_is_written_loses_nothing(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch, name: str, call: int
) -> None:
    train(small.changed(epochs=1), patterns, seed=5, out="run")  # an earlier run
    monkeypatch.setattr(recorder, "SPACING", 0.0)  # each evaluation is written
    interrupting_once(monkeypatch, recorder, name, call)
    train(small, patterns, seed=3, out="run")
    summary = complete(Path("run"), patterns)
    assert (summary["interrupted"], summary["seed"]) == (True, 3)
    assert summary["steps"] == 8 if name == "save_checkpoint" else 8 * call  # it takes three to replace a run


@pytest.mark.parametrize("call", [1, 2])
def test_ctrl_c_after_training_does_not_cost_the_accuracy(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    interrupting_once(monkeypatch, run_module, "evaluate", call)
    train(small, patterns, out="run")
    assert complete(Path("run"), patterns)["interrupted"] is False  # all steps were done


def test_ctrl_c_in_the_first_step_is_a_run_of_one_step(small: Recipe, patterns: Dataset) -> None:
    """It is taken when the step is done."""
    train(small, patterns, out="run", callbacks=[Impatient(interrupt_after=1)])
    summary = complete(Path("run"), patterns)
    assert summary["steps"] == 1


def test_the_second_ctrl_c_ends_at_once_and_keeps_the_best_state(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting_once(monkeypatch, run_module, "evaluate", 1)
    with pytest.raises(KeyboardInterrupt):
        train(small, patterns, out="run", callbacks=[Impatient(interrupt_after=11)])
    load_checkpoint("run")
    assert not Path("run/summary.json").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("__set_name__")])
def test_ctrl_c_while_pictures_are_drawn_ends_the_drawing_alone(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def drawing(directory: RunDirectory, *_: object) -> None:
        directory.file("predictions.png").write_bytes(b"drawn")
        raise error from KeyboardInterrupt()

    monkeypatch.setattr(run_module, "draw_pictures", drawing)
    outcome = train(small, patterns, out="run")
    assert outcome.interrupted
    assert outcome.summary == complete(Path("run"), patterns)
    assert [path.name for path in outcome.pictures] == ["predictions.png"]
    names = [path.name for path in outcome.missing]
    assert names == ["training.png", "graph.svg", "graph.html", "report.html"]


def test_a_fault_while_pictures_are_drawn_is_raised(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawing(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(run_module, "draw_pictures", drawing)
    with pytest.raises(RuntimeError, match="a fault"):
        train(small, patterns, out="run")


TRACED = tuple(
    str(Path("tinygrad_mnist", name))
    for name in ("training/runs/run.py", "training/loop/course.py", "files.py")
)


def interrupted_at_line(number: int | None, call: Callable[[], object]) -> int:
    """Call, press Ctrl-C before that line of this package is run; return the lines that were run."""
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line":
            lines += 1
            if lines == number:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # it may come between open and with
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # and into __del__
def test_ctrl_c_at_any_line_leaves_a_whole_run_or_none(small: Recipe, patterns: Dataset) -> None:
    recipe = small.changed(epochs=2)
    lines = interrupted_at_line(None, lambda: train(recipe, patterns, out="whole"))
    raised = 0
    points = range(1, lines, lines // 40)
    for point in points:
        out = Path(f"run{point}")
        try:
            # tracing ends where a trace function raises, so there is one Ctrl-C
            interrupted_at_line(point, lambda out=out: train(recipe, patterns, out=out))
        except KeyboardInterrupt:
            raised += 1
            if list(out.glob("[!.]*")):
                load_checkpoint(out)
        else:
            complete(out, patterns)
    assert raised < len(points) / 2


@pytest.mark.parametrize(
    ("seconds", "every", "lines"),
    [
        (0.0, "1 hour", [1, 2, 3, 4]),
        (60.0, "1 hour", [0, 0, 0, 0]),
        (60.0, "12 steps", [0, 1, 2, 2]),  # in the steps 12 and 24, after the evaluations in 8 and 16
    ],
)
def test_evaluations_are_written_with_the_last_state_or_seconds_apart(
    small: Recipe,
    patterns: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    every: str,
    lines: list[int],
) -> None:
    found: list[int] = []

    def written() -> int:
        metrics = Path("run/metrics.jsonl")
        assert metrics.exists() == Path("run/checkpoint.npz").exists()
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    class Counts(Callback):
        def on_epoch_end(self, training: Training) -> None:
            found.append(written())

    monkeypatch.setattr(recorder, "SPACING", seconds)
    train(small, patterns, out="run", callbacks=[Counts()], checkpoint_every=every, report=False)
    assert found == lines
    assert written() == 4


def test_a_run_that_is_killed_before_an_evaluation_is_written_can_be_used(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "SPACING", 60.0)

    class Copies(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.step == 20:
                shutil.copytree("run", "killed")

    whole = train(small, patterns, out="run", callbacks=[Copies()], report=False)
    assert {path.name for path in Path("killed").glob("[!.]*")} == {"last.npz"}
    assert load_checkpoint("killed").recipe == small
    assert resume_run("killed", data=patterns).summary["test_loss"] == whole.summary["test_loss"]


def test_a_run_without_a_checkpoint_is_read_in_its_best_state(small: Recipe, patterns: Dataset) -> None:
    """The last weights are others: those of the moving average were evaluated."""
    outcome = train(small.changed(ema=0.9), patterns, seed=2, out="run")
    best = outcome.checkpoint.model.state_dict()
    Path("run/checkpoint.npz").unlink()
    found = load_checkpoint("run")
    assert found.training is None
    assert all(np.array_equal(found.model.state_dict()[name], best[name]) for name in best)
    last = load_checkpoint("run/last.npz").model.state_dict()
    assert not all(np.array_equal(last[name], best[name]) for name in best)


def test_divergence_keeps_what_was_good(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        by_recipe, "nn", SimpleNamespace(CrossEntropyLoss=lambda **_: DivergingLoss(steps=12))
    )
    with pytest.raises(DivergedError, match=r"the state of epoch 1 is kept in .*checkpoint\.npz"):
        train(small, patterns, out="run")
    load_checkpoint("run")


def test_divergence_at_once_leaves_nothing(small: Recipe, patterns: Dataset) -> None:
    recipe = small.changed(optimizer="sgd", lr=1e30, schedule="constant", batch_norm=False)
    with pytest.raises(DivergedError):
        train(recipe, patterns, out="run")
    assert not Path("run").exists()


def test_a_full_disk_is_a_sentence(small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left on device"):
        train(small, patterns, out="run")


def test_a_data_set_that_is_too_small_to_split(small: Recipe) -> None:
    images = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    tiny = Dataset("tiny", images, np.array([0, 1, 1]), images, np.array([0, 1, 1]), classes=2)
    with pytest.raises(DataError, match="holding out"):
        train(small.changed(validation=0.01), tiny)


def files_of(directory: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in directory.iterdir()}


def test_an_earlier_run_is_whole_until_the_new_one_has_a_whole_file(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full all the time costs nothing."""
    train(small, patterns, seed=3, out="run")
    before = files_of(Path("run"))
    told: list[str] = []

    class Told(Callback):
        def on_notice(self, training: Training | None, sentence: str) -> None:
            told.append(sentence)

    def full(*_: object, **__: object) -> None:
        raise RunError("cannot be written (No space left on device)")

    monkeypatch.setattr(recorder, "save_checkpoint", full)
    outcome = train(small, patterns, seed=4, out="run", callbacks=[Told()])
    assert {path.name for path in outcome.missing} == {"last.npz", "checkpoint.npz"}
    assert 1 <= sum("No space left on device" in sentence for sentence in told) <= 3
    assert files_of(Path("run")) == before


def test_a_second_training_in_the_same_directory_is_refused(small: Recipe, patterns: Dataset) -> None:
    class Second(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.step == 1:
                with pytest.raises(RunError, match="another run is writing into run"):
                    train(small, patterns, seed=4, out="run")

    outcome = train(small, patterns, seed=3, out="run", callbacks=[Second()])
    assert outcome.summary["seed"] == load_checkpoint("run").origin["seed"] == 3
    assert not [entry for entry in Path("run").iterdir() if entry.name.startswith(".")]


class Fails(Callback):
    """Raises an error after a step."""

    def on_step_end(self, training: Training) -> None:
        if training.step == 3:
            raise RuntimeError("mine")


def test_an_error_costs_no_step_but_an_earlier_run_stays(small: Recipe, patterns: Dataset) -> None:
    with pytest.raises(RuntimeError, match="mine"):
        train(small, patterns, seed=3, out="run", callbacks=[Fails()])
    assert load_state("run")["position"]["step"] == 3
    resume_run("run", data=patterns)
    before = files_of(Path("run"))
    with pytest.raises(RuntimeError, match="mine"):
        train(small, patterns, seed=4, out="run", callbacks=[Fails()])
    assert files_of(Path("run")) == before


def test_a_run_that_failed_leaves_no_lock(small: Recipe, patterns: Dataset) -> None:
    with pytest.raises(TrainingError):
        train(small, patterns, seed=-1, out="a/run")
    assert not Path("a").exists()
    train(small, patterns, seed=1, out="a/run")


def test_data_of_any_name_is_trained_on(small: Recipe, patterns: Dataset) -> None:
    """The name is that of a directory, and may be no UTF-8."""
    odd = "\x1b[31m\udcff"
    train(small.changed(epochs=1), replace(patterns, name=odd), out="run")
    assert read(Path("run/summary.json"))["data"] == odd
    assert load_checkpoint("run").origin["dataset"] == odd


@pytest.mark.usefixtures("no_pictures")
def test_a_light_background_is_said_where_augmentation_fills_it_in(small: Recipe, patterns: Dataset) -> None:
    light = replace(
        patterns,
        train_images=np.pad(patterns.train_images, ((0, 0), (3, 3), (3, 3)), constant_values=250),
        test_images=np.pad(patterns.test_images, ((0, 0), (3, 3), (3, 3)), constant_values=250),
    )
    told: list[str] = []

    class Notices(Callback):
        def on_notice(self, training: Training | None, sentence: str) -> None:
            told.append(sentence)

    callbacks = [Notices()]
    plain = small.changed(epochs=1)
    outcome = train(plain, light, callbacks=callbacks)
    assert outcome.checkpoint.origin["background"] == 250
    assert not any("background" in sentence for sentence in told)
    train(plain.changed(augmentation="affine-8x8"), light, callbacks=callbacks)
    (sentence,) = [sentence for sentence in told if "light background" in sentence]
    assert "fills in its grey value, 250," in sentence
