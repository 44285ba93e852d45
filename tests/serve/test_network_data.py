"""A network as data: what is left out, what is refused, and that the data is the network."""

import base64

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.serve.network_data import LAYERS, network_data
from tinygrad_mnist.training import CheckpointError
from tinygrad_mnist.training.recipe.choices import ACTIVATIONS, NORMS

STANDARD = Standardizer(mean=100.0, std=50.0)


def data(*modules: nn.Module, shape=(6, 6), crop=0):
    return network_data(nn.Sequential(*modules), shape, Standardizer(100.0, 50.0, crop))


def test_weights_lie_where_their_layer_says_in_the_order_of_c() -> None:
    linear = nn.Linear(36, 3, rng=0)
    found = data(nn.Flatten(), linear)
    numbers = np.frombuffer(base64.b64decode(found["weights"]), "<f4")
    start, end = found["layers"][0]["arrays"]["weight"]
    np.testing.assert_array_equal(numbers[start:end].reshape(3, 36), linear.weight.detach().numpy())
    start, end = found["layers"][0]["arrays"]["bias"]
    np.testing.assert_array_equal(numbers[start:end], linear.bias.detach().numpy())


def test_what_does_nothing_in_evaluation_is_left_out() -> None:
    found = data(nn.Dropout2d(0.2), nn.Identity(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))
    assert [layer["kind"] for layer in found["layers"]] == ["linear"]


def test_a_module_in_two_places_is_a_layer_at_each() -> None:
    relu = nn.ReLU()
    found = data(nn.Flatten(), nn.Linear(36, 5), relu, nn.Linear(5, 5), relu)
    assert [layer["kind"] for layer in found["layers"]] == ["linear", "activation", "linear", "activation"]


def test_modules_in_a_sequential_within_another_have_their_whole_name() -> None:
    found = data(nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(1, 2, 3))), nn.Flatten())
    assert found["first_layer"] == {"index": 0, "module": "0.1.0", "kind": "Conv2d"}


def test_shapes_are_those_of_a_cropped_picture() -> None:
    (layer,) = data(nn.Conv2d(1, 2, 3, padding="same"), shape=(8, 10), crop=1)["layers"]
    assert (layer["input"], layer["output"]) == ((1, 6, 8), (2, 6, 8))


@pytest.mark.parametrize(
    "modules",
    [
        (nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3)),
        (nn.AvgPool2d(2), nn.Flatten(), nn.Linear(9, 2)),
        (nn.Flatten(), nn.LayerNorm(36), nn.Linear(36, 2)),
        (nn.ReLU(),),
    ],
)
def test_there_is_no_first_layer_to_show_where_another_comes_before(modules: tuple[nn.Module, ...]) -> None:
    assert data(*modules)["first_layer"] is None


def test_the_layers_of_every_recipe_are_known() -> None:
    for make in ACTIVATIONS.values():
        assert type(make()) in LAYERS
    for norm in NORMS.values():
        assert type(norm.make((8, 4, 4))) in LAYERS
        assert type(norm.make((8,))) in LAYERS


class Block(nn.Module):
    def forward(self, x):
        return x


class OwnLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        ((nn.Sequential(nn.Flatten(), Block()),), r"the layer '0\.1' of the model is Block, which the page"),
        ((nn.Flatten(), OwnLinear(36, 2)), r"the layer '1' of the model is OwnLinear, which"),
        ((nn.Flatten(), nn.Linear(36, 2), nn.Softmax(1)), r"the layer '2' of the model is Softmax, which"),
        ((nn.ConvTranspose2d(1, 1, 2),), r"is ConvTranspose2d, which"),
        (
            (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),),
            r"Conv2d with padding_mode='reflect' \(expected 'zeros'\)",
        ),
        ((nn.Linear(6, 2),), r"Linear with an input of 3 axes \(expected 1; put nn\.Flatten\(\) before it\)"),
        ((nn.Flatten(2),), r"Flatten with start_dim=2 and end_dim=-1 \(expected 1 and -1\)"),
        ((nn.AdaptiveAvgPool2d(4),), r"AdaptiveAvgPool2d with output_size=4 for images of \(6, 6\)"),
        ((nn.BatchNorm2d(1, track_running_stats=False),), r"BatchNorm2d with track_running_stats=False"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(modules: tuple[nn.Module, ...], sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence + r".*AdaptiveAvgPool2d.*'tinygrad-mnist serve'"):
        data(*modules)


def test_a_model_that_is_no_sequential_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"the model is Block, which .* takes a Sequential of"):
        network_data(Block(), (6, 6), STANDARD)


def test_a_model_with_too_many_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_mnist.serve.network_data.MOST_WEIGHTS", 100)
    with pytest.raises(CheckpointError, match=r"the model has 111 weights, where a page holds 100 at most"):
        data(nn.Flatten(), nn.Linear(36, 3))
