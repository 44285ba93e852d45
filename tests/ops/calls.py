"""One or more calls of every NumPy function that Tensors differentiate or find piecewise constant.

Float arrays among the arguments become Tensors in the test, wherever they stand; everything else is handed
on as it is. A function without a row here is called on :data:`A` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

rng = np.random.default_rng(20240229)


@dataclass(frozen=True)
class Call:
    """Arguments of one call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def call(*args: Any, **kwargs: Any) -> Call:
    return Call(args, kwargs)


def distinct(*shape: int, low: float = 0.3, high: float = 2.4) -> Any:
    """Different numbers, well apart, in some order."""
    return rng.permutation(np.linspace(low, high, int(np.prod(shape)))).reshape(shape)


A = distinct(2, 3)
B = distinct(2, 3, low=0.35, high=2.75)
V, W = distinct(4), distinct(4, low=0.45, high=1.9)
CUBE = distinct(2, 3, 2)
SIGNED = A * np.array([[1, -1, 1], [-1, 1, -1]])
INSIDE = A / 3
M = np.eye(3) * 2 + distinct(3, 3) / 3
SYMMETRIC = M @ M.T
HOLES = np.where(np.array([[True, True, False], [True, True, True]]), SIGNED, np.nan)
INTEGERS = np.array([[3, 1, 4], [1, 5, 9]])
MASK = np.array([[True, False, True], [False, False, True]])
X = np.array([0.2, 0.9, 1.4, 2.2])
"""In ascending order."""

# ---- differentiable --------------------------------------------------------------------------------------

ON_SIGNED = (
    "absolute", "fabs", "positive", "negative", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan",
    "arcsinh", "exp", "exp2", "expm1", "square", "cbrt", "sinc", "i0", "deg2rad", "rad2deg", "radians",
    "degrees", "conjugate", "modf", "frexp", "reciprocal", "real", "real_if_close", "copy",
    "sum", "mean", "max", "min", "amax", "amin", "prod", "ptp", "median",
)  # fmt: skip
ON_HOLES = ("nansum", "nanprod", "nanmax", "nanmin", "nanmean", "nanvar", "nanstd", "nanmedian", "nan_to_num")
BINARY = (
    "add", "subtract", "multiply", "divide", "remainder", "fmod", "power", "float_power", "divmod", "hypot",
    "arctan2", "logaddexp", "logaddexp2", "maximum", "minimum", "fmax", "fmin", "copysign",
)  # fmt: skip
OF_ONE_AXIS = ("cumsum", "cumprod", "nancumsum", "nancumprod")

