"""Data sets in CSV files, a picture in each row: ``label,pixel0,...,pixel783``, as Kaggle has them.

A file is read a few megabytes at a time, and whole numbers by array operations: 60,000 rows of 784 pixels in
two seconds. Rows of other numbers are read one value after the other.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.known_sets import emnist_names, emnist_split
from tinygrad_mnist.data.labels import Labels, from_texts
from tinygrad_mnist.data.parts import MOST_BYTES, Found, Part, as_images, with_validation
from tinygrad_mnist.numbers import count_text

LABEL_COLUMNS = ("label", "labels", "class", "target", "y", "digit")
"""The names of the column of labels, in any letters; the first that is there is taken."""
UNNAMED_COLUMNS = ("", "unnamed: 0")
"""What pandas calls the column of its index."""
ID_COLUMNS = (
    *("id", "imageid", "image_id", "index", "file", "filename", "file_name"),
    *UNNAMED_COLUMNS,
)
"""The names of columns that number or name the rows, and are no pixels; the first that is there is the id."""

_NAMES = {*LABEL_COLUMNS, *ID_COLUMNS} - {""}
_CHUNK = 1 << 22
_MOST_CHARACTERS_OF_A_PIXEL = 4
_PARTS = {
    "train": re.compile(r"(.*[-_. ])?train(ing)?", re.IGNORECASE),
    "test": re.compile(r"(.*[-_. ])?test(ing)?", re.IGNORECASE),
    "validation": re.compile(r"(.*[-_. ])?val(id(ation)?)?", re.IGNORECASE),
}
_PLAIN = np.zeros(256, np.bool_)
_PLAIN[np.frombuffer(b"0123456789,\n", np.uint8)] = True
_COMMA, _LINE, _ZERO = b",\n0"


@dataclass(frozen=True)
class _Layout:
    """The columns of a file.

    Parameters
    ----------
    delimiter : bytes
        A comma, a semicolon or a tab.
    columns : int
        The number of columns.
    label : int or None
        The column of the labels.
    left_out : tuple of int
        The columns that are neither label nor pixel.
    id : int or None
        The one of those that tells the rows apart.
    id_heading : str
        Its name.
    has_heading : bool
        Whether the first row names the columns.
    """

    delimiter: bytes
    columns: int
    label: int | None
    left_out: tuple[int, ...]
    id: int | None
    id_heading: str
    has_heading: bool

    @property
    def aside(self) -> frozenset[int]:
        """The columns that are no pixels."""
        return frozenset(self.left_out if self.label is None else (*self.left_out, self.label))

    @property
    def pixels(self) -> int:
        """The number of columns with pixels."""
        return self.columns - len(self.aside)


@dataclass(frozen=True, eq=False)
class CsvTable:
    """The content of a CSV file.

    Parameters
    ----------
    path : Path
        The file.
    pixels : ndarray
        uint8, uint16 or float32, shape (n, h, w).
    labels : ndarray or None
        The labels, if there is a column of them.
    ids : tuple of str, optional
        What a column of `ID_COLUMNS` says of each row; None if there is no such column.
    id_heading : str
        The name of that column, as it stands in the file.
    """

    path: Path
    pixels: NDArray[Any]
    labels: Labels | None
    ids: tuple[str, ...] | None = None
    id_heading: str = ""


def read_csv_set(paths: Sequence[Path]) -> Found:
    """Read a data set from a CSV file, or from those for training, test and validation in a folder.

    Parameters
    ----------
    paths : sequence of Path
        The files: one, or several of which one is called ``train.csv``, or ends so.

    Returns
    -------
    Found
        A test file without labels is left out, with a note.

    Raises
    ------
    DataError
        There is no training file among them, or one is not what it should be.
    """
    files = _by_part(paths)
    tables = {part: read_csv(path) for part, path in files.items()}
    train = tables["train"]
    notes: list[str] = []
    labelled = {}
    for part, table in tables.items():
        if table.labels is not None:
            labelled[part] = table
        elif part == "train":
            columns = count_text(table.pixels[0].size, "column")
            raise DataError(
                f"{table.path} has no labels: it has {columns}, all of them pixels, where a column 'label' "
                "before them was expected"
            )
        else:
            notes.append(f"{table.path.name} has no labels, and is left out")
    images, more = as_images([(str(table.path), table.pixels) for table in labelled.values()])
    split = emnist_split(train.path.name)
    if split is not None:
        images = [np.ascontiguousarray(part.transpose(0, 2, 1)) for part in images]
        notes.append("the pictures, which EMNIST has transposed, are set upright")
    parts = {
        part: Part(str(table.path), each, _given(table))
        for (part, table), each in zip(labelled.items(), images, strict=True)
    }
    joined, test, others = with_validation(parts["train"], parts.get("test"), parts.get("validation"))
    names = emnist_names(train.path.parent, split) if split else None
    form = "a CSV file" if len(paths) == 1 else "CSV files"
    return Found(form, joined, test, names, (*notes, *more, *others), is_centred=True if split else None)


def _given(table: CsvTable) -> Labels:
    assert table.labels is not None
    return table.labels


def _by_part(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the files for training, test and validation."""
    if len(paths) == 1:
        return {"train": paths[0]}
    files: dict[str, Path] = {}
    for path in paths:
        for part, pattern in _PARTS.items():
            if not pattern.fullmatch(path.stem):
                continue
            if part in files:
                raise DataError(
                    f"{path.parent} has several data sets, of which {files[part].name} and {path.name} both "
                    f"are for {part}; name the file to train on"
                )
            files[part] = path
    if "train" in files:
        return {part: files[part] for part in _PARTS if part in files}
    shown = ", ".join(path.name for path in paths[:4]) + ", ..." * (len(paths) > 4)
    raise DataError(
        f"{paths[0].parent} has {len(paths)} CSV files, {shown}, none of which is called train.csv; name the "
        "file to train on"
    )


