"""Drawings as the page makes them, dark strokes on white paper with an empty margin; and files of them."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Drawing = NDArray[np.uint8]

SIDE = 280
SEVEN = [(0.25, 0.2), (0.75, 0.2), (0.45, 0.85)]
TWO = [(0.28, 0.3), (0.4, 0.18), (0.6, 0.18), (0.7, 0.32), (0.62, 0.5), (0.28, 0.82), (0.75, 0.82)]


def drawn(
    points: list[tuple[float, float]], pen: float, shape: tuple[int, int] = (SIDE, SIDE), ink: int = 255
) -> Drawing:
    """Lines from point to point, as shares of the sides, with a round pen of a width in pixels."""
    height, width = shape
    y, x = np.mgrid[:height, :width] + 0.5
    distance = np.full(shape, np.inf)
    for (left, top), (right, bottom) in zip(points, points[1:] or points, strict=False):
        x0, y0, dx, dy = left * width, top * height, (right - left) * width, (bottom - top) * height
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        distance = np.minimum(distance, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
    covered = np.clip(pen / 2 - distance + 0.5, 0, 1)
    margin = max(1, int(0.02 * max(shape)) + 1)
    covered[:margin] = covered[-margin:] = covered[:, :margin] = covered[:, -margin:] = 0
    return np.rint(255 - ink * covered).astype(np.uint8)


def scribble(rng: np.random.Generator) -> Drawing:
    """A drawing of some lines, of any pen, darkness and place."""
    count = int(rng.integers(2, 6))
    centre, reach = rng.uniform(0.3, 0.7, 2), rng.uniform(0.05, 0.6)
    points = [tuple(point) for point in np.clip(centre + reach * rng.uniform(-0.5, 0.5, (count, 2)), 0, 1)]
    side = int(rng.choice([SIDE, SIDE, 112, 300]))
    return drawn(points, rng.uniform(0.006, 0.15) * side, (side, side), int(rng.choice([255, 255, 120])))


def special() -> list[Drawing]:
    """Drawings on which rounding errors would decide: symmetric ones, and ones between two levels."""
    bar, square, even = (np.full((SIDE, SIDE), 255, np.uint8) for _ in range(3))
    bar[60:220, 132:148] = 0
    square[75:205, 75:205] = 0
    square[95:185, 95:185] = 255
    even[50:230:2, 60:140] = 0
    even[50:230:2, 140:220] = 250  # with white 252.5 on the average, which is nearer to the even 252
    return [
        bar, square, even,
        drawn([(0.5, 0.5)], 1),
        drawn([(0.5, 0.5)], 150),
        drawn([(0.2, 0.5), (0.8, 0.5)], 20),
        drawn([(0.5, 0.2), (0.5, 0.8)], 7),
        drawn([(0.2, 0.2), (0.8, 0.8)], 20),
        drawn([(0.2, 0.8), (0.8, 0.2), (0.2, 0.2), (0.8, 0.8)], 13),
        drawn(SEVEN, 20, (100, 140)),
        drawn(SEVEN, 6, (60, 40)),
        drawn(SEVEN, 2, (28, 28)),
        drawn(TWO, 20, ink=9),
    ]  # fmt: skip


def on_paper(digit: NDArray[np.uint8]) -> Drawing:
    """A digit of MNIST, light on dark, pasted large and dark on white paper, with a margin."""
    return np.pad(255 - np.kron(digit, np.ones((9, 9), np.uint8)), 14, constant_values=255)


def stroke(height: int = 60, width: int = 80) -> Drawing:
    """An upright stroke, on paper of any size."""
    paper = np.full((height, width), 255, np.uint8)
    paper[height // 6 : -height // 6, width // 2 : width // 2 + width // 10] = 0
    return paper


def encoded(picture: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


PNG = encoded(stroke())
