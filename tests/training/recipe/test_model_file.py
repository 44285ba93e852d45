"""A file of the user's that builds a model, and all that can be wrong with it."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.training import ModelFileError
from tinygrad_mnist.training.recipe.model_file import LARGEST, ModelFile, explain, find_model_file

GOOD = """
from tinygrad_mnist import nn

def build(image_shape, classes):
    height, width = image_shape
    return nn.Sequential(nn.Flatten(), nn.Linear(height * width, 3), nn.ReLU(), nn.Linear(3, classes))
"""
SHAPE, CLASSES = (4, 5), 3


def written(source: str | bytes, name: str = "mymodel.py") -> ModelFile:
    content = source.encode() if isinstance(source, str) else source
    Path(name).write_bytes(content)
    return find_model_file(f"{name}:build")


def refusal(source: str | bytes) -> str:
    """The sentence that refuses a file."""
    with pytest.raises(ModelFileError) as caught:
        written(source).build(SHAPE, CLASSES)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert os.getcwd() not in sentence  # a path below this folder is told as the user gave it
    return sentence


def test_a_model_is_built() -> None:
    model = written(GOOD).build(SHAPE, CLASSES)
    assert model(np.ones((2, 1, *SHAPE), np.float32)).shape == (2, CLASSES)
    assert sorted(model.state_dict()) == ["1.bias", "1.weight", "3.bias", "3.weight"]


def test_equal_generators_give_equal_weights_to_layers_without_one() -> None:
    file = written(GOOD)
    first, again, other = (
        file.build(SHAPE, CLASSES, rng=np.random.default_rng(seed)).state_dict() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["1.weight"], other["1.weight"])


def test_each_model_is_another_even_of_a_file_that_makes_one_for_all() -> None:
    file = written(GOOD + "\nmodel = build((4, 5), 3)\ndef build(image_shape, classes):\n    return model\n")
    assert file.build(SHAPE, CLASSES) is not file.build(SHAPE, CLASSES)


@pytest.mark.parametrize(
    "source",
    [
        GOOD.replace("def build(", "class Net(nn.Sequential):\n    pass\n\ndef build(").replace(
            "return nn.Sequential", "return Net"
        ),
        "from tinygrad_mnist import nn\n"
        "build = lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1], classes))",
        "from tinygrad_mnist import nn\n"
        "class build(nn.Sequential):\n"
        "    def __init__(self, shape, classes):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(shape[0] * shape[1], classes))",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        + GOOD.replace("from __future__ import annotations", "")
        + "\n@dataclass\nclass Sizes:\n    hidden: int = 3\n",
    ],
    ids=["a class and a function", "a lambda", "a class itself", "a dataclass"],
)
def test_whatever_can_be_called_so_builds(source: str) -> None:
    assert isinstance(written(source).build(SHAPE, CLASSES), nn.Module)


def test_the_trial_leaves_the_model_as_it_is() -> None:
    file = written(
        GOOD.replace("nn.ReLU()", "nn.BatchNorm1d(3), nn.ReLU()").replace("3, classes", "3, classes")
    )
    model = file.build(SHAPE, CLASSES)
    assert model.training
    assert np.array_equal(model.state_dict()["2.running_mean"], np.zeros(3))


def test_a_file_in_a_folder_with_spaces_is_found_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("my models: new").mkdir()
    file = written(GOOD, "my models: new/a model.py")
    assert file == find_model_file("./my models: new/../my models: new/a model.py:build")
    monkeypatch.chdir("my models: new")
    assert file.build(SHAPE, CLASSES) is not None
    assert file.name == "a model"


def test_it_is_rebuilt_from_plain_data() -> None:
    file = written(GOOD)
    assert ModelFile.from_dict(file.to_dict()) == file


def test_nothing_stays_on_the_path_or_beside_the_file() -> None:
    before = list(sys.path)
    written(GOOD).build(SHAPE, CLASSES)
    assert sys.path == before
    assert os.listdir() == ["mymodel.py"]


# ---- what does not name a file ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["mymodel", ":build", "mymodel.py:", "mymodel.py:a-b", "mymodel.py:3"])
def test_a_text_of_another_form(text: str) -> None:
    with pytest.raises(ModelFileError, match=r"does not say which function.* as in mymodel\.py:build$"):
        find_model_file(text)


def test_a_file_without_a_function_offers_those_in_it_and_is_not_run() -> None:
    Path("mymodel.py").write_text("raise SystemExit\ndef build(a, b): ...\ndef make(): ...\n")
    with pytest.raises(ModelFileError, match=r"; it defines build, make$"):
        find_model_file("mymodel.py")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ModelFileError, match=r"^there is no file nowhere\.py; "):
        find_model_file("nowhere.py:build")


@pytest.mark.skipif(os.name == "nt", reason="there are no such names")
def test_a_path_that_cannot_be_printed() -> None:
    Path("a\nb").mkdir()
    with pytest.raises(ModelFileError, match=r"the path a\\nb.mymodel\.py has signs that cannot be printed"):
        written(GOOD, "a\nb/mymodel.py")


def test_a_folder_and_a_file_beyond_all_measure() -> None:
    Path("folder.py").mkdir()
    with pytest.raises(ModelFileError, match=r"folder\.py is no file"):
        find_model_file("folder.py:build")
    with open("large.py", "wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ModelFileError, match="too much for a file of Python"):
        find_model_file("large.py:build")


# ---- errors in the file ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "mymodel.py defines no 'build'; it defines no function"),
        ("def bild(a, b): ...", "mymodel.py defines no 'build'; did you mean bild?"),
        ("def other(a, b): ...", "mymodel.py defines no 'build'; it defines other"),
        ("\n\ndef build(a, b)\n", "mymodel.py, line 3: SyntaxError: expected ':'"),
        ("x = 1\n1 / 0\n", "mymodel.py, line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "mymodel.py, line 2: SystemExit: 3"),
        (
            "import no_such_package\n",
            "mymodel.py, line 1: ModuleNotFoundError: No module named 'no_such_package'",
        ),
        ("build = 3\n", "mymodel.py:build must be a function, not a value of type int"),
        (
            "def build(shape):\n    pass\n",
            "mymodel.py, line 1: build must take two arguments, image_shape and classes; it takes (shape)",
        ),
        (
            "\ndef build(shape, classes):\n    raise KeyError('x')\n",
            "mymodel.py, line 3: KeyError: 'x'",
        ),
        (
            "\ndef build(shape, classes):\n    pass\n",
            "mymodel.py, line 2: build must return a Module of tinygrad_mnist.nn, not None; is a return "
            "missing?",
        ),
        (
            "def build(shape, classes):\n    return [1]\n",
            "mymodel.py, line 1: build must return a Module of tinygrad_mnist.nn, not a value of type list",
        ),
        (
            "class build:\n    def __init__(self, features, classes):\n        features + 1\n",
            'mymodel.py, line 3: TypeError: can only concatenate tuple (not "int") to tuple; name a function '
            "of the shape and the classes, which makes it",
        ),
        (
            "from tinygrad_mnist import nn\nclass Net(nn.Module): ...\nbuild = lambda shape, classes: Net\n",
            "mymodel.py, line 3: build returned the class Net; return an object of it, Net(...)",
        ),
    ],
)
def test_the_sentence_names_file_and_line(source: str, sentence: str) -> None:
    assert refusal(source) == sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x7fELF\x00\x01\xff\xfe", "mymodel.py is no file of Python: "),
        (b"x = '\xff'\n", "mymodel.py, line 1: SyntaxError: (unicode error) 'utf-8' codec"),
    ],
    ids=["binary", "not UTF-8"],
)
def test_what_is_no_text(content: bytes, words: str) -> None:
    assert words in refusal(content)


def test_a_line_in_another_function_of_the_file() -> None:
    source = GOOD.replace("return nn", "helper()\n    return nn") + "\ndef helper():\n    None.x\n"
    assert refusal(source).startswith("mymodel.py, line 10: AttributeError: 'NoneType' object has no")


@pytest.mark.parametrize("first", ["", "here", "elsewhere"])
def test_a_module_beside_the_file_is_not_imported(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However Python was started: by -c, by -m, or by a script."""
    monkeypatch.setattr(sys, "path", [os.getcwd() if first == "here" else first, *filter(None, sys.path)])
    Path("layers.py").write_text("raise SystemExit\n")
    message = refusal("from layers import Net\n")
    assert message.startswith("mymodel.py, line 1: ModuleNotFoundError: No module named 'layers'")
    assert message.endswith("; a model's file may import what is installed, not a file beside it")


