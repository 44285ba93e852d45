"""The pictures in the body of a request: PNG, JPEG, arrays of JSON, or files of a form.

All that is read here comes from strangers. How much a body holds is found out before it is decoded: the size
of a picture stands in its header, and the numbers in an array are no more than the bytes that spell them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import numpy as np
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tinygrad_mnist.data import DataError
from tinygrad_mnist.data.images import Picture
from tinygrad_mnist.data.pillow_images import read_with_pillow
from tinygrad_mnist.data.stacks import grey_levels
from tinygrad_mnist.serve.errors import Refused
from tinygrad_mnist.serve.limits import Limits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

ALONE: Final = "the picture"
"""The name of the only picture of a request."""
_QUICK_BYTES: Final = 1 << 15
_QUICK_PIXELS: Final = 300 * 300
_QUICK_SIDE: Final = 1 << 10
_QUICK_PICTURES: Final = 4
_QUICK_CHUNKS: Final = 24
"""A body up to here is read and prepared in a few milliseconds: a drawing of 280 x 280 pixels takes 1.2."""


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """Return the media type of a `Content-Type` header, and its parameters.

    Examples
    --------
    >>> media_type('Multipart/Form-Data; boundary="a b"')
    ('multipart/form-data', {'boundary': 'a b'})
    """
    kind, options = parse_options_header(header)
    return kind.decode("latin-1").lower(), {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in options.items()
    }


@dataclass(frozen=True)
class Body:
    """The body of a request, received whole and not yet looked at.

    Parameters
    ----------
    content : bytes
        All of it.
    kind : str
        Its media type, a key of `READERS`.
    boundary : str
        What stands between the parts of a form.
    """

    content: bytes
    kind: str
    boundary: str = ""

    @property
    def is_quick(self) -> bool:
        """Return whether its pictures are prepared in a few milliseconds, without reading them.

        Each picture of a JSON takes its time, be it as small as it may, and so does each row. What a PNG
        holds beside its pixels may be packed to a thousandth; then it is not quick.
        """
        if len(self.content) > _QUICK_BYTES:
            return False
        if self.kind == "application/json":
            nesting = _nesting(self.content)
            return nesting.pictures <= _QUICK_PICTURES and nesting.rows <= _QUICK_SIDE
        if (size := _png_size(self.content)) is None:
            return False
        is_small = size[0] * size[1] <= _QUICK_PIXELS and max(size) <= _QUICK_SIDE
        return is_small and _is_plain_png(self.content)

    def pictures(self, limits: Limits) -> list[Picture]:
        """Return the pictures, one or more.

        Raises
        ------
        Refused
            If there is none, or there are too many or too large ones, or they cannot be read.
        """
        return READERS[self.kind](self, limits)


# ---- pictures in files -------------------------------------------------------------------------------------


def _file(body: Body, limits: Limits) -> list[Picture]:
    return _decoded([(ALONE, body.content)], limits)


def _decoded(files: list[tuple[str, bytes]], limits: Limits) -> list[Picture]:
    """Return the pictures in files of PNG or JPEG, by their names, if all together are not too large."""
    pixels = sum(_checked_pixels(name, content, limits) for name, content in files)
    if pixels > limits.pixels:
        raise Refused(
            413,
            f"the pictures have {pixels:,} pixels together, and at most {limits.pixels:,} are taken in one "
            "request; scale them down, or send fewer",
            reason="pixels",
        )
    return [_read(name, content) for name, content in files]


def _checked_pixels(name: str, content: bytes, limits: Limits) -> int:
    """Return the number of pixels that the header of a file tells, if it may be decoded."""
    if not content:
        raise Refused(422, f"{name} is empty, where a PNG or a JPEG was expected", reason="empty")
    if (size := _png_size(content)) is None and not content.startswith(_JPEG):
        raise Refused(422, f"{name} is neither a PNG nor a JPEG; convert it to one of them", reason="format")
    if size is not None and _has_second_header(content):
        raise Refused(422, f"{name} is a PNG with two headers; save it anew", reason="damaged")
    # the marker of a scan; in the data of one, an FF is never followed by it
    if size is None and content.count(b"\xff\xda") > limits.scans:
        raise Refused(
            422, f"{name} is a JPEG of more than {limits.scans} scans; save it anew", reason="scans"
        )
    width, height = size or _jpeg_size(name, content)
    _require_sides(name, width, height, limits)
    if width * height > limits.pixels:
        raise Refused(
            413,
            f"{name} has {width:,} x {height:,} pixels, and at most {limits.pixels:,} are taken; scale it "
            "down, a few hundred pixels a side are plenty",
            reason="pixels",
        )
    return width * height


def _require_sides(name: str, width: int, height: int, limits: Limits) -> None:
    """Raise for a long and narrow picture, whose rows or columns take more time than its pixels."""
    if max(width, height) > limits.side:
        raise Refused(
            413,
            f"{name} has {width:,} x {height:,} pixels, and at most {limits.side:,} a side are taken; scale "
            "it down, or cut it",
            reason="pixels",
        )


_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"


def _png_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG; None if it is none (PNG specification, section 11.2.1)."""
    if not content.startswith(_PNG) or content[12:16] != b"IHDR" or len(content) < 24:
        return None
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


