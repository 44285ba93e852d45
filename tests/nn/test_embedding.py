import numpy as np
import pytest

from tinygrad_mnist import Tensor, jvp, nn
from tinygrad_mnist.testing import gradcheck

F = nn.functional
TABLE = np.arange(10.0).reshape(5, 2)


@pytest.mark.parametrize(
    "indices", [3, [1, 0], [[0, 4], [2, 2]], np.zeros((2, 0), int), np.uint8([4])], ids=str
)
def test_an_embedding_is_the_rows_of_its_table(indices) -> None:
    out = F.embedding(indices, TABLE)
    np.testing.assert_array_equal(out, TABLE[np.asarray(indices)])
    assert out.shape == (*np.shape(indices), 2)
    np.testing.assert_array_equal(F.embedding(Tensor(np.asarray(indices)), Tensor(TABLE)).data, out)


def test_gradients_of_an_index_that_occurs_twice_add_up() -> None:
    layer = nn.Embedding(5, 2)
    layer(np.array([[1, 1], [4, 1]])).backward(np.ones((2, 2, 2), np.float32))
    np.testing.assert_array_equal(
        layer.weight.grad.data, np.float32([[0, 0], [3, 3], [0, 0], [0, 0], [1, 1]])
    )


@pytest.mark.parametrize("padding_idx", [1, -4])
def test_the_padding_is_a_row_of_zeros_that_gets_no_gradient(padding_idx: int) -> None:
    layer = nn.Embedding(5, 2, padding_idx=padding_idx)
    assert not layer.weight.data[1].any()
    layer(np.array([1, 0, 1])).backward(np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(layer.weight.grad.data[:2], [[1, 1], [0, 0]])
    tangent = jvp(lambda table: F.embedding([1, 0], table, padding_idx), (TABLE,), (TABLE + 1,))[1]
    np.testing.assert_array_equal(tangent, [[0, 0], [1, 2]])


def test_the_padding_of_a_given_table_keeps_its_values() -> None:
    layer = nn.Embedding.from_pretrained(TABLE, freeze=False, padding_idx=1)
    np.testing.assert_array_equal(layer(np.array([1, 2])).data, TABLE[1:3])
    layer.weight.data[...] = 0
    assert TABLE[1, 1] == 3  # the table was copied
    assert layer.weight.requires_grad
    assert not nn.Embedding.from_pretrained(TABLE).weight.requires_grad


def test_an_embedding_passes_the_check_in_both_modes_and_orders() -> None:
    assert gradcheck(lambda table: F.embedding([2, 0, 2], table) ** 2, TABLE, order=2).passed


def test_the_first_table_is_normal_and_seeded() -> None:
    first, second = nn.Embedding(300, 40, rng=0), nn.Embedding(300, 40, rng=0)
    np.testing.assert_array_equal(first.weight.data, second.weight.data)
    assert abs(first.weight.data.mean()) < 0.05
    assert first.weight.data.std() == pytest.approx(1, abs=0.05)
    assert first.weight.dtype == np.float32
    assert nn.Embedding(3, 2, dtype=np.float64).weight.dtype == np.float64


def test_an_embedding_is_trained_and_saved_as_any_layer() -> None:
    model = nn.Sequential(nn.Embedding(5, 2, 0), nn.Linear(2, 3))
    assert list(model.state_dict()) == ["0.weight", "1.weight", "1.bias"]
    assert model(np.array([1, 2])).shape == (2, 3)
    assert repr(nn.Embedding(5, 2, -5)).startswith("Embedding(5, 2, padding_idx=0)")


@pytest.mark.parametrize("indices", [[0.0], [True], [[1.5]]])
def test_what_is_no_integer_is_no_index(indices) -> None:
    with pytest.raises(TypeError, match="expected integers"):
        F.embedding(indices, TABLE)


@pytest.mark.parametrize("index", [-1, 5, -100, 2**40])
def test_an_index_out_of_range_is_named(index: int) -> None:
    with pytest.raises(IndexError, match=f"Embedding: index {index} is not one of the 5 rows 0 to 4"):
        nn.Embedding(5, 2)(np.array([0, index]))


def test_masked_indices_are_refused() -> None:
    with pytest.raises(TypeError, match="masked array"):
        F.embedding(np.ma.masked_array([0, 1], [True, False]), TABLE)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: nn.Embedding(0, 2), ValueError),
        (lambda: nn.Embedding(3, 0), ValueError),
        (lambda: nn.Embedding(3, 2, padding_idx=3), IndexError),
        (lambda: nn.Embedding(3, 2, padding_idx=-4), IndexError),
        (lambda: F.embedding([0], TABLE, 5), IndexError),
        (lambda: F.embedding([0], TABLE[0]), ValueError),
        (lambda: nn.Embedding.from_pretrained([1.0, 2.0]), ValueError),
    ],
)
def test_what_makes_no_table_is_an_error(make, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"was asked for|was given|not one of"):
        make()
