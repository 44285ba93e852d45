"""A training step of a network, written by hand: forward, backward, and Adam."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from tests.compiler.builder import Builder
from tinygrad_mnist.compiler.program import Program, Value


def mlp_step(
    sizes: list[int], batch: int, *, dtype: Any = np.float32, seed: int = 0, fortran: bool = False
) -> tuple[Program, list[Any], list[float]]:
    """Return a step of linear layers, batch norm, relu, cross-entropy and Adam with L2; its arrays and
    scalars."""
    rng = np.random.default_rng(seed)
    b = Builder()
    arrays: list[Any] = []

    def take(array: Any) -> Value:
        arrays.append(array)
        return b.input(array)

    def f(number: float) -> Any:
        return np.array(number, dtype)

    x = take(rng.standard_normal((batch, sizes[0])).astype(dtype))
    y = take(rng.integers(0, sizes[-1], batch))
    lr, correction1, correction2 = (b.astype(b.scalar(), dtype) for _ in range(3))
    parameters: list[Value] = []
    gradients: dict[Value, Value] = {}
    h, layers = x, []
    for i, (m, n) in enumerate(pairwise(sizes)):
        weight = (rng.standard_normal((n, m)) * math.sqrt(2 / m)).astype(dtype)
        w, bias = take(np.asfortranarray(weight) if fortran else weight), take(np.zeros(n, dtype))
        parameters += [w, bias]
        z = b.add(b.matmul(h, b.transpose(w)), bias)
        if i == len(sizes) - 2:
            layers.append((h, w, bias, z))
            break
        gamma, beta = take(np.ones(n, dtype)), take(np.zeros(n, dtype))
        parameters += [gamma, beta]
        mean = b.multiply(b.sum(z, axis=0), f(1 / batch))
        centered = b.subtract(z, mean)
        var = b.multiply(b.sum(b.multiply(centered, centered), axis=0), f(1 / batch))
        inv = b.reciprocal(b.sqrt(b.add(var, f(1e-5))))
        normalized = b.multiply(centered, inv)
        a = b.maximum(b.add(b.multiply(normalized, gamma), beta), f(0))
        for new, old in ((mean, take(np.zeros(n, dtype))), (var, take(np.ones(n, dtype)))):
            b.program.writes.append((b.add(b.multiply(old, f(0.9)), b.multiply(new, f(0.1))), old))
        layers.append((h, w, bias, gamma, beta, normalized, inv, a))
        h = a
    logits = layers[-1][3]
    shifted = b.subtract(logits, b.max(logits, axis=1, keepdims=True))
    e = b.exp(shifted)
    total = b.sum(e, axis=1, keepdims=True)
    onehot = b.astype(b.equal(b.reshape(y, (batch, 1)), np.arange(sizes[-1])), dtype)
    logp = b.subtract(shifted, b.log(total))
    loss = b.multiply(b.sum(b.multiply(onehot, logp)), f(-1 / batch))
    d = b.multiply(b.subtract(b.divide(e, total), onehot), f(1 / batch))
    for layer in reversed(layers):
        if layer is not layers[-1]:
            _, w, bias, gamma, beta, normalized, inv, a = layer
            d = b.where(b.greater(a, f(0)), d, f(0))
            gradients[beta] = dbeta = b.sum(d, axis=0)
            gradients[gamma] = dgamma = b.sum(b.multiply(d, normalized), axis=0)
            inner = b.subtract(
                b.subtract(d, b.multiply(dbeta, f(1 / batch))),
                b.multiply(normalized, b.multiply(dgamma, f(1 / batch))),
            )
            d = b.multiply(inner, b.multiply(gamma, inv))
        h, w, bias = layer[:3]
        gradients[w] = b.matmul(b.transpose(d), h)
        gradients[bias] = b.sum(d, axis=0)
        if layer is not layers[0]:
            d = b.matmul(d, w)
    for p in parameters:
        m, v = (take(np.zeros_like(arrays[b.program.inputs.index(p)])) for _ in range(2))
        g = b.add(gradients[p], b.multiply(p, f(1e-4)))
        new_m = b.add(b.multiply(m, f(0.9)), b.multiply(g, f(0.1)))
        new_v = b.add(b.multiply(v, f(0.999)), b.multiply(b.multiply(g, g), f(0.001)))
        root = b.add(b.multiply(b.sqrt(new_v), correction2), f(1e-8))
        new_p = b.subtract(p, b.multiply(b.divide(new_m, root), b.multiply(lr, correction1)))
        b.program.writes += [(new_p, p), (new_m, m), (new_v, v)]
    b.program.watched += gradients.values()
    b.program.outputs.append(loss)
    return b.program, arrays, [1e-3, 1 / 0.1, 1 / math.sqrt(0.001)]
