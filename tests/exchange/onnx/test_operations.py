"""Every operation of the registry is written as ONNX with its values, or is refused by name with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.exchange.onnx.operations import LIMITED, WRITTEN, Call, calls_of, model_of
from tests.ops.samples import call_of, constant_call_of, samples_of
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import REGISTRY, linear
from tinygrad_mnist.exchange.onnx.refused import LIMITS, REFUSED
from tinygrad_mnist.testing.strategies import op_inputs

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from scripts import make_onnx_coverage as coverage  # noqa: E402
from tinygrad_mnist import onnx  # noqa: E402
from tinygrad_mnist.onnx import ExportError  # noqa: E402

TOLERANCES = {"float16": 2e-3, "float32": 1e-5, "float64": 1e-7}
"""Relative to the largest number of a result; in float64 ``onnx.reference`` computes Erf in float32."""


def values_of(model: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    with np.errstate(all="ignore"):
        return [np.asarray(out.data) for out in model(*map(Tensor, inputs))]


def assert_equal(found: list[Any], expected: list[Any]) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one.shape == two.shape
        assert one.dtype == two.dtype
        finite = np.abs(two[np.isfinite(two)]) if two.dtype.kind == "f" else np.zeros(0)
        tolerance = TOLERANCES.get(two.dtype.name, 0.0)
        np.testing.assert_allclose(one, two, rtol=0, atol=tolerance * finite.max(initial=0))


def assert_written(name: str, calls: list[Call], directory: Path, runners: dict[str, Any]) -> None:
    """Assert that a file with calls of an operation gives the same values in every runtime."""
    model, inputs = model_of(name, calls)
    path = directory / f"{name}.onnx"
    with np.errstate(all="ignore"):
        onnx.save(model, tuple(inputs), path, dynamic=False)
    expected = values_of(model, inputs)
    for run in runners.values():
        from onnx import load

        names = [each.name for each in load(path).graph.input]
        with np.errstate(all="ignore"):
            assert_equal(run(path, dict(zip(names, inputs, strict=True))), expected)


# ---- all is decided --------------------------------------------------------------------------------------


def undecided() -> list[str]:
    return [name for name, op in REGISTRY.items() if name not in WRITTEN and name not in REFUSED]


def test_every_operation_is_written_or_refused() -> None:
    assert undecided() == []


def test_no_operation_is_both_written_and_refused() -> None:
    assert set(WRITTEN).isdisjoint(REFUSED)
    assert set(REFUSED) <= set(REGISTRY)
    assert set(LIMITS) <= set(WRITTEN)


def test_a_new_operation_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "frobnicate", REGISTRY["identity"])
    assert undecided() == ["frobnicate"]


def test_the_page_of_what_is_written_is_up_to_date() -> None:
    assert coverage.TARGET.read_text("utf-8") == coverage.page(), "run scripts/make_onnx_coverage.py"
