"""The progress of a training, as it is shown while it runs: lines that stay, and rows that change."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, TextIO

from tinygrad_mnist.numbers import count_text, duration_text, percent_text
from tinygrad_mnist.training.display.displays import Display, Row, find_display
from tinygrad_mnist.training.loop.callbacks import Callback
from tinygrad_mnist.training.loop.metrics import metric_text
from tinygrad_mnist.training.recipe.rates import MANY, rates_line, schedule_rates

if TYPE_CHECKING:
    from tinygrad_mnist.training.loop.compilation import JitDecision
    from tinygrad_mnist.training.loop.course import Training
    from tinygrad_mnist.training.loop.history import Record

SMOOTHED: Final = 100
"""The number of the last steps whose mean loss is shown: that of one batch jumps too much to be read."""

INTERRUPTED: Final = "interrupted: the best state so far is kept and evaluated; once more ends at once"


class Progress(Callback):
    """A callback that shows how training goes, in the way that suits where the output goes.

    A line for each evaluation stays. On a terminal, where `rich` is installed (the extra ``progress``), and
    in a notebook, rows below these lines are kept up to date: epoch, batch, loss, accuracies, speed, time
    left. They are gone at the end. In a file or a pipe there is a line every 30 seconds instead, if there
    was none in between.

    Parameters
    ----------
    stream : TextIO, optional
        The stream to print to; standard output by default.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn, optim, training
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = nn.Linear(1, 1)
    >>> result = training.fit(
    ...     model, optim.SGD(model.parameters(), lr=0.5), (x, 2 * x), loss=nn.MSELoss(), epochs=3,
    ...     validation=(x, 2 * x), callbacks=[training.Progress()],
    ... )
    2 parameters, 3 steps...
    learning rate 0.5
    ...
    """

    on_every_rank = False

    noun: str = "sample"
    """A word for what is trained on."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._display: Display | None = None
        self._record: Record | None = None

    @property
    def display(self) -> Display:
        """The display that it is shown on."""
        if self._display is None:
            self._display = find_display(self._stream or sys.stdout)
        return self._display

    # ---- what is said; override what is to be said otherwise ---------------------------------------------

    def heading(self, training: Training) -> Sequence[str]:
        """Return the lines that say what is going to be trained."""
        parameters = sum(parameter.size for parameter in training.model.parameters())
        rates = schedule_rates(
            training.optimizer, training.steps - training.step, training.schedule, points=MANY
        )
        return [
            f"{count_text(parameters, 'parameter')}, {steps_text(training)}",
            rates_line(rates, self.display.encoding),
        ]

    def notify(self, sentence: str) -> None:
        """Print a notice."""
        self.display.line(sentence)

    # ---- what training calls -----------------------------------------------------------------------------

    def on_train_begin(self, training: Training) -> None:
        """Print what is going to be trained."""
        self._display = None  # standard output may be another than that of an earlier training
        heading = self.heading(training)
        records = training.history.records
        self._record = records[-1] if records else None
        self._meter = Meter(training.step, self.display.interval)
        self.display.open()
        for line in heading:
            self.display.line(line)
        if self.display.has_rows:
            self._draw(training)

    def on_compile(self, training: Training, decision: JitDecision) -> None:
        """Print whether the steps are compiled."""
        if decision.missed:
            self.notify(str(decision))
        else:
            self.display.line(str(decision))

    def on_step_end(self, training: Training) -> None:
        """Draw the rows again, or print a line in their place, if that was some time ago."""
        if self._meter.is_due(training):
            self._draw(training)

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Print loss and accuracies."""
        self._record = record
        if self.display.has_rows:  # first, as the rows below the line are to be those of this evaluation
            self._draw(training)
        else:
            self._meter.wait()
        for line in evaluation_line(training, record, best, self.display.columns).splitlines():
            self.display.line(line)

    def on_interrupt(self, training: Training) -> None:
        """Say that training ends."""
        self.notify(INTERRUPTED)

    def on_notice(self, training: Training | None, sentence: str) -> None:
        """Print a notice."""
        self.notify(sentence)

    def on_exit(self, training: Training) -> None:
        """Remove the rows."""
        self.display.close()

    def _draw(self, training: Training) -> None:
        status = status_of(training, self._record, self._meter, self.noun)
        if self.display.has_rows:
            signs = signs_for(self.display.encoding)
            self.display.show(lambda width: status.rows(width, signs))
        else:
            self.display.line(status.line())


class Meter:
    """The speed of a training in this process, measured at intervals.

    Evaluations take no part in it, nor does the first step, which may have been compiled. As the speed of a
    machine changes, what was measured `memory` seconds ago counts 1/e as much as what is measured now.

    Parameters
    ----------
    begun : int
        The steps that were done when the process began.
    interval : float
        Seconds between two measurements.
    """

    memory: Final = 10.0

    def __init__(self, begun: int, interval: float) -> None:
        self._begun, self._interval = begun, interval
        self._due = -math.inf
        self._since: tuple[int, float] | None = None
        self._steps = self._seconds = 0.0

    def is_due(self, training: Training) -> bool:
        """Measure, if it is time; return whether it was. Called after each step."""
        now = perf_counter()
        if now < self._due:
            return False
        done, seconds = training.step - 1, training.seconds  # which has not the step that is just done
        if done <= self._begun:
            return False
        self._due = now + self._interval
        since, self._since = self._since, (done, seconds)
        if since is None:
            return False
        kept = math.exp(-(seconds - since[1]) / self.memory)
        self._steps = kept * self._steps + done - since[0]
        self._seconds = kept * self._seconds + seconds - since[1]
        return True

    def wait(self) -> None:
        """Let the interval begin now."""
        self._due = perf_counter() + self._interval

    def samples_per_second(self, training: Training) -> float | None:
        """Return the speed; None before there is one."""
        if not self._seconds:
            return None
        return self._steps / self._seconds * training.samples / training.step

    def seconds_left(self, training: Training) -> float | None:
        """Return the time that the steps which are left will take; None before there is a speed."""
        if not self._steps:
            return None
        return (training.steps - training.step) * self._seconds / self._steps


def smoothed_loss(training: Training) -> float | None:
    """Return the mean loss of the last steps; None before the first."""
    losses = training.history.losses[-SMOOTHED:]
    return sum(losses) / len(losses) if losses else None


# ---- what stands in the rows -----------------------------------------------------------------------------

LONGEST: Final = 40
SHORTEST: Final = 8
"""The lengths of a bar: where there is no room for the shortest, there is none."""


def signs_for(encoding: str) -> tuple[str, str]:
    """Return the signs of a bar, for what is done and for what is left, that can be written."""
    try:
        "━─".encode(encoding)
    except UnicodeEncodeError:
        return "#", "-"
    return "━", "─"


@dataclass(frozen=True)
class Status:
    """The state of a training at one moment, as it is shown.

    Parameters
    ----------
    step, steps, steps_per_epoch : int
        Steps done, in all, and in an epoch.
    loss : float or None
        The smoothed loss.
    record : Record or None
        The last evaluation.
    speed : str
        What is trained on in a second, in words.
    seconds_left : float or None
        The time that the steps which are left will take.
    """

    step: int
    steps: int
    steps_per_epoch: int
    loss: float | None
    record: Record | None
    speed: str
    seconds_left: float | None

    def line(self) -> str:
        """Return the state as a line, for where no rows are shown."""
        parts = [
            position(self.step, self.steps, self.steps_per_epoch),
            self._loss(),
            self.speed,
            self._left(),
        ]
        return "  ".join(part for part in parts if part)

    def rows(self, width: int, signs: tuple[str, str]) -> list[Row]:
        """Return two rows, progress and figures: as much of the state as there is room for.

        Parameters
        ----------
        width : int
            The greatest length of a row.
        signs : (str, str)
            The signs of the bar: what is done, what is left.
        """
        return [self._progress(width, signs), [(self._figures(width), "")]]

    def _progress(self, width: int, signs: tuple[str, str]) -> Row:
        """Return the bar with the epoch, the batch, if there is room for it, and the time left."""
        epoch, batch = self._epoch()
        left = f"{self._left():15}"  # always as long, so that the bar is, too
        texts = [f"{epoch}{batch}  {left}", f"{epoch}  {left}"]
        text = next((text for text in texts if len(text) + 2 + SHORTEST <= width), None)
        if text is None:
            return [(f"{epoch}  {left}".rstrip()[:width], "")]
        length = min(LONGEST, width - len(text) - 2)
        done = round(self.step / self.steps * length)
        return [(signs[0] * done, "done"), (signs[1] * (length - done), "left"), (f"  {text}", "")]

    def _epoch(self) -> tuple[str, str]:
        """Return which epoch it is, and which batch of it."""
        epochs = math.ceil(self.steps / self.steps_per_epoch)
        if self.steps_per_epoch == 1:
            return f"iteration {self.step:{len(str(epochs))}}/{epochs}", ""
        whole, batch = divmod(max(self.step - 1, 0), self.steps_per_epoch)
        digits = len(str(self.steps_per_epoch))
        number = batch + min(self.step, 1)
        return f"epoch {whole + 1}/{epochs}", f", batch {number:{digits}}/{self.steps_per_epoch}"

    def _figures(self, width: int) -> str:
        """Return the loss, and of the other figures those for which there is room, the most telling first."""
        record, both, one = self.record, "", ""
        if record is not None and record.validation_accuracy is not None:
            one = f"validation {percent_text(record.validation_accuracy)}"
            train = record.train_accuracy
            both = f"accuracy: {'' if train is None else f'training {percent_text(train)}, '}{one}"
        elif record is not None and record.validation_loss is not None:
            one = both = f"validation loss {record.validation_loss:.4f}"
        loss = self._loss()
        for parts in ((loss, both, self.speed), (loss, both), (loss, one), (loss,)):
            text = "  ".join(part for part in parts if part)
            if len(text) <= width:
                return text
        return loss[:width]

    def _loss(self) -> str:
        return f"loss {self.loss:.4f}" if self.loss is not None else ""

    def _left(self) -> str:
        return f"{duration_text(self.seconds_left)} left" if self.seconds_left is not None else ""


def steps_text(training: Training) -> str:
    """Return how many steps there are, and how many of them are done, if training goes on."""
    done = f", of which {training.step:,} are done" if training.step else ""
    return f"{count_text(training.steps, 'step')}{done}"


def status_of(training: Training, record: Record | None, meter: Meter, noun: str) -> Status:
    """Return the state of a training."""
    speed = meter.samples_per_second(training)
    return Status(
        step=training.step,
        steps=training.steps,
        steps_per_epoch=training.steps_per_epoch,
        loss=smoothed_loss(training),
        record=record,
        speed=f"{_rounded(speed):,} {noun}s/s" if speed is not None else "",
        seconds_left=meter.seconds_left(training),
    )


def _rounded(number: float) -> int:
    """Return a number of three digits and zeros behind them: more would only flicker."""
    unit: int = 10 ** max(0, math.floor(math.log10(max(number, 1))) - 2)
    return round(number / unit) * unit


def position(step: int, steps: int, steps_per_epoch: int) -> str:
    """Return how far a training is, always as long.

    Examples
    --------
    >>> position(50, 400, 100), position(7, 300, 1), position(5, 19, 938)
    ('epoch 0.5/4', 'iteration   7/300', 'epoch 0.0053/0.0203')
    """
    if steps_per_epoch == 1:
        return f"iteration {step:{len(str(steps))}}/{steps}"
    epochs = steps / steps_per_epoch
    if epochs >= 1:
        return f"epoch {step / steps_per_epoch:{len(f'{epochs:.1f}')}.1f}/{epochs:.4g}"
    digits = 2 - math.floor(math.log10(epochs))  # three of the whole
    return f"epoch {step / steps_per_epoch:.{digits}f}/{f'{epochs:.{digits}f}'.rstrip('0')}"


def evaluation_line(training: Training, record: Record, best: bool, width: int | None = None) -> str:
    """Return the line of an evaluation: losses, accuracies, other metrics, time; a star if it is the best.

    Where it is longer than `width`, it is broken between its parts, and what follows is indented.
    """
    parts = [position(record.step, training.steps, training.steps_per_epoch), f"loss {record.train_loss:.4f}"]
    shares = [
        f"{part} {percent_text(share):>8}"
        for part, share in (("training", record.train_accuracy), ("validation", record.validation_accuracy))
        if share is not None
    ]
    if shares:
        parts.append(f"accuracy: {', '.join(shares)}")
    elif record.validation_loss is not None:
        parts.append(f"validation loss {record.validation_loss:.4f}")
    numbers = {name: value for name, value in record.metrics.items() if isinstance(value, int | float)}
    parts += [f"{name} {metric_text(name, value)}" for name, value in numbers.items()]
    line = f"{'  '.join(parts)}{' *' if best else '  '} {record.seconds:6.1f} s"
    if width is None or len(line) <= width:
        return line
    words = [" ".join(share.split()) for share in shares]
    rest = parts[3:] if shares else parts[2:]
    return _folded([*parts[:2], *words, *rest, f"{record.seconds:.1f} s{' *' if best else ''}"], width)


def _folded(parts: Sequence[str], width: int) -> str:
    """Return parts with two spaces between them, in lines of at most `width` signs where a part allows it."""
    lines = [parts[0]]
    for part in parts[1:]:
        joined = f"{lines[-1]}  {part}"
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(f"    {part}")
    return "\n".join(lines)
