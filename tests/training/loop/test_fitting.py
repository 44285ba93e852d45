"""`fit` beside a loop written by hand, and what it does besides."""

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, jit, nn, optim
from tinygrad_mnist.data import Batches, DataError
from tinygrad_mnist.training import (
    Callback,
    DivergedError,
    Fit,
    JitDecision,
    Record,
    Training,
    TrainingError,
    fit,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 6)).astype(np.float32)
Y = (X[:, :3] + 0.3 * RNG.normal(size=(90, 3))).argmax(axis=1)
NUMBERS = (X @ RNG.normal(size=(6, 2))).astype(np.float32)
HELD_OUT = (X[60:], Y[60:])


@dataclass
class Trained:
    """A model, with all that a training of it needs."""

    model: nn.Module
    optimizer: optim.Optimizer
    schedule: optim.LRScheduler

    def fit(self, data: Any = (X[:60], Y[:60]), **options: Any) -> Fit:
        settings = {"loss": nn.CrossEntropyLoss(), "epochs": 3, "batch_size": 8, "schedule": self.schedule}
        return fit(self.model, self.optimizer, data, **{**settings, **options})

    def weights(self) -> bytes:
        return b"".join(np.asarray(value).tobytes() for value in self.model.state_dict().values())


def make(outputs: int = 3, lr: float = 0.02) -> Trained:
    model = nn.Sequential(
        *(nn.Linear(6, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3, rng=1)),
        nn.Linear(8, outputs, rng=2),
    )
    optimizer = optim.Adam(model.parameters(), lr=lr)
    return Trained(model, optimizer, optim.ExponentialLR(optimizer, gamma=0.99))


compiler_needed = pytest.mark.skipif(
    importlib.util.find_spec("llvmlite") is None, reason="the extra `jit` is not installed"
)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=compiler_needed)])
def test_a_loop_by_hand_gives_the_same_bits(compiled: bool) -> None:
    own, loss = make(), nn.CrossEntropyLoss()
    model, optimizer = own.model, own.optimizer
    batches = Batches(X[:60], Y[:60], 8, rng=np.random.default_rng(0))

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value

    run = jit(step) if compiled else step
    losses = []
    for _ in range(3):
        for x, y in batches:
            losses.append(float(run(Tensor(x), Tensor(y))))
            own.schedule.step()
    trained = make()
    done = trained.fit(jit="on" if compiled else "off")
    assert done.history.losses == losses
    assert trained.weights() == own.weights()
    assert done.best is None
    assert done.samples == 180
    assert not trained.model.training


def test_any_shape_dtype_and_loss_is_trained() -> None:
    trained = make(outputs=2)
    done = trained.fit(
        (X[:60], NUMBERS[:60]),
        loss=lambda outputs, targets: ((outputs - targets) ** 2).mean(),
        epochs=40,
        validation=(X[60:], NUMBERS[60:]),
        metrics=["mean-absolute-error"],
    )
    assert done.history.losses[-1] < done.history.losses[0]
    assert done.best is not None
    assert done.best.validation_accuracy is None
    assert done.best.validation_loss == min(record.validation_loss for record in done.history.records)
    assert done.best.metrics["mean-absolute-error"] == pytest.approx(
        np.abs(np.asarray(trained.model(X[60:]).data) - NUMBERS[60:]).mean(), rel=1e-5
    )


def test_a_list_of_batches_is_gone_through_in_each_epoch() -> None:
    batches = [(X[:20], Y[:20]), (X[20:50], Y[20:50]), (X[50:60], Y[50:60])]
    done = make().fit(batches, epochs=2.7)
    assert len(done.history.losses) == 8
    assert done.samples == 60 + 60 + 50


def test_accumulated_batches_are_one_larger_batch_but_for_rounding() -> None:
    """The last of a pass too, which has fewer samples; batch norm would see other batches."""

    def trained() -> Trained:
        model = nn.Sequential(nn.Linear(6, 8, rng=0), nn.Tanh(), nn.Linear(8, 3, rng=1)).astype(np.float64)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return Trained(model, optimizer, optim.ExponentialLR(optimizer, gamma=0.99))

    data = (X[:58].astype(np.float64), Y[:58])
    one, parts = trained(), trained()
    whole = one.fit(data, batch_size=24, clip_norm=0.5)
    pieces = parts.fit(data, batch_size=8, accumulate=3, clip_norm=0.5)
    assert pieces.history.losses == pytest.approx(whole.history.losses, rel=1e-12)
    for found, expected in zip(parts.model.parameters(), one.model.parameters(), strict=True):
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-11, atol=1e-13)
    assert pieces.samples == whole.samples


