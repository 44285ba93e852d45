"""Whole programs as machine code, against what `interpret` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.compiler.builder import Builder
from tests.compiler.random_programs import RandomProgram
from tests.compiler.steps import mlp_step
from tinygrad_mnist.compiler.executable import Results, build
from tinygrad_mnist.compiler.program import Instruction, interpret

pytest.importorskip("llvmlite")


@pytest.mark.parametrize("fortran", [False, True])
def test_a_training_step_gives_what_numpy_gives(fortran):
    program, arrays, scalars = mlp_step([20, 16, 8, 5], 12, dtype=np.float64, fortran=fortran)
    expected = [array.copy(order="K") for array in arrays]
    step = build(program)
    for _ in range(5):
        outputs, _ = step(arrays, scalars)
        wanted, _ = interpret(program, expected, scalars)
        np.testing.assert_allclose(outputs[0], wanted[0], rtol=1e-9)
    for array, other in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-6, atol=1e-7)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_a_random_program_gives_what_numpy_gives(seed):
    made = RandomProgram(seed)
    expected = [array.copy(order="K") for array in made.arrays]
    wanted = interpret(made.program, expected, made.scalars)
    result = build(made.program)(made.arrays, made.scalars)
    assert (result is None) == (wanted is None)
    for got, value in zip(
        [] if result is None else result[0], [] if wanted is None else wanted[0], strict=True
    ):
        assert got.dtype == value.dtype
        assert got.shape == value.shape
        np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-3)
    for array, other in zip(made.arrays, expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-3, atol=1e-3)


def ran(b, arrays, scalars=()):
    """Run a program twice over, by machine code and by NumPy; check that all is equal, and return the
    results."""
    copies = [array.copy(order="K") for array in arrays]
    run = build(b.program)
    result = run(arrays, scalars)
    wanted = interpret(b.program, copies, scalars)
    assert (result is None) == (wanted is None)
    if result is not None and wanted is not None:
        for got, value in zip(result[0], wanted[0], strict=True):
            np.testing.assert_array_equal(got, value)
        assert result[1] == wanted[1]
    for array, other in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, other)
    return run, result


def test_two_inputs_change_places():
    b = Builder()
    arrays = [np.arange(6.0), np.ones(6)]
    x, y = map(b.input, arrays)
    b.program.writes += [(x, y), (y, x)]
    ran(b, arrays)
    np.testing.assert_array_equal(arrays[1], np.arange(6.0))


def test_an_input_is_replaced_by_its_transpose_and_by_its_reverse():
    b = Builder()
    arrays = [np.arange(9.0).reshape(3, 3), np.arange(9.0).reshape(3, 3)]
    x, y = map(b.input, arrays)
    b.program.writes += [(b.add(b.transpose(x), 1.0), x), (b.getitem(y, slice(None, None, -1)), y)]
    ran(b, arrays)


def test_the_last_write_to_an_input_counts():
    b = Builder()
    arrays = [np.arange(3.0)]
    x = b.input(arrays[0])
    b.program.writes += [(b.add(x, 1.0), x), (b.multiply(x, 5.0), x)]
    ran(b, arrays)


def test_a_write_casts_and_broadcasts():
    b = Builder()
    arrays = [np.zeros((2, 3), np.float32), np.array([1.5, 2.5, 3.5])]
    x, y = map(b.input, arrays)
    b.program.writes.append((b.multiply(y, 2.0), x))
    ran(b, arrays)


def test_a_sum_of_what_is_written_to_is_of_the_old_numbers():
    b = Builder()
    arrays = [np.arange(4.0)]
    x = b.input(arrays[0])
    total = b.sum(x)
    b.program.writes.append((b.subtract(x, total), x))
    b.program.outputs += [total, x]
    ran(b, arrays)


@pytest.mark.parametrize("shift", [0, 1])
def test_inputs_may_share_memory(shift):
    memory = np.arange(8.0)
    b = Builder()
    x, y = b.input(memory[:7]), b.input(memory[shift : 7 + shift])
    b.program.writes.append((b.add(x, y), x))
    expected = memory.copy()
    interpret(b.program, [expected[:7], expected[shift : 7 + shift]])
    build(b.program)([memory[:7], memory[shift : 7 + shift]])
    np.testing.assert_array_equal(memory, expected)


def test_interleaved_inputs_run_as_machine_code(monkeypatch):
    memory = np.arange(12.0).reshape(3, 4)
    b = Builder()
    x, y = b.input(memory[:, :2]), b.input(memory[:, 2:])
    b.program.writes += [(b.add(x, y), x), (b.subtract(x, y), y)]
    expected = memory.copy()
    interpret(b.program, [expected[:, :2], expected[:, 2:]])
    run = build(b.program)
    monkeypatch.setattr("tinygrad_mnist.compiler.executable.interpret", None)
    run([memory[:, :2], memory[:, 2:]])
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize(
    ("shapes", "updates"),
    [
        ([(7, 5), (5,), (3, 4, 2), (40,)], 1),
        ([(16, 5), (64,), (2, 4, 2), (800,)], 1),  # vectors leave no rest
        ([(7, 5), (64,), (40,), (16,)], 2),
    ],
)
def test_an_update_is_one_loop_for_all_parameters(shapes, updates):
    b = Builder()
    arrays = [np.ones(shape, np.float32) for shape in shapes for _ in range(2)]
    values = list(map(b.input, arrays))
    rate = b.astype(b.scalar(), np.dtype("f4"))
    for parameter, state in zip(values[::2], values[1::2], strict=True):
        new = b.add(b.multiply(state, np.float32(0.5)), parameter)
        b.program.writes += [(b.subtract(parameter, b.multiply(new, rate)), parameter), (new, state)]
    run, _ = ran(b, arrays, [0.25])
    assert run.ir.count("define internal void @kernel") == 1 + updates  # the scalar's cast is one
    for report in run.report():
        if report.commit:
            parameter = report.instructions[-1].outputs[0]
            assert report.written == 2 * parameter.size * 4
            assert report.read == 2 * parameter.size * 4 + 4


@pytest.mark.parametrize("number", [np.nan, np.inf, 1.0])
@pytest.mark.parametrize("condition", [0.0, 1.0])
def test_a_call_writes_all_or_nothing(number, condition):
    b = Builder()
    arrays = [np.ones(5), np.full((3, 3), 2.0)]
    arrays[1][1, 1] = number
    x, y = map(b.input, arrays)
    holds = b.greater(b.scalar(), 0.5)
    b.program.writes += [(b.add(x, 1.0), x), (b.multiply(y, 2.0), y)]
    b.program.outputs.append(b.sum(x))
    b.program.conditions.append(holds)
    b.program.watched.append(b.multiply(y, 3.0))
    _, result = ran(b, arrays, [condition])
    assert (result is None) == (np.isnan(number) or not condition)


@pytest.mark.parametrize("number", [np.nan, np.inf, 1.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_product_with_a_nan_writes_nothing(number, threads):
    b = Builder()
    x, w, p = (
        np.ones((300, 260), np.float32),
        np.ones((260, 260), np.float32),
        np.zeros((300, 260), np.float32),
    )
    x[299, 3] = number
    factors, target = [b.input(x), b.input(w)], b.input(p)
    b.program.writes.append((b.add(target, b.matmul(*factors)), target))
    b.program.outputs.append(b.matmul(b.add(*[factors[0]] * 2), factors[1]))
    b.program.watched.append(b.program.writes[0][0])
    b.program.watched.append(b.program.outputs[0])
    run = build(b.program, threads=threads)
    for _ in range(2):
        assert (run([x, w, p]) is None) == np.isnan(number)
    np.testing.assert_array_equal(p[0], 0 if np.isnan(number) else 520)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(40, 10, 7), (5, 3, 4), (150, 130, 1), (1, 33, 8)])
def test_a_product_and_the_loop_that_reads_it_are_one(dtype, sizes):
    (m, n, k), rng = sizes, np.random.default_rng(0)
    arrays = [rng.integers(-4, 5, shape).astype(dtype) for shape in ((m, k), (n, k), (n,), (1, n), ())]
    b = Builder()
    x, w, bias, scale, shift = map(b.input, arrays)
    y = b.add(b.multiply(b.add(b.matmul(x, b.transpose(w)), bias), b.add(scale, bias)), shift)
    zero = dtype(0)
    relu = b.where(b.less(zero, y), y, b.where(b.less_equal(y, zero), zero, y))
    b.program.outputs += [relu, b.add(b.matmul(relu, w), dtype(1))]
    arrays[2][0] = np.nan
    ran(b, arrays)


def test_numpy_runs_what_no_loop_can_spell_between_two_parts():
    b = Builder()
    arrays = [np.array([3.0, 1.0, 2.0]), np.arange(6, dtype=np.float16).reshape(2, 3)]
    x, half = map(b.input, arrays)
    ordered = b.emit("sort", [b.multiply(x, 2.0)], (3,), float, np.sort)
    b.program.outputs += [b.add(ordered, 1.0), b.add(half, half), b.astype(half, np.dtype("f4"))]
    first, second = b.value((3,), float), b.value((3,), np.int64)
    b.program.instructions.append(
        Instruction("split", (ordered,), (first, second), {}, lambda a: (a[::-1], np.argsort(-a)))
    )
    b.program.outputs += [b.subtract(first, 1.0), second]
    run, _ = ran(b, arrays)
    assert [report.instructions[0].name for report in run.report() if report.kind == "call"].count(
        "sort"
    ) == 1


def test_effects_run_each_once_and_in_order():
    b = Builder()
    arrays = [np.arange(3.0)]
    x = b.input(arrays[0])
    seen = []

    def effect(name):
        return lambda array: seen.append((name, array)) or array

    b.emit("first", [b.add(x, 1.0)], (3,), float, effect("first"), effect=True)
    result = b.emit("second", [x], (3,), float, effect("second"), effect=True)
    b.program.outputs.append(b.emit("sort", [result], (3,), float, effect("third")))
    b.program.instructions.append(
        Instruction("fourth", (x,), (), {}, lambda array: seen.append(("fourth", array)) or (), "", True)
    )
    run = build(b.program)
    for _ in range(2):
        run(arrays)
        assert [name for name, _ in seen] == ["first", "second", "third", "fourth"]
        np.testing.assert_array_equal(seen[0][1], [1, 2, 3])
        seen.clear()


def test_an_error_of_a_call_leaves_everything_as_it_was():
    def fail(array):
        raise IndexError("out of range")

    b = Builder()
    arrays = [np.zeros(3)]
    x = b.input(arrays[0])
    b.program.writes.append((b.add(x, 1.0), x))
    b.emit("check", [x], (3,), float, fail, effect=True)
    run = build(b.program)
    with pytest.raises(IndexError):
        run(arrays)
    np.testing.assert_array_equal(arrays[0], 0)


@pytest.mark.parametrize("size", [3, 5000])
def test_outputs_are_new_each_time_or_what_the_caller_gives(size):
    b = Builder()
    x = b.input(np.zeros(size))
    b.program.outputs.append(b.add(x, 1.0))
    run = build(b.program)
    first, second = (run([np.full(size, number)])[0][0] for number in (1.0, 2.0))
    assert (first[0], second[0]) == (2, 3)
    mine = np.zeros((2, size))
    (given,), _ = run([np.full(size, 5.0)], into=Results([mine[1]]))
    assert given.base is mine
    np.testing.assert_array_equal(mine, [[0.0] * size, [6.0] * size])


def test_numbers_go_in_and_out():
    b = Builder()
    first, second = b.scalar(), b.scalar()
    b.program.numbers += [b.add(first, second), first]
    b.program.outputs.append(second)
    assert build(b.program)([], [1.5, 2.25]) == ([2.25], [3.75, 1.5])


def test_arrays_other_than_those_compiled_for_are_refused():
    b = Builder()
    x = b.input(np.zeros((2, 3)))
    b.program.writes.append((b.add(x, 1.0), x))
    run = build(b.program)
    wrong = [np.zeros((3, 2)), np.zeros((2, 3), np.float32), np.zeros((2, 3), order="F")]
    for array in wrong:
        with pytest.raises(ValueError, match="was compiled for"):
            run([array])
    with pytest.raises(ValueError, match="has 1 input, but was given 0"):
        run([])
    fixed = np.zeros((2, 3))
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        run([fixed])


def test_equal_programs_give_equal_text_and_equal_bits():
    results = []
    for _ in range(2):
        program, arrays, scalars = mlp_step([30, 20, 10], 16)
        step = build(program)
        for _ in range(3):
            step(arrays, scalars)
        results.append((step.ir, [array.tobytes() for array in arrays]))
    assert results[0] == results[1]


def test_a_profile_has_a_time_for_each_piece_and_changes_nothing():
    program, arrays, scalars = mlp_step([20, 16, 5], 12)
    step = build(program)
    before = [array.tobytes() for array in arrays]
    profile = step.profile(arrays, scalars, rounds=2)
    assert [report for report, _ in profile] == step.report()
    assert all(seconds >= 0 for _, seconds in profile)
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_threads_give_the_bits_of_one(dtype):
    results = []
    for threads in (1, 2, 2):
        program, arrays, scalars = mlp_step([300, 256, 130, 10], 256, dtype=dtype)
        step = build(program, threads=threads)
        assert step.threads == threads
        for _ in range(3):
            outputs, _ = step(arrays, scalars)
        results.append([array.tobytes() for array in (*arrays, *outputs)])
    assert results[0] == results[1] == results[2]


def test_a_small_program_stays_on_one_thread():
    program, _, _ = mlp_step([20, 16, 5], 12)
    assert build(program, threads=2).threads == 1


def test_blas_shares_its_products_too(monkeypatch):
    monkeypatch.setenv("TINYGRAD_MNIST_CACHE", "0")  # where the program would be found as it is usually made
    monkeypatch.setattr("tinygrad_mnist.compiler.products.choose", lambda *sizes, **how: "blas")
    program, arrays, scalars = mlp_step([300, 256, 130, 10], 256)
    expected = [array.copy(order="K") for array in arrays]
    outputs, _ = build(program, threads=2)(arrays, scalars)
    wanted, _ = interpret(program, expected, scalars)
    np.testing.assert_allclose(outputs[0], wanted[0], rtol=1e-5)
    np.testing.assert_allclose(arrays[2], expected[2], atol=1e-4)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((5,), (5,)),
        ((4, 5), (5,)),
        ((5,), (5, 3)),
        ((2, 4, 5), (5, 3)),
        ((2, 1, 4, 5), (3, 5, 2)),
        ((2, 4, 5), (5,)),
    ],
)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_products_of_vectors_matrices_and_stacks(first, second, dtype):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in (first, second)]
    b = Builder()
    b.program.outputs.append(b.matmul(*map(b.input, arrays)))
    run = build(b.program)
    (result,), _ = run(arrays)
    np.testing.assert_allclose(result, np.matmul(*arrays), rtol=1e-4)
    assert "call" not in {report.kind for report in run.report()}
