"""A profile has the structure of the model, finds what is slow, accounts for memory, and changes nothing."""

import time
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, graph, nn
from tinygrad_mnist.engine.op import Op, Sample

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 6), dtype=np.float32)
Y = np.array([0, 1, 2, 1, 0, 2, 2, 1])


def model_of(*more: nn.Module) -> nn.Sequential:
    rng = np.random.default_rng(0)
    layers = [nn.Linear(6, 4, rng=rng), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5, rng=rng)]
    return nn.Sequential(*layers, *more, nn.Linear(4, 3, rng=rng))


def untimed(found: graph.Graph) -> list[tuple[Any, ...]]:
    return [(node.id, node.values, node.arguments, node.saved_bytes) for node in found.nodes]


def test_a_profile_is_the_graph_of_a_step_with_times() -> None:
    measured = graph.profile(model_of(), X, Y, loss=nn.CrossEntropyLoss(), repeats=3)
    with graph.record() as tape:
        nn.CrossEntropyLoss()(model_of()(X), Y).backward()
    assert untimed(measured) == untimed(tape.graph())
    assert all(node.forward_seconds > 0 for node in measured.operations if node.forward_seconds is not None)
    assert all(node.forward_seconds is not None for node in measured.operations)
    assert all((node.backward_seconds is not None) == node.requires_grad for node in measured.operations)


def test_the_loss_is_cross_entropy_where_none_is_given() -> None:
    measured = graph.profile(model_of(), X, Y, repeats=1)
    assert [node.name for node in measured.operations][-2:] == ["cross_entropy", "mean"]
    expected = nn.functional.cross_entropy(model_of()(X), Y).item()
    statistics = measured.operations[-1].value.statistics
    assert statistics is not None
    assert statistics.mean == pytest.approx(expected, rel=1e-3)


def test_arrays_take_no_time() -> None:
    measured = graph.profile(model_of(), X, Y, repeats=1)
    arrays = [node for node in measured.nodes if node.kind != "operation"]
    assert {(node.forward_seconds, node.backward_bytes) for node in arrays} == {(None, None)}


def test_products_have_counts_of_operations() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, rng=0), nn.ReLU(), nn.Conv2d(4, 6, (1, 3), groups=2, bias=False, rng=0),
        nn.Flatten(), nn.Linear(6 * 4 * 2, 3, rng=0),
    )  # fmt: skip
    measured = graph.profile(model, np.ones((5, 1, 9, 9), np.float32), np.zeros(5, int), repeats=1)
    found = {node.id.split("/")[1]: node for node in measured.operations if node.forward_flops is not None}
    first, second, last = 2 * 5 * 4 * 16 * 9, 2 * 5 * 6 * 8 * 2 * 3, 2 * 5 * 3 * 48
    # the images of the first layer require no gradient
    counts = {name: (node.forward_flops, node.backward_flops) for name, node in found.items()}
    assert counts == {"0": (first, first), "2": (second, 2 * second), "4": (last, 2 * last)}
    assert "FLOP" in measured.text("profile", width=140)
    assert graph.Graph.from_json(measured.json()) == measured


def test_without_targets_only_the_forward_pass_is_measured() -> None:
    measured = graph.profile(model_of(), X, repeats=1)
    assert measured.operations[-1].id == "model/4/linear#1"
    assert all(node.backward_seconds is None for node in measured.operations)
    assert all(node.forward_seconds is not None for node in measured.operations)
    assert not measured.has_gradients


def test_a_frozen_model_is_measured_forward() -> None:
    measured = graph.profile(model_of().requires_grad_(False), X, Y, repeats=1)
    assert measured.operations[-1].name == "mean"
    assert all(node.backward_seconds is None for node in measured.operations)


def test_the_caller_s_model_stays_as_it_is() -> None:
    model = model_of()
    nn.CrossEntropyLoss()(model(X), Y).backward()
    before = deepcopy(model)
    x = Tensor(X, requires_grad=True)
    graph.profile(model, x, Y, repeats=2)
    assert x.grad is None
    for name, values in before.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], values, err_msg=name)
    for one, other in zip(model.parameters(), before.parameters(), strict=True):
        assert one.grad is not None
        np.testing.assert_array_equal(one.grad.data, other.grad.data)
    np.testing.assert_array_equal(model(X).data, before(X).data)  # its dropout draws the same numbers


def test_a_loss_of_one_s_own_shares_the_copy_s_parameters() -> None:
    model = nn.Linear(6, 2, rng=0)

    class Penalty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, output: Any, y: Any) -> Any:
            return np.mean((output - y) ** 2) + np.sum(self.inner.weight**2)

    measured = graph.profile(model, X, np.zeros((8, 2), np.float32), loss=Penalty(), repeats=1)
    assert len(measured.parameters) == 2


def slow(label: str, forward: float, backward: float) -> nn.Module:
    def run(x: Any) -> Any:
        time.sleep(forward)
        return x * 1

    def rule(g: Any, out: Any, x: Any) -> Any:
        time.sleep(backward)
        return g

    op = Op(f"slow {label}", run, "elementwise", (rule,), samples=(Sample(((2,),)),))

    class Slow(nn.Module):
        def forward(self, x: Any) -> Any:
            return op(x)

    return Slow()