def test_a_model_without_parameters() -> None:
    source = (
        "from tinygrad_mnist import nn\n"
        "def build(shape, classes):\n"
        "    return nn.Sequential(nn.Flatten())\n"
    )  # fmt: skip
    assert refusal(source).startswith("mymodel.py, line 2: build returned a model without parameters")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("3, classes", "3, classes + 1"),
            "line 4: build returned a model with an output of shape (2, 4); for",
        ),
        (
            ("height * width", "height"),
            "line 4: build: no output for images of shape (2, 1, 4, 5): ValueError",
        ),
        (("nn.Flatten(), ", ""), "no output for images of shape (2, 1, 4, 5): ValueError"),
    ],
)
def test_a_model_that_does_not_fit(change: tuple[str, str], words: str) -> None:
    assert words in refusal(GOOD.replace(*change))


FORWARD = """
from tinygrad_mnist import nn

class Net(nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.linear = nn.Linear(features, classes)

    def forward(self, x):
        return RESULT

def build(image_shape, classes):
    return Net(image_shape[0] * image_shape[1], classes)
"""


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (
            "self.linear(x)",
            "mymodel.py, line 10: no output for images of shape (2, 1, 4, 5): ValueError: linear",
        ),
        (
            "undefined",
            "mymodel.py, line 10: no output for images of shape (2, 1, 4, 5): NameError: Net: name",
        ),
        (
            "self.linear(x.reshape(len(x), -1)), 1",
            "line 12: build returned a model whose output is a value of type",
        ),
        ("None", "returned a model whose output is None; for images"),
        ("self.linear(x.reshape(len(x), -1)).argmax(axis=1)", "with an output of shape (2,); for images of"),
    ],
)
def test_a_forward_that_is_wrong(result: str, words: str) -> None:
    assert words in refusal(FORWARD.replace("RESULT", result))


