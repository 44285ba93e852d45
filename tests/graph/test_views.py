"""Views show each node once and each edge between boxes, in words that say what is there."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.strategies import recordings
from tinygrad_mnist import Tensor, graph, nn
from tinygrad_mnist.graph import Graph
from tinygrad_mnist.graph.drawing import MARKS, Arrow, Box, Drawing
from tinygrad_mnist.graph.nonfinite import nonfinite
from tinygrad_mnist.graph.views import VIEWS, View

RNG = np.random.default_rng(0)


def box_of(drawing: Drawing, name: str) -> Box:
    (found,) = (box for box in drawing.boxes if box.id == name)
    return found


def arrow_of(drawing: Drawing, source: str, target: str) -> Arrow:
    (found,) = (arrow for arrow in drawing.arrows if (arrow.source, arrow.target) == (source, target))
    return found


def arrows_of(drawing: Drawing) -> set[tuple[str, str]]:
    return {(arrow.source, arrow.target) for arrow in drawing.arrows}


def model() -> nn.Sequential:
    rng = np.random.default_rng(0)
    sizes = (784, 64, 32, 16, 10)
    layers: list[nn.Module] = []
    for i, size in enumerate(sizes[1:]):
        layers += [nn.Linear(sizes[i], size, rng=rng), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def step(backward: bool = True) -> Graph:
    """A step of the 784-64-32-16-10 model."""
    net = model()
    x = np.random.default_rng(0).standard_normal((8, 784), dtype=np.float32)
    with graph.record(net, names={"x": x}) as tape:
        loss = nn.CrossEntropyLoss()(net(x), np.arange(8))
        if backward:
            loss.backward()
    return tape.graph()


# ---- any graph -----------------------------------------------------------------------------------------


@given(recordings(), st.data())
def test_every_view_of_any_graph_is_whole(traced: Graph, data: st.DataObject) -> None:
    views = [name for name, view in VIEWS.items() if not view.missing(traced)]
    options: dict[str, Any] = {
        "depth": data.draw(st.none() | st.integers(0, 4)),
        "budget": data.draw(st.integers(1, 80)),
    }
    if traced.clusters:
        ids = [cluster.id for cluster in traced.clusters]
        options["expand"] = data.draw(st.lists(st.sampled_from(ids), max_size=2))
    for view in views:
        drawing = traced.draw(view, **options)
        check(traced, drawing)
        assert drawing == Graph.from_json(traced.json()).draw(view, **options)


def check(traced: Graph, drawing: Drawing) -> None:
    """What holds for every drawing."""
    boxes = {box.id: box for box in drawing.boxes}
    assert len(boxes) == len(drawing.boxes), "ids are unique"
    shown = Counter(node for box in drawing.boxes for node in box.nodes)
    assert shown == Counter(node.id for node in traced.nodes), "each node is in one box"
    groups: set[str] = set()
    for group in drawing.groups:
        assert group.id not in groups
        assert group.parent in groups | {""}, "groups form a tree"
        groups.add(group.id)
    assert {box.group for box in drawing.boxes} <= groups | {""}
    assert all(set(one.marks) <= set(MARKS) for one in (*drawing.boxes, *drawing.arrows))
    assert all(1 <= arrow.weight <= 3 for arrow in drawing.arrows)
    arrows = arrows_of(drawing)
    assert len(arrows) == len(drawing.arrows), "one arrow a pair of boxes"
    if drawing.view == "backward":
        arrows = {(target, source) for source, target in arrows}
    box_of_node = {node: box.id for box in drawing.boxes for node in box.nodes}
    second: dict[str, list[str]] = {}
    for box in drawing.boxes:
        if not box.nodes:
            for name in dict(box.details)["arrays" if "arrays" in dict(box.details) else "id"].split(", "):
                second.setdefault(name, []).append(box.id)
    expected = set()
    for edge in traced.edges:
        target = box_of_node[edge.target]
        pairs = {(source, target) for source in (box_of_node[edge.source], *second.get(edge.source, []))}
        joined = pairs & arrows
        assert joined or box_of_node[edge.source] == target, f"{edge} has no arrow"
        expected |= joined
    assert arrows == expected, "each arrow stands for an edge"


def test_a_new_view_is_a_row_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VIEWS, "priced", View("Priced", operations=True, costs=True))
    x = np.ones((2, 784), np.float32)
    traced = graph.profile(model(), x, np.arange(2), repeats=1, warmup=0)
    assert box_of(traced.draw("priced"), "model/0/linear#1").share
    assert " linear#1 " in traced.text("priced")
    assert "share of time" in traced.text("priced")


@given(recordings())
def test_there_are_as_many_edges_as_uses(traced: Graph) -> None:
    uses = Counter((edge.target, edge.argument) for edge in traced.edges)
    assert set(uses.values()) <= {1}
    assert {edge.target for edge in traced.edges} <= {node.id for node in traced.operations}


@given(recordings(), st.integers(30, 60))
def test_the_budget_is_kept(traced: Graph, budget: int) -> None:
    for view in ("modules", "operations"):
        assert len(traced.draw(view, budget=budget).boxes) <= budget


# ---- modules and operations ----------------------------------------------------------------------------


def test_modules_are_boxes_with_their_parameters_beside_them() -> None:
    drawing = step().draw()
    assert drawing.title.startswith("Sequential: 53,018 parameters, 8 operations, ")
    linears = [box for box in drawing.boxes if box.title == "Linear"]
    assert [box.lines for box in linears] == [
        ("0 (784, 64)",),
        ("2 (64, 32)",),
        ("4 (32, 16)",),
        ("6 (16, 10)",),
    ]
    assert [(group.id, group.title) for group in drawing.groups] == [("model", "model Sequential")]
    weight = box_of(drawing, "model/0/weight")
    assert (weight.kind, weight.title, weight.lines) == ("parameter", "weight", ("64×784", "50,176"))
    assert weight.group == linears[0].group == "model"
    assert arrow_of(drawing, "model/0/weight", "model/0").kind == "parameter"


def test_shapes_stand_where_they_change() -> None:
    drawing = step().draw()
    chain = [arrow for arrow in drawing.arrows if arrow.kind == "flow"]
    assert [arrow.label for arrow in chain] == ["8×64", "", "8×32", "", "8×16", "", "8×10"]
    assert box_of(drawing, "x").lines == ("8×784 float32",)
    loss = box_of(drawing, "CrossEntropyLoss")
    assert loss.lines[-1] == "→ scalar"
    assert loss.marks == ("output",)


def test_a_parameter_does_not_hide_that_the_shape_changed() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(np.ones((2, 3)))

        def forward(self, x: Any) -> Any:
            return x * self.weight

    drawing = nn.Sequential(Scale(), nn.ReLU()).graph(np.ones((1, 3))).draw()
    assert arrow_of(drawing, "model/0", "model/1").label == "2×3"


def test_operations_stand_inside_their_modules() -> None:
    drawing = step().draw("operations")
    box = box_of(drawing, "model/0/linear#1")
    assert (box.kind, box.group) == ("operation", "model/0")
    assert {group.id: group.parent for group in drawing.groups}["model/0"] == "model"
    details = dict(box.details)
    assert {"operation", "shape", "dtype", "bytes", "values", "gradient", "line"} <= details.keys()
    assert (details["operation"], details["shape"], details["dtype"]) == ("linear", "8×64", "float32")


def test_depth_says_how_many_levels_are_open() -> None:
    traced = step()
    assert [box.id for box in traced.draw(depth=0).boxes if box.kind == "module"] == [
        "model",
        "CrossEntropyLoss",
    ]
    assert traced.draw("operations", depth=1).groups[0].id == "model"
    assert len(traced.draw("operations", depth=2).groups) == 1 + 7 + 1
    closed = box_of(traced.draw(depth=0), "model")
    assert closed.lines == ("model", "7 operations", "53,018 parameters")


@pytest.mark.parametrize("name", ["model/2", "model.2", "2"])
def test_a_module_is_opened_by_any_of_its_names(name: str) -> None:
    drawing = step().draw(depth=0, expand=[name])
    assert [group.id for group in drawing.groups] == ["model", "model/2"]
    assert box_of(drawing, "model/2/linear#1").group == "model/2"
    assert drawing == step().draw(depth=0, expand=name)


def test_what_asks_for_the_impossible_is_told_so() -> None:
    traced = step(backward=False)
    with pytest.raises(ValueError, match=r"expand names 'modl/2', which is no module.*near it: model/2"):
        traced.draw(expand=["modl/2"])
    with pytest.raises(ValueError, match=r"no view 'moduls'; expected one of modules, operations"):
        traced.draw("moduls")
    with pytest.raises(ValueError, match="depth is -1"):
        traced.draw(depth=-1)
    with pytest.raises(ValueError, match="budget is 0"):
        traced.draw(budget=0)
    with pytest.raises(ValueError, match=r"with graph.record\(\) as tape:"):
        traced.draw("backward")
    with pytest.raises(ValueError, match=r"graph.profile\(model, x, y\)"):
        traced.draw("profile")


def test_a_module_that_ran_nothing_is_noted() -> None:
    net = nn.Sequential(nn.Linear(2, 2, rng=RNG), nn.Identity())
    assert "ran no operation: model/1" in net.graph(np.ones((1, 2), np.float32)).draw().notes


def test_a_repeated_operand_is_one_arrow() -> None:
    x = Tensor(3.0, requires_grad=True)
    drawing = (x * x).graph(names={"x": x}).draw()
    assert [(arrow.source, arrow.target, arrow.label) for arrow in drawing.arrows] == [
        ("x", "multiply#1", "x2")
    ]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(4, 4, rng=RNG)
        self.decode = nn.Linear(4, 4, rng=RNG)
        self.decode.weight = self.encode.weight

    def forward(self, x: Any) -> Any:
        return x + self.decode(np.tanh(self.encode(x)))


def test_a_shared_parameter_stands_at_each_use() -> None:
    traced = Tied().graph(np.ones((2, 4), np.float32))
    (shared,) = (node.id for node in traced.parameters if node.value.shape == (4, 4))
    drawing = traced.draw()
    first, second = (box for box in drawing.boxes if box.lines[:1] == ("4×4",))
    assert (first.id, first.nodes, second.nodes) == (shared, (shared,), ())
    assert second.lines == ("4×4", "shared with model/encode")
    assert {(first.id, "model/encode"), (second.id, "model/decode")} <= arrows_of(drawing)


def test_a_residual_connection_goes_around() -> None:
    drawing = Tied().graph(np.ones((2, 4), np.float32)).draw()
    assert {("input#1", "model/encode"), ("input#1", "model/add#1"), ("model/decode", "model/add#1")} <= (
        arrows_of(drawing)
    )


# ---- gradients and costs -------------------------------------------------------------------------------


def test_the_way_back_is_the_same_layout_with_arrows_reversed() -> None:
    traced = step()
    forward, backward = traced.draw(), traced.draw("backward")
    assert [box.id for box in forward.boxes] == [box.id for box in backward.boxes]
    assert forward.groups == backward.groups
    assert {(b, a) for a, b in arrows_of(forward)} == arrows_of(backward)


def test_norms_of_gradients_are_labels_and_widths() -> None:
    traced = step()
    drawing = traced.draw("backward")
    gradient = traced.by_id["model/0/weight"].value.gradient
    assert gradient is not None
    assert gradient.norm is not None
    assert arrow_of(drawing, "model/0", "model/0/weight").label == f"{gradient.norm:.3g}"
    known = [arrow for arrow in drawing.arrows if arrow.kind == "gradient"]
    widths = {float(arrow.label): arrow.weight for arrow in known}
    assert [widths[norm] for norm in sorted(widths)] == sorted(widths.values())
    assert max(widths.values()) == 3


def test_a_gradient_that_is_next_to_nothing_does_not_even_out_the_widths() -> None:
    x = Tensor(np.array([1.0]), requires_grad=True)
    with graph.record(names={"x": x}) as tape:
        np.sum(np.sin(x * 1e-20) * 0.1).backward()
    drawing = tape.graph().draw("backward")
    assert [(arrow.label, arrow.weight) for arrow in drawing.arrows] == [
        ("1e-21", 1.0), ("0.1", 2.5), ("0.1", 2.5), ("1", 3.0)
    ]  # fmt: skip


def test_both_uses_by_one_operation_are_one_gradient() -> None:
    x = Tensor(np.array([3.0]), requires_grad=True)
    with graph.record(names={"x": x}) as tape:
        np.sum(x * x + np.sin(x)).backward()
    assert arrow_of(tape.graph().draw("backward"), "multiply#1", "x").label == "6, 2 uses"


def test_what_can_carry_no_gradient_is_drawn_without_a_warning() -> None:
    arrow = arrow_of(step().draw("backward"), "model/0", "x")
    assert (arrow.kind, arrow.label, arrow.marks) == ("none", "", ())


def test_where_nothing_flows_it_is_written() -> None:
    x, y = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    with graph.record(names={"x": x, "y": y}) as tape:
        unused = y * 2
        (x * 3).backward()
        np.exp(unused)
    drawing = tape.graph().draw("backward")
    arrow = arrow_of(drawing, "multiply#1", "y")
    assert (arrow.kind, arrow.label, arrow.marks) == ("none", "no gradient", ("no gradient",))
    assert "no gradient" in box_of(drawing, "y").marks
    assert "no gradient" not in box_of(drawing, "x").marks


def test_a_folded_box_tells_the_range_of_its_gradients() -> None:
    net = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2, rng=RNG), nn.ReLU()) for _ in range(6)))
    with graph.record(net) as tape:
        np.sum(net(np.ones((1, 2), np.float32))).backward()
    traced = tape.graph()
    drawing = traced.draw("backward")
    (fold,) = (box for box in drawing.boxes if box.kind == "fold")
    gradients = [traced.by_id[f"model/{i}/1/relu#1"].value.gradient for i in range(6)]
    norms = [gradient.norm for gradient in gradients if gradient is not None and gradient.norm is not None]
    assert len(norms) == 6
    assert f"gradient norms {min(norms):.3g} to {max(norms):.3g}" in fold.lines
    assert any(note.startswith("in a folded box") for note in drawing.notes)
    assert not any(note.startswith("in a folded box") for note in step().draw("backward").notes)
    (plain,) = (box for box in traced.draw().boxes if box.kind == "fold")
    assert "gradient" not in " ".join(plain.lines)


def test_what_is_not_finite_is_told_before_the_norm_of_the_rest() -> None:
    x = Tensor(np.array([0.0, 0.0]), requires_grad=True)
    with np.errstate(all="ignore"), graph.record(names={"x": x}) as tape:
        np.sum(x * np.nan).backward()
    assert arrow_of(tape.graph().draw("backward"), "multiply#1", "x").label == "2 NaN, norm of the rest 0"


def test_what_several_parts_of_a_box_send_back_is_summed_or_bounded() -> None:
    def label(compute: Any) -> str:
        x = Tensor(1.0, requires_grad=True)
        with graph.record() as tape:
            compute(x).backward()
        drawing = tape.graph().draw("backward", depth=0)
        return arrow_of(drawing, "Twice", "parameter#1").label

    net = Twice()
    assert label(net) == "5"
    assert label(lambda x: net(x) + x) == "≤ 5"


class Twice(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2 + x * 3


def test_times_and_memory_have_shares_and_a_peak() -> None:
    x = np.random.default_rng(0).standard_normal((8, 784), dtype=np.float32)
    drawing = graph.profile(model(), x, np.arange(8), repeats=1, warmup=0).draw("profile")
    boxes = [box for box in drawing.boxes if box.share is not None]
    assert sum(box.share or 0.0 for box in boxes) == pytest.approx(1, abs=0.01)
    peaks = [line for box in boxes if "peak" in box.marks for line in box.lines if "peak" in line]
    assert " ".join(peaks).count("time") == 1
    assert "memory" in " ".join(peaks)
    assert all("%" in " ".join(box.lines) for box in boxes)


# ---- not finite ----------------------------------------------------------------------------------------


def test_the_first_nan_is_marked_with_what_it_spoiled() -> None:
    x = Tensor(np.array([1.0, -1.0, 2.0, 3.0]), requires_grad=True)
    with np.errstate(all="ignore"):
        drawing = np.sum(np.log(x + 0) * 2).graph(names={"x": x}).draw()
    marks = {box.id: set(box.marks) & {"origin", "spoiled"} for box in drawing.boxes}
    assert marks == {
        "x": set(),
        "add#1": set(),
        "log#1": {"origin"},
        "multiply#1": {"spoiled"},
        "sum#1": {"spoiled"},
    }
    assert box_of(drawing, "log#1").lines == ("1/4 NaN start here",)
    assert arrow_of(drawing, "log#1", "multiply#1").marks == ("spoiled",)
    assert arrow_of(drawing, "add#1", "log#1").marks == ()


def test_an_input_that_is_not_finite_is_the_origin() -> None:
    x = Tensor(np.array([1.0, np.inf]), requires_grad=True)
    drawing = (x * 2).graph(names={"x": x}).draw()
    assert box_of(drawing, "x").lines[-1] == "1/2 inf start here"
    assert "spoiled" in box_of(drawing, "multiply#1").marks


def test_the_first_gradient_that_is_not_finite_is_marked_on_the_way_back() -> None:
    x = Tensor(np.array([0.0, 4.0]), requires_grad=True)
    with np.errstate(all="ignore"), graph.record(names={"x": x}) as tape:
        np.sum(np.sqrt(x * 1)).backward()
    traced = tape.graph()
    drawing = traced.draw("backward")
    assert box_of(drawing, "sqrt#1").lines == ("gradient: 1/2 inf start here",)
    assert box_of(drawing, "sqrt#1").marks == ("origin",)
    assert box_of(drawing, "multiply#1").marks == ("spoiled",)
    assert box_of(drawing, "x").marks == ("spoiled",)
    assert box_of(drawing, "sum#1").marks == ("output",)
    assert "inf" in arrow_of(drawing, "sqrt#1", "multiply#1").label
    assert all("origin" not in box.marks for box in traced.draw().boxes)


def test_an_origin_of_values_is_marked_as_one_though_its_gradient_came_in_spoiled() -> None:
    x = Tensor(np.array([0.0, 1.0]), requires_grad=True)
    with np.errstate(all="ignore"), graph.record(names={"x": x}) as tape:
        z = np.log(x)
        np.sum(z * z).backward()
    assert box_of(tape.graph().draw("backward"), "log#1").marks == ("origin",)


def test_a_closed_module_tells_which_of_its_operations_began_it() -> None:
    class Logarithm(nn.Module):
        def forward(self, x: Any) -> Any:
            return np.log(x) + 1

    with np.errstate(all="ignore"):
        traced = nn.Sequential(Logarithm(), nn.ReLU()).graph(Tensor([-1.0, 1.0], requires_grad=True))
    (box,) = (box for box in traced.draw().boxes if box.title == "Logarithm")
    (origin,) = (node for node in traced.operations if node.name == "log")
    assert box.marks == ("origin",)
    assert box.lines[-1] == f"1/2 NaN start here ({origin.id})"
    (note,) = (note for note in traced.draw().notes if "not finite" in note)
    assert note == f'not finite from {origin.id} on; expand=["{origin.cluster}"] shows it'
    assert box_of(traced.draw(expand=[origin.cluster]), origin.id).marks == ("origin",)


# ---- masks -----------------------------------------------------------------------------------------------

ALLOWED = np.array([[True, False, True], [True, True, False]])
HIDDEN = np.where(ALLOWED, 0.0, -np.inf)


def with_hidden(x: Any, value: Any) -> Any:
    x = x * 1.0
    x[([0, 1], [1, 2])] = value
    return x


MASKED: list[Any] = [
    lambda x: with_hidden(x, -np.inf),
    lambda x: with_hidden(x, np.full(2, -np.inf)),
    lambda x: np.where(ALLOWED, x, -np.inf),
    lambda x: np.where(ALLOWED, x, np.full((2, 3), -np.inf)),
    lambda x: x + HIDDEN,
    lambda x: (x + HIDDEN) * 0.125,
    lambda x: np.transpose(np.transpose(x) + HIDDEN.T),
    lambda x: x + np.where(ALLOWED[0], 0.0, -np.inf),
    lambda x: np.pad(x, 1, constant_values=-np.inf),
]


def marked(result: Any) -> dict[str, str]:
    """What is not finite, and its mark, by id."""
    found = result.graph()
    values, gradients = nonfinite(found, gradients=True)
    assert not gradients
    for view in ("modules", "operations"):
        assert ("not finite" in found.text(view)) <= bool(values)
        assert ("start here" in found.dot(view)) == any(one.mark == "origin" for one in values.values())
    return {id: one.mark for id, one in values.items()}


@pytest.mark.parametrize("mask", MASKED)
def test_a_mask_of_infinity_is_no_origin_and_spoils_nothing(mask: Any) -> None:
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    hidden = mask(x)
    assert marked(hidden) == {}
    assert marked(np.exp(hidden[:, :1] - 1)) == {}
    assert marked(nn.Softmax(-1)(x + HIDDEN)) == {}


def test_what_a_mask_makes_wrong_is_an_origin() -> None:
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    with np.errstate(all="ignore"):
        all_hidden = np.where(np.zeros((2, 3), bool), x, -np.inf)
        assert marked(all_hidden - np.max(all_hidden, axis=1, keepdims=True)) == {"subtract#1": "origin"}
        assert marked(np.log(np.where(ALLOWED, x, -np.inf) * 0) + 1) == {
            "multiply#1": "origin", "log#1": "spoiled", "add#1": "spoiled",
        }  # fmt: skip
        assert marked(np.exp(1e4 * x) + HIDDEN) == {"exp#1": "origin", "add#1": "spoiled"}
        assert marked(np.where(ALLOWED, np.log(x - 1), -np.inf))["log#1"] == "origin"
