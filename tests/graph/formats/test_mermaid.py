"""Mermaid's text says what the drawing says, and no text of ours is taken for a command."""

import re

import pytest
from hypothesis import given

from tests.graph.drawings import drawings, small, texts, with_roles
from tinygrad_mnist.graph.drawing import MARKS, Arrow, Box, Drawing
from tinygrad_mnist.graph.formats.mermaid import to_mermaid

GOLDEN = """\
%% Net: 6 parameters
%% a note
flowchart TB
    b0[/"x<br/>4×2 float32"/]
    b4("mean<br/>→ scalar")
    subgraph g0["model Net"]
        b1["Linear<br/>0 (2, 2)"]
        b2(["weight<br/>2×2<br/>4"])
        b3(["bias<br/>2<br/>2"])
    end
    b0 --> b1
    b2 --> b1
    b3 --> b1
    b1 -->|"4×2"| b4
    classDef input fill:input,stroke:input border,color:ink
    class b0 input
    classDef module fill:module,stroke:module border,color:ink
    class b1 module
    classDef parameter fill:parameter,stroke:parameter border,color:ink
    class b2,b3 parameter
    classDef operation fill:operation,stroke:operation border,color:ink
    class b4 operation
    classDef output stroke-width:3px
    class b4 output
"""

# The few forms of lines that a chart of ours is made of; what stands between quotes has no quote or bracket.
TEXT = r'"(?:[^"<>{}\[\]|`\\]|<br/>)*"'
LINE = re.compile(
    rf"%% .*|flowchart TB| *end| *subgraph g\d+\[{TEXT}\]"
    rf"| *b\d+(?:\[{TEXT}\]|\({TEXT}\)|\(\[{TEXT}\]\)|\[\({TEXT}\)\]|\[/{TEXT}/\]|\[\[{TEXT}\]\])"
    rf"| *b\d+ (?:-->|==>|-\.->)(?:\|{TEXT}\|)? b\d+"
    r"| *linkStyle [\d,]+ stroke-width:[\d.]+px| *classDef \w+ [\w:#,\- ]+| *class [b\d,]+ \w+"
)


def test_a_small_drawing_gives_this_text() -> None:
    assert with_roles(to_mermaid(small())) == GOLDEN


@given(drawings())
def test_every_line_has_a_form_that_mermaid_knows(drawing: Drawing) -> None:
    for line in to_mermaid(drawing).removesuffix("\n").split("\n"):
        assert LINE.fullmatch(line), line


@given(texts)
def test_any_text_survives(text: str) -> None:
    chart = to_mermaid(Drawing("", "modules", (Box("a", "module", text),), ()))
    shown = re.findall(r'b0\["(.*)"\]', chart)[0]
    decoded = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), shown)
    clean = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)
    assert re.sub(r"\s", "", decoded) == re.sub(r"\s", "", clean)


@pytest.mark.parametrize("text", ["+ x", "- x", "1. x", "2) x", "__x__"])
def test_no_text_is_taken_for_markdown(text: str) -> None:
    assert text not in to_mermaid(Drawing("", "modules", (Box("a", "module", text),), ()))


@pytest.mark.parametrize("mark", MARKS)
def test_every_mark_has_a_frame_or_a_word(mark: str) -> None:
    def drawn(*marks: str) -> str:
        chart = to_mermaid(Drawing("", "modules", (Box("a", "module", "Linear", marks=marks),), ()))
        return re.sub(r"#[0-9a-f]{6}|class\w* .*? ", "", chart)

    assert drawn(mark) != drawn()


def test_widths_and_kinds_of_arrows() -> None:
    boxes = Box("a", "operation", "exp"), Box("b", "operation", "log")
    arrows = Arrow("b", "a", "0.5", "gradient", 2.5), Arrow("a", "b", kind="none"), Arrow("a", "b", "x2")
    chart = to_mermaid(Drawing("", "backward", boxes, arrows))
    assert 'b1 ==>|"0.5"| b0\n    b0 -.->|"no gradient"| b1\n    b0 -->|"x2"| b1\n' in chart
    assert "linkStyle 0 stroke-width:2.5px\n" in chart
