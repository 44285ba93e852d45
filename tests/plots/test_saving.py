"""Files are written whole or not at all; SVG is fit to stand in a page beside others."""

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tinygrad_mnist import plots
from tinygrad_mnist.plots.figure import PALETTE

ROWS = [{"epoch": k, "train_loss": 1 / k, "validation_accuracy": 0.5} for k in (1, 2, 3)]
SVG = "{http://www.w3.org/2000/svg}"


def figure(title: str = "Training") -> Figure:
    return plots.plot_training(ROWS, title=title)


def test_a_picture_is_written_alone_and_small(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    assert plots.save(figure(), path) == path
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size < 100_000
    with Image.open(path) as image:
        assert image.size == tuple(np.rint(figure().get_size_inches() * 130).astype(int))
        assert np.asarray(image.convert("L")).std() > 3


@pytest.mark.parametrize(
    ("name", "begin"), [("a.svg", b"<svg"), ("a.SVG", b"<svg"), ("a.pdf", b"%PDF"), ("a", b"\x89PNG")]
)
def test_the_ending_names_the_format(tmp_path: Path, name: str, begin: bytes) -> None:
    assert plots.save(figure(), tmp_path / name).read_bytes().startswith(begin)


def test_a_format_that_no_picture_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"a.xyz: a picture is written as .*png.* and not as 'xyz'; give the"
    ):
        plots.save(figure(), tmp_path / "a.xyz")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training.png"
    path.write_bytes(b"the old one")

    def fail(figure: Figure, file: Any, **options: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.save(figure(), path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_svg_has_its_own_colours_and_a_background(tmp_path: Path) -> None:
    text = plots.save(figure(), tmp_path / "a.svg").read_text("utf-8")
    assert "var(" not in text
    assert "fill: #ffffff" in text
    assert ElementTree.fromstring(text).get("height")


def test_a_page_sets_the_colours_and_the_width() -> None:
    text = plots.svg(figure())
    for name in ("ink", "grey", "pale", "blue", "vermillion"):
        assert f"var(--{name}, {PALETTE[name].lower()})" in text
    assert not re.findall(r"#[0-9a-f]{6}", re.sub(r"var\([^)]*\)", "", text))
    root = ElementTree.fromstring(text)
    assert root.get("width") == "100%"
    assert root.get("height") is None


def test_what_is_read_aloud_is_said_first() -> None:
    root = ElementTree.fromstring(plots.svg(figure(), "A & B", "It falls < 1."))
    assert root.get("role") == "img"
    assert [(child.tag, child.text) for child in root[:2]] == [
        (f"{SVG}title", "A & B"),
        (f"{SVG}desc", "It falls < 1."),
    ]
    assert ElementTree.fromstring(plots.svg(figure()))[0].text == "Training"


def test_signs_that_no_xml_may_hold_are_spelt_out() -> None:
    it = plots.plot_confusion(np.eye(2), names=["\x1b[2J", "b"], title="a\x00b\ud800")
    text = plots.svg(it, description="c\x08")
    assert {"\\x1b[2J", "a\\x00b\\ud800", "c\\x08"} <= {e.text for e in ElementTree.fromstring(text).iter()}


def test_text_stays_text() -> None:
    root = ElementTree.fromstring(plots.svg(figure("$a$ 数字 <b>")))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"$a$ 数字 <b>", "Loss", "epochs"} <= set(texts)
    assert "DejaVu Sans Mono" not in plots.svg(figure())


def test_equal_pictures_are_equal_bytes_without_date_or_rules_for_the_page() -> None:
    text = plots.svg(figure())
    assert text == plots.svg(figure())
    assert not re.search(r"<metadata|<style|\d{4}-\d\d-\d\d|<!--", text)


def test_ids_of_two_pictures_in_a_page_differ_and_lead_somewhere() -> None:
    def ids(text: str) -> set[str]:
        found = re.findall(r' id="([^"]*)"', text)
        assert set(re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", text)) <= {
            pair for name in found for pair in ((name, ""), ("", name))
        }
        assert len(found) == len(set(found)) > 0
        return set(found)

    one = ids(plots.svg(figure()))
    assert not one & ids(plots.svg(figure("Another")))
    assert not one & ids(plots.svg(figure(), prefix="second-"))


def test_a_figure_stays_as_it_was(tmp_path: Path) -> None:
    it = figure()
    before = plots.save(it, tmp_path / "a.png").read_bytes()
    plots.svg(it)
    assert plots.save(it, tmp_path / "b.png").read_bytes() == before


def test_a_sign_that_no_font_has_is_no_warning(tmp_path: Path) -> None:
    it = plots.plot_confusion(np.eye(2), names=["\u304a", "\u3092"])
    plots.save(it, tmp_path / "a.png")
    assert "\u304a" in plots.svg(it)
