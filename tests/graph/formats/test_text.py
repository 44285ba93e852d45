"""The outline in a terminal is aligned, counts right, and never wider than it must be."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.strategies import recordings
from tinygrad_mnist import Tensor, graph, nn
from tinygrad_mnist.graph import Graph

GOLDEN = """\
Sequential: 26 parameters, 4 operations, 164 B kept for the backward pass
inputs: x 4×3 float32

       what            shape  parameters  gradient of output  of parameters
model  Sequential        4×2          26                2.83           28.3
├─ 0   Linear (3, 4)     4×4          16                   4             16
├─ 1   ReLU              4×4                               4
└─ 2   Linear (4, 2)     4×2          10                2.83           23.3
sum                   scalar                               1
total                                 26                               28.3
"""

NEURON = """\
Computation: 3 parameters, 7 operations, 56 B kept for the backward pass

            what                  shape  parameters
multiply#1  w, x                 scalar           2
add#1       multiply#1, b        scalar           1
tanh#1      add#1                scalar
subtract#1  tanh#1, 1            scalar
power#1     subtract#1, 2        scalar
multiply#2  w x2                 scalar      shared
add#2       power#1, multiply#2  scalar
total                                             3
"""


class Two(nn.Module):
    """A module with two outputs."""

    def forward(self, x: Any) -> Any:
        return np.exp(x), np.sum(x)


class Loop(nn.Module):
    """A cell that is called again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh())

    def forward(self, x: Any) -> Any:
        for _ in range(28):
            x = self.cell(x)
        return x


def recorded() -> Graph:
    """A step of a small network whose numbers are round."""
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for parameter in model.parameters():
        parameter.data[...] = 0.5
    x = np.ones((4, 3), np.float32)
    with graph.record(model, names={"x": x}) as tape:
        np.sum(model(x)).backward()
    return tape.graph()


def names_of(text: str) -> list[str]:
    rows = text.split("\n\n")[1].splitlines()[1:]
    return [row.lstrip("├└│─ ").split()[0] for row in rows]


def test_a_small_network_gives_this_text() -> None:
    assert recorded().text(width=100) == GOLDEN


def test_backward_goes_from_the_loss_to_the_parameters() -> None:
    text = recorded().text("backward", width=100)
    assert names_of(text) == ["sum", "model", "2", "weight", "bias", "1", "0", "weight", "bias", "total"]


def test_operations_opens_the_modules() -> None:
    names = names_of(recorded().text("operations", width=100))
    assert names == ["model", "0", "linear#1", "1", "relu#1", "2", "linear#1", "sum#1", "total"]


def test_folded_operations_are_told_as_such_also_among_operations() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    for i in range(60):
        x = x + i
    rows = x.graph().text("operations", width=100).splitlines()
    assert [row.split("  ")[0] for row in rows if row.startswith("add")] == ["add#1", "add#2 … add#60"]
    assert " add x59 " in next(row for row in rows if "…" in row)


def test_a_parameter_is_counted_once() -> None:
    layer = nn.Linear(2, 2)
    with graph.record(layer) as tape:
        layer(layer(np.ones((1, 2), np.float32)))
    rows = [row.split() for row in tape.graph().text(width=100).splitlines()]
    assert [row[-1] for row in rows if row[:1] == ["model"]] == ["6", "shared"]
    assert ["total", "6"] in rows


def test_nothing_that_flows_back_is_said() -> None:
    x, y = (Tensor(2.0, requires_grad=True) for _ in range(2))
    with graph.record() as tape:
        (x * 3).backward()
        np.exp(y)
    rows = tape.graph().text(width=100).splitlines()
    assert [row.split()[-2:] for row in rows if row.startswith("exp")] == [["no", "gradient"]]


def test_values_that_are_not_finite_are_named_where_they_start() -> None:
    x = Tensor([-1.0, 1.0], requires_grad=True)
    with np.errstate(invalid="ignore"), graph.record() as tape:
        np.log(x) * 2
    rows = tape.graph().text(width=100).splitlines()
    assert [row.partition("← ")[2] for row in rows if "←" in row] == ["1/2 NaN start here", "1/2 NaN"]


