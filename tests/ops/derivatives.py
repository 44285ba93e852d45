"""Value, first and second derivatives of a function, here and by PyTorch, to be compared entry by entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor


def weights(shape: Sequence[int], seed: int) -> Any:
    return np.asarray(np.random.default_rng(seed).normal(size=tuple(shape)))


def ours(f: Any, primals: Sequence[Any]) -> list[Any]:
    """Value, gradients by each primal, and gradients of the gradients by each primal and the cotangent."""
    leaves = [Tensor(primal, requires_grad=True) for primal in primals]
    out = f(*leaves)
    cotangent = Tensor(weights(out.shape, 0), requires_grad=True)
    out.backward(cotangent, create_graph=True)
    gradients = [Tensor(np.zeros(leaf.shape)) if leaf.grad is None else leaf.grad for leaf in leaves]
    leaves.append(cotangent)
    for leaf in leaves:
        leaf.grad = None
    for i, gradient in enumerate(gradients):
        if gradient.requires_grad:
            gradient.backward(weights(gradient.shape, i + 1), retain_graph=True)
    second = [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.data for leaf in leaves]
    return [out.data, *(gradient.data for gradient in gradients), *second]


def theirs(f: Any, primals: Sequence[Any]) -> list[Any]:
    """The same, by PyTorch."""
    import torch

    leaves = [torch.tensor(primal, requires_grad=True) for primal in primals]
    out = f(*leaves)
    cotangent = torch.tensor(weights(out.shape, 0), requires_grad=True)
    options: Any = {"create_graph": True, "allow_unused": True, "materialize_grads": True}
    gradients = torch.autograd.grad(out, leaves, cotangent, **options)
    leaves.append(cotangent)
    total = sum(torch.sum(g * torch.tensor(weights(g.shape, i + 1))) for i, g in enumerate(gradients))
    second = torch.autograd.grad(total, leaves, **options)
    return [part.detach().numpy(force=True) for part in (out, *gradients, *second)]
