"""Values of every dtype and range as grey levels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist.data.levels import as_bytes, black_and_white


@pytest.mark.parametrize(
    ("low", "high", "dtype", "levels"),
    [
        (0, 1, "bool", (0, 1)),
        (0, 1, "uint8", (0, 1)),
        (0, 1, "int64", (0, 1)),
        (0, 3, "int64", (0, 3)),
        (0, 6, "int16", (0, 7)),
        (0, 7, "uint8", (0, 255)),  # noise of a black picture
        (0, 200, "int64", (0, 255)),
        (0, 500, "uint16", (0, 511)),
        (0, 65535, "uint16", (0, 65535)),
        (30_000, 31_000, "uint16", (30_000, 31_000)),
        (0.0, 0.9, "float32", (0, 1)),
        (0.5, 0.51, "float64", (0.5, 0.51)),
        (0.0, 1.02, "float64", (0.0, 1.02)),  # a share that was resampled
        (0.0, 254.0, "float16", (0, 255)),
        (-1.0, 1.0, "float64", (-1.0, 1.0)),
        (0, 0, "int64", (0, 1)),
    ],
)
def test_black_and_white_follow_from_the_range(
    low: float, high: float, dtype: str, levels: tuple[float, float]
) -> None:
    assert black_and_white(low, high, dtype) == levels


@given(
    low=st.floats(0, 65535),
    contrast=st.floats(0, 65535),
    dtype=st.sampled_from(["uint8", "uint16", "int64", "float32", "float64"]),
)
def test_white_is_above_black_and_every_value_becomes_a_byte(low: float, contrast: float, dtype: str) -> None:
    most = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 65535
    values = np.array([[min(low, most), min(low + contrast, most)]]).astype(dtype)
    black, white = black_and_white(float(values.min()), float(values.max()), values.dtype)
    assert black < white
    levels = as_bytes(values, black, white).astype(int)
    exact = (values.astype(float) - black) * 255 / (white - black)
    np.testing.assert_allclose(levels, exact, atol=0.5001)
