"""The training step in HIPS autograd, from given weights.

autograd brings no Adam with L2: it gets the one of the hand-written step.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad
from autograd.tracer import getval

from benchmarks.hand_written import Adam, flattened
from benchmarks.networks import LR, Network, Step, trained


def make_step(network: Network, state: dict[str, Any]) -> Step:
    """Return a step of the formulae as one would write them, in float32."""
    flat, parameters = flattened(trained(state))
    running = [(np.zeros(n, np.float32), np.ones(n, np.float32)) for n in network.sizes[1:-1]]
    adam = Adam(flat, LR, network.weight_decay)

    def loss_of(parameters: list[Any], x: Any, labels: Any) -> Any:
        h, n = x, len(x)
        for layer, (running_mean, running_var) in enumerate(running):
            w, b, gamma, beta = parameters[4 * layer : 4 * layer + 4]
            z = anp.dot(h, w) + b
            mean = anp.mean(z, axis=0)
            centred = z - mean
            var = anp.mean(centred * centred, axis=0)
            h = anp.maximum(centred * (gamma / anp.sqrt(var + 1e-5)) + beta, 0)
            running_mean += 0.1 * (getval(mean) - running_mean)
            running_var += 0.1 * (getval(var) * (n / (n - 1)) - running_var)
        w, b = parameters[-2:]
        z = anp.dot(h, w) + b
        z = z - anp.max(z, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - z[np.arange(n), labels])

    gradient_of = value_and_grad(loss_of)

    def step(x: Any, labels: Any) -> float:
        loss, gradients = gradient_of(parameters, x, labels)
        adam.step(np.concatenate([gradient.ravel() for gradient in gradients]))
        return float(loss)

    return step
