"""Data to train on in a moment, for tests and for the programs that they start."""

import numpy as np

from tinygrad_mnist.data import Dataset


def noisy_patterns(seed: int = 7) -> Dataset:
    """Return four noisy patterns of 5 x 5 pixels, easy to tell apart: 160 to train on, 60 to test on."""
    rng = np.random.default_rng(seed)
    shapes = rng.integers(0, 2, size=(4, 5, 5)) * 180

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 4
        noise = rng.integers(0, 75, size=(count, 5, 5))
        return (shapes[labels] + noise).astype(np.uint8), labels.astype(np.int64)

    return Dataset("patterns", *draw(160), *draw(60), classes=4)
