"""What `explain` tells of a program: its pieces, their bytes, lines and arrows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.compiler.explain import Explanation, Piece, explain, names_text, piece_of, users_lines
from tinygrad_mnist.compiler.program import Instruction, Program, Value

FLOAT = np.dtype(np.float32)


class Line:
    """A program that grows by an instruction at a time."""

    def __init__(self) -> None:
        self.program = Program()
        self.count = 0

    def value(self, *shape: int) -> Value:
        self.count += 1
        return Value(self.count, shape, FLOAT)

    def input(self, *shape: int) -> Value:
        self.program.inputs.append(self.value(*shape))
        return self.program.inputs[-1]

    def do(
        self, name: str, inputs: Sequence[Value], *shape: int, line: str = "", **static: object
    ) -> Instruction:
        made = Instruction(name, tuple(inputs), (self.value(*shape),), static, np.positive, line)
        self.program.instructions.append(made)
        return made


@pytest.fixture
def layer() -> Explanation:
    """A linear layer with a bias, a ReLU and the sum of its columns, and the mean's step of a parameter."""
    line = Line()
    x, w, b = line.input(8, 5), line.input(5, 4), line.input(4)
    product = line.do("matmul", [x, w], 8, 4, line="/home/me/train.py:31, in step: h = x @ w")
    wide = line.do("broadcast_to", [b], 8, 4)
    terms = [product.outputs[0], wide.outputs[0]]
    add = line.do("add", terms, 8, 4, line="/home/me/train.py:32, in step: h + b")
    relu = line.do("maximum", [add.outputs[0], add.outputs[0]], 8, 4)
    total = line.do("sum", [relu.outputs[0]], 4, axis=(0,), keepdims=False)
    solve = line.do("solve", [total.outputs[0]], 4)
    line.program.outputs.append(relu.outputs[0])
    line.program.writes.append((solve.outputs[0], b))
    line.program.watched.append(total.outputs[0])
    pieces = [
        Piece("product", (product,), (8, 4, 5), "BLAS"),
        Piece("loop", (wide, add, relu, total), (8, 4)),
        Piece("call", (solve,), how="no loop spells it"),
    ]
    return explain(line.program, pieces, arena=256, times=[2e-6, 1e-6, 5e-6], names={x: "x", b: "0.bias"})


def test_a_piece_reads_what_others_made_and_writes_what_others_need(layer: Explanation) -> None:
    x, w, b = layer.program.inputs
    product, loop, call = layer.pieces
    h, total = product.instructions[0].outputs[0], loop.instructions[3].outputs[0]
    assert layer.reads == ((x, w), (b, h), (total,))
    assert layer.writes == (
        (h,),
        (loop.instructions[2].outputs[0], total),
        call.instructions[0].outputs,
    )


def test_a_value_that_is_computed_again_is_not_read() -> None:
    line = Line()
    x = line.input(3)
    exp = line.do("exp", [x], 3)
    sine, cosine = line.do("sin", exp.outputs, 3), line.do("cos", exp.outputs, 3)
    line.program.outputs += [sine.outputs[0], cosine.outputs[0]]
    explained = explain(line.program, [Piece("loop", (exp, sine), (3,)), Piece("loop", (exp, cosine), (3,))])
    assert explained.reads == ((x,), (x,))
    assert explained.writes == (sine.outputs, cosine.outputs)
    assert [arrow.source for arrow in explained.drawing().arrows] == [f"input {x.number}"] * 2


def test_a_view_of_an_input_reads_the_input() -> None:
    line = Line()
    x = line.input(3, 2)
    turned = line.do("transpose", [x], 2, 3, axes=(1, 0))
    exp = line.do("exp", turned.outputs, 2, 3)
    line.program.outputs += exp.outputs
    assert explain(line.program).reads == ((x,),)


def test_what_is_printed(layer: Explanation) -> None:
    assert str(layer).splitlines() == [
        "6 instructions in 1 loop, 1 product, 1 call of NumPy",
        "goes in: 3 arrays (256 B)",
        "",
        "  #  piece         runs over                reads    writes      time",
        "  1  product       8×4×5                    240 B     128 B      2 µs",
        "     matmul (BLAS)",
        "     train.py:31  h = x @ w",
        "  2  loop          8×4                      144 B     144 B      1 µs",
        "     add, maximum, sum over axis 0",
        "     train.py:32  h + b",
        "  3  call of NumPy                           16 B      16 B      5 µs",
        "     solve (no loop spells it)",
        "",
        "memory: 256 B; all values apart would take 416 B",
        "checked before anything is written: 1 array may hold no NaN",
        "written at the end: 1 array (16 B): 0.bias",
        "returned: 1 array",
    ]


