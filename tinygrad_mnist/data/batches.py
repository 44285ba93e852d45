"""From a data set to what a training step eats: a split, standardised batches, one-hot labels.

Images stay uint8 in memory; a batch becomes float32 when it is drawn, and not before.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_mnist.data.errors import DataError

_BLOCK = 1 << 16
"""Pixels summed at a time: their squares, 255**2 at most, add up to less than 2**32."""


@dataclass(frozen=True)
class Standardizer:
    """The z-score of pixels: (pixel - mean) / std, with one mean and one std for all of them.

    Fit it on the training part only, and keep its `state` with the model.

    Parameters
    ----------
    mean, std : float
        Mean and population standard deviation, in grey values.

    Raises
    ------
    DataError
        Mean or std is not finite, or std is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.array([[[0, 4], [4, 0]], [[4, 0], [0, 4]]], np.uint8)
    >>> standardizer = Standardizer.fit(images)
    >>> standardizer
    Standardizer(mean=2.0, std=2.0)
    >>> standardizer(images[:1])
    array([[-1.,  1.,  1., -1.]], dtype=float32)
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean) and np.isfinite(self.std) and self.std > 0):
            raise DataError(
                f"a standardizer needs a finite mean and a finite positive std, not {self.mean} and "
                f"{self.std}"
            )

    @classmethod
    def fit(cls, images: NDArray[np.uint8]) -> Self:
        """Measure mean and standard deviation, exactly, without a float copy of the images.

        Parameters
        ----------
        images : ndarray
            uint8, any shape; the training part only.

        Returns
        -------
        Standardizer

        Raises
        ------
        DataError
            The images are not uint8, there are none, or all their pixels are equal.

        Examples
        --------
        >>> from tinygrad_mnist.data import load_digits
        >>> Standardizer.fit(load_digits().train_images)
        Standardizer(mean=77.8..., std=95.7...)
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
        # n squared times the variance, in Python's integers: no rounding, hence no cancellation
        spread = pixels.size * squares - total * total
        if spread == 0:
            raise DataError(
                f"all pixels of the images are {int(pixels[0])}: constant images have no spread to "
                "standardise by; check the data"
            )
        return cls(mean=total / pixels.size, std=float(np.sqrt(spread / pixels.size**2)))

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Standardise images and flatten each to a row.

        Parameters
        ----------
        images : ndarray
            Shape (n, height, width) or (n, features), usually uint8; other real dtypes on the scale of the
            images that this was fitted on are accepted.

        Returns
        -------
        ndarray
            float32, shape (n, height * width); a new array.

        Raises
        ------
        DataError
            The array has fewer than two dimensions.

        Examples
        --------
        >>> import numpy as np
        >>> Standardizer(mean=100.0, std=50.0)(np.array([[[0, 100], [150, 200]]], np.uint8))
        array([[-2.,  0.,  1.,  2.]], dtype=float32)
        """
        if images.ndim < 2:
            raise DataError(
                f"images have shape (n, height, width), not {images.shape}; a single image needs "
                "images[np.newaxis]"
            )
        rows = images.reshape(len(images), math.prod(images.shape[1:]))
        # one multiply and one add: faster than subtract and divide, and than a table of the 256 values
        standardized: NDArray[np.float32] = np.multiply(rows, np.float32(1 / self.std), dtype=np.float32)
        standardized += np.float32(-self.mean / self.std)
        return standardized

    def state(self) -> dict[str, float]:
        """Mean and standard deviation as plain data, for a checkpoint.

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
    def from_state(cls, state: Mapping[str, float]) -> Self:
        """Rebuild what `state` returned.

        Parameters
        ----------
        state : mapping
            With exactly the entries ``mean`` and ``std``.

        Returns
        -------
        Standardizer

        Raises
        ------
        DataError
            An entry is missing, unexpected, or no number.

        Examples
        --------
        >>> Standardizer.from_state({"mean": 33.0, "std": 78.5})
        Standardizer(mean=33.0, std=78.5)
        """
        if set(state) != {"mean", "std"}:
            raise DataError(f"the state of a standardizer has the entries mean and std, not {sorted(state)}")
        try:
            mean, std = float(state["mean"]), float(state["std"])
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"mean and std of a standardizer are numbers, not {dict(state)}") from error
        return cls(mean=mean, std=std)


def one_hot(labels: NDArray[Any], classes: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Turn each label into a row of zeros with a one at its place.

    Parameters
    ----------
    labels : ndarray
        Integers 0 to `classes` - 1, shape (n,).
    classes : int
        The number of classes.
    dtype : dtype, optional
        Of the result.

    Returns
    -------
    ndarray
        Shape (n, classes).

    Raises
    ------
    DataError
        The labels are not one-dimensional integers, or one of them is out of range; it is named.

    Examples
    --------
    >>> import numpy as np
    >>> one_hot(np.array([2, 0]), classes=3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = _checked_labels(labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise DataError(
            f"label {int(labels[wrong[0]])} at position {int(wrong[0])} is not among the {classes} classes, "
            f"0 to {classes - 1}"
        )
    rows = np.zeros((len(labels), classes), dtype)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def batches(
    images: NDArray[Any],
    labels: NDArray[Any],
    batch_size: int,
    *,
    rng: np.random.Generator | None = None,
    drop_last: bool = False,
    standardize: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Go once through images and labels, a batch at a time.

    Parameters
    ----------
    images : ndarray
        Shape (n, ...); never copied as a whole.
    labels : ndarray
        Shape (n, ...): integer labels, or rows of `one_hot`.
    batch_size : int
        Samples a batch, 1 or more; the last batch has what is left.
    rng : numpy.random.Generator, optional
        If given, the samples come in an order drawn from it, another one at each call; else in their own
        order.
    drop_last : bool, optional
        Leave out a last batch that is not full.
    standardize : callable, optional
        Applied to the images of each batch as it is drawn; usually a `Standardizer`.

    Yields
    ------
    images, labels : ndarray
        Of one batch. Without `rng` and `standardize` they are views.

    Raises
    ------
    DataError
        The batch size is less than one, or there is not one label an image; raised at the call, not at the
        first batch.

    Examples
    --------
    >>> import numpy as np
    >>> images, labels = np.zeros((5, 2, 2), np.uint8), np.arange(5)
    >>> for x, y in batches(images, labels, 2, standardize=Standardizer(mean=0.0, std=1.0)):
    ...     print(x.shape, x.dtype, y)
    (2, 4) float32 [0 1]
    (2, 4) float32 [2 3]
    (1, 4) float32 [4]
    >>> rng = np.random.default_rng(0)
    >>> len(list(batches(images, labels, 2, rng=rng, drop_last=True)))
    2
    """
    if batch_size < 1:
        raise DataError(f"a batch has at least 1 sample, not {batch_size}; give a positive batch size")
    if len(images) != len(labels):
        raise DataError(f"there are {len(images):,} images and {len(labels):,} labels; the two must agree")
    return _draw(images, labels, batch_size, rng, drop_last, standardize)


