"""The layers: Linear, BatchNorm1d, LayerNorm, Dropout, Flatten, Identity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_mnist.engine.random_state import is_replay
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.inputs import TensorLike, as_input, require_integers, shape_of
from tinygrad_mnist.nn.module import Module, Parameter


class Linear(Module):
    """A linear (fully connected) layer: ``input @ weight.T + bias``.

    The weight has PyTorch's shape (out, in). It is stored in Fortran order: ``weight.T``, by which the input
    is multiplied, is then C-contiguous, and the matrix product is cheaper.

    Parameters
    ----------
    in_features : int
        The length of the last axis of the input.
    out_features : int
        The length of the last axis of the output.
    bias : bool
        Whether a bias is added.
    dtype : dtype
        The dtype of the parameters.
    rng : Generator or int, optional
        The source of the initial values.

    Attributes
    ----------
    weight : Parameter
        Shape (out_features, in_features), drawn from U(-k, k) with k = 1 / sqrt(in_features).
    bias : Parameter or None
        Shape (out_features,), drawn from the same distribution.

    Raises
    ------
    ValueError
        If a length is not positive; when called, if the last axis of the input is not ``in_features`` long.

    References
    ----------
    He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers": the initial values. As in PyTorch a =
    sqrt(5), which gives the variance 1 / (3 in_features) instead of their 2 / in_features.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Linear(3, 2, rng=0)
    >>> layer(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
        rng: init.RNG = None,
    ) -> None:
        super().__init__()
        require_integers(f"Linear({in_features!r}, {out_features!r})", in_features, out_features)
        if in_features < 1 or out_features < 1:
            raise ValueError(
                f"Linear({in_features}, {out_features}) was asked for; expected positive lengths"
            )
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(np.empty((out_features, in_features), dtype, order="F"))
        self.register_parameter("bias", Parameter(np.empty(out_features, dtype)) if bias else None)
        self.reset_parameters(rng)

    def reset_parameters(self, rng: init.RNG = None) -> None:
        """Draw new initial values of the parameters."""
        rng = init.generator(rng)
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), rng=rng)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound, rng)

    def forward(self, input: TensorLike) -> Tensor:
        """Return ``input @ weight.T + bias``; shape (..., in_features) becomes (..., out_features)."""
        # The operation checks the shapes; here an error of them gets the words of the layer. A call that
        # succeeds pays nothing for that.
        try:
            return F.linear(input, self.weight, self.bias)
        except ValueError as error:
            if message := self._wrong_shape_message(input):
                raise ValueError(message) from error
            raise

    def _wrong_shape_message(self, input: TensorLike) -> str | None:
        """Return what does not fit, the input or a weight or bias that was replaced; None if all does."""
        weight, own = self.weight.shape, (self.out_features, self.in_features)
        if len(weight) != 2:
            return f"weight of shape {weight} is here; expected two axes, as {own}"
        replaced = "" if weight == own else f" (the layer was made with a weight of shape {own})"
        if self.bias is not None and (bias := np.shape(self.bias)) != weight[:1]:
            return (
                f"bias of shape {bias} does not fit weight of shape {weight}; expected {weight[:1]}{replaced}"
            )
        shape = as_input(input).shape
        if shape[-1:] == weight[1:]:
            return None
        expected = f"(..., {weight[1]})"
        return f"input of shape {shape} does not fit weight of shape {weight}; expected {expected}{replaced}"

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"


class BatchNorm1d(Module):
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
        require_integers(f"BatchNorm1d({num_features!r})", num_features)
        if num_features < 1:
            raise ValueError(
                f"BatchNorm1d({num_features}) was asked for; expected a positive number of channels"
            )
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
        """Return the normalised input, of shape (N, C) or (N, C, L)."""
        input = as_input(input)
        shape = input.shape
        if len(shape) not in (2, 3) or shape[1] != self.num_features:
            c = self.num_features
            raise ValueError(
                f"input of shape {shape} does not fit {c} features; expected (N, {c}) or (N, {c}, L)"
            )
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
        count = shape[0] * math.prod(shape[2:])
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


class LayerNorm(Module):
    """Layer normalisation: mean 0 and variance 1 over the last axes of each sample, then a scale and a shift.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the axes to normalise over.
    eps : float
        A number that is added to the variance.
    elementwise_affine : bool
        Whether there is a weight (and, with ``bias``, a bias).
    bias : bool
        Whether there is a bias, too.
    dtype : dtype
        The dtype of the parameters.

    Attributes
    ----------
    weight : Parameter or None
        Shape ``normalized_shape``, at first 1.
    bias : Parameter or None
        Shape ``normalized_shape``, at first 0.

    Raises
    ------
    ValueError
        When called, if the last axes of the input are not ``normalized_shape``.

    References
    ----------
    Ba, Kiros & Hinton (2016), "Layer normalization", equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> LayerNorm(2, elementwise_affine=False)(np.array([[1.0, 3.0]])).round(3)
    array([[-1.,  1.]])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | list[int] | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = shape = shape_of("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        has_bias = elementwise_affine and bias
        self.register_parameter("weight", Parameter(np.ones(shape, dtype)) if elementwise_affine else None)
        self.register_parameter("bias", Parameter(np.zeros(shape, dtype)) if has_bias else None)

    def reset_parameters(self) -> None:
        """Reset the weight to 1 and the bias to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: TensorLike) -> Tensor:
        """Return the normalised input, of shape (..., *normalized_shape)."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the arguments that are not the defaults, as ``repr`` shows them."""
        text = f"{self.normalized_shape}" + ("" if self.eps == 1e-5 else f", eps={self.eps}")
        if not self.elementwise_affine:
            return f"{text}, elementwise_affine=False"
        return text + ("" if self.bias is not None else ", bias=False")


class Dropout(Module):
    """Dropout: in training mode each element becomes 0 with probability ``p``.

    The others are multiplied by ``1 / (1 - p)``, so that the mean stays. In evaluation mode nothing happens.

    Parameters
    ----------
    p : float
        The probability, from 0 to 1.
    rng : Generator or int, optional
        The source of random numbers. Each layer has a generator of its own, so that equal seeds give equal
        bits, whatever else is drawn.

    Raises
    ------
    ValueError
        If ``p`` is not a probability.

    References
    ----------
    Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting".

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(6))
    array([2., 2., 2., 0., 0., 0.])
    >>> layer.eval()(np.ones(3))
    array([1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, *, rng: init.RNG = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout({p}) was asked for; expected a probability from 0 to 1")
        self.p = p
        self.rng = init.generator(rng)

    def forward(self, input: TensorLike) -> TensorLike:
        """Return the input with some elements dropped; in evaluation mode, the input itself."""
        return F.dropout(input, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"p={self.p}"


class Flatten(Module):
    """A reshape that joins all axes from ``start_dim`` to ``end_dim``; by default all but the first.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((5, 28, 28))).shape
    (5, 784)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: TensorLike) -> TensorLike:
        """Return the same values with fewer axes."""
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """The identity: it returns its input, and ignores the arguments that it is made with.

    Examples
    --------
    >>> Identity()(3.0)
    3.0
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input
