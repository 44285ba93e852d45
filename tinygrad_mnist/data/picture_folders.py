"""Data sets in folders: a folder of pictures for each class, called as the class."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.drawings import read_preparation
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.images import read_image
from tinygrad_mnist.data.labels import natural
from tinygrad_mnist.data.parts import MOST_BYTES, Found, Part, with_validation
from tinygrad_mnist.data.pillow_images import Outline, read_outline
from tinygrad_mnist.data.prepare import Preparation
from tinygrad_mnist.data.scaling import scaled
from tinygrad_mnist.numbers import count_text, size_text

SUFFIXES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
        *(".pgm", ".ppm", ".pbm", ".pnm", ".tga", ".avif", ".jp2", ".ico", ".pcx"),
    )
)
"""The endings of files that are taken for pictures, in small letters."""

LONGEST_SIDE = 128
"""The pixels of the longer side of images; larger pictures are scaled down to it."""

ClassFolders = dict[str, list[Path]]
"""The folders of the classes, in natural order, by part: ``train``, ``test`` and ``validation``."""

_PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}
_PART_NAME = re.compile(r"(train|test|val)(ing|id|idation)?([-_ ].*)?", re.IGNORECASE)
"""The names of folders that, where all are called so, are parts without classes, and no classes."""
_IGNORED = ("thumbs.db", "desktop.ini", "__macosx")


def visible(directory: Path) -> list[os.DirEntry[str]]:
    """Return what is in a directory, in natural order, without what programs and systems hide there."""
    with os.scandir(directory) as entries:
        shown = [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name.casefold() not in _IGNORED
        ]
    return sorted(shown, key=lambda entry: natural(entry.name))


def is_picture_name(name: str) -> bool:
    """Return whether a file is a picture by its ending."""
    return os.path.splitext(name)[1].casefold() in SUFFIXES


def is_class_name(name: str) -> bool:
    """Return whether a folder of this name is taken for a class, whatever is beside it.

    Examples
    --------
    >>> is_class_name("7"), is_class_name("test"), is_class_name(".git")
    (True, False, False)
    """
    is_hidden = name.startswith(".") or name.casefold() in _IGNORED
    return bool(name) and not is_hidden and _PART_NAME.fullmatch(name) is None


def pictures_in(directory: Path) -> tuple[list[Path], int]:
    """Return the pictures in and below a directory, in natural order, and how many files are none."""
    pictures, others = [], 0
    for where, folders, files in os.walk(directory):
        folders[:] = sorted((name for name in folders if not name.startswith(".")), key=natural)
        for name in sorted(files, key=natural):
            if is_picture_name(name):
                pictures.append(Path(where, name))
            elif not name.startswith(".") and name.casefold() not in _IGNORED:
                others += 1
    return pictures, others


def class_folders(directory: Path) -> ClassFolders | None:
    """Return the folders with the pictures of the classes; None if a directory has none.

    The folders of the classes are in the directory itself, or in folders ``train`` and ``test`` in it.
    """
    folders = {entry.name: Path(entry.path) for entry in visible(directory) if entry.is_dir()}
    by_part = {
        part: path
        for part, names in _PARTS.items()
        for name, path in folders.items()
        if name.casefold() in names
    }
    if "train" in by_part:
        parts = {
            part: [Path(entry.path) for entry in visible(path) if entry.is_dir()]
            for part, path in by_part.items()
        }
        if any(_has_picture(folder) for folder in parts["train"]):
            return {part: found for part, found in parts.items() if found}
    are_parts = all(_PART_NAME.fullmatch(name) for name in folders)
    if len(folders) > 1 and not are_parts:
        with_pictures = sum(map(_has_picture, folders.values()))
        if 2 * with_pictures > len(folders):  # else it is a folder of anything; a class or two may be empty
            return {"train": list(folders.values())}
    return None


def _has_picture(directory: Path) -> bool:
    """Return whether there is a picture in a directory or below; the first one that is found is enough."""
    return any(is_picture_name(name) for _, _, files in os.walk(directory) for name in files)


def read_class_folders(directory: Path, found: ClassFolders) -> Found:
    """Read the pictures of all classes.

    Pictures of other sizes than most are scaled as a whole, and large ones are scaled down. Colour is made
    grey. Drawings that a service has kept are prepared, as its model is shown them.

    Raises
    ------
    DataError
        A folder of a class has no picture, a picture cannot be read, or they would take too much memory.
    ImportError
        Pillow is not installed.
    """
    files: dict[str, list[tuple[Path, str]]] = {}
    others = 0
    for part, folders in found.items():
        files[part] = []
        for folder in folders:
            pictures, no_pictures = pictures_in(folder)
            if not pictures:
                raise DataError(
                    f"{folder} has no pictures ({_endings()}), where those of the class {folder.name!r} were "
                    "expected; put some there, or remove it"
                )
            files[part] += [(path, folder.name) for path in pictures]
            others += no_pictures
    images, notes = read_pictures([path for pairs in files.values() for path, _ in pairs], directory)
    if others:
        notes.append(f"{others:,} other {'file is' if others == 1 else 'files are'} left out")
    parts, start = {}, 0
    for part, pairs in files.items():
        where = directory / part if len(found) > 1 else directory
        labels = np.array([label for _, label in pairs], np.str_)
        parts[part] = Part(str(where), images[start : start + len(pairs)], labels)
        start += len(pairs)
    train, test, more = with_validation(parts["train"], parts.get("test"), parts.get("validation"))
    preparation = read_preparation(directory)
    is_centred = preparation is not None and preparation.is_centred
    return Found("folders of pictures", train, test, notes=(*notes, *more), is_centred=is_centred)


def _endings() -> str:
    return "PNG, JPEG and others that Pillow reads"


def read_pictures(
    paths: Sequence[Path], directory: Path, shape: tuple[int, int] | None = None
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the grey values of pictures, each scaled as a whole to one size, and notes on that.

    Drawings are prepared, where the directory says by its file how; see `tinygrad_mnist.data.drawings`.

    Parameters
    ----------
    paths : sequence of Path
        The pictures.
    directory : Path
        Where they are.
    shape : tuple of int, optional
        Height and width; by default those that most of them have, with a longer side of at most
        `LONGEST_SIDE`.

    Returns
    -------
    images : ndarray
        uint8, shape (n, h, w).
    notes : list of str
        What was done, each a part of a sentence.
    """
    if (preparation := read_preparation(directory)) is not None:
        return _prepared(paths, directory, replace(preparation, shape=shape or preparation.shape))
    outlines, kept = [], 0
    for path in paths:
        outline = read_outline(path, small=LONGEST_SIDE**2)
        outlines.append(outline)
        kept += 0 if outline.grey is None else outline.grey.size
        if kept > MOST_BYTES:
            raise _too_many(directory, len(paths), outline.shape)
    shape, notes = _common_shape(outlines) if shape is None else (shape, [])
    if len(paths) * shape[0] * shape[1] > MOST_BYTES:
        raise _too_many(directory, len(paths), shape)
    images = np.empty((len(paths), *shape), np.uint8)
    for k, (path, outline) in enumerate(zip(paths, outlines, strict=True)):
        images[k] = scaled(read_image(path) if outline.grey is None else outline.grey, shape)
    return images, notes


