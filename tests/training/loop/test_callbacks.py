from collections.abc import Mapping
from typing import Any

import pytest

from tinygrad_mnist.training import Callback, Training
from tinygrad_mnist.training.loop.callbacks import EVENTS, CallbackList


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("on_epoch_finish", "on_epoch_"), ("on_evaluated", "on_evaluate"), ("on_step", "on_step_end")],
)
def test_a_method_that_is_never_called_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(TypeError, match=rf"Own\.{name} is never called; did you mean {nearest}"):
        type("Own", (Callback,), {name: lambda self, training: None})


def test_other_methods_are_your_own() -> None:
    class Own(Callback):
        def once(self) -> None: ...

        def on_step_end(self, training: Training) -> None: ...

    class Later(Own):
        def on_epoch_end(self, training: Training) -> None: ...

    methods = CallbackList([Later(), Own(), Callback()]).methods
    assert {event: len(found) for event, found in methods.items() if found} == {
        "on_step_end": 2,
        "on_epoch_end": 1,
    }
    assert set(methods) == set(EVENTS)


class Counter(Callback):
    count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]


def test_each_callback_gets_its_own_state_back() -> None:
    first, second = Counter(), Counter()
    first.count, second.count = 3, 4
    states = CallbackList([first, Callback(), second]).state_dict()
    new = [Counter(), Counter()]
    assert CallbackList(new).load_state_dict(states) == []
    assert [counter.count for counter in new] == [3, 4]
    assert CallbackList([Counter()]).load_state_dict(states) == ["Counter"]


class Sparing(Counter):
    """Has no state before it has counted."""

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count} if self.count else {}


def test_states_of_one_class_keep_their_places_where_some_are_empty() -> None:
    old = [Sparing(), Callback(), Sparing(), Sparing()]
    old[2].count = 5  # type: ignore[attr-defined]
    states = CallbackList(old).state_dict()
    new = [Sparing(), Sparing(), Sparing()]
    assert CallbackList(new).load_state_dict(states) == []
    assert [counter.count for counter in new] == [0, 5, 0]
    assert CallbackList([]).load_state_dict(states) == ["Sparing"]
    assert CallbackList([Sparing(), Callback()]).state_dict() == []
