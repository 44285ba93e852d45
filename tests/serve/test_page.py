"""The page in a browser and a real service: what a visitor does, by every way of drawing, and sees."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the package playwright is not installed")

from tests.browser import Heard
from tests.serve.exchanges import STARTED, Server, exchange, get, post, serving
from tests.serve.pictures import encoded
from tinygrad_mnist.cli import main
from tinygrad_mnist.training import load_checkpoint, predict_picture
from tinygrad_mnist.training.loop.threads import VARIABLES
from tinygrad_mnist.training.runs import run as run_module

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect

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
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def server(mnist_run: Path) -> Iterator[Server]:
    """A service of a model that knows drawn digits."""
    with serving(mnist_run) as started:
        yield started


Open = Callable[..., Page]


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


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open pages. In the end they may have asked nobody but the service, and complained about nothing."""
    heard = Heard()
    with opening(browser, heard) as opened:
        yield opened
    assert heard.complaints == []
    assert heard.elsewhere("http://127.0.0.1:") == []


@pytest.fixture
def page(open_page: Open, server: Server) -> Page:
    """The page on a desk."""
    return open_page(server.address)


# ---- drawing and reading -----------------------------------------------------------------------------------


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


# ---- recognised --------------------------------------------------------------------------------------------


def test_a_drawing_is_recognised(open_page: Open, digits_server: Server) -> None:
    """The quick one of these tests, with a model of 8 x 8 digits."""
    page = open_page(digits_server.address)
    draw(page, TWO)
    expect(mark(page)).to_have_text("2")
    found = shares(page)
    assert max(found, key=lambda name: found[name]) == "2"
    assert painted(page, "picture").shape == (8, 8, 4)
    button(page, "Clear").click()
    expect(mark(page)).to_have_text("")


@slow
def test_a_seven_and_a_two_are_recognised(page: Page) -> None:
    for strokes, name in ((SEVEN, "7"), (TWO, "2")):
        draw(page, strokes)
        expect_recognised(page, name)
        expect(page.locator("#answer .words")).to_have_text(re.compile(r"^(> 99|\d\d) % sure$"))
        found = shares(page)
        assert list(found) == list("0123456789")
        assert found[name] >= 70
        assert 95 <= sum(found.values()) <= 105
        picture = painted(page, "picture")
        assert picture.shape == (28, 28, 4)
        rows, columns = np.nonzero(picture[..., 0] > 128)
        assert max(np.ptp(rows), np.ptp(columns)) in (18, 19, 20)  # MNIST's box of 20 pixels
        mass = picture[..., 0].astype(float)
        middle = [(mass.sum(axis) * np.arange(28)).sum() / mass.sum() for axis in (0, 1)]
        assert middle == pytest.approx([13.5, 13.5], abs=1)
        assert min(colourful(painted(page, "saliency"))) > 20
        assert page.locator("#units canvas").count() == 16
        button(page, "Clear").click()


@slow
def test_the_network_guesses_while_one_draws(page: Page) -> None:
    page.mouse.move(*at(page, (0.5, 0.15)))
    page.mouse.down()
    page.mouse.move(*at(page, (0.5, 0.85)), steps=10)
    expect(mark(page)).to_have_text("1")
    expect(page.locator("#said")).to_have_text("")  # a screen reader is not talked at meanwhile
    page.mouse.up()
    expect(page.locator("#said")).to_contain_text("Stroke 1")


@slow
def test_the_bars_are_as_long_as_their_numbers(page: Page) -> None:
    draw(page, SEVEN)
    expect_recognised(page, "7")
    lengths = page.locator("#bars li").evaluate_all(
        "all => all.map(one => one.querySelector('.fill').getBoundingClientRect().width"
        " / one.querySelector('.track').getBoundingClientRect().width)"
    )
    assert 100 * np.array(lengths) == pytest.approx(np.array(list(shares(page).values())), abs=1.1)


@slow
def test_an_answer_that_is_not_sure_says_so(page: Page, server: Server) -> None:
    given = an_answer(server, {1: 0.45, 7: 0.5, 9: 0.05}, sure=False)
    page.route("**/predict*", lambda route: route.fulfill(json=given))
    draw(page, SEVEN)
    expect(mark(page)).to_have_text("?")
    expect(page.locator("#answer .words")).to_have_text("Not sure. Perhaps 7 (50 %) or 1 (45 %)")


