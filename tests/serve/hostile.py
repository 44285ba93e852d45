"""500 requests that a service on the open network gets sooner or later, each with the answers it may get."""

import gzip
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin

from tests.serve.exchanges import Pieces, plain, post
from tests.serve.pictures import encoded

COUNT = 500
TAKEN = frozenset({200})
TOO_LARGE = frozenset({413})
NO_PICTURE = frozenset({400, 413, 415, 422})
NO_JSON = frozenset({400, 413, 422})
EITHER = TAKEN | NO_PICTURE
BROKEN = frozenset({400, 404, 405, 411, 413, 414, 431, 501, 505})


@dataclass(frozen=True)
class Case:
    """A request, and the answers that it may get.

    Parameters
    ----------
    name
        The family that it is of.
    pieces
        What is sent.
    statuses
        The answers that are clear about it.
    is_http
        Whether it keeps to HTTP: if not, the answer need not be JSON, and a closed connection is an answer.
    """

    name: str
    pieces: Pieces
    statuses: frozenset[int]
    is_http: bool = True


Family = Callable[[random.Random], Iterator[Case]]
"""Yields requests of one kind."""


def cases(seed: int = 0) -> list[Case]:
    """Return the requests; equal for equal seeds."""
    rng = random.Random(seed)
    made = [case for family in (*FAMILIES, *QUICK) for case in family(rng)]
    return [*made, *damaged(rng, COUNT - len(made))]


def some(count: int, seed: int = 0) -> list[Case]:
    """Return some of those that take no time to make."""
    rng = random.Random(seed)
    made = [case for family in QUICK for case in family(rng)]
    return [*rng.sample(made, count - 20), *damaged(rng, 20)]


# ---- pictures --------------------------------------------------------------------------------------------


