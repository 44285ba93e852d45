"""Everything that eager runs, `jit` runs: all optimisers, layers and losses of the tables, and transforms.

What stands in a table is tried without being named here, so that a new layer or optimiser is tried as well.
"""

from __future__ import annotations

import inspect
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
    equal_or_refused,
    equal_to_eager,
    network,
    plain_network,
    trainer,
)
from tests.nn.cases import LAYERS, LOSSES, LossCase, numbers, reductions
from tests.optim.problem import OPTIMIZERS
from tinygrad_mnist import (
    Tensor,
    checkpoint,
    functional_call,
    grad,
    hessian,
    hvp,
    jacobian,
    jit,
    jvp,
    nn,
    no_grad,
    optim,
    value_and_grad,
    vjp,
)
from tinygrad_mnist.testing import gradcheck

# ---- optimisers ------------------------------------------------------------------------------------------

QUICK_KINDS = {
    "sgd_momentum", "sgd_dampening_l2", "sgd_maximize_everything", "rmsprop_everything", "adam_amsgrad",
    "adamw_amsgrad_maximize", "adamw_decay",
}  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in QUICK_KINDS else [pytest.mark.slow]) for kind in OPTIMIZERS],
)
def test_every_optimiser_with_its_options(kind: str) -> None:
    name, options = OPTIMIZERS[kind]

    def make(decorate: Any) -> World:
        return trainer(decorate, network(), lambda p: getattr(optim, name)(p, **options))

    equal_to_eager(make, batches(5))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_every_optimiser_in_float64(name: str) -> None:
    def make(decorate: Any) -> World:
        model = network(dtype=np.float64)
        return trainer(decorate, model, lambda p: getattr(optim, name)(p, lr=0.01, weight_decay=0.1))

    equal_to_eager(make, batches(5, dtype=np.float64), rtol=1e-11)


def test_float64_stays_float64_and_float32_stays_float32() -> None:
    for dtype in (np.float32, np.float64):
        out = jit(lambda x: (x * 2 + 1, np.exp(x) / 3, x.mean(), x.sum(0), x**2, np.maximum(x, 0.5)))
        for _ in range(2):
            assert {np.asarray(one).dtype for one in out(np.ones((2, 3), dtype))} == {np.dtype(dtype)}


@pytest.mark.parametrize(("dtype", "ignored"), [(np.int64, -100), (np.int8, -1), (np.uint8, 255)])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "reduction": "sum"}, {"nll": True}])
def test_a_label_that_is_left_out_is_no_reason_to_run_in_eager(
    dtype: Any, ignored: int, options: dict[str, Any]
) -> None:
    rest = {name: value for name, value in options.items() if name != "nll"}
    if ignored != -100:
        rest["ignore_index"] = ignored

    def loss(logits: Any, labels: Any) -> Any:
        if "nll" in options:
            return F.nll_loss(F.log_softmax(logits, 1), labels, **rest)
        return F.cross_entropy(logits, labels, **rest)

    calls = [(x, y.astype(dtype)) for x, y in batches(4)]
    for number, (_, labels) in enumerate(calls[1:]):
        labels[: number + 1] = ignored
    equal_to_eager(lambda decorate: trainer(decorate, plain_network(), loss=loss), calls)


def test_two_optimisers_and_a_step_that_trains_in_turn() -> None:
    def make(decorate: Any) -> World:
        one, two = nn.Linear(3, 4, rng=0), nn.Linear(4, 3, rng=1)
        first = optim.Adam(one.parameters(), lr=0.01)
        second = optim.SGD(two.parameters(), lr=0.1, momentum=0.9)

        @decorate
        def step(x: Any) -> Any:
            first.zero_grad()
            second.zero_grad()
            loss = F.mse_loss(two(np.tanh(one(x))), x)
            loss.backward()
            first.step()
            second.step()
            other = (one(x) ** 2).mean()
            first.zero_grad()
            other.backward()
            first.step()
            return loss, other

        return World(step, holders={"one": one, "two": two, "first": first, "second": second})

    rng = np.random.default_rng(0)
    equal_to_eager(make, [(rng.standard_normal((5, 3)).astype(np.float32),) for _ in range(5)])