def read_csv(path: Path) -> CsvTable:
    """Read the pictures of a CSV file, and their labels if it has any.

    The first row may name the columns; a column ``label`` (`LABEL_COLUMNS`) may stand anywhere, and without
    names the label is first. Cells are parted by commas, semicolons or tabs, and may be quoted. All other
    columns but those of `ID_COLUMNS` are pixels, row by row of a square.

    Raises
    ------
    DataError
        It cannot be read, or a row is not like the first one; its line is named.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MOST_BYTES * _MOST_CHARACTERS_OF_A_PIXEL:
                raise DataError(
                    f"{path} has {size:,} bytes, and CSV files of at most "
                    f"{MOST_BYTES * _MOST_CHARACTERS_OF_A_PIXEL:,} are read; keep fewer pictures, or "
                    "write an .npz file"
                )
            return _read(path, file)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error


def _read(path: Path, file: BinaryIO) -> CsvTable:
    layout: _Layout | None = None
    labels: list[bytes] = []
    ids: list[bytes] = []
    blocks: list[NDArray[Any]] = []
    for rows in _rows(path, file):
        if layout is None:
            layout = _layout(path, *rows[0])
            rows = rows[1:] if layout.has_heading else rows
        if rows:
            found, rest = _pixels_apart(path, layout, rows)
            labels += found.get(layout.label, [])
            ids += found.get(layout.id, [])
            blocks.append(_numbers(path, rest, layout.pixels, [number for number, _ in rows]))
    if layout is None or not blocks:
        raise DataError(f"{path} has no rows of pixels; expected a picture in each row")
    side = isqrt(layout.pixels)
    pixels = np.concatenate(blocks).reshape(-1, side, side)
    return CsvTable(
        path,
        pixels,
        from_texts(str(path), labels) if layout.label is not None else None,
        tuple(cell.decode("utf-8", "replace").strip() for cell in ids) if layout.id is not None else None,
        layout.id_heading,
    )


def _rows(path: Path, file: BinaryIO) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the lines that are not blank, each with its number from 1, a few megabytes at a time."""
    line = 1
    for lines in _lines(path, file):
        if line == 1:
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        rows = [(number, text) for number, text in enumerate(lines, line) if text.strip()]
        line += len(lines)
        if rows:
            yield rows


def _lines(path: Path, file: BinaryIO) -> Iterator[list[bytes]]:
    """Yield the lines of a file, a few megabytes at a time; raise for one that is longer."""
    rest = b""
    while chunk := file.read(_CHUNK):
        content = rest + chunk
        if b"\0" in chunk:
            raise DataError(
                f"{path} is no CSV file of numbers: it has zero bytes; save it as a text in UTF-8"
            )
        end = content.rfind(b"\n")
        if end < 0 and len(content) > 4 * _CHUNK:
            raise DataError(f"{path} is no CSV file of pictures: it has a line of more than {_CHUNK:,} bytes")
        if end >= 0:
            yield content[:end].replace(b"\r", b"").split(b"\n")
        rest = content[end + 1 :]
    if rest:
        yield [rest.replace(b"\r", b"")]


