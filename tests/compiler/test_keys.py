"""The signature of arguments, the modes, and the words for what differs."""

from __future__ import annotations

import collections
import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, no_grad
from tinygrad_mnist.compiler.keys import Keys, modes, reason, signature
from tinygrad_mnist.engine.tree import unflatten
from tinygrad_mnist.nn.module import evaluation_mode

Point = collections.namedtuple("Point", ["x", "y"])


class Color(enum.Enum):
    RED = 1
    BLUE = 2


def key_of(*args: Any, **kwargs: Any) -> Any:
    key = signature(args, kwargs)[2]
    hash(key)
    return key


def function(x: Any, y: Any = None, *rest: Any, mask: Any = None) -> None:
    """Give the arguments their names."""


def why(new: tuple[Any, ...], *known: tuple[Any, ...]) -> str:
    """Return the reason for a call with some arguments, after calls with others."""
    keys = Keys(function)
    return reason(keys(new, {})[2], [keys(args, {})[2] for args in known], function)


MAKERS: dict[str, Callable[[], Any]] = {
    "float32": lambda: np.ones((4, 6), np.float32),
    "float64": lambda: np.ones((4, 6)),
    "big-endian": lambda: np.ones((4, 6), ">f4"),
    "another shape": lambda: np.ones((5, 6), np.float32),
    "an axis more": lambda: np.ones((4, 6, 1), np.float32),
    "empty": lambda: np.ones((0, 6), np.float32),
    "Fortran": lambda: np.ones((4, 6), np.float32, order="F"),
    "transposed": lambda: np.ones((4, 7), np.float32)[:, :6],
    "strided": lambda: np.ones((8, 6), np.float32)[::2],
    "reversed": lambda: np.ones((4, 6), np.float32)[::-1],
    "broadcast": lambda: np.broadcast_to(np.ones(6, np.float32), (4, 6)),
    "no axes": lambda: np.array(1, np.float32),
    "a NumPy scalar": lambda: np.float32(1),
    "Tensor": lambda: Tensor(np.ones((4, 6), np.float32)),
    "Tensor with a gradient": lambda: Tensor(np.ones((4, 6), np.float32), requires_grad=True),
    "result": lambda: Tensor(np.ones((4, 6), np.float32), requires_grad=True) * 1,
    "masked": lambda: np.ma.masked_array(np.ones((4, 6), np.float32)),
    "None": lambda: None,
    "True": lambda: True,
    "1": lambda: 1,
    "1.0": lambda: 1.0,
    "2.0": lambda: 2.0,
    "nan": lambda: float("nan"),
    "text": lambda: "text",
    "dtype": lambda: np.dtype(np.float32),
    "enum": lambda: Color.RED,
    "another enum": lambda: Color.BLUE,
    "function": lambda: np.tanh,
    "builtin": lambda: len,
    "list": lambda: [np.ones(2)],
    "tuple": lambda: (np.ones(2),),
    "list of None": lambda: [None],
    "empty list": lambda: [],
    "dict": lambda: {"a": np.ones(2)},
    "dict of another name": lambda: {"b": np.ones(2)},
    "ordered dict": lambda: collections.OrderedDict(a=np.ones(2)),
    "named tuple": lambda: Point(np.ones(2), np.ones(2)),
    "pair": lambda: (np.ones(2), np.ones(2)),
    "nested": lambda: [[np.ones(2)]],
}


def test_arguments_of_each_kind_have_keys_of_their_own() -> None:
    made = {name: make() for name, make in MAKERS.items()}
    keys = {name: key_of(value) for name, value in made.items()}
    equal = [(a, b) for a in keys for b in keys if a < b and keys[a] == keys[b]]
    assert equal == []


@pytest.mark.parametrize("name", MAKERS)
def test_equal_arguments_have_equal_keys(name: str) -> None:
    assert key_of(MAKERS[name](), 1) == key_of(MAKERS[name](), 1)