def noisy(rng: random.Random, size: int = 28, mode: str = "L") -> Image.Image:
    """Return a picture with a stroke and some noise."""
    values = np.random.default_rng(rng.getrandbits(32)).integers(0, 40, (size, size)).astype(np.uint8)
    values[size // 5 : -size // 5, size // 2 - size // 14 : size // 2 + size // 14] = 240
    return Image.fromarray(values).convert(mode)


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def raw_png(
    width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"", extra: bytes = b""
) -> bytes:
    """Return a PNG of any size with the rows that are given, be they enough or not."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bombs(rng: random.Random) -> Iterator[Case]:
    """Yield small files that are large pictures."""
    zeros = zlib.compress(bytes(30_000 * (1 + 30_000 // 8)), 9)
    few = zlib.compress(bytes(1000))
    yield Case("bomb of one bit", post(raw_png(30_000, 30_000, depth=1, rows=zeros)), TOO_LARGE)
    sides = [
        (30_000, 30_000),
        (65_535, 65_535),
        (2**31 - 1, 2**31 - 1),
        (1, 10**5),
        (10**5, 1),
        (20_000, 12_000),
    ]
    for width, height in sides:
        for depth, colour in ((8, 0), (8, 2), (16, 6), (8, 3)):
            yield Case("bomb", post(raw_png(width, height, depth=depth, colour=colour, rows=few)), NO_PICTURE)
    for size in ((0, 0), (0, 28), (28, 0), (2**32 - 1, 1)):
        yield Case("no size", post(raw_png(*size, rows=few)), NO_PICTURE)
    long = Image.new("L", (1, 100_000))
    yield Case("a line of pixels", post(encoded(long, "PNG")), NO_PICTURE)
    yield Case(
        "a line of pixels", post(encoded(long.transpose(Image.Transpose.ROTATE_90), "PNG")), NO_PICTURE
    )
    wide = encoded(Image.new("L", (12_000, 12_000)), "JPEG", quality=1)
    yield Case("bomb", post(wide, "image/jpeg"), TOO_LARGE)
    small = encoded(noisy(rng), "JPEG")
    at = small.index(b"\xff\xc0") + 5
    large = small[:at] + b"\xff\xff\xff\xff" + small[at + 4 :]
    yield Case("bomb", post(large, "image/jpeg"), NO_PICTURE)


def texts(rng: random.Random) -> Iterator[Case]:
    """Yield pictures with far more beside the pixels than in them."""
    rows = zlib.compress(bytes(28 * 29))
    mega = zlib.compress(bytes(60_000_000), 9)
    for extra in (
        chunk(b"zTXt", b"Comment\0\0" + mega),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + mega),
        chunk(b"iCCP", b"profile\0\0" + mega),
        chunk(b"tEXt", b"Comment\0" + b"x" * 900_000),
        chunk(b"tEXt", b"Comment\0x") * 20_000,
        chunk(b"eXIf", bytes(60_000)),
        chunk(b"gAMA", b""),
        chunk(b"PLTE", bytes(5)),
        chunk(b"tRNS", bytes(3000)),
        chunk(b"IHDR", b"\0" * 13),
        chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)),
        chunk(b"\0\0\0\0", b"what is this"),
        b"\xff\xff\xff\xfftEXt",
    ):
        yield Case("chunks", post(raw_png(28, 28, rows=rows, extra=extra)), EITHER)
    whole = encoded(noisy(rng), "PNG")
    yield Case("no end", post(whole[:-12]), EITHER)
    yield Case("no pixels", post(raw_png(28, 28)), NO_PICTURE)
    yield Case("too few pixels", post(raw_png(28, 28, rows=zlib.compress(bytes(100)))), EITHER)
    yield Case("too many pixels", post(raw_png(28, 28, rows=zlib.compress(bytes(50_000_000)))), EITHER)
    yield Case("a file behind it", post(whole + b"PK\3\4" * 1000), EITHER)
    yield Case("two pictures", post(whole + whole), EITHER)
    yield Case("only a signature", post(whole[:8]), NO_PICTURE)
    noted = PngImagePlugin.PngInfo()
    noted.add_text("</script><script>alert(1)</script>", "\x1b[31m" * 100, zip=True)
    yield Case("text", post(encoded(noisy(rng), "PNG", pnginfo=noted)), EITHER)


def modes(rng: random.Random) -> Iterator[Case]:
    """Yield pictures of every mode, which are rare and no attack: an answer, or a sentence."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        picture = noisy(rng)
        picture = picture.convert("I" if mode == "I;16" else mode).convert(mode)
        yield Case(f"PNG of mode {mode}", post(encoded(picture, "PNG")), EITHER)
    for mode in ("L", "RGB", "CMYK"):
        for progressive in (False, True):
            file = encoded(noisy(rng, mode=mode), "JPEG", progressive=progressive)
            yield Case(f"JPEG of mode {mode}", post(file, "image/jpeg"), EITHER)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "x" * 60_000
    yield Case("JPEG on its side", post(encoded(noisy(rng), "JPEG", exif=exif), "image/jpeg"), EITHER)
    frames = [noisy(rng) for _ in range(30)]
    moving = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield Case("animated PNG", post(moving), EITHER)
    yield Case("transparent", post(encoded(Image.new("RGBA", (28, 28)), "PNG")), EITHER)
    for colour in (0, 128, 255):
        yield Case("blank", post(encoded(Image.new("L", (28, 28), colour), "PNG")), EITHER)
    for size in ((1, 1), (1, 28), (2, 500), (999, 3)):
        yield Case("odd size", post(encoded(Image.new("L", size, 77), "PNG")), EITHER)


def others(rng: random.Random) -> Iterator[Case]:
    """Yield files of other kinds that call themselves PNG or JPEG."""
    picture = noisy(rng)
    files = [
        encoded(picture.convert("RGB"), kind)
        for kind in ("GIF", "TIFF", "WEBP", "ICO", "BMP", "PPM", "TGA", "PCX")
    ]
    files += [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><rect width='9' height='9'/></svg>",
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n%%EOF\n",
        b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n",
        b"PK\3\4" + bytes(40),
        gzip.compress(encoded(picture, "PNG")),
        b"\x7fELF" + bytes(60),
        b"push graphic-context\nimage over 0,0 0,0 'https://localhost/x'\npop graphic-context",
        b"8BPS\0\1" + bytes(20) + b"\0\3\0\0\x75\x30\0\0\x75\x30\0\x08\0\3",
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        b"",
        b"\0",
        b"\0" * 100_000,
        rng.randbytes(1000),
        "ein Bild von einer Sieben".encode("utf-16"),
    ]
    for content in files:
        for kind in ("image/png", "image/jpeg"):
            yield Case("another kind of file", post(content, kind), NO_PICTURE)


def damaged(rng: random.Random, count: int) -> Iterator[Case]:
    """Yield PNGs and JPEGs that are cut off, or have some wrong bytes."""
    for number in range(count):
        kind = ("png", "jpeg")[number % 2]
        size = rng.choice((28, 28, 64, 280))
        mode = rng.choice(("L", "RGB"))
        content = bytearray(encoded(noisy(rng, size, mode), kind.upper()))
        if number % 4 < 2:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(rng.choice((1, 1, 3, 20))):
                content[rng.randrange(len(content))] = rng.randrange(256)
        yield Case(f"damaged {kind}", post(bytes(content), f"image/{kind}"), EITHER)


# ---- JSON ------------------------------------------------------------------------------------------------


SQUARE = [[16 * (row % 16) + column % 16 for column in range(28)] for row in range(28)]
GOOD = json.dumps(SQUARE)
VALUES = [
    *("NaN", "Infinity", "-Infinity", "1e999", "-1", "256", "1e30", "-1e-320", "null", "true", '"7"', "[]"),
    *("{}", "9" * 5000, "0x10", "1_000", "07", "+1"),
]
"""What is no grey value, or not quite, as one of an array."""
TEXTS = [
    *("", " ", "null", "true", "7", '"seven"', "[]", "{}", "[[]]", "[[[]]]", "[[[[1]]]]", "[null]"),
    *("[[null]]", "[1, 2, 3]", "[[1, 2, 3]]]", "[[1, 2, 3]", "[[1, 2], [3]]", "[[1, [2]], [3, 4]]"),
    *("[[1,],]", "[[1]] [[1]]", "// no\n[[1]]", "{'image': [[1]]}", '{"image": null}', '{"image": []}'),
    *('{"images": []}', '{"images": {}}', '{"images": 7}', '{"picture": [[1]]}'),
    *('{"image": [[1]], "images": [[[1]]]}', '{"image": {"image": [[1]]}}'),
    *('{"__proto__": {"image": [[1]]}}', '{"image": "/etc/passwd"}', '{"image": "file:///etc/passwd"}'),
    *("[" * 100_000, "[" * 500 + "1" + "]" * 500, '{"image":' * 50_000, "[" + "{}," * 10_000 + "{}]"),
    *("9" * 200_000, "1e" + "9" * 1000, '"' + "\\u0000" * 10_000 + '"', '"\\ud800"', '{"\\ud800": 1}'),
    *(GOOD + "\0", "\ufeff" + GOOD),
]
"""What is no JSON, or no picture."""
DATA: list[object] = [
    {"image": GOOD},
    {str(number): number for number in range(20_000)},
    [[[1, 2], [3, 4]], [[1, 2]], [[[1]]]],
    [[[0]]] * 5000,
    [SQUARE] * 2000,
    [[0] * 3000] * 300,
    [[0]] * 100_000,
    [[0] * 100_000],
    *([[value] * 28] * 28 for value in (1e308, "a" * 1000, {}, True, 0.5, [0, 0, 0])),
]
"""JSON of many or large values."""
BYTES = [*map(GOOD.encode, ("utf-16", "utf-32")), gzip.compress(GOOD.encode()), b"\xff\xfe\xfa", b"\x80[[1]]"]
"""Encodings that JSON is not to be in."""


def arrays(rng: random.Random) -> Iterator[Case]:
    """Yield JSON that is no picture, or no JSON."""
    kind = "application/json"
    for text in (
        *(GOOD.replace("0", value, 1) for value in VALUES),
        *TEXTS,
        *map(json.dumps, DATA),
    ):
        yield Case("JSON", post(text.encode(), kind), TAKEN | NO_JSON)
    for content in BYTES:
        yield Case("encodings", post(content, kind), TAKEN | NO_JSON)
    many = ((b"[[", 1), (b"0," * 10_000, 1000), (b"0", 1))
    yield Case("ten million numbers", (*head(kind, 20_000_003), *many), TOO_LARGE)


def head(kind: str, length: int | str, *headers: str, path: str = "/predict") -> Pieces:
    """Return the first lines of a request, with any length."""
    lines = ["POST " + path + " HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Type: {kind}"]
    lines += [f"Content-Length: {length}"] if length != "" else []
    return (("\r\n".join([*lines, *headers, "", ""]).encode("latin-1"), 1),)


# ---- forms, types and encodings --------------------------------------------------------------------------


def forms(rng: random.Random) -> Iterator[Case]:
    """Yield forms with files that are broken, too many, or none."""
    picture = encoded(noisy(rng), "PNG")

    def part(content: bytes, more: bytes = b'; filename="7.png"', extra: bytes = b"") -> bytes:
        first = b'--b\r\nContent-Disposition: form-data; name="file"' + more
        return first + b"\r\n" + extra + b"\r\n" + content + b"\r\n"

    end = b"--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    bodies = [
        *(
            b"",
            end,
            b"--b\r\n",
            b"nothing",
            picture,
            part(b"") + end,
            part(picture),
            part(picture, b"") + end,
        ),
        *(part(picture)[:-300], part(b"x" * 1000) + end, part(picture).replace(b"\r\n", b"\n") + end),
        part(picture, b'; filename="../../../etc/passwd"') + end,
        part(picture, b'; filename="' + b"x" * 20_000 + b'"') + end,
        part(picture, b'; filename="a\0b\xff.png"') + end,
        part(picture, extra=b"X-Long: " + b"y" * 50_000 + b"\r\n") + end,
        part(picture, extra=b"X: y\r\n" * 3000) + end,
        part(picture, extra=b"Content-Type: text/html\r\n") + end,
        part(picture, extra=b"Content-Type: multipart/mixed; boundary=c\r\n") + end,
        part(picture, extra=b"Content-Transfer-Encoding: base64\r\n") + end,
        part(picture) * 3000 + end,
        part(b"", b"") * 20_000 + end,
        part(raw_png(30_000, 30_000)) * 50 + end,
        part(picture) + part(b"no picture") + end,
        (b"--b\r\n" + b"\r\n") * 1000 + end,
        b"--b" * 10_000,
    ]
    for body in bodies:
        yield Case("form", post(body, kind), EITHER)
    whole = part(picture) + end
    for boundary in ("c", "", "b" * 1000, '"b', "b; boundary=c", "\xff", "b\tc"):
        yield Case("boundary", post(whole, f"multipart/form-data; boundary={boundary}"), EITHER)
    yield Case("no boundary", post(whole, "multipart/form-data"), NO_PICTURE)
    yield Case("a field", post(b"image=7", "application/x-www-form-urlencoded"), frozenset({415}))