# ---- the columns ---------------------------------------------------------------------------------------


def _layout(path: Path, line: int, row: bytes) -> _Layout:
    """Return the columns of a file, by its first row."""
    delimiter = max((b",", b";", b"\t"), key=row.count)
    try:
        row.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no CSV file in UTF-8: its first row is no text") from error
    cells = [cell.decode("utf-8").strip(' "\t') for cell in _cells(path, line, row, delimiter)]
    columns = len(cells)
    has_heading = _is_heading(cells)
    names = [cell.casefold() for cell in cells] if has_heading else []
    label = next((names.index(name) for name in LABEL_COLUMNS if name in names), None)
    left_out = tuple(k for k, name in enumerate(names) if name in ID_COLUMNS and k != label)
    if label is None and _is_square(columns - len(left_out) - 1):
        label = next(k for k in range(columns) if k not in left_out)
    identity = min(left_out, key=lambda k: ID_COLUMNS.index(names[k]), default=None)
    id_heading = "" if identity is None else cells[identity]
    layout = _Layout(delimiter, columns, label, left_out, identity, id_heading, has_heading)
    if not _is_square(layout.pixels):
        raise DataError(
            f"{path} has {count_text(columns, 'column')}, where a label and a square number of pixels were "
            "expected, such as 785 for 28 x 28 pixels"
        )
    return layout


def _is_square(pixels: int) -> bool:
    return pixels > 1 and isqrt(pixels) ** 2 == pixels


def _is_heading(cells: Sequence[str]) -> bool:
    """Return whether a row names columns: by texts that are no labels, or by counting them.

    A row of numbers may have a fault or two; it is no heading for that, or its picture would be lost unseen.
    """
    texts = [cell for cell in cells[1:] if not _is_number(cell)]
    if texts:
        return 2 * len(texts) > len(cells) - 1 or any(cell.casefold() in _NAMES for cell in cells)
    # what pandas writes where it was told of no names: 0, 1, 2 ..., or the first row with repeats numbered
    counted = [str(k) for k in range(len(cells))]
    return len(cells) > 2 and (list(cells[1:]) in (counted[1:], counted[:-1]) or _is_repeat(cells))


def _is_repeat(cells: Sequence[str]) -> bool:
    return len(cells) > 3 and list(cells[1:]) == [f"{cells[0]}.{k}" for k in range(1, len(cells))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell  # an empty cell is a fault of a row of numbers
    return cell.isascii() and "_" not in cell  # Python takes 1_055 for a number


# ---- the rows ------------------------------------------------------------------------------------------


def _pixels_apart(
    path: Path, layout: _Layout, lines: Sequence[tuple[int, bytes]]
) -> tuple[dict[int | None, list[bytes]], bytes]:
    """Return the cells of some lines that are no pixels, by column, and the text of their pixels alone.

    The pixels are parted by commas.
    """
    texts = [text for _, text in lines]
    is_at_an_end = layout.aside <= {0} or layout.aside == {layout.columns - 1}
    if is_at_an_end and not any(_needs_csv(text, layout) for text in texts):
        found, rows = _ends_apart(layout, texts)
    else:
        found, rows = _cells_apart(path, layout, lines)
    text = b"\n".join(rows).translate(None, b' "')
    return found, text.replace(layout.delimiter, b",") + b"\n"


def _ends_apart(
    layout: _Layout, texts: Sequence[bytes]
) -> tuple[dict[int | None, list[bytes]], Sequence[bytes]]:
    """Return the one column that is no pixels, if there is one, and the rows without it."""
    if not layout.aside:
        return {}, texts
    (column,) = layout.aside
    if column == 0:
        parted = [text.partition(layout.delimiter) for text in texts]
        return {0: [_unquoted(cell) for cell, _, _ in parted]}, [row for _, _, row in parted]
    parted = [text.rpartition(layout.delimiter) for text in texts]
    return {column: [_unquoted(cell) for _, _, cell in parted]}, [row for row, _, _ in parted]


def _cells_apart(
    path: Path, layout: _Layout, lines: Sequence[tuple[int, bytes]]
) -> tuple[dict[int | None, list[bytes]], list[bytes]]:
    """Return the columns that are no pixels, wherever they are, and the rows without them; slower."""
    found: dict[int | None, list[bytes]] = {column: [] for column in layout.aside}
    rows: list[bytes] = []
    for number, text in lines:
        cells = _cells(path, number, text, layout.delimiter)
        if len(cells) != layout.columns:
            raise _wrong_count(path, number, len(cells), layout.columns)
        for column in layout.aside:
            found[column].append(cells[column])
        rows.append(layout.delimiter.join(cell for k, cell in enumerate(cells) if k not in layout.aside))
    return found, rows


def _needs_csv(text: bytes, layout: _Layout) -> bool:
    """Return whether quotes in a line may hold a delimiter or a quote."""
    return b'"' in text and (text.count(layout.delimiter) != layout.columns - 1 or b'""' in text)


def _cells(path: Path, line: int, text: bytes, delimiter: bytes) -> list[bytes]:
    """Return the cells of a line, without their quotes (RFC 4180); a cell ends in its line."""
    if b'"' not in text:
        return text.split(delimiter)
    reader = csv.reader(
        [text.decode("latin-1")], delimiter=delimiter.decode(), skipinitialspace=True, strict=True
    )
    try:
        return [cell.encode("latin-1") for cell in next(reader)]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line}: a quotation mark is in the wrong place, or its partner is not in the "
            "line; correct it"
        ) from error


