"""Pictures are laid out with `dot` or without, bounded in time, whole, and fit for any page."""

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.graph.drawings import SVG, parts
from tinygrad_mnist import Tensor, graph, nn
from tinygrad_mnist.graph.drawing import Arrow, Box, Drawing
from tinygrad_mnist.graph.formats import layout
from tinygrad_mnist.graph.formats.layout import LayoutError, TooLarge, load, render
from tinygrad_mnist.graph.formats.svg import to_svg

pygraphviz = pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")


def chain(length: int) -> graph.Graph:
    """Values that are used far from where they were made: much to lay out."""
    values = [Tensor(np.ones(2), requires_grad=True)]
    with graph.record() as tape:
        for i in range(length):
            values.append(np.minimum(values[-1], values[i // 2]) + values[0])
    return tape.graph()


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize(("format", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_other_formats(format: str, begins: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    traced = (Tensor(2.0, requires_grad=True) * 3).graph()
    assert getattr(traced, format)().startswith(begins)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_graphviz")
def test_without_anything_that_lays_out_the_others_still_work() -> None:
    traced = (Tensor(2.0, requires_grad=True) * 3).graph()
    with pytest.raises(LayoutError, match=r"the program 'dot' .* or the package pygraphviz \(pip install"):
        traced.svg()
    for text in (traced.dot(), traced.mermaid(), traced.text(), traced.json()):
        assert "multiply" in text or "×" in text
    assert traced._repr_mimebundle_().keys() == {"text/plain", "text/html"}


def test_the_program_dot_is_asked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "drawn with $1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    if shutil.which("dot") != str(program):
        pytest.skip("this system takes no script for a program")
    assert render("digraph {}", "png") == b"drawn with -Tpng\n"


@pytest.mark.usefixtures("no_programs")
def test_a_fault_is_one_sentence() -> None:
    with pytest.raises(
        LayoutError, match=r"^pygraphviz could not make svg of the graph \(exit status 1\): .+"
    ):
        render("digraph { a -> ", "svg")


@pytest.mark.usefixtures("no_programs")
def test_a_layout_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PYGRAPHVIZ", "import time; time.sleep(60)")
    monkeypatch.setattr(layout, "PATIENCE", 0.2)
    with pytest.raises(TooLarge, match="did not lay out the graph in 0 s"):
        render("digraph {}", "svg")


def test_load_counts_boxes_and_the_lines_that_pass_by_and_bears_circles() -> None:
    boxes = tuple(Box(name, "operation", name) for name in "abcd")
    ring = tuple(Arrow(*pair) for pair in ("ab", "bc", "cd", "db"))
    empty = load(Drawing("", "modules", boxes, ()))
    assert empty == 4 * layout.BOX
    assert load(Drawing("", "modules", boxes, ring[:3])) == empty
    passing = (*ring[:3], Arrow("a", "c"), Arrow("a", "d"))  # two lines beside b, one beside c
    assert load(Drawing("", "modules", boxes, passing)) == empty + 2 * 3 + 1 * 2
    assert load(Drawing("", "modules", boxes, ring)) >= empty


class Residual(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.norm(x))


class Recurrent(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.old, self.new = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        state = x[0]
        for row in x:
            state = np.tanh(self.old(state) + self.new(row))
        return state


def residual(blocks: int) -> graph.Graph:
    return nn.Sequential(*(Residual(2) for _ in range(blocks))).graph(np.ones((3, 2), np.float32))


def test_hundred_blocks_and_a_loop_are_laid_out_whole() -> None:
    blocks, loop = residual(100), Recurrent(2).graph(np.ones((28, 1, 2), np.float32))
    for traced, options in ((blocks, {"depth": 2}), (blocks, {"budget": 801}), (loop, {"depth": 3})):
        drawing = layout.fitting(traced, "modules", options)
        assert drawing == traced.draw(**options)
        assert len(drawing.boxes) > 140
        assert "fold" not in {box.kind for box in drawing.boxes}


def test_too_heavy_a_depth_is_folded_no_further_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "HEAVIEST", 3000)
    traced = residual(100)
    light = layout.fitting(traced, "modules", {"depth": 2})
    assert len(light.boxes) > 150
    assert load(light) <= layout.HEAVIEST
    assert ".text()" in light.notes[0]
    assert not any("depth=" in note or "budget=" in note for note in light.notes)
    assert any("opens the first of them" in note for note in light.notes)


@pytest.mark.usefixtures("no_programs")
def test_what_is_too_heavy_is_folded_further() -> None:
    traced = chain(150)
    options = {"budget": 10_000}
    heavy = traced.draw("operations", **options)
    with pytest.raises(TooLarge, match="too long to lay out"):
        to_svg(heavy)
    light = layout.fitting(traced, "operations", options)
    assert load(light) <= layout.HEAVIEST < load(heavy)
    assert light.notes[0].startswith(f"{len(heavy.boxes):,} boxes would take too long to lay out")
    assert "would take too long" in traced.svg("operations", **options)


def test_what_is_light_is_drawn_as_asked() -> None:
    traced = chain(3)
    assert layout.fitting(traced, "modules", {}) == traced.draw()


def test_the_other_process_finds_what_this_one_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = {}

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        seen.update(options)
        return subprocess.CompletedProcess(command, 0, b"picture", b"")

    monkeypatch.setattr(layout.subprocess, "run", run)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert render("digraph {}", "svg") == b"picture"
    assert str(tmp_path) in seen["env"]["PYTHONPATH"]
    assert seen["timeout"] == layout.PATIENCE


@pytest.fixture(scope="module")
def perceptron() -> graph.Graph:
    """The network of the pages on graphs."""
    rng = np.random.default_rng(0)
    sizes = (784, 64, 32, 16)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, rng=rng), nn.BatchNorm1d(fan_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(16, 10, rng=rng))
    x, y = rng.standard_normal((128, 784), dtype=np.float32), np.arange(128) % 10
    with graph.record(model, {"images": x, "labels": y}) as tape:
        nn.CrossEntropyLoss()(model(x), y).backward()
    return tape.graph()


def points(edge: ElementTree.Element) -> np.ndarray:
    """Points on the line of an arrow and the corners of its head."""
    found = []
    for path in edge.iter(f"{SVG}path"):
        knots = np.array(re.findall(r"-?[\d.]+", path.attrib["d"]), float).reshape(-1, 2)
        t = np.linspace(0, 1, 60)[:, None]
        for a, b, c, d in (knots[i : i + 4] for i in range(0, len(knots) - 3, 3)):
            found.append((1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d)
    heads = (head.attrib["points"] for head in edge.iter(f"{SVG}polygon"))
    found += [np.array(re.findall(r"-?[\d.]+", corners), float).reshape(-1, 2) for corners in heads]
    return np.concatenate(found)


def hit(text: ElementTree.Element, line: np.ndarray, width: float) -> bool:
    """Whether a line of a width runs through the letters of a text."""
    size, letters = float(text.attrib["font-size"]), len((text.text or "").strip("\xa0"))
    # In Helvetica: of bold letters, of digits, and the mean of "no gradient".
    em = 0.6 if text.get("font-weight") == "bold" else 0.556 if re.search(r"\d", text.text or "") else 0.46
    wide = letters * size * em
    x, y = float(text.attrib["x"]), float(text.attrib["y"])
    left = (
        x - wide / 2
        if text.get("text-anchor") == "middle"
        else x + 2.78 * (text.text or "").startswith("\xa0")
    )
    inside = (line[:, 0] > left - width / 2) & (line[:, 0] < left + wide + width / 2)
    return bool(np.any(inside & (line[:, 1] > y - 0.72 * size - width / 2) & (line[:, 1] < y + width / 2)))


@pytest.mark.parametrize("view", ["modules", "operations", "backward"])
def test_no_arrow_runs_through_words_at_arrows(perceptron: graph.Graph, view: str) -> None:
    svg = perceptron.svg(view)
    edges = parts(svg, "edge")
    lines = [points(edge) for edge in edges]
    widths = [float(edge.find(f"{SVG}path").get("stroke-width", "1")) for edge in edges]
    words = [text for edge in edges for text in edge.iter(f"{SVG}text")]
    assert len(words) > 3
    drawn = list(zip(lines, widths, strict=True))
    assert [word.text for word in words if any(hit(word, line, width) for line, width in drawn)] == []


def test_titles_of_frames_lie_over_arrows_with_a_halo(perceptron: graph.Graph) -> None:
    picture = ElementTree.fromstring(perceptron.svg("operations")).find(f"{SVG}g")
    assert picture is not None
    children = list(picture)
    last_arrow = max(i for i, part in enumerate(children) if "edge" in part.get("class", "").split())
    frames = [part for part in children if "cluster" in part.get("class", "").split()]
    titles = [part for part in children[last_arrow:] if part.tag == f"{SVG}text"]
    assert len(frames) == len(titles) > 10
    for frame, title in zip(frames, titles, strict=True):
        assert frame.find(f"{SVG}title").text == title.text
        ground = next(part for part in frame if part.get("fill"))
        assert (title.attrib["paint-order"], title.attrib["stroke"]) == ("stroke", ground.attrib["fill"])


def test_a_long_title_makes_no_picture_wide() -> None:
    box = Box("a", "operation", "exp")
    svg = to_svg(Drawing("several long words " * 20, "modules", (box,), (), (), ("a note " * 60,)))
    root = ElementTree.fromstring(svg)
    assert float(root.attrib["width"].removesuffix("pt")) < 560
    assert "".join(root.itertext()).split().count("several") == 20
