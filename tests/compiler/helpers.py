"""Worlds made twice, one for eager and one for `jit`: after the same calls they have to be equal.

A test gives a function that makes a world from fixed seeds. It is called with the identity, and with `jit`,
and decorates its step with what it is given, so that it reads like a user's code.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from types import FrameType
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import JitError, Tensor, jit, nn, optim
from tinygrad_mnist.engine.tree import flatten

F = nn.functional
Call = Callable[[], Sequence[Any]] | Sequence[Any]

RTOL = {"e": 1e-2, "f": 1e-5, "d": 1e-12, "g": 1e-12}
"""The difference that rounding may make after five steps, relative to the largest number, by dtype."""


@dataclass
class World:
    """A step, and everything that it may change."""

    step: Callable[..., Any]
    model: Any = None
    optimizer: Any = None
    schedule: Any = None
    holders: dict[str, Any] = field(default_factory=dict)
    """Further Tensors, arrays, generators, modules and optimisers, by name."""

    def parts(self) -> dict[str, Any]:
        named = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule, **self.holders}
        return {name: part for name, part in named.items() if part is not None}

    @property
    def programs(self) -> int:
        """The number of compilations so far."""
        return len(self.step.compilations)  # type: ignore[attr-defined]


def identity(f: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Take the place of `jit` in eager's world."""
    return identity if f is None else f


def equal_to_eager(
    make: Callable[[Any], World],
    calls: Sequence[Call],
    *,
    between: Callable[[World, int], object] | None = None,
    compilations: int | tuple[int, int] | None = 1,
    rtol: float | None = None,
    replayed: bool = True,
) -> World:
    """Make the same calls in eager and in `jit`, and compare everything after each; return the jitted world.

    Parameters
    ----------
    make : callable
        ``make(decorate)`` returns a world, the same each time.
    calls : sequence
        The arguments of each call; or a function that makes them, for each world its own.
    between : callable, optional
        ``between(world, i)`` is called in both worlds before call ``i``.
    compilations : int or tuple of int, optional
        The number of compilations at the end, or the lowest and the highest; None for any.
    rtol : float, optional
        In the place of that in `RTOL`.
    replayed : bool
        Whether the last call has to be run by the program, if there is one program.
    """
    eager, jitted = make(identity), make(jit)
    kept: list[tuple[Any, Any]] = []
    for i, call in enumerate(calls):
        given, results = [], []
        for world in (eager, jitted):
            if between is not None:
                between(world, i)
            arguments = call() if callable(call) else copy.deepcopy(tuple(call))
            given.append(arguments)
            expected = results[0] if results else None
            with watched(world.step) as python:
                results.append(outcome(world.step, arguments, may_raise=not results or is_error(expected)))
        where = f"call {i}"
        assert_close(results[0], results[1], f"{where}, result", rtol)
        assert_close(given[0], given[1], f"{where}, arguments", rtol)
        for name, part in eager.parts().items():
            assert_close(state_of(part), state_of(jitted.parts()[name]), f"{where}, {name}", rtol)
        kept.append((results[0], results[1]))
        was_run = bool(python)  # in jit's world, which comes second
    for i, (expected, result) in enumerate(kept):  # later calls have changed none of them
        assert_close(expected, result, f"result of call {i}, at the end", rtol)
    if replayed and compilations == 1 and len(calls) > 1 and not is_error(kept[-1][0]):
        assert not was_run, "the last call ran Python again, and no program"
    if compilations is not None:
        low, high = (compilations, compilations) if isinstance(compilations, int) else compilations
        reasons = [(one.reason, one.signature) for one in jitted.step.compilations]  # type: ignore[attr-defined]
        assert low <= len(reasons) <= high, f"{len(reasons)} compilations, because of {reasons}"
    return jitted


@contextmanager
def watched(step: Any) -> Iterator[list[Any]]:
    """Note each time that the Python of a jitted function is run."""
    code = getattr(inspect.unwrap(step), "__code__", None)
    runs: list[Any] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is code:
            runs.append(frame.f_lineno)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield runs
    finally:
        sys.setprofile(before)


def is_error(result: Any) -> bool:
    """Return whether what `outcome` returned is an error."""
    return isinstance(result, dict) and "raised" in result


