from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.data import Dataset, Standardizer, load_digits
from tinygrad_mnist.training import (
    DATASETS,
    Checkpoint,
    CheckpointError,
    CheckpointEvaluation,
    DatasetChoice,
    Outcome,
    TrainingError,
    evaluate,
    evaluate_checkpoint,
    evaluate_ensemble,
)

STANDARDIZER = Standardizer(mean=100.0, std=50.0)


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
    linear = nn.Linear(9, 3, rng=0)
    linear.bias.data = np.array([1e4, 0, 0], np.float32)  # type: ignore[union-attr]
    sure = nn.Sequential(nn.Flatten(), linear)
    assert np.isfinite(evaluate(sure, images, np.ones(50, np.int64), STANDARDIZER).loss)


# ---- on the test part of a data set -----------------------------------------------------------------------


def test_a_checkpoint_is_evaluated_on_the_test_part(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "patterns", DatasetChoice(lambda notify: patterns, "patterns"))
    found = evaluate_checkpoint(outcome.checkpoint)
    assert found.accuracy == outcome.summary["test_accuracy"]
    assert sum(row.images for row in found.classes) == found.images == 60
    assert sum(row.correct for row in found.classes) == found.correct


def test_there_is_a_row_for_each_true_class(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that sees a 2 everywhere is right on all twos, and takes all others for them."""
    always_two = nn.Sequential(nn.Flatten(), nn.Linear(25, 4))
    always_two.load_state_dict({"1.weight": np.zeros((4, 25)), "1.bias": np.array([0, 0, 1, 0])})
    monkeypatch.setitem(DATASETS, "patterns", DatasetChoice(lambda notify: patterns, "patterns"))
    found = evaluate_checkpoint(replace(outcome.checkpoint, model=always_two))
    assert found.classes == (("0", 15, 0, "2"), ("1", 15, 0, "2"), ("2", 15, 15, "-"), ("3", 15, 0, "2"))


def test_the_data_that_it_was_trained_on_is_the_default(digits_model: Checkpoint) -> None:
    found = evaluate_checkpoint(digits_model)
    assert (found.data, found.images) == ("digits", 359)
    assert found.accuracy > 0.95


def with_names(dataset: Dataset, names: tuple[str, ...]) -> DatasetChoice:
    return DatasetChoice(lambda notify: replace(dataset, class_names=names), "patterns")


def test_classes_of_another_order_are_matched_by_their_names(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = np.array([2, 0, 3, 1])  # the new number of each class
    names = tuple(str(int(number)) for number in np.argsort(order))
    moved = replace(
        patterns,
        train_labels=order[patterns.train_labels],
        test_labels=order[patterns.test_labels],
        class_names=names,
    )
    monkeypatch.setitem(DATASETS, "patterns", DatasetChoice(lambda notify: moved, "patterns"))
    found = evaluate_checkpoint(outcome.checkpoint, "patterns")
    assert found.accuracy == outcome.summary["test_accuracy"]
    assert [row.name for row in found.classes] == list("0123")


def test_data_may_have_some_of_the_classes(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = patterns.test_labels % 2 == 1
    some = Dataset(
        "some",
        patterns.test_images[chosen],
        patterns.test_labels[chosen] // 2,
        patterns.test_images[chosen],
        patterns.test_labels[chosen] // 2,
        classes=2,
        class_names=("1", "3"),
    )
    monkeypatch.setitem(DATASETS, "patterns", DatasetChoice(lambda notify: some, "patterns"))
    found = evaluate_checkpoint(outcome.checkpoint, "patterns")
    assert [row.images for row in found.classes] == [0, 15, 0, 15]


def test_names_and_numbers_are_matched_by_position(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "patterns", with_names(patterns, ("a", "b", "c", "d")))
    assert evaluate_checkpoint(outcome.checkpoint, "patterns").accuracy == outcome.summary["test_accuracy"]


def test_a_class_that_the_model_does_not_know_is_named(
    outcome: Outcome, patterns: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "patterns", with_names(patterns, ("a", "b", "c", "d")))
    checkpoint = replace(outcome.checkpoint, class_names=("a", "b", "c", "e"))
    with pytest.raises(TrainingError, match="5 x 5 in 4, among them d; name other data"):
        evaluate_checkpoint(checkpoint, "patterns")


def test_data_of_another_size_is_refused(outcome: Outcome) -> None:
    with pytest.raises(TrainingError, match=r"5 x 5 pixels in 4 classes, but digits has 8 x 8 in 10"):
        evaluate_checkpoint(outcome.checkpoint, "digits")


def saved_as_npz(path: Path, dataset: Dataset) -> str:
    np.savez(
        path,
        **{f"x_{part}": getattr(dataset, f"{part}_images") for part in ("train", "test")},
        **{f"y_{part}": getattr(dataset, f"{part}_labels") for part in ("train", "test")},
    )
    return str(path)


def test_data_that_is_named_in_two_ways_is_the_same_by_its_content(
    digits_model: Checkpoint, tmp_path: Path
) -> None:
    digits = load_digits()
    same = saved_as_npz(tmp_path / "same.npz", digits)
    labels = np.roll(digits.test_labels, 1)
    other = saved_as_npz(tmp_path / "other.npz", replace(digits, test_labels=labels))

    def evaluated(data: str) -> CheckpointEvaluation:
        second = replace(digits_model, origin={**digits_model.origin, "data": data})
        return evaluate_ensemble([("one", digits_model), ("two", second)])

    assert evaluated(same).correct == evaluate_checkpoint(digits_model).correct
    for different in (other, str(tmp_path / "nowhere.npz")):
        with pytest.raises(CheckpointError, match="one and two were trained on different data, digits and"):
            evaluated(different)
