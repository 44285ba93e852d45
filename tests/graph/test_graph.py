"""The graph's own text: JSON, line by line, as it is kept under version control."""

import json

import numpy as np

from tinygrad_mnist import Tensor, graph, nn

GOLDEN = """\
{
"format": "tinygrad_mnist graph 1",
"clusters": [
  {"id": "model", "name": "model", "kind": "Linear", "detail": "2, 1"}
],
"nodes": [
  {"id": "x", "kind": "input", "name": "x", "label": "x", "cluster": "", "values": [{"shape": [1, 2], \
"dtype": "float32", "bytes": 8, "statistics": {"min": 1.0, "mean": 2.0, "std": 1.0, "max": 3.0, \
"norm": 3.162}}]},
"""


def recorded() -> graph.Graph:
    model = nn.Linear(2, 1, rng=0)
    model.weight.data = np.array([[2.0, -1.0]], np.float32)
    x = np.array([[1.0, 3.0]], np.float32)
    with graph.record(model, {"x": x}) as tape:
        np.sum(model(x)).backward()
    return tape.graph()


def test_json_is_what_it_was() -> None:
    assert recorded().json().startswith(GOLDEN)


def test_json_has_a_line_a_node_edge_and_cluster() -> None:
    found = recorded()
    rows = [line for line in found.json().splitlines() if line.startswith("  {")]
    assert len(rows) == len(found.nodes) + len(found.edges) + len(found.clusters)
    assert all(isinstance(json.loads(row.rstrip(",")), dict) for row in rows)


def test_a_changed_value_changes_the_lines_that_hold_it() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    before = np.sum(np.exp(x) * 2).graph().json().splitlines()
    after = np.sum(np.exp(x) * 3).graph().json().splitlines()
    changed = [a for a, b in zip(before, after, strict=True) if a != b]
    assert [json.loads(line.strip().rstrip(","))["id"] for line in changed] == ["multiply#1", "sum#1"]
