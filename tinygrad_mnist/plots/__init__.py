"""Pictures of data and of training, by matplotlib (the extra `plot`).

They take arrays and plain histories, not models. Each is drawn on a figure of its own, without the
global state of matplotlib: they need no screen, and may be drawn in threads. Each file is written whole or
not at all.
"""

from tinygrad_mnist.plots.augmentation import plot_augmentation
from tinygrad_mnist.plots.boundary import plot_decision_boundary
from tinygrad_mnist.plots.confusion import plot_confusion
from tinygrad_mnist.plots.predictions import plot_predictions
from tinygrad_mnist.plots.training import plot_training

__all__ = [
    "plot_augmentation",
    "plot_confusion",
    "plot_decision_boundary",
    "plot_predictions",
    "plot_training",
]
