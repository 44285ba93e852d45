"""Products: BLAS as NumPy loaded it, and generated ones against NumPy in float64."""

from __future__ import annotations

import ctypes
import itertools
import sys
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.compiler import machine, products

pytestmark = pytest.mark.skipif(not machine.available(), reason="needs llvmlite")

LAYOUTS = list(itertools.product((False, True), repeat=2))
SIZES = [(1, 1, 1), (3, 2, 5), (6, 7, 8), (5, 10, 16), (14, 16, 31), (27, 17, 3), (9, 33, 33), (2, 130, 7)]


def _operands(m: int, n: int, k: int, layout: tuple[bool, bool], dtype: Any) -> tuple[Any, Any]:
    rng = np.random.default_rng(m * 10_000 + n * 100 + k)
    a = rng.standard_normal((k, m) if layout[0] else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if layout[1] else (k, n)).astype(dtype)
    return a, b


def _compiled(cases: list[tuple[tuple[int, int, int], tuple[bool, bool]]], **options: Any) -> list[Any]:
    """Return a function ``f(*arrays, begin, end)`` for each case, all compiled at once."""
    texts = [
        products.generated(f"p{i}", *sizes, transposed_a=ta, transposed_b=tb, **options)
        for i, (sizes, (ta, tb)) in enumerate(cases)
    ]
    assert all(texts)
    code = machine.compile_ir("\n".join(text for text in texts if text))
    arrays = [ctypes.c_void_p] * (3 + len(options.keys() & {"bias", "finds_nan"}))
    kind = ctypes.CFUNCTYPE(None, *arrays, ctypes.c_int64, ctypes.c_int64)

    def function(number: int) -> Any:
        made = kind(code.address(f"p{number}"))

        def call(*arrays: Any, begin: int, end: int) -> None:
            made(*(array.ctypes.data for array in arrays), begin, end)

        call.code = code  # type: ignore[attr-defined]  # the code lives as long as the function
        return call

    return [function(number) for number in range(len(cases))]


def _expected(a: Any, b: Any, layout: tuple[bool, bool]) -> tuple[Any, Any]:
    """Return the product in float64, and how far a sum in the operands' dtype may be from it."""
    left = (a.T if layout[0] else a).astype(np.float64)
    right = (b.T if layout[1] else b).astype(np.float64)
    steps = np.finfo(a.dtype).eps * max(4.0, 2 * np.sqrt(left.shape[1]))
    return left @ right, np.abs(left) @ np.abs(right) * steps


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.float32, 128), (np.float32, 512), (np.float64, 256), (np.float64, 512)]
)
def test_a_generated_product_is_the_product_and_writes_nothing_else(dtype: Any, bits: int) -> None:
    cases = list(itertools.product(SIZES, LAYOUTS))
    for (sizes, layout), product in zip(cases, _compiled(cases, dtype=dtype, vector_bits=bits), strict=True):
        m, n, _ = sizes
        a, b = _operands(*sizes, layout, dtype)
        memory = np.full(m * n + 128, np.nan, dtype)
        out = memory[64:-64].reshape(m, n)
        product(a, b, out, begin=0, end=m)
        expected, tolerance = _expected(a, b, layout)
        assert (np.abs(out - expected) <= tolerance).all(), (sizes, layout)
        assert np.isnan(memory[:64]).all(), (sizes, layout)
        assert np.isnan(memory[-64:]).all(), (sizes, layout)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sizes", [(31, 300, 420), (70, 272, 280)])
def test_wide_products_that_copy_what_they_read_first(sizes: tuple[int, int, int], aligned: bool) -> None:
    cases = [(sizes, layout) for layout in LAYOUTS]
    for (_, layout), product in zip(cases, _compiled(cases, aligned_b=aligned), strict=True):
        a, b = _operands(*sizes, layout, np.float32)
        out = np.full(sizes[:2], np.nan, np.float32)
        product(a, b, out, begin=0, end=sizes[0])
        expected, tolerance = _expected(a, b, layout)
        assert (np.abs(out - expected) <= tolerance).all(), layout


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sizes", [(53, 26, 19), (130, 300, 290), (400, 40, 300)])
def test_pieces_have_the_bits_of_the_whole(sizes: tuple[int, int, int], aligned: bool) -> None:
    m, n, _ = sizes
    alone = _compiled([(sizes, layout) for layout in LAYOUTS])
    for layout, one in zip(LAYOUTS, alone, strict=True):
        how = {"transposed_a": layout[0], "transposed_b": layout[1], "aligned_b": aligned}
        by, ranges = products.pieces(*sizes, **how)
        assert ranges[0][0] == 0
        assert ranges[-1][1] == (m if by == "rows" else n)
        assert all(left[1] == right[0] for left, right in itertools.pairwise(ranges))
        (share,) = _compiled([(sizes, layout)], by=by, aligned_b=aligned)
        a, b = _operands(*sizes, layout, np.float32)
        whole, together = np.full((2, m, n), np.nan, np.float32)
        one(a, b, whole, begin=0, end=m)
        for begin, end in ranges:
            share(a, b, together, begin=begin, end=end)
        assert whole.tobytes() == together.tobytes()
        assert not np.isnan(whole).any()


