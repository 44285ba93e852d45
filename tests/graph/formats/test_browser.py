"""The page of a graph in a browser: what one does with it, and that it asks no network for anything."""

import re
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the package playwright is not installed")

from tests.browser import Heard
from tinygrad_mnist import Tensor, graph, nn

if which("dot") is None and find_spec("pygraphviz") is None:
    pytest.skip("nothing here lays graphs out", allow_module_level=True)

from playwright.sync_api import Browser, Locator, Page, expect

Open = Callable[[str], Page]


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a page from disk. In the end nothing may have been asked of a network, or complained about."""
    heard = Heard()
    pages: list[Page] = []

    def opened(text: str) -> Page:
        file = tmp_path / "graph.html"
        file.write_text(text, encoding="utf-8")
        page = browser.new_page(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
        page.set_default_timeout(5_000)
        heard.listen(page)
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert heard.complaints == []
    assert heard.elsewhere("file:") == []
    assert len(heard.asked) == len(pages)


class Block(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, size)

    def forward(self, x):
        return x + self.linear(self.norm(x))


@pytest.fixture(scope="module")
def made() -> graph.Graph:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), Block(3), nn.Linear(3, 2))
    with graph.record(model) as tape:
        np.sum(model(np.ones((2, 4), np.float32))).backward()
    return tape.graph()


@pytest.fixture(scope="module")
def text(made: graph.Graph) -> str:
    return made.html()


@pytest.fixture
def page(open_page: Open, text: str) -> Page:
    return open_page(text)


def box(page: Page, id: str) -> Locator:
    return page.locator(f'#picture g.node[data-id="{id}"]')


def seen(page: Page) -> list[float]:
    """The rectangle of the picture that is seen: left, top, width, height."""
    return [float(part) for part in page.locator("#picture > svg").get_attribute("viewBox").split()]


def boxes(page: Page) -> set[str]:
    return set(page.locator("#picture g.node").evaluate_all("all => all.map(one => one.dataset.id)"))


def test_dragging_moves_the_picture_with_the_pointer(page: Page) -> None:
    before = seen(page)
    page.mouse.move(60, 300)
    page.mouse.down()
    page.mouse.move(160, 350, steps=4)
    page.mouse.up()
    after = seen(page)
    scale = page.locator("#picture").bounding_box()["width"] / before[2]
    assert after == pytest.approx([before[0] - 100 / scale, before[1] - 50 / scale, *before[2:]])


def test_the_wheel_zooms_where_the_pointer_is(page: Page) -> None:
    node = box(page, "model/1")
    before = node.bounding_box()
    middle = (before["x"] + before["width"] / 2, before["y"] + before["height"] / 2)
    width = seen(page)[2]
    page.mouse.move(*middle)
    page.mouse.wheel(0, -120)
    page.wait_for_function(f"document.querySelector('#picture > svg').viewBox.baseVal.width < {width}")
    after = node.bounding_box()
    assert after["width"] > 1.1 * before["width"]
    assert (after["x"] + after["width"] / 2, after["y"] + after["height"] / 2) == pytest.approx(middle, abs=2)


def test_keys_and_buttons_zoom_and_fit(page: Page) -> None:
    page.keyboard.press("f")
    whole = seen(page)
    page.keyboard.press("+")
    assert seen(page)[2] == pytest.approx(whole[2] / 1.25)
    page.keyboard.press("-")
    assert seen(page) == pytest.approx(whole)
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    assert seen(page)[2] == pytest.approx(whole[2] / 1.25**2)
    page.keyboard.press("0")
    assert seen(page) == pytest.approx(whole)


def test_search_counts_and_goes_from_hit_to_hit(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("LINEAR")
    linear = ["model/0", "model/3"]
    hits = page.locator("#hits")
    count = int(hits.inner_text().split()[0])
    assert count > len(linear)
    names = []
    for number in range(1, count + 1):
        page.keyboard.press("Enter")
        expect(hits).to_have_text(f"{number} of {count}")
        names.append(page.locator("#panel").inner_text())
    assert sum("Linear" in name for name in names) == count
    page.keyboard.press("Enter")
    expect(hits).to_have_text(f"1 of {count}")
    page.keyboard.press("Shift+Enter")
    expect(hits).to_have_text(f"{count} of {count}")
    page.keyboard.press("Escape")
    expect(page.locator("#query")).to_have_value("")
    expect(hits).to_have_text("")


def test_search_says_that_there_is_nothing(page: Page) -> None:
    page.locator("#query").fill("convolution")
    expect(page.locator("#hits")).to_have_text("0 boxes")


def test_pointing_at_a_box_shows_what_it_holds(page: Page) -> None:
    page.keyboard.press("f")
    box(page, "model/1").hover()
    panel = page.locator("#panel")
    expect(panel.locator("h2")).to_have_text("ReLU")
    for part in ("2×3", "float32", "24 B", "min 0", "test_browser.py"):
        expect(panel).to_contain_text(part)
    expect(panel.locator("dt")).to_contain_text(["values", "gradient"])
    page.mouse.move(1300, 880)
    expect(panel.locator("h2")).to_have_text("Nothing is chosen")


def test_what_leads_to_a_box_and_away_from_it_stands_out(page: Page, made: graph.Graph) -> None:
    page.keyboard.press("f")
    box(page, "model/1").hover()
    drawing = made.draw()

    def reached(start: str, backwards: bool) -> set[str]:
        found, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            for arrow in drawing.arrows:
                ends = (arrow.target, arrow.source) if backwards else (arrow.source, arrow.target)
                if ends[0] == here and ends[1] not in found:
                    found.add(ends[1])
                    waiting.append(ends[1])
        return found

    lit = set(page.locator("#picture g.node.on").evaluate_all("all => all.map(one => one.dataset.id)"))
    assert lit == reached("model/1", True) | reached("model/1", False)
    assert lit < boxes(page)
    widths = "all => all.map(one => parseFloat(getComputedStyle(one.querySelector('path')).strokeWidth))"
    assert min(page.locator("g.edge.on").evaluate_all(widths)) > 2
    faded = "all => all.map(one => parseFloat(getComputedStyle(one).opacity))"
    assert max(page.locator("#picture g.node:not(.on)").evaluate_all(faded)) < 0.5


def test_tab_and_arrow_keys_go_from_box_to_box(page: Page, made: graph.Graph) -> None:
    focused = "document.activeElement.dataset.id"
    page.get_by_role("button", name="Help").focus()
    order = []
    for _ in made.draw().boxes:
        page.keyboard.press("Tab")
        order.append(page.evaluate(focused))
    assert order == [one.id for one in made.draw().boxes]
    box(page, "model/0").focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "model/1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == "model/0/weight"
    expect(page.locator("#name")).to_have_text("weight")
    page.keyboard.press("Escape")
    expect(page.locator("#name")).to_have_text("Nothing is chosen")


def test_help_opens_and_closes_by_keys(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_levels_can_be_chosen(page: Page, made: graph.Graph) -> None:
    drawn = {one.id for one in made.draw(depth=1).boxes}
    page.get_by_role("group", name="Depth").get_by_role("button", name="1").click()
    assert boxes(page) == drawn
    page.keyboard.press("]")
    assert boxes(page) == {one.id for one in made.draw(depth=2).boxes} != drawn
    page.get_by_role("button", name="Backward").click()
    expect(page.locator("#title")).to_contain_text("Gradients")
    assert page.locator("#picture g.edge.gradient").count() > 0


def test_a_module_opens_at_the_next_level(page: Page) -> None:
    page.get_by_role("group", name="Depth").get_by_role("button", name="1").click()
    box(page, "model/2").focus()
    page.keyboard.press("Enter")
    assert {"model/2/norm", "model/2/linear"} <= boxes(page)
    assert page.evaluate("document.activeElement.dataset.id").startswith("model/2/")


def test_the_theme_follows_the_system_and_can_be_switched(page: Page) -> None:
    def colours() -> list[str]:
        ground = "getComputedStyle(document.body).backgroundColor"
        fill = "getComputedStyle(document.querySelector('g.node.module [class*=fill]')).fill"
        return page.evaluate(f"[{ground}, {fill}]")

    light = colours()
    page.emulate_media(color_scheme="dark")
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    dark = colours()
    assert not set(light) & set(dark)
    page.locator("#theme").click()
    assert colours() == light


def test_the_lists_lead_to_the_picture(page: Page) -> None:
    page.get_by_role("navigation", name="Modules").get_by_role("button", name=re.compile("norm")).click()
    expect(page.locator("#name")).not_to_have_text("Nothing is chosen")
    page.get_by_role("button", name="model/3/linear#1").click()
    expect(page.locator("#panel dd").first).to_have_text("model/3")


def test_the_picture_keeps_its_place_and_the_table_its_lines(open_page: Open) -> None:
    model = nn.Sequential(*(Block(3) for _ in range(12)))
    with graph.record(model) as tape:
        np.sum(model(np.ones((2, 3), np.float32))).backward()
    page = open_page(tape.graph().html())
    page.set_viewport_size({"width": 1280, "height": 860})
    tops = []
    for view in ("Modules", "Operations", "Backward"):
        page.get_by_role("group", name="View").get_by_role("button", name=view).click()
        tops.append(page.locator("#stage").bounding_box()["y"])
    assert len(set(tops)) == 1
    assert tops[0] < 100
    wide = page.locator(".wide").evaluate("it => it.scrollWidth - it.clientWidth")
    assert wide == 0


def test_the_button_operations_shows_operations(open_page: Open) -> None:
    model = nn.Sequential(*(Block(3) for _ in range(12)))
    page = open_page(model.graph(np.ones((2, 3), np.float32)).html())
    page.get_by_role("group", name="View").get_by_role("button", name="Operations").click()
    assert {"model/0/linear/linear#1", "model/0/add#1"} <= boxes(page)


def test_the_table_can_be_sorted(page: Page) -> None:
    page.get_by_role("columnheader", name="bytes").get_by_role("button").click()
    column = page.locator("tbody td:nth-child(4)").evaluate_all(
        "all => all.map(one => Number(one.dataset.v))"
    )
    assert column == sorted(column)
    assert len(set(column)) > 2


def test_a_name_is_no_markup(open_page: Open) -> None:
    name = "</script><img src=x onerror='window.hit=1'>]]>&$x"
    x = Tensor(np.ones(3), requires_grad=True)
    page = open_page(np.sum(x * x).graph(names={name: x}).html())
    assert page.evaluate("window.hit === undefined")
    page.locator("#picture g.node").first.focus()
    expect(page.locator("#panel")).to_contain_text(name)


def test_without_pictures_the_lists_work(open_page: Open, made: graph.Graph, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    page = open_page(made.html())
    expect(page.locator("#notes")).to_contain_text("pygraphviz")
    page.get_by_role("button", name="model/3/linear#1").click()
    page.keyboard.press("f")
