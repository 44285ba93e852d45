"""What the service asks of a model: prepared pictures, probabilities, explanations, as plain data."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.checkpoints import untrained
from tests.serve.pictures import Drawing, drawn
from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.data import DataError, Standardizer
from tinygrad_mnist.data.prepare import prepare_digit
from tinygrad_mnist.serve import network
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.serve.static_page import write_page
from tinygrad_mnist.training import RECIPES, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_mnist.training.checkpoints.version import model_version
from tinygrad_mnist.training.prediction import predict
from tinygrad_mnist.training.report.saliency import saliency


def with_model(model: nn.Module, size: int = 8) -> Checkpoint:
    """A checkpoint of a model of one's own."""
    return replace(untrained("digits"), model=model, image_shape=(size, size))


def slanted(slant: int = 0) -> Drawing:
    """A one on white paper."""
    return drawn([(0.5 - 0.02 * slant, 0.2), (0.5 + 0.02 * slant, 0.8)], 8, (90, 80))


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled, which takes longer than these tests."""
    monkeypatch.setenv("TINYGRAD_MNIST_JIT", "0")


# ---- what is said of the model -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "origin", "expected"),
    [
        ("cnn", {}, {"preparation": "mnist", "page": "dark", "crop": 2, "image_shape": [28, 28]}),
        ("digits", {}, {"preparation": "uci", "page": "dark", "crop": 0, "image_shape": [8, 8]}),
        ("mlp", {"page": "light"}, {"preparation": "mnist", "page": "light"}),
        ("mlp", {"is_centred": False, "page": "light"}, {"preparation": "whole", "page": "light"}),
        ("mlp", {"is_centred": False}, {"preparation": "whole", "page": None}),
    ],
)
def test_a_model_is_described(
    uncompiled: None, name: str, origin: dict[str, Any], expected: dict[str, Any]
) -> None:
    checkpoint = untrained(name)
    recogniser = Recogniser(replace(checkpoint, origin={**checkpoint.origin, **origin}), threshold=0.8)
    description = recogniser.describe()
    assert expected.items() <= description.items()
    assert {"name": name, "version": recogniser.version, "threshold": 0.8}.items() <= description.items()
    assert description["classes"] == list("0123456789")
    assert json.loads(json.dumps(description)) == description


def test_a_model_of_the_bundled_digits_has_a_note(uncompiled: None) -> None:
    checkpoint = replace(untrained("digits"), origin={"data": "digits", "train_images": 1294})
    assert "1,294 small digits of 8 x 8 pixels" in Recogniser(checkpoint).describe()["note"]
    assert Recogniser(untrained("digits")).describe()["note"] is None


def test_the_version_stays_in_a_file_and_changes_with_any_weight(tmp_path: Any) -> None:
    checkpoint = untrained("digits")
    save_checkpoint(tmp_path / "a.npz", checkpoint)
    version = model_version(checkpoint)
    assert model_version(load_checkpoint(tmp_path / "a.npz")) == version
    assert len(version) == 12
    int(version, 16)
    others = {model_version(replace(checkpoint, standardizer=Standardizer(33.25, 78.75)))}
    for name, values in checkpoint.model.state_dict().items():
        changed = untrained("digits")
        other = np.array(values)
        other.reshape(-1)[-1] += 1
        changed.model.load_state_dict({**changed.model.state_dict(), name: other})
        others.add(model_version(changed))
    assert version not in others
    assert len(others) == 1 + len(checkpoint.model.state_dict())


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold is a probability"):
        Recogniser(untrained("digits"), threshold=threshold)


def test_a_model_whose_signs_are_not_square_is_refused() -> None:
    checkpoint = replace(untrained("digits"), image_shape=(8, 9))
    with pytest.raises(CheckpointError, match="only square ones"):
        Recogniser(checkpoint)


# ---- probabilities -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cnn", "digits"])
@pytest.mark.parametrize("count", [1, 3, 70])
def test_probabilities_are_those_of_predict_for_any_number_of_images(name: str, count: int) -> None:
    checkpoint = untrained(name)
    shape = (count, *checkpoint.image_shape)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = Recogniser(checkpoint).probabilities(images)
    assert found.shape == (count, 10)
    expected = predict(checkpoint.model, images, checkpoint.standardizer)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # the scores are of 12, in float32


def test_batches_are_filled_up_to_few_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def noted(function: Callable[..., Any], threads: int) -> Callable[..., Any]:
        def run(inputs: NDArray[Any], *others: Any) -> Any:
            sizes.append(len(inputs))
            return function(inputs, *others)

        return run

    monkeypatch.setattr(network, "compiled", noted)
    recogniser = Recogniser(untrained("digits"))
    for count in (1, 2, 8, 9, 32, 70):
        recogniser.probabilities(np.zeros((count, 8, 8), np.uint8))
    assert sizes == [1, 8, 8, 32, 32, 32, 32, 8]


def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*inputs: object) -> object:
        raise JitError("it reads a clock")

    checkpoint = untrained("digits")
    images = np.zeros((3, 8, 8), np.uint8)
    expected = Recogniser(checkpoint).probabilities(images)
    monkeypatch.setattr(network, "compiled", lambda function, threads: refuses)
    np.testing.assert_allclose(Recogniser(checkpoint).probabilities(images), expected, atol=1e-6)


def test_weights_that_overflow_are_an_error(uncompiled: None) -> None:
    checkpoint = untrained("digits")
    for parameter in checkpoint.model.parameters():
        parameter.data[...] = 1e38
    recogniser = Recogniser(checkpoint)
    prepared = recogniser.prepare(slanted())
    with pytest.raises(CheckpointError, match="too large to compute with"):
        recogniser.probabilities(prepared.image[np.newaxis])
    with pytest.raises(CheckpointError, match="too large to compute with"):
        recogniser.explain(prepared, 0)


# ---- explanations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cnn", "cnn-best", "mlp", "digits", "cnn-digits"])
def test_saliency_is_the_gradient_of_the_logit(name: str) -> None:
    checkpoint = untrained(name)
    recogniser = Recogniser(checkpoint)
    prepared = recogniser.prepare(slanted())
    inputs = checkpoint.standardizer(prepared.image[np.newaxis])
    index = int(predict(checkpoint.model, prepared.image[np.newaxis], checkpoint.standardizer).argmax())
    found = np.array(recogniser.explain(prepared, index)["saliency"])
    expected = np.pad(saliency(checkpoint.model, inputs)[0, 0], checkpoint.recipe.crop)
    assert found.shape == checkpoint.image_shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("index", [0, 7])
def test_saliency_of_softmax_regression_is_the_weights_of_the_class(uncompiled: None, index: int) -> None:
    checkpoint = untrained(RECIPES["mlp"].changed(hidden=(), batch_norm=False, crop=2))
    recogniser = Recogniser(checkpoint)
    found = np.array(recogniser.explain(recogniser.prepare(slanted()), index)["saliency"])
    weight = np.asarray(checkpoint.model.state_dict()["0.weight"])[index].reshape(24, 24)
    np.testing.assert_allclose(found[2:-2, 2:-2], weight, atol=1e-5)
    found[2:-2, 2:-2] = 0
    assert not found.any()


def test_channels_of_a_convolution_are_its_outputs(uncompiled: None) -> None:
    checkpoint = untrained("cnn")
    recogniser = Recogniser(checkpoint)
    prepared = recogniser.prepare(slanted())
    first = recogniser.explain(prepared, 1)["first_layer"]
    assert (first["module"], first["kind"]) == ("0", "Conv2d")
    assert [unit["unit"] for unit in first["units"]] == list(range(24))
    picture = checkpoint.standardizer(prepared.image[np.newaxis])[0, 0]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (5, 5))[::2, ::2]
    weight = np.asarray(checkpoint.model.state_dict()["0.weight"])[:, 0]
    expected = np.einsum("yxij,uij->uyx", windows, weight, optimize=False)
    for unit, output in zip(first["units"], expected, strict=True):
        np.testing.assert_allclose(unit["map"], output, atol=1e-4)
        assert unit["value"] == pytest.approx(output.max(), abs=1e-4)


def test_units_of_a_linear_layer_show_what_each_pixel_adds(uncompiled: None) -> None:
    checkpoint = untrained("mlp")
    recogniser = Recogniser(checkpoint)
    first = recogniser.explain(recogniser.prepare(slanted()), 1)["first_layer"]
    assert (first["module"], first["kind"], len(first["units"])) == ("0", "Linear", 24)
    values = [unit["value"] for unit in first["units"]]
    assert values == sorted(values, reverse=True)
    bias = np.asarray(checkpoint.model.state_dict()["0.bias"])
    for unit in first["units"]:
        assert np.shape(unit["map"]) == (28, 28)
        assert np.sum(unit["map"]) + bias[unit["unit"]] == pytest.approx(unit["value"], abs=1e-3)


class Pooled(nn.Module):
    """A layer behind a pool, which is given its input by name."""

    def __init__(self, layer: nn.Module, features: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.first = layer
        self.last = nn.Linear(features, 10, rng=0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        x = self.first(input=x)
        return self.last(x.reshape(len(x), -1))


class Scaled(nn.Module):
    """A layer of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.ones(1, np.float32))

    def forward(self, input: Tensor) -> Tensor:
        return input * self.scale


