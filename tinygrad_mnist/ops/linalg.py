"""Linear algebra: equations, inverses, determinants, factorisations; batched as in NumPy.

Nine functions are declared with rules, and the others are formulae of these. The rules are those of Giles
(2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation", in
Advances in Automatic Differentiation, 35-44), unless another source is named.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.engine.conditions import somewhere
from tinygrad_mnist.engine.op import Sample, general, implements
from tinygrad_mnist.ops.elementwise import as_float
from tinygrad_mnist.ops.norms import norm
from tinygrad_mnist.ops.shape import as_array

Axes = tuple[int, ...]


def check_square(name: str, x: Any) -> Any:
    """Return ``x``, or raise if it does not hold square matrices."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise np.linalg.LinAlgError(f"{name}: shape {x.shape} was given; expected square matrices")
    return x


def dominant(x: Any) -> Any:
    """Return a random matrix made regular: small beside the diagonal 2, 5, 8, ....

    The diagonal keeps singular values and eigenvalues apart; else numeric derivatives by them are inexact.
    """
    return 0.2 * x + np.eye(*x.shape[-2:]) * (2 + 3 * np.arange(x.shape[-1]))


def inverse_or_nan(x: Any) -> Any:
    """Return the inverse, and NaN for a singular matrix, for which ``np.linalg.inv`` raises.

    A stack holds many matrices: one that is singular must not keep the others from their gradients. It stays
    a function of x, by a term that is NaN times x there, so that its derivatives are NaN, too.
    """
    singular = (np.linalg.slogdet(x)[0] == 0)[..., None, None]
    eye = np.eye(x.shape[-1], dtype=x.dtype)
    return np.linalg.inv(np.where(singular, eye, x)) + np.where(singular, np.nan, 0).astype(x.dtype) * x


# ---- equations and inverses ------------------------------------------------------------------------------

solve_ = general(
    np.linalg.solve,
    lambda g, out, a, b: -np.linalg.solve(a.mT, g) @ out.mT,
    lambda g, out, a, b: np.linalg.solve(a.mT, g),
    broadcasts=True,
    stacked=True,
    samples=tuple(
        Sample(shapes, prepare={0: dominant})
        for shapes in (((2, 2), (2, 1)), ((3, 3), (3, 2)), ((2, 2, 2), (2, 3)), ((2, 2), (2, 2, 1)))
    ),
)
inv = general(
    np.linalg.inv,
    lambda g, out, x: -(out.mT @ g @ out.mT),
    stacked=True,
    samples=tuple(Sample((shape,), prepare={0: dominant}) for shape in ((1, 1), (3, 3), (2, 2, 2))),
)


def _pinv_rule(g: Any, out: Any, x: Any, rcond: Any) -> Any:
    """Return the cotangent by Golub & Pereyra (1973), equation 4.12; it holds among matrices of one rank."""
    gt, pt = g.mT, out.mT
    return (gt - x @ out @ gt) @ out @ pt + pt @ out @ (gt - gt @ out @ x) - pt @ g @ pt


