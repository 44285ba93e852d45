"""The learning rate is drawn step by step."""

import numpy as np

from tinygrad_mnist.plots import plot_schedule


def test_the_rates_are_drawn_over_epochs() -> None:
    rates = 0.1 * np.linspace(0, 1, 100)
    figure = plot_schedule(rates, steps_per_epoch=50)
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(line.get_xdata()), np.arange(1, 101) / 50)
    np.testing.assert_array_equal(np.asarray(line.get_ydata()), rates)
    assert figure.texts[1].get_text() == "step 1: 0, highest: 0.1 in step 100, last: 0.1"


def test_rates_over_many_decades_have_a_logarithmic_scale() -> None:
    assert plot_schedule(np.geomspace(1, 1e-4, 50)).axes[0].get_yscale() == "log"
    for rates in ([1.0, 0.0], 1 + np.cos(np.linspace(0, 3.1415, 500)), np.linspace(1e-6, 1, 50)):
        assert plot_schedule(rates).axes[0].get_yscale() == "linear"


def test_one_step_is_a_dot() -> None:
    assert plot_schedule([0.1]).axes[0].lines[0].get_marker() == "o"
