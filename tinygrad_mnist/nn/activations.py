"""Activations as modules; as functions they are in `functional`."""

from __future__ import annotations

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.inputs import TensorLike
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


class ELU(Module):
    """The exponential linear unit: ``x`` where it is positive, ``alpha * (exp(x) - 1)`` elsewhere; any shape.

    References
    ----------
    Clevert, Unterthiner & Hochreiter (2016), "Fast and accurate deep network learning by exponential linear
    units (ELUs)", equation 15.

    Examples
    --------
    >>> import numpy as np
    >>> ELU()(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, input: TensorLike) -> Tensor:
        """Return the exponential linear unit of each element."""
        return F.elu(input, self.alpha)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"alpha={self.alpha}"


class SiLU(Module):
    """The sigmoid linear unit ``x * sigmoid(x)``, also called swish; any shape.

    References
    ----------
    Elfwing, Uchibe & Doya (2018), "Sigmoid-weighted linear units", equation 7.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.array([-1.0, 2.0])).round(4)
    array([-0.2689,  1.7616])
    """

    def forward(self, input: TensorLike) -> Tensor:
        """Return ``input * sigmoid(input)`` of each element."""
        return F.silu(input)


class Softplus(Module):
    """The smooth rectifier ``log(1 + exp(beta * x)) / beta``, without overflow; any shape.

    Parameters
    ----------
    beta : float
        The sharpness of the bend at 0; not 0.
    threshold : float
        Where ``beta * x`` is greater, the result is ``x`` itself.

    Raises
    ------
    ValueError
        If ``beta`` is 0.

    Examples
    --------
    >>> import numpy as np
    >>> Softplus()(np.array([0.0, 30.0])).round(4)
    array([ 0.6931, 30.    ])
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        if not beta:
            raise ValueError(f"Softplus(beta={beta}) was asked for; expected another number than 0")
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: TensorLike) -> Tensor:
        """Return the smooth rectifier of each element."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """``x`` clipped to the interval from ``min_val`` to ``max_val``; any shape.

    Raises
    ------
    ValueError
        If ``min_val`` is not less than ``max_val``.

    Examples
    --------
    >>> import numpy as np
    >>> Hardtanh()(np.array([-3.0, 0.5, 3.0]))
    array([-1. ,  0.5,  1. ])
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        if not min_val < max_val:
            raise ValueError(f"Hardtanh({min_val}, {max_val}) was asked for; expected min_val < max_val")
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, input: TensorLike) -> Tensor:
        """Return each element, clipped."""
        return F.hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


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