def test_leaves_and_structure_are_the_arguments() -> None:
    x, y = np.ones(2), Tensor(np.ones(3))
    for args, kwargs in [((x, x), {}), ((), {}), ((x, [y, None, 2]), {"b": (1, x), "a": Point(x, "s")})]:
        leaves, structure, _ = signature(args, kwargs)
        positional, named = unflatten(structure, leaves)
        assert repr((positional, dict(sorted(named.items())))) == repr((args, dict(sorted(kwargs.items()))))
        assert all(any(leaf is one for one in leaves) for leaf in args if isinstance(leaf, np.ndarray))


def test_the_order_of_named_arguments_does_not_matter() -> None:
    x, y = np.ones(2), np.ones(3)
    assert key_of(x=x, y=y) == key_of(y=y, x=x)
    assert key_of(x=x, y=y) != key_of(x=y, y=x)


def test_an_argument_by_name_and_by_position_are_two_calls() -> None:
    assert key_of(np.ones(2)) != key_of(x=np.ones(2))


def test_arrays_with_common_memory() -> None:
    x = np.ones((4, 6))
    apart = key_of(x, np.ones((4, 6)))
    assert key_of(x, x) != apart
    assert key_of(x[:], x) not in (apart, key_of(x, x))
    assert key_of(x[:2], x[2:]) == key_of(np.ones((2, 6)), np.ones((2, 6)))  # side by side is apart
    assert key_of(x[:3], x[1:]) != key_of(np.ones((3, 6)), np.ones((3, 6)))
    assert key_of({"a": x}, [x]) != key_of({"a": x}, [x.copy()])
    assert key_of(Tensor(x), x) != key_of(Tensor(x), x.copy())


def test_one_tensor_twice_is_not_two_tensors_of_one_array() -> None:
    x = np.ones(2)
    one, other = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    assert key_of(one, one) != key_of(one, other)


def test_many_arrays_are_told_apart() -> None:
    parts = [np.ones(2) for _ in range(30)]
    assert key_of(parts) == key_of([np.ones(2) for _ in range(30)])
    assert key_of([*parts, parts[0]]) != key_of([*parts, np.ones(2)])


def test_a_hook_on_an_argument_counts() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    before = key_of(x)
    handle = x.register_hook(lambda g: None)
    assert key_of(x) != before
    handle.remove()
    assert key_of(x) == before


def test_objects_count_by_identity() -> None:
    def f() -> None: ...

    assert key_of(f) == key_of(f)
    assert key_of(f) != key_of(lambda: None)
    assert key_of(np.random.default_rng(0)) != key_of(np.random.default_rng(0))


def test_modes() -> None:
    usual = modes()
    assert usual == modes()
    with no_grad():
        untaped = modes()
    with evaluation_mode():
        evaluating = modes()
    with np.errstate(divide="raise"):
        raising = modes()
    with np.errstate(divide="raise"):
        assert modes() == raising
    assert len({usual, untaped, evaluating, raising}) == 4
    assert modes() == usual


def test_a_change_of_numpys_error_state_for_good_is_seen() -> None:
    before = modes()
    old = np.seterr(over="raise")
    try:
        assert modes() != before
    finally:
        np.seterr(**old)
    assert modes() == before


