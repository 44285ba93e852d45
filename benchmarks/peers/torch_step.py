"""PyTorch's training step, eager or compiled, from given weights."""

from __future__ import annotations

import os
from collections.abc import Callable
from shutil import which
from typing import Any

import torch

from benchmarks.harness import SkippedError
from benchmarks.networks import Network, Step

torch.set_num_threads(1)


def torch_state(state: dict[str, Any]) -> dict[str, Any]:
    """Our weights as PyTorch's; the names and the layouts are the same."""
    return {name: torch.tensor(value) for name, value in state.items()}


def twin(network: Network, state: dict[str, Any], *, channels_last: bool = False) -> Any:
    """Return the network in PyTorch; its convolutions compute channels last where asked for."""
    model = torch.nn.Sequential(*network.layers(torch.nn))
    model.load_state_dict(torch_state(state))
    return model.to(memory_format=torch.channels_last) if channels_last else model


def laid_out(x: Any, channels_last: bool) -> Any:
    """Return an array as a tensor, in the layout that the network computes in."""
    tensor = torch.from_numpy(x)
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last else tensor


def inference(
    network: Network, state: dict[str, Any], *, channels_last: bool = False
) -> Callable[[Any], Any]:
    """Return a function from an array of images to one of logits, in evaluation mode."""
    model = twin(network, state, channels_last=channels_last).eval()

    def infer(x: Any) -> Any:
        with torch.inference_mode():
            return model(laid_out(x, channels_last)).numpy()

    return infer


def make_step(
    network: Network,
    state: dict[str, Any],
    *,
    fused: bool = True,
    compiled: bool = False,
    channels_last: bool = False,
) -> Step:
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
    channels_last
        Whether convolutions compute channels last.
    """
    model = twin(network, state, channels_last=channels_last)
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
        loss = loss_of(laid_out(x, channels_last), torch.from_numpy(labels))
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step
