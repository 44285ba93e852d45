"""Files are written whole or not at all, in the format that the suffix names; notebooks show something."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tinygrad_mnist import Tensor, files, graph, nn
from tinygrad_mnist.graph import Graph
from tinygrad_mnist.graph.formats import FORMATS
from tinygrad_mnist.graph.formats.theme import DARK
from tinygrad_mnist.graph.views import VIEWS


@pytest.fixture
def traced() -> Graph:
    x = Tensor([1.0, 2.0], requires_grad=True)
    return (x * x).sum().graph(names={"x": x})


LAID_OUT = (".svg", ".png", ".pdf", ".html")

BEGINNINGS = {
    ".dot": b"digraph {",
    ".gv": b"digraph {",
    ".svg": b"<svg ",
    ".png": b"\x89PNG",
    ".pdf": b"%PDF",
    ".html": b"<!doctype html>",
    ".mmd": b"%% ",
    ".mermaid": b"%% ",
    ".md": b"```mermaid\n",
    ".txt": b"Computation: 2 parameters",
    ".json": b'{\n"format"',
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_suffix_names_the_format(traced: Graph, tmp_path: Path, suffix: str) -> None:
    if suffix in LAID_OUT:
        pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")
    path = traced.save(tmp_path / f"graph{suffix.upper()}")
    assert path.read_bytes()[:60].lower().startswith(BEGINNINGS[suffix].lower())
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", sorted(FORMATS.keys() - {*LAID_OUT}))
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_every_format(tmp_path: Path, suffix: str, view: str) -> None:
    x = np.ones((2, 3), np.float32)
    measured = graph.profile(nn.Linear(3, 2, rng=0), x, np.array([0, 1]), repeats=1, warmup=0)
    with graph.record() as tape:
        np.sum(nn.Linear(3, 2, rng=0)(x)).backward()
    drawn = measured if VIEWS[view].costs else tape.graph()
    assert "Linear" in drawn.save(tmp_path / f"graph{suffix}", view).read_text("utf-8")


def test_options_reach_the_format(traced: Graph, tmp_path: Path) -> None:
    assert DARK["paper"] in traced.save(tmp_path / "a.dot", "operations", theme="dark").read_text("utf-8")


def test_a_text_file_is_not_shortened(tmp_path: Path) -> None:
    long = "a_name_that_goes_on_" * 8
    x = Tensor(2.0, requires_grad=True)
    found = (x * x).graph(names={long: x})
    assert long not in found.text("operations")
    assert long in found.save(tmp_path / "a.txt", "operations").read_text("utf-8")


def test_an_unknown_suffix_is_an_error(traced: Graph, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"cannot tell a format by 'graph.bmp'; .* \.dot, \.gv, \.svg, \.png"
    ):
        traced.save(tmp_path / "graph.bmp")


def writers(traced: Graph) -> list[Callable[[Path], Path]]:
    """All methods of `graph` that write files."""
    x = Tensor(2.0, requires_grad=True)
    return [traced.save, graph.diff(traced, traced).save, graph.storyboard(x * x, {"x": x}).save]


@pytest.mark.parametrize("which", range(3))
def test_what_cannot_be_written_is_told_before_any_work(
    traced: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    write = writers(traced)[which]
    for kind in (Graph, graph.Difference, graph.Storyboard):
        monkeypatch.delattr(kind, "text")
    missing, folder = tmp_path / "none" / "graph.txt", tmp_path / "folder.txt"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=r"there is no directory .*; make it first") as caught:
        write(missing)
    assert caught.value.filename == str(missing)
    with pytest.raises(IsADirectoryError, match="that is a directory; name a file") as caught:
        write(folder)
    assert caught.value.filename == str(folder)


@pytest.mark.parametrize("which", range(3))
def test_what_a_link_points_to_is_written(traced: Graph, tmp_path: Path, which: int) -> None:
    (tmp_path / "link.txt").symlink_to("real.txt")
    writers(traced)[which](tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text("utf-8").strip()


def test_what_fails_leaves_the_old_file(
    traced: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "graph.txt"
    path.write_text("old")

    def fail(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        traced.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_may_be_read_by_others_as_any_new_file(traced: Graph, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert traced.save(tmp_path / "graph.json").stat().st_mode == plain.stat().st_mode
    assert json.loads((tmp_path / "graph.json").read_text("utf-8"))["outputs"] == ["sum#1"]


def test_a_notebook_shows_pictures_whose_ids_differ(traced: Graph) -> None:
    pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")
    pictures = [traced._repr_mimebundle_()["image/svg+xml"] for _ in range(2)]
    ids = [
        part.attrib["id"]
        for svg in pictures
        for part in ElementTree.fromstring(svg).iter()
        if "id" in part.attrib
    ]
    assert len(ids) == len(set(ids)) > 4
    assert "<script" not in pictures[0]
    assert traced._repr_mimebundle_()["text/plain"].startswith("Computation")


@pytest.mark.usefixtures("no_graphviz")
def test_a_notebook_shows_text_where_nothing_lays_out(traced: Graph) -> None:
    shown = traced._repr_mimebundle_()
    assert shown["text/html"].startswith("<pre>Computation")
    assert "no picture: drawing needs the program 'dot'" in shown["text/plain"]


def test_a_notebook_shows_something_whatever_happens(traced: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> str:
        raise RecursionError("deep")

    monkeypatch.setattr(Graph, "text", fail)
    assert traced._repr_mimebundle_() == {"text/plain": "3 nodes, which could not be outlined: deep"}
