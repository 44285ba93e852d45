"""Functions of NumPy and of nn.functional in files with an open batch, and with integers and truth values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ops.calls import CALLS, CONSTANT_CALLS, IN_PLACE, Call
from tests.ops.test_coverage import numpys, on
from tinygrad_mnist import Tensor
from tinygrad_mnist.nn import functional as F

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tinygrad_mnist import onnx
from tinygrad_mnist.exchange.onnx.refused import CHOOSING
from tinygrad_mnist.onnx import ExportError

Function = Callable[[Any], Any]


def floats(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_near(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    largest = np.max(np.abs(expected), initial=0, where=np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


# ---- the batch stays open --------------------------------------------------------------------------------

ROWS = floats(4, 5)
IMAGES = floats(4, 2, 6, 7)
COLUMN = np.ones(5, np.float32)
FILTERS, SHIFTS = floats(3, 2, 3, 3, seed=1), floats(3, seed=2)


def with_written(x: Any) -> Any:
    out = x * 1
    out[:, 1] = 0.0
    out[:, [0, 2]] = 3 * x[:, [1, 1]]
    out[..., 3:] = x[:, :1]
    return out


OF_ROWS: dict[str, Function] = {
    "sum": lambda x: x.sum(),
    "sum of columns": lambda x: x.sum(0),
    "mean": lambda x: x.mean(0),
    "mean by the length": lambda x: x.sum(0) / x.shape[0],
    "var": lambda x: x.var(0, ddof=1),
    "std": lambda x: np.std(x),
    "norm": lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
    "product of rows": lambda x: x @ x.T,
    "product of columns": lambda x: x.T @ x,
    "dot": lambda x: np.dot(x, COLUMN),
    "inner": lambda x: np.inner(x, np.ones((3, 5), np.float32)),
    "tensordot": lambda x: np.tensordot(x, np.ones((5, 2, 3), np.float32), 1),
    "kron": lambda x: np.kron(x, np.ones((1, 2), np.float32)),
    "outer": lambda x: x[:, :, None] * x[:, None, :],
    "einsum": lambda x: np.einsum("ni,nj->nij", x, x),
    "einsum of an ellipsis": lambda x: np.einsum("...i,...i", x, x),
    "einsum of two ellipses": lambda x: np.einsum("...i,...i->...", x, np.ones((3, len(x), 5), np.float32)),
    "some columns": lambda x: x[:, 1:4:2],
    "columns by positions": lambda x: x[:, [0, 0, -1]],
    "columns by a mask": lambda x: x[:, np.array([True, False, True, False, True])],
    "rows backwards": lambda x: x[::-1],
    "the last row": lambda x: x[-1],
    "a new axis": lambda x: x[:, None, -1],
    "all rows but one": lambda x: x[1:] - x[:-1],
    "an element of each row": lambda x: x[np.arange(len(x)), np.zeros(len(x), int)],
    "written": with_written,
    "take": lambda x: np.take(x, [1, 2], axis=1),
    "take_along_axis": lambda x: np.take_along_axis(x, np.zeros((len(x), 1), int), 1),
    "split": lambda x: np.split(x, [2], 1)[1],
    "concatenate": lambda x: np.concatenate([x, 2 * x], 0),
    "concatenate zeros": lambda x: np.concatenate([x, np.zeros((x.shape[0], 2), np.float32)], 1),
    "stack": lambda x: np.stack([x, x], 1),
    "reshape": lambda x: x.reshape(x.shape[0] * 5),
    "reshape to pairs": lambda x: x.reshape(-1, 1),
    "squeeze": lambda x: np.expand_dims(x, 0).squeeze(0),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "broadcast_to": lambda x: np.broadcast_to(x[:, None, :], (x.shape[0], 3, 5)),
    "tile": lambda x: np.tile(x, (1, 2)),
    "repeat": lambda x: np.repeat(x, 2, axis=1),
    "roll": lambda x: np.roll(x, 1, 1),
    "flip": lambda x: np.flip(x, (0, 1)),
    "pad": lambda x: np.pad(x, ((1, 0), (1, 2)), constant_values=3.0),
    "pad by pairs": lambda x: np.pad(x, ((0, 0), (1, 2)), constant_values=((0, 0), (2.0, 3.0))),
    "pad by the edge": lambda x: np.pad(x, ((0, 0), (1, 1)), mode="edge"),
    "pad by reflection": lambda x: np.pad(x, ((0, 0), (2, 1)), mode="reflect"),
    "tril": lambda x: np.tril(x[:, None] * x[:, :, None]),
    "diff": lambda x: np.diff(x, axis=1),
    "trapezoid": lambda x: np.trapezoid(x, axis=1),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, axis=1),
    "cumsum": lambda x: np.cumsum(x, 0),
    "cumprod": lambda x: np.cumprod(x, 1),
    "where": lambda x: np.where(x > 0, x, 0.1 * x),
    "clip": lambda x: np.clip(x, -0.5, None),
    "a mask": lambda x: (x > 0) & ~(x > 1),
    "a count": lambda x: (x > 0).astype(int).sum(1),
    "a Python number": lambda x: 2.5 * x - 1,
    "remainder": lambda x: x % 0.7,
    "floor_divide": lambda x: x // -0.3,
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, "tanh"),
    "elu": lambda x: F.elu(x, 1.3),
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, 2.0, 10.0),
    "hardtanh": F.hardtanh,
    "softmax": lambda x: F.softmax(x, 0),
    "log_softmax": lambda x: F.log_softmax(100 * x, -1),
    "layer_norm": lambda x: F.layer_norm(x, (5,)),
    "rms_norm": lambda x: F.rms_norm(x, (5,)),
    "batch_norm in training": lambda x: F.batch_norm(x, training=True),
    "dropout in evaluation": lambda x: F.dropout(x, 0.5, training=False) + 1,
    "mse_loss": lambda x: F.mse_loss(x, 0.5 * x),
    "l1_loss": lambda x: F.l1_loss(x, 0.5 * x),
    "huber_loss": lambda x: F.huber_loss(x, 0.1 * x),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, 0.1 * x, reduction="none"),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(F.sigmoid(x), F.sigmoid(2 * x)),
    "its form of logits": lambda x: F.binary_cross_entropy_with_logits(x, F.sigmoid(2 * x)),
    "kl_div": lambda x: F.kl_div(F.log_softmax(x, 1), F.softmax(2 * x, 1), reduction="batchmean"),
    "cross_entropy": lambda x: F.cross_entropy(x, F.softmax(2 * x, 1), label_smoothing=0.1),
}
OF_IMAGES: dict[str, Function] = {
    "conv2d": lambda x: F.conv2d(x, FILTERS, SHIFTS, stride=2, padding=1),
    "conv_transpose2d": lambda x: F.conv_transpose2d(
        x, np.swapaxes(FILTERS, 0, 1), stride=2, padding=1, output_padding=1
    ),
    "max_pool2d": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool2d of pixels alone": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "avg_pool2d by a divisor": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "nearest pixels": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, size=(9, 5), mode="bilinear"),
    "bilinear by corners": lambda x: F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=True),
    "area": lambda x: F.interpolate(x, size=(3, 4), mode="area"),
    "group_norm": lambda x: F.group_norm(x, 2),
    "batch_norm in training": lambda x: F.batch_norm(x, training=True),
    "layer_norm": lambda x: F.layer_norm(x, (2, 6, 7)),
    "flatten": lambda x: F.flatten(x, 1) @ np.ones((84, 3), np.float32),
    "moveaxis": lambda x: np.moveaxis(x, 1, -1),
    "crop": lambda x: x[:, :, 1:-1, 1:-1],
    "attention": lambda x: F.softmax(
        x.reshape(len(x), 2, 42).transpose(0, 2, 1) @ x.reshape(len(x), 2, 42), -1
    ),
}
CASES = [
    *(pytest.param(function, ROWS, id=name) for name, function in OF_ROWS.items()),
    *(pytest.param(function, IMAGES, id=f"{name} of images") for name, function in OF_IMAGES.items()),
]


@pytest.mark.parametrize(("function", "example"), CASES)
@pytest.mark.parametrize(
    ("sizes", "names"),
    [((7,), ("onnxruntime",)), pytest.param((2, 7), ("onnxruntime", "reference"), marks=pytest.mark.slow)],
    ids=["one", "both"],
)
def test_a_function_runs_from_a_file_for_batches_of_other_sizes(
    sizes: tuple[int, ...],
    names: tuple[str, ...],
    function: Function,
    example: Any,
    tmp_path: Path,
    runners: dict[str, Any],
) -> None:
    """By the reference `save` has compared already, on smaller batches."""
    path = tmp_path / "function.onnx"
    exported = onnx.save(function, example, path)
    for size in sizes:
        batch = floats(size, *example.shape[1:], seed=size)
        expected = np.asarray(function(Tensor(batch)).data)
        for name in names:
            (found,) = runners[name](path, {exported.inputs[0].name: batch})
            assert_near(found, expected)


INDICES: list[Any] = [
    np.s_[:, [0, 2], [1, 0]],  # positions side by side stay where they are
    np.s_[:, [[0], [2]], [1, 0]],
    np.s_[:, [0, 2], :, [1, 0]],  # those apart come to the front
    np.s_[:, 1, :, [1, 0]],
    np.s_[:, :, np.array([[0, 1], [1, 1]]), 0],
    np.s_[1:, None, [2, 0], ..., -1],
    np.s_[..., ::-2, 1],
    np.s_[:, np.array([[True, False], [False, True], [True, True]])],
    np.s_[-2::-1, 1:, -1],
    np.s_[[1, -1], 2],
    np.s_[:, True, 0],
    np.s_[()],
]


@pytest.mark.parametrize("index", INDICES, ids=repr)
@pytest.mark.parametrize("dynamic", [True, False], ids=["open", "fixed"])
def test_an_index_reads_what_numpy_reads(
    index: Any, dynamic: bool, tmp_path: Path, runners: dict[str, Any]
) -> None:
    path, array = tmp_path / "function.onnx", floats(4, 3, 2, 5)
    exported = onnx.save(lambda x: x[index] * 1, array, path, dynamic=dynamic)
    for run in runners.values():
        (found,) = run(path, {exported.inputs[0].name: array})
        np.testing.assert_array_equal(found, array[index], strict=True)


WRITTEN: list[tuple[Any, Any]] = [
    (np.s_[:, 0], 0.5),
    (np.s_[:, [0, 0, 2], 1], floats(3, 5)),  # the last one stays
    (np.s_[..., 1:3], floats(3, 2, 2)),
    (np.s_[:, :, ::-1], floats(1, 1, 3, 2, 5)),
    (np.s_[:, np.eye(3, 2, dtype=bool)], floats(2, 5)),
    (np.s_[:, 1, None, :, 4], floats(1, 2)),
]


@pytest.mark.parametrize(("index", "value"), WRITTEN)
@pytest.mark.parametrize("dynamic", [True, False], ids=["open", "fixed"])
def test_an_index_writes_what_numpy_writes(
    index: Any, value: Any, dynamic: bool, tmp_path: Path, runners: dict[str, Any]
) -> None:
    def function(x: Any) -> Any:
        out = x * 1
        out[index] = value
        return out

    path, array = tmp_path / "function.onnx", floats(4, 3, 2, 5)
    exported = onnx.save(function, array, path, dynamic=dynamic)
    for run in runners.values():
        (found,) = run(path, {exported.inputs[0].name: array})
        np.testing.assert_array_equal(found, function(array), strict=True)


# ---- other dtypes ----------------------------------------------------------------------------------------

OF_NUMBERS: dict[str, Function] = {
    "arithmetic": lambda x: x + x[::-1] * 3 - 1,
    "true division": lambda x: x / (x + 1),
    "remainders": lambda x: x % 3 + x // 2 + np.fmod(x, 2),
    "division by zero": lambda x: x // (x - x) + x % (x - x),
    "powers": lambda x: x**2 + x**3,
    "extremes": lambda x: np.maximum(x, 2) + np.minimum(x, x[::-1]),
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean(1),
    "max": lambda x: x.max(0) - x.min(0),
    "cumsum": lambda x: np.cumsum(x, 1),
    "product": lambda x: x @ x.T,
    "comparison": lambda x: (x > 2) | (x == 1),
    "comparison with a float": lambda x: x >= 1.5,
    "choice": lambda x: np.where(x > 2, x, 1),
    "bits": lambda x: (x & 3) | (x ^ 1),
    "indexing": lambda x: x[:, [2, 0]][::-1],
    "writing": lambda x: np.tril(x),
    "joining": lambda x: np.concatenate([x, x[:1]]),
    "frame": lambda x: np.pad(x, 1, constant_values=1),
    "clip": lambda x: np.clip(x, 1, 3),
    "exp": lambda x: np.exp(x.astype(np.float32)),
    "truth": lambda x: np.logical_not(x) ^ np.logical_and(x, x - 1),
}
DTYPES = (np.int64, np.int32, np.uint8, np.int16)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_integers_are_computed_as_numpy_does(dtype: Any, tmp_path: Path, runners: dict[str, Any]) -> None:
    numbers = np.array([[0, 5, 3], [2, 1, 4]], dtype)
    path = tmp_path / "functions.onnx"

    def function(x: Any) -> tuple[Any, ...]:
        return tuple(each(x) for each in OF_NUMBERS.values())

    exported = onnx.save(function, numbers, path, dynamic=False)
    for run in runners.values():
        found = run(path, {exported.inputs[0].name: numbers})
        for one, two in zip(found, function(Tensor(numbers)), strict=True):
            assert_near(one, np.asarray(two.data))


def test_truth_values_are_added_and_multiplied_as_numpy_does(tmp_path: Path, runners: dict[str, Any]) -> None:
    truth = np.array([[True, False], [True, True]])
    path = tmp_path / "functions.onnx"

    def function(x: Any) -> tuple[Any, ...]:
        return x + x[::-1], x * x[::-1], ~x, x & x[::-1], x.sum(0), x.mean(), np.where(x, x, False), x.max(1)

    exported = onnx.save(function, truth, path, dynamic=False)
    for run in runners.values():
        found = run(path, {exported.inputs[0].name: truth})
        for one, two in zip(found, function(Tensor(truth)), strict=True):
            assert_near(one, np.asarray(two.data))


WIDE: dict[str, tuple[Function, Any]] = {
    "argmax of uint32": (lambda x: np.argmax(x, axis=1), np.array([[16777216, 16777217]], np.uint32)),
    "argmax of int64": (lambda x: np.argmax(x, axis=1), np.array([[2**53, 2**53 + 1, 2**53 + 1]])),
    "argmin of int64": (np.argmin, np.array([[2**60 + 1, 2**60, 2**60]])),
    "argmax of uint64": (lambda x: np.argmax(x, 1, keepdims=True), np.array([[5, 2**63 + 1, 2]], np.uint64)),
    "max of uint64": (lambda x: np.max(x, axis=1), np.array([[2**63 + 5, 1, 2**53 + 1]], np.uint64)),
    "min of uint64": (lambda x: np.min(x, axis=0), np.array([[2**63 + 5], [1]], np.uint64)),
    "prod of uint64": (lambda x: np.prod(x, axis=1), np.array([[2**61 + 1, 3], [7, 2**62]], np.uint64)),
    "prod of int64": (lambda x: np.prod(x, keepdims=True), np.array([[2**53 + 1, 3, 5], [7, 11, -1]])),
    "prod of int32": (lambda x: np.prod(x, axis=0), np.array([[2**30 + 1], [2**30 + 1], [3]], np.int32)),
    "sum of int64": (lambda x: np.sum(x, axis=1), np.array([[2**53 + 1, 3, 1], [-7, 2**62, 9]])),
    "sum of uint64": (np.sum, np.array([[2**53 + 1, 2**63], [7, 2**63]], np.uint64)),
}


@pytest.mark.parametrize("name", WIDE)
def test_no_bit_of_a_wide_integer_is_lost(name: str, tmp_path: Path, runners: dict[str, Any]) -> None:
    function, numbers = WIDE[name]
    path = tmp_path / "function.onnx"
    exported = onnx.save(function, np.ones_like(numbers), path, dynamic=False)
    for run in runners.values():
        (found,) = run(path, {exported.inputs[0].name: numbers})
        np.testing.assert_array_equal(found, np.asarray(function(numbers)), strict=True)


@pytest.mark.parametrize(
    "function",
    [F.gelu, lambda x: F.gelu(x, "tanh"), lambda x: np.clip(x, -1, None), lambda x: np.clip(x, None, 1.0)],
)
def test_infinity_is_taken_as_our_functions_take_it(
    function: Any, tmp_path: Path, runners: dict[str, Any]
) -> None:
    numbers = np.array([[np.nan, 1, -2], [np.inf, -np.inf, 0]], np.float32)
    path = tmp_path / "function.onnx"
    onnx.save(function, floats(2, 3), path, input_names=["x"])
    for run in runners.values():
        with np.errstate(invalid="ignore"):
            assert_near(run(path, {"x": numbers})[0], np.asarray(function(Tensor(numbers))))


def test_float16_is_rounded_as_numpy_does(tmp_path: Path, runners: dict[str, Any]) -> None:
    numbers = np.array([14.96, 15.25, 25.35], np.float16)
    onnx.save(lambda x: np.round(x, 1), numbers, tmp_path / "function.onnx", input_names=["x"])
    for run in runners.values():
        (found,) = run(tmp_path / "function.onnx", {"x": numbers})
        np.testing.assert_array_equal(found, np.round(numbers, 1), strict=True)


SCORES, LABELS = floats(4, 3), np.array([0, 2, 1, 2])
OF_LABELS: dict[str, Callable[..., Any]] = {
    "one_hot": lambda x, y: F.one_hot(y, 3, np.float32) * x,
    "nll_loss": lambda x, y: F.nll_loss(F.log_softmax(x, dim=1), y),
    "a weighted nll_loss": lambda x, y: F.nll_loss(x, y, COLUMN[:3] * 2, ignore_index=1),
    "a weighted cross-entropy": lambda x, y: F.cross_entropy(x, y, COLUMN[:3] * 2, ignore_index=1),
    "one-hot rows": lambda x, y: F.cross_entropy(x, F.one_hot(y, 3)),
    "embedding in a constant": lambda x, y: x + F.embedding(y, floats(3, 3, seed=1)),
    "take_along_axis": lambda x, y: np.take_along_axis(x, y[:, None], axis=1),
    "a share of 0": lambda x, y: F.kl_div(x, np.maximum(x, 0), reduction="sum"),
}


@pytest.mark.parametrize("name", OF_LABELS)
def test_labels_are_an_input_of_the_file(name: str, tmp_path: Path, runners: dict[str, Any]) -> None:
    function, path = OF_LABELS[name], tmp_path / "function.onnx"
    onnx.save(function, (SCORES, LABELS), path, input_names=["x", "y"])
    for scores, labels in ((SCORES[::-1].copy(), np.array([1, 1, 0, 2])), (floats(1, 3, seed=4), LABELS[:1])):
        for run in runners.values():
            (found,) = run(path, {"x": scores, "y": labels})
            assert_near(found, np.asarray(function(Tensor(scores), Tensor(labels))))


# ---- every function of NumPy -----------------------------------------------------------------------------

REFUSED = {
    "apply_along_axis", "cov", "frexp", "i0", "interp", "median", "nanmedian", "nanpercentile",
    "nanquantile", "partition", "percentile", "quantile", "sort", "trim_zeros", "unwrap", "linalg.cholesky",
    "linalg.cond", "linalg.eigh", "linalg.eigvalsh", "linalg.inv", "linalg.lstsq", "linalg.pinv", "linalg.qr",
    "linalg.slogdet", "linalg.solve", "linalg.svd", "linalg.svdvals", "linalg.tensorinv",
    "linalg.tensorsolve",
}  # fmt: skip
"""Functions of which some calls are refused: they look at values to choose what they compute, as a sort does,
or are made of an operation that is refused."""

COUNTED = [(name, i) for name, calls in CALLS.items() if name != "astype" for i in range(len(calls))]


def on_floats(function: Any, call: Call) -> tuple[Function, list[Any]]:
    """Return a call as a function of its arrays of floats, with a tuple of Tensors for a result."""
    of_arrays, arrays = on(function, call)

    def tensors(*given: Any) -> tuple[Any, ...]:
        out = of_arrays(*given)
        return tuple(
            each for each in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(each, Tensor)
        )

    return tensors, [each.astype(np.float32) for each in arrays]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), COUNTED)
def test_a_function_of_numpy_is_written_with_its_values_or_refused(
    name: str, number: int, tmp_path: Path, runners: dict[str, Any]
) -> None:
    function, arrays = on_floats(numpys(name), CALLS[name][number])
    path = tmp_path / "function.onnx"
    try:
        with np.errstate(all="ignore"):
            exported = onnx.save(function, tuple(arrays), path, dynamic=False)
    except (ExportError, ValueError):
        assert name in REFUSED
        assert not path.exists()
        return
    # other values: what was chosen by looking at them is chosen otherwise
    for given in (
        arrays,
        [np.array(each.reshape(-1)[::-1].reshape(each.shape), order="C") for each in arrays],
    ):
        feeds = {port.name: array for port, array in zip(exported.inputs, given, strict=True)}
        for run in runners.values():
            for one, two in zip(run(path, feeds), function(*map(Tensor, given)), strict=True):
                assert_near(one, np.asarray(two.data))


# ---- what chooses by values ------------------------------------------------------------------------------

Choice = Callable[[Any, Any], Any]


def written_by(function: Any, *arguments: Any) -> Any:
    """Return what a function that writes into its first argument makes of it."""
    out = arguments[0] * 1
    function(out, *arguments[1:])
    return out


VALUES, POSITIONS = floats(5), np.array([0, 3, 1, 4, 1])
CHOICES: dict[str, Choice] = {
    "sort": lambda x, i: np.sort(x),
    "partition": lambda x, i: np.partition(x, 2),
    "median": lambda x, i: np.median(x),
    "nanmedian": lambda x, i: np.nanmedian(x),
    "quantile": lambda x, i: np.quantile(x, 0.3),
    "percentile": lambda x, i: np.percentile(np.arange(5.0), i * 20),
    "nanquantile": lambda x, i: np.nanquantile(x, 0.3),
    "nanpercentile": lambda x, i: np.nanpercentile(x, 30),
    "interp": lambda x, i: np.interp(x, [0.0, 1.0, 2.0], [3.0, 1.0, 2.0]),
    "unwrap": lambda x, i: np.unwrap(4 * x),
    "frexp": lambda x, i: np.frexp(x)[0],
    "take": lambda x, i: np.take(x, i),
    "put_along_axis": lambda x, i: written_by(np.put_along_axis, x, i, 0.0, 0),
    "put": lambda x, i: written_by(np.put, x, i, 0.0),
    "place": lambda x, i: written_by(np.place, x, i > 1, [0.0]),
    "putmask": lambda x, i: written_by(np.putmask, x, [i[0] > 1, i[1] > 1, x[0] > 0, x[1] > 0, True], 0.0),
    "compress": lambda x, i: x.compress(i > 1),
    "extract": lambda x, i: np.extract(i > 1, x),
    "choose": lambda x, i: np.choose(i % 2, [x, 2 * x]),
    "piecewise": lambda x, i: np.piecewise(x, [x > 0], [1.0, np.exp]),
    "trim_zeros": lambda x, i: np.trim_zeros(x),
    "bincount": lambda x, i: np.bincount(i, x),
    "repeat": lambda x, i: x.repeat(i),
    "roll": lambda x, i: np.roll(x, i[1]),
    "tile": lambda x, i: np.tile(x, i[1]),
    "rot90": lambda x, i: np.rot90(x[None], i[1]),
    "resize": lambda x, i: np.resize(x, i[1:2]),
    "delete": lambda x, i: np.delete(x, i[1]),
    "insert": lambda x, i: np.insert(x, i[1], 2.0),
}


def test_every_function_that_chooses_is_tried() -> None:
    assert set(CHOICES) == set(CHOOSING)


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_by_values_of_inputs_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"np.{name} at .* looks at the values of"):
        onnx.save(CHOICES[name], (VALUES, POSITIONS), tmp_path / "function.onnx", dynamic=False)
    assert list(tmp_path.iterdir()) == []


def test_a_row_of_nan_that_no_example_had_is_right(tmp_path: Path, runners: dict[str, Any]) -> None:
    path, rows = tmp_path / "function.onnx", ROWS.copy()
    onnx.save(lambda x: (np.nanmax(x, axis=1), np.nanmin(x, axis=1), np.nanmean(x, axis=1)), rows, path)
    rows[1], rows[2, 3] = np.nan, np.nan
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        expected = [np.nanmax(rows, axis=1), np.nanmin(rows, axis=1), np.nanmean(rows, axis=1)]
    for run in runners.values():
        for one, two in zip(run(path, {"x": rows}), expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-6)


WITH_ALL = [
    (name, call, name in IN_PLACE)
    for table in (CALLS, CONSTANT_CALLS, {name: (call,) for name, call in IN_PLACE.items()})
    for name, calls in table.items()
    for call in calls
    if name != "astype"
]


def others(arrays: list[Any], seed: int) -> list[Any]:
    """Return arrays of other values in their range: in another order, and of floats smaller, too."""
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(each.reshape(-1)).reshape(each.shape) for each in arrays]
    return [
        (each * rng.uniform(0.5, 1, each.shape)).astype(np.float32) if each.dtype.kind == "f" else each
        for each in shuffled
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "call", "writes"), WITH_ALL, ids=[f"{name}-{i}" for i, (name, *_) in enumerate(WITH_ALL)]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_function_of_all_its_arrays_is_right_for_other_values_or_refused(
    name: str, call: Call, writes: bool, tmp_path: Path, runners: dict[str, Any]
) -> None:
    """Indices, counts and masks are inputs, too: what was chosen by them must not stay as it was."""
    of_arrays, arrays = on(numpys(name), call, "fiub")

    def function(*given: Any) -> Any:
        out = written_by(of_arrays, *given) if writes else of_arrays(*given)
        outs = out if isinstance(out, (tuple, list)) else [out]
        return [each for each in outs if isinstance(each, Tensor)]

    arrays = [each.astype(np.float32) if each.dtype.kind == "f" else each for each in arrays]
    path = tmp_path / "function.onnx"
    try:
        exported = onnx.save(function, tuple(arrays), path, dynamic=False)
    except ExportError:
        assert not path.exists()
        return
    for seed in range(4):
        given = others(arrays, seed)
        feeds = {port.name: array for port, array in zip(exported.inputs, given, strict=True)}
        with np.errstate(all="ignore"):
            expected = function(*map(Tensor, given))
            found = runners["reference"](path, feeds)
        for one, two in zip(found, expected, strict=True):
            assert_near(one, np.asarray(two.data))
