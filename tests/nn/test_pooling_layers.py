"""The pools and Upsample: shapes and errors; `test_peers` and `test_reference` compare the values."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn


def images(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.MaxPool2d(2), (3, 4)),
        (nn.MaxPool2d(2, ceil_mode=True), (4, 4)),
        (nn.MaxPool2d(3, 1, 1), (7, 8)),
        (nn.MaxPool2d((2, 3), dilation=2), (3, 2)),
        (nn.AvgPool2d(2, (1, 2)), (6, 4)),
        (nn.AdaptiveAvgPool2d((2, None)), (2, 8)),
        (nn.AdaptiveAvgPool2d(5), (5, 5)),
        (nn.Upsample(scale_factor=2), (14, 16)),
        (nn.Upsample((3, 20), mode="bilinear"), (3, 20)),
    ],
    ids=repr,
)
def test_the_size_of_the_output(layer: nn.Module, size: tuple[int, int]) -> None:
    assert layer(images(3, 2, 7, 8)).shape == (3, 2, *size)
    if not isinstance(layer, nn.Upsample):  # one image without the axis of the batch, where PyTorch takes it
        assert layer(images(2, 7, 8)).shape == (2, *size)


def test_the_largest_value_gets_the_gradient_and_equal_ones_share_it() -> None:
    x = Tensor(np.array([[[[1.0, 2.0, 3.0, 3.0], [0.0, 0.0, 3.0, 0.0]]]]), requires_grad=True)
    nn.MaxPool2d(2)(x).sum().backward()
    np.testing.assert_allclose(x.grad.data[0, 0], [[0, 1, 1 / 3, 1 / 3], [0, 0, 1 / 3, 0]])


def test_padding_is_never_the_largest() -> None:
    out = nn.MaxPool2d(2, 2, 1)(-1 - images(1, 1, 3, 3))
    np.testing.assert_array_equal(out, [[[[-1, -2], [-4, -5]]]])


def test_an_image_that_is_too_small_is_told_with_the_layer_and_the_size() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(3))
    with pytest.raises(ValueError, match=r"1 \(AvgPool2d\): .* 3 x 3 .* 2 x 3.* output would be 0 x 1"):
        model(images(1, 1, 4, 6))


@pytest.mark.parametrize("layer", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)], ids=repr)
def test_what_is_no_image_is_told(layer: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"input of shape \(4, 6\) .* expected \(N, C, H, W\)"):
        layer(images(4, 6))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.MaxPool2d(0), ValueError, "kernel_size=0"),
        (lambda: nn.MaxPool2d("2"), TypeError, "kernel_size='2'"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "padding=2 .* at most half"),
        (lambda: nn.MaxPool2d(2, dilation=0), ValueError, "dilation=0"),
        (lambda: nn.MaxPool2d(2, return_indices=True), TypeError, "return_indices=True; only the values"),
        (lambda: nn.AvgPool2d(2, stride=0), ValueError, "stride=0"),
        (lambda: nn.AvgPool2d((2, 2, 2)), TypeError, r"kernel_size=\(2, 2, 2\)"),
        (lambda: nn.AdaptiveAvgPool2d(0), ValueError, "output_size"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), TypeError, "output_size"),
    ],
)
def test_an_option_that_cannot_be_is_refused_at_once(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
