"""A training that was interrupted and goes on ends as one that was not: in weights, history, all bits."""

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_mnist import nn, optim
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import (
    Callback,
    CheckpointError,
    Fit,
    History,
    Recipe,
    Record,
    Training,
    fit,
    follow,
    load_state,
    save_state,
)
from tinygrad_mnist.training.loop import compilation
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split

RNG = np.random.default_rng(5)
X = RNG.normal(size=(70, 6)).astype(np.float32)
Y = (X[:, :3] + RNG.normal(size=(70, 3))).argmax(axis=1)
HELD_OUT = (X[48:], Y[48:])
STATE = "state.npz"


class Interrupts(Callback):
    """Presses Ctrl-C after some steps; keeps a running mean, as a callback with a state of its own."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.mean = 0.0
        self.epochs = 0

    def on_step_end(self, training: Training) -> None:
        self.mean = 0.9 * self.mean + 0.1 * training.loss
        if training.step in self.steps:
            raise KeyboardInterrupt

    def on_epoch_end(self, training: Training) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean, self.epochs = state["mean"], state["epochs"]


class Net:
    """A small net with all that has a state: dropout, batch norm, a moving momentum."""

    def __init__(self, steps: int = 30, outputs: int = 3) -> None:
        self.model = nn.Sequential(
            *(nn.Linear(6, 7, rng=0), nn.BatchNorm1d(7), nn.Tanh(), nn.Dropout(0.3, rng=1)),
            nn.Linear(7, outputs, rng=2),
        )
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.05)
        self.schedule = optim.OneCycleLR(self.optimizer, max_lr=0.05, total_steps=steps)

    def fit(self, *interrupts: int, data: Any = (X[:48], Y[:48]), **options: Any) -> tuple[Fit, Interrupts]:
        told = Interrupts(*interrupts)
        done = fit(
            self.model,
            self.optimizer,
            data,
            **{
                "loss": nn.CrossEntropyLoss(),
                "epochs": 3.5,
                "batch_size": 7,
                "schedule": self.schedule,
                "callbacks": [told],
                "checkpoint": STATE,
                "seed": 4,
                **options,
            },
        )
        return done, told


def found(done: Fit, told: Interrupts, net: Net) -> dict[str, Any]:
    """Return all that has to be equal; the time is not."""
    history = done.history.to_dict()
    for record in history["records"]:
        record["seconds"] = 0.0
    return {
        "history": history,
        "weights": net.model.state_dict(),
        "optimizer": net.optimizer.state_dict(),
        "schedule": net.schedule.state_dict(),
        "best": done.best and done.best.step,
        "stopped": done.stopped,
        "samples": done.samples,
        "callback": told.state_dict(),
        "draw": np.asarray(net.model.train()(X[:5]).data),  # of the dropout
    }


OPTIONS: list[dict[str, Any]] = [
    {},
    {"validation": HELD_OUT, "evaluate_every": 0.3, "ema": 0.9, "clip_norm": 0.4},
    {"validation": HELD_OUT, "evaluate_every": 0.5, "patience": 2},
    {"validation": HELD_OUT, "accumulate": 3, "metrics": ["confusion", "top-2"], "evaluate_every": 0.7},
]


@functools.cache
def uninterrupted(number: int) -> dict[str, Any]:
    """Return what a whole training with some of the options ends in."""
    net = Net()
    return found(*net.fit(checkpoint=None, **OPTIONS[number]), net)


@settings(max_examples=20)
@given(
    st.sampled_from(range(len(OPTIONS))), st.lists(st.integers(1, 24), min_size=1, max_size=3, unique=True)
)
def test_a_training_ends_in_the_same_bits_wherever_it_is_interrupted(
    number: int, interrupts: list[int]
) -> None:
    resume = None
    for step in [*sorted(interrupts), 0]:
        net = Net()
        done, told = net.fit(step, resume=resume, **OPTIONS[number])
        if not done.interrupted:
            break
        resume = STATE
    np.testing.assert_equal(found(done, told, net), uninterrupted(number))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llvmlite") is None, reason="the extra `jit` is not installed")
@pytest.mark.parametrize("options", OPTIONS[1::2], ids=["average and clipping", "accumulation"])
def test_so_it_does_compiled(options: dict[str, Any]) -> None:
    whole = Net()
    expected = found(*whole.fit(jit="on", **options), whole)
    resume = None
    for step in (3, 4, 0):
        net = Net()
        done, told = net.fit(step, jit="on", resume=resume, **options)
        resume = STATE
    np.testing.assert_equal(found(done, told, net), expected)


@settings(max_examples=6)
@given(st.integers(1, 8), st.integers(0, 8))
def test_so_it_does_from_a_state_that_was_saved_on_the_way(every: int, killed: int) -> None:
    """Before the evaluation that belongs to a step, too, as a process may be killed there."""

    class Killed(Callback):
        def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
            if training.step > killed:
                raise MemoryError

    options = {"validation": HELD_OUT, "evaluate_every": 0.3, "checkpoint_every": f"{every} steps"}
    whole = Net()
    expected = found(*whole.fit(**options), whole)
    with pytest.raises(MemoryError):
        Net().fit(callbacks=[Interrupts(), Killed()], **options)
    net = Net()
    np.testing.assert_equal(found(*net.fit(resume=STATE, **options), net), expected)


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Property tests share a folder, whose files need not outlive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        patch.chdir(tmp_path_factory.mktemp("states"))
        yield


class Shuffled:
    """Batches of a user's own: a draw at the beginning of each pass, and no way to begin in its middle."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.began = rng.bit_generator.state

    def __len__(self) -> int:
        return 6

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        self.began = self.rng.bit_generator.state
        order = self.rng.permutation(48)
        for start in range(0, 48, 8):
            yield X[order[start : start + 8]], Y[order[start : start + 8]]
        self.began = self.rng.bit_generator.state

    def state_dict(self) -> dict[str, Any]:
        return {"began": self.began}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rng.bit_generator.state = self.began = state["began"]


