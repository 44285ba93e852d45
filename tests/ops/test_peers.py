"""PyTorch agrees on value, gradient and gradient of the gradient of every operation that both have."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tests.ops.derivatives import ours, theirs
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.testing.accuracy import MEASURED_WITH
from tinygrad_mnist.testing.properties import differentiable
from tinygrad_mnist.testing.strategies import op_inputs

pytestmark = pytest.mark.peers

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional


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


def log_of_sum(f: Any, x: Any, y: Any) -> Any:
    assume(not torch.any(torch.abs(x - y) > 300))  # PyTorch's second derivative is NaN there
    return f(x, y)


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


def cross_entropy(x: Any, targets: Any, label_smoothing: float, reduction: str) -> Any:
    return F.cross_entropy(x, targets, reduction=reduction, label_smoothing=label_smoothing)


def pad(x: Any, pad_width: Any, constant_values: float) -> Any:
    return F.pad(x, [n for widths in reversed(pad_width) for n in widths], value=constant_values)


def set_at(x: Any, value: Any, index: Any) -> Any:
    positions = np.arange(x.numel()).reshape(x.shape)[index]
    assume(np.unique(positions).size == positions.size)  # which of two values arrives is open in PyTorch
    flat = x.ravel().index_put((torch.as_tensor(positions.ravel()),), value.expand(positions.shape).ravel())
    return flat.reshape(x.shape)


def convolve(x: Any, v: Any) -> Any:
    """The full convolution, as PyTorch's correlation with the reversed sequence."""
    return F.conv1d(x[None, None], torch.flip(v, (0,))[None, None], padding=len(v) - 1)[0, 0]


def det(x: Any) -> Any:
    assume(x.numel())  # PyTorch records nothing of an empty matrix
    out = torch.linalg.det(x)
    assume(not torch.any(torch.abs(out) < 0.1))  # its second derivative of a singular one is NaN
    return out


UNIQUE: dict[str, Any] = {
    "slogdet": lambda sign, logarithm: logarithm,
    "qr": lambda q, r: q**2 @ r**2,
    "eigh": lambda w, v: v**2 * w[..., None, :],
    "svd": lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2,
}
"""Of several results, what has a derivative and does not depend on the signs of columns."""
SYMMETRIC = {"cholesky", "eigh"}
"""They read one triangle; the two libraries put the gradient into different places of it."""


def single(name: str, f: Any) -> Any:
    """An operation as a function with one result, of any matrix where it is one of symmetric matrices."""

    def result(*arguments: Any, **static: Any) -> Any:
        out = f(*((x + x.mT for x in arguments) if name in SYMMETRIC else arguments), **static)
        return UNIQUE[name](*out) if name in UNIQUE else out

    return result


PEERS: dict[str, Any] = {
    "identity": torch.clone,
    "astype": lambda x, dtype: x.to(torch.as_tensor(np.zeros(0, dtype)).dtype),
    "set_at": set_at,
    "convolve": convolve,
    **{name: getattr(torch.linalg, name) for name in ("solve", "inv", "slogdet", "cholesky", "qr", "eigh")},
    "det": det,
    "pinv": lambda x, rcond: torch.linalg.pinv(x, rtol=rcond),
    "svd": torch.linalg.svd,
    **{name: getattr(torch, name) for name in (
        "positive", "negative", "add", "subtract", "multiply", "divide", "remainder", "reciprocal",
        "square", "absolute", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "arcsin",
        "arccos", "arctan", "sinh", "cosh", "tanh", "maximum", "minimum", "where", "clip", "sigmoid",
        "erf", "relu", "matmul", "arcsinh", "arccosh", "arctanh", "hypot", "arctan2", "exp2", "log2",
        "log10", "fmax", "fmin", "fmod", "copysign", "deg2rad", "rad2deg", "xlogy",
    )},
    "logaddexp": lambda x, y: log_of_sum(torch.logaddexp, x, y),
    "logaddexp2": lambda x, y: log_of_sum(torch.logaddexp2, x, y),
    "conjugate": torch.conj,
    "linear_batch_norm_relu": lambda x, weight, bias, gamma, beta, eps: F.relu(
        F.batch_norm(F.linear(x, weight, bias), None, None, gamma, beta, True, eps=eps)
    ),
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
    "multiply_no_nan": torch.mul,
    "linear": F.linear,
    "batch_norm": lambda x, weight, bias, eps: F.batch_norm(x, None, None, weight, bias, True, eps=eps),
    "layer_norm": lambda x, weight, bias, eps: F.layer_norm(x, x.shape[-1:], weight, bias, eps=eps),
    "mean_over_shards": torch.clone,  # where the batch is whole
    "statistics_over_shards": lambda x: torch.stack([x[0] * 0, x[1], x[0]]),
    "synchronized_batch_norm": lambda x, weight, bias, eps: F.batch_norm(
        x, None, None, weight, bias, True, eps=eps
    ),
    "norm": lambda x, order, axis, keepdims: torch.linalg.vector_norm(x, order, axes(x, axis), keepdims),
    "kink": lambda x, at: torch.clone(x),
    "slope_undefined": lambda x, at: torch.clone(x),
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


def test_every_operation_has_a_counterpart() -> None:
    named = {op.name for op in REGISTRY.values() if op.kind != "constant"}
    assert named - MEASURED_WITH.keys() == PEERS.keys() - MEASURED_WITH.keys()  # derivatives, met in those


@pytest.mark.parametrize("name", sorted(PEERS))
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
    expected = theirs(
        lambda *leaves: single(name, PEERS[name])(*complete(leaves, torch.tensor), **static), primals
    )
    found = ours(lambda *leaves: single(name, op)(*complete(leaves, np.array), **static), primals)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8, atol=1e-9)
