"""What a function reads is guarded: each change is found and named, and nothing else is called one."""

from __future__ import annotations

import copy
import functools
import gc
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

import numpy as np
import pytest

from tinygrad_mnist import Tensor, functional_call, grad, jit, nn, no_grad, optim
from tinygrad_mnist.compiler import guards as of_guards
from tinygrad_mnist.compiler.facts import Difference, differences
from tinygrad_mnist.engine.structure import structure_version
from tinygrad_mnist.nn import functional as F

HERE = sys.modules[__name__]
SCALE = 0.5
SIZES = [1, 2]
TABLE: dict[str, Any] = {"scale": 0.5, "nested": {"deep": [1]}}
FLAGS = {"a"}
MASK = np.ones(3)
TIED = Tensor(np.ones(3), requires_grad=True)
SETTINGS = types.SimpleNamespace(scale=0.5, unread=1)
HELPERS = types.ModuleType("helpers")
HELPERS.scale = 0.5  # type: ignore[attr-defined]
UNREAD = 1


class Guards(of_guards.Guards):
    """Guards that remember their first key."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.first = self.key()

    def check(self) -> Difference | None:
        """Return the first fact that is another than when these guards were made; None if there is none."""
        return next(iter(differences(self.first.facts, self.key().facts)), None)


class Plain:
    """A user's class."""

    factor = 2.0

    def __init__(self) -> None:
        self.scale = 0.5
        self.unread = 0

    def method(self, x: Any) -> Any:
        return x * self.scale * self.factor + SCALE

    def __call__(self, x: Any) -> Any:
        return x * SIZES[0]


class Slotted:
    __slots__ = ("scale",)

    def __init__(self) -> None:
        self.scale = 0.5


PLAIN = Plain()
SLOTTED = Slotted()


def helper(x: Any) -> Any:
    return x * SCALE


def recursive(x: Any) -> Any:
    return recursive(x) if x is None else helper(x)


@pytest.fixture(autouse=True)
def globals_of_this_file() -> Iterator[None]:
    """Give the globals back what they had."""
    names = [
        "SCALE",
        "SIZES",
        "TABLE",
        "FLAGS",
        "MASK",
        "TIED",
        "PLAIN",
        "SLOTTED",
        "helper",
        "HELPERS",
        "SETTINGS",
    ]
    before = {name: vars(HERE)[name] for name in names}
    for name in ("SIZES", "TABLE", "FLAGS", "TIED", "PLAIN", "SLOTTED", "SETTINGS"):
        setattr(HERE, name, copy.deepcopy(before[name]))
    yield
    vars(HERE).update(before)
    for name in ("len", "float"):
        vars(HERE).pop(name, None)
    HELPERS.scale = 0.5  # type: ignore[attr-defined]
    Plain.factor = 2.0


def changed(guards: Guards) -> str | None:
    """Return what `check` finds, twice the same."""
    first = guards.check()
    assert first == guards.check()
    return None if first is None else str(first)


Change = Callable[[], Any]


def set_global(name: str, value: Any) -> Change:
    return lambda: setattr(HERE, name, value)


def plain_number(x: Any) -> Any:
    return x * SCALE


def nested_function(x: Any) -> Any:
    def inner(y: Any) -> Any:
        return [y * SCALE for _ in SIZES]

    return inner(x)


def imports_inside(x: Any) -> Any:
    from tests.compiler.test_guards import SCALE as scale

    return x * scale


