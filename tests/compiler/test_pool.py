"""The pool: every piece runs once, in order of the phases, with any number of threads and callers."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.compiler import machine, pool, products

pytestmark = pytest.mark.skipif(not pool.available(), reason="needs llvmlite and POSIX threads")

STAMP = """
; stamps[begin] = clock++, after counting to end
define void @stamp(ptr %stamps, i64 %begin, i64 %end) {
entry:
  br label %count
count:
  %i = phi i64 [ 0, %entry ], [ %next, %count ]
  %next = add i64 %i, 1
  call void asm sideeffect "", ""()
  %more = icmp slt i64 %next, %end
  br i1 %more, label %count, label %done
done:
  %now = atomicrmw add ptr %stamps, i64 1 seq_cst
  %place = getelementptr i64, ptr %stamps, i64 %begin
  %old = load i64, ptr %place
  %new = add i64 %old, %now
  store i64 %new, ptr %place
  ret void
}
"""


@functools.cache
def _code() -> machine.Compiled:
    return machine.compile_ir(STAMP)


def _run(threads: pool.Pool, pieces: Any, argument: Any) -> None:
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    threads.start()
    table = np.array(pieces, np.int64).reshape(-1, 4)
    kind(threads.run_address)(threads.state_address, table.ctypes.data, len(table), argument.ctypes.data)


def _phases(rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Return a table of pieces of random sizes, in phases that each wait for all before."""
    stamp, table = _code().address("stamp"), []
    for length in rng.integers(1, 9, rng.integers(1, 12)):
        first = len(table)
        table += [(stamp, first + i + 1, int(rng.integers(1, 3000)), first) for i in range(length)]
    return table


def _check(threads: pool.Pool, seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(times):
        pieces = _phases(rng)
        stamps = np.zeros(len(pieces) + 1, np.int64)
        _run(threads, pieces, stamps)
        assert stamps[0] == len(pieces)
        assert sorted(stamps[1:]) == list(range(len(pieces)))
        for i, (_, _, _, first) in enumerate(pieces):
            assert stamps[1 + i] >= first


@pytest.mark.parametrize("threads", [2, 3])
def test_each_piece_runs_once_and_after_those_it_waits_for(threads: int) -> None:
    _check(pool.pool(threads), seed=threads, times=200)


def test_several_callers_at_a_time() -> None:
    failures: list[BaseException] = []

    def check(seed: int) -> None:
        try:
            _check(pool.pool(2), seed, times=60)
        except BaseException as error:
            failures.append(error)

    callers = [threading.Thread(target=check, args=(seed,)) for seed in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failures


def test_no_pieces_are_done_at_once() -> None:
    _run(pool.pool(2), [], np.zeros(1, np.int64))


def test_threads_stop_and_start_again() -> None:
    threads = pool.Pool(2)
    before = threading.active_count()
    _check(threads, seed=5, times=3)
    assert threading.active_count() == before + 1
    threads.stop()
    assert threading.active_count() == before
    _check(threads, seed=6, times=3)
    threads.stop()


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("grain", [1, 16])
def test_ranges_cover_a_length_once(length: int, grain: int) -> None:
    ranges = pool.ranges(length, grain=grain)
    assert [i for begin, end in ranges for i in range(begin, end)] == list(range(length))
    assert len(ranges) <= 8
    assert all(begin % grain == 0 for begin, _ in ranges)


def test_a_program_with_a_table_of_pieces() -> None:
    phases = [[("stamp", i, 10) for i in (1, 2, 3)], [("stamp", 4, 10)], [("stamp", i, 10) for i in (5, 6)]]
    text, count = pool.table("pieces", phases)
    program = f"""
declare void @tg_pool_run(ptr, ptr, i64, ptr)
define void @program(ptr %pool, ptr %stamps) {{
  call void @tg_pool_run(ptr %pool, ptr @pieces, i64 {count}, ptr %stamps)
  ret void
}}
"""
    threads = pool.pool(2)
    symbols = {"tg_pool_run": threads.run_address}
    code = machine.compile_ir("\n".join([pool.PIECE, text, STAMP, program]), symbols=symbols)
    threads.start()
    stamps = np.zeros(7, np.int64)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(code.address("program"))
    call(threads.state_address, stamps.ctypes.data)
    assert sorted(stamps[1:4]) == [0, 1, 2]
    assert stamps[4] == 3
    assert sorted(stamps[5:]) == [4, 5]


def test_a_pool_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 threads, not 1"):
        pool.Pool(1)


PRODUCT = """
define void @piece(ptr %table, i64 %begin, i64 %end) {
  %pb = getelementptr ptr, ptr %table, i64 1
  %pc = getelementptr ptr, ptr %table, i64 2
  %a = load ptr, ptr %table
  %b = load ptr, ptr %pb
  %c = load ptr, ptr %pc
  call void @product(ptr %a, ptr %b, ptr %c, i64 %begin, i64 %end)
  ret void
}
"""


def test_a_product_in_pieces_has_the_bits_of_one_thread() -> None:
    sizes = (200, 300, 150)
    by, ranges = products.pieces(*sizes)
    text = products.generated("product", *sizes, vector_bits=machine.vector_bits(), by=by)
    assert text
    assert len(ranges) > 1
    code = machine.compile_ir(text + PRODUCT)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((200, 150), np.float32), rng.standard_normal((150, 300), np.float32)

    def product(pieces: list[tuple[int, int]]) -> Any:
        out = np.full((200, 300), np.nan, np.float32)
        table = np.array([array.ctypes.data for array in (a, b, out)], np.int64)
        _run(pool.pool(2), [(code.address("piece"), *piece, 0) for piece in pieces], table)
        return out

    whole = product([(0, 300 if by == "columns" else 200)])
    np.testing.assert_allclose(whole, a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)
    for _ in range(5):
        assert product(ranges).tobytes() == whole.tobytes()


ALONE = """
import sys
from tests.compiler import test_pool as t
t._check(t.pool.pool(2), 1, 5)
"""

FORKED = """
import os, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of a fork beside threads, which is what is tested
from tests.compiler import test_pool as t
t._check(t.pool.pool(2), 1, 5)
child = os.fork()
if child == 0:
    t._check(t.pool.pool(2), 2, 5)
    t._check(t.pool.pool(2), 3, 5)
    os._exit(7)
t._check(t.pool.pool(2), 4, 5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.mark.parametrize("script", [ALONE, pytest.param(FORKED, marks=needs_fork)], ids=["alone", "forked"])
def test_a_process_ends_with_threads_asleep(script: str) -> None:
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
