"""Linear, batch norm and ReLU as one operation: the same bits as the three modules, or left to them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, detect_anomaly, nn, no_grad
from tinygrad_mnist.engine.tape import Node
from tinygrad_mnist.nn.fused import fused_hidden_layer

X = np.random.default_rng(1).standard_normal((5, 6), dtype=np.float32)


def model_of() -> nn.Sequential:
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Linear(6, 4, rng=rng), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3, rng=rng), nn.BatchNorm1d(3)
    )


def one_by_one(model: nn.Sequential, x: Any) -> Any:
    for module in model:
        x = module(x)
    return x


def operations(out: Tensor) -> list[str]:
    names, node = [], out.origin
    while type(node) is Node:
        names.append(node.op.name)
        node = node.parents[0]
    return names[::-1]


def state_after_a_step(model: nn.Sequential, run: Callable[..., Any], x: Any = X) -> dict[str, Any]:
    out = run(model, x)
    np.sum(out * out).backward()
    found = {
        name: parameter.grad.data
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {"out": out.data, **found, **{name: buffer.copy() for name, buffer in model.named_buffers()}}


def assert_same_bits(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert np.array_equal(a[name], b[name]), name


def test_a_hidden_layer_is_one_operation() -> None:
    assert operations(model_of()(X)) == ["linear_batch_norm_relu", "linear", "batch_norm"]


@pytest.mark.parametrize("rows", [2, 5, 1000, 70_000])
def test_it_gives_the_same_bits_as_the_modules(rows: int) -> None:
    x = np.random.default_rng(rows).standard_normal((rows, 6), dtype=np.float32)
    together = state_after_a_step(model_of(), lambda model, x: model(x), x)
    assert_same_bits(together, state_after_a_step(model_of(), one_by_one, x))


def test_the_gradient_of_an_input_too() -> None:
    grads = []
    for run in (lambda model, x: model(x), one_by_one):
        x = Tensor(X, requires_grad=True)
        np.sum(run(model_of(), x) ** 2).backward()
        assert x.grad is not None
        grads.append(x.grad.data)
    assert np.array_equal(*grads)


def test_a_checkpointed_layer_counts_its_batch_once() -> None:
    model = model_of()
    np.sum(checkpoint(model)(Tensor(X, requires_grad=True))).backward()
    assert model[1].num_batches_tracked == 1


def test_with_frozen_weights() -> None:
    together, apart = model_of(), model_of()
    for model in (together, apart):
        model[0].requires_grad_(False)
    assert_same_bits(
        state_after_a_step(together, lambda model, x: model(x)), state_after_a_step(apart, one_by_one)
    )


def test_without_a_tape() -> None:
    with no_grad():
        assert np.array_equal(model_of()(X).data, one_by_one(model_of(), X).data)


def test_a_recorder_is_told_of_the_three() -> None:
    with detect_anomaly():
        assert operations(model_of()(X))[:3] == ["linear", "batch_norm", "relu"]


def test_evaluation_without_a_tape_gives_the_same_bits() -> None:
    model = model_of()
    model(X)
    model.eval()
    with no_grad():
        out = model(X)
        assert isinstance(out, Tensor)
        assert not out.requires_grad
        assert np.array_equal(out.data, one_by_one(model, X).data)
    assert np.array_equal(model(X).data, out.data)
    assert operations(model(X))[:2] == ["linear", "scale_and_shift"]


@pytest.mark.parametrize(
    "change",
    [
        lambda norm: norm.__setattr__("running_mean", None),
        lambda norm: norm.__setattr__("running_var", np.ones(3)),
        lambda norm: norm.__setattr__("running_mean", np.zeros(4)),
    ],
    ids=["no statistics", "of another shape", "of another dtype"],
)
def test_evaluation_with_odd_statistics_is_left_to_the_modules(change: Callable[[Any], None]) -> None:
    model = model_of().eval()
    change(model[1])
    with no_grad():
        assert fused_hidden_layer(list(model), 0, X) is None


class TestLeftToTheModules:
    @pytest.mark.parametrize(
        "change",
        [
            lambda model: model.eval(),
            lambda model: model[0].register_parameter("bias", None),
            lambda model: model.__setitem__(1, nn.BatchNorm1d(4, affine=False)),
            lambda model: model.__setitem__(1, nn.BatchNorm1d(4, momentum=None)),
            lambda model: model.__setitem__(2, nn.Tanh()),
            lambda model: model[1].astype(np.float64),
        ],
        ids=["evaluation", "no bias", "no scale", "no momentum", "tanh", "two dtypes"],
    )
    def test_another_layer(self, change: Callable[[nn.Sequential], object]) -> None:
        together, apart = model_of(), model_of()
        change(together)
        change(apart)
        out = together(X)
        assert "linear_batch_norm_relu" not in operations(out)
        assert np.array_equal(out.data, one_by_one(apart, X).data)

    def test_a_subclass_of_the_last(self) -> None:
        class Doubled(nn.ReLU):
            def forward(self, input: Any) -> Tensor:
                return 2 * super().forward(input)

        model = model_of()
        plain = nn.Sequential(*list(model)[:2])(X)
        np.testing.assert_array_equal(
            nn.Sequential(*list(model)[:2], Doubled())(X).data, 2 * np.maximum(plain.data, 0)
        )

    def test_evaluation_with_a_tape(self) -> None:
        """So that a gradient by an input can be had of a model that is done."""
        model = model_of().eval()
        found = state_after_a_step(model, nn.Sequential.__call__)
        assert_same_bits(found, state_after_a_step(model_of().eval(), one_by_one))
        assert model[0].weight.grad is not None

    def test_a_subclass(self) -> None:
        class Loud(nn.Linear):
            def forward(self, input: Any) -> Tensor:
                return super().forward(input) * 2

        model = nn.Sequential(Loud(6, 4, rng=0), nn.BatchNorm1d(4), nn.ReLU())
        assert operations(model(X)) == ["linear", "multiply", "batch_norm", "relu"]

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (X[:, :5], r"0 \(Linear\): input of shape \(5, 5\) does not fit weight of shape \(4, 6\)"),
            (X[:1], r"1 \(BatchNorm1d\): batch norm in training needs more than one value"),
            (X[0], r"1 \(BatchNorm1d\)"),
        ],
    )
    def test_what_does_not_fit(self, x: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            model_of()(x)

    @pytest.mark.filterwarnings("ignore:.*computes in float64")
    def test_a_list(self) -> None:
        assert fused_hidden_layer(list(model_of()), 0, [[1] * 6] * 3) is None  # of integers
        assert model_of()([[1] * 6] * 3).shape == (3, 3)

    def test_a_module_with_a_forward_of_its_own(self) -> None:
        model = model_of()
        model[1].forward = lambda input: input * 2  # type: ignore[method-assign]
        assert operations(model(X))[:3] == ["linear", "multiply", "relu"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda model: setattr(model[1], "bias", nn.Parameter(np.zeros(1))),
                r"1 \(BatchNorm1d\): bias of shape",
            ),
            (lambda model: setattr(model[1], "num_features", 5), r"1 \(BatchNorm1d\): input of shape"),
            (lambda model: setattr(model[0], "weight", nn.Parameter(np.zeros(6))), r"0 \(Linear\): weight"),
        ],
        ids=["a shift for one column", "other features", "a weight of one axis"],
    )
    def test_parameters_that_do_not_fit(self, change: Callable[[Any], None], message: str) -> None:
        model = model_of()
        change(model)
        with pytest.raises(ValueError, match=message):
            model(X)

    def test_parameters_that_would_all_broadcast(self) -> None:
        model = model_of()
        for module, name in ((model[0], "bias"), (model[1], "weight"), (model[1], "bias")):
            setattr(module, name, nn.Parameter(np.ones(1)))
        with pytest.raises(ValueError, match=r"0 \(Linear\)"):
            model(X)

    def test_a_masked_array_in_evaluation(self) -> None:
        with no_grad(), pytest.raises(TypeError, match=r"0 \(Linear\).*masked"):
            model_of().eval()(np.ma.masked_array(X, X > 0))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bias_that_is_not_finite_is_seen_in_training(value: float) -> None:
    model = model_of()
    model[0].bias.data = np.array([value, 0, 0, 0])
    assert np.isnan(model(X).data).all()


def test_a_batch_whose_statistics_could_not_be_kept_is_not_counted() -> None:
    model = model_of()
    model[1].running_mean.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        model(X)
    assert model[1].num_batches_tracked == 0


def test_a_dead_unit_passes_no_infinite_gradient() -> None:
    model = model_of()[:3]
    out = model(X)
    assert not out.data.all()
    np.sum(np.sqrt(out)).backward()
    for parameter in model.parameters():
        assert np.isfinite(parameter.grad.data).all()