pinv_ = general(
    lambda x, rcond: np.linalg.pinv(x, rcond),
    _pinv_rule,
    name="pinv",
    stacked=True,
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
    a, b = as_array(a), as_array(b)
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
    # The pseudo-inverse has a rule, and gives the solution of least norm. NumPy's default of rcond is the
    # machine precision times the longer side; -1 means the precision alone.
    a, b = as_array(a), as_array(b)
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
    a, b = as_array(a), as_array(b)
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
    # by repeated squaring: log2(n) products instead of n
    check_square("matrix_power", a)
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
"""The largest size for which cofactors are computed one by one, exactly; their number grows as n squared.

Near singularity they are exact in the second derivative, too, where det(x) inv(x) divides by almost 0.
"""


def _cofactors(x: Any) -> Any:
    """Return the gradient of the determinant at every rank: the signed determinants of the minors."""
    n = x.shape[-1]
    if n < 2:
        return np.ones_like(x)
    others = np.array([[j for j in range(n) if j != i] for i in range(n)])
    minors = x[..., others[:, None, :, None], others[None, :, None, :]]
    sign = 1 - 2 * (np.add.outer(range(n), range(n)) % 2)
    return np.linalg.det(minors) * sign.astype(x.dtype)


def _det_rule(g: Any, out: Any, x: Any) -> Any:
    """Return ``g`` times the cofactors: by Jacobi's formula, the determinant times the transposed inverse."""
    if x.shape[-1] <= _SMALL or (somewhere(out == 0) and somewhere(np.linalg.slogdet(x)[0] == 0)):
        return g[..., None, None] * _cofactors(x)
    return (g * out)[..., None, None] * np.linalg.inv(x).mT


det = general(
    np.linalg.det,
    _det_rule,
    stacked=True,
    samples=(
        *(Sample((shape,)) for shape in ((1, 1), (2, 2), (3, 3), (2, 2, 2), (0, 0))),
        Sample(((5, 5),), prepare={0: dominant}),
    ),
)
slogdet_ = general(
    lambda x: tuple(np.linalg.slogdet(x)),
    lambda g, out, x: g[1][..., None, None] * inverse_or_nan(x).mT,
    name="slogdet",
    stacked=True,
    samples=tuple(Sample((shape,), prepare={0: dominant}) for shape in ((1, 1), (3, 3), (2, 2, 2))),
)


@implements(np.linalg.det)
def _det(a: Any) -> Any:
    return det(check_square("det", a))


_SlogdetResult = type(np.linalg.slogdet(np.eye(1)))


@implements(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    sign, logabsdet = slogdet_(check_square("slogdet", a))
    return _SlogdetResult(sign.detach(), logabsdet)


# ---- factorisations --------------------------------------------------------------------------------------

# ``cholesky``, ``eigh`` and ``eigvalsh`` read one triangle of their argument, and only that has a gradient:
# an element of the other triangle has no influence, so its gradient is 0. A function of singular vectors or
# of eigenvectors has a gradient if it does not depend on their signs. If two values coincide, the gradient
# is NaN as soon as it involves their vectors, and finite otherwise.


def _half_open(x: Any) -> Any:
    """Return the lower triangle, with half of the diagonal."""
    n = x.shape[-1]
    return x * (np.tri(n, dtype=x.dtype) - 0.5 * np.eye(n, dtype=x.dtype))


def _on_lower(x: Any) -> Any:
    """Return the gradient of the lower triangle of a symmetric matrix, given that of all its elements.

    An element below the diagonal stands for two elements of the matrix, and collects the gradients of both.
    """
    return _half_open(x + x.mT)


def _samples(*shapes: tuple[int, ...], **static: Any) -> tuple[Sample, ...]:
    return tuple(Sample((shape,), static, prepare={0: dominant}) for shape in shapes)


# ---- cholesky --------------------------------------------------------------------------------------------


def _cholesky_rule(g: Any, out: Any, x: Any) -> Any:
    """Return the cotangent by Murray (2016), "Differentiation of the Cholesky decomposition", equation 10."""
    inverse = np.linalg.inv(out)
    return _on_lower(inverse.mT @ _half_open(out.mT @ g) @ inverse)


cholesky_ = general(
    np.linalg.cholesky, _cholesky_rule, stacked=True, samples=_samples((1, 1), (3, 3), (2, 2, 2))
)


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    check_square("cholesky", a)
    return cholesky_(a.mT).mT if upper else cholesky_(a)


# ---- qr --------------------------------------------------------------------------------------------------


def _qr_tall_rule(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    """Return the cotangent of a square or tall matrix.

    Walter & Lehmann (2018), "Algorithmic differentiation of linear algebra functions", section 3.1.
    """
    m = r @ gr.mT - gq.mT @ q
    lower = np.tril(m, -1)
    return (gq + q @ (np.tril(m) + lower.mT)) @ inverse_or_nan(r).mT


def _qr_rule(g: tuple[Any, Any], out: tuple[Any, Any], x: Any) -> Any:
    """Return the cotangent of any matrix.

    A wide one is ``[x1 x2] = q [r1 r2]`` with a square ``x1``; ``r2`` is ``q.T @ x2``, and adds to both.
    """
    (gq, gr), (q, r), m = g, out, x.shape[-2]
    if x.shape[-1] <= m:
        return _qr_tall_rule(gq, gr, q, r)
    left = _qr_tall_rule(gq + x[..., m:] @ gr[..., m:].mT, gr[..., :m], q, r[..., :m])
    return np.concatenate([left, q @ gr[..., m:]], axis=-1)


qr_ = general(
    lambda x: tuple(np.linalg.qr(x)),
    _qr_rule,
    name="qr",
    stacked=True,
    samples=_samples((2, 2), (3, 2), (2, 3), (2, 3, 2)),
)
_QRResult = type(np.linalg.qr(np.eye(1)))


@implements(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "r"):
        raise TypeError(f"numpy.linalg.qr on a Tensor does not take mode={mode!r}; use 'reduced' or 'r'")
    q, r = qr_(a)
    return r if mode == "r" else _QRResult(q, r)


# ---- eigenvalues and singular values ---------------------------------------------------------------------


def _unknown_slope(x: Any) -> Any:
    """Return 0 where x is 0 and NaN elsewhere, with NaN for a derivative: 0 times one that is infinite."""
    return np.where(x == 0, 0 * np.cbrt(x), np.nan * x)


def _rotation(m: Any, gaps: Any) -> Any:
    """Return the antisymmetric part of ``m`` divided by ``gaps``: the rate at which two vectors turn.

    Two vectors of one value have a gap of 0: this is 0 if nobody asks for these vectors, and NaN otherwise.
    """
    own = np.eye(m.shape[-1], dtype=bool)  # a vector does not turn towards itself
    tied = gaps == 0
    turned = (m - m.mT) / np.where(tied, 2, 2 * gaps)
    if not somewhere(tied & ~own):
        return np.where(own, 0, turned)
    return np.where(own, 0, np.where(tied, _unknown_slope(m) + _unknown_slope(m.mT), turned))


def _on_diagonal(values: Any) -> Any:
    """Return vectors as diagonal matrices."""
    return values[..., None] * np.eye(values.shape[-1], dtype=values.dtype)


def _eigh_rule(g: tuple[Any, Any], out: tuple[Any, Any], x: Any, UPLO: str) -> Any:
    (gw, gv), (w, v) = g, out
    inner = _rotation(v.mT @ gv, w[..., None, :] - w[..., :, None]) + _on_diagonal(gw)
    lower = _on_lower(v @ inner @ v.mT)
    return lower if UPLO == "L" else lower.mT


eigh_ = general(
    lambda x, UPLO: tuple(np.linalg.eigh(x, UPLO)),
    _eigh_rule,
    name="eigh",
    stacked=True,
    samples=_samples((1, 1), (3, 3), (2, 2, 2), UPLO="L") + _samples((3, 3), UPLO="U"),
)
_EighResult = type(np.linalg.eigh(np.eye(1)))


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"eigh: UPLO={UPLO!r} was given; expected 'L' or 'U'")
    return _EighResult(*eigh_(check_square("eigh", a), UPLO=UPLO.upper()))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return eigh(a, UPLO).eigenvalues


def _per_value(columns: Any, s: Any) -> Any:
    """Return columns divided by their singular values; 0 / 0 is 0, and every other number by 0 is NaN."""
    s = s[..., None, :]
    zero = s == 0
    divided = columns / np.where(zero, 1, s)
    return np.where(zero, _unknown_slope(columns), divided) if somewhere(zero) else divided


def _completed(g: Any, vectors: Any, k: int) -> tuple[Any, Any]:
    """Return the cotangent of the first k vectors, with that of the others added, and these k vectors.

    The others are any basis of the complement: only their projector is a function of the matrix, and it is
    the identity less the projector of the first.
    """
    first, others = vectors[..., :k], vectors[..., k:]
    return g[..., :k] - others @ (g[..., k:].mT @ first), first


def _svd_rule(g: tuple[Any, ...], out: tuple[Any, ...], x: Any, full_matrices: bool) -> Any:
    """Return the cotangent of a singular value decomposition.

    Townsend (2016), "Differentiating the singular value decomposition", section 1.1. Its factors
    1 / (s_i^2 - s_j^2) are split into partial fractions of s_i - s_j and s_i + s_j: a tie of two values then
    spoils only what depends on it. A singular value of 0 is a kink, as in a norm: gradient 0.
    """
    s = out[1]
    slope = np.where(s == 0, _unknown_slope(s), 1)
    k = s.shape[-1]
    gu, u = _completed(g[0], out[0], k)
    gv, v = _completed(g[2].mT, out[2].mT, k)
    by_u, by_v = u.mT @ gu, v.mT @ gv
    row, column = s[..., None, :], s[..., :, None]
    inner = (
        _rotation(by_u + by_v, row - column)
        + _rotation(by_u - by_v, row + column)
        + _on_diagonal(slope * g[1])
    )
    gradient = u @ inner @ v.mT
    if x.shape[-2] > k:
        gradient = gradient + _per_value(gu - u @ by_u, s) @ v.mT
    if x.shape[-1] > k:
        gradient = gradient + u @ _per_value(gv - v @ by_v, s).mT
    return gradient


svd_ = general(
    lambda x, full_matrices: tuple(np.linalg.svd(x, full_matrices)),
    _svd_rule,
    name="svd",
    stacked=True,
    samples=_samples((1, 1), (2, 2), (3, 2), (2, 3), (2, 2, 2), full_matrices=False),
)
_SVDResult = type(np.linalg.svd(np.eye(1)))


@implements(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    if hermitian:
        raise TypeError("numpy.linalg.svd on a Tensor does not take hermitian=; use np.linalg.eigh")
    if not compute_uv:
        return svdvals(a)
    return _SVDResult(*svd_(a, full_matrices=bool(full_matrices)))


@implements(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    return svd_(x, full_matrices=False)[1]


# ---- the condition number ---------------------------------------------------------------------------------


@implements(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    x = as_float(x)
    if 0 in x.shape[-2:]:
        raise np.linalg.LinAlgError(f"cond: a matrix of shape {x.shape} has no condition; expected elements")
    with np.errstate(divide="ignore", invalid="ignore"):
        if p is None or p in (2, -2):
            values = np.linalg.svdvals(x)
            largest, smallest = values[..., 0], values[..., -1]
            condition = smallest / largest if p == -2 else largest / smallest
        else:
            check_square("cond", x)
            condition = norm(x, p, (-2, -1)) * norm(inverse_or_nan(x), p, (-2, -1))
    singular = np.isnan(condition) & ~np.any(np.isnan(x), axis=(-2, -1))
    return np.where(singular, np.inf, condition)
