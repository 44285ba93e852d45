"""Arrays in memory as PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.exchange.weights.entries import entries_of
from tinygrad_mnist.nn import Module

if TYPE_CHECKING:
    import torch


def to_torch(state: Mapping[str, Any] | Module) -> dict[str, torch.Tensor]:
    """Return a state dict with PyTorch's tensors, as ``load_state_dict`` of PyTorch's modules takes it.

    Parameters
    ----------
    state : Module or mapping
        A module, or arrays and Tensors by name, such as ``model.state_dict()``.

    Returns
    -------
    dict of str to torch.Tensor
        They share memory with the arrays that are given, where those are writable, C-contiguous and in this
        machine's byte order; else they are copies. Of a module, and of Tensors that require a gradient, they
        are copies too: a write into them would not be noticed by the tape.

    Raises
    ------
    WeightsError
        If it is no such mapping, or an entry is no array of numbers that PyTorch has.
    ImportError
        If PyTorch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError("PyTorch is needed for its tensors: install torch") from error
    if isinstance(state, Module):
        state = state.state_dict()
    if isinstance(state, Mapping):
        state = {
            name: value.detach() if isinstance(value, Tensor) else value for name, value in state.items()
        }
    entries = entries_of(state)
    return {
        # PyTorch has no read-only tensors
        name: torch.from_numpy(array if array.flags.writeable else array.copy())
        for name, array in entries.items()
    }
