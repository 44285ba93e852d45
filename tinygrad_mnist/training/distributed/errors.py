"""Errors of exchanges between processes; each message is one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_mnist.engine.shards import ExchangeFailure
from tinygrad_mnist.training.errors import TrainingError


class ExchangeError(TrainingError, ExchangeFailure):
    """An exchange between the processes that failed; base of the others."""


class RankLostError(ExchangeError):
    """Some processes have ended, or cannot be reached, so that the others cannot exchange with them.

    It is raised where MPI was started with its fault tolerance (``mpiexec --with-ft ulfm``). Without it, MPI
    ends all processes when one is lost.

    Parameters
    ----------
    ranks : sequence of int
        The lost ranks, as far as this process knows.
    hosts : sequence of str
        Their machines.
    step : int, optional
        The step of training that was under way, where that is known.
    advice : str
        What to do, as the end of the sentence.
    """

    def __init__(
        self,
        ranks: Sequence[int] = (),
        hosts: Sequence[str] = (),
        step: int | None = None,
        advice: str = "",
    ) -> None:
        self.ranks, self.hosts, self.step = tuple(ranks), tuple(hosts), step
        pairs = zip(self.ranks, self.hosts, strict=True)
        who = ", ".join(f"rank {rank} on {host}" for rank, host in pairs) or "another process"
        when = "" if step is None else f" in step {step:,}"
        super().__init__(f"{who} was lost{when}{advice}")


class OutOfStepError(ExchangeError):
    """The processes have made different exchanges, so that what they exchanged means nothing."""