def test_no_line_is_wider_than_a_hundred_columns() -> None:
    line = Line()
    values = [line.input(2)]
    names = ["logarithm_of_something_long", "exponential_of_something_long", "power", "sine", "root"] * 9
    for number, name in enumerate(names):
        values += line.do(f"{name}_{number}", values[-1:], 2, line=f"/a/b.py:3, in f: {'x + ' * 60}x").outputs
    line.program.writes += [(values[-1], values[0])] * 30
    named = dict.fromkeys(values[:1], "a.long.name.of.a.parameter")
    whole = explain(line.program, [Piece("loop", tuple(line.program.instructions), (2,))], names=named)
    assert max(map(len, str(whole).splitlines())) <= 100


def test_without_pieces_each_instruction_is_one() -> None:
    line = Line()
    x = line.input(3, 2)
    turned = line.do("transpose", [x], 2, 3, axes=(1, 0))
    product = line.do("matmul", [x, *turned.outputs], 3, 3)
    total = line.do("sum", product.outputs, 3, axis=(1,))
    other = line.do("cumsum", total.outputs, 3)
    kinds = [(piece.kind, piece.space) for piece in explain(line.program).pieces]
    assert kinds == [("product", (3, 3, 2)), ("loop", (3, 3)), ("call", ())]
    assert piece_of(other).how


def test_equal_names_are_counted() -> None:
    line = Line()
    x = line.input(3, 2)
    some = [line.do("add", [x, x], 3, 2), line.do("max", [x], axis=(0, 1)), line.do("add", [x, x], 3, 2)]
    assert names_text(some) == "add (2), max over axes 0, 1"
    assert names_text([line.do("reshape", [x], 6)]) == "copy"


def test_many_lines_are_counted_and_long_ones_cut() -> None:
    line = Line()
    x = line.input(1)
    many = [line.do("add", [x, x], 1, line=f"/t.py:{n}, in f: {'y' * 90}") for n in range(5)]
    assert users_lines(many, 20) == [*(f"t.py:{n}  yyyyyyyyyyy…" for n in range(3)), "and 2 lines more"]


def test_a_line_without_a_source_tells_the_function() -> None:
    line = Line()
    x = line.input(1)
    assert users_lines([line.do("exp", [x], 1, line="<stdin>:4, in step")], 80) == ["<stdin>:4  step"]


def test_the_picture_has_a_box_for_each_piece_and_an_arrow_for_what_passes(layer: Explanation) -> None:
    drawing = layer.drawing()
    assert [box.title for box in drawing.boxes] == [
        *("x, %2 (5×4)", "0.bias"),
        *("1 product", "2 loop", "3 call of NumPy"),
    ]
    arrows = [(arrow.source, arrow.target, arrow.label) for arrow in drawing.arrows]
    assert ("piece 1", "piece 2", "8×4") in arrows
    assert ("piece 2", "piece 3", "4") in arrows
    assert [box.marks for box in drawing.boxes[2:]] == [(), ("output",), ()]
    assert "new 0.bias" in drawing.boxes[-1].lines
    assert drawing.boxes[-1].share == pytest.approx(5 / 8)


def test_the_picture_in_texts(layer: Explanation) -> None:
    pytest.importorskip("graphviz", reason="the language of Graphviz is written by its package")
    assert "matmul" in layer.graph().dot()
    assert "flowchart" in layer.graph().mermaid()


def test_a_picture_is_saved_by_its_suffix(layer: Explanation, tmp_path: Path) -> None:
    pytest.importorskip("graphviz", reason="the language of Graphviz is written by its package")
    assert layer.graph().save(tmp_path / "step.dot").read_text("utf-8") == layer.graph().dot()
    with pytest.raises(ValueError, match=r"expected a name that ends in \.svg"):
        layer.graph().save(tmp_path / "step.jpeg")


def test_the_picture_as_svg(layer: Explanation) -> None:
    pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")
    assert layer.graph().svg().count('class="node') == len(layer.drawing().boxes)
