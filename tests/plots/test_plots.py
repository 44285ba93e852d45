"""Pictures: written whole or not at all, small, with everything on the page and nothing on top of another."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from tinygrad_mnist.plots import (
    plot_augmentation,
    plot_confusion,
    plot_decision_boundary,
    plot_predictions,
    plot_training,
)

N = 23
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 28, 28)).astype(np.uint8)
LABELS = np.arange(N) % 10
PREDICTED = np.where(np.arange(N) % 5 == 2, 9 - LABELS, LABELS)
CONFIDENCE = np.linspace(0.3, 1, N)
HISTORY = [
    {
        "step": 10 * k,
        "epoch": k / 4,
        "train_loss": 2.3 / k**1.5,
        "train_accuracy": 1 - 0.9 / k**2,
        "validation_accuracy": 1 - 0.95 / k**2 if k % 4 == 0 else None,
        "lr": 0.1,
    }
    for k in range(1, 13)
]
POINTS = RNG.normal(0, 1, (60, 2)) * (2, 1)


def slope(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-2 * points[:, 0] - points[:, 1]))


NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]

CONFUSION = np.diag(np.arange(900, 1000, 10)) + RNG.integers(0, 12, (10, 10))

VERSIONS = RNG.integers(0, 256, (N, 3, 28, 28))

PLOTS: dict[str, Callable[..., Path | Figure]] = {
    "augmentation": lambda path=None: plot_augmentation(
        IMAGES, VERSIONS, LABELS, path, names=["a name that is much too long to be drawn", *"bcdefghij$"]
    ),
    "images alone": lambda path=None: plot_augmentation(IMAGES[:2], VERSIONS[:2, :0], [0, 1], path),
    "images as they are": lambda path=None: plot_augmentation(
        IMAGES, VERSIONS, LABELS, path, names=NAMES, as_ink=False
    ),
    "predictions": lambda path=None: plot_predictions(IMAGES, PREDICTED, LABELS, CONFIDENCE, path),
    "one unlabelled": lambda path=None: plot_predictions(IMAGES[:1], [3], None, [0.5], path),
    "all wrong": lambda path=None: plot_predictions(IMAGES, 9 - LABELS % 9, LABELS % 9, np.ones(N), path),
    "predictions with names": lambda path=None: plot_predictions(
        IMAGES[:, :, :14], PREDICTED, LABELS, CONFIDENCE, path, names=NAMES, as_ink=False
    ),
    "predictions with long names": lambda path=None: plot_predictions(
        IMAGES,
        PREDICTED,
        LABELS,
        CONFIDENCE,
        path,
        names=[f"number {k} of the long names" for k in range(10)],
    ),
    "predictions with two signs": lambda path=None: plot_predictions(
        IMAGES, PREDICTED, LABELS, CONFIDENCE, path, names=[f"M{k}" for k in range(10)]
    ),
    "training": lambda path=None: plot_training(HISTORY, path),
    "training's first row": lambda path=None: plot_training(HISTORY[3:4], path),
    "training in steps": lambda path=None: plot_training(
        [{"step": k, "train_loss": 5.0} for k in (1, 2)], path
    ),
    "training to the top": lambda path=None: plot_training(
        [{"train_accuracy": 1, "validation_accuracy": 1.0}], path
    ),
    "training with a long title": lambda path=None: plot_training(
        HISTORY,
        path,
        title="batchnorm-deep-fullbatch, the bundled digits: 99.16 % of the test part recognised",
    ),
    "no training": lambda path=None: plot_training([], path),
    "boundary": lambda path=None: plot_decision_boundary(slope, POINTS, POINTS[:, 0] > 0, path),
    "confusion": lambda path=None: plot_confusion(CONFUSION, path),
    "named confusion": lambda path=None: plot_confusion(
        [[0, 0], [20000, 3]], path, names=["left moon", "right moon"]
    ),
}
EVERY_PLOT = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)


def texts(figure: Figure) -> list[Text]:
    """All texts on the page that are seen; ticks beyond the ends of their axis exist and are not drawn."""
    unseen = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not low <= tick.get_loc() <= high:
                    unseen |= {tick.label1, tick.label2}
    found = {text for text in figure.findobj(Text) if text.get_visible()}
    return [text for text in found - unseen if text.get_text().strip()]


def drawn(plot: Callable[..., Path | Figure]) -> Figure:
    figure = plot()
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    return figure


@EVERY_PLOT
def test_a_picture_is_written_alone_and_small(tmp_path: Path, plot: Callable[..., Path | Figure]) -> None:
    path = tmp_path / "picture.png"
    assert plot(path) == path
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size < 300_000
    with Image.open(path) as image:
        image.load()
        assert min(image.size) > 200
        assert np.asarray(image.convert("L")).std() > 3


@EVERY_PLOT
def test_all_text_is_on_the_page(plot: Callable[..., Path | Figure]) -> None:
    figure = drawn(plot)
    page = figure.bbox
    for text in texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= page.x1 and box.y1 <= page.y1
        assert inside, text.get_text()


@EVERY_PLOT
def test_no_text_lies_on_another(plot: Callable[..., Path | Figure]) -> None:
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(drawn(plot))]
    for k, (name, box) in enumerate(boxes):
        for other_name, other in boxes[:k]:
            both = Bbox.intersection(box, other)
            # Boxes are as tall as the font's tallest letter: a sliver of overlap is air.
            assert both is None or min(both.width, both.height) < 3, (name, other_name)


def test_classes_have_their_names_and_what_is_cut_off_is_compared_whole() -> None:
    names = ["a name that is long enough: 1", "a name that is long enough: 2"]
    figure = plot_predictions(IMAGES[:2], [0, 1], [1, 1], [0.5, 0.5], names=names)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "predicted class · confidence, true class below" in texts
    assert "✗ a name that is lo… · 50 %" in texts
    assert "wrong: is a name that is lo…" in texts
    assert figure.axes[0].get_title(loc="left") == "1 of 2 sample pictures right"


def test_a_sign_that_no_font_has_is_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "names.png"
    plot_predictions(IMAGES[:2], [0, 1], [1, 1], [0.5, 0.5], path, names=["\u304a", "\u3092"])
    assert path.exists()


def test_a_picture_keeps_its_aspect() -> None:
    figure = plot_predictions(IMAGES[:1, :, :14], [1], None, [0.5])
    (image,) = figure.axes[0].images
    left, right, bottom, top = image.get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(0.5)


def test_wrong_predictions_are_marked_by_word_sign_and_border() -> None:
    figure = drawn(PLOTS["predictions"])
    wrong = int((PREDICTED != LABELS).sum())
    words = [text.get_text() for text in texts(figure)]
    assert f"{N - wrong} of {N} sample digits right" in words
    assert sum(word.startswith("wrong: is ") for word in words) == wrong
    assert sum(word.startswith("✗ ") for word in words) == wrong
    borders = [patch for patch in figure.axes[0].patches if patch.get_linewidth() > 2]
    assert len(borders) == wrong


def test_confidence_is_never_rounded_to_certainty() -> None:
    figure = plot_predictions(IMAGES[:3], [1, 2, 3], None, [0.9999, 1.0, 0.004])
    assert isinstance(figure, Figure)
    words = {text.get_text() for text in texts(figure)}
    assert {"1 · >99 %", "2 · 100 %", "3 · 0 %"} <= words


def test_lines_differ_by_more_than_colour_and_carry_their_last_value() -> None:
    figure = drawn(PLOTS["training"])
    train, validation = figure.axes[1].lines
    assert train.get_linestyle() != validation.get_linestyle()
    assert len(validation.get_xdata()) == 3  # type: ignore[arg-type]
    words = {text.get_text() for text in texts(figure)}
    assert {"train\n99.38 %", "validation\n99.34 %", "epochs"} <= words


@pytest.mark.parametrize(
    ("rows", "heading"),
    [
        ([{"epoch": 0, "step": 1}, {"epoch": 0, "step": 2}], "steps"),
        ([{"images_seen": 64}, {"images_seen": 128}], "images seen"),
        ([{}, {}], "rows"),
    ],
)
def test_the_time_is_the_first_that_grows(rows: list[dict[str, float]], heading: str) -> None:
    figure = plot_training([{**row, "train_loss": 1.0} for row in rows])
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_xlabel() == heading


def test_values_that_are_missing_or_not_finite_are_left_out() -> None:
    rows = [{"epoch": k, "train_loss": v} for k, v in enumerate([1.0, None, np.nan, np.inf, 0.5])]
    figure = plot_training(rows)
    assert isinstance(figure, Figure)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [1.0, 0.5])


@pytest.mark.parametrize("shape", [lambda p: p, lambda p: p[:, None], lambda p: np.stack([1 - p, p], 1)])
def test_the_boundary_takes_probabilities_in_each_shape(
    shape: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    figure = plot_decision_boundary(lambda xy: shape(slope(xy)), POINTS, POINTS[:, 0] > 0)
    assert isinstance(figure, Figure)


def apart(versions: NDArray[Any]) -> NDArray[Any]:
    """Versions side by side, with two blank columns after each."""
    return np.pad(versions, ((0, 0), (0, 0), (0, 2))).transpose(1, 0, 2).reshape(28, -1)


def test_each_class_has_a_row_with_its_images_and_their_versions() -> None:
    labels = np.array([2, 0, 2])
    figure = plot_augmentation(IMAGES[:3], VERSIONS[:3], labels, names=["zero", "one", "two"])
    assert isinstance(figure, Figure)
    (axes,) = figure.axes
    rows = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert "one" not in rows
    places: dict[str, list[NDArray[Any]]] = {"zero": [], "two": []}
    for drawn in axes.images:
        left, right, bottom, top = drawn.get_extent()
        name = min(places, key=lambda name: abs(rows[name] - (top + bottom) / 2))
        places[name].append(np.asarray(drawn.get_array()))
        assert abs((right - left) / (bottom - top) - drawn.get_array().shape[1] / 28) < 1e-6
    expected = {"zero": [1], "two": [0, 2]}
    for name, members in expected.items():
        parts = [part for member in members for part in (IMAGES[member], apart(VERSIONS[member]))]
        assert len(parts) == len(places[name])
        for found, part in zip(places[name], parts, strict=True):
            np.testing.assert_array_equal(found, part)


def test_images_that_are_drawn_as_they_are_stand_apart_on_paper() -> None:
    figure = plot_augmentation(IMAGES[:1], VERSIONS[:1], [0], as_ink=False)
    assert isinstance(figure, Figure)
    (original, versions) = figure.axes[0].images
    assert original.get_cmap().name == versions.get_cmap().name == "gray"
    np.testing.assert_array_equal(np.asarray(versions.get_array())[:, 28:30], IMAGES[0].max())


def test_a_single_evaluation_is_at_the_end_of_the_training_and_hides_nothing() -> None:
    losses = [{"epoch": k / 10, "train_loss": 1 / k} for k in range(1, 4)]
    last = {"validation_loss": 0.25, "train_accuracy": 0.99, "validation_accuracy": 0.99}
    figure = plot_training([*losses, {"epoch": 0.4, "train_loss": 0.25, **last}])
    assert isinstance(figure, Figure)
    for axes in figure.axes:
        assert axes.get_xlim()[0] == 0
        assert axes.get_xlim()[1] >= 0.4
    train, validation = figure.axes[1].lines
    assert train.get_markerfacecolor() == "none"
    assert train.get_markersize() > 2 * validation.get_markersize()


def test_a_boundary_is_drawn_where_there_is_none_and_around_one_point() -> None:
    figure = plot_decision_boundary(lambda xy: np.ones(len(xy)), [[3.0, 4.0]], [1])
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()


@pytest.mark.parametrize(
    "call",
    [
        lambda: plot_augmentation(IMAGES, VERSIONS[1:], LABELS),
        lambda: plot_augmentation(IMAGES, VERSIONS[..., 1:], LABELS),
        lambda: plot_augmentation(IMAGES[:0], VERSIONS[:0], []),
        lambda: plot_augmentation(IMAGES, VERSIONS, LABELS, names="abc"),
        lambda: plot_predictions(IMAGES, PREDICTED[1:], LABELS, CONFIDENCE),
        lambda: plot_predictions(IMAGES[0], PREDICTED, LABELS, CONFIDENCE),
        lambda: plot_predictions(IMAGES[:0], [], [], []),
        lambda: plot_decision_boundary(slope, POINTS.T, [0, 1]),
        lambda: plot_decision_boundary(lambda xy: np.ones(3), POINTS, np.zeros(60)),
        lambda: plot_confusion(np.zeros((2, 3))),
        lambda: plot_confusion(np.zeros((0, 0))),
        lambda: plot_confusion(np.eye(2), names=["one"]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"shape|names"):
        call()


def test_a_picture_that_fails_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training.png"
    path.write_bytes(b"the old one")

    def fail(figure: Figure, file: Any, **options: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_training(HISTORY, path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_the_ending_names_the_format(tmp_path: Path) -> None:
    assert b"<svg" in Path(str(plot_training(HISTORY, tmp_path / "training.svg"))).read_bytes()


def test_a_picture_does_not_depend_on_the_users_style(tmp_path: Path) -> None:
    plot_training(HISTORY, tmp_path / "plain.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "axes.grid": True, "text.color": "white"}):
        plot_training(HISTORY, tmp_path / "dark.png")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "dark.png").read_bytes()


def test_pictures_are_drawn_in_threads(tmp_path: Path) -> None:
    paths = [tmp_path / f"{k}.png" for k in range(4)]
    threads = [threading.Thread(target=plot_confusion, args=(CONFUSION, path)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_bytes() for path in paths}) == 1


def test_pyplot_is_not_needed() -> None:
    import subprocess

    code = (
        "import sys; from tinygrad_mnist.plots import plot_confusion\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot_confusion([[1]])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@EVERY_PLOT
def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, plot: Callable[..., Path | Figure]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_mnist\[plot\]"'):
        plot()


def test_the_time_may_be_given_a_name() -> None:
    figure = plot_training(HISTORY, time="iterations")
    assert isinstance(figure, Figure)
    assert [axes.get_xlabel() for axes in figure.axes] == ["iterations", "iterations"]


def test_a_scale_that_is_not_even_is_said() -> None:
    figure = drawn(PLOTS["training"])
    assert [axes.get_title(loc="right") for axes in figure.axes] == ["log scale", "stretched near 100 %"]


def test_of_an_even_scale_nothing_is_said() -> None:
    figure = plot_training([{"epoch": k, "train_loss": 1.0, "train_accuracy": 0.5} for k in (1, 2)])
    assert isinstance(figure, Figure)
    assert [axes.get_title(loc="right") for axes in figure.axes] == ["", ""]


def test_a_title_with_dollar_signs_is_no_mathematics(tmp_path: Path) -> None:
    """It may hold the name of a directory."""
    assert isinstance(plot_training(HISTORY, tmp_path / "a.png", title="on $\\frac$: 98 %"), Path)
