"""Standardisation of images: the border cut off, one mean and one standard deviation for all pixels.

Images stay uint8 in memory; a batch becomes float32 when it is drawn, and not before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data.errors import DataError

_BLOCK = 1 << 16
"""Pixels that are summed at a time: their squares, 255**2 at most, add up to less than 2**32."""


@dataclass(frozen=True)
class Standardizer:
    """Standardisation of images: (pixel - mean) / std, with one mean and one std for all pixels.

    Fit it on the training part only, and keep its `state` with the model.

    Parameters
    ----------
    mean, std : float
        Mean and population standard deviation, in grey values.
    crop : int
        Pixels that are cut off each side of an image, at least 0.

    Raises
    ------
    DataError
        Mean or std is not finite, std is not positive, or crop is negative.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.array([[[0, 4], [4, 0]], [[4, 0], [0, 4]]], np.uint8)
    >>> standardizer = Standardizer.fit(images)
    >>> standardizer
    Standardizer(mean=2.0, std=2.0, crop=0)
    >>> standardizer(images[:1])
    array([[[[-1.,  1.],
             [ 1., -1.]]]], dtype=float32)
    """

    mean: float
    std: float
    crop: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise DataError(
                f"a standardizer needs a finite mean and a finite positive std, not {self.mean} and "
                f"{self.std}"
            )
        if self.crop < 0:
            raise DataError(f"a standardizer cuts off 0 pixels or more, not {self.crop}")

    @classmethod
    def fit(cls, images: NDArray[np.uint8], crop: int = 0) -> Self:
        """Measure mean and standard deviation, exactly, without a float copy of the images.

        Parameters
        ----------
        images : ndarray
            uint8, any shape; the training part only. Mean and deviation are those of whole images.
        crop : int
            Pixels that are to be cut off each side.

        Returns
        -------
        Standardizer

        Raises
        ------
        DataError
            The images are not uint8, there are no images, or all their pixels are equal.

        Examples
        --------
        >>> from tinygrad_mnist.data import load_digits
        >>> Standardizer.fit(load_digits().train_images)
        Standardizer(mean=77.8..., std=95.7..., crop=0)
        """
        if images.dtype != np.uint8:
            raise DataError(f"a standardizer is fitted on uint8 images, not on {images.dtype}")
        if images.size == 0:
            raise DataError(f"a standardizer cannot be fitted on no images at all (shape {images.shape})")
        pixels = images.reshape(-1)
        total = squares = 0
        for start in range(0, pixels.size, _BLOCK):
            block = pixels[start : start + _BLOCK]
            total += int(block.sum(dtype=np.uint32))
            squares += int(np.square(block, dtype=np.uint16).sum(dtype=np.uint32))
        # n squared times the variance, in Python's integers: nothing is rounded, so nothing cancels
        spread = pixels.size * squares - total * total
        if spread == 0:
            raise DataError(
                f"all pixels of the images are {int(pixels[0])}: constant images have no spread to "
                "standardise by; check the data"
            )
        return cls(total / pixels.size, float(np.sqrt(spread / pixels.size**2)), crop)

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Standardise images, and give them the axis of channels that layers of images take.

        Parameters
        ----------
        images : ndarray
            Shape (n, height, width), usually uint8. Other real dtypes are accepted, on the scale of the
            images that it was fitted on. Rows of pixels, shape (n, features), stay rows.

        Returns
        -------
        ndarray
            float32, shape (n, 1, height - 2 * crop, width - 2 * crop), or that of the rows; a new array.

        Raises
        ------
        DataError
            The array has another shape, or nothing is left of an image that is cropped.

        Examples
        --------
        >>> import numpy as np
        >>> Standardizer(mean=100.0, std=50.0)(np.array([[[0, 100], [150, 200]]], np.uint8))
        array([[[[-2.,  0.],
                 [ 1.,  2.]]]], dtype=float32)
        """
        if images.ndim == 3 and min(images.shape[1:]) > 2 * self.crop:
            inside = slice(self.crop, -self.crop or None)
            images = images[:, np.newaxis, inside, inside]
        elif images.ndim != 2 or self.crop:
            raise DataError(
                f"images have shape (n, height, width), each side above {2 * self.crop}, not {images.shape}; "
                "a single image needs images[np.newaxis]"
            )
        # one multiply and one add: faster than subtract and divide, and than a table of the 256 values
        standardized: NDArray[np.float32] = np.multiply(
            images, np.float32(1 / self.std), dtype=np.float32, order="C"
        )
        standardized += np.float32(-self.mean / self.std)
        return standardized

    def state(self) -> dict[str, float]:
        """Return mean and standard deviation as plain data, for a checkpoint; the crop is the recipe's.

        Returns
        -------
        dict
            ``{"mean": float, "std": float}``.

        Examples
        --------
        >>> Standardizer(mean=33.0, std=78.5).state()
        {'mean': 33.0, 'std': 78.5}
        """
        return {"mean": self.mean, "std": self.std}

    @classmethod
    def from_state(cls, state: Mapping[str, float], crop: int = 0) -> Self:
        """Build a standardizer from its `state`.

        Parameters
        ----------
        state : mapping
            With exactly the entries ``mean`` and ``std``.
        crop : int
            Pixels that are cut off each side.

        Returns
        -------
        Standardizer

        Raises
        ------
        DataError
            An entry is missing, unexpected, or no number.

        Examples
        --------
        >>> Standardizer.from_state({"mean": 33.0, "std": 78.5}, crop=2)
        Standardizer(mean=33.0, std=78.5, crop=2)
        """
        if set(state) != {"mean", "std"}:
            raise DataError(f"the state of a standardizer has the entries mean and std, not {sorted(state)}")
        try:
            mean, std = float(state["mean"]), float(state["std"])
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"mean and std of a standardizer are numbers, not {dict(state)}") from error
        return cls(mean, std, crop)
