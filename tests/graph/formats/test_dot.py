"""DOT says what the drawing says, whatever the texts are; colours can be read, and are told otherwise too."""

import re

import pytest
from hypothesis import given

from tests.graph.drawings import drawings, everything, small, texts
from tinygrad_mnist.graph.drawing import MARKS, Arrow, Box, Drawing
from tinygrad_mnist.graph.formats.dot import node_name, to_dot
from tinygrad_mnist.graph.formats.theme import DARK, LIGHT, THEMES, said, signed

GOLDEN = """\
	x [label=<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"><TR><TD><FONT POINT-SIZE="12" \
COLOR="#1a2230"><B>x</B></FONT></TD></TR><TR><TD><FONT POINT-SIZE="10" COLOR="#4f5b6b">4×2 float32</FONT>\
</TD></TR></TABLE>> color="#3a8558" fillcolor="#def3e6" margin="0,0" shape=parallelogram style=filled]
"""

ARROWS = """\
	x -> "model/0" [color="#687586" penwidth=1]
	"model/0/weight" -> "model/0" [arrowsize=0.5 color="#687586" penwidth=1]
	"model/0" -> "model/0/bias" [arrowsize=0.5 color="#687586" dir=back penwidth=1]
	"model/0" -> "mean#1" [label=<<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="2"><TR><TD>\
<FONT POINT-SIZE="10" COLOR="#4f5b6b">&#160;4×2&#160;</FONT></TD></TR></TABLE>> color="#687586" penwidth=1]
}
"""


def test_a_small_drawing_gives_this_text() -> None:
    text = to_dot(small())
    assert GOLDEN in text
    assert text.endswith(ARROWS)
    assert re.findall(r"^\t*subgraph (\S+)", text, re.M) == ["cluster_model"]


def test_parameters_stand_beside_their_user() -> None:
    ranks = re.findall(r"rank=same\]\n\s*(\S+)\n\s*(\S+)\n\s*(\S+)\n", to_dot(small()))
    assert ranks == [('"model/0/weight"', '"model/0/bias"', '"model/0"')]


@given(drawings())
def test_the_same_drawing_gives_the_same_text(drawing: Drawing) -> None:
    assert to_dot(drawing) == to_dot(drawing)


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


def test_words_stand_once() -> None:
    assert said(("no gradient",), ("no gradient",)) == []
    assert said(("origin",), ("32/1024 NaN start here",)) == []
    assert signed("Linear", ("removed",)) == "− Linear"


def test_nothing_flows_is_written_once() -> None:
    boxes = Box("a", "operation", "exp"), Box("b", "operation", "log")
    silent = Arrow("a", "b", kind="none")
    assert to_dot(Drawing("", "backward", boxes, (silent,))).count("no gradient") == 1
    marked = (boxes[0], Box("b", "operation", "log", marks=("no gradient",)))
    assert to_dot(Drawing("", "backward", marked, (silent,))).count("no gradient") == 1


def luminance(colour: str) -> float:
    """Of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_borders_stand_out_from_what_is_behind(theme: str) -> None:
    colours = THEMES[theme]
    fills = [role for role in colours if f"{role} border" in colours]
    grounds = ["paper", "panel"]
    for fill in fills + grounds:
        for text in ("ink", "quiet"):
            assert contrast(colours[text], colours[fill]) >= 4.5, (text, fill)
    for ground in grounds:
        assert contrast(colours["gradient"], colours[ground]) >= 4.5
        for line in ["line", "none", "frame", *(f"{fill} border" for fill in fills)]:
            assert contrast(colours[line], colours[ground]) >= 3, (line, ground)


def test_a_colour_tells_its_role() -> None:
    assert DARK.keys() == LIGHT.keys()
    for colours in THEMES.values():
        assert len(set(colours.values())) == len(colours)
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours.values())
    assert set(re.findall("#[0-9a-f]{6}", to_dot(everything(), "dark"))) <= set(DARK.values())


def test_an_unknown_theme_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no theme 'blue'; expected one of light, dark"):
        to_dot(small(), "blue")
