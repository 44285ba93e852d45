import json
import math
from dataclasses import MISSING, Field, fields, replace
from typing import Any

import pytest

from tinygrad_mnist import data, training
from tinygrad_mnist.training import OPTIMIZERS, RECIPES, Recipe, RecipeError, find_recipe


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_ancestors_network_is_kept() -> None:
    """And its 1000 iterations, as the README says."""
    for name in ("batchnorm-deep", "batchnorm-deep-fullbatch"):
        assert (RECIPES[name].hidden, RECIPES[name].batch_norm, RECIPES[name].one_hot) == (
            (64, 32, 16),
            True,
            True,
        )
    assert RECIPES["batchnorm-deep-fullbatch"].full_batch
    assert RECIPES["batchnorm-deep-fullbatch"].epochs == 1000


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"lr": math.inf}, "lr"),
        ({"lr": True}, "lr"),
        ({"lr": "fast"}, "lr"),
        ({"weight_decay": -1e-3}, "weight_decay"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": math.inf}, "epochs"),
        ({"epochs": 1e13}, "epochs"),
        ({"batch_size": -8}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 1}, "batch norm"),
        ({"hidden": (64, 0)}, "hidden"),
        ({"hidden": [64]}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"validation": 1.0}, "validation"),
        ({"evaluate_every": 0}, "evaluate_every"),
        ({"activation": "reul"}, "relu"),
        ({"optimizer": "adm"}, "adam"),
        ({"schedule": "onecycle"}, "one-cycle"),
        ({"momentum": 0.9}, "momentum"),
        ({"crop": -1}, "crop"),
        ({"crop": 1.0}, "crop"),
        ({"hard": (3.0,)}, "hard"),
        ({"hard": (3.0, 1.5)}, "hard"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"betas": (0.9, 0.99), "optimizer": "sgd"}, "betas must be None where the optimiser is sgd"),
        ({"warmup": 1.0}, "warmup"),
        ({"ema": 1.0}, "ema"),
        ({"decay_biases": 1}, "decay_biases"),
        ({"augmentation": "elastik"}, "did you mean elastic"),
        ({"augmentation": "affine shift -1"}, "a number of pixels from 0 to 1000, not -1.0"),
        ({"augmentation": None}, "augmentation must be a text"),
        ({"norm": "bacth"}, "did you mean batch"),
        ({"norm": "group"}, "norm must be batch where the model is 'mlp'"),
        ({"layers": ("flatten",)}, "layers must be empty where the model is 'mlp'"),
        ({"model": "layers"}, "hidden must be empty where the model is 'layers'"),
        ({"model": "layers", "hidden": ()}, "batch_norm must be False where the model is 'layers'"),
    ],
)
def test_a_bad_value_gets_a_sentence_that_names_it(changes: dict[str, object], word: str) -> None:
    with pytest.raises(RecipeError, match=word) as caught:
        RECIPES["mlp"].changed(**changes)
    assert "\n" not in str(caught.value)


def test_another_optimizer_comes_with_its_own_learning_rate() -> None:
    recipe = RECIPES["three-layer"]
    assert recipe.changed(optimizer="momentum").lr == OPTIMIZERS["momentum"].lr != recipe.lr


def test_a_learning_rate_that_is_given_is_kept() -> None:
    assert RECIPES["three-layer"].changed(optimizer="momentum", lr=0.3).lr == 0.3


def test_the_same_optimizer_keeps_the_learning_rate() -> None:
    recipe = RECIPES["three-layer"]
    assert recipe.changed(optimizer=recipe.optimizer) == recipe


@pytest.mark.parametrize(("name", "near"), [("cnn-bets", "cnn-best"), ("three_layer", "three-layer")])
def test_an_unknown_recipe_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(RecipeError, match=f"did you mean {near}"):
        find_recipe(name)


def test_an_unknown_recipe_unlike_all_lists_them() -> None:
    with pytest.raises(RecipeError, match="batchnorm-deep, batchnorm-deep-fullbatch"):
        find_recipe("???")


def test_a_recipe_with_other_entries_is_refused() -> None:
    values = RECIPES["mlp"].to_dict()
    del values["name"]
    with pytest.raises(RecipeError, match=r"lacks name and has the unknown speed"):
        Recipe.from_dict({**values, "speed": 3})


@pytest.mark.parametrize("field", [field for field in fields(Recipe) if field.default is not MISSING])
def test_a_field_with_a_default_may_be_missing(field: Field[Any]) -> None:
    values = RECIPES["mlp"].to_dict()
    expected = replace(RECIPES["mlp"], **{field.name: field.default})
    del values[field.name]
    assert Recipe.from_dict(values) == expected


def test_a_recipe_of_an_earlier_version_means_what_it_meant() -> None:
    values = RECIPES["digits"].to_dict()
    for field in (
        "model",
        "layers",
        "norm",
        "crop",
        "augmentation",
        "hard",
        "betas",
        "warmup",
        "decay_biases",
        "ema",
    ):
        del values[field]  # fields that were added later
    assert Recipe.from_dict(values) == RECIPES["digits"]


def test_a_recipe_is_found_by_its_old_name() -> None:
    assert find_recipe("default") is RECIPES["mlp"]
    old = RECIPES["mlp"].changed(name="default", lr=0.5)
    assert old.changes() == {"lr": 0.5}


@pytest.mark.parametrize("field", [field.name for field in fields(Recipe)])
def test_no_field_takes_a_value_of_any_kind(field: str) -> None:
    with pytest.raises(RecipeError, match=f"^{field} must be") as caught:
        RECIPES["mlp"].changed(**{field: object()})
    assert caught.value.field == field


def test_another_optimizer_comes_with_its_own_betas() -> None:
    assert RECIPES["cnn"].changed(optimizer="sgd").betas is None
    assert RECIPES["cnn"].changed(optimizer="adam").betas is None


def test_the_changes_are_what_differs_from_the_recipe_of_that_name() -> None:
    assert RECIPES["digits"].changed(lr=0.5, hidden=(3,), epochs=40).changes() == {"lr": 0.5, "hidden": [3]}


def test_the_packages_list_their_public_names() -> None:
    for package in (training, data):
        assert set(package.__all__) <= set(dir(package))
        assert all(hasattr(package, name) for name in package.__all__)
