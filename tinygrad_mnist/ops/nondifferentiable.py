"""NumPy functions without a gradient: those whose result needs none, and those that Tensors do not support.

Both are tables. A function of the first runs on the values, and its result is a Tensor that requires no
gradient: positions, counts, tests, shapes. One of the second raises an error that says what to use instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from tinygrad_mnist.engine.dispatch import raise_no_gradient, raise_unsupported_option
from tinygrad_mnist.engine.errors import check_dtype, plain_array
from tinygrad_mnist.engine.observe import recorder
from tinygrad_mnist.engine.op import CONSTANTS, FUNCTIONS, UNSUPPORTED, constant
from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.ops.values import arrays_of

# ---- functions whose result needs no gradient ------------------------------------------------------------

PIECEWISE_CONSTANT: Final = (
    # positions and orders
    np.argmax, np.argmin, np.nanargmax, np.nanargmin, np.argsort, np.argpartition, np.lexsort, np.argwhere,
    np.nonzero, np.flatnonzero, np.searchsorted, np.digitize,
    np.ravel_multi_index, np.unravel_index, np.diag_indices_from, np.tril_indices_from, np.triu_indices_from,
    # counts, tests, signs, steps
    np.count_nonzero, np.all, np.any, np.isclose, np.allclose, np.array_equal, np.array_equiv, np.isin,
    np.isneginf, np.isposinf, np.isreal, np.iscomplex, np.isrealobj, np.iscomplexobj,
    np.round, np.around, np.fix, np.angle, np.imag, np.packbits, np.unpackbits,
    np.linalg.matrix_rank,
    # facts of an array that do not depend on its values
    np.shape, np.ndim, np.size, np.result_type, np.common_type, np.can_cast, np.min_scalar_type,
    np.shares_memory, np.may_share_memory, np.einsum_path, np.array_repr, np.array_str, np.array2string,
    np.zeros_like, np.ones_like, np.empty_like,
)  # fmt: skip
"""NumPy functions that are constant between jumps, or do not read the values; the ufuncs follow below."""


def _as_tensors(result: Any, name: str) -> Any:
    """Return a result of NumPy with a Tensor in the place of each array."""
    if isinstance(result, tuple):
        return tuple(_as_tensors(part, name) for part in result)
    if isinstance(result, (np.ndarray, np.generic)) or getattr(result, "is_symbol", False):
        return Tensor(check_dtype(plain_array(result), name))
    return result


@cache
def _position_of_out(function: Callable[..., Any]) -> int | None:
    """Return the position at which ``out`` may be given; found at the first call, as that takes a while."""
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:
        return None  # written in C, in an older NumPy; none of those takes it
    return names.index("out") if "out" in names else None


def _on_values(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function as one that runs on the values of Tensors and gives a Tensor."""
    name = function.__name__

    def run(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        position = _position_of_out(function)
        by_position = () if position is None else args[position : position + 1]
        if out is not None or any(arg is not None for arg in by_position):
            raise_unsupported_option(name, "out")
        result = function(*map(arrays_of, args), **{key: arrays_of(value) for key, value in kwargs.items()})
        result = _as_tensors(result, name)
        if (watching := recorder.get()) is not None:
            watching.evaluated(function, args, kwargs, result)
        return result

    return run


for _function in PIECEWISE_CONSTANT:
    FUNCTIONS[_function] = _on_values(_function)
    CONSTANTS.add(_function)

constant(
    np.sign, np.signbit, np.floor, np.ceil, np.trunc, np.rint, np.floor_divide, np.spacing,
    np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
    np.isfinite, np.isinf, np.isnan,
    np.logical_and, np.logical_or, np.logical_xor, np.logical_not,
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.bitwise_count, np.invert,
    np.left_shift, np.right_shift, np.gcd, np.lcm, np.isnat,
)  # fmt: skip

# ---- functions that Tensors do not support ---------------------------------------------------------------

# A name is NumPy's, without the leading ``numpy.``; those of ``ndarray`` become methods that raise.

COMPLEX: Final = "Tensors hold real numbers: write the real part and the imaginary part as two Tensors"
SETS: Final = (
    "which of equal elements shall have the gradient is yours to say: index the Tensor by the positions that "
    "np.unique(t.data, return_index=True) gives"
)
POLYNOMIALS: Final = "use np.polyval, np.convolve for a product, and + and - of the coefficients"
HISTOGRAMS: Final = "counts have no gradient: use np.bincount(positions, weights) with bins of your own"
DATES: Final = "it is a function of dates"
FILES: Final = "it would be written without its gradient: save t.detach().numpy()"
IN_PLACE: Final = "it works in place"
BYTES: Final = "a Tensor shows values, not memory: use .reshape(shape), .astype(dtype) or .data"

UNSUPPORTED_BY_ADVICE: Final[dict[str, tuple[str, ...]]] = {
    COMPLEX: (
        "sort_complex", "roots", "poly",
        *(
            f"fft.{name}"
            for name in (
                "fft", "fft2", "fftn", "ifft", "ifft2", "ifftn", "rfft", "rfft2", "rfftn", "irfft", "irfft2",
                "irfftn", "hfft", "ihfft",
            )
        ),
    ),
    "eigenvalues may be complex: use np.linalg.eigh for a symmetric matrix, or np.linalg.svd": (
        "linalg.eig", "linalg.eigvals",
    ),
    "use np.roll with half of each length": ("fft.fftshift", "fft.ifftshift"),
    SETS: (
        "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values", "intersect1d",
        "setdiff1d", "setxor1d", "union1d",
    ),
    POLYNOMIALS: ("polyadd", "polysub", "polymul", "polydiv", "polyder", "polyint"),
    "solve the normal equations, np.linalg.solve(v.T @ v, v.T @ y) with v = np.vander(x, n)": ("polyfit",),
    "use np.isin": ("in1d",),
    HISTOGRAMS: ("histogram", "histogram2d", "histogramdd", "histogram_bin_edges"),
    DATES: ("busday_count", "busday_offset", "is_busday", "datetime_as_string"),
    FILES: (
        "save", "savez", "savez_compressed", "savetxt", "ndarray.tofile", "ndarray.dump", "ndarray.dumps",
    ),
    "it takes positions: use np.ix_ on t.numpy()": ("ix_",),
    "the step to the neighbouring number has no derivative: add a constant": ("nextafter",),
    f"{IN_PLACE}: use np.sort(t)": ("ndarray.sort",),
    f"{IN_PLACE}: use np.partition(t, kth)": ("ndarray.partition",),
    f"{IN_PLACE}: use t[...] = value": ("ndarray.fill",),
    f"{IN_PLACE}: use np.put(t, indices, values) or t[index] = value": ("ndarray.put",),
    f"{IN_PLACE}: use np.resize(t, shape)": ("ndarray.resize",),
    f"{IN_PLACE}: use .data to see the flags of the array": ("ndarray.setflags",),
    BYTES: (
        "ndarray.byteswap", "ndarray.getfield", "ndarray.setfield", "ndarray.view", "ndarray.tobytes",
        "ndarray.tostring",
    ),
    "Tensors are on the CPU": ("ndarray.to_device",),
}  # fmt: skip
"""Functions that raise a TypeError, by the advice that its message gives."""

ATTRIBUTES: Final[dict[str, str]] = {
    "flat": "use np.ravel(t), or t[...] = value",
    "base": "a Tensor is a value, not a view: .data is the array",
    "ctypes": "use .detach().numpy().ctypes, where no gradient is needed",
    "flags": "use .data.flags",
}
"""Attributes of an ndarray that a Tensor lacks, and the advice of the AttributeError."""


def _absent(name: str, advice: str) -> property:
    """Return a property that raises."""

    def unsupported(self: Tensor) -> Any:
        raise AttributeError(f"numpy.ndarray.{name} is not an attribute of Tensors; {advice}")

    return property(unsupported, doc=f"Not supported: {advice}.")


def _raising(name: str) -> Callable[..., Any]:
    """Return a method that raises."""

    def unsupported(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise_no_gradient(name)

    unsupported.__name__ = name.removeprefix("ndarray.")
    unsupported.__doc__ = f"Not supported: {UNSUPPORTED[name]}."
    return unsupported


for _advice, _names in UNSUPPORTED_BY_ADVICE.items():
    UNSUPPORTED.update(dict.fromkeys(_names, _advice))
    for _name in _names:
        if _name.startswith("ndarray.") and not hasattr(Tensor, _name.removeprefix("ndarray.")):
            setattr(Tensor, _name.removeprefix("ndarray."), _raising(_name))
for _name, _advice in ATTRIBUTES.items():
    setattr(Tensor, _name, _absent(_name, _advice))
