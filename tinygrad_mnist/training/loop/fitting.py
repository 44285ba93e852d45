"""The training of any model: a loop over batches, and everything that a good loop looks after.

`fit` is thin over the loop that one writes oneself, and gives the same bits:

    for epoch in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            optimizer.step()
            schedule.step()

It knows nothing of recipes, of files of a run, or of a screen. How training goes is remembered in a `History`
and told to callbacks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from tinygrad_mnist import nn
from tinygrad_mnist.data import Batches
from tinygrad_mnist.optim import LRScheduler, Optimizer
from tinygrad_mnist.training.checkpoints.checkpoint import load_state
from tinygrad_mnist.training.checkpoints.checkpointing import EVERY
from tinygrad_mnist.training.checkpoints.state_file import StateFile
from tinygrad_mnist.training.distributed.agreement import agreed
from tinygrad_mnist.training.distributed.communicator import as_communicator
from tinygrad_mnist.training.errors import TrainingError
from tinygrad_mnist.training.loop.callbacks import Callback
from tinygrad_mnist.training.loop.course import Training
from tinygrad_mnist.training.loop.metrics import MetricNames, Validation, find_metrics
from tinygrad_mnist.training.loop.requirements import require_arguments, require_kinds, require_last_batch
from tinygrad_mnist.training.loop.result import Fit
from tinygrad_mnist.training.loop.sources import Source, as_source
from tinygrad_mnist.training.loop.steps import Loss
from tinygrad_mnist.training.prediction import BATCH
from tinygrad_mnist.training.recipe.models import estimated_costs


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    data: Source | tuple[Any, Any],
    *,
    loss: Loss,
    epochs: float,
    validation: Source | tuple[Any, Any] | None = None,
    batch_size: int = 64,
    schedule: LRScheduler | None = None,
    metrics: MetricNames | None = None,
    callbacks: Sequence[Callback] = (),
    clip_norm: float | None = None,
    accumulate: int = 1,
    ema: float = 0.0,
    patience: int | None = None,
    evaluate_every: float = 1.0,
    seed: int = 0,
    jit: str = "auto",
    lint: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: str = EVERY,
    resume: str | os.PathLike[str] | None = None,
    communicator: Any = None,
) -> Fit:
    """Train a model, and leave it in the best state seen, in evaluation mode.

    Parameters
    ----------
    model : Module
        Any model of one input; trained in place.
    optimizer : Optimizer
        Made for the parameters of the model.
    data : tuple of array, or batches
        Inputs and targets, shapes (n, ...); their batches are drawn in a new order in each epoch. Or anything
        that can be gone through again and again, a pass an epoch, and has a length: see `Source`.
    loss : callable
        ``loss(model(x), y)`` is the mean loss of a batch.
    epochs : float
        Passes through the data; not necessarily a whole number.
    validation : tuple of array, or batches, optional
        What the model is evaluated on.
    batch_size : int
        Samples in a batch, where data is arrays.
    schedule : LRScheduler, optional
        It is stepped after each step of the optimiser.
    metrics : str, sequence or mapping, optional
        What is measured on the validation part besides loss and accuracy: names in `METRICS`, "top-3",
        functions of all outputs and all targets, or functions by name. The accuracy is always measured where
        targets are classes. Labels that the loss ignores, by its ``ignore_index``, do not count.
    callbacks : sequence of Callback
        They are told how it goes.
    clip_norm : float, optional
        The greatest norm of all gradients together.
    accumulate : int
        Batches that make one step: of the mean of their gradients, as if they were one batch.
    ema : float
        Decay rate of the moving average of the weights, which is what is evaluated and kept; 0 for none.
    patience : int, optional
        Evaluations without a better one after which training stops.
    evaluate_every : float
        Epochs between two evaluations, about: they are evenly spaced, and the last step is followed by one.
    seed : int
        Of the order of the samples, where data is arrays.
    jit : str
        Whether steps and evaluations are compiled: "auto", "on" or "off". Compiled steps round otherwise.
    lint : bool
        Whether to say what is wrong with the training, each fault once: see `LINTS`. It changes nothing.
    checkpoint : path-like, optional
        A file for the state of the training, to go on with it after an interruption. If it is there already,
        and training does not go on from it, it is kept: as ``last.previous.npz``, where it is ``last.npz``.
        A disk that gets full on the way ends nothing: it is told, and tried again.
    checkpoint_every : str
        How often it is written: "500 steps", "30 seconds", "2 minutes".
    resume : path-like, optional
        A file that was written so. Training goes on where it was, and ends in the same bits as without an
        interruption. With more epochs, a schedule goes on as it is laid out here; one with a ``step`` of its
        own keeps all that it remembers.
    communicator : mpi4py.MPI.Comm or Communicator, optional
        The processes that train together, such as ``MPI.COMM_WORLD``: each of them calls `fit` with the same
        arguments. Each batch is shared out among them; the result is that of one process but for rounding.

    Returns
    -------
    Fit

    Raises
    ------
    TrainingError, JitError
        If an argument does not fit the others; or if ``jit`` is "on", and this model cannot be compiled.
        With several processes, if one has another model, other data or other arguments than the others.
    DivergedError
        If a loss is not finite.
    CheckpointError
        If ``resume`` is the checkpoint of another training.
    RunError
        If ``checkpoint`` cannot be written at the beginning, or another training is writing it.
    KeyboardInterrupt
        If Ctrl-C was pressed before the first step was done, or twice. Later the first one ends training and
        no more, once the step is done; so does SIGTERM.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_mnist import nn, optim, training
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype(np.float32)
    >>> y = (x[:, 0] > x[:, 1]).astype(np.int64)
    >>> model = nn.Linear(2, 2, rng=0)
    >>> optimizer = optim.Adam(model.parameters(), lr=0.1)
    >>> done = training.fit(
    ...     model, optimizer, (x[:150], y[:150]), loss=nn.CrossEntropyLoss(), epochs=10,
    ...     validation=(x[150:], y[150:]),
    ... )
    >>> len(done.history.losses), done.best.validation_accuracy > 0.9
    (30, True)
    """
    ranks = as_communicator(communicator)
    with agreed(ranks):
        require_kinds(model, optimizer, loss, schedule)
        require_arguments(
            batch_size=batch_size,
            seed=seed,
            lint=lint,
            checkpoint=checkpoint,
            checkpoint_every=None if checkpoint_every == EVERY else checkpoint_every,
            resume=resume,
        )
        if isinstance(callbacks, Callback):
            raise TrainingError("callbacks is a list of them: callbacks=[...]")
        source = as_source(data, batch_size, np.random.default_rng(seed))
        require_last_batch(model, source)
        evaluate = None
        if validation is not None:
            held_out = as_source(validation, BATCH, None)
            if held_out is source:  # a pass of its own goes through it while another is under way
                held_out = copy(held_out)
            evaluate = Validation(held_out, loss, find_metrics(metrics), ranks)
        elif metrics is not None:
            raise TrainingError("metrics are measured on the validation part; give validation=")
        told = list(callbacks)
        if checkpoint is not None:
            told.append(StateFile(checkpoint, checkpoint_every, resume))
        shape = source.inputs.shape[1:] if isinstance(source, Batches) else ()
        training = Training(
            model,
            optimizer,
            source,
            loss=loss,
            epochs=epochs,
            evaluate=evaluate,
            schedule=schedule,
            callbacks=told,
            clip_norm=clip_norm,
            accumulate=accumulate,
            ema=ema,
            patience=patience,
            evaluate_every=evaluate_every,
            jit=jit,
            lint=lint,
            costs=estimated_costs(model, shape[-2:])._replace(numbers=math.prod(shape)),
            batch_size=source.batch_size if isinstance(source, Batches) else batch_size,
            communicator=ranks,
        )
        # the others get it when they begin
        state = load_state(resume) if resume is not None and training.is_writer else None
    return training.run(state)
