"""Test images with what a model says of them: samples, and its most confident mistakes."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_mnist.numbers import percent_text
from tinygrad_mnist.training.report.drawn import Drawn
from tinygrad_mnist.training.report.markup import Content, Markup, element, image, join
from tinygrad_mnist.training.report.results import noun
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.runs.data_picture import is_drawn_as_ink

LARGEST: Final = 128
"""Pixels of the longer side of an image: it is shown smaller than that."""


def examples(drawn: Drawn) -> Content:
    """Return samples and mistakes; None without data."""
    run, examples = drawn.run, drawn.examples
    if run.dataset is None or examples is None:
        return None
    return join(
        element("h3", f"Sample {noun(run)}s"),
        element(
            "p",
            "Chosen at random from the test part. Wrong ones have a cross, a thick frame and the true class.",
        ),
        _digits(drawn, examples.samples),
        element("h3", "The most confident mistakes"),
        _digits(drawn, examples.mistakes)
        if len(examples.mistakes)
        else element("p", "There are no mistakes."),
    )


def _digits(drawn: Drawn, chosen: NDArray[np.intp]) -> Markup:
    """Return a list of test images with what was predicted, how surely, and what is true."""
    run = drawn.run
    assert run.dataset is not None
    assert run.predicted is not None
    items = []
    for k in chosen.tolist():
        pixels = shown(run, run.dataset.test_images[k])
        picture = image(pixels, f"test image {k}", scale=1)
        items.append(element("li", picture, *_verdict(run, k), class_=_verdict_class(run, k)))
    return element("ul", items, class_="digits")


def _verdict(run: TrainedRun, k: int) -> list[Markup]:
    """Return the lines below a test image."""
    assert run.dataset is not None
    assert run.predicted is not None
    assert run.probabilities is not None
    names, said, true = run.checkpoint.class_names, int(run.predicted[k]), int(run.dataset.test_labels[k])
    sure = confidence_text(float(run.probabilities[k, said]))
    if said == true:
        return [element("span", "✓ ", element("b", names[said]), f" · {sure}")]
    return [
        element("span", element("b", "✗ ", names[said]), f" · {sure}"),
        element("span", "wrong: is ", element("b", names[true])),
    ]


def _verdict_class(run: TrainedRun, k: int) -> str:
    assert run.right is not None
    return "right" if run.right[k] else "wrong"


def shown(run: TrainedRun, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image as it is drawn: light signs on dark as ink on paper, large ones coarser."""
    assert run.dataset is not None
    step = -(-max(pixels.shape) // LARGEST)
    pixels = pixels[::step, ::step]
    return 255 - pixels if is_drawn_as_ink(run.dataset) else pixels


def confidence_text(share: float) -> str:
    """Return a probability in percent; one that would round up to 100 % is given as "> 99.9 %".

    Examples
    --------
    >>> confidence_text(0.512), confidence_text(0.99999)
    ('51.2 %', '> 99.9 %')
    """
    return "> 99.9 %" if 0.9995 <= share < 1 else percent_text(share, 1)
