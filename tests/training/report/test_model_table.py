"""The layers of a model: what each puts out, and each parameter counted once."""

import numpy as np

from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.training.report.model_table import model_table


class Tied(nn.Module):
    """Two layers with one weight, a layer that is not used, and a module that computes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4, rng=0)
        self.second = nn.Linear(4, 4, rng=1)
        self.second.weight = self.first.weight
        self.unused = nn.Linear(4, 2, rng=2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.dropout(self.first(x)))


def test_shapes_are_those_of_each_output_and_shared_parameters_count_once() -> None:
    model = Tied()
    rows = model_table(model, Tensor(np.ones((3, 4), np.float32)))
    assert [(row.path, row.shape, row.parameters) for row in rows] == [
        ("first", (4,), 20),
        ("second", (4,), 4),
        ("unused", None, 10),
        ("dropout", (4,), 0),
    ]
    assert sum(row.parameters for row in rows) == sum(parameter.size for parameter in model.parameters())


def test_the_model_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {name: np.array(value) for name, value in model.state_dict().items()}
    model_table(model, Tensor(np.ones((3, 4), np.float32)))
    assert model.training
    assert all(np.array_equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_convolutions_have_channels_and_places() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.MaxPool2d(2), nn.Flatten())
    rows = model_table(model, Tensor(np.ones((1, 1, 6, 6), np.float32)))
    assert [row.shape for row in rows] == [(2, 4, 4), (2, 2, 2), (8,)]