def test_a_closure_for_the_optimiser() -> None:
    def make(decorate: Any) -> World:
        model = plain_network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any, y: Any) -> Any:
            def closure() -> Any:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            return optimizer.step(closure)

        return World(step, model, optimizer)

    equal_to_eager(make, batches(5))


# ---- layers and losses -----------------------------------------------------------------------------------

INPUT = numbers(6, 4).astype(np.float32)

FURTHER: dict[str, tuple[tuple[Any, ...], dict[str, Any], Any]] = {
    "Linear": ((4, 3), {"rng": 0}, numbers(2, 5, 4)),
    "Dropout": ((0.4,), {"rng": 0}, numbers(2, 3, 4)),
    "Softmax": ((1,), {}, INPUT),
    "LogSoftmax": ((1,), {}, INPUT),
    "BatchNorm1d": ((4,), {}, numbers(3, 4, 5)),
    "LayerNorm": ((4,), {}, numbers(2, 3, 4)),
    "RMSNorm": (((3, 4),), {}, numbers(2, 3, 4)),
    "GroupNorm": ((2, 4), {}, numbers(3, 4, 2, 2)),
    "Flatten": ((), {}, numbers(2, 3, 2, 2)),
    "Unflatten": ((1, (2, 2)), {}, INPUT),
    "Conv1d": ((2, 4, 3), {"stride": 2, "padding": 1, "rng": 0}, numbers(3, 2, 7)),
    "Conv2d": ((2, 4, 3), {"padding": 1, "rng": 0}, numbers(3, 2, 6, 5)),
    "ConvTranspose2d": ((2, 4, 3), {"stride": 2, "rng": 0}, numbers(3, 2, 4, 3)),
    "MaxPool2d": ((2,), {}, numbers(3, 2, 6, 4)),
    "AvgPool2d": ((2,), {}, numbers(3, 2, 6, 4)),
    "AdaptiveAvgPool2d": ((2,), {}, numbers(3, 2, 6, 5)),
    "Upsample": ((), {"scale_factor": 2}, numbers(3, 2, 3, 4)),
    "BatchNorm2d": ((2,), {}, numbers(3, 2, 4, 5)),
    "Dropout2d": ((0.4,), {"rng": 0}, numbers(3, 2, 4, 5)),
    "GELU": (("tanh",), {}, INPUT),
}
NO_LAYERS = {
    "Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "Parameter",
    "Embedding",
}  # fmt: skip
NAMES = [
    name
    for name in nn.__all__
    if inspect.isclass(getattr(nn, name)) and name not in NO_LAYERS and not name.endswith("Loss")
]


def layer_world(decorate: Any, layer: Any, x: Any) -> World:
    given = Tensor(np.array(x), requires_grad=True)
    direction = np.cos(np.arange(50.0)).astype(x.dtype)

    @decorate
    def step() -> Any:
        given.grad = None
        for parameter in layer.parameters():
            parameter.grad = None
        out = layer(given)
        (out.reshape(-1) * np.resize(direction, out.size)).sum().backward()
        return out

    return World(step, layer, holders={"x": given})


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_and_activation(name: str) -> None:
    args, options, x = FURTHER.get(name, ((), {}, INPUT))

    def make(decorate: Any) -> World:
        return layer_world(decorate, getattr(nn, name)(*args, **options), np.asarray(x, np.float32))

    equal_to_eager(make, [()] * 3)


@pytest.mark.slow
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.id)
@pytest.mark.parametrize("train", [True, False])
def test_every_layer_with_its_options(case: Any, train: bool) -> None:
    def make(decorate: Any) -> World:
        nn.manual_seed(0)  # the initial weights
        return layer_world(
            decorate, case.build().astype(np.float64).train(train), np.asarray(case.input, float)
        )

    equal_to_eager(make, [()] * 3, rtol=1e-11)


def loss_world(decorate: Any, cases: list[tuple[LossCase, str]]) -> World:
    """Return a world with all these losses in one step."""
    inputs = [Tensor(case.input.copy(), requires_grad=True) for case, _ in cases]
    losses = [getattr(nn, case.name)(**case.options, reduction=how) for case, how in cases]

    @decorate
    def step() -> Any:
        values = []
        for given, loss, (case, _) in zip(inputs, losses, cases, strict=True):
            given.grad = None
            value = loss(given, case.target)
            value.sum().backward()
            values.append(value)
        return values

    return World(step, holders={"inputs": inputs})


