"""Every operation of the registry is written as ONNX with its values, or is refused by name with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.exchange.onnx.operations import LIMITED, WRITTEN, Call, calls_of, model_of
from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import REGISTRY, Domain, Op
from tinygrad_mnist.exchange.onnx.refused import LIMITS, REFUSED
from tinygrad_mnist.testing.strategies import op_inputs

onnx_package = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from scripts import make_onnx_coverage as coverage  # noqa: E402
from tinygrad_mnist import onnx  # noqa: E402
from tinygrad_mnist.onnx import ExportError  # noqa: E402

TOLERANCES = {"float16": 5e-3, "float32": 1e-5, "float64": 1e-5}
"""Relative to the largest number of a result; in float64, too, ``onnx.reference`` computes Erf in float32."""


def values_of(model: Callable[..., Any], inputs: list[Any]) -> list[Any]:
    with np.errstate(all="ignore"):
        return [np.asarray(out.data) for out in model(*map(Tensor, inputs))]


def assert_equal(found: list[Any], expected: list[Any], each: bool = False) -> None:
    """Compare results with ours: relative to the largest number of each, or each number by itself."""
    for one, two in zip(found, expected, strict=True):
        assert one.shape == two.shape
        assert one.dtype == two.dtype
        tolerance = TOLERANCES.get(two.dtype.name, 0.0)
        largest = np.max(np.abs(two), initial=0, where=np.isfinite(two)) if two.dtype.kind == "f" else 0
        rtol, atol = (tolerance, 1e-37) if each else (0, tolerance * largest)
        np.testing.assert_allclose(one, two, rtol=rtol, atol=atol)


def exported(model: Callable[..., Any], inputs: list[Any], directory: Path) -> Path:
    path = directory / "model.onnx"
    with np.errstate(all="ignore"):
        onnx.save(model, tuple(inputs), path, dynamic=False)
    return path


def run_by(run: Any, path: Path, inputs: list[Any]) -> list[Any]:
    names = [each.name for each in onnx_package.load(path).graph.input]
    with np.errstate(all="ignore"):
        return list(run(path, dict(zip(names, inputs, strict=True))))


# ---- all is decided --------------------------------------------------------------------------------------


def undecided() -> list[str]:
    return [name for name in REGISTRY if name not in WRITTEN and name not in REFUSED]


def test_every_operation_is_written_or_refused() -> None:
    assert undecided() == []


def test_no_operation_is_both_written_and_refused() -> None:
    assert set(WRITTEN).isdisjoint(REFUSED)
    assert set(REFUSED) <= set(REGISTRY)
    assert set(LIMITS) <= set(WRITTEN)


def test_a_new_operation_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "frobnicate", REGISTRY["identity"])
    assert undecided() == ["frobnicate"]


@pytest.mark.slow
def test_the_page_of_what_is_written_is_up_to_date() -> None:
    assert coverage.TARGET.read_text("utf-8") == coverage.page(), "run scripts/make_onnx_coverage.py"


# ---- values ----------------------------------------------------------------------------------------------


def assert_written(name: str, calls: list[Call], directory: Path, runners: dict[str, Any]) -> None:
    """Assert that a file with calls of an operation gives our values in every runtime that can run it."""
    model, inputs = model_of(name, calls)
    path = exported(model, inputs, directory)
    expected = values_of(model, inputs)
    for runner, run in runners.items():
        if runner == "reference" or coverage.runs(path):
            assert_equal(run_by(run, path, inputs), expected)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_operation_has_its_values_in_the_file(name: str, tmp_path: Path, runners: dict[str, Any]) -> None:
    """By the reference `save` has compared already, less strictly; see the test of all floats."""
    model, inputs = model_of(name, calls_of(name, np.float32))
    path = exported(model, inputs, tmp_path)
    assert_equal(run_by(runners["onnxruntime"], path, inputs), values_of(model, inputs))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("name", WRITTEN)
def test_an_operation_has_its_values_in_all_floats(
    name: str, dtype: Any, tmp_path: Path, runners: dict[str, Any]
) -> None:
    if (name, dtype) == ("det", np.float16):
        pytest.skip("NumPy has no linear algebra of float16")
    assert_written(name, calls_of(name, dtype), tmp_path, runners)


DRAWN = [name for name in WRITTEN if isinstance(REGISTRY[name].samples, str)]
"""Operations with more calls than their samples: shapes that broadcast, axes, indices."""


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_an_operation_has_its_values_for_drawn_calls(
    name: str, tmp_path: Path, runners: dict[str, Any]
) -> None:
    calls: list[Call] = []

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(op_inputs(REGISTRY[name], (1.0,)))
    def draw(call: Any) -> None:
        arguments, static = call
        if not (name in LIMITED and LIMITED[name](*arguments, **static)):
            narrow = [
                each.astype(np.float32) if getattr(each, "dtype", None) == np.float64 else each
                for each in arguments
            ]
            calls.append((narrow, static))

    draw()
    assert_written(name, calls, tmp_path, runners)


# ---- numbers of all sizes --------------------------------------------------------------------------------

ELEMENTWISE = [
    name
    for name in WRITTEN
    if REGISTRY[name].kind in ("elementwise", "constant", "fused")
    and REGISTRY[name].samples in ("broadcast", ())
]
FAR_OUT = {"sigmoid": 1e-7, "logaddexp": 1e-7, "logaddexp2": 1e-7}
"""Operations that are near absolutely: onnxruntime's Sigmoid ends at -18, and the others cross 0."""
OF_INTEGERS = {"invert", "left_shift", "right_shift", "bitwise_and", "bitwise_or", "bitwise_xor"}


