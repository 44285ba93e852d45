"""What `onnx.save` takes, names, refuses and leaves behind."""

import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, jit, nn, no_grad
from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.op import REGISTRY, Sample, elementwise, general
from tinygrad_mnist.ops import calculus, indexing, rearranging, statistics

package = pytest.importorskip("onnx")

from tinygrad_mnist import onnx  # noqa: E402
from tinygrad_mnist.exchange.onnx import proto  # noqa: E402
from tinygrad_mnist.exchange.onnx.table import CONVERTERS  # noqa: E402


def floats(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


@pytest.fixture
def gives_the_same(
    path: Path, runners: dict[str, Any], expected: Any, close: Callable[..., None]
) -> Callable[..., onnx.Exported]:
    """Save a function, and compare what both runners compute from the file with what it gives."""

    def check(function: Any, *arguments: Any, **options: Any) -> onnx.Exported:
        found = onnx.save(function, arguments, path, **options)
        feeds = dict(zip((port.name for port in found.inputs), arguments, strict=True))
        for run in runners.values():
            close(run(path, feeds), expected(function, *arguments))
        return found

    return check


def shapes(ports: tuple[onnx.Port, ...]) -> list[tuple[Any, ...]]:
    return [port.shape for port in ports]


# ---- what is taken, and how it is named ------------------------------------------------------------------


def test_a_function_of_several_arrays_in_a_nest_of_outputs(gives_the_same: Any) -> None:
    found = gives_the_same(lambda a, b: {"sum": a + b, "pair": (a * b, a - b)}, floats(4, 3), floats(4, 3))
    assert [port.name for port in found.inputs] == ["a", "b"]
    assert [port.name for port in found.outputs] == ["sum", "pair.0", "pair.1"]


def test_keyword_arguments_and_nested_ones(path: Path, runners: dict[str, Any]) -> None:
    def function(x: Any, state: Any, scale: float = 1.0) -> Any:
        return scale * x + state["a"] * state["b"][0]

    given = {"x": floats(4, 3), "state": {"a": floats(4, 1), "b": [floats(4, 3)]}, "scale": 3.0}
    found = onnx.save(function, given, path)
    assert [port.name for port in found.inputs] == ["x", "state.a", "state.b.0"]
    feeds = {"x": given["x"], "state.a": given["state"]["a"], "state.b.0": given["state"]["b"][0]}
    for run in runners.values():
        np.testing.assert_allclose(run(path, feeds)[0], function(**given), rtol=1e-6)


def test_names_that_are_given(gives_the_same: Any) -> None:
    found = gives_the_same(
        lambda x: (x, 2 * x), floats(4, 3), input_names=["image"], output_names=["one", "two"]
    )
    assert [port.name for port in (*found.inputs, *found.outputs)] == ["image", "one", "two"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"input_names": ["a", "b"]}, "2 inputs|1 inputs"),
        ({"output_names": ["x"]}, "and no input"),
        ({"output_names": ["a", "b"]}, "for 1 outputs"),
        ({"dynamic": ["y"]}, "the inputs are"),
    ],
)
def test_names_that_do_not_fit(options: dict[str, Any], sentence: str, path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=sentence):
        onnx.save(lambda x: 2 * x, floats(4, 3), path, **options)


def test_an_output_that_is_an_input_a_constant_or_the_same_as_another(gives_the_same: Any) -> None:
    found = gives_the_same(lambda x: {"a": x, "b": x + 1, "c": np.ones(3), "x": 2 * x}, floats(4, 3))
    assert [port.name for port in found.outputs] == ["a", "b", "c", "x_output"]
    gives_the_same(lambda x: (x * 2,) * 2, floats(4, 3))


def test_parameters_and_constants_of_a_closure(gives_the_same: Any) -> None:
    weight, table = Tensor(floats(3, 5), requires_grad=True), floats(5)
    gives_the_same(lambda x: np.tanh(x @ weight) * table + 2.5, floats(4, 3))


def test_two_models_in_a_function_keep_their_names_apart(gives_the_same: Any, path: Path) -> None:
    one, two = (nn.Sequential(nn.Linear(3, 3, rng=seed)) for seed in (0, 1))
    gives_the_same(lambda x: two(one(x)), floats(4, 3))
    graph = package.load(path).graph
    assert [node.name for node in graph.node] == ["/0/Gemm", "/Sequential/0/Gemm"]
    assert [each.name for each in graph.initializer][::2] == ["0.weight", "Sequential.0.weight"]


