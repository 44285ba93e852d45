import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, nn, optim
from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import (
    ACTIVATIONS,
    MODELS,
    OPTIMIZERS,
    RECIPES,
    SCHEDULES,
    OptimizerChoice,
    Recipe,
    RecipeError,
    load_checkpoint,
    train,
)
from tinygrad_mnist.training.recipe.choices import build_optimizer, build_schedule
from tinygrad_mnist.training.recipe.models import build_model, model_input, state_outline
from tinygrad_mnist.training.seeds import generators

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_builds_a_model_from_images_to_logits(recipe: Recipe) -> None:
    pictures = (8, 8) if recipe.data == "digits" else (28, 28)
    height, width = model_input(recipe, pictures)
    model = build_model(recipe, pictures, 7).eval()
    assert model(np.zeros((2, 1, height, width), np.float32)).shape == (2, 7)


def test_the_layers_are_those_of_the_recipe() -> None:
    recipe = RECIPES["mlp"].changed(hidden=(5, 4), dropout=0.5)
    kinds = [type(layer) for layer in build_model(recipe, (2, 3), 3).children()]
    block = [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert kinds == [nn.Flatten, *block, *block, nn.Linear]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_built_as_what_it_is_called(activation: str) -> None:
    model = build_model(RECIPES["three-layer"].changed(activation=activation, hidden=(3,)), (2, 2), 2)
    kind = activation.replace("-", "")
    assert kind in [type(layer).__name__.lower() for layer in model.children()]
    assert np.isfinite(model(Tensor(np.ones((2, 1, 2, 2), np.float32))).detach().numpy()).all()


def test_no_hidden_layer_is_softmax_regression() -> None:
    kinds = [type(layer) for layer in build_model(RECIPES["mlp"].changed(hidden=()), (2, 2), 2).children()]
    assert kinds == [nn.Flatten, nn.Linear]


def test_equal_generators_give_equal_weights() -> None:
    first, second = (
        build_model(RECIPES["digits"], (3, 3), 3, rng=np.random.default_rng(5)).state_dict() for _ in range(2)
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)


KINDS = {
    "sgd": optim.SGD,
    "momentum": optim.SGD,
    "rmsprop": optim.RMSprop,
    "adam": optim.Adam,
    "adamw": optim.AdamW,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_built_as_what_it_is_called(name: str) -> None:
    recipe = RECIPES["three-layer"].changed(optimizer=name, weight_decay=0.25)
    optimizer = build_optimizer(recipe, build_model(recipe, (2, 2), 2))
    assert type(optimizer) is KINDS[name]
    assert OPTIMIZERS[name].decoupled is (KINDS[name] is optim.AdamW)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (recipe.lr, 0.25)


def test_momentum_is_what_sgd_lacks() -> None:
    momenta = []
    for name in ("sgd", "momentum"):
        recipe = RECIPES["three-layer"].changed(optimizer=name)
        optimizer = build_optimizer(recipe, build_model(recipe, (2, 2), 2))
        momenta.append(optimizer.param_groups[0]["momentum"])
    assert momenta == [0, 0.9]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_every_schedule_goes_with_every_optimizer(schedule: str, name: str, steps: int) -> None:
    recipe = RECIPES["three-layer"].changed(optimizer=name, schedule=schedule)
    optimizer = build_optimizer(recipe, build_model(recipe, (2, 2), 2))
    rates = [optimizer.param_groups[0]["lr"]]
    made = build_schedule(recipe, optimizer, steps)
    for _ in range(steps if made else 0):
        assert made is not None
        rates.append(optimizer.param_groups[0]["lr"])
        made.step()
    assert 0 < max(rates) <= recipe.lr * (1 + 1e-12)


def test_a_schedule_is_over_when_training_is() -> None:
    ends = {}
    for schedule in SCHEDULES:
        recipe = RECIPES["three-layer"].changed(optimizer="sgd", schedule=schedule, lr=0.5)
        optimizer = build_optimizer(recipe, build_model(recipe, (2, 2), 2))
        made = build_schedule(recipe, optimizer, 20)
        for _ in range(19):
            if made is not None:
                made.step()
        ends[schedule] = optimizer.param_groups[0]["lr"]
    assert ends.pop("constant") == 0.5
    assert all(0 < rate < 0.01 for rate in ends.values()), ends


def test_a_single_step_is_at_the_rate_of_the_recipe() -> None:
    """One cycle of one step would be its end alone, where the rate is nearly 0 and nothing is learned."""
    recipe = RECIPES["three-layer"].changed(optimizer="sgd", schedule="one-cycle")
    optimizer = build_optimizer(recipe, build_model(recipe, (2, 2), 2))
    build_schedule(recipe, optimizer, 1)
    assert optimizer.param_groups[0]["lr"] == recipe.lr


@pytest.mark.parametrize("warmup", [0.25, 0.2])
def test_the_rate_rises_from_a_tenth_and_falls_to_a_hundredth(warmup: float) -> None:
    recipe = RECIPES["cnn"].changed(lr=1.0, warmup=warmup)
    optimizer = build_optimizer(recipe, build_model(recipe, (28, 28), 10))
    made = build_schedule(recipe, optimizer, 101)
    assert made is not None
    rates = []
    for _ in range(101):
        assert {group["lr"] for group in optimizer.param_groups} == {made.get_last_lr()[0]}
        rates.append(optimizer.param_groups[0]["lr"])
        made.step()
    top = int(np.argmax(rates))
    assert abs(top - (101 * warmup - 1)) <= 1
    assert (rates[0], rates[-1]) == (pytest.approx(0.1), pytest.approx(0.01))
    assert max(rates) == pytest.approx(1, abs=5e-3)
    assert rates[top // 2] == pytest.approx(0.55, abs=0.05)  # half a cosine is in its middle there
    assert rates[(top + 100) // 2] == pytest.approx(0.505, abs=0.02)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)


@pytest.mark.parametrize(("decay_biases", "counts"), [(False, [(4, 0.01), (7, 0.0)]), (True, [(11, 0.01)])])
def test_what_decays_is_what_the_recipe_says(decay_biases: bool, counts: list[tuple[int, float]]) -> None:
    recipe = RECIPES["cnn"].changed(decay_biases=decay_biases)
    optimizer = build_optimizer(recipe, build_model(recipe, (28, 28), 10))
    groups = [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
    assert groups == counts
    if not decay_biases:
        assert all(parameter.ndim > 1 for parameter in optimizer.param_groups[0]["params"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_cycle_cycles_the_momentum_of_those_that_have_one(name: str) -> None:
    recipe = RECIPES["three-layer"].changed(optimizer=name, schedule="one-cycle")
    optimizer = build_optimizer(recipe, build_model(recipe, (2, 2), 2))
    before = dict(optimizer.param_groups[0])
    build_schedule(recipe, optimizer, 10)
    after = optimizer.param_groups[0]
    changed = {key for key in ("momentum", "betas") if before.get(key) != after.get(key)}
    assert changed == {key for key in ("momentum", "betas") if before.get(key)}


@given(
    st.lists(st.integers(1, 5), max_size=3),
    st.sampled_from(list(ACTIVATIONS)),
    st.booleans(),
    st.sampled_from([0.0, 0.5]),
    st.integers(1, 6),
    st.integers(2, 4),
)
def test_the_outline_of_a_model_is_that_of_its_state_dict(
    hidden: list[int], activation: str, batch_norm: bool, dropout: float, width: int, classes: int
) -> None:
    recipe = RECIPES["mlp"].changed(
        hidden=tuple(hidden), activation=activation, batch_norm=batch_norm, dropout=dropout
    )
    built = build_model(recipe, (2, width), classes).state_dict()
    expected = [(name, value.shape, value.dtype.name) for name, value in built.items()]
    assert list(state_outline(recipe, (2, width), classes)) == expected


def test_the_outline_has_the_parameters_of_an_activation_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "norm", lambda: nn.LayerNorm(3))
    recipe = RECIPES["mlp"].changed(hidden=(3, 3), activation="norm")
    outline = {name for name, _, _ in state_outline(recipe, (2, 2), 2)}
    assert outline == set(build_model(recipe, (2, 2), 2).state_dict())


# ---- a row that is added to a table ------------------------------------------------------------------------


class Still(optim.SGD):
    """Takes no steps."""

    def step(self) -> None:
        pass


def test_an_optimizer_of_ones_own_is_what_trains(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIMIZERS, "still", OptimizerChoice(Still, lr=0.5))
    recipe = small.changed(optimizer="still", batch_norm=False, epochs=1)
    assert recipe.lr == 0.5
    outcome = train(recipe, patterns, seed=3, out="run")
    new = build_model(recipe, (5, 5), 4, rng=generators(3)["initialisation"])
    np.testing.assert_equal(outcome.checkpoint.model.state_dict(), new.state_dict())


def test_an_optimizer_that_cannot_be_built_fails(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(parameters: list[Tensor], **options: float) -> optim.Optimizer:
        raise TypeError("there is no such optimiser")

    monkeypatch.setitem(OPTIMIZERS, "broken", OptimizerChoice(broken, lr=0.5))
    with pytest.raises(TypeError, match="no such optimiser"):
        train(small.changed(optimizer="broken"), patterns, out="run")


def test_a_schedule_of_ones_own_is_followed(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEDULES, "halving", lambda optimizer, *_: optim.ExponentialLR(optimizer, 0.5))
    recipe = small.changed(schedule="halving", epochs=1)
    outcome = train(recipe, patterns, out="run")
    steps = outcome.summary["steps"]
    record = json.loads(Path("run/metrics.jsonl").read_text())
    assert record["lr"] == pytest.approx(recipe.lr * 0.5 ** (steps - 1))


def test_an_activation_of_ones_own_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "steep", lambda: nn.LeakyReLU(0.9))
    model = build_model(RECIPES["three-layer"].changed(activation="steep"), (2, 2), 2)
    assert [layer.negative_slope for layer in model.children() if isinstance(layer, nn.LeakyReLU)] == [
        0.9,
        0.9,
    ]


def test_a_model_of_ones_own_is_trained_and_read_back(
    small: Recipe, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def linear(
        recipe: Recipe, shape: tuple[int, int], classes: int, rng: np.random.Generator | None, _: object
    ) -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1], classes, rng=rng))

    monkeypatch.setitem(MODELS, "linear", linear)
    outcome = train(small.changed(model="linear"), patterns, out="run")
    assert outcome.summary["parameters"] == 25 * 4 + 4
    again = load_checkpoint("run")
    assert again.recipe.model == "linear"
    assert list(again.model.state_dict()) == ["1.weight", "1.bias"]


@pytest.mark.parametrize(
    ("field", "table"),
    [("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("activation", ACTIVATIONS), ("model", MODELS)],
)
def test_a_name_that_is_in_no_table_is_refused_with_those_that_are(
    field: str, table: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (None, ["sgd"], "", "no such name"):
        with pytest.raises(RecipeError, match=f"{field} must be one of {', '.join(table)}, not"):
            RECIPES["mlp"].changed(**{field: name})
    monkeypatch.setitem(table, "mine", next(iter(table.values())))
    assert getattr(RECIPES["mlp"].changed(**{field: "mine"}), field) == "mine"
