"""Linear, Flatten, Dropout, Identity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.module import Module, Parameter

TensorLike = Tensor | NDArray[Any]


class Linear(Module):
    """``input @ weight.T + bias``.

    The weight has PyTorch's shape (out, in). It is stored in Fortran order, which makes the matrix products
    cheaper.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of the last axis of input and output.
    bias : bool
        Whether a bias is added.
    dtype : dtype
        Of the parameters.
    rng : Generator or int, optional
        Where the initial values come from.

    Attributes
    ----------
    weight : Parameter
        Shape (out_features, in_features), drawn from U(-k, k) with k = 1 / sqrt(in_features).
    bias : Parameter or None
        Shape (out_features,), drawn likewise.

    Raises
    ------
    ValueError
        If a length is not positive; when called, if the input does not end in ``in_features``.

    References
    ----------
    He, Zhang, Ren & Sun (2015), "Delving deep into rectifiers": the initial values, with PyTorch's a =
    sqrt(5).

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
        """Draw the parameters anew."""
        rng = init.generator(rng)
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), rng=rng)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound, rng)

    def forward(self, input: TensorLike) -> Tensor:
        """From shape (..., in_features) to (..., out_features)."""
        try:
            return F.linear(input, self.weight, self.bias)
        except ValueError as error:
            raise ValueError(
                f"input of shape {np.shape(input)} does not fit weight of shape {self.weight.shape}; "
                f"expected (..., {self.in_features})"
            ) from error

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"


class Dropout(Module):
    """Make each element 0 with probability ``p`` and the others larger by ``1 / (1 - p)``; in training only.

    Parameters
    ----------
    p : float
        From 0 to 1.
    rng : Generator or int, optional
        Where the random numbers come from: each layer has a generator of its own, so equal seeds give equal
        bits whatever else is drawn.

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
        """The same shape and dtype."""
        return F.dropout(input, self.p, self.training, rng=self.rng)

    def extra_repr(self) -> str:
        """The argument."""
        return f"p={self.p}"


class Flatten(Module):
    """Join the axes from ``start_dim`` to ``end_dim`` (included) into one; by default all but the first.

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
        """The same values in another shape."""
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Returns its input; whatever it is made with is ignored.

    Examples
    --------
    >>> Identity()(3.0)
    3.0
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The input."""
        return input
