"""`tinygrad-mnist graph`: on a run and on a recipe, to the terminal and to files; mistakes are sentences."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.cli.graph import SUFFIXES, VIEWS
from tinygrad_mnist.graph import Graph
from tinygrad_mnist.training import load_checkpoint
from tinygrad_mnist.training.runs.pictures import graph_of_checkpoint

ErrorOf = Callable[..., str]

needs_layout = pytest.mark.skipif(
    shutil.which("dot") is None and find_spec("pygraphviz") is None,
    reason="neither the program 'dot' nor pygraphviz is installed",
)


def outline(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["graph", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_run_is_outlined(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = outline(capsys, run_directory)
    assert "Sequential: 19,722 parameters" in text
    assert "├─ 0" in text
    assert "\x1b" not in text  # no colours where nobody sees them


def test_a_recipe_is_outlined_without_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    text = outline(capsys, "--recipe", "digits", "--data", "digits")
    assert "Sequential: 19,722 parameters" in text
    assert "├─ 0" in text


@pytest.mark.parametrize(
    ("view", "column"),
    [("operations", "linear"), ("backward", "gradient of output"), ("profile", "share of time")],
)
def test_views(run_directory: Path, capsys: pytest.CaptureFixture[str], view: str, column: str) -> None:
    text = outline(capsys, run_directory, "--view", view)
    assert column in text
    assert "inputs: images 32×1×8×8 float32, labels 32 uint8\n" in text


def test_how_deep(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "├─ 0" not in outline(capsys, run_directory, "--depth", 0)
    assert "├─ 0" in outline(capsys, run_directory, "--depth", 0, "--expand", "model")


def test_json_of_a_run_can_be_read_back(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert outline(capsys, run_directory, "-o", "graph.json").startswith("graph.json: Sequential")
    found = Graph.from_json(Path("graph.json").read_text("utf-8"))
    assert found.has_gradients
    assert {"images", "labels"} <= {node.name for node in found.nodes if node.kind == "input"}


@needs_layout
@pytest.mark.parametrize("view", ["modules", "backward"])
def test_a_picture_is_written(run_directory: Path, capsys: pytest.CaptureFixture[str], view: str) -> None:
    outline(capsys, run_directory, "--view", view, "-o", "graph.svg")
    assert ElementTree.parse("graph.svg").getroot().tag.endswith("svg")


@needs_layout
def test_a_run_has_its_graph(run_directory: Path) -> None:
    assert ElementTree.parse(run_directory / "graph.svg").getroot().tag.endswith("svg")
    assert (run_directory / "graph.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_checkpoint_stays_as_it_is(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run_directory / "checkpoint.npz").read_bytes()
    first = outline(capsys, run_directory, "--view", "backward")
    assert outline(capsys, run_directory, "--view", "backward") == first
    assert (run_directory / "checkpoint.npz").read_bytes() == before


def test_where_the_data_is_gone_random_images_are_drawn_with(
    mnist_like: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "train",
        "--data",
        str(mnist_like),
        "--epochs",
        "1",
        "--hidden",
        "8",
        "--quiet",
        "--out",
        "run",
    ]
    assert main(arguments) == 0
    mnist_like.rename("elsewhere")
    capsys.readouterr()
    assert main(["graph", "run"]) == 0
    captured = capsys.readouterr()
    assert "drawn with random images" in captured.err
    assert "Sequential" in captured.out


def test_only_a_terminal_s_width_changes_the_outline(
    run_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    piped = outline(capsys, run_directory)
    assert "Linear (64, " in piped
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = outline(capsys, run_directory)
    assert "Linear (64, " not in shown
    assert "\x1b[1m" in shown


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_an_outline_that_nobody_reads_to_its_end_is_no_error(command: list[str], run_directory: Path) -> None:
    ran = subprocess.run(
        ["sh", "-c", '"$@" | true', "sh", *command, "graph", str(run_directory), "--view", "operations"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stderr == ""


def test_the_views_that_are_offered_are_those_that_there_are(run_directory: Path) -> None:
    step = graph_of_checkpoint(load_checkpoint(run_directory), None, False, print)
    with pytest.raises(ValueError, match=f"expected one of {', '.join(VIEWS)}$"):
        step.draw("no such view")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_that_is_offered_is_a_format(suffix: str, error_of: ErrorOf) -> None:
    """So that what is said to be wrong is the run."""
    assert "nowhere does not exist" in error_of("graph", "nowhere", "-o", f"graph{suffix}")


class TestMistakes:
    def test_a_run_that_does_not_exist(self, error_of: ErrorOf) -> None:
        assert "nowhere does not exist" in error_of("graph", "nowhere")

    def test_a_run_and_a_recipe(self, error_of: ErrorOf) -> None:
        assert "not allowed with argument" in error_of("graph", "run", "--recipe", "digits", status=2)

    def test_a_recipe_that_does_not_exist(self, error_of: ErrorOf) -> None:
        assert "digits" in error_of("graph", "--recipe", "digts", status=2)

    @pytest.mark.parametrize(
        ("output", "sentence"),
        [
            ("graph.doc", "expected a name that ends in .dot"),
            ("nowhere/graph.svg", "there is no directory 'nowhere'"),
            ("folder.svg", "that is a directory"),
        ],
    )
    @pytest.mark.parametrize("what", [["no such run"], ["--data", "no such data"]])
    def test_a_file_that_cannot_be_written_is_told_before_anything_is_loaded(
        self, error_of: ErrorOf, output: str, sentence: str, what: list[str]
    ) -> None:
        Path("folder.svg").mkdir()
        assert sentence in error_of("graph", *what, "-o", output, status=2)

    def test_what_is_read_is_not_drawn_over(self, error_of: ErrorOf, run_directory: Path) -> None:
        Path("few.txt").write_text("0,1,2,3,4\n")
        Path("own.svg").symlink_to("own.toml")
        Path("own.toml").write_text('base = "digits"')
        summary = (run_directory / "summary.json").read_bytes()
        for what, output in (
            ([run_directory], run_directory / "summary.json"),
            ([run_directory, "--data", "few.txt"], "few.txt"),
            (["--recipe", "own.toml"], "own.svg"),
        ):
            sentence = error_of("graph", *what, "-o", output, status=2)
            assert f"--output {output} is, or is in, " in sentence
            assert "which this command reads, and would be lost; name another file" in sentence
        assert (run_directory / "summary.json").read_bytes() == summary
        assert Path("few.txt").read_text() == "0,1,2,3,4\n"

    def test_a_module_that_does_not_exist(self, error_of: ErrorOf, run_directory: Path) -> None:
        assert "is no module of this graph; near it: model/4" in error_of(
            "graph", run_directory, "--expand", "model/44"
        )

    def test_a_depth_below_zero(self, error_of: ErrorOf, run_directory: Path) -> None:
        assert "--depth" in error_of("graph", run_directory, "--depth", "-1", status=2)

    def test_data_of_another_size(self, error_of: ErrorOf, run_directory: Path, mnist_like: Path) -> None:
        assert "8 x 8 pixels" in error_of("graph", run_directory, "--data", mnist_like)

    def test_nothing_that_lays_out(
        self, error_of: ErrorOf, run_directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.setitem(sys.modules, "pygraphviz", None)
        assert "drawing needs the program 'dot'" in error_of("graph", run_directory, "-o", "graph.svg")
        assert not Path("graph.svg").exists()
        assert main(["graph", str(run_directory), "-o", "graph.json"]) == 0
        json.loads(Path("graph.json").read_text("utf-8"))
