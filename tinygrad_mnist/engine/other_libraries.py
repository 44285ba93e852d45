"""Arrays of other libraries, such as PyTorch and JAX: which they are, and why some cannot become NumPy's.

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


def is_foreign(value: Any) -> bool:
    """Return whether something is an array of another library than NumPy and this package.

    A class that somebody derives from one of ours, or of NumPy's, is none.

    Examples
    --------
    >>> is_foreign(np.zeros(3)), is_foreign([1.0, 2.0])
    (False, False)
    """
    kind = type(value)
    return (
        hasattr(kind, "__dlpack__")
        and not issubclass(kind, np.ndarray)
        and not any(base.__module__.startswith("tinygrad_mnist.") for base in kind.__mro__)
    )


def reason_against(value: Any) -> str | None:
    """Return the sentence that says why an array of PyTorch's or JAX's is not taken; None for any other."""
    library = type(value).__module__.partition(".")[0]
    if library == "torch" and hasattr(value, "layout"):
        for holds, what, instead in _TORCH:
            if holds(value):
                return f"a PyTorch tensor of dtype {value.dtype} {what}; give {instead}"
    if library in ("jax", "jaxlib") and "Tracer" in type(value).__name__:
        return (
            "a JAX array that is being traced has no values; call this outside of jax.jit and jax.grad, or "
            "by jax.pure_callback"
        )
    return None
