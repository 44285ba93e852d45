"""Operations that are not written as ONNX, and why; and those that are written with limits.

What is neither here nor in the table of converters fails a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CHOOSING", "LIMITS", "REFUSED", "Choosing"]

_FACTORS = "ONNX has no operator that solves equations, inverts or factorises matrices"
_INTEGERS = "ONNX has no operator for it, and as a formula it is a loop over bits or remainders"
_SHARDS = "it belongs to a training step of several processes, of which ONNX knows nothing"

REFUSED: Final[dict[str, str]] = {
    **dict.fromkeys(("solve", "inv", "pinv", "cholesky", "qr", "eigh", "svd"), _FACTORS),
    "slogdet": "ONNX has the determinant alone, which overflows where its logarithm does not",
    "i0": "ONNX has no Bessel functions",
    "spacing": "ONNX has no operator that steps from one float to the next",
    **dict.fromkeys(("bitwise_count", "gcd", "lcm"), _INTEGERS),
    **dict.fromkeys(("mean_over_shards", "statistics_over_shards", "synchronized_batch_norm"), _SHARDS),
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
    "prod": "integers along the axis of an open batch",
    "convolve": "vectors whose length is that of an open batch",
    "sliding_window_view": "windows along an open batch",
    "overlap_add": "an open batch",
    "conv2d_by_weight": "several groups in an open batch",
}
"""What is refused of operations that are written, by their name."""


@dataclass(frozen=True)
class Choosing:
    """A NumPy function that looks at values to choose elements, which it then takes by constant positions.

    Parameters
    ----------
    arguments : dict of int to str
        The arguments whose values it looks at: their positions and names.
    advice : str
        What to do instead.
    """

    arguments: dict[int, str]
    advice: str


_BY_WHERE = "choose by np.where, which keeps the shape"
_OUTSIDE = "sort outside of the model"
_BY_NUMBERS = "give it as Python's numbers"

CHOOSING: Final[dict[str, Choosing]] = {
    **dict.fromkeys(("sort", "median", "nanmedian"), Choosing({0: "a"}, _OUTSIDE)),
    "partition": Choosing({0: "a", 1: "kth"}, _OUTSIDE),
    **dict.fromkeys(
        ("quantile", "percentile", "nanquantile", "nanpercentile"), Choosing({0: "a", 1: "q"}, _OUTSIDE)
    ),
    "interp": Choosing(
        {0: "x", 1: "xp", 2: "fp", 5: "period"}, "add up its pieces, each by np.clip and a slope"
    ),
    "unwrap": Choosing({0: "p", 3: "period"}, "unwrap outside of the model"),
    "frexp": Choosing({0: "x"}, "divide by 2**np.floor(np.log2(x)), if rounding does not matter"),
    "take": Choosing({1: "indices"}, "index by them instead, as in x[:, indices]"),
    "put_along_axis": Choosing({1: "indices"}, _BY_WHERE),
    "put": Choosing({1: "ind"}, _BY_WHERE),
    "place": Choosing({1: "mask"}, _BY_WHERE),
    "putmask": Choosing({1: "mask"}, _BY_WHERE),
    "compress": Choosing({0: "condition"}, _BY_WHERE),
    "extract": Choosing({0: "condition"}, _BY_WHERE),
    "choose": Choosing({0: "a"}, "choose by np.select or np.where"),
    "piecewise": Choosing({1: "condlist"}, "choose by np.select or np.where"),
    "trim_zeros": Choosing({0: "filt"}, "leave the zeros, as the length follows from the values"),
    "bincount": Choosing({0: "x"}, "add up by (x[:, None] == np.arange(n)).astype(np.float32)"),
    "repeat": Choosing({1: "repeats"}, _BY_NUMBERS),
    "roll": Choosing({1: "shift"}, _BY_NUMBERS),
    "tile": Choosing({1: "reps"}, _BY_NUMBERS),
    "rot90": Choosing({1: "k"}, _BY_NUMBERS),
    "resize": Choosing({1: "new_shape"}, _BY_NUMBERS),
    "delete": Choosing({1: "obj"}, _BY_NUMBERS),
    "insert": Choosing({1: "obj"}, _BY_NUMBERS),
}
"""NumPy functions, by name, that are refused where an argument whose values they look at follows from the
inputs: what they choose would stay the same for all. Of other arguments they are written as an index."""
