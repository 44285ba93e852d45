"""Numbers as text: percent, counts, times, bytes, shapes; and text of unknown origin as text to print.

Whatever the package prints, draws or writes takes its numbers from here, so that the same number looks the
same everywhere. This module is below all others and imports none of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def percent_text(share: float, digits: int = 2) -> str:
    """Return a share of 1 in percent.

    Examples
    --------
    >>> percent_text(0.98254), percent_text(0.5, 0)
    ('98.25 %', '50 %')
    """
    return f"{100 * share:.{digits}f} %"


def count_text(number: float, noun: str) -> str:
    """Return a number of things, in the singular or plural; a fraction has two decimals at most.

    Examples
    --------
    >>> count_text(1, "module"), count_text(52_650, "parameter"), count_text(0.38882, "epoch")
    ('1 module', '52,650 parameters', '0.39 epochs')
    >>> count_text(3, "class"), count_text(2, "axis"), count_text(2, "entry"), count_text(1, "test image")
    ('3 classes', '2 axes', '2 entries', '1 test image')
    >>> count_text(1.0045, "epoch")
    '1 epoch'
    """
    if not isinstance(number, int):
        number = round(number, 2)
    digits = f"{number:,}" if isinstance(number, int) else f"{number:,.10g}"
    return f"{digits} {noun if number == 1 else _plural(noun)}"


def _plural(noun: str) -> str:
    """Return the plural of a noun, as far as the package counts things."""
    for singular, plural in (("is", "es"), ("ss", "sses"), ("tch", "tches"), ("ry", "ries")):
        if noun.endswith(singular):
            return noun.removesuffix(singular) + plural
    return f"{noun}s"


def duration_text(seconds: float) -> str:
    """Return whole seconds, in minutes or hours where they are many: how long a person waits.

    Examples
    --------
    >>> duration_text(4.4), duration_text(250), duration_text(7500)
    ('4 s', '4 min 10 s', '2 h 5 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def seconds_text(seconds: float | None) -> str:
    """Return a time in the unit that suits it; a dash for None.

    Examples
    --------
    >>> seconds_text(0.0000123), seconds_text(0.0045), seconds_text(None)
    ('12.3 µs', '4.5 ms', '-')
    """
    if seconds is None:
        return "-"
    for scale, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * scale < 999.5:  # from there on it rounds to the next unit
            return f"{seconds * scale:.3g} {unit}"
    return f"{_without_exponent(seconds)} s"


def bytes_text(count: int) -> str:
    """Return the text of a number of bytes.

    Examples
    --------
    >>> bytes_text(40), bytes_text(200_704), bytes_text(3_400_000)
    ('40 B', '196 KiB', '3.24 MiB')
    """
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1023.5:  # from there on it rounds to the next unit
            break
        size, unit = size / 1024, larger
    return f"{_without_exponent(size)} {unit}"


def flops_text(count: int) -> str:
    """Return the text of a number of floating-point operations.

    Examples
    --------
    >>> flops_text(640), flops_text(117_964_800)
    ('640 FLOP', '118 MFLOP')
    """
    size, unit = float(count), ""
    for larger in "kMGT":
        if size < 999.5:  # from there on it rounds to the next unit
            break
        size, unit = size / 1000, larger
    return f"{_without_exponent(size)} {unit}FLOP"


def _without_exponent(x: float) -> str:
    """Return a positive number with three significant digits, or all of its whole ones if they are more."""
    return f"{x:.3g}" if x < 999.5 else f"{x:.0f}"


def shape_text(shape: Sequence[int]) -> str:
    """Return the text of a shape.

    Examples
    --------
    >>> shape_text((128, 64)), shape_text((10,)), shape_text(())
    ('128×64', '10', 'scalar')
    """
    return "×".join(map(str, shape)) or "scalar"


def size_text(shape: tuple[int, int]) -> str:
    """Return height and width of an image, in signs that every terminal has.

    Examples
    --------
    >>> size_text((28, 28))
    '28 x 28'
    """
    return f"{shape[0]} x {shape[1]}"


def number_text(x: float | None) -> str:
    """Return a number with three significant digits; a dash for None.

    Examples
    --------
    >>> number_text(0.00012345), number_text(2.0), number_text(None)
    ('0.000123', '2', '-')
    """
    return "-" if x is None else f"{x:.3g}"


def math_text(x: float) -> str:
    """Return a number with four digits, in the signs of mathematics.

    Examples
    --------
    >>> math_text(-2.0), math_text(1 / 3), math_text(-0.0), math_text(-float("inf"))
    ('−2', '0.3333', '0', '−∞')
    """
    if math.isnan(x):
        return "NaN"
    return f"{x + 0.0:.4g}".replace("-", "−").replace("e+0", "e").replace("inf", "∞")


def printable(text: str) -> str:
    r"""Return a line of text in which signs that a terminal does not show, but acts on, are spelt out.

    Names of files and classes, and whatever else stands in a file, may hold such signs: new lines, colours,
    moves of the cursor, a change of the direction of writing.

    Examples
    --------
    >>> print(printable("3\x1b[2J\u202e é"))
    3\x1b[2J\u202e é
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def short_text(text: str, most: int = 80) -> str:
    r"""Return text of unknown origin for a sentence: printable, and cut where it is long.

    Examples
    --------
    >>> short_text("3\n"), short_text("abcdef", 3)
    ('3\\n', 'abc...')
    """
    return printable(_cut(text, most))


def quoted(value: object, most: int = 80) -> str:
    r"""Return a value of unknown origin in quotes for a sentence: printable, and cut where it is long.

    Examples
    --------
    >>> print(quoted("layer.weight"), quoted("a\n"), quoted("abcdef", 3))
    'layer.weight' 'a\n' 'abc...'
    """
    return repr(_cut(str(value), most))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
