"""The boundary is drawn from any shape of probabilities, also where there is none."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tinygrad_mnist.plots import plot_decision_boundary

Values = NDArray[np.float64]
POINTS = np.random.default_rng(0).normal(0, 1, (60, 2)) * (2, 1)


def to_the_right(points: Values) -> Values:
    return 1 / (1 + np.exp(-3 * points[:, 0]))


@pytest.mark.parametrize("shape", [lambda p: p, lambda p: p[:, None], lambda p: np.stack([1 - p, p], 1)])
def test_the_plane_is_blue_for_class_0_and_orange_for_class_1(shape: Callable[[Values], Values]) -> None:
    figure = plot_decision_boundary(lambda xy: shape(to_the_right(xy)), POINTS, POINTS[:, 0] > 0)
    axes = figure.axes[0]
    pixels = np.asarray(axes.images[0].get_array()).astype(int)
    assert (pixels[:, 0, 2] > pixels[:, 0, 0]).all()
    assert (pixels[:, -1, 0] > pixels[:, -1, 2]).all()
    line = np.concatenate([path.vertices for path in axes.collections[0].get_paths()])
    np.testing.assert_allclose(line[:, 0], 0, atol=0.01)
    circles, triangles = axes.collections[1:3]
    np.testing.assert_array_equal(np.asarray(circles.get_offsets()), POINTS[POINTS[:, 0] <= 0])
    assert len(circles.get_paths()[0].vertices) != len(triangles.get_paths()[0].vertices)


def test_up_is_up() -> None:
    figure = plot_decision_boundary(lambda xy: np.float64(xy[:, 1] > 0), POINTS, POINTS[:, 1] > 0)
    pixels = np.asarray(figure.axes[0].images[0].get_array()).astype(int)
    assert figure.axes[0].images[0].origin == "upper"
    assert (pixels[0, :, 0] > pixels[0, :, 2]).all()  # above is class 1: orange


def test_a_boundary_is_drawn_where_there_is_none_and_around_one_point() -> None:
    plot_decision_boundary(lambda xy: np.ones(len(xy)), [[3.0, 4.0]], [1]).draw_without_rendering()
