"""Compiled functions against their true values in many digits, and against NumPy where values are special."""

from __future__ import annotations

import ctypes
import itertools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from tinygrad_mnist.compiler.expression import FORMATS
from tinygrad_mnist.compiler.functions import FUNCTIONS, TWO_ARGUMENTS, definition, definitions
from tinygrad_mnist.testing.true_functions import multiprecision, references

llvm = pytest.importorskip("llvmlite.binding")

DTYPES = tuple(FORMATS)
TESTS_OF_VALUES = ("isnan", "isinf", "isfinite")
# Those that LLVM has no instruction for: they are measured.
SATURATED = ("exp", "exp2", "expm1", "tanh", "erf")
APPROXIMATE = ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "erf", "sin", "cos")
EXACT = tuple(name for name in FUNCTIONS if name not in (*APPROXIMATE, "power"))
# Of two zeros of different sign NumPy returns one or the other, as its build and the machine have it.
EITHER_ZERO = ("maximum", "minimum", "fmax", "fmin", *TESTS_OF_VALUES)
Array = np.ndarray[Any, Any]


# ---- loops over the functions ----------------------------------------------------------------------------


def loop(name: str, dtype: str) -> str:
    """Return the IR of a loop that applies a function to each element of arrays."""
    form = FORMATS[dtype]
    real = form.real
    result = "i1" if name in TESTS_OF_VALUES else real
    stored = "%s = zext i1 %r to i8\n  store i8 %s" if result == "i1" else f"store {real} %r"
    second = f", {real} %b" if name in TWO_ARGUMENTS else ""
    return f"""
define void @{name}_{dtype}(ptr noalias %x, ptr noalias %y, ptr noalias %out, i64 %n) #0 {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %p = getelementptr inbounds {real}, ptr %x, i64 %i
  %q = getelementptr inbounds {real}, ptr %y, i64 %i
  %a = load {real}, ptr %p
  %b = load {real}, ptr %q
  %r = call {result} @tg_{name}_{form.suffix}({real} %a{second})
  %o = getelementptr inbounds {"i8" if result == "i1" else real}, ptr %out, i64 %i
  {stored}, ptr %o
  %next = add nuw nsw i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


class Compiled:
    """All functions of the table as loops over arrays, compiled once."""

    def __init__(self) -> None:
        pairs = list(itertools.product(FUNCTIONS, DTYPES))
        text = definitions(pairs) + "".join(loop(*pair) for pair in pairs)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
        )
        module = llvm.parse_assembly(text + '\nattributes #0 = { "prefer-vector-width"="512" }\n')
        module.verify()
        tuning = llvm.create_pipeline_tuning_options(speed_level=3)
        tuning.loop_vectorization = True
        builder = llvm.create_pass_builder(self.machine, tuning)
        builder.getModulePassManager().run(module, builder)
        self.optimised = str(module)
        self.engine = llvm.create_mcjit_compiler(module, self.machine)
        self.engine.finalize_object()

    def __call__(self, name: str, *arrays: Array) -> Array:
        arrays = tuple(np.ascontiguousarray(array) for array in arrays)
        dtype = arrays[0].dtype
        out = np.empty(arrays[0].shape, bool if name in TESTS_OF_VALUES else dtype)
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(
            self.engine.get_function_address(f"{name}_{dtype}")
        )
        function(arrays[0].ctypes.data, arrays[-1].ctypes.data, out.ctypes.data, out.size)
        return out


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return Compiled()


# ---- arguments -------------------------------------------------------------------------------------------


def numbers(dtype: str, count: int = 120) -> Array:
    """Return numbers of all sizes, of the sizes of activations, and next to where functions change."""
    random = np.random.default_rng(7)
    bits = np.dtype(dtype).itemsize * 8
    patterns = random.integers(0, 2**bits, count, dtype=f"uint{bits}").view(dtype)
    info = np.finfo(dtype)
    edges = np.array(
        [
            *(0, 1, -1, 0.5, 2, info.tiny, info.smallest_subnormal, info.max, info.eps, 4, 6, 10, 1000),
            *(np.sqrt(0.5), np.sqrt(2), np.sqrt(2) - 1, np.sqrt(0.5) - 1),
            *(np.log(info.max), np.log(info.tiny), np.log(2) / 2, info.minexp, info.maxexp),
            *(np.log(2) * (info.minexp - info.nmant), info.minexp - info.nmant - 1, 9, 19, -17, -37),
        ],
        dtype,
    )
    integers = edges.view(f"int{bits}")
    near = np.concatenate([(integers + step).view(dtype) for step in range(-2, 3)])
    with np.errstate(over="ignore", invalid="ignore"):
        around = (edges[:, None] * (1 + random.uniform(-0.01, 0.01, (len(edges), 8)))).ravel().astype(dtype)
    spread = np.concatenate(
        [random.uniform(-bound, bound, count) for bound in (0.5, 1, 2, 6, 20, 90, 110, 750)]
    ).astype(dtype)
    small = (10.0 ** random.uniform(-12, 0, count) * random.choice([-1, 1], count)).astype(dtype)
    found = np.concatenate([patterns, near, -near, around, -around, spread, small, 1 + small])
    found[np.isnan(found)] = np.nan  # no signalling ones, of which the fmax of some systems makes NaN
    return found


def special(dtype: str) -> Array:
    """Return NaN, infinities, zeros, and numbers at and next to bounds."""
    info = np.finfo(dtype)
    values = [np.nan, np.inf, 0, 1, 2, 0.5, 3, 2.5, info.max, info.tiny, info.smallest_subnormal, 1e30]
    return np.array([*values, *(-np.array(values))], dtype)


def special_arguments(name: str, dtype: str) -> list[Array]:
    """Return special values, and all pairs of them for a function of two numbers."""
    values = special(dtype)
    if name not in TWO_ARGUMENTS:
        return [values]
    return [x.ravel() for x in np.meshgrid(values, values)]


def numpy_function(name: str) -> Callable[..., Array]:
    """Return NumPy's function, of arrays; it has no erf."""
    if name != "erf":
        return cast("Callable[..., Array]", getattr(np, name))
    return lambda x: np.array([math.erf(number) for number in x.tolist()]).astype(x.dtype)


