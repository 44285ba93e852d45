"""What decides which program runs: modes, flags, options, hooks, layers and the tree of the arguments.

Each test carries the numbers of the cases that it holds: 1, 2, 14 to 18, 24, 26 to 28.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import (
    CLASSES,
    FEATURES,
    F,
    Keywords,
    World,
    batches,
    equal_or_refused,
    equal_to_eager,
    network,
    plain_network,
    quick,
    trainer,
)
from tests.optim.problem import OPTIMIZERS
from tinygrad_mnist import AnomalyError, Tensor, detect_anomaly, jit, nn, no_grad, optim
from tinygrad_mnist.nn.module import evaluation_mode

X = batches(1)[0][0]
PARTS = ("0.weight", "1", "4.bias", "everything but the last")


def name_of(function: Any) -> str:
    return getattr(function, "__name__", "")


# ---- case 1: requires_grad_ ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "at_first"),
    quick(
        [(name, at_first) for name in PARTS for at_first in (True, False)],
        ("0.weight", True), ("1", False), ("everything but the last", False),
    ),
)  # fmt: skip
def test_case_1_what_is_frozen_and_unfrozen_midway_trains_when_it_should(name: str, at_first: bool) -> None:
    def toggle(world: World, i: int) -> None:
        on = at_first == (i in (0, 1, 4))
        model = world.model
        if name.startswith("everything"):
            model.requires_grad_(on)
            model[3].requires_grad_(True)
        elif name.isdigit():
            model[int(name)].requires_grad_(on)
        else:
            layer, attribute = name.replace("4", "3").split(".")
            getattr(model[int(layer)], attribute).requires_grad_(on)

    # Adam has counted fewer steps of what was frozen: unfrozen again, it is updated by itself.
    equal_to_eager(trainer, batches(6), between=toggle, compilations=(2, 3))


def test_case_1_what_is_unfrozen_after_one_step_keeps_a_count_of_its_own() -> None:
    def toggle(world: World, i: int) -> None:
        # What its first step will note equals what the others have noted, for a moment.
        world.model[3].weight.requires_grad_(i > 0)

    equal_to_eager(trainer, batches(6), between=toggle, compilations=None)


@pytest.mark.parametrize("at_first", [True, False])
def test_case_1_an_input_that_requires_a_gradient_or_not(at_first: bool) -> None:
    def make(decorate: Any) -> World:
        model = plain_network()

        @decorate
        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        return World(step, model)

    calls: list[Callable[[], Any]] = [
        lambda x=x, y=y, i=i: (Tensor(x.copy(), requires_grad=at_first == (i % 2 == 0)), y)
        for i, (x, y) in enumerate(batches(5))
    ]
    equal_to_eager(make, calls, compilations=None)


def test_case_1_an_input_itself_is_frozen_and_unfrozen() -> None:
    x = batches(1)[0][0]

    def make(decorate: Any) -> World:
        given = Tensor(x.copy(), requires_grad=True)
        scale = Tensor(np.float32(2.0), requires_grad=True)

        @decorate
        def step(z: Any) -> Any:
            loss = (z * z * scale).sum()
            loss.backward()
            return loss

        return World(lambda: step(given), holders={"x": given, "scale": scale, "step": [0]})

    def toggle(world: World, i: int) -> None:
        world.holders["x"].requires_grad_(i in (0, 1, 4))

    equal_to_eager(make, [()] * 6, between=toggle, compilations=None)


# ---- cases 2 and 18: train and eval ----------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_case_2_train_and_eval_are_two_programs_in_all(whole: bool) -> None:
    def make(decorate: Any) -> World:
        model = network(dropout=0.3)

        @decorate
        def forward(x: Any) -> Any:
            with no_grad():
                return model(x)

        return World(forward, model)

    def switch(world: World, i: int) -> None:
        part = world.model if whole else world.model[1]
        part.train(i in (0, 1, 4, 5))

    equal_to_eager(make, [(x,) for x, _ in batches(8)], between=switch, compilations=2)


def test_case_2_evaluation_between_training_steps_uses_the_newest_weights_and_statistics() -> None:
    def make(decorate: Any) -> World:
        world = trainer(decorate, network(dropout=0.3))
        evaluate = decorate(lambda x: world.model(x))

        def both(x: Any, y: Any) -> Any:
            world.model.train()
            loss = world.step(x, y)
            world.model.eval()
            with no_grad():
                return loss, evaluate(x)

        return World(both, world.model, world.optimizer)

    equal_to_eager(make, batches(5), compilations=None)


def test_case_2_the_mode_of_a_with_statement_counts() -> None:
    def make(decorate: Any) -> World:
        model = network(dropout=0.5)
        forward = decorate(lambda x: model(x))

        def step(x: Any, evaluating: bool) -> Any:
            with no_grad():
                if not evaluating:
                    return forward(x)
                with evaluation_mode():
                    return forward(x)

        return World(step, model)

    equal_to_eager(make, [(x, i % 2 == 1) for i, (x, _) in enumerate(batches(6))], compilations=None)


@pytest.mark.parametrize("momentum", quick([None, 0.0, 0.1, 1.0], None, 1.0))
def test_case_18_batch_norm_moves_its_statistics_by_every_momentum(momentum: float | None) -> None:
    equal_to_eager(lambda decorate: trainer(decorate, network(momentum=momentum)), batches(5))


def test_case_18_statistics_that_a_user_sets_or_resets_are_seen() -> None:
    def change(world: World, i: int) -> None:
        layer = world.model[1]
        world.model.train(i < 3)
        if i == 1:
            layer.reset_running_stats()
        if i in (2, 4):
            layer.running_mean[...] = i
        if i == 5:
            layer.running_var = np.full(7, 4.0, np.float32)

    equal_to_eager(trainer, batches(7), between=change, compilations=(2, 3))


# ---- case 14: the gradient mode --------------------------------------------------------------------------


def test_case_14_a_call_under_no_grad_and_then_training() -> None:
    def make(decorate: Any) -> World:
        model = plain_network()
        forward = decorate(lambda x: model(x))

        def step(x: Any, y: Any, train: bool) -> Any:
            if not train:
                with no_grad():
                    return forward(x).requires_grad
            out = forward(x)
            model.zero_grad()
            loss = F.cross_entropy(out, y)
            loss.backward()
            return loss, out.requires_grad

        return World(step, model)

    calls = [(x, y, i not in (0, 3)) for i, (x, y) in enumerate(batches(6))]
    equal_to_eager(make, calls, compilations=None)


# ---- case 15: hooks --------------------------------------------------------------------------------------


def test_case_15_a_hook_added_and_removed_midway_is_called() -> None:
    def make(decorate: Any) -> World:
        world = trainer(decorate, plain_network(), lambda p: optim.SGD(p, lr=0.1))
        return World(world.step, world.model, world.optimizer, holders={"seen": [], "handle": []})

    def change(world: World, i: int) -> None:
        if i == 2:

            def hook(g: Any) -> Any:
                world.holders["seen"].append(np.array(g.data))
                return g * 3

            world.holders["handle"] = world.model[0].weight.register_hook(hook)
        if i == 4:
            world.holders.pop("handle").remove()
            world.holders["handle"] = []

    def without_handles(decorate: Any) -> World:
        world = make(decorate)
        world.parts = lambda: {  # type: ignore[method-assign]
            "model": world.model,
            "optimizer": world.optimizer,
            "seen": world.holders["seen"],
        }
        return world

    equal_to_eager(without_handles, batches(6), between=change, compilations=None)


def test_case_15_a_hook_inside_the_step_is_called_or_refused() -> None:
    def make(decorate: Any) -> World:
        model = plain_network()

        @decorate
        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            hidden = model[1](model[0](x))
            hidden.register_hook(lambda g: g * 2)
            loss = F.cross_entropy(model[2](hidden), y)
            loss.backward()
            return loss

        return World(step, model)

    equal_or_refused(make, batches(5))


# ---- case 16: methods ------------------------------------------------------------------------------------


class Trainer:
    """A user's class with a jitted method."""

    def __init__(self, decorate: Any, seed: int, width: int = 6) -> None:
        self.model = nn.Sequential(
            nn.Linear(FEATURES, width, rng=seed), nn.Tanh(), nn.Linear(width, CLASSES, rng=seed + 1)
        )
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.01)


