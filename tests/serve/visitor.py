"""What a visitor of the page does and sees: draws, presses, and reads what is there.

It needs Playwright: a test file says `pytest.importorskip("playwright", ...)` before it imports this.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import Heard
from tests.serve.exchanges import Server, exchange, post

Open = Callable[..., Page]
Stroke = Sequence[tuple[float, float]]
SEVEN: list[Stroke] = [[(0.25, 0.22), (0.72, 0.22), (0.45, 0.82)]]
TWO: list[Stroke] = [
    [
        *((0.28, 0.35), (0.32, 0.24), (0.45, 0.18), (0.6, 0.2), (0.7, 0.3), (0.68, 0.42)),
        *((0.55, 0.57), (0.4, 0.7), (0.27, 0.82), (0.5, 0.8), (0.75, 0.82)),
    ]
]
ONE: list[Stroke] = [[(0.5, 0.15), (0.5, 0.85)]]
PHONE, PROJECTOR = {"width": 360, "height": 740}, {"width": 1920, "height": 1080}
DESK = {"width": 1280, "height": 800}


@contextmanager
def opening(browser: Browser, heard: Heard) -> Iterator[Open]:
    """Open pages, each in a context of its own, and close them at last."""
    contexts = []

    def opened(address: str, **options: Any) -> Page:
        options = {"viewport": DESK, "reduced_motion": "reduce", **options}
        contexts.append(browser.new_context(**options))
        page: Page = contexts[-1].new_page()
        heard.listen(page)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()


def at(page: Page, point: tuple[float, float]) -> tuple[float, float]:
    """Return where a point of the pad, in parts of its side, is on the screen."""
    box = page.locator("#pad").bounding_box()
    return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]


def draw(page: Page, strokes: Sequence[Stroke]) -> None:
    """Draw with the mouse."""
    for first, *rest in strokes:
        page.mouse.move(*at(page, first))
        page.mouse.down()
        for point in rest:
            page.mouse.move(*at(page, point), steps=5)
        page.mouse.up()


def mark(page: Page) -> Locator:
    """The answer in large."""
    return page.locator("#answer .mark")


def expect_recognised(page: Page, name: str) -> None:
    """Expect all strokes to be recognised: what a screen reader is told comes after the last one."""
    expect(page.locator("#said")).to_have_text(
        re.compile(rf"^(Stroke \d+|Undone|Redone)\. {name}, .* % sure\.$")
    )
    expect(mark(page)).to_have_text(name)


def shares(page: Page) -> dict[str, int]:
    """The percentages of the bars, by class."""
    lines = (
        page.get_by_role("list", name="Probability of each class").get_by_role("listitem").all_inner_texts()
    )
    found = [re.findall(r"\d+", line) for line in lines]
    return {numbers[0]: int(numbers[1]) for numbers in found}


def painted(page: Page, id: str) -> np.ndarray:
    """Return the pixels of a canvas, shape (h, w, 4): red, green, blue, alpha. They are read off a copy."""
    content, height, width = page.locator(f"canvas#{id}").evaluate(
        """it => {
          const copy = new OffscreenCanvas(it.width, it.height);
          const context = copy.getContext('2d', { willReadFrequently: true });
          context.drawImage(it, 0, 0);
          const values = context.getImageData(0, 0, it.width, it.height).data;
          const text = Array.from(values, value => String.fromCharCode(value)).join('');
          return [btoa(text), it.height, it.width];
        }"""
    )
    return np.frombuffer(base64.b64decode(content), np.uint8).astype(int).reshape(height, width, 4)


def colourful(pixels: np.ndarray) -> tuple[int, int]:
    """Return how many pixels are rather orange, and how many rather blue."""
    red, blue = (pixels[..., channel].astype(int) for channel in (0, 2))
    seen = pixels[..., 3] > 128
    return int((seen & (red - blue > 60)).sum()), int((seen & (blue - red > 60)).sum())


def button(page: Page, name: str) -> Locator:
    """The button of a name."""
    return page.get_by_role("button", name=name, exact=True)


def open_correction(page: Page) -> Locator:
    """Open the disclosure, and return the group of the classes."""
    page.get_by_text("Not right? Say what it is").click()
    return page.get_by_role("group", name="The right answer")


def an_answer(server: Server, probabilities: dict[int, float], *, sure: bool = True) -> Any:
    """Return an answer of the service with other probabilities, by the numbers of the classes."""
    array = json.dumps(np.eye(28).tolist()).encode()
    found = exchange(server.port, post(array, "application/json", "/predict?explain=1")).json()
    best = max(probabilities, key=lambda index: probabilities[index])
    found["predictions"][0] |= {
        "class": str(best),
        "index": best,
        "probability": probabilities[best],
        "probabilities": [probabilities.get(index, 0.0) for index in range(10)],
        "sure": sure,
    }
    return found


BOXES = """() => {
  const chosen = '#title, #theme, #pad, #undo, #redo, #clear, .mark, .words, #trouble, #bars li,'
    + ' #classes button, #keeps, #thanks, #picture, #saliency, #units, h3, figcaption p, .legend,'
    + ' summary, #about, #note';
  return [...document.querySelectorAll(chosen)].filter(one => one.checkVisibility()).map(one => {
    const { left, top, right, bottom } = one.getBoundingClientRect();
    return { name: one.id || one.textContent.trim().slice(0, 30), box: [left, top, right, bottom] };
  }).filter(one => one.box[2] > one.box[0] && one.box[3] > one.box[1]);
}"""


def overlapping(boxes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the names of boxes that lie over each other by more than a pixel."""

    def share(one: list[float], other: list[float], low: int, high: int) -> float:
        return min(one[high], other[high]) - max(one[low], other[low])

    return [
        (one["name"], other["name"])
        for number, one in enumerate(boxes)
        for other in boxes[:number]
        if share(one["box"], other["box"], 0, 2) > 1 and share(one["box"], other["box"], 1, 3) > 1
    ]
