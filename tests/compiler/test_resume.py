"""A compiled training that goes on in another process ends in the same bits as one that was not interrupted.

A process that begins is a new model, optimiser and jitted function, and the state that was saved. What a call
computes may then depend on nothing else: not on whether it is the first one of its program.
"""

import copy
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, jit, nn, no_grad, optim, value_and_grad
from tinygrad_mnist.compiler import stored
from tinygrad_mnist.compiler.jit import Jitted
from tinygrad_mnist.compiler.replay import Replay
from tinygrad_mnist.optim import clip_grad_norm_
from tinygrad_mnist.training import fit
from tinygrad_mnist.training.loop.average import WeightAverage

CLASSES: Final = 5


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 24, rng=0), nn.Tanh(), nn.Linear(24, CLASSES, rng=1))


def regularised() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 24, bias=False, rng=0), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout(0.3, rng=1),
        nn.Linear(24, 16, rng=2), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.2, rng=3),
        nn.Linear(16, CLASSES, rng=4),
    )  # fmt: skip


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 6, 3, padding=1, rng=0), nn.BatchNorm2d(6), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, rng=1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25, rng=2),
        nn.Linear(32, CLASSES, rng=3),
    )  # fmt: skip


MODELS: Final = {"perceptron": perceptron, "regularised": regularised, "convolutional": convolutional}

OPTIMIZERS: Final[dict[str, Callable[[Any], optim.Optimizer]]] = {
    "SGD": lambda p: optim.SGD(p, lr=0.05, weight_decay=1e-3),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1),
    "Nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "RMSprop": lambda p: optim.RMSprop(p, lr=0.003),
    "centred RMSprop": lambda p: optim.RMSprop(p, lr=0.003, centered=True, momentum=0.5),
    "Adam": lambda p: optim.Adam(p, lr=0.01),
    "AMSGrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=1e-3),
    "AdamW": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
}

SCHEDULES: Final[dict[str, Callable[[Any], optim.LRScheduler | None]]] = {
    "constant": lambda _: None,
    "step": lambda o: optim.StepLR(o, step_size=2),
    "cosine": lambda o: optim.CosineAnnealingLR(o, T_max=6),
    "one cycle": lambda o: optim.OneCycleLR(o, max_lr=0.02, total_steps=9),
    "warm-up": lambda o: optim.SequentialLR(
        o,
        [optim.LinearLR(o, start_factor=0.1, total_iters=2), optim.ExponentialLR(o, gamma=0.9)],
        milestones=[2],
    ),
}


@dataclass(frozen=True)
class Setting:
    """How a model is trained."""

    model: str = "regularised"
    optimizer: str = "Adam"
    schedule: str = "one cycle"
    clip: float | None = None
    smoothing: float = 0.0
    accumulate: int = 1
    average: bool = False
    dtype: str = "f4"


