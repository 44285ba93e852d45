"""Folders of drawings that were kept as they were drawn, and the file that says how a model is shown them.

Pictures of a data set are scaled as a whole. A drawing is not as large, and not in the place, that its model
knows: it has to be prepared. So a folder of drawings says by a file `FILE` how that is done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.prepare import Preparation
from tinygrad_mnist.files import write_json

FILE: Final = "drawings.json"
"""The name of the file, directly in the folder that has a folder for each class."""

_ABOUT = "The pictures here are as they were drawn. Before training each is prepared as a model is shown it."
_LONGEST = 1 << 16


def write_preparation(directory: Path, preparation: Preparation) -> None:
    """Write down how the drawings in a folder are prepared."""
    height, width = preparation.shape
    write_json(
        directory / FILE,
        {
            "about": _ABOUT,
            "image_shape": [height, width],
            "is_centred": preparation.is_centred,
            "page": preparation.page,
        },
    )


def read_preparation(directory: Path) -> Preparation | None:
    """Return how the drawings in a folder are prepared; None for a folder of other pictures.

    Raises
    ------
    DataError
        The file cannot be read, or does not say it.
    """
    path = directory / FILE
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(_LONGEST))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({error}); {_WHAT_TO_DO}") from error
    match values:
        case {"image_shape": [int(height), int(width)], "is_centred": bool(is_centred), "page": page}:
            return _checked(path, (height, width), is_centred, page)
    raise DataError(f"{path} lacks image_shape, is_centred or page; {_WHAT_TO_DO}")


def _checked(path: Path, shape: tuple[int, int], is_centred: bool, page: Any) -> Preparation:
    try:
        return Preparation(shape, is_centred, page)
    except DataError as error:
        raise DataError(f"{path}: {error}; {_WHAT_TO_DO}") from error


_WHAT_TO_DO = "take another copy of it, or remove it to have the pictures scaled as a whole"
