"""HTML that no text can break, and pictures as PNG."""

import html.parser
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist.training.report.markup import document, element, join, png, table


class Reader(html.parser.HTMLParser):
    """The text and the tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(st.text(), st.text())
def test_no_text_becomes_markup(text: str, attribute: str) -> None:
    found = Reader(element("p", text, title=attribute))
    assert found.tags == ["p"]
    assert [name for name, _ in found.attributes] == ["title"]
    if text.isprintable():
        assert "".join(found.texts) == text
    if attribute.isprintable():
        assert found.attributes == [("title", attribute)]


def test_signs_that_a_browser_acts_on_are_spelt_out() -> None:
    assert join("a\x1b[2J\u202e\nb") == "a\\x1b[2J\\u202e\nb"


def test_attributes_that_are_not_there_are_left_out() -> None:
    assert (
        element("td", "x", class_=None, hidden=False, open=True, colspan=2) == '<td open colspan="2">x</td>'
    )


def test_a_table_has_headings_with_scope() -> None:
    text = table(("a", "b"), [("1", "<2>")], "numbers")
    assert text.count('scope="col"') == 2
    assert text.count('scope="row"') == 1
    assert "&lt;2&gt;" in text


def test_a_document_forbids_everything_but_its_own_style_and_pictures() -> None:
    text = document("<t>", "p{}", element("p", "x"), kind="report")
    assert "default-src &#x27;none&#x27;" in text
    assert "<title>&lt;t&gt;</title>" in text
    assert 'lang="en"' in text


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (28, 28), (4, 6, 3)])
def test_png_is_read_by_others(shape: tuple[int, ...]) -> None:
    image_module = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with image_module.open(io.BytesIO(png(pixels))) as found:
        assert np.array_equal(np.asarray(found), pixels)
