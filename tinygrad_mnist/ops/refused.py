"""NumPy functions that Tensors refuse, and what to use instead: rows of a table.

A name is NumPy's, without the leading ``numpy.``; those of ``ndarray`` become methods that raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tinygrad_mnist.engine.dispatch import raise_no_gradient
from tinygrad_mnist.engine.op import UNSUPPORTED
from tinygrad_mnist.engine.tensor import Tensor

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
BYTES: Final = "a Tensor shows values, not memory: use .astype(dtype) or .data"

TABLE: Final[dict[str, tuple[str, ...]]] = {
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
"""What to use instead, and the names that it is said for."""


ATTRIBUTES: Final[dict[str, str]] = {
    "flat": "use np.ravel(t), or t[...] = value",
    "base": "a Tensor is a value, not a view: .data is the array",
    "ctypes": "use .detach().numpy().ctypes, where no gradient is needed",
    "flags": "use .data.flags",
}
"""Attributes of an ndarray that a Tensor has not, and what to use instead."""


def _absent(name: str, advice: str) -> property:
    def refused(self: Tensor) -> Any:
        raise AttributeError(f"numpy.ndarray.{name} is not an attribute of Tensors; {advice}")

    return property(refused, doc=f"Refused: {advice}.")


def _raising(name: str) -> Callable[..., Any]:
    def refused(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise_no_gradient(name)

    refused.__name__ = name.removeprefix("ndarray.")
    refused.__doc__ = f"Refused: {UNSUPPORTED[name]}."
    return refused


for _advice, _names in TABLE.items():
    UNSUPPORTED.update(dict.fromkeys(_names, _advice))
    for _name in _names:
        if _name.startswith("ndarray.") and not hasattr(Tensor, _name.removeprefix("ndarray.")):
            setattr(Tensor, _name.removeprefix("ndarray."), _raising(_name))
for _name, _advice in ATTRIBUTES.items():
    setattr(Tensor, _name, _absent(_name, _advice))