GLOBALS: dict[str, tuple[Callable[..., Any], Change, str]] = {
    "a number": (plain_number, set_global("SCALE", 0.7), "global 'SCALE' was 0.5, is 0.7"),
    "its type": (plain_number, set_global("SCALE", 1), "global 'SCALE' was 0.5, is 1"),
    "none": (plain_number, set_global("SCALE", None), "global 'SCALE' was 0.5, is None"),
    "gone": (plain_number, lambda: delattr(HERE, "SCALE"), "global 'SCALE' is gone"),
    "in a function inside": (nested_function, set_global("SCALE", 0.7), "global 'SCALE' was 0.5, is 0.7"),
    "in a helper": (lambda x: helper(x), set_global("SCALE", 0.7), "global 'SCALE' was 0.5, is 0.7"),
    "in a helper of one": (
        lambda x: recursive(x),
        set_global("SCALE", 0.7),
        "global 'SCALE' was 0.5, is 0.7",
    ),
    "a helper": (
        lambda x: helper(x),
        set_global("helper", lambda x: x),
        "global 'helper' is another function",
    ),
    "an element": (lambda x: SIZES[0], lambda: SIZES.__setitem__(0, 7), "SIZES[0] was 1, is 7"),
    "an element more": (
        lambda x: SIZES,
        lambda: SIZES.append(1),
        "global 'SIZES' was a list of 2, is a list of 3",
    ),
    "elements exchanged": (lambda x: SIZES, lambda: SIZES.reverse(), "SIZES[0] was 1, is 2"),
    "of a dict": (lambda x: TABLE, lambda: TABLE.update(scale=0.7), "TABLE['scale'] was 0.5, is 0.7"),
    "a key": (lambda x: TABLE, lambda: TABLE.update(new=TABLE.pop("scale")), "TABLE['new'] is new: 0.5"),
    "nested": (
        lambda x: TABLE,
        lambda: TABLE["nested"]["deep"].append(2),
        "TABLE['nested']['deep'] was a list of 1, is a list of 2",
    ),
    "of a set": (
        lambda x: FLAGS,
        lambda: (FLAGS.clear(), FLAGS.add("b")),
        "FLAGS: elements was frozenset({'a'}), is frozenset({'b'})",
    ),
    "an array": (lambda x: MASK, lambda: setattr(HERE, "MASK", np.ones(3)), "global 'MASK' is another array"),
    "a Tensor": (
        lambda x: TIED,
        lambda: setattr(HERE, "TIED", Tensor(np.ones(3))),
        "global 'TIED' is another Tensor",
    ),
    "requires_grad": (
        lambda x: TIED,
        lambda: TIED.requires_grad_(False),
        "TIED.requires_grad was True, is False",
    ),
    "a dtype": (
        lambda x: TIED,
        lambda: setattr(TIED, "data", np.ones(3, np.float32)),
        "TIED.dtype was float64, is float32",
    ),
    "a layout": (
        lambda x: TIED,
        lambda: setattr(TIED, "data", np.ones(6)[::2]),
        "TIED: memory layout was C, is strides (2,)",
    ),
    "an attribute": (
        lambda x: SETTINGS.scale,
        lambda: setattr(SETTINGS, "scale", 0.7),
        "SETTINGS.scale was 0.5, is 0.7",
    ),
    "of an object": (
        lambda x: PLAIN.scale,
        lambda: setattr(PLAIN, "scale", 0.7),
        "PLAIN.scale was 0.5, is 0.7",
    ),
    "in a slot": (
        lambda x: SLOTTED.scale,
        lambda: setattr(SLOTTED, "scale", 0.7),
        "SLOTTED.scale was 0.5, is 0.7",
    ),
    "in a method": (
        lambda x: PLAIN.method(x),
        lambda: setattr(PLAIN, "scale", 0.7),
        "PLAIN.scale was 0.5, is 0.7",
    ),
    "of a class": (
        lambda x: PLAIN.method(x),
        lambda: setattr(Plain, "factor", 3.0),
        "Plain.factor was 2.0, is 3.0",
    ),
    "hides that of a class": (
        lambda x: PLAIN.method(x),
        lambda: setattr(PLAIN, "factor", 3.0),
        "PLAIN.factor is new: 3.0",
    ),
    "in a called object": (lambda x: PLAIN(x), lambda: SIZES.__setitem__(0, 7), "SIZES[0] was 1, is 7"),
    "of a Python module": (
        lambda x: HELPERS.scale,
        lambda: setattr(HELPERS, "scale", 0.7),
        "HELPERS.scale was 0.5, is 0.7",
    ),
    "an import inside": (
        imports_inside,
        lambda: setattr(HERE, "SCALE", 0.7),
        "tests.compiler.test_guards.SCALE was 0.5, is 0.7",
    ),
    "hides a builtin": (
        lambda x: len(x),
        lambda: setattr(HERE, "len", helper),
        "global 'len' is new: a function",
    ),
}