def _draw(
    images: NDArray[Any],
    labels: NDArray[Any],
    batch_size: int,
    rng: np.random.Generator | None,
    drop_last: bool,
    standardize: Callable[[NDArray[Any]], NDArray[Any]] | None,
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    samples = len(images)
    order = None if rng is None else rng.permutation(samples)
    for start in range(0, samples - samples % batch_size if drop_last else samples, batch_size):
        stop = start + batch_size
        if order is None:
            drawn, drawn_labels = images[start:stop], labels[start:stop]
        else:
            chosen = order[start:stop]
            drawn, drawn_labels = images.take(chosen, axis=0), labels.take(chosen, axis=0)
        yield drawn if standardize is None else standardize(drawn), drawn_labels


def stratified_split(
    labels: NDArray[Any], fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split samples in two, so that each class is divided in the same proportion.

    Of `n` samples ``round(fraction * n)`` are held out; of each class, its share of them, rounded up or down
    (largest remainders first, ties by the order of the classes).

    Parameters
    ----------
    labels : ndarray
        Integers, shape (n,).
    fraction : float
        The part to hold out, between 0 and 1.
    rng : numpy.random.Generator
        Chooses the samples.

    Returns
    -------
    train_indices, held_out_indices : ndarray
        Integer indices in ascending order; together, each sample once.

    Raises
    ------
    DataError
        The labels are not one-dimensional integers, the fraction is not between 0 and 1, or one of the two
        parts would be empty.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.repeat([0, 1], [40, 20])
    >>> train, held_out = stratified_split(labels, 0.1, np.random.default_rng(0))
    >>> len(train), np.bincount(labels[held_out])
    (54, array([4, 2]))
    """
    labels = _checked_labels(labels)
    if not 0 < fraction < 1:
        raise DataError(f"the fraction to hold out lies between 0 and 1, and {fraction} does not")
    wanted = round(fraction * len(labels))
    if not 0 < wanted < len(labels):
        raise DataError(
            f"holding out {fraction} of {len(labels)} samples leaves one part empty; give more samples or "
            "another fraction"
        )
    classes, counts = np.unique(labels, return_counts=True)
    shares = fraction * counts
    held_out_counts = np.floor(shares).astype(np.intp)
    remainders = shares - held_out_counts
    held_out_counts[np.argsort(-remainders, kind="stable")[: wanted - held_out_counts.sum()]] += 1
    held_out = np.zeros(len(labels), np.bool_)
    for label, count in zip(classes, held_out_counts, strict=True):
        held_out[rng.choice(np.flatnonzero(labels == label), size=count, replace=False)] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _checked_labels(labels: NDArray[Any]) -> NDArray[Any]:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels are integers of shape (n,), not {labels.dtype} of shape {labels.shape}")
    return labels