@slow
def test_what_a_model_cuts_off_is_shown_so(page: Page, server: Server) -> None:
    """The border lies under a veil, and a sentence says what it means."""
    draw(page, SEVEN)
    expect_recognised(page, "7")
    picture = painted(page, "picture")[..., 0]
    border = np.pad(np.zeros((24, 24), bool), 2, constant_values=True)
    assert (picture[border].min(), picture[~border].min()) == (77, 0)  # of paper, which is black
    expect(page.locator("#size")).to_have_text("Your drawing as 28 × 28 squares; the grey border is cut off.")
    name = re.compile("28 by 28 squares, of which it sees the 24 by 24 inside$")
    expect(page.get_by_role("img", name=name)).to_be_visible()


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


# ---- undo --------------------------------------------------------------------------------------------------


@slow
def test_undo_redo_and_clear_by_buttons(page: Page) -> None:
    names = ("Undo", "Redo", "Clear")

    def usable() -> list[bool]:
        return [button(page, name).get_attribute("aria-disabled") == "false" for name in names]

    assert usable() == [False, False, False]
    draw(page, ONE)
    expect_recognised(page, "1")
    one = painted(page, "picture")
    assert usable() == [True, False, True]
    draw(page, [[(0.2, 0.5), (0.8, 0.5)], [(0.2, 0.8), (0.8, 0.8)]])
    expect(mark(page)).not_to_have_text("1")
    button(page, "Undo").click()
    button(page, "Undo").click()
    assert usable() == [True, True, True]
    expect_recognised(page, "1")
    assert np.array_equal(painted(page, "picture"), one)
    button(page, "Redo").click()
    expect(mark(page)).not_to_have_text("1")
    button(page, "Clear").click()
    expect(mark(page)).to_have_text("")
    assert usable() == [True, False, False]
    assert page.locator("#units canvas").count() == 0
    expect(page.locator("#bars")).not_to_contain_text(re.compile(r"\d %"))
    button(page, "Undo").click()
    expect(mark(page)).not_to_have_text("")


@slow
@pytest.mark.parametrize("again", ["Control+y", "Control+Shift+z"])
def test_undo_and_redo_by_keys(page: Page, again: str) -> None:
    draw(page, ONE)
    expect(mark(page)).to_have_text("1")
    page.keyboard.press("Control+z")
    expect(mark(page)).to_have_text("")
    page.keyboard.press("Control+z")  # nothing is left
    page.keyboard.press(again)
    expect(mark(page)).to_have_text("1")
    page.keyboard.press("Delete")
    expect(mark(page)).to_have_text("")


@slow
def test_undo_in_the_middle_of_a_stroke_drops_it(page: Page) -> None:
    draw(page, ONE)
    page.mouse.move(*at(page, (0.2, 0.5)))
    page.mouse.down()
    page.mouse.move(*at(page, (0.8, 0.5)), steps=4)
    page.keyboard.press("Control+z")
    page.mouse.move(*at(page, (0.8, 0.8)), steps=4)
    page.mouse.up()
    expect(mark(page)).to_have_text("1")


# ---- finger, pen and keyboard ------------------------------------------------------------------------------


