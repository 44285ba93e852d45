"""PyTorch's eager training step, from given weights."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.networks import LR, Network, Step

torch.set_num_threads(1)


def torch_state(state: dict[str, Any]) -> dict[str, Any]:
    """Our weights as PyTorch's; the names and the layouts are the same."""
    return {name: torch.tensor(value) for name, value in state.items()}


def make_step(network: Network, state: dict[str, Any], *, fused: bool) -> Step:
    """Return a step with the optimiser in one kernel, or as PyTorch chooses by default."""
    model = torch.nn.Sequential(*network.layers(torch.nn))
    model.load_state_dict(torch_state(state))
    optimizer = torch.optim.Adam(
        model.parameters(), lr=LR, eps=network.eps, weight_decay=network.weight_decay, fused=fused
    )

    def step(x: Any, labels: Any) -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
