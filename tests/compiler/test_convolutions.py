"""Convolutions as generated code, against sums of NumPy in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from tests.compiler.builder import Builder
from tinygrad_mnist.compiler import machine
from tinygrad_mnist.compiler.convolutions import CONVOLUTIONS
from tinygrad_mnist.compiler.executable import Executable, build
from tinygrad_mnist.compiler.fuse import Call, Product
from tinygrad_mnist.compiler.program import interpret

pytestmark = pytest.mark.skipif(not machine.available(), reason="needs llvmlite")

NONE = ((0, 0), (0, 0))


class Case:
    """A convolution of some sizes, and what NumPy makes of it and of its transposes."""

    def __init__(
        self,
        image: tuple[int, ...],
        filters: int,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        padding: Any = NONE,
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        dtype: Any = np.float32,
    ) -> None:
        self.static: dict[str, Any] = {
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
        }
        self.dtype, self.image = np.dtype(dtype), image
        self.weight = (*kernel, image[3] // groups, filters)
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        sizes = [n + sum(p) for n, p in zip(image[1:3], padding, strict=True)]
        height, width = ((n - k) // s + 1 for n, k, s in zip(sizes, spans, stride, strict=True))
        self.out = (image[0], height, width, filters)

    def arrays(self, name: str) -> list[Any]:
        """Return the arguments of an instruction."""
        shapes = {
            "convolution": (self.image, self.weight),
            "convolution_by_input": (self.out, self.weight),
            "convolution_by_weight": (self.image, self.out),
        }
        rng = np.random.default_rng(0)
        return [rng.standard_normal(shape).astype(self.dtype) for shape in shapes[name]]

    def result(self, name: str) -> tuple[int, ...]:
        """Return the shape of the result of an instruction."""
        return {
            "convolution": self.out,
            "convolution_by_input": self.image,
            "convolution_by_weight": self.weight,
        }[name]

    def windows(self, image: Any) -> tuple[Any, Any]:
        """Return the windows (N, H', W', groups, C / groups, kh, kw) of a padded copy, and that."""
        (down, right), (sy, sx) = self.static["dilation"], self.static["stride"]
        groups = self.static["groups"]
        padded = np.pad(image, ((0, 0), *self.static["padding"], (0, 0)))
        size = ((self.weight[0] - 1) * down + 1, (self.weight[1] - 1) * right + 1)
        found = sliding_window_view(padded, size, (1, 2), writeable=True)
        found = found[:, ::sy, ::sx, :, ::down, ::right]
        n, h, w, c, *kernel = found.shape
        steps = found.strides[3]
        shape = (n, h, w, groups, c // groups, *kernel)
        strides = (*found.strides[:3], c // groups * steps, steps, *found.strides[4:])
        return np.lib.stride_tricks.as_strided(found, shape, strides), padded

    def expected(self, name: str, first: Any, second: Any) -> Any:
        """Return the result of an instruction, in the precision of its arguments."""
        kh, kw, inner, outer = self.weight
        groups = self.static["groups"]
        if name == "convolution_by_weight":
            windows, _ = self.windows(first)
            gradient = second.reshape(*second.shape[:3], groups, -1)
            return np.einsum("nyxgcab,nyxgo->abcgo", windows, gradient).reshape(self.weight)
        weight = second.reshape(kh, kw, inner, groups, outer // groups)
        if name == "convolution":
            windows, _ = self.windows(first)
            return np.einsum("nyxgcab,abcgo->nyxgo", windows, weight).reshape(self.out)
        windows, padded = self.windows(np.zeros(self.image, first.dtype))
        gradient = first.reshape(*first.shape[:3], groups, -1)
        terms = np.einsum("nyxgo,abcgo->nyxgcab", gradient, weight)
        for place in np.ndindex(*terms.shape[1:3], *terms.shape[5:]):  # windows overlap, so one by one
            y, x, a, b = place
            windows[:, y, x, :, :, a, b] += terms[:, y, x, :, :, a, b]
        (top, _), (left, _) = self.static["padding"]
        return padded[:, top : top + self.image[1], left : left + self.image[2]]

    def instruction(self, b: Builder, name: str, arguments: Any) -> Any:
        """Append the instruction to a program, and return its result."""

        def run(first: Any, second: Any) -> Any:
            return self.expected(name, first, second)

        return b.emit(name, arguments, self.result(name), self.dtype, run, **self.static)

    def program(self, name: str, arrays: list[Any]) -> Builder:
        """Return a program of this instruction alone."""
        b = Builder()
        b.program.outputs.append(self.instruction(b, name, [b.input(array) for array in arrays]))
        return b

    def check(self, name: str, got: Any, arrays: list[Any]) -> None:
        """Assert that a result is as near to the true one as sums of this dtype are."""
        wanted = self.expected(name, *(array.astype(np.float64) for array in arrays))
        size = self.expected(name, *(np.abs(array).astype(np.float64) for array in arrays))
        assert got.dtype == self.dtype
        assert got.shape == wanted.shape
        assert (np.abs(got - wanted) <= 4 * np.finfo(self.dtype).eps * size + 1e-30).all()


CASES = {
    "plain": Case((3, 8, 9, 16), 32, (3, 3)),
    "one channel, 5x5": Case((5, 12, 12, 1), 16, (5, 5)),
    "stride 2": Case((4, 13, 12, 1), 24, (5, 5), stride=(2, 2)),
    "odd channels": Case((3, 6, 7, 3), 10, (3, 2), padding=((1, 2), (0, 1))),
    "stride and padding": Case((2, 9, 10, 4), 20, (3, 3), stride=(2, 3), padding=((1, 1), (2, 1))),
    "dilation": Case((2, 9, 12, 6), 24, (3, 3), dilation=(2, 3), padding=((2, 2), (3, 3))),
    "groups": Case((2, 7, 7, 8), 12, (3, 3), groups=4, padding=((1, 1), (1, 1))),
    "depthwise": Case((2, 6, 7, 20), 20, (3, 2), groups=20, stride=(2, 1), padding=((1, 1), (1, 0))),
    "depthwise, few": Case((3, 6, 6, 5), 5, (3, 3), groups=5, dilation=(1, 2)),
    "depthwise, twice as many": Case((2, 6, 6, 5), 10, (3, 3), groups=5),
    "1x1": Case((3, 5, 5, 20), 17, (1, 1), stride=(2, 2)),
    "7x7, float64": Case((2, 9, 11, 2), 9, (7, 7), padding=((3, 3), (3, 3)), dtype=np.float64),
    "wide": Case((1, 4, 70, 2), 48, (3, 5), padding=((1, 1), (2, 2)), dtype=np.float64),
    "more channels than registers": Case((3, 4, 4, 18), 70, (3, 3), padding=((1, 1), (1, 1))),
    "many pictures": Case((19, 6, 7, 2), 16, (3, 3), padding=((0, 1), (1, 0))),
    "one pixel": Case((7, 4, 4, 3), 40, (4, 4)),
}


def convolutions_of(run: Executable) -> list[str]:
    return [
        piece.instruction.name
        for piece in run.plan.pieces
        if isinstance(piece, Product) and piece.instruction.name in CONVOLUTIONS
    ]


@pytest.mark.parametrize("name", sorted(CONVOLUTIONS))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_code_sums_what_numpy_sums(case: Case, name: str) -> None:
    arrays = case.arrays(name)
    run = build(case.program(name, arrays).program)
    assert convolutions_of(run) == [name]
    (got,), _ = run(arrays) or ([], [])
    case.check(name, got, arrays)


@pytest.mark.parametrize(
    "case",
    [
        Case((3, 9, 8, 5), 20, (3, 4), stride=(2, 1), padding=((1, 2), (3, 0))),
        Case((2, 7, 9, 4), 6, (3, 3), groups=2, dilation=(3, 2), padding=((4, 4), (2, 5))),
        Case((2, 3, 3, 17), 18, (1, 5), stride=(1, 3), padding=((2, 0), (4, 4))),
    ],
)
def test_padding_beyond_the_stack_is_not_copied(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinygrad_mnist.compiler.filters.STACK", 100)
    arrays = case.arrays("convolution_by_weight")
    run = build(case.program("convolution_by_weight", arrays).program)
    assert "alloca" not in run.ir
    (got,), _ = run(arrays) or ([], [])
    case.check("convolution_by_weight", got, arrays)


@pytest.mark.parametrize("name", sorted(CONVOLUTIONS))
@pytest.mark.parametrize("bits", [128, 256])
def test_narrow_vectors_sum_the_same(bits: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "vector_bits", lambda: bits)
    case = Case((3, 9, 14, 3), 20, (3, 5), stride=(1, 2), padding=((1, 1), (2, 2)))
    arrays = case.arrays(name)
    (got,), _ = build(case.program(name, arrays).program)(arrays) or ([], [])
    case.check(name, got, arrays)


@pytest.mark.parametrize("name", sorted(CONVOLUTIONS))
@pytest.mark.parametrize("channels", [1, 24])
def test_threads_make_the_bits_of_one_thread(
    channels: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygrad_mnist.compiler.executable.WORTHWHILE", 1)
    case = Case((37, 14, 14, channels), 48, (5, 5), padding=((1, 0), (0, 1)))
    arrays = case.arrays(name)
    program = case.program(name, arrays).program
    alone, shared = build(program), build(program, threads=2)
    assert shared.threads == 2
    (first,), _ = alone(arrays) or ([], [])
    (second,), _ = shared(arrays) or ([], [])
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", sorted(CONVOLUTIONS))
def test_what_is_not_finite_goes_where_the_sum_has_it(name: str, special: float) -> None:
    case = Case((3, 6, 7, 3), 20, (3, 3), stride=(1, 2))
    for which, place in itertools.product((0, 1), (0, 50, -1)):
        arrays = case.arrays(name)
        arrays[which].flat[place] = special
        arrays[1 - which].flat[::7] = 0
        (got,), _ = build(case.program(name, arrays).program)(arrays) or ([], [])
        with np.errstate(invalid="ignore"):
            wanted = case.expected(name, *(array.astype(np.float64) for array in arrays))
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_padding_is_multiplied_by_nothing() -> None:
    case = Case((2, 4, 4, 2), 16, (3, 3), padding=((1, 1), (1, 1)))
    image, weight = case.arrays("convolution")
    weight[0, 0] = np.inf  # meets padding in the first row and column of the result
    (got,), _ = build(case.program("convolution", [image, weight]).program)([image, weight]) or ([], [])
    assert np.isfinite(got[:, 0]).all()
    assert np.isfinite(got[:, :, 0]).all()
    assert not np.isfinite(got[:, 1:, 1:]).any()


def test_arguments_that_lie_otherwise_are_copied() -> None:
    case = Case((2, 6, 5, 4), 17, (3, 2))
    image, weight = case.arrays("convolution")
    arrays = [image.transpose(0, 3, 1, 2).copy(), weight.transpose(3, 2, 0, 1).copy()]
    b = Builder()
    first, second = map(b.input, arrays)
    arguments = [b.transpose(first, (0, 2, 3, 1)), b.transpose(second, (2, 3, 1, 0))]
    b.program.outputs.append(b.transpose(case.instruction(b, "convolution", arguments), (0, 3, 1, 2)))
    (got,), _ = build(b.program)(arrays) or ([], [])
    case.check("convolution", got.transpose(0, 2, 3, 1), [image, weight])


def test_a_bias_a_scale_and_relu_are_done_before_a_pixel_is_stored() -> None:
    case = Case((4, 6, 6, 3), 20, (3, 3), padding=((1, 1), (1, 1)))
    arrays = [*case.arrays("convolution"), *np.random.default_rng(1).standard_normal((2, 20), np.float32)]
    b = Builder()
    image, weight, scale, bias = map(b.input, arrays)
    moved = b.add(b.multiply(case.instruction(b, "convolution", [image, weight]), scale), bias)
    zero = b.constant(np.float32(0))
    b.program.outputs.append(b.where(b.greater(moved, zero), moved, zero))
    run = build(b.program)
    assert [type(piece) for piece in run.plan.pieces] == [Product]
    (got,), _ = run(arrays) or ([], [])
    plain = case.expected("convolution", *(array.astype(np.float64) for array in arrays[:2]))
    np.testing.assert_allclose(got, np.maximum(plain * arrays[2] + arrays[3], 0), rtol=1e-4, atol=1e-5)


def test_equal_convolutions_share_their_code() -> None:
    case = Case((2, 6, 6, 16), 16, (3, 3), padding=((1, 1), (1, 1)))
    image, weight = case.arrays("convolution")
    b = Builder()
    value, filters = b.input(image), b.input(weight)
    for _ in range(3):
        value = case.instruction(b, "convolution", [value, filters])
    b.program.outputs.append(value)
    run = build(b.program)
    assert run.ir.count("define internal void @convolution") == 1
    (got,), _ = run([image, weight]) or ([], [])
    wanted = image.astype(np.float64)
    for _ in range(3):
        wanted = case.expected("convolution", wanted, weight.astype(np.float64))
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (Case((1, 3, 2000, 1), 2, (1, 1000)), "convolution"),
        (Case((0, 4, 4, 1), 2, (2, 2)), "convolution"),
        (Case((2, 4, 4, 1), 2, (2, 2), dtype=np.float16), "convolution"),
    ],
    ids=["a very long kernel", "no picture", "half precision"],
)
def test_what_has_no_code_is_run_by_numpy(case: Case, name: str) -> None:
    arrays = case.arrays(name)
    run = build(case.program(name, arrays).program)
    assert [type(piece) for piece in run.plan.pieces] == [Call]
    (got,), _ = run(arrays) or ([], [])
    np.testing.assert_array_equal(got, case.expected(name, *arrays))


def test_the_code_does_not_grow_with_the_picture() -> None:
    case = Case((1, 4, 500, 16), 16, (3, 3), padding=((1, 1), (1, 1)))
    run = build(case.program("convolution", case.arrays("convolution")).program)
    edges_and_inside, registers, taps = 4, 26, 3
    assert run.ir.count("fmul contract") <= edges_and_inside * registers * taps


@pytest.fixture
def _small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pieces take turns as if the caches held a few pictures."""
    monkeypatch.setattr("tinygrad_mnist.compiler.fuse.LARGE", 1 << 13)
    monkeypatch.setattr("tinygrad_mnist.compiler.turns.CACHED", 1 << 17)
    monkeypatch.setattr("tinygrad_mnist.compiler.filters._GRADIENT", 1 << 13)
    monkeypatch.setattr("tinygrad_mnist.compiler.executable.WORTHWHILE", 1)


