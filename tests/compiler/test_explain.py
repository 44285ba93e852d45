"""What `explain` tells of a compiled function: its pieces, their bytes, times and lines, and the picture."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the extra `jit` is not installed")

from tests.compiler.builder import Builder
from tinygrad_mnist import nn, optim
from tinygrad_mnist.compiler.errors import JitError
from tinygrad_mnist.compiler.executable import build
from tinygrad_mnist.compiler.explain import Explanation, explain, names_text, users_lines
from tinygrad_mnist.compiler.jit import jit
from tinygrad_mnist.compiler.program import Instruction, Value

X = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Step:
    """A training step of a small network, which is compiled; it was called often enough to be replayed."""

    def __init__(self, draws: bool = False) -> None:
        dropout = [nn.Dropout(0.5, rng=7)] if draws else []
        self.model = nn.Sequential(nn.Linear(5, 4, rng=0), nn.ReLU(), *dropout, nn.Linear(4, 3, rng=1))
        model, optimizer = self.model, optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        self.step: Any = jit(step)
        for _ in range(3):
            self.step(X, LABELS)

    def weights(self) -> list[Any]:
        return [parameter.data.copy() for parameter in self.model.parameters()]


@pytest.fixture(scope="module")
def explained() -> Explanation:
    found: Explanation = Step().step.explain(X, LABELS)
    return found


# ---- what it holds ---------------------------------------------------------------------------------------


def test_every_piece_reads_what_goes_in_or_what_an_earlier_one_made(explained: Explanation) -> None:
    program = explained.program
    known = {*program.inputs, *program.scalars, *program.constants}
    for piece in explained.pieces:
        assert known.issuperset(piece.reads)
        known.update(piece.makes)
    written = {target for piece in explained.pieces for target in piece.targets}
    assert written == {target for _, target in program.writes}


def test_products_and_loops_are_told_with_their_sizes(explained: Explanation) -> None:
    products = [piece.space for piece in explained.pieces if piece.kind == "product"]
    assert products == [(6, 4, 5), (6, 3, 4), (6, 4, 3), (4, 3, 6), (5, 4, 6)]
    assert {piece.how for piece in explained.pieces if piece.kind == "product"} <= {"BLAS", "generated"}
    assert all(piece.instructions for piece in explained.pieces)


def test_updates_of_parameters_are_told_together(explained: Explanation) -> None:
    last = [explained.pieces[number] for number in explained.rows[-1]]
    assert sorted(piece.space for piece in last) == [(3,), (3, 4), (4,), (4, 5)]
    assert sum(map(len, explained.rows)) == len(explained.pieces)


@pytest.mark.parametrize(
    ("dtype", "name", "why"),
    [
        (np.float16, "exp", "no loop computes in float16"),
        (np.float32, "arctan", "no loop spells it"),
    ],
)
def test_a_call_of_numpy_says_why(dtype: Any, name: str, why: str) -> None:
    program = Builder()
    x = program.input(np.ones(3, dtype))
    program.program.outputs.append(program.emit(name, (x,), (3,), dtype, getattr(np, name)))
    [piece] = [piece for piece in explain(build(program.program)).pieces if piece.kind == "call"]
    assert piece.how == why
    assert f"{name} ({why})" in str(explain(build(program.program)))


# ---- what is printed -------------------------------------------------------------------------------------


def test_what_is_printed(explained: Explanation) -> None:
    lines = str(explained).splitlines()
    assert re.fullmatch(r"\d+ instructions in \d+ loops, 5 products(, \d+ calls? of NumPy)?", lines[0])
    assert lines[1].startswith("goes in: 10 arrays (")
    assert lines[3].split() == ["#", "piece", "runs", "over", "reads", "writes", "time"]
    assert any(re.fullmatch(r" +1  product +6×4×5 +\d+ B +96 B +[\d.]+ [µm]s", line) for line in lines)
    assert any(re.fullmatch(r" +test_explain.py:\d+  loss\.backward\(\)", line) for line in lines)
    text = str(explained)
    assert "memory: " in text
    assert "time: " in text
    assert "4 arrays may hold no NaN" in text
    assert "written at the end: 8 arrays (" in text
    assert "4 parameters, 4 states" in text
    assert "returned: 5 arrays" in text
    assert repr(explained) == text


def test_no_line_is_wider_than_a_hundred_columns() -> None:
    program = Builder()
    x = value = program.input(np.ones((3, 4), np.float32))
    for number in range(40):
        value = program.tanh(program.add(value, float(number)))
    program.program.outputs.append(value)
    for position, each in enumerate(program.program.instructions):
        line = f"/a/b.py:3, in f: {'x + ' * 60}x"
        program.program.instructions[position] = Instruction(
            each.name, each.inputs, each.outputs, each.static, each.run, line
        )
    text = str(explain(build(program.program), names={x: "a.long.name." * 20}))
    assert max(map(len, text.splitlines())) <= 100


def test_equal_names_are_counted() -> None:
    x, y = Value(0, (2, 3), np.dtype("f")), Value(1, (), np.dtype("f"))
    add = Instruction("add", (x, x), (x,), {}, np.add)
    largest = Instruction("max", (x,), (y,), {"axis": (0, 1)}, np.max)
    assert names_text([add, largest, add]) == "add (2), max over axes 0, 1"
    assert names_text([Instruction("reshape", (x,), (x,), {}, np.reshape)]) == "copy"


def test_many_lines_are_counted_and_long_ones_cut() -> None:
    x = Value(0, (1,), np.dtype("f"))
    many = [Instruction("add", (x, x), (x,), {}, np.add, f"/t.py:{n}, in f: {'y' * 90}") for n in range(5)]
    assert users_lines(many, 20) == [*(f"t.py:{n}  yyyyyyyyyyy…" for n in range(3)), "and 2 lines more"]
    typed = Instruction("exp", (x,), (x,), {}, np.exp, "<stdin>:4, in step")
    assert users_lines([typed], 80) == ["<stdin>:4  step"]


# ---- of a function that is compiled ----------------------------------------------------------------------


@pytest.mark.parametrize("draws", [False, True])
def test_to_explain_changes_nothing(draws: bool) -> None:
    asked, silent = Step(draws), Step(draws)
    before = asked.weights()
    assert "4 parameters" in str(asked.step.explain(X, LABELS))
    assert all(map(np.array_equal, asked.weights(), before))
    assert len(asked.step.compilations) == 1
    for _ in range(2):
        assert asked.step(X, LABELS).item() == silent.step(X, LABELS).item()
    assert all(map(np.array_equal, asked.weights(), silent.weights()))


def test_a_call_of_other_shapes_is_explained_without_times() -> None:
    step = Step().step
    found = step.explain(X[:2], LABELS[:2])
    assert found.times == ()
    assert "time:" not in str(found)
    assert "2×4×5" in str(found)
    assert len(step.compilations) == 1
    step(X[:2], LABELS[:2])
    assert len(step.compilations) == 2


def test_what_is_not_compiled_is_said() -> None:
    model = nn.Linear(2, 1, rng=0)
    compiled = jit(lambda x: model(x))
    with pytest.raises(JitError, match="runs as it is: what it returns is on the tape"):
        compiled.explain(np.ones((3, 2), np.float32))


# ---- the picture -----------------------------------------------------------------------------------------


def test_the_picture_has_a_box_for_each_row_and_arrows_for_what_passes(explained: Explanation) -> None:
    drawing = explained.drawing()
    boxes = {box.id: box for box in drawing.boxes}
    pieces = [box for box in drawing.boxes if box.id.startswith("piece")]
    assert len(pieces) == len(explained.rows)
    assert pieces[0].title == "1: product"
    assert pieces[-1].title.endswith(": 4 loops")
    assert any("new parameter 0.weight" in line for line in pieces[-1].lines)
    assert sum(box.share or 0 for box in pieces) == pytest.approx(1)
    assert any("output" in box.marks for box in pieces)
    ends = {(arrow.source, arrow.target) for arrow in drawing.arrows}
    assert len(ends) == len(drawing.arrows)
    assert {id for pair in ends for id in pair} <= boxes.keys()
    assert any(boxes[source].title == "argument 0" and target == "piece 1" for source, target in ends)
    assert any(arrow.label == "6×4" for arrow in drawing.arrows)


def test_the_picture_in_texts(explained: Explanation) -> None:
    pytest.importorskip("graphviz", reason="the language of Graphviz is written by its package")
    assert "matmul" in explained.graph().dot()
    assert "flowchart" in explained.graph().mermaid()


def test_a_picture_is_saved_by_its_suffix(explained: Explanation, tmp_path: Path) -> None:
    pytest.importorskip("graphviz", reason="the language of Graphviz is written by its package")
    assert explained.graph().save(tmp_path / "step.dot").read_text("utf-8") == explained.graph().dot()
    with pytest.raises(ValueError, match=r"expected a name that ends in \.svg"):
        explained.graph().save(tmp_path / "step.jpeg")


def test_a_notebook_without_graphviz_shows_no_picture(
    explained: Explanation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tinygrad_mnist.graph.formats import layout

    monkeypatch.setattr(layout, "which", lambda name: None)
    monkeypatch.setattr(layout, "find_spec", lambda name: None)
    assert explained.graph()._repr_svg_() is None


def test_the_picture_as_svg(explained: Explanation) -> None:
    pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")
    assert explained.graph().svg().count('class="node') == len(explained.drawing().boxes)