def test_an_empty_range_of_rows_writes_nothing() -> None:
    (product,) = _compiled([((6, 6, 6), (False, False))])
    out = np.full((6, 6), 7, np.float32)
    product(out, out, out, begin=3, end=3)
    assert (out == 7).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_goes_where_matmul_lets_it_go(special: float) -> None:
    cases = [((7, 10, 18), layout) for layout in LAYOUTS]
    for (sizes, layout), product in zip(cases, _compiled(cases), strict=True):
        for which, place in itertools.product((0, 1), (0, 50, -1)):
            a, b = _operands(*sizes, layout, np.float32)
            (a, b)[which].flat[place] = special
            (a, b)[1 - which].flat[::7] = 0
            out = np.empty((7, 10), np.float32)
            product(a, b, out, begin=0, end=7)
            with np.errstate(invalid="ignore"):
                expected, _ = _expected(a, b, layout)
            np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_a_bias_is_added_to_each_row() -> None:
    (product,) = _compiled([((9, 10, 6), (False, False))], bias=True)
    a, b = _operands(9, 10, 6, (False, False), np.float32)
    bias = np.arange(10, dtype=np.float32)
    out = np.empty((9, 10), np.float32)
    product(a, b, bias, out, begin=0, end=9)
    np.testing.assert_allclose(out, a.astype(np.float64) @ b + bias, rtol=1e-5, atol=1e-5)


def test_a_product_looks_for_nan_in_what_it_stores() -> None:
    (product,) = _compiled([((9, 21, 6), (False, False))], finds_nan=True)
    for place, number in itertools.product((0, 20, -1), (np.nan, np.inf)):
        a, b = np.ones((9, 6), np.float32), np.ones((6, 21), np.float32)
        b.flat[place] = number
        out, no_nan = np.empty((9, 21), np.float32), np.ones(3, np.uint8)
        product(a, b, out, no_nan[1:], begin=0, end=9)
        assert no_nan.tolist() == [1, np.isinf(number), 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_of_wider_matrices(layout: tuple[bool, bool]) -> None:
    a, b = _operands(9, 20, 12, layout, np.float32)
    wide_a, wide_b = (np.pad(x, ((0, 0), (0, 5)), constant_values=np.nan) for x in (a, b))
    (product,) = _compiled([((9, 20, 12), layout)], strides=(wide_a.shape[1], wide_b.shape[1], 23))
    out = np.full((9, 23), 7, np.float32)
    product(wide_a, wide_b, out, begin=0, end=9)
    expected, tolerance = _expected(a, b, layout)
    assert (np.abs(out[:, :20] - expected) <= tolerance).all()
    assert (out[:, 20:] == 7).all()


def test_nothing_is_generated_without_elements_or_for_other_dtypes() -> None:
    for sizes in [(0, 3, 3), (3, 0, 3), (3, 3, 0)]:
        assert products.generated("p", *sizes) is None
        assert products.choose(*sizes) == "blas"
    assert products.generated("p", 3, 3, 3, dtype=np.float16) is None
    assert products.choose(3, 3, 3, dtype=np.int64) == "blas"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_is_a_text_for_all_that_is_chosen_to_be_generated(dtype: Any) -> None:
    lengths = (1, 4, 9, 64, 1000, 4000)
    chosen = 0
    for m, n, k in itertools.product(lengths, repeat=3):
        for ta, tb in LAYOUTS:
            if products.choose(m, n, k, transposed_a=ta, transposed_b=tb, dtype=dtype) == "generated":
                chosen += 1
                for bits in (128, 256, 512):
                    options: dict[str, Any] = {"dtype": dtype, "vector_bits": bits}
                    assert products.generated("p", m, n, k, transposed_a=ta, transposed_b=tb, **options)
    assert chosen


# ---- BLAS --------------------------------------------------------------------------------------------------


def _numpy_says_openblas() -> bool:
    config: Any = np.show_config(mode="dicts")
    return "openblas" in config["Build Dependencies"]["blas"]["name"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blas_is_found_where_numpy_has_openblas_and_multiplies(dtype: Any) -> None:
    blas = products.blas(dtype)
    if blas is None:
        assert not _numpy_says_openblas()
        return
    integer = ctypes.c_int64 if blas.integer == "i64" else ctypes.c_int32
    real, pointer = np.ctypeslib.as_ctypes_type(dtype), ctypes.c_void_p
    matrices = [real, pointer, integer, pointer, integer, real, pointer, integer]
    product = ctypes.CFUNCTYPE(None, *[ctypes.c_int32] * 3, *[integer] * 3, *matrices)(blas.address)
    a, b = _operands(19, 23, 40, (False, True), dtype)
    out = np.empty((19, 23), dtype)
    product(101, 111, 112, 19, 23, 40, 1.0, a.ctypes.data, 40, b.ctypes.data, 40, 0.0, out.ctypes.data, 23)
    expected, tolerance = _expected(a, b, (False, True))
    assert (np.abs(out - expected) <= tolerance).all()
    assert products.blas(np.dtype(dtype)) is blas


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads what Linux says of a process")
def test_blas_is_found_among_what_the_process_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def addresses() -> set[int | None]:
        name = products.blas(np.float32)
        libraries = list(products._loaded_libraries())
        return {ctypes.cast(library[name.name], ctypes.c_void_p).value for library in libraries if name}

    beside_numpy = addresses()
    monkeypatch.setattr(np, "__file__", "/elsewhere/numpy/__init__.py")
    assert addresses() == beside_numpy


def test_there_is_no_blas_for_other_dtypes() -> None:
    assert products.blas(np.float16) is None
    assert products.blas(np.int64) is None


def test_blas_on_one_thread_and_as_before_afterwards() -> None:
    blas = products.blas(np.float32)
    if blas is None:
        pytest.skip("NumPy has no OpenBLAS here")
    before = blas.get_threads()
    try:
        blas.set_threads(2)
        with blas.one_thread():
            with blas.one_thread():
                assert blas.get_threads() == 1
            assert blas.get_threads() == 1
        assert blas.get_threads() == 2
    finally:
        blas.set_threads(before)
