"""What each public callable of NumPy does on a Tensor: read off the registry, listed where NumPy asks nobody.

States: *differentiable*, *piecewise constant*, *refused* and *not dispatched*. A callable that a new release
of NumPy adds is *undecided* until it is declared or given a row in a table; a test fails for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.op import CONSTANTS, FUNCTIONS, UFUNCS, UNSUPPORTED
from tinygrad_mnist.engine.tensor import Tensor

STATES: Final = ("differentiable", "piecewise constant", "refused", "not dispatched", "undecided")

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
        "broadcast_shapes",
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


@dataclass(frozen=True)
class Decision:
    """What one callable does on a Tensor.

    Attributes
    ----------
    name : str
        NumPy's, without the leading ``numpy.``.
    state : str
        One of :data:`STATES`.
    note : str
        What to use instead, or why.
    """

    name: str
    state: str
    note: str = ""


def decisions() -> list[Decision]:
    """The decision on every public callable of ``numpy``, ``numpy.linalg``, ``numpy.fft`` and ``ndarray``.

    Examples
    --------
    >>> [one.state for one in decisions() if one.name == "floor"]
    ['piecewise constant']
    """
    notes = {name: note for note, names in NOT_DISPATCHED.items() for name in names}
    functions = [
        _decide(f"{prefix}{name}", function, notes)
        for prefix, module in (("", np), ("linalg.", np.linalg), ("fft.", np.fft))
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
        return Decision(name, "refused", advice)
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
        return Decision(name, "refused", UNSUPPORTED[name])
    if not hasattr(Tensor, method):
        return Decision(name, "undecided")
    return Decision(name, "piecewise constant" if method in METHODS_WITHOUT_GRADIENT else "differentiable")


def called(function: Any) -> str:
    """NumPy's own name of a function, as errors on Tensors say it.

    Examples
    --------
    >>> called(np.linalg.inv)
    'linalg.inv'
    """
    name = str(getattr(function, "__name__", ""))
    return name if isinstance(function, np.ufunc) else f"{function.__module__}.{name}".removeprefix("numpy.")


def contradictions() -> list[str]:
    """Names that are decided more than once, or that are refused though Tensors do them."""
    listed = [name for names in NOT_DISPATCHED.values() for name in names]
    done = {called(function) for function in (*FUNCTIONS, *UFUNCS) if hasattr(function, "__module__")}
    methods = {f"ndarray.{name}" for name in vars(Tensor)}
    refused = {name for name in UNSUPPORTED if not name.startswith("ndarray.")}
    kept = {
        name
        for name in UNSUPPORTED
        if name in methods and "Refused" not in str(getattr(Tensor, name[8:]).__doc__)
    }
    repeated = {name for name in listed if listed.count(name) > 1}
    return sorted(repeated | (done & refused) | (refused & set(listed)) | kept)
