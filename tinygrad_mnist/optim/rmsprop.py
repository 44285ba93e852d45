"""RMSprop: gradients divided by a running root mean square of themselves."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_mnist.optim.flat_parameters import Block
from tinygrad_mnist.optim.optimizer import (
    Optimizer,
    OptionChecks,
    ParameterGroups,
    direction,
    require_flag,
    require_nonnegative,
    require_rate,
)

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    r"""RMSprop: the gradient divided by a running root mean square of itself.

    With the gradient ``g``, its running mean square ``s`` and, if centred, its running mean
    ``m``::

        g <- g + weight_decay p
        s <- alpha s + (1 - alpha) g^2
        m <- alpha m + (1 - alpha) g
        d  = g / (sqrt(s) + eps)             or, centred, g / (sqrt(s - m^2) + eps)
        p <- p - lr d                        without momentum
        b <- momentum b + d,   p <- p - lr b    with momentum

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        The parameters or parameter groups; see `Optimizer`.
    lr : float
        Learning rate, at least 0.
    alpha : float
        Decay rate of the running averages, at least 0 and less than 1.
    eps : float
        Added to the root, at least 0.
    weight_decay : float
        Factor of the L2 penalty, at least 0.
    momentum : float
        Momentum, at least 0; 0 for none.
    centered : bool
        Divide by the running standard deviation.
    maximize : bool
        Whether to go up the gradient instead of down: ``-g`` in the place of ``g``, from the first line on.

    References
    ----------
    .. [1] T. Tieleman and G. Hinton (2012), "Lecture 6.5 - RMSProp", Coursera: Neural Networks for Machine
       Learning.
    .. [2] A. Graves (2013), "Generating sequences with recurrent neural networks", arXiv:1308.0850, eqs.
       38-41 (centred). As in PyTorch, `eps` is added outside of the root.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.optim import RMSprop
    >>> from tinygrad_mnist import Tensor
    >>> weight = Tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = RMSprop([weight], lr=0.1, alpha=0.75)
    >>> weight.grad = Tensor(2 * weight.data)  # of the sum of squares
    >>> optimizer.step()  # by lr / sqrt(1 - alpha) = 0.2
    >>> weight.data.round(6)
    array([ 0.8, -1.8])
    """

    option_checks: ClassVar[OptionChecks] = {
        "lr": require_nonnegative,
        "alpha": require_rate,
        "eps": require_nonnegative,
        "weight_decay": require_nonnegative,
        "momentum": require_nonnegative,
        "centered": require_flag,
        "maximize": require_flag,
    }
    state_names = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: ParameterGroups,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            dict(
                lr=lr,
                alpha=alpha,
                eps=eps,
                weight_decay=weight_decay,
                momentum=momentum,
                centered=centered,
                maximize=maximize,
            ),
        )

    def _update(self, block: Block, options: dict[str, Any], progress: Any) -> Any:
        # The progress is the number of steps. The formula does not need it; PyTorch's state dict contains it.
        lr, alpha, eps, momentum = options["lr"], options["alpha"], options["eps"], options["momentum"]
        p, t = block.values, block.scratch
        sign = direction(options)
        g = block.penalised_gradient(sign * options["weight_decay"], sign)
        s = block.state("square_avg")
        s *= alpha
        np.multiply(g, (1 - alpha) ** 0.5, out=t)  # before it is squared, which overflows the earlier
        s += np.square(t, out=t)
        if options["centered"]:
            m = block.state("grad_avg")
            m *= alpha
            m += np.multiply(g, 1 - alpha, out=t)
            np.square(m, out=t)
            np.subtract(s, t, out=t)
            np.maximum(t, 0, out=t)  # by rounding, a variance near 0 may be negative
            np.sqrt(t, out=t)
        else:
            np.sqrt(s, out=t)
        t += eps
        np.divide(g, t, out=t)
        if momentum:
            b = block.state("momentum_buffer")
            b *= momentum
            b += t
            np.multiply(b, lr, out=t)
        else:
            t *= lr
        p -= t
        return (progress or 0) + 1

    def _required_state(self, options: dict[str, Any]) -> tuple[str, ...]:
        wanted = {"grad_avg": options["centered"], "momentum_buffer": options["momentum"] > 0}
        return ("step", "square_avg", *(name for name, needed in wanted.items() if needed))