def outcome(step: Callable[..., Any], arguments: Sequence[Any], may_raise: bool = True) -> Any:
    """Return what a call returns, or the error that it raises, as its type and its message."""
    positional, named = arguments, {}
    if len(arguments) and isinstance(arguments[-1], Keywords):
        *positional, named = arguments
    try:
        return step(*positional, **named)
    except JitError:
        raise
    except Exception as error:
        if not may_raise:
            raise
        return {"raised": type(error).__name__, "words": str(error).splitlines()[0]}


class Keywords(dict[str, Any]):
    """The keyword arguments of a call, as the last of its arguments."""


def quick(every: Sequence[Any], *chosen: Any) -> list[Any]:
    """Return parameters of a test: all but the chosen ones are marked slow."""
    return [
        pytest.param(*(one if isinstance(one, tuple) else [one]), marks=[pytest.mark.slow][one in chosen :])
        for one in every
    ]


# ---- state -----------------------------------------------------------------------------------------------


def state_of(part: Any) -> Any:
    """Return all that a step can change in a part of a world, as a tree of copies."""
    if isinstance(part, nn.Module):
        return {
            "parameters": {name: state_of(p) for name, p in part.named_parameters()},
            "buffers": {name: np.array(b) for name, b in part.named_buffers()},
            "generators": {
                name: state_of(module.rng)
                for name, module in part.named_modules()
                if isinstance(getattr(module, "rng", None), np.random.Generator)
            },
        }
    if isinstance(part, Tensor):
        grad = None if part.grad is None else np.array(part.grad.data)
        return {
            "data": np.array(part.data),
            "grad": ("no gradient",) if grad is None else grad,
            "requires_grad": part.requires_grad,
        }
    if isinstance(part, np.random.Generator):
        return str(part.bit_generator.state)
    if isinstance(part, (optim.Optimizer, optim.LRScheduler)):
        return copy.deepcopy(part.state_dict())
    if isinstance(part, (list, tuple)):
        return [state_of(one) for one in part]
    if isinstance(part, Mapping):
        return {name: state_of(one) for name, one in part.items()}
    return copy.deepcopy(part)


def assert_close(expected: Any, found: Any, where: str, rtol: float | None = None) -> None:
    """Raise an AssertionError unless two trees are equal within rounding, dtypes and shapes included.

    What is no array of floats, such as labels, counts and learning rates, has to be equal. An element may be
    wrong by a share of the largest of its array, or by a hundredth of that share of the largest of the tree.
    """
    ours, theirs = dict(_leaves(found)), dict(_leaves(expected))
    assert ours.keys() == theirs.keys(), (
        f"{where}: there are {sorted(ours)[:20]}, expected {sorted(theirs)[:20]}"
    )
    arrays = [a for a in map(_as_array, theirs.values()) if a is not None and a.dtype.kind == "f"]
    largest = max((_largest(a) for a in arrays), default=0.0)
    for path, wanted in theirs.items():
        _assert_same(wanted, ours[path], f"{where}{path}", largest, rtol)


def _assert_same(wanted: Any, found: Any, where: str, largest: float, rtol: float | None) -> None:
    expected, result = _as_array(wanted), _as_array(found)
    if expected is None or result is None:
        assert type(wanted) is type(found), f"{where}: {found!r} in place of {wanted!r}"
        if type(wanted) is float and "result" in where:  # such as the norm that clipping returns
            wanted = found if np.isclose(wanted, found, rtol=1e-5, equal_nan=True) else wanted
        assert wanted == found or wanted != wanted, f"{where}: {found!r} in place of {wanted!r}"
        return
    same_kind = isinstance(wanted, Tensor) == isinstance(found, Tensor)
    assert same_kind, f"{where}: a {type(found).__name__} in place of a {type(wanted).__name__}"
    assert expected.shape == result.shape, f"{where}: shape {result.shape} in place of {expected.shape}"
    assert expected.dtype == result.dtype, f"{where}: dtype {result.dtype} in place of {expected.dtype}"
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(result, expected, where)
        return
    share = RTOL[expected.dtype.char] if rtol is None else rtol
    scale = max(_largest(expected), 0.01 * largest)
    np.testing.assert_allclose(result, expected, rtol=share, atol=share * scale, err_msg=where)


