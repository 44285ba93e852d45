"""Schedules, random numbers, and what Python computes beside the arrays: cases 3 to 7, 19, 22, 23 and 30."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import (
    CLASSES,
    FEATURES,
    F,
    World,
    assert_close,
    assert_names_line,
    batches,
    equal_or_refused,
    equal_to_eager,
    identity,
    network,
    plain_network,
    state_of,
    trainer,
)
from tests.optim.problem import SCHEDULES
from tinygrad_mnist import JitError, Tensor, checkpoint, jit, nn, no_grad, optim
from tinygrad_mnist.optim import schedules

# ---- cases 3 and 4: schedules ----------------------------------------------------------------------------


def sequence(optimizer: optim.Optimizer) -> optim.LRScheduler:
    parts = [optim.LinearLR(optimizer, total_iters=20), optim.CosineAnnealingLR(optimizer, T_max=300)]
    return optim.SequentialLR(optimizer, parts, milestones=[20])


class Inverse(optim.LRScheduler):
    """A schedule of the user's own."""

    def rate(self, base_lr: float, epoch: int) -> float:
        return base_lr / (1 + epoch)


EVERY_SCHEDULE: dict[str, Callable[[optim.Optimizer], optim.LRScheduler]] = {
    **{
        kind: lambda optimizer, name=name, options=options: getattr(optim, name)(optimizer, **options)
        for kind, (name, options) in SCHEDULES.items()
    },
    "sequence": sequence,
    "own": Inverse,
}


def test_every_schedule_is_tried() -> None:
    tried = {name for name, _ in SCHEDULES.values()} | {"SequentialLR", "LRScheduler"}
    assert tried == set(schedules.__all__)


def scheduled(decorate: Any, kind: str, inside: bool) -> World:
    model = nn.Sequential(nn.Linear(3, 2, rng=0))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = EVERY_SCHEDULE[kind](optimizer)

    @decorate
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        if inside:
            schedule.step()
        return loss

    return World(step, model, optimizer, schedule)


