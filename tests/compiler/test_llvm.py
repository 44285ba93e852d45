"""Every operation that a loop can spell, for every dtype: what LLVM makes of it is what NumPy makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tinygrad_mnist.compiler.executable import build
from tinygrad_mnist.compiler.prepare import FLOATS
from tinygrad_mnist.compiler.program import ELEMENTWISE, interpret

pytest.importorskip("llvmlite")

DTYPES = ["?", "i1", "u1", "i4", "u4", "i8", "u8", "f4", "f8"]
TWO = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "copysign",
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "logical_and",
        "logical_or",
        "logical_xor",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
    ]
)
LENGTHS = [1, 2, 7, 16, 33]


def numbers(dtype, length, seed=0, *, special=True):
    """Return an array with infinities, NaN, zeros of both signs and subnormal numbers, if it can have
    them."""
    rng = np.random.default_rng(seed + length)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.integers(0, 2, length).astype(bool)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        array = rng.integers(max(limits.min, -9), 9, length).astype(kind)
        array[: 2 if length > 4 else 0] = [limits.min, limits.max][: 2 if length > 4 else 0]
        return array
    array = (rng.standard_normal(length) * 3).astype(kind)
    if special:
        tiny = np.finfo(kind).smallest_subnormal
        values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, tiny], kind)
        array[rng.permutation(length)[: len(values)]] = rng.permutation(values)[:length]
    return array


def same(result, expected, *, ulps=4, signs=True):
    """Check that two arrays are equal: integers and bools exactly, floats within rounding, NaN where NaN
    is."""
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    if expected.dtype.kind == "f":
        eps = ulps * np.finfo(expected.dtype).eps
        np.testing.assert_allclose(result, expected, rtol=eps, atol=0)
        finite = ~np.isnan(expected)
        if signs:
            np.testing.assert_array_equal(np.signbit(result)[finite], np.signbit(expected)[finite])
    else:
        np.testing.assert_array_equal(result, expected)


def check(b, arrays, scalars=(), **tolerance):
    """Run a program by machine code and by NumPy, and compare all that comes out."""
    copies = [array.copy(order="K") for array in arrays]
    run = build(b.program)
    result, expected = run(arrays, scalars), interpret(b.program, copies, scalars)
    assert (result is None) == (expected is None)
    if result is not None and expected is not None:
        for got, wanted in zip(result[0], expected[0], strict=True):
            same(got, wanted, **tolerance)
        np.testing.assert_array_equal(result[1], expected[1])
    for got, wanted in zip(arrays, copies, strict=True):
        same(got, wanted, **tolerance)
    return run


def loops_only(run):
    """Check that NumPy runs nothing."""
    assert not [report.instructions for report in run.report() if report.kind == "call"]


@pytest.mark.parametrize("name", sorted(ELEMENTWISE - {"where", "astype", "power", "identity"}))
def test_an_elementwise_operation(name):
    b, arrays = Builder(), []
    for dtype in DTYPES:
        if name in FLOATS and dtype[0] != "f":
            continue
        for length in LENGTHS if dtype[0] == "f" else LENGTHS[-1:]:
            given = [numbers(dtype, length, seed) for seed in range(1 + (name in TWO))]
            arguments = [b.input(array) for array in given]
            try:
                with np.errstate(all="ignore"):
                    result = getattr(b, name)(*arguments)
            except TypeError:
                b.program.inputs, b.program.strides = (
                    b.program.inputs[: len(arrays)],
                    b.program.strides[: len(arrays)],
                )
                break
            arrays += given
            b.program.outputs.append(result)
    # Which of two zeros is the larger one depends, in NumPy, on the length.
    run = check(b, arrays, signs=name not in ("maximum", "minimum", "fmax", "fmin"))
    if name not in ("sin", "cos"):
        calls = [i for report in run.report() if report.kind == "call" for i in report.instructions]
        assert all(i.inputs[0].dtype.kind != "f" for i in calls)


@pytest.mark.parametrize("old", DTYPES)
def test_a_cast(old):
    b = Builder()
    array = numbers(old, 33, special=False)
    x = b.input(array)
    b.program.outputs += [b.astype(x, np.dtype(new)) for new in DTYPES]
    check(b, [array])


@pytest.mark.parametrize("dtype", DTYPES)
def test_where(dtype):
    b = Builder()
    arrays = [numbers("?", 33), numbers(dtype, 33), numbers(dtype, 33, 1)]
    b.program.outputs.append(b.where(*map(b.input, arrays)))
    loops_only(check(b, arrays))


@pytest.mark.parametrize("by", [-1.0, 0.5, 1.0, 2.0, 3.0, 2.5])
def test_a_power_is_spelled_where_its_exponent_is_simple(by):
    b = Builder()
    arrays = [numbers("f4", 33), numbers("f8", 33)]
    with np.errstate(all="ignore"):
        b.program.outputs += [b.power(b.input(a), np.array(by, a.dtype)) for a in arrays]
    check(b, arrays)


@pytest.mark.parametrize("name", ["sum", "max", "min", "prod", "any", "all"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_reduction(name, dtype):
    b, arrays = Builder(), []
    for length in LENGTHS:
        special = name in ("max", "min", "any", "all")
        arrays.append(numbers(dtype, length, special=special))
        arrays[-1][0] = 1
        if special and dtype[0] == "f":  # no infinity beside a NaN alone
            arrays.append(numbers(dtype, length, special=False))
            arrays[-1][-1] = np.nan
    b.program.outputs += [getattr(b, name)(b.input(array), axis=0) for array in arrays]
    check(b, arrays, ulps=1000)


@pytest.mark.parametrize("axis", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_reduction_over_axes(axis, keepdims):
    b = Builder()
    array = np.random.default_rng(0).standard_normal((5, 6, 17))
    x = b.input(array)
    b.program.outputs += [b.sum(x, axis=axis, keepdims=keepdims), b.max(x, axis=axis, keepdims=keepdims)]
    loops_only(check(b, [array], ulps=1000))


def test_a_sum_is_infinite_or_nan_where_numpy_s_is():
    b = Builder()
    arrays = []
    for dtype in ("f4", "f8"):
        for values in ([np.inf], [-np.inf], [np.inf, -np.inf], [np.nan], [np.finfo(dtype).max] * 3):
            array = np.ones(5000, dtype)
            array[[7, 2500, 4999][: len(values)]] = values
            arrays.append(array)
    b.program.outputs += [b.sum(b.input(array)) for array in arrays]
    with np.errstate(all="ignore"):
        check(b, arrays, ulps=1000)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(300_000,), (3, 100_000), (30_000, 3)])
def test_a_sum_is_as_accurate_as_numpy_s(dtype, shape):
    array = np.random.default_rng(1).uniform(0.5, 1.5, shape).astype(dtype)
    exact = array.astype(np.longdouble).sum(axis=-1 if shape[-1] > 3 else 0)
    axis = len(shape) - 1 if shape[-1] > 3 else 0
    b = Builder()
    b.program.outputs.append(b.sum(b.input(array), axis=axis))
    outputs, _ = build(b.program)([array])
    eps = np.finfo(dtype).eps
    pairwise = np.abs(array.sum(axis=axis) / exact - 1).max()
    assert np.abs(outputs[0] / exact - 1).max() <= max(2 * eps, pairwise)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_sum_over_loops_that_cannot_be_joined_is_as_accurate_as_numpy_s(dtype):
    rng = np.random.default_rng(1)
    rows, columns = rng.uniform(0.5, 1.5, (100_000, 1)).astype(dtype), rng.uniform(0.5, 1.5, 7).astype(dtype)
    b = Builder()
    b.program.outputs.append(b.sum(b.multiply(b.input(rows), b.input(columns))))
    outputs, _ = build(b.program)([rows, columns])
    exact = (rows * columns).astype(np.longdouble).sum()
    pairwise = abs((rows * columns).sum() / exact - 1)
    assert abs(outputs[0] / exact - 1) <= max(2 * np.finfo(dtype).eps, pairwise)


def test_subnormal_numbers_survive():
    tiny = np.array([1e-323, 5e-324, 2e-310])
    small = np.array([1e-45, 3e-42], np.float32)
    b = Builder()
    b.program.outputs += [b.multiply(b.input(a), np.array(1.0, a.dtype)) for a in (tiny, small)]
    outputs, _ = build(b.program)([tiny, small])
    np.testing.assert_array_equal(outputs[0], tiny)
    np.testing.assert_array_equal(outputs[1], small)
    assert np.float64(1e-323) * 1.0 == 1e-323
