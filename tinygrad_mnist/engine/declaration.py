"""The place where an operation is declared, so that declaring it there again is told from a name taken twice.

A cell of a notebook is run again and again, and a module is reloaded after an edit: each time the same
operation is declared anew. A second operation of the same name, elsewhere, is a mistake.
"""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass
from types import CodeType
from typing import Any

__all__ = ["Place", "place_of_declaration"]


@dataclass(frozen=True)
class Place:
    """A line of code that declared an operation.

    Parameters
    ----------
    scope : tuple of str
        The file (for the cells of a notebook or the lines of a console their module, as each has a file name
        of its own), and the function.
    file, line : str, int
        What errors show.
    code : weak reference
        The compiled code that ran; code that is compiled again, after a reload, is another object.
    """

    scope: tuple[str, str]
    file: str
    line: int
    code: weakref.ref[CodeType]

    def is_repeated_by(self, other: Place) -> bool:
        """Return whether ``other`` is this declaration, run again or edited and compiled again.

        Two lines of the same compiled code are two declarations.
        """
        return self.scope == other.scope and (self.line == other.line or self.code() is not other.code())

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


def place_of_declaration(inside: str) -> Place:
    """Return the line that called into the module named ``inside``, which calls this."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == inside:
        frame = frame.f_back
    code, names = frame.f_code, frame.f_globals
    scope = str(names.get("__name__")) if _is_cell(code.co_filename, names) else code.co_filename
    return Place((scope, code.co_qualname), code.co_filename, frame.f_lineno, weakref.ref(code))


def _is_cell(file: str, names: dict[str, Any]) -> bool:
    """Return whether code came from a notebook or a console, whose file names are made up for each input."""
    return (
        file.startswith("<")  # <stdin>, <ipython-input-3-1f2e>, <doctest ...>
        or "ipykernel_" in file  # /tmp/ipykernel_4711/123456.py
        or (names.get("__name__") == "__main__" and "__file__" not in names)
    )
