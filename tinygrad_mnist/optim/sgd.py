"""Stochastic gradient descent, with momentum if wanted."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_mnist.optim.flat_parameters import Array, Block
from tinygrad_mnist.optim.optimizer import (
    Optimizer,
    OptionChecks,
    ParameterGroups,
    direction,
    require_flag,
    require_nonnegative,
    require_number,
)

__all__ = ["SGD"]


class SGD(Optimizer):
    r"""Stochastic gradient descent, optionally with (Nesterov) momentum and an L2 penalty.

    With the gradient ``g``, the momentum ``mu`` and the dampening ``tau``::

        g <- g + weight_decay p
        b <- mu b + (1 - tau) g        (b = g in the first step)
        p <- p - lr b                  with momentum
        p <- p - lr (g + mu b)         with Nesterov's
        p <- p - lr g                  without

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        The parameters or parameter groups; see `Optimizer`.
    lr : float
        Learning rate, at least 0.
    momentum : float
        Momentum, at least 0; 0 for none.
    dampening : float
        Dampening of the gradient that enters the momentum.
    weight_decay : float
        Factor of the L2 penalty, at least 0.
    nesterov : bool
        Look ahead along the momentum; needs momentum, and no dampening.
    maximize : bool
        Whether to go up the gradient instead of down: ``-g`` in the place of ``g``, from the first line on.

    References
    ----------
    .. [1] B. T. Polyak (1964), "Some methods of speeding up the convergence of iteration methods", USSR
       Comput. Math. Math. Phys. 4 (momentum).
    .. [2] Y. Nesterov (1983), "A method of solving a convex programming problem with convergence rate
       O(1/k^2)"; in the form of I. Sutskever et al. (2013), "On the importance of initialization and momentum
       in deep learning", ICML. As in PyTorch, the learning rate stands outside of the momentum.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.optim import SGD
    >>> from tinygrad_mnist import Tensor
    >>> weight = Tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = SGD([weight], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     weight.grad = Tensor(2 * weight.data)  # of the sum of squares
    ...     optimizer.step()
    >>> weight.data
    array([ 0.46, -0.92])
    """

    option_checks: ClassVar[OptionChecks] = {
        "lr": require_nonnegative,
        "momentum": require_nonnegative,
        "dampening": require_number,
        "weight_decay": require_nonnegative,
        "nesterov": require_flag,
        "maximize": require_flag,
    }
    state_names = ("momentum_buffer",)

    def __init__(
        self,
        params: ParameterGroups,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            dict(
                lr=lr,
                momentum=momentum,
                dampening=dampening,
                weight_decay=weight_decay,
                nesterov=nesterov,
                maximize=maximize,
            ),
        )

    def _check_options(self, options: dict[str, Any]) -> dict[str, Any]:
        checked = super()._check_options(options)
        if checked["nesterov"] and (checked["momentum"] == 0 or checked["dampening"] != 0):
            raise ValueError(
                "Nesterov momentum needs a momentum above 0 and a dampening of 0, "
                f"not momentum={checked['momentum']} and dampening={checked['dampening']}"
            )
        return checked

    def _update(self, block: Block, options: dict[str, Any], progress: Any) -> Any:
        # The progress is True once there is a momentum buffer: in the first step it is the gradient itself,
        # without dampening, as in PyTorch.
        lr, momentum, dampening = options["lr"], options["momentum"], options["dampening"]
        p, t = block.values, block.scratch
        sign = direction(options)
        g = block.penalised_gradient(sign * options["weight_decay"], sign)
        if momentum:
            b = block.state("momentum_buffer")
            if progress is None:
                b[...] = g
            else:
                b *= momentum
                b += np.multiply(g, 1 - dampening, out=t) if dampening else g
            progress = True
            if options["nesterov"]:
                np.multiply(b, momentum, out=t)
                g = np.add(g, t, out=t)
            else:
                g = b
        p -= np.multiply(g, lr, out=t)
        return progress

    def _required_state(self, options: dict[str, Any]) -> tuple[str, ...]:
        return ()  # PyTorch saves neither a step nor, without momentum, a buffer

    def _export_state(self, progress: Any, arrays: dict[str, Array]) -> dict[str, Any]:
        return {"momentum_buffer": arrays["momentum_buffer"]}

    def _import_state(self, entry: dict[str, Any]) -> tuple[Any, dict[str, Array]]:
        if "momentum_buffer" not in entry:
            return None, {}
        return True, {"momentum_buffer": entry["momentum_buffer"]}
