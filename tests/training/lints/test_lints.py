"""Each fault is found and said in words; its clean twin is passed over in silence; and nothing is changed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, nn, optim
from tinygrad_mnist.data import Batches
from tinygrad_mnist.nn import functional as F
from tinygrad_mnist.training import Callback, DivergedError, Fit, fit, lint
from tinygrad_mnist.training.lints import course_rules
from tinygrad_mnist.training.lints.batch_rules import label_fault
from tinygrad_mnist.training.lints.course_rules import BatchSummary, Beginning
from tinygrad_mnist.training.lints.divergence import Snapshots, origin
from tinygrad_mnist.training.lints.lints import LINTS, LintWarning
from tinygrad_mnist.training.loop import compilation

CLASSES = 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 8)).astype(np.float32)
Y = RNG.integers(0, CLASSES, 96)
YES_NO = (Y > 0).astype(np.float32)[:, None]
CROSS_ENTROPY = nn.CrossEntropyLoss()


def mlp(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16, rng=0), nn.ReLU(), nn.Linear(16, CLASSES, rng=1), *last)


class Own(nn.Module):
    """A model whose forward is a function of a layer and the inputs."""

    def __init__(self, forward: Callable[[nn.Linear, Any], Any], outputs: int = CLASSES) -> None:
        super().__init__()
        self.layer = nn.Linear(8, outputs, rng=0)
        self.function = forward

    def forward(self, x: Any) -> Any:
        return self.function(self.layer, x)


def said(
    model: nn.Module, loss: Any = CROSS_ENTROPY, x: Any = X, y: Any = Y, optimizer: Any = None
) -> dict[str, str]:
    return {one.name: one.sentence for one in lint(model, loss, x, y, optimizer)}


def only(found: dict[str, str], name: str) -> str:
    assert list(found) == [name]
    return found[name]


# ---- the clean twins ---------------------------------------------------------------------------------------


def image_model() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5, rng=0),
        nn.Linear(144, CLASSES, rng=1),
    )  # fmt: skip


def with_zeros() -> nn.Sequential:
    """Return a model whose last layer starts at 0, so that the first gradients of the others are 0."""
    model = mlp()
    model[2].weight.data[...] = 0
    return model


def narrow() -> nn.Sequential:
    """Return a model with a narrow layer, of which 5 of 8 units are dead."""
    model = nn.Sequential(nn.Linear(8, 8, rng=0), nn.ReLU(), nn.Linear(8, CLASSES, rng=1))
    model[0].bias.data[...] = np.where(np.arange(8) < 5, -100, 0)
    return model


class SometimesDeep(nn.Module):
    """A model that leaves one of its layers out at every other call."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8, rng=0), nn.Linear(8, CLASSES, rng=1)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.last(x if self.calls % 2 else self.first(x))


MASK = (np.arange(96 * CLASSES) % 2).astype(np.float32)
WITH_NAN = np.where(np.arange(96)[:, None] == 7, np.float32(np.nan), X)

