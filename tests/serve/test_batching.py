"""The thread that recognises: what waits together is one batch, and nobody waits for others' explanations."""

import asyncio
import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.data.placement import affine
from tinygrad_mnist.data.prepare import Prepared
from tinygrad_mnist.serve.batching import Batcher, Job
from tinygrad_mnist.serve.errors import Refused

FAR = math.inf


class Model:
    """A recogniser that notes what it is asked, and answers once it may go on."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.answers: list[str] = []
        self.go_on = threading.Event()
        self.is_asked = threading.Event()

    def probabilities(self, images: Any) -> Any:
        self.is_asked.set()
        assert self.go_on.wait(10)
        self.batches.append(len(images))
        if images.max() == 13:
            raise ZeroDivisionError("of the model")
        return images.reshape(len(images), -1)[:, :1].astype(np.float32)

    def answer(self, prepared: Sequence[Prepared], rows: Any, *, explain: bool = False) -> Any:
        name = f"{int(prepared[0].image[0, 0])}{' explained' if explain else ''}"
        self.answers.append(name)
        return {"name": name, "rows": rows.ravel().tolist()}


def pictures(*values: int) -> Callable[[], list[Prepared]]:
    return lambda: [Prepared(np.full((2, 2), value, np.uint8), affine()) for value in values]


def run(model: Any, jobs: Sequence[Job], **options: Any) -> list[Any]:
    """Let the first job hold the thread until the others wait; return all outcomes in the jobs' order."""

    async def ask(batcher: Batcher) -> list[Any]:
        first = asyncio.ensure_future(batcher.answer(Job(pictures(0), FAR)))
        assert await asyncio.to_thread(model.is_asked.wait, 10)
        rest = [asyncio.ensure_future(batcher.answer(job)) for job in jobs]
        await asyncio.sleep(0)
        model.go_on.set()
        return (await asyncio.gather(first, *rest, return_exceptions=True))[1:]

    with Batcher(model, **options) as batcher:
        return asyncio.run(ask(batcher))


def test_jobs_that_wait_are_one_batch_and_each_gets_its_own_rows() -> None:
    model, sizes = Model(), list[int]()
    found = run(model, [Job(pictures(1, 2), FAR), Job(pictures(3), FAR)], observe=sizes.append)
    assert model.batches == sizes == [1, 3]
    assert [json.loads(one)["rows"] for one in found] == [[1, 2], [3]]


def test_a_batch_takes_no_more_requests_when_it_is_full() -> None:
    model = Model()
    run(model, [Job(pictures(*range(1, 12)), FAR) for _ in range(12)])
    assert model.batches == [1, 66, 66]


def test_explanations_come_after_the_answers_of_others() -> None:
    model = Model()
    run(model, [Job(pictures(1), FAR, explain=True), Job(pictures(2), FAR), Job(pictures(3), FAR)])
    assert model.batches == [1, 3]
    assert model.answers == ["0", "2", "3", "1 explained"]


def test_the_error_of_a_preparation_is_that_of_its_request_alone() -> None:
    def fail() -> list[Prepared]:
        raise Refused(422, "blank", reason="blank")

    error, answer = run(Model(), [Job(fail, FAR), Job(pictures(2), FAR)])
    assert isinstance(error, Refused)
    assert json.loads(answer)["name"] == "2"


def test_the_thread_outlives_an_error_of_the_model() -> None:
    model = Model()
    model.go_on.set()

    async def ask(batcher: Batcher) -> bytes:
        with pytest.raises(ZeroDivisionError):
            await batcher.answer(Job(pictures(13), FAR))
        return await batcher.answer(Job(pictures(1), FAR))

    with Batcher(model) as batcher:  # type: ignore[arg-type]
        assert json.loads(asyncio.run(ask(batcher)))["name"] == "1"
        assert batcher.is_alive
    assert not batcher.is_alive


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("is_quick", [False, True])
def test_what_nobody_waits_for_any_longer_is_not_computed(explain: bool, is_quick: bool) -> None:
    model = Model()
    (error,) = run(model, [Job(pictures(1), time.monotonic() - 1, explain, is_quick)])
    assert isinstance(error, Refused)
    assert error.status == 503
    assert model.batches == [1]


def test_large_pictures_are_prepared_in_another_thread() -> None:
    names = []

    def prepare() -> list[Prepared]:
        names.append(threading.current_thread().name.partition("_")[0])
        return pictures(1)()

    run(Model(), [Job(prepare, FAR, is_quick=True), Job(prepare, FAR, is_quick=False)])
    assert sorted(names) == ["preparation", "recognition"]