def types(rng: random.Random) -> Iterator[Case]:
    """Yield pictures with the type of something else, and encodings that nobody asked for."""
    picture, array = encoded(noisy(rng), "PNG"), json.dumps([[0, 9], [9, 0]]).encode()
    for kind in (
        *(None, "", "/", "png", "image/*", "*/*", "text/plain", "text/html", "image/svg+xml", "image/gif"),
        *(
            "application/octet-stream",
            "application/xml",
            "image/png, image/jpeg",
            "IMAGE",
            "a" * 5000,
            "\xff\xfe",
        ),
    ):
        yield Case("type", post(picture, kind), frozenset({400, 415}))
    for kind in ("image/png; charset=utf-7", "IMAGE/PNG", "image/png;", "image/jpeg", "application/json"):
        yield Case("type", post(picture, kind), EITHER)
    for kind in (
        "application/json; charset=utf-16",
        "application/json; charset=nonsense",
        "image/png",
        "text/json",
    ):
        yield Case("type", post(array, kind), EITHER)
    packed = gzip.compress(picture)
    for encoding in ("gzip", "deflate", "br", "zstd", "gzip, gzip", "compress", "nonsense"):
        yield Case("encoding", post(packed, "image/png", "/predict", f"Content-Encoding: {encoding}"), EITHER)
    bomb = gzip.compress(bytes(100_000_000))
    for kind in ("image/png", "application/json"):
        yield Case("encoded bomb", post(bomb, kind, "/predict", "Content-Encoding: gzip"), NO_PICTURE)
    for path in (
        "/corrections",
        "/corrections?class=",
        "/corrections?class=77",
        "/corrections?class=../../7",
    ):
        yield Case("correction", post(picture, "image/png", path), frozenset({400, 403, 422}))
    for path in (
        "/corrections?class=7%00",
        "/corrections?class=7&class=8",
        "/corrections?class=" + "7" * 5000,
    ):
        yield Case("correction", post(picture, "image/png", path), frozenset({400, 403, 414, 422}))


