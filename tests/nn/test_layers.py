from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, no_grad

F = nn.functional


# ---- Linear ----------------------------------------------------------------------------------------------


def test_linear_is_a_product_and_a_sum() -> None:
    layer = nn.Linear(2, 3)
    layer.weight.data[...] = [[1, 0], [0, 1], [1, 1]]
    layer.bias.data[...] = [0, 0, 10]
    np.testing.assert_array_equal(layer(np.array([[1, 2]], np.float32)).data, [[1, 2, 13]])


def test_the_weight_is_stored_in_fortran_order() -> None:
    layer = nn.Linear(5, 3)
    assert layer.weight.shape == (3, 5)
    assert layer.weight.data.flags.f_contiguous
    layer.reset_parameters()
    assert layer.weight.data.flags.f_contiguous


def test_the_initial_values_are_pytorchs() -> None:
    layer = nn.Linear(400, 300, dtype=np.float64)
    for parameter in layer.parameters():
        assert np.abs(parameter.data).max() <= 1 / 20
        np.testing.assert_allclose(parameter.data.std(), 1 / 20 / np.sqrt(3), rtol=0.05)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (0, 3)])
def test_linear_takes_any_number_of_leading_axes(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    layer = nn.Linear(3, 2, dtype=np.float64)
    x = rng.standard_normal(shape)
    out = layer(x)
    np.testing.assert_allclose(out.data, x @ layer.weight.data.T + layer.bias.data)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(2, 3),
        nn.BatchNorm1d(2),
        nn.BatchNorm1d(2).eval(),
        nn.LayerNorm(2),
        nn.Dropout(1.0),
        nn.Flatten(),
        nn.Unflatten(1, (2, 1)),
        nn.GELU(),
        nn.ReLU(),
        nn.Softmax(1),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:.*computes in float64")
def test_a_nested_list_is_taken_as_an_array(layer: nn.Module) -> None:
    rows = [[1.0, 2.0], [3.0, 5.0]]
    with no_grad():
        np.testing.assert_array_equal(layer(rows), layer(np.array(rows)), strict=True)


@pytest.mark.parametrize(
    ("given", "parameters", "expected"),
    [("f4", "f4", "f4"), ("f8", "f4", "f8"), ("f4", "f8", "f8"), ("u1", "f4", "f4"), ("f2", "f4", "f4")],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: nn.Linear(3, 3, dtype=dtype),
        lambda dtype: nn.BatchNorm1d(3, dtype=dtype),
        lambda dtype: nn.BatchNorm1d(3, dtype=dtype).eval(),
        lambda dtype: nn.LayerNorm(3, dtype=dtype),
    ],
    ids=["linear", "batch_norm", "batch_norm_eval", "layer_norm"],
)
@pytest.mark.filterwarnings("ignore:.*computes in float64")
def test_dtypes_are_promoted_as_numpy_does(make, given: str, parameters: str, expected: str) -> None:
    layer = make(np.dtype(parameters))
    out = layer(np.arange(12).reshape(4, 3).astype(given))
    assert out.dtype == expected
    out.sum().backward()
    assert {parameter.grad.dtype for parameter in layer.parameters()} == {np.dtype(parameters)}


def test_a_length_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"Linear\(0, 2\)"):
        nn.Linear(0, 2)


@pytest.mark.parametrize(
    ("shape", "bias", "message"),
    [
        ((4, 2), 2, "Linear: input of shape (4, 2) does not fit weight of shape (2, 3); expected (..., 3)"),
        ((), 2, "Linear: input of shape () does not fit weight of shape (2, 3); expected (..., 3)"),
        ((4, 3), 1, "Linear: bias of shape (1,) does not fit weight of shape (2, 3); expected (2,)"),
        (
            (4, 1, 3, 1),
            2,
            "Linear: input of shape (4, 1, 3, 1) does not fit weight of shape (2, 3); expected (..., 3); put "
            "nn.Flatten() before it",
        ),
    ],
    ids=["input", "scalar", "bias", "images"],
)
def test_a_wrong_shape_is_said_with_what_is_expected(shape: tuple[int, ...], bias: int, message: str) -> None:
    layer = nn.Linear(3, 2)
    layer.bias = nn.Parameter(np.zeros(bias, np.float32))
    with pytest.raises(ValueError, match="fit") as caught:
        layer(np.ones(shape, np.float32))
    assert str(caught.value) == message


