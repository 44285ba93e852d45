"""Runs to report on: of patterns, with and without data and history."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Outcome
from tinygrad_mnist.training.loop.history import GradientNorms, History, Record
from tinygrad_mnist.training.report.trained_run import TrainedRun

NASTY = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(2)',
    "&amp;\x1b[2J\u202e",
    "]]></style><img src=x>",
)
"""Names of classes that a page could take for its own."""


@pytest.fixture(scope="session")
def history(outcome: Outcome) -> History:
    """A whole history, as a training leaves it."""
    steps, names = 32, [name for name, _ in outcome.checkpoint.model.named_parameters()]
    records = [
        Record(8 * k, float(k), 0.1 * k, 0.01, 1 / k, 1 - 0.2 / k, 1.1 / k, 1 - 0.3 / k) for k in range(1, 5)
    ]
    return History(
        8,
        losses=[2.0 / (1 + k) for k in range(steps)],
        records=records,
        rates=np.linspace(0.01, 0, steps).tolist(),
        gradients=[GradientNorms(k, dict.fromkeys(names, 1.0 + k)) for k in range(1, steps)],
        clipped=3,
    )


Made = Callable[..., TrainedRun]


@pytest.fixture
def made(outcome: Outcome, patterns: Dataset, history: History, tmp_path: Path) -> Made:
    """Make a run in a directory of its own, with all that there can be; names and data may be others."""

    def make(
        name: str = "first",
        names: tuple[str, ...] = (),
        dataset: Dataset | None = patterns,
        **changes: object,
    ) -> TrainedRun:
        path = tmp_path / name
        path.mkdir()
        (path / "graph.svg").write_bytes((outcome.directory / "graph.svg").read_bytes())
        checkpoint = replace(outcome.checkpoint, class_names=names or outcome.checkpoint.class_names)
        if names and dataset is not None:
            dataset = replace(dataset, class_names=names)
        values = {
            "checkpoint": checkpoint,
            "summary": {**outcome.summary, "notices": ["A notice."]},
            "history": history,
            **changes,
        }
        return TrainedRun(path, dataset=dataset, **values)  # type: ignore[arg-type]

    return make