class Process:
    """A model, its optimiser and the jitted functions that train and evaluate it, as one process has them."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.model = MODELS[setting.model]().astype(setting.dtype)
        self.optimizer = OPTIMIZERS[setting.optimizer](self.model.parameters())
        self.schedule = SCHEDULES[setting.schedule](self.optimizer)
        self.average = WeightAverage(self.model, 0.9) if setting.average else None
        self.forward = jit(self.model)
        self.add_gradients, self.take_step, self.step = self._steps()

    def _steps(self) -> tuple[Jitted, Jitted, Jitted]:
        model, optimizer, setting = self.model, self.optimizer, self.setting
        loss_of = nn.CrossEntropyLoss(label_smoothing=setting.smoothing)

        def add_gradients(x: Any, y: Any) -> Tensor:
            loss: Tensor = loss_of(model(x), y)
            (loss / setting.accumulate).backward()
            return loss

        def take_step() -> None:
            if setting.clip is not None:
                clip_grad_norm_(model.parameters(), setting.clip)
            optimizer.step()

        def step(x: Any, y: Any) -> Tensor:
            optimizer.zero_grad()
            loss = add_gradients(x, y)
            take_step()
            return loss

        return jit(add_gradients), jit(take_step), jit(step)

    def generators(self) -> list[np.random.Generator]:
        layers = [layer for layer in self.model.modules() if isinstance(layer, nn.Dropout)]
        return [layer.rng for layer in layers if isinstance(layer.rng, np.random.Generator)]

    def state(self) -> dict[str, Any]:
        """Return all that a checkpoint holds."""
        return copy.deepcopy(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule and self.schedule.state_dict(),
                "average": self.average and (self.average.steps, self.average.values),
                "generators": [generator.bit_generator.state for generator in self.generators()],
            }
        )

    def load(self, state: Any) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.steps, self.average.values[...] = state["average"]
        for generator, known in zip(self.generators(), state["generators"], strict=True):
            generator.bit_generator.state = known

    def train(self, number: int) -> float:
        """Take step ``number``, and return its loss."""
        if self.setting.accumulate == 1:
            loss = self.step(*self.batch(number)).item()
        else:
            self.optimizer.zero_grad()
            for part in range(self.setting.accumulate):
                loss = self.add_gradients(*self.batch(100 * number + part)).item()
            self.take_step()
        if self.schedule is not None:
            self.schedule.step()
        if self.average is not None:
            self.average.update()
        return loss

    def batch(self, number: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(number)
        rows = 7 if number % 4 == 3 else 12  # the last one of a pass is smaller
        x = rng.standard_normal((rows, 64)).astype(self.setting.dtype)
        return Tensor(x), Tensor(rng.integers(0, CLASSES, rows))

    def evaluate(self) -> Any:
        """Return what the model makes of some images, with the average of the weights if there is one."""
        self.model.eval()
        images = np.random.default_rng(5).standard_normal((30, 64)).astype(self.setting.dtype)
        with no_grad(), self._averaged():
            parts = [self.forward(images[begin : begin + 16]).numpy().copy() for begin in (0, 16)]
        self.model.train()
        return parts

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self.average is None:
            yield
        else:
            with self.average.in_use():
                yield


def fingerprint(tree: Any) -> str:
    """Return a text that differs if any bit of a tree does."""
    if isinstance(tree, dict):
        return "".join(f"{key}:{fingerprint(part)};" for key, part in tree.items())
    if isinstance(tree, (list, tuple)):
        return "".join(f"{fingerprint(part)};" for part in tree)
    if isinstance(tree, np.ndarray):
        return f"{tree.dtype}{tree.shape}{hashlib.sha256(np.ascontiguousarray(tree).tobytes()).hexdigest()}"
    return repr(tree)


STEPS: Final = 4


def assert_resumes(setting: Setting, steps: int = STEPS) -> None:
    """Train without an interruption, and with one after each step; compare all bits after each step."""
    whole = Process(setting)
    states, found = [whole.state()], []
    for number in range(steps):
        found.append((whole.train(number), whole.evaluate()))
        states.append(whole.state())
    for k in range(steps):
        resumed = Process(setting)
        resumed.load(states[k])
        for number in range(k, steps):
            loss, outputs = resumed.train(number), resumed.evaluate()
            where = f"{setting}, resumed after step {k}, in step {number + 1}"
            assert loss == found[number][0], where
            assert fingerprint(outputs) == fingerprint(found[number][1]), where
            assert fingerprint(resumed.state()) == fingerprint(states[number + 1]), where


SETTINGS: Final = st.builds(
    Setting,
    model=st.sampled_from(sorted(MODELS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    clip=st.sampled_from([None, 0.3]),
    smoothing=st.sampled_from([0.0, 0.1]),
    accumulate=st.sampled_from([1, 1, 3]),
    average=st.booleans(),
    dtype=st.sampled_from(["f4", "f4", "f8"]),
)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(clip=0.3, average=True),
        Setting("perceptron", "SGD", "constant", accumulate=2),
        Setting("convolutional", "momentum", "warm-up", smoothing=0.1),
    ],
    ids=lambda setting: setting.model,
)
def test_a_training_that_goes_on_elsewhere_ends_in_the_same_bits(setting: Setting) -> None:
    assert_resumes(setting)


@pytest.mark.slow
@settings(max_examples=12)
@given(SETTINGS)
def test_so_does_any_training(setting: Setting) -> None:
    assert_resumes(setting)


QUICK: Final = ("Nesterov", "centred RMSprop", "AMSGrad")  # which have all that the others have


@pytest.mark.parametrize(
    "optimizer",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in OPTIMIZERS],
)
def test_a_program_made_before_the_first_step_is_that_of_a_later_one(optimizer: str) -> None:
    setting = Setting(optimizer=optimizer, clip=1.0)
    new, later = Process(setting), Process(setting)
    new.train(0)
    later.load(new.state())
    for process in (new, later):
        process.train(1)
    (one,), (other,) = ([*process.step._replays.values()] for process in (new, later))
    texts = [stored._text(replay.executable.program) for (replay,) in (one, other)]
    assert texts[0] == texts[1]


def test_a_program_that_is_forgotten_and_compiled_anew_computes_the_same() -> None:
    setting = Setting("convolutional", "AdamW", clip=0.3)
    one, other = Process(setting), Process(setting)
    for number in range(STEPS):
        other.step.clear()
        other.forward.clear()
        assert one.train(number) == other.train(number)
        assert fingerprint(one.evaluate()) == fingerprint(other.evaluate())
    assert fingerprint(one.state()) == fingerprint(other.state())


_ELSEWHERE: Final = """
import pickle, sys
from tests.compiler.test_resume import Process, Setting, fingerprint
path, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
process = Process(Setting("convolutional", "Adam", clip=0.5, average=True))
if first:
    with open(path, "rb") as file:
        process.load(pickle.load(file))