@pytest.mark.parametrize("name", GLOBALS)
def test_a_change_of_what_a_function_reads_is_named(name: str) -> None:
    function, change, words = GLOBALS[name]
    guards = Guards(function)
    assert changed(guards) is None
    change()
    assert changed(guards) == words


def test_equal_values_in_other_objects_are_no_change() -> None:
    guards = Guards(lambda x: (SCALE, SIZES, TABLE, FLAGS, SETTINGS.scale))
    key = guards.key()
    HERE.SCALE = float("0.5")  # type: ignore[attr-defined]
    HERE.SIZES = [1, 2]  # type: ignore[attr-defined]
    TABLE["nested"] = {"deep": [1]}
    SETTINGS.scale = float("0.5")
    assert guards.check() is None
    assert guards.key() is key


def test_what_is_not_read_is_no_change() -> None:
    guards = Guards(lambda x: (PLAIN.scale, SETTINGS.scale))
    key = guards.key()
    PLAIN.unread = SETTINGS.unread = 3
    HERE.UNREAD = 3  # type: ignore[attr-defined]
    assert guards.key() is key


def test_what_came_back_has_the_same_key() -> None:
    guards = Guards(plain_number)
    first = guards.key()
    HERE.SCALE = 0.7  # type: ignore[attr-defined]
    second = guards.key()
    assert second != first
    HERE.SCALE = 0.5  # type: ignore[attr-defined]
    assert guards.key() is first
    HERE.SCALE = 0.7  # type: ignore[attr-defined]
    assert guards.key() is second


def test_closures_and_defaults() -> None:
    mask, slope = np.ones(3), 0.1

    def scaled(x: Any, by: float = 2.0, *, order: list[int] = [1]) -> Any:  # noqa: B006
        return x * mask * slope * by * order[0]

    guards = Guards(lambda x: scaled(x))
    own = Guards(scaled)
    mask = np.ones(3)
    assert changed(own) == "the closure's 'mask' is another array"
    assert changed(guards) == "the closure's 'mask' of scaled is another array"
    own = Guards(scaled)
    slope = 0.2
    assert changed(own) == "the closure's 'slope' was 0.1, is 0.2"
    own = Guards(scaled)
    scaled.__defaults__ = (3.0,)
    assert changed(own) == "the default of 'by' was 2.0, is 3.0"
    own = Guards(scaled)
    scaled.__kwdefaults__["order"].append(1)
    assert changed(own) == "the default of 'order' was a list of 1, is a list of 2"


def test_a_cell_that_is_filled_later() -> None:
    def use(x: Any) -> Any:
        return x * late

    guards = Guards(use)
    assert guards.check() is None
    late = 2
    assert changed(guards) == "the closure's 'late' was nothing yet, is 2"


def test_two_closures_of_one_function_are_told_apart() -> None:
    def make(slope: float) -> tuple[Any, Any]:
        def get(x: Any) -> Any:
            return x * slope

        def put(new: float) -> None:
            nonlocal slope
            slope = new

        return get, put

    (one, _), (other, change) = make(1.0), make(1.0)
    guards = Guards(lambda x: one(x) + other(x))
    change(2.0)
    assert changed(guards) == "the closure's 'slope' of other was 1.0, is 2.0"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: functools.partial(f),
        lambda f: functools.lru_cache(f),
        lambda f: functools.wraps(f)(lambda x: f(x)),
        lambda f: no_grad()(f),
        lambda f: grad(f),
        lambda f: types.MethodType(lambda self, x: f(x), PLAIN),
    ],
)
def test_wrapped_functions_are_looked_into(wrap: Any) -> None:
    def f(x: Any) -> Any:
        return x * SCALE

    wrapped = wrap(f)
    for guards in (Guards(wrapped), Guards(lambda x: wrapped(x))):
        HERE.SCALE = 0.7  # type: ignore[attr-defined]
        assert changed(guards) == "global 'SCALE' was 0.5, is 0.7"
        HERE.SCALE = 0.5  # type: ignore[attr-defined]


