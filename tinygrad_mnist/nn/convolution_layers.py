"""The convolutions as layers: Conv1d, Conv2d, ConvTranspose2d.

A wrong shape is explained here, in the words of the layer: what came, what was expected, and the size of the
output. A call that succeeds pays nothing for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn import init
from tinygrad_mnist.nn.image_options import sides
from tinygrad_mnist.nn.inputs import TensorLike, as_input, require_integers
from tinygrad_mnist.nn.module import Module, Parameter

Lengths = int | tuple[int, ...]
"""One number for all axes of an image, or one for each."""

Padding = str | int | tuple[int, ...] | tuple[tuple[int, int], ...]
"""Pixels of padding: one number, one for each axis, (before, behind) for each axis, "same" or "valid"."""

PADDING_MODES: Final = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What the padding is filled with, by PyTorch's name, and the mode of ``np.pad`` that does it."""


class _Convolution(Module):
    """The base: the arguments, the parameters and their initial values, the errors, and the text of ``repr``.

    Subclasses say the names of the axes of their images in ``_axes``.
    """

    _axes: ClassVar[tuple[str, ...]]
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths,
        padding: Padding,
        output_padding: Lengths,
        dilation: Lengths,
        groups: int,
        bias: bool,
        padding_mode: str,
        dtype: DTypeLike,
        rng: init.RNG,
    ) -> None:
        super().__init__()
        self._call = call = f"{type(self).__name__}({in_channels!r}, {out_channels!r}, {kernel_size!r})"
        require_integers(call, in_channels, out_channels)
        if in_channels < 1 or out_channels < 1:
            raise ValueError(f"{call} was asked for; expected positive numbers of channels")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = self._lengths("kernel_size", kernel_size, 1)
        self.stride = self._lengths("stride", stride, 1)
        self.dilation = self._lengths("dilation", dilation, 1)
        self.padding = self._checked_padding(padding)
        self.output_padding = self._lengths("output_padding", output_padding, 0)
        require_integers(f"{call} with groups={groups!r}", groups)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{call} was asked for with groups={groups}; expected a number that divides the channels in "
                "and the channels out"
            )
        self.groups = groups
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"{call} was asked for with padding_mode={padding_mode!r}; expected one of {[*PADDING_MODES]}"
            )
        self.padding_mode = padding_mode
        self.weight = Parameter(np.empty(self._weight_shape(), dtype))
        self.register_parameter("bias", Parameter(np.empty(out_channels, dtype)) if bias else None)
        self.reset_parameters(rng)

    def _lengths(self, name: str, value: Any, least: int) -> Any:
        """Return an option as a tuple of one integer for each axis; raise for anything else."""
        axes, call = len(self._axes), f"{self._call} with {name}={value!r}"
        lengths = (
            tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,) * axes
        )
        require_integers(call, *lengths)
        if len(lengths) != axes or min(lengths) < least:
            kind = "positive integer" if least else "integer from 0 on"
            either = f"one {kind}" if axes == 1 else f"one {kind}, or {axes} of them"
            raise ValueError(f"{call} was asked for; expected {either}")
        return lengths

    def _checked_padding(self, padding: Any) -> Any:
        """Return a padding as its word, an integer for each axis, or (before, behind) for each axis."""
        if isinstance(padding, str):
            self._sides_of(padding)  # raises for another word, and for "same" with a stride
            return padding
        if not isinstance(padding, Iterable) or all(isinstance(side, int) for side in padding):
            return self._lengths("padding", padding, 0)
        call = f"{self._call} with padding={padding!r}"
        if not all(isinstance(both, Iterable) for both in padding):
            raise TypeError(f"{call} was asked for; expected integers, or pairs of them (before, behind)")
        pairs = tuple(map(tuple, padding))
        require_integers(call, *chain(*pairs))
        if [len(both) for both in pairs] != [2] * len(self._axes) or min(chain(*pairs)) < 0:
            axes = " and ".join(self._axes)
            raise ValueError(f"{call} was asked for; expected (before, behind), from 0 on, for {axes}")
        return pairs

    def _sides_of(self, word: str) -> tuple[tuple[int, int], ...]:
        """Return the padding that a word stands for, before and behind each axis."""
        axes = len(self._axes)
        first: Any = (1,) * (2 - axes)  # a sequence is an image of one row
        return sides(word, first + self.kernel_size, first + self.stride, first + self.dilation)[-axes:]

    def _weight_shape(self) -> tuple[int, ...]:
        """Return the shape that the weight is made with."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def reset_parameters(self, rng: init.RNG = None) -> None:
        """Draw new initial values of the parameters."""
        rng = init.generator(rng)
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), rng=rng)
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound, rng)

    def _sides(self) -> tuple[tuple[int, int], ...]:
        """Return the pixels of padding before and behind each axis of an image."""
        if isinstance(self.padding, str):
            return self._sides_of(self.padding)
        return tuple(side if isinstance(side, tuple) else (side, side) for side in self.padding)

    def _output_lengths(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of the output for images of a size; below 1 where the kernel does not fit."""
        raise NotImplementedError

    def _wrong_shape_message(self, shape: tuple[int, ...]) -> str | None:
        """Return what does not fit, the input or a weight or bias that was replaced; None if all does."""
        weight, own, channels = self.weight.shape, self._weight_shape(), self.in_channels
        if weight != own:
            return f"weight of shape {weight} is here; the layer was made for one of shape {own}"
        if self.bias is not None and (bias := np.shape(self.bias)) != (self.out_channels,):
            return f"bias of shape {bias} is here; expected {(self.out_channels,)}"
        if len(shape) == len(own) - 1 and shape[0] == channels:
            shape = (1, *shape)  # one image without the axis of the batch
        came, axes = f"input of shape {shape}", ", ".join(self._axes)
        expected = f"expected (N, {channels}, {axes})"
        if len(shape) != len(own):
            missing = " The axis of the channels is missing: write x[:, None]." if channels == 1 else ""
            return f"{came} has {len(shape)} axes; {expected}.{missing}".removesuffix(".")
        if shape[1] != channels:
            order = (0, len(own) - 1, *range(1, len(own) - 1))
            moved = f". Channels come before {axes}: write x.transpose{order}"
            return f"{came} has {shape[1]} channels; {expected}{moved if shape[-1] == channels else ''}"
        size = self._output_lengths(shape[2:])
        if min(size) < 1:
            return (
                f"{came} is too small for kernel_size={self.kernel_size}: the output would be "
                f"{(shape[0], self.out_channels, *size)}; expected larger images, a smaller kernel or more "
                "padding"
            )
        return None

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        axes = len(self._axes)
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        usual: dict[str, Any] = {
            "padding": (0,) * axes, "dilation": (1,) * axes, "output_padding": (0,) * axes, "groups": 1,
        }  # fmt: skip
        text += "".join(f", {k}={getattr(self, k)}" for k, v in usual.items() if getattr(self, k) != v)
        text += ", bias=False" if self.bias is None else ""
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _PlainConvolution(_Convolution):
    """The base of the convolutions that are not transposed."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Padding = 0,
        dilation: Lengths = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: DTypeLike = np.float32,
        rng: init.RNG = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, bias, padding_mode,
            dtype, rng,
        )  # fmt: skip

    def forward(self, input: TensorLike) -> Tensor:
        """Return the convolved images, with ``out_channels`` channels."""
        try:
            return self._convolved(input)
        except ValueError as error:
            if message := self._wrong_shape_message(as_input(input).shape):
                raise ValueError(message) from error
            raise

    def _convolved(self, input: TensorLike) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            mode: Any = PADDING_MODES[self.padding_mode]
            images = as_input(input)
            widths = ((0, 0),) * (images.ndim - len(self._axes))
            input, padding = np.pad(images, (*widths, *self._sides()), mode), 0
        function = F.conv1d if len(self._axes) == 1 else F.conv2d
        return function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _output_lengths(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(
            (length + sum(around) - d * (k - 1) - 1) // s + 1
            for length, around, k, s, d in zip(
                lengths, self._sides(), self.kernel_size, self.stride, self.dilation, strict=True
            )
        )


class Conv2d(_PlainConvolution):
    """A convolution of images: each output channel is a weighted sum over a window of all input channels.

    Parameters
    ----------
    in_channels, out_channels : int
        The numbers of channels.
    kernel_size : int or (int, int)
        The height and the width of a window.
    stride : int or (int, int)
        The pixels from one window to the next, down and across.
    padding : int, (int, int), ((int, int), (int, int)) or str
        The pixels that are added around an image: everywhere; above and below, left and right; ((top,
        bottom), (left, right)); "same", so that the output has the size of the input; or "valid", none.
    dilation : int or (int, int)
        The pixels from one weight to the next.
    groups : int
        The number of groups of channels that do not see each other; it divides both numbers of channels.
    bias : bool
        Whether a bias is added.
    padding_mode : str
        What the padding holds: "zeros", "reflect" for the image mirrored at its edge, "replicate" for the
        pixel at the edge, or "circular" for the image repeated.
    dtype : dtype
        The dtype of the parameters.
    rng : Generator or int, optional
        The source of the initial values.

    Attributes
    ----------
    weight : Parameter
        Shape (out_channels, in_channels / groups, kernel height, kernel width), drawn from U(-k, k) with k =
        1 / sqrt(the number of products in one output).
    bias : Parameter or None
        Shape (out_channels,), drawn from the same distribution.

    Raises
    ------
    TypeError
        If a number is no integer.
    ValueError
        If a number is out of its range or a word is unknown; when called, if the input is not (N,
        in_channels, H, W) or too small for the kernel.

    References
    ----------
    LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition". The
    initial values are those of `Linear`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(1, 16, 5, rng=0)
    >>> layer
    Conv2d(1, 16, kernel_size=(5, 5), stride=(1, 1))  # weight (16, 1, 5, 5), bias (16,): 416 parameters
    >>> layer(np.ones((8, 1, 28, 28), np.float32)).shape
    (8, 16, 24, 24)
    >>> layer(np.ones((8, 1, 3, 3), np.float32))
    Traceback (most recent call last):
    ...
    ValueError: Conv2d: input of shape (8, 1, 3, 3) is too small for kernel_size=(5, 5): the output would be
    (8, 16, -1, -1); expected larger images, a smaller kernel or more padding
    """

    _axes: ClassVar[tuple[str, ...]] = ("H", "W")


class Conv1d(_PlainConvolution):
    """A convolution of sequences: each output channel is a weighted sum over a window of all input channels.

    The parameters, attributes and errors are those of `Conv2d`, with one axis in the place of two: the input
    is (N, in_channels, L), the weight (out_channels, in_channels / groups, kernel length), and one integer,
    or a tuple of one, says each length.

    Examples
    --------
    >>> import numpy as np
    >>> Conv1d(2, 3, 5, padding="same", rng=0)(np.ones((8, 2, 100), np.float32)).shape
    (8, 3, 100)
    """

    _axes: ClassVar[tuple[str, ...]] = ("L",)


class ConvTranspose2d(_Convolution):
    """A transposed convolution: each input pixel adds its multiple of the weights to a window of the output.

    With stride 2 it makes images twice as large. It is the transpose, not the inverse, of the `Conv2d` with
    the same options.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride
        See `Conv2d`.
    padding : int, (int, int) or ((int, int), (int, int))
        The pixels that are cut off around the output.
    output_padding : int or (int, int)
        The pixels that are added below and at the right, less than the stride: several sizes of images give
        an output of one size in a convolution, and this chooses among them.
    groups, bias
        See `Conv2d`.
    dilation : int or (int, int)
        See `Conv2d`.
    padding_mode : str
        "zeros"; there is no other.
    dtype, rng
        See `Conv2d`.

    Attributes
    ----------
    weight : Parameter
        Shape (in_channels, out_channels / groups, kernel height, kernel width), as in PyTorch.
    bias : Parameter or None
        Shape (out_channels,).

    Raises
    ------
    TypeError
        If a number is no integer.
    ValueError
        If a number is out of its range; when called, if the input is not (N, in_channels, H, W), or the
        output cannot have the size that is asked for.

    References
    ----------
    Dumoulin & Visin (2016), "A guide to convolution arithmetic for deep learning", chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2d(16, 1, 2, stride=2, rng=0)
    >>> layer(np.ones((8, 16, 14, 14), np.float32)).shape
    (8, 1, 28, 28)
    """

    _axes: ClassVar[tuple[str, ...]] = ("H", "W")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Lengths,
        stride: Lengths = 1,
        padding: Padding = 0,
        output_padding: Lengths = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Lengths = 1,
        padding_mode: str = "zeros",
        *,
        dtype: DTypeLike = np.float32,
        rng: init.RNG = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, bias,
            padding_mode, dtype, rng,
        )  # fmt: skip
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            option = (
                f"padding_mode={padding_mode!r}" if self.padding_mode != "zeros" else f"padding={padding!r}"
            )
            raise ValueError(
                f"{self._call} was asked for with {option}; a transposed convolution takes only numbers of "
                "pixels, and cuts them off"
            )

    def _weight_shape(self) -> tuple[int, ...]:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, input: TensorLike, output_size: Lengths | None = None) -> Tensor:
        """Return the images with ``out_channels`` channels.

        Parameters
        ----------
        input : Tensor or ndarray
            Shape (N, in_channels, H, W).
        output_size : int or (int, int), optional
            The size that the output is to have; it is in the place of ``output_padding``.
        """
        try:
            added = self.output_padding if output_size is None else self._chosen(input, output_size)
            return F.conv_transpose2d(
                input, self.weight, self.bias, self.stride, self.padding, added, self.groups, self.dilation
            )
        except ValueError as error:
            if message := self._wrong_shape_message(as_input(input).shape):
                raise ValueError(message) from error
            raise

    def _chosen(self, input: TensorLike, output_size: Lengths) -> Any:
        """Return the padding of the output that gives it a size."""
        wanted = self._lengths("output_size", output_size, 1)
        least = self._full_lengths(as_input(input).shape[2:])
        added = tuple(want - length for want, length in zip(wanted, least, strict=True))
        if any(not 0 <= more < stride for more, stride in zip(added, self.stride, strict=True)):
            most = tuple(length + stride - 1 for length, stride in zip(least, self.stride, strict=True))
            raise ValueError(
                f"output_size={wanted} was given for input of shape {as_input(input).shape}; expected from "
                f"{least} to {most}"
            )
        return added

    def _full_lengths(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of the output without output padding."""
        return tuple(
            (length - 1) * s - sum(around) + d * (k - 1) + 1
            for length, around, k, s, d in zip(
                lengths, self._sides(), self.kernel_size, self.stride, self.dilation, strict=True
            )
        )

    def _output_lengths(self, lengths: tuple[int, ...]) -> tuple[int, ...]:
        full = self._full_lengths(lengths)
        return tuple(length + more for length, more in zip(full, self.output_padding, strict=True))
