"""Layers and losses on shards of a batch are those of the whole batch; every class is in a table."""

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nn.cases import LOSSES, LossCase, numbers, reductions
from tests.nn.sharing import (
    assert_near,
    assert_same_step,
    mean_of_rows,
    on_shards,
    shared_step,
    weight_of,
    whole_step,
)
from tinygrad_mnist import Tensor, checkpoint, grad, jit, nn
from tinygrad_mnist.engine.shards import Shard, current, made, sharded
from tinygrad_mnist.nn.random_rows import RowsOfDraws

F = nn.functional
needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("llvmlite") is None, reason="the extra `jit` is not installed"
)
ROWS, IMAGES, SEQUENCES = numbers(5, 4), numbers(5, 4, 6, 6), numbers(5, 4, 6)
COTANGENT = np.random.default_rng(0).normal(size=(5, 4 * 400))

# ---- every class -----------------------------------------------------------------------------------------


class Row(NamedTuple):
    """How a class is made, of what input, and at what it looks: ``rows``, ``batch`` or ``draws``."""

    looks_at: str
    build: Callable[[], Any]
    input: Any


def row(looks_at: str, name: str, *args: Any, input: Any = ROWS, **options: Any) -> tuple[str, Row]:
    return name, Row(looks_at, lambda: getattr(nn, name)(*args, **options), input)


F64 = np.float64
LAYERS: dict[str, Row] = dict(
    (
        *(
            row("rows", name)
            for name in (
                "ELU",
                "GELU",
                "Hardtanh",
                "LeakyReLU",
                "ReLU",
                "SiLU",
                "Sigmoid",
                "Softplus",
                "Tanh",
            )
        ),
        row("rows", "Softmax", 1),
        row("rows", "LogSoftmax", 1),
        row("rows", "Identity"),
        row("rows", "Linear", 4, 3, rng=0, dtype=F64),
        row("rows", "Embedding", 10, 3, rng=0, dtype=F64, input=np.arange(15).reshape(5, 3) % 10),
        row("rows", "LayerNorm", 4, dtype=F64),
        row("rows", "RMSNorm", 4, dtype=F64),
        row("rows", "GroupNorm", 2, 4, dtype=F64, input=IMAGES),
        row("rows", "Flatten", input=IMAGES),
        row("rows", "Unflatten", 1, (2, 2)),
        row("rows", "Conv1d", 4, 2, 3, rng=0, dtype=F64, input=SEQUENCES),
        row("rows", "Conv2d", 4, 2, 3, rng=0, dtype=F64, input=IMAGES),
        row("rows", "ConvTranspose2d", 4, 2, 3, rng=0, dtype=F64, input=IMAGES),
        row("rows", "MaxPool2d", 2, input=IMAGES),
        row("rows", "AvgPool2d", 2, input=IMAGES),
        row("rows", "AdaptiveAvgPool2d", 2, input=IMAGES),
        row("rows", "Upsample", scale_factor=2, input=IMAGES),
        row("batch", "BatchNorm1d", 4, dtype=F64),
        row("batch", "BatchNorm2d", 4, dtype=F64, input=IMAGES),
        row("draws", "Dropout", 0.4, rng=1),
        row("draws", "Dropout2d", 0.4, rng=1, input=IMAGES),
        ("Sequential", Row("batch", lambda: nn.Sequential(nn.BatchNorm1d(4, dtype=F64), nn.ReLU()), ROWS)),
    )
)
"""Of each layer, whether a row of its result depends on that row alone. A new one has to be put in here."""


def values(out: Any) -> Any:
    return getattr(out, "data", out) if isinstance(out, Tensor) else out


HOLDERS = {"Module", "ModuleDict", "ModuleList", "Parameter", "ParameterDict", "ParameterList"}
"""What computes nothing by itself."""


def test_every_class_is_in_a_table() -> None:
    classes = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    losses = {case.name for case in LOSSES}
    assert classes == LAYERS.keys() | HOLDERS | losses
    assert LAYERS.keys().isdisjoint(losses)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_on_shards_is_the_layer_on_the_whole_batch(name: str, size: int) -> None:
    _, build, x = LAYERS[name]
    loss = mean_of_rows(COTANGENT[:, : int(np.prod(whole_output(name).shape[1:]))])
    assert_same_step(shared_step(build, x, loss, size), whole_step(build, x, loss), 1e-13)


def whole_output(name: str) -> Any:
    _, build, x = LAYERS[name]
    return build()(x)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_makes_exchanges_where_it_looks_at_the_batch_and_only_there(name: str) -> None:
    looks_at, build, x = LAYERS[name]

    def count(rows: slice) -> int:
        layer, before = build(), made.count
        layer(Tensor(x[rows]))
        return made.count - before

    assert on_shards(2, len(x), count) == [int(looks_at == "batch")] * 2


