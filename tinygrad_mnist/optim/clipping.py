"""Limits on gradients, to be applied between the backward pass and the step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.optim.flat_parameters import Array
from tinygrad_mnist.optim.optimizer import require_number

__all__ = ["clip_grad_norm_", "clip_grad_value_"]

PIECE = 1 << 14
"""The number of elements that are converted to float64 at a time: 128 KiB."""


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients by one factor, so that their norm is at most ``max_norm``.

    The norm is that of all gradients together, as if they were one vector. If they are scaled, each parameter
    gets a new gradient array; the old ones do not change.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Parameters; those without a gradient do not count.
    max_norm : float
        The largest norm allowed, at least 0.
    norm_type : float
        The order of the norm, above 0; ``inf`` for the largest absolute value.
    error_if_nonfinite : bool
        Whether to raise if the norm is infinite or not a number. Otherwise such gradients become 0 or nan.

    Returns
    -------
    float
        The norm before scaling, summed in float64; 0.0 if there is no gradient.

    Raises
    ------
    RuntimeError
        If the norm is not finite, and ``error_if_nonfinite``.
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov and Y. Bengio (2013), "On the difficulty of training recurrent neural
       networks", ICML, algorithm 1. The factor is max_norm / (norm + 1e-6), as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.optim import clip_grad_norm_
    >>> from tinygrad_mnist import Tensor
    >>> weight, bias = Tensor(np.zeros(2), requires_grad=True), Tensor(np.zeros(1), requires_grad=True)
    >>> weight.grad, bias.grad = Tensor(np.array([2.0, 4.0])), Tensor(np.array([4.0]))
    >>> clip_grad_norm_([weight, bias], max_norm=3.0)
    6.0
    >>> weight.grad.data.round(4)
    array([1., 2.])
    """
    max_norm = _require_bound("max_norm", max_norm)
    if isinstance(norm_type, bool) or not norm_type > 0:
        raise ValueError(f"norm_type must be above 0, not {norm_type!r}")
    pairs = _with_gradient(parameters)
    if (tracing := tracer()) is not None:
        norm: float = tracing.clip_gradient_norm(pairs, max_norm, float(norm_type), error_if_nonfinite)
        return norm
    total = _total_norm([gradient for _, gradient in pairs], float(norm_type))
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"the norm of the gradients is {total}, so they cannot be clipped; "
            "with error_if_nonfinite=False they would be scaled by it all the same"
        )
    factor = max_norm / (total + 1e-6)
    if not factor >= 1.0:  # not `factor < 1.0`, which is False if the norm is nan
        with np.errstate(invalid="ignore"):  # inf * 0, after an infinite norm
            for parameter, gradient in pairs:
                parameter.grad = Tensor(np.multiply(gradient, factor, out=np.empty_like(gradient)))
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every entry of every gradient to ``[-clip_value, clip_value]``.

    Each parameter gets a new gradient array; the old ones do not change. Entries that are nan stay nan.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Parameters; those without a gradient do not count.
    clip_value : float
        The largest absolute value allowed, at least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type or out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.optim import clip_grad_value_
    >>> from tinygrad_mnist import Tensor
    >>> weight = Tensor(np.zeros(3), requires_grad=True)
    >>> weight.grad = Tensor(np.array([0.5, -4.0, 3.0]))
    >>> clip_grad_value_([weight], 1.0)
    >>> weight.grad.data
    array([ 0.5, -1. ,  1. ])
    """
    bound = _require_bound("clip_value", clip_value)
    for parameter, gradient in _with_gradient(parameters):
        clipped = np.empty_like(gradient) if tracer() is None else None
        parameter.grad = Tensor(np.clip(gradient, -bound, bound, out=clipped))


def _require_bound(name: str, value: float) -> float:
    return math.inf if value == math.inf else require_number(name, value, 0)


def _with_gradient(parameters: Tensor | Iterable[Tensor]) -> list[tuple[Tensor, Array]]:
    """Return the parameters that have a gradient, each once, and the arrays of their gradients."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    if hasattr(parameters, "parameters"):  # a module; a container of modules can even be iterated
        kind = type(parameters).__name__
        raise TypeError(f"parameters is a {kind}; give its parameters: model.parameters()")
    if not isinstance(parameters, Iterable):
        raise TypeError(f"parameters is {parameters!r}; expected a Tensor, or an iterable of Tensors")
    pairs: dict[int, tuple[Tensor, Array]] = {}
    for index, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(f"parameter {index} is a {type(parameter).__name__}, not a Tensor")
        if parameter.grad is not None:
            pairs[id(parameter)] = (parameter, parameter.grad.data)
    return list(pairs.values())


def _total_norm(gradients: list[Array], order: float) -> float:
    """Return the norm of all gradients together, summed in float64.

    If the sum of powers overflows or underflows, it is computed again of the gradients divided by their
    largest entry.
    """
    gradients = [gradient for gradient in gradients if gradient.size]
    if not gradients:
        return 0.0
    if order == math.inf:
        return _largest(gradients)
    with np.errstate(over="ignore", under="ignore"):
        power_sum = sum(_power_sum(gradient, order, 1.0) for gradient in gradients)
        if 1e-200 < power_sum < math.inf or math.isnan(power_sum):
            return float(power_sum ** (1 / order))
        largest = _largest(gradients)
        if largest == 0.0 or not math.isfinite(largest):
            return largest
        power_sum = sum(_power_sum(gradient, order, largest) for gradient in gradients)
        return float(largest * power_sum ** (1 / order))


def _largest(gradients: list[Array]) -> float:
    return float(np.max([np.abs(gradient).max() for gradient in gradients]))


def _power_sum(gradient: Array, order: float, unit: float) -> float:
    """Return the sum of ``|gradient / unit| ** order``, computed in float64 piece by piece."""
    flat = gradient.ravel("K")  # in the order in memory, which needs no copy
    total = 0.0
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE].astype(np.float64, copy=False)
        if unit != 1.0:
            piece = piece / unit
        total += float(piece.dot(piece) if order == 2.0 else (np.abs(piece) ** order).sum())
    return total
