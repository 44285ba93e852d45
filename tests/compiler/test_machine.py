"""LLVM's language as text in, functions that run out: on disk, in threads, after a fork, freed in the end."""

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.machine import Compiled, Host, compile_ir

needs_llvmlite = pytest.mark.skipif(not machine.available(), reason=str(machine.why_unavailable()))

TIMES = """
define internal i64 @product(i64 %x, i64 %y) noinline {{
  %z = mul i64 %x, %y
  ret i64 %z
}}
define i64 @times(i64 %x) {{
  %z = call i64 @product(i64 %x, i64 {factor})
  ret i64 %z
}}
"""

CALLS = """
declare double @outside(double)
define double @calls(double %x) {
  %y = call double @outside(double %x)
  ret double %y
}
"""

ADDS = """
define void @adds(ptr %p) "prefer-vector-width"="512" {
  %a = load <16 x float>, ptr %p
  %b = fadd <16 x float> %a, %a
  store <16 x float> %b, ptr %p
  ret void
}
"""


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_CACHE", str(tmp_path / "compiled"))


def times(code: Compiled, x: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address("times"))(x))


# ---- compiling -----------------------------------------------------------------------------------------


@needs_llvmlite
def test_a_function_runs_at_its_address() -> None:
    code = compile_ir(TIMES.format(factor=6))
    assert times(code, 7) == 42
    assert code.names == {"times"}


@needs_llvmlite
def test_a_name_that_is_not_to_be_called_from_outside_is_an_error() -> None:
    with pytest.raises(KeyError, match="there is no function 'product' among times"):
        compile_ir(TIMES.format(factor=6)).address("product")


@needs_llvmlite
@pytest.mark.parametrize("text", ["define nonsense", "define void @f() {\n  ret i32 0\n}"])
def test_a_text_that_is_not_llvm_s_is_an_error(text: str) -> None:
    with pytest.raises(RuntimeError, match="error: "):
        compile_ir(text)


@needs_llvmlite
def test_what_a_module_declares_is_taken_from_the_symbols() -> None:
    double = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    for offset in (1.0, 2.0):  # the code is the same, the address another
        outside = double(lambda x, offset=offset: x + offset)
        address = ctypes.cast(outside, ctypes.c_void_p).value
        assert address is not None
        code = compile_ir(CALLS, symbols={"outside": address})
        assert double(code.address("calls"))(40.0) == 40.0 + offset


@needs_llvmlite
def test_what_a_module_declares_may_be_in_the_process() -> None:
    code = compile_ir(CALLS.replace("outside", "cos"))
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(code.address("calls"))(0.0) == 1.0


@needs_llvmlite
@pytest.mark.parametrize("text", [CALLS, CALLS + TIMES.format(factor=3)])
def test_what_is_nowhere_is_an_error_and_does_not_end_the_process(text: str) -> None:
    with pytest.raises(RuntimeError, match="the code calls 'outside', which is neither given nor"):
        compile_ir(text)


@needs_llvmlite
def test_a_module_has_constants_of_its_own() -> None:
    code = compile_ir(
        """
        @table = internal constant [3 x i64] [i64 5, i64 7, i64 9]
        define i64 @times(i64 %x) {
          %p = getelementptr i64, ptr @table, i64 %x
          %y = load i64, ptr %p
          ret i64 %y
        }
        """
    )
    assert [times(code, index) for index in range(3)] == [5, 7, 9]


@needs_llvmlite
def test_a_function_that_is_in_vectors_already_is_called_as_any_other() -> None:
    text = TIMES.format(factor=6).replace("noinline", 'noinline "vectorised" nounwind')
    loops, vectors = machine._parted(text)
    assert "declare i64 @product(i64 %x, i64 %y) noinline\n" in loops
    assert vectors.startswith("define i64 @product(")
    assert vectors.count("define") == loops.count("define") == 1
    code = compile_ir(text)
    assert times(code, 7) == 42
    assert code.names == {"times"}


@needs_llvmlite
def test_numbers_below_the_normal_ones_stay_after_a_call() -> None:
    code = compile_ir("define double @half(double %x) {\n  %y = fmul double %x, 0.5\n  ret double %y\n}")
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(code.address("half"))(2e-323) == 1e-323
    assert float("1e-323") * 1.0 > 0


# ---- on disk -------------------------------------------------------------------------------------------


