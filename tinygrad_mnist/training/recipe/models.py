"""The models by name, built by a recipe for images of a size; and their state dicts in outline.

A model takes standardised images of shape (n, 1, height, width) and returns logits of shape (n, classes): the
loss has the softmax. Names can be checked and listed without NumPy, as those in `choices`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tinygrad_mnist.numbers import size_text
from tinygrad_mnist.training.errors import RecipeError
from tinygrad_mnist.training.recipe.choices import ACTIVATIONS, StateEntry
from tinygrad_mnist.training.recipe.layers import Context, Conv, LayerError, Pair, Step, followed

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_mnist import nn
    from tinygrad_mnist.training.recipe.recipes import Recipe


MOST_NUMBERS: Final = 1 << 26
"""Numbers that layers compute for one image at most; large networks on 224 x 224 pixels take 40 million."""

MOST_UNROLLED: Final = 1 << 28
"""Numbers at most in all windows of a convolution side by side, for one image: 1 GiB."""


class Costs(NamedTuple):
    """The work of the forward pass of one image, by the recipe alone.

    ``numbers`` are those that layers read and write; ``largest`` the multiplications of the largest layer;
    ``convolved`` those of all convolutions together. ``unrolled`` are the numbers of all windows of the
    largest convolution side by side, which it may keep on the way.
    """

    numbers: int
    largest: int
    convolved: int
    unrolled: int = 0


def model_input(recipe: Recipe, image_shape: Pair) -> Pair:
    """Return height and width of the images that the model takes: what is left when the border is cut off.

    Raises
    ------
    RecipeError
        If nothing is left.
    """
    height, width = (side - 2 * recipe.crop for side in image_shape)
    if height < 1 or width < 1:
        raise RecipeError(
            f"crop cuts {recipe.crop} pixels from each side, and leaves nothing of images of "
            f"{size_text(image_shape)} pixels",
            "crop",
        )
    return height, width


def require_moderate(recipe: Recipe, image_shape: Pair, classes: int) -> None:
    """Raise an error if what is computed for one image, or the image itself, would fill the memory.

    A file may say anything, and layers with few weights or none may compute much. Data and models are limited
    by the same numbers, so that whatever is trained can be read again.

    Raises
    ------
    RecipeError
        If it is more than `MOST_PIXELS`, `MOST_NUMBERS` or `MOST_UNROLLED`.
    """
    from tinygrad_mnist.data.dataset import MOST_PIXELS

    if math.prod(image_shape) > MOST_PIXELS:
        raise RecipeError(
            f"images have {MOST_PIXELS:,} pixels at most, not {size_text(image_shape)}; scale them"
        )
    # a hidden layer has more weights than units, and those of a file are compared with the recipe first
    found = known_costs(recipe, image_shape, classes) if recipe.layers else None
    if found is None:
        return
    for what, numbers, most in (
        ("its layers compute", found.numbers, MOST_NUMBERS),
        ("the windows of a convolution hold", found.unrolled, MOST_UNROLLED),
    ):
        if numbers > most:
            raise RecipeError(
                f"{what} {numbers:,} numbers for one image of {size_text(image_shape)} pixels, where "
                f"{most:,} at most were expected; scale the images, or let layers have fewer channels or "
                "units, smaller windows or larger strides",
                "layers",
            )


# ---- a multi-layer perceptron ------------------------------------------------------------------------------


def _mlp(
    recipe: Recipe,
    image_shape: Pair,
    classes: int,
    rng: np.random.Generator | None,
    dropout_rng: np.random.Generator | None,
) -> nn.Sequential:
    """Build a multi-layer perceptron: linear layers, with batch norm, activation and dropout between them."""
    from tinygrad_mnist import nn

    layers: list[nn.Module] = []
    width = image_shape[0] * image_shape[1]
    for units in recipe.hidden:
        layers.append(nn.Linear(width, units, rng=rng))
        if recipe.batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(ACTIVATIONS[recipe.activation]())
        if recipe.dropout:
            layers.append(nn.Dropout(recipe.dropout, rng=dropout_rng))
        width = units
    layers.append(nn.Linear(width, classes, rng=rng))
    # The layers keep the names that they had when models took rows: files of earlier versions have them.
    return nn.Sequential({"flatten": nn.Flatten(), **{str(i): layer for i, layer in enumerate(layers)}})


def _mlp_state(recipe: Recipe, image_shape: Pair, classes: int) -> Iterator[StateEntry]:
    """Yield the state dict of `_mlp` in outline."""
    activation = ACTIVATIONS[recipe.activation]().state_dict()
    width, position = image_shape[0] * image_shape[1], 0
    for units in recipe.hidden:
        yield f"{position}.weight", (units, width), "float32"
        yield f"{position}.bias", (units,), "float32"
        position += 1
        if recipe.batch_norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                yield f"{position}.{name}", (units,), "float32"
            yield f"{position}.num_batches_tracked", (), "int64"
            position += 1
        for name, value in activation.items():
            yield f"{position}.{name}", value.shape, value.dtype.name
        position += 2 if recipe.dropout else 1
        width = units
    yield f"{position}.weight", (classes, width), "float32"
    yield f"{position}.bias", (classes,), "float32"


def _mlp_costs(recipe: Recipe, image_shape: Pair, classes: int) -> Costs:
    widths = (image_shape[0] * image_shape[1], *recipe.hidden, classes)
    return Costs(sum(widths), max(a * b for a, b in pairwise(widths)), 0)


# ---- the layers that a recipe lists ------------------------------------------------------------------------


def _steps(recipe: Recipe, image_shape: Pair, classes: int) -> list[Step]:
    """Return the layers with the shapes that they get; raise a RecipeError if they do not fit the images."""
    try:
        return followed(recipe.layers, image_shape, classes, recipe.norm)
    except LayerError as error:
        cropped = f" that a crop of {recipe.crop} leaves" if recipe.crop else ""
        raise RecipeError(
            f"layers do not fit the {size_text(image_shape)} pixels{cropped}: {error}", "layers"
        ) from error


def _context(recipe: Recipe) -> Context:
    return Context(recipe.norm, recipe.activation, recipe.dropout)


def _layers(
    recipe: Recipe,
    image_shape: Pair,
    classes: int,
    rng: np.random.Generator | None,
    dropout_rng: np.random.Generator | None,
) -> nn.Sequential:
    """Build a module for each layer of the recipe, and the linear one to the classes."""
    from tinygrad_mnist import nn

    context = _context(recipe)._replace(rng=rng, dropout_rng=dropout_rng)
    return nn.Sequential(
        *(
            step.layer.build(step.shape, context._replace(bias=step.bias))
            for step in _steps(recipe, image_shape, classes)
        )
    )


def _layers_state(recipe: Recipe, image_shape: Pair, classes: int) -> Iterator[StateEntry]:
    """Yield the state dict of `_layers` in outline."""
    context = _context(recipe)
    for position, step in enumerate(_steps(recipe, image_shape, classes)):
        for name, shape, dtype in step.layer.state(step.shape, context._replace(bias=step.bias)):
            yield f"{position}.{name}", shape, dtype


def _layers_costs(recipe: Recipe, image_shape: Pair, classes: int) -> Costs:
    steps = _steps(recipe, image_shape, classes)
    products = [step.layer.multiplications(step.shape) for step in steps]
    return Costs(
        numbers=classes + sum(step.layer.numbers(step.shape) for step in steps),
        largest=max(products),
        convolved=sum(n for n, step in zip(products, steps, strict=True) if isinstance(step.layer, Conv)),
        unrolled=max(step.layer.unrolled(step.shape) for step in steps),
    )


# ---- a function in a file of the user's --------------------------------------------------------------------


def _file(
    recipe: Recipe,
    image_shape: Pair,
    classes: int,
    rng: np.random.Generator | None,
    dropout_rng: np.random.Generator | None,
) -> nn.Module:
    """Build what the function returns; its layers draw by `nn.manual_seed`, those of dropout too."""
    assert recipe.model_file is not None
    return recipe.model_file.build(image_shape, classes, rng=rng)


# ---- the tables --------------------------------------------------------------------------------------------

MODELS: dict[str, Callable[..., nn.Module]] = {"mlp": _mlp, "layers": _layers, "file": _file}
"""The models by name: a function of the recipe, the images' height and width, the number of classes, and two
generators, of weights and of dropout. Height and width are those that are left when the border is cut off.
"""

_STATES: dict[Callable[..., Any], Callable[[Recipe, Pair, int], Iterator[StateEntry]]] = {
    _mlp: _mlp_state,
    _layers: _layers_state,
}
"""For functions in `MODELS`, one that yields the state dict in outline. There need not be one."""

_COSTS: dict[Callable[..., Any], Callable[[Recipe, Pair, int], Costs]] = {
    _mlp: _mlp_costs,
    _layers: _layers_costs,
}
"""For functions in `MODELS`, one that returns `costs`. There need not be one."""


def build_model(
    recipe: Recipe,
    image_shape: Pair,
    classes: int,
    *,
    rng: np.random.Generator | None = None,
    dropout_rng: np.random.Generator | None = None,
) -> nn.Module:
    """Build the model of a recipe, with new weights.

    Parameters
    ----------
    recipe : Recipe
        Its model with layers, activation, norm and dropout, and its crop, are used.
    image_shape : tuple of int
        Height and width of the pictures. The model takes what the recipe's crop leaves of them.
    classes : int
        The number of classes.
    rng : numpy.random.Generator, optional
        Draws the weights.
    dropout_rng : numpy.random.Generator, optional
        Draws what is dropped in training.

    Returns
    -------
    Module
        From standardised images, shape (n, 1, height, width), to logits, shape (n, classes): the loss has the
        softmax.

    Raises
    ------
    RecipeError
        If the layers do not fit the images: which, and the sizes; or if they compute too much for one image:
        see `require_moderate`.

    Examples
    --------
    >>> from tinygrad_mnist.training import RECIPES
    >>> model = build_model(RECIPES["digits"].changed(hidden=(5,)), (8, 8), 10)
    >>> sorted(model.state_dict())[:3]
    ['0.bias', '0.weight', '1.bias']
    """
    require_moderate(recipe, image_shape, classes)
    return MODELS[recipe.model](recipe, model_input(recipe, image_shape), classes, rng, dropout_rng)


def state_outline(recipe: Recipe, image_shape: Pair, classes: int) -> Iterator[StateEntry]:
    """Yield the entries of the state dict of `build_model`, if possible without building the model.

    A file says how large a model is, and may say anything: it is compared with this before memory is taken.

    Yields
    ------
    StateEntry
        Name, shape and the name of the dtype.

    Examples
    --------
    >>> from tinygrad_mnist.training import RECIPES
    >>> list(state_outline(RECIPES["digits"].changed(hidden=()), (8, 8), 10))
    [('0.weight', (10, 64), 'float32'), ('0.bias', (10,), 'float32')]
    """
    outline = _STATES.get(MODELS[recipe.model])
    if outline is not None:
        yield from outline(recipe, model_input(recipe, image_shape), classes)
        return
    yield from outline_of(build_model(recipe, image_shape, classes))


def outline_of(model: nn.Module) -> Iterator[StateEntry]:
    """Yield the entries of the state dict of a model in outline, as `state_outline` does."""
    for name, value in model.state_dict().items():
        yield name, value.shape, value.dtype.name


def costs(recipe: Recipe, model: nn.Module, image_shape: Pair, classes: int) -> Costs:
    """Return what the forward pass of one image costs, by the recipe; of a model of one's own, about.

    Parameters
    ----------
    recipe : Recipe
        The recipe.
    model : Module
        The model that `build_model` has built by it.
    image_shape : tuple of int
        Height and width of the pictures.
    classes : int
        The number of classes.

    Examples
    --------
    >>> from tinygrad_mnist.training import RECIPES
    >>> recipe = RECIPES["digits"].changed(hidden=(5,))
    >>> costs(recipe, build_model(recipe, (8, 8), 10), (8, 8), 10)
    Costs(numbers=79, largest=320, convolved=0, unrolled=0)
    """
    return known_costs(recipe, image_shape, classes) or estimated_costs(
        model, model_input(recipe, image_shape)
    )


def known_costs(recipe: Recipe, image_shape: Pair, classes: int) -> Costs | None:
    """Return the costs by the recipe alone, without a model; None for a model of one's own."""
    counted = _COSTS.get(MODELS[recipe.model])
    return counted and counted(recipe, model_input(recipe, image_shape), classes)


def estimated_costs(model: nn.Module, image_shape: tuple[int, ...]) -> Costs:
    """Return the costs by the shapes of the parameters, with filters applied at a quarter of the pixels."""
    places = max(1, math.prod(image_shape) // 4)
    products = [(parameter.size, parameter.ndim == 4) for parameter in model.parameters()]
    filters = sum(size for size, is_filter in products if is_filter)
    return Costs(
        numbers=math.prod(image_shape),
        largest=max((size * (places if is_filter else 1) for size, is_filter in products), default=0),
        convolved=filters * places,
    )