found = [(process.train(number), fingerprint(process.evaluate())) for number in range(first, last)]
with open(path, "wb") as file:
    pickle.dump(process.state(), file)
print(repr(found[-1]), fingerprint(process.state()))
"""


def test_a_parameter_that_was_moved_changes_no_bit() -> None:
    one, other = Process(Setting()), Process(Setting())
    for number in range(3):
        weight = other.model[0].weight  # type: ignore[index]
        weight.data = weight.data.copy()
        assert one.train(number) == other.train(number)
    assert fingerprint(one.state()) == fingerprint(other.state())


@pytest.mark.slow
def test_in_processes_of_the_system_too(tmp_path: Path) -> None:
    def run(name: str, first: int, last: int) -> str:
        command = [sys.executable, "-c", _ELSEWHERE, str(tmp_path / name), str(first), str(last)]
        root = Path(__file__).parents[2]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout

    whole = run("whole", 0, 4)
    run("parts", 0, 2)
    assert run("parts", 2, 4) == whole


@settings(max_examples=12)
@given(st.lists(st.integers(0, 40), min_size=3, max_size=3), st.sampled_from(["f4", "f8"]))
def test_where_arrays_lie_does_not_count(offsets: list[int], dtype: str) -> None:
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(shape).astype(dtype) for shape in ((9, 1, 7, 7), (5, 98), (2, 1, 3, 3))]
    for slopes in (SLOPES, COMPILED_SLOPES):
        found = slopes(*map(_at, given, offsets))
        assert fingerprint(_bytes(found)) == fingerprint(_bytes(slopes(*given)))


def _loss(x: Any, w: Any, k: Any) -> Any:
    hidden = np.tanh(nn.functional.conv2d(x, k, padding=1))
    return nn.functional.cross_entropy(np.reshape(hidden, (9, 98)) @ w.T, np.arange(9) % 5)


SLOPES: Final = value_and_grad(_loss, argnums=(0, 1, 2))
COMPILED_SLOPES: Final = jit(SLOPES)


def _at(array: Any, offset: int) -> Any:
    """Return a copy of an array that begins so many elements after a multiple of 64 bytes."""
    memory = np.empty(array.nbytes + 64 + offset * array.itemsize, np.uint8)
    begin = -memory.ctypes.data % 64 + offset * array.itemsize
    copied = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copied[...] = array
    return copied


# ---- what a call returns, the first time and later -------------------------------------------------------


WEIGHT: Final = np.random.default_rng(0).standard_normal((9, 9))

FUNCTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "an array": lambda x: np.exp(x) @ WEIGHT,
    "a scalar of NumPy": lambda x: np.sum(np.exp(x) * WEIGHT),
    "an array without axes": lambda x: np.where(np.sum(x) > 0, np.sum(np.exp(x)), 0.0),
    "several of them": lambda x: {"sum": np.sum(np.tanh(x)), "rest": (np.tanh(x) @ WEIGHT, 3)},
    "a Tensor": lambda x: np.mean(Tensor(WEIGHT) @ np.exp(x)),
    "of a function of the package": lambda x: nn.functional.softmax(x, dim=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_first_call_returns_what_later_ones_do(name: str) -> None:
    f = jit(FUNCTIONS[name])
    x = np.random.default_rng(1).standard_normal((9, 9))
    first, second, expected = f(x), f(x), FUNCTIONS[name](x)
    assert repr(first) == repr(second)
    assert fingerprint(_bytes(first)) == fingerprint(_bytes(second))
    assert _types(first) == _types(expected)


def _types(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _types(part) for name, part in tree.items()}
    return [_types(part) for part in tree] if type(tree) in (list, tuple) else type(tree)


def _bytes(tree: Any) -> Any:
    if isinstance(tree, dict):
        return [_bytes(part) for part in tree.values()]
    if isinstance(tree, (list, tuple)):
        return [_bytes(part) for part in tree]
    return np.asarray(tree.data if isinstance(tree, Tensor) else tree)


# ---- steps that return something else than a Tensor ------------------------------------------------------


RETURNED: Final[dict[str, Callable[[Tensor, Any, nn.Module], Any]]] = {
    "an array": lambda loss, x, model: loss.data,
    "a scalar of NumPy": lambda loss, x, model: np.sum(x) * 2,
    "an array of arrays alone": lambda loss, x, model: np.exp(x) @ WEIGHT,
    "gradients": lambda loss, x, model: [parameter.grad.data for parameter in model.parameters()],
    "all of them": lambda loss, x, model: {
        "loss": loss,
        "rest": (loss.data, np.mean(x), [np.where(x > 0, x, 0)], 3),
    },
}


def stepper(returned: Callable[..., Any]) -> tuple[Callable[[Any], Any], Callable[[], Any]]:
    """Return a step that changes all that a step can, and what returns the state that it leaves."""
    model = nn.Sequential(
        nn.Linear(9, 6, rng=0), nn.BatchNorm1d(6), nn.Dropout(0.2, rng=1), nn.Linear(6, 3, rng=2)
    )
    model = model.astype("f8")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    warm_up, later = optim.LinearLR(optimizer, 0.5, total_iters=2), optim.ExponentialLR(optimizer, 0.9)
    schedule = optim.SequentialLR(optimizer, [warm_up, later], [2])
    seen, bias = np.zeros(9), Tensor(np.zeros(()))

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = np.mean((model(x) + bias) ** 2)
        loss.backward()
        optimizer.step()
        schedule.step()
        np.copyto(seen, seen + np.sum(x, axis=0))
        bias.data = bias.data + 0.5
        return returned(loss, x, model)

    def state() -> Any:
        gradients = [parameter.grad.data for parameter in model.parameters()]  # type: ignore[union-attr]
        (group,), rng = optimizer.param_groups, model[2].rng  # type: ignore[index]
        options = {name: value for name, value in group.items() if name != "params"}
        return copy.deepcopy(
            [
                model.state_dict(), optimizer.state_dict(), options, schedule.state_dict(), gradients, seen,
                bias.data, rng.bit_generator.state,
            ]
        )  # fmt: skip

    return step, state


@pytest.mark.parametrize("name", RETURNED)
def test_a_step_that_returns_arrays_computes_the_same_in_its_first_call(name: str) -> None:
    (step, state), (anew, state_anew), (plain, plain_state) = (stepper(RETURNED[name]) for _ in range(3))
    f, g = jit(step), jit(anew)
    for number in range(4):
        x = np.random.default_rng(number).standard_normal((9, 9))
        first, second, expected = f(x), g(x), plain(x)
        g.clear()  # the next call compiles, as in a new process
        assert fingerprint(_bytes(first)) == fingerprint(_bytes(second))
        assert _types(first) == _types(second) == _types(expected)
        assert fingerprint(state()) == fingerprint(state_anew())
        _assert_close(_bytes(first), _bytes(expected))
        _assert_close(state(), plain_state())


def _assert_close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    if isinstance(expected, dict):
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, (list, tuple)):
        for one, other in zip(found, expected, strict=True):
            _assert_close(one, other, tolerance)
    elif isinstance(expected, (np.ndarray, float)):
        np.testing.assert_allclose(found, expected, rtol=100 * tolerance, atol=tolerance)
    else:
        assert found == expected


# ---- gradients that are there before ---------------------------------------------------------------------


GIVEN: Final[dict[str, Callable[[Any], Any]]] = {
    "in C order": np.array,
    "in Fortran's order": np.asfortranarray,
    "backwards": lambda g: g[::-1].copy()[::-1],
    "a part": lambda g: np.repeat(g, 2, axis=-1)[..., ::2],
    "broadcast": lambda g: np.broadcast_to(g.ravel()[0], g.shape),
    "another byte order": lambda g: g.astype(">f8"),
    "not aligned": lambda g: np.frombuffer(b"1" + g.tobytes(), g.dtype, g.size, 1).reshape(g.shape),
}


@pytest.fixture
def eager_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note the calls that have a program, and run as they are all the same."""
    calls: list[Any] = []
    observed = Replay.observed

    def note(replay: Replay, result: Any) -> Any:
        calls.append(result)
        return observed(replay, result)

    monkeypatch.setattr(Replay, "observed", note)
    return calls


