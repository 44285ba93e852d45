"""Linear algebra: equations, inverses and determinants, batched as in NumPy.

Five are declared with rules; the others are formulae of these. The rules are those of Giles (2008,
"Collected matrix derivative results for forward and reverse mode algorithmic differentiation", in Advances in
Automatic Differentiation, 35-44), where no other source is named.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.op import Sample, general, implements


def square(name: str, x: Any) -> Any:
    """``x``, once it is known to hold square matrices."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError(f"{name}: shape {x.shape} was given; expected square matrices")
    return x


def dominant(x: Any) -> Any:
    """A random matrix made regular, its singular and eigenvalues apart: small beside 2, 5, 8, ..."""
    return 0.2 * x + np.eye(*x.shape[-2:]) * (2 + 3 * np.arange(x.shape[-1]))


def inverse_or_nan(x: Any) -> Any:
    """The inverse; NaN in the place of that of a singular matrix, for which ``np.linalg.inv`` raises."""
    singular = (np.linalg.slogdet(x)[0] == 0)[..., None, None]
    inverse = np.linalg.inv(np.where(singular, np.eye(x.shape[-1], dtype=x.dtype), x))
    return np.where(singular, np.nan, inverse)


def _or_nan(known: Any, value: Any, g: Any) -> Any:
    """``value`` where it is known, 0 where it is not but nothing asks for it (``g`` is 0), NaN elsewhere."""
    return np.where(known, value, np.where(g == 0, 0, np.nan))


# ---- equations and inverses ------------------------------------------------------------------------------

solve_ = general(
    np.linalg.solve,
    lambda g, out, a, b: -np.linalg.solve(a.mT, g) @ out.mT,
    lambda g, out, a, b: np.linalg.solve(a.mT, g),
    broadcasts=True,
    samples=tuple(
        Sample(shapes, prepare={0: dominant})
        for shapes in (((2, 2), (2, 1)), ((3, 3), (3, 2)), ((2, 2, 2), (2, 3)), ((2, 2), (2, 2, 1)))
    ),
)
inv = general(
    np.linalg.inv,
    lambda g, out, x: -(out.mT @ g @ out.mT),
    samples=tuple(Sample((shape,), prepare={0: dominant}) for shape in ((1, 1), (3, 3), (2, 2, 2))),
)


def _pinv_rule(g: Any, out: Any, x: Any, rcond: Any) -> Any:
    """Golub & Pereyra (1973), equation 4.12: the derivative among matrices of the same rank."""
    gt, pt = g.mT, out.mT
    return (gt - x @ out @ gt) @ out @ pt + pt @ out @ (gt - gt @ out @ x) - pt @ g @ pt


pinv_ = general(
    lambda x, rcond: np.linalg.pinv(x, rcond),
    _pinv_rule,
    name="pinv",
    samples=tuple(
        Sample((shape,), {"rcond": 1e-15}, prepare={0: dominant})
        for shape in ((2, 2), (3, 2), (1, 3), (2, 2, 3))
    ),
)


@implements(np.linalg.inv)
def _inv(a: Any) -> Any:
    return inv(a)


