"""Views that come later mean the same, and images need no copies."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.builder import Builder
from tinygrad_mnist import Tensor, grad, jit
from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.channels_last import channels_last
from tinygrad_mnist.compiler.executable import build
from tinygrad_mnist.compiler.prepare import needed
from tinygrad_mnist.compiler.program import interpret
from tinygrad_mnist.compiler.views import groups_of

compiles = pytest.mark.skipif(not machine.available(), reason="needs llvmlite")

SHAPES = [(2, 3, 4, 6), (1, 3, 4, 2), (2, 1, 2, 4), (3, 2, 1, 1), (2, 4, 3, 3, 2), (2, 2, 3, 2), (0, 2, 3, 4)]
WAYS = ["transpose", "reshape", "join", "join", "reduce", "broadcast", "item", "one"]
WAYS += ["factorised", "rows", "choose", "call"]
JOINS = ["add", "subtract", "multiply", "maximum", "minimum", "equal", "less"]


class RandomViews:
    """A program of views of images and of what is computed of them: of whole numbers, so it is exact."""

    def __init__(self, seed: int, length: int = 16):
        self.rng = rng = np.random.default_rng(seed)
        self.b = Builder()
        self.arrays = []
        shape = SHAPES[rng.integers(len(SHAPES))]
        self.pool = []
        for _ in range(2):
            self.arrays.append(rng.integers(-2, 3, shape).astype(float))
            self.pool.append(self.b.negative(self.b.input(self.arrays[-1])))
        for _ in range(length):
            self.pool.append(self.grow(self.pool[-1 - rng.integers(min(4, len(self.pool)))]))
        some = rng.integers(len(self.pool), size=rng.integers(5))
        self.b.program.outputs += [self.pool[-1], self.pool[-2], *(self.pool[number] for number in some)]

    def grow(self, value):
        made = getattr(self, self.rng.choice(WAYS))(value)
        if made.dtype.kind != "f":
            made = self.b.astype(made, np.float64)
        return made

    def transpose(self, value):
        return (
            self.b.transpose(value, tuple(map(int, self.rng.permutation(value.ndim))))
            if value.ndim
            else value
        )

    def reshape(self, value):
        shape = list(value.shape)
        for _ in range(2):
            way, axis = self.rng.integers(3), int(self.rng.integers(max(len(shape), 1)))
            if way == 0 and axis + 1 < len(shape):
                shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
            elif way == 1 and len(shape) > axis and shape[axis] % 2 == 0 and shape[axis]:
                shape[axis : axis + 1] = [shape[axis] // 2, 2]
            elif len(shape) < 6:
                shape.insert(axis, 1)
        return self.b.reshape(value, tuple(shape))

    def join(self, value):
        same = [other for other in self.pool if other.shape == value.shape]
        name = self.rng.choice(JOINS)
        if same and self.rng.integers(2):
            return getattr(self.b, name)(value, same[self.rng.integers(len(same))])
        shape = [n if self.rng.integers(2) else 1 for n in value.shape][self.rng.integers(value.ndim + 1) :]
        self.arrays.append(self.rng.integers(-1, 2, shape).astype(float))
        return getattr(self.b, name)(value, self.b.input(self.arrays[-1]))

    def reduce(self, value):
        axes = tuple(axis for axis in range(value.ndim) if self.rng.integers(3) == 0)
        if not axes or 0 in value.shape:
            return value
        return getattr(self.b, self.rng.choice(["sum", "max", "min"]))(value, axis=axes)

    def broadcast(self, value):
        shape = tuple(int(self.rng.integers(1, 3)) if n == 1 else n for n in value.shape)
        return self.b.broadcast_to(value, shape)

    def item(self, value):
        index = tuple(slice(0, n, int(self.rng.integers(1, 3))) for n in value.shape)
        return self.b.getitem(value, *index) if index else value

    def one(self, value):
        return getattr(self.b, self.rng.choice(["negative", "absolute"]))(value)

    def factorised(self, value):
        """Join the same axes of two values of one size, whose axes differ, and compute of both."""
        if value.ndim < 3:
            return value
        first = int(self.rng.integers(value.ndim - 1))
        many = int(self.rng.integers(2, value.ndim - first + 1))
        order = list(range(value.ndim))
        order[first : first + many] = (first + self.rng.permutation(many)).tolist()
        lengths = tuple(value.shape[axis] for axis in order)
        way = self.rng.integers(3)
        other = self.b.transpose(value, tuple(order)) if way == 0 else self.b.reshape(value, lengths)
        other = self.one(other) if way else other
        joined = (*value.shape[:first], -1, *value.shape[first + many :])
        joined = np.empty(value.shape).reshape(joined).shape if value.size else value.shape
        if joined == value.shape:
            return other
        a, b = (self.b.reshape(one, joined) for one in (value, other))
        self.pool += [other, a, b]
        return getattr(self.b, self.rng.choice(JOINS[:5]))(*((a, b) if self.rng.integers(2) else (b, a)))

    def rows(self, value):
        """Compute of the rows of a value, and give them their axes back."""
        if value.ndim < 3 or not value.size:
            return value
        inner = self.rng.permutation(value.ndim).tolist() if self.rng.integers(2) else list(range(value.ndim))
        moved = self.b.transpose(value, tuple(inner))
        rows = self.one(self.b.reshape(moved, (moved.size // moved.shape[-1], moved.shape[-1])))
        self.pool.append(rows)
        back = self.b.reshape(self.join(rows), moved.shape)
        if back.dtype.kind != "f":
            back = self.b.astype(back, np.float64)
        return self.b.transpose(back, tuple(np.argsort(inner).tolist()))

    def choose(self, value):
        """Choose by a mask, as the gradient of ReLU does: of two numbers, or of a value and a number."""
        same = [other for other in self.pool if other.shape == value.shape]
        mask = self.b.less(same[self.rng.integers(len(same))] if same else value, float(self.rng.integers(2)))
        self.pool.append(chosen := self.b.where(mask, value if self.rng.integers(2) else 2.0, 0.0))
        return self.b.multiply(value, chosen)

    def call(self, value):
        """Let NumPy compute, whose result may lie in another order than its argument."""
        order = self.rng.choice(["C", "F", "K"])
        return self.b.emit(
            "threefold", [value], value.shape, value.dtype, lambda array: np.array(3.0 * array, order=order)
        )


@pytest.mark.parametrize("seed", range(60))
def test_a_program_means_the_same_when_its_views_come_later(seed):
    made = RandomViews(seed)
    expected, _ = interpret(made.b.program, made.arrays)
    result, _ = interpret(channels_last(made.b.program), made.arrays)
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@compiles
@pytest.mark.parametrize("seed", range(12))
def test_code_computes_what_the_program_means(seed):
    made = RandomViews(seed)
    expected, _ = interpret(made.b.program, made.arrays)
    result, _ = build(made.b.program)(made.arrays)
    for got, wanted in zip(result, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((2, 3, 4), (6, 4)),
        ((2, 1, 3), (2, 3)),
        ((6, 4), (2, 3, 1, 4)),
        ((1, 1), (1,)),
        ((4, 6), (8, 3)),
        ((), (1,)),
    ],
)
def test_groups_cover_both_shapes_and_have_equal_sizes(old, new):
    groups = groups_of(old, new)
    assert [axis for before, _ in groups for axis in before] == list(range(len(old)))
    assert [axis for _, after in groups for axis in after] == list(range(len(new)))
    for before, after in groups:
        assert np.prod([old[i] for i in before]) == np.prod([new[i] for i in after])


def names(program):
    program.instructions = needed(program)
    return [instruction.name for instruction in program.instructions]


def test_a_transpose_moves_behind_what_is_computed_and_meets_its_inverse():
    b = Builder()
    x = b.negative(b.input(np.zeros((2, 4, 4, 3))))
    images = b.transpose(x, (0, 3, 1, 2))
    images = b.maximum(b.add(images, b.reshape(b.input(np.zeros(3)), (3, 1, 1))), 0.0)
    b.program.outputs.append(b.transpose(images, (0, 2, 3, 1)))
    assert names(channels_last(b.program)) == ["negative", "add", "maximum"]


def test_rows_of_pixels_are_the_images_themselves():
    b = Builder()
    x = b.negative(b.input(np.zeros((2, 4, 4, 3))))
    rows = b.reshape(x, (32, 3))
    centred = b.subtract(rows, b.sum(rows, axis=0))
    b.program.outputs.append(b.reshape(centred, (2, 4, 4, 3)))
    assert names(channels_last(b.program)) == ["negative", "sum", "subtract"]


def gradient_of_pool(x):
    return grad(lambda t: np.sum(np.max(np.reshape(t, (2, 4, 2, 4, 2, 8)), axis=(2, 4)) ** 2))(x)


@compiles
def test_the_gradient_of_a_maximum_reads_the_bits_of_what_was_chosen_and_not_the_images():
    x = np.random.default_rng(0).integers(0, 4, (2, 8, 8, 8)).astype(np.float32)  # many ties
    compiled = jit(lambda t: gradient_of_pool(t * 2))
    np.testing.assert_array_equal(compiled(x), gradient_of_pool(x * 2))
    np.testing.assert_array_equal(compiled(x), gradient_of_pool(x * 2))
    program = channels_last(compiled.explain(x).program)
    program.instructions = needed(program)
    bits = [i for i in program.instructions if i.name == "bitwise_and"]
    assert bits
    assert all(value.dtype == np.uint8 for i in bits for value in i.inputs)


@compiles
def test_a_nan_counts_as_chosen_as_in_eager():
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 8)).astype(np.float32)
    x[0, 0, 0, 0] = x[1, 2, 3, 4] = np.nan

    def chosen(t):  # a cotangent without NaN
        windows = np.reshape(t, (2, 4, 2, 4, 2, 8))
        return grad(lambda w: np.sum(np.max(w, axis=(2, 4))))(windows)

    compiled = jit(chosen)
    for _ in range(2):
        np.testing.assert_array_equal(compiled(Tensor(x)), chosen(x))


def test_axes_of_two_orders_that_are_joined_to_one_size_are_different_views():
    b = Builder()
    arrays = [np.arange(24.0).reshape(shape) for shape in ((2, 3, 4), (2, 4, 3))]
    joined = [b.reshape(b.negative(b.input(array)), (2, 12)) for array in arrays]
    b.program.outputs.append(b.multiply(*joined))
    (result,), _ = interpret(channels_last(b.program), arrays)
    np.testing.assert_array_equal(result, (np.arange(24.0) ** 2).reshape(2, 12))


@compiles
def test_numpy_reads_an_output_in_the_order_in_which_it_lies():
    b = Builder()
    x = np.arange(24.0).reshape(2, 1, 3, 4)
    moved = b.reshape(b.transpose(b.input(x), (0, 1, 3, 2)), (2, 3, 4))
    b.program.outputs += [moved, b.emit("twice", [moved], moved.shape, moved.dtype, lambda array: 2 * array)]
    (result, twice), _ = build(b.program)([x])
    np.testing.assert_array_equal(result, x.transpose(0, 1, 3, 2).reshape(2, 3, 4))
    np.testing.assert_array_equal(twice, 2 * result)


def test_a_mask_of_two_orders_of_axes_is_no_mask_of_what_was_chosen():
    b = Builder()
    x = np.random.default_rng(0).integers(0, 3, (2, 2, 2, 2, 8)).astype(float)
    x[0, 1, 1, 0, 0] = np.nan
    windows = b.negative(b.input(x))
    maximum = b.reshape(b.max(windows, axis=2), (2, 2, 1, 2, 8))
    equal, isnan = b.equal(windows, maximum), b.isnan(windows)
    equal, isnan = b.transpose(equal, (1, 0, 2, 3, 4)), b.transpose(isnan, (0, 3, 2, 1, 4))
    b.program.outputs.append(b.logical_or(equal, isnan))
    expected, _ = interpret(b.program, [x])
    result, _ = interpret(channels_last(b.program), [x])
    np.testing.assert_array_equal(result, expected)
