"""Calls of every operation of the registry, from what it declares: the same ones in every run."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import Domain, EachArgument, Op, Sample
from tinygrad_mnist.testing.strategies import grid

FAMILIES = {
    "reduction": (
        Sample(((2, 3),), {"axis": None, "keepdims": False}),
        Sample(((2, 3),), {"axis": 1, "keepdims": True}),
        Sample(((3, 2, 2),), {"axis": (0, -1), "keepdims": False}),
    ),
    "index": (
        Sample(((3, 4),), {"index": (slice(None, None, 2), 1)}),
        Sample(((3, 4),), {"index": np.array([2, 0, 2])}),
        Sample(((2, 3),), {"index": (Ellipsis, None, slice(None, None, -1))}),
    ),
}
SHAPES = ((2, 3), (3,), (2, 1), (), (1, 3))


def samples_of(op: Op) -> Sequence[Sample]:
    """Return some ways to call an operation, the one that says most first."""
    if op.samples == "broadcast":
        parameters = inspect.signature(op.forward).parameters.values()
        if isinstance(op.rules, EachArgument) or not op.rules:
            count = sum(parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
        else:
            count = len(op.rules)
        shapes = [(shape,) * count for shape in ((2, 2), (), (0, 2))]
        if count > 1:
            shapes.insert(1, SHAPES[:count])
        return [Sample(each) for each in shapes]
    return FAMILIES[op.samples] if isinstance(op.samples, str) else op.samples


def call_of(op: Op, sample: Sample) -> tuple[list[Any], dict[str, Any]]:
    """Return arguments of common values inside of the operation's domain."""
    rng = np.random.default_rng(7)
    drawn = [i for i in range(len(sample.shapes)) if i not in sample.constants]
    domains = (op.domain,) * len(sample.shapes) if isinstance(op.domain, Domain) else op.domain
    arguments: dict[int, Any] = dict(sample.constants)
    taken = 0
    for i in drawn:
        size = int(np.prod(sample.shapes[i], dtype=int))
        values = grid(domains[i])
        if domains[i].distinct:
            values = np.random.default_rng(3).permutation(values)[taken : taken + size]
            taken += size
        else:
            values = rng.choice(values, size)
        arguments[i] = np.array(values, float).reshape(sample.shapes[i])
    for i, prepare in sample.prepare.items():
        arguments[i] = prepare(arguments[i])
    return [arguments[i] for i in sorted(arguments)], dict(sample.static)


def constant_call_of(op: Op) -> list[Any]:
    """Return arguments of a piecewise constant operation, a ufunc: some on its jumps, and none undefined."""
    rng = np.random.default_rng(5)
    arguments = [rng.integers(-12, 13, (2, 3)) / 4 for _ in range(op.forward.nin)]
    if op.name in ("left_shift", "right_shift"):
        return [(4 * arguments[0]).astype(np.int64), np.array([0, 3, 5])]
    if op.name in ("gcd", "lcm", "invert") or op.name.startswith("bitwise"):
        return [(4 * each).astype(np.int64) for each in arguments]
    return arguments
