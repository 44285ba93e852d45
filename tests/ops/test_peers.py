"""PyTorch agrees on value, gradient and gradient of the gradient of every operation that both have."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tinygrad_mnist import Tensor
from tinygrad_mnist.op import REGISTRY
from tinygrad_mnist.testing.properties import differentiable
from tinygrad_mnist.testing.strategies import op_inputs

pytestmark = pytest.mark.peers

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional

NO_COUNTERPART = {
    "identity": "an internal boundary of the walk",
    "astype": "a conversion to the dtype that the array has",
    "set_at": "PyTorch assigns in place",
    **dict.fromkeys(
        ("solve", "inv", "pinv", "det", "slogdet", "cholesky", "qr", "eigh", "svd"),
        "compared in test_linalg_peers.py",
    ),
    "convolve": "PyTorch correlates, and only batches of channels",
}


def axes(x: Any, axis: Any) -> tuple[int, ...]:
    """The axes as PyTorch wants them: an empty tuple means all to it, so such calls are left out."""
    assume(axis != ())
    if axis is None:
        return tuple(range(x.ndim))
    return axis if isinstance(axis, tuple) else (axis,)


def index_of(index: Any) -> Any:
    """An index as PyTorch takes it: no negative steps, arrays as tensors."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        assume(not (isinstance(part, slice) and part.step is not None and part.step < 0))
    return tuple(torch.as_tensor(part) if isinstance(part, (np.ndarray, list)) else part for part in parts)


def power(x: Any, y: Any) -> Any:
    assume(not torch.any(y == 0))  # PyTorch's mixed derivative there is 0; that of x ** y is 1 / x
    return torch.pow(x, y)


def prod(x: Any, axis: Any, keepdims: bool) -> Any:
    for dim in sorted((a % max(x.ndim, 1) for a in axes(x, axis)), reverse=True):
        x = torch.prod(x, dim=dim, keepdim=keepdims)
    return x


def derivative(f: Any, x: Any, order: int) -> Any:
    """A derivative of a function of each element, which can be differentiated on."""
    assume(not torch.any(torch.abs(x) < 0.1))  # PyTorch divides by x there
    for _ in range(order):
        f = partial(slope, f)
    return f(x)


def slope(f: Any, x: Any) -> Any:
    (out,) = torch.autograd.grad(torch.sum(f(x)), x, create_graph=True)
    return out


def scatter_add(x: Any, index: Any, shape: Any) -> Any:
    return torch.zeros(shape, dtype=x.dtype).index_put(index_of_scatter(index, shape), x, accumulate=True)


def index_of_scatter(index: Any, shape: Any) -> Any:
    """The flat positions of the index, one array an axis."""
    flat = np.arange(np.prod(shape)).reshape(shape)[index]
    return tuple(torch.as_tensor(part) for part in np.unravel_index(flat, shape))


def cross_entropy(x: Any, targets: Any, label_smoothing: float) -> Any:
    return F.cross_entropy(x, targets, reduction="none", label_smoothing=label_smoothing)


def pad(x: Any, pad_width: Any, constant_values: float) -> Any:
    return F.pad(x, [n for widths in reversed(pad_width) for n in widths], value=constant_values)