@slow
def test_a_finger_draws_and_a_second_one_does_not(open_page: Open, server: Server) -> None:
    page = open_page(server.address, viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        found = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": found})

    for first, *rest in ONE:
        before = first
        touch("touchStart", at(page, first))
        second = at(page, (0.1, 0.5))
        touch("touchStart", at(page, first), second)
        for point in rest:
            for part in np.linspace(0, 1, 8):
                between = (
                    before[0] + part * (point[0] - before[0]),
                    before[1] + part * (point[1] - before[1]),
                )
                touch("touchMove", at(page, between), (second[0] + 150 * part, second[1]))
            before = point
        touch("touchEnd")
    expect(mark(page)).to_have_text("1")
    assert page.evaluate("scrollY") == 0  # the finger drew, and did not move the page
    expect(page.locator("#said")).to_contain_text("Stroke 1")


@slow
def test_a_pen_draws(page: Page) -> None:
    session = page.context.new_cdp_session(page)

    def pen(kind: str, point: tuple[float, float], pressed: int) -> None:
        x, y = at(page, point)
        given = {"type": kind, "x": x, "y": y, "pointerType": "pen", "force": 0.4, "buttons": pressed}
        session.send(
            "Input.dispatchMouseEvent", given | {"button": "left" if pressed else "none", "clickCount": 1}
        )

    for first, *rest in SEVEN:
        pen("mousePressed", first, 1)
        before = first
        for point in rest:
            for part in np.linspace(0, 1, 6):
                pen("mouseMoved", tuple(a + part * (b - a) for a, b in zip(before, point, strict=True)), 1)
            before = point
        x, y = at(page, before)
        session.send(
            "Input.dispatchMouseEvent",
            {
                "type": "mouseReleased",
                "x": x,
                "y": y,
                "button": "left",
                "clickCount": 1,
                "pointerType": "pen",
            },
        )
    expect(mark(page)).to_have_text("7")


def focused(page: Page) -> str:
    """Return what has the focus: its name for a reader, or its text."""
    return page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()")


@slow
def test_the_keyboard_alone_draws_and_reaches_everything(page: Page) -> None:
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(focused(page))
        if reached[-1] == "Drawing pad":
            break
    assert reached[-1] == "Drawing pad"
    expect(page.locator("#keys")).to_be_visible()
    for key, times in (("ArrowLeft", 5), ("ArrowUp", 5)):
        for _ in range(times):
            page.keyboard.press(key)
    page.keyboard.press("Space")
    expect(page.locator("#pen")).to_contain_text("Pen down")
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.keyboard.down("ArrowLeft")  # two at once go aslant
    page.keyboard.down("ArrowDown")
    page.keyboard.up("ArrowLeft")
    for step in range(10):
        page.keyboard.down("ArrowDown")
        if step % 2:
            page.keyboard.down("ArrowLeft")
            page.keyboard.up("ArrowLeft")
    page.keyboard.up("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#pen")).to_contain_text("Pen up")
    expect(mark(page)).to_have_text("7")
    expect(page.locator("#said")).to_contain_text("Stroke 1. 7")
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(focused(page))
        if reached[-1].startswith("Not right"):
            page.keyboard.press("Enter")
        if reached[-1] == "7":
            page.keyboard.press("Enter")
    assert {"Dark colours", "Undo", "Redo", "Clear", "Not right? Say what it is", *"01234567"} <= set(reached)
    expect(page.locator("#thanks")).to_contain_text("it is \u20687\u2069")
    outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outlined != "none"


# ---- correcting --------------------------------------------------------------------------------------------


