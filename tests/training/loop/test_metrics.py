from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import nn
from tinygrad_mnist.data import Batches, one_hot
from tinygrad_mnist.training import METRICS, TrainingError
from tinygrad_mnist.training.loop.metrics import Validation, find_metrics

RNG = np.random.default_rng(3)


@st.composite
def predictions(draw: st.DrawFn) -> tuple[Any, Any]:
    """Outputs of few values, so that some are equal, and labels."""
    samples, classes = draw(st.integers(1, 20)), draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.integers(0, 4, (samples, classes)).astype(np.float32), rng.integers(0, classes, samples)


@given(predictions())
def test_metrics_of_classes_agree_with_each_other(pair: tuple[Any, Any]) -> None:
    outputs, labels = pair
    accuracy = METRICS["accuracy"](outputs, labels)
    assert accuracy == np.mean([row.argmax() == label for row, label in zip(outputs, labels, strict=True)])
    matrix = np.array(METRICS["confusion"](outputs, labels))
    assert np.trace(matrix) / len(labels) == pytest.approx(accuracy)
    np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(labels, minlength=outputs.shape[1]))
    shares = [find_metrics(f"top-{k}")[f"top-{k}"](outputs, labels) for k in range(1, outputs.shape[1] + 1)]
    assert shares[0] == accuracy
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    rows = one_hot(labels, outputs.shape[1])
    assert all(
        METRICS[name](outputs, rows) == METRICS[name](outputs, labels) for name in ("accuracy", "top-5")
    )


@given(predictions())
def test_top_k_is_where_a_stable_sort_has_the_class(pair: tuple[Any, Any]) -> None:
    outputs, labels = pair
    order = np.argsort(-outputs, axis=1, kind="stable")
    expected = np.mean([label in row[:2] for row, label in zip(order, labels, strict=True)])
    assert find_metrics("top-2")["top-2"](outputs, labels) == pytest.approx(expected)


def test_a_class_for_each_place_is_measured() -> None:
    outputs, labels = RNG.normal(size=(4, 3, 5)), RNG.integers(0, 3, (4, 5))
    flat = outputs.transpose(0, 2, 1).reshape(-1, 3), labels.ravel()
    for name in ("accuracy", "confusion"):
        assert METRICS[name](outputs, labels) == METRICS[name](*flat)
    assert find_metrics("top-2")["top-2"](outputs, labels) == find_metrics("top-2")["top-2"](*flat)


@pytest.mark.parametrize("ignored", [-100, 2])
def test_labels_that_the_loss_ignores_do_not_count(ignored: int) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)
    y[::3] = ignored
    model, loss = nn.Linear(4, 3, rng=0).astype(np.float64), nn.CrossEntropyLoss(ignore_index=ignored)
    names = find_metrics(["top-2", "confusion"])
    found = Validation(Batches(x, y, 1), loss, names)(model)  # some batches have no label that counts
    kept = y != ignored
    alone = Validation(Batches(x[kept], y[kept], 7), loss, names)(model)
    assert found.loss == pytest.approx(alone.loss)
    assert (found.accuracy, found.metrics) == (alone.accuracy, alone.metrics)
    with pytest.raises(TrainingError, match=f"all labels of the validation part are {ignored}, which is ig"):
        Validation([(x, np.full(50, ignored))], loss, {})(model)


@pytest.mark.parametrize("tokens", [5, 3])  # of as many tokens as classes the shape alone does not tell
def test_outputs_that_are_not_of_classes_along_axis_1_have_no_accuracy(tokens: int) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(6, tokens, 4)), rng.integers(0, 3, (6, tokens))

    def loss(outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs.reshape(-1, 3), targets.reshape(-1))

    found = Validation(Batches(x, y, 4), loss, {})(nn.Linear(4, 3, rng=0).astype(np.float64))
    assert found.accuracy is None
    assert found.loss > 0
    by_place = Validation(Batches(x, y, 4), nn.CrossEntropyLoss(), {})
    if tokens == 3:
        assert by_place(nn.Linear(4, 3, rng=0).astype(np.float64)).accuracy is not None


def test_outputs_that_are_no_one_array_have_a_loss_alone() -> None:
    class Two(nn.Linear):
        def forward(self, x: Any) -> Any:
            return super().forward(x), x

    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    model, plain = Two(4, 3, rng=0).astype(np.float64), nn.Linear(4, 3, rng=0).astype(np.float64)

    def loss(outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs[0], targets)

    found = Validation(Batches(x, y, 4), loss, {})(model)
    assert found.accuracy is None
    assert found.loss == pytest.approx(Validation(Batches(x, y), nn.CrossEntropyLoss(), {})(plain).loss)
    with pytest.raises(TrainingError, match=r"metrics \(top-2\) need outputs .* the outputs are a tuple"):
        Validation(Batches(x, y, 4), loss, find_metrics("top-2"))(model)


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_a_validation_part_is_measured_as_a_whole_whatever_its_batches(batch_size: int) -> None:
    x, y = RNG.normal(size=(50, 4)), RNG.integers(0, 3, 50)
    model, loss = nn.Linear(4, 3, rng=0).astype(np.float64), nn.CrossEntropyLoss()

    def median_margin(outputs: Any, targets: Any) -> Any:
        assert outputs.shape == (50, 3)
        return np.median(outputs.max(axis=1) - outputs[np.arange(50), targets])

    found = Validation(Batches(x, y, batch_size), loss, find_metrics(["confusion", median_margin, "loss"]))(
        model
    )
    outputs = np.asarray(model(x).data)
    assert found.loss == pytest.approx(float(loss(model(x), y)), rel=1e-12)
    assert found.accuracy == np.mean(outputs.argmax(axis=1) == y)
    assert found.metrics["confusion"] == METRICS["confusion"](outputs, y)
    assert found.metrics["median_margin"] == median_margin(outputs, y)
    assert set(found.metrics) == {"confusion", "median_margin"}


def test_metrics_may_have_names_of_their_own() -> None:
    assert list(find_metrics({"share": METRICS["accuracy"]})) == ["share"]
    assert find_metrics(None) == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("top-0", "there is no metric 'top-0'"),
        ("mean_squared_eror", "did you mean mean-squared-error"),
        ({"half": 0.5}, "the metric 'half' is 0.5; give a function"),
    ],
)
def test_what_is_no_metric_is_refused(names: Any, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        find_metrics(names)


@pytest.mark.parametrize("name", METRICS)
def test_targets_that_do_not_fit_are_refused_with_both_shapes(name: str) -> None:
    with pytest.raises(TrainingError, match=r"\(5, 3\).*\(4,\)|\(4,\).*\(5, 3\)"):
        METRICS[name](np.zeros((5, 3)), np.zeros(4))
