"""One thread that recognises: pictures of requests that wait together go through the network in one pass.

Nothing is held back to fill a batch. While one batch is computed, the next gathers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from tinygrad_mnist.serve.errors import Refused, overloaded

if TYPE_CHECKING:
    from tinygrad_mnist.data.prepare import Prepared
    from tinygrad_mnist.serve.recognition import Recogniser

MOST_IMAGES: Final = 128
"""Pictures in a batch, unless one request has more: beyond this, a pass takes longer and no fewer passes are
gained."""


@dataclass(frozen=True, eq=False)
class Job:
    """A request that waits for its answer.

    Parameters
    ----------
    prepare : callable
        Returns the pictures as the model is shown them; called in the thread.
    explain : bool
        Whether the answer explains.
    deadline : float
        The time of `time.monotonic` after which nobody waits any longer.
    """

    prepare: Callable[[], list[Prepared]]
    explain: bool
    deadline: float


_Waiting = tuple[Job, "asyncio.Future[bytes]"]
_Result = tuple["asyncio.Future[bytes]", "bytes | Exception"]


class Batcher:
    """The thread, and the queue before it. Use it as a context manager.

    Parameters
    ----------
    recogniser : Recogniser
        What answers.
    observe : callable
        Told the number of pictures in each batch.
    """

    def __init__(self, recogniser: Recogniser, observe: Callable[[int], None] = lambda images: None) -> None:
        self._recogniser = recogniser
        self._observe = observe
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="recognition", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """The number of requests that no batch has taken yet."""
        return self._queue.qsize()

    async def answer(self, job: Job) -> bytes:
        """Return the answer to a job as JSON; raise what its preparation raised."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._queue.put((job, future))
        return await future

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            self._take(first)

    def _take(self, first: _Waiting) -> None:
        """Answer a job, and those that wait behind it."""
        waiting, images = [first], []
        prepared: list[tuple[_Waiting, list[Prepared]]] = []
        results: list[_Result] = []
        for job, future in waiting:
            if future.cancelled() or job.deadline < monotonic():
                continue
            try:
                pictures = job.prepare()
            except Exception as error:
                results.append((future, error))
            else:
                prepared.append(((job, future), pictures))
                images += [picture.image for picture in pictures]
            if len(images) < MOST_IMAGES and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)  # the end: for the loop outside
                else:
                    waiting.append(following)
        if images:
            self._observe(len(images))
            results += self._answers(prepared, np.stack(images))
        _deliver(results)

    def _answers(self, prepared: list[tuple[_Waiting, list[Prepared]]], images: Any) -> Iterable[_Result]:
        try:
            probabilities = self._recogniser.probabilities(images)
        except Exception as error:
            for (_, future), _ in prepared:
                yield future, error
            return
        start = 0
        for (job, future), pictures in prepared:
            rows = probabilities[start : start + len(pictures)]
            start += len(pictures)
            try:
                found = self._recogniser.answer(pictures, rows, explain=job.explain)
                yield future, json.dumps(found, allow_nan=False).encode()
            except Exception as error:
                yield future, error


def _deliver(results: list[_Result]) -> None:
    """Hand results to those who wait, by one call into each event loop."""
    if results:
        results[0][0].get_loop().call_soon_threadsafe(_set, results)


def _set(results: list[_Result]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
