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
from tinygrad_mnist.data import Batches, Dataset
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


# ---- what is random or changes outside of the model ------------------------------------------------------


class Noisy(nn.Module):
    """A loss with a generator, a parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(4)
        self.temperature = nn.Parameter(np.ones((), np.float32))
        self.register_buffer("calls", np.zeros((), np.float32))

    def forward(self, outputs: Any, targets: Any) -> Any:
        self.calls += 1
        noise = self.rng.normal(size=outputs.shape).astype(np.float32)
        return nn.CrossEntropyLoss()(outputs * self.temperature + noise, targets)


class Thawing(Callback):
    """Lets a parameter learn, and a batch norm keep its statistics, from the second epoch on."""

    def on_epoch_begin(self, training: Training) -> None:
        if training.epoch == 1:
            first, norm = list(training.model.modules())[1:3]
            first.requires_grad_(True)
            norm.eval()


def with_noisy_loss(net: Net) -> dict[str, Any]:
    loss = Noisy()
    net.optimizer = optim.Adam([*net.model.parameters(), *loss.parameters()], lr=0.05)
    net.schedule = optim.OneCycleLR(net.optimizer, max_lr=0.05, total_steps=30)
    return {"loss": loss, "validation": HELD_OUT, "evaluate_every": 0.3}


def with_thawing(net: Net) -> dict[str, Any]:
    list(net.model.modules())[1].requires_grad_(False)
    return {"callbacks": [Interrupts(), Thawing()]}


def with_shuffled_validation(net: Net) -> dict[str, Any]:
    return {"validation": Batches(*HELD_OUT, 5, rng=np.random.default_rng(3)), "evaluate_every": 0.3}


def with_one_generator_for_all(net: Net) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    batches = Batches(X[:48], Y[:48], 7, rng=rng)
    return {"data": batches, "validation": Batches(*HELD_OUT, 5, rng=rng), "evaluate_every": 0.3}


def with_the_same_batches_for_all(net: Net) -> dict[str, Any]:
    batches = Batches(X[:48], Y[:48], 7, rng=np.random.default_rng(3))
    return {"data": batches, "validation": batches, "evaluate_every": 0.3, "lint": False}


@pytest.mark.parametrize("step", [3, 8, 14])
@pytest.mark.parametrize(
    "prepared",
    [
        *(with_noisy_loss, with_thawing, with_shuffled_validation, with_one_generator_for_all),
        with_the_same_batches_for_all,
    ],
)
def test_what_is_outside_of_the_model_goes_on_too(prepared: Any, step: int) -> None:
    whole, first, last = Net(), Net(), Net()
    expected = found(*whole.fit(**prepared(whole)), whole)
    options = prepared(first)
    first.fit(**{**options, "callbacks": [Interrupts(step), *options.get("callbacks", [])[1:]]})
    done, told = last.fit(resume=STATE, **prepared(last))
    result = found(done, told, last)
    if "callbacks" in options:  # which are not those that `fit` returns
        expected["callback"] = result["callback"] = None
    np.testing.assert_equal(result, expected)


def test_a_frozen_batch_norm_stays_so_in_the_same_model_that_goes_on() -> None:
    """`fit` leaves a model in evaluation mode as a whole."""
    whole, parts = Net(), Net()
    for net in (whole, parts):
        net.model[1].eval()  # type: ignore[index]
    expected = found(*whole.fit(lint=False), whole)
    parts.fit(9, lint=False)
    np.testing.assert_equal(found(*parts.fit(resume=STATE, lint=False), parts), expected)


def test_other_frozen_parameters_are_the_users_and_that_is_said() -> None:
    net = Net()
    Net().fit(9)
    net.model.requires_grad_(False)[4].requires_grad_(True)  # type: ignore[index]
    with pytest.warns(RuntimeWarning, match="other parameters are frozen here than in the training"):
        net.fit(resume=STATE)
    assert [parameter.requires_grad for parameter in net.model.parameters()] == [False] * 4 + [True] * 2


def test_a_file_of_an_earlier_version_is_gone_on_with() -> None:
    whole, net = Net(), Net()
    Net().fit(9)
    state = load_state(STATE)
    for later in ("loss", "validation", "modes", "frozen", "generators"):
        del state[later]
    save_state("earlier.npz", state)
    np.testing.assert_equal(found(*net.fit(resume="earlier.npz"), net), found(*whole.fit(), whole))


class Counting(optim.LRScheduler):
    """A schedule that remembers more than the number of its steps."""

    def __init__(self, optimizer: optim.Optimizer, period: int) -> None:
        self.scale, self.period = 1.0, period
        super().__init__(optimizer)

    def step(self) -> None:
        if (self.last_epoch + 1) % self.period == 0:
            self.scale *= 0.5
        super().step()

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr * self.scale


def test_a_schedule_that_remembers_does_so_with_more_epochs_and_that_is_said() -> None:
    def rates(epochs: float, resume: str | None = None) -> list[float]:
        net = Net()
        schedule = Counting(net.optimizer, period=5)
        return net.fit(epochs=epochs, schedule=schedule, resume=resume)[0].history.rates

    expected = rates(4)
    rates(2)
    with pytest.warns(RuntimeWarning, match="Counting has a step of its own, so it goes on with all its"):
        assert rates(4, STATE) == expected


# ---- states that do not fit --------------------------------------------------------------------------------

MISFITS: dict[str, tuple[Any, str]] = {
    "no dict": (lambda state: [1, 2], "the state of a training is a dict, not a list"),
    "weights alone": (lambda state: {"model": state["model"]}, "no state of a training.* lacks 'optimizer'"),
    **{
        f"another {name}": (lambda state, name=name: {**state, name: 5}, name)
        for name in ("model", "optimizer", "average", "random", "settings", "history", "decision")
    },
    "batches": (lambda state: {**state, "data": 5}, "by its batches"),
    "callbacks": (lambda state: {**state, "callbacks": [{"class": "Interrupts", "state": 5}]}, "callbacks"),
    "generators": (lambda state: {**state, "generators": {"places": {"data.rng": 7}}}, "random numbers"),
    **{
        f"{name} {value!r}": (
            lambda state, name=name, value=value: {**state, "position": {**state["position"], name: value}},
            f"the checkpoint is damaged: its {name} is {value!r}",
        )
        for name, value in [("step", -5), ("step", "x"), ("batch", 1000), ("phase", 9), ("seconds", "x")]
    },
    "history of fewer steps": (
        lambda state: {**state, "history": {**state["history"], "losses": [1.0]}},
        "the history in the checkpoint is not that of 9 steps",
    ),
    "another jit": (
        lambda state: {**state, "decision": {**state["decision"], "jit": "later"}},
        "a decision whether to compile that is unknown here",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_state_that_does_not_fit_is_one_sentence_and_changes_nothing(name: str) -> None:
    change, message = MISFITS[name]
    Net().fit(9, ema=0.9)
    save_state("misfit.npz", change(load_state(STATE)))
    net = Net()
    before = [net.model.state_dict(), net.optimizer.state_dict(), net.schedule.state_dict()]
    draws = [np.random.get_state(legacy=False)]  # noqa: NPY002
    told = Interrupts()
    with pytest.raises(CheckpointError, match=message) as error:
        net.fit(ema=0.9, resume="misfit.npz", callbacks=[told])
    assert "\n" not in str(error.value)
    after = [net.model.state_dict(), net.optimizer.state_dict(), net.schedule.state_dict()]
    np.testing.assert_equal(after, before)
    np.testing.assert_equal([np.random.get_state(legacy=False)], draws)  # noqa: NPY002
    assert told.state_dict() == {"mean": 0.0, "epochs": 0}


def test_another_optimizer_of_the_class_changes_nothing_either() -> None:
    Net().fit(9)
    net = Net()
    net.optimizer = optim.Adam([{"params": [one]} for one in net.model.parameters()], lr=0.05)
    net.schedule = optim.OneCycleLR(net.optimizer, max_lr=0.05, total_steps=30)
    before = net.model.state_dict()
    message = r"by its schedule \(.*\); and by its optimizer \(the state does not fit this Adam: it has 1 par"
    with pytest.raises(CheckpointError, match=message):
        net.fit(resume=STATE)
    np.testing.assert_equal(net.model.state_dict(), before)


def test_fewer_epochs_than_are_done_are_refused() -> None:
    Net().fit(epochs=2)
    message = "14 steps are done there, and epochs=1 are 7 steps here; name as many epochs, or more"
    with pytest.raises(CheckpointError, match=message):
        Net().fit(epochs=1, resume=STATE)


def test_what_a_later_version_may_add_is_left_out() -> None:
    whole, net = Net(), Net()
    options = {"validation": HELD_OUT, "evaluate_every": 0.3}
    Net().fit(9, **options)
    state = load_state(STATE)
    for place in (state, state["decision"], state["history"], state["history"]["records"][0]):
        place["later"] = 1
    save_state("later.npz", state)
    result = found(*net.fit(resume="later.npz", **options), net)
    np.testing.assert_equal(result, found(*whole.fit(**options), whole))


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
