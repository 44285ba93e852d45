"""Each parameter of a ufunc's method has its effect on a Tensor, with its gradient, or is refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.ops.calls import INTEGERS, MASK, SIGNED, A, B, Call, call
from tests.ops.test_coverage import assert_same, leaves_of, on, parts, results
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import FUNCTIONS, UFUNCS
from tinygrad_mnist.testing import gradcheck

METHODS = {
    f"{method.__self__.__name__}.{method.__name__}": method
    for method in FUNCTIONS
    if isinstance(getattr(method, "__self__", None), np.ufunc)
}
"""``np.add.reduce`` and the others that Tensors take, by name."""

OUT = object()
"""Stands for an array in the shape of the result."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "reduce": {
        "axis": 0, "dtype": None, "out": None, "keepdims": False, "initial": np._NoValue, "where": True,
    },
    "accumulate": {"axis": 0, "dtype": None, "out": None},
}  # fmt: skip
"""The arguments that follow the array, in this order, by position or by keyword, and NumPy's defaults."""

VALUES: dict[str, tuple[Any, ...]] = {
    "axis": (0, 1, -1, (0, 1), (-1,), None),
    "dtype": (np.float32, np.float64, np.int32, None),
    "out": (OUT, None),
    "keepdims": (True, False),
    "initial": (2.0, np.array(0.4), None, True),
    "where": (MASK, np.array([True, False, True]), True, False),
    "casting": ("unsafe", "same_kind"), "order": ("F", "K"), "subok": (False, True),
    "signature": (),
}  # fmt: skip
OF_OUTER = ("out", "where", "casting", "order", "dtype", "subok", "signature")


def first_argument(name: str) -> tuple[Any, ...]:
    ufunc = METHODS[name].__self__
    if name.startswith("logical"):
        arrays: tuple[Any, ...] = (SIGNED > 0, SIGNED < 1)
    elif "d" not in {types[0] for types in ufunc.types}:
        arrays = (INTEGERS, INTEGERS[:, ::-1] % 3)
    elif ufunc is np.ldexp:
        arrays = (A, INTEGERS % 3)
    else:
        arrays = (A, B)
    return arrays if name.endswith("outer") else arrays[:1]


def options() -> Iterator[Any]:
    for name in sorted(METHODS):
        for option in DEFAULTS.get(name.split(".")[1], OF_OUTER):
            yield pytest.param(name, option, id=f"{name}-{option}")


def calls_with(name: str, option: str) -> Iterator[tuple[Call, bool]]:
    """With each value by keyword, and in its place; and whether it is by keyword."""
    arrays, defaults = first_argument(name), DEFAULTS.get(name.split(".")[1], {})
    types = [one for one in METHODS[name].__self__.types if set(one) <= set("dliqB?->")]
    for value in types if option == "signature" else VALUES[option]:
        yield call(*arrays, **{option: value}), True
        if option in defaults:
            before = list(defaults)[: list(defaults).index(option)]
            yield call(*arrays, *(defaults[one] for one in before), value), False


def filled(method: Any, given: Call, wrap: Any) -> Call:
    """The call with an array in the place of what stands for one of the shape of the result."""
    if not any(one is OUT for one in (*given.args, *given.kwargs.values())):
        return given
    kept = {option: value for option, value in given.kwargs.items() if value is not OUT}
    out: Any = method(*(a for a in given.args if a is not OUT), **kept)
    out = tuple(map(wrap, out)) if isinstance(out, tuple) else wrap(out)
    args = (out if a is OUT else a for a in given.args)
    return call(*args, **{option: out if value is OUT else value for option, value in given.kwargs.items()})


def outcome(name: str, option: str, given: Call, wrap: Any, derivatives: bool) -> str:
    method = METHODS[name]
    plain = filled(method, given, np.asarray)
    try:
        expected = method(*plain.args, **plain.kwargs)
    except Exception:
        expected = None
    of_arrays, arrays = on(method, filled(method, given, wrap), "fbiu")
    if expected is None:
        with pytest.raises((TypeError, ValueError)):
            of_arrays(*leaves_of(arrays))
        return "not NumPy's"
    try:
        got = of_arrays(*leaves_of(arrays))
    except TypeError as error:
        message = str(error)
        assert name in message, message
        assert option in message, message
        assert "\n" not in message
        return "refused"
    assert_same(got, expected)
    recorded = [isinstance(one, Tensor) and one.requires_grad for one in parts(got)]
    if method.__self__ in UFUNCS and UFUNCS[method.__self__].kind == "constant":
        assert not any(recorded)
    elif any(isinstance(one, Tensor) and one.dtype.kind == "f" for one in parts(got)):
        assert any(recorded), "the result is detached"
        which = [i for i, one in enumerate(recorded) if one]
        if derivatives:
            gradcheck(partial(results, of_arrays, which, [np.isnan(a) for a in arrays]), *arrays, atol=1e-12)
            return "as NumPy, with its gradient"
    return "as NumPy"


@pytest.mark.parametrize(
    ("method", "array", "options"),
    [
        (np.add.accumulate, A, {"axis": None}), (np.add.accumulate, A, {"axis": (0, 1)}),
        (np.multiply.accumulate, np.array(2.0), {}), (np.add.reduce, A[:0], {"initial": None}),
        (np.multiply.reduce, A[:0], {"initial": None}), (np.maximum.reduce, A[:0], {}),
        (np.logical_and.reduce, A > 1, {"initial": np.array([True, False])}),
    ],
)  # fmt: skip
def test_what_numpy_refuses_is_refused(method: Any, array: Any, options: dict[str, Any]) -> None:
    for one in (array, Tensor(array)):
        with pytest.raises((TypeError, ValueError)):
            method(one, **options)


@pytest.mark.parametrize(("name", "option"), list(options()))
def test_a_parameter_has_its_effect_and_its_gradient_or_is_refused_by_name(name: str, option: str) -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            outcome(name, option, given, wrap, derivatives=by_keyword)
            for given, by_keyword in calls_with(name, option)
            for wrap in ((np.asarray, Tensor) if option == "out" else (np.asarray,))
        }
    assert found - {"not NumPy's"}, "NumPy takes none of the values"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in sorted(METHODS) if name.split(".")[1] in DEFAULTS])
def test_a_parameter_in_its_place_has_its_gradient_too(name: str) -> None:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for option in DEFAULTS[name.split(".")[1]]:
            for given in (given for given, by_keyword in calls_with(name, option) if not by_keyword):
                if "with its gradient" in outcome(name, option, given, np.asarray, derivatives=True):
                    break