def test_a_replaced_weight_is_named_with_the_shape_that_the_layer_was_made_for() -> None:
    layer = nn.Linear(3, 2)
    layer.weight = nn.Parameter(np.ones((3, 2), np.float32))
    with pytest.raises(
        ValueError, match=r"bias .* expected \(3,\) \(the layer was made with a weight of shape \(2, 3\)"
    ):
        layer(np.ones((1, 2), np.float32))
    layer.weight = nn.Parameter(np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"weight of shape \(3,\) is here; expected two axes, as \(2, 3\)"):
        layer(np.ones((1, 2), np.float32))


@pytest.mark.parametrize("bias", [(1,), (1, 2), (3,)])
def test_a_wrong_bias_is_not_called_a_wrong_input(bias: tuple[int, ...]) -> None:
    layer = nn.Linear(3, 2)
    layer.bias = nn.Parameter(np.zeros(bias, np.float32))
    for x in (np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)):
        with pytest.raises(ValueError, match=r"bias of shape .* does not fit"):
            layer(x)


@pytest.mark.parametrize(
    "given", [[[1.0, 2.0, 3.0], [1.0]], np.array([["a", "b", "c"]])], ids=["ragged", "text"]
)
def test_an_error_of_something_else_keeps_its_words(given: object) -> None:
    with pytest.raises(ValueError, match=r"inhomogeneous|data type"):
        nn.Linear(3, 2)(given)


def test_without_bias_there_is_none() -> None:
    layer = nn.Linear(3, 2, bias=False)
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]


# ---- LayerNorm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("normalized", "axes"), [(4, -1), ((4,), -1), ([3, 4], (-2, -1)), ((2, 3, 4), None)])
def test_each_sample_has_mean_0_and_variance_1(normalized, axes, rng) -> None:
    x = rng.standard_normal((2, 3, 4)) * 5 + 1
    out = nn.LayerNorm(normalized, eps=0.0, dtype=np.float64)(x).data
    assert out.shape == x.shape
    np.testing.assert_allclose(out.mean(axis=axes), 0, atol=1e-12)
    np.testing.assert_allclose(out.var(axis=axes), 1)


def test_layer_norm_scales_and_shifts_each_element(rng) -> None:
    layer = nn.LayerNorm((2, 3), eps=0.0, dtype=np.float64)
    layer.weight.data[...], layer.bias.data[...] = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    x = rng.standard_normal((5, 2, 3))
    plain = (x - x.mean(axis=(1, 2), keepdims=True)) / x.std(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(layer(x).data, plain * layer.weight.data + layer.bias.data)


def test_layer_norm_has_pytorchs_parameters() -> None:
    assert list(nn.LayerNorm(3).state_dict()) == ["weight", "bias"]
    assert list(nn.LayerNorm(3, bias=False).state_dict()) == ["weight"]
    assert list(nn.LayerNorm(3, elementwise_affine=False).state_dict()) == []


@pytest.mark.filterwarnings("ignore:.*computes in float64")
def test_layer_norm_takes_one_sample(rng) -> None:
    x = rng.standard_normal((1, 3))
    np.testing.assert_allclose(nn.LayerNorm(3)(x).data[0], nn.LayerNorm(3)(x[0]).data)


def test_a_wrong_last_axis_says_what_is_expected() -> None:
    with pytest.raises(ValueError, match=r"0 \(LayerNorm\): input of shape \(2, 4\) .* expected .* \(3,\)"):
        nn.Sequential(nn.LayerNorm(3))(np.ones((2, 4)))
    with pytest.raises(ValueError, match="positive"):
        nn.LayerNorm(())


# ---- second derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval(), nn.LayerNorm((3,)), nn.LayerNorm((5, 3))],
    ids=["batch_norm", "batch_norm_eval", "layer_norm", "layer_norm_2"],
)
def test_a_gradient_can_be_differentiated(layer: nn.Module, rng, central_differences) -> None:
    layer.astype(np.float64)
    values, w, v = (rng.standard_normal((5, 3)) for _ in range(3))

    def slope(create_graph: bool) -> Tensor:
        x = Tensor(values, requires_grad=True)
        np.sum(layer(x) ** 2 * w).backward(create_graph=True)
        inner = np.sum(x.grad * v)
        if create_graph:
            x.grad = None
            inner.backward()
            return x.grad
        return inner

    numeric = central_differences(lambda: float(slope(False)), values)
    np.testing.assert_allclose(slope(True).data, numeric, rtol=1e-5, atol=1e-6)


