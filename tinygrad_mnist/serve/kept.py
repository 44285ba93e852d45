"""Drawings that visitors corrected, kept as a data set: a folder of PNGs for each class, ``DIR/7/....png``.

A drawing is kept as it was drawn: as grey values at its full size, without anything else that was in its
file. A file beside the folders says how the model is shown such a drawing, and ``train --data DIR`` prepares
it as ``predict`` does (`tinygrad_mnist.data.drawings`). So whatever becomes better in the preparation later
reaches the drawings that are kept already.

A drawing has one class, as it is one example of a data set. A visitor who says another one later moves it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.drawings import FILE, read_preparation, write_preparation
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.images import Picture, PictureLike, find_picture
from tinygrad_mnist.data.picture_folders import is_class_name, is_picture_name, visible
from tinygrad_mnist.data.prepare import Preparation
from tinygrad_mnist.extras import missing_package
from tinygrad_mnist.files import Lock, LockedError, write
from tinygrad_mnist.numbers import bytes_text, count_text, printable, size_text

MOST_DRAWINGS: Final = 10_000
"""The drawings that are kept at most, if nothing else is said."""
MOST_BYTES: Final = 256 << 20
"""The bytes that all files of drawings may have together, if nothing else is said."""
LARGEST_SIDE: Final = 2048
"""The pixels of the longer side of a drawing at most."""

_LOCK: Final = ".lock"
"""The file that the process has which changes something; no reader of pictures sees it."""
_PATIENCE: Final = 5.0
"""The seconds that a process waits for another; a drawing takes some milliseconds."""

_UNSAFE: Final = re.compile(
    r"""[/\\:*?"<>|\x00-\x1f\x7f]|[. ]$|^\s|^(con|prn|aux|nul|com[0-9]|lpt[0-9])([.].*)?$""", re.IGNORECASE
)
"""What some system does not let a folder be called."""
_LONGEST: Final = 200  # bytes; file systems take 255


class FullError(Exception):
    """The error for a drawing that is not kept, because as many are kept as may be."""


