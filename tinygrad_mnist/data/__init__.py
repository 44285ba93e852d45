"""Data sets, and their batches for training.

`load` finds a data set by its name, or reads one of your own in any usual format. `batches` yields it in
parts, with a `Standardizer` for the images, and `one_hot` for the labels if a loss needs it.
`stratified_split` sets a validation part aside. A fault in a file, an image or a label raises a `DataError`.
It needs NumPy alone, and Pillow for pictures.
"""

from tinygrad_mnist.data.batches import batches, one_hot, stratified_split
from tinygrad_mnist.data.dataset import Dataset
from tinygrad_mnist.data.datasets import load, load_digits, load_mnist
from tinygrad_mnist.data.download import cache_directory
from tinygrad_mnist.data.errors import DataError, DataUnavailableError
from tinygrad_mnist.data.formats import read_unlabelled
from tinygrad_mnist.data.idx import read_idx
from tinygrad_mnist.data.standardization import Standardizer

__all__ = [
    "DataError",
    "DataUnavailableError",
    "Dataset",
    "Standardizer",
    "batches",
    "cache_directory",
    "load",
    "load_digits",
    "load_mnist",
    "one_hot",
    "read_idx",
    "read_unlabelled",
    "stratified_split",
]
