"""Each layer of nn by itself, with its options, runs from a file as it runs here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn

package = pytest.importorskip("onnx")

from tinygrad_mnist import onnx  # noqa: E402


def floats(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def positive(*shape: int) -> Any:
    return np.abs(floats(*shape)) + np.float32(0.1)


class Head(nn.Module):
    """Modules in a list and a dict, one of them used twice, and a parameter of its own in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4, rng=0), nn.ReLU()])
        self.heads = nn.ModuleDict({"low": nn.Linear(4, 2, rng=1), "high": nn.Linear(4, 3, rng=2)})
        self.scales = nn.ParameterList([nn.Parameter(floats(4))])
        self.shifts = nn.ParameterDict({"a": nn.Parameter(floats(4))})

    def forward(self, x: Any) -> dict[str, Any]:
        for _ in range(2):
            for part in self.parts:
                x = part(x)
        x = x * self.scales[0] + self.shifts["a"]
        return {name: head(x) for name, head in self.heads.items()}


images, rows = floats(4, 3, 8, 8), floats(4, 6)

LAYERS: list[tuple[nn.Module, Any]] = [
    (nn.Linear(6, 5, rng=0), rows),
    (nn.Linear(6, 5, bias=False, rng=0), rows),
    (nn.Linear(6, 5, rng=0), floats(4, 3, 6)),
    (nn.Linear(6, 5, rng=0, dtype=np.float64), floats(4, 6, dtype=np.float64)),
    (nn.Conv2d(3, 4, 3, rng=0), images),
    (
        nn.Conv2d(3, 6, (3, 2), stride=(2, 1), padding=((1, 0), (0, 2)), dilation=(2, 1), groups=3, rng=0),
        images,
    ),
    (nn.Conv2d(3, 4, 3, padding="same", bias=False, rng=0), images),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect", rng=0), images),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate", rng=0), images),
    (nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular", rng=0), images),
    (nn.Conv1d(3, 4, 3, padding=1, stride=2, rng=0), floats(4, 3, 9)),
    (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1, rng=0), floats(2, 3, 4, 4)),
    (nn.ConvTranspose2d(4, 6, (2, 3), stride=(1, 2), groups=2, dilation=2, rng=0), floats(2, 4, 5, 4)),
    (nn.MaxPool2d(2), images),
    (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), floats(2, 3, 7, 6)),
    (nn.MaxPool2d(2, dilation=2, stride=1), images),
    (nn.AvgPool2d(2), images),
    (nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True), floats(2, 3, 7, 6)),
    (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), images),
    (nn.AvgPool2d((2, 3), stride=1, divisor_override=5), images),
    (nn.AdaptiveAvgPool2d(1), images),
    (nn.AdaptiveAvgPool2d((3, 5)), images),
    (nn.Upsample(scale_factor=2), images),
    (nn.Upsample(size=(11, 5), mode="bilinear"), images),
    (nn.Upsample(size=(11, 5), mode="bilinear", align_corners=True), images),
    (nn.BatchNorm1d(6), rows),
    (nn.BatchNorm1d(3, affine=False), floats(4, 3, 5)),
    (nn.BatchNorm1d(6, track_running_stats=False), rows),
    (nn.BatchNorm2d(3, eps=0.01), images),
    (nn.LayerNorm(6), rows),
    (nn.LayerNorm((8, 8), bias=False), images),
    (nn.LayerNorm(6, elementwise_affine=False), rows),
    (nn.RMSNorm(6), rows),
    (nn.GroupNorm(3, 6), floats(4, 6, 5)),
    (nn.GroupNorm(1, 3, affine=False), images),
    (nn.Embedding(5, 3, rng=0), np.array([[1, 2], [0, 4]])),
    (nn.Embedding(5, 3, padding_idx=0, rng=0), np.array([[1, 2], [0, 4]], np.int32)),
    (nn.ReLU(), rows),
    (nn.LeakyReLU(0.2), rows),
    (nn.GELU(), rows),
    (nn.GELU("tanh"), rows),
    (nn.ELU(0.7), rows),
    (nn.SiLU(), rows),
    (nn.Softplus(2.0, 5.0), 10 * rows),
    (nn.Hardtanh(-0.5, 0.7), rows),
    (nn.Tanh(), rows),
    (nn.Sigmoid(), rows),
    (nn.Softmax(1), rows),
    (nn.Softmax(-2), images),
    (nn.LogSoftmax(1), rows),
    (nn.Dropout(0.5), rows),
    (nn.Dropout2d(0.5), images),
    (nn.Flatten(), images),
    (nn.Flatten(0, 1), images),
    (nn.Unflatten(1, (2, -1)), rows),
    (nn.Identity(), rows),
    (nn.Sequential(nn.Linear(6, 5, rng=0), nn.BatchNorm1d(5), nn.ReLU()), rows),
    (Head(), floats(4, 4)),
    (nn.L1Loss(), (rows, floats(4, 6) * 2)),
    (nn.MSELoss(), (rows, floats(4, 6) * 2)),
    (nn.HuberLoss(delta=0.4), (rows, floats(4, 6) * 2)),
    (nn.SmoothL1Loss(), (rows, floats(4, 6) * 2)),
    (nn.BCEWithLogitsLoss(), (rows, positive(4, 6) / 5)),
    (nn.BCELoss(), (positive(4, 6) / 5, positive(4, 6) / 5)),
    (nn.KLDivLoss(reduction="batchmean"), (rows, positive(4, 6) / 5)),
    (nn.CrossEntropyLoss(reduction="none"), (rows, np.array([0, 3, 5, 1]))),
    (nn.NLLLoss(), (rows, np.array([0, 3, 5, 1]))),
]