@pytest.mark.parametrize("name", LAYERS)
def test_in_evaluation_no_layer_looks_at_the_batch(name: str) -> None:
    _, build, x = LAYERS[name]

    def run(rows: slice) -> Any:
        layer, before = build().eval(), made.count
        out = values(layer(Tensor(x[rows])))
        assert made.count == before
        return out

    assert_near(np.concatenate(on_shards(3, len(x), run)), values(build().eval()(x)), 1e-15)


# ---- batch norm ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"momentum": None}, {"affine": False}, {"bias": False}, {"momentum": 0.7}]
)
def test_the_options_of_batch_norm(options: dict[str, Any]) -> None:
    def build() -> Any:
        layer = nn.BatchNorm2d(4, dtype=F64, **options)
        layer(IMAGES[:2])  # so that there have been batches before
        return layer

    def outside() -> Any:  # that batch was no shard
        with sharded(None):
            return build()

    loss = mean_of_rows(COTANGENT[:, : 4 * 36])
    assert_same_step(shared_step(outside, IMAGES, loss, 3), whole_step(build, IMAGES, loss), 1e-13)


def test_batch_norm_without_running_statistics_looks_at_the_batch_in_evaluation_too() -> None:
    def build() -> Any:
        return nn.BatchNorm1d(4, track_running_stats=False, dtype=F64).eval()

    loss = mean_of_rows(COTANGENT[:, :4])
    assert_same_step(shared_step(build, ROWS, loss, 5), whole_step(build, ROWS, loss), 1e-13)

    def whole(rows: slice) -> Any:  # one rank may evaluate alone: with no shard, nothing is exchanged
        with sharded(None), nn.module.evaluation_mode():
            return build()(ROWS).data if rows.start else None

    np.testing.assert_array_equal(on_shards(2, 5, whole)[1], build()(ROWS).data)


def test_one_row_in_each_process_is_enough() -> None:
    def run(rows: slice) -> Any:
        return values(nn.BatchNorm1d(4, dtype=F64)(ROWS[:3][rows]))

    assert_near(np.concatenate(on_shards(3, 3, run)), values(nn.BatchNorm1d(4, dtype=F64)(ROWS[:3])), 1e-14)


def test_one_row_in_all_is_too_few() -> None:
    with pytest.raises(ValueError, match="more than one value a channel; got input of shape"):
        on_shards(1, 1, lambda rows: nn.BatchNorm1d(4)(ROWS[:1]))
    with pytest.raises(ValueError, match="and without running statistics"):
        on_shards(1, 1, lambda rows: nn.BatchNorm1d(4, track_running_stats=False).eval()(ROWS[:1]))


def test_rows_that_belong_to_no_batch_are_refused() -> None:
    def run(rows: slice) -> Any:
        return nn.BatchNorm1d(4)(numbers(6, 4))  # 2 and 3 rows of 5, but six of something else

    with pytest.raises(
        ValueError, match=r"6 rows were given for the [23] rows of the batch .* and 12 for all 5"
    ):
        on_shards(2, 5, run)


def test_sequences_in_a_batch_count_by_their_rows() -> None:
    def build() -> Any:
        return nn.Sequential(Joined(), nn.BatchNorm1d(4, dtype=F64), nn.Dropout(0.5, rng=0))

    x = numbers(5, 3, 4)
    loss = mean_of_rows(COTANGENT[:, :12])

    def each(out: Any, rows: slice) -> Any:
        return loss(out.reshape(-1, 3, 4), rows)

    found, expected = shared_step(build, x, each, 2), whole_step(build, x, each)
    assert_same_step(found, expected, 1e-13)


class Joined(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.reshape(-1, 4)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(np.float16, 2e-3), (np.float32, 2e-6), (np.float64, 1e-13)]
)
def test_a_network_of_every_dtype(dtype: Any, tolerance: float) -> None:
    def build() -> Any:
        return nn.Sequential(
            nn.Linear(4, 6, bias=False, rng=0, dtype=dtype),  # of which the gradient would be 0
            nn.BatchNorm1d(6, dtype=dtype),
            nn.ReLU(),
            nn.Dropout(0.3, rng=1),
            nn.Linear(6, 3, rng=2, dtype=dtype),
        )

    x, labels = numbers(11, 4).astype(dtype), np.arange(11) % 3

    def loss(out: Any, rows: slice) -> Any:
        return F.cross_entropy(out, labels[rows], np.array([1.0, 3.0, 0.5]), label_smoothing=0.1)

    found, expected = shared_step(build, x, loss, 3), whole_step(build, x, loss)
    assert found["output"].dtype == expected["output"].dtype == dtype
    assert_same_step(found, expected, tolerance)


