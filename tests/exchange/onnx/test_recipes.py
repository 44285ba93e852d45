"""The model of every recipe runs from its file as it runs here, for several sizes of batches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.checkpoints import untrained
from tinygrad_mnist import nn
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.training import RECIPES, Checkpoint, choose, load_checkpoint, train
from tinygrad_mnist.training.checkpoints.version import model_version

onnx = pytest.importorskip("onnx")

from tinygrad_mnist.exchange.onnx.checkpoints import save_checkpoint_network  # noqa: E402


def pictures_for(checkpoint: Checkpoint, count: int) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, *checkpoint.image_shape), dtype=np.uint8)


@pytest.fixture(scope="module", params=list(RECIPES))
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    checkpoint = untrained(request.param)
    checkpoint.model.eval()
    return checkpoint


@pytest.fixture(scope="module")
def for_images(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "images.onnx"
    assert save_checkpoint_network(checkpoint, path).difference < 1e-5
    return path


@pytest.fixture(scope="module")
def for_pictures(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "pictures.onnx"
    assert save_checkpoint_network(checkpoint, path, standardize=True).difference < 1e-5
    return path


def logits_of(checkpoint: Checkpoint, pictures: Any) -> Any:
    return checkpoint.model(checkpoint.standardizer(pictures)).detach()


def test_every_recipe_gives_the_same_logits_and_probabilities(
    checkpoint: Checkpoint, for_pictures: Path, runners: dict[str, Any], close: Callable[..., None]
) -> None:
    """By the reference `save` has compared already: ``for_pictures`` asserts by how much they differ."""
    pictures = pictures_for(checkpoint, 7)
    logits = logits_of(checkpoint, pictures)
    wanted = [logits.data, F.softmax(logits, 1).data]
    close(runners["onnxruntime"](for_pictures, {"images": pictures}), wanted)


@pytest.mark.slow
def test_every_recipe_gives_the_same_in_each_runtime_for_batches_of_several_sizes(
    checkpoint: Checkpoint,
    for_images: Path,
    for_pictures: Path,
    run_file: Callable[..., list[Any]],
    close: Callable[..., None],
) -> None:
    for count in (1, 2, 7):
        pictures = pictures_for(checkpoint, count)
        logits = logits_of(checkpoint, pictures)
        wanted = [logits.data, F.softmax(logits, 1).data]
        close(run_file(for_images, {"images": checkpoint.standardizer(pictures)}), wanted)
        close(run_file(for_pictures, {"images": pictures}), wanted)


def test_parameters_have_the_names_and_values_of_the_state_dict(
    checkpoint: Checkpoint, for_pictures: Path
) -> None:
    graph = onnx.load(for_pictures).graph
    held = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for name, values in checkpoint.model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(held.pop(name), values)
    others = [array for name, array in held.items() if not name.startswith("/standardize")]
    assert all(array.dtype == np.int64 for array in others)  # shapes of reshapes: no copies of weights


def test_a_file_says_what_it_takes_and_what_its_classes_are(tmp_path: Path) -> None:
    checkpoint = untrained("cnn")
    save_checkpoint_network(checkpoint, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    assert (model.producer_name, model.ir_version <= 10) == ("tinygrad_mnist", True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
    notes = {each.key: each.value for each in model.metadata_props}
    assert json.loads(notes["classes"]) == list("0123456789")
    assert (notes["version"], notes["crop"], notes["mean"]) == (model_version(checkpoint), "2", "33.25")


def test_nodes_are_named_by_modules_and_all_values_have_shapes(
    checkpoint: Checkpoint, for_pictures: Path
) -> None:
    """That is what a viewer shows: the names, and the shapes on the edges."""
    graph = onnx.load(for_pictures).graph
    names = [node.name for node in graph.node]
    assert len(set(names)) == len(names)
    modules = {f"/{name.replace('.', '/')}" for name, _ in checkpoint.model.named_modules() if name}
    for node in graph.node[:-1]:
        assert node.name.rpartition("/")[0] in modules | {"/standardize"}
        assert node.name.rpartition("/")[2].partition("_")[0] == node.op_type
        assert node.doc_string
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    for node in graph.node:
        for name in node.output:
            assert shapes[name][0] == "batch"
            assert all(isinstance(length, int) and length for length in shapes[name][1:])


def test_shapes_are_those_that_onnx_infers_by_itself(for_pictures: Path) -> None:
    model = onnx.load(for_pictures)
    known = {value.name: str(value.type) for value in model.graph.value_info}
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    assert {value.name for value in inferred.graph.value_info} == known.keys()
    for value in inferred.graph.value_info:
        for axis in value.type.tensor_type.shape.dim:
            assert axis.dim_value or axis.dim_param == "batch" or "unk" in axis.dim_param


def test_onnxruntime_warns_of_nothing(
    checkpoint: Checkpoint, for_pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It warns of shapes that are not what the file says, and of weights that nothing takes."""
    runtime = pytest.importorskip("onnxruntime")
    capfd.readouterr()  # on some systems it warns of missing devices when it is loaded
    session = runtime.InferenceSession(for_pictures, providers=["CPUExecutionProvider"])
    session.run(None, {"images": pictures_for(checkpoint, 5)})
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn-digits", "digits"])
def test_a_trained_model_recognises_the_same_digits_from_its_file(
    name: str, tmp_path: Path, runners: dict[str, Any], close: Callable[..., None]
) -> None:
    choice = choose(name, {"epochs": 2}, "digits")
    train(choice.recipe, choice.dataset, out=tmp_path / "run", report=False)
    checkpoint = load_checkpoint(tmp_path / "run")
    save_checkpoint_network(checkpoint, tmp_path / "model.onnx", standardize=True)
    pictures = load_digits().test_images
    ours = logits_of(checkpoint, pictures)
    for run in runners.values():
        logits, probabilities = run(tmp_path / "model.onnx", {"images": pictures})
        close([logits, probabilities], [ours.data, F.softmax(ours, 1).data])
        assert (logits.argmax(1) == ours.data.argmax(1)).all()
    assert (logits.argmax(1) == load_digits().test_labels).mean() > 0.8


def test_a_model_stays_as_it_was(tmp_path: Path) -> None:
    checkpoint = untrained("batchnorm-deep")
    model: nn.Module = checkpoint.model.train()
    before = {name: values.copy() for name, values in model.state_dict().items()}
    save_checkpoint_network(checkpoint, tmp_path / "model.onnx")
    assert all(module.training for module in model.modules())
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