def test_what_jit_was_given_is_looked_into() -> None:
    model = nn.Sequential(nn.Dropout(0.5))
    inner, step = jit(model), jit(plain_number)
    guards = Guards(lambda x: step(inner(x)))
    inner_guards = Guards(inner)
    model.eval()
    found = changed(guards)
    assert found is not None
    assert "training was True, is False" in found
    assert changed(inner_guards) is not None
    model.train()
    HERE.SCALE = 0.7  # type: ignore[attr-defined]
    assert changed(guards) == "global 'SCALE' was 0.5, is 0.7"


def test_a_method_is_guarded_by_its_object() -> None:
    one = Plain()
    guards = Guards(one.method)
    one.scale = 0.7
    assert changed(guards) == "self.scale was 0.5, is 0.7"


class Trainer:
    def __init__(self) -> None:
        self.model = nn.Linear(2, 2, rng=0)
        self.steps = 0
        self.losses: list[float] = []

    def __call__(self, batches: Any) -> None:
        for x in batches:
            self.losses.append(self.step(x))
            self.steps += 1

    def step(self, x: Any) -> Any:
        return self.model(x)


def test_what_a_trainer_does_around_its_step_is_no_change() -> None:
    trainer = Trainer()
    guards = Guards(trainer.step)
    trainer.steps = 3
    trainer.losses.append(1.0)
    assert guards.check() is None
    trainer.model.eval()
    assert changed(guards) == "self.model.training was True, is False"


def test_the_objects_of_arguments_are_guarded() -> None:
    model, settings = nn.Sequential(nn.Dropout(0.5)), types.SimpleNamespace(scale=0.5)

    def step(net: Any, x: Any, config: Any) -> Any:
        return net(x) * config.scale

    guards = Guards(step, (model, np.ones(2)), {"config": settings})
    settings.scale = 0.7
    assert changed(guards) == "config.scale was 0.5, is 0.7"
    settings.scale = 0.5
    model[0].p = 0.1
    assert changed(guards) == "net.0.p was 0.5, is 0.1"


def test_what_is_installed_is_not_looked_into() -> None:
    guards = Guards(lambda x: np.mean(F.relu(x)) + functools.reduce(sum, x))
    assert sorted(guards.key().facts) == [
        "global 'F'",
        "global 'functools'",
        "global 'np'",
        "the code",
        "the function",
    ]


def test_a_large_container_is_known_by_its_length() -> None:
    words = dict.fromkeys(range(5000), 0)
    guards = Guards(lambda x: words)
    words[0] = 1
    assert changed(guards) is None
    words[-1] = 1
    assert changed(guards) == "the closure's 'words' was a dict of 5000, is a dict of 5001"


@pytest.mark.parametrize("words", [[0.0] * 2000, dict.fromkeys(range(2000), 0.0)])
def test_a_call_that_reads_a_large_container_runs_as_it_is(words: Any) -> None:
    f = jit(lambda x: x + words[1500])
    with pytest.warns(UserWarning, match="words is a .* of 2000 elements, too large to be compared"):
        assert f(np.zeros(())) == 0.0
    words[1500] = 1.0
    assert f(np.zeros(())) == 1.0


# ---- modules ---------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 2.0
        self.sizes = [1, 2]
        self.register_buffer("seen", np.zeros(3))
        self.inner = nn.Linear(3, 3, rng=0)

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.factor * self.sizes[0] * SCALE + self.seen


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 3, rng=0), nn.BatchNorm1d(3), nn.Dropout(0.5, rng=0), Scaled(), nn.Linear(3, 2, rng=1)
    )


@contextmanager
def nothing() -> Iterator[None]:
    yield


