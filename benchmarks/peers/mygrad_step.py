"""The training step in MyGrad, from given weights.

MyGrad brings no Adam: it gets the one of the hand-written step. Its guard of arrays in use is off, as its
manual advises where speed counts.
"""

from __future__ import annotations

from typing import Any

import mygrad
import numpy as np
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import batchnorm
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.hand_written import Adam, flattened
from benchmarks.networks import LR, Network, Step, trained

mygrad.turn_memory_guarding_off()


def make_step(network: Network, state: dict[str, Any]) -> Step:
    """Return a step with MyGrad's own batch norm, ReLU and loss."""
    flat, views = flattened(trained(state))
    parameters = [mygrad.tensor(view, copy=False) for view in views]
    running = [(np.zeros(n, np.float32), np.ones(n, np.float32)) for n in network.sizes[1:-1]]
    adam = Adam(flat, LR, network.weight_decay)

    def step(x: Any, labels: Any) -> float:
        h, n = x, len(x)
        for layer, (running_mean, running_var) in enumerate(running):
            w, b, gamma, beta = parameters[4 * layer : 4 * layer + 4]
            normed = batchnorm(mygrad.matmul(h, w) + b, gamma=gamma, beta=beta, eps=1e-5)
            statistics = normed.creator
            running_mean += 0.1 * (statistics.mean - running_mean)
            running_var += 0.1 * (statistics.var * (n / (n - 1)) - running_var)
            h = relu(normed)
        w, b = parameters[-2:]
        loss = softmax_crossentropy(mygrad.matmul(h, w) + b, labels)
        loss.backward()
        adam.step(np.concatenate([parameter.grad.ravel() for parameter in parameters]))
        return float(loss.data)

    return step
