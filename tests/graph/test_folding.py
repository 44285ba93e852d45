"""What is equal or too much is folded into one box that says what it holds and how to open it."""

import json
import re
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.strategies import recordings
from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.graph import Graph
from tinygrad_mnist.graph.data import Edge, Node, Value
from tinygrad_mnist.graph.drawing import Box, Drawing
from tinygrad_mnist.graph.folding import LONGEST_PERIOD, runs, signatures

RNG = np.random.default_rng(0)


def folds(drawing: Drawing) -> list[Box]:
    return [box for box in drawing.boxes if box.kind == "fold"]


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, rng=RNG)

    def forward(self, x: Any) -> Any:
        return x + np.tanh(self.linear(x))


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 4, rng=RNG)

    def forward(self, x: Any, h: Any) -> Any:
        return np.tanh(self.hidden(h) + x)


class Loop(nn.Module):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.cell = Cell()
        self.out = nn.Linear(4, 2, rng=RNG)
        self.steps = steps

    def forward(self, x: Any) -> Any:
        h = np.zeros((2, 4), np.float32)
        for t in range(self.steps):
            h = self.cell(x[:, t], h)
        return self.out(h)


def blocks(count: int) -> Graph:
    return nn.Sequential(*(Block() for _ in range(count))).graph(np.ones((2, 4), np.float32))


def chain(length: int) -> Graph:
    x = Tensor(np.ones(3), requires_grad=True)
    for i in range(length):
        x = x + i
    return x.graph()


