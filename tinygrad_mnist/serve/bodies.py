"""The pictures in the body of a request: PNG, JPEG, arrays of JSON, or files of a form.

All that is read here comes from a stranger. What a body may hold is known before it is decoded: the size of a
picture stands in its header, and that of an array follows from the length of the body.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.serve.errors import Refused
from tinygrad_mnist.serve.limits import Limits

if TYPE_CHECKING:
    from PIL import Image

Grey = NDArray[np.uint8]
"""Grey values (h, w)."""


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """Return the media type of a `Content-Type` header, and its parameters.

    Examples
    --------
    >>> media_type('Multipart/Form-Data; boundary="a b"')
    ('multipart/form-data', {'boundary': 'a b'})
    """
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(header)
    return kind.decode("latin-1").lower(), {
        name.decode("latin-1"): value.decode("latin-1") for name, value in options.items()
    }


@dataclass(frozen=True)
class Body:
    """The body of a request, read whole and not yet looked at.

    Parameters
    ----------
    content : bytes
        All of it.
    kind : str
        Its media type, a key of `READERS`.
    options : dict of str
        The parameters of the media type.
    """

    content: bytes
    kind: str
    options: dict[str, str]

    def pictures(self, limits: Limits) -> list[Grey]:
        """Return the pictures, one or more; raise `Refused` if there are none, or too many or too large."""
        return READERS[self.kind](self, limits)


# ---- pictures in files -------------------------------------------------------------------------------------


def _picture(body: Body, limits: Limits) -> list[Grey]:
    return decoded([body.content], limits)


def decoded(files: list[bytes], limits: Limits) -> list[Grey]:
    """Return the grey values of PNG and JPEG files, which together may not have too many pixels."""
    return [_grey(file, limits) for file in files]


def _grey(file: bytes, limits: Limits) -> Grey:
    from PIL import Image

    try:
        with Image.open(BytesIO(file), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > limits.pixels:
                raise Refused(
                    413,
                    f"the picture has {image.width} x {image.height} pixels, and at most {limits.pixels:,} are "
                    "taken; scale it down, a few hundred a side are plenty",
                    reason="pixels",
                )
            return np.array(image.convert("L"))
    except Refused:
        raise
    except Exception as error:
        raise Refused(422, f"the picture cannot be read ({error}); send a PNG or a JPEG", reason="picture") from error


# ---- arrays of JSON ----------------------------------------------------------------------------------------


def _arrays(body: Body, limits: Limits) -> list[Grey]:
    try:
        value = json.loads(body.content)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON ({error})", reason="json") from error
    if isinstance(value, dict):
        value = value.get("image", value.get("images"))
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise Refused(422, "the array is no picture (h, w), nor pictures (n, h, w)", reason="array") from error
    if array.ndim not in (2, 3) or array.size == 0 or not np.isfinite(array).all():
        raise Refused(422, "the array is no picture (h, w), nor pictures (n, h, w)", reason="array")
    return list(np.clip(array[np.newaxis] if array.ndim == 2 else array, 0, 255).astype(np.uint8))


# ---- files of a form ---------------------------------------------------------------------------------------


def _form(body: Body, limits: Limits) -> list[Grey]:
    boundary = body.options.get("boundary", "").encode("latin-1")
    parts = (b"\r\n" + body.content).split(b"\r\n--" + boundary)
    files = [part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]]
    return decoded(files, limits)


READERS: Final[dict[str, Callable[[Body, Limits], list[Grey]]]] = {
    "image/png": _picture,
    "image/jpeg": _picture,
    "application/json": _arrays,
    "multipart/form-data": _form,
}
"""The media types that are taken, and what reads the pictures in a body of each."""
