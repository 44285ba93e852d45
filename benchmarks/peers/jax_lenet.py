"""JAX's training step of LeNet, compiled as a whole, channels last, with optax's Adam, from given weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.networks import LR, Network, Step

jax.config.update("jax_platforms", "cpu")

CONVOLUTIONS, HIDDEN, LAST = ((0, 2), (4, 6)), (9, 10), 12
"""The places of the layers with weights: convolutions and the batch norms behind, linear layers."""


def as_jax(state: dict[str, Any]) -> dict[str, Any]:
    """Return the trained arrays: kernels (height, width, in, out), matrices (in, out), the features last."""
    found = {}
    for name, value in state.items():
        if not name.endswith(("weight", "bias")):
            continue
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif name == f"{HIDDEN[0]}.weight":  # its inputs are flattened channels last here
            value = value.reshape(128, 32, 4, 4).transpose(2, 3, 1, 0).reshape(512, 128)
        elif value.ndim == 2:
            value = value.T
        found[name] = jnp.asarray(np.ascontiguousarray(value))
    return found


def normalised(x: Any, weight: Any, bias: Any) -> tuple[Any, tuple[Any, Any]]:
    """Return batch norm and ReLU of ``x``, and the statistics, the variance unbiased."""
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    count = x.size // x.shape[-1]
    out = jax.nn.relu((x - mean) * (weight * jax.lax.rsqrt(var + 1e-5)) + bias)
    return out, (mean, var * (count / (count - 1)))


def loss_of(p: dict[str, Any], x: Any, labels: Any) -> tuple[Any, list[Any]]:
    """Return the mean cross-entropy, and the statistics of the batch."""
    statistics, h = [], x
    for at, norm in CONVOLUTIONS:
        h = jax.lax.conv_general_dilated(
            h, p[f"{at}.weight"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        h, found = normalised(h, p[f"{norm}.weight"], p[f"{norm}.bias"])
        statistics.append(found)
    at, norm = HIDDEN
    h = h.reshape(len(h), -1) @ p[f"{at}.weight"]
    h, found = normalised(h, p[f"{norm}.weight"], p[f"{norm}.bias"])
    statistics.append(found)
    logits = h @ p[f"{LAST}.weight"] + p[f"{LAST}.bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), statistics


def make_step(network: Network, state: dict[str, Any]) -> Step:
    """Return a step whose whole state stays with JAX and is donated to the next."""
    adam = optax.adam(LR)
    parameters = as_jax(state)
    running = [(jnp.zeros(n), jnp.ones(n)) for n in (16, 32, 128)]
    carried = (parameters, running, adam.init(parameters))

    @partial(jax.jit, donate_argnums=0)
    def update(carried: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        parameters, running, moments = carried
        x = x.transpose(0, 2, 3, 1)
        (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters, x, labels)
        running = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, running, statistics)
        changes, moments = adam.update(gradients, moments, parameters)
        return (optax.apply_updates(parameters, changes), running, moments), loss

    def step(x: Any, labels: Any) -> float:
        nonlocal carried
        carried, loss = update(carried, x, labels)
        return float(loss)

    return step
