"""A picture of a digit, made to look like the training digits; and of anything else, scaled as a whole.

The ink on it is found, dark on light or light on dark, then scaled and placed as the training digits are.
Standardisation is not done here: it belongs to whoever holds the statistics of the training images.

Each step returns what it made, and the placement of that on what it was given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.data.dataset import MOST_PIXELS
from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.levels import black_and_white
from tinygrad_mnist.data.placement import Placement, affine, after, resized
from tinygrad_mnist.data.scaling import PAGES, page_of, resampling, scaled

Ink = NDArray[np.float64]

_WORKING_SIDE = 2048  # larger pictures are averaged down by a whole factor first
_PLANE_SIDE = 64  # a picture with this side or more may be a photograph, whose paper is lit unevenly
_LEAST_CONTRAST = 8.0  # grey levels between paper and ink; a picture with less is blank
_FAINT = 0.1  # of the strongest ink; fainter pixels do not widen the digit's box
_FINE = 8  # strokes are measured and thickened on a grid that is this much finer than the result


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as a model is shown it, before standardisation.

    Parameters
    ----------
    image : ndarray
        uint8, shape (h, w).
    placement : ndarray
        float64, shape (2, 3): where each point of it lies on the picture that was given; see
        `tinygrad_mnist.data.placement`.
    """

    image: NDArray[np.uint8]
    placement: Placement


@dataclass(frozen=True)
class Preparation:
    """The way in which pictures are made what a model is shown.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the model's pictures.
    is_centred : bool
        Whether they show digits or other signs that were placed as those of MNIST (of 8 x 8 pixels: as those
        of UCI); else a picture is scaled as a whole.
    page : {"dark", "light"}, optional
        What the model's pictures lie on; None where there are both.

    Raises
    ------
    DataError
        Signs are placed on square pictures only; or the shape or the page is none.

    Examples
    --------
    >>> paper = np.full((60, 80), 255, np.uint8)
    >>> paper[10:50, 5:13] = 0
    >>> int(Preparation((28, 28))(paper).image[14, 14])
    255
    >>> int(Preparation((6, 8), is_centred=False, page="light")(paper).image[2, 1])
    178
    """

    shape: tuple[int, int]
    is_centred: bool = True
    page: str | None = "dark"

    def __post_init__(self) -> None:
        height, width = self.shape
        if min(height, width) < 1 or height * width > MOST_PIXELS or self.page not in (*PAGES, None):
            raise DataError(
                f"pictures of a model have from 1 to {MOST_PIXELS:,} pixels, on a dark or a light page, and "
                f"not {height} x {width} on one that is {self.page!r}"
            )
        if self.is_centred and height != width:
            raise DataError(f"only square pictures are drawn, not such of {height} x {width} pixels")

    @property
    def name(self) -> str:
        """The way in a word: ``"mnist"``, ``"uci"``, or ``"whole"``."""
        if not self.is_centred:
            return "whole"
        return "uci" if self.shape == (8, 8) else "mnist"

    def __call__(self, picture: NDArray[np.uint8]) -> Prepared:
        """Prepare grey values (h, w).

        Raises
        ------
        DataError
            They show nothing.
        """
        if not self.is_centred:
            return scale_whole(picture, self.shape, self.page)
        prepared = place_digit(picture, self.shape[0])
        if self.page == "light":  # prepared light on dark
            prepared = replace(prepared, image=255 - prepared.image)
        return prepared


def prepare_digit(image: ArrayLike, size: int = 28, *, fill: float | None = None) -> NDArray[np.uint8]:
    """Make a picture of one digit look like the training digits.

    It is done as MNIST was made (LeCun, Bottou, Bengio and Haffner, 1998, section III.A). The ink is scaled,
    with its aspect kept, until its longer side is 20 of 28 pixels. It is placed with its centre of mass in
    the middle of the square. Before that, the border of the picture shows the level of the paper, which is
    subtracted, with an even gradient of light. Strokes thinner than a pen's are thickened. At last the ink is
    stretched to the full range.

    Digits of side 8 are made as those of UCI (Alpaydin and Kaynak, 1998), by the steps of NIST's programs:
    set upright, drawn out to 20 of 32 pixels in width and all 32 in height, and counted in blocks of 4 x 4.

    A picture that has this size, scale and place already is only stretched in contrast, and turned to light
    on dark.

    Parameters
    ----------
    image : array_like, shape (h, w)
        Grey values, dark on light or light on dark: bytes, other whole numbers, floats or booleans, of any
        finite range; see `tinygrad_mnist.data.levels.black_and_white`.
    size : int
        The side of the result.
    fill : float, optional
        The digit's longer side as a share of the square's, in (0, 1]; by default 20/28, and 1 for `size` 8.

    Returns
    -------
    ndarray, shape (size, size), uint8
        The digit, light (255) on dark (0).

    Raises
    ------
    DataError
        The picture is blank, not two-dimensional, or not finite.

    Examples
    --------
    A black bar on white paper, not in the middle:

    >>> paper = np.full((60, 80), 255, np.uint8)
    >>> paper[10:50, 5:13] = 0
    >>> digit = prepare_digit(paper)
    >>> digit.shape, digit.dtype
    ((28, 28), dtype('uint8'))
    >>> rows, columns = np.nonzero(digit)
    >>> int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())
    (4, 23, 12, 15)
    """
    return place_digit(image, size, fill=fill).image


