"""Models that learn, with plain code: the layers, losses and optimisers together on the bundled digits."""

import numpy as np
import pytest

from tinygrad_mnist import nn, no_grad, optim
from tinygrad_mnist.data import Standardizer, batches, load_digits, one_hot


def accuracy_after_training(layers: nn.Module, loss: nn.Module, targets_of, epochs: int = 8) -> float:
    digits = load_digits()
    model = nn.Sequential(nn.Flatten(), layers)
    standardize = Standardizer.fit(digits.train_images)
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        model.train()
        for x, y in batches(
            digits.train_images, digits.train_labels, 64, standardize=standardize, rng=rng, drop_last=True
        ):
            optimizer.zero_grad()
            loss(model(x), targets_of(y)).backward()
            optimizer.step()
    model.eval()
    with no_grad():
        predicted = model(standardize(digits.test_images)).data.argmax(axis=1)
    return float(np.mean(predicted == digits.test_labels))


def hidden(*after: nn.Module) -> list[nn.Module]:
    return [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10), *after]


@pytest.mark.parametrize(
    ("layers", "loss", "targets_of"),
    [
        (hidden(), nn.CrossEntropyLoss(), lambda y: y),
        (hidden(), nn.CrossEntropyLoss(label_smoothing=0.1), lambda y: one_hot(y, 10)),
        (hidden(nn.LogSoftmax(dim=1)), nn.NLLLoss(), lambda y: y),
        (hidden(nn.Softmax(dim=1)), nn.MSELoss(), lambda y: one_hot(y, 10)),
        (hidden(), nn.BCEWithLogitsLoss(), lambda y: one_hot(y, 10)),
        (
            [nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, 10)],
            nn.CrossEntropyLoss(),
            lambda y: y,
        ),
    ],
    ids=["cross_entropy", "smoothed one-hot", "nll", "mse", "bce", "layer_norm gelu dropout"],
)
def test_a_small_network_learns_the_digits(layers, loss: nn.Module, targets_of) -> None:
    model = nn.Sequential(*layers)
    model.apply(lambda module: getattr(module, "reset_parameters", lambda: None)())
    assert accuracy_after_training(model, loss, targets_of) > 0.93


def test_a_convolutional_network_learns_the_digits() -> None:
    nn.manual_seed(0)
    layers = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(16),
        nn.ReLU(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip
    assert accuracy_after_training(layers, nn.CrossEntropyLoss(), lambda y: y, epochs=3) > 0.95


def test_equal_seeds_train_to_equal_bits() -> None:
    def trained() -> dict[str, np.ndarray]:
        nn.manual_seed(3)
        model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))
        accuracy_after_training(model, nn.CrossEntropyLoss(), lambda y: y, epochs=1)
        return model.state_dict()

    first, second = trained(), trained()
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value)


def test_an_optimiser_keeps_the_memory_order_of_the_weights() -> None:
    model = nn.Linear(64, 10)
    accuracy_after_training(model, nn.CrossEntropyLoss(), lambda y: y, epochs=1)
    assert model.weight.data.flags.f_contiguous
