"""Every parameter of every function has its effect on a Tensor, with its gradient, or is refused by name.

The walk is over the signatures of the installed NumPy, so a parameter that a new release adds has no value in
the table below, and fails.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import pytest

from scripts import make_coverage as coverage
from tests.ops.calls import (
    CALLS,
    CONSTANT_CALLS,
    CUBE,
    IN_PLACE,
    MASK,
    SIGNED,
    SYMMETRIC,
    A,
    B,
    Call,
    M,
    V,
    W,
    X,
    call,
    distinct,
)  # fmt: skip
from tests.ops.test_coverage import assert_same, calls_of, leaves_of, numpys, on, parts, results
from tinygrad_mnist import Tensor
from tinygrad_mnist.testing import gradcheck

STATES = {
    one.name: one.state
    for one in coverage.decisions()
    if one.state in ("differentiable", "piecewise constant")
}
PASSED_ON = {"apply_along_axis.kwargs", "piecewise.kw"}
"""Keywords that NumPy hands to the caller's own function."""

OF_UFUNCS = ("out", "where", "casting", "order", "dtype", "subok", "signature")
BEHIND_KWARGS: dict[str, tuple[str, ...]] = {
    "pad": ("constant_values", "end_values", "stat_length", "reflect_type"),
    "clip": OF_UFUNCS,
    "ndarray.clip": OF_UFUNCS,
    "einsum": ("out", "dtype", "order", "casting"),
    **{f"ndarray.{name}": ("keepdims", "initial", "where") for name in ("sum", "prod", "max", "min")},
    "ndarray.mean": ("keepdims", "where"),
    **{f"ndarray.{name}": ("keepdims", "where", "mean") for name in ("var", "std")},
}
"""The options that NumPy's signature calls ``**kwargs``."""

OUT = object()
"""Stands for an array in the shape of the result."""

VALUES: dict[str, tuple[Any, ...]] = {
    # how and where to
    "out": (OUT,), "where": (MASK, np.array([True, False, True]), True, False, np.array([[True], [False]])),
    "dtype": (np.float32, np.float64, np.int32, bool, object), "casting": ("unsafe", "no"),
    "order": ("F", "A", "K"),
    "subok": (False, True), "writeable": (False, True), "signature": (), "copy": (True, False),
    "device": ("cpu",), "shape": ((4,), 2),
    "axes": ((1, 0), (2, 0, 1), [(-1,), (-1,), ()], [(-2, -1), (-2, -1), (-2, -1)],
             [(-2, -1), (-1,), (-1,)], [(-1,), (-2, -1), (-1,)]),
    # which part
    "axis": (0, -1, (0, 1), (-1,), None),
    "keepdims": (True,), "axis1": (2, -1), "axis2": (2,), "axisc": (0,), "offset": (1, -1), "k": (1, -1),
    "initial": (2.0, np.array(0.4)), "include_initial": (True,),
    # statistics
    "ddof": (1,), "correction": (1, 0.5), "mean": (np.array(0.5),), "weights": (B,),
    "returned": (True,), "bias": (True,), "rowvar": (False,),
    "fweights": (np.array([1, 2, 3]),), "aweights": (V[:3],),
    "method": ("lower", "hazen"), "overwrite_input": (True,),
    # sorting
    "kind": ("stable", "heapsort", "introselect", "sort"), "stable": (True, False), "side": ("right",),
    "sorter": (np.array([0, 1, 2, 3]),), "right": (True,), "assume_unique": (True,), "invert": (True,),
    # tests
    "atol": (0.3,), "rtol": (0.4,), "equal_nan": (True,), "max_work": (1,), "tol": (0.5, 1000),
    # shapes and grids
    "sparse": (True,), "indexing": ("ij",), "start": (1,), "num": (7,), "endpoint": (False,),
    "retstep": (True,),
    "base": (2.0, np.array(3.0)), "increasing": (True,), "N": (2,), "ind": (1,), "trim": ("f", "b"),
    # slopes
    "n": (2,), "prepend": (0.5, V[:1]), "append": (0.5, V[:1]), "to_end": (0.5, V), "to_begin": (0.5, V),
    "dx": (0.5, np.array(0.4)), "edge_order": (2,), "period": (2.0, 3), "discont": (0.5,),
    # numbers
    "nan": (1.5,), "posinf": (9.0,), "neginf": (-9.0,), "decimals": (1, -1), "deg": (True,),
    "minlength": (9,),
    # matrices
    "UPLO": ("U", "l"), "upper": (True,), "full_matrices": (False,), "compute_uv": (False,),
    "rcond": (0.1,), "ord": (1, np.inf, 2), "p": (1, -2), "optimize": (True, "optimal"),
    "default": (2.5, V[:3], np.array(0.5)),
    # bits
    "bitorder": ("little",), "count": (5,),
    # text
    "edgeitems": (1,), "floatmode": ("fixed",), "formatter": ({"float": str},), "legacy": ("1.13",),
    "max_line_width": (20,), "precision": (2,), "prefix": ("a",), "separator": (";",), "sign": ("+",),
    "suffix": ("b",), "suppress_small": (True,), "threshold": (2,),
}  # fmt: skip
"""Values that are not NumPy's defaults, by the name of the parameter; NumPy takes one of them at least."""

