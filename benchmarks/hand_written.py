"""The training step as one would write it by hand in NumPy, with the fastest formulae that we know.

The reference for what a tape may cost: no framework, gradients worked out on paper. Batch norm, ReLU, softmax
cross-entropy, Adam with L2 or AdamW in cache-sized blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.networks import LR, Network, trained

PARTS = ("forward", "loss", "backward", "update")
"""The parts of a step, in their order."""


class Adam:
    """Adam with L2, or AdamW, over one flat array, which holds all parameters.

    Kingma & Ba (2015), Loshchilov & Hutter (2019); m and v divided by 1 - beta, the bias corrections folded
    into the rate and eps. In blocks that stay in the cache.
    """

    BLOCK = 65_536

    def __init__(self, flat: Any, lr: float, weight_decay: float, decoupled: bool = False) -> None:
        self.flat, self.lr, self.weight_decay, self.steps = flat, lr, weight_decay, 0
        self.decoupled = decoupled
        self.m, self.v = np.zeros_like(flat), np.zeros_like(flat)

    def step(self, gradient: Any) -> None:
        """Update the parameters by the gradient, which is as flat as they are."""
        self.steps += 1
        t, beta1, beta2, eps = self.steps, 0.9, 0.999, 1e-8
        m_scale, v_scale = (1 - beta1) / (1 - beta1**t), ((1 - beta2) / (1 - beta2**t)) ** 0.5
        rate = self.lr * m_scale / v_scale
        for start in range(0, self.flat.size, self.BLOCK):
            part = slice(start, start + self.BLOCK)
            p, m, v = self.flat[part], self.m[part], self.v[part]
            if self.decoupled:
                p *= 1 - self.lr * self.weight_decay
                g = gradient[part]
            else:
                g = p * self.weight_decay
                g += gradient[part]
            m *= beta1
            m += g
            g *= g
            v *= beta2
            v += g
            np.sqrt(v, out=g)
            g += eps / v_scale
            np.divide(m, g, out=g)
            g *= rate
            p -= g


def flattened(arrays: list[Any]) -> tuple[Any, list[Any]]:
    """One flat array of all of them, and views of it in their shapes."""
    flat = np.concatenate([array.ravel() for array in arrays])
    ends = np.cumsum([array.size for array in arrays])[:-1]
    views = [part.reshape(array.shape) for part, array in zip(np.split(flat, ends), arrays, strict=True)]
    return flat, views


class HandWrittenStep:
    """The step of a perceptron with batch norm after each hidden layer."""

    def __init__(self, network: Network, state: dict[str, Any]) -> None:
        # beside as many zeros, the maximum takes a third of the time as beside a single 0
        self.zeros = [np.zeros((network.batch_size, n), np.float32) for n in network.sizes[1:-1]]
        self.layers = len(network.sizes) - 1
        flat, self.parameters = flattened(trained(state))
        self.gradient, self.gradients = flattened([np.zeros_like(value) for value in self.parameters])
        self.running = [(np.zeros(n, np.float32), np.ones(n, np.float32)) for n in network.sizes[1:-1]]
        self.adam = Adam(flat, LR, network.weight_decay, network.decoupled)
        self.smoothing = network.label_smoothing

    def __call__(self, x: Any, labels: Any, ended: Callable[[], object] = lambda: None) -> float:
        """Run one step, and call ``ended`` at the end of each of its `PARTS`.

        It is one function, as a person would write it by hand: forward, loss and backward share all arrays.
        """
        n = len(x)
        ones, per_row = np.ones(n, np.float32), np.full(n, 1 / n, np.float32)
        saved, h, index = [], x, 0
        for layer in range(self.layers):
            w, b = self.parameters[index : index + 2]
            z = h.dot(w)
            z += b
            index += 2
            if layer == self.layers - 1:
                saved.append((h, None, None, None))
                break
            gamma, beta = self.parameters[index : index + 2]
            index += 2
            mean = per_row.dot(z)
            z -= mean
            square = z * z
            var = per_row.dot(square)
            scale = 1 / np.sqrt(var + 1e-5)
            out = np.multiply(z, gamma * scale, out=square)
            out += beta
            np.maximum(out, self.zeros[layer], out=out)
            running_mean, running_var = self.running[layer]
            running_mean += 0.1 * (mean - running_mean)
            running_var += 0.1 * (var * (n / (n - 1)) - running_var)
            saved.append((h, z, scale, out))
            h = out
        ended()
        z -= z.T.copy().max(0)[:, None]
        rows = np.arange(n) * z.shape[1] + labels
        target = z.ravel().take(rows)
        share = self.smoothing / z.shape[1]  # of each class in the targets; the label has the rest besides
        if share:
            target *= 1 - self.smoothing
            target += share * z.dot(np.ones(z.shape[1], np.float32))
        g = np.exp(z, out=z)
        total = g.dot(np.ones(z.shape[1], np.float32))
        loss = float(per_row.dot(np.log(total) - target))
        ended()
        g *= (1 / (n * total))[:, None]
        if share:
            g -= share / n
        g.ravel()[rows] -= (1 - self.smoothing) / n

        for layer in reversed(range(self.layers)):
            h, centred, scale, out = saved[layer]
            if centred is not None:
                index -= 2
                gamma = self.parameters[index]
                g *= out > 0
                s = np.einsum("ij,ij->j", g, centred) if g.size > 64_000 else ones.dot(g * centred)
                s *= scale
                self.gradients[index][...] = s
                beta_part = ones.dot(g)
                self.gradients[index + 1][...] = beta_part
                centred *= s * scale * (-1 / n)
                centred += g
                centred -= beta_part * (1 / n)
                centred *= gamma * scale
                g = centred
            index -= 2
            np.dot(h.T, g, out=self.gradients[index])
            self.gradients[index + 1][...] = ones.dot(g)
            if layer:
                g = g.dot(self.parameters[index].T)
        ended()
        self.adam.step(self.gradient)
        ended()
        return loss
