"""Bodies by their beginnings: which are prepared in a few milliseconds, and which have too long sides."""

import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tinygrad_mnist.serve.bodies import Body
from tinygrad_mnist.serve.errors import Refused
from tinygrad_mnist.serve.limits import Limits

LIMITS = Limits(side=100)


def png(height: int = 280, width: int = 280) -> bytes:
    file = io.BytesIO()
    Image.new("L", (width, height), 255).save(file, "PNG")
    return file.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    )


def with_chunks(*chunks: bytes, place: int = 33) -> bytes:
    """A PNG with chunks at a place: behind the header, or before the end."""
    content = png()
    return content[:place] + b"".join(chunks) + content[place:]


TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000)))


@pytest.mark.parametrize(
    "content",
    [
        png(),
        png(300, 300),
        png(1, 1024),
        png(1024, 1),
        with_chunks(chunk(b"sRGB", b"\0"), chunk(b"gAMA", bytes(4)), chunk(b"pHYs", bytes(9))),
        with_chunks(*[chunk(b"IDAT")] * 10, place=-12),
    ],
    ids=["a drawing", "300 x 300", "a row", "a column", "with its colours", "in pieces"],
)
def test_a_small_plain_png_is_quick(content: bytes) -> None:
    assert Body(content, "image/png").is_quick


@pytest.mark.parametrize(
    "content",
    [
        png(301, 300),
        png(1, 1025),
        png(1025, 1),
        with_chunks(TEXT),
        with_chunks(TEXT, place=-12),
        with_chunks(png(1000, 1000)[8:33]),
        with_chunks(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000)))),
        with_chunks(chunk(b"PLTE", bytes(3000))),
        with_chunks(*[chunk(b"tIME", bytes(7))] * 30),
        with_chunks(chunk(b"tIME", bytes(30_000))),
        png()[:-12],
        png()[:40],
        b"\xff\xd8\xff" + bytes(100),
        b"",
    ],
)
def test_what_may_take_long_is_not_quick(content: bytes) -> None:
    assert not Body(content, "image/png").is_quick


@pytest.mark.parametrize(
    ("value", "is_quick"),
    [
        ([[0] * 28] * 28, True),
        ({"image": [[0] * 28] * 28}, True),
        ([[[0] * 8] * 8] * 4, True),
        ({"images": [[[0] * 8] * 8] * 4}, True),
        ([[[0] * 8] * 8] * 5, False),
        ({"images": [[[0, 1]]] * 5}, False),
        ([[0]] * 1024, True),
        ([[0]] * 1025, False),
        ([[0] * 12_000], False),
    ],
)
def test_json_of_a_few_small_pictures_is_quick(value: Any, is_quick: bool) -> None:
    assert Body(json.dumps(value).encode(), "application/json").is_quick is is_quick


@pytest.mark.parametrize("size", [(101, 1), (1, 101)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_file_with_a_long_side_is_refused(kind: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.new("L", size).save(file, kind)
    with pytest.raises(Refused, match=rf"has {size[0]} x {size[1]} pixels, and at most 100 a side") as raised:
        Body(file.getvalue(), f"image/{kind.lower()}").pictures(LIMITS)
    assert raised.value.status == 413


def test_a_png_that_says_two_sizes_is_refused() -> None:
    """The second holds for what decodes it, and would be looked at by nobody."""
    with pytest.raises(Refused, match="two headers"):
        Body(with_chunks(chunk(b"tIME", bytes(7)), png(1000, 1000)[8:33]), "image/png").pictures(Limits())


@pytest.mark.parametrize("value", [[[0]] * 101, [[[0, 1]] * 51] * 2, {"image": [[0]] * 101}])
def test_json_of_many_rows_is_refused_before_it_is_read(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps(value).encode()
    monkeypatch.setattr(json, "loads", None)
    with pytest.raises(Refused, match=r"the JSON has 10[12] rows, and at most 100 are taken") as raised:
        Body(content, "application/json").pictures(LIMITS)
    assert raised.value.status == 413


def test_json_of_long_rows_is_refused() -> None:
    with pytest.raises(Refused, match="array 1 has 101 x 1 pixels, and at most 100 a side"):
        Body(json.dumps([[[0, 1]], [[0] * 101]]).encode(), "application/json").pictures(LIMITS)


def test_pictures_up_to_the_limit_are_taken() -> None:
    found = Body(json.dumps([[[0] * 99 + [1]] * 50] * 2).encode(), "application/json").pictures(LIMITS)
    assert [picture.size for picture in found] == [(50, 100)] * 2
    (found_png,) = Body(png(100, 100), "image/png").pictures(LIMITS)
    np.testing.assert_array_equal(found_png.grey, np.full((100, 100), 255))
