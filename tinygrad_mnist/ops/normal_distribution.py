"""The tail of the normal distribution, and gelu of it, with all digits as far down as a float reaches.

``1 + erf(x)`` has none left below x = -6. Here the tail is ``exp(-x**2 / 2)`` times Mills' ratio, which is a
smooth function that a polynomial approximates.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.engine.op import Op, Sample, elementwise
from tinygrad_mnist.ops.elementwise import double, exp_of_square, floating

FARTHEST = 40.0
"""A number beyond which the tail is less than any float64."""

DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)

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


def mills_and_bell(a: Any) -> tuple[Any, Any]:
    """Return Mills' ratio divided by sqrt(2 pi), and exp(-a**2 / 2), of an array between 0 and FARTHEST.

    Their product is the probability of less than -a. The arrays are the caller's own, in float32 for float16.
    """
    a = a.astype(np.float32) if a.dtype.itemsize < 4 else a
    c, coefficients = _MILLS[4 if a.dtype.itemsize < 8 else 8]
    whole = np.asarray(a + c)
    t = np.asarray(a - c)
    t /= whole
    ratio = np.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:  # Horner's scheme
        ratio *= t
        ratio += coefficient
    ratio /= whole
    return ratio, np.asarray(exp_of_square(a, -0.5))


def _gelu_derivative_forward(x: Any, order: int) -> Any:
    """Return the ``order``-th derivative of x times the normal distribution function.

    From the second on it is the density times a polynomial: 2 - x**2, and then p' - x p of the one before.
    """
    dtype = floating(x).dtype
    x = np.clip(double(x), -FARTHEST, FARTHEST) if order else double(x)
    if order < 2:
        a = np.minimum(np.abs(x), FARTHEST)
        ratio, bell = mills_and_bell(a)
        below = bell * (ratio - a * DENSITY_AT_0) if order else -a * (ratio * bell)  # the result at -a
        above = 1 - below if order else x + below
        return np.where(x > 0, above, np.where(x <= 0, below, x)).astype(dtype)
    head = x.astype(np.float32).astype(x.dtype)
    tail = x - head
    factor = 2 - head * head - 2 * head * tail - tail * tail  # 2 - x * x; both large products are exact
    if order > 2:
        # imported here, as it takes a tenth of the time of NumPy's own import, and few need it
        from numpy.polynomial import Polynomial

        line, polynomial = Polynomial([0, 1]), Polynomial([2, 0, -1])
        for _ in range(order - 2):
            polynomial = polynomial.deriv() - line * polynomial
        factor = polynomial(x)
    root = exp_of_square(x, -0.25)  # twice, as the density underflows before the product does
    return (factor * DENSITY_AT_0 * root * root).astype(dtype)


gelu_derivative: Op = elementwise(
    _gelu_derivative_forward,
    lambda g, out, x, order: g * gelu_derivative(x, order=order + 1),
    name="gelu_derivative",
    samples=tuple(Sample((shape,), {"order": n}) for shape in ((), (2, 3)) for n in (0, 1, 2)),
)