CLEAN: dict[str, Callable[[], tuple[Any, ...]]] = {
    "mlp": lambda: (mlp(),),
    "one-hot rows": lambda: (mlp(), CROSS_ENTROPY, X, np.eye(CLASSES, dtype=np.float32)[Y]),
    "ignored labels": lambda: (mlp(), CROSS_ENTROPY, X, np.where(Y == 0, -100, Y)),
    "convolution": lambda: (
        image_model(),
        CROSS_ENTROPY,
        X[:, None, :, None] + np.zeros((8, 8), np.float32)[None, None],
    ),
    "log-softmax and NLL": lambda: (mlp(nn.LogSoftmax(dim=1)), nn.NLLLoss()),
    "logits and BCE": lambda: (nn.Linear(8, 1, rng=0), nn.BCEWithLogitsLoss(), X, YES_NO),
    "sigmoid and BCE of probabilities": lambda: (
        nn.Sequential(nn.Linear(8, 1, rng=0), nn.Sigmoid()),
        nn.BCELoss(),
        X,
        YES_NO,
    ),
    "softmax and MSE": lambda: (
        mlp(nn.Softmax(dim=1)),
        nn.MSELoss(),
        X,
        np.eye(CLASSES, dtype=np.float32)[Y],
    ),
    "softmax inside": lambda: (Own(lambda layer, x: layer(x * F.softmax(Tensor(X[0]), 0))),),
    "rows that sum to one": lambda: (
        Own(lambda layer, x: (z := np.abs(layer(x))) / np.sum(z, axis=1, keepdims=True)),
    ),
    "regression": lambda: (nn.Linear(8, 1, rng=0), nn.MSELoss(), X, YES_NO),
    "regression by hand": lambda: (nn.Linear(8, 1, rng=0), lambda out, y: np.mean((out - y) ** 2), X, YES_NO),
    "last layer of zeros": lambda: (with_zeros(),),
    "frozen layer": lambda: (frozen(),),
    "all of float64": lambda: (mlp().astype(np.float64), CROSS_ENTROPY, X.astype(np.float64)),
    "scaled in forward": lambda: (Own(lambda layer, x: layer(x / 255)), CROSS_ENTROPY, 255 * np.abs(X)),
    "normalised at once": lambda: (
        nn.Sequential(nn.Linear(8, 3, rng=0), nn.BatchNorm1d(3)),
        CROSS_ENTROPY,
        100 * X,
    ),
    "a few dead units": lambda: (narrow(),),
    "layers left out at random": lambda: (SometimesDeep(),),
    "float64 on purpose": lambda: (Own(lambda layer, x: layer(x).astype(np.float64)),),
    "NaN that is replaced": lambda: (
        Own(lambda layer, x: layer(np.where(np.isnan(x), 0, x))),
        CROSS_ENTROPY,
        WITH_NAN,
    ),
    "exponentials over another sum": lambda: (
        Own(lambda layer, x: np.exp(z := layer(x)) / np.sum(np.exp(2 * z), axis=1, keepdims=True)),
    ),
    "a fixed mask": lambda: (Own(lambda layer, x: (z := layer(x)) * MASK[: z.size].reshape(z.shape)),),
    "embedding": lambda: (
        nn.Sequential(nn.Embedding(300, 2, rng=0), nn.Flatten(), nn.Linear(16, 3, rng=0)),
        CROSS_ENTROPY,
        np.arange(96 * 8).reshape(96, 8) % 300,
    ),
}


def frozen() -> nn.Sequential:
    model = mlp()
    model[0].requires_grad_(False)
    return model


@pytest.mark.parametrize("name", CLEAN)
def test_nothing_is_said_of_a_training_without_fault(name: str) -> None:
    assert said(*CLEAN[name]()) == {}


# ---- the faults --------------------------------------------------------------------------------------------

SQUASHED: dict[str, tuple[Callable[[], nn.Module], Any, str]] = {
    "softmax layer": (
        lambda: mlp(nn.Softmax(dim=1)),
        CROSS_ENTROPY,
        "the softmax in layer '3' (Softmax) comes before cross-entropy",
    ),
    "with class weights": (
        lambda: mlp(nn.Softmax(dim=1)),
        nn.CrossEntropyLoss(weight=np.ones(3, np.float32)),
        "softmax in layer '3'",
    ),
    "in forward": (
        lambda: Own(lambda layer, x: F.softmax(layer(x), 1)),
        CROSS_ENTROPY,
        "the softmax in the model (Own)",
    ),
    "by hand": (
        lambda: Own(lambda layer, x: (e := np.exp(layer(x))) / e.sum(axis=1, keepdims=True)),
        CROSS_ENTROPY,
        "the softmax in the model (Own)",
    ),
    "reshaped": (
        lambda: Own(lambda layer, x: F.softmax(layer(x).reshape(-1, 1, 3), 2)[:, 0]),
        CROSS_ENTROPY,
        "the softmax in",
    ),
    "log-softmax": (
        lambda: mlp(nn.LogSoftmax(dim=1)),
        CROSS_ENTROPY,
        "a log-softmax is computed twice: in layer '3'",
    ),
    "log of softmax": (
        lambda: Own(lambda layer, x: np.log(F.softmax(layer(x), 1))),
        CROSS_ENTROPY,
        "a log-softmax is computed twice",
    ),
    "sigmoid": (
        lambda: mlp(nn.Sigmoid()),
        F.cross_entropy,
        "the sigmoid in layer '3' (Sigmoid) comes before cross-entropy",
    ),
}


@pytest.mark.parametrize("name", SQUASHED)
def test_a_softmax_before_cross_entropy_is_found_in_the_graph(name: str) -> None:
    model, loss, expected = SQUASHED[name]
    assert expected in only(said(model(), loss), "softmax-before-loss")