FURTHER: dict[str, tuple[Any, ...]] = {"axis": (1,), "method": ("higher", "nearest", "midpoint")}
"""Values of which each is tried once, as those above are like them."""

SQUARES = distinct(2, 2, 2, 2) + np.eye(4).reshape(2, 2, 2, 2)
SAMPLE = np.array([0.9, 0.2, 2.2, 1.4])
LINE = np.array([-1.0, 0.5, 3.0])
MODES = (
    "edge",
    "reflect",
    "symmetric",
    "wrap",
    "linear_ramp",
    "mean",
    "median",
    "maximum",
    "minimum",
    "empty",
)
OF: dict[str, tuple[Call, ...]] = {
    "clip.min": (call(SIGNED, min=0.1), call(SIGNED, min=V[:3])),
    "clip.max": (call(SIGNED, max=0.1), call(SIGNED, max=V[:3])),
    "clip.a_min": (call(SIGNED, 0.1, None), call(SIGNED, a_min=V[:3], a_max=None)),
    "clip.a_max": (call(SIGNED, None, 0.9), call(SIGNED, a_min=None, a_max=V[:3])),
    "clip.out": (call(SIGNED, -1, 1.03, out=OUT), call(SIGNED, -1, 1.03, OUT)),
    "ndarray.clip.min": (call(SIGNED, 0.1), call(SIGNED, min=V[:3])),
    "ndarray.clip.max": (call(SIGNED, None, 0.9), call(SIGNED, max=V[:3])),
    "cov.y": (call(A, B), call(A, y=B)),
    "corrcoef.y": (call(M, M[::-1]), call(M, y=M[::-1])),
    "where.x": (call(MASK, A, B), call(MASK, A, 0.5)),
    "where.y": (call(MASK, 0.5, B),),
    "trapezoid.x": (call(V, X), call(V, x=X)),
    "average.weights": (call(A, None, B), call(A, 1, weights=V[:3])),
    "average.keepdims": (call(A, keepdims=True),),
    "bincount.weights": (call(np.array([0, 2, 2, 5]), V), call(np.array([0, 2, 2, 5]), weights=V)),
    "argsort.kind": (call(SAMPLE, kind="stable"), call(SAMPLE, -1, "heapsort")),
    "einsum.order": (call("ij,kj->ik", A, B, order="F"),),
    "cross.axis": (call(A.T, B.T, axis=0), call(A.T, B.T, -1, -1, -1, 0)),
    "cross.axisa": (call(A.T, B, axisa=0), call(A.T, B, 0)),
    "cross.axisb": (call(A, B.T, axisb=0), call(A, B.T, -1, 0)),
    **{
        f"{name}.num": (call(np.array(0.5), V, num=7), call(V, 2.9, 1))
        for name in ("linspace", "logspace", "geomspace")
    },
    "linalg.multi_dot.out": (call([A, M], out=OUT),),
    "interp.left": (call(LINE, X, V, 0.1), call(LINE, X, V, left=np.array(0.2))),
    "interp.right": (call(LINE, X, V, None, 0.1), call(LINE, X, V, right=np.array(0.2))),
    "interp.period": (call(LINE, X, V, None, None, 2.3), call(LINE, X, V, period=np.array(2.5))),
    "linalg.pinv.hermitian": (call(SYMMETRIC, hermitian=True), call(SYMMETRIC, None, True)),
    "linalg.svd.hermitian": (call(SYMMETRIC, hermitian=True), call(SYMMETRIC, True, True, True)),
    "linalg.matrix_rank.hermitian": (call(SYMMETRIC, hermitian=True),),
    "linalg.lstsq.rcond": (call(distinct(4, 2), V, 1e-3), call(distinct(4, 2), V, rcond=-1)),
    "linalg.norm.axis": (call(A, axis=1), call(A, None, 0), call(CUBE, axis=(0, 2))),
    "linalg.norm.ord": (call(A, 1), call(A, ord="nuc"), call(V, 3), call(A, -2)),
    "linalg.tensorsolve.axes": (call(np.moveaxis(SQUARES, -1, 0), M[:2, :2], axes=(0,)),),
    "linalg.qr.mode": tuple(call(M, mode=mode) for mode in ("r", "complete", "raw")),
    "linalg.tensorinv.ind": (call(distinct(4, 2, 2) + np.eye(4).reshape(4, 2, 2), 1),
                             call(distinct(4, 2, 2) + np.eye(4).reshape(4, 2, 2), ind=1)),
    "pad.mode": tuple(call(SIGNED, 1, mode) for mode in MODES),
    "pad.constant_values": (
        call(SIGNED, 1, constant_values=2.5), call(SIGNED, 1, constant_values=((1.0, 2.0), (3.0, 4.0))),
        call(SIGNED, 1, constant_values=V[:2]),
    ),
    "pad.end_values": (call(SIGNED, 2, "linear_ramp", end_values=2.5),
                       call(SIGNED, 2, "linear_ramp", end_values=V[:2])),
    "pad.stat_length": tuple(
        call(SIGNED, 1, mode, stat_length=2) for mode in ("mean", "median", "maximum", "minimum")
    ),
    "pad.reflect_type": tuple(call(SIGNED, 1, mode, reflect_type="odd") for mode in ("reflect", "symmetric")),
    "choose.mode": (call(np.array([0, 3, -1]), (V[:3], W[:3]), mode="wrap"),),
    "ndarray.choose.mode": (call(np.array([0, 3, -1]), (V[:3], W[:3]), mode="wrap"),),
    "ravel_multi_index.mode": (call((np.array([0, 3]), np.array([2, 0])), (2, 3), mode="wrap"),),
    "take.mode": (call(A, [7, -9], mode="wrap"), call(A, [0, 9], None, None, "clip")),
    "ndarray.take.mode": (call(A, [7, -9], mode="wrap"), call(A, [0, 9], None, None, "clip")),
    "convolve.mode": (call(V, W[:3], "same"), call(V, W[:3], mode="valid")),
    "correlate.mode": (call(V, W[:3], "same"), call(V, W[:3], mode="full")),
    "searchsorted.sorter": (call(SAMPLE, V, sorter=np.argsort(SAMPLE)),),
    "ndarray.searchsorted.sorter": (call(SAMPLE, V, sorter=np.argsort(SAMPLE)),),
    "full_like.dtype": (call(A, np.array(1.5), np.float32), call(A, np.array(1.5), dtype=np.float64)),
    "round.decimals": (call(SIGNED, 1), call(SIGNED, decimals=-1)),
    **{
        f"{name}.weights": (call(V, 0.3, weights=W, method="inverted_cdf"),)
        for name in ("quantile", "percentile", "nanquantile", "nanpercentile")
    },
    **{f"{name}.mean": (call(A, mean=np.mean(A)), call(A, 0, mean=np.mean(A, 0, keepdims=True) + 0.3))
       for name in ("var", "std", "nanvar", "nanstd", "ndarray.var", "ndarray.std")},
}  # fmt: skip
"""Calls that say more than a value could, by function and parameter."""

