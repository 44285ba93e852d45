"""Rows of text, in columns."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below a heading, each column as wide as its widest entry.

    Examples
    --------
    >>> print_table(("a", "b"), [("1", "2"), ("333", "4")])
    a    b
    1    2
    333  4
    """
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading))]
    for row in (heading, *rows):
        print("  ".join(f"{entry:{width}}" for entry, width in zip(row, widths, strict=True)).rstrip())