def _prepared(
    paths: Sequence[Path], directory: Path, preparation: Preparation
) -> tuple[NDArray[np.uint8], list[str]]:
    """Return drawings as a model is shown them, and a note on that."""
    shape = preparation.shape
    if len(paths) * shape[0] * shape[1] > MOST_BYTES:
        raise _too_many(directory, len(paths), shape)
    images = np.empty((len(paths), *shape), np.uint8)
    for k, path in enumerate(paths):
        try:
            images[k] = preparation(read_image(path)).image
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    way = "placed" if preparation.is_centred else "scaled"
    return images, [f"its drawings are {way} on {size_text(shape)} pixels, as a model is shown them"]


def _common_shape(outlines: Sequence[Outline]) -> tuple[tuple[int, int], list[str]]:
    """Return the height and width that all pictures get, and notes on that."""
    sizes = Counter(outline.shape for outline in outlines)
    # the most frequent, of those the smallest
    shape = min(sizes, key=lambda size: (-sizes[size], size))
    notes = []
    height, width = shape
    if max(shape) > LONGEST_SIDE:
        factor = LONGEST_SIDE / max(shape)
        shape = max(1, round(height * factor)), max(1, round(width * factor))
    scaled_ones = sum(count for size, count in sizes.items() if size != shape)
    if scaled_ones:
        which = "all" if scaled_ones == len(outlines) else f"{scaled_ones:,} of {len(outlines):,}"
        extent = f"{len(sizes):,} sizes up to" if len(sizes) > 1 else "a size of"
        largest = max(sizes)
        notes.append(
            f"the pictures have {extent} {largest[0]} x {largest[1]} pixels, and {which} are scaled to "
            f"{shape[0]} x {shape[1]}"
        )
    if any(outline.is_coloured for outline in outlines):
        notes.append("colour is made grey")
    return shape, notes


def _too_many(where: Path, count: int, shape: tuple[int, int]) -> DataError:
    return DataError(
        f"{where} has {count_text(count, 'picture')}, which take {count * shape[0] * shape[1]:,} bytes at "
        f"{shape[0]} x {shape[1]} pixels, and at most {MOST_BYTES:,} are read; keep fewer, or scale them down"
    )
