"""The models of the examples leave as ONNX."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn

package = pytest.importorskip("onnx")

from tinygrad_mnist import onnx  # noqa: E402

SIDE = 8
EXAMPLES = Path(__file__).parents[3] / "examples"


def example(name: str) -> dict[str, Any]:
    """Return the names of an example, which does not run when it is imported."""
    return runpy.run_path(str(EXAMPLES / name), run_name=name)


def residual_network() -> nn.Module:
    built: nn.Module = example("residual_network.py")["build"]((SIDE, SIDE), 10)
    return built


def digit_recognition() -> nn.Module:
    built: nn.Module = example("digit_recognition.py")["make_model"](SIDE * SIDE, 10)
    return built


def lenet() -> nn.Module:
    """Return the network of lenet.py, which trains when it is imported."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 5, padding="same"), nn.MaxPool2d(2), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 5, padding="same"), nn.MaxPool2d(2), nn.BatchNorm2d(32), nn.ReLU()),
        *(
            nn.Flatten(),
            nn.Linear(32 * (SIDE // 4) ** 2, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Linear(128, 10),
        ),
    )


@pytest.mark.parametrize("build", [residual_network, digit_recognition, lenet])
def test_the_model_of_an_example_runs_from_its_file(
    build: Callable[[], nn.Module],
    tmp_path: Path,
    runners: dict[str, Any],
    expected: Callable[..., list[Any]],
    close: Callable[..., None],
) -> None:
    nn.manual_seed(0)
    model = build()
    images = np.random.default_rng(0).normal(size=(7, 1, SIDE, SIDE)).astype(np.float32)
    model(images)  # moves the running statistics
    onnx.save(model, images[:1], tmp_path / "model.onnx")
    for count in (1, 7):
        close(
            runners["onnxruntime"](tmp_path / "model.onnx", {"input": images[:count]}),
            expected(model, images[:count]),
        )


def test_blocks_are_the_beginnings_of_names(tmp_path: Path) -> None:
    onnx.save(residual_network(), np.zeros((1, 1, SIDE, SIDE), np.float32), tmp_path / "model.onnx")
    names = [node.name for node in package.load(tmp_path / "model.onnx").graph.node]
    assert [name for name in names if name.startswith("/3/")] == [
        *("/3/first/Conv", "/3/first_norm/BatchNormalization", "/3/Relu", "/3/second/Conv"),
        *("/3/second_norm/BatchNormalization", "/3/Add", "/3/Relu_1"),
    ]