@pytest.mark.parametrize(
    "function", [F.sigmoid, lambda z: 1 / (1 + np.exp(-z))], ids=["F.sigmoid", "by hand"]
)
def test_a_sigmoid_before_bce_with_logits_is_found(function: Any) -> None:
    model = Own(lambda layer, x: function(layer(x)), outputs=1)
    text = only(said(model, nn.BCEWithLogitsLoss(), X, YES_NO), "softmax-before-loss")
    assert "the sigmoid in the model (Own) comes before BCEWithLogitsLoss, which applies a sigmoid" in text


def test_outputs_that_are_no_log_probabilities_are_found_before_nll() -> None:
    assert "returns probabilities" in only(said(mlp(nn.Softmax(dim=1)), nn.NLLLoss()), "probabilities-to-nll")
    assert "numbers whose exponentials sum to" in only(said(mlp(), nn.NLLLoss()), "probabilities-to-nll")


def test_a_layer_that_is_not_used_is_found() -> None:
    model = Own(lambda layer, x: layer(x))
    model.unused = nn.Linear(2, 2, rng=0)
    text = only(said(model), "no-gradient")
    assert text.startswith("parameters 'unused.weight' and 'unused.bias' get no gradient, so that training")


def test_a_detached_output_is_found() -> None:
    assert "no parameter of the model receives" in only(
        said(Own(lambda layer, x: layer(x).detach())), "no-gradient"
    )


def test_dead_units_are_found_with_the_weights_they_cut_off() -> None:
    model = mlp()
    model[0].bias.data[...] = -100
    found = said(model)
    assert found.keys() == {"zero-gradient", "dead-relu"}
    assert "'0.weight', '0.bias' and '2.weight' get a gradient of exactly 0" in found["zero-gradient"]
    assert "16 of 16 units of layer '1' (ReLU) are 0 for each of 96 inputs" in found["dead-relu"]


def test_parameters_that_the_optimizer_does_not_hold_are_found() -> None:
    model = mlp()
    part = optim.SGD(model[2].parameters(), lr=0.1)
    assert "does not hold parameters '0.weight' and '0.bias'" in only(
        said(model, optimizer=part), "not-in-optimizer"
    )
    other = optim.SGD(mlp().parameters(), lr=0.1)
    assert "the SGD holds no parameter of this model" in only(
        said(model, optimizer=other), "not-in-optimizer"
    )
    assert said(model, optimizer=optim.SGD(model.parameters(), lr=0.1)) == {}


def test_layers_in_evaluation_mode_are_found() -> None:
    model = nn.Sequential(
        nn.Linear(8, 8, rng=0), nn.BatchNorm1d(8), nn.Dropout(0.5, rng=0), nn.Linear(8, 3, rng=1)
    )
    assert said(model) == {}
    model[1].eval()
    assert "that is right for a frozen batch norm" in only(said(model), "evaluation-mode")
    model[1].requires_grad_(False)
    assert said(model) == {}, "a norm whose parameters are frozen, too"
    model[1].requires_grad_(True)
    model[2].eval()
    assert "'1' (BatchNorm1d), '2' (Dropout) stay in evaluation" in only(said(model), "evaluation-mode")
    model.eval()
    assert "the model is in evaluation mode while it is trained" in only(said(model), "evaluation-mode")
    assert said(mlp().eval()) == {}, "a model that behaves the same in both modes"


def test_dropout_in_evaluation_is_found() -> None:
    model = Own(lambda layer, x: layer(F.dropout(x, 0.5, rng=np.random.default_rng(0))))
    assert "dropout is active in evaluation mode: in the model (Own)" in only(said(model), "training-mode")


class AlwaysNormalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, CLASSES, rng=0)
        self.register_buffer("mean", np.zeros(8, np.float32))
        self.register_buffer("var", np.ones(8, np.float32))

    def forward(self, x: Any) -> Any:
        return self.layer(F.batch_norm(x, self.mean, self.var, training=True))  # type: ignore[arg-type]


def test_statistics_that_change_in_evaluation_are_found() -> None:
    text = only(said(AlwaysNormalised()), "training-mode")
    assert text.startswith("buffers 'mean' and 'var' change in evaluation mode")


