"""The result of a run: in a sentence, and in key numbers."""

from __future__ import annotations

from tinygrad_mnist.numbers import count_text, duration_text, percent_text
from tinygrad_mnist.plots import wilson_interval
from tinygrad_mnist.training.report.drawn import Drawn
from tinygrad_mnist.training.report.markup import Content, Markup, element, join
from tinygrad_mnist.training.report.trained_run import TrainedRun
from tinygrad_mnist.training.training_data import data_title


def data_name(run: TrainedRun) -> str:
    """Return what a sentence calls the data of a run."""
    origin = run.checkpoint.origin
    return data_title(str(origin.get("dataset", origin.get("data"))), str(origin.get("data")))


def counted(run: TrainedRun) -> tuple[int, int] | None:
    """Return how many test images are recognised, of how many; None if nobody knows."""
    if run.right is not None:
        return int(run.right.sum()), len(run.right)
    accuracy, images = run.summary.get("test_accuracy"), run.summary.get("test_images")
    if isinstance(accuracy, float) and isinstance(images, int) and images > 0:
        return round(accuracy * images), images
    return None


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
        if isinstance(summary.get(f"{part}_accuracy"), float):
            images = summary.get(f"{part}_images")
            numbers.append(
                (name, percent_text(summary[f"{part}_accuracy"]), f"{images:,} images" if images else "")
            )
    if isinstance(summary.get("test_loss"), float):
        numbers.append(("Test loss", f"{summary['test_loss']:.4f}", "nats"))
    parameters = sum(parameter.size for parameter in run.checkpoint.model.parameters())
    numbers.append(("Parameters", f"{parameters:,}", recipe.architecture))
    if "epochs" in summary:
        unit = "iteration" if recipe.full_batch else "epoch"
        numbers.append(("Trained for", count_text(summary["epochs"], unit), f"{summary['steps']:,} steps"))
        numbers.append(
            (
                "Training time",
                time_text(summary["train_seconds"]),
                f"{summary['images_per_second']:,.0f} images a second",
            )
        )
        numbers.append(
            (
                "Kept",
                f"step {summary['best_step']:,}",
                f"epoch {summary['best_epoch']:.4g}, the best on validation",
            )
        )
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
