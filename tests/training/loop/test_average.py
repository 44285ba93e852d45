"""The moving average of weights."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.training.loop.average import WeightAverage


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2, rng=0), nn.BatchNorm1d(2), nn.Linear(2, 2, rng=1))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_the_average_is_that_of_the_formula(dtype: type[np.floating[Any]], rtol: float) -> None:
    """Against a loop over the weights in float64."""
    net, rng = model(), np.random.default_rng(0)
    net[0].weight.data = net[0].weight.data.astype(dtype)  # another than that of the rest
    average = WeightAverage(net, decay=0.9)
    expected = [parameter.data.astype(np.float64) for parameter in net.parameters()]
    for step in range(1, 30):
        decay = min(0.9, (1 + step) / (10 + step))
        for parameter, mean in zip(net.parameters(), expected, strict=True):
            parameter.data[...] = rng.normal(size=parameter.shape)
            mean *= decay
            mean += (1 - decay) * parameter.data
        average.update()
    with average.in_use():
        for parameter, mean in zip(net.parameters(), expected, strict=True):
            if parameter.dtype == dtype:
                np.testing.assert_allclose(parameter.data, mean, rtol=rtol, atol=rtol)
            else:
                assert parameter.dtype == np.float32
                np.testing.assert_allclose(parameter.data, mean, rtol=1e-5, atol=1e-6)


def test_the_weights_come_back_and_buffers_stay() -> None:
    net = model()
    average = WeightAverage(net, decay=0.5)
    for parameter in net.parameters():
        parameter.data[...] += 1
    net[1].running_mean[...] = 7
    before = net.state_dict()
    with average.in_use():
        assert not np.array_equal(net[0].weight.data, before["0.weight"])
        np.testing.assert_array_equal(net[1].running_mean, 7)
    np.testing.assert_equal(net.state_dict(), before)