@pytest.mark.parametrize("name", GIVEN)
def test_gradients_are_added_by_a_program_however_they_lie(name: str, eager_calls: list[Any]) -> None:
    def trained(decorate: Any, anew: bool = False) -> list[Any]:
        model = nn.Sequential(nn.Linear(6, 8, rng=0), nn.GELU(), nn.Linear(8, 3, rng=1))

        @decorate
        def add_gradients(x: Any) -> Any:
            loss = np.mean(model(x) ** 2)
            loss.backward()
            return loss

        found = []
        for number in range(6):
            if number == 3:
                for parameter in model.parameters():
                    parameter.grad = GIVEN[name](np.full(parameter.shape, 0.5, np.float32))
            found.append(
                add_gradients(np.random.default_rng(number).standard_normal((5, 6), np.float32)).item()
            )
            found.append([parameter.grad.data.copy() for parameter in model.parameters()])  # type: ignore[union-attr]
            if anew:
                add_gradients.clear()
        return found

    found = trained(jit)
    assert fingerprint(found) == fingerprint(trained(jit, anew=True))
    assert eager_calls == []
    _assert_close(found, trained(lambda f: f), 1e-5)


@pytest.mark.parametrize("zero_grad", [optim.Optimizer.zero_grad, nn.Module.zero_grad])
@pytest.mark.parametrize("inside", [True, False])
def test_gradients_that_were_set_to_zero_are_added_to_by_a_program(
    zero_grad: Any, inside: bool, eager_calls: list[Any]
) -> None:
    model = nn.Sequential(nn.Linear(6, 8, rng=0), nn.Tanh(), nn.Linear(8, 3, rng=1))
    holder: Any = model if zero_grad is nn.Module.zero_grad else optim.SGD(model.parameters(), lr=0.1)

    @jit
    def add_gradients(x: Any) -> Any:
        if inside:
            holder.zero_grad(set_to_none=False)
        loss = np.mean(model(x) ** 2)
        loss.backward()
        return loss

    for _ in range(5):
        if not inside:
            holder.zero_grad(set_to_none=False)
        add_gradients(np.ones((5, 6), np.float32))
    assert eager_calls == []
    # None becomes an array in the first call; if that is set to zero, it lies in C order.
    assert len(add_gradients.compilations) <= (3 if inside else 2)