def test_the_average_is_what_is_kept_with_or_without_validation() -> None:
    plain, averaged, evaluated = make(), make(), make()
    losses = plain.fit().history.losses
    assert averaged.fit(ema=0.9).history.losses == losses
    done = evaluated.fit(ema=0.9, validation=HELD_OUT, evaluate_every=3)
    assert done.history.losses == losses
    assert plain.weights() != averaged.weights() == evaluated.weights()


def test_norms_of_gradients_are_taken_before_clipping() -> None:
    """Beside the gradients of a loop by hand; the steps in which clipping acts are counted."""
    own, loss, expected, acted = make(), nn.CrossEntropyLoss(), [], 0
    for x, y in Batches(X[:60], Y[:60], 8, rng=np.random.default_rng(0)):
        own.optimizer.zero_grad()
        loss(own.model(x), y).backward()
        expected.append(
            {
                name: float(np.linalg.norm(parameter.grad.data.astype(np.float64)))
                for name, parameter in own.model.named_parameters()
                if parameter.grad is not None
            }
        )
        acted += optim.clip_grad_norm_(own.model.parameters(), 1.2) > 1.2
        own.optimizer.step()
        own.schedule.step()
    history = make().fit(epochs=1, clip_norm=1.2).history
    assert [norms.step for norms in history.gradients] == list(range(1, 9))
    for found, norms in zip(history.gradients, expected, strict=True):
        assert found.norms == pytest.approx(norms, rel=1e-4, abs=1e-7)
    assert 0 < history.clipped == acted < 8


@pytest.mark.parametrize(("size", "expected"), [(1e-25, 2e-25), (1e25, 2e25)])
def test_norms_of_tiny_and_huge_gradients_are_right(size: float, expected: float) -> None:
    model = nn.Linear(4, 1, bias=False)
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    scale = np.float32(size)
    done = fit(
        model,
        optimizer,
        (np.ones((2, 4), np.float32), np.zeros((2, 1), np.float32)),
        loss=lambda outputs, _: outputs.mean() * scale,
        epochs=1,
    )
    assert done.history.gradients[0].norms["weight"] == pytest.approx(expected, rel=1e-5)


def test_of_many_steps_norms_are_taken_in_a_hundred() -> None:
    history = make().fit(epochs=120).history
    steps = [norms.step for norms in history.gradients]
    assert len(steps) == 100
    assert steps[-1] == len(history.losses) == 960
    assert set(np.diff(steps)) <= {9, 10}


def test_rates_are_those_of_the_steps() -> None:
    assert make().fit(epochs=1).history.rates == pytest.approx([0.02 * 0.99**t for t in range(8)])


def test_patience_stops_and_the_best_weights_are_restored() -> None:
    trained = make(lr=3.0)
    done = trained.fit(epochs=50, validation=HELD_OUT, patience=3)
    assert done.stopped
    assert done.best is not None
    records = done.history.records
    assert records[-4] == done.best
    assert len(done.history.losses) == records[-1].step < 400
    right = np.asarray(trained.model(HELD_OUT[0]).data).argmax(axis=1) == HELD_OUT[1]
    assert right.mean() == done.best.validation_accuracy


def test_each_module_keeps_its_mode_over_an_evaluation() -> None:
    """A norm that is frozen on purpose stays so; a model in evaluation mode is trained all the same."""
    frozen, evaluating = make(), make()
    norm: Any = frozen.model[1]  # type: ignore[index]
    norm.eval()
    before = norm.running_mean.copy()
    seen: list[tuple[bool, bool]] = []

    class Modes(Callback):
        def on_step_end(self, training: Training) -> None:
            seen.append((training.model.training, norm.training))

    frozen.fit(epochs=2, validation=HELD_OUT, callbacks=[Modes()], lint=False)
    assert set(seen) == {(True, False)}
    np.testing.assert_array_equal(norm.running_mean, before)
    evaluating.model.eval()
    assert evaluating.fit().history.losses == make().fit().history.losses


def test_no_progress_is_no_error_and_a_loss_that_is_not_finite_is_one() -> None:
    class Origin(Callback):
        def on_diverge(self, training: Training) -> str:
            assert training.batch is not None
            return f"the batch has {len(training.batch[0])} samples"

    spoilt = X[:60].copy()
    spoilt[7] = np.nan
    with pytest.raises(DivergedError, match=r"the loss became nan in step \d of 24: .*; the batch has 8 s"):
        make().fit((spoilt, Y[:60]), callbacks=[Origin()], lint=False)
    with pytest.raises(DivergedError, match="the loss on the validation part became nan"):
        make().fit(validation=(spoilt, Y[:60]), lint=False)