def test_the_shortcut_of_a_hidden_layer_is_taken_by_one_process_alone() -> None:
    block = nn.Sequential(nn.Linear(4, 3, rng=0), nn.BatchNorm1d(3), nn.ReLU())
    x = Tensor(ROWS.astype(np.float32))
    assert block(x).origin.op.name == "linear_batch_norm_relu"  # type: ignore[union-attr]
    names = on_shards(2, 5, lambda rows: block(x[rows]).origin.op.name)  # type: ignore[union-attr]
    assert names == ["relu"] * 2


# ---- losses ----------------------------------------------------------------------------------------------

WITH_ROWS = [
    case for case in LOSSES if case.input.ndim > 1 and np.shape(case.options.get("weight", ()))[1:] == ()
]


def loss_of(case: LossCase, reduction: str) -> Any:
    return getattr(nn, case.name)(**case.options, reduction=reduction)


@pytest.mark.parametrize("case", WITH_ROWS, ids=lambda case: case.id)
def test_a_loss_on_shards_is_the_loss_of_the_whole_batch(case: LossCase) -> None:
    for size in {2, min(3, len(case.input))}:
        for reduction in set(reductions(case.name)) - {"none"}:

            def loss(out: Any, rows: slice, reduction: str = reduction) -> Any:
                return loss_of(case, reduction)(out, case.target[rows])

            found = shared_step(nn.Identity, case.input, loss, size)
            assert_same_step(found, whole_step(nn.Identity, case.input, loss), 1e-14)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_of_narrow_dtypes(dtype: Any, reduction: str) -> None:
    x, labels = numbers(7, 3).astype(dtype), np.array([2, -100, 1, 0, -100, -100, 1])

    def loss(out: Any, rows: slice) -> Any:
        return F.cross_entropy(out, labels[rows], reduction=reduction)

    found, expected = shared_step(nn.Identity, x, loss, 3), whole_step(nn.Identity, x, loss)
    assert_same_step(found, expected, 2e-3 if dtype is np.float16 else 1e-6)


def test_a_process_may_have_ignored_labels_alone() -> None:
    labels = np.array([-100, -100, -100, 1, 2])

    def loss(out: Any, rows: slice) -> Any:
        return F.nll_loss(F.log_softmax(out, 1), labels[rows]) + F.cross_entropy(out, labels[rows])

    found = shared_step(nn.Identity, ROWS, loss, 2)
    assert_same_step(found, whole_step(nn.Identity, ROWS, loss), 1e-14)
    assert found["loss"] > 0


@pytest.mark.parametrize("labels", [np.arange(5, dtype=np.uint8) % 4, np.eye(4)[np.arange(5) % 4]])
def test_labels_that_cannot_be_ignored_need_no_exchange(labels: Any) -> None:
    def run(rows: slice) -> int:
        before = made.count
        F.cross_entropy(ROWS[rows], labels[rows])
        return made.count - before

    assert on_shards(2, 5, run) == [0, 0]


def test_weights_of_classes_may_be_learnt() -> None:
    labels = np.array([0, 1, 2, 3, 3])
    weight = np.array([1.0, 2.0, 0.5, 4.0])

    def derivative(rows: slice) -> Any:
        return grad(lambda w: F.cross_entropy(ROWS[rows], labels[rows], w))(Tensor(weight))

    whole = derivative(slice(0, 5))
    ranks = on_shards(2, 5, lambda rows: derivative(rows) * weight_of(rows, 5))
    assert_near(sum(ranks), whole, 1e-13)


def test_a_sum_over_a_parameter_is_no_sum_over_rows() -> None:
    weight = nn.Parameter(numbers(6, 4))  # as many times two rows as three
    expected = F.mse_loss(weight, np.zeros((6, 4)), reduction="sum").item()
    found = on_shards(2, 5, lambda rows: F.mse_loss(weight, np.zeros((6, 4)), reduction="sum").item())
    assert found == [expected] * 2


@needs_compiler
def test_a_compiled_loss_leaves_out_the_labels_that_any_process_ignores() -> None:
    labels = np.array([-100, 1, 2, -100, 3])

    def losses(compiled: bool) -> list[Any]:
        def run(rows: slice) -> list[float]:
            norm, loss = nn.BatchNorm1d(4, dtype=F64), nn.CrossEntropyLoss(label_smoothing=0.1)

            def function(x: Any, y: Any) -> Any:
                return loss(norm(x), y)

            run_once = jit(function) if compiled else function
            found = [run_once(Tensor(scale * ROWS[rows]), labels[rows]).item() for scale in (1.0, 2.0, 3.0)]
            return [*found, *norm.running_mean.tolist()]  # type: ignore[union-attr]

        return on_shards(2, 5, run)

    np.testing.assert_allclose(losses(compiled=True), losses(compiled=False), rtol=1e-13)


