"""Context managers that serve as decorators of every kind of function.

The standard library's `contextlib.ContextDecorator` holds while a function is called. A call of a generator,
coroutine or asynchronous generator function runs nothing of its body yet, so there it would be over too soon.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, ContextDecorator
from types import coroutine
from typing import Any, Self, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class FunctionDecorator(AbstractContextManager[None], ContextDecorator):
    """The base class of context managers that hold while the body of a decorated function runs.

    That of a generator or coroutine function runs in steps: the manager is entered and left at each of them,
    so that it does not hold in between, where the caller or other tasks run. ``@manager`` and ``@manager()``
    are the same. A subclass can be entered again, also while it is entered.
    """

    def __new__(cls, function: Callable[..., Any] | None = None) -> Self:
        """Return a manager; of a function, return it decorated."""
        if function is None:
            return object.__new__(cls)
        return cls()(function)  # type: ignore[return-value]

    def __call__(self, function: Function) -> Function:
        """Return a function that runs inside a manager of its own at each call.

        Raises
        ------
        TypeError
            If ``function`` is a class, or cannot be called.
        """
        if isinstance(function, (staticmethod, classmethod)):
            return type(function)(self(function.__func__))
        name = type(self).__name__
        if isinstance(function, type):
            raise TypeError(
                f"{name} was given the class {function.__name__}; expected a function: decorate its methods"
            )
        if not callable(function):
            raise TypeError(
                f"{name} was given a {type(function).__name__}; expected nothing, or a function to decorate "
                "(below @property and the like)"
            )
        return functools.wraps(function)(_decorated(function, self._recreate_cm))  # type: ignore[return-value]

    def _recreate_cm(self) -> Self:
        """Return a manager for one call of a decorated function."""
        return type(self)()


def _decorated(function: Any, make: Callable[[], Any]) -> Callable[..., Any]:
    """Return a function of the same kind that runs inside of what ``make`` makes at each call."""
    body = function
    while isinstance(body, functools.partial):
        body = body.func
    if not inspect.isroutine(body):
        body = type(body).__call__  # an object that can be called
    if inspect.isasyncgenfunction(body):
        return _asynchronous_generator(function, make)
    steps = _in_steps(function, make)
    if inspect.iscoroutinefunction(body) or inspect.iscoroutinefunction(function):

        async def run(*args: Any, **kwargs: Any) -> Any:
            return await _Awaitable(steps(*args, **kwargs))

        return run
    if inspect.isgeneratorfunction(body):
        awaitable = getattr(body, "__code__", None) is not None and (
            body.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE
        )
        return coroutine(steps) if awaitable else steps

    def call(*args: Any, **kwargs: Any) -> Any:
        with make():
            return function(*args, **kwargs)

    return call


def _in_steps(start: Callable[..., Any], make: Callable[[], Any]) -> Callable[..., Generator[Any, Any, Any]]:
    """Return a generator function that runs what ``start`` returns, each step inside a manager.

    That is a generator, a coroutine, or the like. What is sent, thrown, yielded and returned passes through.
    """

    def steps(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        manager = make()
        running = start(*args, **kwargs)
        resume, given = running.send, None
        while True:
            try:
                with manager:
                    yielded = resume(given)
            except StopIteration as end:
                return end.value
            finally:
                given = None  # an exception that was thrown in must not be held by the frame that it holds
            try:
                resume, given = running.send, (yield yielded)
            except BaseException as error:  # GeneratorExit too: close() is one that is thrown
                resume, given = running.throw, error

    return steps


def _asynchronous_generator(
    function: Callable[..., Any], make: Callable[[], Any]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return an asynchronous generator function whose body runs inside a manager, step by step."""

    async def steps(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        manager = make()
        running = function(*args, **kwargs)
        resume, given = running.asend, None
        while True:
            try:
                yielded = await _Awaitable(_in_steps(resume, lambda: manager)(given))
            except StopAsyncIteration:
                return
            finally:
                given = None
            try:
                resume, given = running.asend, (yield yielded)
            except BaseException as error:
                resume, given = running.athrow, error

    return steps


class _Awaitable:
    """An object whose ``await`` runs a generator."""

    def __init__(self, steps: Generator[Any, Any, Any]) -> None:
        self.steps = steps

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.steps
