"""The normal distribution: its tail with all digits, as far down as a float reaches.

``1 + erf(x)`` has none left below x = -6. Here the tail is ``exp(-x**2 / 2)`` times Mills' ratio, which is a
smooth function that a polynomial approximates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import elementwise
from tinygrad_mnist.ops.elementwise import exp_of_square, floating

FARTHEST = 40.0
"""A number beyond which the tail is less than any float64."""

_MILLS = {
    4: (3.0, (
        0.7290836531904571, -0.509332101109947, 0.23002004897046935, -0.04725900339631201,
        -0.010485225620433103, 0.006934573582804373, 0.001090118518852443, -0.0009138770308509507,
        -0.00027898810234936117,
    )),
    8: (4.0, (
        0.7552851304157515, -0.6078966419718921, 0.3871374007422147, -0.1865218579596591,
        0.060396574890926744, -0.00754018896667011, -0.00347969236717287, 0.0016308184568070217,
        0.00013334430982456515, -0.00023109492938839244, -1.9082406078452036e-06, 3.514466140039819e-05,
        7.165886646833504e-07, -5.920112714140749e-06, -6.294788408439732e-07, 1.0214789020416029e-06,
        2.7141218191472956e-07, -1.5495755932412737e-07, -8.497175540808365e-08, 1.3383416712902124e-08,
        1.9350538253064024e-08, 1.7976553520531679e-09, -2.4572428492071976e-09, -6.809187779313362e-10,
        4.897040659413906e-12,
    )),
}  # fmt: skip
"""A number c and the coefficients of a polynomial in t = (a - c) / (a + c), by the bytes of a float.

It is the interpolation in Chebyshev's points, computed in 50 digits, of (a + c) times Mills' ratio. Its
error is less than that of rounding: in float32 for a up to 15, in float64 up to 40, where the tail
underflows.
"""


def tail_and_density(a: Any) -> tuple[Any, Any]:
    """Return the probability of less than -a, and the density at a, of an array between 0 and FARTHEST."""
    c, coefficients = _MILLS[4 if a.dtype.itemsize < 8 else 8]
    wide = a.astype(np.float32) if a.dtype.itemsize < 4 else a
    whole = np.asarray(wide + c)
    t = np.asarray(wide - c)
    t /= whole
    ratio = np.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:  # Horner's scheme
        ratio *= t
        ratio += coefficient
    ratio /= whole
    bell = np.asarray(exp_of_square(wide, -0.5))
    ratio *= bell
    bell *= 1 / math.sqrt(2 * math.pi)
    return ratio.astype(a.dtype, copy=False), bell.astype(a.dtype, copy=False)


def _normal_cdf_forward(x: Any) -> Any:
    x = floating(x)
    tail, _ = tail_and_density(np.minimum(np.abs(x), FARTHEST))
    return np.abs((x > 0) - tail)  # the tail, or 1 less the tail


normal_pdf = elementwise(
    lambda x: exp_of_square(floating(x), -0.5) * (1 / math.sqrt(2 * math.pi)),
    lambda g, out, x: g * (-np.clip(x, -FARTHEST, FARTHEST) * out),  # at infinity 0, not inf * 0
    name="normal_pdf",
)
normal_cdf = elementwise(_normal_cdf_forward, lambda g, out, x: g * normal_pdf(x), name="normal_cdf")
