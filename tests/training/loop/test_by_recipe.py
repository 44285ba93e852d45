import importlib.util
import math
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import (
    OPTIMIZERS,
    Callback,
    DivergedError,
    Fit,
    JitDecision,
    Plan,
    Recipe,
    Record,
    Training,
    evaluate,
    follow,
)
from tinygrad_mnist.training.loop import compilation, course
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import Parts, split


def test_a_training_of_billions_of_steps_begins_at_once(small: Recipe, patterns: Dataset) -> None:
    class Stops(Callback):
        def on_step_end(self, training: Training) -> None:
            training.stop()

    rngs = generators(0)
    recipe = small.changed(epochs=1e12, evaluate_every=1e-3)
    parts = split(patterns, recipe.validation, rngs["split"], recipe.crop)
    model = build_model(recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"])
    done = follow(recipe, model, parts, rngs=rngs, callbacks=[Stops()], jit="off")
    assert len(done.history.losses) == 1


class Listener(Callback):
    """Keeps all that it is told, and may press Ctrl-C after a step."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.decisions: list[JitDecision] = []
        self.steps: list[int] = []
        self.records: list[Record] = []
        self.best: list[bool] = []
        self.interrupt_after = interrupt_after
        self.was_interrupted = False

    def on_train_begin(self, training: Training) -> None:
        assert training.plan is not None
        self.plan: Plan = training.plan
        if self.interrupt_after == 0:
            raise KeyboardInterrupt

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        self.decisions.append(decision)

    def on_step_end(self, training: Training) -> None:
        self.steps.append(training.step)
        if training.step == self.interrupt_after:
            raise KeyboardInterrupt

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        self.records.append(record)
        self.best.append(best)

    def on_interrupt(self, training: Training) -> None:
        self.was_interrupted = True


def train(
    recipe: Recipe, dataset: Dataset, seed: int = 0, listener: Callback | None = None, jit: str = "auto"
) -> tuple[Fit, Any, Parts]:
    rngs = generators(seed)
    parts = split(dataset, recipe.validation, rngs["split"])
    model = build_model(
        recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )
    callbacks = [] if listener is None else [listener]
    return follow(recipe, model, parts, rngs=rngs, callbacks=callbacks, jit=jit), model, parts


def test_the_patterns_are_learned(small: Recipe, patterns: Dataset) -> None:
    done, _, _ = train(small.changed(epochs=8), patterns)
    assert done.best.validation_accuracy == 1


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_equal_seeds_give_equal_bits(small: Recipe, patterns: Dataset, dropout: float) -> None:
    states = [train(small.changed(dropout=dropout), patterns, seed)[1].state_dict() for seed in (3, 3, 4)]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(np.array_equal(states[0][name], states[2][name]) for name in states[0])


def test_one_hot_labels_give_the_same_training(small: Recipe, patterns: Dataset) -> None:
    plain, hot = (train(small.changed(one_hot=value), patterns)[0].history.losses for value in (False, True))
    assert hot == pytest.approx(plain, rel=1e-4)


def test_each_step_is_reported_once(small: Recipe, patterns: Dataset) -> None:
    listener = Listener()
    train(small, patterns, listener=listener)
    assert listener.steps == list(range(1, listener.plan.steps + 1))
    assert listener.plan.steps == 4 * (128 // 16)


def test_the_plan_counts_parameters_and_images(small: Recipe, patterns: Dataset) -> None:
    listener = Listener()
    train(small, patterns, listener=listener)
    plan = listener.plan
    assert (plan.train_images, plan.validation_images, plan.image_shape, plan.classes) == (128, 32, (5, 5), 4)
    assert plan.parameters == (25 * 8 + 8) + (8 + 8) + (8 * 4 + 4)


@pytest.mark.parametrize(("every", "steps"), [(1, [8, 16, 24, 32]), (2, [16, 32]), (0.5, None), (100, [32])])
def test_evaluations_are_evenly_spaced_and_the_last_is_at_the_end(
    small: Recipe, patterns: Dataset, every: float, steps: list[int] | None
) -> None:
    listener = Listener()
    train(small.changed(evaluate_every=every), patterns, listener=listener)
    assert [record.step for record in listener.records] == (steps or list(range(4, 33, 4)))


def test_a_record_holds_what_was_measured(small: Recipe, patterns: Dataset) -> None:
    done, model, parts = train(small.changed(epochs=1), patterns)
    (record,) = done.history.records
    again = evaluate(model, parts.validation_images, parts.validation_labels, parts.standardizer)
    assert (record.validation_accuracy, record.validation_loss) == (again.accuracy, again.loss)
    assert record.train_loss == pytest.approx(np.mean(done.history.losses))
    assert record.epoch == 1


def test_the_state_that_was_the_best_is_left_in_the_model(small: Recipe, patterns: Dataset) -> None:
    done, model, parts = train(small.changed(lr=0.3, schedule="constant", epochs=8), patterns)
    again = evaluate(model, parts.validation_images, parts.validation_labels, parts.standardizer)
    assert again.accuracy == max(record.validation_accuracy for record in done.history.records)
    assert not model.training


def test_what_came_after_the_best_state_is_forgotten(small: Recipe, patterns: Dataset) -> None:
    """Going on after the best step leaves what ending there leaves."""
    recipe = small.changed(lr=0.3, schedule="constant", epochs=8)
    done, whole, _ = train(recipe, patterns)
    assert done.best.step < done.history.records[-1].step
    _, ended, _ = train(recipe, patterns, listener=Listener(interrupt_after=done.best.step + 1))
    np.testing.assert_equal(whole.state_dict(), ended.state_dict())


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_every_step_is_in_training_mode(small: Recipe, patterns: Dataset, mode: bool) -> None:
    """Whatever mode the model came in, and after an evaluation too."""

    class Watched(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model
            self.modes: list[bool] = []

        def forward(self, x: Any) -> Any:
            self.modes.append(self.training)
            return self.model(x)

    rngs = generators(0)
    parts = split(patterns, small.validation, rngs["split"])
    model = Watched(build_model(small, parts.image_shape, parts.classes)).train(mode)
    done = follow(small, model, parts, rngs=rngs)
    assert len(done.history.losses) == model.modes.count(True) == 32
    assert model.modes.count(False) >= 4  # the evaluations


def test_evaluations_are_no_training_time(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which a step takes a second and an evaluation an hour."""

    class Clock(Callback):
        now = 0.0

        def on_step_end(self, training: Training) -> None:
            self.now += 1
            with training.untimed():  # as of a checkpoint
                self.now += 60

        def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
            self.now += 3600

    clock = Clock()
    monkeypatch.setattr(course, "perf_counter", lambda: clock.now)
    assert train(small, patterns, listener=clock)[0].seconds == 32


def test_training_accuracy_is_that_of_one_sample_of_the_training_part(
    small: Recipe, patterns: Dataset
) -> None:
    class Watched(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model
            self.seen: list[Any] = []

        def forward(self, x: Any) -> Any:
            if not self.training:
                self.seen.append(np.asarray(x.data))
            return self.model(x)

    rngs = generators(0)
    parts = split(patterns, small.validation, rngs["split"])
    model = Watched(build_model(small, parts.image_shape, parts.classes))
    follow(small, model, parts, rngs=rngs)
    samples = model.seen[1::2]  # of each pair of evaluations, the first is on the validation part
    assert len(samples) == 4
    assert all(np.array_equal(one, samples[0]) for one in samples)
    rows = {row.tobytes() for row in samples[0]}
    assert len(rows) == len(samples[0]) == len(parts.validation_images)
    assert rows <= {row.tobytes() for row in parts.standardizer(parts.train_images)}


@pytest.mark.parametrize(("epochs", "steps"), [(0.01, 1), (0.5, 4), (1.25, 10), (2.0, 16)])
def test_epochs_need_not_be_whole(small: Recipe, patterns: Dataset, epochs: float, steps: int) -> None:
    listener = Listener()
    train(small.changed(epochs=epochs), patterns, listener=listener)
    assert listener.plan.steps == len(listener.steps) == steps
    assert listener.records[-1].step == steps


def test_the_average_is_what_is_evaluated_and_kept(small: Recipe, patterns: Dataset) -> None:
    """And training goes on with the weights themselves: the losses are as without."""
    plain, averaged = (train(small.changed(ema=ema), patterns) for ema in (0.0, 0.8))
    assert plain[0].history.losses == averaged[0].history.losses
    assert not np.array_equal(plain[1].state_dict()["0.weight"], averaged[1].state_dict()["0.weight"])
    _, model, parts = averaged
    again = evaluate(model, parts.validation_images, parts.validation_labels, parts.standardizer)
    assert again.accuracy == averaged[0].best.validation_accuracy


CONVOLUTIONS = {
    "model": "layers",
    "hidden": (),
    "batch_norm": False,
    "layers": ("conv 4 2x2", "norm", "activation", "max-pool 2", "flatten"),
    "schedule": "warmup-cosine",
    "betas": (0.9, 0.99),
    "decay_biases": False,
    "augmentation": "affine",
    "hard": (3.0, 0.1),
    "epochs": 6.5,
}


def test_convolutions_learn(small: Recipe, patterns: Dataset) -> None:
    done, _, _ = train(small.changed(**CONVOLUTIONS), patterns)
    assert len(done.history.losses) == 52
    assert done.best.validation_accuracy > 0.9


def test_full_batch_is_one_step_an_epoch(small: Recipe, patterns: Dataset) -> None:
    listener = Listener()
    train(small.changed(batch_size=None, epochs=5), patterns, listener=listener)
    assert (listener.plan.steps_per_epoch, listener.plan.steps) == (1, 5)


def test_a_batch_larger_than_the_data_is_the_full_batch(small: Recipe, patterns: Dataset) -> None:
    whole, larger = (
        train(small.changed(batch_size=size, epochs=3), patterns)[0].history.losses for size in (None, 10_000)
    )
    assert whole == larger


def test_gradients_are_clipped(small: Recipe, patterns: Dataset) -> None:
    """With a norm near nothing, plain descent stays where it was."""
    recipe = small.changed(
        optimizer="sgd", schedule="constant", clip_norm=1e-12, batch_norm=False, weight_decay=0.0
    )
    rngs = generators(0)
    before = build_model(recipe, (5, 5), 4, rng=rngs["initialisation"]).state_dict()
    _, model, _ = train(recipe, patterns)
    after = model.state_dict()
    assert all(np.allclose(before[name], after[name], atol=1e-9) for name in before)


def test_time_and_images_are_counted(small: Recipe, patterns: Dataset) -> None:
    done, _, _ = train(small, patterns)
    assert done.images == 4 * 128
    assert 0 < done.seconds < 60
    assert done.history.records[-1].seconds == done.seconds


def test_label_smoothing_is_in_both_losses(small: Recipe, patterns: Dataset) -> None:
    """So that the two curves can be compared: neither can fall below the entropy of the targets."""
    done, _, _ = train(small.changed(label_smoothing=0.4, epochs=8), patterns)
    share = np.array([0.6 + 0.1, 0.1, 0.1, 0.1])
    entropy = -(share * np.log(share)).sum()
    assert entropy < done.best.validation_loss < entropy + 0.3
    assert entropy < done.best.train_loss


def test_ctrl_c_keeps_the_best_state(small: Recipe, patterns: Dataset) -> None:
    listener = Listener(interrupt_after=20)
    done, model, parts = train(small, patterns, listener=listener)
    assert done.interrupted
    assert listener.was_interrupted
    assert [record.step for record in done.history.records] == [8, 16]
    again = evaluate(model, parts.validation_images, parts.validation_labels, parts.standardizer)
    assert again.accuracy == done.best.validation_accuracy


def test_ctrl_c_before_the_first_evaluation_evaluates(small: Recipe, patterns: Dataset) -> None:
    done, _, _ = train(small, patterns, listener=Listener(interrupt_after=3))
    assert done.interrupted
    assert [record.step for record in done.history.records] == [3]


def test_ctrl_c_before_the_first_step_is_not_caught(small: Recipe, patterns: Dataset) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(small, patterns, listener=Listener(interrupt_after=0))


def test_a_loss_that_is_not_finite_stops_training(small: Recipe, patterns: Dataset) -> None:
    recipe = small.changed(optimizer="sgd", lr=1e30, schedule="constant", batch_norm=False)
    with pytest.raises(DivergedError, match=r"the loss became (nan|inf).*lower learning rate"):
        train(recipe, patterns)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(small: Recipe, patterns: Dataset, optimizer: str) -> None:
    done, _, _ = train(small.changed(optimizer=optimizer), patterns)
    assert done.history.losses[-1] < done.history.losses[0]
    assert all(map(math.isfinite, done.history.losses))


# ---- compiled --------------------------------------------------------------------------------------------


def test_the_step_and_the_model_are_compiled_once(
    small: Recipe, patterns: Dataset, compiler: list[object]
) -> None:
    done, model, _ = train(small, patterns, jit="on")
    assert len(compiler) == 5  # the functions of a step, of which one is called, and the model
    assert model in compiler
    assert done.decision.compiled


def test_the_decision_is_reported_before_the_first_step(
    small: Recipe, patterns: Dataset, compiler: list[object]
) -> None:
    listener = Listener(interrupt_after=1)
    done, _, _ = train(small, patterns, listener=listener, jit="on")
    assert listener.decisions == [done.decision]
    assert str(done.decision) == "steps are compiled: jit is on"


def test_few_steps_are_not_compiled_unless_asked_for(
    small: Recipe, patterns: Dataset, compiler: list[object]
) -> None:
    long = small.changed(epochs=5000)
    assert not train(small, patterns)[0].decision.compiled
    assert not train(long, patterns, jit="off", listener=Listener(1))[0].decision.compiled
    assert compiler == []


def refusing(calls: int) -> Any:
    """A compiler whose functions raise from that call of each on."""

    def compile(function: Any, threads: int) -> Any:
        numbers = iter(range(calls))

        def call(*inputs: Any) -> Any:
            if next(numbers, None) is None:
                raise JitError("model.py:3, in forward: the value decides\nwhat is done")
            return function(*inputs)

        return call

    return compile


@pytest.mark.parametrize("calls", [0, 3], ids=["step", "evaluation"])
def test_a_model_that_cannot_be_compiled_is_trained_as_it_is(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch, compiler: list[object], calls: int
) -> None:
    """All of it, to the same bits; and the user is told why."""
    recipe = small.changed(epochs=200, evaluate_every=100)
    plain = train(recipe, patterns, jit="off", listener=Listener(interrupt_after=20))[0]
    monkeypatch.setattr(compilation, "COMPILE_COST", 0.0)
    monkeypatch.setattr(compilation, "compiled", refusing(calls))
    listener = Listener(interrupt_after=20)
    done, _, _ = train(recipe, patterns, listener=listener)
    assert done.history.losses == plain.history.losses
    assert [one.compiled for one in listener.decisions] == [True, False]
    assert done.decision == listener.decisions[-1]
    assert str(done.decision).endswith("model.py:3, in forward: the value decides what is done")


def test_a_model_that_cannot_be_compiled_is_an_error_if_it_has_to_be(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch, compiler: list[object]
) -> None:
    monkeypatch.setattr(compilation, "compiled", refusing(0))
    with pytest.raises(JitError, match=r"model\.py:3"):
        train(small, patterns, jit="on")


compiler_needed = pytest.mark.skipif(
    importlib.util.find_spec("llvmlite") is None, reason="the extra `jit` is not installed"
)


@pytest.fixture(scope="module")
def rich(small: Recipe) -> Recipe:
    """All that a step can have in it."""
    return small.changed(dropout=0.3, label_smoothing=0.1, clip_norm=0.5, one_hot=True)


@pytest.fixture(scope="module")
def whole(rich: Recipe, patterns: Dataset) -> tuple[Fit, Any, Parts]:
    """A compiled training from its beginning to its end."""
    return train(rich, patterns, jit="on")


@compiler_needed
def test_the_losses_of_compiled_steps_are_those_of_eager(
    rich: Recipe, patterns: Dataset, whole: tuple[Fit, Any, Parts]
) -> None:
    eager = train(rich, patterns, jit="off")[0]
    assert whole[0].history.losses == pytest.approx(eager.history.losses, rel=1e-3)
    for found, expected in zip(whole[0].history.records, eager.history.records, strict=True):
        assert (found.lr, found.step) == (expected.lr, expected.step)
        assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-3)


@compiler_needed
def test_compiled_convolutions_train_as_eager_ones(small: Recipe, patterns: Dataset) -> None:
    recipe = small.changed(**CONVOLUTIONS, ema=0.5)
    compiled, eager = (train(recipe, patterns, jit=jit)[0] for jit in ("on", "off"))
    assert compiled.decision.compiled
    assert compiled.history.losses[:20] == pytest.approx(eager.history.losses[:20], rel=1e-2)
    assert compiled.best.validation_accuracy > 0.9


@compiler_needed
def test_equal_seeds_give_equal_bits_of_compiled_steps(
    rich: Recipe, patterns: Dataset, whole: tuple[Fit, Any, Parts]
) -> None:
    again = train(rich, patterns, jit="on")
    assert again[0].history.losses == whole[0].history.losses
    np.testing.assert_equal(again[1].state_dict(), whole[1].state_dict())


@compiler_needed
def test_ctrl_c_between_compiled_steps_keeps_the_best_state(
    rich: Recipe, patterns: Dataset, whole: tuple[Fit, Any, Parts]
) -> None:
    done, model, parts = train(rich, patterns, jit="on", listener=Listener(interrupt_after=20))
    assert done.interrupted
    assert done.history.losses == whole[0].history.losses[:20]
    again = evaluate(model, parts.validation_images, parts.validation_labels, parts.standardizer)
    assert again.accuracy == done.best.validation_accuracy


@compiler_needed
def test_a_loss_of_a_compiled_step_that_is_not_finite_stops_training(
    small: Recipe, patterns: Dataset
) -> None:
    recipe = small.changed(optimizer="sgd", lr=1e30, schedule="constant", batch_norm=False)
    with pytest.raises(DivergedError, match=r"the loss became (nan|inf)"):
        train(recipe, patterns, jit="on")


@compiler_needed
def test_step_and_evaluation_are_one_program_each(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    real = compilation.compiled

    def compile(function: Any, threads: int) -> Any:
        made.append(real(function, threads))
        return made[-1]

    monkeypatch.setattr(compilation, "compiled", compile)
    train(small, patterns, jit="on")
    assert [len(one.compilations) for one in made if one.compilations] == [1, 1]
