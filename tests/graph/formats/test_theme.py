"""The colours of pictures can be read by everybody, and what they tell is said otherwise too."""

import re

import pytest

from tinygrad_mnist.graph.formats.theme import DARK, LIGHT, THEMES, mark_words, palette, signed


def test_words_stand_once() -> None:
    assert mark_words(("no gradient",), ("no gradient",)) == []
    assert mark_words(("origin",), ("32/1024 NaN start here",)) == []
    assert signed("Linear", ("removed",)) == "− Linear"


def luminance(colour: str) -> float:
    """Of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_borders_stand_out_from_what_is_behind(theme: str) -> None:
    colours = THEMES[theme]
    fills = [role for role in colours if f"{role} border" in colours]
    grounds = ["paper", "panel"]
    for fill in fills + grounds:
        for text in ("ink", "quiet"):
            assert contrast(colours[text], colours[fill]) >= 4.5, (text, fill)
    assert contrast(colours["ink"], colours["track"]) >= 4.5  # a button of the page
    for ground in grounds:
        assert contrast(colours["gradient"], colours[ground]) >= 4.5
        for line in ["line", "none", "frame", *(f"{fill} border" for fill in fills)]:
            assert contrast(colours[line], colours[ground]) >= 3, (line, ground)


def test_a_colour_tells_its_role() -> None:
    assert DARK.keys() == LIGHT.keys()
    for colours in THEMES.values():
        assert len(set(colours.values())) == len(colours)
        assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours.values())


def test_an_unknown_theme_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no theme 'blue'; expected one of light, dark"):
        palette("blue")
