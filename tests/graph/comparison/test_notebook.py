"""A difference at the end of a notebook's cell is its picture, and its text where nothing draws."""

import pytest

from tinygrad_mnist import Tensor, graph


def test_a_notebook_shows_the_picture_and_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    found = graph.diff((x * x).graph(), (x + x).graph())
    shown = found._repr_mimebundle_()
    assert shown["text/plain"].startswith(found.text())
    assert shown.keys() & {"image/svg+xml", "text/html"}

    def fail(*arguments: object) -> str:
        raise RecursionError("deep")

    monkeypatch.setattr(graph.Difference, "drawing", fail)
    assert "no picture: deep" in found._repr_mimebundle_()["text/html"]
    monkeypatch.setattr(graph.Difference, "text", fail)
    assert found._repr_mimebundle_() == {"text/plain": "a difference, which could not be told: deep"}
