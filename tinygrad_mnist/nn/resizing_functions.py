"""Images in another size, as a function with PyTorch's arguments; part of `nn.functional`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.nn.image_options import Size, pair
from tinygrad_mnist.nn.inputs import TensorLike, as_input
from tinygrad_mnist.nn.pooling_functions import adaptive_avg_pool2d
from tinygrad_mnist.ops import resizing


def interpolate(
    input: TensorLike,
    size: Size | None = None,
    scale_factor: float | tuple[float, float] | list[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """Return images in another size.

    Parameters
    ----------
    input : Tensor or ndarray
        Shape (N, C, H, W).
    size : int or pair of int, optional
        The new height and width.
    scale_factor : float or pair of float, optional
        Or the factors by which height and width become larger; the size is rounded down.
    mode : str
        ``nearest`` (the pixel above and to the left), ``nearest-exact``, ``bilinear``, or ``area``, which is
        `adaptive_avg_pool2d`.
    align_corners : bool, optional
        Of ``bilinear``, whether the centres of the corner pixels stay in their places; by default the edges
        of the images do.
    recompute_scale_factor : bool, optional
        Whether the places of pixels follow from both sizes, as with ``size``, and not from ``scale_factor``.

    Returns
    -------
    Tensor
        Shape (N, C, H', W').

    Raises
    ------
    TypeError, ValueError
        If the mode is another, or shape or options do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[[1.0, 3.0]]]])
    >>> interpolate(image, scale_factor=2)
    array([[[[1., 1., 3., 3.],
             [1., 1., 3., 3.]]]])
    >>> interpolate(image, size=(1, 4), mode="bilinear")
    array([[[[1. , 1.5, 2.5, 3. ]]]])
    """
    input = as_input(input)
    check_interpolation(size, scale_factor, mode, align_corners, recompute_scale_factor)
    if input.ndim != 4:
        raise ValueError(f"input of shape {input.shape} was given; expected (N, C, H, W)")
    scale: resizing.Scale = (None, None)
    if scale_factor is None:
        after = pair("size", size)
    else:
        factors = _factors(scale_factor)
        after = (math.floor(input.shape[2] * factors[0]), math.floor(input.shape[3] * factors[1]))
        if not recompute_scale_factor:
            scale = (1 / factors[0], 1 / factors[1])
    if mode == "area":
        return adaptive_avg_pool2d(input, after)
    out: Tensor = resizing.interpolate2d(
        input, size=after, mode=mode, align_corners=bool(align_corners), scale=scale
    )
    return out


def check_interpolation(
    size: Any, scale_factor: Any, mode: str, align_corners: bool | None, recompute_scale_factor: bool | None
) -> None:
    """Raise unless these are options of `interpolate`, whatever the images are."""
    if mode not in resizing.MODES:
        raise ValueError(f"mode={mode!r} was given; expected one of {', '.join(resizing.MODES)}")
    if align_corners is not None and mode != "bilinear":
        raise ValueError(f"align_corners was given with mode={mode!r}; it belongs to 'bilinear'")
    if (size is None) == (scale_factor is None):
        raise ValueError("expected either size or scale_factor, and not both")
    if scale_factor is not None:
        _factors(scale_factor)
    elif recompute_scale_factor:
        raise ValueError("recompute_scale_factor was given without a scale_factor; leave it out")
    else:
        pair("size", size)


def _factors(scale_factor: Any) -> tuple[float, float]:
    """Return the factors of height and width."""
    both = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
    if len(both) != 2 or not all(isinstance(one, (int, float, np.number)) for one in both):
        raise TypeError(f"scale_factor={scale_factor!r} was given; expected a number, or a pair of them")
    if not all(one > 0 and math.isfinite(one) for one in both):
        raise ValueError(f"scale_factor={scale_factor!r} was given; expected positive numbers")
    return float(both[0]), float(both[1])