NOT_TAKEN = {
    *(
        f"{of}{name}.order"
        for of in ("", "ndarray.")
        for name in ("sort", "argsort", "partition", "argpartition")
    ),
    *(f"{name}.{option}" for name in ("matmul", "matvec", "vecmat") for option in ("axis", "keepdims")),
    "frexp.dtype",
}
"""Parameters of which NumPy takes the default alone, for arrays without fields."""

PRIVATE = {"einsum_path.einsum_call"}
"""Parameters that NumPy's documentation does not know."""

METHOD_CALLS: dict[str, tuple[Call, ...]] = {
    "ndarray.argpartition": (call(A, 1),),
    "ndarray.astype": (call(A, np.float64),),
    "ndarray.choose": (call(np.array([0, 1, 1]), [V[:3], W[:3]]),),
    "ndarray.compress": (call(A, [True, False, True], axis=1), call(A, [False, True, True])),
    "ndarray.dot": (call(A, B.T),),
    "ndarray.repeat": (call(A, 2),),
    "ndarray.reshape": (call(A, 3, 2), call(A, (3, 2))),
    "ndarray.searchsorted": (call(X, V),),
    "ndarray.swapaxes": (call(A, 0, 1),),
    "ndarray.take": (call(A, [0, 4]),),
    "diagonal": (call(CUBE),),
    "trace": (call(CUBE),),
    "ndarray.diagonal": (call(CUBE),),
    "ndarray.trace": (call(CUBE),),
    "ndarray.squeeze": (call(A[None]),),
    "squeeze": (call(A[None]),),
    "ndarray.item": (call(A, 1), call(A, 1, 2)),
    "ndarray.clip": (call(SIGNED, -1, 1.03),),
}