def pooled(case: Case, arrays: list[Any]) -> Builder:
    """Return a program of a convolution, the larger one of two pixels each, and the sum of all of these."""
    b = Builder()
    made = case.instruction(b, "convolution", [b.input(array) for array in arrays])
    every = slice(None)
    larger = b.maximum(
        b.getitem(made, every, slice(0, None, 2), slice(1, None, 2)),
        b.getitem(made, every, slice(1, None, 2), slice(0, None, 2)),
    )
    b.program.outputs += [larger, b.sum(larger, axis=(0, 1, 2))]
    return b


def gradient_of_pooled(case: Case, arrays: list[Any]) -> Builder:
    """Return a program of the filters' gradient, of a gradient that is spread over pixels first."""
    b = Builder()
    image, small = map(b.input, arrays)
    n, height, width, channels = case.out
    spread = b.reshape(small, (n, height // 2, 1, width // 2, 1, channels))
    spread = b.broadcast_to(spread, (n, height // 2, 2, width // 2, 2, channels))
    share = b.constant(np.arange(1, 5, dtype=np.float32).reshape(2, 1, 2, 1))
    full = b.reshape(b.multiply(spread, share), case.out)
    b.program.outputs.append(case.instruction(b, "convolution_by_weight", [image, full]))
    return b


@pytest.mark.usefixtures("_small_caches")
@pytest.mark.parametrize("images", [24, 37])
@pytest.mark.parametrize("kind", ["pooled", "gradient of pooled"])
def test_a_convolution_and_a_loop_take_turns(kind: str, images: int) -> None:
    case = Case((images, 14, 12, 1), 16, (3, 3), padding=((1, 1), (1, 1)))
    arrays = case.arrays("convolution" if kind == "pooled" else "convolution_by_weight")
    if kind == "pooled":
        program = pooled(case, arrays).program
    else:
        arrays[1] = np.ascontiguousarray(arrays[1][:, ::2, ::2])
        program = gradient_of_pooled(case, arrays).program
    run, shared = build(program), build(program, threads=2)
    assert "@turns" in run.ir
    assert "@turns" in shared.ir
    results = run(arrays)
    wanted = interpret(program, arrays)
    again = shared(arrays)
    assert results is not None
    assert wanted is not None
    assert again is not None
    for got, same, value in zip(results[0], again[0], wanted[0], strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-4, atol=1e-3)
        assert got.tobytes() == same.tobytes()


@pytest.mark.usefixtures("_small_caches")
def test_what_the_first_reads_is_there_until_the_last_turn() -> None:
    case = Case((24, 14, 12, 8), 16, (3, 3), padding=((1, 1), (1, 1)))
    after = Case((24, 7, 6, 16), 16, (1, 1))
    arrays = [*case.arrays("convolution"), *after.arrays("convolution")[1:]]
    b = Builder()
    image, weight, other = map(b.input, arrays)
    doubled = b.add(image, image)  # nothing reads it after the convolution: the next two would fit its memory
    made = case.instruction(b, "convolution", [doubled, weight])
    every = slice(None)
    pixels = [b.getitem(made, every, slice(i, None, 2), slice(1 - i, None, 2)) for i in (0, 1)]
    for reduced in (b.maximum(*pixels), b.minimum(*pixels)):
        b.program.outputs.append(after.instruction(b, "convolution", [reduced, other]))
    run = build(b.program)
    assert "@turns" in run.ir
    results, wanted = run(arrays), interpret(b.program, arrays)
    assert results is not None
    assert wanted is not None
    for got, value in zip(results[0], wanted[0], strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("_small_caches")
def test_no_turns_where_another_loop_reads_what_passes() -> None:
    case = Case((24, 14, 12, 1), 16, (3, 3), padding=((1, 1), (1, 1)))
    arrays = case.arrays("convolution")
    b = pooled(case, arrays)
    convolution = next(i for i in b.program.instructions if i.name == "convolution")
    b.program.outputs.append(b.sum(convolution.outputs[0], axis=(1, 2)))
    run = build(b.program)
    assert "@turns" not in run.ir
    (_, _, total), _ = run(arrays) or ([], [])
    np.testing.assert_allclose(total, case.expected("convolution", *arrays).sum((1, 2)), rtol=1e-3, atol=1e-3)
