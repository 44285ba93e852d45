"""The option that writes the page to draw on, with the model of a run in it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.cli import main
from tinygrad_mnist.serve.network_data import LAYERS
from tinygrad_mnist.training import load_checkpoint
from tinygrad_mnist.training.checkpoints.version import model_version

ErrorOf = Callable[..., str]


def test_a_page_is_written_and_its_files_are_listed(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run_directory), "--page", "my page"]) == 0
    printed = capsys.readouterr()
    assert "often errs on other people's handwriting" in printed.err
    lines = printed.out.splitlines()
    names = sorted(file.name for file in Path("my page").iterdir())
    assert lines[0].split() == ["file", "size"]
    assert [line.split()[0] for line in lines[1 : len(names) + 1]] == names
    assert f"page my page: {len(names)} files, " in lines[-4]
    assert os.path.join("my page", "index.html") in lines[-3]
    assert "python3 -m http.server --bind 127.0.0.1 --directory 'my page'" in lines[-2]
    version = model_version(load_checkpoint(run_directory))
    assert f'"version":"{version}"' in Path("my page/model.js").read_text("ascii")


def test_the_threshold_of_a_page_may_be_chosen(run_directory: Path) -> None:
    assert main(["export", str(run_directory), "--page", "page", "--threshold", "0.9"]) == 0
    assert '"threshold":0.9' in Path("page/model.js").read_text("ascii")


def test_a_page_takes_the_place_of_an_earlier_one(run_directory: Path) -> None:
    for _ in range(2):
        assert main(["export", str(run_directory), "--page", "page"]) == 0
    assert [entry.name for entry in Path().iterdir()] == ["page"]


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ((), 2, "neither FILE nor --page DIR was given"),
        (("model.onnx", "--page", "page"), 2, "does not go with FILE (model.onnx)"),
        (("--standardize", "--page", "page"), 2, "does not go with --standardize"),
        (
            ("model.onnx", "--threshold", "0.9"),
            2,
            "--threshold is what a page is sure from; it goes with --page",
        ),
        (("--page", "page", "--threshold", "2"), 2, "2 is no probability, which are 0 to 1"),
        (("--page", "full"), 1, "full holds mine.txt, where nothing or an earlier page was expected"),
        (("--page", "full/mine.txt"), 1, "is a file, where a directory for the page was expected"),
        (("--page", "full/mine.txt/page"), 1, "cannot be written"),
        (("--page", "nowhere/page"), 1, "there is no directory 'nowhere'; make it first"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_touched(
    options: tuple[str, ...], status: int, sentence: str, run_directory: Path, error_of: ErrorOf
) -> None:
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    assert sentence in error_of("export", run_directory, *options, status=status)
    assert sorted(map(str, Path().rglob("*"))) == ["full", os.path.join("full", "mine.txt")]


def test_the_directory_of_a_run_is_not_replaced(run_directory: Path, error_of: ErrorOf) -> None:
    before = sorted(run_directory.rglob("*"))
    error = error_of("export", run_directory, "--page", run_directory)
    assert "where nothing or an earlier page was expected" in error
    assert sorted(run_directory.rglob("*")) == before


def test_a_layer_that_the_page_does_not_compute_is_named(
    run_directory: Path, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(LAYERS, nn.BatchNorm1d)
    sentence = error_of("export", run_directory, "--page", "page")
    assert "the layer '1' of the model is BatchNorm1d, which the page without a server does not" in sentence
    assert not Path("page").exists()
