"""The command that repeats a run: what it parses to is the run's recipe."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from tinygrad_mnist.cli import train
from tinygrad_mnist.cli.parser import make_parser
from tinygrad_mnist.training import RECIPES, Recipe, find_model_file
from tinygrad_mnist.training.recipe.recipes import changes_for
from tinygrad_mnist.training.report.reproduction import FILE, OPTIONS, reproduction

ORIGIN = {"data": "a folder/$x", "seed": 7, "threads": 2, "jit": "off", "processes": 3}


def parsed(command: str) -> tuple[Recipe, Any]:
    program, *words = shlex.split(command)
    assert program == "tinygrad-mnist"
    arguments = make_parser().parse_args(words)
    return train._recipe(arguments)[0], arguments


def test_the_options_are_those_of_the_command() -> None:
    assert set(OPTIONS) == set(train._changes())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in RECIPES),
        ("mlp", {"hidden": (64,), "epochs": 1.5, "batch_size": None, "clip_norm": 0.5}),
        ("mlp", {"hidden": (), "batch_norm": True}),
        ("cnn", {"norm": "layer", "optimizer": "sgd", "lr": 0.1, "augmentation": "rotation 10 shift 1"}),
        ("digits", {"dropout": 0.25, "activation": "tanh", "schedule": "constant", "weight_decay": 0.0}),
    ],
)
def test_the_command_gives_the_recipe(name: str, changes: dict[str, Any]) -> None:
    recipe = RECIPES[name].changed(**changes)
    found = reproduction(recipe, ORIGIN)
    assert found.recipe_file is None
    again, arguments = parsed(found.command)
    assert again == recipe
    given = {key: getattr(arguments, key) for key in ORIGIN}
    assert given == ORIGIN


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPES["mlp"].changed(name="mine"),
        RECIPES["mlp"].changed(betas=(0.5, 0.9)),
        *[one.changed(clip_norm=None) for one in RECIPES.values() if one.clip_norm][:1],
        RECIPES["cnn"].changed(label_smoothing=0.0),
    ],
)
def test_what_no_option_says_is_a_file(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = reproduction(recipe, ORIGIN)
    assert found.recipe_file is not None
    Path(FILE).write_text(found.recipe_file)
    assert parsed(found.command)[0].to_dict() == recipe.to_dict()


def test_a_model_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "my model.py"
    path.write_text("from tinygrad_mnist import nn\ndef build(shape, classes):\n    return nn.Flatten()\n")
    recipe = RECIPES["mlp"].changed(**changes_for(find_model_file(f"{path}:build")), epochs=2)
    assert parsed(reproduction(recipe, ORIGIN).command)[0] == recipe
