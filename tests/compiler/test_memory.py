"""Where values lie: no two that are alive together share memory."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tests.compiler.random_programs import RandomProgram
from tests.compiler.steps import mlp_step
from tinygrad_mnist.compiler.fuse import plan
from tinygrad_mnist.compiler.memory import ALIGNMENT, assign
from tinygrad_mnist.compiler.prepare import prepare


def check(program):
    """Check that what lies in the arena is there until it was read for the last time."""
    made = plan(prepare(program))
    memory = assign(made)
    ready = made.ready.program
    stays = {*(made.ready.roots[v] for v in ready.outputs), *ready.numbers, *ready.conditions}
    pieces = [*made.pieces, *made.commit]
    alive = {}
    for step, piece in enumerate(pieces):
        for value in made.stores(piece):
            place, size = memory.places[value], value.size * value.dtype.itemsize
            if place.entry == 0 and size:
                assert place.offset % ALIGNMENT == 0 or value in ready.numbers
                assert place.offset + size <= memory.arena
                for other, (begin, end) in alive.items():
                    assert end <= place.offset or place.offset + size <= begin, (value, other)
                alive[value] = place.offset, place.offset + size
        later = set().union(stays, *(made.reads(other) for other in pieces[step + 1 :]))
        alive = {value: span for value, span in alive.items() if value in later}
    return memory


def test_a_step():
    program, _, _ = mlp_step([30, 20, 10, 5], 64)
    memory = check(program)
    values = [v for i in program.instructions for v in i.outputs]
    assert memory.arena < sum(value.size * 4 for value in values) / 5


@pytest.mark.parametrize("seed", range(40))
def test_a_random_program(seed):
    check(RandomProgram(seed, 20).program)


def test_memory_is_used_again_in_a_chain_of_products():
    b = Builder()
    x = b.input(np.zeros((32, 32)))
    for _ in range(10):
        x = b.matmul(x, x)
    b.program.outputs.append(b.sum(x))
    assert check(b.program).arena <= 2 * 32 * 32 * 8 + ALIGNMENT


def test_outputs_are_computed_where_the_caller_gets_them():
    b = Builder()
    small, large = b.input(np.zeros(3)), b.input(np.zeros(10_000))
    b.program.outputs += [b.add(small, 1.0), b.add(large, 1.0)]
    memory = check(b.program)
    assert list(memory.outputs) == b.program.outputs
    assert memory.arena == 0
