"""The progress of training: on a terminal a line that changes, elsewhere plain lines."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from time import perf_counter
from typing import Final, TextIO

from tinygrad_mnist.numbers import count_text, duration_text, percent_text, printable, size_text
from tinygrad_mnist.training import OPTIMIZERS, Callback, JitDecision, Plan, Recipe, Record, Training

Notify = Callable[[str], None]

INTERVAL: Final = 0.1
"""Seconds between two versions of the live line: to write it after each step would cost time."""


def make_reporter(stream: TextIO, quiet: bool, notify: Notify) -> Callback:
    """Return the reporter that suits where the output goes.

    Parameters
    ----------
    stream : TextIO
        The stream to print to.
    quiet : bool
        Whether to print nothing but notices.
    notify : callable
        Prints a notice.
    """
    if quiet:
        return Quiet(notify)
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return Live(stream, notify)
    return Plain(stream, notify)


class Quiet(Callback):
    """A reporter that prints notices, and nothing else."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    def on_notice(self, training: Training | None, sentence: str) -> None:
        """Print a notice."""
        self._notify(sentence)

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        """Print a notice if the steps would be compiled, but cannot be."""
        if decision.missed:
            self.on_notice(training, str(decision))

    def on_interrupt(self, training: Training) -> None:
        """Say that the best state is being evaluated."""
        self.on_notice(
            training, "interrupted: the best state so far is kept and evaluated; once more ends at once"
        )


class Plain(Quiet):
    """A reporter that prints a line for each evaluation."""

    plan: Plan

    def __init__(self, stream: TextIO, notify: Notify) -> None:
        super().__init__(notify)
        self.stream = stream

    def on_train_begin(self, training: Training) -> None:
        """Print what is going to be trained."""
        assert training.plan is not None
        self.plan = plan = training.plan
        self._print(f"recipe {plan.recipe.name}: {describe(plan)}")
        self._print(
            f"{count_text(plan.train_images, 'image')} to train on, {plan.validation_images:,} set aside for "
            f"validation; {count_text(plan.parameters, 'parameter')}, {count_text(plan.steps, 'step')}"
        )
        self._print(
            f"each line: mean loss since the line before; accuracy on "
            f"{min(plan.train_images, plan.validation_images):,} of the training images and on the "
            "validation images; * if that is the best so far"
        )

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        """Print whether the steps are compiled."""
        super().on_compile(training, decision)
        if not decision.missed:
            self._print(str(decision))

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Print loss and accuracies."""
        assert record.train_accuracy is not None
        assert record.validation_accuracy is not None
        self._print(
            f"{self._position(record.step)}  loss {record.train_loss:.4f}  "
            f"accuracy: training {percent_text(record.train_accuracy):>8}, "
            f"validation {percent_text(record.validation_accuracy):>8}"
            f"{' *' if best else '  '} {record.seconds:6.1f} s"
        )

    def _position(self, step: int) -> str:
        epochs = f"{self.plan.recipe.epochs:g}"
        if self.plan.recipe.full_batch:
            return f"iteration {step:{len(str(self.plan.steps))}}/{self.plan.steps}"
        return f"epoch {step / self.plan.steps_per_epoch:{len(epochs) + 2}.1f}/{epochs}"

    def _print(self, line: str) -> None:
        print(printable(line), file=self.stream, flush=True)


class Live(Plain):
    """A reporter like `Plain` with a line below the others that changes: the progress bar."""

    def __init__(self, stream: TextIO, notify: Notify) -> None:
        super().__init__(stream, notify)
        self._width = 0  # of the live line on the screen
        self._began = self._drawn = perf_counter()
        self._loss = 0.0
        self._validation = ""

    def on_train_begin(self, training: Training) -> None:
        """Print what is going to be trained."""
        super().on_train_begin(training)
        self._began = perf_counter()

    def on_step_end(self, training: Training) -> None:
        """Move the live line, if that was some time ago."""
        # a running mean, as the loss of one batch jumps too much to be read
        step, loss = training.step, training.loss
        self._loss = loss if step == 1 else 0.95 * self._loss + 0.05 * loss
        now = perf_counter()
        if now - self._drawn >= INTERVAL:
            self._drawn = now
            self._draw(step, now - self._began)

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Print loss and accuracies."""
        self._wipe()
        super().on_evaluate(training, record, best)
        assert record.validation_accuracy is not None
        self._validation = f"  validation {percent_text(record.validation_accuracy)}"

    def on_interrupt(self, training: Training) -> None:
        """Say that the best state is being evaluated."""
        self._wipe()
        super().on_interrupt(training)

    def on_notice(self, training: Training | None, sentence: str) -> None:
        """Print a notice."""
        self._wipe()
        super().on_notice(training, sentence)

    def _draw(self, step: int, seconds: float) -> None:
        done = step / self.plan.steps
        columns = shutil.get_terminal_size().columns
        bar_width = max(0, min(24, columns - 70))
        bar = f"[{'#' * round(done * bar_width):{bar_width}}] " if bar_width >= 6 else ""
        left = seconds / done - seconds
        loss = f"loss {self._loss:.4f}{self._validation}"
        line = f"{bar}{self._position(step)}  {loss}  {duration_text(left)} left"
        line = line[: max(columns - 1, 1)]  # a line that is full would begin another
        self._show(line)

    def _wipe(self) -> None:
        if self._width:
            self._show("")
            self.stream.write("\r")
            self.stream.flush()

    def _show(self, line: str) -> None:
        self.stream.write(f"\r{line:{self._width}}")
        self.stream.flush()
        self._width = len(line)


def describe(plan: Plan) -> str:
    """Return the model and its training in a line."""
    recipe = plan.recipe
    if recipe.model == "mlp":
        network = ["-".join(map(str, (math.prod(plan.image_shape), *recipe.hidden, plan.classes)))]
    else:
        network = [size_text(plan.image_shape), recipe.architecture, str(plan.classes)]
    return ", ".join([*network, *traits(recipe)])


def traits(recipe: Recipe) -> list[str]:
    """Return what a recipe says besides the widths of its layers, each in a few words."""
    kind = "decoupled" if OPTIMIZERS[recipe.optimizer].decoupled else "L2"
    decay = f", {kind} weight decay {recipe.weight_decay:g}"
    norm = "batch" if recipe.batch_norm else recipe.norm * ("norm" in recipe.layers and recipe.norm != "none")
    return [
        *([f"{norm} norm"] if norm else []),
        *([recipe.activation] if recipe.model_file is None else []),
        *([f"dropout {recipe.dropout:g}"] if recipe.dropout else []),
        *([f"augmentation {recipe.augmentation}"] if recipe.augmentation != "none" else []),
        *(["hard images"] if recipe.hard is not None else []),
        *(["one-hot labels"] if recipe.one_hot else []),
        *([f"label smoothing {recipe.label_smoothing:g}"] if recipe.label_smoothing else []),
        f"{recipe.optimizer} at {recipe.lr:g} ({recipe.schedule}){decay if recipe.weight_decay else ''}",
        *([f"weights averaged by {recipe.ema:g}"] if recipe.ema else []),
        *([f"gradient norm at most {recipe.clip_norm:g}"] if recipe.clip_norm is not None else []),
        "full batch" if recipe.batch_size is None else f"batches of {recipe.batch_size}",
        count_text(recipe.epochs, "iteration" if recipe.full_batch else "epoch"),
    ]
