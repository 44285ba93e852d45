"""Data sets of one's own, in every usual format: it is found out by looking at the file or the directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.array_files import array_files, read_array_files
from tinygrad_mnist.data.batching import stratified_split
from tinygrad_mnist.data.csv_sets import read_csv_set
from tinygrad_mnist.data.dataset import Dataset
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.idx import GZIP_MAGIC, TYPE_CODES
from tinygrad_mnist.data.idx_sets import idx_sets, read_idx_directory, read_idx_file
from tinygrad_mnist.data.known_sets import KnownSet, known_by_name, known_by_pictures
from tinygrad_mnist.data.labels import names_beside, number_labels
from tinygrad_mnist.data.npz_sets import read_npz_set
from tinygrad_mnist.data.parts import Found, Part
from tinygrad_mnist.data.picture_folders import (
    class_folders,
    is_picture_name,
    read_class_folders,
    visible,
)
from tinygrad_mnist.data.scaling import page_of

TAKEN = (
    "the four IDX files of MNIST or of a set like it, an .npz file with x_train and y_train, a folder of "
    "pictures for each class, or a CSV file with a column 'label'"
)
"""The formats of data sets, as a part of a sentence."""

TEST_SHARE = 0.2
"""The share of the pictures that is set aside where there is no test part."""
MOST_TEST_IMAGES = 10_000
"""The most pictures that are set aside: with these, an accuracy is known to a fifth of a percent."""

_SEED = 20_240_101
"""The seed of that split, so that it is always the same, whatever the seed of a training is."""
_DEEPEST = 3
"""The number of folders, each alone in another, that are looked into: archives are often unpacked so."""
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".tar.gz", ".csv.gz")

Read = Callable[[], Found]


def read_data_set(path: Path, notify: Callable[[str], None] | None = None) -> Dataset:
    """Read a data set of any usual format.

    Parameters
    ----------
    path : Path
        A file or a directory that exists.
    notify : callable, optional
        Is told in one sentence what was done to the data that a user might not expect.

    Returns
    -------
    Dataset
        It has the name of the file or the directory.

    Raises
    ------
    DataError
        It is none of the formats, or something in it is wrong.
    ImportError
        It has pictures, and Pillow is not installed.
    """
    try:
        read = _look_into(path) if os.path.isdir(path) else _look_at(path)
        if read is None:
            raise DataError(f"{path} has no data set: {_content(visible(path))}, where {TAKEN} was expected")
        found = read()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is; keep fewer pictures") from error
    dataset, notes = _completed(path, found)
    if notes and notify is not None:
        notify(f"{path}: {'; '.join(notes)}.")
    return dataset


# ---- looking -------------------------------------------------------------------------------------------


def _look_into(directory: Path, depth: int = 0) -> Read | None:
    """Return the function that reads what is in a directory, or in the only one below it."""
    if idx_sets(directory):
        return lambda: read_idx_directory(directory)
    folders = class_folders(directory)
    if folders is not None:
        return lambda: read_class_folders(directory, folders)
    entries = visible(directory)
    read = _among(directory, [Path(entry.path) for entry in entries if entry.is_file()])
    if read is not None:
        return read
    inner = [Path(entry.path) for entry in entries if entry.is_dir()]
    if len(inner) == 1 and depth < _DEEPEST and not _is_full_of_pictures(inner[0]):
        return _look_into(inner[0], depth + 1)
    return None


def _among(directory: Path, files: Sequence[Path]) -> Read | None:
    """Return the function that reads the files of a directory that hold arrays or tables, if any do."""
    if arrays := array_files(files):
        return lambda: read_array_files(arrays)
    archives = [file for file in files if file.suffix.casefold() == ".npz"]
    tables = [file for file in files if file.suffix.casefold() == ".csv"]
    if len(archives) == 1:
        return lambda: read_npz_set(archives[0])
    if archives:
        names = ", ".join(file.name for file in archives[:5])
        raise DataError(f"{directory} has several .npz files, {names}; name the one to read")
    if tables := [file for file in tables if "submission" not in file.name.casefold()]:
        return lambda: read_csv_set(tables)
    return None


def _is_full_of_pictures(directory: Path) -> bool:
    return any(entry.is_file() and is_picture_name(entry.name) for entry in visible(directory))


def _content(entries: list[os.DirEntry[str]]) -> str:
    """Return what is in a directory, in a few words."""
    folders = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if not entry.is_dir()]
    if not entries:
        return "it is empty"
    if files and all(map(is_picture_name, files)) and not folders:
        return f"it has {len(files):,} pictures, but no folder for each class"
    if len(folders) == 1 and not files:
        return f"it has the pictures of one class only, {folders[0]!r}"
    names = [*folders, *files]
    return f"it has {', '.join(names[:4])}{', ...' * (len(names) > 4)}"


def _look_at(path: Path) -> Read:
    """Return the function that reads a file."""
    if not os.path.isfile(path):  # opening a pipe would wait for a writer
        raise DataError(f"{path} is neither a file nor a directory, where {TAKEN} was expected")
    if path.name.casefold().endswith(_ARCHIVES):
        raise DataError(f"{path} is an archive; unpack it, and name the directory that comes of it")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise DataError(f"{path} is empty, where {TAKEN} was expected")
    if start.startswith(GZIP_MAGIC) or (start[:2] == b"\0\0" and start[2:3] and start[2] in TYPE_CODES):
        return lambda: read_idx_file(path)
    if start.startswith(b"PK") or path.suffix.casefold() == ".npz":
        return lambda: read_npz_set(path)
    if path.suffix.casefold() in (".csv", ".tsv", ".txt", ".data"):
        return lambda: read_csv_set([path])
    what = "is a single picture" if is_picture_name(path.name) else "is no data set"
    raise DataError(f"{path} {what}, where {TAKEN} was expected")


# ---- completing ----------------------------------------------------------------------------------------


def _completed(path: Path, found: Found) -> tuple[Dataset, tuple[str, ...]]:
    """Return the data set with numbers for labels and names for classes, and notes on what was done."""
    notes = list(found.notes)
    train, test, names, known = found.train, found.test, found.names, None
    if names is None and train.labels.dtype.kind == "i":
        names = names_beside(path if os.path.isdir(path) else path.parent)
        if names is None:
            known = _known(path.resolve(), train, notes)
            names = known.names if known is not None else None
    numbered = number_labels(str(path), train.labels, test.labels if test is not None else None, names)
    notes += numbered.notes
    if test is not None and numbered.test is not None:
        images, labels = (train.images, test.images), (numbered.train, numbered.test)
    else:
        kept, held_out = _split(path, numbered.train)
        images = train.images[kept], train.images[held_out]
        labels = numbered.train[kept], numbered.train[held_out]
        notes.append(
            f"it has no test part, so {len(held_out):,} of its {len(train.images):,} pictures are set aside "
            "as one, always the same"
        )
    is_centred = found.is_centred
    if is_centred is None:
        is_centred = known is None and _shows_digits(images[0], numbered.class_names)
    dataset = Dataset(
        name=path.resolve().name,
        train_images=images[0],
        train_labels=labels[0],
        test_images=images[1],
        test_labels=labels[1],
        classes=len(numbered.class_names),
        class_names=numbered.class_names,
        form=f"{known.title} in {found.form}" if known is not None else found.form,
        is_centred=is_centred,
    )
    return dataset, tuple(notes)


def _shows_digits(images: NDArray[np.uint8], class_names: Sequence[str]) -> bool:
    """Return whether pictures are taken for digits as those of MNIST: by names, squares and dark borders."""
    _, height, width = images.shape
    are_digits = all(name in tuple("0123456789") for name in class_names)
    return are_digits and height == width and page_of(images[:1000]) == "dark"


def _known(path: Path, train: Part, notes: list[str]) -> KnownSet | None:
    """Return the set that the pictures are, or that the path is called after, with a note on that."""
    labels = np.asarray(train.labels)
    known = known_by_pictures(train.images, labels)
    if known is None and (known := known_by_name(path, labels)) is not None:
        notes.append(f"its classes are taken for those of {known.title}, after its name")
    return known


def _split(path: Path, labels: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the pictures to train on, and of those for the test part."""
    share = min(TEST_SHARE, MOST_TEST_IMAGES / len(labels))
    if round(share * len(labels)) < 1:
        raise DataError(f"{path} has {len(labels)} pictures, too few to set some aside as the test part")
    return stratified_split(labels, share, np.random.default_rng(_SEED))
