"""Compiled functions against their true values in many digits, and against NumPy where values are special."""

from __future__ import annotations

import ctypes
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.compiler.functions import FORMATS, FUNCTIONS, TWO_ARGUMENTS, definition, definitions
from tinygrad_mnist.testing.true_functions import multiprecision, references

llvm = pytest.importorskip("llvmlite.binding")

DTYPES = tuple(FORMATS)
TESTS_OF_VALUES = ("isnan", "isinf", "isfinite")
# Those that LLVM has no instruction for: they are measured.
APPROXIMATE = tuple("exp exp2 expm1 log log2 log10 log1p tanh erf sin cos".split())
EXACT = tuple(name for name in FUNCTIONS if name not in (*APPROXIMATE, *TESTS_OF_VALUES))
Array = np.ndarray[Any, Any]


# ---- loops over the functions ----------------------------------------------------------------------------


def loop(name: str, dtype: str) -> str:
    """Return the IR of a loop that applies a function to each element of arrays."""
    form = FORMATS[dtype]
    real = form.real
    result = "i1" if name in TESTS_OF_VALUES else real
    stored = f"%s = zext i1 %r to i8\n  store i8 %s" if result == "i1" else f"store {real} %r"
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


def numbers(dtype: str, count: int = 300) -> Array:
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
    near = np.concatenate([(integers + step).view(dtype) for step in range(-4, 5)])
    with np.errstate(over="ignore", invalid="ignore"):
        around = (edges[:, None] * (1 + random.uniform(-0.01, 0.01, (len(edges), 12)))).ravel().astype(dtype)
    spread = np.concatenate(
        [random.uniform(-bound, bound, count) for bound in (0.5, 1, 2, 6, 20, 90, 110, 750)]
    ).astype(dtype)
    small = (10.0 ** random.uniform(-12, 0, count) * random.choice([-1, 1], count)).astype(dtype)
    return np.concatenate([patterns, near, -near, around, -around, spread, small, 1 + small])


def special(dtype: str) -> Array:
    """Return NaN, infinities, zeros, and numbers at and next to bounds."""
    info = np.finfo(dtype)
    values = [np.nan, np.inf, 0.0, 1.0, 2.0, 0.5, 3.0, 2.5, info.max, info.tiny, info.smallest_subnormal, 1e30]
    return np.array([*values, *(-value for value in values)], dtype)


def errors(name: str, x: Array, got: Array) -> Iterator[float]:
    """Yield the errors in units in the last place of the true value, where it is a number."""
    context = multiprecision()
    reference = references()[name][0]
    info = np.finfo(x.dtype)
    within = np.isfinite(x) & reference.within(x)
    for argument, value in zip(x[within].tolist(), got[within].tolist(), strict=True):
        # beyond what counts, and slow
        limited = max(min(argument, 1500.0), -1500.0) if name in ("exp", "exp2", "expm1", "tanh", "erf") else argument
        true = reference.value(context.mpf(limited))
        exponent = max(int(context.floor(context.log(abs(true), 2))) if true else info.minexp, info.minexp)
        exponent = min(exponent, info.maxexp - 1)
        result = min(max(context.mpf(value), -context.mpf(2) ** info.maxexp), context.mpf(2) ** info.maxexp)
        true = min(max(true, -context.mpf(2) ** info.maxexp), context.mpf(2) ** info.maxexp)
        yield float(abs(result - true) * context.mpf(2) ** (info.nmant - exponent))


# ---- the tests -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", APPROXIMATE)
def test_values_are_within_two_units_in_the_last_place(name: str, dtype: str, compiled: Compiled) -> None:
    x = numbers(dtype)
    got = compiled(name, x)
    worst = np.array(list(errors(name, x, got)))
    assert len(worst) > 1000
    print(name, dtype, worst.max())
    assert worst.max() < 2
