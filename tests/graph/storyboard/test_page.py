"""The page of a storyboard holds every step and card, needs no network, and steps in a browser."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.graph.storyboard.computations import computations, micrograd, wanted
from tinygrad_mnist import Tensor, graph
from tinygrad_mnist.graph.storyboard.page import states

pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")


class Page(HTMLParser):
    """Collects the ids, the classes, and the addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.classes: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.classes.update((found.get("class") or "").split())
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]


@given(computations())
@settings(max_examples=10)  # each is drawn, by another process
def test_the_page_holds_every_step_and_card(computation: tuple[Tensor, dict[str, Tensor]]) -> None:
    board = graph.storyboard(*computation)
    text = board.html()
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert page.classes["step"] == len(board.steps) + 2
    assert page.classes["card"] == len(board.quantities)
    assert page.classes["line"] == sum(len(quantity.takes) for quantity in board.quantities)
    assert page.addresses == []
    held = re.search(r'<script type="application/json" id="states">(.*?)</script>', text, re.DOTALL)
    assert held is not None
    assert json.loads(held[1]) == states(board)
    assert len(states(board)) == len(board.steps) + 2


@given(computations())
def test_the_states_end_with_every_gradient(computation: tuple[Tensor, dict[str, Tensor]]) -> None:
    board = graph.storyboard(*computation)
    shown = {
        card: (text, came, count)
        for state in states(board)
        for card, _, text, came, count in state["gradients"]
    }
    for card, quantity in enumerate(board.quantities):
        if quantity.gradient is not None:
            assert shown[card] == (quantity.gradient.text(), max(quantity.uses, 1), max(quantity.uses, 1))


def cards(page: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each card."""
    found = re.findall(
        r'id="card-\d+" transform="translate\((\S+) (\S+)\)">.*?width="(\d+)" height="(\d+)"', page, re.DOTALL
    )
    places = [tuple(map(float, place)) for place in found]
    return [(x, y, x + width, y + height) for x, y, width, height in places]


@given(computations())
@settings(max_examples=10)
def test_cards_do_not_overlap(computation: tuple[Tensor, dict[str, Tensor]]) -> None:
    board = graph.storyboard(*computation)
    boxes = cards(board.html())
    assert len(boxes) == len(board.quantities)
    for (left, top, right, bottom), (to_left, to_top, to_right, to_bottom) in combinations(boxes, 2):
        assert right <= to_left or to_right <= left or bottom <= to_top or to_bottom <= top


@given(computations())
@settings(max_examples=10)
def test_lines_go_from_card_to_card_and_their_labels_stand_between(
    computation: tuple[Tensor, dict[str, Tensor]],
) -> None:
    board = graph.storyboard(*computation)
    page = board.html()
    boxes = cards(page)
    numbers = {quantity.id: number for number, quantity in enumerate(board.quantities)}
    ends = [
        (boxes[numbers[source]], box)
        for quantity, box in zip(board.quantities, boxes, strict=True)
        for source, _ in quantity.takes
    ]
    lines = re.findall(r'class="line" id="line-(\d+)"><path d="(.*?)"/><text x="(\S+)" y="(\S+)">', page)
    assert [int(number) for number, *_ in lines] == list(range(len(ends)))
    for (_, path, x, y), (start, end) in zip(lines, ends, strict=True):
        first, *_, last = [
            tuple(map(float, point.split(","))) for point in re.findall(r"[-\d.]+,[-\d.]+", path)
        ]
        assert first == pytest.approx((start[2], (start[1] + start[3]) / 2), abs=2)
        assert last == pytest.approx((end[0], (end[1] + end[3]) / 2), abs=2)
        assert not any(box[0] < float(x) < box[2] and box[1] < float(y) < box[3] for box in boxes)


def test_without_graphviz_there_is_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    board = graph.storyboard(*micrograd())
    with pytest.raises(graph.LayoutError, match=r"drawing needs the program 'dot' \(install Graphviz\)"):
        board.save(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
    assert board.save(tmp_path / "page.txt").read_text("utf-8") == str(board) + "\n"
    shown = board._repr_html_()
    assert shown.startswith("<pre>L = (a × b + c) × f\n")
    assert "no picture: drawing needs the program" in shown


def test_names_are_written_as_they_are() -> None:
    x = wanted(3.0)
    page = graph.storyboard(x * 2, {"<b>&</script>": x}).html()
    assert "<b>&" not in page
    assert page.count("</script>") == 2


def test_it_is_saved_by_suffix(tmp_path: Path) -> None:
    board = graph.storyboard(*micrograd())
    assert board.save(tmp_path / "page.html").read_text("utf-8") == board.html()
    assert board.save(tmp_path / "page.TXT").read_text("utf-8") == board.text() + "\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.TXT", "page.html"]
    with pytest.raises(ValueError, match=r"'page.doc'; expected a name that ends in .html, .txt"):
        board.save(tmp_path / "page.doc")
    with pytest.raises(FileNotFoundError, match="make it first"):
        board.save(tmp_path / "nowhere" / "page.html")


def test_a_notebook_shows_the_page_in_a_frame() -> None:
    shown = graph.storyboard(*micrograd())._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<script" not in shown


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")


@pytest.mark.skipif(not BROWSER, reason="no browser is installed")
def test_a_browser_steps_through_it(tmp_path: Path) -> None:
    path = graph.storyboard(*micrograd()).save(tmp_path / "page.html")
    options = ["--headless=new", "--no-sandbox", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    ran = subprocess.run(
        [BROWSER, *options, f"{path.as_uri()}#4"], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.count('class="step shown"') == 1
    assert re.search(r'class="step shown"><h2>e = a × b</h2>', ran.stdout)
    assert re.search(r'<output id="progress" for="slider">step 4 of 5</output>', ran.stdout)
    assert ran.stdout.count(">?</text>") == 0  # at the last operation every gradient is there
    assert len(re.findall(r'class="line flows"', ran.stdout)) == 2
