"""A difference says what was added, removed and changed, and nothing else."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.strategies import recordings
from tinygrad_mnist import Tensor, graph, nn
from tinygrad_mnist.graph.diff import aligned
from tinygrad_mnist.graph.diff_drawing import union
from tinygrad_mnist.graph.drawing import Drawing

NOTHING = graph.Graph((), (), (), ())
X = np.random.default_rng(0).standard_normal((8, 784))
Y = np.arange(8)


def model(
    widths: tuple[int, ...] = (64, 32, 16),
    activation: type[nn.Module] = nn.ReLU,
    extra: tuple[int, nn.Module] | None = None,
    dtype: Any = np.float32,
    seed: int = 0,
) -> nn.Sequential:
    """784-64-32-16-10 with batch norm, or something like it."""
    rng = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    n = 784
    for width in widths:
        layers += [
            nn.Linear(n, width, rng=rng, dtype=dtype),
            nn.BatchNorm1d(width, dtype=dtype),
            activation(),
        ]
        n = width
    if extra is not None:
        layers.insert(*extra)
    return nn.Sequential(*layers, nn.Linear(n, 10, rng=rng, dtype=dtype))


def recorded(network: nn.Module, dtype: Any = np.float32, batch: int = 8) -> graph.Graph:
    with graph.record(network) as tape:
        nn.CrossEntropyLoss()(network(X[:batch].astype(dtype)), Y[:batch]).backward()
    return tape.graph()


BASE = recorded(model())


def told(found: graph.Difference) -> dict[str, Any]:
    """What there is of a difference, by ids."""
    parts = {
        "added": [node.id for node in found.added],
        "removed": [node.id for node in found.removed],
        "changed": [change.new for change in found.changed],
        "modules added": [cluster.id for cluster in found.modules_added],
        "modules removed": [cluster.id for cluster in found.modules_removed],
        "modules changed": [change.new for change in found.modules_changed],
        "renamed": list(found.renamed),
    }
    return {what: ids for what, ids in parts.items() if ids}


def test_equal_graphs_do_not_differ() -> None:
    found = graph.diff(BASE, recorded(model()), statistics=0.0)
    assert not found
    assert str(found) == "no difference"


def test_an_inserted_dropout_is_all_that_was_added() -> None:
    found = graph.diff(BASE, recorded(model(extra=(3, nn.Dropout(0.5, rng=0)))))
    assert told(found) == {
        "added": ["constant#1", "model/3/multiply#1"],
        "modules added": ["model/3"],
        "renamed": [(f"model/{i}", f"model/{i + 1}") for i in range(3, 10)],
    }


def test_a_module_without_an_operation_is_found_too() -> None:
    found = graph.diff(BASE, recorded(model(extra=(6, nn.Identity()))))
    assert told(found) == {
        "modules added": ["model/6"],
        "renamed": [(f"model/{i}", f"model/{i + 1}") for i in range(6, 10)],
    }


def test_an_inserted_layer_is_all_that_was_added() -> None:
    found = graph.diff(BASE, recorded(model((64, 64, 32, 16))))
    assert [cluster.id for cluster in found.modules_added] == ["model/3", "model/4", "model/5"]
    assert {node.cluster for node in found.added} == {"model/3", "model/4", "model/5"}
    assert len(found.added) == 3 + 4
    assert not found.removed
    assert not found.changed
    assert not found.modules_changed
    assert found.summary().endswith("53,242 → 57,530 parameters")


def test_a_layer_less_is_all_that_was_removed() -> None:
    forward = graph.diff(BASE, recorded(model((64, 64, 32, 16))))
    back = graph.diff(forward.b, forward.a)
    assert back.removed == forward.added
    assert back.modules_removed == forward.modules_added
    assert told(back).keys() == {"removed", "modules removed", "renamed"}


def test_a_changed_width_changes_shapes_and_counts() -> None:
    found = graph.diff(BASE, recorded(model((128, 32, 16))))
    assert told(found).keys() == {"changed", "modules changed"}
    changes = {change.new: change.what for change in found.changed}
    assert changes["model/0/weight"] == ("shape 64×784 → 128×784", "50,176 → 100,352 parameters")
    assert changes["model/1/batch_norm#1"] == ("shape 8×64 → 8×128",)
    assert changes["model/3/weight"] == ("shape 32×64 → 32×128", "2,048 → 4,096 parameters")
    assert "model/3/linear#1" not in changes
    assert found.modules_changed[0].what == ("(784, 64) → (784, 128)",)


def test_another_activation_is_added_and_the_one_before_removed() -> None:
    found = graph.diff(BASE, recorded(model(activation=nn.Tanh)))
    assert told(found) == {
        "added": ["model/2/tanh#1", "model/5/tanh#1", "model/8/tanh#1"],
        "removed": ["model/2/relu#1", "model/5/relu#1", "model/8/relu#1"],
        "modules added": ["model/2", "model/5", "model/8"],
        "modules removed": ["model/2", "model/5", "model/8"],
    }


def test_so_it_is_where_layers_have_other_numbers() -> None:
    found = graph.diff(BASE, recorded(model(activation=nn.Tanh, extra=(0, nn.Identity()))))
    assert told(found)["modules added"] == ["model/0", "model/3", "model/6", "model/9"]
    assert told(found)["modules removed"] == ["model/2", "model/5", "model/8"]
    assert "changed" not in told(found)


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_of_another_class_is_another_layer(training: bool) -> None:
    x = np.ones((4, 3), np.float32)
    a, b = (
        nn.Sequential(nn.Linear(3, 5), layer, nn.Linear(5, 2)).train(training).graph(x)
        for layer in (nn.BatchNorm1d(5), nn.Dropout(0.5, rng=0))
    )
    found = graph.diff(a, b)
    assert (found.modules_changed, found.changed, found.renamed) == ((), (), ())
    assert [cluster.kind for cluster in found.modules_added] == ["Dropout"]
    assert [cluster.kind for cluster in found.modules_removed] == ["BatchNorm1d"]


def test_a_model_whose_class_has_a_new_name_is_the_same_model() -> None:
    class Renamed(nn.Sequential):
        pass

    found = graph.diff(BASE, recorded(Renamed(*model().children())))
    assert told(found) == {"modules changed": ["model"]}
    assert found.modules_changed[0].what == ("Sequential → Renamed",)


def test_an_operation_in_place_of_another_is_a_change() -> None:
    x = Tensor([2.0, 3.0], requires_grad=True)
    a, b = (graph.trace(np.sum(f(x)), names={"x": x}) for f in (np.exp, np.sin))
    assert [change.what for change in graph.diff(a, b).changed] == [("exp → sin",)]


def test_a_changed_dtype_is_all_that_changes() -> None:
    found = graph.diff(BASE, recorded(model(dtype=np.float64), np.float64))
    assert told(found).keys() == {"changed"}
    assert {change.what for change in found.changed} == {("dtype float32 → float64",)}
    assert len(found.changed) == len(BASE.nodes) - 1  # the labels stay


def test_a_changed_batch_changes_no_module() -> None:
    found = graph.diff(BASE, recorded(model(), batch=4))
    assert told(found).keys() == {"changed"}
    assert not any(BASE.by_id[change.old].kind == "parameter" for change in found.changed)


def test_statistics_are_compared_when_asked_for() -> None:
    other = recorded(model(seed=1))
    assert not graph.diff(BASE, other)
    found = graph.diff(BASE, other, statistics=0.01)
    assert told(found).keys() == {"changed"}
    assert all(what.startswith(("values:", "gradient:")) for change in found.changed for what in change.what)
    assert not graph.diff(BASE, other, statistics=np.inf)


def test_the_tolerance_is_a_part_of_the_largest_entry() -> None:
    a, b = (graph.trace(Tensor([x, 100.0], requires_grad=True) * 1) for x in (1.0, 2.0))
    assert not graph.diff(a, b, statistics=0.011)
    assert graph.diff(a, b, statistics=0.009)


def test_values_that_are_not_finite_are_never_tolerated() -> None:
    a, b = (graph.trace(Tensor([x, 2.0], requires_grad=True) * 1) for x in (2.0, np.nan))
    [array, product] = graph.diff(a, b, statistics=1e9).changed
    assert any("nan 0 → 1" in what for what in array.what)
    assert any("nan 0 → 1" in what for what in product.what)


def test_a_gradient_that_came_is_told_of() -> None:
    x = Tensor(2.0, requires_grad=True)
    with graph.record() as tape:
        y = x * x
        before = tape.graph()
        y.backward()
    found = graph.diff(before, tape.graph(), statistics=0.0)
    assert {change.what for change in found.changed} == {("gradient: none → some",)}


def test_nothing_against_something() -> None:
    found = graph.diff(NOTHING, BASE)
    assert found.added == BASE.nodes
    assert found.modules_added == BASE.clusters
    back = graph.diff(BASE, NOTHING)
    assert back.removed == BASE.nodes
    assert told(back).keys() == {"removed", "modules removed"}
    assert not graph.diff(NOTHING, NOTHING)


def test_an_argument_from_elsewhere_is_a_change() -> None:
    x, y = (Tensor(value, requires_grad=True) for value in (2.0, 3.0))
    names = {"x": x, "y": y}

    def traced(swapped: bool) -> graph.Graph:
        one, other = np.exp(x), np.sin(y)
        return graph.trace(other - one if swapped else one - other, names=names)

    [change] = graph.diff(traced(False), traced(True)).changed
    assert change.new == "subtract#1"
    assert change.what == ("argument 0 from exp#1 → sin#1", "argument 1 from sin#1 → exp#1")


def test_arguments_and_names_are_compared() -> None:
    x = Tensor([2.0, 3.0], requires_grad=True)
    a, b = graph.trace(x**2, names={"x": x}), graph.trace(x**3, names={"z": x})
    assert [change.what for change in graph.diff(a, b).changed] == [("x → z",), ("arguments ·, 2 → ·, 3",)]


def test_a_frozen_parameter_is_a_change() -> None:
    network = model()
    network[0].requires_grad_(False)
    found = graph.diff(BASE, recorded(network))
    kinds = {what for change in found.changed for what in change.what}
    assert "requires no gradient any longer" in kinds


def test_a_negative_tolerance_is_an_error() -> None:
    with pytest.raises(ValueError, match="statistics=-1 was given; expected a tolerance of 0 or more"):
        graph.diff(BASE, BASE, statistics=-1)


def test_the_text() -> None:
    x = np.ones((2, 3), np.float32)
    a = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).graph(x)
    b = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Tanh()).graph(x)
    assert graph.diff(a, b).text() == (
        "1 module added, 1 operation added, 1 module changed, 2 operations changed, 2 arrays changed, "
        "16 → 20 parameters\n\n"
        "modules:\n"
        "  + model/2 Tanh\n"
        "  ~ model/0 Linear: (3, 4) → (3, 5)\n\n"
        "operations and arrays:\n"
        "  + model/2/tanh#1: 2×5 float32\n"
        "  ~ model/0/weight: shape 4×3 → 5×3, 12 → 15 parameters\n"
        "  ~ model/0/bias: shape 4 → 5\n"
        "  ~ model/0/linear#1: shape 2×4 → 2×5\n"
        "  ~ model/1/relu#1: shape 2×4 → 2×5"
    )


# ---- on any graphs ---------------------------------------------------------------------------------------


@given(recordings())
def test_a_graph_does_not_differ_from_itself(found: graph.Graph) -> None:
    assert not graph.diff(found, graph.Graph.from_json(found.json()), statistics=0.0)


@given(recordings(), recordings())
def test_every_node_is_added_removed_or_the_same(a: graph.Graph, b: graph.Graph) -> None:
    found = graph.diff(a, b)
    old, new = ([pair[i] for pair in found.same] for i in (0, 1))
    assert sorted([*old, *(node.id for node in found.removed)]) == sorted(node.id for node in a.nodes)
    assert sorted([*new, *(node.id for node in found.added)]) == sorted(node.id for node in b.nodes)
    assert {change.new for change in found.changed} <= set(new)


@given(recordings(), recordings())
def test_both_graphs_are_in_their_union(a: graph.Graph, b: graph.Graph) -> None:
    found = graph.diff(a, b)
    both = union(found)
    ids = [node.id for node in both.nodes]
    assert len(ids) == len(set(ids)) == len(b.nodes) + len(found.removed)
    assert len({cluster.id for cluster in both.clusters}) == len(both.clusters)
    assert {edge.source for edge in both.edges} | {edge.target for edge in both.edges} <= set(ids)
    assert {node.cluster for node in both.nodes} - {""} <= {cluster.id for cluster in both.clusters}
    assert [node for node in both.nodes if not node.id.endswith("~removed")] == list(b.nodes)


@given(recordings(), recordings())
def test_every_difference_is_marked_in_the_picture(a: graph.Graph, b: graph.Graph) -> None:
    found = graph.diff(a, b)
    drawing = found.drawing("operations", budget=10**6)
    marks = {mark for box in drawing.boxes for mark in box.marks} & {"added", "removed", "changed"}
    parts = {"added": found.added, "removed": found.removed, "changed": found.changed}
    assert marks <= {what for what, nodes in parts.items() if nodes} | {"changed"}
    assert bool(marks) == any(parts.values())


# ---- as a picture ----------------------------------------------------------------------------------------


def marked(drawing: Drawing, mark: str) -> list[str]:
    return [box.id for box in drawing.boxes if mark in box.marks]


def test_the_picture_holds_what_was_added_and_what_was_removed() -> None:
    a, b = recorded(model()), recorded(model(extra=(3, nn.Dropout(0.5, rng=0))))
    drawing = graph.diff(a, b).drawing("operations")
    assert marked(drawing, "added") == ["constant#1", "model/3/multiply#1"]
    assert [group.id for group in drawing.groups if group.marks] == ["model/3"]
    assert drawing.title == "Difference: 2 added"
    arrows = [(arrow.source, arrow.target) for arrow in drawing.arrows if "added" in arrow.marks]
    assert ("model/2/relu#1", "model/3/multiply#1") in arrows
    back = graph.diff(b, a).drawing("operations")
    assert marked(back, "removed") == ["constant#1~removed", "model/3~removed/multiply#1~removed"]
    assert not marked(back, "added")


def test_a_changed_box_says_what_changed() -> None:
    drawing = graph.diff(BASE, recorded(model((128, 32, 16)))).drawing()
    [weight] = [box for box in drawing.boxes if box.id.endswith("model/0/weight")]
    assert weight.marks == ("changed",)
    assert weight.lines[-2:] == ("shape 64×784 → 128×784", "50,176 → 100,352 parameters")
    assert ("changed", "shape 64×784 → 128×784") in weight.details


@pytest.mark.parametrize("view", ["modules", "operations", "backward"])
def test_a_result_that_is_gone_still_has_the_arrow_to_what_used_it(view: str) -> None:
    def graph_of(function: Any) -> graph.Graph:
        x = Tensor(np.eye(3) + 0.1, requires_grad=True)
        with graph.record() as tape:
            function(x).backward()
        return tape.graph()

    a = graph_of(lambda x: np.sum(np.multiply(*np.linalg.qr(x))))
    b = graph_of(lambda x: np.sum(np.exp(x)))
    drawing = graph.diff(a, b).drawing(view)
    assert any("removed" in arrow.marks for arrow in drawing.arrows)
    assert any("qr → exp" in box.lines for box in drawing.boxes)


def test_an_added_module_that_does_nothing_is_noted() -> None:
    drawing = graph.diff(BASE, recorded(model(extra=(6, nn.Identity())))).drawing()
    assert "added, without an operation: model/6" in drawing.notes
    assert drawing.title == "Difference: none in what is computed"


def test_it_is_saved_by_suffix(tmp_path: Path) -> None:
    found = graph.diff(BASE, recorded(model((128, 32, 16))))
    assert found.save(tmp_path / "diff.txt").read_text("utf-8") == found.text() + "\n"
    assert found.save(tmp_path / "diff.dot").read_text("utf-8") == found.dot()
    assert found.save(tmp_path / "diff.svg").read_text("utf-8").count("<svg") == 1
    assert found.save(tmp_path / "diff.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"cannot tell a format by 'diff.html'"):
        found.save(tmp_path / "diff.html")


def test_two_layers_far_apart_in_a_long_model() -> None:
    def deep(*extra: int) -> graph.Graph:
        layers: list[nn.Module] = []
        for i in range(600):
            layers += [nn.ReLU(), nn.Tanh(), *([nn.Sigmoid()] if i in extra else [])]
        return nn.Sequential(*layers).graph(Tensor(np.ones(2), requires_grad=True))

    assert told(graph.diff(deep(), deep(5, 590))).keys() == {"added", "modules added", "renamed"}


class Block(nn.Module):
    """Some operations of which a long model has the same again and again."""

    def __init__(self, activation: type[nn.Module], extra: bool) -> None:
        super().__init__()
        self.linear, self.activation = nn.Linear(2, 2, rng=0), activation()
        self.extra = nn.Sigmoid() if extra else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.extra(self.activation(self.linear(x)) * 2.0)
        return x + h * h - np.tanh(h)


def blocks(count: int, activation: type[nn.Module] = nn.ReLU, extra: Sequence[int] = ()) -> graph.Graph:
    model = nn.Sequential(*(Block(activation, i in extra) for i in range(count)))
    return model.graph(np.ones((1, 2), np.float32))


def test_every_activation_of_a_long_model_is_another() -> None:
    found = told(graph.diff(blocks(200), blocks(200, nn.Tanh)))
    assert {what: len(ids) for what, ids in found.items()} == {
        **{"added": 200, "removed": 200, "modules added": 200, "modules removed": 200}
    }


def test_a_long_model_that_grows_and_changes_everywhere() -> None:
    """Take a second at most: without numbered words, it would be many times as long."""
    a, b = blocks(200), blocks(210, nn.Tanh, extra=range(0, 200, 3))
    found = graph.diff(a, b)
    assert [node.name for node in found.removed] == ["relu"] * 200
    names = Counter(node.name for node in found.added if node.kind == "operation")
    assert names == {"tanh": 210 + 10, "sigmoid": 67, "linear": 10, "multiply": 20, "add": 10, "subtract": 10}


@given(st.text("abcd", max_size=12), st.text("abcd", max_size=12))
def test_what_is_aligned_is_in_order_and_equal_or_one_for_one(a: str, b: str) -> None:
    pairs = aligned([a], [b])
    assert all(i < to_i and j < to_j for (i, j), (to_i, to_j) in pairwise(pairs))
    for (i, j), (to_i, to_j) in pairwise([(-1, -1), *pairs, (len(a), len(b))]):
        assert not set(a[i + 1 : to_i]) & set(b[j + 1 : to_j])  # nothing equal is left between
    for before, (i, j), after in zip([(-1, -1), *pairs], pairs, [*pairs[1:], (len(a), len(b))], strict=False):
        assert a[i] == b[j] or (i - before[0], j - before[1], after[0] - i, after[1] - j) == (1, 1, 1, 1)


@given(st.sets(st.integers(0, 800), max_size=8))
def test_what_was_inserted_into_a_long_sequence_is_all_that_is_left(places: set[int]) -> None:
    long = "ab" * 400
    words = list(long)
    for place in sorted({0, *places, 800}, reverse=True):  # at both ends, so nothing is trimmed
        words.insert(place, "X")
    pairs = aligned([long], [words])
    assert [i for i, _ in pairs] == list(range(800))
    assert all(long[i] == words[j] for i, j in pairs)


def test_what_is_no_graph_is_an_error() -> None:
    with pytest.raises(
        TypeError, match=r"given a Sequential; expected two Graphs, as model.graph\(x\) makes"
    ):
        graph.diff(model(), BASE)  # type: ignore[arg-type]


# ---- in a notebook ---------------------------------------------------------------------------------------


def test_a_notebook_shows_the_picture_and_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    found = graph.diff((x * x).graph(), (x + x).graph())
    shown = found._repr_mimebundle_()
    assert shown["text/plain"].startswith(found.text())
    assert shown.keys() & {"image/svg+xml", "text/html"}

    def fail(*arguments: object) -> str:
        raise RecursionError("deep")

    monkeypatch.setattr(graph.Difference, "drawing", fail)
    assert "no picture: deep" in found._repr_mimebundle_()["text/html"]
    monkeypatch.setattr(graph.Difference, "text", fail)
    assert found._repr_mimebundle_() == {"text/plain": "a difference, which could not be told: deep"}
