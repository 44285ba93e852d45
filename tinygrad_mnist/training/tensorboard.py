"""Event files that TensorBoard shows: curves, histograms of the weights, the recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tinygrad_mnist.engine.tensor import Tensor
from tinygrad_mnist.training.callbacks import Callback

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

    from tinygrad_mnist.training.fitting import Training
    from tinygrad_mnist.training.history import Record

POINTS: Final = 1000
"""The number of points of a curve that has a value at each step, about: to write each would take long."""


class TensorBoard(Callback):
    """A callback that writes event files for TensorBoard; it needs the extra ``tensorboard``.

    ``tensorboard --logdir FOLDER`` shows them, also while training runs. TensorBoard itself is not needed to
    write them. The curves: ``loss/training`` and ``loss/validation``, ``accuracy/...``, ``metric/...``,
    ``learning rate``, and ``gradient norm/...`` by parameter, over the steps. A training that is resumed goes
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

    def __init__(
        self, folder: str | os.PathLike[str], *, histograms: bool = True, text: str | None = None
    ) -> None:
        require_tensorboard()
        self.folder, self.histograms, self.text = Path(folder), histograms, text
        self._writer: SummaryWriter | None = None
        self._sum, self._count = 0.0, 0  # of the losses since the last point
        self._gradients = 0  # how many of the history's gradient norms are written
        self._every = 1

    def on_train_begin(self, training: Training) -> None:
        """Open a file."""
        from tensorboardX import SummaryWriter

        self._every = max(1, training.steps // POINTS)
        self._writer = SummaryWriter(
            str(self.folder),
            # TensorBoard forgets what it has read of this step and later ones from earlier files
            purge_step=training.step + 1 if training.step else None,
            # The name has the time in seconds: a process that comes within one must not take the same.
            filename_suffix=f".{training.step}.{os.getpid()}",
        )
        if not training.step and self.text is not None:
            # indented by four spaces, Markdown leaves it as it is
            self._writer.add_text("recipe", "\n".join(f"    {line}" for line in self.text.splitlines()), 0)

    def on_step_end(self, training: Training) -> None:
        """Write the mean loss and the learning rate, every few steps."""
        self._sum += training.loss
        self._count += 1
        if training.step % self._every == 0:
            values = {"loss/training": self._sum / self._count, "learning rate": training.lr}
            self._write(training.step, values)
            self._sum, self._count = 0.0, 0

    def on_evaluate(self, training: Training, record: Record, best: bool) -> None:
        """Write loss and accuracies, gradient norms, and the histograms of the parameters."""
        values = {
            "loss/validation": record.validation_loss,
            "accuracy/training": record.train_accuracy,
            "accuracy/validation": record.validation_accuracy,
            **{f"metric/{name}": value for name, value in record.metrics.items()},
        }
        self._write(record.step, {tag: value for tag, value in values.items() if value is not None})
        self._write_gradients(training)
        writer = self._writer
        if writer is not None:
            if self.histograms:
                for name, parameter in training.model.named_parameters():
                    writer.add_histogram(f"parameter/{name}", _numbers(parameter), record.step)
            writer.flush()

    def on_train_end(self, training: Training) -> None:
        """Close the file."""
        self._write_gradients(training)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what is not written yet, so that a resumed training has the same points."""
        return {"sum": self._sum, "count": self._count, "gradients": self._gradients}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._sum, self._count, self._gradients = state["sum"], state["count"], state["gradients"]

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self._writer is not None:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)

    def _write_gradients(self, training: Training) -> None:
        """Write the gradient norms that came since the last time, each at its step."""
        for sample in training.history.gradients[self._gradients :]:
            self._write(sample.step, {f"gradient norm/{name}": norm for name, norm in sample.norms.items()})
        self._gradients = len(training.history.gradients)


def _numbers(parameter: Tensor) -> Any:
    return parameter.detach().numpy()


def require_tensorboard() -> None:
    """Raise an ImportError that names the extra, if event files cannot be written."""
    if find_spec("tensorboardX") is None:  # it is loaded when it is used, as that takes a while
        raise ImportError(
            "tensorboardX is needed to write event files: install it with "
            'pip install "tinygrad_mnist[tensorboard]"'
        )