PEERS: dict[str, Any] = {
    **{name: getattr(torch, name) for name in (
        "positive", "negative", "add", "subtract", "multiply", "divide", "remainder", "reciprocal", "square",
        "absolute", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "arcsin", "arccos", "arctan",
        "sinh", "cosh", "tanh", "maximum", "minimum", "where", "clip", "sigmoid", "erf", "relu", "matmul",
        "arcsinh", "arccosh", "arctanh", "hypot", "arctan2", "exp2", "log2", "log10", "logaddexp",
        "logaddexp2", "fmax", "fmin", "fmod", "copysign", "deg2rad", "rad2deg", "xlogy",
    )},
    "sinc": lambda x, order: derivative(torch.sinc, x, order),
    "i0": lambda x, order: derivative(torch.i0, x, order),
    "fabs": torch.abs,
    "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "ldexp": lambda x, n: x * 2.0**n,  # PyTorch's own loses the graph
    "softplus": lambda x: -F.logsigmoid(-x),  # PyTorch's own is linear beyond a threshold
    "log_sigmoid": F.logsigmoid,
    "cumprod": lambda x, axis: torch.cumprod(x, dim=axis),
    "power": power,
    "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "softmax": lambda x, axis: torch.softmax(x, dim=axis),
    "log_softmax": lambda x, axis: torch.log_softmax(x, dim=axis),
    "getitem": lambda x, index: x[index_of(index)],
    "scatter_add": scatter_add,
    "einsum": lambda *operands, subscripts: torch.einsum(subscripts, *operands),
    "cross_entropy": cross_entropy,
    "linear": F.linear,
    "batch_norm": lambda x, weight, bias, eps: F.batch_norm(x, None, None, weight, bias, True, eps=eps),
    "layer_norm": lambda x, weight, bias, eps: F.layer_norm(x, x.shape[-1:], weight, bias, eps=eps),
    "sum": lambda x, axis, keepdims: torch.sum(x, dim=axes(x, axis), keepdim=keepdims),
    "mean": lambda x, axis, keepdims: torch.mean(x, dim=axes(x, axis), keepdim=keepdims),
    "max": lambda x, axis, keepdims: torch.amax(x, dim=axes(x, axis), keepdim=keepdims),
    "min": lambda x, axis, keepdims: torch.amin(x, dim=axes(x, axis), keepdim=keepdims),
    "logsumexp": lambda x, axis, keepdims: torch.logsumexp(x, dim=axes(x, axis), keepdim=keepdims),
    "var": lambda x, axis, ddof, keepdims: torch.var(x, dim=axes(x, axis), correction=ddof, keepdim=keepdims),
    "std": lambda x, axis, ddof, keepdims: torch.std(x, dim=axes(x, axis), correction=ddof, keepdim=keepdims),
    "prod": prod,
    "cumsum": lambda x, axis: torch.cumsum(x.ravel() if axis is None else x, dim=axis or 0),
    "reshape": lambda x, shape: torch.reshape(x, shape),
    "transpose": lambda x, axes: x.permute(tuple(range(x.ndim))[::-1] if axes is None else axes),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "flip": lambda x, axis: torch.flip(x, axes(x, axis)),
    "concatenate": lambda *arrays, axis: torch.cat(arrays, dim=axis),
    "pad": pad,
}  # fmt: skip
COMPARED = sorted(set(PEERS) & set(REGISTRY))


def test_every_operation_has_a_counterpart_or_a_reason() -> None:
    differentiable_names = {op.name for op in REGISTRY.values() if op.kind != "constant"}
    assert differentiable_names == PEERS.keys() | NO_COUNTERPART.keys()


def weights(shape: Sequence[int], seed: int) -> Any:
    return np.asarray(np.random.default_rng(seed).normal(size=tuple(shape)))


def ours(f: Any, primals: Sequence[Any]) -> list[Any]:
    """Value, gradients by each primal, and gradients of the gradients by each primal and the cotangent."""
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    out = f(*leaves)
    cotangent = Tensor(weights(out.shape, 0), requires_grad=True)
    out.backward(cotangent, create_graph=True)
    gradients = [Tensor(np.zeros(leaf.shape)) if leaf.grad is None else leaf.grad for leaf in leaves]
    leaves.append(cotangent)
    for leaf in leaves:
        leaf.grad = None
    for i, gradient in enumerate(gradients):
        if gradient.requires_grad:
            gradient.backward(weights(gradient.shape, i + 1), retain_graph=True)
    second = [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.data for leaf in leaves]
    return [out.data, *(gradient.data for gradient in gradients), *second]


def theirs(f: Any, primals: Sequence[Any]) -> list[Any]:
    """The same, by PyTorch."""
    leaves = [torch.tensor(primal, requires_grad=True) for primal in primals]
    out = f(*leaves)
    cotangent = torch.tensor(weights(out.shape, 0), requires_grad=True)
    options = {"create_graph": True, "allow_unused": True, "materialize_grads": True}
    gradients = torch.autograd.grad(out, leaves, cotangent, **options)
    leaves.append(cotangent)
    total = sum(torch.sum(g * torch.tensor(weights(g.shape, i + 1))) for i, g in enumerate(gradients))
    second = torch.autograd.grad(total, leaves, **options)
    return [part.detach().numpy(force=True) for part in (out, *gradients, *second)]


@pytest.mark.parametrize("name", COMPARED)
@given(data=st.data())
def test_pytorch_agrees(name: str, data: st.DataObject) -> None:
    op = REGISTRY[name]
    arguments, static = data.draw(op_inputs(op))
    positions = differentiable(op, arguments)

    def complete(primals: Sequence[Any], convert: Any) -> list[Any]:
        out = [
            convert(a) if isinstance(a, np.ndarray) and i not in positions else a
            for i, a in enumerate(arguments)
        ]
        for position, primal in zip(positions, primals, strict=True):
            out[position] = primal
        return out

    primals = [arguments[i] for i in positions]
    expected = theirs(lambda *leaves: PEERS[name](*complete(leaves, torch.tensor), **static), primals)
    for found, value in zip(
        ours(lambda *leaves: op(*complete(leaves, np.array), **static), primals), expected, strict=True
    ):
        np.testing.assert_allclose(found, value, rtol=1e-8, atol=1e-9)
