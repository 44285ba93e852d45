"""Fit the polynomials of compiled functions, and write them to tinygrad_mnist/compiler/polynomials.py.

Each is the polynomial of its degree whose largest weighted error on an interval is the smallest (Remez's
exchange algorithm), in 80 digits, rounded to the dtype. Needs mpmath. From the repository's root::

    python scripts/make_polynomials.py

What the functions do with them stands in tinygrad_mnist/compiler/functions.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp

mp.dps = 80
TARGET = Path(__file__).resolve().parents[1] / "tinygrad_mnist" / "compiler" / "polynomials.py"
GRID = 1200

Function = Callable[[Any], Any]

HEAD = '''"""The polynomials of compiled functions, by their coefficients from degree 0 up.

They are made by scripts/make_polynomials.py.

Each minimises the largest error on its interval, relative to the function that it is a part of. That error
stands beside it, in units of the dtype's epsilon.
"""

from __future__ import annotations

from typing import Final
'''


@dataclass(frozen=True)
class Fit:
    """A function to approximate, and the factor that makes its error that of the whole function."""

    name: str
    doc: str
    function: Function
    weight: Function
    interval: tuple[Any, Any]
    degrees: dict[str, int]


def remez(fit: Fit, degree: int) -> tuple[list[Any], Any]:
    """Return the coefficients with the smallest largest weighted error, and that error."""
    low, high = map(mp.mpf, fit.interval)

    grid = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / GRID) for i in range(GRID + 1)]
    values = [(x, fit.function(x), abs(fit.weight(x))) for x in grid]
    # Chebyshev's points, a little off the middle, where a weight may be 0
    reference = [values[round(GRID * (i + 0.45) / (degree + 2))] for i in range(degree + 2)]
    for _ in range(30):
        rows = [[w * x**j for j in range(degree + 1)] + [(-1) ** i] for i, (x, _, w) in enumerate(reference)]
        *coefficients, level = mp.lu_solve(mp.matrix(rows), mp.matrix([w * f for _, f, w in reference]))
        errors = [(mp.polyval(coefficients[::-1], x) - f) * w for x, f, w in values]
        peaks = alternating_peaks(errors, degree + 2)
        largest = max(map(abs, errors))
        if largest < abs(level) * mp.mpf("1.01"):
            return coefficients, largest
        reference = [values[i] for i in peaks]
    raise ArithmeticError(f"{fit.name}: the exchange does not settle")


def alternating_peaks(errors: Sequence[Any], count: int) -> list[int]:
    """Return places of errors of alternating sign, each the largest between two changes of sign."""
    peaks: list[int] = []
    for i, error in enumerate(errors):
        if peaks and (errors[peaks[-1]] > 0) == (error > 0):
            if abs(error) > abs(errors[peaks[-1]]):
                peaks[-1] = i
        else:
            peaks.append(i)
    while len(peaks) > count:
        del peaks[0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1]
    if len(peaks) < count:
        raise ArithmeticError("too few changes of sign: more digits are needed")
    return peaks


def near_zero(function: Function, coefficients: Callable[[int], Any]) -> Function:
    """Return the function, by its power series where the difference of two near numbers would be taken."""

    def near(x: Any) -> Any:
        if abs(x) < mp.mpf("0.01"):
            return mp.fsum(coefficients(j) * x**j for j in range(20))
        return function(x)

    return near


HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.001")
HALF = mp.mpf("0.5005")
ROOT = mp.sqrt(mp.mpf("0.5"))
EIGHTH_TURN = mp.pi / 4 * mp.mpf("1.001")


def erf_bounds(x: Any) -> Any:
    return mp.erfc(x + 1) / mp.erf(x + 1)


EXPONENTIAL = near_zero(lambda r: (mp.exp(r) - 1 - r) / r**2, lambda j: 1 / mp.factorial(j + 2))

FITS = (
    Fit(
        "EXP",
        "``(exp(r) - 1 - r) / r**2`` for ``abs(r) <= ln(2)``",
        EXPONENTIAL,
        lambda r: r**2 / mp.exp(r),
        (-2 * HALF_LN2, 2 * HALF_LN2),
        {"float32": 5, "float64": 11},
    ),
    Fit(
        "EXPM1",
        "``(exp(r) - 1 - r) / r**2`` for ``abs(r) <= ln(2) / 2``, relative to ``exp(r) - 1``",
        EXPONENTIAL,
        lambda r: r**2 / mp.expm1(r) if r else mp.mpf(0),
        (-HALF_LN2, HALF_LN2),
        {"float32": 4, "float64": 9},
    ),
    Fit(
        "EXP_TWICE",
        "``(exp(2 * r) - 1) / r`` for ``abs(r) <= ln(2) / 4``",
        lambda r: 2 + 4 * r * EXPONENTIAL(2 * r),
        lambda r: r / mp.exp(2 * r),
        (-HALF_LN2 / 2, HALF_LN2 / 2),
        {"float32": 5, "float64": 10},
    ),
    Fit(
        "LOG",
        "``(log(1 + f) - f) / f**2`` for ``sqrt(1/2) <= 1 + f <= sqrt(2)``",
        near_zero(lambda f: (mp.log1p(f) - f) / f**2, lambda j: mp.mpf((-1) ** (j + 1)) / (j + 2)),
        lambda f: f**2 / mp.log1p(f) if f else mp.mpf(0),
        (ROOT - 1 - mp.mpf("0.001"), 2 * ROOT - 1 + mp.mpf("0.001")),
        {"float32": 8, "float64": 19},
    ),
    Fit(
        "LOG2_OF_QUOTIENT",
        "``(log2((1 + s) / (1 - s)) / s - c1 - c3 * s**2) / s**4`` in ``s**2``, for z up to ``sqrt(2)``",
        lambda t: mp.fsum(2 / mp.log(2) / (2 * j + 5) * t**j for j in range(60)),
        lambda t: t**2 * mp.log(2) / 2,
        (0, mp.mpf("0.1717") ** 2),
        {"float64": 7},
    ),
    Fit(
        "TANH",
        "``(tanh(x) - x) / x**3`` in ``x**2``, for ``abs(x) <= 0.55``",
        lambda s: (mp.tanh(mp.sqrt(s)) / mp.sqrt(s) - 1) / s if s else -mp.mpf(1) / 3,
        lambda s: mp.sqrt(s) ** 3 / mp.tanh(mp.sqrt(s)) if s else mp.mpf(0),
        (0, mp.mpf("0.551") ** 2),
        {"float32": 3, "float64": 10},
    ),
    Fit(
        "ERF",
        "``erf(x) / x - 1`` in ``x**2``, for ``abs(x) <= 1``",
        lambda s: mp.erf(mp.sqrt(s)) / mp.sqrt(s) - 1 if s else 2 / mp.sqrt(mp.pi) - 1,
        lambda s: mp.sqrt(s) / mp.erf(mp.sqrt(s)) if s else mp.sqrt(mp.pi) / 2,
        (0, 1),
        {"float32": 6, "float64": 11},
    ),
    Fit(
        "ERFC",
        "``log2(erfc(x))`` in ``x - 1``, for ``1 <= x``, up to where erf is 1",
        lambda t: mp.log(mp.erfc(t + 1)) / mp.log(2),
        lambda t: erf_bounds(t) * mp.log(2),
        (0, 3),
        {"float32": 5},
    ),
    Fit(
        "ERFC",
        "",
        lambda t: mp.log(mp.erfc(t + 1)) / mp.log(2),
        lambda t: erf_bounds(t) * mp.log(2),
        (0, 5),
        {"float64": 16},
    ),
    Fit(
        "SIN",
        "``(sin(r) - r) / r**3`` in ``r**2``, for ``abs(r) <= pi / 4``",
        lambda s: mp.fsum((-1) ** (j + 1) * s**j / mp.factorial(2 * j + 3) for j in range(25)),
        lambda s: mp.sqrt(s) ** 3 / mp.sin(mp.sqrt(s)) if s else mp.mpf(0),
        (0, EIGHTH_TURN**2),
        {"float32": 2, "float64": 5},
    ),
    Fit(
        "COS",
        "``(cos(r) - 1 + r**2 / 2) / r**4`` in ``r**2``, for ``abs(r) <= pi / 4``",
        lambda s: mp.fsum((-1) ** j * s**j / mp.factorial(2 * j + 4) for j in range(25)),
        lambda s: s**2 / mp.cos(mp.sqrt(s)),
        (0, EIGHTH_TURN**2),
        {"float32": 2, "float64": 5},
    ),
)


def main() -> None:
    """Fit all polynomials and write them."""
    tables: dict[str, tuple[str, list[str]]] = {}
    for fit in FITS:
        lines = tables.setdefault(fit.name, (fit.doc, []))[1]
        for dtype, degree in fit.degrees.items():
            coefficients, error = remez(fit, degree)
            units = mp.nstr(error / mp.mpf(float(np.finfo(dtype).eps)), 2)
            print(fit.name, dtype, "degree", degree, "error", units)
            lines.append(f'    "{dtype}": (  # {units}')
            lines += [f"        {np.dtype(dtype).type(mp.nstr(c, 30))!s}," for c in coefficients]
            lines.append("    ),")
    parts = (
        "\n".join([f"\n{name}: Final = {{", *lines, "}", f'"""{doc}."""', ""])
        for name, (doc, lines) in tables.items()
    )
    TARGET.write_text(HEAD + "".join(parts), "utf-8")


if __name__ == "__main__":
    main()