def test_a_file_that_has_changed_is_not_run() -> None:
    file = written(GOOD)
    Path("mymodel.py").write_text("raise SystemExit")
    with pytest.raises(
        ModelFileError, match=r"^mymodel\.py has changed since the model was trained; .*--model"
    ):
        file.build(SHAPE, CLASSES)


def test_a_later_error_is_explained_by_line() -> None:
    source = FORWARD.replace("RESULT", "self.linear(x.reshape(len(x), -1)) if len(x) == 2 else 1 / 0")
    model = written(source).build(SHAPE, CLASSES)
    with pytest.raises(ZeroDivisionError) as caught:
        model(np.ones((3, 1, *SHAPE), np.float32))
    assert explain(caught.value) == "mymodel.py, line 10: ZeroDivisionError: Net: division by zero"


def test_a_later_error_in_layers_of_the_package_is_explained_by_the_file() -> None:
    model = written(GOOD).build(SHAPE, CLASSES)
    with pytest.raises(ValueError, match="Linear") as caught:
        model(np.ones((3, 1, 9, 9), np.float32))
    sentence = explain(caught.value)
    assert sentence is not None
    assert sentence.startswith("the model of ")
    assert "mymodel.py" in sentence


def test_an_error_elsewhere_is_not_explained() -> None:
    written(GOOD).build(SHAPE, CLASSES)
    assert explain(ValueError("elsewhere")) is None


# ---- what a checkpoint may say ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"path": 3},
        {"path": "/tmp/\x1b[2J.py"},
        {"path": "/tmp/\0.py"},
        {"function": "os.system"},
        {"function": ""},
        {"sha256": "0" * 63},
        {"sha256": "g" * 64},
        {"more": "x"},
    ],
)
def test_senseless_entries(change: dict[str, object]) -> None:
    values = {"path": "/tmp/mymodel.py", "function": "build", "sha256": "0" * 64, **change}
    with pytest.raises(ModelFileError, match="model_file must"):
        ModelFile.from_dict(values)


@pytest.mark.parametrize("path", ["mymodel.py", "//host/share/mymodel.py", "\\\\host\\share\\mymodel.py"])
def test_a_path_that_is_none_of_this_machine(path: str) -> None:
    with pytest.raises(ModelFileError, match="is no path on this machine"):
        ModelFile(path, "build", "0" * 64).require_trusted()
