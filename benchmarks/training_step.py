"""One training step: ours, hand-written NumPy, and PyTorch where it is installed.

The same weights, the same batches; before a time is believed, the losses of fifty steps must agree to 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.hand_written import HandWrittenStep
from benchmarks.harness import race, report
from tinygrad_mnist import nn, optim

OURS = "tinygrad_mnist"
LR, WEIGHT_DECAY = 1e-3, 1e-4
WORK = (((784, 64, 32, 16, 10), 128), ((784, 512, 512, 10), 256))


def layers(module: Any, sizes: tuple[int, ...]) -> list[Any]:
    """The layers of the perceptron, of our ``nn`` or PyTorch's."""
    made: list[Any] = []
    for fan_in, fan_out in pairwise(sizes):
        made += [module.Linear(fan_in, fan_out), module.BatchNorm1d(fan_out), module.ReLU()]
    return made[:-2]


def our_step(sizes: tuple[int, ...]) -> tuple[nn.Module, Callable[[Any, Any], float]]:
    """Our training step, and the model whose weights the rivals take over."""
    nn.manual_seed(0)
    model = nn.Sequential(*layers(nn, sizes))
    optimizer = optim.Adam(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)

    def step(x: Any, labels: Any) -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


def torch_step(state: dict[str, Any], sizes: tuple[int, ...], fused: bool) -> Callable[[Any, Any], float]:
    """PyTorch's eager training step from the same weights."""
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(*layers(torch.nn, sizes))
    model.load_state_dict({name: torch.tensor(np.array(value)) for name, value in state.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=fused)

    def step(x: Any, labels: Any) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def clusters(centres: Any, n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """A batch that can be learned: points around one centre a class, and their classes."""
    labels = rng.integers(0, len(centres), n)
    points = 0.3 * centres[labels] + rng.normal(size=(n, centres.shape[1]))
    return points.astype(np.float32), labels


def run(rounds: int = 40) -> None:
    """Race the steps on every size of network."""
    for sizes, batch_size in WORK:
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(sizes[-1], sizes[0]))
        batches = [clusters(centres, batch_size, rng) for _ in range(50)]
        model, ours = our_step(sizes)
        state = model.state_dict()
        rivals = {OURS: ours, "NumPy by hand": HandWrittenStep(state, sizes, LR, WEIGHT_DECAY)}
        try:
            rivals["PyTorch, fused Adam"] = torch_step(state, sizes, fused=True)
            rivals["PyTorch, default Adam"] = torch_step(state, sizes, fused=False)
        except ImportError:
            print("PyTorch is not installed, so it does not take part")
        losses = {name: [step(*batch) for batch in batches] for name, step in rivals.items()}
        for name, values in losses.items():
            np.testing.assert_allclose(values, losses[OURS], rtol=1e-4, err_msg=f"losses of {name}")
        timings = race({name: partial(step, *batches[0]) for name, step in rivals.items()}, rounds)
        shape = "-".join(map(str, sizes))
        report(f"training step, {shape}, batch norm, Adam with L2, batch {batch_size}", timings, OURS)
