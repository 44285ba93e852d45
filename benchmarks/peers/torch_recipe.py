"""Recipes in PyTorch: the same data, weights, batches, steps and evaluations.

``python -m benchmarks.peers.torch_recipe`` reads MNIST, trains the recipe `mlp`, evaluates on the test part
and writes a checkpoint, as ``tinygrad-mnist train`` does; the measurement of memory starts it.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.peers.torch_step import laid_out, torch_state
from tinygrad_mnist import nn
from tinygrad_mnist.training.loop.passes import Passes
from tinygrad_mnist.training.recipe.recipes import RECIPES, Recipe

BATCH = 1024
"""Images at a time in an evaluation, as in ours."""


def twin(model: nn.Sequential) -> Any:
    """Return a model of ours in PyTorch, with the same values; convolutions compute channels last."""
    makers: dict[type, Callable[[Any], Any]] = {
        nn.Conv2d: lambda layer: torch.nn.Conv2d(
            layer.weight.shape[1],
            layer.weight.shape[0],
            layer.weight.shape[2:],
            stride=layer.stride,
            bias=layer.bias is not None,
        ),
        nn.MaxPool2d: lambda layer: torch.nn.MaxPool2d(layer.kernel_size),
        nn.Flatten: lambda layer: torch.nn.Flatten(),
        nn.Linear: lambda layer: torch.nn.Linear(
            layer.weight.shape[1], layer.weight.shape[0], bias=layer.bias is not None
        ),
        nn.BatchNorm1d: lambda layer: torch.nn.BatchNorm1d(layer.weight.shape[0]),
        nn.BatchNorm2d: lambda layer: torch.nn.BatchNorm2d(layer.weight.shape[0]),
        nn.ReLU: lambda layer: torch.nn.ReLU(),
    }
    theirs = torch.nn.Sequential(
        OrderedDict((name, makers[type(layer)](layer)) for name, layer in model.named_children())
    )
    theirs.load_state_dict(torch_state({name: np.array(value) for name, value in model.state_dict().items()}))
    return theirs.to(memory_format=torch.channels_last)


class Training:
    """A recipe with a model of PyTorch's. Batches are drawn by the function that draws ours."""

    def __init__(
        self, recipe: Recipe, model: Any, parts: Any, rngs: Mapping[str, np.random.Generator]
    ) -> None:
        self.recipe, self.model, self.parts, self.rngs = recipe, model, parts, rngs
        samples = len(parts.train_images)
        self.batch_size: int = recipe.batch_size or samples
        self.steps_per_epoch = samples // self.batch_size
        self.steps = round(recipe.epochs * self.steps_per_epoch)
        evaluations = max(1, round(recipe.epochs / recipe.evaluate_every))
        self.evaluated_at = {
            max(1, round(self.steps * part / evaluations)) for part in range(1, evaluations + 1)
        }
        held_out = len(parts.validation_images)
        self.sample = np.sort(rngs["sample"].choice(samples, size=held_out, replace=False))
        self.optimizer = torch.optim.AdamW(
            self.groups(), lr=recipe.lr, betas=recipe.betas or (0.9, 0.999), fused=True
        )
        rates = {"div_factor": 10.0, "final_div_factor": 10.0, "cycle_momentum": False}
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=recipe.lr,
            total_steps=self.steps,
            pct_start=recipe.warmup,
            **(rates if recipe.schedule == "warmup-cosine" else {}),
        )
        self.losses: list[float] = []
        self.best, self.best_state = -1.0, model.state_dict()

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameters with their weight decay: that of matrices and filters, or of all."""
        decayed = [p for p in self.model.parameters() if p.ndim > 1 or self.recipe.decay_biases]
        others = [p for p in self.model.parameters() if not (p.ndim > 1 or self.recipe.decay_biases)]
        groups = ((decayed, self.recipe.weight_decay), (others, 0.0))
        return [{"params": params, "weight_decay": decay} for params, decay in groups if params]

    def run(self, evaluated: Callable[[int, float], None]) -> None:
        """Train; ``evaluated(step, accuracy)`` hears of each evaluation. The best state is kept."""
        passes = Passes(self.recipe, self.parts, self.batch_size, self.steps, self.rngs)
        for x, labels in islice(chain.from_iterable(repeat(passes)), self.steps):
            self.step(laid_out(x, channels_last=True), torch.from_numpy(np.asarray(labels, np.int64)))
            if len(self.losses) in self.evaluated_at:
                evaluated(len(self.losses), self.evaluate())
        self.model.load_state_dict(self.best_state)

    def step(self, x: Any, labels: Any) -> None:
        """One step of the model, the optimiser and the schedule."""
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), labels, label_smoothing=self.recipe.label_smoothing)
        self.losses.append(float(loss.detach()))
        loss.backward()
        self.optimizer.step()
        self.schedule.step()

    def evaluate(self) -> float:
        """Return the accuracy on the validation part; like ours, evaluate some of the training part, too."""
        parts = self.parts
        accuracy = self.accuracy(parts.validation_images, parts.validation_labels)
        self.accuracy(parts.train_images[self.sample], parts.train_labels[self.sample])
        if accuracy > self.best:
            self.best = accuracy
            self.best_state = {name: value.clone() for name, value in self.model.state_dict().items()}
        return accuracy

    def accuracy(self, images: Any, labels: Any) -> float:
        """Return the share of the images that the model recognises."""
        self.model.eval()
        found = []
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                x = laid_out(self.parts.standardizer(images[start : start + BATCH]), channels_last=True)
                found.append(F.softmax(self.model(x), dim=1))
        self.model.train()
        return float((torch.cat(found).argmax(1).numpy() == labels).mean())


def main() -> None:
    """Run it all, in a process of its own."""
    from tinygrad_mnist.data import load
    from tinygrad_mnist.training.recipe.models import build_model
    from tinygrad_mnist.training.seeds import generators
    from tinygrad_mnist.training.training_data import split

    dataset, recipe, rngs = load("mnist", download=False), RECIPES["mlp"], generators(0)
    parts = split(dataset, recipe.validation, rngs["split"])
    model = twin(build_model(recipe, parts.image_shape, parts.classes, rng=rngs["initialisation"]))
    training = Training(recipe, model, parts, rngs)
    training.run(lambda step, accuracy: None)
    training.accuracy(parts.train_images, parts.train_labels)
    print(training.accuracy(dataset.test_images, dataset.test_labels))
    with tempfile.TemporaryDirectory() as directory:
        torch.save(model.state_dict(), Path(directory) / "checkpoint.pt")


if __name__ == "__main__":
    main()
