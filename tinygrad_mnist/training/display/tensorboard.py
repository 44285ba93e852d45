"""Event files that TensorBoard shows: curves, histograms of the weights, the recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tinygrad_mnist.extras import missing_package
from tinygrad_mnist.training.loop.callbacks import Callback

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

    from tinygrad_mnist.training.loop.course import Training
    from tinygrad_mnist.training.loop.history import Record

POINTS: Final = 1000
"""The number of points of a curve that has a value at each step, about: to write each would take long."""


class TensorBoard(Callback):
    """A callback that writes event files for TensorBoard; it needs the extra ``tensorboard``.

    ``tensorboard --logdir FOLDER`` shows them, also while training runs. TensorBoard itself is not needed to
    write them. The curves: ``loss/training`` and ``loss/validation``, ``accuracy/...``, ``metric/...``,
    ``learning_rate``, and ``gradient_norm/...`` by parameter, over the steps. A training that is resumed goes
    on with its curves: what was written of steps that are done again is not shown twice.

    Parameters
    ----------
    folder : path-like
        Where to write; made if it is not there. Two trainings need two folders.
    histograms : bool
        Whether to write a histogram of each parameter at each evaluation.
    text : str, optional
        A text that stands beside the curves, in a fixed width: such as the recipe.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from tinygrad_mnist.training import TensorBoard
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     callback = TensorBoard(folder)  # training.fit(..., callbacks=[callback])
    """

    on_every_rank = False

    def __init__(
        self, folder: str | os.PathLike[str], *, histograms: bool = True, text: str | None = None
    ) -> None:
        require_tensorboard()
        self.folder, self.histograms, self.text = Path(folder), histograms, text
        self._writer: SummaryWriter | None = None
        self._every = 1

    def on_train_begin(self, training: Training) -> None:
        """Open a file."""
        from tensorboardX import SummaryWriter

        self._every = max(1, training.steps // POINTS)
        self._writer = SummaryWriter(
            str(self.folder),
            # TensorBoard forgets what it has read of this step and later ones, in earlier files.
            purge_step=training.step or None,
            # The name has the time in seconds, and files are read in the order of their names.
            filename_suffix=f".{_next_number(self.folder):04}",
        )
        if training.step:
            self._write_again(training)
        elif self.text is not None:
            # indented by four spaces, Markdown leaves it as it is
            self._writer.add_text("recipe", "\n".join(f"    {line}" for line in self.text.splitlines()), 0)

    def on_step_end(self, training: Training) -> None:
        """Write the mean loss and the learning rate, every few steps, and the norms of the gradients."""
        values = {}
        if training.step % self._every == 0:
            losses = training.history.losses[-self._every :]
            values = {"loss/training": sum(losses) / len(losses), "learning_rate": training.lr}
        gradients = training.history.gradients
        if gradients and gradients[-1].step == training.step:
            values.update({f"gradient_norm/{name}": norm for name, norm in gradients[-1].norms.items()})
        if values:
            self._write(training.step, values)

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Write loss and accuracies, and the histograms of the parameters that were evaluated."""
        values = {
            "loss/validation": record.validation_loss,
            "accuracy/training": record.train_accuracy,
            "accuracy/validation": record.validation_accuracy,
            **{f"metric/{name}": value for name, value in record.metrics.items()},
        }
        self._write(
            record.step, {tag: value for tag, value in values.items() if isinstance(value, int | float)}
        )
        if self._writer is None:
            return
        if self.histograms:
            with training.averaged():
                for name, parameter in training.model.named_parameters():
                    self._writer.add_histogram(f"parameter/{name}", parameter.data, record.step)
        self._writer.flush()

    def on_exit(self, training: Training) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _write_again(self, training: Training) -> None:
        """Write the points of the step with which training goes on, once more, as they are forgotten.

        They may have been written only in part when the checkpoint was saved, and wholly afterwards.
        """
        self.on_step_end(training)
        records = training.history.records
        if records and records[-1].step == training.step:
            self.on_evaluate(training, records[-1], best=False)

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        if self._writer is not None:  # by one event, as one for each value takes several times as long
            written = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            self._writer.file_writer.add_summary(Summary(value=written), step)


def _next_number(folder: Path) -> int:
    """Return a number above those at the ends of the names of the event files that are there."""
    ends = [path.name.rpartition(".")[2] for path in folder.glob("events.out.tfevents.*")]
    return 1 + max((int(end) for end in ends if end.isdecimal()), default=0)


def is_installed() -> bool:
    """Return whether event files can be written; what is needed is loaded later, as that takes a while."""
    return find_spec("tensorboardX") is not None


def require_tensorboard() -> None:
    """Raise an ImportError that names the extra, if event files cannot be written."""
    if not is_installed():
        raise missing_package("to write event files", "tensorboard", "tensorboardX")