# ---- HTTP ------------------------------------------------------------------------------------------------


PATHS = [
    *("/nothing", "/../../../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd"),
    *("/....//etc", "/..\\..\\windows", "/%5c..%5c", "/page.css/../../__init__.py", "/../__init__.py"),
    *("/%00", "/index.html%00.png", "//etc/passwd", "/.git/config", "/.env", "/page/", "/%ff%fe", "/%"),
    *("/%zz", "/" + "a" * 8000, "/index.html/", "/__init__.py", "/recognition.py", "/C:/windows"),
    *("/~root", "/predict/../nothing"),
]
"""Paths to what is not there, or is not for visitors."""
METHODS = ("PUT", "DELETE", "PATCH", "GET", "OPTIONS", "TRACE", "BREW", "PROPFIND", "get")
QUERIES = [
    *("explain=maybe", "explain=", "explain=1&explain=0", "explain=%00", "explain[]=1", "%ff=%ff", "=&=&="),
    *("&&&", "explain=" + "1" * 4000, "tta=1", "class=7", "explain=1;drop", "?", "explain=-1", "explain=1e9"),
]
HEADERS = [
    *("X-Long: " + "y" * 8000, "Cookie: " + "a=b; " * 1500, "Range: bytes=0-", "Accept: text/x-nothing"),
    *("Host: evil", "X-Forwarded-For: ' OR 1=1", "Accept-Encoding: nonsense", "If-Match: *"),
    *("Upgrade: websocket", "X: \xff\xfe"),
]


