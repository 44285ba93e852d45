"""Einstein's summation: one operation, whose gradient is another einsum."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import EachArgument, Sample, implements, multilinear

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _explicit(subscripts: str, ndims: tuple[int, ...]) -> tuple[list[str], str]:
    """Subscripts with a letter for every axis: the ellipsis spelled out, the output written down."""
    subscripts = subscripts.replace(" ", "")
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: {subscripts!r} names {len(terms)} operands, but {len(ndims)} were given")
    free = [letter for letter in _LETTERS if letter not in subscripts]
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

    A letter that nobody else has in this length becomes a vector of ones; one that the operand repeats (a
    diagonal), a second letter and an identity matrix.
    """
    terms, result = _explicit(subscripts, tuple(np.ndim(operand) for operand in operands))
    others = [(terms[i], operands[i]) for i in range(len(terms)) if i != position]
    lengths: dict[str, int] = {}
    for term, array in [(result, g), *others]:
        for letter, n in zip(term, np.shape(array), strict=True):
            lengths[letter] = max(n, lengths.get(letter, n))
    spare = iter(sorted(set(_LETTERS) - set(subscripts) - set(lengths)))
    target = ""
    for letter, n in zip(terms[position], operands[position].shape, strict=True):
        if letter in target:
            twin = next(spare)
            others.append((letter + twin, np.eye(n, dtype=g.dtype)))
            target += twin
        else:
            if lengths.get(letter, -1) < n:
                others.append((letter, np.ones(n, dtype=g.dtype)))
            target += letter
    left = ",".join([result, *(term for term, _ in others)])
    if not isinstance(optimize, (bool, str)):
        optimize = True  # a path holds for the operands that it was made for
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
            ("ij,ij->j", ((1, 3), (2, 3))), ("ij,ij->j", ((2, 3), (1, 3))), ("ij,ij->", ((1, 3), (2, 1))),
        )
    ),
)  # fmt: skip


@implements(np.einsum)
def einsum(*operands: Any, optimize: Any = False) -> Any:
    subscripts, arrays = _parsed(operands)
    return einsum_(*arrays, subscripts=subscripts, optimize=optimize)


def _parsed(operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The subscripts as a string, and the arrays, of either way to call ``np.einsum``."""
    if isinstance(operands[0], str):
        return operands[0], operands[1:]
    if len(operands) < 2:
        raise ValueError("einsum: expected subscripts, such as 'ij,jk->ik', and one array for each of them")
    inputs = ",".join(_letters(indices) for indices in operands[1::2])
    arrow = f"->{_letters(operands[-1])}" if len(operands) % 2 else ""
    return inputs + arrow, operands[: len(operands) - 1 : 2]


def _letters(indices: Any) -> str:
    """``[0, ..., 1]`` as "a...b"."""
    if not isinstance(indices, (list, tuple)):
        raise TypeError(
            "einsum: expected the subscripts as a string first, such as 'ij,jk->ik', or a list of numbers "
            f"after each array; got {type(indices).__name__}"
        )
    return "".join("..." if index is Ellipsis else _LETTERS[operator.index(index)] for index in indices)
