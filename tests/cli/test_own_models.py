"""`--model FILE.py:FUNCTION`: trained, and built again by all later commands; mistakes are sentences."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.graph import Graph
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.training import RECIPES, ModelFile, load_checkpoint
from tinygrad_mnist.training.recipe.recipes import changes_for
from tinygrad_mnist.training.runs import run as run_module

ErrorOf = Callable[..., str]
SOURCE = """
import numpy as np
from tinygrad_mnist import nn

class Net(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.first = nn.Linear(features, 16)
        self.dropout = nn.Dropout(0.1)
        self.last = nn.Linear(16, classes)

    def forward(self, x):
        return self.last(self.dropout(np.tanh(self.first(x.reshape(len(x), -1)))))

def build(image_shape, classes):
    return Net(image_shape[0] * image_shape[1], classes)
"""
TRAIN = ["train", "--data", "digits", "--recipe", "digits", "--epochs", "2", "--quiet"]
OWN = [*TRAIN, "--model", "mymodel.py:build", "--out", "run"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))


@pytest.fixture
def source() -> Path:
    """The user's file."""
    path = Path("mymodel.py")
    path.write_text(SOURCE)
    return path


@pytest.fixture
def own_run(source: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run of the user's model."""
    assert main(OWN) == 0
    capsys.readouterr()
    return Path("run")


def test_it_is_trained_and_stands_in_the_run(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(OWN) == 0
    assert capsys.readouterr().out.startswith(
        "model mymodel.py:build, recipe digits, the bundled digits: test "
    )
    summary = json.loads(Path("run/summary.json").read_text("utf-8"))
    expected = {
        "path": str(source.resolve()),
        "function": "build",
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
    }
    assert summary["model_file"] == summary["config"]["model_file"] == expected
    assert (summary["config"]["model"], summary["config"]["hidden"]) == ("file", [])
    with np.load("run/checkpoint.npz") as content:
        assert json.loads(str(content["checkpoint"]))["recipe"]["model_file"] == expected
        assert content["model.first.weight"].shape == (16, 64)


def test_the_model_is_named_before_training(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument for argument in OWN if argument != "--quiet"]) == 0
    assert "recipe digits: 8 x 8, mymodel.py:build, 10, label smoothing 0.1, " in capsys.readouterr().out


def test_equal_seeds_give_equal_weights_though_its_layers_have_no_generator(source: Path) -> None:
    weights = []
    for seed in ("5", "5", "6"):
        assert main([*OWN, "--seed", seed]) == 0
        with np.load("run/checkpoint.npz") as content:
            weights.append(content["model.first.weight"])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_the_default_directory_is_named_after_the_file(source: Path) -> None:
    assert main(OWN[:-2]) == 0
    (made,) = Path("runs").iterdir()
    assert re.fullmatch(r"mymodel-\d{8}-\d{6}", made.name)


def test_later_commands_build_it_again_and_say_so(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("digit.npy", load_digits().test_images[0])
    for arguments, words in (
        (["evaluate", "run"], "on 359 test images"),
        (["predict", "run", "digit.npy"], "digit.npy"),
        (["graph", "run"], "├─ first"),
    ):
        assert main(arguments) == 0
        captured = capsys.readouterr()
        assert words in captured.out
        assert "tinygrad-mnist: the model is built by mymodel.py:build\n" in captured.err


def test_the_file_is_run_once_a_command(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text(SOURCE + "\nprint('this file is run')\n")
    for arguments in (OWN, ["evaluate", "run"], ["graph", "run"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out.count("this file is run") == 1


def test_the_graph_says_the_lines_of_the_file(own_run: Path) -> None:
    assert main(["graph", "run", "-o", "graph.json"]) == 0
    lines = [node.line for node in Graph.from_json(Path("graph.json").read_text("utf-8")).nodes]
    assert any("mymodel.py" in line for line in lines)


def test_evaluate_says_what_training_said(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = json.loads((own_run / "summary.json").read_text("utf-8"))["test_accuracy"]
    assert main(["evaluate", "run"]) == 0
    assert f"test accuracy {100 * accuracy:.2f} %" in capsys.readouterr().out


def test_the_graph_of_a_file_without_a_run(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--model", "mymodel.py:build", "--data", "digits"]) == 0
    assert "Net: 1,210 parameters" in capsys.readouterr().out


def test_a_run_that_was_moved_finds_its_file(
    own_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("another place").mkdir()
    own_run.rename("another place/a run")
    monkeypatch.chdir("another place")
    assert main(["evaluate", "a run"]) == 0


def test_a_changed_file_is_not_run(own_run: Path, source: Path, error_of: ErrorOf) -> None:
    source.write_text("raise SystemExit(3)")
    for command in (["evaluate", "run"], ["graph", "run"], ["predict", "run", "x.png"]):
        assert "mymodel.py has changed since the model was trained; put it back" in error_of(*command)


def test_a_changed_file_is_run_where_it_is_named(
    own_run: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text(SOURCE + "# one line more\n")
    assert main(["evaluate", "run", "--model", "mymodel.py:build"]) == 0
    assert (
        "mymodel.py:build is not the file that the model was trained with, or has" in capsys.readouterr().err
    )


def test_a_file_in_another_place_is_named(
    own_run: Path, source: Path, capsys: pytest.CaptureFixture[str], error_of: ErrorOf
) -> None:
    Path("my models").mkdir()
    shutil.move(source, "my models/that one.py")
    assert "there is no file mymodel.py; name the model's file by --model" in error_of("evaluate", "run")
    assert main(["evaluate", "run", "--model", "my models/that one.py:build"]) == 0
    assert capsys.readouterr().err == "tinygrad-mnist: the model is built by my models/that one.py:build\n"


def test_of_several_runs_those_of_a_file_take_it(
    own_run: Path, source: Path, run_directory: Path, capsys: pytest.CaptureFixture[str], error_of: ErrorOf
) -> None:
    shutil.move(source, "moved.py")
    assert main(["evaluate", "run", str(run_directory), "--model", "moved.py:build"]) == 0
    captured = capsys.readouterr()
    assert "probabilities averaged over 2 runs" in captured.out
    assert captured.err == "tinygrad-mnist: the model is built by moved.py:build\n"
    message = error_of(
        "evaluate", run_directory, run_directory / "checkpoint.npz", "--model", "moved.py:build"
    )
    assert "and moved.py:build builds another; leave out --model" in message


def test_names_and_shapes_are_compared_with_what_the_file_builds(
    own_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.py").write_text(SOURCE.replace("16", "17").replace("self.last", "self.end"))
    assert main(["evaluate", "run", "--model", "other.py:build"]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert (
        "holds another model than other.py:build describes: missing: end.weight of shape (10, 17); "
        in message
    )
    assert "unexpected: last.bias" in message
    assert "first.weight: shape (16, 64) was given; expected (17, 64)" in message


def test_a_run_of_a_recipe_takes_no_file(run_directory: Path, source: Path, error_of: ErrorOf) -> None:
    message = error_of("evaluate", run_directory, "--model", "mymodel.py:build")
    assert "is that of the recipe digits, and mymodel.py:build builds another; leave out --model" in message


def test_a_checkpoint_cannot_have_a_file_of_a_relative_path_run(own_run: Path, error_of: ErrorOf) -> None:
    with np.load("run/checkpoint.npz") as content:
        arrays = dict(content)
    header = json.loads(str(arrays["checkpoint"]))
    header["recipe"]["model_file"]["path"] = "mymodel.py"
    np.savez("run/checkpoint.npz", **{**arrays, "checkpoint": np.array(json.dumps(header))})
    assert "is built by mymodel.py:build, which is no path on this machine" in error_of("evaluate", "run")


@pytest.mark.parametrize(
    "change",
    [{"model": "file", "model_file": None}, {"model": "mlp"}, {"model_file": 3}, {"layers": ["norm"]}],
)
def test_a_checkpoint_that_contradicts_itself(
    own_run: Path, error_of: ErrorOf, change: dict[str, object]
) -> None:
    with np.load("run/checkpoint.npz") as content:
        arrays = dict(content)
    header = json.loads(str(arrays["checkpoint"]))
    header["recipe"] |= change
    np.savez("run/checkpoint.npz", **{**arrays, "checkpoint": np.array(json.dumps(header))})
    assert "has a header that cannot be used: " in error_of("evaluate", "run")


# ---- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", ""], "--model: it is empty"),
        (["--model", "mymodel.py"], "does not say which function of which file"),
        (["--model", "mymodel.py"], "; it defines build"),
        (["--model", "nowhere.py:build"], "--model: there is no file nowhere.py"),
        (
            ["--model", "mymodel.py:build", "--hidden", "5"],
            "--hidden is for the layers of a recipe, but mymodel",
        ),
        (["--model", "mymodel.py:build", "--norm", "none"], "--norm is for the layers of a recipe"),
        (["--model", "mymodel.py:build", "--dropout", "0.1"], "--dropout is for the layers of a recipe"),
        (
            ["--model", "mymodel.py:build", "--activation", "relu"],
            "--activation is for the layers of a recipe",
        ),
    ],
)
def test_a_misuse_is_one_sentence(source: Path, error_of: ErrorOf, arguments: list[str], words: str) -> None:
    assert words in error_of(*TRAIN, *arguments, status=2)


RETURN = "return self.last("
TRIAL = "no output for images of shape (2, 1, 8, 8)"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("def build", "def bild", "mymodel.py defines no 'build'; did you mean bild?"),
        ("return Net(", "return )Net(", "mymodel.py, line 16: SyntaxError"),
        ("return Net(", "Net(", "line 15: build must return a Module of tinygrad_mnist.nn, not None; is a"),
        ("16, classes)", "16, classes + 1)", "an output of shape (2, 11); for images of shape (2, 1, 8, 8)"),
        ("x.reshape", "x.training or x.reshape", f"mymodel.py, line 13: {TRIAL}: AttributeError"),
        (RETURN, f"assert not self.training\n        {RETURN}", "mymodel.py, line 13: AssertionError"),
        (RETURN, f"x = x[:9]\n        {RETURN}", "mymodel.py: ValueError: CrossEntropyLoss"),
    ],
)
def test_an_error_in_the_file_is_one_sentence_that_names_it(
    source: Path, error_of: ErrorOf, old: str, new: str, words: str
) -> None:
    assert old in SOURCE
    source.write_text(SOURCE.replace(old, new))
    assert words in error_of(*OWN)
    assert not Path("run").exists()


# ---- its name where it is used ---------------------------------------------------------------------------


def test_it_is_served_by_the_name_of_its_file(
    own_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe that it was trained by has another model."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    recogniser = Recogniser(load_checkpoint(own_run))
    assert recogniser.describe()["name"] == "mymodel.py:build"
    assert recogniser.answer([])["model"]["name"] == "mymodel.py:build"
    monkeypatch.setattr(
        "tinygrad_mnist.serve.server.serve", lambda *_, **options: options["started"](lambda: None)
    )
    assert main(["serve", "run", "--port", "0"]) == 0
    assert capsys.readouterr().out.startswith("serving mymodel.py:build, version ")


def test_it_is_exported_by_the_name_of_its_file(own_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    assert main(["export", "run", "model.onnx"]) == 0
    assert "model mymodel.py:build, version" in capsys.readouterr().out
    model = onnx.load("model.onnx")
    assert {"mymodel.py:build"} == {each.value for each in model.metadata_props if each.key == "name"}
    assert model.doc_string.startswith("mymodel.py:build, trained by")


@pytest.mark.parametrize("path", ["/home/a/my_model.py", "C:\\a\\my_model.py", "\\\\host\\a/my_model.py"])
def test_its_name_tells_nothing_of_the_directories(path: str) -> None:
    recipe = RECIPES["cnn"]
    own = recipe.changed(**changes_for(ModelFile(path, "build", "0" * 64)))
    assert (recipe.model_name, own.model_name) == ("cnn", "my_model.py:build")