@slow
def test_a_correction_is_thanked_for_and_not_kept(page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    draw(page, SEVEN)
    expect(mark(page)).to_have_text("7")
    classes = open_correction(page)
    expect(page.locator("#keeps")).to_have_text("Nothing that you draw is kept.")
    classes.get_by_role("button", name="1", exact=True).click()
    expect(page.locator("#thanks")).to_contain_text("Nothing is kept")
    assert [url for url in sent if "corrections" in url] == []


@slow
def test_a_correction_that_is_refused_is_said_and_the_page_follows(
    browser: Browser, digits_run: Path, tmp_path: Path
) -> None:
    """The service was started anew without --keep."""
    heard = Heard()
    with opening(browser, heard) as opened:
        with serving(digits_run, "--keep", str(tmp_path / "kept")) as first:
            page = opened(first.address)
            draw(page, TWO)
            expect(mark(page)).to_have_text("2")
            classes = open_correction(page)
            expect(page.locator("#keeps")).to_contain_text("will be kept")
        with serving(digits_run, port=first.port):
            classes.get_by_role("button", name="2", exact=True).click()
            expect(page.locator("#thanks")).to_have_text(
                "Drawings are not kept; the service has to be started with --keep DIR."
            )
            expect(page.locator("#keeps")).to_have_text("Nothing that you draw is kept.")
            expect(page.locator("#about")).to_contain_text("Nothing that you draw is kept.")
    assert [one for one in heard.complaints if "403" not in one] == []


@slow
def test_kept_corrections_are_data_to_train_on(
    open_page: Open, mnist_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:  # which the command sets
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
    kept = tmp_path / "kept"
    with serving(mnist_run, "--keep", str(kept)) as server:
        page = open_page(server.address)
        draw(page, SEVEN)
        expect(mark(page)).to_have_text("7")
        expect(page.locator("#about")).to_contain_text("drawings that you correct are kept")
        classes = open_correction(page)
        expect(page.locator("#keeps")).to_contain_text("will be kept")
        for strokes, name in ((TWO, "2"), (SEVEN, "7")):
            button(page, "Clear").click()
            draw(page, strokes)
            expect(page.locator("#thanks")).to_have_text("")
            classes.get_by_role("button", name=name, exact=True).click()
            expect(page.locator("#thanks")).to_have_text(
                f"Thank you. Your drawing is kept as \u2068{name}\u2069."
            )
        assert sorted(path.name for path in kept.iterdir() if path.is_dir()) == ["2", "7"]
        (file,) = (kept / "7").iterdir()
        assert file.suffix == ".png"
        with Image.open(file) as picture:
            values = np.array(picture.convert("L"))
        assert values.shape == (280, 280)
        assert (values.min(), values[0].min()) == (0, 255)  # ink on paper, in every colour of the page
        assert predict_picture(load_checkpoint(mnist_run), values).name == "7"
        for shift in range(1, 15):  # others drew, too
            for name in "27":
                content = encoded(np.roll(values if name == "7" else values.T, shift, axis=1))
                assert exchange(server.port, post(content, path=f"/corrections?class={name}")).status == 201
    options = ["--recipe", "digits", "--epochs", "1", "--jit", "off", "--quiet", "--no-report"]
    assert main(["train", "--data", str(kept), *options, "--out", str(tmp_path / "run")]) == 0
    assert load_checkpoint(tmp_path / "run").class_names == ("2", "7")


# ---- how it looks ------------------------------------------------------------------------------------------

COLOURS = """['body', '#title', '#pad', '#pad canvas', '#undo', '#lead'].flatMap(chosen => {
  const style = getComputedStyle(document.querySelector(chosen));
  return [style.backgroundColor, style.color];
})"""
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


@slow
@pytest.mark.parametrize("size", [(320, 640), (360, 740), (740, 360), (768, 1024), (1280, 720), (1920, 1080)])
def test_it_fits_every_screen(open_page: Open, server: Server, size: tuple[int, int]) -> None:
    page = open_page(server.address, viewport={"width": size[0], "height": size[1]}, has_touch=size[0] < 800)

    def assert_it_fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        boxes = page.evaluate(BOXES)
        assert [one for one in boxes if one["box"][0] < 0 or one["box"][2] > size[0]] == []
        assert overlapping(boxes) == []

    assert_it_fits()
    pad = page.locator("#pad").bounding_box()
    draw(page, SEVEN)
    expect(mark(page)).to_have_text("7")
    assert page.locator("#pad").bounding_box() == pad  # nothing moves under the pen
    assert_it_fits()
    answer = page.locator("#answer").bounding_box()
    if size[1] > 500:
        assert answer["y"] + answer["height"] <= size[1]  # on the first screen
    open_correction(page)
    assert_it_fits()
    small = page.locator("button:visible, summary:visible").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect())"
        ".filter(one => Math.min(one.width, one.height) < 24)"
    )
    assert small == []
    if size == (1920, 1080):
        assert page.evaluate("document.documentElement.scrollHeight") <= size[1]


HINT = """it => {
  const words = document.createRange();
  words.selectNodeContents(it);
  const [inner, outer] = [words.getBoundingClientRect(), it.closest('#pad').getBoundingClientRect()];
  return inner.left > outer.left && inner.top > outer.top
    && inner.right < outer.right && inner.bottom < outer.bottom;
}"""
VALUES = """all => all.map(one => {
  const { left, top, right, bottom } = one.getBoundingClientRect();
  const letters = parseFloat(getComputedStyle(one).fontSize);
  return { name: one.textContent, box: [left, top, right, bottom], letters };
})"""


@slow
@pytest.mark.parametrize(
    ("way", "size"),
    [
        *(("a style", size) for size in [(320, 640), (640, 480), (1280, 720)]),
        ("the browser's setting", (640, 800)),
    ],
)
def test_it_fits_with_letters_twice_as_large(
    open_page: Open, server: Server, size: tuple[int, int], way: str
) -> None:
    page = open_page(server.address, viewport={"width": size[0], "height": size[1]})
    if way == "a style":
        page.evaluate("document.documentElement.style.fontSize = '32px'")
    else:
        session = page.context.new_cdp_session(page)
        session.send("Page.setFontSizes", {"fontSizes": {"standard": 32, "fixed": 32}})
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('#undo')).fontSize)") == 32
    assert page.locator("#hint").evaluate(HINT)
    draw(page, SEVEN)
    expect(mark(page)).to_have_text("7")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    boxes = page.evaluate(BOXES)
    assert [one for one in boxes if one["box"][0] < 0 or one["box"][2] > size[0]] == []
    assert overlapping(boxes) == []
    assert page.locator(".legend li").evaluate_all(
        "all => all.every(one => one.scrollWidth <= one.clientWidth)"
    )


