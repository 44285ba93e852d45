"""One step of scikit-learn's MLPClassifier, by ``partial_fit``, from given weights. It has no batch norm."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.networks import LR, Network, Step, trained


def make_step(network: Network, state: dict[str, Any]) -> Step:
    """Return a step on one batch; what ``partial_fit`` checks at each call is part of it."""
    features, *hidden, classes = network.sizes
    model = MLPClassifier(
        hidden,
        alpha=0.0,
        batch_size=network.batch_size,
        learning_rate_init=LR,
        epsilon=network.eps,
        shuffle=False,
        random_state=0,
    )
    labels = np.arange(network.batch_size) % classes
    blank = np.zeros((network.batch_size, features), np.float32)
    model.partial_fit(blank, labels, classes=np.arange(classes))
    weights = trained(state)
    model.coefs_, model.intercepts_ = weights[::2], weights[1::2]
    del model._optimizer  # with the moments of the call that made the arrays

    def step(x: Any, labels: Any) -> float:
        model.partial_fit(x, labels)
        return float(model.loss_)

    return step
