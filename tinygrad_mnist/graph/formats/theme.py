"""The colours and marks of pictures. No colour speaks alone: its meaning is in a border or in words too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

LIGHT: Final[Mapping[str, str]] = {
    "paper": "#ffffff",
    "ink": "#1a2230",
    "quiet": "#4f5b6b",
    "line": "#687586",
    "panel": "#f5f7fa",
    "frame": "#7f8b9c",
    "module": "#e6effd",
    "module border": "#4a73bd",
    "fold": "#d6e4fb",
    "fold border": "#2f58a6",
    "operation": "#eef1f5",
    "operation border": "#77859a",
    "parameter": "#fdf0d3",
    "parameter border": "#a67718",
    "buffer": "#efe9f9",
    "buffer border": "#7d66ad",
    "input": "#def3e6",
    "input border": "#3a8558",
    "gradient": "#b23c0a",
    "none": "#6f7c8d",
    "origin": "#ffdfe6",
    "origin border": "#b00f3b",
    "spoiled": "#fdf1f4",
    "spoiled border": "#b5486a",
    "peak": "#ffe8d6",
    "peak border": "#b3500f",
    "added": "#dcf5e1",
    "added border": "#1b7a35",
    "removed": "#fde4e1",
    "removed border": "#b32318",
    "changed": "#fdf2c4",
    "changed border": "#8b6508",
    "bar": "#3f69c2",
    "track": "#ccd4e0",
}
"""The colours by role. No two roles have the same colour, so that a drawn colour tells its role."""

DARK: Final[Mapping[str, str]] = {
    "paper": "#12161d",
    "ink": "#eef2f7",
    "quiet": "#b4bfcd",
    "line": "#8e9bad",
    "panel": "#1a2029",
    "frame": "#6c7a8d",
    "module": "#1d3157",
    "module border": "#7ba2e8",
    "fold": "#24406f",
    "fold border": "#a3c1f7",
    "operation": "#2a323e",
    "operation border": "#93a1b5",
    "parameter": "#443613",
    "parameter border": "#d6a840",
    "buffer": "#352b4c",
    "buffer border": "#ad97dc",
    "input": "#17402a",
    "input border": "#6cbd8d",
    "gradient": "#ff9d6b",
    "none": "#8794a6",
    "origin": "#5c1228",
    "origin border": "#ff7d9d",
    "spoiled": "#3a1c27",
    "spoiled border": "#d9809a",
    "peak": "#52290d",
    "peak border": "#f5a063",
    "added": "#143d20",
    "added border": "#63c67e",
    "removed": "#51201b",
    "removed border": "#ff8f85",
    "changed": "#453a0b",
    "changed border": "#dbb93a",
    "bar": "#86aaf0",
    "track": "#465264",
}
"""The colours of the same roles on a dark ground."""

THEMES: Final = {"light": LIGHT, "dark": DARK}

SIGNS: Final = {"added": "+", "removed": "−", "changed": "~"}
"""The signs before titles that a comparison marked."""

WORDS: Final = {
    "no gradient": "no gradient",
    "origin": "not finite from here on",
    "spoiled": "not finite",
    "peak": "peak",
}
"""The words for marks where no line of the box says them."""

FILLED: Final = ("origin", "removed", "added", "changed", "peak", "spoiled")
"""The marks that give a box its colours, the first that it has."""


def palette(theme: str) -> Mapping[str, str]:
    """Return the colours of a theme.

    Raises
    ------
    ValueError
        If there is no such theme.
    """
    if theme not in THEMES:
        raise ValueError(f"there is no theme {theme!r}; expected one of {', '.join(THEMES)}")
    return THEMES[theme]


def signed(title: str, marks: tuple[str, ...]) -> str:
    """Return a title with the sign of its mark before it.

    Examples
    --------
    >>> signed("Linear", ("added",))
    '+ Linear'
    """
    signs = [SIGNS[mark] for mark in marks if mark in SIGNS]
    return " ".join([*signs, title]) if title else "".join(signs)


def mark_words(marks: tuple[str, ...], lines: tuple[str, ...]) -> list[str]:
    """Return the words of marks that no line says already.

    Examples
    --------
    >>> mark_words(("peak", "spoiled"), ("12 NaN",))
    ['peak']
    """
    text = " ".join(lines).lower()
    heard = {"origin": ("nan", "inf"), "spoiled": ("nan", "inf")}
    return [
        WORDS[mark]
        for mark in marks
        if mark in WORDS and not any(word in text for word in (WORDS[mark], *heard.get(mark, ())))
    ]


def class_name(attribute: str, role: str) -> str:
    """Return the class of what is drawn with a colour: ``fill-module-border``."""
    return f"{attribute}-{role.replace(' ', '-')}"


def rules(colours: Mapping[str, str], around: str, fills: Collection[str], strokes: Collection[str]) -> str:
    """Return CSS that gives an SVG made by `to_svg` other colours, inside what a selector names."""
    return "".join(
        f"{around} .{class_name(attribute, role)}{{{attribute}:{colour}}}"
        for attribute, roles in (("fill", fills), ("stroke", strokes))
        for role, colour in colours.items()
        if role in roles
    )
