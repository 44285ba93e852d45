import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.data import Standardizer
from tinygrad_mnist.training.history import History, Record
from tinygrad_mnist.training.metrics import evaluate, predict

STANDARDIZER = Standardizer(mean=100.0, std=50.0)


@pytest.fixture
def model() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(9, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.5, rng=0), nn.Linear(4, 3, rng=1)
    )


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(50, 3, 3)).astype(np.uint8)


def test_probabilities_add_up(model: nn.Module, images: np.ndarray) -> None:
    probabilities = predict(model, images, STANDARDIZER)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1000])
def test_batches_make_no_difference(model: nn.Module, images: np.ndarray, batch_size: int) -> None:
    whole = predict(model, images, STANDARDIZER)
    np.testing.assert_allclose(predict(model, images, STANDARDIZER, batch_size), whole, rtol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_and_the_state_stay(model: nn.Module, images: np.ndarray, training: bool) -> None:
    model.train(training)
    before = model.state_dict()
    predict(model, images, STANDARDIZER)
    assert model.training is training
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


def test_no_tape_is_recorded(model: nn.Module, images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    forward = nn.Linear.forward

    def watched(self: nn.Linear, *inputs: object) -> object:
        out = forward(self, *inputs)  # type: ignore[arg-type]
        recorded.append(out.requires_grad)
        return out

    monkeypatch.setattr(nn.Linear, "forward", watched)
    predict(model, images, STANDARDIZER)
    assert recorded == [False, False]


def test_accuracy_and_loss_are_those_of_the_probabilities(model: nn.Module, images: np.ndarray) -> None:
    labels = np.arange(50) % 3
    result = evaluate(model, images, labels, STANDARDIZER)
    right = [int(np.argmax(row)) == label for row, label in zip(result.probabilities, labels, strict=True)]
    assert result.accuracy == np.mean(right)
    of_truth = result.probabilities[np.arange(50), labels]
    assert result.loss == pytest.approx(float(-np.log(of_truth).mean()), rel=1e-6)


def test_the_loss_with_label_smoothing_is_that_of_training(model: nn.Module, images: np.ndarray) -> None:
    labels = np.arange(50) % 3
    model.eval()
    trained = nn.CrossEntropyLoss(label_smoothing=0.2)(model(STANDARDIZER(images)), labels)
    smoothed = evaluate(model, images, labels, STANDARDIZER, label_smoothing=0.2)
    assert smoothed.loss == pytest.approx(float(trained), rel=1e-5)


def test_a_probability_of_zero_gives_a_finite_loss(images: np.ndarray) -> None:
    sure = nn.Linear(9, 3, rng=0)
    sure.bias.data = np.array([1e4, 0, 0], np.float32)  # type: ignore[union-attr]
    assert np.isfinite(evaluate(sure, images, np.ones(50, np.int64), STANDARDIZER).loss)


def record(accuracy: float, loss: float, step: int = 1) -> Record:
    return Record(step, 1.0, 1.0, 0.1, 0.5, 0.9, loss, accuracy)


def test_the_higher_accuracy_is_better() -> None:
    assert record(0.9, 2.0).better_than(record(0.8, 1.0))
    assert not record(0.8, 1.0).better_than(record(0.9, 2.0))


def test_of_equal_accuracies_the_lower_loss_is_better() -> None:
    assert record(0.9, 1.0).better_than(record(0.9, 2.0))
    assert not record(0.9, 2.0).better_than(record(0.9, 1.0))


def test_anything_is_better_than_nothing() -> None:
    assert record(0.0, 9.0).better_than(None)


def test_the_recent_loss_is_of_the_steps_since_the_last_record() -> None:
    history = History(2, losses=[4.0, 2.0, 1.0, 3.0], records=[record(0.5, 1.0, step=2)])
    assert history.recent_loss() == 2.0
    assert np.isnan(History(2).recent_loss())
    assert history.column("step") == [2.0]