@needs_llvmlite
def test_the_second_time_the_code_comes_from_disk() -> None:
    first, second = (compile_ir(TIMES.format(factor=6)) for _ in range(2))
    assert (first.from_disk, second.from_disk) == (False, True)
    assert second.object_bytes == first.object_bytes
    assert times(second, 7) == 42
    assert not compile_ir(TIMES.format(factor=5)).from_disk


@needs_llvmlite
def test_a_damaged_file_is_compiled_again(tmp_path: Path) -> None:
    compile_ir(TIMES.format(factor=6))
    (path,) = (tmp_path / "compiled").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    again = compile_ir(TIMES.format(factor=6))
    assert not again.from_disk
    assert times(again, 7) == 42
    assert compile_ir(TIMES.format(factor=6)).from_disk


@needs_llvmlite
@pytest.mark.parametrize("value", ["0", "/dev/null/nowhere"])
def test_without_a_directory_it_compiles_each_time(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_CACHE", value)
    for _ in range(2):
        code = compile_ir(TIMES.format(factor=6))
        assert not code.from_disk
        assert times(code, 7) == 42


@needs_llvmlite
def test_the_code_of_another_processor_or_version_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite

    def from_disk() -> bool:
        return compile_ir(TIMES.format(factor=6)).from_disk

    assert [from_disk(), from_disk()] == [False, True]
    here = machine.host()
    others = [here._replace(cpu="generic"), here._replace(features={**here.features, "fma": False})]
    for other in others:
        with monkeypatch.context() as patch:
            patch.setattr(machine, "host", lambda other=other: other)
            assert not from_disk()
    for owner, name in [(llvmlite, "__version__"), (machine, "__version__"), (machine, "FORMAT")]:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, "another")
            assert not from_disk()
    assert from_disk()


# ---- processes and threads -----------------------------------------------------------------------------

FORKS = """
import ctypes, os, sys, threading
from tinygrad_mnist.compiler.machine import compile_ir

def run(code, x):
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address("times"))(x)

def text(factor):
    return "define i64 @times(i64 %%x) {\\n %%z = mul i64 %%x, %d\\n ret i64 %%z\\n}" % factor

code, stop = compile_ir(text(2)), threading.Event()

def compile_all_the_time():
    factor = 1000
    while not stop.is_set():
        compile_ir(text(factor := factor + 1))

os.environ["TINYGRAD_MNIST_CACHE"] = "0"
threading.Thread(target=compile_all_the_time).start()
right = 0
for factor in range(3, 13):
    child = os.fork()
    if child == 0:
        os._exit(run(compile_ir(text(factor)), run(code, 1)) if run(code, 1) == 2 else 99)
    right += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2 * factor
stop.set()
print(right, code.from_disk)
"""


