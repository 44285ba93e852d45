"""The recipe `default` in PyTorch: the same data, weights, order of the images, steps and evaluations.

``python -m benchmarks.peers.torch_recipe`` reads MNIST, trains, evaluates on the test part and writes a
checkpoint, as ``tinygrad-mnist train`` does; the measurement of memory starts it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.peers.torch_step import torch_state
from tinygrad_mnist import nn
from tinygrad_mnist.training.recipes import RECIPES, Recipe

BATCH = 1024
"""Images at a time in an evaluation, as in ours."""


def twin(model: nn.Sequential) -> Any:
    """Return a perceptron of ours in PyTorch, with the same values."""
    makers: dict[type, Callable[[Any], Any]] = {
        nn.Linear: lambda layer: torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0]),
        nn.BatchNorm1d: lambda layer: torch.nn.BatchNorm1d(layer.weight.shape[0]),
        nn.ReLU: lambda layer: torch.nn.ReLU(),
    }
    theirs = torch.nn.Sequential(
        *(makers[type(layer)](layer) for layer in model if not isinstance(layer, nn.Flatten))
    )
    theirs.load_state_dict(torch_state({name: np.array(value) for name, value in model.state_dict().items()}))
    return theirs


class Training:
    """The recipe with a model of PyTorch's; images stay bytes, and a batch is standardised as it is drawn."""

    def __init__(
        self, recipe: Recipe, model: Any, parts: Any, rngs: Mapping[str, np.random.Generator]
    ) -> None:
        self.recipe, self.model, self.parts, self.order = recipe, model, parts, rngs["order"]
        self.batch_size: int = recipe.batch_size or len(parts.train_images)
        self.images = torch.from_numpy(parts.train_images.reshape(len(parts.train_images), -1))
        self.labels = torch.from_numpy(np.asarray(parts.train_labels, np.int64))
        self.steps_per_epoch = len(self.images) // self.batch_size
        self.steps = round(recipe.epochs * self.steps_per_epoch)
        evaluations = round(recipe.epochs / recipe.evaluate_every)
        self.evaluated_at = {
            max(1, round(self.steps * part / evaluations)) for part in range(1, evaluations + 1)
        }
        held_out = len(parts.validation_images)
        self.sample = np.sort(rngs["sample"].choice(len(self.images), size=held_out, replace=False))
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=recipe.lr, total_steps=self.steps
        )
        self.losses: list[float] = []
        self.best, self.best_state = -1.0, model.state_dict()

    def standardised(self, images: Any) -> Any:
        """Rows of bytes as float32, with the mean and the spread of the training part."""
        mean, std = self.parts.standardizer.mean, self.parts.standardizer.std
        return images.to(torch.float32).mul_(1 / std).add_(-mean / std)

    def run(self, evaluated: Callable[[int, float], None]) -> None:
        """Train; ``evaluated(step, accuracy)`` hears of each evaluation. The best state is kept."""
        for _ in range(round(self.recipe.epochs)):
            order = torch.from_numpy(self.order.permutation(len(self.images)))
            for start in range(self.steps_per_epoch):
                chosen = order[start * self.batch_size : (start + 1) * self.batch_size]
                self.step(self.standardised(self.images[chosen]), self.labels[chosen])
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
        rows = torch.from_numpy(images.reshape(len(images), -1))
        self.model.eval()
        with torch.no_grad():
            parts = [F.softmax(self.model(self.standardised(part)), dim=1) for part in rows.split(BATCH)]
        self.model.train()
        return float((torch.cat(parts).argmax(1).numpy() == labels).mean())


def main() -> None:
    """Run it all, in a process of its own."""
    from tinygrad_mnist.data import load
    from tinygrad_mnist.training.models import build_model
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