@pytest.mark.parametrize("step", [1, 6, 8, 12])
@pytest.mark.parametrize("shared", [False, True], ids=["own generator", "dropout shares it"])
def test_batches_of_ones_own_go_on(step: int, shared: bool) -> None:
    def shuffled(net: Net) -> Shuffled:
        rng = np.random.default_rng(9)
        if shared:
            net.model[3].rng = rng  # type: ignore[index]
        return Shuffled(rng)

    whole, first, last = Net(), Net(), Net()
    expected = found(*whole.fit(data=shuffled(whole)), whole)
    first.fit(step, data=shuffled(first))
    np.testing.assert_equal(found(*last.fit(data=shuffled(last), resume=STATE), last), expected)


def test_a_finished_training_returns_at_once_and_says_so() -> None:
    notices: list[str] = []

    class Listener(Callback):
        def on_notice(self, training: Training | None, sentence: str) -> None:
            notices.append(sentence)

        def on_step_end(self, training: Training) -> None:
            raise AssertionError

    first, again = Net(), Net()
    done, _ = first.fit(validation=HELD_OUT)
    repeated, _ = again.fit(validation=HELD_OUT, resume=STATE, callbacks=[Listener()])
    assert notices == [
        "the checkpoint has states of callbacks that are not here: Interrupts",
        "this training is finished, after 24 steps; for more, name more epochs",
    ]
    assert repeated.history == done.history
    np.testing.assert_equal(again.model.state_dict(), first.model.state_dict())


def test_more_epochs_go_on_by_a_schedule_that_is_laid_out_anew() -> None:
    Net(steps=14).fit(epochs=2)
    state = load_state(STATE)
    net = Net(steps=28)
    done, _ = net.fit(epochs=4, resume=STATE)
    reference = Net(steps=28)
    rates = []
    for _ in range(28):
        rates.append(reference.optimizer.param_groups[0]["lr"])
        reference.schedule.step()
    assert done.history.rates == [*state["history"]["rates"], *rates[14:]]
    assert done.history.losses[:14] == state["history"]["losses"]


