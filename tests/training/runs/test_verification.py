"""The proof of `verify-resume`: it finds what is equal, and what is not."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Recipe, TrainingError, find_model_file
from tinygrad_mnist.training.recipe.recipes import changes_for
from tinygrad_mnist.training.runs import verification
from tinygrad_mnist.training.runs.verification import first_difference, verify_resume
from tinygrad_mnist.training.training_data import Choice


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The jobs, done here: to start processes takes longer."""
    jobs: list[dict[str, Any]] = []

    def run(job: dict[str, Any]) -> dict[str, Any]:
        jobs.append(job)
        return verification._do({**job, "points": [list(point) for point in job["points"]]})

    monkeypatch.setattr(verification, "_run", run)
    return jobs


@pytest.mark.slow
def test_processes_of_their_own_end_in_the_same_bits(small: Recipe, patterns: Dataset) -> None:
    told: list[str] = []
    found = verify_resume(Choice(small, patterns, "patterns"), steps=12, points=2, tell=told.append)
    assert found.difference is None
    assert (found.steps, len(found.points)) == (12, 2)
    assert [line.endswith(": equal") for line in told] == [False, True, True]


def test_each_process_goes_on_where_the_one_before_ended(
    one_process: list[dict[str, Any]], small: Recipe, patterns: Dataset
) -> None:
    recipe = small.changed(dropout=0.3, ema=0.9, patience=30)
    found = verify_resume(Choice(recipe, patterns, "patterns"), steps=20, points=6)
    assert found.difference is None
    assert (found.steps, found.records, found.passes) == (20, 6, 2.5)
    assert {point.place for point in found.points} == {
        *("before the first step", "in a pass", "at the end of a pass", "at the beginning of a pass"),
        *("before an evaluation", "after an evaluation"),
    }
    assert [job["stop"] for job in one_process] == [None, None, 0, 1, 2, 3, 4, 5, 6]
    assert [job.get("resume") for job in one_process] == [None, None, None, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("changes", [{"batch_size": None, "epochs": 9}, {"accumulate": 3}])
def test_other_recipes_are_shortened_too(
    one_process: list[dict[str, Any]], small: Recipe, patterns: Dataset, changes: dict[str, Any]
) -> None:
    found = verify_resume(Choice(small.changed(**changes), patterns, "patterns"), steps=8, points=3)
    assert (found.difference, found.steps, len(found.points)) == (None, 8, 3)


FORGETFUL = """
import numpy as np
from tinygrad_mnist import nn

RNG = np.random.default_rng(0)

class Noise(nn.Module):
    def forward(self, x):
        return x + RNG.normal(size=x.shape).astype(np.float32) if self.training else x

def build(image_shape, classes):
    height, width = image_shape
    return nn.Sequential(nn.Flatten(), Noise(), nn.Linear(height * width, classes))
"""


def test_a_model_that_forgets_its_random_numbers_is_found(
    one_process: list[dict[str, Any]], small: Recipe, patterns: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "mymodel.py"
    path.write_text(FORGETFUL)
    recipe = small.changed(**changes_for(find_model_file(f"{path}:build")))
    found = verify_resume(Choice(recipe, patterns, "patterns"), steps=12, points=1)
    (point,) = found.points
    assert found.difference is not None
    assert f"the loss of step {point.step + 1} is " in found.difference
    assert found.difference.startswith("to the end, in a new process: ")


def test_steps_that_cannot_be_compiled_are_verified_as_they_are_trained(
    monkeypatch: pytest.MonkeyPatch, small: Recipe, patterns: Dataset
) -> None:
    jobs: list[str] = []

    def run(job: dict[str, Any]) -> dict[str, Any]:
        jobs.append(job["jit"])
        if job["jit"] == "on":
            raise JitError("it cannot be compiled")
        return verification._do(job)

    monkeypatch.setattr(verification, "_run", run)
    monkeypatch.setattr(verification, "_as_planned", lambda *_: (True, 100))
    found = verify_resume(Choice(small, patterns, "patterns"), steps=4, points=1)
    assert (found.difference, jobs) == (None, ["on", "off", "off", "off", "off"])
    with pytest.raises(TrainingError, match="it cannot be compiled"):
        verify_resume(Choice(small, patterns, "patterns"), steps=4, points=1, jit="on")


def test_what_a_process_cannot_do_is_said_in_words(small: Recipe) -> None:
    said = verification._do_or_say({"recipe": {**small.to_dict(), "epochs": -1}, "seed": 0})
    assert said == {"failed": "epochs must be a finite number above 0, not -1", "is_of_jit": False}


def test_a_process_that_fails_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the training has failed: "):
        verification._run({"recipe": {}, "seed": 0, "folder": str(tmp_path)})


def state(**changes: Any) -> dict[str, Any]:
    history = {"losses": [2.0, 1.0, float("nan")], "records": [{"step": 3, "seconds": 1.0}]}
    return {"model": {"weight": np.float32([1, 2])}, "history": history, "step": 3, **changes}


def test_equal_states_have_no_difference() -> None:
    other = state()
    other["history"]["records"][0]["seconds"] = 2.0  # a time
    assert first_difference(state(), other) is None


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            state(history={"losses": [2.0, 1.5, 9.0], "records": []}),
            r"the loss of step 2 is 1\.5, and was 1\.0",
        ),
        (
            state(model={"weight": np.float32([1, np.nextafter(np.float32(2), 3)])}),
            r"model\.weight is another",
        ),
        (state(model={"weight": np.float64([1, 2])}), r"model\.weight is another"),
        (state(model={"weight": np.float32([1, 2]), "bias": 0}), r"model\.bias is there, and was not"),
        (state(model={}), r"model\.weight is missing"),
        (state(step=3.0), "step is another"),
    ],
)
def test_the_first_difference_is_named(other: dict[str, Any], said: str) -> None:
    found = first_difference(state(), other)
    assert found is not None
    assert re.match(said, found)
