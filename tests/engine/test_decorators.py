"""``no_grad`` and ``detect_anomaly`` as decorators: they hold while a body runs, of any kind of function."""

import asyncio
import functools
import gc
import inspect
import types
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import AnomalyError, Tensor, detect_anomaly, no_grad
from tinygrad_mnist.engine.observe import recorder


def records() -> bool:
    """Whether an operation is put on the tape here."""
    return (Tensor(1.0, requires_grad=True) * 2).requires_grad


def function() -> list[bool]:
    return [records(), records()]


def generator() -> Iterator[bool]:
    yield records()
    yield records()


async def coroutine() -> list[bool]:
    first = records()
    await asyncio.sleep(0)
    return [first, records()]


async def asynchronous_generator() -> AsyncIterator[bool]:
    yield records()
    await asyncio.sleep(0)
    yield records()


def seen(made: Any) -> list[bool]:
    """What the body of each kind of function saw, run to its end."""

    async def gathered() -> list[bool]:
        return [one async for one in made]

    if inspect.isasyncgen(made):
        return asyncio.run(gathered())
    return asyncio.run(made) if inspect.iscoroutine(made) else list(made)


KINDS = [function, generator, coroutine, asynchronous_generator]


class Methods:
    """Every kind of function as every kind of method."""

    @no_grad()
    def method(self) -> Iterator[bool]:
        yield records()
        yield isinstance(self, Methods) and records()

    @staticmethod
    @no_grad()
    def static() -> Iterator[bool]:
        yield from generator()

    @no_grad()
    @staticmethod
    async def static_below() -> list[bool]:
        return await coroutine()

    @no_grad()
    @classmethod
    async def of_class(cls) -> AsyncIterator[bool]:
        yield records()
        yield issubclass(cls, Methods) and records()

    @property
    @no_grad()
    def value(self) -> list[bool]:
        return function()


