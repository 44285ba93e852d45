"""np.linalg on Tensors against torch.linalg in float64, on Hypothesis's matrices: value, both derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.ops.derivatives import ours, theirs
from tinygrad_mnist.engine.op import Domain
from tinygrad_mnist.testing.strategies import arrays_in

pytestmark = pytest.mark.peers

Function = Callable[..., Any]
la = np.linalg
ENTRIES = Domain(-1.0, 1.0, kinks=(0.0,), margin=0.03, distinct=True)


def positive(x: Any) -> Any:
    """A symmetric positive definite matrix; both conventions for the gradient of a triangle agree on it."""
    return x @ x.mT + 1.0


CASES: dict[str, tuple[Function, Callable[[Any], Function], tuple[tuple[int, ...], ...]]] = {
    "inv": (la.inv, lambda t: t.linalg.inv, ((2, 3, 3),)),
    "solve": (la.solve, lambda t: t.linalg.solve, ((3, 3), (3, 2))),
    "pinv": (la.pinv, lambda t: t.linalg.pinv, ((4, 2),)),
    "pinv of a given rank": (
        lambda x: la.pinv(x @ x.mT, 1e-10),
        lambda t: lambda x: t.linalg.pinv(x @ x.mT, rtol=1e-10),
        ((3, 2),),
    ),
    "det": (la.det, lambda t: t.linalg.det, ((2, 4, 4),)),
    "det, larger": (la.det, lambda t: t.linalg.det, ((6, 6),)),
    "slogdet": (
        lambda x: la.slogdet(x).logabsdet,
        lambda t: lambda x: t.linalg.slogdet(x).logabsdet,
        ((2, 3, 3),),
    ),
    "cholesky": (
        lambda x: la.cholesky(positive(x)),
        lambda t: lambda x: t.linalg.cholesky(positive(x)),
        ((2, 3, 5),),
    ),
    "cholesky, upper": (
        lambda x: la.cholesky(positive(x), upper=True),
        lambda t: lambda x: t.linalg.cholesky(positive(x), upper=True),
        ((3, 5),),
    ),
    "qr of a tall matrix": (
        lambda x: (lambda q, r: np.abs(q) @ np.abs(r))(*la.qr(x)),
        lambda t: lambda x: (lambda q, r: abs(q) @ abs(r))(*t.linalg.qr(x)),
        ((2, 4, 3),),
    ),
    "qr of a wide matrix": (
        lambda x: (lambda q, r: np.abs(q) @ np.abs(r))(*la.qr(x)),
        lambda t: lambda x: (lambda q, r: abs(q) @ abs(r))(*t.linalg.qr(x)),
        ((2, 4),),
    ),
    "eigh": (
        lambda x: (lambda w, v: v**2 * w[..., None, :])(*la.eigh(positive(x))),
        lambda t: lambda x: (lambda w, v: v**2 * w[..., None, :])(*t.linalg.eigh(positive(x))),
        ((2, 3, 5),),
    ),
    "eigvalsh": (
        lambda x: la.eigvalsh(positive(x), "U"),
        lambda t: lambda x: t.linalg.eigvalsh(positive(x), UPLO="U"),
        ((4, 4),),
    ),
    "svd": (
        lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(*la.svd(x, full_matrices=False)),
        lambda t: (
            lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(
                *t.linalg.svd(x, full_matrices=False)
            )
        ),
        ((2, 4, 3),),
    ),
    "svd of a wide matrix": (
        lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(*la.svd(x, full_matrices=False)),
        lambda t: (
            lambda x: (lambda u, s, vh: (u**2 * s[..., None, :]) @ vh**2)(
                *t.linalg.svd(x, full_matrices=False)
            )
        ),
        ((2, 4),),
    ),
    "svdvals": (la.svdvals, lambda t: t.linalg.svdvals, ((3, 5),)),
    "lstsq": (
        lambda a, b: la.lstsq(a, b)[0],
        lambda t: lambda a, b: t.linalg.lstsq(a, b).solution,
        ((5, 3), (5, 2)),
    ),
    "matrix_power": (
        lambda x: la.matrix_power(x, -3),
        lambda t: lambda x: t.linalg.matrix_power(x, -3),
        ((3, 3),),
    ),
    "tensorinv": (
        lambda x: la.tensorinv(x.reshape(4, 2, 2), ind=1),
        lambda t: lambda x: t.linalg.tensorinv(x.reshape(4, 2, 2), ind=1),
        ((4, 4),),
    ),
    **{
        f"norm {order}": (
            lambda x, order=order: la.norm(x, order, axis=0),
            lambda t, order=order: lambda x: t.linalg.vector_norm(x, order, dim=0),
            ((4, 3),),
        )
        for order in (2, 1, 3, 0.5, -1, np.inf, -np.inf)
    },
    **{
        f"matrix_norm {order}": (
            lambda x, order=order: la.matrix_norm(x, ord=order),
            lambda t, order=order: lambda x: t.linalg.matrix_norm(x, order),
            ((2, 4, 3),),
        )
        for order in ("fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
    },
    **{
        f"cond {order}": (
            lambda x, order=order: la.cond(x, order),
            lambda t, order=order: (
                lambda x: t.linalg.matrix_norm(x, order) * t.linalg.matrix_norm(t.linalg.inv(x), order)
            ),
            ((3, 3),),
        )
        for order in (2, 1, "fro")
    },
}


def apart(values: Any, least: float) -> bool:
    """Return whether the values along the last axis differ, and are no 0, beside the largest of them."""
    ordered = np.sort(np.concatenate([np.zeros((*values.shape[:-1], 1)), np.abs(values)], axis=-1))
    return bool(np.all(np.diff(ordered) > least * ordered[..., -1:]))


def is_generic(x: Any) -> bool:
    """Return whether a matrix is far from singular, and no function of it has a kink nearby."""
    sums = (np.sum(np.abs(x), axis=axis) for axis in (-1, -2))
    spectra = (la.svdvals(x), la.eigvalsh(positive(x)) if x.shape[-2] <= x.shape[-1] else la.svdvals(x))
    return all(apart(some, 0.003) for some in (*sums, *spectra))


@pytest.mark.parametrize("case", CASES)
@given(data=st.data())
def test_first_and_second_derivatives_are_pytorchs(case: str, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    mine, other, shapes = CASES[case]
    primals = data.draw(arrays_in([ENTRIES] * len(shapes), shapes))
    assume(all(map(is_generic, primals)))
    found, expected = ours(mine, primals), theirs(other(torch), primals)
    for one, another in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, another, rtol=1e-6, atol=1e-8 * np.max(np.abs(another)))
