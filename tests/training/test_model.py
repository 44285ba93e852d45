import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, optim
from tinygrad_mnist.training import RECIPES, Recipe
from tinygrad_mnist.training.model import build_model, build_optimizer, build_schedule
from tinygrad_mnist.training.recipes import ACTIVATIONS, OPTIMIZERS, SCHEDULES


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_builds_a_model_from_rows_to_logits(recipe: Recipe) -> None:
    model = build_model(recipe, 12, 7)
    assert model(np.zeros((3, 12), np.float32)).shape == (3, 7)


def test_the_layers_are_those_of_the_recipe() -> None:
    recipe = RECIPES["default"].changed(hidden=(5, 4), dropout=0.5)
    kinds = [type(layer) for layer in build_model(recipe, 6, 3).children()]
    block = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert kinds == [*block, *block, nn.Linear]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_can_be_built(activation: str) -> None:
    model = build_model(RECIPES["three-layer"].changed(activation=activation, hidden=(3,)), 4, 2)
    assert np.isfinite(model(Tensor(np.ones((2, 4), np.float32))).detach().numpy()).all()


def test_no_hidden_layer_is_softmax_regression() -> None:
    assert len(list(build_model(RECIPES["default"].changed(hidden=()), 4, 2).children())) == 1


def test_equal_generators_give_equal_weights() -> None:
    first, second = (
        build_model(RECIPES["digits"], 9, 3, rng=np.random.default_rng(5)).state_dict() for _ in range(2)
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", optim.SGD),
        ("momentum", optim.SGD),
        ("rmsprop", optim.RMSprop),
        ("adam", optim.Adam),
        ("adamw", optim.AdamW),
    ],
)
def test_every_optimizer_can_be_built(name: str, kind: type) -> None:
    recipe = RECIPES["three-layer"].changed(optimizer=name, weight_decay=0.25)
    optimizer = build_optimizer(recipe, build_model(recipe, 4, 2))
    assert type(optimizer) is kind
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (recipe.lr, 0.25)


def test_momentum_is_what_sgd_lacks() -> None:
    momenta = []
    for name in ("sgd", "momentum"):
        recipe = RECIPES["three-layer"].changed(optimizer=name)
        optimizer = build_optimizer(recipe, build_model(recipe, 4, 2))
        momenta.append(optimizer.param_groups[0]["momentum"])
    assert momenta == [0, 0.9]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_every_schedule_goes_with_every_optimizer(schedule: str, name: str, steps: int) -> None:
    recipe = RECIPES["three-layer"].changed(optimizer=name, schedule=schedule)
    optimizer = build_optimizer(recipe, build_model(recipe, 4, 2))
    rates = [optimizer.param_groups[0]["lr"]]
    made = build_schedule(recipe, optimizer, steps)
    for _ in range(steps if made else 0):
        assert made is not None
        rates.append(optimizer.param_groups[0]["lr"])
        made.step()
    assert 0 < max(rates) <= recipe.lr * (1 + 1e-12)


def test_a_single_step_is_at_the_rate_of_the_recipe() -> None:
    """One cycle of one step would be its end alone, where the rate is nearly 0 and nothing is learned."""
    recipe = RECIPES["three-layer"].changed(optimizer="sgd", schedule="one-cycle")
    optimizer = build_optimizer(recipe, build_model(recipe, 4, 2))
    build_schedule(recipe, optimizer, 1)
    assert optimizer.param_groups[0]["lr"] == recipe.lr
