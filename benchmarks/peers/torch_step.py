"""PyTorch's training step, eager or compiled, from given weights."""

from __future__ import annotations

import os
from shutil import which
from typing import Any

import torch

from benchmarks.harness import SkippedError
from benchmarks.networks import Network, Step

torch.set_num_threads(1)


def torch_state(state: dict[str, Any]) -> dict[str, Any]:
    """Our weights as PyTorch's; the names and the layouts are the same."""
    return {name: torch.tensor(value) for name, value in state.items()}


def make_step(network: Network, state: dict[str, Any], *, fused: bool = True, compiled: bool = False) -> Step:
    """Return a step.

    Parameters
    ----------
    network, state
        The network, and the weights that it starts from.
    fused
        Whether the optimiser is one kernel, or as PyTorch chooses by default.
    compiled
        Whether `torch.compile` compiles the forward pass with the loss, and thereby their gradients. The
        optimiser is one kernel as it is.
    """
    model = torch.nn.Sequential(*network.layers(torch.nn))
    model.load_state_dict(torch_state(state))
    adam = torch.optim.AdamW if network.decoupled else torch.optim.Adam
    optimizer = adam(model.parameters(), fused=fused, **network.options)

    def loss_of(x: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x), labels, label_smoothing=network.label_smoothing)

    if compiled:
        if which(os.environ.get("CXX", "g++")) is None:
            raise SkippedError("torch.compile needs a compiler of C++, and there is no g++ here")
        loss_of = torch.compile(loss_of)

    def step(x: Any, labels: Any) -> float:
        optimizer.zero_grad()
        loss = loss_of(torch.from_numpy(x), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
