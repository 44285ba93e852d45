"""Labels of any kind as numbers 0, 1, ..., and the names of the classes that they stand for.

A class is named by a list that belongs to the data, else by the label itself. Labels are sorted as people
count: 10 comes after 9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.dataset import LONGEST_NAME, MOST_CLASSES, check_class_names
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.numbers import printable

Labels = NDArray[np.int64] | NDArray[np.str_]
"""Labels as a file has them, shape (n,): whole numbers, or texts."""

NAMES_FILES = ("classes.txt", "class_names.txt", "labels.txt")
"""Files beside the data that name the classes, a line each, in the order of the labels."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,15}(\.0*)?")
_LONGEST_NAMES_FILE = 1 << 20


@dataclass(frozen=True, eq=False)
class Numbered:
    """Labels as numbers 0, 1, ..., in two parts, and the name of each class.

    Parameters
    ----------
    train, test : ndarray
        int64, shape (n,); `test` is None where there is no such part.
    class_names : tuple of str
        The name of each class.
    notes : tuple of str
        What a user would not expect, each a part of a sentence.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def natural(text: str) -> tuple[Any, ...]:
    """Return the key that sorts texts as people do: numbers in them by their value.

    Examples
    --------
    >>> sorted(["b", "10", "9", "A2", "a10"], key=natural)
    ['9', '10', 'A2', 'a10', 'b']
    """
    parts = re.split(r"([0-9]+)", text.casefold())
    digits = (part.lstrip("0") for part in parts[1::2])
    numbers = [(len(part), part) for part in digits]  # as int() refuses very long ones
    return list(zip(parts[::2], [*numbers, (0, "")], strict=True)), text


def as_labels(where: str, values: NDArray[Any]) -> Labels:
    """Return labels as whole numbers or texts, from an array of shape (n,) or (n, 1), or one-hot rows.

    Raises
    ------
    DataError
        They are neither; `where` names the place.
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    elif values.ndim == 2 and values.dtype.kind in "buif" and _is_one_hot(values):
        return _whole(where, values.argmax(axis=1))
    if values.ndim != 1:
        raise DataError(
            f"{where} has labels of shape {values.shape}, where one label for each picture was expected, "
            "shape (n,)"
        )
    if values.dtype.kind == "S":
        return from_texts(where, [bytes(value) for value in values.tolist()])
    if values.dtype.kind == "U":
        return from_texts(where, values.tolist())
    return _whole(where, values)


def _is_one_hot(values: NDArray[Any]) -> bool:
    return bool(np.all((values == 0) | (values == 1)) and np.all(np.count_nonzero(values, axis=1) == 1))


