"""The outline in a terminal is aligned, counts right, and never wider than it must be."""

import re

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

       what            shape  parameters  gradient norm
model  Sequential        4×2          26           2.83
├─ 0   Linear (3, 4)     4×4          16              4
├─ 1   ReLU              4×4                          4
└─ 2   Linear (4, 2)     4×2          10           2.83
sum                   scalar                          1
total                                 26
"""


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
    assert names == ["model", "0", "linear", "1", "relu", "2", "linear", "sum", "total"]


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
    assert heading[-5:] == ["forward", "share", "of", "time", "kept"]
    assert re.search(r"^total .* 100%", text, re.M)
    assert text.count("← most memory") >= 1


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
    assert max(map(len, narrow[3:])) <= 50 < max(map(len, wide[3:]))
    assert "Linear …" in "\n".join(narrow)


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert recorded().text() == recorded().text(width=50)


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
def test_what_no_picture_can_show_is_refused(view: str, options: dict[str, int], words: str) -> None:
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
