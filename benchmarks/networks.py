"""The networks whose training steps race: their layers, their weights, their batches, and our own step.

Everybody starts from the weights of our model and sees the same batches. Before a time is believed, the
losses of fifty steps must agree (`check_agreement`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.harness import DisagreementError, SkippedError
from tinygrad_mnist import jit, nn, optim
from tinygrad_mnist.compiler import machine

OURS = "tinygrad_mnist"
JIT = "tinygrad_mnist, jit"
LR = 1e-3
STEPS = 50
TOLERANCE = 1e-4

Batch = tuple[Any, Any]
"""Images and labels."""

Step = Callable[[Any, Any], float]
"""A training step: images and labels in, the loss out, as a Python number."""


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron, the batch that it is trained with, its loss and the options of Adam."""

    sizes: tuple[int, ...]
    batch_size: int
    batch_norm: bool = True
    weight_decay: float = 1e-4
    eps: float = 1e-8
    """Adam's."""
    decoupled: bool = False
    """Whether the weight decay is that of AdamW, and no L2 penalty."""
    label_smoothing: float = 0.0

    @property
    def name(self) -> str:
        """``784-64-32-16-10``."""
        return "-".join(map(str, self.sizes))

    @property
    def title(self) -> str:
        """The title of the table of its steps."""
        norm = "batch norm" if self.batch_norm else "no batch norm"
        penalised = "AdamW" if self.decoupled else "Adam with L2"
        adam = penalised if self.weight_decay else "Adam"
        smoothing = f"label smoothing {self.label_smoothing:g}, " if self.label_smoothing else ""
        return f"training step, {self.name}, {norm}, {smoothing}{adam}, batch {self.batch_size}"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.sizes[:1]

    @property
    def options(self) -> dict[str, float]:
        """The options of the optimiser, as ours and PyTorch's take them."""
        return {"lr": LR, "eps": self.eps, "weight_decay": self.weight_decay}

    def layers(self, module: Any) -> list[Any]:
        """Return the layers, of our ``nn`` or of PyTorch's."""
        made: list[Any] = []
        for fan_in, fan_out in pairwise(self.sizes):
            made.append(module.Linear(fan_in, fan_out))
            if fan_out != self.sizes[-1]:
                made += [module.BatchNorm1d(fan_out)] * self.batch_norm + [module.ReLU()]
        return made


@dataclass(frozen=True)
class LeNet(Network):
    """Two convolutions of 5 x 5, each pooled to a quarter and normalised, and two linear layers.

    LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition", with
    batch norm and ReLU. Only the last layer has a bias: batch norm takes away any other.
    """

    @property
    def name(self) -> str:
        """``LeNet``."""
        return "LeNet"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One channel, height and width."""
        return 1, 28, 28

    def layers(self, module: Any) -> list[Any]:
        """Return the layers, of our ``nn`` or of PyTorch's."""
        made: list[Any] = []
        for fan_in, fan_out in ((1, 16), (16, 32)):
            made += [module.Conv2d(fan_in, fan_out, 5, bias=False), module.MaxPool2d(2)]
            made += [module.BatchNorm2d(fan_out), module.ReLU()]
        made += [module.Flatten(), module.Linear(512, 128, bias=False), module.BatchNorm1d(128)]
        return [*made, module.ReLU(), module.Linear(128, 10)]


SMALL = Network((784, 64, 32, 16, 10), 128)
DEFAULT = Network((784, 256, 128, 10), 128, weight_decay=0.01, decoupled=True, label_smoothing=0.05)
"""The network of the recipe `mlp`."""
TINY = Network((8, 7, 6, 5, 4), 6)
"""So narrow that only overhead is left."""
LARGE = Network((784, 512, 512, 10), 256)
LENET = LeNet((784, 10), 128, weight_decay=0.0)
NETWORKS = {network.name: network for network in (SMALL, DEFAULT, TINY, LARGE, LENET)}
"""The networks by name, for a process that is told one."""