def test_a_training_that_lost_patience_goes_on_with_more_epochs_only() -> None:
    options = {"validation": HELD_OUT, "evaluate_every": 0.15, "patience": 1}
    done, _ = Net().fit(**options)
    assert done.stopped
    again, _ = Net().fit(**options, resume=STATE)
    assert len(again.history.losses) == len(done.history.losses)
    longer, _ = Net(steps=100).fit(**{**options, "epochs": 9}, resume=STATE)
    assert len(longer.history.losses) > len(done.history.losses)


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "batches": ({"data": (X[:40], Y[:40])}, "batches a pass was 7 there, and is 6 here"),
    "batch size": ({"batch_size": 8}, "batch_size was 7 there, and is 8 here"),
    "accumulate": ({"accumulate": 2}, "accumulate was 1 there, and is 2 here"),
    "ema": ({"ema": 0.9}, "ema was 0.0 there, and is 0.9 here"),
    "schedule": ({"schedule": None}, "schedule was 'OneCycleLR' there, and is None here"),
    "jit": (
        {"jit": "on"},
        "until now the steps were not compiled, so with jit='on' the results would change",
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_training_is_refused_by_what_differs(name: str) -> None:
    options, message = DIFFERENT[name]
    if name == "jit":
        pytest.importorskip("llvmlite")
    Net().fit(3)
    with pytest.raises(CheckpointError, match=message):
        Net().fit(resume=STATE, **options)


def test_another_model_is_refused_by_what_differs() -> None:
    Net().fit(3)
    message = r"of another model: 4.weight is float32 \(3, 7\) there, and float32 \(4, 7\) here; 4.bias"
    with pytest.raises(CheckpointError, match=message):
        Net(outputs=4).fit(resume=STATE)


@pytest.mark.parametrize("epochs", [3.5, 1e5], ids=["too few steps to compile", "many steps"])
@pytest.mark.parametrize("hindrance", ["the switch", "no compiler"])
def test_what_was_compiled_and_cannot_be_here_goes_on_uncompiled_and_says_so(
    epochs: float, hindrance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "_unavailable", lambda: None)
    Net().fit(3, epochs=epochs, jit="off")
    state = load_state(STATE)
    state["decision"] = {"jit": "auto", "compiled": True, "reason": "it is worth it", "missed": False}
    save_state("compiled.npz", state)
    if hindrance == "the switch":
        reason = "TINYGRAD_MNIST_JIT is 0"
        monkeypatch.setenv("TINYGRAD_MNIST_JIT", "0")
    else:
        reason = "there is no compiler here"
        monkeypatch.setattr(compilation, "_unavailable", lambda: reason)
    message = f"until now the steps were compiled, but {reason}: results will differ in their last digits"
    with pytest.warns(RuntimeWarning, match=message):
        done, _ = Net().fit(5, epochs=epochs, resume="compiled.npz")
    assert not done.decision.compiled


def test_an_interrupt_in_the_middle_of_a_step_leaves_the_state_before() -> None:
    """As of a thread or a handler of one's own: what is half done is not saved."""
    calls = 0

    def loss(outputs: Any, targets: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        return nn.CrossEntropyLoss()(outputs, targets)

    done, _ = Net().fit(loss=loss, checkpoint_every="5 steps", lint=False)
    assert done.interrupted
    assert load_state(STATE)["position"]["step"] == 10
    net, whole = Net(), Net()
    resumed = found(*net.fit(resume=STATE), net)
    np.testing.assert_equal(resumed, found(*whole.fit(), whole))


# ---- recipes ---------------------------------------------------------------------------------------------


def followed(recipe: Recipe, dataset: Dataset, *interrupts: int, **options: Any) -> tuple[Fit, Any, Any]:
    """Follow a recipe until an interrupt; return the result, the weights, and the state that was reached."""
    rngs = generators(2)
    parts = split(dataset, recipe.validation, rngs["split"])
    model = build_model(
        recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )

    class Keep(Callback):
        state: Any = None

        def on_interrupt(self, training: Training) -> None:
            self.state = training.state_dict()

    keep = Keep()
    done = follow(recipe, model, parts, rngs=rngs, callbacks=[Interrupts(*interrupts), keep], **options)
    return done, model.state_dict(), keep.state


def timeless(history: History) -> dict[str, Any]:
    values = history.to_dict()
    for record in values["records"]:
        record["seconds"] = 0.0
    return values


RECIPES: dict[str, dict[str, Any]] = {
    "shuffling, dropout, average": {"dropout": 0.3, "ema": 0.9, "clip_norm": 0.5, "epochs": 2.5},
    "hard and augmented images": {"augmentation": "elastic", "hard": (3.0, 0.1), "epochs": 2.5},
    "all images at once": {"batch_size": None, "epochs": 20, "evaluate_every": 4},
    "accumulation and patience": {"accumulate": 3, "patience": 2, "evaluate_every": 0.4, "lr": 0.1},
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_go_on_to_the_same_bits(name: str, small: Recipe, patterns: Dataset) -> None:
    recipe = small.changed(epochs=2.5).changed(**RECIPES[name])
    whole, weights, _ = followed(recipe, patterns)
    for step in (1, 7, 8, 17):
        _, _, state = followed(recipe, patterns, step)
        if state is None:  # it had stopped before
            continue
        done, found_weights, _ = followed(recipe, patterns, resume=state)
        assert timeless(done.history) == timeless(whole.history)
        np.testing.assert_equal(found_weights, weights)


def test_a_recipe_goes_on_with_more_epochs(small: Recipe, patterns: Dataset) -> None:
    """In the order of the images of one that was as long from its beginning, by the rates of that one."""
    short, long = (small.changed(epochs=epochs, schedule="cosine") for epochs in (1.5, 3))
    _, _, state = followed(short, patterns, 9)
    done, _, _ = followed(long, patterns, resume=state)
    whole, _, _ = followed(long, patterns)
    assert done.history.rates[9:] == whole.history.rates[9:]
    assert [record.step for record in done.history.records] == [6, 16, 24]
    assert len(done.history.losses) == 24
