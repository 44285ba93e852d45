"""Data sets and the way from them to a training step.

`load` finds a data set by name; `batches` goes through it, with a `Standardizer` for the images and `one_hot`
for the labels where a loss wants it; `stratified_split` sets a validation part aside. Whatever is wrong with
a file, an image or a label is a `DataError`. This package needs NumPy alone, and nothing else of ours; the
names of the data sets (`SOURCES`) are known without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_mnist.data.catalogue import SOURCES, Source, load
from tinygrad_mnist.data.errors import DataError, DataUnavailableError

if TYPE_CHECKING:
    from tinygrad_mnist.data.batching import Standardizer, batches, one_hot, stratified_split
    from tinygrad_mnist.data.dataset import Dataset
    from tinygrad_mnist.data.digits import load_digits
    from tinygrad_mnist.data.idx import read_idx
    from tinygrad_mnist.data.mnist import cache_directory, load_mnist

__all__ = [
    "SOURCES",
    "DataError",
    "DataUnavailableError",
    "Dataset",
    "Source",
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


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tinygrad_mnist.data import batching, dataset, digits, idx, mnist

        for module in (batching, dataset, digits, idx, mnist):
            found = vars(module).get(name)
            if getattr(found, "__module__", None) == module.__name__:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
