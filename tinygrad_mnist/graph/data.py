"""What a graph is made of: nodes, edges and clusters, as plain frozen data with summaries instead of arrays.

Nothing here knows a tape, a Tensor or a picture. Numbers are rounded to four digits, so that two runs of the
same computation give the same data.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

OPERATION: Final = "operation"
PARAMETER: Final = "parameter"
BUFFER: Final = "buffer"
INPUT: Final = "input"

CONSTANT: Final = "constant"
"""The label of an input without a name that came about inside a module."""

NOISE: Final = 1e-6
"""A mean or deviation that is smaller than this, beside the largest entry, is roundoff and shown as 0."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the entries of an array are like.

    Attributes
    ----------
    min, mean, std, max : float or None
        Of the finite entries; None where there is none.
    norm : float or None
        The Euclidean norm of the finite entries.
    nan, inf : int
        How many entries are not a number, and how many are infinite.
    """

    min: float | None = None
    mean: float | None = None
    std: float | None = None
    max: float | None = None
    norm: float | None = None
    nan: int = 0
    inf: int = 0

    @property
    def finite(self) -> bool:
        """Whether all entries are finite."""
        return not (self.nan or self.inf)

    @classmethod
    def of(cls, array: Any) -> Statistics:
        """Summarise an array of real numbers or booleans.

        Examples
        --------
        >>> Statistics.of(np.array([1.0, 2.0, np.nan]))
        Statistics(min=1.0, mean=1.5, std=0.5, max=2.0, norm=2.236, nan=1, inf=0)
        """
        values = np.asarray(array, dtype=np.float64).ravel("K")
        nan = inf = 0
        if not np.logical_and.reduce(np.isfinite(values)):
            nan, inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
            values = values[np.isfinite(values)]
        if not values.size:
            return cls(nan=nan, inf=inf)
        low, high = float(np.minimum.reduce(values)), float(np.maximum.reduce(values))
        scale = max(-low, high) or 1.0  # so that no square overflows
        scaled = values / scale
        mean = float(np.add.reduce(scaled)) / scaled.size
        apart = scaled - mean
        std = math.sqrt(np.add.reduce(apart * apart) / scaled.size)
        return cls(
            rounded(low),
            rounded(scale * mean) if abs(mean) > NOISE else 0.0,
            rounded(scale * std) if std > NOISE else 0.0,
            rounded(high),
            rounded(scale * math.sqrt(np.add.reduce(scaled * scaled))),
            nan,
            inf,
        )


def rounded(x: float) -> float:
    """A number with four significant digits; one that would overflow by that stays as large as it can."""
    short = float(f"{x:.4g}")
    return short if math.isfinite(short) else math.copysign(sys.float_info.max, short)


@cache
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype)


@dataclass(frozen=True, slots=True)
class Value:
    """An array that flows along an edge, without its entries.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
    bytes : int
    statistics : Statistics or None
        Of the entries.
    gradient : Statistics or None
        Of the gradient that a backward pass brought here; None where none came, or none was recorded.
    """

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    statistics: Statistics | None = None
    gradient: Statistics | None = None

    @property
    def size(self) -> int:
        """How many entries there are."""
        return math.prod(self.shape)

    @classmethod
    def of(cls, array: Any, gradient: Any = None) -> Value:
        """Summarise an array, and its gradient if there is one."""
        return cls(
            tuple(array.shape),
            _name(array.dtype),
            array.nbytes,
            Statistics.of(array),
            None if gradient is None else Statistics.of(gradient),
        )


@dataclass(frozen=True, slots=True)
class Node:
    """An operation, or an array that it takes.

    Attributes
    ----------
    id : str
        Stable: ``model/bn1/batch_norm#1`` for an operation (cluster, name, ordinal there),
        ``model/bn1/weight`` for a parameter, ``input#1`` for an array, ``constant#1`` for one that was made
        inside a module.
    kind : str
        ``operation``, ``parameter`` (anything that a user asked a gradient for), ``buffer`` or ``input``.
    name : str
        Name of the operation, path of the parameter or buffer (``bn1.weight``), name of the input.
    label : str
        What a picture shows: the sign of an operation, such as ``×``, else its name; ``constant`` for an
        input without a name that was made inside a module, such as the mask of a dropout.
    cluster : str
        Id of the cluster that it stands in; empty at the top.
    values : tuple of Value
        The results: one, but for operations that return several.
    arguments : str
        Numbers and keyword arguments, ``·`` standing for an edge: ``·, 2`` or ``axis=0``. Empty if none.
    requires_grad : bool
        Whether the tape leads through it.
    line : str
        The user's line that ran it: ``train.py:12, in step: loss = ...``; empty where it was not recorded.
    saved_bytes : int
        Memory that this operation keeps for the backward pass, each array counted once.
    forward_seconds, backward_seconds : float or None
        Measured by ``profile``.
    forward_bytes, backward_bytes : int or None
        Memory that was kept for the backward pass when this operation had run, and when the backward pass
        was at it, with the gradients that were there then; measured by ``profile``.
    """

    id: str
    kind: str
    name: str
    label: str
    cluster: str
    values: tuple[Value, ...]
    arguments: str = ""
    requires_grad: bool = False
    line: str = ""
    saved_bytes: int = 0
    forward_seconds: float | None = None
    backward_seconds: float | None = None
    forward_bytes: int | None = None
    backward_bytes: int | None = None

    @property
    def value(self) -> Value:
        """The (first) result."""
        return self.values[0]


@dataclass(frozen=True, slots=True)
class Edge:
    """One use of a result: there are as many edges as uses.

    Attributes
    ----------
    source, target : str
        Ids of nodes.
    argument : int
        Position among the arguments of the target.
    output : int
        Which result of the source.
    requires_grad : bool
        Whether a gradient flows back along it.
    gradient : Statistics or None
        Of what a backward pass brought back along it; for a repeated operand, of the uses together.
    """

    source: str
    target: str
    argument: int
    output: int = 0
    requires_grad: bool = False
    gradient: Statistics | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """One call of a module.

    Attributes
    ----------
    id : str
        The path of the module: ``model/bn1``; a second call of it is ``model/bn1@2``.
    name : str
        Its own name: ``bn1``.
    kind : str
        Its class; empty where only the names of parameters told of it.
    parent : str
        Id of the cluster around it; empty at the top.
    call : int
        1 for the first call.
    detail : str
        How the module was made: ``784, 64``.
    """

    id: str
    name: str
    kind: str = ""
    parent: str = ""
    call: int = 1
    detail: str = ""

    @property
    def module(self) -> str:
        """The path of the module, the same for all its calls."""
        return "/".join(part.partition("@")[0] for part in self.id.split("/"))
