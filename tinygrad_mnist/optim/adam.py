"""Adam, and AdamW, whose weight decay does not go through the gradient."""

from __future__ import annotations

from functools import partial
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
    require_rates,
)

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    r"""Adam: momentum, divided by a running root mean square of the gradient.

    In step ``t``, with the gradient ``g``, its running mean ``m`` and mean square ``v``::

        g <- g + weight_decay p
        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    With ``maximize``, ``-g`` is in the place of ``g`` from the first line on; with ``amsgrad``, the largest
    ``v`` so far is in the place of ``v`` in the last. Each parameter counts its own steps ``t``: one that has
    no gradient is skipped, and does not count.

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        The parameters or parameter groups; see `Optimizer`.
    lr : float
        Learning rate, at least 0.
    betas : tuple of float
        Decay rates of the running mean and of the running mean square, each at least 0 and less than 1.
    eps : float
        Added to the root, at least 0.
    weight_decay : float
        Factor of the L2 penalty, at least 0; for decoupled decay see `AdamW`.
    amsgrad : bool
        Whether to divide by the largest mean square so far, so that no step grows because ``v`` shrinks.
    maximize : bool
        Whether to go up the gradient instead of down.

    Notes
    -----
    The bias corrections become factors of ``lr`` and ``eps``. ``sqrt(1 - beta2) g`` is squared, and not
    ``g``, whose square overflows ``1 / (1 - beta2) = 1000`` times as early.

    Parameters of float16 are computed on in float32, and their state is float32: ``eps`` and small squares
    would be 0 in float16.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba (2015), "Adam: a method for stochastic optimization", ICLR, algorithm 1.
    .. [2] S. J. Reddi, S. Kale and S. Kumar (2018), "On the convergence of Adam and beyond", ICLR (amsgrad);
       the largest ``v`` is taken before the bias correction, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.optim import Adam
    >>> from tinygrad_mnist import Tensor
    >>> weight = Tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = Adam([weight], lr=0.1)
    >>> weight.grad = Tensor(2 * weight.data)  # of the sum of squares
    >>> optimizer.step()  # the first step is lr long, whatever the gradient
    >>> weight.data.round(6)
    array([ 0.9, -1.9])
    """

    option_checks: ClassVar[OptionChecks] = {
        "lr": require_nonnegative,
        "betas": partial(require_rates, count=2),
        "eps": require_nonnegative,
        "weight_decay": require_nonnegative,
        "amsgrad": require_flag,
        "maximize": require_flag,
    }
    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: ParameterGroups,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize),
        )

    def _update(self, block: Block, options: dict[str, Any], progress: Any) -> Any:
        # The progress is the number of steps.
        lr, (beta1, beta2), eps = options["lr"], options["betas"], options["eps"]
        step = 1 if progress is None else progress + 1
        g = self._scaled_gradient(block, options, 1 - beta1)
        # Scratch memory in the place of g where that is allowed: it is in the cache already, and g is not
        # needed once it is squared.
        p, t = block.values, block.scratch_after(g)
        m, v = block.state("exp_avg"), block.state("exp_avg_sq")

        m *= beta1
        m += g  # (1 - beta1) times the gradient
        v *= beta2
        np.multiply(g, (1 - beta2) ** 0.5 / (1 - beta1), out=t)
        v += np.square(t, out=t)
        if options["amsgrad"]:
            largest = block.state("max_exp_avg_sq")
            v = np.maximum(largest, v, out=largest)

        # With root^2 = 1 - beta2^t, the step m_hat / (sqrt(v) / root + eps) is root m_hat / (sqrt(v) + root
        # eps): the factors are numbers, and no pass over the arrays.
        root = (1 - beta2**step) ** 0.5
        np.sqrt(v, out=t)
        t += root * eps
        np.divide(m, t, out=t)
        t *= lr * root / (1 - beta1**step)
        p -= t
        return step

    def _scaled_gradient(self, block: Block, options: dict[str, Any], scale: float) -> Any:
        """Return ``scale`` times the gradient that enters the averages, with the L2 penalty."""
        sign = direction(options)
        return block.penalised_gradient(sign * options["weight_decay"], sign * scale)

    def _required_state(self, options: dict[str, Any]) -> tuple[str, ...]:
        return ("step", *self.state_names[: 3 if options["amsgrad"] else 2])


class AdamW(Adam):
    r"""Adam with decoupled weight decay: the weights decay by themselves, not through the gradient.

    As `Adam`, but instead of an L2 penalty, before the step::

        p <- p - lr weight_decay p

    Parameters
    ----------
    params : iterable of Tensor, or iterable of dict
        The parameters or parameter groups; see `Optimizer`.
    lr : float
        Learning rate, at least 0.
    betas : tuple of float
        Decay rates of the running mean and of the running mean square, each at least 0 and less than 1.
    eps : float
        Added to the root, at least 0.
    weight_decay : float
        Decay in units of ``lr``, at least 0.
    amsgrad, maximize : bool
        As in `Adam`.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter (2019), "Decoupled weight decay regularization", ICLR, algorithm 2; the
       decay is multiplied by ``lr``, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist.optim import AdamW
    >>> from tinygrad_mnist import Tensor
    >>> weight = Tensor(np.array([1.0, -2.0]), requires_grad=True)
    >>> optimizer = AdamW([weight], lr=0.1, weight_decay=0.5)
    >>> weight.grad = Tensor(np.zeros(2))
    >>> optimizer.step()
    >>> weight.data
    array([ 0.95, -1.9 ])
    """

    def __init__(
        self,
        params: ParameterGroups,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def _scaled_gradient(self, block: Block, options: dict[str, Any], scale: float) -> Any:
        """Return ``scale`` times the gradient as it is, after the parameters themselves have decayed."""
        p, decay = block.values, options["lr"] * options["weight_decay"]
        if decay:
            p *= 1 - decay
        return block.penalised_gradient(0.0, direction(options) * scale)
