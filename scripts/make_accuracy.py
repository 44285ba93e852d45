"""Write docs/explanation/accuracy.md: the largest errors of the elementwise operations, beside mpmath.

From the repository's root, for a minute or two::

    python scripts/make_accuracy.py

The numbers are those of one NumPy on one machine, as its functions differ between machines in the last place.
A test holds the bounds that the page names, on fewer points.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from textwrap import fill
from typing import Final

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tinygrad_mnist.testing.accuracy import (  # noqa: E402
    BOUNDS,
    EXCEPTIONS,
    MEASURED_WITH,
    Accuracy,
    measure,
)
from tinygrad_mnist.testing.true_functions import DIGITS, references  # noqa: E402

TARGET = ROOT / "docs" / "explanation" / "accuracy.md"
WIDTH = 118
COUNT: Final = 3000
DTYPES: Final = (np.float64, np.float32)

INTRODUCTION = (
    "How far are derivatives from the truth? Below is, for each elementwise operation, the largest "
    "error of its value and of its first and second derivatives, over all sizes of floats. The truth "
    f"is mpmath's, in {DIGITS} digits. An error is counted in units in the last place (ulp): one is "
    "the distance between two floats at the true value, about 1e-16 of it in float64 and 1e-7 in "
    "float32. Half a unit is the best that a float can do.",
    f"No first derivative is off by more than {BOUNDS[1]:.0f} ulp and no second one by more than "
    f"{BOUNDS[2]:.0f}, but for {len(EXCEPTIONS)} operations at some points, which are named below. "
    "Values are NumPy's own, and have no bound: near its zero `logaddexp` cancels, `sinc` of the largest "
    "floats is NaN, `i0` overflows too early in float32. The page is written by "
    "`scripts/make_accuracy.py`; a test holds the bounds on fewer points, and fails for an operation that "
    "nobody measures.",
)
METHOD = (
    "A third of the points are of all sizes, from the smallest subnormal number to the largest "
    "float, a third between 1e-4 and 1e4, and a third around 1. To them come 0, the ends of the "
    "range, and the neighbours of the operation's own critical points: 1 for `log`, multiples of pi "
    "/ 2 for `sin`, the bounds of a domain. Half of all pairs are of two numbers that are near each "
    "other.",
    "Second derivatives of two arguments are taken by each pair of them, the mixed one in both orders.",
    "Where a true derivative is less than the smallest normal number, an ulp is the smallest "
    "subnormal one: what underflows is compared by its absolute error. Where it is beyond the "
    "largest float, `inf` is right.",
    "Points where the value itself overflows are left out, and so are points where a derivative does "
    "not exist: what it is there is [a convention](gradient_conventions.md).",
    "Arguments of `divide`, `power`, `xlogy`, `hypot` and `arctan2` are not subnormal: quotients of "
    "such have lost digits already.",
    "Three operations are the package's own: `multiply_no_nan` is a product in which 0 times anything is 0; "
    "`kink` and `slope_undefined` pass numbers on and mark where a slope does not exist.",
    "A fast joint rule (of `relu`, `leaky_relu` and `gelu`) is measured, and so is the formula beside it.",
)
READING = (
    "A derivative that is written with the result, such as `1 - tanh(x)**2`, is lost where the "
    "result is near 1: there the difference is mostly rounding. `1 / cosh(x)**2` is the same number "
    "with all its digits. Likewise the derivative of `sigmoid` is computed by `exp(-abs(x))`, that "
    "of `expm1` by `exp`, the tail of `gelu` by Mills' ratio, and the derivatives of `arctan2` as "
    "powers of a complex number.",
    "The second derivative is that of the rule as it is written, so a rule must keep its digits when "
    "it is differentiated once more. Where no formula does, the derivative is an operation with a "
    "rule of its own.",
)


def page() -> str:
    """Return the page, in Markdown."""
    lines = ["# The accuracy of derivatives", "", *_paragraphs(INTRODUCTION)]
    lines += [
        "| | float64: value | first | second | float32: value | first | second |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in references():
        found = [measure(name, dtype, COUNT, exempt=True) for dtype in DTYPES]
        print(name, *(one.errors for one in found), flush=True)
        star = " ¹" if name in EXCEPTIONS else ""
        lines.append(f"| `{name}`{star} | {' | '.join(_cells(one) for one in found)} |")
    lines += ["", "¹ Without the points where the reason below holds.", "", "## Exceptions", ""]
    lines += ["| | why | float64: first | second | float32: first | second |", "|---|---|--:|--:|--:|--:|"]
    for name, reason in EXCEPTIONS.items():
        found = [measure(name, dtype, COUNT) for dtype in DTYPES]
        cells = [_number(error) for one in found for error in one.errors[1:]]
        lines.append(f"| `{name}` | {reason} | {' | '.join(cells)} |")
    parts = ", ".join(f"`{name}` (of `{whole}`)" for name, whole in MEASURED_WITH.items())
    lines += ["", fill(f"Measured with the operation whose derivative they are: {parts}.", WIDTH)]
    lines += ["", "## How it is measured", ""]
    lines += [fill(text, WIDTH, initial_indent="- ", subsequent_indent="  ") for text in METHOD]
    lines += ["", "## What makes them accurate", "", *_paragraphs(READING)]
    lines += [f"These numbers are of NumPy {np.__version__} on {platform.machine()}."]
    return "\n".join(lines) + "\n"


def _paragraphs(texts: tuple[str, ...]) -> list[str]:
    return [line for text in texts for line in (fill(text, WIDTH), "")]


def _cells(accuracy: Accuracy) -> str:
    return " | ".join(_number(error) for error in accuracy.errors)


def _number(error: float) -> str:
    if error >= 1e5:
        return f"{error:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{error:.1f}" if error < 100 else f"{error:.0f}"


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