class JittedTrainer(Trainer):
    @jit
    def step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss


class EagerTrainer(Trainer):
    step = JittedTrainer.step.__wrapped__


def test_case_16_a_jitted_method_of_two_instances_uses_the_weights_of_each() -> None:
    def make(decorate: Any) -> World:
        kind = JittedTrainer if decorate is jit else EagerTrainer
        one, two, wide = kind(decorate, 1), kind(decorate, 5), kind(decorate, 9, width=8)

        def step(x: Any, y: Any, which: int) -> Any:
            return (one, two, wide)[which].step(x, y)

        models = {f"model {i}": each.model for i, each in enumerate((one, two, wide))}
        optimizers = {f"optimizer {i}": each.optimizer for i, each in enumerate((one, two, wide))}
        return World(step, holders={**models, **optimizers})

    calls = [(x, y, i % 3) for i, (x, y) in enumerate(batches(9))]
    equal_to_eager(make, calls, compilations=None)


def test_case_16_an_instance_that_is_gone_leaves_nothing_to_the_next() -> None:
    x, y = batches(1)[0]
    for seed in range(6):  # each may get the memory, and so the id, of the one before
        jitted, eager = JittedTrainer(jit, seed), EagerTrainer(jit, seed)
        for _ in range(2):
            np.testing.assert_allclose(jitted.step(x, y).data, eager.step(x, y).data, rtol=1e-5)
        del jitted


