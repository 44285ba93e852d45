"""JAX's training step, compiled as a whole, with optax's Adam, from given weights."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks.networks import LR, Network, Step, trained

jax.config.update("jax_platforms", "cpu")


def logits_of(parameters: list[Any], running: list[Any], x: Any) -> tuple[Any, list[Any]]:
    """Run the network in training mode; return logits and the new running statistics."""
    h, n, renewed = x, len(x), []
    for layer, (running_mean, running_var) in enumerate(running):
        w, b, gamma, beta = parameters[4 * layer : 4 * layer + 4]
        z = h @ w + b
        mean, var = z.mean(0), z.var(0)
        h = jax.nn.relu((z - mean) * (gamma * jax.lax.rsqrt(var + 1e-5)) + beta)
        unbiased = var * (n / (n - 1))
        renewed.append(
            (0.9 * running_mean + 0.1 * mean, 0.9 * running_var + 0.1 * unbiased),
        )
    w, b = parameters[-2:]
    return h @ w + b, renewed


def loss_of(
    parameters: list[Any], running: list[Any], x: Any, labels: Any, smoothing: float
) -> tuple[Any, list[Any]]:
    """Return the mean cross-entropy, and the new running statistics."""
    logits, renewed = logits_of(parameters, running, x)
    if smoothing:
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[1]), smoothing)
        return optax.softmax_cross_entropy(logits, targets).mean(), renewed
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), renewed


def make_step(network: Network, state: dict[str, Any]) -> Step:
    """Return a step whose whole state stays with JAX and is donated to the next."""
    decay = network.weight_decay
    penalised = optax.chain(optax.add_decayed_weights(decay), optax.adam(LR))
    adam = optax.adamw(LR, weight_decay=decay) if network.decoupled else penalised
    parameters = [jnp.array(value) for value in trained(state)]
    running = [(jnp.zeros(n), jnp.ones(n)) for n in network.sizes[1:-1]]
    carried = (parameters, running, adam.init(parameters))

    @partial(jax.jit, donate_argnums=0)
    def update(carried: Any, x: Any, labels: Any) -> tuple[Any, Any]:
        parameters, running, moments = carried
        (loss, running), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            parameters, running, x, labels, network.label_smoothing
        )
        changes, moments = adam.update(gradients, moments, parameters)
        return (optax.apply_updates(parameters, changes), running, moments), loss

    def step(x: Any, labels: Any) -> float:
        nonlocal carried
        carried, loss = update(carried, x, labels)
        return float(loss)

    return step