def test_profile_has_times_and_memory() -> None:
    measured = graph.profile(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU()), np.ones((4, 3), np.float32), repeats=1
    )
    text = measured.text("profile", width=120)
    heading = text.split("\n\n")[1].splitlines()[0].split()
    assert heading[-6:] == ["forward", "share", "of", "time", "products", "kept"]
    assert re.search(r"^total .* 100%", text, re.M)
    assert "inputs: " in text


@pytest.mark.parametrize("depth", [None, 0, 1])
def test_peaks_are_where_the_picture_has_them(depth: int | None) -> None:
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4, rng=0), nn.ReLU()) for _ in range(3)))
    measured = graph.profile(model, np.ones((3, 4), np.float32), np.array([0, 1, 2]), repeats=1)
    found = [
        words
        for row in measured.text("profile", depth=depth).splitlines()
        for words in row.partition("← ")[2].split(", peak")
        if words
    ]
    boxes = measured.draw("profile", depth=depth).boxes
    drawn = [line for box in boxes for line in box.lines if line.startswith("peak")]
    assert sorted(words.removeprefix("peak") for words in found) == sorted(
        line.removeprefix("peak") for line in drawn
    )
    most = graph.peak(measured)
    assert most is not None
    assert sum("peak of memory" in row for row in measured.text("profile", depth=depth).splitlines()) == 1


def test_a_profile_names_its_inputs() -> None:
    x, y = np.ones((3, 4), np.float32), np.array([0, 1, 2])
    measured = graph.profile(nn.Linear(4, 3), x, y, names={"images": x, "labels": y}, repeats=1)
    assert "inputs: images 3×4 float32, labels 3 int64\n" in measured.text("profile")


@given(recordings(), st.sampled_from(["modules", "operations"]), st.integers(1, 60))
def test_any_graph_is_aligned(traced: Graph, view: str, budget: int) -> None:
    text = traced.text(view, budget=budget, width=200)
    rows = text.split("\n\n")[1].splitlines()
    end = rows[0].index("parameters") + len("parameters")
    total = sum(int(np.prod(node.value.shape)) for node in traced.parameters)
    assert rows[-1].startswith("total")
    assert rows[-1][:end].split()[-1] == f"{total:,}"
    assert all(row[end : end + 1] in ("", " ") for row in rows)
    assert text == traced.text(view, budget=budget, width=200)


def test_what_is_too_wide_is_shortened() -> None:
    wide = recorded().text(width=100).splitlines()
    narrow = recorded().text(width=50).splitlines()
    assert len(wide) == len(narrow)
    assert max(map(len, narrow[3:])) < max(map(len, wide[3:]))
    assert "Linear …" in "\n".join(narrow)