def test_case_16_a_bound_method_can_be_jitted_and_a_static_one() -> None:
    def make(decorate: Any) -> World:
        one, two = EagerTrainer(decorate, 1), EagerTrainer(decorate, 5)
        steps = decorate(one.step), decorate(two.step)
        return World(lambda x, y, which: steps[which](x, y), holders={"1": one.model, "2": two.model})

    equal_to_eager(make, [(x, y, i % 2) for i, (x, y) in enumerate(batches(6))], compilations=None)

    class Maths:
        @staticmethod
        @jit
        def double(x: Any) -> Any:
            return 2 * x

        @classmethod
        def twice(cls, x: Any) -> Any:
            return cls.double(cls.double(x))

    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(Maths.twice(X)), 4 * X)


# ---- case 17: layers and attributes ----------------------------------------------------------------------


def set_leaky(world: World) -> None:
    world.model[2] = nn.LeakyReLU(0.2)


def set_linear(world: World) -> None:
    world.model[3] = nn.Linear(7, CLASSES, rng=11)


def set_momentum(world: World) -> None:
    world.model[1].momentum = 0.5


def set_eps(world: World) -> None:
    world.model[1].eps = 0.1


def set_bias_to_none(world: World) -> None:
    world.model[3].bias = None


def set_weight(world: World) -> None:
    world.model[3].weight = nn.Parameter(np.ones((CLASSES, 7), np.float32))


def set_statistics(world: World) -> None:
    world.model[1].running_mean = np.full(7, 0.25, np.float32)


def add_a_layer(world: World) -> None:
    world.model.append(nn.Tanh())


def remove_a_layer(world: World) -> None:
    del world.model[2]


def replace_forward(world: World) -> None:
    layer = world.model[2]
    layer.forward = lambda x: F.relu(x) * 2


CHANGES = [
    set_leaky, set_linear, set_momentum, set_eps, set_bias_to_none, set_weight, set_statistics, add_a_layer,
    remove_a_layer, replace_forward,
]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    quick(CHANGES, set_leaky, set_linear, set_momentum, set_statistics, replace_forward),
    ids=name_of,
)
def test_case_17_a_layer_or_an_attribute_that_is_replaced_is_seen(change: Callable[[World], None]) -> None:
    def between(world: World, i: int) -> None:
        if i == 3:
            change(world)

    # A new parameter that the optimiser does not know has no gradient at first, and then has one.
    equal_to_eager(trainer, batches(5), between=between, compilations=(1, 3))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, CLASSES, rng=0)
        self.scale = 2.0
        self.activation = F.tanh
        self.options = {"shift": 1.0, "powers": [1, 2]}

    def forward(self, x: Any) -> Any:
        h = self.activation(self.linear(x)) * self.scale + self.options["shift"]
        return sum(h**power for power in self.options["powers"])


def set_scale(model: Scaled) -> None:
    model.scale = 3.0


def set_scale_to_an_int(model: Scaled) -> None:
    model.scale = 2


def set_activation(model: Scaled) -> None:
    model.activation = F.relu


def set_shift(model: Scaled) -> None:
    model.options["shift"] = 0.5


def add_a_power(model: Scaled) -> None:
    model.options["powers"].append(3)


@pytest.mark.parametrize(
    "change",
    [set_scale, set_scale_to_an_int, set_activation, set_shift, add_a_power],
    ids=lambda f: f.__name__,
)
def test_case_17_an_attribute_of_a_users_module_is_seen(change: Callable[[Scaled], None]) -> None:
    def between(world: World, i: int) -> None:
        if i == 3:
            change(world.model)

    def make(decorate: Any) -> World:
        return trainer(decorate, Scaled(), lambda p: optim.SGD(p, lr=0.01))

    equal_to_eager(make, batches(5), between=between, compilations=(1, 2))