def test_reasons() -> None:
    x, y = np.ones((128, 784), np.float32), np.zeros(128, np.int64)
    assert why((x, y)) == "first call"
    assert why((x[:96], y), (x, y)) == "argument x: shape was (128, 784), is (96, 784)"
    assert why((x[:96], y[:96]), (x, y)).endswith("(and 1 more)")
    assert why((x.astype(float), y), (x, y)) == "argument x: dtype was float32, is float64"
    assert why((x.astype(">f4"), y), (x, y)) == "argument x: dtype was float32, is >f4"
    assert why((np.asfortranarray(x), y), (x, y)) == "argument x: memory layout was C, is F"
    assert why((x, None), (x, y)).startswith("argument y was an array, is None")
    assert why((x, y, 1), (x, y)).startswith("argument 2 is new: 1")
    assert why((Tensor(x), y), (x, y)).startswith("argument x was an array, is a Tensor")
    assert (
        why((Tensor(x, requires_grad=True),), (Tensor(x),)) == "argument x: requires_grad was None, is leaf"
    )
    assert why(({"a": x}, y), ({"a": y}, y)).startswith("argument x['a']: shape was (128,), is (128, 784)")
    assert why(({"a": x},), ({"b": x},)).startswith(
        "argument x was a dict of 1 with 'b', is a dict of 1 with 'a'"
    )
    assert why((x, x), (x, x.copy())) == "what arguments x and y have is new: the same array"
    assert why((len,), (max,)) == "argument x is another function"


def test_a_changing_float_is_explained() -> None:
    assert "np.array(0.2)" in why((np.ones(2), 0.2), (np.ones(2), 0.1))
    assert "np.array" not in why((np.ones(2), 2), (np.ones(2), 1))


def test_the_closest_key_is_compared_with() -> None:
    x = np.ones((4, 6))
    text = why((x[:3], x[:3]), (x.astype(int), [x]), (x[:3], x), (x, x))
    assert text == "argument y: shape was (4, 6), is (3, 6)"


def test_a_mode_is_a_reason() -> None:
    keys, args = Keys(function), (np.ones(2),)
    usual = keys(args, {})[2]
    with no_grad():
        assert reason(keys(args, {})[2], [usual]) == "grad mode was True, is False"
    with np.errstate(divide="raise"):
        text = reason(keys(args, {})[2], [usual])
    assert text == "np.errstate was warn warn ignore warn, is raise warn ignore warn"


def test_arguments_without_names_have_numbers() -> None:
    keys = Keys(function)
    one, other = (keys((np.ones(n),), {})[2] for n in (2, 3))
    assert reason(one, [other]) == "argument 0: shape was (3,), is (2,)"


def test_a_thousand_batches_have_one_key() -> None:
    images, labels = np.ones((1000, 5), np.float32), np.zeros(1000, np.int64)
    keys = {key_of(images[i : i + 8], labels[i : i + 8]) for i in range(0, 992)}
    assert len(keys) == 1


# ---- the keys of one function ----------------------------------------------------------------------------


def test_objects_among_the_arguments_have_guards_of_their_own() -> None:
    def step(model: Any, x: Any) -> Any:
        return model(x)

    keys, x = Keys(step), np.ones((3, 2), np.float32)
    one, other = nn.Sequential(nn.Dropout(0.5)), nn.Sequential(nn.Dropout(0.5))
    first, second = keys((one, x), {})[2], keys((other, x), {})[2]
    assert first != second
    other.eval()
    assert keys((one, x), {})[2] == first
    assert reason(keys((other, x), {})[2], [second], step).startswith("model.training was True, is False")
    assert keys((other.train(), x), {})[2] == second


def test_guards_do_not_grow_with_the_objects_that_are_given() -> None:
    keys = Keys(lambda f, x: f(x))
    made = {keys((lambda x: x, np.ones(2)), {})[2] for _ in range(100)}
    assert len(made) == 100
    assert len(keys._guards) <= 32


def test_shapes_share_their_guards() -> None:
    keys = Keys(function)
    assert keys((np.ones(2),), {})[2][1] is keys((np.ones(3), None), {})[2][1]


def test_a_call_with_everything_has_one_key() -> None:
    model, rng = nn.Linear(2, 2), np.random.default_rng(0)
    keys = Keys(function)

    def call() -> Any:
        return keys((Point(np.ones(2), [None, 1]), model), {"mask": {"rng": rng, "on": True}})[2]

    assert len({call() for _ in range(100)}) == 1
