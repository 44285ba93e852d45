"""One step of a training as functions of a batch, which can be compiled: gradients, clipping, the update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tinygrad_mnist import nn
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.optim import Optimizer, clip_grad_norm_
from tinygrad_mnist.training.distributed.gradients import GradientSum
from tinygrad_mnist.training.errors import TrainingError

Loss = Callable[[Any, Any], Any]
"""A function of outputs and targets: a module of `nn`, or one of your own."""

Stepped = tuple[Tensor, "float | None"]
"""The loss before the update, and the norm of the gradients before clipping, where they are clipped."""


class StepFunctions(NamedTuple):
    """The functions of a step.

    ``whole`` is one step on one batch. The others make a step of several: ``first``, ``further`` any number
    of times, and ``last``, each with the share of the samples that the batch has.
    """

    whole: Callable[..., Any]
    first: Callable[[Tensor, Tensor, float], Any]
    further: Callable[[Tensor, Tensor, float], Any]
    last: Callable[..., Any]


def step_functions(
    model: nn.Module,
    loss_of: Loss,
    optimizer: Optimizer,
    clip_norm: float | None,
    gradients: GradientSum | None = None,
) -> StepFunctions:
    """Return the functions that change the parameters of a model.

    ``whole`` and ``last`` return the loss and the norm of the gradients, the others the loss.

    Where several processes share a batch, ``gradients`` sums them over all processes, and the loss. Then
    ``whole`` is given the share of the samples that the rows of this process are, too, and ``last`` the sum
    of the weighted losses of the batches before, an array of shape (); both return the loss of the whole
    step.
    """

    def loss_on(x: Tensor, y: Tensor) -> Tensor:
        loss = loss_of(model(x), y)
        if not isinstance(loss, Tensor) or loss.ndim:
            raise TrainingError(f"the loss has to return a Tensor of shape (), not {_described(loss)}")
        if not loss.requires_grad:
            raise TrainingError(_constant_text(model))
        return loss

    def update() -> float | None:
        norm = None if clip_norm is None else clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        return norm

    def whole(x: Tensor, y: Tensor) -> Stepped:
        optimizer.zero_grad()
        loss = loss_on(x, y)
        loss.backward()
        return loss, update()

    def further(x: Tensor, y: Tensor, share: float) -> Tensor:
        loss = loss_on(x, y)
        (loss * share).backward()  # is added to the gradients that are there
        return loss

    def first(x: Tensor, y: Tensor, share: float) -> Tensor:
        optimizer.zero_grad()
        return further(x, y, share)

    def last(x: Tensor, y: Tensor, share: float) -> Stepped:
        return further(x, y, share), update()

    if gradients is None:
        return StepFunctions(whole, first, further, last)
    several = gradients

    def shared_further(x: Tensor, y: Tensor, share: float) -> Tensor:
        loss = loss_on(x, y)
        several.add(loss, share)
        return loss

    def shared_first(x: Tensor, y: Tensor, share: float) -> Tensor:
        optimizer.zero_grad()
        several.divide()
        return shared_further(x, y, share)

    def shared_whole(x: Tensor, y: Tensor, share: float) -> Stepped:
        optimizer.zero_grad()
        loss = loss_on(x, y)
        loss.backward()
        return several.sum(loss, share), update()

    def shared_last(x: Tensor, y: Tensor, share: float, before: NDArray[Any]) -> Stepped:
        loss = shared_further(x, y, share)
        return several.sum(loss.detach() * share + before), update()

    return StepFunctions(shared_whole, shared_first, shared_further, shared_last)


def _constant_text(model: nn.Module) -> str:
    """Return in words why a loss has no gradient."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return (
            "all parameters of the model are frozen, so nothing can be learned; set requires_grad = True for "
            "those that are to be trained"
        )
    return (
        "the loss depends on no parameter that is trained, so nothing can be learned; look for detach(), "
        "no_grad() or NumPy arrays between the parameters and the loss, and for frozen parameters"
    )


def _described(loss: object) -> str:
    if isinstance(loss, Tensor):
        return f"one of shape {loss.shape}; take its mean"
    return f"{loss!r:.60}"
