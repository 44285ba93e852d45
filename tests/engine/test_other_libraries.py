"""Arrays of PyTorch and JAX: taken without a copy as NumPy's are, or refused in a sentence."""

import types
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
    """An array of another library, as far as it is asked."""

    __module__ = "another_library"

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)
        self.dtype, self.shape, self.ndim = self.values.dtype, self.values.shape, self.values.ndim

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def astype(self, dtype: Any) -> "Foreign":
        return Foreign(self.values.astype(dtype))

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)


@pytest.mark.parametrize(
    "value", [np.ones(2), np.float64(1.0), Tensor([1.0]), nn.Parameter([1.0]), 1.0, [1.0], np.ma.array([1.0])]
)
def test_what_is_numpys_or_ours_is_not_foreign(value: object) -> None:
    assert not is_foreign(value)


def test_an_array_with_the_protocol_of_arrays_is_foreign() -> None:
    assert is_foreign(Foreign([1.0]))
    assert Tensor(Foreign([1.0])).tolist() == [1.0]


# ---- dtypes that NumPy does not have ---------------------------------------------------------------------

USES: dict[str, Any] = {
    "Tensor": Tensor,
    "Parameter": nn.Parameter,
    "the values of a Tensor": lambda x: setattr(Tensor([1.0, 2.0]), "data", x),
    "buffer": lambda x: nn.Module().register_buffer("x", x),
    "left": lambda x: x + Tensor([1.0, 2.0]),
    "right": lambda x: Tensor([1.0, 2.0]) + x,
    "function": lambda x: np.maximum(Tensor([1.0, 2.0]), x),
    "functions of several": lambda x: np.stack([Tensor([1.0, 2.0]), x]),
    "product": lambda x: Tensor([1.0, 2.0]) @ x,
    "part": lambda x: Tensor([1.0, 2.0]).__setitem__(slice(None), x),
    "layer": lambda x: nn.Linear(2, 3)(x),
    "loss": lambda x: nn.functional.mse_loss(Tensor([1.0, 2.0]), x),
    "cotangent": lambda x: Tensor([1.0, 2.0], requires_grad=True).backward(x),
    "gradient": lambda x: grad(lambda y: np.sum(y * x))(np.ones(2)),
}


class OfPyTorch:
    """A tensor of PyTorch's on the CPU, as far as it is asked."""

    __module__ = "torch"
    is_nested = is_quantized = False
    layout = "torch.strided"
    device = types.SimpleNamespace(type="cpu")

    def __init__(self, values: Any, dtype: str = "torch.float32", requires_grad: bool = False) -> None:
        self.values, self.dtype, self.requires_grad = np.asarray(values, np.float32), dtype, requires_grad
        self.shape, self.ndim = self.values.shape, self.values.ndim

    def is_conj(self) -> bool:
        return False

    def is_neg(self) -> bool:
        return False

    def is_floating_point(self) -> bool:
        return True

    def detach(self) -> "OfPyTorch":
        return OfPyTorch(self.values, self.dtype)

    def float(self) -> "OfPyTorch":
        return OfPyTorch(self.values, "torch.float32", self.requires_grad)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if self.dtype != "torch.float32":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.array(self.values, dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2"])
def test_a_dtype_of_another_package_is_refused_everywhere(use: Any, dtype: str) -> None:
    ones = np.ones(2, getattr(pytest.importorskip("ml_dtypes"), dtype))
    for given in (ones, Foreign(ones)):
        with pytest.raises(TypeError, match=rf"of dtype {dtype}, which NumPy .*x\.astype\(np\.float32\)"):
            use(given)


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_bfloat16_of_pytorchs_is_refused_everywhere(use: Any) -> None:
    with pytest.raises(TypeError, match=r"torch\.bfloat16 has a dtype that NumPy .*; give t\.float\(\)"):
        use(OfPyTorch([1.0, 2.0], "torch.bfloat16"))


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
def test_a_state_dict_takes_pytorchs_parameters_and_bfloat16(dtype: str, requires_grad: bool) -> None:
    model = nn.LayerNorm(2)
    given = OfPyTorch([1.5, 2.0], dtype, requires_grad)
    model.load_state_dict({"weight": given, "bias": given})
    assert model.weight.tolist() == model.bias.tolist() == [1.5, 2.0]


def test_a_state_dict_reads_bfloat16_as_files_do() -> None:
    values = np.array([1.5, -2.0], pytest.importorskip("ml_dtypes").bfloat16)
    model = nn.LayerNorm(2)
    model.load_state_dict({"weight": values, "bias": Foreign(values)})
    assert model.weight.tolist() == model.bias.tolist() == [1.5, -2.0]
    eighth = values.astype("float8_e5m2")
    with pytest.raises(ValueError, match=r"weight: an array was given of dtype float8_e5m2, which NumPy"):
        model.load_state_dict({"weight": eighth, "bias": values})
    assert model.bias.tolist() == [1.5, -2.0]


def test_a_masked_array_is_no_entry_of_a_state_dict() -> None:
    with pytest.raises(ValueError, match="weight: a Tensor cannot take in a masked array; fill it first"):
        nn.Linear(2, 1, bias=False).load_state_dict({"weight": np.ma.array([[1.0, 2.0]], mask=[[0, 1]])})


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


def test_jit_refuses_bfloat16_as_eager_does() -> None:
    pytest.importorskip("llvmlite")
    ones = np.ones(3, pytest.importorskip("ml_dtypes").bfloat16)
    x = Tensor(np.ones(3))
    for function, inputs in ((lambda x: np.sum(x * ones), (x,)), (lambda x, y: np.sum(x * y), (x, ones))):
        with pytest.raises(TypeError, match="of dtype bfloat16, which NumPy does not have"):
            jit(function)(*inputs)


@pytest.mark.parametrize(("package", "said"), [("torch", "PyTorch"), ("jaxlib._jax", "JAX"), ("jax", "JAX")])
def test_jit_calls_a_library_by_its_name(package: str, said: str) -> None:
    pytest.importorskip("llvmlite")
    given = type("Array", (Foreign,), {"__module__": package})(np.ones(2))
    with pytest.warns(UserWarning, match=f"an array of {said} goes into it"):
        jit(lambda x: np.sum(x * Tensor(given)))(Tensor(np.ones(2)))


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
def test_a_state_dict_takes_pytorchs_parameters_as_files_do(torch: Any) -> None:
    theirs = torch.nn.Linear(3, 2).bfloat16()
    for given in (dict(theirs.named_parameters()), theirs.state_dict()):
        ours = nn.Linear(3, 2)
        ours.load_state_dict(given)
        np.testing.assert_array_equal(ours.weight.data, theirs.weight.detach().float().numpy(), strict=True)


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