def name_of(layer: nn.Module) -> str:
    return type(layer).__name__


def test_every_layer_is_here() -> None:
    layers = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    tested = {name_of(module) for layer, _ in LAYERS for module in layer.modules()}
    assert layers - {"Module"} <= tested


@pytest.mark.parametrize(("layer", "example"), LAYERS, ids=[name_of(layer) for layer, _ in LAYERS])
def test_a_layer_gives_the_same_from_its_file(
    layer: nn.Module,
    example: Any,
    tmp_path: Path,
    runners: dict[str, Any],
    expected: Callable[..., list[Any]],
    close: Callable[..., None],
) -> None:
    """By the reference `save` has compared already; so this looks at onnxruntime, and at other batches."""
    for module in layer.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is not None:
            module.running_mean[:] = np.linspace(-1, 1, module.num_features)
            module.running_var[:] = np.linspace(0.5, 2, module.num_features)
    found = onnx.save(layer, example, tmp_path / "layer.onnx")
    arrays = example if isinstance(example, tuple) else (example,)
    for count in (1, 2, 7):
        given = [np.take(array, np.arange(count) % len(array), axis=0) for array in arrays]
        if count == 1 and getattr(layer, "track_running_stats", True) is False:
            continue  # it normalises by the batch, and takes none of one
        feeds = dict(zip((port.name for port in found.inputs), given, strict=True))
        close(runners["onnxruntime"](tmp_path / "layer.onnx", feeds), expected(layer, *given))


def test_names_tell_where_a_node_and_a_parameter_belong(tmp_path: Path) -> None:
    onnx.save(Head(), floats(4, 4), tmp_path / "head.onnx")
    graph = package.load(tmp_path / "head.onnx").graph
    names = [node.name for node in graph.node]
    assert names[:4] == ["/parts/0/Gemm", "/parts/1/Relu", "/parts/0/Gemm_1", "/parts/1/Relu_1"]
    assert {"/heads/low/Gemm", "/heads/high/Gemm"} <= set(names)
    held = {each.name for each in graph.initializer}
    assert {"parts.0.weight", "scales.0", "shifts.a", "heads.high.bias"} <= held
    assert [output.name for output in graph.output] == ["low", "high"]
    assert graph.node[0].doc_string == "Linear(4, 4)"


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float16, 2e-3), (np.float64, 1e-12)])
def test_models_of_other_floats_keep_them(
    dtype: Any,
    tolerance: float,
    tmp_path: Path,
    runners: dict[str, Any],
    expected: Callable[..., list[Any]],
    close: Callable[..., None],
) -> None:
    convolved = [nn.Conv2d(1, 3, 3, rng=0), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*convolved, nn.Flatten(), nn.Linear(27, 4, rng=1)).astype(dtype)
    example = floats(4, 1, 8, 8, dtype=dtype)
    found = onnx.save(model, example, tmp_path / "model.onnx")
    assert {port.dtype for port in (*found.inputs, *found.outputs)} == {np.dtype(dtype).name}
    held = package.load(tmp_path / "model.onnx").graph.initializer
    weights = {each.name: package.numpy_helper.to_array(each).dtype for each in held}
    assert weights["0.weight"] == weights["5.weight"] == dtype
    # onnxruntime has no convolution of float64
    run = runners["onnxruntime" if dtype is np.float16 else "reference"]
    close(run(tmp_path / "model.onnx", {"input": example}), expected(model, example), tolerance)


@pytest.mark.filterwarnings("ignore:this BatchNorm1d computes in float64")
def test_a_batch_norm_of_float32_takes_float64(
    tmp_path: Path, runners: dict[str, Any], expected: Callable[..., list[Any]], close: Callable[..., None]
) -> None:
    model, example = nn.BatchNorm1d(3), floats(4, 3, dtype=np.float64)
    onnx.save(model, example, tmp_path / "model.onnx")
    for run in runners.values():
        close(run(tmp_path / "model.onnx", {"input": example}), expected(model, example), 1e-12)
