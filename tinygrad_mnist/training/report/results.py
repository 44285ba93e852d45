"""The result of a run: in a sentence, and in key numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tinygrad_mnist.numbers import count_text, duration_text, percent_text
from tinygrad_mnist.plots import wilson_interval
from tinygrad_mnist.training.report.drawn import Drawn
from tinygrad_mnist.training.report.markup import Content, Markup, element, join
from tinygrad_mnist.training.report.processes import processes
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.training_data import data_title

_LARGEST: Final = 1e15
"""Numbers of a summary are less: no training has as many images, steps or seconds."""


def data_name(run: TrainedRun) -> str:
    """Return what a sentence calls the data of a run."""
    origin = run.checkpoint.origin
    return data_title(str(origin.get("dataset", origin.get("data"))), str(origin.get("data")))


def number(summary: Mapping[str, Any], name: str) -> float | None:
    """Return a number of a summary; None where it holds none, or one below 0 or without bound.

    A summary may be of an earlier version, or written by hand: whatever reads its numbers reads them by this.

    Examples
    --------
    >>> number({"epochs": 2}, "epochs"), number({"epochs": "2"}, "epochs"), number({}, "epochs")
    (2.0, None, None)
    """
    value = summary.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # NaN is not in the range; of a whole number beyond it there is no float
    return float(value) if 0 <= value < _LARGEST else None


def share(summary: Mapping[str, Any], name: str) -> float | None:
    """Return a number of a summary that is a share, 0 to 1; None where it holds none."""
    found = number(summary, name)
    return found if found is not None and found <= 1 else None


def counted(run: TrainedRun) -> tuple[int, int] | None:
    """Return how many test images are recognised, of how many; None if nobody knows."""
    if run.right is not None:
        return int(run.right.sum()), len(run.right)
    accuracy, images = share(run.summary, "test_accuracy"), number(run.summary, "test_images")
    if accuracy is None or images is None or images < 1:
        return None
    return round(accuracy * int(images)), int(images)


def interval_text(right: int, total: int) -> str:
    """Return the 95 % interval of an accuracy.

    Examples
    --------
    >>> interval_text(9700, 10_000)
    '96.65 % to 97.32 %'
    """
    low, high = wilson_interval(right, total)
    return f"{percent_text(float(low))} to {percent_text(float(high))}"


def noun(run: TrainedRun) -> str:
    """Return the word for what the images show."""
    names = run.checkpoint.class_names
    return "digit" if all(name in tuple("0123456789") for name in names) else "picture"


def result(run: TrainedRun) -> Markup:
    """Return the result in one sentence."""
    found = counted(run)
    if found is None:
        return element(
            "p", "How well the model recognises unseen images is not known: see below.", class_="lead"
        )
    right, total = found
    return element(
        "p",
        "The model recognises ",
        element("strong", percent_text(right / total)),
        f" of {total:,} {noun(run)}s that it has not seen: {right:,} right, {total - right:,} wrong "
        f"(95 % interval {interval_text(right, total)}).",
        class_="lead",
    )


def key_numbers(drawn: Drawn) -> Content:
    """Return accuracies, sizes and times, those that are known."""
    run, summary, recipe = drawn.run, drawn.run.summary, drawn.run.checkpoint.recipe
    found = counted(run)
    numbers: list[tuple[str, str, str]] = []
    if found is not None:
        numbers.append(("Test accuracy", percent_text(found[0] / found[1]), f"{found[1]:,} images"))
    for name, part in (("Validation accuracy", "validation"), ("Training accuracy", "train")):
        accuracy, images = share(summary, f"{part}_accuracy"), number(summary, f"{part}_images")
        if accuracy is not None:
            numbers.append((name, percent_text(accuracy), f"{images:,.0f} images" if images else ""))
    test_loss = number(summary, "test_loss")
    if test_loss is not None:
        numbers.append(("Test loss", f"{test_loss:.4f}", "nats"))
    parameters = sum(parameter.size for parameter in run.checkpoint.model.parameters())
    numbers.append(("Parameters", f"{parameters:,}", recipe.architecture))
    epochs, steps = number(summary, "epochs"), number(summary, "steps")
    if epochs is not None:
        passes = count_text(epochs, "iteration" if recipe.full_batch else "epoch")
        numbers.append(("Trained for", passes, "" if steps is None else count_text(int(steps), "step")))
    seconds, speed = number(summary, "train_seconds"), number(summary, "images_per_second")
    if seconds is not None:
        numbers.append(
            ("Training time", time_text(seconds), "" if speed is None else f"{speed:,.0f} images a second")
        )
    several = processes(summary)
    if several is not None:
        numbers.append(("Processes", str(several.ranks), several.waiting))
    best_step, best_epoch = number(summary, "best_step"), number(summary, "best_epoch")
    if best_step is not None:
        epoch = "" if best_epoch is None else f"epoch {best_epoch:.4g}, "
        numbers.append(("Kept", f"step {best_step:,.0f}", f"{epoch}the best on validation"))
    entries = (
        element("div", element("dt", name), element("dd", value, element("small", below) if below else None))
        for name, value, below in numbers
    )
    interrupted = (
        "The user ended this training early; the best state until then was kept."
        if summary.get("interrupted")
        else None
    )
    return join(element("dl", entries, class_="key"), element("p", interrupted) if interrupted else None)


def time_text(seconds: float) -> str:
    """Return a time of training."""
    return duration_text(seconds) if seconds >= 60 else f"{seconds:.2f} s"