@pytest.mark.parametrize("name", sorted({case.name for case in LOSSES}))
def test_every_loss_in_every_reduction(name: str) -> None:
    case = next(case for case in LOSSES if case.name == name)
    cases = [(case, how) for how in reductions(name)]
    equal_to_eager(lambda decorate: loss_world(decorate, cases), [()] * 3, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({case.name for case in LOSSES}))
def test_every_loss_with_its_options(name: str) -> None:
    chosen = [case for case in LOSSES if case.name == name]
    for i in range(0, len(chosen), 6):  # some in each program
        cases = [(case, how) for case in chosen[i : i + 6] for how in reductions(name)]
        equal_to_eager(lambda decorate, cases=cases: loss_world(decorate, cases), [()] * 3, rtol=1e-11)


def test_every_loss_is_tried() -> None:
    assert {case.name for case in LOSSES} == {name for name in nn.__all__ if name.endswith("Loss")}


def test_label_smoothing_weights_and_ignored_labels_while_training() -> None:
    weight = np.array([0.5, 1.0, 2.0, 1.5], np.float32)

    def loss(out: Any, y: Any) -> Any:
        return F.cross_entropy(out, y, weight=weight, label_smoothing=0.1, ignore_index=2)

    equal_to_eager(lambda decorate: trainer(decorate, plain_network(), loss=loss), batches(5))


def test_an_embedding_is_trained() -> None:
    def make(decorate: Any) -> World:
        model = nn.Sequential(
            nn.Embedding(9, 4, padding_idx=0, rng=0), nn.Flatten(), nn.Linear(12, CLASSES, rng=1)
        )
        return trainer(decorate, model, lambda p: optim.Adam(p, lr=0.01))

    rng = np.random.default_rng(0)
    equal_to_eager(make, [(rng.integers(0, 9, (6, 3)), rng.integers(0, CLASSES, 6)) for _ in range(5)])


def test_batch_norm_of_three_axes_and_a_deep_network() -> None:
    def make(decorate: Any) -> World:
        model = nn.Sequential(
            nn.BatchNorm1d(3), nn.Linear(5, 5, rng=0), nn.GELU(), nn.LayerNorm(5), nn.Flatten(),
            nn.Linear(15, CLASSES, rng=1),
        )  # fmt: skip
        return trainer(decorate, model)

    rng = np.random.default_rng(0)
    calls = [(rng.standard_normal((6, 3, 5)).astype(np.float32), y) for _, y in batches(5)]
    equal_to_eager(make, calls)


def test_attention_written_by_a_user() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Without a bias of the keys: its gradient is 0 but for rounding, of which Adam would make steps.
            self.q, self.k, self.v = (nn.Linear(8, 8, bias=i != 1, rng=i) for i in range(3))

        def forward(self, x: Any) -> Any:
            q, k, v = (f(x).reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for f in (self.q, self.k, self.v))
            scores = q @ k.swapaxes(-1, -2) / np.sqrt(np.float32(4))
            scores = np.where(np.tri(5, dtype=bool), scores, -np.inf)
            return (F.softmax(scores, dim=-1) @ v).transpose(0, 2, 1, 3).reshape(2, 5, 8)

    def make(decorate: Any) -> World:
        model = Attention()
        return trainer(decorate, model, lambda p: optim.Adam(p, lr=0.01), F.mse_loss)

    rng = np.random.default_rng(0)
    equal_to_eager(make, [(rng.standard_normal((2, 5, 8)).astype(np.float32),) * 2 for _ in range(5)])