@slow
@pytest.mark.parametrize("size", [(320, 640), (360, 740)])
def test_percentages_can_be_read_on_a_telephone(
    open_page: Open, server: Server, size: tuple[int, int]
) -> None:
    page = open_page(server.address, viewport={"width": size[0], "height": size[1]})
    given = an_answer(server, {7: 0.999, 6: 0.001})
    page.route("**/predict*", lambda route: route.fulfill(json=given))
    draw(page, SEVEN)
    expect(mark(page)).to_have_text("7")
    values = page.locator("#bars .value").evaluate_all(VALUES)
    assert values[7]["name"] == "> 99 %"
    assert min(value["letters"] for value in values) >= 11
    gaps = [after["box"][0] - value["box"][2] for value, after in pairwise(values)]
    assert min(gaps) > 0


@slow
def test_chosen_colours_are_kept_and_a_browser_that_keeps_nothing_is_no_trouble(
    page: Page, open_page: Open, server: Server
) -> None:
    button(page, "Dark colours").click()
    dark = page.evaluate(COLOURS)
    page.reload()
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate(COLOURS) == dark
    button(page, "Dark colours").click()
    page.reload()
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "false")
    refusing = open_page("about:blank")
    refusing.add_init_script(
        "Object.defineProperty(window, 'localStorage',"
        " { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    refusing.goto(server.address)
    button(refusing, "Dark colours").click()
    assert refusing.evaluate(COLOURS) == dark


@slow
def test_dark_follows_the_system_and_can_be_switched(page: Page) -> None:
    light = page.evaluate(COLOURS)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    dark = page.evaluate(COLOURS)
    assert not {colour for colour in light if colour != "rgba(0, 0, 0, 0)"} & set(dark)
    draw(page, SEVEN)
    expect(mark(page)).to_have_text("7")  # the picture that is sent does not depend on the colours
    button(page, "Dark colours").click()
    assert page.evaluate(COLOURS)[:6] == light[:6]
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "false")


@slow
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_axe_finds_no_violation(open_page: Open, server: Server, look: str) -> None:
    axe_module = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
    )
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True} if look == "phone" else {}
    page = open_page(server.address, color_scheme="dark" if look == "dark" else "light", **phone)

    def assert_none() -> None:
        found = axe_module.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

    expect(page.locator("#about")).not_to_be_empty()
    assert_none()
    draw(page, SEVEN)
    expect(mark(page)).to_have_text("7")
    assert_none()
    open_correction(page).get_by_role("button", name="7", exact=True).click()
    expect(page.locator("#thanks")).to_contain_text("7")
    for summary in page.locator("figcaption summary").all():
        summary.click()
    page.locator("#pad").focus()
    page.keyboard.press("ArrowLeft")
    assert_none()


# ---- the service -------------------------------------------------------------------------------------------


def hold(page: Page) -> list[Route]:
    """Hold back what a page asks; return the questions, which grow."""
    held: list[Route] = []
    page.route("**/predict*", lambda route: held.append(route))
    return held


