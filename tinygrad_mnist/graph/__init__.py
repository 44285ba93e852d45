"""See the computation: a recorded tape as a graph of plain data, and its pictures."""

from tinygrad_mnist.graph import methods as _methods  # noqa: F401  (gives `Graph` what draws)
from tinygrad_mnist.graph.data import Graph
from tinygrad_mnist.graph.diff import Difference, diff
from tinygrad_mnist.graph.formats.layout import LayoutError
from tinygrad_mnist.graph.profile import Peak, peak, profile
from tinygrad_mnist.graph.record import Recording, record
from tinygrad_mnist.graph.storyboard.build import storyboard
from tinygrad_mnist.graph.storyboard.data import Storyboard
from tinygrad_mnist.graph.trace import trace

__all__ = [
    "Difference",
    "Graph",
    "LayoutError",
    "Peak",
    "Recording",
    "Storyboard",
    "diff",
    "peak",
    "profile",
    "record",
    "storyboard",
    "trace",
]
