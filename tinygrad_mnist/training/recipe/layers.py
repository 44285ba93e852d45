"""The layers of a recipe as texts: ``conv 16 5x5 stride 2``, ``max-pool 2``, ``norm``, ``linear 128``, ...

A text is the name of a layer (`LAYERS`), its sizes in their order, and options by name. `parsed` reads them;
`followed` computes the shape after each before anything is built, so that layers that do not fit the images
are refused at once. Shapes are those of one image: (channels, height, width), or (features,) after
``flatten``. Neither needs NumPy.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.recipe.choices import ACTIVATIONS, NORMS, StateEntry

if TYPE_CHECKING:
    import numpy as np

    from tinygrad_mnist import nn

Shape = tuple[int, ...]
Pair = tuple[int, int]


class LayerError(ValueError):
    """The error of a text that is no layer, or of a layer that does not fit what it gets."""


class Context(NamedTuple):
    """The choices of a recipe that its layers name without saying them, and the generators.

    ``bias`` is whether the layer at hand has one.
    """

    norm: str
    activation: str
    dropout: float
    bias: bool = True
    rng: np.random.Generator | None = None
    dropout_rng: np.random.Generator | None = None


# ---- the values in a text ----------------------------------------------------------------------------------


def _whole(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise LayerError(f"a whole number above 0, not {text!r}")
    return int(text)


def _pair(text: str, least: int = 1) -> Pair:
    """Return ``5`` as (5, 5) and ``5x3`` as (5, 3): height and width."""
    match = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text)
    if match is None or min(map(int, match.groups(match[1]))) < least:
        raise LayerError(f"a size such as 2 or 3x5 (height x width), not {text!r}")
    return int(match[1]), int(match[2] or match[1])


def _pair_or_0(text: str) -> Pair:
    return _pair(text, least=0)


def _padding(text: str) -> Pair | str:
    if text in ("same", "valid"):
        return text
    try:
        return _pair_or_0(text)
    except LayerError:
        raise LayerError(f"same, valid, or a size such as 2 or 1x2 (height x width), not {text!r}") from None


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise LayerError(f"a probability of at least 0 and less than 1, not {text!r}")
    return value


MOST_LAYERS: Final = 1000
"""The layers of a network at most: a file may say anything, and each is a module."""

Readers = Mapping[str, Callable[[str], Any]]
"""For values by name, the functions that read them from a word."""


# ---- the layers --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A layer as its text says it; `nn` has the module that it builds.

    A subclass has its values as fields. The ``sizes`` are given in their order, the ``options`` by name.
    """

    sizes: ClassVar[Readers] = {}
    options: ClassVar[Readers] = {}

    @property
    def short(self) -> str:
        """The layer in a word of an outline; empty for one that has no size."""
        return ""

    @property
    def keeps_constants(self) -> bool:
        """True if a number that is added to a channel before the layer is added after it, and no more."""
        return False

    def output(self, shape: Shape) -> Shape:
        """Return the shape after the layer.

        Raises
        ------
        LayerError
            If the layer does not fit the shape before it.
        """
        return shape

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module for inputs of a shape."""
        raise NotImplementedError

    def state(self, shape: Shape, context: Context) -> Iterator[StateEntry]:
        """Yield the state dict of the module in outline, without building it."""
        yield from ()

    def numbers(self, shape: Shape) -> int:
        """Return the numbers that the layer reads of one image, padding included."""
        return math.prod(shape)

    def unrolled(self, shape: Shape) -> int:
        """Return the numbers of all windows of one image side by side; 0 if they are never there at once."""
        return 0

    def multiplications(self, shape: Shape) -> int:
        """Return the multiplications for one image; 0 for layers that have few."""
        return 0


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution: ``conv 16 5x5 stride 2 padding same``."""

    sizes: ClassVar[Readers] = {"channels": _whole, "kernel": _pair}
    options: ClassVar[Readers] = {"stride": _pair, "padding": _padding, "dilation": _pair, "groups": _whole}

    channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair | str = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def short(self) -> str:
        """The layer in a word, as ``c5-16 s2``."""
        stride = "" if self.stride == (1, 1) else f" s{_pair_text(self.stride)}"
        return f"c{_pair_text(self.kernel)}-{self.channels}{stride}"

    def output(self, shape: Shape) -> Shape:
        """Return (channels, height, width) after the convolution."""
        channels, *size = _image(shape)
        if channels % self.groups or self.channels % self.groups:
            raise LayerError(
                f"groups must divide the channels before and after, and {self.groups} does not divide both "
                f"{channels} and {self.channels}"
            )
        if self.padding == "same":
            if self.stride != (1, 1):
                raise LayerError("padding same keeps the size, and goes with stride 1 alone; give a number")
            return self.channels, *size
        padding = (0, 0) if isinstance(self.padding, str) else self.padding
        return self.channels, *_windows(size, self.kernel, self.stride, padding, self.dilation)

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module, with PyTorch's initialisation."""
        from tinygrad_mnist import nn

        return nn.Conv2d(
            shape[0],
            self.channels,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            bias=context.bias,
            rng=context.rng,
        )

    def state(self, shape: Shape, context: Context) -> Iterator[StateEntry]:
        """Yield the weight and, where there is one, the bias."""
        yield "weight", (self.channels, shape[0] // self.groups, *self.kernel), "float32"
        if context.bias:
            yield "bias", (self.channels,), "float32"

    def numbers(self, shape: Shape) -> int:
        """Return the numbers that the layer reads of one image, padding included."""
        if self.padding == "same":
            channels, *size = shape
            more = (d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True))
            return channels * math.prod(length + added for length, added in zip(size, more, strict=True))
        return _padded(shape, (0, 0) if isinstance(self.padding, str) else self.padding)

    def unrolled(self, shape: Shape) -> int:
        """Return the numbers of all windows of one image side by side."""
        return math.prod((*self.output(shape)[1:], shape[0], *self.kernel))

    def multiplications(self, shape: Shape) -> int:
        """Return the multiplications for one image."""
        return math.prod((*self.output(shape), shape[0] // self.groups, *self.kernel))


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest of each window: ``max-pool 2``, ``max-pool 3 stride 2 padding 1``."""

    sizes: ClassVar[Readers] = {"kernel": _pair}
    options: ClassVar[Readers] = {"stride": _pair, "padding": _pair_or_0}

    kernel: Pair
    stride: Pair | None = None
    padding: Pair = (0, 0)

    @property
    def short(self) -> str:
        """The layer in a word, as ``pool 2``."""
        return f"pool {_pair_text(self.kernel)}"

    @property
    def keeps_constants(self) -> bool:
        """True: the padding, which is less than any number, is never the largest."""
        return True

    def output(self, shape: Shape) -> Shape:
        """Return (channels, height, width) after the pool."""
        channels, *size = _image(shape)
        if any(2 * pad > length for pad, length in zip(self.padding, self.kernel, strict=True)):
            raise LayerError("its padding is more than half of its window")
        return channels, *_windows(size, self.kernel, self.stride or self.kernel, self.padding)

    def numbers(self, shape: Shape) -> int:
        """Return the numbers that the layer reads of one image, padding included."""
        return _padded(shape, self.padding)

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module."""
        from tinygrad_mnist import nn

        return nn.MaxPool2d(self.kernel, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class AvgPool(MaxPool):
    """The mean of each window: ``avg-pool 2``."""

    @property
    def short(self) -> str:
        """The layer in a word, as ``avg 2``."""
        return f"avg {_pair_text(self.kernel)}"

    @property
    def keeps_constants(self) -> bool:
        """True without padding, whose zeros lie in the mean."""
        return self.padding == (0, 0)

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module."""
        from tinygrad_mnist import nn

        return nn.AvgPool2d(self.kernel, stride=self.stride, padding=self.padding)


@dataclass(frozen=True)
class Norm(Layer):
    """The normalisation of the recipe: ``norm``."""

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module."""
        return NORMS[context.norm].make(shape)

    def state(self, shape: Shape, context: Context) -> Iterator[StateEntry]:
        """Yield the weight, the bias and the statistics, as far as there are any."""
        for name in NORMS[context.norm].entries:
            yield (name, (), "int64") if name == "num_batches_tracked" else (name, shape[:1], "float32")


@dataclass(frozen=True)
class Activation(Layer):
    """The activation of the recipe: ``activation``."""

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module."""
        return ACTIVATIONS[context.activation]()

    def state(self, shape: Shape, context: Context) -> Iterator[StateEntry]:
        """Yield the parameters that an activation of one's own may have."""
        for name, value in self.build(shape, context).state_dict().items():
            yield name, value.shape, value.dtype.name


@dataclass(frozen=True)
class Dropout(Layer):
    """Dropout with the probability of the recipe, ``dropout``, or with one of its own: ``dropout 0.2``."""

    sizes: ClassVar[Readers] = {"p": _probability}

    p: float | None = None

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module."""
        from tinygrad_mnist import nn

        return nn.Dropout(context.dropout if self.p is None else self.p, rng=context.dropout_rng)


@dataclass(frozen=True)
class Flatten(Layer):
    """The pixels of all channels in a row: ``flatten``."""

    @property
    def keeps_constants(self) -> bool:
        """True: all numbers stay."""
        return True

    def output(self, shape: Shape) -> Shape:
        """Return (features,)."""
        return (math.prod(_image(shape)),)

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module."""
        from tinygrad_mnist import nn

        return nn.Flatten()


@dataclass(frozen=True)
class Linear(Layer):
    """A linear layer: ``linear 128``."""

    sizes: ClassVar[Readers] = {"units": _whole}

    units: int

    @property
    def short(self) -> str:
        """The number of units."""
        return str(self.units)

    def output(self, shape: Shape) -> Shape:
        """Return (units,)."""
        if len(shape) != 1:
            raise LayerError(f"it takes a row of features, not {shape_text(shape)}; put 'flatten' before it")
        return (self.units,)

    def build(self, shape: Shape, context: Context) -> nn.Module:
        """Build the module, with PyTorch's initialisation."""
        from tinygrad_mnist import nn

        return nn.Linear(shape[0], self.units, bias=context.bias, rng=context.rng)

    def state(self, shape: Shape, context: Context) -> Iterator[StateEntry]:
        """Yield the weight and, where there is one, the bias."""
        yield "weight", (self.units, shape[0]), "float32"
        if context.bias:
            yield "bias", (self.units,), "float32"

    def multiplications(self, shape: Shape) -> int:
        """Return the multiplications for one image."""
        return self.units * shape[0]


LAYERS: dict[str, type[Layer]] = {
    "conv": Conv,
    "max-pool": MaxPool,
    "avg-pool": AvgPool,
    "norm": Norm,
    "activation": Activation,
    "dropout": Dropout,
    "flatten": Flatten,
    "linear": Linear,
}
"""The layers by the first word of their texts."""


def _image(shape: Shape) -> Shape:
    if len(shape) != 3:
        raise LayerError(
            f"it takes channels x height x width, not {shape_text(shape)}; put it before 'flatten'"
        )
    return shape


def _padded(shape: Shape, padding: Pair) -> int:
    """Return the numbers of an image with padding on each side."""
    channels, height, width = shape
    return channels * (height + 2 * padding[0]) * (width + 2 * padding[1])


def _windows(
    size: Sequence[int], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> Iterator[int]:
    """Yield how many windows there are along each side."""
    for length, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        if reach > length + 2 * p:
            raise LayerError(f"its window of {reach} is wider than the {length + 2 * p} there are")
        yield (length + 2 * p - reach) // s + 1


def _pair_text(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else "x".join(map(str, pair))


def shape_text(shape: Shape) -> str:
    """Return a shape in words, as ``24 x 10 x 10`` or ``128 features``."""
    return count_text(shape[0], "feature") if len(shape) == 1 else " x ".join(map(str, shape))


# ---- from texts to layers ----------------------------------------------------------------------------------


def parsed(text: str) -> Layer:
    """Return the layer that a text describes.

    Raises
    ------
    LayerError
        If there is no such layer, or one of its words cannot be used; the nearest name is suggested.

    Examples
    --------
    >>> parsed("conv 16 5x5 stride 2").short
    'c5-16 s2'
    >>> parsed("conv 16 5x5 strid 2")
    Traceback (most recent call last):
    tinygrad_mnist.training.recipe.layers.LayerError: conv has no 'strid'; did you mean stride? ...
    """
    name, *words = text.split() or [""]
    if name not in LAYERS:
        raise LayerError(f"there is no layer {name!r}{_nearest(name, LAYERS)}")
    kind = LAYERS[name]
    required = {one.name for one in fields(kind) if one.default is MISSING}
    values: dict[str, Any] = {}
    for size, read in kind.sizes.items():
        if words and words[0] not in kind.options:
            values[size] = _value(name, size, read, words.pop(0))
        elif size in required:
            raise LayerError(f"the {size} of {name} is missing")
    while words:
        option = words.pop(0)
        if option not in kind.options:
            raise LayerError(f"{name} has no {option!r}{_nearest(option, kind.options)}")
        if option in values or not words:
            raise LayerError(f"the {option} of {name} is {'given twice' if option in values else 'missing'}")
        values[option] = _value(name, option, kind.options[option], words.pop(0))
    return kind(**values)


def _value(layer: str, name: str, read: Callable[[str], Any], word: str) -> Any:
    try:
        return read(word)
    except LayerError as error:
        raise LayerError(f"the {name} of {layer} must be {error}") from None


def _nearest(word: str, names: Iterable[str]) -> str:
    """Return the end of the sentence about a name that is none of some."""
    known = list(names)
    if not known:
        return ", nor anything else besides its name and sizes"
    near, every = difflib.get_close_matches(word.lower(), known, n=1), ", ".join(known)
    return f"; did you mean {near[0]}? (all: {every})" if near else f"; it may be {every}"


class Step(NamedTuple):
    """A layer with its text, the shape before it, and whether it has a bias."""

    text: str
    layer: Layer
    shape: Shape
    bias: bool


def followed(texts: Sequence[str], image_shape: Pair, classes: int, norm: str) -> list[Step]:
    """Return the layers of a network with the shapes that they get; the last leads to the classes.

    A layer that a batch norm follows, directly or behind a pool, has no bias: the norm subtracts the mean of
    each channel, and the bias with it, and has its own. Another norm has a mean over several channels, whose
    biases differ; what dropout drops, and the zeros around a mean, are without the bias.

    Parameters
    ----------
    texts : sequence of str
        The layers, without the last.
    image_shape : tuple of int
        Height and width of the images, which have one channel.
    classes : int
        The outputs.
    norm : str
        A name in `NORMS`.

    Raises
    ------
    LayerError
        If a layer does not fit what it gets: which, and the sizes.

    Examples
    --------
    >>> texts = "conv 16 5x5 stride 2", "max-pool 2", "flatten"
    >>> [step.shape for step in followed(texts, (24, 24), 10, norm="none")]
    [(1, 24, 24), (16, 10, 10), (16, 5, 5), (400,)]
    >>> followed(("conv 16 5x5", "conv 16 7x7"), (8, 8), 10, norm="none")
    Traceback (most recent call last):
    tinygrad_mnist.training.recipe.layers.LayerError: layer 2, 'conv 16 7x7', does not fit ...
    """
    whole = [*texts, f"linear {classes}"]
    layers = [parsed(text) for text in whole]
    shape: Shape = (1, *image_shape)
    steps = []
    for index, (text, layer, bias) in enumerate(zip(whole, layers, _biases(layers, norm), strict=True)):
        steps.append(Step(text, layer, shape, bias))
        try:
            shape = layer.output(shape)
        except LayerError as error:
            which = f"layer {index + 1}, {text!r}," if index < len(texts) else f"the last layer, {text!r},"
            raise LayerError(f"{which} does not fit the {shape_text(shape)} that it gets: {error}") from None
    return steps


def _biases(layers: Sequence[Layer], norm: str) -> list[bool]:
    """Return whether each layer, if it can, has a bias: unless a norm that takes it away follows."""
    biases, has_bias = [], True
    for layer in reversed(layers):
        biases.append(has_bias)
        if isinstance(layer, Norm):
            has_bias = not NORMS[norm].removes_bias
        elif not layer.keeps_constants:
            has_bias = True
    return biases[::-1]