INSIDE = ("one_cycle", "sequence", "own")
LONG = ("cosine", "one_cycle_three_phase", "sequence")
"""Schedules of 1000 steps; the others are tried for as long as they change."""


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        pytest.param(kind, inside, marks=[pytest.mark.slow] if inside and kind not in INSIDE else [])
        for kind in EVERY_SCHEDULE
        for inside in (True, False)
    ],
)
def test_case_3_a_schedule_is_one_program(kind: str, inside: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal((4, 2)).astype(np.float32)
    steps = 1000 if kind in LONG else 120
    eager, jitted = scheduled(identity, kind, inside), scheduled(jit, kind, inside)
    for i in range(steps):
        losses = []
        for world in (eager, jitted):
            losses.append(world.step(x, y))
            if not inside:
                world.schedule.step()
        if i < 5 or i % 40 == 39:
            assert_close(*losses, f"step {i}", 1e-3)
            assert eager.schedule.state_dict() == jitted.schedule.state_dict()
            groups = [
                [{k: v for k, v in group.items() if k != "params"} for group in world.optimizer.param_groups]
                for world in (eager, jitted)
            ]
            assert groups[0] == groups[1]
    assert_close(state_of(eager.model), state_of(jitted.model), "at the end", 1e-3)
    assert jitted.programs == 1


@pytest.mark.parametrize("momentum", ["SGD", "RMSprop"])
def test_case_3_a_cycle_moves_the_momentum_of_every_optimiser(momentum: str) -> None:
    def make(decorate: Any) -> World:
        world = trainer(decorate, optimizer=lambda p: getattr(optim, momentum)(p, lr=0.01, momentum=0.9))
        world.schedule = optim.OneCycleLR(world.optimizer, max_lr=0.1, total_steps=8)
        return world

    equal_to_eager(make, batches(7), between=lambda world, i: i and world.schedule.step())


def test_case_3_a_rate_set_by_hand_and_two_groups() -> None:
    def make(decorate: Any) -> World:
        model = network()
        groups = [
            {"params": model[0].parameters(), "lr": 0.1},
            {"params": list(model[1].parameters()) + list(model[3].parameters())},
        ]
        return trainer(decorate, model, lambda p: optim.SGD(groups, lr=0.01, momentum=0.9))

    def between(world: World, i: int) -> None:
        world.optimizer.param_groups[i % 2]["lr"] = 0.1 / (i + 1)

    equal_to_eager(make, batches(7), between=between)


def test_case_4_parameters_with_different_step_counts() -> None:
    def make(decorate: Any) -> World:
        model = nn.ModuleList([nn.Linear(FEATURES, CLASSES, rng=0), nn.Linear(FEATURES, CLASSES, rng=1)])
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        @decorate
        def step(x: Any, y: Any, which: int) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(model[which](x), y)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    which = (0, 0, 1, 0, 1, 1, 0, 1)
    calls = [(x, y, k) for (x, y), k in zip(batches(8), which, strict=True)]
    equal_to_eager(make, calls, compilations=2)


# ---- cases 5, 6 and 19: dropout --------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_case_5_dropout_draws_as_in_eager(p: float) -> None:
    def make(decorate: Any) -> World:
        model = nn.Sequential(
            nn.Dropout(p, rng=5), nn.Linear(FEATURES, 8, rng=0), nn.ReLU(), nn.Dropout(0.3, rng=6),
            nn.Linear(8, CLASSES, rng=1),
        )  # fmt: skip
        return trainer(decorate, model, lambda parameters: optim.SGD(parameters, lr=0.1))

    equal_to_eager(make, batches(5))


def test_case_5_two_layers_with_one_generator_and_draws_between_the_calls() -> None:
    def make(decorate: Any) -> World:
        rng = np.random.default_rng(3)
        first, second = nn.Dropout(0.5, rng=rng), nn.Dropout(0.2, rng=rng)

        @decorate
        def step(x: Any) -> Any:
            return second(first(x) + F.dropout(x, 0.4, rng=rng))

        return World(step, holders={"rng": rng, "drawn": []})

    def between(world: World, i: int) -> None:
        world.holders["drawn"].append(world.holders["rng"].random(i))

    equal_to_eager(make, [(x,) for x, _ in batches(5)], between=between)


def test_case_5_float64_and_evaluation_draw_as_in_eager() -> None:
    def make(decorate: Any) -> World:
        return trainer(decorate, network(dropout=0.4, dtype=np.float64))

    def between(world: World, i: int) -> None:
        world.model.train(i != 2)

    equal_to_eager(make, batches(5, dtype=np.float64), between=between, compilations=2)


def test_case_5_a_generator_whose_state_is_set_back_draws_again() -> None:
    def make(decorate: Any) -> World:
        world = trainer(decorate, network(dropout=0.4), lambda p: optim.SGD(p, lr=0.1))
        world.holders["state"] = [world.model[3].rng.bit_generator.state]
        return world

    def between(world: World, i: int) -> None:
        if i == 3:
            world.model[3].rng.bit_generator.state = world.holders["state"][0]
        if i == 4:
            world.model[3].rng = np.random.default_rng(99)

    equal_to_eager(make, batches(6), between=between, compilations=(1, 2))


@pytest.mark.parametrize("rng", [None, 7], ids=["none", "seed"])
def test_case_5_dropout_without_a_generator_is_eagers_or_refused(rng: int | None) -> None:
    x = np.ones((4, 5), np.float32)

    def make(decorate: Any) -> World:
        nn.manual_seed(3)
        return World(decorate(lambda x: F.dropout(x, 0.5, rng=rng)))

    nn.manual_seed(3)
    expected = [F.dropout(x, 0.5, rng=rng) for _ in range(5)]
    step = make(jit).step
    try:
        found = [step(x) for _ in range(5)]
    except JitError:
        return
    assert_close(expected, found, "masks")


def test_case_6_the_backward_mask_is_the_forwards() -> None:
    layer = nn.Dropout(0.5, rng=0)

    @jit
    def step(x: Any) -> Any:
        x.grad = None
        out = layer(x) * 2
        out.sum().backward()
        return out

    x = Tensor(np.ones((7, 9), np.float32), requires_grad=True)
    seen = []
    for _ in range(5):
        out = step(x)
        np.testing.assert_array_equal(x.grad.data, out.data)
        seen.append(out.data.tobytes())
    assert len(set(seen)) == 5


def test_case_6_a_checkpoint_repeats_the_draws_of_its_forward() -> None:
    def make(decorate: Any) -> World:
        model = network(dropout=0.5)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(checkpoint(model)(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    equal_to_eager(make, batches(5))


@pytest.mark.parametrize("p", [0.0, 0.5])
@pytest.mark.parametrize("training", [True, False])
def test_case_19_a_write_through_an_identity_dropout(p: float, training: bool) -> None:
    def make(decorate: Any) -> World:
        layer = nn.Dropout(p, rng=0).train(training)

        @decorate
        def step(x: Any) -> Any:
            h = layer(x)
            h += 1
            h[0] = 0
            return h * x

        return World(step, layer)

    equal_to_eager(make, [lambda x=x: (Tensor(x.copy()),) for x, _ in batches(4)])


# ---- case 7: Python's own state --------------------------------------------------------------------------

SCALE = 2.0
TABLE = {"scale": np.float32(2.0), "offsets": [0.0, 1.0]}


class Settings:
    scale = 2.0


SETTINGS = Settings()


def test_case_7_a_counter_of_a_closure_is_never_frozen() -> None:
    def make(decorate: Any) -> World:
        count = 0

        @decorate
        def step(x: Any) -> Any:
            nonlocal count
            count += 1  # here
            return x * count

        return World(step)

    error = equal_or_refused(make, [(x,) for x, _ in batches(5)])
    if error is not None:
        assert_names_line(error, make, "# here")


def test_case_7_a_counter_of_an_object_is_never_frozen() -> None:
    class Model:
        count = 0

        def __call__(self, x: Any) -> Any:
            self.count += 1  # here
            return x * self.count  # here

    def make(decorate: Any) -> World:
        model = Model()
        return World(decorate(lambda x: model(x)))

    error = equal_or_refused(make, [(x,) for x, _ in batches(5)])
    if error is not None:
        assert_names_line(error, Model, "# here")


def test_case_7_a_counter_of_a_module_is_never_frozen() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(FEATURES, CLASSES, rng=0)
            self.calls = 0

        def forward(self, x: Any) -> Any:
            self.calls += 1  # here
            return self.linear(x) / self.calls

    def make(decorate: Any) -> World:
        model = Noisy()
        return trainer(decorate, model, lambda p: optim.SGD(p, lr=0.1))

    error = equal_or_refused(make, batches(5))
    if error is not None:
        assert_names_line(error, Noisy, "# here")


def test_cases_7_and_30_a_closure_that_is_rebound_is_seen() -> None:
    def make(decorate: Any) -> World:
        scale: Any = 2.0
        offset = np.float32([1.0, 0.0, 2.0, 0.0, 1.0])

        def rebind(i: int) -> None:
            nonlocal scale, offset
            scale = (2.0, 2.0, 3.0, 3, 2.0, 2.0)[i]
            offset = offset + np.float32(i)

        step = decorate(lambda x: x * scale + offset)
        return World(step, holders={"rebind": rebind})

    def without(decorate: Any) -> World:
        world = make(decorate)
        world.rebind = world.holders.pop("rebind")  # type: ignore[attr-defined]
        return world

    calls = [(x,) for x, _ in batches(6)]
    equal_to_eager(without, calls, between=lambda w, i: w.rebind(i), compilations=(1, 6))  # type: ignore[attr-defined]


def test_cases_7_and_30_a_global_a_table_and_an_attribute_that_change_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(decorate: Any) -> World:
        return World(decorate(lambda x: x * SCALE * TABLE["scale"] * SETTINGS.scale + sum(TABLE["offsets"])))

    def between(world: World, i: int) -> None:
        monkeypatch.setitem(globals(), "SCALE", 2.0 + (i > 0))
        monkeypatch.setitem(TABLE, "scale", np.float32(2.0 + (i > 1)))
        monkeypatch.setattr(SETTINGS, "scale", 2.0 + (i > 2))
        monkeypatch.setitem(TABLE, "offsets", [0.0, 1.0] if i < 4 else [0.0, 1.0, 2.0])

    calls = [(x,) for x, _ in batches(6)]
    equal_to_eager(make, calls, between=between, compilations=(2, 5))


def test_case_30_a_captured_array_that_is_written_into_is_seen() -> None:
    def make(decorate: Any) -> World:
        weights = np.ones(FEATURES, np.float32)
        table = {"bias": np.zeros(FEATURES, np.float32)}
        mask = np.array([True, False, True, True, False])
        step = decorate(lambda x: np.where(mask, x * weights, 0) + table["bias"])
        return World(step, holders={"weights": weights, "table": table, "mask": mask})

    def between(world: World, i: int) -> None:
        world.holders["weights"][...] = i
        world.holders["table"]["bias"] += 1
        world.holders["mask"][i % FEATURES] ^= True
        if i == 3:
            world.holders["table"]["bias"] = np.full(FEATURES, 9, np.float32)

    equal_to_eager(make, [(x,) for x, _ in batches(6)], between=between, compilations=(1, 2))


def test_case_30_a_function_that_is_replaced_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(decorate: Any) -> World:
        def activation(x: Any) -> Any:
            return F.relu(x)

        def change() -> None:
            nonlocal activation
            activation = F.tanh  # type: ignore[assignment]

        world = World(decorate(lambda x: activation(x)))
        world.change = change  # type: ignore[attr-defined]
        return world

    calls = [(x,) for x, _ in batches(5)]
    equal_to_eager(make, calls, between=lambda w, i: i == 2 and w.change(), compilations=2)  # type: ignore[attr-defined]


def uses_random(x: Any) -> Any:
    return x * random.random()  # here


def uses_numpys_random(x: Any) -> Any:
    return x * np.random.rand(5).astype(np.float32)  # noqa: NPY002  # here


def uses_a_number_of_numpys_random(x: Any) -> Any:
    return x * float(np.random.rand())  # noqa: NPY002  # here


def uses_a_new_generator(x: Any) -> Any:
    return x + np.random.default_rng().standard_normal(5)  # here


def uses_the_time(x: Any) -> Any:
    return x * time.perf_counter()  # here


COUNTER = itertools.count(1)


def uses_an_iterator(x: Any) -> Any:
    return x * next(COUNTER)  # here


GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    "function",
    [
        uses_random, uses_numpys_random, uses_a_number_of_numpys_random, uses_a_new_generator, uses_the_time,
        uses_an_iterator,
    ],
    ids=lambda f: f.__name__,
)  # fmt: skip
def test_case_7_what_is_another_number_each_time_is_an_error_at_its_line(function: Any) -> None:
    step, arrays = jit(function), [x for x, _ in batches(3)]
    with pytest.raises(JitError) as caught:
        list(map(step, arrays))
    assert_names_line(caught.value, function, "# here")


@pytest.mark.parametrize(
    "draw", ["normal", "uniform", "standard_normal", "permutation", "integers", "choice"]
)
def test_cases_5_and_7_noise_from_a_users_generator_is_eagers_or_refused(draw: str) -> None:
    arguments = {"permutation": (5,), "integers": (0, 9, 5), "choice": (np.arange(5.0), 5)}
    given = arguments.get(draw, (0.0, 1.0, 5) if draw != "standard_normal" else (5,))

    def make(decorate: Any) -> World:
        rng = np.random.default_rng(0)
        return World(decorate(lambda x: x + getattr(rng, draw)(*given)))

    equal_or_refused(make, [(x,) for x, _ in batches(5)])


# ---- case 22: branches on values -------------------------------------------------------------------------


def branch(x: Any) -> Any:
    loss = (x * x).sum()
    if loss > 3:  # here
        return loss
    return loss * 2


def early_return(x: Any) -> Any:
    if not np.isfinite(x).all():  # here
        return x * 0
    return x


def loop(x: Any) -> Any:
    while np.max(np.abs(x)) > 1:  # here
        x = x / 2
    return x


def assertion(x: Any) -> Any:
    y = x.sum()
    assert y < 1e6  # here
    return y


def to_float(x: Any) -> Any:
    return x * float(x.sum())  # here


def to_int(x: Any) -> Any:
    return x * int(x.sum() > 0)  # here


def to_item(x: Any) -> Any:
    return x * np.sum(x).item()  # here


def to_list(x: Any) -> Any:
    return x * x.tolist()[0]  # here


def to_numpy(x: Any) -> Any:
    y = np.tanh(x)
    return x * np.asarray(y)[0]  # here


def to_array_by_math(x: Any) -> Any:
    import math

    return x * math.exp(x.sum())  # here


def to_text(x: Any) -> Any:
    text = f"{x.sum():.3f}"  # here
    return x * len(text)


def the_larger(x: Any) -> Any:
    return max(x.sum(), x.max())  # here


def as_index(x: Any) -> Any:
    return [1.0, 2.0, 3.0][x.argmax() % 3] * x  # here


def in_a_range(x: Any) -> Any:
    return sum(x * i for i in range(int(abs(x).max()) + 2))  # here


def by_membership(x: Any) -> Any:
    return x * (0.0 in x)  # here


def by_sorting(x: Any) -> Any:
    return sorted([x[0], x[1]])[0]  # here


READS = [
    branch, early_return, loop, assertion, to_float, to_int, to_item, to_list, to_numpy, to_array_by_math,
    to_text, the_larger, as_index, in_a_range, by_membership, by_sorting,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["Tensor", "ndarray"])
@pytest.mark.parametrize("function", READS, ids=lambda f: f.__name__)
def test_case_22_a_value_that_python_reads_is_an_error_at_its_line(function: Any, kind: str) -> None:
    x = np.array([0.5, -1.0, 2.0], np.float32)
    with pytest.raises(JitError) as caught:
        jit(function)(Tensor(x) if kind == "Tensor" else x)
    assert_names_line(caught.value, function, "# here")


@pytest.mark.parametrize("kind", ["mask", "nonzero", "argwhere", "unique", "extract"])
def test_case_22_a_shape_that_depends_on_values_is_eagers_or_refused(kind: str) -> None:
    functions = {
        "mask": lambda x: x[x > 0],
        "nonzero": lambda x: np.nonzero(x > 0)[0],
        "argwhere": lambda x: np.argwhere(x > 0),
        "unique": lambda x: np.unique(x > 0),
        "extract": lambda x: np.extract(x > 0, x) * 2,
    }
    arrays = [np.array(values) for values in ([1.0, -1.0, 2.0], [1.0, -1.0, -2.0], [1.0, 1.0, 2.0])]
    equal_or_refused(lambda decorate: World(decorate(functions[kind])), [(x,) for x in arrays])


def test_case_22_a_branch_on_the_loss_of_a_step_changes_nothing() -> None:
    model = network(dropout=0.5)
    optimizer = optim.Adam(model.parameters())

    @jit
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if loss < 10:  # here
            optimizer.step()
        return loss

    before = state_of(model), state_of(optimizer)
    for x, y in batches(2):
        with pytest.raises(JitError) as caught:
            step(x, y)
        assert_names_line(caught.value, step, "# here")
        assert_close(before, (state_of(model), state_of(optimizer)), "after the error", 0.0)


def test_case_22_a_branch_inside_a_module_names_the_line_of_the_module() -> None:
    class Gate(nn.Module):
        def forward(self, x: Any) -> Any:
            if x.mean() > 0:  # here
                return x
            return -x

    model = nn.Sequential(nn.Linear(FEATURES, 3, rng=0), Gate())
    with pytest.raises(JitError) as caught:
        jit(model)(batches(1)[0][0])
    assert_names_line(caught.value, Gate, "# here")


def test_case_22_branches_on_shapes_dtypes_options_and_none_are_no_branches_on_values() -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(x: Any, mask: Any = None) -> Any:
            out = x
            if x.shape[0] > 4 and x.ndim == 2 and len(x) and x.dtype == np.float32:
                out = out * 2
            for row in range(x.shape[1]):
                out = out + row
            if mask is not None:
                out = out * mask
            return out, [one.sum() for one in x]

        return World(f)

    calls = [(x,) for x, _ in batches(3)] + [(x, np.float32(2)) for x, _ in batches(3, rows=3)]
    equal_to_eager(make, calls, compilations=2)


# ---- case 23: what is left outside -----------------------------------------------------------------------

LOSSES: list[Any] = []
HISTORY: dict[str, Any] = {}
SEEN: set[Any] = set()


class Keeper:
    last: Any = None


KEEPER = Keeper()


def appends(x: Any) -> Any:
    loss = x.sum()
    LOSSES.append(loss)  # here
    return loss


def extends(x: Any) -> Any:
    loss = x.sum()
    LOSSES.extend([loss, loss])  # here
    return loss


def adds_in_place(x: Any) -> Any:
    global LOSSES
    LOSSES += [x.sum()]  # here
    return x


def stores(x: Any) -> Any:
    HISTORY["loss"] = x.sum()  # here
    return x


def stores_by_method(x: Any) -> Any:
    HISTORY.update(loss=x.sum())  # here
    return x


def puts_into_a_set(x: Any) -> Any:
    SEEN.add(x.shape[0])  # here
    return x


def sets_an_attribute(x: Any) -> Any:
    KEEPER.last = x.sum()  # here
    return x


def sets_by_setattr(x: Any) -> Any:
    setattr(KEEPER, "last", x.sum())  # noqa: B010  # here
    return x


def prints(x: Any) -> Any:
    print("step")  # here
    return x


def writes_a_file(x: Any) -> Any:
    with open("/dev/null", "w") as file:  # here
        file.write("step")
    return x


def deletes(x: Any) -> Any:
    if "loss" in HISTORY:
        del HISTORY["loss"]  # noqa: RUF051  # here
    return x


def writes_into_an_array(x: Any) -> Any:
    ARRAY[0] = 7.0  # here
    return x


ARRAY = np.zeros(3)

EFFECTS = [
    appends, extends, adds_in_place, stores, stores_by_method, puts_into_a_set, sets_an_attribute,
    sets_by_setattr, prints, writes_a_file, deletes, writes_into_an_array,
]  # fmt: skip


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Take back what the functions leave behind, should they be run."""
    yield
    for one in (LOSSES, HISTORY, SEEN):
        one.clear()  # type: ignore[attr-defined]
    KEEPER.last = None
    ARRAY[...] = 0


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("function", EFFECTS, ids=lambda f: f.__name__)
def test_case_23_a_side_effect_of_python_is_an_error_at_its_line(function: Any) -> None:
    step, arrays = jit(function), [x for x, _ in batches(2)]
    with pytest.raises(JitError) as caught:
        list(map(step, arrays))
    assert_names_line(caught.value, function, "# here")
    assert not LOSSES
    assert not HISTORY
    assert not SEEN
    assert KEEPER.last is None
    assert not ARRAY.any()


def test_case_23_lists_and_dicts_of_the_functions_own_are_free() -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(x: Any) -> Any:
            outs, named, text = [], {}, ""
            for i in range(3):
                outs.append(x * i)
                named[f"part {i}"] = x + i
                text += "x"
            named.update(last=outs.pop())
            outs.extend([x, x])
            keeper = Keeper()
            keeper.last = x - 1
            return outs, named, keeper.last, len(text)

        return World(f)

    equal_to_eager(make, [(x,) for x, _ in batches(4)])


def test_case_23_an_append_in_a_method_of_the_user() -> None:
    class Logged:
        def __init__(self, decorate: Any) -> None:
            self.model = plain_network()
            self.losses: list[Any] = []

        def forward(self, x: Any) -> Any:
            out = self.model(x)
            self.losses.append(out.sum())  # here
            return out

    logged = Logged(jit)
    with no_grad(), pytest.raises(JitError) as caught:
        jit(logged.forward)(batches(1)[0][0])
    assert_names_line(caught.value, Logged, "# here")
    assert not logged.losses