def test_a_forward_that_uses_the_model_from_outside_does_not_change_it() -> None:
    norm = AlwaysNormalised()
    assert said(Own(lambda layer, x: norm(x) + layer(x))) == {}
    model = Own(lambda layer, x: layer(F.batch_norm(x, model.mean, model.var, training=True)))
    model.register_buffer("mean", np.zeros(8, np.float32))
    model.register_buffer("var", np.ones(8, np.float32))
    assert said(model) == {}
    assert not model.mean.any()


@given(st.integers(1, 6), st.lists(st.integers(-3, 9), min_size=1, max_size=20))
def test_labels_are_faulty_exactly_if_one_is_no_class(classes: int, labels: list[int]) -> None:
    fault = label_fault(np.array(labels), classes, -100)
    assert (fault is None) == all(0 <= label < classes for label in labels)
    if fault is not None:
        assert f"the labels go from {min(labels)} to {max(labels)}, but" in fault
        assert fault.endswith("subtract 1 from the labels") == (min(labels) == 1 and max(labels) == classes)


@given(st.integers(2, 6), st.integers(2, 6))
def test_one_hot_rows_are_faulty_exactly_if_their_width_is_another(classes: int, width: int) -> None:
    fault = label_fault(np.eye(width, dtype=np.float32), classes, -100)
    assert (fault is None) == (classes == width)


LABELS: dict[str, tuple[Any, str]] = {
    "from one": (
        Y + 1,
        "the labels go from 1 to 3, but the 3 outputs stand for the classes 0 to 2: subtract 1",
    ),
    "too many": (Y + 3, "give the model 6 outputs"),
    "negative": (Y - 1, "go from -1 to 1"),
    "floats": (Y.astype(np.float64), "the labels are float64, but cross-entropy expects integers"),
    "column": (Y[:, None], "the labels are a column of shape (96, 1)"),
    "wide rows": (np.eye(4, dtype=np.float32)[Y], "the targets have 4 columns, but the model has 3 outputs"),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize(
    "loss", [CROSS_ENTROPY, lambda out, y: 2 * F.cross_entropy(out, y)], ids=["module", "function"]
)
def test_labels_that_are_no_classes_are_found(name: str, loss: Any) -> None:
    labels, expected = LABELS[name]
    assert expected in only(said(mlp(), loss, X, labels), "labels")


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), lambda out, y: np.mean((out - y) ** 2)], ids=["raises", "broadcasts"]
)
def test_targets_of_another_shape_are_found(loss: Any) -> None:
    text = only(said(nn.Linear(8, 1, rng=0), loss, X, YES_NO[:, 0]), "broadcast")
    assert text.startswith("the outputs have shape (32, 1) and the targets (32,)")
    assert text.endswith("give both one shape: y.reshape(-1, 1)")


def test_float64_is_found_with_its_cause() -> None:
    inputs = only(said(mlp(), x=X.astype(np.float64)), "float64")
    assert inputs.endswith("the inputs are float64; convert them, x.astype(np.float32)")
    loss = said(nn.Linear(8, 1, rng=0), lambda out, y: np.mean((out - y) ** 2), X, YES_NO.astype(np.float64))
    assert "the loss is computed in float64" in only(loss, "float64")
    inside = said(Own(lambda layer, x: layer(x) * np.array([1.0, 2.0, 3.0])))
    assert "it becomes so in 'multiply' in the model (Own)" in only(inside, "float64")


def test_float16_parameters_are_found() -> None:
    found = said(nn.Linear(8, 3, rng=0).astype(np.float16), x=X.astype(np.float16))
    assert "parameters 'weight' and 'bias' are float16" in only(found, "float16")


@pytest.mark.parametrize(
    "inputs",
    [(X * 20).astype(np.uint8), 100 * X, X / 1000, X + 100],
    ids=["uint8", "large", "small", "shifted"],
)
def test_inputs_that_are_not_scaled_are_found(inputs: Any) -> None:
    assert "the first layer expects numbers around -1 to 1" in only(
        said(nn.Linear(8, 3, rng=0), x=inputs), "unscaled-inputs"
    )


def test_nan_in_the_data_is_found() -> None:
    spoiled = X.copy()
    spoiled[[7, 40], 2] = np.nan
    assert "the inputs hold nan in 2 of 96 rows (row 7, 40)" in said(mlp(), x=spoiled)["not-finite-data"]


# ---- nothing is changed ------------------------------------------------------------------------------------


