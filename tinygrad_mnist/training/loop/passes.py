"""The batches of a training by a recipe: which images each pass goes through, in which order, how changed.

All that is random here comes of the generators of the run, and each kind from one of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.data import (
    Augmentation,
    Augmenter,
    find_augmentation,
    hard_images,
    one_hot,
    ridge_margins,
)
from tinygrad_mnist.data.batching import Portion, rows_of
from tinygrad_mnist.training.recipe.recipes import Recipe
from tinygrad_mnist.training.training_data import Parts

Batch = tuple[NDArray[Any], NDArray[Any]]


class Passes:
    """The standardised images and the labels of each step, a pass each time that one goes through them.

    Images are float32 of shape (batch_size, 1, height, width); labels are integers, or rows of them. Of a
    pass, those that do not fill a batch are left out. A last pass that is not whole takes the hard images,
    where the recipe says so.

    Parameters
    ----------
    recipe : Recipe
        Its augmentation, hard images, one-hot labels and accumulated batches are used.
    parts : Parts
        Their training part is used.
    batch_size : int
        Images in a batch.
    steps : int
        The number of steps in all.
    rngs : mapping
        Generators for ``"order"``, ``"augmentation"`` and ``"hard"``.
    """

    def __init__(
        self,
        recipe: Recipe,
        parts: Parts,
        batch_size: int,
        steps: int,
        rngs: Mapping[str, np.random.Generator],
    ) -> None:
        self.recipe, self.parts, self.batch_size = recipe, parts, batch_size
        self.rngs = {name: rngs[name] for name in ("order", "hard")}
        batches = len(parts.train_images) // batch_size
        # the number of the pass that is not whole, and its batches
        self.partial, left = divmod(steps, -(-batches // recipe.accumulate))
        self.left = min(left * recipe.accumulate, batches)
        self.number = 0  # of the next pass, or of the one that is under way
        self.labels = one_hot(parts.train_labels, parts.classes) if recipe.one_hot else parts.train_labels
        self.ranges = find_augmentation(recipe.augmentation)
        self.augment = self._augmenter(int(rngs["augmentation"].integers(1 << 32)))
        self._all: tuple[slice, Batch] | None = None  # rows of one batch, always the same: made once
        self._began: dict[str, Any] | None = None  # the state at the beginning of the pass that is under way

    def __len__(self) -> int:
        """Return the number of batches in a whole pass."""
        return len(self.parts.train_images) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Go through the next pass."""
        return self.from_batch(0)

    def from_batch(self, first: int) -> Iterator[Batch]:
        """Go through the next pass, without its first batches, which are not made."""
        for chosen in self._chosen(first):
            if chosen is None:
                yield self._whole()
            else:
                yield self._gathered(chosen)

    def portions(self, first: int, rank: int, ranks: int) -> Iterator[Portion]:
        """Go through the same batches, and make of each the rows of one process alone; see `Batches`."""
        total = self.batch_size
        own = rows_of(total, rank, ranks)
        for chosen in self._chosen(first):
            if chosen is None:
                images, labels = self._whole(own)
            else:
                images, labels = self._gathered(chosen[own])
            yield Portion(images, labels, own.start, total)

    def _chosen(self, first: int) -> Iterator[NDArray[np.intp] | None]:
        """Yield the numbers of the images of each batch; None for all of them, always the same."""
        self._began = self._state()
        size = self.batch_size
        if size == len(self.parts.train_images) and self.augment is None:
            if first == 0:
                yield None
        else:
            order = self._order()
            for start in range(first * size, len(order), size):
                yield order[start : start + size]
        self.number += 1
        self._began = None

    def _whole(self, own: slice = slice(None)) -> Batch:
        """Return all images, or rows of them, which are made once."""
        if self._all is None or self._all[0] != own:
            self._all = own, (self.parts.standardizer(self.parts.train_images[own]), self.labels[own])
        return self._all[1]

    def _gathered(self, chosen: NDArray[np.intp]) -> Batch:
        """Return images, changed and standardised, and their labels."""
        drawn: NDArray[Any] = self.parts.train_images.take(chosen, axis=0)  # faster than images[chosen]
        if self.augment is not None:
            drawn = self.augment(drawn, chosen, self.number)
        return self.parts.standardizer(drawn), self.labels.take(chosen, axis=0)

    def _order(self) -> NDArray[np.intp]:
        """Draw the numbers of the images of this pass in their order, whole batches of them."""
        samples, size = len(self.parts.train_images), self.batch_size
        if self.number == self.partial and self.left and self.recipe.hard is not None:
            margins = ridge_margins(self.parts.train_images, self.parts.train_labels)
            share = self.left * size / samples
            return hard_images(margins, share, *self.recipe.hard, self.rngs["hard"])
        return self.rngs["order"].permutation(samples)[: samples - samples % size]

    def state_dict(self) -> dict[str, Any]:
        """Return the state with which the pass that is under way began; else that of the next."""
        return self._state() if self._began is None else copy.deepcopy(self._began)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; the next pass begins with it."""
        for name, rng in self.rngs.items():
            rng.bit_generator.state = copy.deepcopy(state[name])
        self.number = state["number"]
        if self.augment is not None and state["augmentation"] != self.augment.seed:
            self.augment = self._augmenter(state["augmentation"])
        self._began = None

    def _state(self) -> dict[str, Any]:
        states = {name: dict(rng.bit_generator.state) for name, rng in self.rngs.items()}
        seed = None if self.augment is None else self.augment.seed
        return {**states, "number": self.number, "augmentation": seed}

    def _augmenter(self, seed: int) -> Augmenter | None:
        """Return the function that changes a batch by the recipe's augmentation; None for no augmentation."""
        if self.ranges == Augmentation():
            return None
        return Augmenter(self.ranges, self.parts.image_shape, seed, self.parts.background)
