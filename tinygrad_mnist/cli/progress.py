"""The output of a training on the command line: text for people, or lines of JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from tinygrad_mnist.cli.output import notify, show
from tinygrad_mnist.files import json_line
from tinygrad_mnist.numbers import count_text, size_text
from tinygrad_mnist.training import OPTIMIZERS, Callback, Plan, Progress, Recipe
from tinygrad_mnist.training.display.progress import INTERRUPTED, Meter, smoothed_loss, steps_text
from tinygrad_mnist.training.recipe.rates import MANY, rates_line, schedule_rates

if TYPE_CHECKING:
    from tinygrad_mnist.training import JitDecision, Outcome, Record, Training


class Log(Protocol):
    """A way to print a training: a row of `LOGS`."""

    def __init__(self, stream: TextIO, quiet: bool) -> None:
        """Print to a stream; if quiet, notices and the summary alone."""

    def notify(self, sentence: str) -> None:
        """Print a notice."""

    def show(self, line: str) -> None:
        """Print a line about what is going to be trained."""

    def callback(self) -> Callback:
        """Return the callback that prints how training goes."""

    def end(self, outcome: Outcome, summary: Sequence[str]) -> None:
        """Print the end of a training, for people by the lines of its summary."""


class TextLog:
    """Text: see `Progress` for what is shown where."""

    def __init__(self, stream: TextIO, quiet: bool) -> None:
        self.stream, self.quiet = stream, quiet

    def notify(self, sentence: str) -> None:
        """Print a notice on standard error."""
        notify(sentence)

    def show(self, line: str) -> None:
        """Print a line, unless quiet."""
        if not self.quiet:
            show(line)

    def callback(self) -> Callback:
        """Return the callback that shows how training goes, or, if quiet, the one that prints notices."""
        return Notices(self.notify) if self.quiet else RecipeProgress(self.stream)

    def end(self, outcome: Outcome, summary: Sequence[str]) -> None:
        """Print the summary."""
        show(*summary)


class Notices(Callback):
    """A callback that hands on notices, and nothing else.

    Parameters
    ----------
    notify : callable
        Is given each sentence.
    """

    on_every_rank = False

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.notify = notify

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        """Hand on that the steps would be compiled, but cannot be."""
        if decision.missed:
            self.notify(str(decision))

    def on_interrupt(self, training: Training) -> None:
        """Say that training ends."""
        self.notify(INTERRUPTED)

    def on_notice(self, training: Training | None, sentence: str) -> None:
        """Hand on a notice."""
        self.notify(sentence)


class RecipeProgress(Progress):
    """The progress of a training that follows a recipe; its notices go to standard error."""

    noun = "image"

    def heading(self, training: Training) -> Sequence[str]:
        """Return the lines that say what is going to be trained."""
        plan = training.plan
        assert plan is not None
        sample = min(plan.train_images, plan.validation_images)
        return [
            f"recipe {plan.recipe.name}: {describe(plan)}",
            f"{count_text(plan.train_images, 'image')} to train on, {plan.validation_images:,} set aside for "
            f"validation; {count_text(plan.parameters, 'parameter')}, {steps_text(training)}",
            rates_line(schedule_rates(plan.recipe, plan.steps, points=MANY), self.display.encoding),
            f"each line: mean loss since the line before; accuracy on {sample:,} of the training images and "
            "on the validation images; * if that is the best so far",
        ]

    def notify(self, sentence: str) -> None:
        """Print a notice on standard error."""
        notify(sentence)


class JsonLog:
    """Lines of JSON, an object each, whose ``"event"`` says what it is; nothing else is on the stream.

    ========== =============================================================================================
    event      what it has
    ========== =============================================================================================
    plan       ``recipe``, ``config`` (as in ``summary.json``), ``parameters``, ``train_images``,
               ``validation_images``, ``steps``, ``steps_per_epoch``, ``epochs``; ``step``: how many are done
    compile    ``jit``, ``compiled``, ``reason``
    step       every few seconds: ``step``, ``epoch``, ``loss`` (the mean of the last steps), ``lr``,
               ``images_per_second``, ``seconds_left``
    evaluation what a line of ``metrics.jsonl`` has, and ``best``: whether none before was better
    notice     ``sentence``
    end        ``directory``, ``summary`` (as in ``summary.json``), ``missing``: files that were not written
    ========== =============================================================================================

    A number that is not finite is null. If quiet, there are notices and the end alone. Where a command fails,
    there is no end; the sentence that says why is on standard error, as ever.
    """

    def __init__(self, stream: TextIO, quiet: bool) -> None:
        self.stream, self.quiet = stream, quiet

    def write(self, event: str, **values: Any) -> None:
        """Write a line."""
        print(json_line({"event": event, **values}), file=self.stream, flush=True)

    def notify(self, sentence: str) -> None:
        """Write a notice."""
        self.write("notice", sentence=sentence)

    def show(self, line: str) -> None:
        """Write nothing: what the line says is in the plan and in the summary."""

    def callback(self) -> Callback:
        """Return the callback that writes how training goes, or, if quiet, the one that writes notices."""
        return Notices(self.notify) if self.quiet else JsonProgress(self)

    def end(self, outcome: Outcome, summary: Sequence[str]) -> None:
        """Write the summary."""
        self.write(
            "end",
            directory=str(outcome.directory),
            summary=outcome.summary,
            missing=[str(path) for path in outcome.missing],
        )


class JsonProgress(Notices):
    """A callback that writes how training goes as lines of JSON."""

    interval: Final = 5.0
    """Seconds between two lines on steps."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(log.notify)
        self._write = log.write

    def on_train_begin(self, training: Training) -> None:
        """Write the plan."""
        plan = training.plan
        assert plan is not None
        self._meter = Meter(training.step, self.interval)
        self._write(
            "plan",
            recipe=plan.recipe.name,
            config=plan.recipe.to_dict(),
            parameters=plan.parameters,
            train_images=plan.train_images,
            validation_images=plan.validation_images,
            steps=training.steps,
            steps_per_epoch=training.steps_per_epoch,
            epochs=training.epochs,
            step=training.step,
        )

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        """Write whether the steps are compiled; if they would be, but cannot be, that is a notice too."""
        super().on_compile(training, decision)
        self._write("compile", jit=decision.jit, compiled=decision.compiled, reason=decision.reason)

    def on_step_end(self, training: Training) -> None:
        """Write where training is, if that was some time ago."""
        if self._meter.is_due(training):
            self._write(
                "step",
                step=training.step,
                epoch=training.epoch,
                loss=smoothed_loss(training),
                lr=training.lr,
                images_per_second=self._meter.samples_per_second(training),
                seconds_left=self._meter.seconds_left(training),
            )

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Write an evaluation."""
        self._write("evaluation", **record.to_dict(), best=best)


LOGS: Final[dict[str, type[Log]]] = {"text": TextLog, "jsonl": JsonLog}
"""The ways to print a training, by name."""


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
