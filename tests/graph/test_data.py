"""Summaries against NumPy, also where numbers are bad, huge or none; and the JSON of a graph."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_mnist import Tensor, graph, nn
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


# ---- JSON ----------------------------------------------------------------------------------------------

GOLDEN = """\
{
"format": "tinygrad_mnist graph 1",
"clusters": [
  {"id": "model", "name": "model", "kind": "Linear", "detail": "2, 1"}
],
"nodes": [
  {"id": "x", "kind": "input", "name": "x", "label": "x", "cluster": "", "values": [{"shape": [1, 2], \
"dtype": "float32", "bytes": 8, "statistics": {"min": 1.0, "mean": 2.0, "std": 1.0, "max": 3.0, \
"norm": 3.162}}]},
"""


def recorded() -> graph.Graph:
    model = nn.Linear(2, 1, rng=0)
    model.weight.data = np.array([[2.0, -1.0]], np.float32)
    x = np.array([[1.0, 3.0]], np.float32)
    with graph.record(model, {"x": x}) as tape:
        np.sum(model(x)).backward()
    return tape.graph()


def test_json_is_what_it_was() -> None:
    assert recorded().json().startswith(GOLDEN)


def test_json_has_a_line_a_node_edge_and_cluster() -> None:
    found = recorded()
    rows = [line for line in found.json().splitlines() if line.startswith("  {")]
    assert len(rows) == len(found.nodes) + len(found.edges) + len(found.clusters)
    assert all(isinstance(json.loads(row.rstrip(",")), dict) for row in rows)


def test_a_changed_value_changes_the_lines_that_hold_it() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    before = np.sum(np.exp(x) * 2).graph().json().splitlines()
    after = np.sum(np.exp(x) * 3).graph().json().splitlines()
    changed = [a for a, b in zip(before, after, strict=True) if a != b]
    assert [json.loads(line.strip().rstrip(","))["id"] for line in changed] == ["multiply#1", "sum#1"]