def test_a_convolution_behind_something_else_is_shown_what_it_gets(uncompiled: None) -> None:
    model = Pooled(nn.Conv2d(1, 3, 1, rng=0), 48)
    first = explained(model)["first_layer"]
    assert (first["module"], len(first["units"]), np.shape(first["units"][0]["map"])) == ("first", 3, (4, 4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pooled(Scaled(), 16),
        lambda: Pooled(nn.Flatten(), 16),
        lambda: nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)),
    ],
    ids=["own layer", "linear behind a pool", "norm"],
)
def test_another_first_layer_is_not_shown(uncompiled: None, make: Callable[[], nn.Module]) -> None:
    assert explained(make())["first_layer"] is None


def test_a_model_that_ignores_the_picture_has_no_slope(uncompiled: None) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(np.arange(10, dtype=np.float32))

        def forward(self, x: Tensor) -> Tensor:
            return np.zeros((len(x), 1), np.float32) + self.bias

    assert not np.any(explained(Constant())["saliency"])


def explained(model: nn.Module) -> dict[str, Any]:
    recogniser = Recogniser(with_model(model))
    return recogniser.explain(recogniser.prepare(slanted()), 2)


# ---- answers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explain", [False, True])
def test_an_answer_is_plain_data(uncompiled: None, explain: bool) -> None:
    recogniser = Recogniser(untrained("cnn"))
    prepared = [recogniser.prepare(slanted(slant)) for slant in (0, 1, -1)]
    answer = recogniser.answer(prepared, explain=explain)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert answer["model"] == {"name": "cnn", "version": recogniser.version}
    for one, found in zip(prepared, answer["predictions"], strict=True):
        assert found["class"] == answer["classes"][found["index"]]
        assert found["probability"] == max(found["probabilities"]) == found["probabilities"][found["index"]]
        assert found["sure"] is (found["probability"] >= 0.7)
        np.testing.assert_array_equal(found["image"], one.image)
        np.testing.assert_array_equal(found["placement"], one.placement)
        assert ("explanation" in found) is explain


