"""The graph of a training step: what a model does with a batch of its images, forward and back."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist import graph, nn
from tinygrad_mnist.data import DataError, Dataset, Standardizer, load
from tinygrad_mnist.training.checkpoint import Checkpoint
from tinygrad_mnist.training.choice import Choice
from tinygrad_mnist.training.directory import GRAPH_PAGE, GRAPH_PICTURE, RunDirectory
from tinygrad_mnist.training.errors import RunError
from tinygrad_mnist.training.files import replacing
from tinygrad_mnist.training.model import build_model
from tinygrad_mnist.training.recipes import Recipe
from tinygrad_mnist.training.seeds import generators

IMAGES: Final = 128
"""How many images a step is drawn with where the recipe takes all."""

Images = NDArray[np.uint8]
Labels = NDArray[Any]


def graph_of_checkpoint(
    checkpoint: Checkpoint, data: str | None, profile: bool, notify: Callable[[str], None]
) -> graph.Graph:
    """The graph of a training step of a trained model.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model; it stays as it is.
    data : str, optional
        What `tinygrad_mnist.data.load` takes; what the model was trained on by default.
    profile : bool
        Whether to measure times and memory.
    notify : callable
        Is told if the data is not at hand, and random images take its place.

    Raises
    ------
    DataError
        If data was asked for by name and cannot be had, or has images of another size.
    """
    asked = str(checkpoint.origin.get("data", "auto")) if data is None else data
    height, width = checkpoint.image_shape
    count = checkpoint.recipe.batch_size or IMAGES
    try:
        dataset = load(asked)
        images, labels = dataset.train_images[:count], dataset.train_labels[:count]
        if images.shape[1:] != checkpoint.image_shape:
            raise DataError(
                f"the model takes images of {height} x {width} pixels, not those of {dataset.name}"
            )
    except DataError as error:
        if data is not None:
            raise
        notify(f"The graph is drawn with random images: {error}")
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (count, height, width), np.uint8)
        labels = rng.integers(0, len(checkpoint.class_names), count)
    return graph_of_step(
        checkpoint.model, checkpoint.recipe, images, labels, checkpoint.standardizer, profile
    )


def graph_of_choice(choice: Choice, profile: bool) -> graph.Graph:
    """The graph of the first training step of a recipe, with the weights of seed 0."""
    recipe, dataset = choice.recipe, choice.dataset
    count = recipe.batch_size or IMAGES
    images, labels = dataset.train_images[:count], dataset.train_labels[:count]
    rngs = generators(0)
    model = build_model(
        recipe, images[0].size, dataset.classes, rng=rngs["initialisation"], dropout_rng=rngs["dropout"]
    )
    return graph_of_step(model, recipe, images, labels, Standardizer.fit(dataset.train_images), profile)


def graph_of_step(
    model: nn.Sequential,
    recipe: Recipe,
    images: Images,
    labels: Labels,
    standardizer: Standardizer,
    profile: bool = False,
) -> graph.Graph:
    """The graph of one training step of a copy of a model, which itself stays as it is."""
    twin, x = deepcopy(model).train(), standardizer(images)
    rng = generators(0)["dropout"]  # so that a model drops the same each time it is drawn
    for module in twin.modules():
        if isinstance(module, nn.Dropout):
            module.rng = rng
    names = {"images": x, "labels": labels}
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    if profile:
        return graph.profile(twin, x, labels, loss=criterion, names=names)
    with graph.record(twin, names) as tape:
        criterion(twin(x), labels).backward()
    found = tape.graph()
    # every line is one of this package's own, as the command line has no other: that tells nobody anything
    return replace(found, nodes=tuple(replace(node, line="") for node in found.nodes))


def draw_graph(
    directory: RunDirectory, checkpoint: Checkpoint, dataset: Dataset, note: Callable[[str], None]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Draw the graph of a run's model into its directory.

    Returns
    -------
    pictures : tuple of Path
        Those that were drawn.
    faults : tuple of str
        A sentence for each that could not be written.
    """
    count = checkpoint.recipe.batch_size or IMAGES
    found = graph_of_step(
        checkpoint.model,
        checkpoint.recipe,
        dataset.train_images[:count],
        dataset.train_labels[:count],
        checkpoint.standardizer,
    )
    drawings: dict[str, Callable[[], str]] = {GRAPH_PICTURE: found.svg, GRAPH_PAGE: found.html}
    pictures: list[Path] = []
    faults: list[str] = []
    for name, draw in drawings.items():
        path = directory.file(name)
        try:
            text = draw()
            with replacing(path) as temporary:
                temporary.write_text(text, "utf-8")
            pictures.append(path)
        except RunError as error:
            faults.append(str(error))
        except graph.LayoutError as error:
            note(f"no graph was drawn: {error}")
            break
    return tuple(pictures), tuple(faults)
