"""Arrays of other libraries, such as PyTorch and JAX: how they become NumPy's, and why some cannot.

No library is imported: its arrays are known by their protocol and the name of their package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

_TORCH: Final[tuple[tuple[Callable[[Any], Any], str, str], ...]] = (
    (lambda t: t.is_nested, "is nested", "t.to_padded_tensor(0.0)"),
    (lambda t: t.device.type == "meta", "has no values, as it is on the device meta", "one with values"),
    (lambda t: t.device.type != "cpu", "is on another device than the CPU", "t.detach().cpu()"),
    (lambda t: t.requires_grad, "requires a gradient, which it would lose", "t.detach()"),
    (lambda t: str(t.layout) != "torch.strided", "is sparse", "t.to_dense()"),
    (lambda t: t.is_quantized, "is quantised", "t.dequantize()"),
    (lambda t: t.is_conj(), "is conjugated, and complex numbers are not supported", "t.real or t.imag"),
    (lambda t: t.is_neg(), "is negated only when it is read", "t.resolve_neg()"),
    (lambda t: t.is_floating_point(), "has a dtype that NumPy does not have", "t.float()"),
)
"""For each reason for which a tensor of PyTorch's is not taken: what it is, and what to give instead."""
_PROPER: Final = {"torch": "PyTorch", "jax": "JAX", "jaxlib": "JAX", "tensorflow": "TensorFlow"}
"""Libraries by the packages that their classes are in."""


def taken(value: Any) -> Any:
    """Return ``np.asarray(value)``; raise a TypeError that says why, if it has no array of NumPy's numbers.

    Examples
    --------
    >>> taken([1.0, 2.0])
    array([1., 2.])
    """
    try:
        array = np.asarray(value)
    except Exception as error:  # other libraries' are of many kinds
        if reason := reason_against(value):
            raise TypeError(reason) from error
        raise
    return known(array)


def known(array: Any) -> Any:
    """Return an array; raise if its numbers are of a dtype that another package has given to NumPy."""
    if array.dtype.isbuiltin == 2:
        raise TypeError(
            f"an array was given of dtype {array.dtype}, which NumPy does not have; convert it first, as in "
            "x.astype(np.float32)"
        )
    return array


def taken_weight(value: Any) -> Any:
    """Return an entry of a state dict as `taken` does, without its gradient, and bfloat16 as float32.

    Nothing is lost: a state dict has no gradients, and float32 holds each number of bfloat16. Files of
    weights are read in the same way.
    """
    if _is_torchs(value):
        value = value.detach()
        return taken(value.float() if str(value.dtype) == "torch.bfloat16" else value)
    if str(getattr(value, "dtype", "")) == "bfloat16":  # NumPy's by ml_dtypes, or JAX's
        value = value.astype(np.float32)
    return taken(value)


def _is_torchs(value: Any) -> bool:
    return library_of(value) == "PyTorch" and hasattr(value, "layout")


def library_of(value: Any) -> str:
    """Return the name of the library that the class of an object is from, or one that it is derived from.

    Examples
    --------
    >>> library_of(np.zeros(3))
    'numpy'
    """
    packages = [kind.__module__.partition(".")[0] for kind in type(value).__mro__]
    return next((_PROPER[package] for package in packages if package in _PROPER), packages[0])


def is_foreign(value: Any) -> bool:
    """Return whether something is an array of another library than NumPy and this package.

    Examples
    --------
    >>> is_foreign(np.zeros(3)), is_foreign([1.0, 2.0])
    (False, False)
    """
    kind = type(value)
    return (
        hasattr(kind, "__dlpack__")
        and not issubclass(kind, np.ndarray)
        and not kind.__module__.startswith("tinygrad_mnist.")
    )


def reason_against(value: Any) -> str | None:
    """Return the sentence that says why an array of PyTorch's or JAX's is not taken; None for any other."""
    if _is_torchs(value):
        for holds, what, instead in _TORCH:
            if holds(value):
                return f"a PyTorch tensor of dtype {value.dtype} {what}; give {instead}"
    if library_of(value) == "JAX" and "Tracer" in type(value).__name__:
        return (
            "a JAX array that is being traced has no values; call this outside of jax.jit and jax.grad, or "
            "by jax.pure_callback"
        )
    return None