MODULES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "eval": (lambda m: m.eval(), "model.training was True, is False"),
    "eval of one": (lambda m: m[2].eval(), "model.2.training was True, is False"),
    "the mode itself": (lambda m: setattr(m[2], "training", False), "model.2.training was True, is False"),
    "p": (lambda m: setattr(m[2], "p", 0.1), "model.2.p was 0.5, is 0.1"),
    "eps": (lambda m: setattr(m[1], "eps", 1e-3), "model.1.eps was 1e-05, is 0.001"),
    "momentum": (lambda m: setattr(m[1], "momentum", None), "model.1.momentum was 0.1, is None"),
    "the generator": (
        lambda m: setattr(m[2], "rng", np.random.default_rng(1)),
        "model.2.rng is another Generator",
    ),
    "a layer": (lambda m: m.__setitem__(2, nn.Dropout(0.5)), "model.2 is another Dropout"),
    "of another kind": (lambda m: m.__setitem__(2, nn.Identity()), "model.2 was a Dropout, is an Identity"),
    "a layer more": (lambda m: m.append(nn.ReLU()), "model: order was 0, 1, 2, 3, 4, is 0, 1, 2, 3, 4, 5"),
    "a layer less": (lambda m: m.pop(), "model: order was 0, 1, 2, 3, 4, is 0, 1, 2, 3"),
    "frozen": (lambda m: m[0].requires_grad_(False), "model.0.weight.requires_grad was True, is False"),
    "frozen by name": (
        lambda m: setattr(m[0].bias, "requires_grad", False),
        "model.0.bias.requires_grad was True, is False",
    ),
    "a parameter": (
        lambda m: setattr(m[0], "weight", nn.Parameter(np.ones((3, 4), np.float32))),
        "model.0.weight is another Parameter",
    ),
    "no parameter": (lambda m: setattr(m[0], "bias", None), "model.0.bias was a Parameter, is None"),
    "astype": (lambda m: m.astype(np.float64), "model.0.weight.dtype was float32, is float64"),
    "a layout": (
        lambda m: setattr(m[0].weight, "data", m[0].weight.data.copy(order="C")),
        "model.0.weight: memory layout was F, is C",
    ),
    "a hook": (lambda m: m[0].weight.register_hook(lambda g: g), "model.0.weight: hooks is new: "),
    "forward of one": (lambda m: setattr(m[0], "forward", helper), "model.0.forward is new: a function"),
    "an attribute": (lambda m: setattr(m[3], "factor", 3.0), "model.3.factor was 2.0, is 3.0"),
    "an attribute gone": (lambda m: delattr(m[3], "factor"), "model.3.factor is gone"),
    "a list": (lambda m: m[3].sizes.append(1), "model.3.sizes was a list of 2, is a list of 3"),
    "no buffer": (
        lambda m: setattr(m[1], "running_mean", None),
        "model.1.running_mean was a buffer, is None",
    ),
    "a buffer of another dtype": (
        lambda m: setattr(m[3], "seen", np.zeros(3, np.float32)),
        "model.3.seen.dtype was float64, is float32",
    ),
    "a global of forward": (lambda m: setattr(HERE, "SCALE", 0.7), "global 'SCALE' was 0.5, is 0.7"),
    "a module below": (lambda m: setattr(m[3], "inner", nn.Linear(3, 3)), "model.3.inner is another Linear"),
    "a new module": (
        lambda m: m[3].add_module("more", nn.ReLU()),
        "model.3: order was seen, inner, is seen, inner, more",
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_change_of_a_module_is_named(name: str) -> None:
    change, words = MODULES[name]
    model = network()
    guards = Guards(lambda x: model(x))
    assert changed(guards) is None
    change(model)
    found = changed(guards)
    assert found is not None
    assert found.removeprefix("the closure's '").replace("model'", "model").startswith(words)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.train(),
        lambda m: m.eval().train(),
        lambda m: m.requires_grad_(True),
        lambda m: m.zero_grad(),
        lambda m: m.load_state_dict(network().state_dict()),
        lambda m: m(np.ones((5, 4), np.float32)),
        lambda m: m[0].weight.data.__setitem__(0, 5.0),
        lambda m: setattr(m[0].weight, "data", 2 * m[0].weight.data),
        lambda m: setattr(m[3], "seen", np.ones(3)),
        lambda m: setattr(m[2], "p", float("0.5")),
        lambda m: setattr(m[0].weight, "grad", np.ones((3, 4))),
        lambda m: m.state_dict(),
        lambda m: repr(m),
        lambda m: copy.deepcopy(m),
        lambda m: m[0].weight.register_hook(print).remove(),
        lambda m: functional_call(m, {"0.bias": np.ones(3, np.float32)}, np.ones((5, 4), np.float32)),
        lambda m: nn.Sequential(nn.Linear(2, 2)).eval(),
    ],
)
def test_values_are_no_change_of_a_module(change: Any) -> None:
    model = network()
    guards = Guards(lambda x: model(x))
    key = guards.key()
    change(model)
    assert guards.check() is None
    assert guards.key() is key


