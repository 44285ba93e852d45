"""Convolutions of compiled code: what one is.

An instruction ``convolution`` makes of pictures ``(N, H, W, C)`` and filters ``(kh, kw, C / groups, O)`` the
pictures ``(N, H', W', O)``; ``convolution_by_input`` and ``convolution_by_weight`` are its transposes, which
carry a gradient back. `direct` writes the first two as code, `filters` the third: no picture is unfolded
into a matrix first, as the blocks of such a matrix are read from the picture where they lie.

Measured in float32 on one core with AVX-512 (Sapphire Rapids, PyTorch 2.13 with oneDNN, channels last,
neighbours busy), in GFLOP/s; a 5x5 kernel from 1 channel to 16 is ``5x5 1-16``, ``/2`` a stride of 2. The
registers alone multiply 218 GFLOP/s there. The channels of 20, 24 or 40 do not fill their vectors:

======================  ===  ===========  ===========  ===========
                             forward      by input     by weight
----------------------  ---  -----------  -----------  -----------
kernel, size              N  here oneDNN  here oneDNN  here oneDNN
======================  ===  ===========  ===========  ===========
5x5 1-16, 28 x 28       128  141   24                  142  100
5x5 16-32, 12 x 12      128  192  133     192   93     171  128
5x5 1-16 /2, 24 x 24     64  131   26                  119   39
3x3 16-32, 10 x 10       64  164   90     174   70     185  123
5x5 1-24 /2, 24 x 24     64  125   39                  103   45
3x3 24-48, 10 x 10       64  190  122     140   77     180  123
5x5 1-20, 24 x 24        64   95   40                   91   54
5x5 20-40, 10 x 10       64  154  103     122   61     149   96
3x3 48-48, 10 x 10       64  179  136     177   91     171  128
3x3 32-32, 8 x 8 (1)     64  193  129     194  124     171  132
3x3 32-64, 4 x 4 (1)     64  228  123     225  114     151   97
======================  ===  ===========  ===========  ===========

(1): padded by one pixel; multiplications by padding are counted. Three vectors of channels in a block, whose
weights then come from the second cache, were slower than one vector of three times as many pixels. Two pixels
in three vectors, where 24 channels leave half a vector empty, were not tried: by count, mixing the two costs
most of what it saves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from tinygrad_mnist.compiler.program import Instruction

CONVOLUTIONS: Final = frozenset(("convolution", "convolution_by_input", "convolution_by_weight"))
"""The instructions that are convolutions."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Convolution:
    """The sizes of a convolution, or of a transpose of one; of pairs, the first number is that of rows.

    Attributes
    ----------
    kind : str
        ``"convolution"``, ``"convolution_by_input"`` or ``"convolution_by_weight"``.
    images : int
        The number of pictures.
    size, out : (int, int)
        The height and width of a picture that goes into the convolution, and of one that comes out.
    channels, out_channels : int
        The channels of the two.
    kernel, stride, dilation : (int, int)
        The size of a filter, and the pixels from one place of it to the next, and from one element to the
        next.
    padding : ((int, int), (int, int))
        The pixels that are added above and below, and to the left and right.
    groups : int
        The parts into which the channels are divided.
    itemsize : int
        The bytes of an element: 4 of float32, or 8 of float64.
    parts : int
        Of a gradient of filters, the sums that it is made in: the result has one more axis, the first.
    """

    kind: str
    images: int
    size: Pair
    out: Pair
    channels: int
    out_channels: int
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int
    itemsize: int
    parts: int = 1

    @property
    def real(self) -> Literal["float", "double"]:
        """LLVM's type of an element."""
        return "float" if self.itemsize == 4 else "double"

    @property
    def is_depthwise(self) -> bool:
        """True if each channel goes through a filter of its own: a vector of them goes at a time."""
        return self.groups > 1 and self.channels == self.out_channels == self.groups

    @property
    def multiplications(self) -> int:
        """The multiplications that it takes, those of the padding included."""
        pixels = math.prod((self.images, *self.out, *self.kernel))
        return pixels * self.channels * self.out_channels // self.groups


def described(instruction: Instruction) -> Convolution | None:
    """Return the sizes of a convolution that code is written for; None of one that NumPy has to run.

    Parameters
    ----------
    instruction : Instruction
        One of `CONVOLUTIONS`.
    """
    first, second = instruction.inputs
    (result,) = instruction.outputs
    values = (first, second, result)
    if any(value.dtype != result.dtype or value.size == 0 for value in values):
        return None
    if result.dtype not in (np.dtype("f4"), np.dtype("f8")):
        return None
    static: Any = instruction.static
    parts = 1
    if instruction.name == "convolution":
        image, out, kernel = first, result, second.shape[:2]
    elif instruction.name == "convolution_by_input":
        image, out, kernel = result, first, second.shape[:2]
    else:
        image, out, kernel = first, second, result.shape[-4:-2]
        parts = math.prod(result.shape[:-4])
    return Convolution(
        instruction.name,
        image.shape[0],
        (image.shape[1], image.shape[2]),
        (out.shape[1], out.shape[2]),
        image.shape[3],
        out.shape[3],
        (kernel[0], kernel[1]),
        static["stride"],
        static["padding"],
        static["dilation"],
        static["groups"],
        result.dtype.itemsize,
        parts,
    )