def until(page: Page, is_so: Callable[[], bool]) -> None:
    """Wait for something that the page has to do."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < STARTED
        page.wait_for_timeout(10)


NOTED = """it => {
  window.noted = [];
  const note = () => noted.push(it.textContent);
  new MutationObserver(note).observe(it, { childList: true, characterData: true, subtree: true });
}"""


def shown_until(page: Page, server: Server, name: str) -> list[str]:
    """Draw, with a class as the answer, and return what was the answer in large since it was noted."""
    page.unroute("**/predict*")
    answer = an_answer(server, {int(name): 1.0})
    page.route("**/predict*", lambda route: route.fulfill(json=answer))
    draw(page, ONE)
    expect(mark(page)).to_have_text(name)
    found: list[str] = page.evaluate("noted")
    return found


@slow
def test_an_older_answer_does_not_overwrite_a_newer_one(page: Page, server: Server) -> None:
    held = hold(page)
    draw(page, [[(0.5, 0.5)]])
    until(page, lambda: len(held) == 1)
    draw(page, SEVEN)
    until(page, lambda: len(held) == 2)
    first, second, *_ = held
    second.fulfill(json=an_answer(server, {4: 1.0}))
    expect(mark(page)).to_have_text("4")
    mark(page).evaluate(NOTED)
    first.fulfill(json=an_answer(server, {9: 1.0}))
    for route in held[2:]:  # of strokes that were drawn meanwhile
        route.fulfill(json=an_answer(server, {5: 1.0}))
    assert "9" not in shown_until(page, server, "5")


@slow
def test_an_answer_that_comes_after_clear_is_not_shown(page: Page, server: Server) -> None:
    held = hold(page)
    draw(page, ONE)
    until(page, lambda: len(held) > 0)
    button(page, "Clear").click()
    mark(page).evaluate(NOTED)
    for route in held:
        route.fulfill(json=an_answer(server, {9: 1.0}))
    assert "9" not in shown_until(page, server, "5")


@slow
def test_a_service_that_is_slow_is_said_to_be(page: Page) -> None:
    held = hold(page)
    draw(page, SEVEN)
    expect(page.locator("#trouble")).to_have_text("The answer takes a while.")
    for route in held:
        route.continue_()
    page.unroute("**/predict*")
    expect(mark(page)).to_have_text("7")
    expect(page.locator("#trouble")).to_have_text("")


@slow
def test_a_service_that_is_gone_is_asked_again(browser: Browser, digits_server: Server) -> None:
    heard = Heard()
    with opening(browser, heard) as opened:
        page = opened(digits_server.address)
        expect(page.locator("#about")).to_contain_text("digits")
        page.route("**/*", lambda route: route.abort("connectionrefused"))
        draw(page, TWO)
        expect(page.locator("#trouble")).to_have_text("The service does not answer. Trying again.")
        page.unroute("**/*")
        expect(mark(page)).to_have_text("2")
        expect(page.locator("#trouble")).to_have_text("")
    assert {"ERR_CONNECTION_REFUSED" in one for one in heard.complaints} == {True}


LETTERS = [*"abcdefghij"]


def as_another(server: Server) -> tuple[Any, Any]:
    """Return what a service of another model says of it, and its answer to a drawing."""
    model = exchange(server.port, get("/model")).json()
    model |= {"name": "letters", "version": "0123456789ab", "classes": LETTERS, "note": None}
    array = json.dumps(np.eye(28).tolist()).encode()
    answer = exchange(server.port, post(array, "application/json", "/predict?explain=1")).json()
    answer |= {"model": {"name": "letters", "version": "0123456789ab"}, "classes": LETTERS}
    answer["predictions"][0] |= {"class": "c", "index": 2, "probability": 0.9, "sure": True}
    return model, answer


def test_the_page_follows_a_service_that_has_another_model(open_page: Open, digits_server: Server) -> None:
    page = open_page(digits_server.address)
    draw(page, TWO)
    expect(mark(page)).to_have_text("2")
    button(page, "Clear").click()
    model, answer = as_another(digits_server)
    page.route("**/model", lambda route: route.fulfill(json=model))
    page.route("**/predict*", lambda route: route.fulfill(json=answer))
    draw(page, TWO)
    expect(mark(page)).to_have_text("c")
    expect(page.locator("#about")).to_contain_text("Model letters, version 0123456789ab.")
    expect(page.locator("#title")).to_have_text("Draw a letter")
    assert page.locator("#bars .name").all_inner_texts() == LETTERS
    assert page.locator("#classes button").all_text_contents() == LETTERS


@slow
def test_two_models_that_answer_in_turn_are_both_shown(open_page: Open, digits_server: Server) -> None:
    """As behind one address: the page does not ask without an end which of them there is."""
    page = open_page(digits_server.address)
    described: list[str] = []
    page.on("request", lambda request: described.append(request.url) if "/model" in request.url else None)
    _, answer = as_another(digits_server)
    page.route("**/predict*", lambda route: route.fulfill(json=answer))
    draw(page, TWO)
    expect(mark(page)).to_have_text("c")
    page.wait_for_timeout(300)
    assert len(described) == 1
    expect(page.locator("#trouble")).to_have_text("The service answers for two models. Load the page again.")
    answer["predictions"][0]["probabilities"] = [0.1, 0.1, 0.8]
    draw(page, ONE)
    expect(page.locator("#trouble")).to_have_text("The service answers for two models. Load the page again.")


@slow
def test_services_that_answer_in_turn_for_models_of_other_sizes_are_said_to_be_two(
    open_page: Open, digits_server: Server
) -> None:
    """Each of the models is asked about once, and the page does not ask on by itself."""
    page = open_page(digits_server.address)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.split("/")[-1]))
    _, answer = as_another(digits_server)
    answer["predictions"][0] |= {"probabilities": [0.1, 0.1, 0.8]}

    def in_turn(route: Route) -> None:
        version = "ab"[asked.count("predict?explain=1") % 2]
        route.fulfill(json=answer | {"model": {"name": "letters", "version": version}})

    page.route("**/predict*", in_turn)
    draw(page, [[(0.5, 0.5)]])
    expect(page.locator("#trouble")).to_have_text("The service answers for two models. Load the page again.")
    page.wait_for_timeout(500)
    assert asked.count("model") <= 2
    assert asked.count("predict?explain=1") <= 6


ELSE = "The service answered something else than was asked. Trying again."


@slow
def test_an_answer_of_another_shape_is_said_and_not_shown(open_page: Open, digits_server: Server) -> None:
    page = open_page(digits_server.address)
    _, answer = as_another(digits_server)
    prediction = answer["predictions"][0]

    def changed(**entries: Any) -> Any:
        return answer | {"predictions": [prediction | entries]}

    saliency = prediction["explanation"]["saliency"]
    wrong = [
        *({}, [], "", 7, {"predictions": []}, {"predictions": None}, {"predictions": [{}]}),
        *(answer | {"predictions": [None]}, answer | {"model": None}),
        changed(probabilities=None),
        changed(probabilities=[1.0]),
        changed(index="length"),
        changed(image=[]),
        changed(image=[[1], [1, 2]]),
        changed(placement=[[1, 0]]),
        changed(explanation={}),
        changed(explanation={"saliency": saliency, "first_layer": {"units": [{"value": 1}]}}),
    ]
    given: list[Any] = [None]
    page.route("**/predict*", lambda route: route.fulfill(json=given[0]))
    for given[0] in wrong:
        draw(page, [[(0.5, 0.5)]])
        expect(page.locator("#trouble")).to_have_text(ELSE)
        expect(mark(page)).to_have_text("")
        button(page, "Clear").click()
        expect(page.locator("#trouble")).to_have_text("")
    page.unroute("**/predict*")
    draw(page, TWO)
    expect(mark(page)).to_have_text("2")


@slow
def test_a_service_that_says_something_else_of_its_model_is_asked_again(
    open_page: Open, digits_server: Server
) -> None:
    """A proxy's page to sign in, for one."""
    page = open_page(digits_server.address)
    model, _ = as_another(digits_server)
    wrong = [
        *("<!doctype html><title>Sign in</title>", "", "{}", "null", "[]"),
        *(
            json.dumps(model | changes)
            for changes in ({"classes": []}, {"classes": [7]}, {"image_shape": [8]})
        ),
    ]
    given = iter(wrong)
    for _ in wrong:
        page.route("**/model", lambda route: route.fulfill(body=next(given)), times=1)
        page.reload()
        expect(page.locator("#trouble")).to_have_text(ELSE)
    expect(page.locator("#about")).to_contain_text("Model digits")  # by itself
    draw(page, TWO)
    expect(mark(page)).to_have_text("2")


