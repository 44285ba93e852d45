"""`tinygrad-mnist gradcheck`: a line an operation, status 1 for what is wrong, sentences for mistakes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygrad_mnist.cli import main

pytest.importorskip("hypothesis", reason="the check draws its inputs with Hypothesis")

OWN = """
import numpy as np
from tinygrad_mnist.op import Op

def cube(rule):
    return Op("cube", lambda x: x**3, "elementwise", rules=(rule,), samples="broadcast")

CUBE = cube(lambda g, out, x: 3 * g * x**2)
WRONG = cube(lambda g, out, x: 2 * g * x**2)

def case():
    return lambda x: np.sum(np.sin(x)), np.array([1.0, 2.0])

def half():
    return lambda x: x * x.detach(), np.array([1.0, 2.0])

def nothing():
    return None
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_operations_are_checked_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", "tanh", "max", "--order", "2", "--examples", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["operation", "tanh", "max"]
    assert lines[1].split()[1] == "5"
    assert lines[-1].startswith("2 operations, 10 examples, ")
    assert lines[-1].endswith("all right")


@pytest.mark.parametrize("name", ["CUBE", "case"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_a_file_defines_is_checked(own: Path, name: str, dtype: str) -> None:
    assert main(["gradcheck", f"{own}:{name}", "--examples", "5", "--dtype", dtype]) == 0


@pytest.mark.parametrize(("name", "explained"), [("WRONG", "0.666667 times"), ("half", "0.5 times")])
def test_what_is_wrong_is_explained(
    own: Path, name: str, explained: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gradcheck", f"{own}:{name}", "--examples", "5"]) == 1
    output = capsys.readouterr().out
    assert explained in output
    assert output.rstrip().endswith("1 not right")


def test_findings_are_written_as_json(tmp_path: Path) -> None:
    assert main(["gradcheck", "exp", "--examples", "3", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["passed"] is True
    assert found["operations"][0]["name"] == "exp"


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("tanhh", "did you mean tanh"),
        ("floor", "floor is piecewise constant"),
        ("gone.py:f", "there is no file gone.py"),
    ],
)
def test_a_mistake_is_one_sentence(what: str, sentence: str, refused: Callable[..., str]) -> None:
    assert sentence in refused("gradcheck", what, status=2)


@pytest.mark.parametrize(
    ("name", "sentence"), [("CUB", "did you mean CUBE"), ("nothing", "returns (f, input, ...)")]
)
def test_a_mistake_in_a_file_is_one_sentence(
    own: Path, name: str, sentence: str, refused: Callable[..., str]
) -> None:
    assert sentence in refused("gradcheck", f"{own}:{name}", status=2)