def errors(name: str, arguments: Sequence[Array], got: Array) -> Array:
    """Return the errors in units in the last place of the true value, where the function is defined."""
    context = multiprecision()
    reference = references()[name][0]
    info = np.finfo(got.dtype)
    bound = context.mpf(2) ** info.maxexp  # what is larger is rounded to infinity
    within = np.all([np.isfinite(x) for x in arguments], axis=0) & reference.within(*arguments)
    found = []
    for *at, value in zip(*(x[within].tolist() for x in arguments), got[within].tolist(), strict=True):
        if name in SATURATED:
            at = [max(min(at[0], 1500.0), -1500.0)]  # there the true value takes long
        true = max(min(reference.value(*map(context.mpf, at)), bound), -bound)
        exponent = context.frexp(true)[1] - 1 if true else info.minexp
        unit = context.ldexp(1, max(info.minexp, min(exponent, info.maxexp - 1)) - info.nmant)
        found.append(float(abs(max(min(context.mpf(value), bound), -bound) - true) / unit))
    assert len(found) > 500
    return np.array(found)


# ---- the tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", APPROXIMATE)
def test_values_are_within_two_units_in_the_last_place(name: str, dtype: str, compiled: Compiled) -> None:
    x = numbers(dtype)
    assert errors(name, [x], compiled(name, x)).max() < 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_are_within_two_units_in_the_last_place(dtype: str, compiled: Compiled) -> None:
    x = np.abs(numbers(dtype))
    x = x[np.isfinite(x) & (x > 0)]
    random = np.random.default_rng(3)
    with np.errstate(divide="ignore", over="ignore"):
        # results of all sizes: the power by which each becomes 2**e, and some small ones
        y = (random.uniform(-1100, 1030, x.size) / np.log2(x.astype(np.float64))).astype(dtype)
    y[::3] = random.integers(-4, 5, y[::3].size) / 2
    assert errors("power", [x, y], compiled("power", x, y)).max() < 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*APPROXIMATE, "power"])
def test_special_values_are_those_of_numpy(name: str, dtype: str, compiled: Compiled) -> None:
    arguments = special_arguments(name, dtype)
    with np.errstate(all="ignore"):
        expected = numpy_function(name)(*arguments)
    got = compiled(name, *arguments)
    special = ~np.isfinite(expected) | (expected == 0) | (np.abs(expected) == 1)
    assert special.sum() > 4
    np.testing.assert_array_equal(got[special], expected[special])
    numbers = special & ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(expected[numbers]))
    np.testing.assert_allclose(got[~special], expected[~special], rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXACT)
def test_what_llvm_has_an_instruction_for_is_numpys_to_the_bit(
    name: str, dtype: str, compiled: Compiled
) -> None:
    x = numbers(dtype)
    for arguments in ([x, x[::-1]] if name in TWO_ARGUMENTS else [x], special_arguments(name, dtype)):
        with np.errstate(all="ignore"):
            expected = numpy_function(name)(*arguments)
        got = compiled(name, *arguments)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
        if name not in EITHER_ZERO:
            numbers_ = ~np.isnan(expected)
            np.testing.assert_array_equal(np.signbit(got[numbers_]), np.signbit(expected[numbers_]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_element_does_not_depend_on_its_place(name: str, dtype: str, compiled: Compiled) -> None:
    x = np.concatenate([special(dtype), numbers(dtype)[:40]])
    arguments = [x, x[::-1]] if name in TWO_ARGUMENTS else [x]
    alone = np.concatenate([compiled(name, *(a[i : i + 1] for a in arguments)) for i in range(x.size)])
    for length in range(34):
        got = compiled(name, *(a[length : 2 * length] for a in arguments))
        np.testing.assert_array_equal(got, alone[length : 2 * length])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_loops_over_a_function_are_vectorised(name: str, dtype: str, compiled: Compiled) -> None:
    start = compiled.optimised.index(f"define void @{name}_{dtype}(")
    body = compiled.optimised[start : compiled.optimised.index("\n}", start)]
    assert f"x {FORMATS[dtype].real}>" in body
    assert "call" not in body or not re.search(rf"call {FORMATS[dtype].real} @tg_{name}", body)


def test_each_definition_is_written_once_and_in_order() -> None:
    text = definitions([("sin", "float32"), ("exp", "float64"), ("cos", "float32"), ("sin", "float32")])
    names = re.findall(r"^define .*?@(\w+)\(", text, re.MULTILINE)
    assert len(set(names)) == len(names)
    ours = [name for name in names if "far" not in name]
    assert ours == ["tg_sin_f32", "tg_exp_f64", "tg_cos_f32"]
    assert definition("exp", "float64") in text


def test_no_instruction_assumes_that_values_are_finite() -> None:
    text = definitions(itertools.product(FUNCTIONS, DTYPES))
    assert not re.search(r"\b(fast|nnan|ninf|nsz|arcp|afn|reassoc)\b", text)
