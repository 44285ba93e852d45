"""`tinygrad-mnist gradcheck`: a line an operation, status 1 for what is wrong, sentences for mistakes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygrad_mnist.cli import main

pytest.importorskip("hypothesis", reason="the check draws its inputs with Hypothesis")

OWN = """
import numpy as np
from tinygrad_mnist.engine.op import Op

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


def test_what_is_named_twice_is_checked_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", "exp", "tanh", "exp", "--examples", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 operations, 4 examples")


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
def test_a_mistake_is_one_sentence(what: str, sentence: str, error_of: Callable[..., str]) -> None:
    assert sentence in error_of("gradcheck", what, status=2)


@pytest.mark.parametrize(
    ("name", "sentence"), [("CUB", "did you mean CUBE"), ("nothing", "returns (f, input, ...)")]
)
def test_a_mistake_in_a_file_is_one_sentence(
    own: Path, name: str, sentence: str, error_of: Callable[..., str]
) -> None:
    assert sentence in error_of("gradcheck", f"{own}:{name}", status=2)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("def f(:", "SyntaxError: invalid syntax"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("from math import no_such_name", "cannot import name 'no_such_name'"),
        ("raise RuntimeError", "cannot be loaded: RuntimeError"),
        ("raise SystemExit(0)", "cannot be loaded: SystemExit: 0"),
        ("", "defines no 'f'"),
        ("f = 3", "neither an operation nor a function"),
        ("def f():\n    return 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    source: str, sentence: str, tmp_path: Path, error_of: Callable[..., str]
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    assert sentence in error_of("gradcheck", f"{path}:f", status=2)


def test_a_function_that_fails_is_one_sentence(tmp_path: Path, error_of: Callable[..., str]) -> None:
    path = tmp_path / "fails.py"
    path.write_text(
        "def fails(x):\n    return x.there_is_no_such_method()\n\ndef case():\n    return fails, 1.0"
    )
    assert "AttributeError: 'Tensor' object" in error_of("gradcheck", f"{path}:case", status=1)


@pytest.mark.parametrize("count", ["0", "-1", "100001", "1000000000"])
def test_more_examples_than_anybody_waits_for_are_refused(count: str, error_of: Callable[..., str]) -> None:
    assert f"{count} is not between 1 and 100,000" in error_of(
        "gradcheck", "exp", "--examples", count, status=2
    )


@pytest.mark.parametrize(
    ("file", "sentence"),
    [("missing/found.json", "there is no directory 'missing'"), (".", "that is a directory; name a file")],
)
def test_what_could_not_be_written_is_refused_before_the_work(
    file: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gradcheck", "exp", "--json", file]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert printed.out == ""


def test_one_is_not_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gradcheck", "exp", "--examples", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 operation, 1 example, ")


def test_a_file_without_a_name_is_told_what_is_in_it(own: Path, error_of: Callable[..., str]) -> None:
    sentence = error_of("gradcheck", own, status=2)
    assert sentence.endswith("add :NAME, which may be CUBE, WRONG, case, half, nothing")


def test_only_what_is_near_is_suggested(own: Path, error_of: Callable[..., str]) -> None:
    assert "may be CUBE, WRONG" in error_of("gradcheck", f"{own}:nope", status=2)
    assert "did you mean" not in error_of("gradcheck", "nonsense", status=2)


def test_a_file_with_operations_is_not_written_over(own: Path, error_of: Callable[..., str]) -> None:
    sentence = error_of("gradcheck", f"{own}:CUBE", "--json", own, status=2)
    assert f"--json {own} is, or is in, {own}, which this command reads" in sentence
    assert own.read_text() == OWN
