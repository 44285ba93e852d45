"""The random changes that an `Augmentation` asks for, made to a batch of images by one bilinear gather.

Each pixel of the result looks up a place in the image that it comes from,

    source = R(angle) @ [[1, shear], [0, 1]] @ diag(scale) @ (destination - centre) + centre + shift + field,

and takes the bilinear mean of the four pixels around it; beyond the border lies the background. The elastic
field is that of P. Y. Simard, D. Steinkraus, J. C. Platt (2003), Best practices for convolutional neural
networks applied to visual document analysis, ICDAR.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinygrad_mnist.data.augmentation import Augmentation
from tinygrad_mnist.data.errors import DataError

Floats = NDArray[np.float32]

FIELDS: Final = 2000
"""The number of elastic fields that are made at the start; each image draws one of them in each epoch."""

_PIXELS: Final = 1 << 16
"""Pixels that are computed at a time, about: what is computed on the way then stays in the cache."""

_DRAWN: Final = (
    *("rotation", "scale_y", "scale_x", "shear", "shift_y", "shift_x", "field"),
    *("erased", "erased_height", "erased_width", "erased_top", "erased_left"),
)
"""The random numbers of an image, in the order in which they are drawn."""


class Augmenter:
    """A function that changes images at random, within the ranges of an augmentation.

    The changes to an image depend on the seed, the epoch and the number of the image alone: not on the order
    of the images, nor on batches, several processes or interruptions.

    Augment before you standardise: the background has another value afterwards.

    Parameters
    ----------
    augmentation : Augmentation
        The ranges.
    image_shape : tuple of int
        Height and width of the images.
    seed : int
        At least 0.
    background : float, optional
        The value of the pixels that come in at the border, and of those that are erased; 0 for light on dark,
        as MNIST's digits are, and 255 for ink on white paper. `background_of` finds it.

    Raises
    ------
    DataError
        The seed is negative, a side of the images is not positive, or the background is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.data import AUGMENTATIONS, Augmenter, load_digits
    >>> images = load_digits().train_images
    >>> augment = Augmenter(AUGMENTATIONS["affine-8x8"], images.shape[1:], seed=0)
    >>> batch = np.array([3, 1, 4])
    >>> changed = augment(images[batch], batch, epoch=0)
    >>> changed.shape, changed.dtype
    ((3, 8, 8), dtype('float32'))
    >>> bool(np.all(changed[1] == augment(images[[1]], [1], epoch=0)[0]))
    True
    """

    def __init__(
        self, augmentation: Augmentation, image_shape: tuple[int, int], seed: int, background: float = 0
    ) -> None:
        if min(image_shape) < 1:
            raise DataError(f"images have a height and a width of 1 pixel or more, not {image_shape}")
        if seed < 0:
            raise DataError(f"the seed of an augmentation is a whole number of at least 0, not {seed}")
        if not np.isfinite(background):
            raise DataError(f"the background of images is a finite number, not {background}")
        height, width = image_shape
        self.augmentation, self.image_shape, self.seed = augmentation, (int(height), int(width)), int(seed)
        self.background = float(background)
        self._fields = None
        if augmentation.elastic:
            rng = np.random.default_rng(np.random.SeedSequence(self.seed))
            fields = elastic_fields(FIELDS, self.image_shape, augmentation.elastic_sigma, rng)
            fields *= augmentation.elastic
            self._fields = fields

    def __call__(self, images: NDArray[Any], indices: ArrayLike, epoch: int) -> Floats:
        """Change images at random.

        Parameters
        ----------
        images : ndarray
            Shape (n, height, width), of any real dtype.
        indices : array_like of int
            Shape (n,): the number of each image in the training part, at least 0.
        epoch : int
            At least 0; in each epoch an image is changed in another way.

        Returns
        -------
        ndarray
            float32, shape (n, height, width), in the range of the images and the background; a new array.

        Raises
        ------
        DataError
            The images are of another size, there are not as many indices, or a number is negative.
        """
        indices = np.asarray(indices)
        self._check(images, indices, epoch)
        changed = np.empty(images.shape, np.float32)
        height, width = self.image_shape
        at_a_time = max(1, _PIXELS // (height * width))
        for start in range(0, len(images), at_a_time):
            group = slice(start, start + at_a_time)
            drawn = dict(zip(_DRAWN, uniform(self.seed, epoch, indices[group], len(_DRAWN)), strict=True))
            bilinear(images[group], *self._sources(drawn), out=changed[group], background=self.background)
            if self.augmentation.erasing:
                np.copyto(changed[group], self.background, where=self._erased(drawn))
        return changed

    def _check(self, images: NDArray[Any], indices: NDArray[Any], epoch: int) -> None:
        if images.ndim != 3 or images.shape[1:] != self.image_shape or images.dtype.kind not in "buif":
            height, width = self.image_shape
            raise DataError(
                f"this augmentation takes real images of shape (n, {height}, {width}), not {images.dtype} of "
                f"shape {images.shape}"
            )
        if indices.shape != images.shape[:1] or (indices.size and indices.dtype.kind not in "ui"):
            raise DataError(
                f"{len(images)} images need as many whole numbers as indices, not {indices.dtype} of shape "
                f"{indices.shape}"
            )
        if epoch < 0 or indices.min(initial=0) < 0:
            raise DataError("the epoch and the indices of images are at least 0; one of them is negative")

    def _sources(self, drawn: dict[str, NDArray[np.float64]]) -> tuple[Floats, Floats]:
        """Return the row and the column, each of shape (n, h, w), that each pixel is taken from."""
        ranges, (height, width) = self.augmentation, self.image_shape
        signed = {name: 2 * value - 1 for name, value in drawn.items()}
        angle = np.deg2rad(ranges.rotation * signed["rotation"])
        scale_y, scale_x = 1 + ranges.scale * signed["scale_y"], 1 + ranges.scale * signed["scale_x"]
        slope = ranges.shear * signed["shear"]
        cos, sin = np.cos(angle), np.sin(angle)
        # (x, y) = R(angle) @ [[1, slope], [0, 1]] @ diag(scale_x, scale_y): a column for x, and one for y
        y_by_y, y_by_x = (sin * slope + cos) * scale_y, sin * scale_x
        x_by_y, x_by_x = (cos * slope - sin) * scale_y, cos * scale_x
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        down, across = np.arange(height) - middle_y, np.arange(width) - middle_x
        to_y, to_x = middle_y + ranges.shift * signed["shift_y"], middle_x + ranges.shift * signed["shift_x"]
        # an affine map is the sum of a function of the row and one of the column
        y = _outer_sum(np.outer(y_by_y, down) + to_y[:, None], np.outer(y_by_x, across))
        x = _outer_sum(np.outer(x_by_y, down) + to_x[:, None], np.outer(x_by_x, across))
        if self._fields is not None:
            chosen = (drawn["field"] * FIELDS).astype(np.intp)
            y += self._fields[0].take(chosen, axis=0)
            x += self._fields[1].take(chosen, axis=0)
        return y, x

    def _erased(self, drawn: dict[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Return where an image is erased: (n, h, w), True in one rectangle, or nowhere."""
        inside = []
        for side, length, start in zip(
            self.image_shape, ("erased_height", "erased_width"), ("erased_top", "erased_left"), strict=True
        ):
            longest = max(1, int(side * self.augmentation.erasing_size))
            extent = 1 + np.floor(drawn[length] * longest)
            first = np.floor(drawn[start] * (side - extent + 1))
            place = np.arange(side) - first[:, None]
            inside.append((place >= 0) & (place < extent[:, None]))
        chosen = drawn["erased"] < self.augmentation.erasing
        erased: NDArray[np.bool_] = chosen[:, None, None] & inside[0][:, :, None] & inside[1][:, None, :]
        return erased