def test_a_slow_operation_takes_the_longest() -> None:
    measured = graph.profile(model_of(slow("a", 0.03, 0.0), slow("b", 0.0, 0.03)), X, Y, repeats=3, warmup=1)
    by_forward = max(measured.operations, key=lambda node: node.forward_seconds or 0)
    by_backward = max(measured.operations, key=lambda node: node.backward_seconds or 0)
    assert by_forward.id == "model/4/slow a#1"
    assert by_backward.id == "model/5/slow b#1"
    assert (by_forward.forward_seconds or 0) >= 0.03
    assert (by_backward.backward_seconds or 0) >= 0.03


def test_the_time_of_python_before_an_operation_belongs_to_it() -> None:
    def model(x: Any) -> Any:
        y = np.exp(x)
        time.sleep(0.03)
        return y * 2

    measured = graph.profile(model, Tensor(X), repeats=3)
    exp, multiply = (node.forward_seconds or 0 for node in measured.operations)
    assert exp < 0.03 <= multiply


def test_the_median_is_of_the_runs_after_the_warm_up() -> None:
    runs = []

    def model(x: Any) -> Any:
        runs.append(None)
        time.sleep(0.05 if len(runs) in (1, 2, 4) else 0.0)
        return np.exp(x)

    measured = graph.profile(model, Tensor(X), repeats=3, warmup=2)
    assert len(runs) == 2 + 3 + 1  # the last is recorded with its values
    assert (measured.operations[0].forward_seconds or 0) < 0.05


def test_memory_grows_forward_by_what_is_saved() -> None:
    measured = graph.profile(model_of(), X, Y, repeats=1)
    kept = [node.forward_bytes for node in measured.operations]
    assert kept == np.cumsum([node.saved_bytes for node in measured.operations]).tolist()


def test_memory_backward_is_what_is_not_yet_freed_and_the_gradients() -> None:
    n = 1000
    w = Tensor(np.ones(n), requires_grad=True)

    def model(x: Any) -> Any:
        return np.sum(np.exp(np.exp(w * x)))

    measured = graph.profile(model, np.ones(n), 0, loss=lambda output, y: output, repeats=1)
    multiply, first, second, total = measured.operations
    assert [node.forward_bytes for node in measured.operations] == [8 * n, 16 * n, 24 * n, 24 * n + 8]
    # The sum passes its one number on as a view of n, and nothing is freed yet.
    assert total.backward_bytes == 24 * n + 8 + 8
    assert second.backward_bytes == 24 * n + 8 * n + 8
    assert first.backward_bytes == 16 * n + 16 * n
    assert multiply.backward_bytes == 8 * n + 16 * n
    assert graph.peak(measured) == graph.Peak(second.id, True, 32 * n + 8)


def test_the_memory_is_the_same_in_each_profile() -> None:
    one, other = (graph.profile(model_of(), X, Y, repeats=1) for _ in range(2))
    assert [(node.forward_bytes, node.backward_bytes) for node in one.nodes] == [
        (node.forward_bytes, node.backward_bytes) for node in other.nodes
    ]


def test_a_graph_without_a_profile_has_no_peak() -> None:
    assert graph.peak(model_of().graph(X)) is None


def test_a_profile_survives_json() -> None:
    measured = graph.profile(model_of(), X, Y, repeats=1)
    assert graph.Graph.from_json(measured.json()) == measured


def test_a_checkpointed_function_is_measured_as_the_tape_sees_it() -> None:
    layer = nn.Linear(6, 3, rng=0)
    inside = checkpoint(lambda x: np.tanh(layer(x)))
    measured = graph.profile(lambda x: np.exp(inside(x)), X, Y, repeats=1)
    assert [node.name for node in measured.operations][-3:] == ["exp", "cross_entropy", "mean"]
    assert all((node.backward_seconds is not None) == node.requires_grad for node in measured.operations)


def test_a_model_that_does_other_things_each_time_is_an_error() -> None:
    runs = []

    def model(x: Any) -> Any:
        runs.append(None)
        return np.exp(x) if len(runs) % 2 else np.sin(x)

    with pytest.raises(RuntimeError, match=r"\(number 1 was '\w+' in one and '\w+' in another\)"):
        graph.profile(model, Tensor(X), repeats=2)


def test_a_model_that_grows_is_an_error() -> None:
    runs = []

    def model(x: Any) -> Any:
        runs.append(None)
        for _ in runs:
            x = np.exp(x)
        return x

    with pytest.raises(RuntimeError, match="one had 3 operations and another 1"):
        graph.profile(model, Tensor(X * 0), repeats=2, warmup=0)


def test_a_loss_without_targets_is_an_error() -> None:
    with pytest.raises(ValueError, match="without y"):
        graph.profile(model_of(), X, loss=nn.CrossEntropyLoss())


def test_a_loss_that_is_no_scalar_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"shape \(8,\); expected a scalar"):
        graph.profile(model_of(), X, Y, loss=nn.CrossEntropyLoss(reduction="none"))


@pytest.mark.parametrize("counts", [{"repeats": 0}, {"warmup": -1}])
def test_no_run_at_all_is_an_error(counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected at least 1 run"):
        graph.profile(model_of(), X, Y, **counts)


def test_what_cannot_be_called_is_an_error() -> None:
    with pytest.raises(TypeError, match="profile was given a int; expected a module or a function"):
        graph.profile(3, X)  # type: ignore[arg-type]
