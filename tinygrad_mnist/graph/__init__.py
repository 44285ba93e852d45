"""See the computation: a recorded tape as a graph of plain data, and its pictures."""

from tinygrad_mnist.graph.graph import Graph
from tinygrad_mnist.graph.record import Recording, record
from tinygrad_mnist.graph.trace import trace

__all__ = ["Graph", "Recording", "record", "trace"]
