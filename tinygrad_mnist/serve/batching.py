"""One thread that recognises: pictures of requests that wait together go through the network in one pass.

Nothing is held back to fill a batch. While one is computed, the next gathers: to wait 2 ms for more took a
third of the requests a second away. Small pictures are prepared in the same thread: to hand each to another
first took a sixth more of the processor. Large ones are prepared in a second thread, one request at a time,
so that neither the small ones nor the memory suffer.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

import numpy as np

from tinygrad_mnist.serve.errors import Refused, overloaded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinygrad_mnist.data.prepare import Prepared
    from tinygrad_mnist.serve.recognition import Recogniser

MOST_IMAGES: Final = 64
"""Pictures from which a batch takes no further request. Larger batches take no less time for each picture."""


@dataclass(eq=False)
class Job:
    """A request that waits for its answer.

    Parameters
    ----------
    prepare : callable
        Returns the pictures as the model is shown them, or raises what the visitor is told; called in the
        thread.
    deadline : float
        The time of `time.monotonic` after which nobody waits any longer.
    explain : bool
        Whether the answer explains.
    is_quick : bool
        Whether `prepare` takes a few milliseconds at most.
    """

    prepare: Callable[[], list[Prepared]]
    deadline: float
    explain: bool = False
    is_quick: bool = True

    future: asyncio.Future[bytes] = field(init=False)
    prepared: list[Prepared] = field(init=False)
    probabilities: NDArray[np.float32] = field(init=False)

    @property
    def is_awaited(self) -> bool:
        """Return whether somebody still waits for the answer."""
        return not self.future.done() and monotonic() < self.deadline

    def prepare_in_time(self) -> list[Prepared]:
        """Return the prepared pictures; raise `Refused` if nobody waits for them any longer."""
        if not self.is_awaited:
            raise late()
        return self.prepare()


T = TypeVar("T")
Outcome = tuple[Job, "bytes | Exception"]


class Batcher:
    """The thread, and the queue before it. It runs inside a ``with`` statement.

    Parameters
    ----------
    recogniser : Recogniser
        The model that answers.
    observe : callable, optional
        Told the number of pictures in each batch.

    Notes
    -----
    The jobs of a batch that need no explanation have their answers first. Explanations are given one at a
    time between the batches, so that those who ask for many make nobody else wait.
    """

    def __init__(self, recogniser: Recogniser, observe: Callable[[int], None] = lambda images: None) -> None:
        self._recogniser = recogniser
        self._observe = observe
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._unexplained: deque[Job] = deque()
        self._is_open = True
        self._large = 0
        self._pool = ThreadPoolExecutor(1, "preparation")
        self._thread = Thread(target=self._run, name="recognition", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._queue.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """The number of requests that no batch has taken yet."""
        return self._queue.qsize() + len(self._unexplained) + self._large

    @property
    def is_alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    async def answer(self, job: Job) -> bytes:
        """Return the answer to a job as JSON.

        Raises
        ------
        Exception
            What the preparation of its pictures raised, or the model.
        """
        loop = asyncio.get_running_loop()
        job.future = loop.create_future()
        if not job.is_quick:
            prepared = await self.aside(job.prepare_in_time)
            job.prepare = lambda: prepared
        self._queue.put(job)
        return await job.future

    async def aside(self, work: Callable[[], T]) -> T:
        """Return what a function returns that takes long; it is called in the second thread."""
        self._large += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._large -= 1

    def _run(self) -> None:
        while self._is_open or self._unexplained:
            if batch := self._gather():
                _deliver(self._answers(batch))
            elif self._unexplained:
                _deliver([self._explained(self._unexplained.popleft())])

    def _gather(self) -> list[Job]:
        """Return the jobs that wait, their pictures prepared; wait for one if there is nothing else to do."""
        batch: list[Job] = []
        failed: list[Outcome] = []
        images = 0
        while images < MOST_IMAGES and self._is_open:
            try:
                job = self._queue.get(block=not (batch or failed or self._unexplained))
            except Empty:
                break
            if job is None:
                self._is_open = False
            else:
                try:
                    job.prepared = job.prepare_in_time()
                except Exception as error:
                    failed.append((job, error))
                else:
                    batch.append(job)
                    images += len(job.prepared)
        _deliver(failed)
        return batch

    def _answers(self, batch: list[Job]) -> list[Outcome]:
        """Return the answers to the jobs of a batch that need no explanation, and note the others."""
        images = np.stack([picture.image for job in batch for picture in job.prepared])
        self._observe(len(images))
        try:
            probabilities = self._recogniser.probabilities(images)
        except Exception as error:
            return [(job, error) for job in batch]
        ends = np.cumsum([len(job.prepared) for job in batch])
        outcomes = []
        for job, rows in zip(batch, np.split(probabilities, ends[:-1]), strict=True):
            job.probabilities = rows
            if job.explain:
                self._unexplained.append(job)
            else:
                outcomes.append((job, self._answer(job)))
        return outcomes

    def _explained(self, job: Job) -> Outcome:
        return job, self._answer(job) if job.is_awaited else late()

    def _answer(self, job: Job) -> bytes | Exception:
        """Return the answer to a job whose probabilities are known, or the error it has instead."""
        try:
            found = self._recogniser.answer(job.prepared, job.probabilities, explain=job.explain)
            return json.dumps(found, allow_nan=False, separators=(",", ":")).encode()
        except Exception as error:
            return error


def late() -> Refused:
    """Return the error for a request that waited too long."""
    return overloaded("the request waited too long for its turn", "seconds")


def _deliver(outcomes: list[Outcome]) -> None:
    """Hand outcomes to those who wait for them, by one call into their event loop for all."""
    if outcomes:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits any longer
            outcomes[0][0].future.get_loop().call_soon_threadsafe(_settle, outcomes)


def _settle(outcomes: list[Outcome]) -> None:
    for job, outcome in outcomes:
        if job.future.done():  # nobody waits for it any longer
            continue
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
