"""The command that writes the model of a run for other tools."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.cli.export import HELP, NETWORK
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.exchange import FORMATS, load_weights
from tinygrad_mnist.exchange.onnx import save as save_module
from tinygrad_mnist.exchange.onnx.errors import ExportError
from tinygrad_mnist.training import load_checkpoint
from tinygrad_mnist.training.checkpoints.version import model_version

ErrorOf = Callable[..., str]


def probabilities(path: str, pictures: Any) -> Any:
    from onnx import load
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(load(path)).run(["probabilities"], {"images": pictures})[0]


def test_the_network_recognises_pictures_as_the_run_does(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = pytest.importorskip("onnx")
    assert main(["export", str(run_directory), "model.onnx", "--standardize"]) == 0
    printed = capsys.readouterr()
    first, *others = printed.out.splitlines()
    assert "often errs on other people's handwriting" in printed.err
    checkpoint = load_checkpoint(run_directory)
    version = model_version(checkpoint)
    assert first.startswith("model.onnx: ")
    assert first.endswith(f"opset 20; model digits, version {version}")
    assert others[:3] == [
        "takes images: uint8 (batch, 8, 8): grey values from 0 to 255, as those that it was trained on",
        "gives logits: float32 (batch, 10)",
        "gives probabilities: float32 (batch, 10)",
    ]
    assert "passed onnx.checker (full check)" in others[3]
    assert float(others[3].split("by ")[-1].split()[0]) < 1e-5
    digits = load_digits()
    found = probabilities("model.onnx", digits.test_images)
    ours = checkpoint.model(checkpoint.standardizer(digits.test_images)).data
    assert (found.argmax(1) == ours.argmax(1)).all()
    assert (found.argmax(1) == digits.test_labels).mean() > 0.9
    notes = {each.key: each.value for each in onnx.load("model.onnx").metadata_props}
    assert notes["version"] == version
    assert json.loads(notes["classes"]) == list(checkpoint.class_names)


def test_without_standardize_the_line_says_how_images_are_standardised(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    assert main(["export", str(run_directory / "checkpoint.npz"), "model.ONNX"]) == 0
    used = load_checkpoint(run_directory).standardizer
    line = capsys.readouterr().out.splitlines()[1]
    standardised = f"(grey value - {used.mean:.6g}) / {used.std:.6g}"
    assert line == f"takes images: float32 (batch, 1, 8, 8): {standardised}"


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_weights_are_written_in_every_format(
    suffix: str, run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    assert main(["export", str(run_directory), f"model{suffix}"]) == 0
    output, notes = capsys.readouterr()
    state = load_checkpoint(run_directory).model.state_dict()
    count = sum(values.size for values in state.values())
    assert f"{len(state)} arrays, {count:,} numbers" in output
    assert "takes standardised pictures" in notes
    assert "often errs on other people's handwriting" in notes
    found = load_weights(f"model{suffix}")
    assert found.keys() == state.keys()
    for name, values in state.items():
        np.testing.assert_array_equal(found[name], values)


def test_help_names_the_formats(capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(suffix in text for suffix in (NETWORK, ".safetensors", ".pt", ".npz"))
    assert {".safetensors", ".pt", ".npz"} <= set(FORMATS)
    assert HELP


@pytest.mark.parametrize(
    ("file", "status", "sentence"),
    [
        ("model.h5", 2, "has the suffix '.h5', which says in what format to write; expected one of .onnx, "),
        ("model", 2, "has no suffix"),
        ("", 2, ""),
        ("nowhere/model.onnx", 1, "there is no directory 'nowhere'"),
        ("folder.onnx", 1, "folder.onnx"),
    ],
)
def test_a_file_that_cannot_be_written_is_found_before_the_work(
    file: str,
    status: int,
    sentence: str,
    run_directory: Path,
    error_of: ErrorOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("folder.onnx").mkdir()
    before = sorted(Path().rglob("*"))
    assert sentence in error_of("export", run_directory, file, status=status)
    assert sorted(Path().rglob("*")) == before


def test_standardize_goes_with_a_network_alone(run_directory: Path, error_of: ErrorOf) -> None:
    sentence = error_of("export", run_directory, "model.npz", "--standardize", status=2)
    assert ".npz holds weights alone" in sentence


def test_files_of_the_run_are_not_replaced(run_directory: Path, error_of: ErrorOf) -> None:
    file = run_directory / "checkpoint.npz"
    before = file.read_bytes()
    for run in (run_directory, file):
        assert "this command reads" in error_of("export", run, file, status=2)
    Path("link.npz").symlink_to(file)
    assert "this command reads" in error_of("export", run_directory, "link.npz", status=2)
    assert file.read_bytes() == before


def test_a_run_that_is_damaged_or_not_there(error_of: ErrorOf) -> None:
    Path("run").mkdir()
    Path("run/checkpoint.npz").write_bytes(b"PK damaged")
    error_of("export", "run", "model.onnx")
    assert "does not exist" in error_of("export", "nothing", "model.onnx")
    assert not Path("model.onnx").exists()


@pytest.mark.parametrize(("package", "file"), [("onnx", "model.onnx"), ("safetensors", "model.safetensors")])
def test_a_missing_extra_is_named(
    package: str, file: str, run_directory: Path, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    assert f'pip install "tinygrad_mnist[{package}]"' in error_of("export", run_directory, file)
    assert not Path(file).exists()


def test_a_model_that_is_refused_leaves_the_older_file(
    run_directory: Path, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")

    def refuse(*arguments: Any) -> Any:
        raise ExportError("'erf' has no counterpart")

    monkeypatch.setattr(save_module, "compare", refuse)
    Path("model.onnx").write_text("older")
    assert "model.onnx was not written: 'erf' has no counterpart" in error_of(
        "export", run_directory, "model.onnx"
    )
    assert Path("model.onnx").read_text() == "older"