# ---- the walk --------------------------------------------------------------------------------------------


def named(name: str) -> Callable[..., Any]:
    """The function of that name; of a method, one that looks it up in its first argument."""
    if not name.startswith("ndarray."):
        return numpys(name)  # type: ignore[no-any-return]
    method = name.removeprefix("ndarray.")

    def call_it(t: Any, *args: Any, **kwargs: Any) -> Any:
        others = [
            part
            for one in (*args, *kwargs.values())
            for part in (one if isinstance(one, (list, tuple)) else [one])
        ]
        own = Tensor(t) if any(isinstance(one, Tensor) for one in others) and not isinstance(t, Tensor) else t
        return getattr(own, method)(*args, **kwargs)

    return call_it


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """The parameters of NumPy's function; older releases do not tell those of what is written in C."""
    function = numpys(name)
    try:
        found = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        if not isinstance(function, np.ufunc):
            return {}
        found = {option: _keyword(option) for option in OF_UFUNCS}
    if name in BEHIND_KWARGS:
        found.pop("kwargs", None)
        found |= {option: _keyword(option) for option in BEHIND_KWARGS[name]}
    return found


def _keyword(name: str) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)


def options() -> Iterator[Any]:
    """Each function, and each of its parameters that may be left out."""
    in_order = sorted(STATES, key=lambda name: numpys(name).__name__ == name.split(".")[-1])
    for name in {numpys(name): name for name in in_order}.values():  # a function's own name, of several
        if name not in IN_PLACE and name not in ("isnat", "empty_like"):
            for option, parameter in parameters(name).items():
                if f"{name}.{option}" in PASSED_ON | PRIVATE:
                    continue
                if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
                    yield pytest.param(name, option, id=f"{name}-{option}")


OPTIONS: dict[str, list[str]] = {}
for parameter in options():
    OPTIONS.setdefault(parameter.values[0], []).append(parameter.values[1])


def first_calls(name: str) -> tuple[Call, ...]:
    if name in METHOD_CALLS:
        return METHOD_CALLS[name]
    return calls_of(name, CALLS if STATES[name] == "differentiable" else CONSTANT_CALLS)


def calls_with(
    name: str, option: str, table: dict[str, tuple[Any, ...]] = VALUES
) -> tuple[list[Call], list[Call]]:
    """The calls of a function with other values of one parameter: by keyword, and by position."""
    if (given := OF.get(f"{name}.{option}")) is not None:
        return list(given), []
    assert option in VALUES, f"say in the table VALUES what {option}= may be"
    function = numpys(name)
    values = table.get(option, ())
    if option == "signature":
        types = function.types if isinstance(function, np.ufunc) else ["ddd->d"]
        values = tuple(one for one in types if set(one) <= set("dliqB?->"))
    by_keyword, in_place = [], []
    for one in first_calls(name)[:2]:
        keywords = {key: value for key, value in one.kwargs.items() if key != option}
        by_keyword += [call(*one.args, **keywords, **{option: value}) for value in values]
        in_place += [position for value in values if (position := by_position(name, option, value, one))]
    return by_keyword, in_place