def test_a_look_changes_nothing() -> None:
    outside = np.random.default_rng(5)

    def forward(layer: nn.Linear, x: Any) -> Any:
        return layer(F.dropout(x, 0.1, rng=outside)) + np.float32(outside.random()) + F.dropout(x[:, :3], 0.1)

    model = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.5, rng=0), Own(forward))
    optimizer = optim.Adam(model.parameters())

    def loss(out: Any, y: Any) -> Any:  # of the model itself, too
        return F.cross_entropy(out, y) + sum(np.sum(p**2) for p in model.parameters())

    loss(model(X), Y).backward()
    nn.manual_seed(3)
    gradients = [(p.grad, p.grad.data.copy()) for p in model.parameters() if p.grad is not None]
    state = {name: value.tobytes() for name, value in model.state_dict().items()}
    drawn = outside.bit_generator.state, model[1].rng.bit_generator.state, np.random.get_state()[2]  # noqa: NPY002

    found = lint(model, loss, X, Y, optimizer)

    assert [one.name for one in found] == ["training-mode"]
    assert state == {name: value.tobytes() for name, value in model.state_dict().items()}
    assert drawn == (outside.bit_generator.state, model[1].rng.bit_generator.state, np.random.get_state()[2])  # noqa: NPY002
    assert all(
        p.grad is g and np.array_equal(g.data, v)
        for p, (g, v) in zip(model.parameters(), gradients, strict=True)
    )
    assert all(module.training for module in model.modules())
    first = nn.Linear(2, 2).weight.data
    nn.manual_seed(3)
    assert np.array_equal(first, nn.Linear(2, 2).weight.data)


calls_of_losses = 0


def test_a_loss_that_counts_its_calls_counts_those_of_the_training_alone() -> None:
    count, losses, table = 0, [], {"calls": 0}
    seen = np.zeros(3)

    def loss(out: Any, y: Any) -> Any:
        nonlocal count
        global calls_of_losses
        count += 1
        calls_of_losses += 1
        value = F.cross_entropy(out, y) * (1 + 0.1 * count)
        losses.append(value)
        table["calls"] += 1
        seen[:2] += 1
        return value

    fit_it = trained(mlp(), epochs=1, loss=loss)
    assert fit_it[0] == []
    assert (count, calls_of_losses, len(losses), table, seen.tolist()) == (
        12,
        12,
        12,
        {"calls": 12},
        [12, 12, 0],
    )


def test_a_forward_that_writes_into_its_weights_writes_into_a_copy() -> None:
    def forward(layer: nn.Linear, x: Any) -> Any:
        layer.weight.data[...] *= 2
        return F.softmax(layer(x), 1)

    model = Own(forward)
    before = model.layer.weight.data.copy()
    assert said(model).keys() == {"softmax-before-loss"}
    assert np.array_equal(model.layer.weight.data, before)


