"""`tinygrad-mnist recipes`, and `--recipe FILE.toml` of the commands that follow one."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.training import RECIPES, Recipe
from tinygrad_mnist.training.runs import run as run_module

ErrorOf = Callable[..., str]
TRAIN = ["train", "--data", "digits", "--quiet", "--out", "run"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))


def summary() -> dict[str, object]:
    content: dict[str, object] = json.loads(Path("run/summary.json").read_text("utf-8"))
    return content


def weights() -> dict[str, np.ndarray]:
    with np.load("run/checkpoint.npz") as content:
        return {name: content[name] for name in content.files if name.startswith("model.")}


def test_a_recipe_that_is_written_trains_to_the_same_bits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = RECIPES["cnn-digits"].changed(
        name="small",
        layers=("conv 2 3x3", "norm", "activation", "flatten", "dropout"),
        dropout=0.1,
        epochs=0.5,
    )
    monkeypatch.setitem(RECIPES, "small", small)
    assert main(["recipes", "--show", "small"]) == 0
    Path("my.toml").write_text(capsys.readouterr().out, "utf-8")
    assert main([*TRAIN, "--recipe", "small"]) == 0
    expected = weights()
    assert main([*TRAIN, "--recipe", "my.toml"]) == 0
    assert weights().keys() == expected.keys()
    assert all(np.array_equal(value, expected[name]) for name, value in weights().items())
    assert (summary()["recipe"], summary()["changes"]) == ("small", {})


def test_layers_in_a_file_are_those_of_the_model() -> None:
    Path("my.toml").write_text(
        'base = "cnn-digits"\nepochs = 1\nlayers = ["conv 3 3x3", "activation", "flatten"]\n'
    )
    assert main([*TRAIN, "--recipe", "my.toml"]) == 0
    assert weights()["model.0.weight"].shape == (3, 1, 3, 3)
    assert summary()["recipe"] == "my"


def test_flags_change_a_recipe_in_a_file() -> None:
    Path("my.toml").write_text('base = "digits"\nepochs = 3\nhidden = [4]\n')
    assert main([*TRAIN, "--recipe", "my.toml", "--epochs", "1", "--lr", "0.5"]) == 0
    recipe = Recipe.from_dict(summary()["config"])  # type: ignore[arg-type]
    assert (recipe.epochs, recipe.lr, recipe.hidden) == (1, 0.5, (4,))


def test_a_file_that_keeps_its_name_keeps_its_values_on_the_digits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The recipe of that name has another in its place there, but not what somebody has changed."""
    assert main(["recipes", "--show", "mlp"]) == 0
    text = re.sub(r"^epochs = .*", "epochs = 1", capsys.readouterr().out, flags=re.MULTILINE)
    Path("my.toml").write_text(text)
    assert main([*TRAIN, "--recipe", "my.toml", "--hidden", "4"]) == 0
    assert (summary()["recipe"], summary()["epochs"]) == ("mlp", 1)
    assert capsys.readouterr().err == ""


def test_the_graph_of_a_recipe_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.toml").write_text('base = "digits"\nhidden = [3]\n')
    assert main(["graph", "--recipe", "my.toml", "--data", "digits"]) == 0
    assert "Linear (64, 3)" in capsys.readouterr().out


def test_a_file_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.toml").write_text('base = "digits"\nhidden = [3]\n')
    assert main(["recipes", "--show", "my.toml"]) == 0
    assert "\nhidden = [3]\n" in capsys.readouterr().out


def test_new_flags_change_the_recipe() -> None:
    options = {
        "--recipe": "cnn-digits", "--epochs": "0.1", "--activation": "gelu", "--norm": "group",
        "--schedule": "cosine", "--augmentation": "affine shift 2",
    }  # fmt: skip
    assert main([*TRAIN, *(word for option in options.items() for word in option)]) == 0
    recipe = Recipe.from_dict(summary()["config"])  # type: ignore[arg-type]
    found = recipe.activation, recipe.norm, recipe.schedule, recipe.augmentation
    assert found == ("gelu", "group", "cosine", "affine shift 2")


def test_norm_is_batch_norm_or_none_in_the_perceptron() -> None:
    for norm, expected in (("none", False), ("batch", True)):
        assert main([*TRAIN, "--recipe", "digits", "--epochs", "0.1", "--dropout", "0", "--norm", norm]) == 0
        recipe = Recipe.from_dict(summary()["config"])  # type: ignore[arg-type]
        assert (recipe.batch_norm, recipe.dropout) == (expected, 0)


def test_hidden_units_alone_are_those_of_the_perceptron() -> None:
    assert main([*TRAIN, "--hidden", "5", "--epochs", "1"]) == 0
    assert summary()["recipe"] == "digits"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "no.toml"], "no.toml does not exist; name a file of TOML, or one of cnn, "),
        (["--recipe", "wrong.toml"], "wrong.toml, line 2: a recipe has no 'lrr'; did you mean lr?"),
        (
            ["--recipe", "layers.toml"],
            "layers.toml, line 4: layers must be texts such as 'conv 16 5x5', but ",
        ),
        (["--recipe", "cnn", "--hidden", "5"], "--hidden must be empty where the model is 'layers'"),
        (["--recipe", "cnn", "--dropout", "0.1"], "--dropout must be 0 where no layer is 'dropout'"),
        (["--recipe", "mlp", "--norm", "layer"], "--norm must be batch where the model is 'mlp'"),
        (["--activation", "relo"], "--activation must be one of relu, leaky-relu, "),
        (["--augmentation", "elastik"], "there is no augmentation 'elastik'; did you mean elastic?"),
        (["--schedule", "cosin"], "(did you mean cosine?)"),
        (["--norm", "bach"], "(did you mean batch?)"),
        (["--dropout", "1"], "--dropout must be at least 0 and less than 1, not 1.0"),
        (["--dropout", "some"], "'some' is no number"),
    ],
)
def test_a_misuse_is_one_sentence(error_of: ErrorOf, arguments: list[str], words: str) -> None:
    Path("wrong.toml").write_text('base = "cnn"\nlrr = 1\n')
    Path("layers.toml").write_text('base = "cnn"\nlayers = [\n    "flatten",\n    "conf 16 5x5",\n]\n')
    assert words in error_of("train", "--data", "digits", *arguments, status=2)


def test_layers_that_do_not_fit_the_images_are_one_sentence(error_of: ErrorOf) -> None:
    Path("my.toml").write_text('base = "cnn-digits"\nlayers = ["conv 3 9x9", "flatten"]\n')
    message = error_of(*TRAIN, "--recipe", "my.toml", status=2)
    assert "layers do not fit the 8 x 8 pixels: layer 1, 'conv 3 9x9', does not fit" in message


def test_a_recipe_that_is_not_there_is_not_shown(error_of: ErrorOf) -> None:
    assert "did you mean digits" in error_of("recipes", "--show", "digit", status=2)
    assert "--show: it is empty" in error_of("recipes", "--show", "", status=2)
