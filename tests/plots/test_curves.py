"""Lines of a training hold its values, and differ by more than colour."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tinygrad_mnist.plots import plot_comparison, plot_training

ROWS: list[dict[str, Any]] = [
    {"step": 10 * k, "epoch": k / 4, "train_loss": 2.3 / k**1.5, "train_accuracy": 1 - 0.9 / k**2}
    | {"validation_accuracy": 1 - 0.95 / k**2 if k % 4 == 0 else None}
    for k in range(1, 13)
]


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def headings(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_lines_differ_by_more_than_colour_and_carry_their_last_value() -> None:
    _, accuracy = plot_training(ROWS).axes
    train, validation = accuracy.lines
    assert train.get_linestyle() != validation.get_linestyle()
    assert train.get_marker() != validation.get_marker()
    np.testing.assert_allclose(np.asarray(validation.get_ydata()), [100 - 95 / k**2 for k in (4, 8, 12)])
    assert {"train", "99.38 %", "validation", "99.34 %", "epochs"} <= set(words(accuracy))


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([{"epoch": 0, "step": 1}, {"epoch": 0, "step": 2}], "steps"),
        ([{"images_seen": 64}, {"images_seen": 128}], "images seen"),
        ([{}, {}], "rows"),
    ],
)
def test_the_time_is_the_first_that_grows(rows: list[dict[str, float]], name: str) -> None:
    assert name in words(plot_training([{**row, "train_loss": 1.0} for row in rows]).axes[0])


def test_the_time_may_be_given_a_name() -> None:
    assert all("iterations" in words(axes) for axes in plot_training(ROWS, time="iterations").axes)


def test_values_that_are_missing_or_not_finite_are_left_out() -> None:
    rows = [{"epoch": k, "train_loss": v} for k, v in enumerate([1.0, None, np.nan, np.inf, 0.5])]
    (line,) = plot_training(rows).axes[0].lines
    np.testing.assert_array_equal(np.asarray(line.get_xydata()), [[0, 1.0], [4, 0.5]])


def test_losses_of_steps_are_pale_and_their_mean_is_bold() -> None:
    losses = np.random.default_rng(0).uniform(0.5, 1.5, 1000)
    figure = plot_training([{"step": 1000, "validation_loss": 1.0}], losses=losses, steps_per_epoch=250)
    raw, mean, validation = figure.axes[0].lines
    assert raw.get_linewidth() < 1 < mean.get_linewidth()
    assert raw.get_alpha() is not None
    y = np.asarray(raw.get_ydata())
    assert y.min() == losses.min()
    assert y.max() == losses.max()
    place = np.asarray(mean.get_xdata()).tolist().index(2.0)  # step 500
    assert np.asarray(mean.get_ydata())[place] == pytest.approx(losses[490:510].mean())
    np.testing.assert_array_equal(np.asarray(validation.get_xydata()), [[4.0, 1.0]])
    assert headings(figure)[1] == "pale: single values; bold: their running mean"


def test_half_a_million_steps_are_few_points() -> None:
    figure = plot_training([], losses=np.linspace(2, 1, 500_000))
    assert max(len(np.asarray(line.get_xdata())) for line in figure.axes[0].lines) < 1000
    assert "500k" in [tick.label1.get_text() for tick in drawn(figure).axes[0].xaxis.get_major_ticks()]


def drawn(figure: Figure) -> Figure:
    figure.draw_without_rendering()
    return figure


def test_where_the_loss_was_first_not_finite_is_said_and_marked() -> None:
    losses = np.ones(100)
    losses[[40, 60]] = np.nan, np.inf
    figure = plot_training([], losses=losses)
    assert "the loss is not finite in 2 of 100 steps, first in step 41" in " ".join(headings(figure))
    assert any(list(line.get_xdata()) == [41, 41] for line in figure.axes[0].lines)  # type: ignore[arg-type]


def test_a_single_evaluation_is_at_the_end_of_the_training_and_hides_nothing() -> None:
    last = {"validation_loss": 0.25, "train_accuracy": 0.99, "validation_accuracy": 0.99}
    losses = [{"epoch": k / 10, "train_loss": 1 / k} for k in range(1, 4)]
    figure = plot_training([*losses, {"epoch": 0.4, "train_loss": 0.25, **last}])
    for axes in figure.axes:
        assert axes.get_xlim() == (0, 0.4)
    train, validation = figure.axes[1].lines
    assert train.get_markerfacecolor() == "none"
    assert train.get_markersize() > 2 * validation.get_markersize()


def test_a_scale_that_is_not_even_is_said() -> None:
    loss, accuracy = plot_training(ROWS).axes
    assert (words(loss)[2], words(accuracy)[2]) == ("log scale", "stretched scale")
    rows = [{"epoch": k, "train_loss": 1.0, "train_accuracy": 0.5} for k in (1, 2)]
    assert [words(axes)[2] for axes in plot_training(rows).axes] == ["", ""]


def test_what_was_not_recorded_is_said() -> None:
    assert ["not recorded" in words(axes) for axes in plot_training([]).axes] == [True, True]


def test_panels_stand_under_each_other_where_the_page_is_narrow() -> None:
    wide, narrow = (plot_training(ROWS, width=width).axes for width in (9, 5))
    assert wide[0].get_position().y0 == wide[1].get_position().y0
    assert narrow[0].get_position().y0 > narrow[1].get_position().y1


def test_runs_are_told_apart_without_colour() -> None:
    runs = {str(k): ROWS for k in range(10)}
    *panels, legend = plot_comparison(runs).axes
    assert len(panels) == 3  # nobody recorded the validation loss
    for axes in [*panels, legend]:
        looks = {(line.get_linestyle(), line.get_marker()) for line in axes.lines}
        assert len({marker for _, marker in looks}) == 10
        widths = [line.get_linewidth() for line in axes.lines]
        assert widths == sorted(set(widths), reverse=True)  # one that lies below others is still seen
    for line, shown in zip(panels[0].lines, legend.lines, strict=True):
        assert to_hex(line.get_color()) == to_hex(shown.get_color())
        assert line.get_marker() == shown.get_marker()


def test_short_names_stand_at_the_lines_and_long_ones_in_the_legend() -> None:
    few = plot_comparison({"mlp": ROWS, "cnn": ROWS[:8]})
    assert {"mlp: 99.38 %", "cnn: 98.59 %"} <= set(words(few.axes[1]))
    assert words(few.axes[-1]) == ["mlp", "cnn"]
    long = plot_comparison({"a name that is long": ROWS, "cnn": ROWS[:8]})
    assert {"1: 99.38 %", "2: 98.59 %"} <= set(words(long.axes[1]))
    assert words(long.axes[-1]) == ["1: a name that is long", "2: cnn"]


def test_runs_share_a_time_that_all_have() -> None:
    figure = plot_comparison({"a": ROWS, "b": [{"step": 5, "train_loss": 1.0}]})
    assert "steps" in words(figure.axes[0])