def test_no_pictures_have_no_predictions(uncompiled: None) -> None:
    assert Recogniser(untrained("cnn")).answer([])["predictions"] == []


def test_probabilities_that_are_known_are_taken(uncompiled: None) -> None:
    recogniser = Recogniser(untrained("digits"), threshold=0.6)
    prepared = [recogniser.prepare(slanted())] * 2
    rows = np.eye(10, dtype=np.float32)[[3, 9]] * np.float32(0.61)
    found = recogniser.answer(prepared, rows)["predictions"]
    assert [(one["class"], one["sure"]) for one in found] == [("3", True), ("9", True)]


def test_pictures_are_prepared_as_predict_does(uncompiled: None) -> None:
    dark = Recogniser(untrained("mlp")).prepare(slanted()).image
    np.testing.assert_array_equal(dark, prepare_digit(slanted()))
    checkpoint = untrained("mlp")
    light = Recogniser(replace(checkpoint, origin={"page": "light"})).prepare(slanted()).image
    np.testing.assert_array_equal(light, 255 - dark)
    with pytest.raises(DataError, match="the array: the picture is blank"):
        Recogniser(checkpoint).prepare(np.zeros((9, 9), np.uint8))


def test_threads_do_not_disturb_each_other_nor_the_model() -> None:
    checkpoint = untrained("cnn")
    before = {name: np.array(value) for name, value in checkpoint.model.state_dict().items()}
    recogniser = Recogniser(checkpoint)
    recogniser.warm_up()
    prepared = [recogniser.prepare(slanted(slant)) for slant in (-2, -1, 0, 1, 2)]

    def ask(k: int) -> dict[str, Any]:
        return recogniser.answer([prepared[k % 5]], explain=True)["predictions"][0]

    expected = [ask(k) for k in range(5)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(40)))
    assert found == [expected[k % 5] for k in range(40)]
    assert checkpoint.model.training
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in checkpoint.model.parameters()
    )
    np.testing.assert_equal({n: np.array(v) for n, v in checkpoint.model.state_dict().items()}, before)


@pytest.mark.parametrize("given", ["runs/x", nn.ReLU()], ids=["path", "model"])
@pytest.mark.parametrize("take", [Recogniser, model_version, lambda given: write_page(given, "page")])
def test_what_is_no_checkpoint_is_told_how_to_be_one(take: Callable[[Any], object], given: Any) -> None:
    with pytest.raises(TypeError, match=r"was given; expected a Checkpoint.* load_checkpoint\("):
        take(given)