CALLS: dict[str, tuple[Call, ...]] = {
    **{name: (call(SIGNED),) for name in ON_SIGNED},
    **{name: (call(HOLES), call(HOLES, axis=1), call(HOLES, axis=0, keepdims=True)) for name in ON_HOLES},
    **{name: (call(A, B), call(A, 1.3), call(2.9, B), call(CUBE[..., :1], W)) for name in BINARY},
    **{name: (call(SIGNED), call(SIGNED, axis=0), call(CUBE, axis=-1)) for name in OF_ONE_AXIS},
    "nan_to_num": (call(HOLES), call(HOLES, nan=2.5)),
    "arccos": (call(INSIDE),),
    "arcsin": (call(INSIDE),),
    "arctanh": (call(INSIDE),),
    "arccosh": (call(1 + A),),
    "ldexp": (call(A, np.array([1, -2, 3])),),
    "heaviside": (call(np.array([-1, 0, 2]), np.array([0.3, 0.4, 0.5])),),
    "clip": (call(SIGNED, -1, 1.03), call(SIGNED, B * 0 - 1.01, B * 0 + 1.02), call(SIGNED, min=0.1)),
    "where": (call(MASK, A, B), call(MASK, A, 0.0), call(MASK, 1.0, V[:3])),
    "full_like": (call(A, np.array(1.5)), call(A, V[:3])),
    "astype": (call(A, np.float64), call(A, np.float32)),
    # reductions
    "var": (call(SIGNED), call(SIGNED, 0, ddof=1), call(CUBE, axis=(0, 2), keepdims=True)),
    "std": (call(SIGNED), call(SIGNED, 0, ddof=1), call(CUBE, axis=(0, 2), keepdims=True)),
    "median": (call(SIGNED), call(SIGNED, axis=0), call(CUBE, axis=(0, 1), keepdims=True), call(V[:3])),
    "nanmedian": (call(HOLES), call(HOLES, axis=1), call(HOLES, axis=0, keepdims=True)),
    "ptp": (call(A), call(A, 0), call(CUBE, axis=(0, 1), keepdims=True)),
    "average": (
        call(A), call(A, 0), call(A, weights=B), call(A, 1, V[:3]), call(A, 1, V[:3], True),
        call(CUBE, (0, 1), A, keepdims=True), call(CUBE, (1, 0), distinct(3, 2)), call(A, returned=True),
    ),
    "cumulative_sum": (call(V), call(A, axis=1, include_initial=True)),
    "cumulative_prod": (call(V), call(A, axis=0, include_initial=True)),
    **{
        name: (call(V, 0.3 * scale), call(CUBE, [[0.1 * scale, 0.5 * scale]], axis=(0, 1)),
               call(A, 0.77 * scale, 1, keepdims=True), call(A, 0.4 * scale, method="median_unbiased"),
               call(A, 0.4 * scale, method="nearest"), call(A, 0.3 * scale, 1, method="midpoint"))
        for name, scale in (("quantile", 1), ("percentile", 100))
    },
    **{
        name: (call(HOLES, 0.3 * scale), call(HOLES, [0.1 * scale, 0.6 * scale], axis=1))
        for name, scale in (("nanquantile", 1), ("nanpercentile", 100))
    },
    "cov": (
        call(A), call(V), call(A, rowvar=False), call(V, W), call(A, bias=True), call(A, ddof=0),
        call(A, aweights=V[:3]), call(A, fweights=np.array([1, 2, 3])), call(A, B, aweights=V[:3], ddof=0),
        call(A, fweights=np.array([2, 1, 3]), aweights=W[:3]),
    ),
    "corrcoef": (call(M), call(V, W), call(M, rowvar=False)),
    "bincount": (call(np.array([0, 2, 2, 5]), V), call(np.array([1, 0, 0, 1]), V, 4)),
    # shapes
    "reshape": (call(A, (3, 2)), call(A, -1)),
    "transpose": (call(CUBE), call(CUBE, (1, 0, 2))),
    "swapaxes": (call(CUBE, 0, -1),),
    "moveaxis": (call(CUBE, 0, -1), call(CUBE, (0, 1), (-1, 0))),
    "rollaxis": (call(CUBE, 2), call(CUBE, 0, 2)),
    "expand_dims": (call(A, 1), call(A, (0, -1))),
    "squeeze": (call(A[:, :1]), call(A[None], 0)),
    "broadcast_to": (call(V, (3, 4)),),
    "broadcast_arrays": (call(A, V[:3], 2.0),),
    "meshgrid": (call(V, W[:3]), call(V, W, V[:2], indexing="ij"), call(V, W, sparse=True)),
    "atleast_1d": (call(A), call(np.array(1.5), V)),
    "atleast_2d": (call(V), call(np.array(1.5), V, CUBE)),
    "atleast_3d": (call(V), call(A), call(np.array(1.5), CUBE)),
    "concatenate": (call((A, B)), call((A, V), axis=None), call([A, B[:, :1]], axis=1)),
    "stack": (call([V, W]), call((A, B), axis=-1)),
    "vstack": (call((V, W)), call([A, B])),
    "hstack": (call((V, W[:2])), call([A, B])),
    "dstack": (call((V, W)), call([A, B])),
    "column_stack": (call((V, W)), call([A, V[:2]])),
    "append": (call(A, V), call(A, B, axis=0)),
    "block": (call([[A, B], [B, A]]), call([A, np.array([[1.5], [2.5]])]), call([V, W])),
    "split": (call(V, 2), call(A, [1], axis=1)),
    "array_split": (call(V, 3), call(A, 2, 1)),
    "hsplit": (call(A, 3), call(V, [1, 2])),
    "vsplit": (call(A, 2),),
    "dsplit": (call(CUBE, 2),),
    "unstack": (call(A), call(A, axis=1)),
    "flip": (call(A), call(A, 1)),
    "pad": (
        call(A, 1), call(A, ((1, 0), (0, 2)), constant_values=2.0), call(A, 1, "edge"),
        call(A, 1, "reflect"), call(A, 2, "symmetric"), call(A, 1, mode="wrap"),
    ),
    "apply_along_axis": (
        call(np.sum, 0, A), call(np.sort, 1, A), call(np.cumsum, 1, CUBE), call(np.outer, 0, A, V),
    ),
    "apply_over_axes": (call(np.sum, CUBE, [0, 2]), call(np.sum, A, -1)),
    # moved elements
    "roll": (call(A, 1), call(A, (1, -1), axis=(0, 1)), call(A, 1, axis=1)),
    "rot90": (call(A), call(CUBE, 3, (1, 2))),
    "repeat": (call(A, 2), call(A, np.array([1, 0, 2]), axis=1)),
    "tile": (call(A, 2), call(V, (2, 2))),
    "delete": (call(V, 1), call(A, [0, 2], axis=1), call(V, slice(1, 3))),
    "resize": (call(A, (3, 3)), call(V, 2)),
    "insert": (call(V, 1, 9.0), call(A, 1, V[:2], axis=1), call(V, [1, 3], W[:2])),
    "trim_zeros": (call(V), call(V, "f")),
    "take": (call(A, [0, 4, 4]), call(A, np.array([[0, 2]]), axis=1), call(A, [7, -9], mode="wrap")),
    "take_along_axis": (
        call(A, np.array([[2, 0], [1, 1]]), axis=1), call(A, np.array([3, 3]), None),
        call(A, np.array([[1, 0, 1]]), axis=0),
    ),
    "compress": (call([True, False, True], A, axis=1), call([False, True, True], A)),
    "extract": (call(MASK, A),),
    "choose": (
        call(np.array([0, 1, 1]), [V[:3], W[:3]]), call(np.array([[0], [1]]), (V, W)),
        call(np.array([0, 3, -1]), (V[:3], W[:3]), mode="wrap"),
    ),
    "select": (call([MASK, ~MASK[::-1]], [A, B]), call([MASK], [A], 7.0), call([MASK, MASK], [A, B], V[:3])),
    "piecewise": (
        call(SIGNED, [SIGNED < 0, SIGNED > 1], [np.sin, lambda x: x * x, 2.0]),
        call(SIGNED, [SIGNED < 0], [-1.0, np.exp]),
    ),
    # sorting
    "sort": (call(A), call(A, 0), call(A, None)),
    "partition": (call(A, 1), call(A, 2, None)),
    # differences, integrals, grids
    "diff": (
        call(V), call(A, 2), call(A, axis=0), call(V, prepend=0.0), call(A, append=V[:2, None]),
    ),
    "ediff1d": (call(A), call(V, to_end=W[:2], to_begin=-1.0)),
    "gradient": (
        call(V), call(A), call(A, 0.5, axis=1), call(V, X), call(V, X, edge_order=2),
        call(distinct(3, 4), 0.5, X, edge_order=2), call(distinct(3, 4), np.array(0.7), edge_order=2, axis=0),
    ),
    "trapezoid": (call(V), call(A, dx=0.5, axis=0), call(V, X), call(A, np.cumsum(B, 1))),
    "interp": (
        call(np.array([0.5, 1.1, 2.0]), X, V), call(np.array([-1.0, 0.5, 3.0]), X, V),
        call(np.array([-1.0, 0.5, 3.0]), X, V, left=0.0, right=9.0),
        call(np.array([-4.0, 0.5, 7.7]), X, V, period=3.0), call(np.array(0.3), X, V),
    ),
    "unwrap": (call(np.array([0.0, 0.8, 1.6, 5.5, 6.2])), call(np.array([0.1, 2.2, 4.3]), period=2.0)),
    "linspace": (
        call(np.array(0.5), np.array(2.0), 5), call(V[:2], W[:2], 3, axis=-1),
        call(np.array(0.5), 2.0, 4, endpoint=False), call(np.array(0.5), 2.0, 4, retstep=True),
    ),
    "logspace": (call(np.array(0.5), np.array(1.2), 4), call(V[:2], W[:2], 3, base=2.0, axis=1)),
    "geomspace": (call(np.array(0.5), np.array(4.0), 4), call(-V[:2], -W[:2], 3, axis=1)),
    # products
    **{name: (call(A, B.T),) for name in ("matmul", "dot")},
    "vdot": (call(A, B),),
    "inner": (call(A, B),),
    "outer": (call(V, W),),
    "kron": (call(A, B),),
    "cross": (call(A, B),),
    "tensordot": (call(A, B.T, axes=1),),
    "vecdot": (call(A, B),),
    "matvec": (call(A, V[:3]),),
    "vecmat": (call(V[:2], A),),
    "convolve": (call(V, W[:3]),),
    "correlate": (call(V, W[:3]),),
    "polyval": (call(V, A),),
    "vander": (call(V),),
    "einsum": (call("ij,kj->ik", A, B),),
    # linear algebra
    **{
        f"linalg.{name}": (call(M),)
        for name in ("inv", "pinv", "det", "slogdet", "qr", "svd", "svdvals", "cond", "trace", "diagonal")
    },
    **{f"linalg.{name}": (call(SYMMETRIC),) for name in ("cholesky", "eigh", "eigvalsh")},
    **{f"linalg.{name}": (call(A, B.T),) for name in ("matmul",)},
    "lib.stride_tricks.sliding_window_view": (
        call(A, 2, 1), call(A, (2, 2)), call(A, window_shape=(1, 2), axis=(-1, -1)), call(V, 3),
    ),
    "linalg.cross": (call(A, B),),
    "linalg.outer": (call(V, W),),
    "linalg.vecdot": (call(A, B),),
    "linalg.tensordot": (call(A, B.T, axes=1),),
    "linalg.solve": (call(M, V[:3]),),
    "linalg.lstsq": (call(distinct(4, 2), V),),
    "linalg.matrix_power": (call(M, 3),),
    "linalg.multi_dot": (call([A, M, V[:3]]),),
    "linalg.tensorinv": (call(distinct(2, 2, 2, 2) + np.eye(4).reshape(2, 2, 2, 2), 2),),
    "linalg.tensorsolve": (call(distinct(2, 2, 2, 2) + np.eye(4).reshape(2, 2, 2, 2), M[:2, :2]),),
}  # fmt: skip

