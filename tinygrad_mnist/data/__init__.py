"""Data sets, their batches for training, and random changes to the images.

`load` finds a data set by its name, or reads one of your own in any usual format. `batches` yields it in
parts, with a `Standardizer` for the images, and `one_hot` for the labels if a loss needs it.
`stratified_split` sets a validation part aside. An `Augmenter` distorts each image a little, by an
`Augmentation` that says how much; `hard_images` chooses those that are worth the most training. A fault in a
file, an image or a label raises a `DataError`.

It needs NumPy alone, and Pillow for pictures. The names below are loaded when they are asked for, as an
`Augmentation` and the errors need not even that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_mnist.data.augmentation import AUGMENTATIONS, Augmentation, find_augmentation
from tinygrad_mnist.data.errors import DataError, DataUnavailableError

if TYPE_CHECKING:
    from tinygrad_mnist.data.augmenter import Augmenter
    from tinygrad_mnist.data.batching import Batches, batches, one_hot, stratified_split
    from tinygrad_mnist.data.dataset import Dataset
    from tinygrad_mnist.data.datasets import load, load_digits, load_mnist
    from tinygrad_mnist.data.download import cache_directory
    from tinygrad_mnist.data.framing import cropped, shifted
    from tinygrad_mnist.data.idx import read_idx
    from tinygrad_mnist.data.scaling import background_of
    from tinygrad_mnist.data.selection import hard_images, ridge_margins
    from tinygrad_mnist.data.standardization import Standardizer
    from tinygrad_mnist.data.unlabelled import read_unlabelled

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Augmenter",
    "Batches",
    "DataError",
    "DataUnavailableError",
    "Dataset",
    "Standardizer",
    "background_of",
    "batches",
    "cache_directory",
    "cropped",
    "find_augmentation",
    "hard_images",
    "load",
    "load_digits",
    "load_mnist",
    "one_hot",
    "read_idx",
    "read_unlabelled",
    "ridge_margins",
    "shifted",
    "stratified_split",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tinygrad_mnist.data import (
            augmenter,
            batching,
            dataset,
            datasets,
            download,
            framing,
            idx,
            scaling,
            selection,
            standardization,
            unlabelled,
        )

        for module in (
            augmenter,
            batching,
            dataset,
            datasets,
            download,
            framing,
            idx,
            scaling,
            selection,
            standardization,
            unlabelled,
        ):
            found = vars(module).get(name)
            if getattr(found, "__module__", None) == module.__name__:  # not where it is only imported
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
