"""What is kept in memory, and what shares a loop."""

from __future__ import annotations

import numpy as np

from tests.compiler.builder import Builder
from tests.compiler.steps import mlp_step
from tinygrad_mnist.compiler.fuse import Call, Kernel, Product, leaves, plan
from tinygrad_mnist.compiler.prepare import prepare


def planned(b):
    return plan(prepare(b.program))


def names(made, kernel):
    return [instruction.name for instruction in made.instructions(kernel)]


def test_a_chain_is_one_kernel_that_keeps_only_its_end():
    b = Builder()
    x = b.input(np.zeros((4, 5)))
    b.program.outputs.append(b.exp(b.multiply(b.add(x, 1.0), 2.0)))
    made = planned(b)
    (kernel,) = made.pieces
    assert names(made, kernel) == ["add", "multiply", "exp"]
    assert made.kept == {b.program.outputs[0]}
    assert made.reads(kernel) == {x}


def test_a_softmax_has_a_kernel_for_each_reduction_and_one_for_the_rest():
    b = Builder()
    x = b.input(np.zeros((4, 5)))
    e = b.exp(b.subtract(x, b.max(x, axis=1, keepdims=True)))
    b.program.outputs.append(b.divide(e, b.sum(e, axis=1, keepdims=True)))
    made = planned(b)
    assert [piece.space for piece in made.pieces] == [(4, 5)] * 3
    # What is dear is computed once, and kept for the kernel after the sum.
    assert e in made.kept


def test_cheap_values_are_computed_again_where_they_are_read():
    b = Builder()
    x = b.input(np.zeros((4, 5)))
    y = b.add(x, 1.0)
    b.program.outputs.append(b.subtract(y, b.sum(y, axis=0)))
    made = planned(b)
    assert y not in made.kept
    assert [names(made, kernel) for kernel in made.pieces] == [["add", "sum"], ["add", "subtract"]]


def test_what_broadcasts_is_computed_once_in_its_own_shape():
    b = Builder()
    x, row = b.input(np.zeros((4, 5))), b.input(np.zeros(5))
    root = b.sqrt(row)
    b.program.outputs.append(b.multiply(x, root))
    made = planned(b)
    assert root in made.kept
    assert [kernel.space for kernel in made.pieces] == [(5,), (4, 5)]


def test_a_product_and_what_numpy_runs_are_pieces_of_their_own():
    b = Builder()
    x, y = b.input(np.zeros((4, 5))), b.input(np.zeros((5, 3)))
    z = b.emit("sort", [b.matmul(b.add(x, 1.0), y)], (4, 3), float, np.sort)
    b.program.outputs.append(b.negative(z))
    assert [type(piece) for piece in planned(b).pieces] == [Kernel, Product, Call, Kernel]


def test_an_instruction_that_nobody_needs_is_left_out():
    b = Builder()
    x = b.input(np.zeros(3))
    b.exp(x)
    b.program.outputs.append(b.add(x, 1.0))
    made = planned(b)
    assert [names(made, piece) for piece in made.pieces] == [["add"]]


def test_an_update_is_computed_in_its_commit():
    program, _, _ = mlp_step([20, 16, 5], 12)
    made = plan(prepare(program))
    written = {target for kernel in made.commit for _, target in kernel.writes}
    assert written == {target for _, target in program.writes}
    # A parameter and its two states are written by one kernel, which keeps nothing in between.
    assert sorted(len(kernel.writes) for kernel in made.commit) == [1, 1, *[3] * 6]
    assert not any(kernel.values for kernel in made.commit)


def test_each_piece_reads_only_what_is_there():
    program, _, _ = mlp_step([20, 16, 8, 5], 12)
    made = plan(prepare(program))
    there = {*program.inputs, *program.scalars, *program.constants}
    for piece in [*made.pieces, *made.commit]:
        assert made.reads(piece) <= there
        assert there.isdisjoint(made.stores(piece))
        there.update(made.stores(piece))
    assert made.kept <= there


def test_no_commit_reads_what_another_one_writes():
    b = Builder()
    x, y, z = (b.input(np.zeros((3, 3))) for _ in range(3))
    b.program.writes += [(b.add(b.transpose(y), x), x), (b.add(x, 1.0), y), (b.exp(z), z)]
    made = planned(b)
    for kernel in made.commit:
        targets = {target for _, target in kernel.writes}
        others = {target for _, target in b.program.writes} - targets
        assert others.isdisjoint(leaves(made.ready, made.kept, [new for new, _ in kernel.writes]))


def _layer(*, read_twice=False, sums=False, per_row=False):
    """Return the plan of ``relu(x @ w + bias)``, as `where` spells it."""
    b = Builder()
    x, w = b.input(np.zeros((9, 6), np.float32)), b.input(np.zeros((6, 5), np.float32))
    bias = b.input(np.zeros((9, 1) if per_row else 5, np.float32))
    product = b.matmul(x, w)
    y = b.add(product, b.sqrt(bias))
    out = b.where(b.less(y, np.float32(0)), np.float32(0), y)
    b.program.outputs.append(b.sum(out, axis=0) if sums else out)
    if read_twice:
        b.program.outputs.append(product)
    return planned(b), product


def test_a_product_does_what_the_only_loop_that_reads_it_does():
    made, product = _layer()
    root, finished = made.pieces
    assert isinstance(finished, Product)
    assert names(made, finished.finish) == ["add", "less", "where"]
    assert made.reads(finished) == {*finished.instruction.inputs, *root.values}
    assert made.stores(finished) == tuple(made.ready.program.outputs)
    assert product not in made.stores(finished)


def test_a_product_that_is_returned_summed_or_joined_with_other_rows_is_kept():
    for how in ("read_twice", "sums", "per_row"):
        made, product = _layer(**{how: True})
        (piece,) = [piece for piece in made.pieces if isinstance(piece, Product)]
        assert piece.finish is None, how
        assert made.stores(piece) == (product,), how


def test_a_generated_product_looks_for_nan_itself(monkeypatch):
    for kind in ("generated", "blas"):
        monkeypatch.setattr("tinygrad_mnist.compiler.products.choose", lambda *_, kind=kind, **__: kind)
        b = Builder()
        x, y = b.input(np.zeros((9, 6))), b.input(np.zeros((6, 5)))
        b.program.outputs.append(b.matmul(x, y))
        b.program.watched.append(b.program.outputs[0])
        made = planned(b)
        loops = [piece for piece in made.pieces if isinstance(piece, Kernel)]
        product = made.pieces[0]
        assert (len(loops), product.no_nan) == ((0, made.ready.program.conditions[0]), (1, None))[
            kind == "blas"
        ]