class KeptDrawings:
    """A directory that drawings are kept in; threads and processes may keep some at the same time.

    Parameters
    ----------
    directory : path-like
        It is made if it is not there. It may have drawings that were kept before, and no other pictures.
    preparation : Preparation
        How the model is shown a drawing.
    class_names : sequence of str
        The classes; each is the name of its folder.
    most_drawings, most_bytes : int
        The limits; all that is in the directory counts, also what other processes keep there.

    Raises
    ------
    DataError
        The directory has other pictures, or drawings for another preparation, or a class has a name that no
        folder can have.
    OSError
        The directory cannot be made or written to.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        preparation: Preparation,
        class_names: Sequence[str],
        *,
        most_drawings: int = MOST_DRAWINGS,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.directory = Path(os.path.expanduser(directory))
        self.class_names = tuple(class_names)
        self._preparation = preparation
        self._most_drawings, self._most_bytes = most_drawings, most_bytes
        self._lock = threading.Lock()
        for name in self.class_names:
            _require_folder_name(name)
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._claim()
            self.drawings, self.bytes = self._count()

    def keep(self, drawing: PictureLike | Picture, class_name: str) -> Path:
        """Keep a drawing in the folder of a class, whole or not at all; return its file.

        Equal drawings are one file. One that is in the folder of another class is moved: the last answer
        holds. At each moment it has one file, and moving takes no room.

        Parameters
        ----------
        drawing : path-like, binary file, PIL.Image.Image, array_like or Picture
            What `tinygrad_mnist.data.images.read_image` reads.
        class_name : str
            The class that it shows.

        Raises
        ------
        DataError
            It cannot be read, shows nothing, or is too large; or there is no such class.
        FullError
            As many drawings are kept as may be, or as many bytes.
        OSError
            It cannot be written, or another process has been writing there for seconds.
        ImportError
            Pillow is not installed.
        """
        if class_name not in self.class_names:
            known = ", ".join(self.class_names[:20]) + ", ..." * (len(self.class_names) > 20)
            raise DataError(f"there is no class {printable(class_name[:40])!r}; the classes are {known}")
        found = drawing if isinstance(drawing, Picture) else find_picture(drawing)
        if max(found.size) > LARGEST_SIDE:
            raise DataError(
                f"{found.name} has {size_text(found.size)} pixels, and drawings of at most {LARGEST_SIDE} a "
                "side are kept; scale it down"
            )
        try:
            self._preparation(found.grey)  # what cannot be shown to a model cannot be trained on
        except DataError as error:
            raise DataError(f"{found.name}: {error}") from error
        content = _png(found.grey)
        digest = hashlib.sha256(repr(found.grey.shape).encode() + found.grey.tobytes()).hexdigest()
        name = f"{digest[:32]}.png"
        with self._alone(), self._folder(class_name) as folder:
            path = folder / name
            found_at = [place for place in self._places(name) if place != path]
            if not path.exists() and found_at:
                os.replace(found_at[0], path)
            elif not path.exists():
                self._require_room(len(content))
                write(path, content)
                self.drawings += 1
                self.bytes += len(content)
            for place in found_at:
                place.unlink(missing_ok=True)
                _remove_if_empty(place.parent)
            if found_at:
                self.drawings, self.bytes = self._count()
        return path

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and other processes from changing the directory."""
        with self._lock:
            until = monotonic() + _PATIENCE
            while True:
                try:
                    lock = Lock(self.directory / _LOCK)
                except LockedError as error:
                    if monotonic() > until:
                        reason = f"another process is writing there: {error}"
                        raise TimeoutError(errno.ETIMEDOUT, reason, os.fspath(self.directory)) from error
                    sleep(0.005)
                else:
                    break
            try:
                yield
            finally:
                lock.release()

    def _places(self, name: str) -> list[Path]:
        """Return the files of a name in the folders of all classes, also of those of other models."""
        folders = [Path(entry.path) for entry in visible(self.directory) if entry.is_dir()]
        return [folder / name for folder in folders if (folder / name).exists()]

    def _claim(self) -> None:
        """Say by a file how the drawings are prepared; raise if there is one that says something else."""
        found = read_preparation(self.directory)
        if found is None:
            if any(is_picture_name(name) for _, _, names in os.walk(self.directory) for name in names):
                raise DataError(
                    f"{self.directory} has pictures that were not kept here (there is no {FILE}); name an "
                    "empty directory, or one that is not there"
                )
            write_preparation(self.directory, self._preparation)
        elif found != self._preparation:
            raise DataError(
                f"{self.directory} has drawings for a model whose pictures are {_text(found)}, and those of "
                f"this one are {_text(self._preparation)}; name another directory"
            )

    def _count(self) -> tuple[int, int]:
        """Return how many drawings there are, and how many bytes they have."""
        sizes = [
            entry.stat().st_size
            for folder in visible(self.directory)
            if folder.is_dir()
            for entry in os.scandir(folder.path)
            if is_picture_name(entry.name)
        ]
        return len(sizes), sum(sizes)

    def _require_room(self, size: int) -> None:
        """Raise if a drawing more would be too many, with those that others have kept meanwhile."""
        self.drawings, self.bytes = self._count()
        if self.drawings >= self._most_drawings or self.bytes + size > self._most_bytes:
            raise FullError(
                f"{count_text(self.drawings, 'drawing')} of {bytes_text(self.bytes)} are kept, and at most "
                f"{self._most_drawings:,} of {bytes_text(self._most_bytes)} are; move them elsewhere"
            )

    @contextmanager
    def _folder(self, class_name: str) -> Iterator[Path]:
        """Give the folder of a class, made if it is not there. It goes again if nothing was kept in it.

        A training takes a class without pictures for a mistake.
        """
        folder = self.directory / class_name
        if not folder.is_dir():
            folder.mkdir()
        if class_name not in os.listdir(self.directory):  # "a" is "A" on some file systems
            raise DataError(
                f"the class {class_name!r} has no folder of its own in {self.directory}, whose file system "
                "does not tell its name from another; name a directory on another one"
            )
        try:
            yield folder
        finally:
            _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # which it is not, or a program has put something there
        folder.rmdir()


def _require_folder_name(name: str) -> None:
    """Raise if a class has a name that a folder cannot have, or that is not taken for that of a class."""
    if not is_class_name(name) or len(os.fsencode(name)) > _LONGEST or _UNSAFE.search(name):
        raise DataError(
            f"drawings of the class {printable(name[:40])!r} cannot be kept, as the folder of a class cannot "
            "be called so on every system; train with another name for it"
        )


def _text(preparation: Preparation) -> str:
    way = "placed signs" if preparation.is_centred else "scaled as a whole"
    page = f" on a {preparation.page} page" if preparation.page else ""
    return f"{way} of {size_text(preparation.shape)} pixels{page}"


def _png(grey: NDArray[np.uint8]) -> bytes:
    """Return grey values as the content of a PNG file."""
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_package("to keep drawings", "serve", "Pillow") from error
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "PNG")
    return stream.getvalue()
