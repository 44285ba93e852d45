"""np.linalg on Tensors against torch.linalg in float64: first derivatives, and products with the Hessian."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor

pytestmark = pytest.mark.peers

Function = Callable[..., Any]
la = np.linalg
RNG = np.random.default_rng(11)


def matrices(*shape: int) -> Any:
    return RNG.uniform(-1, 1, shape)


def positive(x: Any) -> Any:
    """A symmetric positive definite matrix; both conventions for the gradient of a triangle agree on it."""
    return x @ x.mT + 1.0


CASES: dict[str, tuple[Function, Callable[[Any], Function], tuple[Any, ...]]] = {
    "inv": (la.inv, lambda t: t.linalg.inv, (matrices(2, 3, 3),)),
    "solve": (la.solve, lambda t: t.linalg.solve, (matrices(3, 3), matrices(3, 2))),
    "pinv": (la.pinv, lambda t: t.linalg.pinv, (matrices(4, 2),)),
    "pinv of a given rank": (
        lambda x: la.pinv(x @ x.mT, 1e-10),
        lambda t: lambda x: t.linalg.pinv(x @ x.mT, rtol=1e-10),
        (matrices(3, 2),),
    ),
    "det": (la.det, lambda t: t.linalg.det, (matrices(2, 4, 4),)),
    "det, larger": (la.det, lambda t: t.linalg.det, (matrices(6, 6),)),
    "slogdet": (
        lambda x: la.slogdet(x).logabsdet,
        lambda t: lambda x: t.linalg.slogdet(x).logabsdet,
        (matrices(2, 3, 3),),
    ),
    "cholesky": (
        lambda x: la.cholesky(positive(x)),
        lambda t: lambda x: t.linalg.cholesky(positive(x)),
        (matrices(2, 3, 5),),
    ),
    "cholesky, upper": (
        lambda x: la.cholesky(positive(x), upper=True),
        lambda t: lambda x: t.linalg.cholesky(positive(x), upper=True),
        (matrices(3, 5),),
    ),
    "qr of a tall matrix": (
        lambda x: (lambda q, r: np.abs(q) @ np.abs(r))(*la.qr(x)),
        lambda t: lambda x: (lambda q, r: abs(q) @ abs(r))(*t.linalg.qr(x)),
        (matrices(2, 4, 3),),
    ),
    "qr of a wide matrix": (
        lambda x: (lambda q, r: np.abs(q) @ np.abs(r))(*la.qr(x)),
        lambda t: lambda x: (lambda q, r: abs(q) @ abs(r))(*t.linalg.qr(x)),
        (matrices(2, 4),),
    ),
    "eigh": (
        lambda x: (lambda w, v: v**2 * w[..., None, :])(*la.eigh(positive(x))),
        lambda t: lambda x: (lambda w, v: v**2 * w[..., None, :])(*t.linalg.eigh(positive(x))),
        (matrices(2, 3, 5),),
    ),
    "eigvalsh": (
        lambda x: la.eigvalsh(positive(x), "U"),
        lambda t: lambda x: t.linalg.eigvalsh(positive(x), UPLO="U"),
        (matrices(4, 4),),
    ),
    "svd": (
        lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(*la.svd(x, full_matrices=False)),
        lambda t: (
            lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(
                *t.linalg.svd(x, full_matrices=False)
            )
        ),
        (matrices(2, 4, 3),),
    ),
    "svd of a wide matrix": (
        lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(*la.svd(x, full_matrices=False)),
        lambda t: (
            lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(
                *t.linalg.svd(x, full_matrices=False)
            )
        ),
        (matrices(2, 4),),
    ),
    "svdvals": (la.svdvals, lambda t: t.linalg.svdvals, (matrices(3, 5),)),
    "lstsq": (
        lambda a, b: la.lstsq(a, b)[0],
        lambda t: lambda a, b: t.linalg.lstsq(a, b).solution,
        (matrices(5, 3), matrices(5, 2)),
    ),
    "matrix_power": (
        lambda x: la.matrix_power(x, -3),
        lambda t: lambda x: t.linalg.matrix_power(x, -3),
        (matrices(3, 3),),
    ),
    "tensorinv": (
        lambda x: la.tensorinv(x, ind=1),
        lambda t: lambda x: t.linalg.tensorinv(x, ind=1),
        (matrices(4, 2, 2),),
    ),
    **{
        f"norm {order}": (
            lambda x, order=order: la.norm(x, order, axis=0),
            lambda t, order=order: lambda x: t.linalg.vector_norm(x, order, dim=0),
            (matrices(4, 3),),
        )
        for order in (2, 1, 3, 0.5, -1, np.inf, -np.inf)
    },
    **{
        f"matrix_norm {order}": (
            lambda x, order=order: la.matrix_norm(x, ord=order),
            lambda t, order=order: lambda x: t.linalg.matrix_norm(x, order),
            (matrices(2, 4, 3),),
        )
        for order in ("fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
    },
    **{
        f"cond {order}": (
            lambda x, order=order: la.cond(x, order),
            lambda t, order=order: (
                lambda x: t.linalg.matrix_norm(x, order) * t.linalg.matrix_norm(t.linalg.inv(x), order)
            ),
            (matrices(3, 3),),
        )
        for order in (2, 1, "fro")
    },
}


@pytest.mark.parametrize(("ours", "theirs", "inputs"), CASES.values(), ids=CASES)
def test_first_and_second_derivatives_are_pytorchs(
    ours: Function, theirs: Callable[[Any], Function], inputs: tuple[Any, ...]
) -> None:
    torch = pytest.importorskip("torch")
    directions = [np.cos(np.arange(x.size)).reshape(x.shape) for x in inputs]

    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    np.sum(np.sin(ours(*tensors))).backward(create_graph=True)
    gradients: list[Any] = [tensor.grad for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    sum(np.sum(g * d) for g, d in zip(gradients, directions, strict=True)).backward()

    others = [torch.tensor(x, requires_grad=True) for x in inputs]
    expected = torch.autograd.grad(torch.sin(theirs(torch)(*others)).sum(), others, create_graph=True)
    along = sum((g * torch.tensor(d)).sum() for g, d in zip(expected, directions, strict=True))
    curved = torch.autograd.grad(along, others)

    for tensor, gradient, other, second in zip(tensors, gradients, expected, curved, strict=True):
        assert tensor.grad is not None
        scale = abs(second).max().item()
        np.testing.assert_allclose(gradient.data, other.detach().numpy(), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(tensor.grad.data, second.numpy(), rtol=1e-7, atol=1e-9 * scale)