def _as_array(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data
    return value if isinstance(value, (np.ndarray, np.generic)) else None


def _largest(array: Any) -> float:
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested dicts, lists and tuples by their paths."""
    if is_dataclass(tree) and not isinstance(tree, type):
        tree = vars(tree)
    if isinstance(tree, Mapping):
        for name, part in tree.items():
            yield from _leaves(part, f"{path}[{name!r}]")
    elif isinstance(tree, (list, tuple)):
        for i, part in enumerate(tree):
            yield from _leaves(part, f"{path}[{i}]")
        yield f"{path}.type", type(tree)
    else:
        yield path, tree


# ---- networks and batches --------------------------------------------------------------------------------

FEATURES, CLASSES, ROWS = 5, 4, 6


def network(*, dtype: Any = np.float32, dropout: float = 0.0, momentum: float | None = 0.1) -> nn.Sequential:
    """Return a small network with batch norm; a weight before batch norm has no bias, whose gradient is 0."""
    model = nn.Sequential(
        nn.Linear(FEATURES, 7, bias=False, rng=1),
        nn.BatchNorm1d(7, momentum=momentum),
        nn.ReLU(),
        *([nn.Dropout(dropout, rng=2)] if dropout else []),
        nn.Linear(7, CLASSES, rng=3),
    )
    return model if dtype == np.float32 else model.astype(dtype)


def plain_network(*, dtype: Any = np.float32) -> nn.Sequential:
    """Return a small network without state beside its parameters."""
    model = nn.Sequential(nn.Linear(FEATURES, 6, rng=1), nn.Tanh(), nn.Linear(6, CLASSES, rng=3))
    return model if dtype == np.float32 else model.astype(dtype)


def batches(
    count: int = 5, *, rows: int | Sequence[int] = ROWS, dtype: Any = np.float32, seed: int = 0
) -> list[tuple[Any, Any]]:
    """Return images and labels for some calls, all different."""
    rng = np.random.default_rng(seed)
    sizes = [rows] * count if isinstance(rows, int) else list(rows)
    return [
        (rng.standard_normal((n, FEATURES)).astype(dtype), rng.integers(0, CLASSES, n).astype(np.uint8))
        for n in sizes
    ]


def trainer(
    decorate: Any,
    model: Any = None,
    optimizer: Callable[[Any], Any] | None = None,
    loss: Callable[..., Any] = F.cross_entropy,
    **holders: Any,
) -> World:
    """Return the usual world: a network, an optimiser, and a step that trains the one by the other."""
    model = network() if model is None else model
    made = optim.Adam(model.parameters(), lr=0.01) if optimizer is None else optimizer(model.parameters())

    @decorate
    def step(x: Any, y: Any) -> Any:
        made.zero_grad()
        value = loss(model(x), y)
        value.backward()
        made.step()
        return value

    return World(step, model, made, holders=holders)


# ---- errors ----------------------------------------------------------------------------------------------


def assert_names_line(error: BaseException, function: Any, marker: str) -> None:
    """Raise an AssertionError unless an error names file, number and source of a line with a marker."""
    function = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(function)
    file = inspect.getfile(function).split("/")[-1]
    marked = {first + i: line.split("#")[0].strip() for i, line in enumerate(lines) if marker in line}
    named = [f"{file}:{number}" in str(error) and source in str(error) for number, source in marked.items()]
    assert any(named), f"{str(error)!r} names none of {marked}"


def equal_or_refused(make: Callable[[Any], World], calls: Sequence[Call], **options: Any) -> JitError | None:
    """Accept either of two right answers: all calls as in eager, or a JitError before anything is changed."""
    world = make(jit)
    before = {name: state_of(part) for name, part in world.parts().items()}
    try:
        call = calls[0]
        if (between := options.get("between")) is not None:
            between(world, 0)
            before = {name: state_of(part) for name, part in world.parts().items()}
        outcome(world.step, call() if callable(call) else copy.deepcopy(tuple(call)))
    except JitError as error:
        after = {name: state_of(part) for name, part in world.parts().items()}
        assert_close(before, after, "after the refusal", 0.0)
        return error
    equal_to_eager(make, calls, compilations=None, **options)
    return None


def leaves(tree: Any) -> list[Any]:
    """Return the arrays of a tree."""
    return [leaf.data if isinstance(leaf, Tensor) else np.asarray(leaf) for leaf in flatten(tree)[0]]