def test_case_17_the_probability_of_a_dropout_is_seen() -> None:
    def between(world: World, i: int) -> None:
        world.model[3].p = (0.5, 0.5, 0.1, 0.0, 1.0, 0.5)[i]

    equal_to_eager(
        lambda decorate: trainer(decorate, network(dropout=0.5), lambda p: optim.SGD(p, lr=0.1)),
        batches(6),
        between=between,
        compilations=None,
    )


# ---- case 24: errstate, anomaly mode ---------------------------------------------------------------------


def test_case_24_errstate_raises_as_in_eager() -> None:
    def make(decorate: Any) -> World:
        inverse = decorate(lambda x: 1 / x)

        def step(x: Any, how: str) -> Any:
            with np.errstate(all=how):  # type: ignore[call-overload]
                return inverse(x)

        return World(step)

    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    calls = [
        (one, "ignore"),
        (zero, "ignore"),
        (zero, "raise"),
        (one, "raise"),
        (zero, "raise"),
        (zero, "ignore"),
    ]
    equal_to_eager(make, calls, compilations=None)


def test_case_24_anomaly_mode_is_seen() -> None:
    loss = jit(lambda x: np.sum(np.log(x)))
    good, bad = Tensor(np.ones(3, np.float32)), Tensor(np.zeros(3, np.float32))
    with np.errstate(all="ignore"):
        for _ in range(2):
            loss(good)
        with detect_anomaly(), pytest.raises(AnomalyError, match="log"):
            loss(bad)
        assert loss(bad).item() == -np.inf


# ---- case 26: the tree of the arguments ------------------------------------------------------------------


@dataclass
class Batch:
    x: Any
    y: Any


def test_case_26_an_argument_that_is_none_or_not() -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(x: Any, bias: Any = None, *, mask: Any = None) -> Any:
            out = x * 2 if bias is None else x * 2 + bias
            return out if mask is None else np.where(mask, out, 0)

        return World(f)

    rng = np.random.default_rng(0)
    x, b, m = rng.standard_normal((3, 2)), rng.standard_normal(2), rng.integers(0, 2, (3, 2)) > 0
    calls: list[Any] = [
        (x,), (x, b), (x, None), (x, b, Keywords(mask=m)), (x, Keywords(mask=m)), (x, Keywords(bias=b)),
        (x, b, Keywords(mask=None)), (x, Keywords(mask=m, bias=b)), (x,), (x, b),
    ]  # fmt: skip
    equal_to_eager(make, calls, compilations=(4, 8))


def test_case_26_trees_of_arguments_and_results() -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(tree: Any) -> Any:
            if isinstance(tree, dict):
                return {name: f_of(part) for name, part in tree.items()}
            return [f_of(part) for part in tree]

        def f_of(part: Any) -> Any:
            return tuple(one * 2 for one in part) if isinstance(part, tuple) else part + 1

        return World(f)

    a, b = np.arange(3.0), np.ones((2, 2))
    trees = [
        {"a": a, "b": b}, {"b": b, "a": a}, [a, b], (a, b), {"a": (a, b), "b": a}, [a, (b, b)], [(a,), (b,)],
        {"a": a + 1, "b": b + 1}, [], {},
    ]  # fmt: skip
    equal_to_eager(make, [(tree,) for tree in trees], compilations=None)


@pytest.mark.parametrize("value", [2, 2.0, True, np.float32(2), np.float64(2), np.int64(2), np.array(2.0)])
def test_case_26_numbers_as_arguments_have_eagers_dtype(value: Any) -> None:
    x = np.arange(4, dtype=np.float32)
    equal_to_eager(
        lambda decorate: World(decorate(lambda x, c: (x * c + c, x > c))),
        [(x, value), (x + 1, value), (x, 3), (x, value)],
        compilations=None,
    )


def test_case_26_strings_flags_and_objects_as_arguments() -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(batch: Any, kind: str, flag: bool) -> Any:
            out = {"relu": F.relu, "tanh": F.tanh}[kind](batch.x)
            return out * batch.y if flag else out

        return World(f)

    x = np.linspace(-1, 1, 5)
    calls = [
        (Batch(x, x + 1), "relu", True), (Batch(x, x + 2), "relu", True), (Batch(x, x), "tanh", True),
        (Batch(2 * x, x), "tanh", False), (Batch(x, x), "relu", True),
    ]  # fmt: skip
    equal_or_refused(make, calls)


# ---- cases 27 and 28: the optimiser ----------------------------------------------------------------------