@compiler_needed
def test_a_large_training_is_compiled_and_a_small_one_not() -> None:
    class Decisions(Callback):
        def __init__(self) -> None:
            self.found: list[bool] = []

        def on_compile(self, training: Training, decision: JitDecision) -> None:
            self.found.append(decision.compiled)
            training.stop()

    told = Decisions()
    for epochs in (1, 2000):
        make().fit(epochs=epochs, callbacks=[told])
    assert told.found == [False, True]


# ---- what does not fit -----------------------------------------------------------------------------------


class Broken:
    """Batches that say another number than there are."""

    def __init__(self, says: int, has: int) -> None:
        self.says, self.has = says, has

    def __len__(self) -> int:
        return self.says

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter([(X[:8], Y[:8])] * self.has)


OTHER = make()


def frozen() -> Trained:
    made = make()
    for parameter in made.model.parameters():
        parameter.requires_grad = False
    return made


FAULTS: dict[str, tuple[Callable[[], object], str]] = {
    "lengths": (lambda: make().fit((X, Y[:-1])), "90 inputs and 89 targets"),
    "empty": (lambda: make().fit((X[:0], Y[:0])), "nothing to go through"),
    "no batches": (lambda: make().fit([]), "data has no batches"),
    "one array": (lambda: make().fit(X), "data is a pair of arrays, .* not a ndarray"),
    "three arrays": (lambda: make().fit((X, Y, Y)), "a pair of arrays, inputs and targets, not 3"),
    "two inputs": (lambda: make().fit(((X, X), Y)), r"a tuple of 2 arrays, .*; put them together, as np"),
    "inputs by name": (lambda: make().fit(({"a": X}, Y)), "a dict of 1 arrays, but a model .* has one input"),
    "a tuple of two batches": (
        lambda: make().fit(((X[:45], Y[:45]), (X[45:], Y[45:]))),
        r"a pair of pairs of arrays; .* give a list of them",
    ),
    "rows of several lengths": (
        lambda: make().fit(([[1.0, 2.0], [1.0]], Y[:2])),
        "the inputs are a list of parts that make no array",
    ),
    "a batch of several lengths": (
        lambda: make().fit([([[1.0, 2.0], [1.0]], Y[:2])]),
        "the inputs are a list of parts that make no array",
    ),
    "names as labels": (
        lambda: make().fit((X, np.array(list("abc") * 30))),
        r"the targets are texts, <U1; give numbers: names, numbers = np.unique\(targets",
    ),
    "names in batches": (lambda: make().fit(Batches(X, np.array(list("abc") * 30))), "targets are texts"),
    "names in a list": (lambda: make().fit([(X[:3], ["a", "b", "c"])]), "the targets are texts"),
    "objects": (lambda: make().fit((X, np.array([None] * 90))), "the targets are object; give real numbers"),
    "a last batch of one": (
        lambda: make().fit((X[:65], Y[:65])),
        r"65 samples in batches of 8 leave a batch of one, .* data.Batches\(x, y, 8, .*drop_last=True\)",
    ),
    "batches of one": (lambda: make().fit(batch_size=1), "leave a batch of one"),
    "all is frozen": (lambda: frozen().fit(), "all parameters of the model are frozen"),
    "a constant loss": (
        lambda: make().fit(loss=lambda outputs, _: outputs.detach().mean(), lint=False),
        r"the loss depends on no parameter that is trained, .* detach\(\)",
    ),
    "a list of two arrays": (lambda: make().fit([X, Y]), "give a tuple of them"),
    "a generator": (
        lambda: make().fit(batch for batch in [(X, Y)]),
        "data is a generator, which can be gone through once, .* give arrays",
    ),
    "fewer batches": (lambda: make().fit(Broken(3, 2)), "ended after 2 batches, but its length is 3"),
    "more batches": (lambda: make().fit(Broken(3, 4)), "goes on after 3 batches"),
    "no epochs": (lambda: make().fit(epochs=0), "epochs must be a finite number above 0, not 0"),
    "epochs of a text": (lambda: make().fit(epochs="3"), "epochs must be .*, not '3'"),
    "endless": (lambda: make().fit(epochs=math.inf), "epochs must be .*, not inf"),
    "seed": (lambda: make().fit(seed=-1), "seed must be .* not -1"),
    "seed of a text": (lambda: make().fit(seed="a"), "seed must be a whole number .* not 'a'"),
    "seed of a fraction": (lambda: make().fit(seed=1.5), "seed must be a whole number .* not 1.5"),
    "batch size": (lambda: make().fit(batch_size=0), "batch_size must be .* at least 1, not 0"),
    "batch size of a text": (lambda: make().fit(batch_size="8"), "batch_size must be .* not '8'"),
    "batch size of a fraction": (lambda: make().fit(batch_size=2.5), "batch_size must be .* not 2.5"),
    "lint": (lambda: make().fit(lint="no"), "lint must be True or False, not 'no'"),
    "checkpoint of a number": (lambda: make().fit(checkpoint=5), "checkpoint must be the path .* not 5"),
    "checkpoint of no name": (lambda: make().fit(checkpoint=""), "checkpoint must be the path .* not ''"),
    "resume": (lambda: make().fit(resume=True), "resume must be the path .* not True"),
    "resume of bytes": (lambda: make().fit(resume=b"a.npz"), "resume must be the path .* not b'a.npz'"),
    "checkpoint_every": (lambda: make().fit(checkpoint_every="5"), "is '5', but there is no file to write"),
    "loss of a name": (
        lambda: make().fit(loss="cross-entropy"),
        r"loss must be a function, not 'cross-entropy'; make one, as nn.CrossEntropyLoss\(\)",
    ),
    "loss of a class": (
        lambda: make().fit(loss=nn.CrossEntropyLoss),
        "loss must be a function, not the class CrossEntropyLoss itself",
    ),
    "optimiser of a class": (
        lambda: fit(make().model, optim.Adam, (X, Y), loss=nn.MSELoss(), epochs=1),  # type: ignore[arg-type]
        r"optimizer must be .* not the class Adam itself; make one, as optim.Adam\(model.parameters\(\)\)",
    ),
    "model of a function": (
        lambda: fit(lambda x: x, OTHER.optimizer, (X, Y), loss=nn.MSELoss(), epochs=1),  # type: ignore[arg-type]
        "model must be a module of nn, not a function; make a class of nn.Module",
    ),
    "model and optimiser": (
        lambda: fit(OTHER.optimizer, OTHER.model, (X, Y), loss=nn.MSELoss(), epochs=1),  # type: ignore[arg-type]
        "the optimiser stands in the place of the model",
    ),
    "schedule of a name": (lambda: make().fit(schedule="cosine"), "schedule must be .* not 'cosine'; make"),
    "schedule of a class": (
        lambda: make().fit(schedule=optim.ExponentialLR),
        "schedule must be a schedule of optim, or None, not the class ExponentialLR itself",
    ),
    "metric": (
        lambda: make().fit(validation=HELD_OUT, metrics="acuracy"),
        "no metric 'acuracy'; did you mean accuracy",
    ),
    "metrics of nothing": (lambda: make().fit(metrics="accuracy"), "give validation="),
    "patience of nothing": (lambda: make().fit(patience=2), "give a validation part"),
    "no patience": (lambda: make().fit(validation=HELD_OUT, patience=0), "patience must be .* not 0"),
    "accumulate": (lambda: make().fit(accumulate=9), "accumulate is 9, but a pass .* has 8 batches"),
    "ema": (lambda: make().fit(ema=1.0), "ema must be at least 0 and less than 1, not 1.0"),
    "clip_norm": (lambda: make().fit(clip_norm=0.0), "clip_norm must be .* not 0.0"),
    "loss of a shape": (
        lambda: make().fit(loss=lambda outputs, _: outputs),
        r"the loss has to return a Tensor of shape \(\), not one of shape \(8, 3\); take its mean",
    ),
    "loss of a number": (lambda: make().fit(loss=lambda *_: 3.0), "not 3.0"),
    "no parameters": (
        lambda: fit(nn.ReLU(), OTHER.optimizer, (X, Y), loss=nn.MSELoss(), epochs=1),
        "a ReLU, has no parameters",
    ),
    "optimiser": (
        lambda: fit(make().model, OTHER.optimizer, (X, Y), loss=nn.MSELoss(), epochs=1),
        "holds no parameter of the model",
    ),
    "schedule": (lambda: make().fit(schedule=OTHER.schedule), "made for another optimiser"),
    "callbacks": (lambda: make().fit(callbacks=Callback()), "callbacks is a list"),
    "a class": (lambda: make().fit(callbacks=[Callback]), r"the class Callback; make one: Callback\(\)"),
    "a function": (lambda: make().fit(callbacks=[print]), "derive it from training.Callback"),
    "interval": (lambda: make().fit(checkpoint="x.npz", checkpoint_every="often"), "not every 'often'"),
    "folder": (lambda: make().fit(checkpoint="none/x.npz"), "no directory 'none'"),
    "no checkpoint": (lambda: make().fit(resume="x.npz"), "x.npz does not exist"),
    "jit": (lambda: make().fit(jit="yes"), "jit must be one of auto, on, off, not 'yes'"),
    "class names": (
        lambda: make().fit((X, Y + 1), lint=False),
        "label 3 is not one of the 3 classes",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_fit_is_said_in_a_sentence(name: str) -> None:
    call, message = FAULTS[name]
    with pytest.raises((TrainingError, DataError, IndexError), match=message):
        call()


def test_an_error_in_the_validation_part_says_where_it_is() -> None:
    with pytest.raises(ValueError, match=r"matmul|shape") as caught:
        make().fit(validation=(X[:, :5], Y))
    assert caught.value.__notes__ == [
        "This batch is one of the validation part; its inputs and targets: (90, 5) and (90,)"
    ]


def test_a_last_batch_of_one_that_batch_norm_can_take_is_trained_on() -> None:
    frozen_norm = make()
    frozen_norm.model[1].eval()
    frozen_norm.fit((X[:17], Y[:17]), epochs=1, lint=False)
    make().fit(Batches(X[:17], Y[:17], 8, drop_last=True), epochs=1)
    wide = nn.Sequential(nn.Conv1d(1, 2, 3, rng=0), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(8, 3, rng=1))
    optimizer = optim.SGD(wide.parameters(), lr=0.1)
    fit(wide, optimizer, (X[:17, None], Y[:17]), loss=nn.CrossEntropyLoss(), epochs=1, batch_size=8)


# ---- interrupts and callbacks ----------------------------------------------------------------------------


class Impatient(Callback):
    """Presses Ctrl-C after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, training: Training) -> None:
        if training.step == self.step:
            raise KeyboardInterrupt


def test_ctrl_c_keeps_what_there_is_and_all_callbacks_hear_of_the_step(tmp_path: Path) -> None:
    class Seen(Callback):
        steps = 0

        def on_step_end(self, training: Training) -> None:
            self.steps += 1

        def on_interrupt(self, training: Training) -> None:
            self.step = training.step

    seen = Seen()
    done = make().fit(callbacks=[Impatient(11), seen], validation=HELD_OUT)
    assert done.interrupted
    assert len(done.history.losses) == seen.steps == seen.step == 11
    assert done.best is not None
    assert done.best.step == 8


def test_a_training_that_a_callback_stops_is_evaluated_at_its_end() -> None:
    class Enough(Callback):
        def on_step_end(self, training: Training) -> None:
            if training.step == 11:
                training.stop()

    done = make().fit(callbacks=[Enough()], validation=HELD_OUT)
    assert done.stopped
    assert not done.interrupted
    assert [record.step for record in done.history.records] == [8, 11]


def test_callbacks_are_told_in_order() -> None:
    told: list[str] = []

    class Diary(Callback):
        def on_train_begin(self, training: Training) -> None:
            told.append(f"begin {training.step}/{training.steps}")

        def on_compile(self, training: Training, decision: JitDecision) -> None:
            told.append(f"compiled {decision.compiled}")

        def on_epoch_begin(self, training: Training) -> None:
            told.append(f"epoch {training.epoch:g}")

        def on_step_end(self, training: Training) -> None:
            told.append(f"step {training.step}")
            assert training.loss == training.history.losses[-1]
            assert training.lr == training.history.rates[-1]

        def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
            told.append(f"evaluated {record.step}")
            assert training.history.records[-1] is record
            assert best is (training.best is record)

        def on_epoch_end(self, training: Training) -> None:
            told.append(f"epoch ends {training.epoch:g}")

        def on_train_end(self, training: Training) -> None:
            told.append("end")

    make().fit(callbacks=[Diary()], validation=HELD_OUT, batch_size=30, epochs=1.5, evaluate_every=0.5)
    assert told == [
        *("begin 0/3", "compiled False"),
        *("epoch 0", "step 1", "evaluated 1", "step 2", "evaluated 2", "epoch ends 1"),
        *("epoch 1", "step 3", "evaluated 3"),
        "end",
    ]