def test_numpy_functions_of_every_kind_in_one_function() -> None:
    def make(decorate: Any) -> World:
        @decorate
        def f(x: Any, k: Any) -> Any:
            return {
                "sort": np.sort(x, axis=1), "argmax": np.argmax(x, axis=0), "cumsum": np.cumsum(x, axis=1),
                "concatenate": np.concatenate([x, x[:1]]), "stack": np.stack([x, 2 * x]), "take": x[k],
                "pick": x[np.arange(2), k], "einsum": np.einsum("ij,kj->ik", x, x), "pad": np.pad(x, 1),
                "roll": np.roll(x, 1, axis=1), "flip": x[::-1, ::-1], "norm": np.linalg.norm(x, axis=1),
                "clip": np.clip(x, -0.5, 0.5), "where": np.where(x > 0, x, -x),
                "median": np.median(x, axis=1),
                "outer": np.outer(x[0], x[1]), "trace": np.trace(x), "std": x.std(axis=1),
                "tile": np.tile(x, 2),
                "split": np.split(x, 2), "isnan": np.isnan(x), "floor": x // 0.3, "mod": x % 0.3,
                "abs": abs(x),
                "nanmax": np.nanmax(x, axis=1), "nanmean": np.nanmean(x), "nansum": np.nansum(x, axis=0),
                "power": np.abs(x) ** 1.7, "hypot": np.hypot(x, 1), "any": np.any(x > 1),
                "equal": x == x.max(),
            }  # fmt: skip

        return World(f)

    rng = np.random.default_rng(0)
    equal_to_eager(make, [(rng.standard_normal((2, 3)), np.array([i % 2, 1])) for i in range(4)])


# ---- derivatives of every kind ---------------------------------------------------------------------------


def energy(x: Any, y: Any = 2.0) -> Any:
    return np.sum(np.tanh(x) * x * y + np.exp(-x * x))


X, V = np.linspace(-1.5, 1.5, 6), np.cos(np.arange(6.0))

TRANSFORMS = {
    "grad": lambda f: grad(f),
    "value_and_grad": lambda f: value_and_grad(f),
    "grad of grad": lambda f: grad(lambda x: np.sum(grad(f)(x) * V)),
    "jvp": lambda f: lambda x: jvp(f, (x,), (V,)),
    "vjp": lambda f: lambda x: vjp(f, x)[1](np.array(3.0)),
    "hvp": lambda f: lambda x: hvp(f, (x,), (V,)),
    "jacobian": lambda f: jacobian(lambda x: np.sin(x) * f(x)),
    "hessian": lambda f: hessian(f),
    "hessian of a gradient": lambda f: hessian(lambda x: np.sum(grad(f)(x) ** 2)),
    "grad through checkpoint": lambda f: grad(checkpoint(f)),
}


@pytest.mark.parametrize("kind", TRANSFORMS)
@pytest.mark.parametrize("where", ["outside", "inside", "both"])
def test_transforms_of_jit_and_jit_of_transforms(kind: str, where: str) -> None:
    try:
        expected = [TRANSFORMS[kind](energy)(x) for x in (X, X + 0.1, X)]
    except TypeError as error:
        pytest.fail(f"the test is wrong: {error}")
    inner = jit(energy) if where in ("inside", "both") else energy
    outer = TRANSFORMS[kind](inner)
    outer = jit(outer) if where in ("outside", "both") else outer
    for x, wanted in zip((X, X + 0.1, X), expected, strict=True):
        assert_close(wanted, outer(x), kind, 1e-10)


def test_a_jitted_function_is_differentiated_by_several_arguments_and_trees() -> None:
    def f(tree: Any, x: Any) -> Any:
        return {"loss": np.mean((tree["w"] @ x + tree["b"][0]) ** 2), "sum": x.sum()}

    tree = {"w": np.arange(6.0).reshape(2, 3), "b": [np.ones(2)]}

    def loss(tree: Any, x: Any) -> Any:
        return f(tree, x)["loss"]

    wanted = value_and_grad(loss, (0, 1))(tree, X[:3])
    for other in (value_and_grad(jit(loss), (0, 1)), jit(value_and_grad(loss, (0, 1)))):
        for _ in range(2):
            assert_close(wanted, other(tree, X[:3]), "trees", 1e-12)


def test_jit_in_jit_and_jit_of_jit() -> None:
    inner = jit(lambda x: np.tanh(x) * 2)
    outer = jit(lambda x: inner(x) + inner(x[:3]).sum())
    twice = jit(jit(lambda x: x * 3))
    for x in (X, X + 1, X[::2]):
        np.testing.assert_allclose(
            np.asarray(outer(x)), np.tanh(x) * 2 + (np.tanh(x[:3]) * 2).sum(), rtol=1e-12
        )
        np.testing.assert_array_equal(np.asarray(twice(x)), x * 3)
    assert len(outer.compilations) == 2


