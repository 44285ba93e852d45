"""The page of a graph: what is in it. What it does is tested in a browser, by test_browser.py."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from importlib.util import find_spec
from shutil import which
from xml.etree import ElementTree

import numpy as np
import pytest

from tinygrad_mnist import Tensor, graph, nn

pictures = pytest.mark.skipif(
    which("dot") is None and find_spec("pygraphviz") is None, reason="nothing here lays graphs out"
)

HOSTILE = "</script><b>bold</b>]]> & $title ${x} \"'\x01\ud800"


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: Counter[str] = Counter()
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.depth = 0  # of the deepest list in a list
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "path", "polygon", "rect", "circle", "ellipse", "polyline"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")
        self.depth = max(self.depth, self._open.count("ul"))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    @property
    def data(self):
        return json.loads(self.texts["script"][0])


class Block(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, size)

    def forward(self, x):
        return x + self.linear(self.norm(x))


def recorded(*layers: nn.Module, width: int = 4) -> graph.Graph:
    model = nn.Sequential(*layers)
    with graph.record(model) as tape:
        np.sum(model(np.ones((2, width), np.float32))).backward()
    return tape.graph()


def small() -> graph.Graph:
    return recorded(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def pictures_of(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg [^>]*tinygrad.*?</svg>", page, re.S)]


def ids(picture: ElementTree.Element, kind: str, *names: str) -> Counter[tuple[str | None, ...]]:
    parts = (part for part in picture.iter() if kind in part.get("class", "").split())
    return Counter(tuple(part.get(name) for name in names) for part in parts)


def test_the_page_needs_nothing_else() -> None:
    page = Page(small().html())
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "img", "object", "embed", "base")
        assert not attributes.keys() & {"src", "srcset", "data", "action", "xlink:href"}
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", small().html())
    policy = [a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]


@pictures
def test_each_level_has_a_part_for_each_box_and_arrow() -> None:
    page = small().html()
    drawn, data = pictures_of(page), Page(page).data
    first = drawn.pop(0)
    drawn.insert(data["start"], first)
    assert len(drawn) == len(data["levels"])
    for picture, level in zip(drawn, data["levels"], strict=True):
        assert ids(picture, "node", "data-id") == Counter((box["id"],) for box in level["boxes"])
        arrows = Counter((arrow["source"], arrow["target"]) for arrow in level["arrows"])
        assert ids(picture, "edge", "data-source", "data-target") == arrows


@pictures
def test_no_element_in_the_page_has_the_id_of_another() -> None:
    page = re.sub(r"<template.*?</template>", "", small().html(), flags=re.S)
    assert max(Counter(a["id"] for _, a in Page(page).elements if "id" in a).values()) == 1


@pictures
def test_each_node_is_in_some_box_of_each_level() -> None:
    made = small()
    for level in Page(made.html()).data["levels"]:
        assert {row for box in level["boxes"] for row in box["rows"]} == set(range(len(made.nodes)))


@pictures
def test_views_are_there_if_the_graph_has_what_they_show() -> None:
    x = Tensor(np.ones(3), requires_grad=True)

    def views(made: graph.Graph) -> set[str]:
        return {level["view"] for level in Page(made.html()).data["levels"]}

    assert views(np.sum(x * x).graph()) == {"Modules", "Operations"}
    assert views(small()) == {"Modules", "Operations", "Backward"}
    total = np.sum(x * x)
    total.backward(retain_graph=True)
    assert views(total.graph()) == {"Modules", "Operations"}, (
        "a tape read later has gradients of leaves alone"
    )


@pictures
def test_the_page_opens_with_what_was_asked_for() -> None:
    made = recorded(Block(4), Block(4))
    data = Page(made.html("backward", depth=2)).data
    first = data["levels"][data["start"]]
    assert (first["view"], first["depth"]) == ("Backward", "2")
    assert [box["id"] for box in first["boxes"]] == [box.id for box in made.draw("backward", depth=2).boxes]
    assert {level["view"] for level in data["levels"]} == {"Modules", "Operations", "Backward"}


@pictures
def test_what_is_too_large_is_left_out_and_said() -> None:
    data = Page(recorded(*(Block(4) for _ in range(200))).html()).data
    modules = [level for level in data["levels"] if level["view"] == "Modules"]
    assert [level["depth"] for level in modules] == ["1", "inside"]
    assert any("too large to be laid out: Modules at depth 2" in note for note in modules[0]["notes"])
    assert {"model/0/norm", "model/0/linear"} <= {box["id"] for box in modules[1]["boxes"]}


@pictures
@pytest.mark.parametrize("blocks", [2, 12])
def test_operations_begin_where_operations_are_seen(blocks: int) -> None:
    model, x = nn.Sequential(*(Block(4) for _ in range(blocks))), np.ones((2, 4), np.float32)
    with graph.record(model) as tape:
        nn.CrossEntropyLoss()(model(x), np.arange(2))  # is open sooner, and is not what one looks for
    levels = Page(tape.graph().html()).data["levels"]
    operations = [level for level in levels if level["view"] == "Operations"]
    inside = "model/0/linear/linear#1"
    assert [level["bare"] for level in operations] == [
        inside not in {box["id"] for box in level["boxes"]} for level in operations
    ]
    (first,) = (level for level in operations if level["first"])
    assert not first["bare"]
    assert not any(level["bare"] for level in levels if level["view"] != "Operations")


def test_the_table_has_a_row_for_each_node_and_the_list_an_item_for_each_module() -> None:
    made = recorded(Block(4), Block(4))
    page = Page(made.html())
    rows = [attributes for tag, attributes in page.elements if "data-row" in attributes]
    modules = [attributes for tag, attributes in page.elements if "data-cluster" in attributes]
    assert len(rows) == len(made.nodes)
    assert len(modules) == len(made.clusters)
    assert page.depth == 1 + max(cluster.id.count("/") for cluster in made.clusters)
    for node in made.nodes:
        assert node.id in page.texts["th"]


def test_the_table_tells_what_is_not_finite() -> None:
    with np.errstate(divide="ignore"):
        x = Tensor(np.array([0.0, 1.0, np.nan]), requires_grad=True)
        page = Page(np.log(x).graph().html())
    assert {"1 NaN", "1 NaN, 1 inf"} <= set(page.texts["td"])


@pytest.mark.parametrize("name", [HOSTILE, "$css", "<!--", "a:b -> c"])
def test_a_name_is_shown_as_it_is_whatever_it_says(name: str) -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    made = np.sum(x * x).graph(names={name: x})
    plain = Page(np.sum(x * x).graph(names={"x": x}).html())
    page = Page(made.html())
    shown = name.replace("\x01", "\ufffd").replace("\ud800", "\ufffd")
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.texts["th"][-3] == shown
    assert page.data["rows"] == plain.data["rows"]
    made.html().encode()


@pytest.mark.usefixtures("no_graphviz")
def test_without_a_layout_engine_the_lists_are_there_and_what_to_install() -> None:
    made = small()
    page = Page(made.html())
    assert page.data["levels"] == []
    assert any("pygraphviz" in text for text in page.texts["li"])
    assert {node.id for node in made.nodes} <= set(page.texts["th"])


@pytest.mark.slow
def test_five_thousand_nodes_make_a_page_of_few_megabytes() -> None:
    made = recorded(*(Block(2) for _ in range(600)), width=2)
    assert len(made.nodes) > 4_000
    assert len(made.html().encode()) < 3_000_000
