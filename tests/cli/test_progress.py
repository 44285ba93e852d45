"""What `train` prints while it runs: on a terminal, in a pipe, as JSON."""

import json
import math
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.without_pictures import COMMAND, WITHOUT_PICTURES
from tests.training.screen import screen_of
from tinygrad_mnist.cli import main
from tinygrad_mnist.cli.progress import LOGS
from tinygrad_mnist.training import RECIPES
from tinygrad_mnist.training.runs import run as run_module

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")
Execute = Callable[..., "subprocess.CompletedProcess[str]"]
DIGITS = ["train", "--recipe", "digits", "--out", "run", "--no-report"]
QUICK = [*DIGITS, "--epochs", "2", "--hidden", "8"]


def on_terminal(command: list[str], columns: int, when: str = "", act: Any = None) -> tuple[int, str]:
    """Exit status and output of a command on a terminal of that width; on a text, something is done to it."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    for variable in ("COLUMNS", "LINES"):
        environment.pop(variable, None)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it may be ignored where tests run
    )  # fmt: skip
    os.close(theirs)
    content = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 60)
        try:
            chunk = os.read(ours, 65536) if ready else b""
        except OSError:  # Linux's word for the end
            chunk = b""
        if not chunk:
            break
        content += chunk
        if act is not None and when in content.decode(errors="replace"):
            act(process)
            act = None
    os.close(ours)
    return process.wait(timeout=60), content.decode()


@posix
@pytest.mark.parametrize("columns", [200, pytest.param(40, marks=pytest.mark.slow)])
def test_a_terminal_has_rows_that_move_and_are_gone_at_the_end(columns: int) -> None:
    status, content = on_terminal([*COMMAND, *DIGITS], columns)
    assert status == 0
    drawn = [part.split("\x1b[J")[-1] for part in content.split("\x1b[1A") if "left" in part]
    assert len(drawn) >= 2
    assert all(len(row) < columns for part in drawn for row in part.replace("\r", "").split("\n")[-2:])
    shown = screen_of(content, 1000)
    assert sum(line.startswith("epoch") for line in shown) == 8
    assert not any("left" in line or "images/s" in line for line in shown)
    assert content.count("\x1b[?25l") == content.count("\x1b[?25h") == 1


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupt_leaves_the_terminal_as_it_was(number: signal.Signals) -> None:
    long = [*COMMAND, *DIGITS, "--epochs", "100000", "--jit", "off"]
    status, content = on_terminal(long, 80, "images/s", lambda process: process.send_signal(number))
    assert status == 0
    shown = screen_of(content, 1000)
    assert sum("interrupted: " in line for line in shown) == 1
    assert any(line.startswith("test accuracy") for line in shown)
    assert not any("images/s" in line for line in shown)
    assert content.endswith("\n")
    assert content.count("\x1b[?25l") == content.count("\x1b[?25h") == 1


@pytest.mark.slow
@posix
def test_a_training_that_diverges_leaves_the_terminal_as_it_was() -> None:
    status, content = on_terminal([*COMMAND, *DIGITS, "--optimizer", "sgd", "--lr", "1e30"], 80)
    assert status == 1
    assert "has diverged" in screen_of(content, 1000)[-1]
    assert content.count("\x1b[?25l") == content.count("\x1b[?25h")


# ---- JSON ------------------------------------------------------------------------------------------------


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def events_of(out: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))


@pytest.mark.usefixtures("no_pictures")
def test_json_lines_tell_a_training_from_plan_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DIGITS, "--log", "jsonl", "--epochs", "10"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    events = events_of(out)
    assert [each["event"] for each in events] == ["plan", "compile", "evaluation", "evaluation", "end"]
    plan, _, first, second, end = events
    assert (plan["recipe"], plan["steps"], plan["step"]) == ("digits", 400, 0)
    metrics = [json.loads(line) for line in Path("run/metrics.jsonl").read_text("utf-8").splitlines()]
    for written, told in zip(metrics, (first, second), strict=True):
        assert {**written, "event": "evaluation", "best": told["best"]} == told
    assert end["summary"] == json.loads(Path("run/summary.json").read_text("utf-8"))
    assert (end["directory"], end["missing"]) == ("run", [])


@pytest.mark.usefixtures("no_pictures")
def test_json_lines_have_notices(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main([*DIGITS[:1], "--recipe", "three-layer", "--data", "digits", "--log", "jsonl", "--out", "run"])
        == 0
    )
    out, err = capsys.readouterr()
    assert err == ""
    events = events_of(out)
    assert any("made for more images" in each["sentence"] for each in events if each["event"] == "notice")


@pytest.mark.usefixtures("no_pictures")
def test_quiet_json_is_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--log", "jsonl", "--quiet"]) == 0
    assert [each["event"] for each in events_of(capsys.readouterr().out)] == ["end"]


@pytest.mark.usefixtures("no_pictures")
def test_json_lines_on_steps_come_at_intervals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinygrad_mnist.cli.progress.JsonProgress.interval", 0.02)
    assert main([*DIGITS, "--log", "jsonl", "--epochs", "20"]) == 0
    steps = [each for each in events_of(capsys.readouterr().out) if each["event"] == "step"]
    assert 2 <= len(steps) < 100
    assert all(each["images_per_second"] > 0 and each["seconds_left"] >= 0 for each in steps)
    assert [each["step"] for each in steps] == sorted({each["step"] for each in steps})


def test_what_is_not_finite_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    log = LOGS["jsonl"](sys.stdout, False)
    log.write("step", loss=math.nan, rates=[math.inf, 1.0], name="\x1b\u2028é")  # type: ignore[attr-defined]
    (event,) = events_of(capsys.readouterr().out)
    assert event == {"event": "step", "loss": None, "rates": [None, 1.0], "name": "\x1b\u2028é"}


def test_a_failure_is_a_sentence_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DIGITS, "--log", "jsonl", "--optimizer", "sgd", "--lr", "1e30"]) == 1
    out, err = capsys.readouterr()
    assert {each["event"] for each in events_of(out)} <= {"plan", "compile", "notice"}
    assert len(err.splitlines()) == 1
    assert "has diverged" in err


@pytest.mark.usefixtures("no_pictures")
def test_the_page_lists_every_field(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinygrad_mnist.cli.progress.JsonProgress.interval", 0.02)
    page = (Path(__file__).parents[2] / "docs/how_to/watch_training.md").read_text("utf-8")
    listed = {
        name: {field for field in re.findall(r"`(\w+)`", fields) if field != "null"}
        for name, fields in re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M)
        if name != "event"
    }
    assert main([*DIGITS, "--log", "jsonl", "--epochs", "20"]) == 0
    LOGS["jsonl"](sys.stdout, False).notify("a sentence")
    written = {each["event"]: each.keys() - {"event"} for each in events_of(capsys.readouterr().out)}
    assert listed == written


# ---- what is loaded, what is drawn -----------------------------------------------------------------------


def test_only_a_terminal_needs_rich() -> None:
    code = (
        f"{WITHOUT_PICTURES}\n"
        "for options in ([], ['--quiet'], ['--log', 'jsonl']):\n"
        f"    assert main([*{QUICK!r}, *options]) == 0\n"
        "loaded = {'rich', 'tensorboardX', 'IPython'} & sys.modules.keys()\n"
        "assert not loaded, loaded"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.usefixtures("no_pictures")
def test_the_learning_rate_is_drawn_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(QUICK) == 0
    out = capsys.readouterr().out
    assert re.search(r"^learning rate 0.0004 up to 0.01, down to 4e-08  [▁-█]{16}$", out, re.M)
    assert out.index("learning rate 0.0004") < out.index("\nepoch")
    assert RECIPES["digits"].lr == 0.01
