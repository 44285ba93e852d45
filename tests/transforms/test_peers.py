"""Transforms against ``torch.func``, in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import grad, hessian, hvp, jacobian, jvp, vjp

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # its own forward mode
]

RNG = np.random.default_rng(0)
X, V = RNG.normal(size=(2, 4, 3))
W, U = RNG.normal(size=(2, 3, 2))


def ours(x: Any, w: Any) -> Any:
    h = np.tanh(x @ w)
    return np.log(np.sum(np.exp(h), axis=1)) * np.max(x, axis=1) + np.std(h, axis=1)


def theirs(x: Any, w: Any) -> Any:
    import torch

    h = torch.tanh(x @ w)
    return torch.logsumexp(h, 1) * torch.amax(x, 1) + torch.std(h, 1, correction=0)


def tensors(*arrays: Any) -> tuple[Any, ...]:
    import torch

    return tuple(torch.tensor(array) for array in arrays)


def scalar(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: (f(*args) ** 2).sum()


def close(mine: Any, other: Any) -> None:
    np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_gradients() -> None:
    from torch import func

    for mine, other in zip(
        grad(scalar(ours), argnums=(0, 1))(X, W),
        func.grad(scalar(theirs), (0, 1))(*tensors(X, W)),
        strict=True,
    ):
        close(mine, other)


def test_products_with_jacobians() -> None:
    from torch import func

    mine, other = jvp(ours, (X, W), (V, U)), func.jvp(theirs, tensors(X, W), tensors(V, U))
    close(mine[0], other[0])
    close(mine[1], other[1])
    g = np.arange(4.0)
    for part, their_part in zip(
        vjp(ours, X, W)[1](g), func.vjp(theirs, *tensors(X, W))[1](*tensors(g)), strict=True
    ):
        close(part, their_part)


@pytest.mark.parametrize("argnum", [0, 1])
def test_jacobians(argnum: int) -> None:
    from torch import func

    close(jacobian(ours, argnum)(X, W), func.jacrev(theirs, argnum)(*tensors(X, W)))


@pytest.mark.parametrize("argnum", [0, 1])
def test_hessians(argnum: int) -> None:
    from torch import func

    close(hessian(scalar(ours), argnum)(X, W), func.hessian(scalar(theirs), argnum)(*tensors(X, W)))


def test_hessian_products() -> None:
    import torch

    _, other = torch.autograd.functional.hvp(scalar(theirs), tensors(X, W), tensors(V, U))
    for mine, part in zip(hvp(scalar(ours), (X, W), (V, U)), other, strict=True):
        close(mine, part)


def test_a_gradient_of_a_tangent_of_a_gradient() -> None:
    from torch import func

    def nested(g: Any, j: Any, f: Any, v: Any, w: Any) -> Callable[..., Any]:
        return g(lambda x: j(g(lambda x: f(x, w)), (x,), (v,))[1].sum())

    def f(x: Any, w: Any) -> Any:
        return ((x @ w) ** 3 + x[:, :2] * x[:, 1:]).sum()

    (x, v, w) = tensors(X, V, W)
    close(nested(grad, jvp, f, V, W)(X), nested(func.grad, func.jvp, f, v, w)(x))
