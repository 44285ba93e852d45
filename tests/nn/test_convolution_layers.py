"""Conv1d, Conv2d, ConvTranspose2d: shapes, initial values, and what they say when something does not fit.

Their values and gradients are compared with PyTorch in `test_peers` and `test_reference`.
"""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn


def images(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def correlation(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the convolution as its definition, pixel by pixel."""
    height, width = (x.shape[i] - weight.shape[i] + 1 for i in (2, 3))
    out = np.empty((len(x), len(weight), height, width))
    for i, j in np.ndindex(height, width):
        window = x[:, :, i : i + weight.shape[2], j : j + weight.shape[3]]
        out[:, :, i, j] = np.tensordot(window, weight, ([1, 2, 3], [1, 2, 3]))
    return out


def test_a_convolution_is_what_its_definition_says(rng) -> None:
    layer = nn.Conv2d(3, 4, (2, 3), dtype=np.float64)
    x = rng.standard_normal((2, 3, 5, 6))
    expected = correlation(x, layer.weight.data) + layer.bias.data[:, None, None]
    np.testing.assert_allclose(layer(x).data, expected)


def test_a_convolution_of_sequences_is_one_of_images_of_one_row(rng) -> None:
    layer, of_images = nn.Conv1d(3, 4, 3, padding=1), nn.Conv2d(3, 4, (1, 3), padding=(0, 1))
    of_images.load_state_dict({"weight": layer.weight.data[:, :, None], "bias": layer.bias})
    x = rng.standard_normal((2, 3, 7), dtype=np.float32)
    np.testing.assert_array_equal(layer(x).data, of_images(x[:, :, None]).data[:, :, 0])


def test_a_transposed_convolution_is_the_transpose(rng) -> None:
    options: dict[str, Any] = {"stride": 2, "padding": 1, "bias": False, "dtype": np.float64}
    layer, back = nn.Conv2d(3, 4, 3, **options), nn.ConvTranspose2d(4, 3, 3, **options)
    back.weight.data[...] = layer.weight.data
    x, y = rng.standard_normal((2, 3, 7, 5)), rng.standard_normal((2, 4, 4, 3))
    np.testing.assert_allclose(np.sum(layer(x).data * y), np.sum(x * back(y).data))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(3, 40, 5, dtype=np.float64),
        nn.Conv2d(4, 32, (3, 5), dtype=np.float64),
        nn.Conv2d(16, 64, 3, groups=4, dtype=np.float64),
        nn.ConvTranspose2d(40, 6, 4, groups=2, dtype=np.float64),
    ],
    ids=repr,
)
def test_the_initial_values_are_pytorchs(layer: Any) -> None:
    fan_in = np.prod(layer.weight.shape[1:])  # also of the transposed one, as in PyTorch
    bound = 1 / np.sqrt(fan_in)
    np.testing.assert_allclose(layer.weight.data.std(), bound / np.sqrt(3), rtol=0.05)
    for parameter in layer.parameters():
        assert bound * (1 - 10 / parameter.size) < np.abs(parameter.data).max() <= bound


def test_equal_seeds_give_equal_values() -> None:
    np.testing.assert_equal(
        nn.Conv2d(2, 3, 3, rng=5).state_dict(), nn.Conv2d(2, 3, 3, rng=np.random.default_rng(5)).state_dict()
    )


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (5, 6)),
        ({"padding": "valid"}, (5, 6)),
        ({"padding": "same"}, (7, 8)),
        ({"padding": 1, "stride": 2}, (4, 4)),
        ({"padding": ((2, 0), (1, 3))}, (7, 10)),
        ({"padding": ((2, 0), (1, 3)), "padding_mode": "replicate"}, (7, 10)),
        ({"dilation": (1, 3)}, (5, 2)),
    ],
    ids=str,
)
def test_the_size_of_the_output(options: dict[str, Any], size: tuple[int, int]) -> None:
    layer = nn.Conv2d(2, 4, 3, **options)
    assert layer(images(3, 2, 7, 8)).shape == (3, 4, *size)
    assert layer(images(2, 7, 8)).shape == (4, *size)  # one image without the axis of the batch


def test_padding_of_each_side_is_where_it_says() -> None:
    layer = nn.Conv2d(1, 1, 1, padding=((1, 0), (0, 2)), bias=False)
    layer.weight.data[...] = 1
    np.testing.assert_array_equal(layer(images(1, 1, 1, 2)).data[0, 0], [[0, 0, 0, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize("size", [(7, 9), (8, 10)])
def test_the_size_of_a_transposed_output_can_be_asked_for(size: tuple[int, int]) -> None:
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    assert layer(images(5, 2, 4, 5)).shape == (5, 3, 7, 9)
    assert layer(images(5, 2, 4, 5), output_size=size).shape == (5, 3, *size)


def test_a_transposed_size_that_cannot_be_is_refused_with_those_that_can() -> None:
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    with pytest.raises(ValueError, match=r"output_size=\(9, 9\) .* expected from \(7, 9\) to \(8, 10\)"):
        layer(images(5, 2, 4, 5), output_size=9)


# ---- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (
            nn.Conv2d(1, 4, 3),
            (8, 28, 28),
            "input of shape (8, 28, 28) has 3 axes; expected (N, 1, H, W). The axis of the channels is "
            "missing: write x[:, None]",
        ),
        (nn.Conv2d(3, 4, 3), (28, 28), "input of shape (28, 28) has 2 axes; expected (N, 3, H, W)"),
        (
            nn.Conv2d(3, 4, 3),
            (8, 2, 5, 5),
            "input of shape (8, 2, 5, 5) has 2 channels; expected (N, 3, H, W)",
        ),
        (
            nn.Conv2d(3, 4, 3),
            (8, 5, 6, 3),
            "input of shape (8, 5, 6, 3) has 5 channels; expected (N, 3, H, W). Channels come before H, W: "
            "write x.transpose(0, 3, 1, 2)",
        ),
        (
            nn.Conv2d(3, 4, 5, stride=2),
            (8, 3, 4, 28),
            "input of shape (8, 3, 4, 28) is too small for kernel_size=(5, 5): the output would be (8, 4, 0, "
            "12); expected larger images, a smaller kernel or more padding",
        ),
        (
            nn.Conv2d(3, 4, 5),
            (3, 4, 28),
            "input of shape (1, 3, 4, 28) is too small for kernel_size=(5, 5): the output would be (1, 4, 0, "
            "24); expected larger images, a smaller kernel or more padding",
        ),
        (
            nn.Conv1d(3, 4, 5, dilation=2),
            (8, 3, 8),
            "input of shape (8, 3, 8) is too small for kernel_size=(5,): the output would be (8, 4, 0); "
            "expected larger images, a smaller kernel or more padding",
        ),
        (nn.Conv1d(3, 4, 5), (8, 2, 9), "input of shape (8, 2, 9) has 2 channels; expected (N, 3, L)"),
        (
            nn.ConvTranspose2d(3, 4, 5),
            (8, 2, 9, 9),
            "input of shape (8, 2, 9, 9) has 2 channels; expected (N, 3, H, W)",
        ),
        (
            nn.ConvTranspose2d(3, 4, 2, padding=1),
            (8, 3, 1, 9),
            "input of shape (8, 3, 1, 9) is too small for kernel_size=(2, 2): the output would be (8, 4, 0, "
            "8); expected larger images, a smaller kernel or more padding",
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else "",
)
def test_a_wrong_shape_is_said_with_what_is_expected(
    layer: Any, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        layer(images(*shape))
    assert str(caught.value) == f"{type(layer).__name__}: {message}"


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_so_it_is_with_each_kind_of_padding(mode: str) -> None:
    with pytest.raises(ValueError, match=r"has 2 channels; expected \(N, 3, H, W\)"):
        nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode)(images(8, 2, 5, 5))


def test_a_model_names_the_layer_in_which_an_image_became_too_small() -> None:
    features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(4, 8, 5))
    model = nn.Sequential(nn.ModuleDict({"features": features})["features"], nn.Flatten())
    expected = r"0\.3 \(Conv2d\): input of shape \(2, 4, 3, 3\) is too small .* would be \(2, 8, -1, -1\)"
    with pytest.raises(ValueError, match=expected):
        model(images(2, 1, 8, 8))


def test_a_weight_or_bias_that_was_replaced_is_named() -> None:
    layer = nn.Conv2d(3, 4, 3)
    layer.bias = nn.Parameter(np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=r"bias of shape \(1,\) is here; expected \(4,\)"):
        layer(images(2, 3, 5, 5))
    layer.weight = nn.Parameter(np.zeros((4, 3, 3), np.float32))
    with pytest.raises(ValueError, match=r"weight of shape \(4, 3, 3\) is here; .* \(4, 3, 3, 3\)"):
        layer(images(2, 3, 5, 5))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Conv2d(0, 4, 3), ValueError, r"Conv2d\(0, 4, 3\) .* positive numbers of channels"),
        (lambda: nn.Conv2d(1.5, 4, 3), TypeError, r"Conv2d\(1\.5, 4, 3\) .* integers"),
        (lambda: nn.Conv2d(1, 4, 0), ValueError, "kernel_size=0 .* one positive integer, or 2 of them"),
        (lambda: nn.Conv2d(1, 4, (3, 3, 3)), ValueError, r"kernel_size=\(3, 3, 3\) .* or 2 of them"),
        (lambda: nn.Conv1d(1, 4, (3, 3)), ValueError, r"kernel_size=\(3, 3\) .* one positive integer$"),
        (lambda: nn.Conv2d(1, 4, "3"), TypeError, "kernel_size='3' .* integers"),
        (lambda: nn.Conv2d(1, 4, 3, stride=0), ValueError, "stride=0 .* positive"),
        (lambda: nn.Conv2d(1, 4, 3, padding=-1), ValueError, "padding=-1 .* from 0 on"),
        (lambda: nn.Conv2d(1, 4, 3, padding=((1, 2), (3,))), ValueError, r"\(before, behind\), .* H and W"),
        (lambda: nn.Conv2d(1, 4, 3, padding="some"), ValueError, "padding='some' .* 'same', 'valid'"),
        (lambda: nn.Conv2d(1, 4, 3, 2, "same"), ValueError, "padding='same' .* stride"),
        (lambda: nn.Conv2d(4, 4, 3, groups=3), ValueError, "groups=3; expected .* divides the channels"),
        (lambda: nn.Conv2d(1, 4, 3, padding_mode="mirror"), ValueError, "padding_mode='mirror'; .*'reflect'"),
        (lambda: nn.ConvTranspose2d(1, 4, 3, padding="same"), ValueError, "padding='same'; .* pixels"),
        (
            lambda: nn.ConvTranspose2d(1, 4, 3, padding_mode="reflect"),
            ValueError,
            "padding_mode='reflect'; .* pixels",
        ),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused_at_once(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
