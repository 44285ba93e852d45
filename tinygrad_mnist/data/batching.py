"""Batches for training: passes over a data set, one-hot labels, and a split that sets samples aside."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_mnist.data.errors import DataError
from tinygrad_mnist.data.standardization import Standardizer
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


def rows_of(total: int, rank: int, ranks: int) -> slice:
    """Return which of some rows are those of one of several processes.

    Rows that are fewer than the processes are not shared out: each process has all of them.

    Examples
    --------
    >>> [rows_of(10, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    >>> rows_of(2, 1, 3)
    slice(0, 2, None)
    """
    if total < ranks:
        return slice(0, total)
    return slice(total * rank // ranks, total * (rank + 1) // ranks)


class Portion(tuple[Any, Any]):
    """The rows of a batch that one of several processes has: a pair of inputs and targets.

    Attributes
    ----------
    start : int
        The number of the first row in the batch.
    total : int
        Rows of the batch.
    """

    start: int
    total: int

    def __new__(cls, inputs: Any, targets: Any, start: int, total: int) -> Self:
        """Return the pair, with its place in the batch."""
        self = super().__new__(cls, (inputs, targets))
        self.start, self.total = start, total
        return self


class Batches:
    """The batches of a data set, as often as one goes through them: each pass has each sample once.

    Parameters
    ----------
    inputs : ndarray
        Shape (n, ...), of any dtype; never copied as a whole.
    targets : ndarray
        Shape (n, ...): labels, rows of `one_hot`, numbers to be predicted.
    batch_size : int
        The number of samples in a batch, 1 or more; the last batch has the rest.
    rng : numpy.random.Generator, optional
        Shuffles the samples, in a new order in each pass: one draw at its beginning. Without it they keep
        their order.
    drop_last : bool, optional
        Leave out a last batch that is not full.
    standardize : callable, optional
        A function that is applied to the inputs of each batch; usually a `Standardizer`.

    Raises
    ------
    DataError
        The batch size is less than one, there are not as many targets as inputs, or `rng` is no generator.

    Examples
    --------
    >>> import numpy as np
    >>> data = Batches(np.arange(5.0), np.arange(5), 2, rng=np.random.default_rng(0))
    >>> len(data)
    3
    >>> for epoch in range(2):
    ...     print([y.tolist() for x, y in data])
    [[2, 4], [3, 0], [1]]
    [[4, 1], [2, 0], [3]]
    """

    def __init__(
        self,
        inputs: NDArray[Any],
        targets: NDArray[Any],
        batch_size: int = 64,
        *,
        rng: np.random.Generator | None = None,
        drop_last: bool = False,
        standardize: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        if batch_size < 1:
            raise DataError(f"a batch has at least 1 sample, not {batch_size}; give a positive batch size")
        if len(inputs) != len(targets):
            counts = f"{count_text(len(inputs), 'input')} and {count_text(len(targets), 'target')}"
            raise DataError(f"there are {counts}; the two must agree")
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise DataError(f"rng is a generator such as np.random.default_rng(0), not {rng!r}")
        self.inputs, self.targets = np.asarray(inputs), np.asarray(targets)
        self.batch_size = int(batch_size)
        self.rng, self.drop_last, self.standardize = rng, drop_last, standardize
        self._began: dict[str, Any] | None = None  # the state at the beginning of the pass that is under way

    def __len__(self) -> int:
        """Return the number of batches in a pass."""
        whole, rest = divmod(len(self.inputs), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Go through the samples once.

        Yields
        ------
        inputs, targets : ndarray
            One batch. Without `rng` and `standardize` they are views of the arrays.
        """
        return self.from_batch(0)

    def from_batch(self, first: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Go through the samples once, without the first batches, which are not made.

        Parameters
        ----------
        first : int
            The number of batches to leave out.

        Yields
        ------
        inputs, targets : ndarray
            One batch.
        """
        for chosen in self._chosen(first):
            inputs, targets = self._gathered(chosen)
            yield inputs if self.standardize is None else self.standardize(inputs), targets

    def portions(self, first: int, rank: int, ranks: int) -> Iterator[Portion]:
        """Go through the same batches as `from_batch`, and make of each the rows of one process alone.

        Parameters
        ----------
        first : int
            The number of batches to leave out.
        rank, ranks : int
            The number of the process, from 0, and how many there are.

        Yields
        ------
        Portion
            Its rows of one batch.
        """
        for chosen in self._chosen(first):
            own = rows_of(len(chosen), rank, ranks)
            if self.standardize is None or isinstance(self.standardize, Standardizer):
                inputs, targets = self._gathered(chosen[own])
                inputs = inputs if self.standardize is None else self.standardize(inputs)
            else:  # another function may look at all rows of a batch
                inputs, targets = self._gathered(chosen)
                inputs, targets = self.standardize(inputs)[own], targets[own]
            yield Portion(inputs, targets, own.start, len(chosen))

    def _chosen(self, first: int) -> Iterator[Any]:
        """Draw the order of a pass; yield the numbers of the samples of each batch: a range, or an array."""
        samples, size = len(self.inputs), self.batch_size
        self._began = self._state()
        order: Any = range(samples) if self.rng is None else self.rng.permutation(samples)
        for start in range(first * size, samples - samples % size if self.drop_last else samples, size):
            yield order[start : start + size]
        self._began = None

    def _gathered(self, chosen: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return samples: views of a range of them."""
        if isinstance(chosen, range):
            part = slice(chosen.start, chosen.stop)
            return self.inputs[part], self.targets[part]
        # take is faster than inputs[chosen]
        return self.inputs.take(chosen, axis=0), self.targets.take(chosen, axis=0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator at the beginning of the pass that is under way, as plain data.

        Between two passes it is that with which the next one begins. So after `load_state_dict`, going
        through the batches gives the same ones again.
        """
        return self._state() if self._began is None else copy.deepcopy(self._began)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; the next pass begins with it.

        Parameters
        ----------
        state : mapping
            The state.

        Raises
        ------
        DataError
            If it is the state of another generator.
        """
        saved, own = state.get("rng"), self._state()["rng"]
        kinds = [None if found is None else found["bit_generator"] for found in (saved, own)]
        if kinds[0] != kinds[1]:
            raise DataError(
                f"the state is that of batches with the generator {kinds[0]}; these have {kinds[1]}"
            )
        if self.rng is not None and saved is not None:
            self.rng.bit_generator.state = copy.deepcopy(saved)
        self._began = None

    def _state(self) -> dict[str, Any]:
        return {"rng": None if self.rng is None else dict(self.rng.bit_generator.state)}


def batches(
    images: NDArray[Any],
    labels: NDArray[Any],
    batch_size: int,
    *,
    rng: np.random.Generator | None = None,
    drop_last: bool = False,
    standardize: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Return one pass through the batches of `Batches`, which has the parameters and the errors.

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
    return iter(Batches(images, labels, batch_size, rng=rng, drop_last=drop_last, standardize=standardize))


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
