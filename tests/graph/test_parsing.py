"""Damaged graphs in JSON: what is wrong is said at once, and what is read can be drawn."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.graph.damaged import damaged, seeds
from tinygrad_mnist.graph import Graph
from tinygrad_mnist.graph.data import FORMAT
from tinygrad_mnist.graph.views import VIEWS

EXPECTED = "the backward view needs a backward pass|the profile view needs"
"""Errors of a view that shows what a graph does not have."""


def draw_all(found: Graph, *formats: str) -> None:
    for view in VIEWS:
        for name in formats:
            try:
                getattr(found, name)(view).encode()
            except ValueError as error:
                assert re.search(EXPECTED, str(error)), error  # noqa: PT017


@pytest.mark.parametrize("which", range(len(seeds())))
def test_what_was_written_is_read_again(which: int) -> None:
    found = Graph.from_json(seeds()[which])
    assert found.json() == seeds()[which]
    draw_all(found, "text", "dot", "mermaid")


@settings(
    max_examples=10 * settings().max_examples,  # 400 in CI
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(damaged())
def test_a_damaged_graph_is_refused_at_once_or_can_be_drawn(text: str) -> None:
    try:
        found = Graph.from_json(text)
    except ValueError as error:
        assert re.match("this text is no graph in JSON: [^\n]+$", str(error)), error  # noqa: PT017
        assert len(str(error)) < 400  # noqa: PT017
        return
    assert Graph.from_json(found.json()) == found
    draw_all(found, "text", "dot", "mermaid")


def changed(change: Callable[[dict[str, Any]], Any], which: int = 0) -> str:
    """Text of a graph after a change to its data; what the change returns, if anything, takes its place."""
    data = json.loads(seeds()[which])
    made = change(data)
    return json.dumps(data if made is None else made)


def put(*place: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in place[:-1]:
            data = data[key]
        data[place[-1]] = to

    return change


def remove(*place: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in place[:-1]:
            data = data[key]
        del data[place[-1]]

    return change


def duplicate(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda data: data[name].append(data[name][0])


DAMAGE: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda data: [data], "it holds list; expected an object"),
    (lambda data: 3, "it holds 3; expected an object"),
    (
        put("format", to="tinygrad_mnist graph 2"),
        f"its 'format' is 'tinygrad_mnist graph 2'; expected '{FORMAT}'",
    ),
    (remove("format"), "its 'format' is null; expected"),
    (remove("edges"), "it has no 'edges'"),
    (put("extra", to=1), "it has 'extra', which is not known"),
    (put("nodes", to={}), "nodes is dict; expected a list"),
    (put("nodes", to=[]), "it has no operation"),
    (put("nodes", 0, to=None), r"nodes\[0\] is null; expected an object"),
    (remove("nodes", 1, "values"), r"nodes\[1\] has no 'values'"),
    (
        put("nodes", 1, "color", to="red"),
        r"nodes\[1\] has 'color', which is not known; expected some of \['id',",
    ),
    (put("nodes", 1, "values", to=[]), r"nodes\[1\] has no value; expected at least one"),
    (put("nodes", 1, "kind", to="weight"), r"nodes\[1\] is of kind 'weight'; expected one of \('operation',"),
    (put("nodes", 1, "requires_grad", to=1), r"nodes\[1\].requires_grad is 1; expected true or false"),
    (put("nodes", 1, "label", to=7), r"nodes\[1\].label is 7; expected a text"),
    (put("nodes", 1, "label", to="\ud800"), r"nodes\[1\].label is '\\ud800', which holds half a character"),
    (put("nodes", 1, "cluster", to="model/9"), r"nodes\[1\] is in cluster 'model/9', which is not there"),
    (put("nodes", 1, "id", to=""), r"nodes\[1\] has no id"),
    (
        put("nodes", 1, "id", to="else"),
        r"nodes\[1\] has the id 'else'; expected one that begins with its cluster",
    ),
    (
        put("nodes", 0, "values", 0, "shape", to=[2, -3]),
        r"values\[0\].shape\[1\] is -3; expected a whole number",
    ),
    (
        put("nodes", 0, "values", 0, "shape", to=[2.0]),
        r"values\[0\].shape\[0\] is 2.0; expected a whole number",
    ),
    (
        put("nodes", 0, "values", 0, "shape", to=[True]),
        r"values\[0\].shape\[0\] is true; expected a whole number",
    ),
    (put("nodes", 0, "values", 0, "shape", to=[1] * 65), r"values\[0\] has 65 axes; expected at most 64"),
    (
        put("nodes", 0, "values", 0, "shape", to=[2**40] * 2),
        r"values\[0\] has more entries than an array can",
    ),
    (put("nodes", 0, "values", 0, "bytes", to=10**400), r"values\[0\].bytes is a number of many digits"),
    (put("nodes", 0, "values", 0, "statistics", "min", to=10**400), "statistics.min is too large a number"),
    (
        put("nodes", 0, "values", 0, "statistics", "min", to=float("inf")),
        "it holds Infinity; expected finite",
    ),
    (
        put("nodes", 0, "values", 0, "statistics", "nan", to=7),
        "counts 7 entries that are not finite; the array has 6",
    ),
    (put("nodes", 0, "values", 0, "statistics", "std", to=-1), "statistics.std is negative"),
    (duplicate("nodes"), r"nodes\[\d+\] has the id .* of a node before it"),
    (duplicate("clusters"), r"clusters\[\d+\] has the id 'model' of a cluster before it"),
    (duplicate("edges"), r"edges\[\d+\] is a second edge to argument 0 of"),
    (duplicate("outputs"), "outputs names an operation twice"),
    (put("clusters", 0, "parent", to="model"), r"clusters\[0\] is inside 'model'; no cluster before it is"),
    (
        put("clusters", 1, "id", to="other"),
        r"clusters\[1\] has the id 'other'; expected one that begins with",
    ),
    (put("clusters", 1, "call", to=0), r"clusters\[1\] is call 0; expected 1"),
    (put("edges", 0, "source", to="nothing"), r"edges\[0\] comes from 'nothing', which is not there"),
    (
        put("edges", 0, "target", to="model"),
        r"edges\[0\] goes to 'model', which is no operation that is there",
    ),
    (put("edges", 0, "output", to=1), r"edges\[0\] takes output 1 of .*, which has 1"),
    (put("edges", 0, "argument", to=-1), r"edges\[0\].argument is -1"),
    (lambda data: put("edges", 0, "source", to=data["edges"][0]["target"])(data), "does not come after it"),
    (lambda data: data["nodes"].reverse(), "which does not come after it|of a node before it"),
    (put("outputs", to=["nothing"]), r"outputs\[0\] is 'nothing', which is no operation that is there"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGE, ids=range(len(DAMAGE)))
def test_what_is_wrong_is_said_with_its_place(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"this text is no graph in JSON: .*({message})"):
        Graph.from_json(changed(change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "nested too deeply"),
        ('{"format": ' * 100_000, "nested too deeply"),
        ('{"format": 1, "format": 2}', "an object has 'format' twice"),
        ("9" * 5000, "limit"),
        ("\ufeff{}", "BOM"),
        (b"{}", "a bytes was given; expected a text"),
        (None, "a NoneType was given"),
    ],
)
def test_what_is_no_json_is_refused(text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"this text is no graph in JSON: .*{message}"):
        Graph.from_json(text)


def test_a_field_that_has_a_default_may_be_missing_and_a_whole_number_serves_as_a_float() -> None:
    value = {"shape": [], "dtype": "float64", "bytes": 8, "statistics": {"min": 3}}
    node = {"id": "a", "kind": "operation", "name": "a", "label": "a", "cluster": "", "values": [value]}
    data = {"format": FORMAT, "nodes": [node], "edges": [], "clusters": [], "outputs": []}
    found = Graph.from_json(json.dumps(data))
    assert found.nodes[0].value.statistics.min == 3.0  # type: ignore[union-attr]
    draw_all(found, "text", "dot", "mermaid", "svg")


def nested(levels: int) -> str:
    """A graph of one operation inside so many clusters."""
    ids = ["/".join(["m"] * (level + 1)) for level in range(levels)]
    clusters = [{"id": id, "name": "m", "parent": id.removesuffix("m").rstrip("/")} for id in ids]
    value = {"shape": [], "dtype": "float64", "bytes": 8}
    node = {"kind": "operation", "name": "a", "label": "a", "cluster": ids[-1], "values": [value]}
    node["id"] = f"{ids[-1]}/a#1"
    return json.dumps({"format": FORMAT, "nodes": [node], "edges": [], "clusters": clusters, "outputs": []})


def test_clusters_may_be_nested_as_deeply_as_they_can_be_drawn() -> None:
    found = Graph.from_json(nested(400))
    for write in (found.text, found.dot, found.mermaid):
        write("operations", depth=400)
    with pytest.raises(ValueError, match="a cluster has 400 around it; expected less than 400"):
        Graph.from_json(nested(401))