@pytest.mark.parametrize("accumulate", [2, 4, 6])
def test_fit_adds_up_gradients_by_programs(accumulate: int, eager_calls: list[Any]) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((96, 6), np.float32), rng.integers(0, 3, 96)
    model = nn.Sequential(nn.Linear(6, 8, rng=0), nn.GELU(), nn.Linear(8, 3, rng=1))
    optimizer = optim.Adam(model.parameters())
    fit(
        model,
        optimizer,
        data,
        loss=nn.CrossEntropyLoss(),
        epochs=3,
        batch_size=4,
        accumulate=accumulate,
        jit="on",
    )
    assert len(eager_calls) == 1  # the first step of the optimiser


# ---- arguments that the function finds outside, too ------------------------------------------------------


def test_an_argument_that_lies_outside_too_is_another_input() -> None:
    held = [np.full(4, 3.0)]
    f = jit(lambda x: x * held[0])
    np.testing.assert_array_equal(f(held[0]), np.full(4, 9.0))
    np.testing.assert_array_equal(f(np.full(4, 2.0)), np.full(4, 6.0))
    assert len(f.compilations) == 1


def test_a_buffer_that_is_an_argument_is_another_input() -> None:
    layer = nn.BatchNorm1d(4)
    x = Tensor(np.random.default_rng(0).standard_normal((5, 4), np.float32))

    def shifted(shift: Any) -> Any:
        with no_grad():
            return layer(x) + shift

    f, other = jit(shifted), np.ones(4, np.float32)
    for is_training in (True, False):
        layer.train(is_training)
        for shift in (layer.running_mean, other, layer.running_mean, other):
            before = copy.deepcopy(layer.state_dict())
            found, left = f(shift).data, copy.deepcopy(layer.state_dict())
            layer.load_state_dict(before)
            np.testing.assert_allclose(found, shifted(shift).data, rtol=1e-5, atol=1e-6)
            _assert_close({**left}, {**layer.state_dict()}, 1e-6)
    assert len(f.compilations) == 2


def test_a_call_with_a_tensor_from_outside_says_nothing_of_others() -> None:
    weight, other = (Tensor(np.random.default_rng(seed).standard_normal((4, 4))) for seed in (0, 1))
    f = jit(lambda x: np.tanh(x) @ weight)
    for _ in range(2):
        f(weight)
    assert f.compilations == []
    found = f(other).data
    assert len(f.compilations) == 1
    f.clear()
    np.testing.assert_array_equal(f(other).data, found)
