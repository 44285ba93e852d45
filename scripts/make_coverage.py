"""Write docs/explanation/coverage.md: what the public callables of NumPy do on a Tensor, by the registry.

From the repository's root::

    python scripts/make_coverage.py

with the NumPy whose functions the page shall list.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import fill

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tinygrad_mnist.engine.dispatch import OPTIONS  # noqa: E402
from tinygrad_mnist.ops.coverage import Decision, decisions  # noqa: E402

TARGET = ROOT / "docs" / "explanation" / "coverage.md"
WIDTH = 118

REFUSED_OPTIONS = (
    "Arguments may be given by position or by name, as in NumPy. An option with NumPy's default changes "
    "nothing. A function that lacks one of these options refuses it with a TypeError that names it; "
    "so does an option "
    "that is not listed here."
)
HEADINGS = {
    "differentiable": (
        "Differentiable",
        "They give NumPy's value, and first and second derivatives; but `np.vander` keeps float32, which "
        "NumPy makes float64. Those that write (`np.put`, `np.copyto` ...) do so as `t[index] = value` does. "
        "`np.full_like(a, value)` asks only its first argument: where `a` is an array, a value that "
        "requires a gradient is refused; use `np.full_like(Tensor(a), value)`.",
    ),
    "piecewise constant": (
        "Piecewise constant",
        "Positions, counts, comparisons, steps, and what is said of an array rather than of its values. The "
        "result needs no gradient, rightly.",
    ),
    "refused": ("Refused", "A TypeError names the function and says what to use instead."),
    "not dispatched": (
        "Not dispatched by NumPy",
        "NumPy never asks a Tensor about these. Where one of them makes an array of a Tensor that requires a "
        "gradient, the Tensor raises a TypeError that suggests `np.stack` or `.detach()`.",
    ),
    "undecided": ("Undecided", "None, or a test fails."),
}


def version() -> str:
    """The release of NumPy that the page is about, without the patch."""
    return ".".join(np.__version__.split(".")[:2])


def page() -> str:
    """The page, in Markdown."""
    everything = decisions()
    functions = [one for one in everything if not one.name.startswith("ndarray.")]
    methods = [one for one in everything if one.name.startswith("ndarray.")]
    lines = [
        "# What NumPy's functions do on a Tensor",
        "",
        fill(
            "Written by `scripts/make_coverage.py` from the registry of operations; a test calls every "
            f"function that is listed. This is NumPy {version()}: a function that a later release adds fails "
            "that test until it is decided on.",
            WIDTH,
        ),
        "",
        "| | functions of `numpy`, `numpy.linalg`, `numpy.fft` | methods of `ndarray` |",
        "|---|--:|--:|",
    ]
    states = [state for state in HEADINGS if any(one.state == state for one in everything)]
    for state in states:
        counts = [sum(one.state == state for one in some) for some in (functions, methods)]
        lines.append(f"| {state} | {counts[0]} | {counts[1]} |")
    for state in states:
        title, text = HEADINGS[state]
        lines += [
            "",
            f"## {title}",
            "",
            fill(text, WIDTH),
            "",
            *_rows([one for one in everything if one.state == state]),
        ]
    lines += ["", "## Refused options", "", fill(REFUSED_OPTIONS, WIDTH), "", "| | |", "|---|---|"]
    lines += [f"| `{option}=` | {advice} |" for option, advice in OPTIONS.items()]
    return "\n".join(lines) + "\n"


def _rows(some: list[Decision]) -> list[str]:
    """A paragraph of names, or a table of names by their note."""
    notes = list(dict.fromkeys(one.note for one in some))
    if notes == [""]:
        return [fill(", ".join(f"`{one.name}`" for one in some), WIDTH)]
    rows = [
        f"| {note} | {', '.join(f'`{one.name}`' for one in some if one.note == note)} |" for note in notes
    ]
    return ["| | |", "|---|---|", *rows]


if __name__ == "__main__":
    TARGET.write_text(page(), "utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")
