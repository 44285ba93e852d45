"""What a run came to, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Outcome
from tinygrad_mnist.training.wording import percent


def describe_data(dataset: Dataset) -> str:
    """The data, in a line."""
    height, width = dataset.image_shape
    return (
        f"data {dataset.name}: {len(dataset.train_images):,} training and {len(dataset.test_images):,} test "
        f"images of {height} x {width} pixels, {dataset.classes} classes"
    )


def summary_line(outcome: Outcome) -> str:
    """All that matters, in one line."""
    summary = outcome.summary
    return (
        f"{summary['recipe']} on {summary['data']}: test accuracy {percent(summary['test_accuracy'])} "
        f"(training {percent(summary['train_accuracy'])}, "
        f"validation {percent(summary['validation_accuracy'])}), "
        f"{count(summary['epochs'], summary)} in {summary['train_seconds']:.2f} s"
        f"{', interrupted' if summary['interrupted'] else ''}, {outcome.directory}"
    )


def count(epochs: float, summary: Mapping[str, Any]) -> str:
    """A number of epochs; of iterations, where each sees all images."""
    unit = "iteration" if summary["config"]["batch_size"] is None else "epoch"
    return f"{epochs:.4g} {unit}{'' if epochs == 1 else 's'}"


def print_outcome(outcome: Outcome) -> None:
    """Print accuracies, times and paths."""
    summary = outcome.summary
    test, validation, training = (
        percent(summary[f"{part}_accuracy"]) for part in ("test", "validation", "train")
    )
    print(
        f"\n"
        f"test accuracy {test} on {summary['test_images']:,} unseen digits ({summary['data']}); "
        f"training {training}, validation {validation}\n"
        f"kept: the state after {count(summary['best_epoch'], summary)}, the best on the validation part\n"
        f"trained{', until it was interrupted,' if summary['interrupted'] else ''} for "
        f"{summary['train_seconds']:.2f} s: {count(summary['epochs'], summary)}, "
        f"{summary['images_per_second']:,.0f} images a second"
    )
    for path in sorted(entry for entry in outcome.directory.iterdir() if not entry.name.startswith(".")):
        print(f"  {path}")
