"""The script of the page that asks while one draws: against answers that are late, out of order, and none.

It runs in Chromium with a clock of its own, so a minute of drawing takes a millisecond. A test has what the
visitor does and when, and how the questions are answered, one after the other.
"""

from importlib import resources
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright", reason="the package playwright is not installed")

from playwright.sync_api import Browser

SOURCE = (resources.files("tinygrad_mnist.serve") / "page" / "asking.js").read_text("utf-8")

SIMULATION = """([source, steps, answers, isStopped]) => {
  let now = 0, numbers = 0;
  const timers = new Map(), log = [];
  const setTimeout = (run, wait = 0) => (timers.set(++numbers, [now + Math.max(0, wait), run]), numbers);
  const clearTimeout = (number) => timers.delete(number);
  const world = {}, performance = { now: () => now };
  let drawing = 0, asked = 0, underWay = 0, most = 0;
  world.recogniser = { recognise: (ink, stop) => new Promise((resolve, reject) => {
    const { after, error, retryAfter } = answers[asked++ % answers.length];
    log.push([now, "asked", ink]);
    most = Math.max(most, ++underWay);
    let isOpen = true;
    const end = (settle) => () => { if (isOpen) { isOpen = false; underWay -= 1; settle(); } };
    const wrong = Object.assign(new Error(error), { retryAfter });
    setTimeout(end(() => error ? reject(wrong) : resolve(ink)), after);
    if (isStopped) stop.addEventListener("abort", end(() => reject(new Error("stopped"))));
  }) };
  new Function("globalThis", "setTimeout", "clearTimeout", "performance", source)(
    world, setTimeout, clearTimeout, performance);
  const asking = new world.Asking(() => ({ ink: drawing }), {
    answered: (answer) => {
      if (answer < 0) throw new Error("it cannot be shown");
      log.push([now, "answered", answer]);
    },
    failed: ({ message }) => log.push([now, "failed", message]),
    slow: () => log.push([now, "slow", drawing]),
  });
  for (const [at, what] of steps)
    setTimeout(() => { if (what === "drop") asking.drop(); else { drawing = what; asking.want(); } }, at);
  return (async () => {
    while (timers.size) {
      const [number, [at, run]] = [...timers].reduce((a, b) => (b[1][0] < a[1][0] ? b : a));
      timers.delete(number);
      now = Math.max(now, at);
      run();
      for (let i = 0; i < 10; i += 1) await null; // what waits for an answer goes on
    }
    return { log, most, underWay };
  })();
}"""

Log = list[tuple[float, str, Any]]


@pytest.fixture(scope="module")
def simulate(browser: Browser) -> Any:
    """Let a visitor draw; return what was asked and heard, with the times in milliseconds."""
    page = browser.new_page()

    def run(steps: list[Any], answers: list[dict[str, Any]], is_stopped: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = page.evaluate(SIMULATION, [SOURCE, steps, answers, is_stopped])
        return found

    yield run
    page.close()


def heard(log: Log, *kinds: str) -> list[Any]:
    return [what for _, kind, what in log if kind in kinds]


def random_drawing(rng: np.random.Generator) -> list[Any]:
    """Strokes, undo to an empty pad, and redo; the last is a drawing."""
    at, steps = 0.0, []
    for number in range(1, int(rng.integers(2, 30))):
        at += float(rng.choice([1, 16, 70, 400, 3000]))
        steps.append([at, "drop" if rng.random() < 0.2 else number])
    return [*steps, [at + float(rng.integers(1, 200)), 99]]


@pytest.mark.parametrize("is_stopped", [True, False])
def test_the_last_drawing_is_answered_however_late_answers_come(simulate: Any, is_stopped: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        answers = [
            {"after": float(rng.choice([0, 5, 80, 900, 6000, 15000]))}
            | ({"error": "busy", "retryAfter": float(rng.integers(1, 4))} if rng.random() < 0.3 else {})
            for _ in range(6)
        ] + [{"after": 20.0}]
        found = simulate(random_drawing(rng), answers, is_stopped)
        shown = heard(found["log"], "answered", "failed")
        assert shown[-1] == 99, found["log"]
        answered = heard(found["log"], "answered")
        assert answered == sorted(answered), found["log"]
        assert found["underWay"] == 0
        assert found["most"] <= 2 or not is_stopped


@pytest.mark.parametrize("is_stopped", [True, False])
def test_what_was_dropped_does_not_hold_up_the_next_question(simulate: Any, is_stopped: bool) -> None:
    """Undo to an empty pad and redo, while two questions to a slow service have no answer."""
    steps = [[0, 1], [100, 2], [200, "drop"], [300, 3]]
    found = simulate(steps, [{"after": 14_000}, {"after": 14_000}, {"after": 10}], is_stopped)
    assert [300, "asked", 3] in found["log"]
    assert [310, "answered", 3] in found["log"]
    assert heard(found["log"], "answered", "failed", "slow") == [3]


def test_an_answer_that_cannot_be_shown_is_said_and_the_next_is_shown(simulate: Any) -> None:
    steps = [[1000 * k, -1] for k in range(4)] + [[5000, 7]]
    log = simulate(steps, [{"after": 10}])["log"]
    assert heard(log, "answered", "failed") == ["it cannot be shown"] * 4 + [7]


def test_slowness_is_said_of_what_is_not_answered_alone(simulate: Any) -> None:
    late = [{"after": 5000}, {"after": 100}]
    assert heard(simulate([[0, 1]], late)["log"], "slow", "answered") == [1, 1]
    assert heard(simulate([[0, 1], [200, 2]], late)["log"], "slow", "answered") == [2]
    assert heard(simulate([[0, 1], [200, "drop"]], late)["log"], "slow", "answered", "failed") == []