def _unquoted(cell: bytes) -> bytes:
    """Return a cell without the quotes around it."""
    cell = cell.strip()
    return cell[1:-1] if len(cell) > 1 and cell.startswith(b'"') and cell.endswith(b'"') else cell


def _numbers(path: Path, text: bytes, columns: int, lines: Sequence[int]) -> NDArray[Any]:
    """Return the numbers of a text, shape (rows, columns): whole ones of up to five digits, or floats."""
    codes = np.frombuffer(text, np.uint8)
    if not _PLAIN[codes].all():
        return _floats(path, text, columns, lines)
    ends = np.flatnonzero(codes < _ZERO)
    parting = codes[ends]
    if parting.size != len(lines) * columns or not (
        np.all(parting.reshape(-1, columns)[:, -1] == _LINE)
        and np.count_nonzero(parting == _LINE) == len(lines)
    ):
        raise _faulty_row(path, text, columns, lines)
    lengths = np.diff(ends, prepend=-1) - 1
    longest = int(lengths.max())
    if lengths.min() == 0 or longest > 5:
        return _floats(path, text, columns, lines)
    digits = codes - np.uint8(_ZERO)
    values = digits[ends - 1].astype(np.uint32)
    for place in range(2, longest + 1):
        # what stands before the first cell is never taken, so that its index may be below 0
        values += np.where(lengths >= place, digits[ends - place], 0).astype(np.uint32) * 10 ** (place - 1)
    highest = int(values.max())
    return values.astype(np.uint8 if highest < 256 else np.uint32).reshape(-1, columns)


def _floats(path: Path, text: bytes, columns: int, lines: Sequence[int]) -> NDArray[np.float32]:
    """Return the numbers of a text of any numbers; raise for the first cell that is none."""
    rows = text.split(b"\n")[:-1]
    numbers = np.empty((len(rows), columns), np.float32)
    for k, row in enumerate(rows):
        cells = row.split(b",")
        if len(cells) != columns:
            raise _wrong_count(path, lines[k], len(cells), columns, "pixel")
        try:
            with np.errstate(over="ignore"):
                numbers[k] = [float(cell) for cell in cells]
            if b"_" in row:
                raise ValueError("Python takes 1_055 for a number")
        except ValueError as error:
            wrong = next(
                j for j, cell in enumerate(cells) if not _is_number(cell.decode("latin-1")) or not cell
            )
            found = repr(cells[wrong].decode("utf-8", "replace")[:20]) if cells[wrong] else "nothing"
            raise DataError(
                f"{path}, line {lines[k]}: pixel {wrong} is {found}, where a number was expected"
            ) from error
    return numbers


def _faulty_row(path: Path, text: bytes, columns: int, lines: Sequence[int]) -> DataError:
    for number, row in zip(lines, text.split(b"\n"), strict=False):
        if row.count(b",") + 1 != columns:
            return _wrong_count(path, number, row.count(b",") + 1, columns, "pixel")
    return DataError(f"{path} has rows of different lengths")


def _wrong_count(path: Path, line: int, found: int, expected: int, what: str = "column") -> DataError:
    there = f"there {'is' if found == 1 else 'are'} {count_text(found, what)}"
    return DataError(
        f"{path}, line {line}: {there}, where the first row has {expected:,}; correct it, or fetch the file "
        "again"
    )
