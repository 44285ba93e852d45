"""Dropout as functions: of single elements, and of whole channels; part of `nn.functional`."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import float_dtype
from tinygrad_mnist.engine.shards import current as current_shard
from tinygrad_mnist.nn.batch_axis import rows_each
from tinygrad_mnist.nn.init import RNG, generator
from tinygrad_mnist.nn.inputs import TensorLike, as_input


def dropout(input: TensorLike, p: float = 0.5, training: bool = True, *, rng: RNG = None) -> TensorLike:
    """Set each element to 0 with probability ``p``, and multiply the others by ``1 / (1 - p)``.

    Parameters
    ----------
    input : Tensor or ndarray
        Any shape, floating-point.
    p : float
        The probability, from 0 to 1.
    training : bool
        Whether to do so; if not, the input is returned as it is.
    rng : Generator or int, optional
        The source of random numbers.

    Raises
    ------
    ValueError
        If ``p`` is not a probability.

    References
    ----------
    Srivastava et al. (2014), "Dropout", here "inverted", so that evaluation needs no factor (their section
    10).

    Examples
    --------
    >>> import numpy as np
    >>> sorted(set(dropout(np.ones(100), 0.75, rng=0).tolist()))
    [0.0, 4.0]
    """
    return _dropped(input, p, training, rng, None)


def dropout2d(input: TensorLike, p: float = 0.5, training: bool = True, *, rng: RNG = None) -> TensorLike:
    """Set each channel of each image to 0 with probability ``p``, and multiply the others by ``1 / (1 - p)``.

    Neighbouring pixels are alike, so that a single pixel that is dropped is known from those around it.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W), or (N, C, L), floating-point.
    p : float
        The probability, from 0 to 1.
    training : bool
        Whether to do so; if not, the input is returned as it is.
    rng : Generator or int, optional
        The source of random numbers.

    Raises
    ------
    ValueError
        If ``p`` is not a probability, or the input has fewer than three axes.

    References
    ----------
    Tompson et al. (2015), "Efficient object localization using convolutional networks", section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> dropped = dropout2d(np.ones((2, 3, 4, 4)), 0.5, rng=0)
    >>> np.unique(dropped.sum(axis=(2, 3)))
    array([ 0., 32.])
    """
    input = as_input(input)
    if input.ndim < 3:
        raise ValueError(f"input of shape {input.shape} was given; expected (N, C, H, W) or (N, C, L)")
    return _dropped(input, p, training, rng, 2)


def _dropped(input: TensorLike, p: float, training: bool, rng: RNG, axes: int | None) -> TensorLike:
    """Return the input times a mask that is drawn for each element of the first ``axes`` axes, or of all."""
    if not 0 <= p <= 1:
        raise ValueError(f"p={p} was given; expected a probability from 0 to 1")
    input = as_input(input)
    if not training or p == 0:
        return input
    dtype = float_dtype(input.dtype)
    shape = input.shape if axes is None else (*input.shape[:axes], *(1,) * (input.ndim - axes))
    keep = _drawn(input, shape, rng) >= p
    mask = keep.astype(dtype)
    if p < 1:
        mask *= 1 / (1 - p)
    out: TensorLike = input * mask
    return out


def _drawn(input: TensorLike, shape: tuple[int, ...], rng: RNG) -> Any:
    """Return random numbers of a shape; where processes share a batch, those of its rows that are here.

    They are float32 whatever the dtype: half the random bits, and equal seeds drop the same elements in every
    dtype.
    """
    shard = current_shard()
    each = None if shard is None else rows_each(input, shard)
    if shard is None or each is None:
        return generator(rng).random(shape, np.float32)
    from tinygrad_mnist.nn.random_rows import RowsOfDraws  # with numpy.random, which takes long to load

    before, after = each * shard.start, each * (shard.total - shard.start - shard.rows)
    return generator(rng, lambda source: RowsOfDraws(source, before, after)).random(shape, np.float32)
