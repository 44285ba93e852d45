"""The report in a browser: on a telephone, on a screen, on paper, light and dark, and without a network."""

import os
import re
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="the package playwright is not installed")

from tests.browser import Heard
from tinygrad_mnist.training import choose, train
from tinygrad_mnist.training.report.trained_run import read_run
from tinygrad_mnist.training.report.write import write_comparison, write_report

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

PHONE, SCREEN = 400, 1400
SMALLEST = 11.0
"""Pixels: the height of the smallest text on a telephone."""
CONTRAST = 4.5
"""The least ratio of luminances of text and ground: WCAG 2.2, success criterion 1.4.3."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report of the recipe that is the default, trained briefly, and a comparison of two runs."""
    folder = tmp_path_factory.mktemp("reports")
    data = "mnist" if os.environ.get("TINYGRAD_MNIST_DATA") else "digits"
    for seed in (0, 1):
        choice = choose("default", {"epochs": 0.1 if data == "mnist" else 1}, data)
        options = {"source": choice.source, "jit": "off", "report": False}
        train(choice.recipe, choice.dataset, seed=seed, out=folder / f"run{seed}", **options)
    runs = [folder / "run0", folder / "run1"]
    report = write_report(read_run(runs[0]))
    return {"report": report, "comparison": write_comparison(runs, folder / "comparison.html")}


@pytest.fixture(params=["report", "comparison"])
def file(request: pytest.FixtureRequest, files: dict[str, Path]) -> Path:
    return files[request.param]


def opened(browser: Browser, file: Path, width: int, scheme: str = "light") -> tuple[Page, list[str]]:
    """Open a file; the list has what it asked for and complained about."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard = Heard()
    heard.listen(page)
    page.goto(file.as_uri())
    return page, [*heard.elsewhere(file.as_uri()), *heard.complaints]


@pytest.mark.parametrize("width", [PHONE, SCREEN])
def test_the_page_asks_nothing_complains_of_nothing_and_fits(
    browser: Browser, file: Path, width: int
) -> None:
    page, heard = opened(browser, file, width)
    assert heard == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


def test_matrices_of_ten_classes_do_not_scroll_on_a_telephone(
    browser: Browser, files: dict[str, Path]
) -> None:
    page, _ = opened(browser, files["report"], PHONE)
    boxes, cells = (
        page.evaluate(f"[...document.querySelectorAll('{chosen}')].map(one => {what})")
        for chosen, what in (
            (".matrix, .classes .wide", "one.scrollWidth - one.clientWidth"),
            (".matrix td", "one.getBoundingClientRect().width"),
        )
    )
    page.close()
    assert boxes == [0, 0, 0]
    assert max(cells) - min(cells) < 1


TEXTS = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const colour = text => {
    const numbers = (text.match(/[\\d.]+/g) || []).map(Number);
    const scale = text.startsWith('color(') ? 1 : 255;
    return [...numbers.slice(0, 3).map(x => x / scale), numbers.length > 3 ? numbers[3] : 1];
  };
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const holder = node.parentElement;
    const silent = ['TITLE', 'STYLE', 'DESC'].includes(holder.tagName.toUpperCase());
    if (!node.data.trim() || !holder.checkVisibility() || silent) continue;
    const style = getComputedStyle(holder), svg = holder.closest('svg');
    const graph = svg && svg.classList.contains('tinygrad-graph');
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    let ground = holder;
    const under = one => colour(getComputedStyle(one).backgroundColor);
    while (ground !== document.body && under(ground)[3] === 0) ground = ground.parentElement;
    found.push({
      text: node.data.trim().slice(0, 40), graph, size: parseFloat(style.fontSize) * scale,
      ink: colour(svg ? style.fill : style.color), ground: under(ground),
    });
  }
  return found;
}"""


def contrast(one: list[float], other: list[float]) -> float:
    """Return the ratio of luminances of two colours: WCAG 2.2, "contrast ratio"."""

    def luminance(colour: list[float]) -> float:
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_a_telephone(browser: Browser, file: Path, scheme: str) -> None:
    page, _ = opened(browser, file, PHONE, scheme)
    texts = page.evaluate(TEXTS)
    page.close()
    assert len(texts) > 100
    # a graph scrolls in a box of its own, and has tests of its own
    texts = [text for text in texts if not text["graph"]]
    assert [text for text in texts if text["size"] < SMALLEST] == []
    assert [text for text in texts if contrast(text["ink"], text["ground"]) < CONTRAST] == []


def test_dark_is_dark_and_light_is_light(browser: Browser, file: Path) -> None:
    def colours(scheme: str) -> list[str]:
        page, _ = opened(browser, file, SCREEN, scheme)
        found: list[str] = page.evaluate(
            "[document.body, document.querySelector('h1')].map(one => getComputedStyle(one))"
            ".flatMap(style => [style.backgroundColor, style.color])"
        )
        drawn = page.evaluate("getComputedStyle(document.querySelector('.picture svg text')).fill")
        page.close()
        return [found[0], found[1], drawn]

    light, dark = colours("light"), colours("dark")
    assert not set(light) & set(dark)


def test_what_is_folded_is_open_on_paper(browser: Browser, files: dict[str, Path]) -> None:
    page, _ = opened(browser, files["report"], SCREEN)
    height = "document.querySelector('details').getBoundingClientRect().height"
    table = page.evaluate("document.querySelector('details table').getBoundingClientRect().height")
    on_screen = page.evaluate(height)
    page.emulate_media(media="print")
    on_paper = page.evaluate(height)
    page.close()
    assert on_screen < 50 < table / 2 < on_paper


def test_it_can_be_printed(browser: Browser, files: dict[str, Path], tmp_path: Path) -> None:
    page, heard = opened(browser, files["report"], SCREEN)
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    page.close()
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 16
    assert heard == []
    assert files["report"].stat().st_size < 3 << 20
