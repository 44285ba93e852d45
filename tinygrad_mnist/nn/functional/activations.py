"""Activations as functions."""

from __future__ import annotations

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.functional.inputs import TensorLike, as_input
from tinygrad_mnist.ops import activation, elementwise


def relu(input: TensorLike) -> Tensor:
    """``max(x, 0)``, with gradient 0 at 0; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    out: Tensor = activation.relu(input)
    return out


def leaky_relu(input: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """``x`` where it is positive, ``negative_slope * x`` elsewhere; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.array([-1.0, 2.0]), 0.1)
    array([-0.1,  2. ])
    """
    out: Tensor = activation.leaky_relu(input, negative_slope=negative_slope)
    return out


def gelu(input: TensorLike, approximate: str = "none") -> Tensor:
    """``x`` times the normal distribution function of ``x``; any shape.

    Parameters
    ----------
    input : Tensor or ndarray
        Floating-point.
    approximate : str
        ``none`` for the exact function, ``tanh`` for the approximation by tanh.

    Raises
    ------
    ValueError
        If ``approximate`` is something else.

    References
    ----------
    Hendrycks & Gimpel (2016), "Gaussian error linear units (GELUs)", section 2.

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    out: Tensor = activation.gelu(as_input(input), approximate=approximate)
    return out


def tanh(input: TensorLike) -> Tensor:
    """The hyperbolic tangent; any shape."""
    out: Tensor = elementwise.tanh(input)
    return out


def sigmoid(input: TensorLike) -> Tensor:
    """``1 / (1 + exp(-x))`` without overflow; any shape.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    out: Tensor = elementwise.sigmoid(input)
    return out


def softmax(input: TensorLike, dim: int) -> Tensor:
    """``exp(x) / sum(exp(x))`` along an axis, without overflow.

    Raises
    ------
    numpy.exceptions.AxisError
        If the axis does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.array([[1000.0, 1000.0]]), dim=1)
    array([[0.5, 0.5]])
    """
    out: Tensor = activation.softmax(input, axis=dim)
    return out


def log_softmax(input: TensorLike, dim: int) -> Tensor:
    """The logarithm of the softmax along an axis, exact where the softmax is 0 in floating point.

    Raises
    ------
    numpy.exceptions.AxisError
        If the axis does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> log_softmax(np.array([[1000.0, 0.0]]), dim=1)
    array([[    0., -1000.]])
    """
    out: Tensor = activation.log_softmax(input, axis=dim)
    return out
