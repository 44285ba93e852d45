"""Arrays of PyTorch and JAX: taken without a copy as NumPy's are, or refused in a sentence."""

import warnings
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, grad, jit, nn, optim
from tinygrad_mnist.engine.other_libraries import is_foreign


@pytest.fixture(scope="module")
def torch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch says when it is imported is not ours
        return pytest.importorskip("torch")


class Foreign:
    """An array of another library, as far as NumPy asks."""

    __module__ = "another_library"

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.dtype, self.shape, self.ndim = "another.float64", self.values.shape, self.values.ndim

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)


class Named(Tensor):
    """A Tensor of a user's own class."""


class Tied(nn.Parameter):
    """A Parameter of a user's own class."""


OURS = [Tensor([1.0]), nn.Parameter([1.0]), Named([1.0]), Tied([1.0])]
NUMPYS = [np.ones(2), np.float64(1.0), np.ma.array([1.0]), np.ones(2).view(np.recarray)]


@pytest.mark.parametrize("value", [*OURS, *NUMPYS, 1.0, [1.0]], ids=lambda value: type(value).__name__)
def test_what_is_numpys_or_ours_is_not_foreign(value: object) -> None:
    assert not is_foreign(value)


def test_an_array_with_the_protocol_of_arrays_is_foreign() -> None:
    assert is_foreign(Foreign([1.0]))
    assert Tensor(Foreign([1.0])).tolist() == [1.0]


# ---- in a compiled function ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: np.sum(x * y),
        lambda x, y: np.sum(y * x),
        lambda x, y: np.sum(x * Tensor(y)),
        lambda x, y: nn.functional.mse_loss(x, y),
        lambda x, y: np.sum(np.stack([x, Tensor(y)])),
        lambda x, y: np.sum(x * float(y.values.sum())),  # a number that no operation sees
    ],
)
@pytest.mark.parametrize("is_argument", [True, False])
def test_a_jitted_function_reads_its_numbers_at_each_call(function: Any, is_argument: bool) -> None:
    pytest.importorskip("llvmlite")
    x, y = Tensor(np.ones(20)), Foreign(np.ones(20))
    compiled = jit(function if is_argument else lambda x: function(x, y))
    with pytest.warns(
        UserWarning, match=r"runs as it is: an array of another_library goes into it.*np\.asarray"
    ):
        first = compiled(x, y) if is_argument else compiled(x)
    np.testing.assert_allclose(first.data, function(x, y).data)
    y.values[...] = 5
    second = compiled(x, y) if is_argument else compiled(x)
    np.testing.assert_allclose(second.data, function(x, y).data)


def test_a_jitted_function_is_compiled_with_a_parameter_of_a_users_class() -> None:
    pytest.importorskip("llvmlite")
    weight = Tied(np.ones(20))
    compiled = jit(lambda x: np.sum(x * weight))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled(np.ones(20)) == 20
    weight.data[...] = 3
    assert compiled(np.ones(20)) == 60


# ---- PyTorch ---------------------------------------------------------------------------------------------


@pytest.mark.peers
def test_a_tensor_of_pytorchs_is_taken_without_a_copy(torch: Any) -> None:
    for tensor in (
        torch.arange(6.0).reshape(2, 3).T,
        torch.tensor(2.5),
        torch.tensor([True]),
        torch.ones(0, 3),
    ):
        t = Tensor(tensor)
        np.testing.assert_array_equal(t.data, tensor.numpy(), strict=True)
        assert not tensor.numel() or t.data.ctypes.data == tensor.data_ptr()
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    assert Tensor(frozen).tolist() == [1, 1]


def refused(torch: Any) -> list[tuple[Any, str]]:
    ones = torch.ones(2)
    return [
        (
            ones.clone().requires_grad_(),
            r"torch\.float32 requires a gradient, which it would lose; give t\.detach\(\)",
        ),
        (torch.nn.Parameter(ones), "requires a gradient"),
        (ones.bfloat16(), r"torch\.bfloat16 has a dtype that NumPy does not have; give t\.float\(\)"),
        (ones.to(torch.float8_e5m2), "float8_e5m2 has a dtype"),
        (torch.eye(2).to_sparse(), r"is sparse; give t\.to_dense\(\)"),
        (torch.eye(2).to_sparse_csr(), "is sparse"),
        (torch.ones(2, dtype=torch.complex64).conj(), r"is conjugated, .*; give t\.real or t\.imag"),
        (torch.ones(2, dtype=torch.complex64).conj().imag, r"is negated .*; give t\.resolve_neg\(\)"),
        (torch.ones(2, dtype=torch.complex64), "complex"),
        (torch.ones(2, device="meta"), "has no values, as it is on the device meta"),
        (torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8), r"is quantised; give t\.dequantize\(\)"),
        (torch.nested.nested_tensor([ones, ones]), "is nested"),
    ]


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")  # PyTorch's, of prototypes
def test_what_cannot_be_taken_is_told(torch: Any) -> None:
    ours = Tensor(np.ones(2, np.float32))
    for tensor, said in refused(torch):
        for use in (Tensor, nn.Parameter, lambda t: ours * t, lambda t: t * ours, lambda t: np.add(ours, t)):
            with pytest.raises(TypeError, match=said):
                use(tensor)


@pytest.mark.peers
def test_layers_losses_and_transforms_take_pytorchs_tensors(torch: Any) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    images, labels = torch.randn(4, 1, 4, 4), torch.tensor([0, 1, 2, 1])
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    np.testing.assert_array_equal(grad(lambda x: np.sum(x * x))(torch.ones(3)), [2, 2, 2])
    weight = nn.Parameter(torch.ones(3))
    np.sum(weight * torch.arange(3.0)).backward(torch.tensor(2.0))
    optim.SGD([weight], lr=1.0).step()
    np.testing.assert_array_equal(weight.data, [1, -1, -3])


# ---- JAX -------------------------------------------------------------------------------------------------


def test_an_array_of_jaxs_is_taken_without_a_copy_and_is_read_only() -> None:
    jnp = pytest.importorskip("jax.numpy")
    array = jnp.arange(6.0).reshape(2, 3)
    t = Tensor(array)
    assert t.data.ctypes.data == array.unsafe_buffer_pointer()
    with pytest.raises(ValueError, match="read-only"):
        t.data[0, 0] = 7
    weight = nn.Parameter(jnp.ones(3))
    np.sum(weight * weight).backward()
    optim.SGD([weight], lr=0.25).step()
    np.testing.assert_array_equal(weight.data, [0.5, 0.5, 0.5])


def test_what_cannot_be_taken_of_jax_is_told() -> None:
    jax = pytest.importorskip("jax")
    for dtype in ("bfloat16", "float8_e5m2", "int4"):
        with pytest.raises(
            TypeError, match=rf"{dtype}, which NumPy does not have; .*\.astype\(np\.float32\)"
        ):
            Tensor(jax.numpy.ones(2, dtype))
    with pytest.raises(TypeError, match="a JAX array that is being traced has no values"):
        jax.jit(lambda x: Tensor(x).data)(jax.numpy.ones(2))
    with pytest.raises(TypeError, match=r"jax\.random\.key_data"):
        Tensor(jax.random.key(0))