def place_digit(image: ArrayLike, size: int = 28, *, fill: float | None = None) -> Prepared:
    """Make a picture as `prepare_digit` does, and tell its placement.

    Digits of side 8 are set upright row by row, by whole pixels. Their placement is the slant that these
    steps follow, and true to less than a pixel of the result.

    Examples
    --------
    The bar of `prepare_digit` is as high as the box of 20 pixels: a pixel stands for 2 x 2.

    >>> paper = np.full((60, 80), 255, np.uint8)
    >>> paper[10:50, 5:13] = 0
    >>> place_digit(paper).placement
    array([[  2.,   0., -19.],
           [  0.,   2.,   2.]])
    """
    if size < 1 or (fill is not None and not 0 < fill <= 1):
        raise ValueError(f"size must be 1 or more and fill in (0, 1], but {size=} and {fill=} were given")
    # `box` is the longer side of the ink in the result
    box = size if size == 8 and fill is None else max(1, round(size * (20 / 28 if fill is None else fill)))
    values, averaged = _values(image)
    ink = _ink(values)
    if ink.shape == (size, size) and _is_placed(ink, box):
        placed, placement = ink / ink.max(), affine()
    elif size == 8 and fill is None:
        placed, placement = _as_uci(ink)
    else:
        placed, placement = _as_mnist(ink, size, box)
    return Prepared(np.rint(255 * placed).astype(np.uint8), after(placement, averaged))


def scale_whole(picture: NDArray[np.uint8], shape: tuple[int, int], page: str | None = None) -> Prepared:
    """Scale a picture as a whole, and turn it to the page that a model's pictures lie on.

    Where the border of the picture is on the other page, it is turned to its negative: that shows the same
    thing.

    Parameters
    ----------
    picture : ndarray, shape (h, w), uint8
        Grey values.
    shape : tuple of int
        Height and width of the result.
    page : {"dark", "light"}, optional
        Where the training pictures lie; None where there are both.

    Examples
    --------
    >>> found = scale_whole(np.full((56, 28), 255, np.uint8), (28, 28), "dark")
    >>> int(found.image.max()), found.placement[1].tolist()
    (0, [0.0, 2.0, 0.0])
    """
    found = page_of(picture[np.newaxis])
    if page in PAGES and found is not None and found != page:
        picture = 255 - picture
    return Prepared(scaled(picture, shape), resized((picture.shape[0], picture.shape[1]), shape))