# ---- Dropout ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_keeps_the_mean_and_the_dtype(dtype: type) -> None:
    out = nn.Dropout(0.2)(np.ones((200, 200), dtype))
    assert out.dtype == dtype
    assert set(np.unique(out)) == {dtype(0), dtype(1) * dtype(1 / 0.8)}
    assert abs(out.mean() - 1) < 0.01


def test_the_gradient_passes_where_the_value_did() -> None:
    x = Tensor(np.ones((10, 10)), requires_grad=True)
    out = nn.Dropout(0.5)(x)
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.data, out.data)


def test_equal_seeds_drop_equal_elements() -> None:
    x = np.ones(100)
    first, second = nn.Dropout(0.5, rng=3), nn.Dropout(0.5, rng=3)
    for _ in range(2):
        np.testing.assert_array_equal(first(x), second(x))
    assert not np.array_equal(nn.Dropout(0.5, rng=3)(x), nn.Dropout(0.5, rng=4)(x))


def test_two_layers_of_one_model_drop_different_elements() -> None:
    nn.manual_seed(1)
    first, second = nn.Dropout(), nn.Dropout()
    assert not np.array_equal(first(np.ones(100)), second(np.ones(100)))
    nn.manual_seed(1)
    again = nn.Dropout()
    first.rng = nn.init.generator(np.random.SeedSequence(1).spawn(1)[0])
    np.testing.assert_array_equal(again(np.ones(100)), first(np.ones(100)))


def test_dropout_does_nothing_in_evaluation_or_with_p_0() -> None:
    x = Tensor(np.ones(5))
    assert nn.Dropout(0.9).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x


def test_dropout_of_everything_is_zero() -> None:
    np.testing.assert_array_equal(nn.Dropout(1.0)(np.ones(5)), np.zeros(5))


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_p_is_a_probability(p: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        nn.Dropout(p)
    with pytest.raises(ValueError, match="probability"):
        F.dropout(np.ones(1), p)


# ---- Dropout2d -------------------------------------------------------------------------------------------


def test_dropout_of_channels_drops_all_their_pixels_or_none() -> None:
    out = nn.Dropout2d(0.25, rng=0)(np.ones((50, 40, 3, 2), np.float32))
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, np.broadcast_to(out[:, :, :1, :1], out.shape))
    assert set(np.unique(out)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(out.mean() - 1) < 0.03


def test_dropout_of_channels_does_nothing_in_evaluation() -> None:
    x = Tensor(np.ones((2, 3, 4, 4)))
    assert nn.Dropout2d(0.9).eval()(x) is x


def test_what_has_no_channels_is_refused_by_dropout_of_channels() -> None:
    with pytest.raises(ValueError, match=r"Dropout2d: input of shape \(4, 3\) .* expected \(N, C, H, W\)"):
        nn.Dropout2d()(np.ones((4, 3)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 2), nn.ConvTranspose2d(1, 2, 2), nn.BatchNorm2d(1), nn.MaxPool2d(2), nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1), nn.Dropout2d(1.0), nn.GroupNorm(1, 1), nn.Upsample(scale_factor=2),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*computes in float64")
def test_a_nested_list_is_taken_as_images(layer: nn.Module) -> None:
    images = [[[[1.0, 2.0], [3.0, 5.0]]]]
    with no_grad():
        np.testing.assert_array_equal(layer(images), layer(np.array(images)), strict=True)


# ---- Flatten, Unflatten, Identity ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dim", "lengths", "expected"),
    [
        (1, (3, 4), (2, 3, 4, 5)),
        (1, (3, -1), (2, 3, 4, 5)),
        (-1, [5, 1], (2, 12, 5, 1)),
        (0, (-1,), (2, 12, 5)),
    ],
)
def test_unflatten_splits_an_axis(dim: int, lengths: Any, expected: tuple[int, ...]) -> None:
    x = np.arange(120).reshape(2, 12, 5)
    np.testing.assert_array_equal(nn.Unflatten(dim, lengths)(x), x.reshape(expected))


