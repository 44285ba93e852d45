"""BatchNorm1d and BatchNorm2d: statistics, evaluation, errors. `test_gradients` checks their gradients."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, no_grad

F = nn.functional


def layer_for(shape: tuple[int, ...], **options: Any) -> Any:
    """Return a batch norm of three channels for inputs of a shape."""
    return (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(3, **options)


def channels_last(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0], x.shape[1], -1).transpose(0, 2, 1).reshape(-1, x.shape[1])


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (1, 3, 5), (2, 3, 4, 5), (1, 3, 2, 1)])
def test_each_channel_has_mean_0_and_variance_1_in_training(shape: tuple[int, ...], rng) -> None:
    x = rng.standard_normal(shape) * 10 + 3
    out = layer_for(shape, eps=0.0, dtype=np.float64)(x).data
    assert out.shape == shape
    rows = channels_last(out)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(rows.var(axis=0), 1)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_the_running_statistics_move_by_the_momentum(shape: tuple[int, ...], rng) -> None:
    layer = layer_for(shape, momentum=0.25, dtype=np.float64)
    mean, var = np.zeros(3), np.ones(3)
    for count in range(1, 4):
        x = rng.standard_normal(shape)
        layer(x)
        mean = 0.75 * mean + 0.25 * channels_last(x).mean(axis=0)
        var = 0.75 * var + 0.25 * channels_last(x).var(axis=0, ddof=1)
        np.testing.assert_allclose(layer.running_mean, mean)
        np.testing.assert_allclose(layer.running_var, var)
        assert layer.num_batches_tracked == count


def test_without_momentum_they_are_means_over_all_batches(rng) -> None:
    layer = nn.BatchNorm1d(3, momentum=None, dtype=np.float64)
    batches = rng.standard_normal((5, 8, 3))
    for batch in batches:
        layer(batch)
    np.testing.assert_allclose(layer.running_mean, batches.mean(axis=(0, 1)))
    np.testing.assert_allclose(layer.running_var, batches.var(axis=1, ddof=1).mean(axis=0))


@pytest.mark.parametrize("shape", [(6, 3), (1, 3), (2, 3, 4), (0, 3), (2, 3, 4, 5), (0, 3, 4, 5)])
def test_evaluation_uses_the_running_statistics(shape: tuple[int, ...], rng) -> None:
    layer = layer_for(shape, dtype=np.float64).eval()
    layer.running_mean[...], layer.running_var[...] = rng.standard_normal(3), rng.uniform(1, 2, 3)
    layer.weight.data[...], layer.bias.data[...] = rng.standard_normal(3), rng.standard_normal(3)
    x = rng.standard_normal(shape)
    mean, var, weight, bias = (
        v.reshape(3, *(1,) * (len(shape) - 2))
        for v in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data)
    )
    np.testing.assert_allclose(layer(x).data, (x - mean) / np.sqrt(var + 1e-5) * weight + bias)
    assert layer.num_batches_tracked == 0


def test_training_after_evaluation_does_not_spoil_the_gradient(rng) -> None:
    layer = nn.BatchNorm1d(3, dtype=np.float64).eval()
    x = rng.standard_normal((4, 3))
    expected = x.sum(axis=0) / np.sqrt(1 + 1e-5)
    out = layer(x).sum()
    layer.train()(x + 100)  # moves the running statistics before the walk back
    out.backward()
    np.testing.assert_allclose(layer.weight.grad.data, expected)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3), r"more than one value a channel; got input of shape \(1, 3\)\..*drop_last=True"),
        ((1, 3, 1), r"more than one value a channel; got input of shape \(1, 3, 1\)\..*drop_last=True"),
        ((0, 3), r"in training was given an empty batch: input of shape \(0, 3\)"),
        ((0, 3, 2), r"in training was given an empty batch: input of shape \(0, 3, 2\)"),
        ((3, 3, 0), r"in training was given an empty last axis: input of shape \(3, 3, 0\)"),
        ((1, 3, 1, 1), r"more than one value a channel; got input of shape \(1, 3, 1, 1\)\..*drop_last=True"),
        ((0, 3, 2, 2), r"in training was given an empty batch: input of shape \(0, 3, 2, 2\)"),
        ((2, 3, 2, 0), r"in training was given images without pixels: input of shape \(2, 3, 2, 0\)"),
    ],
)
def test_too_few_values_in_training_are_an_error_that_says_which(
    shape: tuple[int, ...], message: str
) -> None:
    layer = layer_for(shape)
    with pytest.raises(ValueError, match=message):
        layer(np.ones(shape, np.float32))
    assert layer.num_batches_tracked == 0
    assert layer.eval()(np.ones(shape, np.float32)).shape == shape


@pytest.mark.parametrize(
    ("shape", "values"),
    [((1, 3), "one value"), ((0, 3), "no values"), ((2, 3, 0), "no values"), ((1, 3, 1, 1), "one value")],
)
def test_an_evaluation_by_the_batch_says_that_it_is_one(shape: tuple[int, ...], values: str) -> None:
    layer = layer_for(shape, track_running_stats=False).eval()
    with pytest.raises(ValueError, match=f"has {values} a channel, and without running statistics") as caught:
        layer(np.ones(shape, np.float32))
    assert ".eval()" not in str(caught.value)
    layer(np.ones((2, *shape[1:2], *np.maximum(shape[2:], 1)), np.float32))


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("training", [True, False])
def test_wrong_running_statistics_are_named_and_nothing_moves(name: str, length: int, training: bool) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU()).train(training)
    setattr(model[1], name, np.ones(length, np.float32))
    before = model.state_dict()
    with pytest.raises(ValueError, match=rf"{name} of shape \({length},\) was given; expected \(3,\)"):
        model(np.ones((2, 3), np.float32))
    np.testing.assert_equal(model.state_dict(), before)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (4, 3, 5), (4, 2, 3, 3), (4, 5, 5, 3), (1, 3, 2, 2, 2)])
def test_a_wrong_shape_of_images_says_what_is_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"1 \(BatchNorm2d\): input of shape .* expected \(N, 3, H, W\)"):
        nn.Sequential(nn.Identity(), nn.BatchNorm2d(3))(np.ones(shape, np.float32))


@pytest.mark.parametrize("shape", [(3,), (4, 2), (4, 2, 3), (1, 3, 2, 2)])
def test_a_wrong_shape_says_what_is_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"BatchNorm1d: input of shape .* expected \(N, 3\) or \(N, 3, L\)"):
        nn.BatchNorm1d(3)(np.ones(shape, np.float32))


def test_statistics_are_not_recorded_where_they_are_not_tracked(rng) -> None:
    layer = nn.BatchNorm1d(3, track_running_stats=False, affine=False)
    assert layer.state_dict() == {}
    x = rng.standard_normal((5, 3))
    np.testing.assert_allclose(layer.eval()(x), layer.train()(x))
    layer.reset_parameters()


@pytest.mark.filterwarnings("ignore:.*computes in float64")
def test_integers_are_normalised_as_floats() -> None:
    out = nn.BatchNorm1d(1, affine=False, eps=0.0)(np.array([[1], [3]]))
    np.testing.assert_allclose(out, [[-1], [1]])


def test_reset_starts_anew(rng) -> None:
    layer = nn.BatchNorm1d(3)
    layer(rng.standard_normal((5, 3)).astype(np.float32))
    layer.weight.data[...] = 7
    layer.reset_parameters()
    fresh = nn.BatchNorm1d(3).state_dict()
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, fresh[name])


def test_no_grad_still_moves_the_running_statistics() -> None:
    layer = nn.BatchNorm1d(1)
    with no_grad():
        layer(np.array([[1], [3]], np.float32))
    np.testing.assert_allclose(layer.running_mean, [0.2])


def test_evaluation_by_function_needs_running_statistics() -> None:
    with pytest.raises(ValueError, match="running_mean and running_var"):
        F.batch_norm(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"weight of shape \(2,\) was given; expected \(3,\)"):
        F.batch_norm(np.ones((2, 3)), weight=np.ones(2), training=True)
    with pytest.raises(ValueError, match=r"expected \(N, C\)"):
        F.batch_norm(np.ones(3), training=True)


# ---- images ----------------------------------------------------------------------------------------------


def in_both_layouts(images: np.ndarray) -> list[np.ndarray]:
    """Return the same images (N, C, H, W), contiguous and with the channels last in memory."""
    return [images, np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)]


@pytest.mark.parametrize("training", [True, False])
def test_the_layout_in_memory_does_not_matter(training: bool, rng) -> None:
    results = []
    for x in in_both_layouts(rng.standard_normal((4, 3, 5, 6))):
        layer = nn.BatchNorm2d(3, dtype=np.float64).train(training)
        x = Tensor(x, requires_grad=True)
        out = layer(x)
        np.sum(out * np.cos(np.arange(out.size)).reshape(out.shape)).backward()
        results.append([out.data, x.grad.data, layer.weight.grad.data, layer.running_var])
    for contiguous, last in zip(*results, strict=True):
        np.testing.assert_allclose(contiguous, last, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("training", [True, False])
def test_channels_that_lie_last_in_memory_stay_there(training: bool, rng) -> None:
    _, images = in_both_layouts(rng.standard_normal((4, 3, 5, 6), dtype=np.float32))
    out = nn.BatchNorm2d(3).train(training)(images)
    assert out.data.strides == images.strides


def test_images_are_normalised_as_the_rows_of_their_pixels(rng) -> None:
    images = rng.standard_normal((4, 3, 5, 6))
    layer, of_rows = nn.BatchNorm2d(3, dtype=np.float64), nn.BatchNorm1d(3, dtype=np.float64)
    rows = of_rows(images.transpose(0, 2, 3, 1).reshape(-1, 3)).data
    expected = rows.reshape(4, 5, 6, 3).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(layer(images).data, expected)
    np.testing.assert_equal(layer.state_dict(), of_rows.state_dict())
