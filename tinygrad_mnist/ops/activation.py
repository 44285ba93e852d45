"""Activations: relu, leaky_relu, gelu; sigmoid and softplus are in elementwise, softmax in softmax."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_mnist.engine.dtypes import has_nan, is_float
from tinygrad_mnist.engine.op import Domain, Sample, elementwise, fused
from tinygrad_mnist.ops.elementwise import floating, sigmoid
from tinygrad_mnist.ops.normal_distribution import DENSITY_AT_0, FARTHEST, gelu_derivative, mills_and_bell

KINKED = Domain(kinks=(0.0,))

# Numbers of elements between which relu compares with an array of zeros: below, its view costs more than it
# saves; above, the zeros would push the numbers out of the cache.
_FEWEST, _MOST = 1 << 10, 1 << 18


@lru_cache(maxsize=4)
def _zeros(dtype: Any) -> Any:
    zeros = np.zeros(_MOST, dtype)
    zeros.flags.writeable = False
    return zeros


@lru_cache(maxsize=64)
def _zeros_of_shape(dtype: Any, shape: tuple[int, ...]) -> Any:
    return _zeros(dtype)[: math.prod(shape)].reshape(shape)


def rectified(x: Any, out: Any = None) -> Any:
    """Return ``max(x, 0)`` of each element.

    Measured: NumPy's maximum of two arrays takes a third of the time of that of an array and the number 0.
    """
    x = np.asarray(x)
    if not _FEWEST <= x.size <= _MOST or not is_float(x) or not x.flags.c_contiguous:
        return np.maximum(x, 0, out=out)
    return np.maximum(x, _zeros_of_shape(x.dtype, x.shape), out=out)


BITS = {"f": np.dtype("u4"), "d": np.dtype("u8")}
"""Integers as wide as floats, by the character of these: a dtype as the key takes longer to look up."""


def relu_joint(g: Any, needed: Any, out: Any, saved: None, x: Any) -> tuple[Any, ...]:
    """Return ``g`` where the result is not 0, 0 elsewhere, and NaN where the result is NaN.

    The bits of ``g`` are multiplied by 0 or 1, as integers: of floats, 0 times inf would be NaN. The sign of
    the result's own bits is that 0 or 1, as `rectified` gives no -0 in these dtypes. Measured on (256, 512)
    float32 with random signs: this takes 42 µs, np.where 670.
    """
    bits = BITS.get(g.dtype.char)
    if bits is None:
        part = np.where(out != 0, g, 0)
    else:
        part = np.sign(out.view(bits))
        part *= g.view(bits)
        part = part.view(g.dtype)
    if has_nan(out):
        part = np.where(np.isnan(out), out, part)
    return (part,)


def _rectifier_forward(x: Any, negative_slope: float) -> Any:
    return np.where(x > 0, x, np.where(x <= 0, negative_slope * x if negative_slope else 0, x))


def _rectifier_rule(g: Any, out: Any, x: Any, negative_slope: float) -> Any:
    below = negative_slope * g if negative_slope else 0
    return np.where(x > 0, g, np.where(x <= 0, below, np.nan).astype(g.dtype))


rectifier = elementwise(
    _rectifier_forward,
    _rectifier_rule,
    name="rectifier",
    chooses=True,
    domain=KINKED,
    samples=tuple(
        Sample((shape,), {"negative_slope": slope}) for shape in ((), (2, 3)) for slope in (0.0, 0.3)
    ),
)
"""The plain formula of relu and leaky_relu: ``x`` where it is positive, and else a multiple of it, or 0."""


relu = fused(
    lambda x: (rectified(x), None),
    relu_joint,
    lambda x: rectifier(x, negative_slope=0),
    name="relu",
    domain=KINKED,
    samples="broadcast",
)


def _leaky_relu_joint(
    g: Any, needed: Any, out: Any, saved: Any, x: Any, negative_slope: float
) -> tuple[Any, ...]:
    part = (x > 0).astype(g.dtype)  # then 1 where x is positive and the slope elsewhere, all in one array
    part *= 1 - negative_slope
    part += negative_slope
    part *= g
    if has_nan(out):
        part = np.where(np.isnan(out), out, part)
    return (part,)


def _leaky_relu_forward(x: Any, negative_slope: float) -> tuple[Any, None]:
    out = np.asarray(x * negative_slope)  # NumPy makes a scalar of a 0-d result, and copyto needs an array
    if 0 < negative_slope <= 1:  # measured: a tenth of the time of copyto
        np.maximum(x, out, out=out)
    else:
        np.copyto(out, x, where=x > 0)
    return out, None


leaky_relu = fused(
    _leaky_relu_forward,
    _leaky_relu_joint,
    lambda x, negative_slope: rectifier(x, negative_slope=negative_slope),
    name="leaky_relu",
    domain=KINKED,
    samples=tuple(
        Sample((shape,), {"negative_slope": slope}) for shape in ((), (2, 3)) for slope in (0.01, 0.3)
    ),
)

# ---- gelu ------------------------------------------------------------------------------------------------


def _gelu_forward(x: Any, approximate: str) -> tuple[Any, Any]:
    """Return x times the normal distribution function, or its approximation by tanh, and the derivative.

    Hendrycks & Gimpel (2016), "Gaussian error linear units". The approximation is (1 + tanh(z)) / 2, which is
    the sigmoid of 2z. Both are computed for a = -|x|, where the function is small and none of its digits may
    be lost: f(x) is max(x, 0) + f(a), and f'(x) is 1 - f'(a) where x is positive.
    """
    x = np.asarray(floating(x))
    a = np.asarray(np.abs(x))
    np.minimum(a, FARTHEST, out=a)
    if approximate == "none":
        tail, bell = mills_and_bell(a)
        slope = tail - a * DENSITY_AT_0
        tail *= bell
        slope *= bell
    elif approximate == "tanh":
        tail, slope = _logistic_tail(a)
    else:
        raise ValueError(f"approximate={approximate!r} given; expected 'none' or 'tanh'")
    a *= tail
    out = np.asarray(rectified(x))
    out -= a
    positive = (x > 0).astype(x.dtype)
    flipped = np.multiply(slope, positive, out=tail)  # slope + positive * (1 - 2 * slope), in place
    flipped *= 2
    slope -= flipped
    slope += positive
    return out, slope.astype(x.dtype, copy=False)


def _logistic_tail(a: Any) -> tuple[Any, Any]:
    """Return s = sigmoid(-u) for u = sqrt(8/pi) (a + 0.044715 a**3), and the derivative of x s by x = -a.

    In place, as each new array costs as much as a step. The derivative is s (1 - a u' (1 - s)).
    """
    scale = math.sqrt(8 / math.pi)
    square = np.asarray(a * a)
    tail = np.asarray(square * (-0.044715 * scale))
    tail -= scale
    tail *= a
    np.exp(tail, out=tail)
    whole = 1 + tail
    tail /= whole
    square *= 3 * 0.044715 * scale
    square += scale
    square *= a
    square /= whole
    slope = np.subtract(1, square, out=square)
    slope *= tail
    return tail, slope


def _gelu_joint(g: Any, needed: Any, out: Any, slope: Any, x: Any, approximate: str) -> tuple[Any, ...]:
    return (g * slope,)


def _gelu_formula(x: Any, approximate: str) -> Any:
    if approximate == "none":
        return gelu_derivative(x, order=0)
    inside = np.clip(x, -FARTHEST, FARTHEST)  # at infinity the product would be inf * 0
    cdf = sigmoid(math.sqrt(8 / math.pi) * inside * (1 + 0.044715 * np.square(inside)))
    return np.where(x > FARTHEST, x, inside * cdf)


gelu = fused(
    _gelu_forward,
    _gelu_joint,
    _gelu_formula,
    name="gelu",
    samples=tuple(Sample((shape,), {"approximate": a}) for shape in ((), (2, 3)) for a in ("none", "tanh")),
)