def test_case_27_a_parameter_group_that_is_added_midway_is_trained() -> None:
    def make(decorate: Any) -> World:
        model = network()
        return trainer(decorate, model, lambda p: optim.Adam([{"params": model[3].parameters(), "lr": 0.01}]))

    def between(world: World, i: int) -> None:
        if i == 2:
            world.optimizer.add_param_group({"params": world.model[0].parameters(), "lr": 0.002})
        if i == 4:
            world.optimizer.add_param_group({"params": world.model[1].parameters(), "weight_decay": 0.1})

    equal_to_eager(make, batches(6), between=between, compilations=(3, 5))


NUMBERS = {
    "SGD": {"lr": 0.03, "momentum": 0.5, "dampening": 0.2, "weight_decay": 0.2},
    "RMSprop": {"lr": 0.03, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.2, "momentum": 0.5},
    "Adam": {"lr": 0.03, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.2},
    "AdamW": {"lr": 0.03, "betas": (0.5, 0.8), "eps": 1e-3, "weight_decay": 0.2},
}


@pytest.mark.parametrize("name", NUMBERS)
def test_cases_3_and_27_every_number_of_an_optimiser_is_an_input(name: str) -> None:
    start = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    start |= {"dampening": 0.1} if name == "SGD" else {}

    def make(decorate: Any) -> World:
        kind = getattr(optim, name)
        return trainer(decorate, optimizer=lambda p: kind(p, lr=0.01, weight_decay=0.01, **start))

    def between(world: World, i: int) -> None:
        if i >= 2:
            option, value = list(NUMBERS[name].items())[(i - 2) % len(NUMBERS[name])]
            world.optimizer.param_groups[0][option] = value

    equal_to_eager(make, batches(8), between=between, compilations=1)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    quick(
        [
            ("SGD", "nesterov", True), ("SGD", "maximize", True), ("SGD", "momentum", 0.0),
            ("SGD", "weight_decay", 0.1), ("Adam", "amsgrad", True), ("Adam", "maximize", True),
            ("Adam", "weight_decay", 0.1), ("RMSprop", "centered", True), ("RMSprop", "momentum", 0.9),
            ("Adam", "lr", 0.0), ("Adam", "lr", 1),
        ],
        ("SGD", "momentum", 0.0), ("Adam", "amsgrad", True), ("RMSprop", "momentum", 0.9),
        ("Adam", "lr", 0.0),
    ),
)  # fmt: skip
def test_case_27_an_option_that_changes_the_formula_is_seen(name: str, option: str, value: Any) -> None:
    start = {"momentum": 0.9} if name == "SGD" else {}

    def make(decorate: Any) -> World:
        return trainer(decorate, plain_network(), lambda p: getattr(optim, name)(p, lr=0.01, **start))

    def between(world: World, i: int) -> None:
        if i == 2:
            world.optimizer.param_groups[0][option] = value

    equal_to_eager(make, batches(5), between=between, compilations=(1, 2))


@pytest.mark.parametrize("kind", ["sgd_momentum", "adam_amsgrad", "rmsprop_everything"])
def test_case_28_the_state_of_an_optimiser_that_is_loaded_is_used(kind: str) -> None:
    name, options = OPTIMIZERS[kind]

    def make(decorate: Any) -> World:
        return trainer(decorate, optimizer=lambda p: getattr(optim, name)(p, **options))

    other = make(lambda f: f)
    for x, y in batches(3, seed=9):
        other.step(x, y)
    saved = other.optimizer.state_dict()

    def between(world: World, i: int) -> None:
        if i == 3:
            world.optimizer.load_state_dict(saved)

    equal_to_eager(make, batches(6), between=between, compilations=1)


def test_case_28_a_state_of_many_steps_and_one_of_none() -> None:
    def between(world: World, i: int) -> None:
        state = world.optimizer.state_dict()
        if i == 2:
            for entry in state["state"].values():
                entry["step"] = 5000
            world.optimizer.load_state_dict(state)
        if i == 4:
            world.optimizer.load_state_dict({**state, "state": {}})

    equal_to_eager(trainer, batches(6), between=between, compilations=(1, 2))


def test_case_28_another_optimiser_in_the_same_variable() -> None:
    def make(decorate: Any) -> World:
        model, made = network(), {}
        made["optimizer"] = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer = made["optimizer"]
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, holders=made)

    def between(world: World, i: int) -> None:
        if i == 2:
            made = optim.Adam(world.model.parameters(), lr=0.01)
            inner = getattr(world.step, "__wrapped__", world.step)
            (cell,) = (c for c in inner.__closure__ if isinstance(c.cell_contents, dict))
            cell.cell_contents["optimizer"] = world.holders["optimizer"] = made

    equal_to_eager(make, batches(5), between=between, compilations=2)
