"""The page and the service behind it: late answers, none, odd ones, another model, and the strict policy."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the package playwright is not installed")

from tests.browser import Heard
from tests.serve.exchanges import STARTED, Server, exchange, get, post, serving
from tests.serve.visitor import (
    BOXES,
    DESK,
    ONE,
    PHONE,
    SEVEN,
    TWO,
    Open,
    an_answer,
    at,
    button,
    draw,
    mark,
    open_correction,
    opening,
    overlapping,
)

pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from playwright.sync_api import Browser, Page, Route, expect

slow = pytest.mark.slow


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
