"""SVG is whole, described, and fit for any page, in light and dark."""

import re
from collections import Counter
from xml.etree import ElementTree

import pytest
from hypothesis import given

from tests.graph.drawings import SVG, drawings, everything, parts, small
from tinygrad_mnist.graph.drawing import Drawing
from tinygrad_mnist.graph.formats.dot import printable
from tinygrad_mnist.graph.formats.svg import to_svg
from tinygrad_mnist.graph.formats.theme import DARK, LIGHT

pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")


@pytest.mark.usefixtures("no_programs")
@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_svg_is_whole_and_needs_nothing_else(theme: str) -> None:
    svg = to_svg(everything(), theme, "p-")
    root = ElementTree.fromstring(svg)
    ids = [part.attrib["id"] for part in root.iter() if "id" in part.attrib]
    assert len(ids) == len(set(ids))
    assert all(id.startswith("p-") for id in ids)
    assert sorted(g.attrib["data-id"] for g in parts(svg, "node")) == sorted(b.id for b in everything().boxes)
    joined = Counter((g.get("data-source"), g.get("data-target")) for g in parts(svg, "edge"))
    assert joined == Counter((arrow.source, arrow.target) for arrow in everything().arrows)
    assert not {"script", "a", "image", "use"} & {part.tag.removeprefix(SVG) for part in root.iter()}
    assert not re.search(r"href|url\(|@import|\son\w+=", svg)
    sizes = {float(part.attrib["font-size"]) for part in root.iter(f"{SVG}text")}
    assert min(sizes) >= 10
    assert root.attrib["width"] == root.attrib["viewBox"].split()[2].split(".")[0] + "pt"


@pytest.mark.usefixtures("no_programs")
def test_boxes_are_described() -> None:
    (linear,) = (g for g in parts(to_svg(small()), "node") if g.get("data-id") == "model/0")
    assert linear.attrib["role"] == "img"
    assert linear.attrib["aria-label"] == "Linear, 0 (2, 2), shape: 4×2"
    assert linear.findtext(f"{SVG}title") == "Linear\n0 (2, 2)\nshape: 4×2"


@pytest.mark.usefixtures("no_programs")
def test_kinds_have_shapes_of_their_own() -> None:
    plain = [box for box in everything().boxes if not box.marks]
    drawn = {g.attrib["data-id"]: g for g in parts(to_svg(everything()), "node")}
    shapes = {
        tuple(child.tag for child in drawn[box.id] if not child.tag.endswith(("text", "title")))[:4]
        + tuple(child.get("rx", "") for child in drawn[box.id].iter(f"{SVG}rect"))[:1]
        for box in plain
        if box.kind != "operation"  # a smaller module
    }
    assert len(shapes) == len(plain) - 1


@pytest.mark.usefixtures("no_programs")
def test_auto_turns_every_colour_dark() -> None:
    svg = to_svg(everything())
    root = ElementTree.fromstring(svg)
    style = root.findtext(f"{SVG}style") or ""
    assert style.startswith("@media (prefers-color-scheme: dark){")
    for part in root.iter():
        for name in ("fill", "stroke"):
            colour = part.get(name, "none")
            if colour != "none":
                (role,) = (role for role, light in LIGHT.items() if light == colour)
                kind = f"{name}-{role.replace(' ', '-')}"
                assert kind in part.attrib["class"].split()
                assert f".{kind}{{{name}:{DARK[role]}}}" in style


@pytest.mark.usefixtures("no_programs")
@given(drawings())
def test_any_text_survives(drawing: Drawing) -> None:
    svg = to_svg(drawing, "light")
    nodes = {g.attrib["data-id"]: g for g in parts(svg, "node")}
    for box in drawing.boxes:
        shown = "".join("".join(text.itertext()) for text in nodes[printable(box.id)].iter(f"{SVG}text"))
        for text in (box.title, *box.lines):
            assert re.sub(r"\s", "", printable(text)) in re.sub(r"\s", "", shown)
    assert len(parts(svg, "edge")) == len(drawing.arrows)
    assert len(parts(svg, "cluster")) <= len(drawing.groups)
