"""Gradient norms per layer over a training, and sentences that read them: vanishing, exploding, dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.numbers import count_text, number_text
from tinygrad_mnist.plots import norms_by_layer
from tinygrad_mnist.training.loop.history import GradientNorms

Values = NDArray[np.float64]

VANISHING: Final = 1e-3
"""The first layer's median norm beside the last one's, below which gradients are said to vanish."""
EXPLODING: Final = 100.0
"""The largest norm of the whole gradient beside its median, from which gradients are said to explode."""


class LayerNorms(NamedTuple):
    """The norm of each layer's gradient at some steps.

    ``norms`` has a row of values for each layer, in the order of the model.
    """

    steps: NDArray[np.int64]
    norms: Mapping[str, Values]

    def total(self) -> Values:
        """Return the norm of the whole gradient at each step."""
        squares: Values = np.sum(np.square(list(self.norms.values())), axis=0)
        return np.sqrt(squares)


def layer_norms(samples: Sequence[GradientNorms], model: nn.Module | None = None) -> LayerNorms:
    """Return the norm of each layer: of the gradients of all its parameters together.

    Parameters
    ----------
    samples : sequence of GradientNorms
        The norms of each parameter's gradient at some steps.
    model : Module, optional
        The model: names of its layers are followed by what they are, as in ``0 Linear``.

    Examples
    --------
    >>> found = layer_norms([GradientNorms(1, {"0.weight": 3.0, "0.bias": 4.0, "2.weight": 1.0})])
    >>> print(found.norms["0"], found.norms["2"], found.total())
    [5.] [1.] [5.09901951]
    """
    names = dict.fromkeys(name for sample in samples for name in sample.norms)
    values = {name: [sample.norms.get(name, 0.0) for sample in samples] for name in names}
    modules = {} if model is None else dict(model.named_modules())
    norms = {
        f"{layer} {type(modules[layer]).__name__}" if layer in modules else layer: norm
        for layer, norm in norms_by_layer(values).items()
    }
    return LayerNorms(np.array([sample.step for sample in samples], np.int64), norms)


def read_gradients(
    found: LayerNorms, clipped: int = 0, clip_norm: float | None = None, steps: int = 0
) -> list[str]:
    """Return sentences that read gradient norms, with the numbers that they rest on.

    Parameters
    ----------
    found : LayerNorms
        The norms; at least one step and one layer.
    clipped : int
        The number of steps in which clipping acted.
    clip_norm : float or None
        The norm to which gradients were clipped, if they were.
    steps : int
        The number of all steps.
    """
    sentences = [*_along_the_layers(found), _over_time(found), *_dead(found)]
    if clip_norm is not None and steps:
        sentences.append(
            f"Clipping to a norm of {clip_norm:g} acted in {clipped:,} of {count_text(steps, 'step')} "
            f"({100 * clipped / steps:.1f} %)."
        )
    return sentences


def _along_the_layers(found: LayerNorms) -> list[str]:
    """Compare the median norm of the first layer that has gradients with that of the last."""
    medians = {layer: float(np.median(values)) for layer, values in found.norms.items()}
    if len(medians) < 2:
        return []
    (first, near), *_, (last, far) = medians.items()
    numbers = (
        f"the median norm is {number_text(near)} in the first layer ({first}) and {number_text(far)} in the "
        f"last ({last})"
    )
    if far == 0 or near == 0:
        return [f"On the way back through the layers: {numbers}."]
    if near < VANISHING * far:
        return [
            f"Gradients vanish on their way back: {numbers}, {far / near:,.0f} times as much. The first "
            "layers hardly learn; normalisation, ReLU in place of sigmoid or tanh, or residual connections "
            "help."
        ]
    if far < VANISHING * near:
        return [
            f"Gradients grow on their way back: {numbers}, {near / far:,.0f} times less. A smaller "
            "initialisation or normalisation helps."
        ]
    return [f"Gradients neither vanish nor explode on their way back: {numbers}."]


def _over_time(found: LayerNorms) -> str:
    """Compare the largest norm of the whole gradient with the median."""
    total = found.total()
    finite = np.isfinite(total)
    if not finite.all():
        return f"In step {found.steps[~finite][0]:,} the gradient is not finite."
    peak, median = int(total.argmax()), float(np.median(total))
    if median == 0:
        return "In most of the recorded steps the gradient is 0."
    ratio = float(total[peak]) / median
    numbers = (
        f"the norm of the whole gradient is {number_text(median)} in the median and "
        f"{number_text(float(total[peak]))} at most, in step {found.steps[peak]:,} "
        f"({ratio:.3g} times the median)"
    )
    if ratio >= EXPLODING:
        return f"It exploded for a while: {numbers}. A lower learning rate, warm-up or clipping helps."
    return f"Over time it stayed within bounds: {numbers}."


def _dead(found: LayerNorms) -> list[str]:
    """Name the layers that got no gradient at all."""
    dead = [layer for layer, values in found.norms.items() if not values.any()]
    if not dead:
        return []
    return [f"No gradient at all came to: {', '.join(dead)}. These layers were not trained."]
