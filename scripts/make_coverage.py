"""Write docs/explanation/coverage.md: what the public callables of NumPy do on a Tensor, by the registry.

From the repository's root::

    python scripts/make_coverage.py

with the NumPy whose functions the page shall list. A callable is *differentiable*, *piecewise constant*,
*not supported* or *not dispatched*. One that a new release of NumPy adds is *undecided* until it is declared
or stands in a table; a test fails for it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any, Final, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import tinygrad_mnist.ops  # noqa: E402, F401  (fills the registry)
from tinygrad_mnist.engine.dispatch import OPTIONS  # noqa: E402
from tinygrad_mnist.engine.op import CONSTANTS, FUNCTIONS, UFUNCS, UNSUPPORTED  # noqa: E402
from tinygrad_mnist.engine.tensor import Tensor  # noqa: E402

TARGET = ROOT / "docs" / "explanation" / "coverage.md"
WIDTH = 118

AS_FLOAT: Final = "reads one number, as float(t) does"
CONVERTS: Final = "makes an array, which a Tensor that requires a gradient refuses: use np.stack or .detach()"
NO_ARRAY: Final = "takes no array of values"
OF_SCALARS: Final = "takes a number or a string; a Tensor in its place raises a TypeError"
A_TYPE: Final = "a type; a Tensor that requires a gradient does not become one"
TEXT: Final = "reads or makes text or bytes"
OLDER: Final = "an older name, and does what the newer one does"
ABOUT: Final = "says something about an object, not about its values"

NOT_DISPATCHED: Final[dict[str, tuple[str, ...]]] = {
    AS_FLOAT: ("arange", "fromiter", "float64", "double"),
    CONVERTS: (
        "array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray", "asarray_chkfinite",
        "asmatrix", "require", "bmat", "full", "from_dlpack", "fromfunction", "frompyfunc", "nested_iters",
        "isfortran", "fft.fftfreq", "fft.rfftfreq", "kaiser", "bartlett", "blackman", "hamming", "hanning",
        "broadcast_shapes", "lib.stride_tricks.as_strided",
    ),
    OF_SCALARS: (
        "base_repr", "binary_repr", "diag_indices", "eye", "format_float_positional",
        "format_float_scientific", "identity", "indices", "mask_indices", "ones", "empty", "zeros", "tri",
        "tril_indices", "triu_indices", "datetime_data", "promote_types", "issubdtype", "isdtype",
        "mintypecode", "typename",
    ),
    TEXT: ("frombuffer", "fromfile", "fromregex", "fromstring", "genfromtxt", "load", "loadtxt"),
    ABOUT: ("isscalar", "iterable", "info"),
    OLDER: ("trapz", "row_stack"),
    NO_ARRAY: (
        "get_include", "get_printoptions", "set_printoptions", "printoptions", "getbufsize", "setbufsize",
        "geterr", "seterr", "geterrcall", "seterrcall", "show_config", "show_runtime", "test", "linalg.test",
        "fft.test",
    ),
}  # fmt: skip
"""Functions of NumPy that never ask a Tensor, and what happens there."""

METHODS_WITHOUT_GRADIENT: Final = frozenset(
    {
        "all",
        "any",
        "argmax",
        "argmin",
        "argsort",
        "argpartition",
        "nonzero",
        "round",
        "searchsorted",
        "item",
        "tolist",
    }
)
"""Methods of an ndarray that Tensors have, and whose results need no gradient."""

UNSUPPORTED_OPTIONS = (
    "Arguments may be given by position or by name, as in NumPy. An option with NumPy's default changes "
    "nothing. A function that lacks an option raises a TypeError that names it, and says what to use instead."
)
HEADINGS = {
    "differentiable": (
        "Differentiable",
        "They give NumPy's value, and first and second derivatives; but `np.vander` keeps float32, which "
        "NumPy makes float64. Those that write (`np.put`, `np.copyto` ...) do so as `t[index] = value` does. "
        "`np.full_like(a, value)` asks only its first argument: where `a` is an array, a value that "
        "requires a gradient is an error; use `np.full_like(Tensor(a), value)`.",
    ),
    "piecewise constant": (
        "Piecewise constant",
        "Positions, counts, comparisons, steps, and what is said of an array rather than of its values. The "
        "result needs no gradient, rightly.",
    ),
    "not supported": ("Not supported", "A TypeError names the function and says what to use instead."),
    "not dispatched": (
        "Not dispatched by NumPy",
        "NumPy never asks a Tensor about these. Where one of them makes an array of a Tensor that requires a "
        "gradient, the Tensor raises a TypeError that suggests `np.stack` or `.detach()`.",
    ),
    "undecided": ("Undecided", "None, or a test fails."),
}


NAMESPACES: Final = {
    "": np, "linalg.": np.linalg, "fft.": np.fft, "lib.stride_tricks.": np.lib.stride_tricks
}  # fmt: skip
"""The parts of NumPy whose functions are listed, by the beginning of their names."""


class Decision(NamedTuple):
    """The decision on one callable: NumPy's name of it, its state, and what to use instead, or why."""

    name: str
    state: str
    note: str = ""