# ---- runs ----------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(2, 5))
def test_runs_cut_a_sequence_and_repeat_a_unit(signs: list[int], least: int) -> None:
    at = 0
    for start, stop, repeats in runs(np.array(signs), least):
        assert start == at < stop
        unit = signs[start : start + (stop - start) // repeats]
        assert unit * repeats == signs[start:stop]
        assert repeats >= least or stop - start == 1
        at = stop
    assert at == len(signs)


@given(st.integers(1, LONGEST_PERIOD), st.integers(3, 9))
def test_a_unit_that_repeats_is_found(period: int, repeats: int) -> None:
    signs = np.tile(np.arange(period), repeats)
    assert list(runs(signs, 3)) == [(0, period * repeats, repeats)]


def test_blocks_are_equal_but_for_their_parameters() -> None:
    x = Tensor(np.ones((2, 4), np.float32))
    net = nn.Sequential(Block(), Block(), nn.Sequential(Block()), nn.Linear(4, 4, rng=RNG))
    signs = signatures(net.graph(x))
    assert signs["model/0"] == signs["model/1"] == signs["model/2/0"]
    assert signs["model/3"] == signs["model/0/linear"]
    assert len({signs["model/0"], signs["model/2"], signs["model/3"]}) == 3


def test_how_a_block_is_wired_inside_matters() -> None:
    class Wired(nn.Module):
        def __init__(self, around: bool) -> None:
            super().__init__()
            self.around = around

        def forward(self, x: Any) -> Any:
            y = x * 2
            return np.tanh(y) + (y if self.around else x)

    net = nn.Sequential(Wired(True), Wired(False), Wired(True))
    signs = signatures(net.graph(Tensor(np.ones(3), requires_grad=True)))
    wired = [signs[cluster] for cluster in signs if cluster.endswith(("/0", "/1", "/2"))]
    assert wired[0] == wired[2] != wired[1]


# ---- folds ---------------------------------------------------------------------------------------------


def test_equal_blocks_in_a_row_are_one_box() -> None:
    drawing = blocks(12).draw()
    (fold,) = folds(drawing)
    assert fold.title == "Block x12"
    assert fold.lines == ("36 operations", "240 parameters", "model/0 … model/11", "→ 2×4")
    assert drawing.notes == (
        'folded: model/0 to model/11; depth=2 opens all, expand=["model/0"] opens the first of them',
    )


def test_fewer_than_four_blocks_are_seen_one_by_one() -> None:
    assert folds(blocks(3).draw()) == []
    assert len(folds(blocks(4).draw())) == 1


def test_what_the_note_says_opens_the_fold() -> None:
    traced = blocks(12)
    assert folds(traced.draw(depth=2)) == []
    opened = traced.draw(expand=["model/3"])
    assert [fold.title for fold in folds(opened)] == ["Block x3", "Block x8"]
    assert "model/3" in {group.id for group in opened.groups}


@given(recordings(), st.sampled_from(["modules", "operations"]), st.sampled_from([3, 6, 12, 40]))
def test_each_way_that_a_note_names_opens_what_it_says(traced: Graph, view: str, budget: int) -> None:
    for note in traced.draw(view, budget=budget).notes:
        for way, value in re.findall(r'(depth|expand|budget)=(\d+|\["[^"]+"\])', note):
            options: dict[str, Any] = {"budget": budget, way: json.loads(value)}
            opened = traced.draw(view, **options)
            if fold := re.fullmatch(r"folded: (.+) to (.+); .+", note):
                assert f"{fold[1]}...{fold[2]}" not in {box.id for box in opened.boxes}
            elif note.startswith("closed"):
                assert re.findall(r'"(.+)"', note)[0] in {group.id for group in opened.groups}
            else:
                assert note not in opened.notes


def test_a_parameter_at_each_of_its_users_needs_room_too() -> None:
    layer = nn.Linear(4, 4, rng=RNG)
    traced = nn.Sequential(*[layer, nn.ReLU()] * 2).graph(np.ones((2, 4), np.float32))
    (note,) = traced.draw("operations", budget=8).notes
    assert note == "parameters are in the boxes that use them; budget=9 shows them"
    assert not traced.draw("operations", budget=9).notes


def test_a_module_called_in_a_loop_is_one_box_of_steps() -> None:
    drawing = Loop(28).graph(np.ones((2, 28, 4), np.float32)).draw()
    (fold,) = folds(drawing)
    assert fold.title == "Cell x28 steps"
    assert "20 parameters" in fold.lines, "the cell's, once"
    assert len(drawing.boxes) < 10


def test_a_step_of_the_loop_can_be_opened() -> None:
    drawing = Loop(28).graph(np.ones((2, 28, 4), np.float32)).draw(expand=["cell@9"])
    assert "model/cell@9" in {group.id for group in drawing.groups}
    assert [fold.title for fold in folds(drawing)] == ["Cell x8 steps", "Cell x19 steps"]


def test_a_long_chain_of_equal_operations_is_one_box() -> None:
    drawing = chain(5000).draw()
    assert [box.title for box in drawing.boxes] == ["parameter", "+", "add x4,999"]
    assert drawing.notes == ("folded: add#2 to add#5000; budget=5001 opens it",)


def test_a_chain_for_which_there_is_room_is_not_folded() -> None:
    assert folds(chain(20).draw()) == []
    assert folds(chain(60).draw(budget=61)) == []
    assert len(folds(chain(60).draw(budget=60))) == 1


def test_the_middle_of_what_does_not_repeat_is_folded() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    plain = (np.sin, np.tanh, np.negative)
    for i in np.random.default_rng(0).integers(3, size=500):
        x = plain[i](x)
    drawing = x.graph().draw(budget=20)
    assert len(drawing.boxes) <= 20
    titles = [fold.title for fold in folds(drawing)]
    assert any(title.endswith(" operations") for title in titles)


def test_parameters_give_way_before_modules_do() -> None:
    net = nn.Sequential(*(nn.Linear(4 + i, 5 + i, rng=RNG) for i in range(20)))
    traced = net.graph(np.ones((2, 4), np.float32))
    assert len(traced.draw(budget=61).boxes) == 61
    drawing = traced.draw(budget=60)
    assert len([box for box in drawing.boxes if box.kind == "module"]) == 20
    assert drawing.boxes[1].lines == ("0 (4, 5)", "weight 5×4", "bias 5")
    assert "parameters are in the boxes that use them; budget=61 shows them" in drawing.notes


def test_the_budget_chooses_the_depth() -> None:
    net = nn.Sequential(
        *(nn.Sequential(nn.Linear(4, 4 + i, rng=RNG), nn.Linear(4 + i, 4, rng=RNG)) for i in range(5))
    )
    traced = net.graph(np.ones((2, 4), np.float32))
    wide, narrow = traced.draw(), traced.draw(budget=20)
    assert {group.id for group in wide.groups} == {"model", *(f"model/{i}" for i in range(5))}
    assert {group.id for group in narrow.groups} == {"model"}
    assert narrow.notes == (
        "closed: model/0, model/1, model/2 and 2 more; depth=2 opens more, "
        'expand=["model/0"] opens the first of them',
    )


def test_a_larger_budget_opens_as_many_of_equal_blocks_as_it_holds() -> None:
    traced = blocks(100)
    whole = traced.draw(depth=2)
    assert traced.draw(budget=len(whole.boxes)).boxes == whole.boxes
    drawing = traced.draw(budget=len(whole.boxes) - 1)
    assert len(whole.boxes) / 2 < len(drawing.boxes) < len(whole.boxes)
    (fold,) = folds(drawing)
    assert fold.title.endswith(" modules")


# ---- size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["modules", "operations"])
def test_five_thousand_operations_are_traced_and_folded_in_no_time(view: str) -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    plain = (np.sin, np.tanh, np.negative, lambda y: y * 0.5)
    for i in np.random.default_rng(0).integers(4, size=5000):
        x = plain[i](x)
    start = time.process_time()
    drawing = x.graph().draw(view)
    assert time.process_time() - start < 2
    assert len(drawing.boxes) <= 40


@pytest.mark.slow
def test_a_hundred_thousand_operations_are_folded_without_recursion() -> None:
    value = Value((3,), "float32", 12)
    names = np.random.default_rng(0).choice(["sin", "tanh", "negative"], size=100_000)
    nodes = tuple(Node(f"n{i}", "operation", str(n), str(n), "", (value,)) for i, n in enumerate(names))
    edges = tuple(Edge(f"n{i}", f"n{i + 1}", 0) for i in range(len(nodes) - 1))
    drawing = Graph(nodes, edges, (), (nodes[-1].id,)).draw()
    assert len(drawing.boxes) <= 40
    assert sum(len(box.nodes) for box in drawing.boxes) == len(nodes)


def test_deep_modules_are_drawn_level_by_level() -> None:
    net: nn.Module = nn.Linear(2, 2, rng=RNG)
    for _ in range(150):
        net = nn.Sequential(net)
    traced = net.graph(np.ones((1, 2), np.float32))
    assert len(traced.draw("operations").groups) == 151
    assert len(traced.draw("operations", depth=5).groups) == 5
