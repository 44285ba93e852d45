"""Statistics and summaries against NumPy, also where numbers are bad, huge or none."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_mnist.graph.data import Statistics, Value, rounded

FLOATS = st.floats(1e-3, 1e6) | st.floats(-1e6, -1e-3) | st.sampled_from([0.0, np.nan, np.inf, -np.inf])


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3), elements=FLOATS))
def test_statistics_are_those_of_the_finite_entries(array: np.ndarray) -> None:
    found = Statistics.of(array)
    finite = array[np.isfinite(array)]
    assert found.nan == np.isnan(array).sum()
    assert found.inf == np.isinf(array).sum()
    assert found.finite == bool(np.isfinite(array).all())
    if not finite.size:
        assert found.min is found.mean is found.std is found.max is found.norm is None
        return
    scale = max(np.abs(finite).max(), 1e-300)
    for mine, theirs in [
        (found.min, finite.min()),
        (found.max, finite.max()),
        (found.mean, finite.mean()),
        (found.std, finite.std()),
        (found.norm, np.linalg.norm(finite)),
    ]:
        assert mine == pytest.approx(theirs, rel=1e-3, abs=2e-6 * scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_every_dtype_of_a_tensor_can_be_summarised(dtype: type) -> None:
    found = Value.of(np.ones((2, 3), dtype))
    assert (found.shape, found.dtype, found.bytes) == (
        (2, 3),
        np.dtype(dtype).name,
        6 * np.dtype(dtype).itemsize,
    )
    assert found.statistics == Statistics(1.0, 1.0, 0.0, 1.0, 2.449)


def test_numbers_near_overflow_stay_valid_json() -> None:
    found = Statistics.of(np.full(100, np.finfo(np.float64).max))
    text = json.dumps([found.min, found.mean, found.std, found.max, found.norm], allow_nan=False)
    assert all(math.isfinite(x) for x in json.loads(text))


def test_roundoff_beside_large_entries_is_shown_as_zero() -> None:
    found = Statistics.of(np.array([1.0, -1.0, 1e-9]))
    assert found.mean == 0.0


def test_an_empty_array_has_no_numbers() -> None:
    assert Statistics.of(np.zeros((0, 3))) == Statistics()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_keeps_four_digits(x: float) -> None:
    assert rounded(x) == pytest.approx(x, rel=1e-3, abs=1e-320)
