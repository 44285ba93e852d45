"""The seed of a run, split into one generator of random numbers for each purpose.

All that is random in a run comes from here: the run's weights and its dropout too, since their layers are
given a generator. So the number of draws for one purpose does not change the numbers of another, and a run
does not depend on layers that were made before. (Layers that are made without a generator draw from the tree
of `tinygrad_mnist.nn.init.manual_seed`, which no run uses.)
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tinygrad_mnist.training.errors import TrainingError

PURPOSES: Final = ("split", "initialisation", "order", "dropout", "sample", "augmentation", "hard")
"""The purposes: the validation part, the weights, the order of the images, what is dropped, and the sample of
images that training accuracy is measured on and that are drawn; how images are changed; the hard images.

The order counts: a new one goes to the end, so that equal seeds go on giving equal numbers for the others.
"""


def generators(seed: int) -> dict[str, np.random.Generator]:
    """Return a generator for each of `PURPOSES`, from one seed of at least 0.

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