def test_what_depends_on_parameters_alone_is_computed_before(gives_the_same: Any, path: Path) -> None:
    weight = nn.Parameter(floats(3, 3))
    gives_the_same(lambda x: x @ np.linalg.inv(weight @ weight.T + np.eye(3, dtype=np.float32)), floats(4, 3))
    assert [node.op_type for node in package.load(path).graph.node] == ["MatMul"]


def test_what_no_output_needs_is_not_written(gives_the_same: Any, path: Path) -> None:
    gives_the_same(lambda x: (np.argsort(x, axis=0), np.exp(x), 2 * x)[2], floats(4, 3))
    assert [node.op_type for node in package.load(path).graph.node] == ["Mul"]


def test_equal_constants_are_written_once(gives_the_same: Any, path: Path) -> None:
    gives_the_same(lambda x: x.reshape(len(x), 3, 1) * 2.0 + 2.0, floats(4, 3))
    assert len(package.load(path).graph.initializer) == 2


@pytest.fixture
def forgetting() -> Iterator[None]:
    """Forget afterwards what a test declares."""
    before = set(REGISTRY)
    yield
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


@pytest.mark.usefixtures("forgetting")
def test_operations_of_the_user_are_written_by_what_they_compute(gives_the_same: Any) -> None:
    softsign = elementwise(
        lambda x: x / (1 + np.abs(x)), lambda g, out, x: g / (1 + np.abs(x)) ** 2, name="softsign in a file"
    )
    gives_the_same(lambda x: softsign(x), floats(4, 3))


def test_checkpointed_and_compiled_functions(gives_the_same: Any) -> None:
    layer = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh())
    gives_the_same(lambda x: checkpoint(layer)(x) * 2, floats(4, 3))
    gives_the_same(jit(lambda x: layer(x) + 1), floats(4, 3))


def test_a_model_in_training_mode_is_written_as_in_evaluation(path: Path, runners: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    onnx.save(model, floats(4, 3), path)
    assert [node.op_type for node in package.load(path).graph.node] == ["Gemm", "BatchNormalization"]
    assert model.training
    model.eval()
    np.testing.assert_allclose(
        runners["onnxruntime"](path, {"input": floats(4, 3)})[0],
        model(floats(4, 3)).data,
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_function_without_a_tape(gives_the_same: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.BatchNorm1d(3), nn.ReLU()).eval()

    def predict(x: Any) -> Any:
        with no_grad():
            return np.argmax(model(x), axis=1)

    assert gives_the_same(predict, floats(4, 3)).nodes == 4


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.argmax(x, axis=1),
        lambda x: x.argmin(),
        lambda x: np.argmax(x > 0, axis=-1, keepdims=True),
        lambda x: np.any(x > 1, axis=1),
        lambda x: (x > 0).any(axis=1, keepdims=1),
        lambda x: x.argmin(axis=1, keepdims=1),
        lambda x: np.all(x > -1, axis=(0, 1)),
        lambda x: np.all(x),
        lambda x: np.count_nonzero(x > 0, axis=0),
        lambda x: np.round(3 * x),
        lambda x: x.round(2),
        lambda x: np.round(300 * x, -1),
        lambda x: x + np.zeros_like(x) + np.ones(np.shape(x), np.float32),
    ],
)
def test_functions_whose_result_needs_no_gradient(function: Any, gives_the_same: Any) -> None:
    gives_the_same(function, floats(4, 3))


