"""Checkpoints: a model's parameters and all that is needed to use it, in one ``.npz`` file without pickle.

The file holds one array for each entry of the model's state dict, as ``model.<name>``, and one string of
JSON, ``checkpoint``: the recipe, the shape of the images, their standardisation, the names of the classes,
and where the values come from.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist._version import __version__
from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.files import replacing
from tinygrad_mnist.training.choices import build_model
from tinygrad_mnist.training.directory import CHECKPOINT
from tinygrad_mnist.training.errors import CheckpointError, writing
from tinygrad_mnist.training.recipes import Recipe

FORMAT: Final = 1
"""The version of the file's layout. It is increased only when earlier versions of this package could not read
the file; another entry in the header does not need that."""

_HEADER = "checkpoint"
_PREFIX = "model."
_ENTRIES = ("format", "tinygrad_mnist", "recipe", "image_shape", "class_names", "standardizer", "origin")
_WHAT_TO_NAME = "name a directory that 'tinygrad-mnist train' has written"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model, and all that is needed to use it on a picture.

    Parameters
    ----------
    model : Sequential
        From rows of standardised pixels to logits.
    recipe : Recipe
        The recipe by which it was built and trained.
    image_shape : tuple of int
        Height and width of its images.
    class_names : tuple of str
        The class that each output stands for.
    standardizer : Standardizer
        Fitted on its training images.
    origin : dict
        Its origin as plain data: at least ``data`` (what is to be asked for to get its data set again) and
        ``seed``.
    """

    model: nn.Sequential
    recipe: Recipe
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]
    standardizer: Standardizer
    origin: dict[str, Any]


def save_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path : path-like
        The file; an older one is replaced.
    checkpoint : Checkpoint
        The checkpoint to write.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    header = {
        "format": FORMAT,
        "tinygrad_mnist": __version__,
        "recipe": checkpoint.recipe.to_dict(),
        "image_shape": list(checkpoint.image_shape),
        "class_names": list(checkpoint.class_names),
        "standardizer": checkpoint.standardizer.state(),
        "origin": checkpoint.origin,
    }
    arrays = {_PREFIX + name: np.asarray(value) for name, value in checkpoint.model.state_dict().items()}
    arrays[_HEADER] = np.array(json.dumps(header, allow_nan=False))
    with writing(path), replacing(path) as unfinished:
        np.savez(unfinished, **arrays)  # type: ignore[arg-type]


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what `save_checkpoint` wrote.

    Parameters
    ----------
    path : path-like
        The file, or a run directory that has one.

    Returns
    -------
    Checkpoint
        Its model is in evaluation mode.

    Raises
    ------
    CheckpointError
        If there is none, it is damaged, a value is not finite, or its values are another model's than
        it says; the one message lists whatever is missing, unexpected or of another shape.
    """
    path = _find(Path(path))
    header, state = _read(path)
    recipe, image_shape, class_names, standardizer = _configuration(path, header)
    model = build_model(recipe, image_shape[0] * image_shape[1], len(class_names))
    try:
        model.load_state_dict(state)
    except ValueError as error:  # a heading, and a line for each fault
        faults = "; ".join(line.strip(" -") for line in str(error).splitlines()[1:])
        raise CheckpointError(f"{path} holds another model than its recipe describes: {faults}") from error
    infinite = [name for name, value in state.items() if not np.isfinite(value).all()]
    if infinite:
        raise CheckpointError(
            f"{path} holds numbers that are not finite, in {', '.join(infinite)}; take another copy of it, "
            "or train again"
        )
    model.eval()
    return Checkpoint(model, recipe, image_shape, class_names, standardizer, dict(header["origin"]))


def _find(path: Path) -> Path:
    """Return the checkpoint that is meant: the file itself, or that of a run directory."""
    if path.is_dir():
        if not (path / CHECKPOINT).exists():
            raise CheckpointError(
                f"{path} has no {CHECKPOINT}; {_WHAT_TO_NAME}"
            )
        return path / CHECKPOINT
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; name a run directory or a checkpoint in it")
    return path


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header, with all its entries, and the arrays of the model."""
    arrays = _read_arrays(path)
    text = arrays.pop(_HEADER, None)
    if text is None or text.dtype.kind != "U":
        raise CheckpointError(
            f"{path} is an .npz file, but no checkpoint of tinygrad_mnist: it has no header; {_WHAT_TO_NAME}"
        )
    state = {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
    return _read_header(path, str(text)), state


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of the file."""
    try:
        with path.open("rb") as file:
            # looked at first, as np.load would take a file of one array too, and name pickle for any other
            is_archive = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            if is_archive:
                with np.load(file, allow_pickle=False) as content:
                    return {name: content[name] for name in content.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, MemoryError) as error:
        raise CheckpointError(
            f"{path} is cut off or damaged; take another copy of it, or train again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error})") from error
    raise CheckpointError(f"{path} is no checkpoint, nor any .npz file; {_WHAT_TO_NAME}")


def _read_header(path: Path, text: str) -> dict[str, Any]:
    """Return the header from its JSON, if it has all entries and its format is known."""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: its header is no JSON") from error
    found: dict[str, Any] = header if isinstance(header, dict) else {}
    missing = [name for name in _ENTRIES if name not in found]
    if missing:
        raise CheckpointError(f"{path} is no checkpoint: its header lacks {', '.join(missing)}")
    if found["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {found['format']!r}, written by tinygrad_mnist {found['tinygrad_mnist']}; "
            f"this is {__version__}, which reads format {FORMAT}"
        )
    return found


def _configuration(
    path: Path, header: dict[str, Any]
) -> tuple[Recipe, tuple[int, int], tuple[str, ...], Standardizer]:
    """Return the values that the header describes; it may say anything, as anybody may have written it."""
    try:
        recipe = Recipe.from_dict(header["recipe"])
        height, width = (int(side) for side in header["image_shape"])
        class_names = tuple(map(str, header["class_names"]))
        standardizer = Standardizer.from_state(header["standardizer"])
        dict(header["origin"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} has a header that cannot be used: {error}") from error
    if height < 1 or width < 1 or len(class_names) < 2:
        raise CheckpointError(f"{path} has a header that cannot be used: no image, or less than two classes")
    return recipe, (height, width), class_names, standardizer