def _whole(where: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels that are whole numbers as such; raise if one of them is none."""
    if values.dtype.kind not in "buif":
        raise DataError(f"{where} has labels of type {values.dtype}, where whole numbers were expected")
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero(~(np.abs(values) < 1e15) | (values != np.rint(values)))
        if wrong.size:
            raise DataError(
                f"{where} has the label {values[wrong[0]]:g} at position {int(wrong[0])}, where whole "
                "numbers were expected"
            )
    if values.dtype.kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{where} has the label {int(values.max())}, where small whole numbers were expected")
    return values.astype(np.int64)


def from_texts(where: str, texts: Sequence[str | bytes]) -> Labels:
    """Return labels that stand in a text: as whole numbers if all of them are such, else as they are.

    Raises
    ------
    DataError
        One is empty, longer than the name of a class, or no text in UTF-8.
    """
    different: dict[str | bytes, str] = {}
    for text in dict.fromkeys(texts):
        try:
            label = (text.decode("utf-8") if isinstance(text, bytes) else text).strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{where} has the label {text!r:.40}, which is no text in UTF-8") from error
        if not 0 < len(label) <= LONGEST_NAME:
            found = f"a label of {len(label)} characters" if label else "an empty label"
            raise DataError(
                f"{where} has {found} at position {texts.index(text)}, where 1 to {LONGEST_NAME} characters "
                "were expected"
            )
        different[text] = label
        if len(different) > MOST_CLASSES:
            raise DataError(_too_many(where))
    if all(_WHOLE.fullmatch(label) for label in different.values()):
        numbers = {text: int(float(label)) for text, label in different.items()}
        return np.array([numbers[text] for text in texts], np.int64)
    return np.array([different[text] for text in texts], np.str_)


def join_labels(first: Labels, second: Labels) -> Labels:
    """Return the labels of two parts in one array: as texts, if one of them has texts."""
    if first.dtype.kind == second.dtype.kind == "i":
        return np.concatenate([first.astype(np.int64), second.astype(np.int64)])
    return np.concatenate([first.astype(np.str_), second.astype(np.str_)])


def number_labels(
    where: str, train: Labels, test: Labels | None, names: Mapping[int, str] | None = None
) -> Numbered:
    """Give the classes of labels numbers 0, 1, ... in their natural order, and names.

    Parameters
    ----------
    where : str
        The data, in errors.
    train, test : ndarray
        The labels of both parts; `test` may be None.
    names : mapping, optional
        The name of each label; without it a label is its own name, and labels that do not occur are no
        classes.

    Returns
    -------
    Numbered

    Raises
    ------
    DataError
        There are fewer than two classes, too many, or a label without a name.
    """
    parts = [part for part in (train, test) if part is not None]
    if len({part.dtype.kind for part in parts}) == 2:  # numbers in one, texts in the other
        parts = [part.astype(np.str_) for part in parts]
    present: list[Any] = np.unique(np.concatenate([_different(part) for part in parts])).tolist()
    if len(present) > MOST_CLASSES:
        raise DataError(_too_many(where))
    if len(present) < 2:
        raise DataError(
            f"{where}: all pictures have the label {present[0]!r}, where 2 or more classes were expected"
        )
    labels, class_names = _named(where, present, names)
    check_class_names(where, class_names)
    position = {label: number for number, label in enumerate(labels)}
    numbered = [_numbers(part, position) for part in parts]
    return Numbered(
        numbered[0],
        numbered[1] if test is not None else None,
        tuple(class_names),
        _notes(present, labels, class_names, _different(numbered[0])),
    )


def _named(where: str, present: list[Any], names: Mapping[int, str] | None) -> tuple[list[Any], list[str]]:
    """Return the labels of all classes in their natural order, and the name of each."""
    if isinstance(present[0], str):
        present = sorted(present, key=natural)
    elif names is not None:
        unknown = [label for label in present if label not in names]
        if unknown:
            raise DataError(
                f"{where} has the label {unknown[0]}, which has no name among the {len(names)} of "
                f"{min(names)} to {max(names)}; correct the labels, or the list of the names"
            )
        return sorted(names), [names[label] for label in sorted(names)]
    return present, [str(label) for label in present]


def _different(labels: Labels) -> NDArray[Any]:
    """Return the labels that occur, in ascending order; small numbers are counted, which needs no sorting."""
    if labels.dtype.kind == "i" and labels.min() >= 0 and labels.max() < MOST_CLASSES:
        return np.flatnonzero(np.bincount(labels)).astype(np.int64)
    return np.unique(labels)


def _numbers(labels: Labels, position: Mapping[Any, int]) -> NDArray[np.int64]:
    if labels.dtype.kind == "i" and all(label == number for label, number in position.items()):
        return labels.astype(np.int64)
    different, inverse = np.unique(labels, return_inverse=True)
    return np.array([position[label] for label in different.tolist()], np.int64)[inverse.reshape(-1)]


def _notes(
    present: Sequence[Any], labels: Sequence[Any], class_names: Sequence[str], trained: NDArray[np.int64]
) -> tuple[str, ...]:
    """Return what a user would not expect of the classes, each as a part of a sentence."""
    notes = []
    if not isinstance(present[0], str) and len(labels) == len(present):
        gaps = sorted(set(range(present[0], min(present[-1], present[0] + MOST_CLASSES))) - set(present))
        if gaps:
            notes.append(f"no picture has the label {_few(list(map(str, gaps)))}, so that is no class")
    missing = sorted(set(range(len(labels))) - set(trained.tolist()))
    if missing:
        notes.append(
            f"no training picture shows {_few([class_names[number] for number in missing])}, so that cannot "
            "be learned"
        )
    return tuple(notes)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _too_many(where: str) -> str:
    return (
        f"{where} has more than {MOST_CLASSES:,} different labels, where classes were expected; is another "
        "column or array the right one?"
    )


def names_beside(directory: Path) -> dict[int, str] | None:
    """Return the names in a file of `NAMES_FILES` in a directory, by label from 0; None if there is none.

    Raises
    ------
    DataError
        The file cannot be read, or does not name classes.
    """
    for name in NAMES_FILES:
        path = directory / name
        if not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                content = file.read(_LONGEST_NAMES_FILE).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read as a text in UTF-8 with a class in each line") from error
        lines = [line.strip() for line in content.splitlines() if line.strip()]
        check_class_names(str(path), lines)
        if len(lines) < 2:
            raise DataError(f"{path} names {len(lines)} classes, where 2 or more lines were expected")
        return dict(enumerate(lines))
    return None