@pytest.mark.parametrize("name", LINTS)
def test_an_error_inside_a_lint_is_none_of_the_training(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> Any:
        raise RuntimeError("a fault of the lint")

    rule = LINTS[name]
    monkeypatch.setitem(LINTS, name, type(rule)(rule.when, fail, rule.finds))  # type: ignore[arg-type]
    assert said(mlp(nn.Softmax(dim=1))).keys() <= {"softmax-before-loss"}


def test_a_model_that_cannot_be_looked_at_is_passed_over() -> None:
    def forward(layer: nn.Linear, x: Any) -> Any:
        raise OSError("no such device")

    assert said(Own(forward)) == {}


# ---- the course of a training ------------------------------------------------------------------------------


def summaries(*batches: tuple[Any, Any]) -> list[BatchSummary]:
    found = [BatchSummary.of(x, y) for x, y in batches]
    return [one for one in found if one is not None]


def test_the_same_batch_in_each_step_is_found() -> None:
    same = summaries(*[(X[:16], Y[:16])] * 12)
    assert len(list(course_rules.repeated_batch(Beginning(same, 6, [])))) == 1
    assert not list(course_rules.repeated_batch(Beginning(same, 1, []))), "all data is one batch"
    other = summaries(*[(X[i : i + 16], Y[i : i + 16]) for i in range(12)])
    assert not list(course_rules.repeated_batch(Beginning(other, 6, [])))


def test_sorted_labels_are_found() -> None:
    order = np.argsort(Y, kind="stable")
    parts = [order[i : i + 8] for i in range(0, 96, 8)]
    mixed = summaries(*[(X[part], np.zeros(8, int) + number // 4) for number, part in enumerate(parts)])
    assert "each of the first 10 batches has a single label" in next(
        course_rules.sorted_labels(Beginning(mixed, 12, []))
    )
    rows = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 96, 8)]
    assert not list(course_rules.sorted_labels(Beginning(summaries(*rows), 12, [])))
    same = summaries(*[(X[:8], np.zeros(8, int))] * 12)
    assert not list(course_rules.sorted_labels(Beginning(same, 12, []))), (
        "said of the batch, not of the labels"
    )


def test_a_learning_rate_of_0_is_found_and_a_warmup_is_not() -> None:
    assert len(list(course_rules.zero_learning_rate(Beginning([], 9, [0.0] * 12)))) == 1
    assert not list(course_rules.zero_learning_rate(Beginning([], 9, [0.0, *[0.1] * 11])))


def test_a_loss_that_does_not_fall_is_found() -> None:
    flat = [0.7] * 100
    assert "the loss did not fall in the first epoch" in next(course_rules.nothing_learned(flat, 0.693))
    assert not list(course_rules.nothing_learned([*flat[:50], *[0.6] * 50], 0.693))
    assert not list(course_rules.nothing_learned([0.1] * 100, 0.693)), "low from the beginning"


def test_rows_of_both_parts_are_found() -> None:
    x = RNG.standard_normal((1000, 6))
    assert "of the validation part are rows of the training part" in next(
        course_rules.shared_rows(x[:800], x[600:])
    )
    assert not list(course_rules.shared_rows(x[:800], x[800:]))
    few_values = RNG.integers(0, 2, (1000, 3))
    assert not list(course_rules.shared_rows(few_values[:800], few_values[800:])), (
        "rows that come again by chance"
    )


# ---- the origin of a loss that is not finite ---------------------------------------------------------------


def explained(
    model: nn.Module, batches: dict[int, tuple[Any, Any]], losses: Any = (), lr: float = 0.1
) -> str:
    snapshots = Snapshots(model)
    snapshots.take(min(batches) - 1)
    for parameter in model.parameters():
        parameter.data[...] = np.nan  # as a step leaves them that had a gradient of NaN
    found = origin(model, CROSS_ENTROPY, batches, snapshots, losses, lr)
    assert found is not None
    return found


def test_the_operation_the_module_and_the_line_of_a_nan_are_named() -> None:
    text = explained(Own(lambda layer, x: np.log(layer(x))), {4: (X, Y)})
    assert text.startswith(
        "this step, run again with the weights from before it: the result of 'log' is not finite"
    )
    assert "in module: Own; at: " in text
    assert "test_lints.py" in text
    assert "np.log(layer(x))" in text
    assert text.endswith("take a lower learning rate (it was 0.1) or clip the gradients to a smaller norm")


def test_no_line_is_named_of_a_model_of_this_package_alone() -> None:
    model = mlp()
    for parameter in model.parameters():
        parameter.data[...] *= 1e25
    text = explained(model, {4: (X, Y)})
    assert "the result of 'linear' is not finite" in text
    assert "in module: 2 (Linear); take a lower" in text


def test_a_gradient_of_the_step_before_is_named() -> None:
    model = Own(lambda layer, x: np.sqrt(layer(x) ** 2))
    model.layer.bias.data[...] = 0
    text = explained(model, {8: (np.zeros_like(X), Y), 9: (X, Y)})
    assert text.startswith("step 8, run again with the weights from before it: the gradient of 'sqrt'")


def test_nan_in_a_batch_is_named_with_its_row() -> None:
    spoiled = X.copy()
    spoiled[5, 0] = np.inf
    assert explained(mlp(), {1: (spoiled, Y)}).startswith(
        "the inputs hold inf in row 5 (1 of 96 rows is not finite)"
    )


def test_a_loss_that_had_grown_is_said_with_the_learning_rate() -> None:
    text = explained(mlp(), {5: (X, Y)}, losses=[2.0, 3.0, 50.0, 1e4], lr=10.0)
    assert text.startswith("the loss had grown from 2 in step 1 to 1e+04 in step 4, as it does when")
    assert text.endswith("take a lower learning rate (it was 10) or clip the gradients to a smaller norm")


def test_the_last_two_snapshots_are_kept() -> None:
    snapshots = Snapshots(mlp())
    for step in range(1, 20):
        snapshots.note(step)
    assert [step for step, _ in snapshots.kept] == [8, 16]
    assert [found and found[0] for found in map(snapshots.before, (17, 16, 8))] == [16, 8, None]


# ---- in a training -----------------------------------------------------------------------------------------


class Listener(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def on_notice(self, training: Any, sentence: str) -> None:
        if "thread" not in sentence:
            self.sentences.append(sentence)


def dropping_model() -> nn.Sequential:
    def forward(layer: nn.Linear, x: Any) -> Any:
        return layer(F.dropout(x, 0.2, rng=rng))

    rng = np.random.default_rng(1)
    return nn.Sequential(nn.BatchNorm1d(8), nn.Dropout(0.3, rng=2), Own(forward))


def trained(model: nn.Module, data: Any = (X, Y), **options: Any) -> tuple[list[str], Fit]:
    listener = Listener()
    optimizer = optim.SGD(model.parameters(), lr=options.pop("lr", 0.1), momentum=0.9)
    settings: dict[str, Any] = {"loss": CROSS_ENTROPY, "epochs": 3, "batch_size": 8, **options}
    return listener.sentences, fit(model, optimizer, data, callbacks=[listener], **settings)


@pytest.mark.parametrize("jit", ["off", "on"])
def test_a_training_has_the_same_bits_and_programs_with_lints_and_without(
    jit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if jit == "on":
        pytest.importorskip("llvmlite")
    programs: list[Any] = []

    def compiled(function: Any, threads: int) -> Any:
        programs.append(compile_it(function, threads))
        return programs[-1]

    compile_it = compilation.compiled
    monkeypatch.setattr(compilation, "compiled", compiled)
    found = []
    for lint_it in (True, False):
        programs.clear()
        model = dropping_model()
        held_out = (X[:16] + 1, Y[:16])
        sentences, done = trained(model, validation=held_out, jit=jit, lint=lint_it)
        state = [value.tobytes() for value in model.state_dict().values()]
        found.append((state, done.history.losses, [len(one.compilations) for one in programs]))
        assert [s.partition(":")[0] for s in sentences] == ["dropout is active in evaluation mode"] * lint_it
    assert found[0] == found[1]
    assert (jit == "on") == bool(found[0][2])


def test_a_fault_is_said_once_and_not_again_after_an_interruption(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    sentences, _ = trained(mlp(nn.Softmax(dim=1)), epochs=2, checkpoint=path)
    assert len(sentences) == 1
    assert sentences[0].startswith("the softmax in layer '3' (Softmax) comes before cross-entropy")
    again, done = trained(mlp(nn.Softmax(dim=1)), epochs=4, resume=path)
    assert again == []
    assert len(done.history.losses) == 48


def test_after_the_first_steps_lints_are_told_of_no_step() -> None:
    class Steps(Callback):
        def __init__(self) -> None:
            self.told: list[int] = []

        def on_epoch_end(self, training: Any) -> None:
            self.told.append(len(training.callbacks.methods["on_step_end"]))

    steps, model = Steps(), mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    fit(model, optimizer, (X, Y), loss=CROSS_ENTROPY, epochs=3, batch_size=12, callbacks=[steps])
    assert steps.told == [1, 0, 0]


def test_without_a_listener_a_fault_is_a_warning() -> None:
    model = mlp(nn.Softmax(dim=1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(LintWarning, match="the softmax in layer '3'"):
        fit(model, optimizer, (X, Y), loss=CROSS_ENTROPY, epochs=1)
    fit(model, optimizer, (X, Y), loss=CROSS_ENTROPY, epochs=1, lint=False)


def test_labels_are_looked_at_before_the_first_step() -> None:
    listener = Listener()
    model = mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(IndexError):
        fit(model, optimizer, (X, Y + 1), loss=CROSS_ENTROPY, epochs=1, callbacks=[listener])
    assert listener.sentences[0].startswith("the labels go from 1 to 3")


def test_data_that_is_no_array_is_looked_at_in_the_first_steps() -> None:
    order = np.argsort(Y, kind="stable")
    batches = [(X[order[i : i + 8]], Y[order[i : i + 8]]) for i in range(0, 96, 8)]
    batches[3:5] = []  # of two labels
    sentences, _ = trained(mlp(nn.Softmax(dim=1)), batches[:4] * 3, epochs=2)
    assert [s[:12] for s in sentences] == ["the softmax ", "each of the "]


def test_units_that_die_are_found_at_an_evaluation() -> None:
    model = mlp()
    model[0].bias.data[...] = np.where(np.arange(16) < 10, -100, 0)
    sentences, _ = trained(model, validation=(X + 1, Y), epochs=4)
    assert len(sentences) == 1
    assert sentences[0].startswith("dead ReLUs: 10 of 16 units of layer '1' (ReLU) are 0 for each of")


def test_a_gradient_of_0_in_all_sampled_steps_is_found() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.idle = nn.Linear(8, CLASSES, rng=0), nn.Linear(8, CLASSES, rng=1)

        def forward(self, x: Any) -> Any:
            return self.layer(x) + 0 * self.idle(x)

    sentences, _ = trained(Idle(), validation=(X + 1, Y))
    assert len(sentences) == 1
    assert sentences[0].startswith("parameters 'idle.weight' and 'idle.bias' get a gradient of exactly 0")


def test_a_model_that_a_callback_leaves_in_evaluation_mode_is_found() -> None:
    class Careless(Callback):
        def on_evaluate(self, training: Any, record: Any, best: bool) -> None:
            training.model.eval()

    model = nn.Sequential(nn.Dropout(0.5, rng=0), mlp())
    listener = Listener()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    fit(
        model,
        optimizer,
        (X, Y),
        loss=CROSS_ENTROPY,
        epochs=2,
        validation=(X + 1, Y),
        callbacks=[Careless(), listener],
    )
    assert len(listener.sentences) == 1
    assert listener.sentences[0].startswith("the model is in evaluation mode while it is trained: layer '0'")


def test_a_training_that_diverges_says_why() -> None:
    with pytest.raises(
        DivergedError, match=r"the loss became (nan|inf) in step 1 .* the result of 'log' is not"
    ):
        trained(Own(lambda layer, x: np.log(layer(x))))
    with pytest.raises(
        DivergedError, match=r"had grown from .* take a lower learning rate \(it was 1e\+06\)"
    ):
        trained(mlp(), lr=1e6)


def test_a_step_before_that_had_a_gradient_of_nan_is_drawn_again() -> None:
    x = X.copy()
    x[8 * 5 + 3] = 0  # in the sixth batch
    model = Own(lambda layer, z: np.sqrt(np.abs(layer(z))))
    model.layer.bias = None
    batches = Batches(x, Y, 8)
    with pytest.raises(DivergedError, match=r"in step 7 .* step 6, run again .* the gradient of 'sqrt'"):
        trained(model, batches, lr=1e-3)


def test_nan_in_a_batch_is_named_with_its_sample() -> None:
    with pytest.raises(DivergedError, match=r"the inputs hold nan in row \d .*; of all data, sample 7"):
        trained(mlp(), (WITH_NAN, Y))


def test_nan_in_the_validation_part_is_named() -> None:
    x = X.copy()
    x[5] = np.nan
    with pytest.raises(
        DivergedError, match=r"on the validation part became nan.*the inputs hold nan in row 5"
    ):
        trained(mlp(), validation=(x, Y))


def test_the_page_of_the_documentation_has_each_lint() -> None:
    page = (Path(__file__).parents[3] / "docs/how_to/what_goes_wrong.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", page, flags=re.MULTILINE) == list(LINTS)


def test_a_state_that_is_saved_has_heard_what_was_said_in_the_same_step() -> None:
    model = mlp(nn.Softmax(dim=1))
    states: list[Any] = []

    class Saves(Callback):
        def on_notice(self, training: Any, sentence: str) -> None: ...

        def on_step_end(self, training: Any) -> None:
            states.append(training.callbacks.state_dict())

    optimizer = optim.SGD(model.parameters(), lr=0.0)
    fit(model, optimizer, (X, Y), loss=CROSS_ENTROPY, epochs=10, batch_size=32, callbacks=[Saves()])
    said = [state[0]["state"]["said"] for state in states]
    assert "softmax-before-loss" in said[0]
    assert "zero-learning-rate" not in said[course_rules.FIRST_STEPS - 2]
    assert "zero-learning-rate" in said[course_rules.FIRST_STEPS - 1]
