"""The numbers of a storyboard are those of backward()."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.graph.storyboard.computations import computations, micrograd, neuron, wanted
from tests.graph.strategies import SAMPLED
from tinygrad_mnist import AnomalyError, Tensor, checkpoint, detect_anomaly, graph, nn
from tinygrad_mnist.engine.op import REGISTRY
from tinygrad_mnist.engine.tensor import apply
from tinygrad_mnist.graph.storyboard.data import Entries
from tinygrad_mnist.testing.strategies import op_inputs


def array(entries: Entries) -> Any:
    return np.reshape(entries.entries, entries.shape)


@given(computations())
def test_the_gradients_are_those_of_backward(computation: tuple[Tensor, dict[str, Tensor]]) -> None:
    loss, leaves = computation
    told = graph.storyboard(loss, leaves).gradients
    assert all(leaf.grad is None for leaf in leaves.values())
    loss.backward()
    expected = {name: leaf.grad.data for name, leaf in leaves.items() if leaf.grad is not None}
    assert told.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_array_equal(array(told[name]), gradient, err_msg=name)


@given(computations())
def test_contributions_add_up(computation: tuple[Tensor, dict[str, Tensor]]) -> None:
    board = graph.storyboard(*computation)
    totals: dict[str, Any] = {board.quantities[-1].id: 1.0}
    counts: Counter[str] = Counter()
    for step in board.steps:
        np.testing.assert_allclose(array(step.incoming), totals[step.quantity])
        for one in step.contributions:
            if one.before is None:
                assert one.target not in totals
            else:
                np.testing.assert_array_equal(array(one.before), totals[one.target])
            totals[one.target] = totals.get(one.target, 0) + array(one.part)
            counts[one.target] += 1
            assert one.arrived == counts[one.target] <= one.expected
            np.testing.assert_array_equal(array(one.total), totals[one.target])
    for quantity in board.quantities:
        assert quantity.uses == counts[quantity.id]
        if quantity.gradient is not None:
            np.testing.assert_allclose(array(quantity.gradient), totals[quantity.id])


@given(computations())
def test_what_comes_in_times_the_local_derivative_goes_out(
    computation: tuple[Tensor, dict[str, Tensor]],
) -> None:
    board = graph.storyboard(*computation)
    for step in board.steps:
        for one in step.contributions:
            local, g = array(one.local or Entries.of(0)), array(step.incoming)
            part = g.ravel() @ local if one.jacobian else (g * local).ravel()
            np.testing.assert_allclose(part, array(one.part).ravel(), rtol=1e-9, atol=1e-12)


@given(st.data())
def test_every_registered_operation_has_a_storyboard(data: st.DataObject) -> None:
    op = REGISTRY[data.draw(st.sampled_from(SAMPLED))]
    arguments, static = data.draw(op_inputs(op))
    tensors = [
        wanted(one) if isinstance(one, np.ndarray) and one.dtype.kind == "f" else one for one in arguments
    ]
    with np.errstate(all="ignore"):
        out = apply(op, tuple(tensors), static)
        loss = np.sum(out[0] if isinstance(out, tuple) else out)
        assume(loss.requires_grad)
        names = {f"t{i}": one for i, one in enumerate(tensors) if isinstance(one, Tensor)}
        board = graph.storyboard(loss, names)
        loss.backward()
    assert board.title in board.text()
    for name, gradient in board.gradients.items():
        assert gradient == Entries.of(names[name].grad.data)


def test_an_empty_result_has_a_storyboard() -> None:
    x, y = wanted(np.zeros(0)), wanted(1.0)
    gradients = graph.storyboard(np.sum(x + y), {"x": x, "y": y}).gradients
    assert (gradients["x"].shape, gradients["y"].entries) == ((0,), (0.0,))


def test_the_example_of_micrograd() -> None:
    board = graph.storyboard(*micrograd())
    assert board.title == "L = (a × b + c) × f"
    assert {name: entries.text() for name, entries in board.gradients.items()} == {
        "a": "6",
        "b": "−4",
        "c": "−2",
        "f": "4",
    }
    assert [(one.name, one.expression) for one in board.quantities if one.expression] == [
        ("e", "a × b"),
        ("d", "e + c"),
        ("L", "d × f"),
    ]


def test_the_neuron() -> None:
    board = graph.storyboard(*neuron())
    assert board.title == "L = tanh(w1 × x1 + w2 × x2 + b)"
    rounded = {name: round(entries.entries[0], 4) for name, entries in board.gradients.items()}
    assert rounded == {"w1": 1.0, "x1": -1.5, "w2": 0.0, "x2": 0.5, "b": 0.5}


def test_a_step_of_the_text() -> None:
    text = graph.storyboard(*micrograd()).text()
    assert text.split("\n\n")[4] == (
        "step 4 of 5: e = a × b\n"
        "  comes in: ∂L/∂e = −2\n"
        "  to a\n"
        "    local derivative: ∂e/∂a = b = −3\n"
        "    goes out: −2 × (−3) = 6\n"
        "  to b\n"
        "    local derivative: ∂e/∂b = a = 2\n"
        "    goes out: −2 × 2 = −4"
    )


def test_the_same_tensor_twice_gets_two_contributions() -> None:
    x = wanted(3.0)
    [step] = graph.storyboard(x * x, {"x": x}).steps
    assert [(one.part.text(), one.arrived, one.expected) for one in step.contributions] == [
        ("3", 1, 2),
        ("3", 2, 2),
    ]
    assert step.contributions[1].total.text() == "6"


def test_the_tape_and_the_gradients_stay_as_they_are() -> None:
    x = wanted(3.0)
    x.grad = Tensor(7.0)
    loss = x * x
    assert graph.storyboard(loss).text() == graph.storyboard(loss).text()
    assert x.grad.item() == 7.0
    loss.backward()
    assert x.grad.item() == 13.0


def test_a_recorder_that_is_on_is_told_of_the_walk_and_of_nothing_else() -> None:
    x = wanted(3.0)
    with graph.record() as tape:
        loss = np.exp(x)
        graph.storyboard(loss)
    assert [node.id for node in tape.graph().operations] == ["exp#1"]
    assert tape.graph().has_gradients


def test_a_detector_of_anomalies_that_is_on_finds_one_in_the_walk() -> None:
    x = wanted(0.0)
    with detect_anomaly(), np.errstate(divide="ignore"), pytest.raises(AnomalyError, match="'sqrt'"):
        graph.storyboard(np.sqrt(x))


def test_a_hook_is_seen() -> None:
    x = wanted(3.0)
    x.register_hook(lambda g: 10 * g)
    assert graph.storyboard(x * 2, {"x": x}).gradients["x"].entries == (20.0,)


def test_parameters_have_their_names_and_others_get_one() -> None:
    layer = nn.Linear(2, 1, rng=0)
    x, y = np.ones((1, 2), np.float32), np.float32([[1]])
    board = graph.storyboard(np.mean((layer(x) - y) ** 2), {"y": y})
    assert [quantity.name for quantity in board.quantities] == [
        *("c1", "weight", "bias", "v1", "y", "v2", "v3", "L"),
    ]


def test_a_name_that_is_taken_is_not_made_up() -> None:
    L, v1, b = wanted(1.0), wanted(2.0), wanted(3.0)
    board = graph.storyboard(L * v1 * b, {"L": L, "v1": v1})
    assert [quantity.name for quantity in board.quantities] == ["L", "v1", "v2", "x1", "loss"]


def test_several_results_have_gradients() -> None:
    x = wanted([[2.0, 1.0], [1.0, 3.0]])
    values, vectors = np.linalg.eigh(x)
    loss = np.sum(values[:1]) + np.sum(vectors * np.array([[1.0, 0.5], [0.2, 0.1]]))
    board = graph.storyboard(loss, {"x": x, "vectors": vectors})
    loss.backward()
    assert x.grad is not None
    np.testing.assert_allclose(array(board.gradients["x"]), x.grad.data)
    assert "v1, vectors" in [quantity.name for quantity in board.quantities]


def test_a_checkpointed_function_is_one_operation() -> None:
    x = wanted(0.5)
    loss = checkpoint(lambda x: np.sin(x) ** 2)(x) * 3
    told = graph.storyboard(loss, {"x": x}).gradients["x"]
    loss.backward()
    assert x.grad is not None
    np.testing.assert_allclose(array(told), x.grad.data)


def test_large_arrays_are_summarised_by_their_statistics() -> None:
    x = wanted(np.arange(100.0))
    board = graph.storyboard(np.sum(x * x), {"x": x})
    assert board.gradients["x"].entries == ()
    assert board.gradients["x"].text() == "100, from 0 to 198, norm 1146"
    [first, _] = board.steps[-1].contributions
    assert first.local is not None
    assert first.local.text() == "100, from 0 to 99, norm 573"


def test_a_large_jacobian_is_left_out() -> None:
    w, x = wanted(np.ones((3, 5))), np.ones((5, 4))
    step = graph.storyboard(np.sum(w @ x), {"w": w}).steps[-1]
    assert step.contributions[0].local is None


def test_an_operation_without_a_formula_has_its_numbers() -> None:
    x = wanted(0.5)
    [step] = graph.storyboard(np.sinc(x), {"x": x}).steps
    assert step.contributions[0].formula == ""
    assert step.contributions[0].local is not None


# ---- errors ---------------------------------------------------------------------------------


def test_more_than_a_scalar_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) was asked for; expected a scalar"):
        graph.storyboard(wanted([1.0, 2.0, 3.0]) * 2)


def test_a_freed_tape_is_an_error() -> None:
    x = wanted(3.0)
    loss = x * x
    loss.backward()
    with pytest.raises(RuntimeError, match="the tape was freed by backward"):
        graph.storyboard(loss)


def test_too_many_operations_are_an_error() -> None:
    x = wanted(0.1)
    y = x
    for _ in range(60):
        y = y + x
    assert len(graph.storyboard(y).steps) == 60
    with pytest.raises(ValueError, match="storyboard of 61 operations was asked for; expected at most 60"):
        graph.storyboard(y + x)


@pytest.mark.parametrize("loss", [wanted(1.0), Tensor(1.0)], ids=["leaf", "constant"])
def test_what_has_no_tape_is_an_error(loss: Tensor) -> None:
    with pytest.raises(ValueError, match="without a tape"):
        graph.storyboard(loss)


def test_what_is_no_tensor_is_an_error() -> None:
    with pytest.raises(TypeError, match="storyboard of a float"):
        graph.storyboard(1.0)