class Callable_:
    """An object that is called: its body is that of ``__call__``."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind

    def __call__(self) -> Iterator[bool]:
        yield from generator()


CALLS: dict[str, Callable[[], Any]] = {
    **{f"no_grad() of a {kind.__name__}": no_grad()(kind) for kind in KINDS},
    **{f"no_grad of a {kind.__name__}": no_grad(kind) for kind in KINDS},
    **{f"partial {kind.__name__}": no_grad()(functools.partial(kind)) for kind in KINDS},
    "method": Methods().method,
    "bound method": no_grad()(Methods().method),
    "static method": Methods.static,
    "static method below": Methods().static_below,
    "class method": Methods.of_class,
    "property": lambda: Methods().value,
    "object": no_grad()(Callable_(None)),
    "partial object": no_grad()(functools.partial(Callable_(None))),
    "twice": no_grad()(no_grad()(generator)),
    "lambda": no_grad()(lambda: (yield records())),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_recorded_while_the_body_runs(name: str) -> None:
    for _ in range(2):  # a decorated function can be called again
        assert set(seen(CALLS[name]())) == {False}
        assert records()


def test_a_decorated_function_is_of_the_same_kind_and_name() -> None:
    for kind, asks in zip(
        KINDS[1:],
        (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction),
        strict=True,
    ):
        decorated = no_grad()(kind)
        assert asks(decorated)
        assert decorated.__name__ == kind.__name__
        assert inspect.signature(decorated) == inspect.signature(kind)


def test_between_the_steps_of_a_generator_the_caller_records() -> None:
    running = no_grad()(generator)()
    assert [(one, records()) for one in running] == [(False, True)] * 2
    assert records()


def test_between_the_steps_of_a_coroutine_its_driver_and_other_tasks_record() -> None:
    class Pause:
        def __await__(self) -> Iterator[None]:
            yield

    @no_grad()
    async def paused() -> bool:
        await Pause()
        return records()

    running = paused()
    running.send(None)
    assert records()
    with pytest.raises(StopIteration) as ended:
        running.send(None)
    assert ended.value.value is False
    assert records()

    async def other() -> list[bool]:
        found = []
        for _ in range(4):
            await asyncio.sleep(0)
            found.append(records())
        return found

    async def both() -> Any:
        return await asyncio.gather(no_grad()(coroutine)(), other())

    assert asyncio.run(both()) == [[False, False], [True] * 4]


def test_what_is_awaited_inside_runs_without_recording() -> None:
    @no_grad()
    async def outer() -> list[bool]:
        return await coroutine()

    assert asyncio.run(outer()) == [False, False]


def test_between_the_steps_of_an_asynchronous_generator_the_caller_records() -> None:
    async def run() -> list[tuple[bool, bool]]:
        return [(one, records()) async for one in no_grad()(asynchronous_generator)()]

    assert asyncio.run(run()) == [(False, True)] * 2


def test_steps_of_several_generators_may_alternate() -> None:
    first, second = no_grad()(generator)(), no_grad()(generator)()
    assert [next(first), next(second), next(first), next(second)] == [False] * 4
    with no_grad():
        third = generator()
        assert not next(third)
        fourth = no_grad()(generator)()
        next(fourth)
        assert not records()
    assert next(third)  # not decorated: as its caller
    assert not next(fourth)


# ---- what passes through ---------------------------------------------------------------------------------


def talkative() -> Any:
    """A generator that answers what is sent and thrown into it, and tells how it ended."""
    heard: list[Any] = []
    while len(heard) < 3:
        try:
            heard.append((yield len(heard)))
        except KeyError as error:
            heard.append(error.args[0])
        assert not records()
    return heard


def test_what_is_sent_thrown_yielded_and_returned_passes_through_a_generator() -> None:
    running = no_grad()(talkative)()
    assert next(running) == 0
    assert running.send("a") == 1
    assert running.throw(KeyError("b")) == 2
    with pytest.raises(StopIteration) as ended:
        running.send("c")
    assert ended.value.value == ["a", "b", "c"]
    with pytest.raises(StopIteration):
        next(running)
    assert records()


@pytest.mark.parametrize("error", [ValueError, StopIteration, KeyboardInterrupt, GeneratorExit])
def test_what_a_generator_does_not_catch_comes_out_as_from_a_plain_one(error: type[BaseException]) -> None:
    found = []
    for make in (talkative, no_grad()(talkative)):
        running = make()
        next(running)
        with pytest.raises(BaseException) as raised:  # noqa: PT011
            running.throw(error("one"))
        found.append((raised.type, str(raised.value)))
    assert found[0] == found[1]
    assert records()


def closes() -> Any:
    seen_at_the_end: list[bool] = []

    def body() -> Iterator[list[bool]]:
        try:
            yield seen_at_the_end
        finally:
            seen_at_the_end.append(records())

    return body, seen_at_the_end


def test_closing_a_generator_runs_its_end_without_recording() -> None:
    body, ends = closes()
    running = no_grad()(body)()
    next(running)
    running.close()
    assert ends == [False]
    running = no_grad()(body)()
    next(running)
    del running  # is closed when nothing holds it
    gc.collect()
    assert ends == [False, False]
    no_grad()(body)().close()  # not begun: there is nothing to end
    assert ends == [False, False]
    assert records()


def test_close_of_a_generator_returns_and_refuses_what_that_of_a_plain_one_does() -> None:
    def returns() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            return 2

    def goes_on() -> Iterator[int]:
        with suppress(GeneratorExit):
            yield 1
        yield 2

    plain, decorated = returns(), no_grad()(returns)()
    assert next(plain) == next(decorated)
    assert plain.close() == decorated.close()  # 2 from Python 3.13 on
    running = no_grad()(goes_on)()
    next(running)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        running.close()


def test_yield_from_and_contextmanager_take_a_decorated_generator() -> None:
    def delegating() -> Any:
        return (yield from no_grad()(talkative)())

    running = delegating()
    assert [next(running), running.send(1), running.send(2)] == [0, 1, 2]
    with pytest.raises(StopIteration, match=r"\[1, 2, 3\]"):
        running.send(3)

    @contextmanager
    @no_grad()
    def manager() -> Iterator[bool]:
        yield records()

    with manager() as inside:
        assert not inside
        assert records()


def test_a_coroutine_of_a_generator_can_be_awaited() -> None:
    @no_grad()
    @types.coroutine
    def old() -> Any:
        yield
        return records()

    async def run() -> Any:
        return await old()

    assert asyncio.run(run()) is False


def test_what_is_sent_and_thrown_passes_through_an_asynchronous_generator() -> None:
    async def answering() -> AsyncIterator[Any]:
        given = None
        try:
            for _ in range(3):
                try:
                    given = yield given
                except KeyError as error:
                    given = error.args[0]
                await asyncio.sleep(0)
        finally:
            ends.append(records())

    async def run() -> None:
        running: Any = no_grad()(answering)()
        assert await running.asend(None) is None
        assert await running.asend("a") == "a"
        assert await running.athrow(KeyError("b")) == "b"
        with pytest.raises(StopAsyncIteration):
            await running.asend("c")
        async with aclosing(no_grad()(answering)()) as running:
            await anext(running)
        running = no_grad()(answering)()
        await anext(running)
        with pytest.raises(ZeroDivisionError):
            await running.athrow(ZeroDivisionError())
        running = no_grad()(answering)()
        await anext(running)
        await running.aclose()
        assert records()

    ends: list[bool] = []
    asyncio.run(run())
    assert ends == [False] * 4


def test_a_cancelled_task_ends_without_recording() -> None:
    @no_grad()
    async def forever() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ends.append(records())

    async def run() -> None:
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert records()

    ends: list[bool] = []
    asyncio.run(run())
    assert ends == [False]


def test_an_error_is_not_kept_alive_by_the_frame_that_it_holds() -> None:
    class Large:
        pass

    def fails(large: Large) -> Iterator[None]:
        yield

    large = Large()
    held = weakref.ref(large)
    running = no_grad()(fails)(large)
    next(running)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="thrown"):
            running.throw(ValueError("thrown"))
        del large, running
        assert held() is None
    finally:
        gc.enable()


# ---- what is refused, and the manager itself -------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Methods, "given the class Methods; expected a function: decorate its methods"),
        (property(function), "given a property; expected nothing, or a function"),
        (3, "given a int"),
        (Tensor(1.0), "given a Tensor"),
    ],
)
def test_what_is_no_function_is_refused(given: Any, message: str) -> None:
    for decorate in (no_grad, no_grad(), detect_anomaly, detect_anomaly()):
        with pytest.raises(TypeError, match=message):
            decorate(given)


def test_a_manager_can_be_entered_again_while_it_is_entered() -> None:
    manager = no_grad()
    with manager:
        with manager:
            assert not records()
        assert not records()
    assert records()
    with pytest.raises(ZeroDivisionError), manager:
        raise ZeroDivisionError
    assert records()


def test_a_decorated_function_runs_in_several_threads_at_once() -> None:
    running, found = no_grad()(generator), []

    def run() -> None:
        found.extend([*running(), records()])

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(True) == 4
    assert found.count(False) == 8


def zeros() -> Tensor:
    return Tensor(np.zeros(1), requires_grad=True)


def test_a_detector_of_anomalies_holds_while_the_body_runs_and_not_in_between() -> None:
    @detect_anomaly()
    def watched() -> Iterator[Tensor]:
        x = zeros()
        loss = np.sum(np.sqrt(x))
        yield loss
        loss.backward()  # the detector has seen the forward pass, one step before

    with np.errstate(divide="ignore"):
        running = watched()
        next(running)
        assert recorder.get() is None
        np.log(zeros())
        with pytest.raises(AnomalyError, match=r"'sqrt'[^\n]*\n[^\n]*\n  at: .*test_decorators.*np.sqrt"):
            next(running)
    assert recorder.get() is None


def test_a_detector_of_anomalies_watches_coroutines() -> None:
    @detect_anomaly
    async def watched() -> None:
        await asyncio.sleep(0)
        np.log(zeros())

    async def run() -> None:
        task = asyncio.create_task(watched())
        await asyncio.sleep(0)
        np.log(zeros())  # of another task
        with pytest.raises(AnomalyError, match="'log'"):
            await task

    with np.errstate(divide="ignore"):
        asyncio.run(run())
