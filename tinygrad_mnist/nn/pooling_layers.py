"""The layers that change the size of images: MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Upsample."""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.nn.image_options import Padding, Size, pair
from tinygrad_mnist.nn.inputs import TensorLike
from tinygrad_mnist.nn.module import Module
from tinygrad_mnist.nn.pooling_functions import check_divisor, pool_options
from tinygrad_mnist.nn.resizing_functions import check_interpolation


class MaxPool2d(Module):
    """Max pooling: the largest value of each window of each channel.

    Where several values of a window are the largest, each gets an even share of the gradient.

    Parameters
    ----------
    kernel_size : int or (int, int)
        The height and the width of a window.
    stride : int or (int, int), optional
        The pixels from one window to the next; by default the size of a window, so that none overlap.
    padding : int or (int, int)
        The pixels that are added around an image, at most half of the window; they are never the largest.
    dilation : int or (int, int)
        The pixels from one element of a window to the next.
    return_indices : bool
        False; positions of the largest values are not returned here.
    ceil_mode : bool
        Whether a last window may reach beyond the edge of the image.

    Raises
    ------
    TypeError
        If an option is of another kind.
    ValueError
        If a number is out of its range; when called, if the input is not (N, C, H, W) or smaller than a
        window.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if return_indices:
            raise TypeError("MaxPool2d was asked for with return_indices=True; only the values are returned")
        pair("dilation", dilation)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        pool_options(self.kernel_size, self.stride, padding)
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, input: TensorLike) -> Tensor:
        """Return the largest value of each window."""
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class AvgPool2d(Module):
    """Average pooling: the mean of each window of each channel.

    Parameters
    ----------
    kernel_size : int or (int, int)
        The height and the width of a window.
    stride : int or (int, int), optional
        The pixels from one window to the next; by default the size of a window, so that none overlap.
    padding : int or (int, int)
        The zeros that are added around an image, at most half of the window.
    ceil_mode : bool
        Whether a last window may reach beyond the edge of the image; what is there is not counted.
    count_include_pad : bool
        Whether the padding counts in the mean.
    divisor_override : int, optional
        A number to divide the sum of each window by, instead of the count.

    Raises
    ------
    TypeError
        If an option is of another kind.
    ValueError
        If a number is out of its range; when called, if the input is not (N, C, H, W) or smaller than a
        window.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        pool_options(self.kernel_size, self.stride, padding)
        check_divisor(divisor_override)
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: TensorLike) -> Tensor:
        """Return the mean of each window."""
        return F.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """Average pooling to a given size, whatever the size of the images is.

    Parameters
    ----------
    output_size : int, None or (int or None, int or None)
        The height and the width of the output; None for that of the input.

    Raises
    ------
    TypeError
        If the size is of another kind.
    ValueError
        If a number is not positive; when called, if the input is not (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveAvgPool2d(1)(np.arange(32.0).reshape(1, 2, 4, 4)).ravel()
    array([ 7.5, 23.5])
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        if isinstance(output_size, (tuple, list)):
            pair("output_size", tuple(1 if length is None else length for length in output_size))
        elif output_size is not None:
            pair("output_size", output_size)
        self.output_size = output_size

    def forward(self, input: TensorLike) -> Tensor:
        """Return the means."""
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        """Return the argument, as ``repr`` shows it."""
        return f"output_size={self.output_size}"


class Upsample(Module):
    """Images made larger (or smaller), by repeating pixels or by interpolating between them.

    Parameters
    ----------
    size : int or (int, int), optional
        The height and the width of the output.
    scale_factor : float or (float, float), optional
        What height and width are multiplied by; either this or ``size`` is given.
    mode : str
        "nearest", "nearest-exact", "bilinear" or "area".
    align_corners : bool, optional
        For "bilinear": whether the pixels in the corners stay where they are. By default the edges of the
        images do.
    recompute_scale_factor : bool, optional
        Whether the places of pixels follow from both sizes, as with ``size``, and not from ``scale_factor``.

    Raises
    ------
    TypeError
        If size or factor are of another kind.
    ValueError
        If both or none of size and factor are given, or an option does not fit; when called, if the input is
        not (N, C, H, W).

    Examples
    --------
    >>> import numpy as np
    >>> Upsample(scale_factor=2)(np.array([[[[1.0, 2.0]]]]))
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        check_interpolation(size, scale_factor, mode, align_corners, recompute_scale_factor)
        self.size = size
        self.scale_factor: Any = scale_factor  # floats, as in PyTorch
        if isinstance(scale_factor, (tuple, list)):
            self.scale_factor = tuple(map(float, scale_factor))
        elif scale_factor is not None:
            self.scale_factor = float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: TensorLike) -> Tensor:
        """Return the images in their new size."""
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        """Return the arguments, as ``repr`` shows them."""
        name = "size" if self.scale_factor is None else "scale_factor"
        return f"{name}={getattr(self, name)!r}, mode={self.mode!r}"
