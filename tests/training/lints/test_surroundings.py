"""Whatever the user's code draws from or counts in outside of the model, a look puts it back."""

import random
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.training.lints.looks import Look
from tinygrad_mnist.training.lints.surroundings import NotKeptError

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
Y = np.arange(8) % 3

rng = np.random.default_rng(1)
numbers = iter(range(1000))
elsewhere = types.ModuleType("elsewhere")
exec("import random\nrng = random.Random(0)\ndef draw(): return rng.random()", vars(elsewhere))


class Shared:
    rng = np.random.default_rng(2)
    count = 0


class Counted:
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0

    def number(self) -> int:
        self.calls += 1
        return self.calls


counted = Counted()


class Teacher(nn.Module):
    """A module outside of the model, with statistics, and a generator in a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5, rng=3))

    def forward(self, x: Any) -> Any:
        return np.mean(self.layers(x)) + np.sum(self.layers[0].running_mean)


teacher = Teacher()
centre = Tensor(np.zeros(3, np.float32))
last = deque([0.0], maxlen=3)


def of_a_deque() -> float:
    last.append(last[-1] + 1)
    return sum(last)


def of_a_tensor() -> float:
    centre.data[...] += 1
    return float(centre.data[0])


def of_a_class() -> int:
    Shared.count += 1
    return Shared.count


SOURCES: dict[str, Callable[[], Any]] = {
    "global generator": lambda: rng.random(),
    "inside a comprehension": lambda: sum([rng.random() for _ in range(2)]),
    "inside a function of a function": lambda: (lambda: rng.random())(),
    "default": lambda rng=Shared.rng: rng.random(),  # type: ignore[misc]
    "another module": lambda: elsewhere.rng.random(),
    "a function of another module": lambda: elsewhere.draw(),
    "Python's generator": lambda: random.random(),
    "generator of a class": lambda: Shared.rng.random(),
    "count of a class": of_a_class,
    "slot": lambda: counted.number(),
    "module outside": lambda: float(teacher(Tensor(X)).data),
    "Tensor": of_a_tensor,
    "deque": of_a_deque,
}


class Drawing(nn.Module):
    """A model that draws in a method that its forward calls."""

    source: Callable[[], Any]

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3, rng=0)

    def forward(self, x: Any) -> Any:
        return self.layer(x) * np.float32(1 + self.number)

    @property
    def number(self) -> float:
        return self.drawn()

    @staticmethod
    def drawn() -> float:
        return float(Drawing.source())


class OwnGenerator(nn.Module):
    """A model whose class, and not itself, has a generator."""

    rng = np.random.default_rng(5)

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3, rng=0)

    def forward(self, x: Any) -> Any:
        return self.layer(x) * np.float32(self.rng.random())


class DrawingLoss:
    """A loss that is an object, whose class has a generator."""

    rng = np.random.default_rng(6)

    def __call__(self, out: Any, y: Any) -> Any:
        return F.cross_entropy(out, y) * np.float32(self.rng.random())


def look(model: nn.Module, loss: Any = F.cross_entropy) -> bytes:
    """Take looks, with the backward pass and in evaluation, and return the outputs of the first."""
    found = Look(model, loss, X, Y)
    assert found.loss_value is not None
    value = found.loss_value.data.tobytes()
    assert found.gradients
    assert list(found.further_looks())
    assert found.in_evaluation.operations
    return bytes(value)


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_model_draws_from_is_put_back(name: str) -> None:
    Drawing.source = staticmethod(SOURCES[name])  # type: ignore[assignment]
    model = Drawing()
    assert look(model) == look(model)


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_loss_draws_from_is_put_back(name: str) -> None:
    source = SOURCES[name]

    def loss(out: Any, y: Any) -> Any:
        return F.cross_entropy(out, y) * np.float32(1 + source())

    model = nn.Linear(4, 3, rng=0)
    assert look(model, loss) == look(model, loss)


def test_a_generator_of_the_class_of_a_model_or_a_loss_is_put_back() -> None:
    assert look(OwnGenerator()) == look(OwnGenerator())
    model = nn.Linear(4, 3, rng=0)
    assert look(model, DrawingLoss()) == look(model, DrawingLoss())


def test_the_gradient_of_a_parameter_outside_of_the_model_is_put_back() -> None:
    outside = nn.Linear(4, 3, rng=1)
    F.cross_entropy(outside(Tensor(X)), Y).backward()
    gradient = outside.weight.grad
    assert gradient is not None
    before = gradient.data.copy()

    def loss(out: Any, y: Any) -> Any:
        return F.cross_entropy(out, y) + np.mean(outside(Tensor(X)) ** 2)

    look(nn.Linear(4, 3, rng=0), loss)
    assert outside.weight.grad is gradient
    assert np.array_equal(gradient.data, before)


def of_an_iterator(out: Any, y: Any) -> Any:
    return F.cross_entropy(out, y) * np.float32(1 + next(numbers))


def endless() -> Iterator[int]:
    while True:
        yield 1


def test_no_look_is_taken_where_an_iterator_could_not_be_put_back() -> None:
    with pytest.raises(NotKeptError, match="range_iterator cannot be put back"):
        look(nn.Linear(4, 3, rng=0), of_an_iterator)
    assert next(numbers) == 0
    steps = endless()
    with pytest.raises(NotKeptError, match="generator"):
        look(nn.Linear(4, 3, rng=0), lambda out, y: F.cross_entropy(out, y) * next(steps))
