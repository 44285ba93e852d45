"""Activations as modules; as functions they are in `functional`."""

from __future__ import annotations

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.functional import TensorLike
from tinygrad_mnist.nn.module import Module


class ReLU(Module):
    """The rectifier ``max(x, 0)``, with gradient 0 at 0; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, input: TensorLike) -> Tensor:
        """Return ``max(input, 0)`` of each element."""
        return F.relu(input)


class LeakyReLU(Module):
    """The leaky rectifier: ``x`` where it is positive, ``negative_slope * x`` elsewhere; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.1)(np.array([-1.0, 2.0]))
    array([-0.1,  2. ])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, input: TensorLike) -> Tensor:
        """Return the leaky rectifier of each element."""
        return F.leaky_relu(input, self.negative_slope)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """The Gaussian error linear unit: ``x`` times the normal distribution function of ``x``; any shape.

    Parameters
    ----------
    approximate : str
        ``none`` for the exact function, ``tanh`` for its approximation by tanh.

    Raises
    ------
    ValueError
        If ``approximate`` is neither.

    References
    ----------
    Hendrycks & Gimpel (2016), "Gaussian error linear units (GELUs)", section 2.

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.array([-1.0, 1.0])).round(4)
    array([-0.1587,  0.8413])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU(approximate={approximate!r}) was asked for; expected 'none' or 'tanh'")
        self.approximate = approximate

    def forward(self, input: TensorLike) -> Tensor:
        """Return the Gaussian error linear unit of each element."""
        return F.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """The hyperbolic tangent; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.array([0.0]))
    array([0.])
    """

    def forward(self, input: TensorLike) -> Tensor:
        """Return the hyperbolic tangent of each element."""
        return F.tanh(input)


class Sigmoid(Module):
    """The logistic function ``1 / (1 + exp(-x))``, without overflow; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """

    def forward(self, input: TensorLike) -> Tensor:
        """Return the logistic function of each element."""
        return F.sigmoid(input)


class Softmax(Module):
    """The softmax ``exp(x) / sum(exp(x))`` along the axis ``dim``, without overflow.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax(dim=1)(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: TensorLike) -> Tensor:
        """Return the softmax along ``dim``; the shape stays."""
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """The logarithm of the softmax along the axis ``dim``.

    Examples
    --------
    >>> import numpy as np
    >>> LogSoftmax(dim=1)(np.array([[1000.0, 0.0]]))
    array([[    0., -1000.]])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: TensorLike) -> Tensor:
        """Return the logarithm of the softmax along ``dim``; the shape stays."""
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"dim={self.dim}"