def test_the_width_of_the_terminal_changes_no_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = recorded()
    for columns in ("20", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setattr("shutil.get_terminal_size", lambda fallback=None: os.terminal_size((20, 20)))
        assert found.text() == GOLDEN
        assert found.save(tmp_path / "a.txt").read_text("utf-8") == GOLDEN


def test_no_name_is_shortened_in_a_file(tmp_path: Path) -> None:
    class AModuleWithANameThatNobodyWouldWantToReadOnATerminalOfAnyWidthAtAllNotToSpeakOfTypingIt(nn.Module):
        def forward(self, x: Any) -> Any:
            return np.exp(x)

    module = AModuleWithANameThatNobodyWouldWantToReadOnATerminalOfAnyWidthAtAllNotToSpeakOfTypingIt()
    found = module.graph(Tensor(np.ones(2), requires_grad=True))
    assert f"{type(module).__name__}  " in found.save(tmp_path / "a.txt").read_text("utf-8")
    assert f"{type(module).__name__}  " not in found.text(width=80)
    assert "…" in found.text(width=80)


def test_operations_say_what_they_take() -> None:
    x, w, b = (Tensor(value, requires_grad=True) for value in (0.5, -1.2, 0.8))
    loss = (np.tanh(w * x + b) - 1.0) ** 2 + w * w
    assert loss.graph(names={"x": x, "w": w, "b": b}).text("operations") == NEURON


def test_many_operands_are_counted() -> None:
    parts = [Tensor([float(i)], requires_grad=True) for i in range(20)]
    names = {f"p{i}": part for i, part in enumerate(parts)}
    text = np.concatenate(parts).graph(names=names).text("operations")
    assert "p6, p7, 12 more" in text
    assert "p8" not in text


def test_an_operand_that_is_one_of_several_results_has_its_number() -> None:
    values, vectors = np.linalg.eigh(Tensor(np.eye(2), requires_grad=True))
    assert re.search(r"matmul#1 +eigh#1\[1\], eigh#1\[0\]", (vectors @ values).graph().text("operations"))


def test_a_run_of_blocks_has_one_row_for_its_parameters() -> None:
    blocks = [nn.Sequential(nn.Linear(3, 3, rng=i), nn.Tanh()) for i in range(100)]
    with graph.record() as tape:
        np.sum(nn.Sequential(*blocks)(np.ones((2, 3), np.float32))).backward()
    rows = tape.graph().text("backward").splitlines()
    assert len(rows) < 12
    assert sum(bool(re.search(r"200 arrays +parameter +1,200 +\S+ to \S+$", row)) for row in rows) == 1


def test_a_loop_is_called_as_in_the_picture() -> None:
    found = Loop().graph(np.ones((2, 3), np.float32))
    assert "Sequential x28 steps" in found.text()
    assert "Sequential x28 steps" in {box.title for box in found.draw().boxes}


def test_a_module_with_two_outputs_shows_both_shapes() -> None:
    module = Two()
    with graph.record() as tape:
        one, other = module(Tensor(np.ones((2, 3)), requires_grad=True))
        (np.sum(one * 2) + other).backward()
    row = next(row for row in tape.graph().text().splitlines() if row.startswith("Two"))
    assert "2×3, scalar" in row
    assert row.split()[-2] == "5"  # the norm of 2 in each of six entries, and of 1


def test_what_came_about_inside_a_module_is_no_input() -> None:
    x = np.ones((2, 3), np.float32)
    with graph.record(names={"x": x}) as tape:
        nn.Sequential(nn.Linear(3, 3, rng=0), nn.Dropout(0.5, rng=0))(x)
    text = tape.graph().text("operations")
    assert "inputs: x 2×3 float32\n" in text
    assert re.search(r"multiply#1 +0/linear#1, constant#1", text)


@pytest.mark.parametrize("option", ["depth", "budget"])
@pytest.mark.parametrize("show", [Graph.text, Graph.draw, Graph.dot])
def test_what_does_not_count_is_an_error(option: str, show: Any) -> None:
    with pytest.raises(TypeError, match=f"{option} is a str, 'a'; expected a whole number"):
        show(recorded(), **{option: "a"})


def test_colour_says_nothing_alone() -> None:
    colored = recorded().text(color=True, width=100)
    assert "\x1b[1mmodel" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored).split() == recorded().text(width=100).split()
    assert "\x1b" not in recorded().text(width=100)


def test_no_name_speaks_to_the_terminal() -> None:
    x = Tensor(1.0, requires_grad=True)
    text = (x * np.ones(2)).graph(names={"x": x, "\x1b[31m\nred": np.ones(2)}).text(width=100)
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("view", "options", "words"),
    [
        ("sideways", {}, "no view 'sideways'; expected one of modules"),
        ("modules", {"depth": -1}, "depth is -1; expected 0"),
        ("modules", {"budget": 0}, "budget is 0; expected at least one box"),
        ("profile", {}, "the profile view needs times"),
    ],
)
def test_what_no_picture_can_show_is_an_error(view: str, options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        recorded().text(view, **options)


def test_no_note_speaks_of_boxes_that_a_text_has_not() -> None:
    traced = recorded()
    assert not any("parameters are" in traced.text(depth=1, budget=budget) for budget in (2, 40))


def test_gradients_that_are_not_finite_are_named_where_they_start() -> None:
    x = Tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(divide="ignore"), graph.record() as tape:
        np.sum(np.sqrt(x) * 2).backward()
    rows = tape.graph().text("backward", width=120).splitlines()
    assert next(row.partition("← ")[2] for row in rows if "←" in row) == "gradient: 1/2 inf start here"
