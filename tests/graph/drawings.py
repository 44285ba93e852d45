"""Drawings of every kind of box, arrow and mark, and drawings of any texts, made without a graph."""

import re
from xml.etree import ElementTree

from hypothesis import strategies as st

from tinygrad_mnist.graph.drawing import MARKS, Arrow, Box, Drawing, Group
from tinygrad_mnist.graph.formats.theme import LIGHT

SVG = "{http://www.w3.org/2000/svg}"

KINDS = ("module", "operation", "parameter", "buffer", "input", "fold")


def small() -> Drawing:
    """A layer with its parameters in a frame, an input, a loss."""
    return Drawing(
        "Net: 6 parameters",
        "modules",
        (
            Box("x", "input", "x", ("4×2 float32",)),
            Box("model/0", "module", "Linear", ("0 (2, 2)",), "model", (("shape", "4×2"),)),
            Box("model/0/weight", "parameter", "weight", ("2×2", "4"), "model"),
            Box("model/0/bias", "parameter", "bias", ("2", "2"), "model"),
            Box("mean#1", "operation", "mean", ("→ scalar",), marks=("output",)),
        ),
        (
            Arrow("x", "model/0"),
            Arrow("model/0/weight", "model/0", kind="parameter"),
            Arrow("model/0/bias", "model/0", kind="parameter"),
            Arrow("model/0", "mean#1", "4×2"),
        ),
        (Group("model", "model Net"),),
        ("a note",),
    )


def everything() -> Drawing:
    """Each kind of box without marks and with each mark, each kind of arrow, bars and frames."""
    marked = [(kind, marks) for kind in KINDS for marks in ((), *((mark,) for mark in MARKS))]
    boxes = tuple(
        Box(f"b{i}", kind, "title", ("line",), "inner" if i % 2 else "outer", marks=marks, share=i % 5 / 4)
        for i, (kind, marks) in enumerate(marked)
    )
    kinds = ("flow", "parameter", "gradient", "none")
    arrows = tuple(
        Arrow(f"b{i}", f"b{i + 1}", "label" * (i % 3 > 0), kinds[i % 4], 1 + i % 5, marked[i][1])
        for i in range(len(boxes) - 1)
    )
    groups = Group("outer", "outer"), Group("inner", "inner", "outer", ("no gradient",))
    return Drawing("All", "backward", boxes, arrows, groups, ("note",))


def with_roles(text: str) -> str:
    """A text of the light theme with the names of its colours in place of them, which may change."""
    roles = {colour: role for role, colour in LIGHT.items()}
    return re.sub("#[0-9a-f]{6}", lambda found: roles[found[0]], text)


def parts(svg: str, kind: str) -> list[ElementTree.Element]:
    """The groups of a class in an SVG."""
    return [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if kind in g.get("class", "").split()]


TRAPS = (
    "<b>",
    "a:b:c",
    "\\N",
    "\\",
    '"',
    "&amp;",
    "<",
    ">",
    "->",
    "%3A",
    "\n",
    "é✓×",
    "\x00",
    "\ud800",
    "#",
    "end",
)

texts = st.one_of(
    st.sampled_from(TRAPS),
    st.lists(st.sampled_from([*TRAPS, "a", " "]), max_size=4).map("".join),
    st.text(max_size=8),
    st.text(st.characters(), max_size=8),
)


@st.composite
def drawings(draw: st.DrawFn) -> Drawing:
    """Drawings in which every text is any text."""
    groups: list[Group] = []
    for id in draw(st.lists(texts.filter(bool), max_size=3, unique=True)):
        parent = draw(st.sampled_from(["", *(group.id for group in groups)]))
        groups.append(Group(id, draw(texts), parent, _marks(draw)))
    homes = ["", *(group.id for group in groups)]
    boxes = [
        Box(
            id,
            draw(st.sampled_from(KINDS)),
            draw(texts),
            tuple(draw(st.lists(texts, max_size=2))),
            draw(st.sampled_from(homes)),
            ((draw(texts), draw(texts)),),
            _marks(draw),
            draw(st.sampled_from([None, None, 0.0, 0.5, 1.0])),
        )
        for id in draw(st.lists(texts, min_size=1, max_size=6, unique=True))
    ]
    ids = st.sampled_from([box.id for box in boxes])
    arrows = [
        Arrow(
            draw(ids),
            draw(ids),
            draw(texts),
            draw(st.sampled_from(["flow", "parameter", "gradient", "none"])),
            draw(st.floats(1, 5)),
            _marks(draw),
        )
        for _ in range(draw(st.integers(0, 6)))
    ]
    notes = draw(st.lists(texts, max_size=1))
    return Drawing(draw(texts), "modules", tuple(boxes), tuple(arrows), tuple(groups), tuple(notes))


def _marks(draw: st.DrawFn) -> tuple[str, ...]:
    return tuple(draw(st.lists(st.sampled_from(MARKS), max_size=1)))
