"""Right and wrong are told apart by more than colour; the most confident mistakes come first."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from tinygrad_mnist.plots import plot_mistakes, plot_predictions

N = 23
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 28, 28)).astype(np.uint8)
LABELS = np.arange(N) % 10
PREDICTED = np.where(np.arange(N) % 5 == 2, 9 - LABELS, LABELS)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts] if figure.axes else []


def test_wrong_predictions_are_marked_by_word_sign_and_border() -> None:
    figure = plot_predictions(IMAGES, PREDICTED, LABELS, np.ones(N))
    wrong = int((PREDICTED != LABELS).sum())
    assert figure.texts[0].get_text() == f"{N - wrong} of {N} sample digits right"
    assert sum(word.startswith("wrong: is ") for word in words(figure)) == wrong
    assert sum(word.startswith("✗ ") for word in words(figure)) == wrong
    borders = [patch for patch in figure.axes[0].patches if patch.get_linewidth() > 2]
    assert len(borders) == wrong


def test_confidence_is_never_rounded_to_certainty() -> None:
    figure = plot_predictions(IMAGES[:3], [1, 2, 3], None, [0.9999, 1.0, 0.004])
    assert words(figure) == ["1 · >99 %", "2 · 100 %", "3 · 0 %"]


def test_what_is_cut_off_is_compared_whole() -> None:
    names = ["a name that is long enough: 1", "a name that is long enough: 2"]
    figure = plot_predictions(IMAGES[:2], [0, 1], [1, 1], [0.5, 0.5], names=names)
    assert figure.texts[0].get_text() == "1 of 2 sample pictures right"
    first, second, third, fourth = words(figure)
    assert (first, third) == (f"✗ {second.removeprefix('wrong: is ')} · 50 %", first.removeprefix("✗ "))
    assert fourth.startswith("is a name")
    assert "…" in fourth


def test_the_images_are_one_image_with_their_aspect_kept() -> None:
    (axes,) = plot_predictions(IMAGES[:, :, :14], PREDICTED, LABELS, np.ones(N), columns=5).axes
    (image,) = axes.images
    pixels = np.asarray(image.get_array())
    tile = pixels[:28, :28]
    np.testing.assert_array_equal(
        tile[:, 7:21, 0], np.rint(255 * (1 - IMAGES[0, :, :14] / IMAGES[:, :, :14].max()))
    )
    assert (tile[:, :7, 3] == 0).all()
    left, right, bottom, top = image.get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(pixels.shape[1] / pixels.shape[0])


@pytest.mark.parametrize(("width", "columns"), [(3.2, None), (5, None), (9, None), (9, 4)])
def test_as_many_stand_in_a_row_as_fit(width: float, columns: int | None) -> None:
    (axes,) = plot_predictions(IMAGES, PREDICTED, LABELS, np.ones(N), width=width, columns=columns).axes
    lefts = {round(patch.get_x(), 3) for patch in axes.patches}  # type: ignore[attr-defined]
    assert len(lefts) == columns or (columns is None and width / 1.7 < len(lefts) <= width)
    assert max(lefts) < width - 0.86


def test_the_most_confident_mistakes_come_first_with_the_share_of_the_truth() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0], [0.2, 0.7, 0.1]])
    figure = plot_mistakes(IMAGES[:4], probabilities, [1, 2, 0, 2], names=["a", "b", "c"])
    assert figure.texts[0].get_text() == "All 3 mistakes among 4, the most confident first"
    assert words(figure) == [
        "✗ b · 100 %",
        "is a · 0 %",
        "✗ b · 70 %",
        "is c · 10 %",
        "✗ a · 60 %",
        "is b · 30 %",
    ]
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_array_equal(
        pixels[:28, :28, 0], np.rint(255 * (1 - IMAGES[2] / IMAGES[[2, 3, 0]].max()))
    )
    fewer = plot_mistakes(IMAGES[:4], probabilities, [1, 2, 0, 2], most=2)
    assert fewer.texts[0].get_text() == "The 2 most confident of 3 mistakes among 4"


def test_where_there_is_no_mistake_a_page_says_so() -> None:
    figure = plot_mistakes(IMAGES[:3], np.eye(3), [0, 1, 2])
    assert figure.texts[0].get_text() == "No mistakes among 3"
    assert words(figure) == []
