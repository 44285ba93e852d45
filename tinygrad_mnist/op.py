"""Declare operations of your own: the declarators, and where an operation is to be checked."""

from tinygrad_mnist.engine.op import (
    DISTINCT,
    INSIDE_UNIT,
    NONZERO,
    POSITIVE,
    REAL,
    REGISTRY,
    Domain,
    EachArgument,
    Op,
    Sample,
    constant,
    elementwise,
    fused,
    general,
    implements,
    linear,
    multilinear,
    register,
)

# fmt: off
__all__ = [
    "elementwise", "linear", "multilinear", "general", "fused", "constant", "implements", "register",
    "Op", "EachArgument", "REGISTRY",
    "Domain", "Sample", "REAL", "POSITIVE", "NONZERO", "INSIDE_UNIT", "DISTINCT",
]
# fmt: on
