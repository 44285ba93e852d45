"""The places that show how training goes: plain lines, rows below them on a terminal, a notebook.

A display has lines, which stay, and rows, which change in place and are gone at the end. `find_display` takes
the one that suits the stream. What is on the lines and rows is decided in `progress`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

from tinygrad_mnist.numbers import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable
    from rich.segment import Segment

Row = Sequence[tuple[str, str]]
"""The parts of a row, each a text and its style, a key of `STYLES`. No style says what its text does not."""

Rows = Callable[[int], Sequence[Row]]
"""A function of the width that returns the rows: each of them is at most as long."""


class Display:
    """Plain lines on a stream, for a file, a pipe or a batch system; the base of the others.

    Rows are not shown here. In place of them `Progress` prints a line, if there was none for long.

    Parameters
    ----------
    stream : TextIO
        The stream to print to.
    """

    interval: float = 30.0
    """Seconds between two versions of the rows, or two lines in their place."""

    has_rows: bool = False
    """Whether rows are shown."""

    @property
    def columns(self) -> int | None:
        """The signs that a line has room for; None where it may be as long as it likes."""
        return None

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def open(self) -> None:
        """Begin."""

    def line(self, text: str) -> None:
        """Print a line that stays."""
        print(printable(text), file=self.stream, flush=True)

    def show(self, rows: Rows) -> None:
        """Show rows in place of those before."""

    def close(self) -> None:
        """Remove the rows; a second time does nothing."""


class Terminal(Display):
    """Rows below the lines of a terminal, drawn by `rich`.

    The cursor rests at the beginning of the first row, and not behind the last. So it is enough to erase from
    there to the end of the screen, also where a window that was made narrower has broken a row into several.
    While it is open, what is printed on the terminal by others is printed above the rows.
    """

    interval = 0.2
    has_rows = True

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        super().__init__(stream)
        # Whether this is a terminal was decided before, without the variables that force colours into files;
        # rich heeds those that forbid them.
        self.console = Console(file=stream, force_terminal=True, force_jupyter=False)
        self._rows: Rows | None = None
        self._streams: dict[str, Any] = {}

    @property
    def columns(self) -> int:
        """The width of the window as it is now."""
        return self.console.size.width

    def open(self) -> None:
        """Hide the cursor, and take what is printed."""
        from rich.file_proxy import FileProxy

        self.console.push_render_hook(self)  # type: ignore[arg-type]  # it has the method of a RenderHook
        self.console.show_cursor(False)
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if _is_terminal(stream):
                self._streams[name] = stream
                setattr(sys, name, FileProxy(self.console, stream))

    def line(self, text: str) -> None:
        """Print a line above the rows; the terminal breaks it where it is too long."""
        from rich.text import Text

        self.console.print(Text(printable(text)), soft_wrap=True)

    def show(self, rows: Rows) -> None:
        """Draw the rows, by one write, so that nothing flickers."""
        from rich.control import Control

        self._rows = rows
        self.console.print(Control())

    def close(self) -> None:
        """Erase the rows, and leave the terminal as it was."""
        from rich.control import Control

        if self._rows is None and not self._streams:
            return
        for name, stream in self._streams.items():
            getattr(sys, name).flush()  # of a line that was not ended
            setattr(sys, name, stream)
        self._streams.clear()
        self._rows = None
        with suppress(OSError, ValueError):  # a terminal that is gone
            self.console.print(Control())
            self.console.pop_render_hook()
            self.console.show_cursor(True)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put what is printed between the erasing of the old rows and the new ones; rich calls this."""
        return [_Erase(), *renderables, self]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield the rows, and the way back to the beginning of the first."""
        from rich.segment import Segment

        if self._rows is None:
            return
        rows = self._rows(options.size.width - 1)[: max(1, options.size.height - 1)]
        for number, row in enumerate(rows):
            if number:
                yield Segment.line()
            for text, style in row:
                yield Segment(text, console.get_style(STYLES[style]))
        yield _code("\r" + f"\x1b[{len(rows) - 1}A" * (len(rows) > 1))


STYLES: Final = {"done": "cyan", "left": "bright_black", "": "none"}
"""The styles of the parts of rows, as rich names them."""


class _Erase:
    """The signs that erase the screen from the row of the cursor on."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield _code("\r\x1b[J")


def _code(signs: str) -> Segment:
    """Return signs for the terminal that move the cursor or erase, and have no width."""
    from rich.segment import ControlType, Segment

    return Segment(signs, None, [(ControlType.CARRIAGE_RETURN,)])


class Notebook(Display):
    """The output of a notebook's cell, which is replaced as a whole; it needs IPython, but no widgets."""

    interval = 0.5
    has_rows = True
    width: Final = 100
    most: Final = 100
    """Lines that are replaced; those before them are left as they are."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._handle: Any = None

    def open(self) -> None:
        """Begin an output below those that are there."""
        self._lines.clear()
        self._handle = None

    def line(self, text: str) -> None:
        """Add a line that stays."""
        if len(self._lines) >= self.most:
            self._replace(self._lines)
            self.open()
        self._lines.append(printable(text))
        self._replace(self._lines)

    def show(self, rows: Rows) -> None:
        """Show rows below the lines."""
        self._replace([*self._lines, *("".join(text for text, _ in row) for row in rows(self.width))])

    def close(self) -> None:
        """Leave the lines."""
        if self._handle is not None:
            self._replace(self._lines)
            self.open()

    def _replace(self, lines: Sequence[str]) -> None:
        from IPython.display import display

        content = {"text/plain": "\n".join(lines)}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def find_display(stream: TextIO) -> Display:
    """Return the display that suits where a stream leads.

    Parameters
    ----------
    stream : TextIO
        Standard output, or another stream.

    Returns
    -------
    Display
        Rows that change on a terminal where `rich` is installed, and in a notebook. Everywhere else plain
        lines: in files, pipes and batch systems, on terminals that cannot move the cursor (``TERM=dumb``).

    Examples
    --------
    >>> import io
    >>> type(find_display(io.StringIO())).__name__
    'Display'
    """
    if stream is sys.stdout and _is_notebook():
        return Notebook(stream)
    if _is_terminal(stream) and os.environ.get("TERM", "").lower() not in ("dumb", "unknown"):
        with suppress(ImportError):
            terminal = Terminal(stream)
            if not terminal.console.legacy_windows:  # which knows no signs that erase
                return terminal
    return Display(stream)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream, or one that is closed
        return False


def _is_notebook() -> bool:
    """Return whether this runs in a notebook: its shell has a kernel, that of a terminal has none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
