"""Where progress is shown: what stands on the screen, which signs are written, and what is left over."""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest

from tests.training.screen import Screen, screen_of
from tinygrad_mnist.training.display import displays
from tinygrad_mnist.training.display.displays import Display, Notebook, Row, Terminal, find_display


def two_rows(width: int) -> Sequence[Row]:
    return [[("==", "done"), ("--", "left"), (" 50 %", "")], [("loss 1"[:width], "")]]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A screen of 80 columns and 24 rows."""
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Screen()


def test_rows_stand_below_the_lines_and_are_gone_at_the_end(terminal: Screen) -> None:
    display = find_display(terminal)
    lines = ["first", "second", "printed by another"]
    with redirect_stdout(terminal):
        display.open()
        display.line("first")
        display.show(two_rows)
        display.line("second")
        print("printed by another")
        assert screen_of(terminal.getvalue()) == [*lines, "==-- 50 %", "loss 1"]
        display.close()
        display.close()
        assert sys.stdout is terminal
        print("after")
    assert screen_of(terminal.getvalue()) == [*lines, "after"]
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


def test_rows_are_replaced_by_one_write(terminal: Screen) -> None:
    display = find_display(terminal)
    display.open()
    display.show(two_rows)
    before = len(terminal.writes)
    display.show(two_rows)
    assert len(terminal.writes) == before + 1
    display.close()


def test_a_window_that_becomes_narrow_leaves_nothing_over(
    terminal: Screen,
) -> None:
    """The terminal then breaks the rows; the cursor stays where it is in the text: at its beginning."""
    display = Terminal(terminal)
    display.open()
    display.show(lambda width: [[("x" * width, "")], [("y" * width, "")]])
    assert [len(row) for row in screen_of(terminal.getvalue())] == [79, 79]
    broken = terminal.getvalue().removesuffix("\r\x1b[1A")  # and three rows up in the narrow window
    display.console.size = (40, 24)
    display.show(lambda width: [[("x" * width, "")], [("y" * width, "")]])
    after = terminal.getvalue()[len(broken) + len("\r\x1b[1A") :]
    assert screen_of(f"{broken}\r\x1b[3A{after}", 40) == ["x" * 39, "y" * 39]
    display.close()


def test_a_window_of_two_rows_has_one_of_ours(terminal: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "2")
    display = find_display(terminal)
    display.open()
    display.show(two_rows)
    assert screen_of(terminal.getvalue()) == ["==-- 50 %"]
    display.close()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_is_heard(terminal: Screen, monkeypatch: pytest.MonkeyPatch, no_color: str) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    display = find_display(terminal)
    display.open()
    display.show(two_rows)
    display.close()
    assert ("m" in terminal.getvalue().replace("loss", "")) is not bool(no_color)


@pytest.mark.parametrize("unlike", ["a file", "a dumb terminal", "no rich", "colours forced into a file"])
def test_elsewhere_there_are_plain_lines(
    terminal: Screen, monkeypatch: pytest.MonkeyPatch, unlike: str
) -> None:
    stream: io.StringIO = terminal
    if unlike == "a dumb terminal":
        monkeypatch.setenv("TERM", "dumb")
    elif unlike == "no rich":
        monkeypatch.setitem(sys.modules, "rich.console", None)
    else:
        stream = io.StringIO()
        if unlike == "colours forced into a file":
            monkeypatch.setenv("FORCE_COLOR", "1")
            monkeypatch.setenv("TTY_COMPATIBLE", "1")
    display = find_display(stream)
    display.open()
    display.line("a \x1b[2J line")
    display.show(two_rows)
    display.close()
    assert type(display) is Display
    assert stream.getvalue() == "a \\x1b[2J line\n"


def test_a_line_cannot_move_the_cursor(terminal: Screen) -> None:
    display = find_display(terminal)
    assert isinstance(display, Terminal)
    display.line("a \x1b[2J [bold]line[/bold]")
    assert screen_of(terminal.getvalue()) == ["a \\x1b[2J [bold]line[/bold]"]


class Handle:
    """What `IPython.display.display` returns: an output of a cell that can be replaced."""

    def __init__(self, content: dict[str, str]) -> None:
        self.content = content

    def update(self, content: dict[str, str], raw: bool) -> None:
        self.content = content


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Handle]:
    """The outputs of a cell of a notebook, which this is for the time being."""
    handles: list[Handle] = []

    def display(content: dict[str, str], raw: bool, display_id: bool) -> Handle:
        handles.append(Handle(content))
        return handles[-1]

    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return handles


def test_in_a_notebook_one_output_is_replaced(outputs: list[Handle]) -> None:
    display = find_display(sys.stdout)
    display.open()
    display.line("first")
    display.show(two_rows)
    display.line("second")
    display.show(two_rows)
    assert [handle.content["text/plain"].split("\n") for handle in outputs] == [
        ["first", "second", "==-- 50 %", "loss 1"]
    ]
    display.close()
    assert outputs[0].content["text/plain"] == "first\nsecond"
    display.line("later")
    assert [handle.content["text/plain"] for handle in outputs] == ["first\nsecond", "later"]


def test_in_a_notebook_many_lines_are_not_sent_again_and_again(outputs: list[Handle]) -> None:
    display = find_display(sys.stdout)
    for number in range(Notebook.most + 1):
        display.line(str(number))
    assert [len(handle.content["text/plain"].split("\n")) for handle in outputs] == [Notebook.most, 1]


def test_a_terminal_with_ipython_is_a_terminal(terminal: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert isinstance(find_display(terminal), displays.Terminal)