def our_model(network: Network) -> tuple[nn.Sequential, optim.Adam | optim.AdamW]:
    """Return our model, always with the same weights, and its optimiser."""
    nn.manual_seed(0)
    model = nn.Sequential(*network.layers(nn))
    adam = optim.AdamW if network.decoupled else optim.Adam
    return model, adam(model.parameters(), **network.options)


def our_step(network: Network) -> tuple[dict[str, Any], Step]:
    """Return the weights that our training step starts from, for the others, and the step."""
    model, optimizer = our_model(network)
    update = our_update(network, model, optimizer)

    def step(x: Any, labels: Any) -> float:
        return float(update(x, labels))

    return {name: np.array(value) for name, value in model.state_dict().items()}, step


def require_compiler() -> None:
    """Raise SkippedError where nothing can be compiled."""
    if (reason := machine.why_unavailable()) is not None:
        raise SkippedError(reason)


def our_jit_step(network: Network, threads: int | None = None) -> Step:
    """Return our training step, compiled, from the same weights; raise SkippedError where it cannot be."""
    require_compiler()
    update = jit(our_update(network, *our_model(network)), threads=threads)

    def step(x: Any, labels: Any) -> float:
        return float(update(x, labels))

    return step


def our_update(network: Network, model: nn.Module, optimizer: optim.Optimizer) -> Callable[[Any, Any], Any]:
    """Return what both steps do, as a user writes it."""

    def update(x: Any, labels: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels, label_smoothing=network.label_smoothing)
        loss.backward()
        optimizer.step()
        return loss

    return update


def matrix_products(network: Network) -> Callable[[], None]:
    """Return a function that runs the matrix products of a step alone: the least time that it can take."""
    rng = np.random.default_rng(0)
    sizes = network.sizes
    activations = [rng.normal(size=(network.batch_size, n)).astype(np.float32) for n in sizes]
    weights = [rng.normal(size=shape).astype(np.float32) for shape in pairwise(sizes)]
    gradients = [np.empty_like(weight) for weight in weights]

    def multiply() -> None:
        for x, weight in zip(activations[:-1], weights, strict=True):
            np.dot(x, weight)
        for layer in reversed(range(len(weights))):
            g = activations[layer + 1]
            np.dot(activations[layer].T, g, out=gradients[layer])
            if layer:
                np.dot(g, weights[layer].T)

    return multiply


def trained(state: Mapping[str, Any]) -> list[Any]:
    """Return the trained arrays of a state, layer by layer; weights as (in, out), for ``x @ w``."""
    return [
        np.ascontiguousarray(value.T, np.float32)
        for name, value in state.items()
        if name.endswith(("weight", "bias"))
    ]


def batches(network: Network, count: int = STEPS) -> list[Batch]:
    """Return batches that can be learned: points around one centre for each class, and their classes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(network.sizes[-1], network.sizes[0]))
    drawn = []
    for _ in range(count):
        labels = rng.integers(0, len(centres), network.batch_size)
        points = 0.3 * centres[labels] + rng.normal(size=(network.batch_size, centres.shape[1]))
        x = points.astype(np.float32).reshape(network.batch_size, *network.input_shape)
        drawn.append((x, labels))
    return drawn


def check_agreement(rivals: Mapping[str, Step], data: list[Batch], tolerance: float = TOLERANCE) -> None:
    """Train each rival for one pass through the data; all losses must be those of our step."""
    losses = {name: [step(*batch) for batch in data] for name, step in rivals.items()}
    for name, values in losses.items():
        require_equal(name, values, losses[OURS], tolerance)


def require_equal(name: str, losses: Sequence[float], ours: Sequence[float], tolerance: float) -> None:
    """Raise if losses differ from ours by more than the tolerance, which is relative for those above 1."""
    error = np.abs(np.subtract(losses, ours)) / np.maximum(1, ours)
    if not (error <= tolerance).all():
        step = int(np.argmax(~(error <= tolerance)))
        raise DisagreementError(
            f"the loss of {name} in step {step + 1} is {losses[step]:.6f}, and ours {ours[step]:.6f}; "
            f"they may differ by {tolerance:g} at most, so that no time counts"
        )