@implements(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    a, b = (x if hasattr(x, "shape") else np.asarray(x) for x in (a, b))
    return solve_(a, b[:, None])[..., 0] if b.ndim == 1 else solve_(a, b)


@implements(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = np._NoValue) -> Any:
    if hermitian:
        raise TypeError("numpy.linalg.pinv on a Tensor does not take hermitian=; leave it out")
    if rcond is None:
        rcond = 1e-15 if rtol is np._NoValue else rtol
    if rcond is None:
        rcond = max(a.shape[-2:]) * np.finfo(a.dtype).eps
    return pinv_(a, rcond=rcond)


@implements(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, int, Any]:
    """By the pseudo-inverse."""
    a, b = (x if hasattr(x, "shape") else np.asarray(x) for x in (a, b))
    if a.ndim != 2 or b.ndim not in (1, 2) or len(a) != len(b):
        raise np.linalg.LinAlgError(
            f"lstsq: shapes {a.shape} and {b.shape} were given; expected a matrix, and a vector or matrix "
            "with as many rows"
        )
    m, n = a.shape
    eps = np.finfo(np.result_type(a, b, np.float32)).eps
    if rcond is None or rcond == -1:
        rcond = eps if rcond == -1 else eps * max(m, n)
    singular_values = np.linalg.svd(a, compute_uv=False)
    rank = int(np.sum(singular_values > rcond * singular_values[0])) if min(m, n) else 0
    solution = np.linalg.pinv(a, rcond) @ b
    errors = np.reshape(a @ solution - b, (m, -1))
    residuals = np.sum(errors * errors, axis=0)
    return solution, residuals if rank == n < m else residuals[:0], rank, singular_values


@implements(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    if ind <= 0:
        raise ValueError(f"tensorinv: ind={ind} was given; expected a positive number of axes")
    matrix = np.reshape(a, (math.prod(a.shape[:ind]), -1))
    return np.reshape(np.linalg.inv(matrix), a.shape[ind:] + a.shape[:ind])


@implements(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = (x if hasattr(x, "shape") else np.asarray(x) for x in (a, b))
    if axes is not None:
        moved = normalize_axis_tuple(axes, a.ndim, "tensorsolve: axes")
        a = np.transpose(a, [axis for axis in range(a.ndim) if axis not in moved] + list(moved))
    shape = a.shape[b.ndim :]
    if math.prod(shape) != b.size:
        raise np.linalg.LinAlgError(
            f"tensorsolve: shapes {a.shape} and {b.shape} were given; they do not make a square matrix"
        )
    return np.reshape(np.linalg.solve(np.reshape(a, (b.size, -1)), np.ravel(b)), shape)


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """By repeated squaring."""
    square("matrix_power", a)
    n = operator.index(n)
    if n < 0:
        return matrix_power(np.linalg.inv(a), -n)
    if n == 0:
        return np.zeros_like(a) + np.eye(a.shape[-1], dtype=a.dtype)
    if n == 1:
        return np.copy(a)
    half = matrix_power(a, n // 2)
    return half @ half @ a if n % 2 else half @ half


# ---- determinants ----------------------------------------------------------------------------------------

_SMALL = 4
"""Up to this size cofactors are taken one by one: exact, also for the second derivative near singularity."""


def _cofactors(x: Any) -> Any:
    """The gradient of the determinant, whatever the rank: the signed determinants of the minors."""
    n = x.shape[-1]
    if n < 2:
        return np.ones_like(x)
    others = np.array([[j for j in range(n) if j != i] for i in range(n)])
    minors = x[..., others[:, None, :, None], others[None, :, None, :]]
    sign = 1 - 2 * (np.add.outer(range(n), range(n)) % 2)
    return np.linalg.det(minors) * sign.astype(x.dtype)


def _det_rule(g: Any, out: Any, x: Any) -> Any:
    """Jacobi's formula: the cofactors are the determinant times the inverse, where there is one."""
    if x.shape[-1] <= _SMALL or (np.any(out == 0) and np.any(np.linalg.slogdet(x)[0] == 0)):
        return g[..., None, None] * _cofactors(x)
    return (g * out)[..., None, None] * np.linalg.inv(x).mT


det = general(
    np.linalg.det,
    _det_rule,
    samples=(
        *(Sample((shape,)) for shape in ((1, 1), (2, 2), (3, 3), (2, 2, 2), (0, 0))),
        Sample(((5, 5),), prepare={0: dominant}),
    ),
)
slogdet_ = general(
    lambda x: tuple(np.linalg.slogdet(x)),
    lambda g, out, x: _or_nan(
        (out[0] != 0)[..., None, None],
        g[1][..., None, None] * inverse_or_nan(x).mT,
        g[1][..., None, None],
    ),
    name="slogdet",
    samples=tuple(Sample((shape,), prepare={0: dominant}) for shape in ((1, 1), (3, 3), (2, 2, 2))),
)


@implements(np.linalg.det)
def _det(a: Any) -> Any:
    return det(square("det", a))


_SlogdetResult = type(np.linalg.slogdet(np.eye(1)))


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    sign, logabsdet = slogdet_(square("slogdet", a))
    return _SlogdetResult(sign.detach(), logabsdet)
