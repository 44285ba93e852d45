"""The page of a storyboard holds every step and card, needs no network, and steps in a browser."""

import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.graph.storyboard.test_storyboard import computations, micrograd, neuron, wanted
from tinygrad_mnist import Tensor, graph
from tinygrad_mnist.graph.storyboard.data import Storyboard


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


def states(board: Storyboard) -> Any:
    found = re.search(r'<script type="application/json" id="states">(.*?)</script>', board.html(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@given(computations())
def test_the_page_holds_every_step_and_card(computation: tuple[Tensor, dict[str, Tensor]]) -> None:
    board = graph.storyboard(*computation)
    page = Page(board.html())
    assert len(page.ids) == len(set(page.ids))
    assert page.classes["step"] == len(board.steps) + 2 == len(states(board))
    assert page.classes["card"] == len(board.quantities)
    assert page.classes["line"] == sum(len(quantity.takes) for quantity in board.quantities)
    assert page.addresses == []


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


def test_cards_do_not_overlap() -> None:
    places = re.findall(
        r'id="card-\d+" transform="translate\(([\d.]+) ([\d.]+)\)">.*?width="(\d+)" height="(\d+)"',
        graph.storyboard(*neuron()).html(),
        re.DOTALL,
    )
    boxes = [tuple(map(float, place)) for place in places]
    assert len(boxes) == 10
    for i, (x, y, width, height) in enumerate(boxes):
        for to_x, to_y, to_width, to_height in boxes[:i]:
            apart = x + width <= to_x or to_x + to_width <= x or y + height <= to_y or to_y + to_height <= y
            assert apart


def test_the_page_is_the_same_in_each_run() -> None:
    assert graph.storyboard(*neuron()).html() == graph.storyboard(*neuron()).html()


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
    with pytest.raises(ValueError, match=r"'page.doc'; expected a name that ends in .html or .txt"):
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