def test_a_jitted_layer_inside_a_jitted_step() -> None:
    def make(decorate: Any) -> World:
        model = network(dropout=0.2)
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        forward = decorate(lambda x: model(x))

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    equal_to_eager(make, batches(5))


def test_a_gradient_penalty_with_create_graph() -> None:
    def make(decorate: Any) -> World:
        model = nn.Sequential(nn.Linear(FEATURES, 6, rng=0), nn.Tanh(), nn.Linear(6, CLASSES, rng=1))
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            given = Tensor(x, requires_grad=True)
            loss = F.cross_entropy(model(given), y)
            loss.backward(create_graph=True)
            penalty = (given.grad**2).sum()
            optimizer.zero_grad()
            total = loss + penalty
            total.backward()
            optimizer.step()
            return total, penalty

        return World(step, model, optimizer)

    equal_to_eager(make, batches(5))


def test_second_derivatives_inside_a_step_by_transforms() -> None:
    def make(decorate: Any) -> World:
        model = plain_network(dtype=np.float64)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            slope = grad(lambda given: F.cross_entropy(model(given), y))(x)
            loss = F.cross_entropy(model(x), y) + (slope**2).sum()
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    equal_to_eager(make, batches(4, dtype=np.float64), rtol=1e-11)


def test_checkpoints_in_a_step() -> None:
    def make(decorate: Any) -> World:
        model = network(dropout=0.3, momentum=None)
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        first, rest = nn.Sequential(*list(model)[:3]), nn.Sequential(*list(model)[3:])

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(checkpoint(rest)(checkpoint(first)(x)), y)
            loss.backward()
            optimizer.step()
            return loss

        return World(step, model, optimizer)

    equal_to_eager(make, batches(5))


def test_functional_call_and_weights_as_arguments() -> None:
    model = plain_network(dtype=np.float64)
    weights = {name: p.data.copy() for name, p in model.named_parameters()}
    x, y = batches(1, dtype=np.float64)[0]

    def update(weights: Any, x: Any, y: Any) -> Any:
        loss, grads = value_and_grad(lambda w: F.cross_entropy(functional_call(model, w, x), y))(weights)
        return loss, {name: weights[name] - 0.1 * grads[name] for name in weights}

    jitted, other = jit(update), weights
    for _ in range(4):
        expected, found = update(weights, x, y), jitted(other, x, y)
        assert_close(expected, found, "update", 1e-12)
        weights, other = expected[1], found[1]
    assert len(jitted.compilations) == 1


def test_backward_twice_in_one_step_and_retain_graph() -> None:
    def make(decorate: Any) -> World:
        model = plain_network()

        @decorate
        def step(x: Any, y: Any) -> Any:
            model.zero_grad()
            out = model(x)
            F.cross_entropy(out, y).backward(retain_graph=True)
            (out**2).mean().backward()
            return out

        return World(step, model)

    equal_to_eager(make, batches(4))


def test_a_detached_part_and_no_grad_inside_a_step() -> None:
    def make(decorate: Any) -> World:
        model, teacher = plain_network(), plain_network()
        teacher[0].reset_parameters(9)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            with no_grad():
                target = F.softmax(teacher(x), dim=1)
            out = model(x)
            loss = F.cross_entropy(out, target) + (out.detach() * out).mean()
            loss.backward()
            optimizer.step()
            return loss, target

        return World(step, model, optimizer, holders={"teacher": teacher})

    equal_to_eager(make, batches(5))


# ---- inference -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
def test_a_model_itself_is_jitted_for_inference(train: bool) -> None:
    def make(decorate: Any) -> World:
        model = network(dropout=0.3).train(train)
        forward = decorate(model)

        def predict(x: Any) -> Any:
            with no_grad():
                out = forward(x)
                return out, out.requires_grad

        return World(predict, model)

    equal_to_eager(make, [(x,) for x, _ in batches(5)], compilations=None)


