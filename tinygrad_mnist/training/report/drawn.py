"""A run with what was drawn of it: what the sections of a page are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tinygrad_mnist.training.report.markup import Content, Markup, element
from tinygrad_mnist.training.report.pictures import Examples, Picture
from tinygrad_mnist.training.report.trained_run import TrainedRun


@dataclass(frozen=True, eq=False)
class Drawn:
    """A run, and what was drawn of it.

    Parameters
    ----------
    run : TrainedRun
        The run.
    pictures : mapping
        The pictures that could be drawn, by name.
    examples : Examples or None
        Images of the test part that are shown; None without data.
    graph : str or None
        The graph of a training step, as SVG.
    graph_page : str or None
        The name of the file beside the report that has the graph as a page.
    missing : list of str
        Sentences on what could not be drawn, and why.
    """

    run: TrainedRun
    pictures: Mapping[str, Picture]
    examples: Examples | None = None
    graph: str | None = None
    graph_page: str | None = None
    missing: list[str] = field(default_factory=list)


def figure(drawn: Drawn, name: str, *caption: Content) -> Markup | None:
    """Return a picture with its caption; None if it could not be drawn."""
    picture = drawn.pictures.get(name)
    if picture is None:
        return None
    below = element("figcaption", *caption) if caption else None
    # numbers as colours are seen best on white, and so are images of ink
    kind = "picture on-white" if name in ("weights", "saliency") else "picture"
    return element("figure", element("div", Markup(picture.svg), class_=kind), below)


def paragraphs(sentences: Iterable[str]) -> list[Markup]:
    """Return a paragraph for each sentence."""
    return [element("p", sentence) for sentence in sentences]