@pytest.mark.usefixtures("forgetting")
def test_a_converter_of_the_user_is_used(
    gives_the_same: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    softsign = elementwise(
        lambda x: x / (1 + np.abs(x)), lambda g, out, x: g / (1 + np.abs(x)) ** 2, name="softsign"
    )
    monkeypatch.setitem(CONVERTERS, "softsign", None)  # puts the table back afterwards
    onnx.converts("softsign")(lambda build, x: build.node("Softsign", x))
    gives_the_same(lambda x: softsign(x), floats(4, 3))
    assert [node.op_type for node in package.load(path).graph.node] == ["Softsign"]


def test_a_named_tuple_gives_its_names(gives_the_same: Any) -> None:
    pair = namedtuple("pair", ["mean", "variance"])
    found = gives_the_same(lambda x: pair(np.mean(x, axis=0), np.var(x, axis=0)), floats(4, 3))
    assert [port.name for port in found.outputs] == ["mean", "variance"]


# ---- the batch -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x.reshape(len(x), 2, 6) * 1, ("batch", 2, 6)),
        (lambda x: x.reshape(-1) * 1, ("12*batch",)),
        (lambda x: x.reshape(len(x) * 3, 4) * 1, ("3*batch", 4)),
        (lambda x: x.reshape(len(x), 3, 4).transpose(1, 0, 2).reshape(3, len(x) * 4) * 1, (3, "4*batch")),
        (lambda x: x * len(x), ("batch", 12)),
        (lambda x: x / x.shape[0], ("batch", 12)),
        (lambda x: x / x.size, ("batch", 12)),
        (lambda x: x + np.ones((len(x), 1), np.float32), ("batch", 12)),
        (lambda x: x + np.arange(len(x), dtype=np.float32)[:, None], ("batch", 12)),
        (lambda x: x + np.arange(12 * len(x), dtype=np.float32).reshape(-1, 12), ("batch", 12)),
        (lambda x: np.concatenate([x, x[1:]]), ("2*batch - 1", 12)),
        (lambda x: x - np.mean(x, axis=0), ("batch", 12)),
        (lambda x: np.broadcast_to(np.sum(x, axis=0), (x.shape[0], 12)), ("batch", 12)),
    ],
)
def test_what_follows_from_the_batch_is_symbolic(
    function: Any, shape: Any, path: Path, runners: dict[str, Any], close: Any, expected: Any
) -> None:
    found = onnx.save(function, floats(5, 12), path)
    assert shapes(found.outputs) == [shape]
    for size in (1, 2, 7, 30):
        x = floats(size, 12)
        close(runners["onnxruntime"](path, {"x": x}), expected(function, x))


def test_inputs_without_a_batch(gives_the_same: Any) -> None:
    with pytest.raises(onnx.ExportError, match="x 4, table 3; expected one batch"):
        gives_the_same(lambda x, table: x + table, floats(4, 3), floats(3))
    found = gives_the_same(lambda x, table: x + table, floats(4, 3), floats(3), dynamic=["x"])
    assert shapes(found.inputs) == [("batch", 3), (3,)]
    found = gives_the_same(lambda x, table: x + table, floats(4, 3), floats(3), dynamic=False)
    assert shapes(found.inputs) == [(4, 3), (3,)]


def test_a_model_of_one_size_of_batch(gives_the_same: Any) -> None:
    with pytest.raises(
        onnx.ExportError, match=r"runs on the example, but not on a batch of 3: .* dynamic=False"
    ):
        gives_the_same(lambda x: x.reshape(4, 3, 1), floats(4, 3))
    with pytest.raises(onnx.ExportError, match="runs on the example, but not on a batch of 3"):
        gives_the_same(lambda x: x.sigmoid().reshape(4, 3, 1), floats(4, 3))
    found = gives_the_same(lambda x: x.reshape(4, 3, 1) * 1, floats(4, 3), dynamic=False)
    assert shapes(found.outputs) == [(4, 3, 1)]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[: len(x) // 2],
        lambda x: x * (1 / len(x)),
        lambda x: x + np.random.default_rng(0).random(x.shape, np.float32),
        lambda x: x * min(len(x), 4),
        lambda x: np.concatenate([x[:8], x[8:]]),
        lambda x: np.var(x[:10], axis=0),
        lambda x: np.sum(x, axis=0) / min(len(x), 8),
        lambda x: np.sum(x, axis=0) / len(x[:30]),
        lambda x: x * min(len(x), 100),
        lambda x: x * min(len(x), 8),
        lambda x: x[:100] * 1,
        lambda x: x + (np.arange(len(x)) if len(x) < 100 else np.zeros(len(x)))[:, None].astype(np.float32),
    ],
)
def test_what_follows_from_the_batch_in_another_way_is_refused(function: Any, path: Path) -> None:
    with pytest.raises(onnx.ExportError, match="batch"):
        onnx.save(function, floats(4, 3), path)
    assert not path.exists()
    assert onnx.save(function, floats(4, 3), path, dynamic=False).difference < 1e-6


