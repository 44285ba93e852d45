"""Kernels as loops: which loops there are, and what is done at each depth."""

from __future__ import annotations

import numpy as np

from tests.compiler.builder import Builder
from tinygrad_mnist.compiler.fuse import plan
from tinygrad_mnist.compiler.loops import nest
from tinygrad_mnist.compiler.memory import assign
from tinygrad_mnist.compiler.prepare import prepare


def nests(b):
    made = plan(prepare(b.program))
    memory = assign(made)
    return [nest(made, memory, piece) for piece in [*made.pieces, *made.commit]]


def test_loops_that_run_through_memory_as_one_are_joined():
    b = Builder()
    x, y = b.input(np.zeros((3, 4, 5))), b.input(np.zeros((3, 4, 5)))
    b.program.outputs.append(b.add(x, y))
    (made,) = nests(b)
    assert made.lengths == (60,)
    assert made.split == 0


def test_loops_that_do_not_are_not():
    b = Builder()
    x, row = b.input(np.zeros((3, 4, 5))), b.input(np.zeros((4, 1)))
    b.program.outputs.append(b.add(x, row))
    (made,) = nests(b)
    assert made.lengths == (3, 4, 5)
    # The element of the row is loaded outside of the innermost loop.
    assert [[o.name for o in level] for level in made.body] == [[], [], ["load"], ["load", "add", "store"]]


def test_the_loops_go_through_an_array_in_fortran_s_order_step_by_step():
    b = Builder()
    x = b.input(np.zeros((30, 40), order="F"))
    b.program.writes.append((b.add(x, 1.0), x))
    (made,) = nests(b)
    assert made.lengths == (1200,)
    assert {access.strides for access in made.accesses()} == {(8,)}


def test_what_is_read_twice_is_loaded_once():
    b = Builder()
    x = b.input(np.zeros(9))
    b.program.outputs += [b.square(x), b.add(x, x)]
    (made,) = nests(b)
    assert [o.name for o in made.body[1]] == ["load", "multiply", "add", "store", "store"]


def test_stores_come_after_all_loads():
    b = Builder()
    x, y = b.input(np.zeros(9)), b.input(np.zeros(9))
    b.program.writes += [(b.identity(y), x), (b.identity(x), y)]
    (made,) = nests(b)
    assert [o.name for o in made.body[1]] == ["load", "load", "store", "store"]


def test_numbers_are_loaded_before_all_loops():
    b = Builder()
    x = b.input(np.zeros(9))
    b.program.outputs.append(b.multiply(x, b.multiply(b.scalar(), 2.0)))
    number, loop = nests(b)
    assert number.lengths == ()
    assert [o.name for o in loop.body[0]] == ["load"]


def test_a_sum_of_rows_has_an_accumulator_and_one_of_columns_adds_to_memory():
    b = Builder()
    x = b.input(np.zeros((6, 7)))
    b.program.outputs += [b.sum(x, axis=1), b.sum(x, axis=0), b.sum(x)]
    (made,) = nests(b)
    assert [(a.depth, a.joins) for a in made.accumulators] == [(1, False), (0, False)]
    assert [(f.count, f.value.value) for f in made.fills] == [(7, 0)]
    assert [o.name for o in made.body[2]] == ["load", "join", "join_memory", "join"]
    assert made.split is None


def test_rows_can_be_shared_out():
    b = Builder()
    x = b.input(np.zeros((6, 7)))
    b.program.outputs += [b.sum(x, axis=1)]
    (made,) = nests(b)
    assert made.split == 0


def test_a_constant_of_equal_elements_is_a_number_in_the_code():
    b = Builder()
    x = b.input(np.zeros((6, 7)))
    b.program.outputs += [b.multiply(x, np.full((6, 7), 2.5))]
    (made,) = nests(b)
    assert made.lengths == (42,)
    assert len(made.pointers) == 2
