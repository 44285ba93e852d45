"""The course of a training: curves, learning rates, and gradients with sentences that read them."""

from __future__ import annotations

from tinygrad_mnist.numbers import count_text
from tinygrad_mnist.training.report.drawn import Drawn, figure, paragraphs
from tinygrad_mnist.training.report.gradient_reading import layer_norms, read_gradients
from tinygrad_mnist.training.report.markup import Content, element, join
from tinygrad_mnist.training.report.reproduction import extensions
from tinygrad_mnist.training.report.results import number


def course(drawn: Drawn) -> Content:
    """Return the curves, and what the gradients say; None if nothing is known."""
    history, recipe = drawn.run.history, drawn.run.checkpoint.recipe
    pictures = [
        figure(drawn, "curves", *_curves_caption(drawn)),
        figure(drawn, "learning_rate", f"The learning rate of each step.{_longer(drawn)}"),
        figure(
            drawn, "gradients", "The norm of each layer's gradient before clipping, on a logarithmic scale."
        ),
    ]
    reading: list[str] = []
    if history.gradients:
        reading = read_gradients(
            layer_norms(history.gradients, drawn.run.checkpoint.model),
            history.clipped,
            recipe.clip_norm,
            len(history.losses),
        )
    elif history.losses:
        reading = ["No gradient norms were recorded."]
    found = [picture for picture in pictures if picture is not None]
    if not found and not reading:
        return None
    columns = [found[:1], found[1:]]  # the first is as high as the others together
    return join(
        element("div", (element("div", column) for column in columns if column), class_="pair"),
        element("h3", "What the gradients say") if reading else None,
        paragraphs(reading),
    )


def _longer(drawn: Drawn) -> str:
    """Return a sentence on the steps between which the rate jumps, as the run was made longer there."""
    checkpoint = drawn.run.checkpoint
    found = extensions(checkpoint.origin)
    if not found:
        return ""
    after = ", ".join(f"{one.steps:,}" for one in found)
    return (
        f" The run was made longer after {'step' if len(found) == 1 else 'steps'} {after}. From there on the "
        "rates are those of a training of the new length, so they may jump."
    )


def _curves_caption(drawn: Drawn) -> list[Content]:
    history = drawn.run.history
    if not history.records:
        return []
    last, best = history.records[-1], number(drawn.run.summary, "best_step")
    caption = (
        f"{count_text(len(history.records), 'evaluation')}, the last after {count_text(last.step, 'step')}."
    )
    if best is not None:
        caption += f" The state after step {best:,.0f} was kept: it was the best on the validation part."
    return [caption]