def test_a_model_for_small_batches_is_written(gives_the_same: Any) -> None:
    def of_few(x: Any) -> Any:
        if len(x) > 100:
            raise ValueError("there are 100 places")
        return 2 * x

    gives_the_same(of_few, floats(4, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda x, i: x * (i.data == 1)[:, None],
        lambda x, i: x * np.max(i.data),
        lambda x, i: 2 * x if i.data[0] else x,
    ],
)
@pytest.mark.parametrize("numbers", [np.array([1, 0, 0, 0]), np.array([1, 1, 1, 1]), np.zeros(4, bool)])
def test_integers_that_are_read_past_the_tape_are_noticed(function: Any, numbers: Any, path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=r"differs from that of the model|computed past the tape"):
        onnx.save(function, (floats(4, 3), numbers), path, dynamic=False)


# ---- what is refused -------------------------------------------------------------------------------------


def caught(function: Any) -> Any:
    try:
        return function()
    except ValueError:
        return None


class Branch(nn.Module):
    def forward(self, x: Any) -> Any:
        return 2 * x if np.sum(x) > 0 else x


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: 2 * x if float(np.sum(x)) > 0 else x, "read out of a Tensor"),
        (nn.Sequential(Branch()), r"read out of a Tensor of shape \(\) at .*test_save.py.*np\.sum\(x\) > 0"),
        (lambda x: 2 * x if np.sum(x.data) > 0 else x, "differs from that of the model"),
        (lambda x: x * x.data.max(), "computed past the tape"),
        (lambda x: F.dropout(x, 0.5, training=True), "drawn at random"),
        (lambda x: x * np.argsort(x, axis=0), "'argsort' .* has no counterpart in ONNX"),
        (
            lambda x: np.any(x, axis=0, where=np.array([True, False, True])),
            "unexpected keyword argument 'where'",
        ),
        (lambda x: np.piecewise(x, [x > 0], [lambda y: y * float(y[0]), 1.0]), "read out of a Tensor"),
        (lambda x: caught(lambda: float(np.sum(x))) or x, "read out of a Tensor"),
        (lambda x: F.one_hot(np.argmax(x, axis=1)), "read out of a Tensor"),
        (lambda x: x if np.allclose(x, 0) else -x, r"read by np\.allclose at"),
        (lambda x: x[x > 0], "read out of|follows from the values|how many"),
        (lambda x: np.asarray([1.0]), "no output of the model depends on its inputs"),
        (lambda x: None, "returns nothing"),
        (lambda x: "text", "returns a str"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_before_it_is_written(
    function: Any, sentence: str, path: Path
) -> None:
    path.write_bytes(b"an older file")
    with pytest.raises(onnx.ExportError, match=sentence):
        onnx.save(function, floats(4, 3), path)
    assert path.read_bytes() == b"an older file"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.usefixtures("forgetting")
def test_an_operation_of_the_user_that_leaves_the_tape_is_refused(path: Path) -> None:
    ordered = general(
        lambda x: np.sort(np.array(x), axis=0), lambda g, out, x: g, name="sorted", samples=(Sample(((3,),)),)
    )
    with pytest.raises(onnx.ExportError, match="read out of a Tensor"):
        onnx.save(lambda x: ordered(x), floats(4, 3), path)


def test_an_operation_without_a_counterpart_is_named_with_its_place(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(CONVERTERS, "tanh")
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Sequential(nn.Tanh()))
    with pytest.raises(onnx.ExportError, match=r"'tanh' in module '1\.0' .* has no counterpart in ONNX"):
        onnx.save(model, floats(4, 3), path)


def test_an_error_of_the_model_is_its_own(path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit weight") as caught:
        onnx.save(nn.Linear(4, 3), floats(4, 5), path)
    assert not isinstance(caught.value, onnx.ExportError)


@pytest.mark.parametrize(
    ("example", "given"),
    [
        ((), "nothing"), ({}, "nothing"), ((1.0, "a"), "float and str"), (None, "nothing"),
        ("text", "str"), (object(), "object"),
    ],
)  # fmt: skip
def test_an_example_holds_arrays(example: Any, given: str, path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=f"holds no array, but {given}"):
        onnx.save(lambda *args, **kwargs: args, example, path)


class OfAnotherLibrary:
    """An array with DLPack, as PyTorch's."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


@pytest.mark.parametrize(
    ("example", "dtype", "shape"),
    [
        ([[1.0, 2.0], [3.0, 4.0]], "float64", ("batch", 2)),
        (3.0, "float64", ()),
        (np.float32(3), "float32", ()),
        ([1, 2, 3], "int64", ("batch",)),
        (OfAnotherLibrary(floats(4, 3)), "float32", ("batch", 3)),
        ((OfAnotherLibrary(floats(4, 3)), 2.0), "float32", ("batch", 3)),
    ],
)
def test_an_example_is_what_a_tensor_is_made_of(example: Any, dtype: str, shape: Any, path: Path) -> None:
    found = onnx.save(lambda x, scale=2: x * scale, example, path)
    assert [(port.dtype, port.shape) for port in found.inputs] == [(dtype, shape)]


def test_an_array_that_a_tensor_does_not_take_is_named(path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=r"the example holds a OfAnotherLibrary.*complex"):
        onnx.save(lambda x: x, OfAnotherLibrary(np.ones(3, complex)), path)


def test_a_list_of_arrays_is_one_argument(gives_the_same: Any, path: Path) -> None:
    found = onnx.save(lambda pair: pair[0] + pair[1], [floats(4, 3), floats(4, 3)], path)
    assert [port.name for port in found.inputs] == ["pair.0", "pair.1"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": 3}, "a model of type int was given; expected a Module"),
        ({"dynamic": 3}, "dynamic=3 was given; expected True, False"),
        ({"dynamic": [1]}, r"dynamic=\[1\] was given"),
        ({"input_names": [""]}, r"input_names=\[''\] was given; expected a sequence of names"),
        ({"input_names": "x"}, "input_names='x' was given"),
        ({"output_names": [3]}, r"output_names=\[3\] was given"),
        ({"standardizer": 3}, "expected a Standardizer"),
        ({"metadata": 3}, "expected a dict"),
        ({"description": 3}, "expected a text"),
        ({"path": 3}, "expected the name of a file"),
    ],
)
def test_an_argument_of_another_kind_is_named(options: dict[str, Any], sentence: str, path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=sentence):
        onnx.save(**({"model": lambda x: 2 * x, "example": floats(4, 3), "path": path} | options))
    assert not path.exists()


def test_a_model_of_pytorch_is_named(path: Path) -> None:
    foreign = type("Linear", (), {"__module__": "torch.nn.modules.linear", "__call__": lambda self, x: x})
    with pytest.raises(onnx.ExportError, match=r"PyTorch's \(Linear\).*torch\.onnx\.export"):
        onnx.save(foreign(), floats(4, 3), path)


@pytest.mark.parametrize("name", ["t.txt", "t", "model.onnx.bak"])
def test_a_file_has_its_suffix(name: str, tmp_path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=r"has no suffix of a file of ONNX; name it with \.onnx"):
        onnx.save(nn.ReLU(), floats(4, 3), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error_of_the_export(tmp_path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=r"t\.onnx cannot be written \(there is no directory"):
        onnx.save(nn.ReLU(), floats(4, 3), tmp_path / "nowhere" / "t.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(onnx.ExportError, match=r"folder\.onnx is a directory"):
        onnx.save(nn.ReLU(), floats(4, 3), tmp_path / "folder.onnx")


def test_a_parameter_with_nan_is_named(path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3, rng=0), nn.BatchNorm1d(3))
    model[1].running_mean[1] = np.nan
    with pytest.raises(onnx.ExportError, match=r"'1\.running_mean' holds NaN \(1 of 3 numbers\)"):
        onnx.save(model, floats(4, 3), path)
    assert not path.exists()


@pytest.mark.parametrize(
    "function", [lambda x: np.log(-np.abs(x)), lambda x: (x, x / np.zeros(3, np.float32))]
)
def test_an_output_without_a_number_proves_nothing(function: Any, path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=r"every number of the output .* is NaN or infinite"):
        onnx.save(function, floats(4, 3), path)
    assert not path.exists()


def test_some_infinite_numbers_are_taken(path: Path) -> None:
    assert onnx.save(lambda x: np.where(x > 0, x, -np.inf), floats(4, 3), path).difference == 0


def test_a_model_larger_than_a_file_can_be(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proto, "_LARGEST", 40)
    with pytest.raises(onnx.ExportError, match=r"the parameters take 48 B.* 2 GB at most"):
        onnx.save(nn.Linear(3, 3), floats(4, 3), path)
    assert not path.exists()


def test_a_missing_package_names_the_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"tinygrad_mnist\[onnx\]"):
        onnx.save(nn.Linear(3, 3), floats(4, 3), path)


def test_a_wrong_converter_is_found_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONVERTERS, "tanh", lambda build, x: build.node("Sigmoid", x))
    with pytest.raises(onnx.ExportError, match="differs from that of the model by"):
        onnx.save(lambda x: np.tanh(x), floats(4, 3), path)
    monkeypatch.setitem(CONVERTERS, "tanh", lambda build, x: build.node("Tahn", x))
    with pytest.raises(onnx.ExportError, match=r"onnx\.checker refuses"):
        onnx.save(lambda x: np.tanh(x), floats(4, 3), path)
    assert not path.exists()


LARGE: dict[str, tuple[Any, str]] = {
    "a sort": (lambda x: np.sort(x, axis=1), r"np\.sort at .* looks at the values"),
    "a median": (lambda x: np.median(x, axis=1), r"np\.median at .* looks at the values"),
    "points of the input": (lambda x: np.interp(np.array([0.5]), x[0], x[0]), r"np\.interp at .* looks at"),
    "a sign": (lambda x: x if x.data.sum() > 0 else -x, "differs from that of the model"),
    "a cut": (lambda x: np.var(x[:8], axis=0), "a batch of 11|in one of 11"),
}


@pytest.mark.parametrize("name", LARGE)
def test_what_depends_on_the_values_is_found_out_in_a_large_model(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("_MOST_TRIED", "_MOST_RECORDED"):
        monkeypatch.setattr(sys.modules[onnx.save.__module__], limit, 0)
    function, sentence = LARGE[name]
    with pytest.raises(onnx.ExportError, match=sentence):
        onnx.save(function, np.sort(np.abs(floats(4, 3))), path)


def test_the_package_tells_which_values_it_looks_at(path: Path) -> None:
    # not by the name of the function, but where the values are taken
    for inner in (rearranging.sort, calculus.unwrap, indexing.extract, statistics.bincount):
        arguments = (lambda x: x > 0, lambda x: x) if inner is indexing.extract else (lambda x: x,)
        with pytest.raises(onnx.ExportError, match=r"argsort|read out of a Tensor"):
            onnx.save(
                lambda x, of=inner, at=arguments: of(*(each(x) for each in at)) * 1, np.arange(5.0), path
            )


# ---- pictures, and what is noted -------------------------------------------------------------------------


def test_pictures_are_standardised_in_the_file(path: Path, runners: dict[str, Any]) -> None:
    standardizer = Standardizer(mean=40.0, std=70.0, crop=1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4 * 3, 2, rng=0))
    pictures = np.random.default_rng(0).integers(0, 256, (5, 6, 5), dtype=np.uint8)
    found = onnx.save(model, standardizer(pictures), path, standardizer=standardizer)
    assert [str(port) for port in found.inputs] == ["input: uint8 (batch, 6, 5)"]
    for run in runners.values():
        np.testing.assert_allclose(
            run(path, {"input": pictures})[0], model(standardizer(pictures)).data, rtol=1e-5, atol=1e-6
        )
    names = [node.name for node in package.load(path).graph.node]
    assert names[:5] == [f"/standardize/{kind}" for kind in ("Slice", "Cast", "Mul", "Add", "Unsqueeze")]


def test_a_standardizer_wants_images(path: Path) -> None:
    with pytest.raises(onnx.ExportError, match=r"inputs float32 \(4, 3\); expected one input"):
        onnx.save(nn.Linear(3, 2), floats(4, 3), path, standardizer=Standardizer(40.0, 70.0))


def test_notes_and_a_description(path: Path) -> None:
    onnx.save(nn.ReLU(), floats(4, 3), path, metadata={"author": "me"}, description="A text.")
    model = package.load(path)
    assert [(each.key, each.value) for each in model.metadata_props] == [("author", "me")]
    assert model.doc_string == "A text."


def test_no_path_of_this_machine_is_in_a_file(path: Path) -> None:
    onnx.save(nn.Sequential(nn.Linear(3, 3), nn.GELU()), floats(4, 3), path)
    content = path.read_bytes()
    assert b"test_save" not in content
    assert str(Path.cwd()).encode() not in content


def test_equal_models_give_equal_files(path: Path) -> None:
    onnx.save(nn.Linear(3, 3, rng=0), floats(4, 3), path)
    first = path.read_bytes()
    onnx.save(nn.Linear(3, 3, rng=0), floats(4, 3), path)
    assert path.read_bytes() == first
