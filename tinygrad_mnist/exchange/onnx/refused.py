"""Operations that are not written as ONNX, and why; and those that are written with limits.

What is neither here nor in the table of converters fails a test.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LIMITS", "REFUSED"]

_FACTORS = "ONNX has no operator that solves equations, inverts or factorises matrices"
_INTEGERS = "ONNX has no operator for it, and as a formula it is a loop over bits or remainders"

REFUSED: Final[dict[str, str]] = {
    **dict.fromkeys(("solve", "inv", "pinv", "cholesky", "qr", "eigh", "svd"), _FACTORS),
    "slogdet": "ONNX has the determinant alone, which overflows where its logarithm does not",
    "i0": "ONNX has no Bessel functions",
    "spacing": "ONNX has no operator that steps from one float to the next",
    **dict.fromkeys(("bitwise_count", "gcd", "lcm"), _INTEGERS),
    "isnat": "Tensors hold no dates",
}
"""The reason by the name of the operation."""

LIMITS: Final[dict[str, str]] = {
    "getitem": "a mask that is computed from the inputs: how many elements it selects is not known",
    "set_at": "places that are computed from the inputs, or are in some rows of an open batch alone",
    "scatter_add": "places that are computed from the inputs, or are in some rows of an open batch alone",
    "left_shift": "a count that is computed from the inputs, or is not less than the bits of the dtype",
    "right_shift": "a count that is computed from the inputs, or is not less than the bits of the dtype",
    "sinc": "its derivatives",
    "det": "matrices without elements",
    "cumprod": "the axis of an open batch",
    "convolve": "vectors whose length is that of an open batch",
    "sliding_window_view": "windows along an open batch",
    "overlap_add": "an open batch",
    "conv2d_by_weight": "several groups in an open batch",
}
"""What is refused of operations that are written, by their name."""