_PLAIN_CHUNKS: Final = {
    **{b"PLTE": 768, b"tRNS": 256, b"IDAT": _QUICK_BYTES, b"IEND": 0},
    **{b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"sBIT": 4, b"bKGD": 6, b"pHYs": 9, b"tIME": 7, b"eXIf": 256},
}
"""The chunks of a PNG that are read in no time, and the most bytes of each; drawings have no others."""


def _is_plain_png(content: bytes) -> bool:
    """Return whether a PNG holds a few chunks with its pixels, and nothing else that may take long."""
    first = list(islice(_chunks(content), _QUICK_CHUNKS))
    return (b"IEND", 0) in first and all(size <= _PLAIN_CHUNKS.get(kind, -1) for kind, size in first)


def _has_second_header(content: bytes) -> bool:
    """Return whether a PNG says its size again before its pixels, and the last one holds for Pillow."""
    kinds = (kind for kind, _ in _chunks(content))
    return b"IHDR" in takewhile(lambda kind: kind != b"IDAT", kinds)


def _chunks(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the kinds and sizes of the chunks behind the header of a PNG."""
    place = len(_PNG) + 25
    while place + 8 <= len(content):
        size = int.from_bytes(content[place : place + 4])
        yield content[place + 4 : place + 8], size
        place += 12 + size


def _jpeg_size(name: str, content: bytes) -> tuple[int, int]:
    """Return width and height of a JPEG, of which only the header is read."""
    from PIL import Image

    try:
        with Image.open(BytesIO(content), formats=("JPEG",)) as image:
            return image.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(413, f"{name} has far too many pixels; scale it down", reason="pixels") from None
    except Exception as error:  # whatever Pillow raises at a damaged header
        raise Refused(422, f"{name} is a damaged JPEG; save it anew", reason="damaged") from error


def _read(name: str, content: bytes) -> Picture:
    try:
        return Picture(name, *read_with_pillow(BytesIO(content), name, None))
    except DataError as error:
        raise Refused(422, str(error), reason="damaged") from error


# ---- arrays of JSON ----------------------------------------------------------------------------------------

_DEEPEST: Final = 4
"""An object, an array of pictures, an array of rows, and a row."""
_HIGHEST: Final = 65535
_EXPECTED: Final = (
    "expected is a picture as an array of rows of numbers, or an array of such pictures, bare or as "
    '{"image": ...} or {"images": ...}'
)


def _arrays(body: Body, limits: Limits) -> list[Picture]:
    if len(body.content) > limits.json_bytes:
        raise Refused(
            413,
            f"the JSON has {len(body.content):,} bytes, and at most {limits.json_bytes:,} are taken; send "
            "fewer pictures, or a PNG",
            reason="bytes",
        )
    value = _parsed(body.content, limits)
    if isinstance(value, dict):
        if len(value) != 1 or not value.keys() <= {"image", "images"}:
            raise _no_array("an object with other keys")
        (value,) = value.values()
    pictures = _as_pictures(value)
    if len(pictures) > limits.pictures:
        raise too_many(len(pictures), limits.pictures)
    names = ["the array"] if len(pictures) == 1 else [f"array {index}" for index in range(len(pictures))]
    kinds = set[type]().union(*map(_checked_kinds, names, pictures))
    for name, rows in zip(names, pictures, strict=True):
        _require_sides(name, len(rows[0]), len(rows), limits)
    return _levels(names, pictures, np.float64 if float in kinds else np.int64)


def _parsed(content: bytes, limits: Limits) -> Any:
    """Return what JSON says, of which nothing is nested deeper than pictures are, and no rows are many."""
    if not content.strip():
        raise Refused(400, f"the body is empty; {_EXPECTED}", reason="empty")
    nesting = _nesting(content)
    if nesting.depth > _DEEPEST:
        raise Refused(400, f"the JSON is nested deeper than {_DEEPEST}; {_EXPECTED}", reason="json")
    if nesting.rows > limits.side:
        raise Refused(
            413,
            f"the JSON has {nesting.rows:,} rows, and at most {limits.side:,} are taken in one request; send "
            "fewer pictures, or a PNG",
            reason="pixels",
        )
    try:
        return json.loads(content.decode(), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise Refused(400, "the body is no JSON: it is not in UTF-8", reason="json") from None
    except json.JSONDecodeError as error:
        raise Refused(
            400, f"the body is no JSON: {error.msg} at character {error.pos:,}", reason="json"
        ) from None
    except ValueError as error:  # a whole number of thousands of digits, which Python does not read
        raise Refused(422, "the JSON holds a number that is too long", reason="values") from error


class _Nesting(NamedTuple):
    """The nesting of a JSON: its depth, and the number of arrays that are that deep, and one less."""

    depth: int
    rows: int
    pictures: int


def _nesting(content: bytes) -> _Nesting:
    """Return how deep arrays and objects lie in each other, without reading them.

    Examples
    --------
    >>> _nesting(b"[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]")
    _Nesting(depth=3, rows=4, pictures=2)
    """
    steps = _STEPS[np.frombuffer(content.translate(None, _NO_BRACKETS), np.uint8)]
    depths = steps.cumsum(dtype=np.int32)[steps > 0]
    depth = int(depths.max(initial=0))
    rows, pictures = (int(np.count_nonzero(depths == each)) for each in (depth, depth - 1))
    return _Nesting(depth, rows, pictures)


_NO_BRACKETS: Final = bytes(sign for sign in range(256) if chr(sign) not in "[]{}")
_STEPS: Final = np.array([1 if chr(sign) in "[{" else -1 for sign in range(256)], np.int8)
"""How much deeper a bracket leads. Those in texts count, too: pictures have no texts."""


def _refuse_constant(name: str) -> NoReturn:
    raise Refused(422, f"the JSON holds {name}, where finite numbers were expected", reason="values")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused(400, "the JSON has an object with the same key twice; send it once", reason="json")
    return found


def _no_array(what: str) -> Refused:
    return Refused(422, f"the JSON holds {what}; {_EXPECTED}", reason="shape")


def _as_pictures(value: Any) -> list[Any]:
    """Return the pictures in what JSON said, each a list of rows."""
    if isinstance(value, list):
        if not value:
            raise _no_array("an empty array")
        if not isinstance(value[0], list):
            raise _no_array("an array of single values")
        return value if value[0] and isinstance(value[0][0], list) else [value]
    raise _no_array(f"{_NAMES.get(type(value), 'a number')} alone")


_NAMES: Final[dict[type, str]] = {dict: "an object", str: "a text", bool: "true or false", type(None): "null"}


def _checked_kinds(name: str, rows: Any) -> set[type]:
    """Return the types of the numbers in a picture, if it is a rectangle of numbers."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) and row for row in rows):
        raise _no_array(f"{name}, which is no array of rows of numbers")
    if len(lengths := {len(row) for row in rows}) > 1:
        raise Refused(
            422,
            f"{name} has rows of {min(lengths):,} and of {max(lengths):,} numbers; all rows of a picture are "
            "equally long",
            reason="shape",
        )
    kinds = set[type]().union(*(map(type, row) for row in rows))
    if not kinds <= {int, float}:
        raise Refused(422, f"{name} holds {_described(kinds)}, where numbers were expected", reason="values")
    return kinds


def _levels(names: list[str], pictures: list[Any], dtype: type[np.generic]) -> list[Picture]:
    """Return pictures of rows of numbers. All are on one scale, as one of them may be nearly black."""
    low, high = (bound(bound(map(bound, rows)) for rows in pictures) for bound in (min, max))
    if not (low >= 0 and high <= _HIGHEST):
        raise Refused(
            422,
            f"the JSON holds numbers outside of 0 to {_HIGHEST}; scale them, to 0 for black, and 255 or 1 "
            "for white",
            reason="values",
        )
    found = []
    for name, rows in zip(names, pictures, strict=True):
        grey = grey_levels(name, np.array(rows, dtype), low, high)
        found.append(Picture(name, grey, (grey.shape[0], grey.shape[1])))
    return found


def _described(kinds: Iterable[type]) -> str:
    """Return what else than numbers there is, for a sentence."""
    names = {**_NAMES, list: "an array"}
    return " and ".join(sorted(names[kind] for kind in kinds if kind in names))


def too_many(pictures: int, most: int, where: str = "") -> Refused:
    """Return the error for a request with too many pictures."""
    return Refused(
        413,
        f"the request has {pictures:,} pictures, and at most {most:,} are taken{where}; send several "
        "requests",
        reason="pictures",
    )


# ---- files of a form ---------------------------------------------------------------------------------------


def _form(body: Body, limits: Limits) -> list[Picture]:
    files = _parts(body, limits)
    if not files:
        raise Refused(422, "the form has no file; send a PNG or a JPEG in it", reason="empty")
    return _decoded([(f"file {index}", file) for index, file in enumerate(files)], limits)


def _parts(body: Body, limits: Limits) -> list[bytes]:
    """Return the files of a form; fields that are no files are left out (RFC 7578)."""
    parts = _Parts(limits)
    try:
        parser = MultipartParser(body.boundary.encode("latin-1"), parts.callbacks())
        parser.write(body.content)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"the form cannot be read ({error})", reason="form") from error
    if not parts.is_complete:
        raise Refused(400, "the form is cut off: the boundary at its end is missing", reason="form")
    return [bytes(content) for content, is_file in parts.found if is_file]


class _Parts:
    """The parts of a form, as they are found.

    Attributes
    ----------
    found : list
        The content of each part, and whether it is a file.
    is_complete : bool
        Whether the end was reached.
    """

    def __init__(self, limits: Limits) -> None:
        self.found: list[tuple[bytearray, bool]] = []
        self.is_complete = False
        self._limits = limits
        self._name, self._value = bytearray(), bytearray()
        self._is_file = False

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self.found[-1][0].extend(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.found) == self._limits.pictures:
            raise too_many(len(self.found) + 1, self._limits.pictures)
        self._is_file = False

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._is_file = b"filename" in options
        self._name.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        self.found.append((bytearray(), self._is_file))

    def _end(self) -> None:
        self.is_complete = True


READERS: Final[dict[str, Callable[[Body, Limits], list[Picture]]]] = {
    "image/png": _file,
    "image/jpeg": _file,
    "application/json": _arrays,
    "multipart/form-data": _form,
}
"""The media types that are taken, and a function that reads the pictures in a body of each."""