def by_position(name: str, option: str, value: Any, given: Call) -> Call | None:
    """A call with a parameter in its place in NumPy's signature; None if it has none."""
    known = parameters(name)
    before = list(known)[: list(known).index(option)]
    if known[option].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD or len(before) < len(given.args):
        return None
    args = list(given.args)
    for one in before[len(args) :]:
        if (default := given.kwargs.get(one, known[one].default)) is inspect.Parameter.empty:
            return None
        args.append(default)
    return call(*args, value)


def filled(name: str, given: Call, wrap: Callable[[Any], Any]) -> Call:
    """The call with an array in the place of what stands for one of the shape of the result."""
    if OUT not in [*(a for a in given.args if a is OUT), *(v for v in given.kwargs.values() if v is OUT)]:
        return given
    whole = named(name)(
        *(a for a in given.args if a is not OUT), **{k: v for k, v in given.kwargs.items() if v is not OUT}
    )
    out = (
        tuple(wrap(np.empty_like(one)) for one in whole)
        if isinstance(whole, tuple)
        else wrap(np.empty_like(whole))
    )
    return call(
        *(out if a is OUT else a for a in given.args),
        **{k: out if v is OUT else v for k, v in given.kwargs.items()},
    )


def outcome(name: str, option: str, given: Call, out_is: Callable[[Any], Any], derivatives: bool) -> str:
    """Return the outcome of a call: "as NumPy", also "with its gradient", "refused", or "not NumPy's", either."""
    function = named(name)
    try:
        plain = deepcopy(filled(name, given, np.asarray))  # NumPy may write into it (overwrite_input)
        expected = function(*plain.args, **plain.kwargs)
    except Exception:
        return "not NumPy's"
    kinds = "f" if STATES[name] == "differentiable" else "fbiu"
    of_arrays, arrays = on(function, filled(name, given, out_is), kinds)
    try:
        got = of_arrays(*leaves_of(arrays))
    except (TypeError, NotImplementedError) as error:
        message = str(error)
        assert name.split(".")[-1] in message, message
        assert option in message, message
        assert "\n" not in message
        assert len(message) > 40, "it says what to use"
        return "refused"
    assert_same(got, expected)
    recorded = [isinstance(one, Tensor) and one.requires_grad for one in parts(got)]
    if STATES[name] != "differentiable":
        assert not any(recorded)
        return "as NumPy"
    if any(isinstance(one, Tensor) and one.dtype.kind == "f" for one in parts(got)):
        assert any(recorded), "the result is detached"
    which = [i for i, one in enumerate(parts(got)) if recorded[i] and one.dtype == np.float64 and one.size]
    if which and derivatives:
        holes = [np.isnan(array) for array in arrays]
        finite = [np.where(hole, 0.5, array) for hole, array in zip(holes, arrays, strict=True)]
        gradcheck(partial(results, of_arrays, which, holes), *finite, atol=1e-12)
        return "as NumPy, with its gradient"
    return "as NumPy"


@pytest.mark.parametrize(("name", "option"), list(options()))
def test_a_parameter_has_its_effect_and_its_gradient_or_is_refused_by_name(name: str, option: str) -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_keyword, in_place = calls_with(name, option)
        found = [
            outcome(name, option, given, out_is, derivatives)
            for calls, derivatives in ((by_keyword, True), (in_place, False))
            for given in calls
            for out_is in ((np.asarray, Tensor) if option == "out" else (np.asarray,))
        ]
    assert set(found) - {"not NumPy's"} or f"{name}.{option}" in NOT_TAKEN, "NumPy takes none of the values"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, state in STATES.items() if state == "differentiable"])
def test_a_parameter_in_its_place_has_its_gradient_too_and_so_have_further_values(name: str) -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for option in OPTIONS.get(name, ()):
            _, in_place = calls_with(name, option)
            further, _ = calls_with(name, option, FURTHER) if option in FURTHER else ([], [])
            for given in further:
                outcome(name, option, given, np.asarray, derivatives=True)
            for given in in_place:  # one is enough
                if "with its gradient" in outcome(name, option, given, np.asarray, derivatives=True):
                    break
