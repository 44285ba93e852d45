"""What a run came to, as text."""

from __future__ import annotations

from tinygrad_mnist.data import Dataset
from tinygrad_mnist.training import Outcome
from tinygrad_mnist.training.wording import count, name_data, percent


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
        f"recipe {summary['recipe']}, {_data(outcome)}: test accuracy {percent(summary['test_accuracy'])} "
        f"(training {percent(summary['train_accuracy'])}, "
        f"validation {percent(summary['validation_accuracy'])}), "
        f"{count(summary['epochs'], _unit(outcome))} in {summary['train_seconds']:.2f} s"
        f"{', interrupted' if summary['interrupted'] else ''}, {outcome.directory}"
    )


def _unit(outcome: Outcome) -> str:
    """An epoch, or an iteration, where each sees all images."""
    return "iteration" if outcome.checkpoint.recipe.full_batch else "epoch"


def _data(outcome: Outcome) -> str:
    return name_data(outcome.summary["data"], outcome.summary["data_source"])


def print_outcome(outcome: Outcome) -> None:
    """Print accuracies, times and paths."""
    summary = outcome.summary
    step = "iteration" if outcome.checkpoint.recipe.full_batch else "step"
    test, validation, training = (
        percent(summary[f"{part}_accuracy"]) for part in ("test", "validation", "train")
    )
    print(
        f"\n"
        f"test accuracy {test} on {summary['test_images']:,} unseen digits ({_data(outcome)}); "
        f"validation {validation}, training {training} (now on all its images)\n"
        f"kept: the state after {step} {summary['best_step']:,} of {summary['steps']:,}, the best on the "
        "validation part\n"
        f"trained{', until it was interrupted,' if summary['interrupted'] else ''} for "
        f"{summary['train_seconds']:.2f} s: {count(summary['epochs'], _unit(outcome))}, "
        f"{summary['images_per_second']:,.0f} images a second"
    )
    for path in sorted(entry for entry in outcome.directory.iterdir() if not entry.name.startswith(".")):
        print(f"  {path}")
