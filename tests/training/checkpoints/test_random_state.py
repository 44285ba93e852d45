"""What is drawn after restoring is what was drawn before, whoever holds the generators."""

import copy
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.nn import init
from tinygrad_mnist.training import CheckpointError, load_state, save_state
from tinygrad_mnist.training.checkpoints.random_state import random_state, set_random_state

CLASSES = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]


@pytest.fixture(autouse=True)
def _global_generators() -> Iterator[None]:
    """Leave the generators of the process as they were."""
    before = init.root_seed(), np.random.get_state(), random.getstate()  # noqa: NPY002
    yield
    init.set_root_seed(before[0])
    np.random.set_state(before[1])  # noqa: NPY002
    random.setstate(before[2])


class Holder:
    def __init__(self, source: Any) -> None:
        self.source = source


class Noise(nn.Module):
    """A module with generators in each of the ways in which a module can have them."""

    def __init__(self, bits: Callable[[int], Any] = np.random.PCG64) -> None:
        super().__init__()
        self.own = np.random.Generator(bits(1))
        self.in_list = [np.random.Generator(bits(2)), (np.random.Generator(bits(3)),)]
        self.in_dict = {"a": {"b": np.random.Generator(bits(4))}}
        self.in_object = Holder(Holder(np.random.Generator(bits(5))))
        self.old = np.random.RandomState(6)
        self.python = random.Random(7)

    def draw(self) -> list[Any]:
        generators = [self.own, self.in_list[0], self.in_list[1][0], self.in_dict["a"]["b"]]  # type: ignore[index]
        generators.append(self.in_object.source.source)
        drawn = [
            [g.integers(100), g.normal(), g.random(dtype=np.float32), *g.permutation(9)] for g in generators
        ]
        return [drawn, self.old.normal(), self.old.rand(), self.python.random(), self.python.gauss(0, 1)]


def built(bits: Callable[[int], Any] = np.random.PCG64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2, rng=0), Noise(bits), nn.Dropout(0.5, rng=8))


def drawn(model: nn.Sequential) -> list[Any]:
    noise = model[1]
    assert isinstance(noise, Noise)
    layer = nn.Linear(2, 2)  # of the root of manual_seed
    return [
        noise.draw(),
        model[2](np.ones(9, np.float32)).tolist(),
        layer.weight.tolist(),
        np.random.normal(size=3).tolist(),  # noqa: NPY002
        random.random(),
        random.gauss(0, 1),
    ]


@pytest.mark.parametrize("bits", CLASSES, ids=lambda bits: bits.__name__)
def test_another_model_goes_on_from_a_file(tmp_path: Path, bits: Callable[[int], Any]) -> None:
    model = built(bits)
    drawn(model)  # leaves half of a word, and the second of two normal numbers
    save_state(tmp_path / "x.npz", random_state(model))
    expected = drawn(model)
    other = built(bits)
    sources = [vars(module).copy() for module in other.modules()]
    set_random_state(other, load_state(tmp_path / "x.npz"))
    assert drawn(other) == expected
    assert [vars(module) for module in other.modules()] == sources  # the same objects, restored in place


def test_generators_are_named_by_their_places_and_those_shared_are_there_once() -> None:
    shared = np.random.default_rng(0)
    same_bits = np.random.Generator(shared.bit_generator)
    model = nn.Sequential(nn.Dropout(0.5, rng=shared), nn.Dropout(0.5, rng=1), nn.Dropout(0.5, rng=same_bits))
    state = random_state(model)
    assert state["places"] == {"0.rng": 0, "1.rng": 1, "2.rng": 0}
    assert len(state["generators"]) == 2
    assert random_state(nn.Dropout(0.5, rng=0))["places"] == {"rng": 0}


def test_what_a_seed_gives_next_is_restored(tmp_path: Path) -> None:
    """Also where the model that goes on was built from another seed."""
    model, other = nn.Dropout(0.5, rng=np.random.default_rng([3, 4])), nn.Dropout(0.5, rng=5)
    model.rng.spawn(2)
    nn.manual_seed(3)
    nn.Linear(1, 1)
    state = random_state(model)
    expected = [child.random() for child in model.rng.spawn(2)], nn.Linear(1, 1).weight.tolist()
    nn.manual_seed(9)
    set_random_state(other, state)
    assert ([child.random() for child in other.rng.spawn(2)], nn.Linear(1, 1).weight.tolist()) == expected


