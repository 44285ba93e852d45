"""A confusion matrix holds counts and shares of rows; each class has its accuracy and interval."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_mnist.plots import plot_class_accuracy, plot_confusion, wilson_interval

MATRIX = np.array([[90, 9, 1], [0, 1200, 300], [0, 0, 50]])


def cells(figure: Figure) -> dict[tuple[int, int], list[str]]:
    """The texts of each cell, from top to bottom."""
    found: dict[tuple[int, int], list[str]] = {}
    for text in sorted(figure.axes[0].texts, key=lambda text: text.get_position()[1]):
        x, y = text.get_position()
        if min(x, y) > -0.45:
            found.setdefault((round(y), round(x)), []).append(text.get_text())
    return found


def test_a_cell_holds_its_count_and_the_percent_of_its_row() -> None:
    found = cells(plot_confusion(MATRIX))
    assert found[0, 0] == ["90", "90.0"]
    assert found[1, 1] == ["1,200", "80.0"]
    assert found[1, 2] == ["300", "20.0"]
    assert found[2, 2] == ["50", "100"]
    assert found[2, 0] == ["·"]


def test_a_share_is_100_percent_only_of_all() -> None:
    assert cells(plot_confusion([[99_999, 1], [0, 1]]))[0, 0] == ["99,999", "99.9"]


@pytest.mark.parametrize(
    ("classes", "width", "has_numbers"), [(10, 5, True), (26, 9, True), (26, 5, False), (100, 9, False)]
)
def test_where_numbers_have_no_room_the_most_frequent_mistakes_are_listed(
    classes: int, width: float, has_numbers: bool
) -> None:
    matrix = 900 * np.eye(classes, dtype=int)
    matrix[3, 5], matrix[7, 2] = 40, 60
    figure = plot_confusion(matrix, width=width)
    assert bool(cells(figure)) == has_numbers
    listed = [text.get_text() for text in figure.axes[1].texts if "time" in text.get_text()]
    too_long = plot_confusion(1000 * matrix, width=width)
    assert not cells(too_long)
    assert listed == ([] if has_numbers else ["7 → 2: 60 times, 6.2 %", "3 → 5: 40 times, 4.3 %"])


def test_the_diagonal_is_blue_and_mistakes_are_as_orange_as_they_are_frequent() -> None:
    pixels = np.asarray(plot_confusion(MATRIX).axes[0].images[0].get_array()).astype(int)
    assert (pixels.diagonal()[2] > pixels.diagonal()[0]).all()
    assert pixels[0, 1, 0] > pixels[0, 1, 2]
    assert pixels[1, 2, 3] > pixels[0, 1, 3] > pixels[0, 2, 3] > pixels[2, 0, 3] == 0
    assert pixels[..., 3].max() < 0.6 * 255  # ink is read on it


def test_names_are_cut_off_or_stand_upright_but_are_no_mathematics() -> None:
    texts = (
        plot_confusion(np.eye(3), names=["$a$", "a name that is much too long", "c"], width=4).axes[0].texts
    )
    on_top = [text for text in texts if text.get_position()[1] < -0.5 and "$" in text.get_text()]
    assert [text.get_text() for text in on_top] == ["$a$"]
    assert on_top[0].get_rotation() == 90
    assert not on_top[0].get_parse_math()
    assert sum(text.get_text().endswith("…") for text in texts) == 2


def test_a_class_has_its_accuracy_its_number_and_its_interval() -> None:
    figure = plot_class_accuracy(MATRIX, names=["a", "b", "c"])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts[:6]] == [
        *("a", "90.0 % of 100", "b", "80.0 % of 1,500", "c", "100.0 % of 50"),
    ]
    low, high = wilson_interval([90, 1200, 50], [100, 1500, 50])
    segments = np.array(axes.collections[0].get_segments())  # type: ignore[attr-defined]
    np.testing.assert_allclose(segments[:, :, 0], 100 * np.stack([low, high], 1))
    points = np.asarray(axes.lines[-1].get_xydata())
    np.testing.assert_allclose(points, [[90, 0], [80, 1], [100, 2]])
    assert axes.get_xlim()[0] <= 100 * low.min()


def test_a_class_without_samples_is_said() -> None:
    for matrix in (np.zeros((2, 2)), [[3, 0], [0, 0]]):
        assert "no samples" in [text.get_text() for text in plot_class_accuracy(matrix).axes[0].texts]


@pytest.mark.parametrize(("right", "total"), [(5, 3), (5, 0), ([1, -1], 4), (np.nan, 3)])
def test_what_is_no_share_has_no_interval(right: Any, total: int) -> None:
    with pytest.raises(ValueError, match=r"is no share; expected 0 <= successes <= totals"):
        wilson_interval(right, total)


def test_an_interval_holds_the_shares_that_the_counts_do_not_contradict() -> None:
    n = np.array([1, 10, 100, 10_000] * 3)
    x = np.rint(n * np.repeat([0, 0.3, 1], 4))
    for end in wilson_interval(x, n):
        inside = (end > 0) & (end < 1)
        distance = abs(x / n - end) / np.sqrt(np.where(inside, end * (1 - end), 1) / n)
        np.testing.assert_allclose(distance[inside], 1.959964, rtol=1e-6)
