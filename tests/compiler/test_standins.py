"""What the user's code asks about arrays is answered as of arrays, or the call runs as it is."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, jit

KINDS = (np.ndarray, list)


@functools.singledispatch
def name_of(x: Any) -> str:
    return "another"


@name_of.register(np.ndarray)
def _(x: Any) -> str:
    return "an array"


def asks(x: Any) -> Any:
    return isinstance(x, np.ndarray)


def asks_by_another(x: Any) -> Any:
    return asks(x)


def matches(x: Any) -> Any:
    match x:
        case np.ndarray():
            return True
        case _:
            return False


ANSWERED: dict[str, Callable[[Any], Any]] = {
    "isinstance": asks,
    "isinstance in a helper": asks_by_another,
    "isinstance of several": lambda x: isinstance(x, KINDS),
    "isinstance of a union": lambda x: isinstance(x, np.ndarray | list),
    "isinstance of an abstract class": lambda x: [isinstance(x, kind) for kind in (Iterable, numbers.Number)],
    "match": matches,
    "singledispatch": name_of,
    "isscalar": np.isscalar,
    "the class": lambda x: x.__class__ is np.ndarray,
    "hasattr": lambda x: hasattr(x, "shape") and not hasattr(x, "nothing"),
    "a result": lambda x: isinstance(np.exp(x) + x.T.sum(0), np.ndarray),
    "a result with a Tensor": lambda x: isinstance(x + Tensor(x), np.ndarray),
}
"""Questions that a trace answers."""


def tries(x: Any) -> Any:
    try:
        return x.flags.writeable
    except Exception:
        return None


def asks_for_type(x: Any) -> Any:
    return type(x) is np.ndarray


def asks_by_helper(x: Any) -> Any:
    return asks_for_type(x)


def asks_by_helpers(x: Any) -> Any:
    return asks_by_helper(x)


def asks_for_tensor(x: Any) -> Any:
    return isinstance(x, Tensor)


LEFT: dict[str, Callable[[Any], Any]] = {
    "type": asks_for_type,
    "type in a lambda": lambda x: type(x).__name__,
    "type in a helper of a helper": asks_by_helpers,
    "isinstance of Tensor": asks_for_tensor,
    "hasattr of an array": lambda x: hasattr(x, "ctypes"),
    "hasattr of a Tensor": lambda x: hasattr(x, "requires_grad"),
    "getattr": lambda x: getattr(x, "grad", 1),
    "an attribute": tries,
    "a scalar": lambda x: isinstance(np.sum(x), float),
    "isscalar of a scalar": lambda x: np.isscalar(x[0]),
    "isinstance of a number": lambda x: isinstance(np.max(x), numbers.Number),
}
"""Questions to which a trace knows no answer."""


@pytest.mark.parametrize("question", ANSWERED)
def test_an_answer_is_that_of_an_array(question: str) -> None:
    f = jit(lambda x: (ANSWERED[question](x), x * 2))
    x = np.arange(3.0)
    expected = ANSWERED[question](x)
    assert [f(x)[0], f(x)[0]] == [expected, expected]
    assert len(f.compilations) == 1


@pytest.mark.parametrize("question", LEFT)
def test_a_call_that_asks_what_a_trace_cannot_answer_runs_as_it_is(question: str) -> None:
    f, x = jit(LEFT[question]), np.arange(3.0)
    with pytest.warns(UserWarning, match="runs as it is"):
        assert f(x) == LEFT[question](x)
    assert f(x) == LEFT[question](x)
    assert not f.compilations


@pytest.mark.parametrize("dtype", [bool, np.int64])
def test_what_is_assigned_to_an_array_is_cast_as_numpy_does(dtype: Any) -> None:
    def f(x: Any) -> Any:
        y = x.copy()
        y[:2] = 2.5
        np.put(y, [2], 7)
        z = y.reshape(2, 2).copy()
        np.fill_diagonal(z, 3.0)
        return y * 1, z * 1

    x = np.array([1, 0, 1, 0], dtype)
    compiled = jit(f)
    for _ in range(2):
        for result, expected in zip(compiled(x), f(x), strict=True):
            np.testing.assert_array_equal(result, expected)
    assert len(compiled.compilations) == 1


def rows(x: Any) -> Any:
    y = x.copy()
    for row in y:
        row += 1
    return y


def a_slice(x: Any) -> Any:
    y = x.copy()
    y[:1] *= 3
    view = y[1:, 1:]
    view -= x[:1, :1]
    return y


def what_is_read_later(x: Any) -> Any:
    y = x.copy()
    transposed, flat, row = y.T, y.ravel(), y[:, 1:].T
    y[0] = 9
    y += 1
    return transposed * 1, flat + 0, row * 2


def an_argument(x: Any) -> Any:
    view = x[0]
    view += 1
    return x * 2


@pytest.mark.parametrize("f", [rows, a_slice, what_is_read_later, an_argument])
def test_what_is_written_is_seen_in_views_and_what_they_are_of(f: Any) -> None:
    compiled = jit(f)
    found, expected = np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2)
    for _ in range(3):
        results, wanted = compiled(found), f(expected)
        for result, want in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(result, want)
        np.testing.assert_array_equal(found, expected)
    assert len(compiled.compilations) == 1


WRITTEN_VIEWS: dict[str, Callable[[Any], Any]] = {
    "a reshaped array": lambda x: (lambda y: (np.fill_diagonal(y.reshape(2, 2), 9.0), y))(x.copy())[1],
    "an argument's transposed": lambda x: (np.fill_diagonal(x.T, 9.0), x)[1],
    "what a split gives": lambda x: (lambda v: (np.put(x, [0], 9.0), v[0] * 1))(np.split(x, 2))[1],
}


@pytest.mark.parametrize("kind", WRITTEN_VIEWS)
def test_a_call_that_writes_to_a_view_runs_as_it_is(kind: str) -> None:
    compiled = jit(WRITTEN_VIEWS[kind])
    with pytest.warns(UserWarning, match="written to at .* by a view"):
        compiled(np.arange(4.0).reshape(2, 2))
    found, expected = np.arange(4.0).reshape(2, 2), np.arange(4.0).reshape(2, 2)
    np.testing.assert_array_equal(compiled(found), WRITTEN_VIEWS[kind](expected))
    np.testing.assert_array_equal(found, expected)


def test_a_copy_by_an_index_is_no_view() -> None:
    def f(x: Any) -> Any:
        y = x[[0, 1]]
        y += x[0, 0]
        return y, x * 1

    compiled, x = jit(f), np.arange(4.0).reshape(2, 2) + 1
    for result, expected in zip(compiled(x) and compiled(x), f(x), strict=True):
        np.testing.assert_array_equal(result, expected)
    assert len(compiled.compilations) == 1


def test_out_of_an_array_from_outside() -> None:
    total = np.zeros(3)
    f = jit(lambda x: np.add(total, x, out=total) * 1)
    assert [f(np.ones(3)).tolist() for _ in range(3)] == [[1.0] * 3, [2.0] * 3, [3.0] * 3]
    assert total.tolist() == [3.0] * 3
