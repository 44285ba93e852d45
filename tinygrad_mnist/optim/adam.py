"""Adam, and AdamW, whose weight decay does not go through the gradient."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from tinygrad_mnist.optim.flat_parameters import Array, Block
from tinygrad_mnist.optim.optimizer import (
    Optimizer,
    OptionChecks,
    ParameterGroups,
    require_nonnegative,
    require_rates,
)

__all__ = ["Adam", "AdamW"]


class Averages(NamedTuple):
    """The progress of a parameter: its steps, and the betas by which its averages are scaled; see `Adam`."""

    step: int
    beta1: float
    beta2: float


class Adam(Optimizer):
    r"""Adam: momentum, divided by a running root mean square of the gradient.

    In step ``t``, with the gradient ``g``, its running mean ``m`` and mean square ``v``::

        g <- g + weight_decay p
        m <- beta1 m + (1 - beta1) g
        v <- beta2 v + (1 - beta2) g^2
        p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Each parameter counts its own steps ``t``: one that has no gradient is skipped, and does not count.

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

    Notes
    -----
    The optimiser keeps ``m / (1 - beta1)`` and ``v / (1 - beta2)``, which saves the multiplication of the
    gradient by ``1 - beta``; the bias corrections become factors of ``lr`` and ``eps``. A step is then 12
    passes over a block. `state_dict` and `load_state_dict` convert to and from ``m`` and ``v``, so a resumed
    run is the same to within rounding, not to the bit.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba (2015), "Adam: a method for stochastic optimization", ICLR, algorithm 1.

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
    >>> optimizer
    Adam(
      group 0: 1 parameter, 2 values (float64): lr=0.1, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0
    )
    """

    option_checks: ClassVar[OptionChecks] = {
        "lr": require_nonnegative,
        "betas": partial(require_rates, count=2),
        "eps": require_nonnegative,
        "weight_decay": require_nonnegative,
    }
    state_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: ParameterGroups,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def _update(self, block: Block, options: dict[str, Any], progress: Averages | None) -> Averages:
        lr, (beta1, beta2), eps = options["lr"], options["betas"], options["eps"]
        last = progress or Averages(0, beta1, beta2)
        step = last.step + 1
        g = self._gradient_with_decay(block, options)
        # Scratch memory in the place of g where that is allowed: it is in the cache already, and g is not
        # needed once it is squared.
        p, t = block.values, block.scratch_after(g)
        m, v = block.state("exp_avg"), block.state("exp_avg_sq")

        # m and v are m / (1 - beta1) and v / (1 - beta2) of the docstring. If a schedule such as OneCycleLR
        # has moved a beta since the last step, the second factor brings the average to its new scale.
        m *= beta1 * ((1 - last.beta1) / (1 - beta1))
        m += g
        v *= beta2 * ((1 - last.beta2) / (1 - beta2))
        v += np.multiply(g, g, out=t)

        # With m_hat = mean * m and sqrt(v_hat) = root * sqrt(v), the step m_hat / (sqrt(v_hat) + eps) is
        # (mean / root) * m / (sqrt(v) + eps / root): the factors are numbers, and no pass over the arrays.
        mean = (1 - beta1) / (1 - beta1**step)
        root = math.sqrt((1 - beta2) / (1 - beta2**step))
        np.sqrt(v, out=t)
        t += eps / root
        np.divide(m, t, out=t)
        t *= lr * mean / root
        p -= t
        return Averages(step, beta1, beta2)

    def _gradient_with_decay(self, block: Block, options: dict[str, Any]) -> Array:
        """Return the gradient that enters the averages, with the L2 penalty."""
        return block.penalised_gradient(options["weight_decay"])

    def _export_state(self, progress: Averages, arrays: dict[str, Array]) -> dict[str, Any]:
        return {
            "step": progress.step,
            "exp_avg": np.multiply(arrays["exp_avg"], 1 - progress.beta1, out=arrays["exp_avg"]),
            "exp_avg_sq": np.multiply(arrays["exp_avg_sq"], 1 - progress.beta2, out=arrays["exp_avg_sq"]),
        }

    def _import_state(self, entry: dict[str, Any]) -> tuple[Averages, dict[str, Array]]:
        # Saved are m and v themselves: the scales of betas of 0. The next step brings them to its own scale.
        return Averages(entry["step"], 0.0, 0.0), {name: entry[name] for name in self.state_names}


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
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def _gradient_with_decay(self, block: Block, options: dict[str, Any]) -> Array:
        """Return the gradient as it is, after the parameters themselves have decayed."""
        p, decay = block.values, options["lr"] * options["weight_decay"]
        if decay:
            p *= 1 - decay
        return block.gradient