@slow
def test_a_mistake_in_showing_an_answer_is_said(browser: Browser, digits_server: Server) -> None:
    """To the visitor in a sentence, to the console in the browser's words."""
    heard = Heard()
    with opening(browser, heard) as opened:
        page = opened(digits_server.address)
        expect(page.locator("#about")).to_contain_text("digits")
        page.evaluate("() => { Array.prototype.flatMap = () => null.length; }")
        draw(page, TWO)
        expect(page.locator("#trouble")).to_have_text("The answer cannot be shown. Load the page again.")
    assert {"TypeError: Cannot read properties of null" in one for one in heard.complaints} == {True}


@slow
def test_an_answer_that_is_none_is_asked_for_again(open_page: Open, digits_server: Server) -> None:
    page = open_page(digits_server.address)
    page.route(
        "**/predict*", lambda route: route.fulfill(body='{"predictions": [', content_type="application/json")
    )
    draw(page, TWO)
    expect(page.locator("#trouble")).to_contain_text("answered something else than was asked. Trying again.")
    page.unroute("**/predict*")
    expect(mark(page)).to_have_text("2")
    expect(page.locator("#trouble")).to_have_text("")


@slow
def test_a_service_that_came_again_with_other_settings_is_described_anew(
    browser: Browser, digits_run: Path, tmp_path: Path
) -> None:
    """It is the same model; but drawings are kept now."""
    heard = Heard()
    with opening(browser, heard) as opened:
        with serving(digits_run) as first:
            page = opened(first.address)
            expect(page.locator("#about")).to_contain_text("Nothing that you draw is kept.")
        draw(page, TWO)
        expect(page.locator("#trouble")).not_to_have_text("")
        with serving(digits_run, "--keep", str(tmp_path / "kept"), port=first.port):
            expect(page.locator("#about")).to_contain_text("Only drawings that you correct are kept.")
            expect(mark(page)).to_have_text("2")