@needs_llvmlite
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_children_that_are_forked_while_a_thread_compiles_run_old_code_and_compile_new() -> None:
    call = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS]
    done = subprocess.run(call, check=False, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("10 False\n", "")


@needs_llvmlite
def test_threads_compile_at_the_same_time() -> None:
    results: dict[int, int] = {}

    def work(factor: int) -> None:
        results[factor] = times(compile_ir(TIMES.format(factor=factor)), 10)

    threads = [threading.Thread(target=work, args=(factor,)) for factor in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {factor: 10 * factor for factor in range(12)}


# ---- freeing -------------------------------------------------------------------------------------------


@needs_llvmlite
def test_code_is_freed_with_its_last_holder() -> None:
    code = compile_ir(TIMES.format(factor=6))
    engine = code._engine
    assert not engine.closed
    del code
    gc.collect()
    assert engine.closed


@needs_llvmlite
def test_code_whose_holder_goes_while_another_thread_compiles_is_freed_by_the_next_compile() -> None:
    code = compile_ir(TIMES.format(factor=6))
    engine, entered, leave = code._engine, threading.Event(), threading.Event()

    def be_inside() -> None:
        with machine._LOCK:
            entered.set()
            leave.wait()

    thread = threading.Thread(target=be_inside)
    thread.start()
    entered.wait()
    del code
    gc.collect()
    assert not engine.closed
    leave.set()
    thread.join()
    compile_ir(TIMES.format(factor=5))
    assert engine.closed


# ---- the host ------------------------------------------------------------------------------------------


@pytest.fixture
def _x86() -> None:
    if not machine.host().triple.startswith("x86_64"):
        pytest.skip("of processors of the family x86-64")


@needs_llvmlite
@pytest.mark.usefixtures("_x86")
def test_features_that_the_named_processor_has_and_this_machine_has_not_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llvm = machine._llvm()
    here = machine.host()

    def assembly(avx512: bool) -> str:
        features = {name: avx512 for name in here.features if name.startswith("avx512")}
        monkeypatch.setattr(machine, "host", lambda: Host(here.triple, "skylake-avx512", features))
        return str(machine._target_machine().emit_assembly(llvm.parse_assembly(ADDS)))

    assert "zmm" in assembly(True)
    assert "zmm" not in assembly(False)


@pytest.mark.parametrize(
    ("features", "widest", "preferred"),
    [
        ({}, 128, 128),
        ({"neon": True}, 128, 128),
        ({"sse4.2": True, "avx": False}, 128, 128),
        ({"avx": True, "avx2": True, "avx512f": False}, 256, 256),
        ({"avx": True, "avx2": True, "avx512f": True, "avx512vbmi2": False}, 512, 256),
        ({"avx": True, "avx2": True, "avx512f": True, "avx512vbmi2": True}, 512, 512),
    ],
)
def test_the_bits_of_vectors_by_the_features(
    features: Mapping[str, bool], widest: int, preferred: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "host", lambda: Host("x86_64", "generic", features))
    assert machine.vector_bits() == widest
    assert machine.preferred_vector_bits() == preferred


# ---- without llvmlite ----------------------------------------------------------------------------------


@pytest.fixture
def _asked_anew() -> Iterator[None]:
    machine.why_unavailable.cache_clear()
    machine._llvm.cache_clear()
    yield
    machine.why_unavailable.cache_clear()
    machine._llvm.cache_clear()


@pytest.mark.usefixtures("_asked_anew")
def test_without_llvmlite_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    assert not machine.available()
    with pytest.raises(ImportError, match=r'which is not installed; pip install "tinygrad_mnist\[jit\]"'):
        compile_ir(TIMES.format(factor=6))


@pytest.mark.usefixtures("_asked_anew")
def test_an_old_llvmlite_is_told_to_be_old(monkeypatch: pytest.MonkeyPatch) -> None:
    package, binding = ModuleType("llvmlite"), ModuleType("llvmlite.binding")
    package.__dict__.update(__version__="0.44.0", binding=binding)
    binding.__dict__.update(llvm_version_info=(15, 0, 7))
    monkeypatch.setitem(sys.modules, "llvmlite", package)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", binding)
    assert str(machine.why_unavailable()).startswith("compiling needs a newer llvmlite than 0.44.0; pip")


@needs_llvmlite
@pytest.mark.usefixtures("_asked_anew")
def test_a_system_that_lets_nobody_make_code_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite.binding

    def refused() -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(llvmlite.binding, "check_jit_execution", refused)
    assert machine.why_unavailable() == "this system lets no process make code that runs (Permission denied)"


# ---- names for perf ------------------------------------------------------------------------------------


@needs_llvmlite
@pytest.mark.skipif(sys.platform != "linux", reason="perf is a program of Linux")
def test_perf_is_told_where_functions_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(machine.PERF_VARIABLE, "1")
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    before = path.exists()
    try:
        code = compile_ir(TIMES.format(factor=6))
        rows = [line.split() for line in path.read_text().splitlines()[-2:]]
    finally:
        if not before:
            path.unlink(missing_ok=True)
    assert [row[-2:] for row in rows] == [["tinygrad_mnist", "product"], ["tinygrad_mnist", "times"]]
    assert int(rows[1][0], 16) == code.address("times")
    assert int(rows[0][0], 16) + int(rows[0][1], 16) <= int(rows[1][0], 16)


def test_an_object_file_of_another_format_has_no_symbols_here() -> None:
    assert list(machine.symbols_of_elf(b"\xcf\xfa\xed\xfe\x07\x00\x00\x01")) == []


@pytest.mark.parametrize(
    "name", ["parse_assembly", "create_context", "create_pass_builder", "create_mcjit_compiler"]
)
def test_an_interrupt_while_llvm_works_comes_afterwards(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    llvm = pytest.importorskip("llvmlite.binding")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    work, text = getattr(llvm, name), f"define i32 @interrupted_{name}() {{\n  ret i32 1\n}}"

    def interrupted(*given: Any) -> Any:
        done = work(*given)
        signal.raise_signal(signal.SIGINT)
        return done

    monkeypatch.setattr(llvm, name, interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            machine.compile_ir(text)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    assert machine.compile_ir(f"define i32 @interrupted_{name}() {{\n  ret i32 1\n}}").address(
        f"interrupted_{name}"
    )