def _values(image: ArrayLike) -> tuple[Ink, Placement]:
    """Return the picture as floats in 0..255, its sides averaged down to the working size."""
    pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype.kind not in "buif":
        raise DataError(
            f"a picture (h, w) of numbers was expected, not shape {pixels.shape} of {pixels.dtype}"
        )
    low, high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError("the picture holds values that are not finite")
    black, white = black_and_white(low, high, pixels.dtype)
    step = -(-max(pixels.shape) // _WORKING_SIDE)
    if step > 1 and min(pixels.shape) >= step:
        rows, columns = (side - side % step for side in pixels.shape)
        pixels = pixels[:rows, :columns].reshape(rows // step, step, columns // step, step).mean(axis=(1, 3))
    else:
        step = 1
    values = pixels.astype(np.float64)
    if (black, white) != (0, 255):
        values = (values - black) * (255 / (white - black))
    return values, affine(step, step)


def _ink(image: Ink) -> Ink:
    """Return the distance (h, w) of each pixel from the paper: 0 on the paper, positive on ink."""
    paper, noise = _paper(image)
    away = image - paper
    if -away.min() > away.max():  # the farthest pixel is darker than the paper: dark on light
        away = -away
    ink: Ink = np.maximum(away - noise, 0)
    if np.ptp(image) < _LEAST_CONTRAST:
        raise DataError("the picture is blank: it shows no digit that stands out from its background")
    if ink.max() < max(_LEAST_CONTRAST, noise):
        raise DataError(
            "no digit stands out from the background of the picture, which is blank or too uneven; take one "
            "on plain paper"
        )
    return ink


def _paper(image: Ink) -> tuple[Ink, float]:
    """Return the level of the paper, which broadcasts to (h, w), and the height of its noise.

    Both come from the border. Ink may touch it: pixels far from its median are left out. The spread is
    measured by the median distance, which a few inked pixels do not change; 1.4826 times it is the deviation
    of a normal distribution. The paper of a photograph is a plane, fitted by least squares.
    """
    height, width = image.shape
    border = _border(height, width, depth=max(1, min(height, width) // 50))
    values = image.reshape(-1)[border]
    median = np.median(values)
    distance = np.abs(values - median)
    slack = max(3 * 1.4826 * float(np.median(distance)), _FAINT / 3 * float(np.ptp(image)))
    is_paper = distance <= slack
    values = values[is_paper]
    if min(height, width) < _PLANE_SIDE:
        return np.full((1, 1), np.median(values)), 3 * float(values.std())
    rows, columns = np.divmod(border, width)
    terms = np.stack([np.ones(values.size), rows[is_paper] / height, columns[is_paper] / width], axis=1)
    (level, down, across), *_ = np.linalg.lstsq(terms, values, rcond=None)
    plane = level + down * np.arange(height)[:, None] / height + across * np.arange(width) / width
    return plane, 3 * float((values - plane.reshape(-1)[border[is_paper]]).std())


@lru_cache(maxsize=64)  # pictures that are drawn on one page have one size
def _border(height: int, width: int, depth: int) -> NDArray[np.intp]:
    """Return the positions of the pixels at the border of a picture, in the order of its rows."""
    border = np.ones((height, width), bool)
    border[depth : height - depth, depth : width - depth] = False
    positions = np.flatnonzero(border)
    positions.flags.writeable = False
    return positions


def _box(ink: Ink) -> tuple[slice, slice]:
    """Return the smallest rectangle around all ink that is not faint."""
    strong = ink > _FAINT * ink.max()
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _centre(ink: Ink) -> tuple[float, float]:
    """Return the centre of mass, in pixels from the top and from the left: (0.5, 0.5) for the first pixel."""
    height, width = ink.shape
    mass = ink.sum()
    down = ink.sum(axis=1) @ (np.arange(height) + 0.5) / mass
    across = ink.sum(axis=0) @ (np.arange(width) + 0.5) / mass
    return float(down), float(across)


def _is_placed(ink: Ink, box: int) -> bool:
    """Return whether the ink of a square picture has its size and place already.

    MNIST's digits were moved by whole pixels: their centres lie within one pixel beyond the middle. Those of
    UCI were not placed by their centres, which lie within one and a quarter pixels around the middle.
    """
    rows, columns = _box(ink)
    longer = max(rows.stop - rows.start, columns.stop - columns.start)
    middle = ink.shape[0] / 2
    low, high = (-1.25, 1.25) if box == ink.shape[0] else (-0.05, 1.05)
    return box - 1 <= longer <= box and all(low <= centre - middle <= high for centre in _centre(ink))


def _as_mnist(ink: Ink, size: int, box: int) -> tuple[Ink, Placement]:
    """Return the ink scaled until its longer side is `box`, its centre of mass in the middle of a square."""
    digit, placement = _cut(ink, _box(ink))
    if not box - 1 <= max(digit.shape) <= box:  # ink that fits to a pixel is only moved, so it stays sharp
        longer = box * _FINE
        digit, fine = _scaled(digit, longer, longer)
        digit, thick = _thickened(digit, pen=0.13 * longer)
        digit, coarse = _scaled(digit, box, box)
        placement = after(coarse, after(thick, after(fine, placement)))
    above, left = (
        min(max(size // 2 - int(centre), 0), size - side)
        for centre, side in zip(_centre(digit), digit.shape, strict=True)
    )
    square = np.zeros((size, size))
    square[above : above + digit.shape[0], left : left + digit.shape[1]] = _saturated(digit)
    return square, after(affine(right=-left, down=-above), placement)


def _as_uci(ink: Ink) -> tuple[Ink, Placement]:
    """Return the ink set upright, drawn out to the full height and 5/8 of the width of a square of side 8."""
    side = 8 * _FINE
    width = side * 20 // 32
    bitmap = (_saturated(ink) > 0.5).astype(np.float64)
    digit, placement = _cut(bitmap, _box(bitmap))
    for step in (
        lambda digit: _scaled(digit, side, side),
        _upright,
        lambda digit: _cut(digit, _box(digit)),
        lambda digit: _scaled(digit, side, width, stretch=1.5),
        lambda digit: _thickened(digit, pen=5 / 32 * side),
        lambda digit: _scaled(digit, side, width, stretch=1.5),
    ):
        digit, made = step(digit)
        placement = after(made, placement)
    above, left = ((side - length) // 2 for length in digit.shape)
    square = np.zeros((side, side))
    square[above : above + digit.shape[0], left : left + digit.shape[1]] = digit
    blocks: Ink = square.reshape(8, _FINE, 8, _FINE).mean(axis=(1, 3))
    blocks /= blocks.max()
    return blocks, after(affine(_FINE, _FINE, right=-left, down=-above), placement)


def _cut(ink: Ink, box: tuple[slice, slice]) -> tuple[Ink, Placement]:
    """Return a rectangle of the ink."""
    rows, columns = box
    return ink[box], affine(right=columns.start, down=rows.start)


def _scaled(digit: Ink, height: int, width: int, stretch: float = 1.0) -> tuple[Ink, Placement]:
    """Return a digit scaled to fit a box; one side may be drawn out up to `stretch` times the other."""
    factors = (height / digit.shape[0], width / digit.shape[1])
    least = min(factors)
    rows, columns = (
        resampling(side, max(1, round(side * min(factor, least * stretch))))
        for side, factor in zip(digit.shape, factors, strict=True)
    )
    return rows @ digit @ columns.T, resized(digit.shape, (len(rows), len(columns)))


def _saturated(digit: Ink) -> Ink:
    """Return ink in 0..1, the strongest tenth of it at 1: a pen's stroke is black except for its rims."""
    strong: Ink = np.minimum(digit / np.quantile(digit[digit > _FAINT * digit.max()], 0.9), 1)
    return strong


def _thickened(digit: Ink, pen: float) -> tuple[Ink, Placement]:
    """Return a digit whose strokes are `pen` pixels wide at least, dilated by a disc and cut to its new box.

    The mean width of a stroke is twice its area divided by its perimeter. The total variation of a black and
    white picture is the perimeter.
    """
    digit = np.pad(_saturated(digit), 1)
    down, across = np.diff(digit, axis=0)[:, :-1], np.diff(digit, axis=1)[:-1]
    radius = (pen - 2 * float(digit.sum() / np.hypot(down, across).sum())) / 2
    reach = 0
    if radius >= 0.5:
        reach = int(np.ceil(radius))
        digit = _dilated(np.pad(digit, reach), radius)
    thick, cut = _cut(digit, _box(digit))
    margin = 1 + reach
    return thick, after(cut, affine(right=-margin, down=-margin))


def _dilated(digit: Ink, radius: float) -> Ink:
    """Return the largest ink within `radius` pixels of each pixel; as wide a margin must be without ink."""
    thick, wide, half = digit.copy(), digit, 0
    for y in range(int(radius), -1, -1):  # the rows of the disc, which are the wider the nearer to its middle
        while (half + 1) ** 2 + y * y <= radius * radius:
            half += 1
            wide = np.maximum(wide, np.maximum(np.roll(digit, half, axis=1), np.roll(digit, -half, axis=1)))
        for shift in {y, -y}:
            np.maximum(thick, np.roll(wide, shift, axis=0), out=thick)
    return thick


def _upright(digit: Ink) -> tuple[Ink, Placement]:
    """Return a digit set upright: its rows are moved by whole pixels until its mixed second moment is 0."""
    height, width = digit.shape
    middle, across = _centre(digit)
    y = np.arange(height)[:, None] + 0.5 - middle
    x = np.arange(width) + 0.5 - across
    lean = float(np.clip((digit * y * x).sum() / max(float((digit * y * y).sum()), 1e-12), -1, 1))
    shift = np.rint(lean * y).astype(np.intp)
    reach = int(np.abs(shift).max())
    columns = np.arange(width + 2 * reach) + shift
    upright = np.take_along_axis(np.pad(digit, ((0, 0), (2 * reach, 2 * reach))), columns + reach, axis=1)
    return upright, affine(lean=lean, right=-lean * middle - reach)