class Half(nn.Dropout):
    """A user's kind of a layer of the framework."""


def test_a_counter_in_a_users_module_is_no_change() -> None:
    scaled, half = Scaled(), Half(0.5)
    guards = Guards(lambda x: half(scaled(x)))
    key = guards.key()
    scaled.steps = 3
    assert guards.key() is key
    half.p = 0.4
    assert changed(guards) == "half.p was 0.5, is 0.4"


def test_another_model_is_a_change() -> None:
    model = network()
    guards = Guards(lambda x: model(x))
    model = copy.deepcopy(model)
    assert changed(guards) == "the closure's 'model' is another Sequential"


def test_values_put_into_a_module_for_one_call_are_seen_there() -> None:
    model = nn.Linear(2, 2, rng=0)
    guards = Guards(lambda x: model(x))
    before, inside = guards.key(), {}

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            inside["key"] = guards.key()
            return x

    functional_call(Watched(), {"model.bias": np.ones(2, np.float32)}, np.ones((1, 2), np.float32))
    assert inside["key"] != before
    assert guards.key() is before


# ---- optimisers ------------------------------------------------------------------------------------------

GROUPS: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "lr": (lambda o: o.param_groups[0].update(lr=0.5), None),
    "betas": (lambda o: o.param_groups[0].update(betas=(0.8, 0.9)), None),
    "a step": (lambda o: o.step(), None),
    "state": (lambda o: o.load_state_dict(o.state_dict()), None),
    "a name": (lambda o: o.param_groups[0].update(name="x", initial_lr=1.0), None),
    "decay": (
        lambda o: o.param_groups[0].update(weight_decay=0.1),
        "opt.param_groups[0]['weight_decay'] was zero, is nonzero",
    ),
    "a beta": (
        lambda o: o.param_groups[0].update(betas=(0.0, 0.9)),
        "opt.param_groups[0]['betas'] was (nonzero, nonzero), is (zero, nonzero)",
    ),
    "a flag": (
        lambda o: o.param_groups[0].update(maximize=True),
        "opt.param_groups[0]['maximize'] was False, is True",
    ),
    "a group": (
        lambda o: o.add_param_group({"params": [TIED]}),
        "opt.param_groups was a list of 1, is a list of 2",
    ),
    "a group less": (lambda o: o.param_groups.pop(), "opt.param_groups was a list of 1, is a list of 0"),
    "the parameters": (
        lambda o: o.param_groups[0].update(params=o.param_groups[0]["params"][:1]),
        "opt.param_groups[0]['params'] was a tuple of 2, is a tuple of 1",
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_change_of_an_optimiser(name: str) -> None:
    change, words = GROUPS[name]
    model = nn.Linear(2, 2, rng=0)
    opt = optim.Adam(model.parameters())
    model(np.ones((1, 2), np.float32)).sum().backward()
    guards = Guards(lambda: opt.step())
    assert changed(guards) is None
    change(opt)
    assert changed(guards) == words


class Doubled(optim.Optimizer):
    option_checks = {"lr": lambda name, value: float(value)}  # noqa: RUF012

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})
        self.factor = 2.0

    def _update(self, block: Any, options: Any, progress: Any) -> Any:
        block.values -= self.factor * SCALE * options["lr"] * block.gradient
        return 1


def test_an_optimiser_of_the_user() -> None:
    opt = Doubled(nn.Linear(2, 2, rng=0).parameters())
    guards = Guards(lambda: opt.step())
    opt.param_groups[0]["lr"] = 0.5
    assert changed(guards) is None
    HERE.SCALE = 0.7  # type: ignore[attr-defined]
    assert changed(guards) == "global 'SCALE' was 0.5, is 0.7"
    HERE.SCALE = 0.5  # type: ignore[attr-defined]
    opt.factor = 3.0
    assert changed(guards) == "opt.factor was 2.0, is 3.0"


def test_a_schedule_that_ends_at_zero_changes_nothing() -> None:
    model = nn.Linear(2, 2, rng=0)
    opt = optim.SGD(model.parameters(), lr=0.1)
    guards = Guards(lambda: opt.step())
    keys = set()
    for step in range(1000):
        opt.param_groups[0]["lr"] = 0.1 * (1 - step / 999)
        keys.add(guards.key())
    assert len(keys) == 1


