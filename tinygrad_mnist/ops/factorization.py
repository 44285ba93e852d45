"""Factorisations of matrices: cholesky, qr, eigh, svd, and what is read off them; batched as in NumPy.

``cholesky``, ``eigh`` and ``eigvalsh`` read one triangle of their argument, so that is where their gradients
are: an element of the other triangle has gradient 0, as it has no influence. A function of singular or
eigenvectors that does not depend on their signs has a gradient; where two values coincide it is NaN as soon
as it involves these vectors, and finite where it does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import Sample, general, implements
from tinygrad_mnist.ops.linalg import dominant, inverse_or_nan, square


def _half_open(x: Any) -> Any:
    """The lower triangle, with half of the diagonal."""
    n = x.shape[-1]
    return x * (np.tri(n, dtype=x.dtype) - 0.5 * np.eye(n, dtype=x.dtype))


def _on_lower(x: Any) -> Any:
    """The gradient of a symmetric matrix that is given by its lower triangle, from that of all elements."""
    return _half_open(x + x.mT)


def _samples(*shapes: tuple[int, ...], **static: Any) -> tuple[Sample, ...]:
    return tuple(Sample((shape,), static, prepare={0: dominant}) for shape in shapes)


# ---- cholesky --------------------------------------------------------------------------------------------


def _cholesky_rule(g: Any, out: Any, x: Any) -> Any:
    """Murray (2016), "Differentiation of the Cholesky decomposition", equation 10."""
    inverse = np.linalg.inv(out)
    return _on_lower(inverse.mT @ _half_open(out.mT @ g) @ inverse)


cholesky_ = general(np.linalg.cholesky, _cholesky_rule, samples=_samples((1, 1), (3, 3), (2, 2, 2)))


@implements(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    square("cholesky", a)
    return cholesky_(a.mT).mT if upper else cholesky_(a)


# ---- qr --------------------------------------------------------------------------------------------------


def _qr_tall_rule(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    """Walter & Lehmann (2018), "Algorithmic differentiation of linear algebra functions", section 3.1."""
    m = r @ gr.mT - gq.mT @ q
    lower = np.tril(m, -1)
    return (gq + q @ (np.tril(m) + lower.mT)) @ inverse_or_nan(r).mT


def _qr_rule(g: tuple[Any, Any], out: tuple[Any, Any], x: Any) -> Any:
    """Of a wide matrix ``[x1 x2] = q [r1 r2]``: that of the square ``x1``, as ``r2`` is ``q.T @ x2``."""
    (gq, gr), (q, r), m = g, out, x.shape[-2]
    if x.shape[-1] <= m:
        return _qr_tall_rule(gq, gr, q, r)
    left = _qr_tall_rule(gq + x[..., m:] @ gr[..., m:].mT, gr[..., :m], q, r[..., :m])
    return np.concatenate([left, q @ gr[..., m:]], axis=-1)


qr_ = general(
    lambda x: tuple(np.linalg.qr(x)),
    _qr_rule,
    name="qr",
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


def _rotation(m: Any, gaps: Any) -> Any:
    """The antisymmetric part of ``m``, divided by ``gaps``: how two vectors turn into one another.

    Where they belong to one value (a gap of 0): 0 if nothing asks for these vectors, and NaN otherwise.
    """
    asked = ((m != 0) | (m.mT != 0)) & ~np.eye(m.shape[-1], dtype=bool)
    tied = gaps == 0
    turned = (m - m.mT) / np.where(tied, 2, 2 * gaps)
    return np.where(tied, np.where(asked, np.nan, 0), turned)


def _on_diagonal(values: Any) -> Any:
    """Vectors as diagonal matrices."""
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
    samples=_samples((1, 1), (3, 3), (2, 2, 2), UPLO="L") + _samples((3, 3), UPLO="U"),
)
_EighResult = type(np.linalg.eigh(np.eye(1)))


@implements(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"eigh: UPLO={UPLO!r} was given; expected 'L' or 'U'")
    return _EighResult(*eigh_(square("eigh", a), UPLO=UPLO.upper()))


@implements(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    return eigh(a, UPLO).eigenvalues


def _per_value(columns: Any, s: Any) -> Any:
    """Columns divided by their singular values; by 0 only if something asks for that column."""
    s = s[..., None, :]
    zero = s == 0
    return np.where(zero, np.where(columns == 0, 0, np.nan), columns / np.where(zero, 1, s))


def _completed(g: Any, vectors: Any, k: int) -> tuple[Any, Any]:
    """The first k vectors and their cotangent, once that of the others is expressed by them.

    The others are any basis of the complement: only their projector is a function of the matrix, and it is
    the identity less the projector of the first.
    """
    first, others = vectors[..., :k], vectors[..., k:]
    return g[..., :k] - others @ (g[..., k:].mT @ first), first


def _svd_rule(g: tuple[Any, ...], out: tuple[Any, ...], x: Any, full_matrices: bool) -> Any:
    """Townsend (2016), "Differentiating the singular value decomposition", section 1.1, by partial fractions.

    A singular value of 0 is a kink, as in the absolute value, with gradient 0.
    """
    s = out[1]
    k = s.shape[-1]
    gu, u = _completed(g[0], out[0], k)
    gv, v = _completed(g[2].mT, out[2].mT, k)
    by_u, by_v = u.mT @ gu, v.mT @ gv
    row, column = s[..., None, :], s[..., :, None]
    inner = (
        _rotation(by_u + by_v, row - column)
        + _rotation(by_u - by_v, row + column)
        + _on_diagonal(np.sign(s) * g[1])
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
