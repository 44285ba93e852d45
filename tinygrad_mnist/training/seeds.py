"""From one seed a generator for each purpose, so that none disturbs another: one tree of random numbers."""

from __future__ import annotations

from typing import Final

import numpy as np

from tinygrad_mnist.training.errors import TrainingError

PURPOSES: Final = ("split", "initialisation", "order", "dropout", "sample")


def generators(seed: int) -> dict[str, np.random.Generator]:
    """A generator for each of `PURPOSES`, from one seed of at least 0.

    Raises
    ------
    TrainingError
        If the seed is negative.

    Examples
    --------
    >>> a, b = generators(0)["order"], generators(0)["order"]
    >>> bool(a.random() == b.random())
    True
    """
    if seed < 0:
        raise TrainingError(f"seed must be a whole number of at least 0, not {seed}")
    children = np.random.SeedSequence(seed).spawn(len(PURPOSES))
    return {name: np.random.default_rng(child) for name, child in zip(PURPOSES, children, strict=True)}
