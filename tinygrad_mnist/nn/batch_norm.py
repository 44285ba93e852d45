"""Batch normalisation of rows, sequences and images: BatchNorm1d, BatchNorm2d."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_mnist.engine.random_state import is_replay
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.inputs import TensorLike, as_input, require_integers
from tinygrad_mnist.nn.module import Module, Parameter
from tinygrad_mnist.numbers import count_text


class _BatchNorm(Module):
    """The base: parameters, running statistics, and how a batch goes into them.

    Subclasses say in ``_shapes`` which axes an input may have behind (N, C).
    """

    _shapes: ClassVar[dict[int, str]]
    """For each number of axes that an input may have, the shape as an error shows it."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: NDArray[Any] | None
    running_var: NDArray[Any] | None
    num_batches_tracked: NDArray[np.int64] | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        require_integers(f"{name}({num_features!r})", num_features)
        if num_features < 1:
            raise ValueError(f"{name}({num_features}) was asked for; expected a positive number of channels")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(np.ones(num_features, dtype)) if affine else None)
        has_bias = affine and bias
        self.register_parameter("bias", Parameter(np.zeros(num_features, dtype)) if has_bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", np.zeros(num_features, dtype) if tracked else None)
        self.register_buffer("running_var", np.ones(num_features, dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if tracked else None)

    def reset_running_stats(self) -> None:
        """Reset the running statistics to mean 0, variance 1 and no batches."""
        if (
            self.running_mean is not None
            and self.running_var is not None
            and self.num_batches_tracked is not None
        ):
            self.running_mean[...] = 0
            self.running_var[...] = 1
            self.num_batches_tracked[...] = 0

    def reset_parameters(self) -> None:
        """Reset the weight to 1, the bias to 0 and the running statistics to no batches."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: TensorLike) -> Tensor:
        """Return the normalised input, of the same shape."""
        input = as_input(input)
        shape = input.shape
        if len(shape) not in self._shapes or shape[1] != self.num_features:
            c = self.num_features
            expected = " or ".join(self._shapes.values()).replace("C", str(c))
            features = count_text(c, "feature")
            raise ValueError(f"input of shape {shape} does not fit {features}; expected {expected}")
        count = self.num_batches_tracked if self.training else None
        momentum: Any = self.momentum
        if momentum is None:  # a plain mean over n batches moves by 1 / n
            momentum = 0.0 if count is None else 1 / (count + 1)
        if self.running_mean is None and not self.training:
            self._check_evaluation_by_batch(shape)
        out = F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )
        if count is not None and not is_replay():  # a checkpointed function that runs again has been counted
            self.count_batch()
        return out

    def _check_evaluation_by_batch(self, shape: tuple[int, ...]) -> None:
        """Raise if a batch is to be evaluated by its own statistics, and has none."""
        count = F.rows_of_batch(shape[0] * math.prod(shape[2:]))
        if count < 2:
            values = "one value" if count else "no values"
            raise ValueError(
                f"input of shape {shape} has {values} a channel, and without running statistics "
                "(track_running_stats=False) evaluation normalises by those of the batch, too; evaluate more "
                "at once, or make the layer with track_running_stats=True"
            )

    def count_batch(self) -> None:
        """Add 1 to the number of batches."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked[()] += 1

    def extra_repr(self) -> str:
        """Return the arguments that are not the defaults, as ``repr`` shows them."""
        usual = {"eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
        own = {name: getattr(self, name) for name in usual}
        text = f"{self.num_features}" + "".join(f", {k}={v!r}" for k, v in own.items() if v != usual[k])
        return text if self.bias is not None or not self.affine else f"{text}, bias=False"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation: mean 0 and variance 1 in each channel, then a scale and a shift.

    In training mode the mean and the variance are those of the batch, in evaluation mode the running
    statistics.

    Parameters
    ----------
    num_features : int
        The number of channels C.
    eps : float
        A number that is added to the variance.
    momentum : float or None
        The share of each batch in the running statistics: 0.1 moves them a tenth of the way. None makes them
        plain means over all batches.
    affine : bool
        Whether there is a weight (and, with ``bias``, a bias).
    track_running_stats : bool
        Whether there are running statistics; without them, evaluation uses those of the batch, too.
    bias : bool
        Whether there is a bias, too.
    dtype : dtype
        The dtype of parameters and running statistics.

    Attributes
    ----------
    weight : Parameter or None
        Shape (C,), at first 1.
    bias : Parameter or None
        Shape (C,), at first 0.
    running_mean : ndarray or None
        Shape (C,), at first 0.
    running_var : ndarray or None
        Shape (C,), at first 1; the unbiased variance.
    num_batches_tracked : ndarray or None
        The number of batches that went into them; int64, shape ().

    Raises
    ------
    ValueError
        When called, if the input is not (N, C) or (N, C, L), or has a single value a channel in training.

    References
    ----------
    Ioffe & Szegedy (2015), "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm1d(2)
    >>> layer(np.array([[1, 10], [3, 30]], np.float32)).detach().numpy().round(3)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> layer.running_mean
    array([0.2, 2. ], dtype=float32)
    """

    _shapes: ClassVar[dict[int, str]] = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images: mean 0 and variance 1 in each channel, then a scale and a shift.

    The mean and the variance of a channel are taken over the images of the batch and all their pixels. The
    parameters, attributes and running statistics are those of `BatchNorm1d`.

    Parameters
    ----------
    num_features : int
        The number of channels C.
    eps, momentum, affine, track_running_stats, bias, dtype
        See `BatchNorm1d`.

    Raises
    ------
    ValueError
        When called, if the input is not (N, C, H, W), or has a single value a channel in training.

    References
    ----------
    Ioffe & Szegedy (2015), "Batch normalization", section 3.2: convolutional networks.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm2d(1)
    >>> layer(np.array([[[[1, 3], [1, 3]]]], np.float32)).detach().numpy().round(3)
    array([[[[-1.,  1.],
             [-1.,  1.]]]], dtype=float32)
    >>> layer.running_mean
    array([0.2], dtype=float32)
    """

    _shapes: ClassVar[dict[int, str]] = {4: "(N, C, H, W)"}
