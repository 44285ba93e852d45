"""What a recording knows: modules, calls, names, lines and gradients."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, graph, nn, no_grad
from tinygrad_mnist.graph.data import Statistics


def model_of(seed: int = 0) -> nn.Sequential:
    rng = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(6, 4, rng=rng),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Dropout(0.5, rng=rng),
        nn.Linear(4, 3, rng=rng),
    )


X = np.random.default_rng(1).standard_normal((5, 6), dtype=np.float32)
Y = np.array([0, 1, 2, 1, 0])


def step(model: nn.Module) -> Tensor:
    return nn.CrossEntropyLoss()(model(X), Y)


def recorded(model: nn.Module) -> graph.Graph:
    with graph.record() as tape:
        step(model).backward()
    return tape.graph()


def ids(found: graph.Graph, kind: str = "operation") -> list[str]:
    return [node.id for node in found.nodes if node.kind == kind]


class TestModules:
    def test_operations_stand_in_the_modules_that_called_them(self) -> None:
        assert ids(recorded(model_of())) == [
            "model/0/linear#1",
            "model/1/batch_norm#1",
            "model/2/relu#1",
            "model/3/multiply#1",
            "model/4/linear#1",
            "CrossEntropyLoss/cross_entropy#1",
        ]

    def test_parameters_stand_in_the_modules_that_own_them(self) -> None:
        assert ids(recorded(model_of()), "parameter") == [
            "model/0/weight", "model/0/bias",
            "model/1/weight", "model/1/bias",
            "model/4/weight", "model/4/bias",
        ]  # fmt: skip

    def test_a_second_call_is_a_cluster_of_its_own(self) -> None:
        class Looped(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.cell = nn.Linear(3, 3)

            def forward(self, x: Any) -> Any:
                for _ in range(3):
                    x = np.tanh(self.cell(x))
                return x

        found = Looped().graph(np.ones((2, 3), np.float32))
        assert [cluster.id for cluster in found.clusters] == [
            "model", "model/cell", "model/cell@2", "model/cell@3",
        ]  # fmt: skip
        assert {cluster.module for cluster in found.clusters[1:]} == {"model/cell"}
        assert ids(found, "parameter") == ["model/cell/weight", "model/cell/bias"]

    def test_a_module_in_a_call_of_another_that_does_not_own_it_has_a_name_of_its_own(self) -> None:
        others = [nn.Linear(3, 3), nn.Linear(3, 3)]

        class Borrower(nn.Module):
            def forward(self, x: Any) -> Any:
                return others[1](others[0](x))

        found = Borrower().graph(np.ones((2, 3), np.float32))
        assert [cluster.id for cluster in found.clusters] == ["model", "model/Linear", "model/Linear_2"]
        assert len(set(ids(found, "parameter"))) == 4

    def test_a_child_called_without_its_parent_keeps_its_path(self) -> None:
        model = model_of()
        with graph.record() as tape:
            model[0](X)
        assert ids(tape.graph()) == ["model/0/linear#1"]

    def test_a_module_that_did_nothing_is_there_all_the_same(self) -> None:
        found = model_of().eval().graph(X)
        assert "model/3" in [cluster.id for cluster in found.clusters]
        assert not [node for node in found.nodes if node.cluster == "model/3"]

    def test_buffers_go_by_their_names(self) -> None:
        class Shift(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("offset", np.ones(3))

            def forward(self, x: Any) -> Any:
                return x + self.offset

        found = nn.Sequential(Shift()).graph(Tensor(np.ones((2, 3)), requires_grad=True))
        assert ids(found, "buffer") == ["model/0/offset"]

    def test_a_module_that_stands_twice_in_a_model_goes_by_its_first_place(self) -> None:
        layer = nn.Linear(3, 3)
        found = nn.Sequential(layer, nn.ReLU(), layer).graph(np.ones((2, 3), np.float32))
        assert [cluster.id for cluster in found.clusters] == ["model", "model/0", "model/1", "model/0@2"]
        assert ids(found, "parameter") == ["model/0/weight", "model/0/bias"]

    @pytest.mark.parametrize("given", [True, False])
    def test_a_module_of_two_models_goes_by_its_place_in_the_one_that_runs(self, given: bool) -> None:
        encoder, x = nn.Linear(3, 3), np.ones((2, 3), np.float32)
        model = nn.Sequential(encoder, nn.ReLU(), nn.Linear(3, 2))
        nn.Sequential(nn.ReLU(), nn.ReLU(), encoder)
        with graph.record(model if given else None) as tape:
            out = np.sum(model(x))
        names = ["model/0/weight", "model/0/bias", "model/2/weight", "model/2/bias"]
        assert ids(tape.graph(), "parameter") == ids(graph.trace(out, model), "parameter") == names

    def test_a_part_of_a_model_can_be_the_model(self) -> None:
        model = nn.Sequential(nn.Sequential(nn.Linear(3, 3)), nn.ReLU())
        with graph.record(model[0]) as tape:
            model[0](np.ones((2, 3), np.float32))
        assert ids(tape.graph())[0] == "model/0/linear#1"
        assert ids(tape.graph(), "parameter") == ["model/0/weight", "model/0/bias"]


class TestGradients:
    def test_they_are_those_of_backward(self) -> None:
        model = model_of()
        found = recorded(model)
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            node = found.by_id["model/" + name.replace(".", "/")]
            assert node.value.gradient == Statistics.of(parameter.grad.data)

    def test_contributions_to_a_tensor_used_twice_are_told_apart(self) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        with graph.record(names={"x": x}) as tape:
            np.sum(3.0 * x + x * x).backward()
        found = tape.graph()
        norms = {
            edge.target: edge.gradient and edge.gradient.norm for edge in found.edges if edge.source == "x"
        }
        assert norms["multiply#1"] == pytest.approx(np.hypot(3, 3), rel=1e-3)
        assert norms["multiply#2"] == pytest.approx(np.hypot(2, 4), rel=1e-3)
        assert found.by_id["x"].value.gradient == Statistics.of(np.array([5.0, 7.0]))

    def test_a_second_backward_is_told_apart_from_the_first(self) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        with graph.record(names={"x": x}) as tape:
            loss = np.sum(x * x)
            loss.backward(retain_graph=True)
            loss.backward()
        assert tape.graph().by_id["x"].value.gradient == Statistics.of(np.array([2.0, 4.0]))

    def test_hooks_have_a_say_in_it(self) -> None:
        x, y = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
        x.register_hook(lambda g: g * 10)
        with graph.record(names={"x": x, "y": y}) as tape:
            np.sum(x * 3).backward()
            inside = tape.graph()
            z = y * 2
            z.register_hook(lambda g: g * 5)
            np.sum(z).backward()
        for found in (inside, tape.graph()):
            assert found.by_id["x"].value.gradient == Statistics.of(np.array([30.0, 30.0]))
        assert tape.graph().by_id["y"].value.gradient == Statistics.of(np.array([10.0, 10.0]))

    def test_none_came_where_none_flows(self) -> None:
        model = model_of()
        with graph.record() as tape:
            np.sum(model[0](X)).backward()
            model[4](np.ones((1, 4), np.float32))
        found = tape.graph()
        assert found.by_id["model/0/weight"].value.gradient is not None
        assert found.by_id["model/4/weight"].value.gradient is None

    def test_a_recorded_backward_is_seen_too(self) -> None:
        x = Tensor(2.0, requires_grad=True)
        with graph.record(names={"x": x}) as tape:
            (x**3).backward(create_graph=True)
        gradient = tape.graph().by_id["x"].value.gradient
        assert gradient is not None
        assert gradient.max == 12.0


class TestEdges:
    def test_as_many_as_uses(self) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        found = (x * x).graph()
        assert [(edge.source, edge.argument) for edge in found.edges] == [
            ("parameter#1", 0),
            ("parameter#1", 1),
        ]

    def test_a_detached_result_is_still_known(self) -> None:
        x = Tensor([1.0, 2.0], requires_grad=True)
        with graph.record() as tape:
            np.exp(np.sin(x).detach())
        edge = tape.graph().edges[-1]
        assert (edge.source, edge.target, edge.requires_grad) == ("sin#1", "exp#1", False)

    def test_without_gradients_results_are_known_by_their_arrays(self) -> None:
        with graph.record() as tape, no_grad():
            model_of().eval()(X)
        found = tape.graph()
        assert ("model/2/relu#1", "model/4/linear#1") in [(edge.source, edge.target) for edge in found.edges]
        assert ids(found, "parameter")[0] == "model/0/weight"

    def test_results_of_one_operation_with_several_are_told_apart(self) -> None:
        a = Tensor(np.arange(4.0).reshape(2, 2) + np.eye(2), requires_grad=True)
        with graph.record(names={"a": a}) as tape:
            q, r = np.linalg.qr(a)
            (np.sum(q) + np.sum(r * r)).backward()
        found = tape.graph()
        assert [(e.target, e.output) for e in found.edges if e.source == "qr#1"] == [
            ("sum#1", 0), ("multiply#1", 1), ("multiply#1", 1),
        ]  # fmt: skip
        assert all(value.gradient is not None for value in found.by_id["qr#1"].values)

    def test_what_was_made_before_is_an_input(self) -> None:
        x = Tensor([1.0], requires_grad=True)
        before = np.exp(x)
        with graph.record() as tape:
            np.sin(before)
        found = tape.graph()
        assert [(node.kind, node.requires_grad) for node in found.nodes] == [
            ("input", True),
            ("operation", True),
        ]


class TestWords:
    def test_lines_are_the_users_own(self) -> None:
        x = Tensor(2.0, requires_grad=True)
        with graph.record() as tape:
            np.exp(x)  # here
        assert tape.graph().nodes[-1].line.startswith("test_record.py:")
        assert "np.exp(x)  # here" in tape.graph().nodes[-1].line

    def test_arguments_that_are_not_edges(self) -> None:
        x = Tensor(np.ones((2, 3)), requires_grad=True)
        with graph.record() as tape:
            np.sum(2 * x[0, 1:], axis=0) ** 2.5
        assert [node.arguments for node in tape.graph().operations] == [
            "index=(0, 1:)",
            "2, ·",
            "axis=0",
            "·, 2.5",
        ]

    def test_names_are_given(self) -> None:
        x, y = Tensor(2.0, requires_grad=True), np.ones(3)
        with graph.record(names={"x": x, "y": y}) as tape:
            x * y
        assert [node.id for node in tape.graph().nodes] == ["x", "y", "multiply#1"]

    def test_what_has_a_users_name_stands_at_the_top(self) -> None:
        model, x = model_of(), Tensor(X, requires_grad=True)
        with graph.record(model, {"x": x}) as tape:
            out = np.sum(model(x))
        for found in (tape.graph(), graph.trace(out, model, {"x": x})):
            assert found.nodes[0].id == "x"
            assert found.nodes[0].cluster == ""

    def test_a_result_that_was_there_before_can_have_a_name(self) -> None:
        before = Tensor(1.0, requires_grad=True) * np.ones(2)
        with graph.record(names={"before": before}) as tape:
            np.sin(before)
        assert ids(tape.graph(), "input") == ["before"]

    def test_a_name_for_something_else_is_an_error(self) -> None:
        with pytest.raises(TypeError, match=r"names\['x'\] is a list; expected a Tensor or an ndarray"):
            graph.Recording(names={"x": [1.0]})


def test_a_checkpointed_function_is_one_operation() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    with graph.record(names={"x": x}) as tape:
        np.sum(checkpoint(lambda t: np.exp(np.sin(t)))(x)).backward()
    found = tape.graph()
    assert ids(found) == ["checkpoint#1", "sum#1"]
    assert [(edge.source, edge.target) for edge in found.edges] == [
        ("x", "checkpoint#1"),
        ("checkpoint#1", "sum#1"),
    ]
    assert found.by_id["x"].value.gradient == Statistics.of(np.exp(np.sin(1.0)) * np.cos(1.0) * np.ones(3))


class TestErrors:
    def test_nothing_was_recorded(self) -> None:
        with graph.record() as tape:
            pass
        with pytest.raises(ValueError, match="nothing was recorded; compute something inside"):
            tape.graph()

    def test_an_output_that_was_not_recorded(self) -> None:
        with graph.record() as tape:
            np.exp(Tensor(1.0, requires_grad=True))
        with pytest.raises(
            ValueError, match=r"an output of shape \(2,\) was not computed by what was recorded"
        ):
            tape.graph(Tensor(np.ones(2)))

    def test_only_what_led_to_an_output(self) -> None:
        x = Tensor(1.0, requires_grad=True)
        with graph.record() as tape:
            np.exp(x)
            out = np.sin(x)
        assert ids(tape.graph(out)) == ["sin#1"]
        assert tape.graph().outputs == ("exp#1", "sin#1")


class Shifted(nn.Module):
    """Adds an array of its own making to what it is given."""

    def forward(self, x: Any, others: Any = ()) -> Any:
        y = Tensor(x) + np.full(3, 2.0)
        for other in others:
            y = y + other
        return y


def labels_of(module: Any, *given: Any) -> list[str]:
    with graph.record() as tape:
        module(*given)
    return [node.label for node in tape.graph().nodes if node.kind == "input"]


def test_only_what_comes_from_outside_is_an_input() -> None:
    x = np.ones(3)
    assert labels_of(Shifted(), x) == ["input", "constant"]
    assert labels_of(Shifted(), np.ones((2, 3))[0], [x]) == ["input", "constant", "input"]
    assert labels_of(nn.Sequential(Shifted(), Shifted()), Tensor(x)) == ["input", "constant", "constant"]
    assert labels_of(lambda x: Tensor(x) + np.ones(3), x) == ["input", "input"]


def test_where_no_array_was_given_none_is_called_a_constant() -> None:
    assert labels_of(Shifted(), [1.0, 2.0, 3.0]) == ["input", "input"]


# ---- inputs that require a gradient, and modules of one name ---------------------------------------------


def saliency(x: Any) -> Tensor:
    return Tensor(x, requires_grad=True)


def kinds(found: graph.Graph) -> dict[str, str]:
    return {node.id: node.kind for node in found.nodes if node.requires_grad and node.kind != "operation"}


PARAMETERS = {"model/weight": "parameter", "model/bias": "parameter"}
MAKERS: dict[str, Any] = {
    "graph": lambda model, x, y: model.graph(x),
    "trace": lambda model, x, y: graph.trace(model(x)),
    "trace of a model": lambda model, x, y: graph.trace(model(x), model=model),
    "profile": graph.profile,
    "scaled": lambda model, x, y: graph.trace(model((x - 0.5) / 2.0)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_an_input_that_requires_a_gradient_is_no_parameter(name: str) -> None:
    found = MAKERS[name](nn.Linear(6, 4), saliency(X), Y)
    assert kinds(found) == {**PARAMETERS, "input#1": "input"}
    assert sum(node.value.size for node in found.parameters) == 28
    assert "28 parameters" in found.text().splitlines()[0]
    assert "inputs: input#1 5×6 float32" in found.text()


def test_an_input_that_requires_a_gradient_keeps_its_name_and_gradient() -> None:
    model, x = nn.Linear(6, 4), saliency(X)
    with graph.record(model, names={"picture": x}) as tape:
        nn.CrossEntropyLoss()(model(x), Y).backward()
    found = tape.graph()
    assert kinds(found) == {**PARAMETERS, "picture": "input"}
    assert found.by_id["picture"].value.gradient == Statistics.of(x.grad.data)  # type: ignore[union-attr]
    for view in ("modules", "operations", "backward"):
        assert "picture" in found.text(view)
        assert "28 parameters" in found.text(view).splitlines()[0]
        assert "picture" in found.dot(view)


def test_what_is_trained_beside_a_model_is_a_parameter() -> None:
    model, factor = nn.Linear(6, 4), Tensor(2.0, requires_grad=True)
    found = np.mean(model(saliency(X)) * factor).graph(names={"factor": factor})
    assert kinds(found) == {**PARAMETERS, "input#1": "input", "factor": "parameter"}


def test_without_a_module_that_has_parameters_what_requires_a_gradient_is_one() -> None:
    weight = saliency(np.ones((6, 3)))
    with graph.record(names={"weight": weight}) as tape:
        nn.CrossEntropyLoss()(nn.ReLU()(np.asarray(X, float) @ weight), Y).backward()
    assert kinds(tape.graph()) == {"weight": "parameter"}
    named = nn.Linear(6, 4)
    assert kinds(named.graph(X)) == PARAMETERS
    found = graph.trace(named(X), names={"mine": named.weight})
    assert kinds(found) == {"mine": "parameter", "model/bias": "parameter"}


def test_an_input_that_requires_a_gradient_has_a_name_and_a_gradient_in_a_storyboard() -> None:
    model, x = nn.Linear(2, 1), saliency(np.ones((1, 2), np.float32))
    board = graph.storyboard(np.sum(model(x)), {"x": x})
    assert set(board.gradients) == {"x", "weight", "bias"}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def encode(self, x: Any) -> Any:
        return self.linear(x)


class Siamese(nn.Module):
    """Modules called through a method that is not ``forward``: no call of theirs is seen."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            setattr(self, name, Encoder())

    def forward(self, x: Any) -> Any:
        for name in self.names:
            x = getattr(self, name).encode(x)
        return x