@pytest.mark.parametrize("bits", CLASSES, ids=lambda bits: bits.__name__)
def test_a_state_is_not_moved_by_what_is_drawn_later(bits: Callable[[int], Any]) -> None:
    model = built(bits)
    state = random_state(model)
    before = copy.deepcopy(state)
    drawn(model)
    np.testing.assert_equal(state, before)


def test_a_module_that_holds_itself_or_a_package_is_no_hindrance() -> None:
    model = nn.Dropout(0.5, rng=0)
    model.packages = [np, nn]
    model.loop = Holder(None)
    model.loop.source = model.loop
    assert random_state(model)["places"] == {"rng": 0}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            nn.Sequential(nn.Dropout(0.5, rng=np.random.Generator(np.random.SFC64(0)))),
            "is a SFC64, and was a PCG64",
        ),
        (nn.Sequential(nn.ReLU()), "0.rng is missing"),
        (nn.Sequential(nn.Dropout(0.5, rng=0), nn.Dropout(0.5, rng=0)), "1.rng is unexpected"),
    ],
)
def test_another_model_is_refused_by_name(other: nn.Module, words: str) -> None:
    state = random_state(nn.Sequential(nn.Dropout(0.5, rng=0)))
    before = random_state(other)
    with pytest.raises(CheckpointError, match="those of another model") as caught:
        set_random_state(other, state)
    assert words in str(caught.value)
    np.testing.assert_equal(random_state(other), before)


def test_a_model_that_shares_other_generators_is_refused() -> None:
    shared = np.random.default_rng(0)
    model = nn.Sequential(nn.Dropout(0.5, rng=shared), nn.Dropout(0.5, rng=shared))
    with pytest.raises(CheckpointError, match="share a generator"):
        set_random_state(nn.Sequential(nn.Dropout(0.5, rng=0), nn.Dropout(0.5, rng=1)), random_state(model))


def changed(state: Any, path: tuple[Any, ...], value: Any) -> Any:
    state = copy.deepcopy(state)
    place = state
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return state


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("generators",), []),
        (("generators", 0), {}),
        (
            ("generators", 0, "state", "state", "pos"),
            10**6,
        ),  # NumPy takes it, and reads outside of the buffer
        (("generators", 0, "state", "state", "pos"), -1),
        (("generators", 0, "state", "state", "key"), np.zeros(3, np.uint32)),
        (("generators", 0, "state", "bit_generator"), "PCG64"),
        (("generators", 0, "seed", "pool_size"), 10**9),
        (("generators", 0, "seed", "entropy"), "x"),
        (("root",), {"entropy": 1}),
        (("numpy", "state", "pos"), 625),
        (("numpy",), None),
        (("python",), (3, (1, 2), None)),
        (("python",), None),
        (("places",), 3),
    ],
)
def test_a_damaged_state_is_one_sentence_and_changes_nothing(path: tuple[Any, ...], value: Any) -> None:
    model = nn.Dropout(0.5, rng=np.random.Generator(np.random.MT19937(0)))
    nn.manual_seed(0)
    before = random_state(model)
    other = nn.Dropout(0.5, rng=np.random.Generator(np.random.MT19937(1)))
    with pytest.raises(CheckpointError, match=r"random numbers") as caught:
        set_random_state(model, changed(random_state(other), path, value))
    assert "\n" not in str(caught.value)
    np.testing.assert_equal(random_state(model), before)


def test_a_place_outside_of_the_buffer_of_philox_is_refused() -> None:
    model = nn.Dropout(0.5, rng=np.random.Generator(np.random.Philox(0)))
    state = changed(random_state(model), ("generators", 0, "state", "buffer_pos"), -5)
    with pytest.raises(CheckpointError, match="outside of a buffer"):
        set_random_state(model, state)