def _outer_sum(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Floats:
    """Return, in float32, the sum (n, h, w) of what depends on the row (n, h) and on the column (n, w)."""
    sums: Floats = np.add(rows.astype(np.float32)[:, :, None], columns.astype(np.float32)[:, None, :])
    return sums


def uniform(seed: int, epoch: int, indices: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Draw numbers from [0, 1) for each image, by the seed, the epoch and the number of the image alone.

    They are those of the generator SplitMix64, which computes each number of its stream by itself: G. L.
    Steele, D. Lea, C. H. Flood (2014), Fast splittable pseudorandom number generators, OOPSLA. Its state
    comes from the seed and the epoch, by NumPy's `SeedSequence`. Image i has the numbers i * count to
    i * count + count - 1.

    Parameters
    ----------
    seed, epoch : int
        At least 0.
    indices : ndarray of int
        Shape (n,), at least 0.
    count : int
        Numbers for each image.

    Returns
    -------
    ndarray
        float64, shape (count, n).

    Examples
    --------
    >>> uniform(0, 1, np.array([7]), 2).shape
    (2, 1)
    """
    (state,) = np.random.SeedSequence(seed, spawn_key=(epoch,)).generate_state(1, np.uint64)
    number = indices.astype(np.uint64) * np.uint64(count) + np.arange(count, dtype=np.uint64)[:, None]
    z = state + (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    drawn: NDArray[np.float64] = (z >> np.uint64(11)) * 2.0**-53
    return drawn


def elastic_fields(
    count: int, image_shape: tuple[int, int], sigma: float, rng: np.random.Generator
) -> Floats:
    """Draw smooth random displacements: uniform noise in [-1, 1], smoothed by a Gaussian.

    The noise goes on beyond the border, so that the field is the same kind of random there as in the middle.
    The Gaussian is the product of one along each axis. Each is a matrix product, the fastest way for small
    images.

    Parameters
    ----------
    count : int
        The number of fields.
    image_shape : tuple of int
        Height and width.
    sigma : float
        The standard deviation of the Gaussian in pixels, above 0.
    rng : numpy.random.Generator
        Draws the noise.

    Returns
    -------
    ndarray
        float32, shape (2, count, height, width): the displacements down, then those to the right.

    Examples
    --------
    >>> elastic_fields(5, (28, 28), 4.0, np.random.default_rng(0)).shape
    (2, 5, 28, 28)
    """
    reach = int(np.ceil(3 * sigma))
    distance = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    weights /= weights.sum()
    smooth_rows, smooth_columns = (_convolution_matrix(weights, side) for side in image_shape)
    fields = np.empty((2 * count, *image_shape), np.float32)
    height, width = (side + 2 * reach for side in image_shape)
    at_a_time = max(1, _PIXELS // (height * width))  # noise of all fields at once would take much memory
    for start in range(0, len(fields), at_a_time):
        part = fields[start : start + at_a_time]
        noise = 2 * rng.random((len(part), height, width), np.float32) - 1
        np.matmul(smooth_rows @ noise, smooth_columns.T, out=part)
    return fields.reshape(2, count, *image_shape)


def _convolution_matrix(weights: NDArray[np.float64], size: int) -> Floats:
    """Return the matrix (size, size + len(weights) - 1) that multiplies each stretch by the weights."""
    matrix = np.zeros((size, size + len(weights) - 1), np.float32)
    for row in range(size):
        matrix[row, row : row + len(weights)] = weights
    return matrix


def bilinear(images: NDArray[Any], y: Floats, x: Floats, out: Floats, background: float = 0) -> None:
    """Take each pixel from a place between pixels: the mean of the four around it, weighted by nearness.

    Parameters
    ----------
    images : ndarray
        Shape (n, height, width).
    y, x : ndarray
        float32, shape (n, h, w): the row and the column to take each pixel from. They are overwritten.
    out : ndarray
        float32, shape (n, h, w), written.
    background : float, optional
        The value of all pixels beyond the border.

    Examples
    --------
    >>> image, half = np.array([[[0, 4]]]), np.full((1, 1, 1), 0.5, np.float32)
    >>> found = np.empty((1, 1, 1), np.float32)
    >>> bilinear(image, 0 * half, half, found)
    >>> found
    array([[[2.]]], dtype=float32)
    """
    n, height, width = images.shape
    # A border of one pixel of background, and one more below and to the right. A place beyond the border
    # moves onto it, and one on the border looks up the neighbours below and to the right with the weight 0.
    tall, wide = height + 3, width + 3
    padded = np.full((n, tall, wide), background, np.float32)
    padded[:, 1 : height + 1, 1 : width + 1] = images
    y += 1
    x += 1
    np.clip(y, 0, height + 1, out=y)
    np.clip(x, 0, width + 1, out=x)
    above, left = np.floor(y), np.floor(x)
    y -= above
    x -= left
    # the position in all of `padded`; float32 is exact up to 2**24, and float64 takes longer
    place: NDArray[Any] = above if padded.size <= 1 << 24 else above.astype(np.float64)
    place *= wide
    place += left
    place += (np.arange(n, dtype=place.dtype) * (tall * wide))[:, None, None]
    position = place.astype(np.intp)
    pixels = padded.reshape(-1)
    # Every position is inside; mode "clip" only avoids a check.
    top_left = np.take(pixels, position, mode="clip", out=left)
    top_right = np.take(pixels[1:], position, mode="clip", out=above)
    top = _mean(top_left, top_right, x)
    bottom_left = np.take(pixels[wide:], position, mode="clip")
    bottom_right = np.take(pixels[wide + 1 :], position, mode="clip", out=above)
    bottom = _mean(bottom_left, bottom_right, x)
    out[...] = _mean(top, bottom, y)


def _mean(one: Floats, other: Floats, weight: Floats) -> Floats:
    """Return the mean of two arrays, by the weight of the other in 0..1; both are overwritten."""
    other -= one
    other *= weight
    one += other
    return one
