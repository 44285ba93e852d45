"""The survey of many operations counts kinks, finds wrong gradients on them, and prints scripts that run."""

import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.testing import GradientError, check_op, properties
from tinygrad_mnist.testing.properties import script_of
from tinygrad_mnist.testing.survey import Finding, survey

KINKED = [
    *("relu", "maximum", "clip", "std"),
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("leaky_relu", "absolute", "fabs", "copysign", "minimum", "max")
    ),
]
CUBE = """
from tinygrad_mnist.engine.op import Op, Sample

RULE = lambda g, out, x: 2 * g * x**2
WRONG = Op("cube", lambda x: x**3, "elementwise", rules=(RULE,), samples=(Sample(((2,),)),))
"""


def surveyed(op: Any, **options: Any) -> Finding:
    return next(survey([op], **options))


@pytest.mark.parametrize("name", KINKED)
def test_kinks_are_visited_and_counted(name: str) -> None:
    found = surveyed(REGISTRY[name], order=2)
    assert found.verdict == "right"
    assert found.kinks > 0


@pytest.mark.parametrize("name", ["divide", "reciprocal", "arctan2"])
def test_poles_and_jumps_are_left_out(name: str) -> None:
    assert surveyed(REGISTRY[name]).verdict == "right"


@pytest.mark.parametrize("order", [1, 2])
def test_a_gradient_that_is_wrong_on_a_kink_alone_is_found(order: int) -> None:
    absolute = REGISTRY["absolute"]
    (rule,) = absolute.rules
    broken = replace(absolute, rules=(lambda g, out, x: rule(g, out, x) + 2 * g * (x == 0),))
    found = surveyed(broken, order=order)
    assert found.verdict == "wrong"
    assert found.failure is not None
    assert "left -1, right 1" in found.failure
    assert "PROPERTIES['first_order']" in found.failure


@pytest.mark.parametrize("name", ["exp", "softplus", "astype"])
def test_what_underflows_or_names_its_dtype_is_right_in_float32(name: str) -> None:
    found = surveyed(REGISTRY[name], examples=100, dtype="float32")
    assert (found.examples, found.verdict) == (100, "right")


# ---- the script ------------------------------------------------------------------------------------------


def run(script: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    file = folder / "pasted.py"
    file.write_text(script, encoding="utf-8")
    return subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)


def defined(folder: Path) -> Any:
    file = folder / "cube.py"
    file.write_text(CUBE, encoding="utf-8")
    return runpy.run_path(str(file))["WRONG"]


def test_the_script_of_the_survey_repeats_the_failure(tmp_path: Path) -> None:
    found = surveyed(defined(tmp_path))
    assert found.failure is not None
    ran = run(found.failure[found.failure.index("import numpy") :], tmp_path)
    assert ran.returncode == 1
    assert "GradientError: the gradient is wrong in" in ran.stderr


def test_the_script_of_check_op_repeats_the_failure(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(properties, "PATIENCE", 0.5)
    with pytest.raises(GradientError) as caught:
        check_op(defined(tmp_path), max_examples=10)
    ran = run(caught.value.__notes__[1], tmp_path)
    assert "GradientError: the gradient is wrong in" in ran.stderr


def test_the_script_of_a_registered_operation_runs(tmp_path: Path) -> None:
    call = (np.array([0.5, 1.0]), np.array(2.0)), {}
    ran = run(script_of(REGISTRY["multiply"], *call, "second_order"), tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_operation_of_nowhere_has_to_be_put_into_the_script() -> None:
    op = replace(REGISTRY["tanh"], name="mine")
    assert "op = ...  # your operation 'mine'" in script_of(op, (np.ones(1),), {}, "value")
