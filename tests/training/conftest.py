"""Small data to train on, and the environment left as it was."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.small_data import noisy_patterns
from tinygrad_mnist import nn
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import RECIPES, Checkpoint, Outcome, Recipe, choose, train
from tinygrad_mnist.training.loop import compilation
from tinygrad_mnist.training.loop.threads import VARIABLES
from tinygrad_mnist.training.runs import run as run_module


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Runs go to a folder of their own, and the number of threads does not stay."""
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "1")


@pytest.fixture(autouse=True)
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings write no report, which takes longer than they do; tests of it put `write_report` back."""
    monkeypatch.setattr(run_module, "write_report", lambda run: None)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time of a small run."""
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is compiled; it stays as it is."""
    functions: list[object] = []

    def compile(function: object, threads: int) -> object:
        functions.append(function)
        return function

    monkeypatch.setattr(compilation, "compiled", compile)
    monkeypatch.setattr(compilation, "_unavailable", lambda: None)
    return functions


@pytest.fixture
def model() -> nn.Sequential:
    """An untrained model of images of 3 x 3 pixels in 3 classes, with layers that have two modes."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(9, 4, rng=0),
        nn.BatchNorm1d(4),
        nn.Dropout(0.5, rng=0),
        nn.Linear(4, 3, rng=1),
    )


@pytest.fixture
def images() -> np.ndarray:
    """Images for that model."""
    return np.random.default_rng(0).integers(0, 256, size=(50, 3, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def patterns() -> Dataset:
    """Four noisy patterns of 5 x 5 pixels, easy to tell apart."""
    return noisy_patterns()


@pytest.fixture(scope="session")
def small() -> Recipe:
    """A recipe that learns the patterns in a moment."""
    return RECIPES["digits"].changed(
        hidden=(8,),
        epochs=4,
        batch_size=16,
        evaluate_every=1,
        validation=0.2,
        dropout=0.0,
        label_smoothing=0.0,
    )


@pytest.fixture(scope="session")
def outcome(small: Recipe, patterns: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run as it is, pictures and all."""
    return train(small, patterns, seed=3, out=tmp_path_factory.mktemp("run"), report=False)


@pytest.fixture(scope="session")
def digits_model(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model that knows the bundled digits."""
    chosen = choose("digits", {"epochs": 10})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
        return train(chosen.recipe, chosen.dataset, out=tmp_path_factory.mktemp("digits")).checkpoint
