"""Pictures of data and of training, by matplotlib (the extra `plot`).

Each function takes arrays and plain rows, not models, and returns a figure, which a notebook shows. `save`
writes it into a file, whole or not at all; `svg` makes it a part of a page. A figure is as wide as `width`
says, in inches, and lays itself out for it: 9 by default, and about 5 for a telephone. They are drawn
without the global state of matplotlib: they need no screen, and may be drawn in threads.
"""

from tinygrad_mnist.plots.augmentation import plot_augmentation
from tinygrad_mnist.plots.boundary import plot_decision_boundary
from tinygrad_mnist.plots.calibration import Calibration, calibration, plot_calibration
from tinygrad_mnist.plots.confusion import plot_class_accuracy, plot_confusion
from tinygrad_mnist.plots.curves import plot_comparison, plot_training
from tinygrad_mnist.plots.gradients import norms_by_layer, plot_gradient_norms
from tinygrad_mnist.plots.intervals import wilson_interval
from tinygrad_mnist.plots.predictions import plot_mistakes, plot_predictions
from tinygrad_mnist.plots.saliency import plot_saliency
from tinygrad_mnist.plots.saving import save, svg
from tinygrad_mnist.plots.schedule import plot_schedule
from tinygrad_mnist.plots.weights import plot_weights

__all__ = [
    "Calibration",
    "calibration",
    "norms_by_layer",
    "plot_augmentation",
    "plot_calibration",
    "plot_class_accuracy",
    "plot_comparison",
    "plot_confusion",
    "plot_decision_boundary",
    "plot_gradient_norms",
    "plot_mistakes",
    "plot_predictions",
    "plot_saliency",
    "plot_schedule",
    "plot_training",
    "plot_weights",
    "save",
    "svg",
    "wilson_interval",
]
