"""Data sets and the way from them to a training step.

`load` finds a data set by name; `batches` goes through it, with a `Standardizer` for the images and `one_hot`
for the labels where a loss wants it; `stratified_split` sets a validation part aside. Whatever is wrong with
a file, an image or a label is a `DataError`. This room needs NumPy alone and knows nothing of the rest of the
package.
"""

from tinygrad_mnist.data.batches import Standardizer, batches, one_hot, stratified_split
from tinygrad_mnist.data.catalogue import load
from tinygrad_mnist.data.dataset import Dataset
from tinygrad_mnist.data.digits import load_digits
from tinygrad_mnist.data.errors import DataError, DataUnavailableError
from tinygrad_mnist.data.idx import read_idx
from tinygrad_mnist.data.mnist import cache_directory, load_mnist

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
    "stratified_split",
]