def decisions() -> list[Decision]:
    """Return the decision on each public callable of numpy, its parts and ndarray."""
    notes = {name: note for note, names in NOT_DISPATCHED.items() for name in names}
    functions = [
        _decide(f"{prefix}{name}", function, notes)
        for prefix, module in NAMESPACES.items()
        for name, function in _callables(module)
    ]
    return functions + [_decide_method(name) for name, _ in _callables(np.ndarray)]


def _callables(module: Any) -> Iterator[tuple[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that NumPy will drop
        for name in sorted(dir(module)):
            if not name.startswith("_") and callable(found := getattr(module, name, None)):
                yield name, found


def _decide(name: str, function: Any, notes: dict[str, str]) -> Decision:
    if function in CONSTANTS or (isinstance(function, np.ufunc) and _is_constant(function)):
        return Decision(name, "piecewise constant")
    if function in FUNCTIONS or (isinstance(function, np.ufunc) and function in UFUNCS):
        return Decision(name, "differentiable")
    if (advice := UNSUPPORTED.get(called(function))) is not None:
        return Decision(name, "not supported", advice)
    if name in notes:
        return Decision(name, "not dispatched", notes[name])
    if isinstance(function, type):
        return Decision(name, "not dispatched", A_TYPE)
    return Decision(name, "undecided")


def _is_constant(ufunc: np.ufunc) -> bool:
    return ufunc in UFUNCS and UFUNCS[ufunc].kind == "constant"


def _decide_method(method: str) -> Decision:
    name = f"ndarray.{method}"
    if name in UNSUPPORTED:
        return Decision(name, "not supported", UNSUPPORTED[name])
    if not hasattr(Tensor, method):
        return Decision(name, "undecided")
    return Decision(name, "piecewise constant" if method in METHODS_WITHOUT_GRADIENT else "differentiable")


def called(function: Any) -> str:
    """Return NumPy's own name of a function, as in errors: ``linalg.inv``."""
    name = str(getattr(function, "__name__", ""))
    return name if isinstance(function, np.ufunc) else f"{function.__module__}.{name}".removeprefix("numpy.")


def version() -> str:
    """Return the release of NumPy that the page is about, without the patch."""
    return ".".join(np.__version__.split(".")[:2])


def page() -> str:
    """Return the page, in Markdown."""
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
    lines += ["", "## Options that are not supported", "", fill(UNSUPPORTED_OPTIONS, WIDTH), ""]
    lines += ["| | |", "|---|---|"]
    lines += [f"| `{option}=` | {advice} |" for option, advice in OPTIONS.items()]
    return "\n".join(lines) + "\n"


def _rows(some: list[Decision]) -> list[str]:
    """Return a paragraph of names, or a table of names by their note."""
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
