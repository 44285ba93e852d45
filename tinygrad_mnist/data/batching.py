"""Batches for training: one pass over a data set, one-hot labels, and a split that sets samples aside."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.numbers import count_text


def one_hot(labels: NDArray[Any], classes: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Turn each label into a row of zeros, with a one at the position that the label names.

    Parameters
    ----------
    labels : ndarray
        Integers 0 to `classes` - 1, shape (n,).
    classes : int
        The number of classes.
    dtype : dtype, optional
        The dtype of the result.

    Returns
    -------
    ndarray
        Shape (n, classes).

    Raises
    ------
    DataError
        The labels are not one-dimensional integers, or one of them is out of range; the message names it.

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
    """Yield images and labels in batches, each sample once.

    Parameters
    ----------
    images : ndarray
        Shape (n, ...); never copied as a whole.
    labels : ndarray
        Shape (n, ...): integer labels, or rows of `one_hot`.
    batch_size : int
        The number of samples in a batch, 1 or more; the last batch has the rest.
    rng : numpy.random.Generator, optional
        Shuffles the samples, in a new order at each call. Without it they keep their order.
    drop_last : bool, optional
        Leave out a last batch that is not full.
    standardize : callable, optional
        A function that is applied to the images of each batch; usually a `Standardizer`.

    Yields
    ------
    images, labels : ndarray
        One batch. Without `rng` and `standardize` they are views of the arguments.

    Raises
    ------
    DataError
        The batch size is less than one, or there are not as many labels as images; raised at the call, not at
        the first batch.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.data import Standardizer
    >>> images, labels = np.zeros((5, 2, 2), np.uint8), np.arange(5)
    >>> for x, y in batches(images, labels, 2, standardize=Standardizer(mean=0.0, std=1.0)):
    ...     print(x.shape, x.dtype, y)
    (2, 1, 2, 2) float32 [0 1]
    (2, 1, 2, 2) float32 [2 3]
    (1, 1, 2, 2) float32 [4]
    >>> rng = np.random.default_rng(0)
    >>> len(list(batches(images, labels, 2, rng=rng, drop_last=True)))
    2
    """
    if batch_size < 1:
        raise DataError(f"a batch has at least 1 sample, not {batch_size}; give a positive batch size")
    if len(images) != len(labels):
        counts = f"{count_text(len(images), 'image')} and {count_text(len(labels), 'label')}"
        raise DataError(f"there are {counts}; the two must agree")
    # the generator is a function of its own, so that the checks above run at the call
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
            # take is faster than images[chosen]
            drawn, drawn_labels = images.take(chosen, axis=0), labels.take(chosen, axis=0)
        yield drawn if standardize is None else standardize(drawn), drawn_labels


def stratified_split(
    labels: NDArray[Any], fraction: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split samples into two parts, each class in the same proportion.

    Of `n` samples ``round(fraction * n)`` are held out. Each class gives its share of them, rounded down;
    those that are still missing come from the classes with the largest remainders, ties in the order of the
    classes.

    Parameters
    ----------
    labels : ndarray
        Integers, shape (n,).
    fraction : float
        The share to hold out, between 0 and 1.
    rng : numpy.random.Generator
        The generator that chooses the samples.

    Returns
    -------
    train_indices, held_out_indices : ndarray
        Integer indices in ascending order; together they hold each sample once.

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
            f"holding out {fraction} of {count_text(len(labels), 'sample')} leaves one part empty; give more "
            "samples or another fraction"
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
    """Return the labels, or raise if they are not one-dimensional integers."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels are integers of shape (n,), not {labels.dtype} of shape {labels.shape}")
    return labels
