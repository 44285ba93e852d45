"""DOT says what the drawing says, whatever the texts are; no mark is told by its colour alone."""

import re

import pytest
from hypothesis import given

from tests.graph.drawings import everything, small, texts, with_roles
from tinygrad_mnist.graph.drawing import MARKS, Arrow, Box, Drawing
from tinygrad_mnist.graph.formats.dot import node_name, to_dot
from tinygrad_mnist.graph.formats.theme import DARK, LIGHT

GOLDEN = """\
	x [label=<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"><TR><TD><FONT POINT-SIZE="12" \
COLOR="ink"><B>x</B></FONT></TD></TR><TR><TD><FONT POINT-SIZE="10" COLOR="quiet">4×2 float32</FONT>\
</TD></TR></TABLE>> color="input border" fillcolor="input" margin="0,0" shape=parallelogram style=filled]
"""

ARROWS = """\
	x -> "model/0" [color="line" penwidth=1]
	"model/0/weight" -> "model/0" [arrowsize=0.5 color="line" penwidth=1]
	"model/0" -> "model/0/bias" [arrowsize=0.5 color="line" dir=back penwidth=1]
	"model/0" -> "mean#1" [label=<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2"><TR><TD>\
<FONT POINT-SIZE="10" COLOR="quiet">&#160;4×2&#160;</FONT></TD></TR></TABLE>> color="line" penwidth=1]
}
"""


def test_a_small_drawing_gives_this_text() -> None:
    text = with_roles(to_dot(small()))
    assert GOLDEN in text
    assert text.endswith(ARROWS)
    assert re.findall(r"^\t*subgraph (\S+)", text, re.M) == ["cluster_model"]


def test_parameters_stand_beside_their_user() -> None:
    ranks = re.findall(r"rank=same\]\n\s*(\S+)\n\s*(\S+)\n\s*(\S+)\n", to_dot(small()))
    assert ranks == [('"model/0/weight"', '"model/0/bias"', '"model/0"')]


@given(texts, texts)
def test_names_of_nodes_are_plain_and_differ_where_ids_differ(one: str, other: str) -> None:
    assert not re.search(r'[&:"\\<>\x00-\x1f\ud800-\udfff]', node_name(one))
    assert (node_name(one) == node_name(other)) == (one == other)


@given(texts)
def test_no_text_leaves_its_label(text: str) -> None:
    drawing = Drawing(
        "", "modules", (Box("a", "operation", text), Box("b", "operation", "")), (Arrow("a", "b"),)
    )
    lines = to_dot(drawing).splitlines()
    assert sum(line.startswith("\ta [label=<<TABLE") for line in lines) == 1
    assert lines[-2:] == [f'\ta -> b [color="{LIGHT["line"]}" penwidth=1]', "}"]


@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_is_told_by_a_border_or_words_too(mark: str) -> None:
    def drawn(*marks: str) -> str:
        text = to_dot(Drawing("", "modules", (Box("a", "module", "Linear", marks=marks),), ()))
        return re.sub("#[0-9a-f]{6}", "", text)

    assert drawn(mark) != drawn()


def test_nothing_flows_is_written_once() -> None:
    boxes = Box("a", "operation", "exp"), Box("b", "operation", "log")
    silent = Arrow("a", "b", kind="none")
    assert to_dot(Drawing("", "backward", boxes, (silent,))).count("no gradient") == 1
    marked = (boxes[0], Box("b", "operation", "log", marks=("no gradient",)))
    assert to_dot(Drawing("", "backward", marked, (silent,))).count("no gradient") == 1


def test_only_the_colours_of_the_theme_are_used() -> None:
    assert set(re.findall("#[0-9a-f]{6}", to_dot(everything(), "dark"))) <= set(DARK.values())
