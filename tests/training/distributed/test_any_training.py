"""A training of layers, a loss and options that are drawn is the same by several ranks as by one process."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranks import run_threads
from tests.training.distributed.cases import difference, digest, in_float64
from tinygrad_mnist import nn, optim, training
from tinygrad_mnist.compiler import machine

LABELS: Final = {
    "cross-entropy": nn.CrossEntropyLoss,
    "smoothed, weighted": lambda: nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.1),
    "summed": lambda: nn.CrossEntropyLoss(reduction="sum"),
    "summed, weighted": lambda: nn.CrossEntropyLoss(weight=WEIGHTS, reduction="sum"),
    "negative log-likelihood": lambda: nn.NLLLoss(weight=WEIGHTS),
}
"""Losses of labels, of which some are ignored."""

VALUES: Final = {
    "squares": nn.MSELoss,
    "summed squares": lambda: nn.MSELoss(reduction="sum"),
    "absolute": nn.L1Loss,
    "Huber": nn.HuberLoss,
    "binary, weighted": lambda: nn.BCEWithLogitsLoss(pos_weight=WEIGHTS),
}
"""Losses of values."""

NORMS: Final = {
    "batch": (nn.BatchNorm2d, nn.BatchNorm1d),
    "batch, mean of all": (partial(nn.BatchNorm2d, momentum=None), partial(nn.BatchNorm1d, momentum=None)),
    "layer": (partial(nn.GroupNorm, 2), nn.LayerNorm),
    "root mean square": (partial(nn.GroupNorm, 1), nn.RMSNorm),
}
"""Norms of images and of rows."""

OPTIMIZERS: Final = {
    "SGD": partial(optim.SGD, lr=0.01),
    "Nesterov": partial(optim.SGD, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": partial(optim.Adam, lr=0.01, amsgrad=True),
    "RMSprop": partial(optim.RMSprop, lr=0.003),
}
# These divide by the size of a gradient, so that of one that is rounding alone a few digits are left.
ADAPTIVE: Final = ("Adam", "RMSprop")
CLASSES: Final = 3
WEIGHTS: Final = np.array([0.5, 1.0, 1.5])


@dataclass(frozen=True)
class Drawn:
    """A training; ``samples`` leave no batch of one, of which batch norm could take no statistics."""

    samples: int
    batch_size: int
    images: bool
    norm: str
    dropout: float
    loss: str
    optimizer: str
    accumulate: int
    clip_norm: float | None
    ema: float
    validates: bool
    jit: str

    def __call__(self, communicator: Any = None) -> Any:
        """Train for two passes; return the weights and the result."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(self.samples, 2, 6, 6) if self.images else (self.samples, 6))
        labels = rng.integers(0, CLASSES, self.samples)
        y: Any = np.eye(CLASSES)[labels]
        if self.loss in LABELS:
            y = np.where(np.arange(self.samples) % 7 == 3, -100, labels)
        model = self._model()
        done = training.fit(
            model,
            OPTIMIZERS[self.optimizer](model.parameters()),
            (x, y),
            loss={**LABELS, **VALUES}[self.loss](),
            epochs=2,
            batch_size=self.batch_size,
            accumulate=min(self.accumulate, -(-self.samples // self.batch_size)),
            clip_norm=self.clip_norm,
            ema=self.ema,
            validation=(x[:11], y[:11]) if self.validates else None,
            jit=self.jit,
            lint=False,
            communicator=communicator,
        )
        return model.state_dict(), done

    def _model(self) -> nn.Module:
        of_images, of_rows = NORMS[self.norm]
        layers: list[nn.Module] = [nn.Linear(6, 8, rng=1)]
        if self.images:
            pictures = (nn.Conv2d(2, 4, 3, rng=0), of_images(4), nn.ReLU(), nn.Dropout2d(self.dropout, rng=2))
            layers = [*pictures, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 8, rng=1)]
        layers += [of_rows(8), nn.GELU(), nn.Dropout(self.dropout, rng=3), nn.Linear(8, CLASSES, rng=4)]
        if self.loss == "negative log-likelihood":
            layers.append(nn.LogSoftmax(-1))
        return in_float64(nn.Sequential(*layers))


DRAWN: Final = st.builds(
    Drawn,
    samples=st.sampled_from([18, 40, 54]),
    batch_size=st.sampled_from([4, 7, 16, 25, 64]),
    images=st.booleans(),
    norm=st.sampled_from(sorted(NORMS)),
    dropout=st.sampled_from([0.0, 0.3]),
    loss=st.sampled_from(sorted(LABELS) + sorted(VALUES)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    accumulate=st.sampled_from([1, 1, 2, 3]),
    clip_norm=st.sampled_from([None, 0.1]),
    ema=st.sampled_from([0.0, 0.8]),
    validates=st.booleans(),
    jit=st.sampled_from(["off"] * 5 + ["on"] * machine.available()),
)


@pytest.mark.slow
@given(train=DRAWN, ranks=st.sampled_from([2, 3, 5]))
def test_any_training_is_the_same_by_several_ranks(train: Drawn, ranks: int) -> None:
    found = run_threads(ranks, train)
    one = train()
    scale = max(1.0, float(np.abs(one[1].history.losses).max()))
    assert difference(one, found[0]) < scale * (1e-6 if train.optimizer in ADAPTIVE else 1e-9)
    assert len(set(map(digest, found))) == 1
