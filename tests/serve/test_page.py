"""The page in a browser and a real service: what a visitor does, by every way of drawing, and sees."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the package playwright is not installed")

from tests.browser import Heard
from tests.serve.exchanges import Server, exchange, post, serving
from tests.serve.pictures import encoded
from tests.serve.visitor import (
    BOXES,
    ONE,
    PHONE,
    SEVEN,
    TWO,
    Open,
    an_answer,
    at,
    button,
    colourful,
    draw,
    expect_recognised,
    mark,
    open_correction,
    opening,
    overlapping,
    painted,
    shares,
)
from tinygrad_mnist.cli import main
from tinygrad_mnist.training import load_checkpoint, predict_picture
from tinygrad_mnist.training.loop.threads import VARIABLES
from tinygrad_mnist.training.runs import run as run_module

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from PIL import Image
from playwright.sync_api import Browser, Page, expect

slow = pytest.mark.slow


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