@slow
def test_the_policy_holds_and_code_in_the_page_does_not_run(browser: Browser, server: Server) -> None:
    given = exchange(server.port, get("/")).headers["content-security-policy"]
    assert given == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    heard = Heard()
    with opening(browser, heard) as opened:
        page = opened(server.address)
        source = page.request.get(server.address).text()
        assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", source) == []
        page.evaluate(
            "() => { const it = document.createElement('script'); it.textContent = 'window.hit = 1';"
            " document.body.append(it); }"
        )
        assert page.evaluate("window.hit === undefined")
    assert any("Content Security Policy" in one for one in heard.complaints)


@slow
def test_what_a_class_is_called_is_no_markup(page: Page, server: Server) -> None:
    name = "<img src=x onerror=window.hit=1>"

    given = exchange(server.port, get("/model")).json() | {"classes": [name, *"123456789"]}
    page.route("**/model", lambda route: route.fulfill(json=given))
    page.reload()
    expect(page.locator("#bars li").first).to_contain_text(name)
    assert page.evaluate("window.hit === undefined")


LEFT_TO_RIGHT = """it => {
  const words = document.createTreeWalker(it, NodeFilter.SHOW_TEXT);
  const own = [];
  while (words.nextNode()) if (!words.currentNode.parentNode.closest('bdi')) own.push(words.currentNode);
  const node = own.at(-1), range = document.createRange(), lefts = [];
  for (let at = node.length - 5; at < node.length; at += 1) {
    range.setStart(node, at);
    range.setEnd(node, at + 1);
    lefts.push(range.getBoundingClientRect().left);
  }
  return lefts.every((left, at) => at === 0 || left > lefts[at - 1]);
}"""


def with_classes(page: Page, server: Server, names: list[str]) -> None:
    """Load the page with a model of other names, one of which is not sure to be the answer, and draw."""
    model, answer = as_another(server)
    model |= {"classes": names, "name": names[0]}
    rest = {"probabilities": [0.5, 0.4, *(0.0 for _ in names[2:])], "index": 0, "class": names[0]}
    answer["predictions"][0] |= rest | {"probability": 0.5, "sure": False}
    page.unroute_all()
    page.route("**/model", lambda route: route.fulfill(json=model))
    page.route("**/predict*", lambda route: route.fulfill(json=answer))
    page.reload()
    draw(page, [[(0.5, 0.5)]])
    expect(mark(page)).to_have_text("?")


def test_names_of_classes_leave_the_page_in_its_shape(open_page: Open, digits_server: Server) -> None:
    """Very many, very long ones, and ones that turn the direction of writing round."""
    page = open_page(digits_server.address)
    lead, words = page.locator("#lead"), page.locator("#answer .words")
    with_classes(page, digits_server, [f"c{number:03}" for number in range(1000)])
    first = ", ".join(f"c00{number}" for number in range(8))
    expect(lead).to_have_text(f"One of {first} and 992 more: a neural network says which.")
    assert at(page, (0, 0))[1] < 150  # the pad
    turned = "\u202eabc \u05d0\u05d1"
    with_classes(page, digits_server, [turned, "W" * 200, "7"])
    expect(lead).to_have_text(f"One of {turned}, {'W' * 29}…, 7: a neural network says which.")
    expect(words).to_have_text(f"Not sure. Perhaps {turned} (50 %) or {'W' * 29}… (40 %)")
    open_correction(page).get_by_role("button").first.click()
    expect(page.locator("#thanks")).to_contain_text("Nothing is kept")
    for element in (lead, words, page.locator("#about"), page.locator("#thanks")):
        assert element.evaluate(LEFT_TO_RIGHT), element
    page.locator("#classes button").nth(1).click()
    for size in (DESK, PHONE, {"width": 320, "height": 640}):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        assert page.evaluate("innerWidth") == size["width"]
        boxes = page.evaluate(BOXES)
        assert [one for one in boxes if one["box"][0] < 0 or one["box"][2] > size["width"]] == []
        assert overlapping(boxes) == []