def test_unflatten_says_what_it_cannot_split() -> None:
    for lengths in ((5, 3), (5, -1), (0, -1)):
        with pytest.raises(ValueError, match=r"input of shape \(2, 12\) has 12 values along axis 1"):
            nn.Unflatten(1, lengths)(np.ones((2, 12)))
    for lengths in ((), (-1, -1), (-2, 3)):
        with pytest.raises(ValueError, match="one may be -1"):
            nn.Unflatten(1, lengths)
    with pytest.raises(TypeError, match="expected integers"):
        nn.Unflatten(1, (2.0, 6))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ((1, -1), (2, 60)),
        ((0, -1), (120,)),
        ((1, 2), (2, 12, 5)),
        ((-2, -1), (2, 3, 20)),
        ((2, 2), (2, 3, 4, 5)),
    ],
)
def test_flatten_joins_axes(dims: tuple[int, int], expected: tuple[int, ...]) -> None:
    x = np.arange(120).reshape(2, 3, 4, 5)
    out = nn.Flatten(*dims)(x)
    np.testing.assert_array_equal(out, x.reshape(expected))


def test_flatten_of_an_empty_batch_keeps_the_features() -> None:
    assert nn.Flatten()(np.empty((0, 8, 8))).shape == (0, 64)


def test_flatten_of_a_scalar_has_one_axis() -> None:
    assert F.flatten(np.array(3.0)).shape == (1,)


def test_axes_that_do_not_exist_or_are_in_the_wrong_order_are_errors_of_flatten() -> None:
    with pytest.raises(np.exceptions.AxisError):
        nn.Flatten(1, 4)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="comes after"):
        nn.Flatten(2, 1)(np.ones((2, 3, 4)))


def test_identity_returns_its_input() -> None:
    x = object()
    assert nn.Identity(54, unused=True)(x) is x


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.Linear(3.5, 2), r"Linear\(3.5, 2\) was asked for; expected integers"),  # type: ignore[arg-type]
        (lambda: nn.Linear(3, 2.0), r"Linear\(3, 2.0\)"),  # type: ignore[arg-type]
        (lambda: nn.Linear("3", 2), r"Linear\('3', 2\)"),  # type: ignore[arg-type]
        (lambda: nn.Linear(True, 2), r"Linear\(True, 2\)"),
        (lambda: nn.BatchNorm1d(3.5), r"BatchNorm1d\(3.5\)"),  # type: ignore[arg-type]
        (lambda: nn.Embedding(3.5, 2), r"Embedding\(3.5, 2\)"),  # type: ignore[arg-type]
        (lambda: nn.LayerNorm(3.5), r"LayerNorm\(3.5\)"),  # type: ignore[arg-type]
        (lambda: nn.LayerNorm((2, 3.5)), r"LayerNorm\(\(2, 3.5\)\)"),  # type: ignore[arg-type]
        (lambda: nn.RMSNorm(3.5), r"RMSNorm\(3.5\)"),  # type: ignore[arg-type]
        (lambda: nn.GroupNorm(2.0, 4), r"GroupNorm\(2.0, 4\)"),  # type: ignore[arg-type]
    ],
)
def test_a_length_that_is_no_integer_is_an_error(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        make()


def test_lengths_may_be_numpys_integers() -> None:
    three = np.int64(3)
    assert nn.Linear(three, three)(np.ones((1, 3), np.float32)).shape == (1, 3)  # type: ignore[arg-type]
    assert nn.LayerNorm(three).normalized_shape == (3,)  # type: ignore[arg-type]
