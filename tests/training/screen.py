"""A terminal's screen, as far as progress needs one: it knows no other signs than those that are expected."""

import io
import re

SIGN = re.compile(
    r"\x1b\[(?:(?P<up>\d+)A|(?P<erase>J)|(?P<colour>[\d;]*)m|\?25[lh])|(?P<move>[\r\n])|(?P<text>[^\x1b\r\n]+)"
)


def screen_of(output: str, columns: int = 80) -> list[str]:
    """Return the rows that stand on a screen of that width after the output, without empty ones at the end.

    A text that is too long goes on in the next row, as on every terminal.
    """
    rows, row, column, position = [""], 0, 0, 0
    while position < len(output):
        sign = SIGN.match(output, position)
        assert sign, f"a sign that is not expected: {output[position : position + 10]!r}"
        position = sign.end()
        if sign["up"]:
            row -= int(sign["up"])
            assert row >= 0, "above the screen"
        elif sign["erase"]:
            rows[row:] = [rows[row][:column]]
        elif sign["move"] == "\r":
            column = 0
        elif sign["move"] == "\n":  # the terminal makes \r\n of it
            row, column = row + 1, 0
        for letter in sign["text"] or "":
            if column == columns:
                row, column = row + 1, 0
            rows += [""] * (row + 1 - len(rows))
            rows[row] = rows[row].ljust(column)[:column] + letter + rows[row][column + 1 :]
            column += 1
        rows += [""] * (row + 1 - len(rows))
    while rows and not rows[-1].strip():
        rows.pop()
    return [text.rstrip() for text in rows]


class Screen(io.StringIO):
    """A stream that says it is a terminal, and counts what is written at once."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)