def test_a_parameter_is_called_what_it_is_in_its_model() -> None:
    model = network()
    a_optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any) -> None:
        a_optimizer.zero_grad()
        model(x).sum().backward()

    guards = Guards(step)
    model[0].bias.requires_grad = False
    assert changed(guards) == "model.0.bias.requires_grad was True, is False"


# ---- no false alarm, no object kept ----------------------------------------------------------------------


def test_a_thousand_steps_have_one_key() -> None:
    model = network()
    opt = optim.Adam(model.parameters())
    schedule = optim.StepLR(opt, 10)
    criterion = nn.CrossEntropyLoss()

    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        opt.step()
        return loss

    x, y = np.ones((4, 4), np.float32), np.zeros(4, int)
    guards = Guards(step)
    key = guards.key()
    version = structure_version()
    for number in range(1000):
        model.train()
        if number % 100 == 0:
            step(x, y)
            Tensor(x, requires_grad=True)
        if number % 10 == 0:
            schedule.step()
        assert guards.key() is key
    assert structure_version() == version  # so each check was the fast one


def test_what_a_function_read_once_is_not_kept() -> None:
    mask: Any = np.ones(3)
    guards = Guards(lambda x: x * mask)
    alive = ref(mask)
    mask = np.ones(3)
    gc.collect()
    assert alive() is None
    assert changed(guards) == "the closure's 'mask' is another array"


def test_a_model_that_was_an_argument_is_not_kept() -> None:
    model, settings = network(), Plain()
    opt = optim.SGD(model.parameters(), lr=0.1)
    guards = Guards(lambda m, o, s: s.scale, (model, opt, settings))
    alive = [ref(each) for each in (model, model[0].weight, opt, settings)]
    del model, opt, settings
    gc.collect()
    assert [each() for each in alive] == [None] * 4
    assert guards is not None


def test_a_long_chain_of_objects_is_no_error() -> None:
    first = chain = types.SimpleNamespace(next=None)
    for _ in range(5000):
        chain.next = types.SimpleNamespace(next=None)
        chain = chain.next
    circle: list[Any] = []
    circle.append(circle)
    nest: list[Any] = []
    for _ in range(5000):
        nest = [nest]
    guards = Guards(lambda x: (first.next, circle, nest))
    assert guards.check() is None
    first.next = None
    assert changed(guards) is not None


def test_code_that_is_exchanged_is_seen() -> None:
    def one(x: Any) -> Any:
        return x

    guards = Guards(lambda x: one(x))
    one.__code__ = (lambda x: 2 * x).__code__
    assert changed(guards) == "the code of one is another code"


def test_an_instance_in_the_place_of_another_has_another_key() -> None:
    keys = set()
    for _ in range(50):
        plain = Plain()
        keys.add(Guards(plain.method).key())
        del plain
    assert len(keys) == 50


@pytest.mark.parametrize(
    "function",
    [np.tanh, len, np.add.reduce, functools.partial(np.sum, axis=0), nn.ReLU(), F.relu, Plain, PLAIN],
)
def test_any_callable_can_be_guarded(function: Any) -> None:
    guards = Guards(function)
    assert guards.check() is None
    assert guards.key() is guards.key()


@pytest.mark.parametrize("read", [lambda cls: cls, lambda cls: cls()])
def test_an_attribute_of_a_class_that_hides_that_of_its_base_is_new(read: Any) -> None:
    class Own(Plain):
        pass

    held = read(Own)
    guards = Guards(lambda x: x * held.factor)
    assert changed(guards) is None
    Own.factor = 3.0
    assert changed(guards) == "Own.factor is new: 3.0"


def test_a_method_that_a_class_or_an_optimiser_gets_later_is_seen() -> None:
    class Own(nn.Sequential):
        pass

    model = Own(nn.Linear(2, 2, rng=0))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    guards = Guards(step)
    optimizer.step = lambda: None  # type: ignore[method-assign]
    assert "step" in changed(guards)
    del optimizer.step
    assert guards.check() is None
    Own.forward = lambda self, x: x  # type: ignore[method-assign]
    assert "Own.forward" in changed(guards)
