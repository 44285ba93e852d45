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
        nn.GELU(),
        nn.ReLU(),
        nn.Softmax(1),
    ],
    ids=repr,
)
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
def test_dtypes_are_promoted_as_numpy_does(make, given: str, parameters: str, expected: str) -> None:
    layer = make(np.dtype(parameters))
    out = layer(np.arange(12).reshape(4, 3).astype(given))
    assert out.dtype == expected
    out.sum().backward()
    assert {parameter.grad.dtype for parameter in layer.parameters()} == {np.dtype(parameters)}


def test_a_length_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"Linear\(0, 2\)"):
        nn.Linear(0, 2)


def test_without_bias_there_is_none() -> None:
    layer = nn.Linear(3, 2, bias=False)
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]


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


# ---- Flatten, Identity -----------------------------------------------------------------------------------


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


def test_flatten_refuses_axes_that_do_not_exist_or_are_in_the_wrong_order() -> None:
    with pytest.raises(np.exceptions.AxisError):
        nn.Flatten(1, 4)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="comes after"):
        nn.Flatten(2, 1)(np.ones((2, 3, 4)))


def test_identity_returns_its_input() -> None:
    x = object()
    assert nn.Identity(54, unused=True)(x) is x
