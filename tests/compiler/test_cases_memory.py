"""Which memory results, parameters and arguments have: cases 8 to 13, 20, 25, 29, 39 and 40."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.compiler.helpers import (
    CLASSES,
    FEATURES,
    F,
    World,
    assert_close,
    batches,
    equal_to_eager,
    network,
    plain_network,
    quick,
    state_of,
    trainer,
)
from tinygrad_mnist import Tensor, jit, nn, no_grad, optim

# ---- cases 8, 9 and 20: results --------------------------------------------------------------------------


def test_cases_8_and_20_results_are_fresh_and_writing_into_them_changes_nothing() -> None:
    @jit
    def f(x: Any) -> Any:
        y = x * 2
        return y, y, [y.T, y[0], y.reshape(-1)], x, x[::2]

    given = [np.arange(6, dtype=np.float32).reshape(2, 3) + i for i in range(5)]
    results = [f(x) for x in given]
    for i, (y, again, views, same, part) in enumerate(results):
        x = np.arange(6, dtype=np.float32).reshape(2, 3) + i
        wanted = [2 * x, 2 * x, (2 * x).T, 2 * x[0], 2 * x.reshape(-1), x, x[::2]]
        for expected, found in zip(wanted, [y, again, *views, same, part], strict=True):
            np.testing.assert_array_equal(np.asarray(found), expected)
    for result in results:
        array = np.asarray(result[0])
        if array.flags.writeable:
            array[...] = -1
    for i, x in enumerate(given):
        np.testing.assert_array_equal(x, np.arange(6, dtype=np.float32).reshape(2, 3) + i)
        np.testing.assert_array_equal(np.asarray(f(x)[0]), 2 * x)


def test_case_20_no_result_of_a_step_is_the_memory_of_its_state() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @jit
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        out = model(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        gradient = model[0].weight.grad * 1
        optimizer.step()
        return loss, out, gradient, model[3].weight * 1

    results = [step(x, y) for x, y in batches(4)]
    before = state_of(model), state_of(optimizer)
    for result in results:
        for one in result:
            if one.data.flags.writeable:
                one.data[...] = np.nan
    assert_close(before, (state_of(model), state_of(optimizer)), "after the writes", 0.0)
    held = [p.data for p in model.parameters()] + [p.grad.data for p in model.parameters()]
    for one in results[-1]:
        assert not any(np.shares_memory(one.data, array) for array in [*held, *model.buffers()])


def test_case_8_gradients_that_are_kept_do_not_change() -> None:
    def make(decorate: Any) -> World:
        world = trainer(decorate, plain_network())
        world.holders["kept"] = []
        return world

    def between(world: World, i: int) -> None:
        if i:
            world.holders["kept"].append([p.grad for p in world.model.parameters()])

    equal_to_eager(make, batches(6), between=between)


def test_case_9_a_result_is_the_next_argument() -> None:
    f, g = jit(lambda x: np.sin(x) + 1), jit(lambda x, y: (y, x + y))
    x = expected = np.linspace(-1, 1, 9)
    for _ in range(6):
        x, expected = f(x), np.sin(expected) + 1
        np.testing.assert_allclose(np.asarray(x), expected, rtol=1e-12)
    pair: Any = (np.ones(3), np.ones(3))
    for _ in range(6):
        pair = g(*pair)
    np.testing.assert_array_equal(np.asarray(pair[1]), np.full(3, 21.0))


def test_case_9_parameters_as_a_tree_that_goes_round() -> None:
    from tinygrad_mnist import value_and_grad

    def loss(tree: Any, x: Any, y: Any) -> Any:
        hidden = np.tanh(x @ tree["in"]["w"] + tree["in"]["b"])
        return np.mean((hidden @ tree["out"] - y) ** 2)

    def update(tree: Any, x: Any, y: Any) -> Any:
        value, grads = value_and_grad(loss)(tree, x, y)
        layer = {name: tree["in"][name] - 0.1 * grads["in"][name] for name in tree["in"]}
        return value, {"in": layer, "out": tree["out"] - 0.1 * grads["out"]}

    rng = np.random.default_rng(0)
    tree: Any = {"in": {"w": rng.standard_normal((3, 4)), "b": np.zeros(4)}, "out": rng.standard_normal(4)}
    other, jitted = tree, jit(update)
    for _ in range(6):
        x, y = rng.standard_normal((5, 3)), rng.standard_normal(5)
        value, tree = update(tree, x, y)
        found, other = jitted(other, x, y)
        assert_close((value, tree), (found, other), "update")
    assert len(jitted.compilations) == 1


# ---- case 10: memory that is shared ----------------------------------------------------------------------


def test_case_10_the_same_array_twice_and_views_that_overlap() -> None:
    def make(decorate: Any) -> World:
        return World(decorate(lambda a, b: (a * 2 + b, a - b, (a * b).sum())))

    rng = np.random.default_rng(0)

    def same() -> Any:
        a = rng.standard_normal(8)
        return a, a

    def overlapping() -> Any:
        a = rng.standard_normal(9)
        return a[:-1], a[1:]

    def backwards() -> Any:
        a = rng.standard_normal(8)
        return a, a[::-1]

    def different() -> Any:
        return rng.standard_normal(8), rng.standard_normal(8)

    state = rng.bit_generator.state

    def seeded(make_arguments: Callable[[], Any], i: int) -> Callable[[], Any]:
        def arguments() -> Any:
            rng.bit_generator.state = state
            rng.standard_normal(i)
            return make_arguments()

        return arguments

    kinds = [same, different, overlapping, backwards, same, different, overlapping, backwards]
    calls = [seeded(kind, i) for i, kind in enumerate(kinds)]
    equal_to_eager(make, calls, compilations=(1, 4))


def test_case_10_an_argument_that_is_the_memory_of_a_parameter() -> None:
    def make(decorate: Any) -> World:
        model = nn.Linear(FEATURES, FEATURES, rng=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss, x * 1

        def call(which: int) -> Any:
            own = model.weight.data
            return step((own, own[:3], np.eye(5, dtype=np.float32), model.bias.data.reshape(1, 5))[which])

        return World(call, model, optimizer)

    equal_to_eager(make, [(i % 4,) for i in range(8)], compilations=None)


def test_case_10_tied_parameters_and_parameters_that_share_memory() -> None:
    def make(decorate: Any) -> World:
        model = nn.Sequential(nn.Linear(4, 2, bias=False, rng=0), nn.Linear(2, 4, bias=False, rng=1))
        model[1].weight.data = model[0].weight.data.T
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        @decorate
        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), x)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    rng = np.random.default_rng(0)
    # They are not moved side by side, and so the step may run in eager.
    calls = [(rng.standard_normal((5, 4)).astype(np.float32),) for _ in range(5)]
    equal_to_eager(make, calls, replayed=False)

    def one_parameter_in_two_layers(decorate: Any) -> World:
        model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh(), nn.Linear(4, 4, rng=1))
        model[2].weight = model[0].weight
        return trainer(decorate, model, lambda p: optim.SGD(p, lr=0.1, momentum=0.9), F.mse_loss)

    calls = [(rng.standard_normal((5, 4)).astype(np.float32),) * 2 for _ in range(5)]
    equal_to_eager(one_parameter_in_two_layers, calls)


def test_case_10_a_buffer_that_is_captured_twice() -> None:
    def make(decorate: Any) -> World:
        shared = np.zeros(4, np.float32)
        layers = nn.ModuleList([nn.BatchNorm1d(4), nn.BatchNorm1d(4)])
        layers[0].running_mean = layers[1].running_mean = shared

        @decorate
        def step(x: Any) -> Any:
            return layers[1](layers[0](x) + 1)

        return World(step, layers)

    rng = np.random.default_rng(0)
    calls = [(rng.standard_normal((5, 4)).astype(np.float32),) for _ in range(5)]
    equal_to_eager(make, calls, compilations=(0, 1))


# ---- cases 11 and 12: weights that are loaded ------------------------------------------------------------


def load(world: World, values: dict[str, Any]) -> None:
    world.model.load_state_dict(values)


def assign(world: World, values: dict[str, Any]) -> None:
    for name, parameter in world.model.named_parameters():
        parameter.data = values[name].copy()


def assign_in_fortran_order(world: World, values: dict[str, Any]) -> None:
    for name, parameter in world.model.named_parameters():
        parameter.data = np.asfortranarray(values[name])


def assign_in_c_order(world: World, values: dict[str, Any]) -> None:
    for name, parameter in world.model.named_parameters():
        parameter.data = np.ascontiguousarray(values[name])


def write(world: World, values: dict[str, Any]) -> None:
    for name, parameter in world.model.named_parameters():
        parameter.data[...] = values[name]


def initialise(world: World, values: dict[str, Any]) -> None:
    world.model[0].reset_parameters(7)
    nn.init.zeros_(world.model[3].bias)


def add_in_place(world: World, values: dict[str, Any]) -> None:
    with no_grad():
        world.model[3].bias.data += 1.0


CHANGES = [load, assign, assign_in_fortran_order, assign_in_c_order, write, initialise, add_in_place]


@pytest.mark.parametrize(
    "change", quick(CHANGES, load, assign, write), ids=lambda change: getattr(change, "__name__", "")
)
def test_case_11_weights_that_are_changed_between_calls_are_used(change: Callable[..., None]) -> None:
    other = network()
    other[0].reset_parameters(77)
    values = {name: value * 2 for name, value in other.state_dict().items()}

    def between(world: World, i: int) -> None:
        if i in (2, 4):
            change(world, values)

    equal_to_eager(trainer, batches(6), between=between, compilations=(1, 2))


def test_case_11_astype_midway_trains_in_the_new_dtype() -> None:
    def between(world: World, i: int) -> None:
        if i == 2:
            world.model.astype(np.float64)
        if i == 5:
            world.model.astype(np.float32)

    calls = [(x.astype(np.float64 if 2 <= i < 5 else np.float32), y) for i, (x, y) in enumerate(batches(7))]
    equal_to_eager(trainer, calls, between=between, compilations=(2, 3), rtol=1e-5)


def test_case_12_a_moving_average_of_the_weights_that_is_swapped_in() -> None:
    def make(decorate: Any) -> World:
        world = trainer(decorate)
        model, average = world.model, [p.data.copy() for p in world.model.parameters()]
        evaluate = decorate(lambda x: model(x))

        def step(x: Any, y: Any) -> Any:
            loss = world.step(x, y)
            for kept, p in zip(average, model.parameters(), strict=True):
                kept += 0.1 * (p.data - kept)
            own = [p.data for p in model.parameters()]
            for kept, p in zip(average, model.parameters(), strict=True):
                p.data = kept
            model.eval()
            with no_grad():
                out = evaluate(x)
            model.train()
            for array, p in zip(own, model.parameters(), strict=True):
                p.data = array
            return loss, out

        return World(step, model, world.optimizer, holders={"average": average})

    equal_to_eager(make, batches(6), compilations=None)


# ---- case 13: accumulation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "to_none"),
    quick([(n, to_none) for n in (1, 2, 3) for to_none in (True, False)], (2, True), (2, False)),
)
def test_case_13_gradients_are_accumulated(every: int, to_none: bool) -> None:
    def make(decorate: Any) -> World:
        model = network()
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        @decorate
        def accumulate(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y) / every
            loss.backward()
            return loss

        @decorate
        def update() -> None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=to_none)

        count = iter(range(1, 1000))

        def step(x: Any, y: Any) -> Any:
            loss = accumulate(x, y)
            if next(count) % every == 0:
                update()
            return loss

        return World(step, model, optimizer)

    equal_to_eager(make, batches(7), compilations=None)


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("where", ["first", "last"])
def test_case_13_zero_grad_at_the_start_or_at_the_end_is_one_program(where: str, to_none: bool) -> None:
    def make(decorate: Any) -> World:
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

        @decorate
        def step(x: Any, y: Any) -> Any:
            if where == "first":
                optimizer.zero_grad(set_to_none=to_none)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if where == "last":
                optimizer.zero_grad(set_to_none=to_none)
            return loss

        return World(step, model, optimizer)

    # Of gradients that are set to 0, None becomes an array in the first call: two kinds of a call.
    equal_to_eager(make, batches(5), compilations=1 if to_none else (1, 2))


def test_case_13_two_batches_inside_one_step_and_gradients_set_by_the_user() -> None:
    def make(decorate: Any) -> World:
        model = network()
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            for rows in (slice(0, 3), slice(3, 6)):
                loss = F.cross_entropy(model(x[rows]), y[rows])
                loss.backward()
            for parameter in model.parameters():
                parameter.grad = parameter.grad / 2
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    equal_to_eager(make, batches(5))


def test_case_13_a_user_changes_and_keeps_gradients_between_the_calls() -> None:
    def make(decorate: Any) -> World:
        model = plain_network()

        @decorate
        def step(x: Any, y: Any) -> Any:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            return loss

        return World(step, model, holders={"kept": []})

    def between(world: World, i: int) -> None:
        parameters = list(world.model.parameters())
        if i:
            world.holders["kept"].append([p.grad for p in parameters if p.grad is not None])
        if i == 2:
            parameters[0].grad = None
        if i == 3:
            parameters[1].grad = Tensor(np.ones(parameters[1].shape, np.float32))
        if i == 4:
            world.model.zero_grad(set_to_none=False)
        if i == 5:
            world.model.zero_grad()

    equal_to_eager(make, batches(7), between=between, compilations=None)


def test_case_13_backward_outside_of_a_jitted_forward_pass() -> None:
    def make(decorate: Any) -> World:
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        forward = decorate(lambda x, y: F.cross_entropy(model(x), y))

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = forward(x, y)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    equal_to_eager(make, batches(5), compilations=None)


# ---- case 25: layouts ------------------------------------------------------------------------------------

ODD = np.zeros(4 * 30 + 1, np.uint8)


def misaligned(x: Any) -> Any:
    array = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    array[...] = x
    return array


def read_only(x: Any) -> Any:
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "contiguous": lambda x: x.copy(),
    "fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "rows apart": lambda x: np.repeat(x, 2, axis=0)[::2],
    "columns apart": lambda x: np.repeat(x, 3, axis=1)[:, ::3],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "part of a larger": lambda x: np.pad(x, 2)[2:-2, 2:-2],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "read-only": read_only,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "misaligned": misaligned,
}


def test_case_25_every_layout_of_an_input_gives_eagers_result() -> None:
    def make(decorate: Any) -> World:
        return trainer(decorate, plain_network(), lambda p: optim.SGD(p, lr=0.1))

    calls = [
        lambda x=x, y=y, layout=layout: (layout(x), y)
        for (x, y), layout in zip(batches(2 * len(LAYOUTS)), [*LAYOUTS.values()] * 2, strict=True)
    ]
    equal_to_eager(make, calls, compilations=(1, len(LAYOUTS)), rtol=1e-4)


@pytest.mark.parametrize("layout", ["fortran", "columns apart", "backwards", "broadcast", "big-endian"])
def test_case_25_every_layout_in_a_function_of_arrays(layout: str) -> None:
    def make(decorate: Any) -> World:
        return World(decorate(lambda x: (np.exp(x) + x.T.T, x.sum(0), x.sum(1), x.T, x @ x.T, x[1:, ::2])))

    equal_to_eager(make, [lambda x=x: (LAYOUTS[layout](x),) for x, _ in batches(3)], compilations=1)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "bool", "float16", "float64"])
def test_case_25_images_of_other_dtypes_are_promoted_as_in_eager(dtype: str) -> None:
    def make(decorate: Any) -> World:
        return World(
            decorate(lambda x: (x * 2, x + np.float32(0.5), x / 3, x.sum(0), np.sqrt(np.abs(x)), -x))
        )

    def unsigned(decorate: Any) -> World:
        return World(decorate(lambda x: (x * 2, x + np.float32(0.5), x.sum(0), x & x, ~x)))

    rng = np.random.default_rng(0)
    calls = [(rng.integers(0, 50, (4, 3)).astype(dtype),) for _ in range(3)]
    equal_to_eager(unsigned if dtype == "bool" else make, calls, rtol=1e-3 if dtype == "float16" else None)


# ---- case 29: clipping -----------------------------------------------------------------------------------

CLIPPINGS: dict[str, Callable[[Any], Any]] = {
    "small": lambda p: optim.clip_grad_norm_(p, 0.1),
    "large": lambda p: optim.clip_grad_norm_(p, 1e6),
    "zero": lambda p: optim.clip_grad_norm_(p, 0.0),
    "infinite": lambda p: optim.clip_grad_norm_(p, np.inf),
    "order 1": lambda p: optim.clip_grad_norm_(p, 0.5, norm_type=1),
    "order 3": lambda p: optim.clip_grad_norm_(p, 0.5, norm_type=3.0),
    "largest": lambda p: optim.clip_grad_norm_(p, 0.05, norm_type=np.inf),
    "checked": lambda p: optim.clip_grad_norm_(p, 0.1, error_if_nonfinite=True),
    "values": lambda p: optim.clip_grad_value_(p, 0.02),
}


def clipped(decorate: Any, clip: Callable[[Any], Any]) -> World:
    model = plain_network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @decorate
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        norm = clip(model.parameters())
        optimizer.step()
        return loss, norm

    return World(step, model, optimizer)


@pytest.mark.parametrize("kind", quick([*CLIPPINGS], "small", "large", "order 3", "largest", "values"))
def test_case_29_clipping_has_eagers_effect_and_value(kind: str) -> None:
    equal_to_eager(lambda decorate: clipped(decorate, CLIPPINGS[kind]), batches(5))


@pytest.mark.parametrize(
    ("kind", "bad"),
    quick(
        [(kind, bad) for kind in ("small", "checked", "largest", "values") for bad in (np.inf, np.nan, 1e38)],
        ("small", np.inf), ("checked", np.inf), ("checked", 1e38), ("values", np.nan),
    ),
)  # fmt: skip
def test_case_29_clipping_of_gradients_that_are_not_finite(kind: str, bad: float) -> None:
    calls = batches(5)
    calls[2][0][0, 0] = bad

    def make(decorate: Any) -> World:
        model = plain_network()
        return World(clipped_with(decorate, model, CLIPPINGS[kind]), model, holders={})

    def clipped_with(decorate: Any, model: Any, clip: Any) -> Any:
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = (model[0](x) ** 2).mean()
            loss.backward()
            norm = clip(model.parameters())
            optimizer.step()
            return loss, norm

        return step

    with np.errstate(all="ignore"):
        equal_to_eager(make, calls, compilations=None)


def test_case_29_a_norm_that_is_used_inside_is_eagers_or_named() -> None:
    from tests.compiler.helpers import equal_or_refused

    def make(decorate: Any) -> World:
        model = plain_network()

        @decorate
        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            norm = optim.clip_grad_norm_(model.parameters(), 0.1)
            return loss / norm

        return World(step, model)

    equal_or_refused(make, batches(5))


# ---- cases 39 and 40: sizes and dtypes -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3)])
def test_case_39_inputs_without_elements(shape: tuple[int, ...]) -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(x: Any) -> Any:
            w = np.ones((x.shape[-1], 2))
            return np.exp(x) * 2, x.sum(), x.sum(axis=0), x.sum(axis=-1), x.prod(), x.reshape(-1), x @ w

        return World(f)

    equal_to_eager(make, [(np.zeros(shape),)] * 3)


def test_case_39_a_batch_of_none_through_a_network_and_its_gradients() -> None:
    def make(decorate: Any) -> World:
        model = plain_network()

        @decorate
        def step(x: Any) -> Any:
            model.zero_grad()
            out = model(x)
            out.sum().backward()
            return out

        return World(step, model)

    sizes = (0, 0, 3, 0, 3)
    equal_to_eager(make, [(np.ones((n, FEATURES), np.float32),) for n in sizes], compilations=2)


@pytest.mark.parametrize("name", ["max", "min", "argmax"])
def test_case_39_the_largest_of_none_is_eagers_error(name: str) -> None:
    def make(decorate: Any) -> World:
        return World(decorate(lambda x: getattr(np, name)(x)))

    equal_to_eager(
        make, [lambda: (Tensor(np.zeros(0)),), lambda: (Tensor(np.ones(2)),)] * 2, compilations=None
    )


def test_case_39_the_loss_of_no_batch_is_eagers() -> None:
    def make(decorate: Any) -> World:
        return World(decorate(lambda x, y: F.cross_entropy(x, y, reduction="sum")))

    calls = [(np.zeros((n, CLASSES), np.float32), np.zeros(n, np.int64)) for n in (0, 2, 0)]
    equal_to_eager(make, calls, compilations=2)


def test_case_40_arrays_without_axes() -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(x: Any, y: Any) -> Any:
            return x * y + 1, np.sin(x), np.sum(x), np.reshape(x, (1, 1)), np.maximum(x, y), np.stack([x, y])

        return World(f)

    calls = [(np.array(1.5 + i), np.array(0.5 * i)) for i in range(4)]
    equal_to_eager(make, calls)
    equal_to_eager(make, [lambda i=i: (Tensor(1.5 + i), Tensor(np.array(0.5 * i))) for i in range(4)])


@pytest.mark.parametrize(
    "dtype",
    quick(
        ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", ">i4", ">i8"],
        *("uint8", "int8", "int64", ">i4"),
    ),
)
def test_case_40_labels_of_every_dtype(dtype: str) -> None:
    def make(decorate: Any) -> World:
        return trainer(decorate, plain_network(), lambda p: optim.SGD(p, lr=0.1))

    equal_to_eager(make, [(x, y.astype(dtype)) for x, y in batches(3)])


def test_case_40_labels_as_tensors_and_of_one_sample() -> None:
    def make(decorate: Any) -> World:
        return World(decorate(lambda x, y: F.cross_entropy(x, y)))

    x = np.linspace(-1, 1, CLASSES)
    equal_to_eager(make, [(x, np.array(k)) for k in range(4)])
    rows = np.stack([x, x[::-1]])
    equal_to_eager(make, [lambda k=k: (Tensor(rows), Tensor(np.array([k, 1]))) for k in range(4)])
