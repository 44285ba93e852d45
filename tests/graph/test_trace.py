"""Reading a plain tape: without a recorder, without recursion, and with clear words where there is none."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, graph, nn
from tinygrad_mnist.graph.data import Statistics

X = np.random.default_rng(1).standard_normal((5, 6), dtype=np.float32)


def model_of() -> nn.Sequential:
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(6, 4, rng=rng), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3, rng=rng))


def test_modules_are_known_by_the_parameters_that_they_use() -> None:
    model = model_of()
    found = graph.trace(np.sum(model(X)), model)
    assert [node.id for node in found.operations] == [
        "model/linear_batch_norm_relu#1", "model/3/linear#1", "sum#1",
    ]  # fmt: skip
    assert {cluster.id: cluster.kind for cluster in found.clusters} == {
        "model": "Sequential", "model/3": "Linear",
    }  # fmt: skip


def test_without_the_model_only_classes_are_missing() -> None:
    found = np.sum(model_of()(X)).graph()
    assert [cluster.kind for cluster in found.clusters] == ["", ""]
    assert [node.id for node in found.parameters][4:] == ["model/3/weight", "model/3/bias"]


def test_the_model_is_not_run_again() -> None:
    model = model_of()
    loss = np.sum(model(X))
    before = [buffer.copy() for buffer in model.buffers()]
    graph.trace(loss, model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.buffers(), strict=True))


def test_the_tape_can_still_be_walked() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    loss = np.sum(x * x)
    loss.graph()
    loss.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 4.0]


def test_gradients_that_parameters_hold_are_shown() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    loss = np.sum(x * x)
    loss.backward(retain_graph=True)
    assert loss.graph(names={"x": x}).by_id["x"].value.gradient == Statistics.of(np.array([2.0, 4.0]))


def test_several_outputs_share_what_they_share() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = np.exp(x)
    found = graph.trace([np.sin(y), np.cos(y)], names={"x": x})
    assert [node.id for node in found.nodes] == ["x", "exp#1", "sin#1", "cos#1"]
    assert found.outputs == ("sin#1", "cos#1")


def test_results_of_one_operation_with_several() -> None:
    a = Tensor(np.eye(2) * 2, requires_grad=True)
    q, r = np.linalg.qr(a)
    found = graph.trace(np.sum(r) * np.sum(q), names={"a": a})
    assert [(edge.source, edge.output) for edge in found.edges if edge.source == "qr#1"] == [
        ("qr#1", 1),
        ("qr#1", 0),
    ]
    assert len(found.by_id["qr#1"].values) == 2


def test_two_models_with_the_same_names_stay_apart() -> None:
    found = graph.trace(np.sum(model_of()(X)) + np.sum(model_of()(X)))
    assert len({node.id for node in found.nodes}) == len(found.nodes)
    assert len(found.parameters) == 12


def test_a_graph_comes_back_from_its_json() -> None:
    model = model_of()
    with graph.record() as tape:
        np.sum(model(X)).backward()
    found = tape.graph()
    assert graph.Graph.from_json(found.json()) == found


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "other"}', '{"format": "tinygrad_mnist graph 1", "nodes": [{}]}']
)
def test_other_text_is_no_graph(text: str) -> None:
    with pytest.raises(ValueError, match="this text is no graph in JSON"):
        graph.Graph.from_json(text)


def chain(length: int) -> Tensor:
    x = Tensor(np.ones(3), requires_grad=True)
    for _ in range(length):
        x = x + 1.0
    return x


def test_a_deep_chain_needs_no_recursion() -> None:
    found = chain(20_000).graph()
    assert (len(found.nodes), len(found.edges)) == (20_001, 20_000)


@pytest.mark.parametrize("bad", [np.ones(3), 3.0, "loss", None])
def test_something_that_is_no_tensor(bad: Any) -> None:
    with pytest.raises(
        TypeError, match=f"the graph of a {type(bad).__name__} was asked for; expected a Tensor"
    ):
        graph.trace(bad)


def test_nothing() -> None:
    with pytest.raises(ValueError, match="the graph of no Tensor at all"):
        graph.trace([])


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_tensor_without_a_tape(requires_grad: bool) -> None:
    with pytest.raises(ValueError, match=r"a Tensor of shape \(2,\) has no tape.*graph\.record\(\)"):
        Tensor(np.ones(2), requires_grad=requires_grad).graph()


def test_a_freed_tape() -> None:
    loss = np.sum(Tensor(np.ones(2), requires_grad=True) * 2)
    loss.backward()
    with pytest.raises(RuntimeError, match=r"the tape was freed by backward\(\) at 'sum'; draw before it"):
        loss.graph()