def requests(rng: random.Random) -> Iterator[Case]:
    """Yield wrong methods, paths, queries and headers."""
    for path in PATHS:
        yield Case("path", plain("GET", path), frozenset({400, 404, 414, 431}))
    for method in METHODS:
        yield Case("method", plain(method, "/predict"), frozenset({204, 400, 404, 405, 501}))
    for path in ("/", "/model", "/healthz", "/metrics", "/openapi.json"):
        yield Case("method", plain("DELETE", path), frozenset({405}))
    picture = encoded(noisy(rng), "PNG")
    for query in QUERIES:
        yield Case("query", post(picture, "image/png", f"/predict?{query}"), TAKEN | {400, 414, 422})
    for header in HEADERS:
        yield Case("header", post(picture, "image/png", "/predict", header), TAKEN | BROKEN, header[0] != "H")
    yield Case("expects", post(picture, "image/png", "/predict", "Expect: 100-continue"), TAKEN)
    many = [f"X-{number}: {number}" for number in range(300)]
    yield Case("many headers", post(picture, "image/png", "/predict", *many), TAKEN | BROKEN)


def broken(rng: random.Random) -> Iterator[Case]:
    """Yield what is no HTTP, or gives a false length; nothing whose end the service would wait for."""
    picture = encoded(noisy(rng), "PNG")
    for length in ("-1", "abc", "1e3", "0x20", "9" * 30, "1, 2", " ", "+5", "١"):
        line = f"Content-Length: {length}".encode()
        first = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n" + line
        yield Case("length", ((first + b"\r\n\r\n" + picture, 1),), BROKEN, False)
    yield Case("too short a length", (*head("image/png", 50), (picture, 1)), EITHER, False)
    yield Case("two lengths", (*head("image/png", 5, "Content-Length: 6"), (picture, 1)), BROKEN, False)
    both = head("image/png", 5, "Transfer-Encoding: chunked")
    yield Case("a length and chunks", (*both, (b"0\r\n\r\n", 1)), BROKEN | EITHER, False)
    chunked = head("image/png", "", "Transfer-Encoding: chunked")
    yield Case("chunks", (*chunked, (b"%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture), 1)), TAKEN)
    yield Case(
        "chunks", (*chunked, *((b"1\r\n%c\r\n" % byte, 1) for byte in picture), (b"0\r\n\r\n", 1)), TAKEN
    )
    yield Case("chunks without end", (*chunked, (b"2710\r\n" + bytes(10_000) + b"\r\n", 4000)), TOO_LARGE)
    yield Case("chunks", (*chunked, (b"0\r\n\r\n", 1)), NO_PICTURE)
    long = b"5;" + b"x" * 70_000 + b"\r\nabcde"
    for wrong in (b"zz\r\n", b"-1\r\n", b"f" * 40 + b"\r\n", b"2\r\nabcdef", long, b"\r\n\r\n"):
        yield Case("chunks", (*chunked, (wrong + b"\r\n\r\n0\r\n\r\n", 1)), BROKEN | NO_PICTURE, False)
    for encoding in ("gzip, chunked", "identity", "chunked, chunked", "nonsense"):
        coded = head("image/png", "", f"Transfer-Encoding: {encoding}")
        yield Case("transfer", (*coded, (b"0\r\n\r\n", 1)), BROKEN | NO_PICTURE, False)
    for first in (
        *(
            b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ),
        *(
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET http://evil/ HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
        *(
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + rng.randbytes(500),
            rng.randbytes(3000) + b"\r\n\r\n",
            b"\0" * 3000,
        ),
        *(
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            b"CONNECT x:1 HTTP/1.1\r\n\r\n",
        ),
        *(
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
            b"* / HTTP/1.1\r\n\r\n",
            b"<html>\r\n\r\n",
        ),
        *(
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 30_000 + b"\r\n",
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"GET \0 HTTP/1.1\r\n\r\n",
        ),
    ):
        yield Case("no HTTP", ((first, 1),), BROKEN | TAKEN, False)


FAMILIES: tuple[Family, ...] = (broken, bombs, texts, arrays, types)
QUICK: tuple[Family, ...] = (modes, others, forms, requests)