def numbers(count: int, domain: Domain) -> Any:
    """Return numbers from 1e-22 to 1e22 of both signs, whose squares overflow, those of a domain."""
    rng = np.random.default_rng(count)
    sizes = 10.0 ** np.concatenate([rng.uniform(-22, 22, 300), rng.uniform(-2, 1.5, 500)])
    values = (rng.permutation(sizes) * rng.choice([-1, 1], 800)).astype(np.float32)
    low, high = max(domain.low, -1e30), min(domain.high, 1e30)
    return np.clip(values, low, high).astype(np.float32)


def domains_of(op: Op) -> tuple[Domain, ...]:
    count = op.forward.nin if op.kind == "constant" else max(len(op.rules), 1)  # type: ignore[arg-type]
    return (op.domain,) * count if isinstance(op.domain, Domain) else op.domain


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if name not in OF_INTEGERS])
def test_an_elementwise_operation_keeps_the_digits_of_every_number(
    name: str, tmp_path: Path, runners: dict[str, Any]
) -> None:
    arguments = [numbers(i, domain) for i, domain in enumerate(domains_of(REGISTRY[name]))]
    model, inputs = model_of(name, [(arguments, {})])
    path = exported(model, inputs, tmp_path)
    (expected,) = values_of(model, inputs)
    for run in runners.values():
        (found,) = run_by(run, path, inputs)
        if name in FAR_OUT:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=FAR_OUT[name])
        else:
            assert_equal([found], [expected], each=True)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.0, np.inf, -np.inf, np.nan], np.float32)
PAIRS = [pair.ravel() for pair in np.meshgrid(SPECIAL, SPECIAL)]
# copysign and signbit are not among these: ONNX cannot tell the sign of a NaN
WITH_SPECIAL_VALUES = [
    "add", "multiply", "divide", "maximum", "minimum", "fmax", "fmin", "hypot", "arctan2", "remainder",
    "fmod", "floor_divide", "logaddexp", "direction", "xlogy", "multiply_no_nan", "equal", "less",
    "greater_equal", "sign", "isnan", "isinf", "isfinite", "log1p", "expm1", "softplus", "log_sigmoid",
    "trunc", "cbrt", "exp2", "relu", "square", "reciprocal", "logistic",
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_SPECIAL_VALUES)
def test_zeros_infinities_and_nan_are_what_numpy_makes_of_them(
    name: str, tmp_path: Path, runners: dict[str, Any]
) -> None:
    arguments = [SPECIAL] if len(domains_of(REGISTRY[name])) == 1 else PAIRS
    model, inputs = model_of(name, [(arguments, {})])
    path = exported(model, inputs, tmp_path)
    for run in runners.values():
        assert_equal(run_by(run, path, inputs), values_of(model, inputs), each=True)


# ---- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "isnat"])
def test_an_operation_is_refused_by_name_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    model, inputs = model_of(name, calls_of(name, np.float32))
    if name == "cholesky":  # of other values, too
        model, inputs = lambda x: REGISTRY[name](x @ x.T + 9 * np.eye(4, dtype=x.dtype)), [ROWS]
    with pytest.raises(ExportError, match=f"'{name}'.*{REFUSED[name][:20]}"):
        onnx.save(model, tuple(inputs), tmp_path / "model.onnx", dynamic=False)
    assert list(tmp_path.iterdir()) == []


ROWS = np.arange(1.0, 13.0, dtype=np.float32).reshape(4, 3)
IMAGES = np.arange(1.0, 33.0, dtype=np.float32).reshape(4, 2, 2, 2)
NUMBERS = np.arange(12).reshape(4, 3)


def with_written(index: Any) -> Callable[[Any], Any]:
    def function(x: Any) -> Any:
        out = x * 1
        out[index] = 0.0
        return out

    return function


def scattered(x: Any) -> Any:
    return REGISTRY["scatter_add"](x[:, 0], index=(slice(1, None), 0), shape=(x.shape[0] + 1, 2))


def by_weight(x: Any) -> Any:
    options = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 2}
    return REGISTRY["conv2d_by_weight"](x, x, kernel=(1, 1), **options)


def put_back(x: Any) -> Any:
    return REGISTRY["overlap_add"](x, shape=(x.shape[0], 3), window=(1,), axes=(0,))


REFUSED_CALLS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "getitem": (lambda x: x[x[:, 0] > 0], ROWS),
    "set_at": (with_written(slice(1, None)), ROWS),
    "scatter_add": (scattered, ROWS),
    "left_shift": (lambda x: np.left_shift(x, x), NUMBERS),
    "right_shift": (lambda x: np.right_shift(x, 64), NUMBERS),
    "sinc": (lambda x: REGISTRY["sinc"](x, order=1), ROWS),
    "det": (lambda x: np.linalg.det(x[:, :0, None] * x[:, None, :0]), ROWS),
    "cumprod": (lambda x: np.cumprod(x, 0), ROWS),
    "prod": (lambda x: np.prod(x, 0), NUMBERS),
    "convolve": (lambda x: np.convolve(x[:, 0], np.ones(2, np.float32)), ROWS),
    "sliding_window_view": (lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=0), ROWS),
    "overlap_add": (put_back, ROWS[:, :, None]),
    "conv2d_by_weight": (by_weight, IMAGES),
}


def test_every_limit_that_is_told_is_tried() -> None:
    assert set(REFUSED_CALLS) == set(LIMITS)


@pytest.mark.parametrize("name", REFUSED_CALLS)
def test_what_is_beyond_a_limit_is_refused_by_name(name: str, tmp_path: Path) -> None:
    function, example = REFUSED_CALLS[name]
    with np.errstate(all="ignore"), pytest.raises(ExportError, match=name):
        onnx.save(function, example, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