def test_no_grad_as_a_decorator_on_either_side_and_predictions() -> None:
    def make(decorate: Any) -> World:
        model = network().eval()
        inside = decorate(no_grad()(lambda x: np.argmax(model(x), axis=1)))
        outside = no_grad()(decorate(lambda x, y: (np.argmax(model(x), axis=1) == y).mean()))
        return World(lambda x, y: (inside(x), outside(x, y)), model)

    equal_to_eager(make, batches(4), compilations=None)


def test_a_function_without_arguments_and_one_without_a_result() -> None:
    def make(decorate: Any) -> World:
        model = nn.Linear(3, 3, rng=0)
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        @decorate
        def decay() -> None:
            optimizer.zero_grad()
            (model.weight**2).sum().backward()
            optimizer.step()

        return World(decay, model, optimizer)

    equal_to_eager(make, [()] * 4)


def test_results_that_are_no_arrays_are_returned_as_they_are() -> None:
    def make(decorate: Any) -> World:
        return World(decorate(lambda x: (x * 2, None, "text", 3, {"shape": x.shape, "empty": []})))

    equal_to_eager(make, [(x,) for x, _ in batches(3)])


def test_a_function_whose_source_cannot_be_read_and_a_lambda_and_a_partial() -> None:
    from functools import partial

    space: dict[str, Any] = {}
    exec("def f(x):\n    return x * 2 + 1\n", space)

    class Call:
        def __call__(self, x: Any) -> Any:
            return x - 1

    for f in (space["f"], lambda x: x * x, partial(lambda c, x: x * c, 3), Call(), Call().__call__, np.exp):
        jitted = jit(f)
        for x in (X, X + 1):
            assert_close(f(x), jitted(x), "result", 1e-13)


@pytest.mark.parametrize("order", [1, 2])
def test_gradcheck_takes_a_jitted_function(order: int) -> None:
    for f in (
        energy,
        lambda x: np.exp(x) * np.tanh(x),
        lambda x: F.log_softmax(np.log(2 + np.cos(x)), dim=0),
    ):
        gradcheck(jit(f), X, order=order)
        gradcheck(jit(grad(lambda x, f=f: np.sum(f(x) * V))), X, order=order)


ON_ARRAYS = {
    "dtype of a sum": lambda x: np.sum(x, dtype=np.float32),
    "where of a sum": lambda x: np.sum(x, where=x > 1),
    "out": lambda x: np.add(x, 1, out=np.empty((2, 3))),
    "nanmax": lambda x: np.nanmax(x, axis=1),
    "flat": lambda x: x.flat[0] * x,
    "fft": lambda x: np.abs(np.fft.fft(x)),
    "complex numbers": lambda x: (x * 1j + 1).imag,
    "unique": lambda x: np.unique(x),
    "isinstance": lambda x: x * 2 if isinstance(x, np.ndarray) else x,
    "view": lambda x: x.view(np.int64) + 1,
    "interp": lambda x: np.interp(x, [0.0, 5.0], [1.0, 2.0]),
    "array": lambda x: np.array([x[0], x[1]]),
    "asarray": lambda x: np.asarray(x) * 2,
    "ascontiguousarray": lambda x: np.ascontiguousarray(x.T),
    "copy": lambda x: x.copy() + np.copy(x),
    "iteration": lambda x: [row * i for i, row in enumerate(x)],
    "unpacking": lambda x: (lambda a, b: a * b)(*x),
    "zeros_like": lambda x: np.zeros_like(x) + np.ones(x.shape),
    "nbytes": lambda x: x * x.nbytes,
    "bincount": lambda x: np.bincount(x.astype(int).ravel(), minlength=8),
    "in-place": lambda x: np.multiply(x, 2, out=x),
}


@pytest.mark.filterwarnings("ignore:<lambda> runs as it is")
@pytest.mark.parametrize("kind", ON_ARRAYS)
def test_what_arrays_do_and_tensors_do_not_is_eagers_or_refused_at_its_line(kind: str) -> None:
    arrays = [np.arange(6.0).reshape(2, 3) + i for i in range(3)]
    equal_or_refused(lambda decorate: World(decorate(ON_ARRAYS[kind])), [(x,) for x in arrays])