def test_modules_of_one_name_in_two_places_are_told_apart() -> None:
    found = Siamese("left", "right").graph(X[:, :2])
    assert [cluster.name for cluster in found.clusters] == ["model", "left.linear", "right.linear"]
    rows = [line.split()[1] for line in found.text().splitlines() if "Linear" in line]
    assert rows == ["left.linear", "right.linear"]
    for text in (found.dot("operations"), found.mermaid("operations"), found.html()):
        assert "left.linear" in text
        assert "right.linear" in text


def test_a_fold_of_modules_of_one_name_names_its_ends_by_their_places() -> None:
    found = Siamese(*"abcdefgh").graph(X[:, :2])
    assert "a.linear … h.linear" in found.text(depth=1, budget=3)


# ---- a recording that ends, or fails, in the middle ------------------------------------------------------


class Opens(nn.Module):
    """A module that records what it does itself."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        with graph.record() as self.tape:
            return self.linear(x)


def test_a_recording_in_a_module_hears_what_runs_in_it_and_the_outer_one_too() -> None:
    model = Opens()
    with graph.record() as outer:
        model(X)
    assert ids(outer.graph()) == ids(model.tape.graph()) == ["model/linear/linear#1"]


class Unspeakable(nn.Module):
    """A module that a recording cannot describe."""

    def extra_repr(self) -> str:
        raise RuntimeError("no words")

    def forward(self, x: Any) -> Any:
        return x * 2


def test_a_module_that_cannot_be_described_leaves_nothing_behind() -> None:
    model = model_of()
    with graph.record() as outer, graph.record() as inner:
        with pytest.raises(RuntimeError, match="no words"):
            nn.Sequential(nn.Linear(6, 4), Unspeakable())(X)
        model(X)
    assert ids(outer.graph()) == ids(inner.graph())
    tops = {cluster.id for cluster in outer.graph().clusters if not cluster.parent}
    assert tops == {"model", "Sequential"}


def test_windows_are_told_by_kernel_stride_and_padding() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 5, stride=2, padding=2, rng=0), nn.MaxPool2d(2), nn.AvgPool2d(2, 1))
    with graph.record(model) as tape:
        model(np.ones((1, 1, 9, 9), np.float32))
    told = [(node.label, node.arguments, node.value.shape) for node in tape.graph().operations]
    assert told == [
        ("conv2d", "kernel 5×5, stride 2×2, padding 2", (1, 2, 5, 5)),
        ("max pool", "kernel 2×2, stride 2×2", (1, 2, 2, 2)),
        ("average pool", "kernel 2×2", (1, 2, 1, 1)),
    ]