IN_PLACE: dict[str, Call] = {
    "put": call(A, [1, 4], W[:2]),
    "place": call(A, MASK, V[:2]),
    "putmask": call(A, MASK, V),
    "put_along_axis": call(A, np.array([[2], [0]]), V[:2, None], 1),
    "fill_diagonal": call(M, V[:3]),
    "copyto": call(A, V[:3]),
}
"""Functions that write into their first argument: on a Tensor as ``t[index] = value``."""

# ---- piecewise constant ----------------------------------------------------------------------------------

CONSTANT_CALLS: dict[str, tuple[Call, ...]] = {
    **{
        name: (call(SIGNED, B), call(SIGNED, 0.5))
        for name in (
            "equal",
            "not_equal",
            "less",
            "less_equal",
            "greater",
            "greater_equal",
            "floor_divide",
            "isclose",
            "allclose",
            "array_equal",
            "array_equiv",
            "isin",
            "logical_and",
            "logical_or",
            "logical_xor",
            "shares_memory",
            "may_share_memory",
        )
    },
    **{
        name: (call(INTEGERS, INTEGERS[:, ::-1] % 4),)
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm", "left_shift", "right_shift")
    },
    **{name: (call(INTEGERS),) for name in ("invert", "bitwise_count")},
    "round": (call(SIGNED), call(SIGNED, 1)),
    "around": (call(SIGNED), call(SIGNED, 1)),
    "nanargmax": (call(HOLES), call(HOLES, axis=1)),
    "nanargmin": (call(HOLES), call(HOLES, axis=1)),
    "argmax": (call(A), call(A, axis=0, keepdims=True)),
    "argpartition": (call(A, 1),),
    "lexsort": (call((V, W)),),
    "searchsorted": (call(X, np.array([0.3, 2.0])), call(X, V, side="right")),
    "digitize": (call(V, X),),
    "ravel_multi_index": (call((np.array([0, 1]), np.array([2, 0])), (2, 3)),),
    "unravel_index": (call(np.array([0, 4]), (2, 3)),),
    "diag_indices_from": (call(M),),
    "packbits": (call(MASK),),
    "unpackbits": (call(np.array([3, 7], np.uint8)),),
    "can_cast": (call(np.float64, np.float32),),
    "einsum_path": (call("ij,kj->ik", A, B),),
    "zeros_like": (call(A), call(A, dtype=np.float32), call(A, shape=(2,))),
    "ones_like": (call(A), call(A, dtype=int)),
    "result_type": (call(A, np.float32),),
    "common_type": (call(A, V),),
}
