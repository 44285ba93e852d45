"""The calibration error is that of its definition, and the picture shows the bins that it is made of."""

import numpy as np
import pytest

from tinygrad_mnist.plots import calibration, plot_calibration

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_the_error_is_that_of_the_definition(bins: int) -> None:
    p, labels = RNG.dirichlet([0.4, 0.4, 0.4], 300), RNG.integers(0, 3, 300)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    error = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = calibration(p, labels, bins)
    assert found.error == pytest.approx(error)
    assert found.counts.sum() == 300


def test_a_model_that_is_as_sure_as_it_is_right_has_a_small_error() -> None:
    p = RNG.dirichlet([0.4, 0.4, 0.4], 100_000)
    labels = (p.cumsum(axis=1) > RNG.random((len(p), 1))).argmax(axis=1)
    assert calibration(p, labels).error < 0.01
    sharper = p**2 / (p**2).sum(axis=1, keepdims=True)
    assert calibration(sharper, labels).error > 0.1


def test_the_ends_are_in_a_bin_and_rounding_is_allowed() -> None:
    p = np.array([[1.0, 0.0], [0.5, 0.5], [1.0000001, 0.0]], np.float32)
    found = calibration(p, [0, 0, 0], 2)
    assert found.counts.tolist() == [1, 2]
    assert found.error == pytest.approx(0.5 / 3)


def test_the_bins_are_drawn_with_their_counts() -> None:
    p = np.array([[0.9, 0.1]] * 5 + [[0.65, 0.35]] * 2)
    figure = plot_calibration(p, [0, 0, 0, 0, 1, 0, 1], bins=10)
    above, below = figure.axes
    curve = np.asarray(above.lines[1].get_xydata())
    np.testing.assert_allclose(curve, [[65, 50], [90, 80]])
    assert [text.get_text() for text in below.texts if text.get_rotation() == 90] == ["2", "5"]
    assert figure.texts[0].get_text() == "Expected calibration error 11.43 %"
    assert len(below.patches) == 10
    assert below.get_yscale() == "log"
    assert below.texts[0].get_text() == "predictions in the bin, on a logarithmic scale"
