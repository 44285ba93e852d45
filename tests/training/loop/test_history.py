import json

import numpy as np

from tinygrad_mnist.training import GradientNorms, History, Record


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


def test_without_an_accuracy_the_lower_loss_is_better() -> None:
    low, high = (Record(1, 1.0, 1.0, 0.1, 0.5, None, loss, None) for loss in (0.1, 0.2))
    assert low.better_than(high)
    assert not high.better_than(low)


def test_a_history_comes_back_from_json() -> None:
    history = History(
        2,
        losses=[0.1, 1 / 3],
        records=[record(0.5, 1.0)],
        rates=[0.1, 0.05],
        gradients=[GradientNorms(1, {"0.weight": 2.0})],
        clipped=1,
    )
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
    history.to_dict()["losses"].append(9.0)
    assert len(history.losses) == 2