# ---- dropout ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_generator_is_the_same_in_all_processes_afterwards(size: int) -> None:
    def draws(rows: slice) -> Any:
        rng = np.random.default_rng(3)
        for _ in range(3):
            F.dropout(ROWS[rows], 0.5, rng=rng)
            F.dropout2d(SEQUENCES[rows][:, :3, :3], 0.5, rng=rng)
        return rng.random(4, np.float32)

    for found in on_shards(size, 5, draws):
        np.testing.assert_array_equal(found, draws(slice(0, 5)))


def test_dropout_of_a_parameter_is_the_same_everywhere() -> None:
    weight = nn.Parameter(numbers(6, 4))
    for found in on_shards(2, 5, lambda rows: F.dropout(weight, 0.5, rng=0).data):
        np.testing.assert_array_equal(found, F.dropout(weight.data, 0.5, rng=0))


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
@settings(max_examples=40)
@given(
    before=st.integers(0, 9), rows=st.integers(1, 5), after=st.integers(0, 9), each=st.integers(1, 5),
    drawn=st.integers(0, 3),
)  # fmt: skip
def test_the_numbers_of_some_rows_leave_the_generator_as_those_of_all(
    kind: str, before: int, rows: int, after: int, each: int, drawn: int
) -> None:
    mine, whole = (np.random.Generator(getattr(np.random, kind)(5)) for _ in range(2))
    for rng in (mine, whole):
        rng.random(drawn, np.float32)
    found = RowsOfDraws(mine, before, after).random((rows, each), np.float32)
    expected = whole.random((before + rows + after, each), np.float32)[before : before + rows]
    np.testing.assert_array_equal(found, expected, strict=True)
    assert str(mine.bit_generator.state) == str(whole.bit_generator.state)


# ---- passes that are made twice --------------------------------------------------------------------------

MASKED = np.where(np.arange(5)[:, None] == 4, 0.0, np.abs(ROWS))  # a 0 in the last row, where log is infinite


class Guarded(nn.Module):
    """A network with an infinite slope that is not chosen, before and behind a batch norm."""

    def __init__(self, guarded: Callable[[Any], Any] = lambda t: t) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm1d(4, dtype=F64), nn.Linear(4, 4, rng=0, dtype=F64)
        self.run = guarded(self.compute)

    def compute(self, x: Any) -> Any:
        y = np.where(x > 0, np.log(x), 0.0)
        z = self.norm(self.linear(y) + x)
        return self.norm(np.where(z > 0, np.sqrt(np.where(z > 0, z, z)), 0.0))

    def forward(self, x: Any) -> Any:
        return self.run(x)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("guarded", [lambda f: f, checkpoint], ids=["plain", "checkpointed"])
def test_what_was_not_chosen_in_one_process_leaves_no_nan_in_any(size: int, guarded: Any) -> None:
    loss = mean_of_rows(COTANGENT[:, :4])

    def build() -> Any:
        return Guarded(guarded)

    expected = whole_step(build, MASKED, loss)
    assert np.all(np.isfinite(expected["rows"]["input"]))
    found = shared_step(build, MASKED, loss, size)
    assert found["buffers"]["norm.num_batches_tracked"] == 2
    assert_same_step(found, expected, 1e-12)


def test_a_nan_in_one_process_is_a_nan_in_all_as_in_one() -> None:
    x = ROWS.copy()
    x[4, 1] = np.nan
    loss = mean_of_rows(COTANGENT[:, :4])

    def build() -> Any:
        return nn.Sequential(nn.Linear(4, 4, rng=0, dtype=F64), nn.BatchNorm1d(4, dtype=F64), nn.Tanh())

    found, expected = shared_step(build, x, loss, 3), whole_step(build, x, loss)
    for name, gradient in expected["gradients"].items():
        np.testing.assert_array_equal(np.isnan(found["gradients"][name]), np.isnan(gradient))


def test_a_checkpoint_runs_again_as_a_shard_even_later() -> None:
    def run(rows: slice) -> Any:
        x = Tensor(ROWS[rows], requires_grad=True)
        norm = nn.BatchNorm1d(4, dtype=F64)
        out = np.mean(checkpoint(norm)(x) ** 3)
        with sharded(None):
            out.backward()
        assert norm.num_batches_tracked == 1
        return x.grad.data * weight_of(rows, 5)  # type: ignore[union-attr]

    x = Tensor(ROWS, requires_grad=True)
    np.mean(nn.BatchNorm1d(4, dtype=F64)(x) ** 3).backward()
    assert_near(np.concatenate(on_shards(2, 5, run)), x.grad.data, 1e-13)  # type: ignore[union-attr]


def test_a_shard_is_over_where_its_block_ends() -> None:
    def run(rows: slice) -> None:
        assert isinstance(current(), Shard)
        with sharded(None):
            assert current() is None

    on_shards(2, 2, run)
    assert current() is None
