"""Products: matmul, dot, outer, einsum."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.op import UFUNCS, EachArgument, Sample, implements, multilinear


def _t(x: Any) -> Any:
    """The last two axes exchanged."""
    return x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)


def _matmul_by_first(g: Any, out: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g[..., None] * y
    return np.matmul(y, g[..., None])[..., 0] if x.ndim == 1 else g @ _t(y)


def _matmul_by_second(g: Any, out: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return g * x if y.ndim == 1 else x[:, None] * g[..., None, :]
    return np.matmul(_t(x), g[..., None])[..., 0] if y.ndim == 1 else _t(x) @ g


matmul = multilinear(
    np.matmul,
    (_matmul_by_first, _matmul_by_second),
    label="@",
    broadcasts=True,
    samples=tuple(
        Sample(shapes)
        for shapes in (
            ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((1, 1), (1, 1)),
            ((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 1)), ((2, 1, 2, 3), (3, 3, 2)),
            ((3,), (2, 3, 2)), ((2, 2, 3), (3,)),
        )
    ),
)  # fmt: skip
UFUNCS[np.matmul] = matmul


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    """``matmul`` up to two axes; over the last axis of ``a`` and the second to last of ``b`` beyond."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    if np.ndim(b) <= 2:
        return a @ b
    n, *kept = np.moveaxis(b, -2, 0).shape
    return np.reshape(np.matmul(a, np.reshape(np.moveaxis(b, -2, 0), (n, -1))), (*a.shape[:-1], *kept))


@implements(np.outer)
def outer(a: Any, b: Any) -> Any:
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


def _explicit(subscripts: str, ndims: tuple[int, ...]) -> tuple[list[str], str]:
    """Subscripts with a letter for every axis: the ellipsis spelled out, the output written down."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, but {len(ndims)} were given")
    free = [chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1))]
    free = [letter for letter in free if letter not in subscripts]
    hidden = [
        ndim - len(term.replace("...", "")) if "..." in term else 0
        for term, ndim in zip(terms, ndims, strict=True)
    ]
    dots = "".join(free[: max(hidden, default=0)])
    if not arrow:
        letters = left.replace(",", "").replace("...", "")
        once = sorted({letter for letter in letters if letters.count(letter) == 1})
        right = ("..." if "..." in left else "") + "".join(once)
    terms = [term.replace("...", dots[len(dots) - n :]) for term, n in zip(terms, hidden, strict=True)]
    return terms, right.replace("...", dots)


def _einsum_rule(
    position: int, g: Any, out: Any, *operands: Any, subscripts: str, optimize: Any = False
) -> Any:
    """Exchange the output with one operand.

    A letter that nobody else has becomes a vector of ones; one that the operand repeats (a diagonal), a
    second letter and an identity matrix.
    """
    terms, result = _explicit(subscripts, tuple(np.ndim(operand) for operand in operands))
    others = [(terms[i], operands[i]) for i in range(len(terms)) if i != position]
    target, used = "", result + "".join(term for term, _ in others)
    spare = iter(sorted(set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") - set(subscripts + used)))
    for letter, n in zip(terms[position], operands[position].shape, strict=True):
        if letter in target:
            twin = next(spare)
            others.append((letter + twin, np.eye(n, dtype=g.dtype)))
            target += twin
        else:
            if letter not in used:
                others.append((letter, np.ones(n, dtype=g.dtype)))
            target += letter
    left = ",".join([result, *(term for term, _ in others)])
    return np.einsum(f"{left}->{target}", g, *(array for _, array in others), optimize=optimize)


einsum_ = multilinear(
    lambda *operands, subscripts, optimize=False: np.einsum(subscripts, *operands, optimize=optimize),
    EachArgument(_einsum_rule),
    name="einsum",
    broadcasts=True,
    samples=tuple(
        Sample(shapes, {"subscripts": subscripts})
        for subscripts, shapes in (
            ("ij,jk->ik", ((2, 3), (3, 2))), ("ij,jk", ((2, 3), (3, 2))), ("ij->ji", ((2, 3),)),
            ("ii->i", ((3, 3),)), ("ii", ((2, 2),)), ("ij->", ((2, 3),)), ("i,j->ij", ((2,), (3,))),
            ("...ij,...jk->...ik", ((2, 2, 3), (3, 2))), ("bij,bjk->bik", ((2, 2, 3), (2, 3, 1))),
            ("i,i,i->", ((3,), (3,), (3,))), ("iij,j->i", ((2, 2, 3), (3,))), ("ij,k->k", ((2, 2), (3,))),
            ("i...->...", ((3, 2),)), (",i->i", ((), (3,))), ("ij,ij->ij", ((1, 3), (2, 3))),
        )
    ),
)  # fmt: skip


@implements(np.einsum)
def einsum(subscripts: Any, *operands: Any, optimize: Any = False) -> Any:
    if not isinstance(subscripts, str):
        raise TypeError(
            "einsum: expected the subscripts as a string, such as 'ij,jk->ik', first; got "
            f"{type(subscripts).__name__}"
        )
    return einsum_(*operands, subscripts=subscripts, optimize=optimize)
