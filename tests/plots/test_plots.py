"""All pictures: laid out for any width, with everything on the page and nothing on top of another."""

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
from numpy.typing import NDArray

from tinygrad_mnist import plots

N = 23
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 28, 28)).astype(np.uint8)
LABELS = np.arange(N) % 10
PREDICTED = np.where(np.arange(N) % 5 == 2, 9 - LABELS, LABELS)
CONFIDENCE = np.linspace(0.3, 1, N)
PROBABILITIES = RNG.dirichlet(np.full(10, 0.3), N)
VERSIONS = RNG.integers(0, 256, (N, 3, 28, 28))
POINTS = RNG.normal(0, 1, (60, 2)) * (2, 1)
LOSSES = 2.3 / np.sqrt(np.arange(1, 301)) * RNG.uniform(0.5, 1.5, 300)
ROWS = [
    {"step": 25 * k, "epoch": k / 4, "train_loss": 2.3 / k**1.5, "train_accuracy": 1 - 0.9 / k**2}
    | ({"validation_accuracy": 1 - 0.95 / k**2, "validation_loss": 2.4 / k} if k % 4 == 0 else {})
    for k in range(1, 13)
]
CONFUSION = np.diag(np.arange(900, 1000, 10)) + RNG.integers(0, 12, (10, 10))
LONG = [f"Übergröße Nr. {k}, a name that is much too long" for k in range(100)]
MANY = RNG.poisson(0.1, (100, 100)) + 40 * np.eye(100, dtype=int)
DEEP = {f"layers.{k}.linear": 10.0 ** (-k / 4) * np.ones(30) for k in range(30)}


def slope(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-2 * points[:, 0] - points[:, 1]))


PLOTS: dict[str, Callable[[float], Figure]] = {
    "augmentation": lambda w: plots.plot_augmentation(IMAGES, VERSIONS, LABELS, names=LONG, width=w),
    "images alone": lambda w: plots.plot_augmentation(IMAGES[:2], VERSIONS[:2, :0], [0, 1], width=w),
    "boundary": lambda w: plots.plot_decision_boundary(slope, POINTS, POINTS[:, 0] > 0, width=w),
    "calibration": lambda w: plots.plot_calibration(PROBABILITIES, LABELS, width=w),
    "class accuracy": lambda w: plots.plot_class_accuracy(MANY, names=LONG, width=w),
    "comparison": lambda w: plots.plot_comparison({"one": ROWS, "two": ROWS[:8]}, width=w),
    "comparison of many": lambda w: plots.plot_comparison(dict.fromkeys(LONG[:10], ROWS), width=w),
    "confusion": lambda w: plots.plot_confusion(CONFUSION, width=w),
    "confusion of two": lambda w: plots.plot_confusion(
        [[0, 0], [20000, 3]], names=["left $ moon", "right $ moon"], width=w
    ),
    "confusion of 26": lambda w: plots.plot_confusion(MANY[:26, :26], names=LONG[:26], width=w),
    "confusion of 100": lambda w: plots.plot_confusion(MANY, names=LONG, width=w),
    "gradients": lambda w: plots.plot_gradient_norms(
        [1, 2, 3], {"first": [0, 1e-3, np.nan], LONG[0]: [1, 2, 3]}, clip=1.0, width=w
    ),
    "gradients of many": lambda w: plots.plot_gradient_norms(
        np.arange(30), DEEP | {"dead": np.zeros(30)}, clip=1.0, width=w
    ),
    "mistakes": lambda w: plots.plot_mistakes(IMAGES, PROBABILITIES, LABELS, width=w),
    "no mistakes": lambda w: plots.plot_mistakes(IMAGES[:10], np.eye(10), np.arange(10), width=w),
    "predictions": lambda w: plots.plot_predictions(IMAGES, PREDICTED, LABELS, CONFIDENCE, width=w),
    "one unlabelled": lambda w: plots.plot_predictions(IMAGES[:1], [3], None, [0.5], width=w),
    "named predictions": lambda w: plots.plot_predictions(
        IMAGES[:, :, :14], PREDICTED, LABELS, CONFIDENCE, names=LONG[:10], as_ink=False, width=w
    ),
    "saliency": lambda w: plots.plot_saliency(IMAGES, IMAGES - 128.0, captions=LONG[:N], width=w),
    "schedule": lambda w: plots.plot_schedule(np.geomspace(1, 1e-5, 5000), width=w),
    "training": lambda w: plots.plot_training(ROWS, losses=LOSSES, width=w, title=" ".join(LONG[:3])),
    "training's last row": lambda w: plots.plot_training(ROWS[3:4], width=w),
    "constant training": lambda w: plots.plot_training(
        [{"epoch": k, "train_loss": 1.0, "validation_loss": 1.0, "train_accuracy": 1} for k in (1, 2)],
        width=w,
    ),
    "no training": lambda w: plots.plot_training([], width=w),
    "weights": lambda w: plots.plot_weights(RNG.normal(0, 1, (256, 64)), width=w),
    "filters": lambda w: plots.plot_weights(RNG.normal(0, 1, (8, 3, 5, 5)), width=w),
}
EVERY_PLOT = pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)


def seen(figure: Figure) -> list[Text]:
    """All texts on the page that are seen; ticks beyond the ends of their axis exist and are not drawn."""
    unseen = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not axes.axison or not low <= tick.get_loc() <= high:
                    unseen |= {tick.label1, tick.label2}
    found = {text for text in figure.findobj(Text) if text.get_visible()}
    return [text for text in found - unseen if text.get_text().strip()]


@pytest.mark.parametrize("width", [4.5, 9.0])
@EVERY_PLOT
def test_text_is_on_the_page_large_enough_and_apart(plot: Callable[[float], Figure], width: float) -> None:
    figure = plot(width)
    assert figure.get_size_inches()[0] == width
    figure.draw_without_rendering()
    texts = seen(figure)
    words = [text.get_text() for text in texts]
    # a telephone shows 5 inches as 400 pixels of 3/4 of a point: 9.6 points are 8 there
    small = [word for word, text in zip(words, texts, strict=True) if text.get_fontsize() < 9.6]
    assert width >= 7 or not small
    boxes = np.array([text.get_window_extent().extents for text in texts])
    low, high = boxes[:, :2], boxes[:, 2:]
    outside = (low < 0).any(axis=1) | (high > figure.bbox.size).any(axis=1)
    assert not [words[k] for k in np.flatnonzero(outside)]
    overlap = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    # Boxes are as tall as the font's tallest letter: a sliver of overlap is air.
    pairs = np.argwhere(np.triu((overlap > 3.5).all(axis=2), k=1))
    assert not [(words[i], words[j]) for i, j in pairs]


@EVERY_PLOT
def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, plot: Callable[[float], Figure]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "tinygrad_mnist\[plot\]"'):
        plot(9.0)


def test_a_page_for_nobody_is_refused() -> None:
    for width in (0.5, np.nan, np.inf):
        with pytest.raises(ValueError, match="at least 3 inches wide"):
            plots.plot_confusion(CONFUSION, width=width)
    with pytest.raises(ValueError, match="too large"):
        plots.plot_predictions(np.tile(IMAGES, (100, 1, 1)), *3 * [np.ones(2300, int)], width=3.5)


def test_a_picture_does_not_depend_on_the_users_style(tmp_path: Path) -> None:
    plain = plots.save(plots.plot_training(ROWS), tmp_path / "plain.png")
    with matplotlib.rc_context({"axes.facecolor": "black", "axes.grid": True, "text.color": "white"}):
        dark = plots.save(plots.plot_training(ROWS), tmp_path / "dark.png")
    assert plain.read_bytes() == dark.read_bytes()


def test_pictures_are_drawn_in_threads(tmp_path: Path) -> None:
    def draw(path: Path) -> None:
        plots.save(plots.plot_confusion(CONFUSION), path)

    paths = [tmp_path / f"{k}.{form}" for k in range(3) for form in ("png", "svg")]
    threads = [threading.Thread(target=draw, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_bytes() for path in paths}) == 2


def test_pyplot_is_not_needed() -> None:
    import subprocess

    code = (
        "import sys; from tinygrad_mnist import plots\n"
        "plots.calibration([[1.0, 0.0]], [0])\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.svg(plots.plot_confusion([[1]]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


P = np.eye(10)[LABELS]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.plot_augmentation(IMAGES, VERSIONS[1:], LABELS), "shape"),
        (lambda: plots.plot_augmentation(IMAGES, VERSIONS[..., 1:], LABELS), "shape"),
        (lambda: plots.plot_augmentation(IMAGES[:0], VERSIONS[:0], []), "shape"),
        (lambda: plots.plot_augmentation(IMAGES, VERSIONS, LABELS, names=["a"]), "0 to 0"),
        (lambda: plots.plot_augmentation(IMAGES, VERSIONS, LABELS, names="abcdefghij"), "names"),
        (lambda: plots.plot_predictions(IMAGES, PREDICTED[1:], LABELS, CONFIDENCE), "shape"),
        (lambda: plots.plot_predictions(IMAGES[0], PREDICTED, LABELS, CONFIDENCE), "shape"),
        (lambda: plots.plot_predictions(IMAGES[:0], [], [], []), "shape"),
        (lambda: plots.plot_predictions(IMAGES, PREDICTED, LABELS, 2 * CONFIDENCE), "0 to 1"),
        (lambda: plots.plot_predictions(IMAGES, PREDICTED, LABELS * 1.0, CONFIDENCE), "whole numbers"),
        (lambda: plots.plot_predictions(IMAGES, PREDICTED, -LABELS, CONFIDENCE), "0 to 9"),
        (lambda: plots.plot_mistakes(IMAGES[1:], P, LABELS), "shape"),
        (lambda: plots.plot_mistakes(IMAGES, P, LABELS, most=0), "at least 1"),
        (lambda: plots.plot_mistakes(IMAGES, 2 * P, LABELS), "row 0 sums to 2"),
        (lambda: plots.calibration(P[:, :5], LABELS), "0 to 4"),
        (lambda: plots.calibration(P * np.nan, LABELS), "sums to nan"),
        (lambda: plots.calibration(np.array([[1.5, -0.5]]), [0]), "minimum of -0.5"),
        (lambda: plots.calibration(P[:0], LABELS[:0]), "shape"),
        (lambda: plots.calibration(P, LABELS, bins=0), "at least 1 bin"),
        (lambda: plots.plot_decision_boundary(slope, POINTS.T, [0, 1]), "shape"),
        (lambda: plots.plot_decision_boundary(lambda xy: np.ones(3), POINTS, np.zeros(60)), "shape"),
        (lambda: plots.plot_confusion(np.zeros((2, 3))), "shape"),
        (lambda: plots.plot_confusion(np.zeros((0, 0))), "shape"),
        (lambda: plots.plot_confusion(np.eye(2) / 2), "whole numbers"),
        (lambda: plots.plot_class_accuracy(-np.eye(2)), "0 or more"),
        (lambda: plots.plot_confusion(np.eye(2), names=["one"]), "names"),
        (lambda: plots.plot_saliency(IMAGES, IMAGES[1:]), "shape"),
        (lambda: plots.plot_saliency(IMAGES, IMAGES / 0.0), "not finite"),
        (lambda: plots.plot_saliency(IMAGES, IMAGES, captions=["a"]), "captions"),
        (lambda: plots.plot_weights(np.ones(3)), "shape"),
        (lambda: plots.plot_weights(np.ones((2, 12))), "give the shape"),
        (lambda: plots.plot_weights(np.full((2, 4), np.inf)), "8 of 8 weights"),
        (lambda: plots.plot_weights(np.ones((2, 4)), most=0), "at least 1"),
        (lambda: plots.plot_schedule([]), "shape"),
        (lambda: plots.plot_schedule([0.1, np.nan]), "finite"),
        (lambda: plots.plot_training(ROWS, losses=[[1.0]]), "shape"),
        (lambda: plots.plot_training([{"epoch": 1}], losses=[1.0]), "'step'"),
        (lambda: plots.plot_comparison({}), "1 to 10 runs"),
        (lambda: plots.plot_comparison({str(k): ROWS for k in range(11)}), "not 11"),
        (lambda: plots.plot_comparison({"a": [{"epoch": 1}], "b": [{"step": 1}]}), "epoch, step"),
        (lambda: plots.plot_gradient_norms([1, 1], {"a": [1, 1]}), "grow"),
        (lambda: plots.plot_gradient_norms([1, 2], {}), "at least one layer"),
        (lambda: plots.plot_gradient_norms([1, 2], {"a": [1]}), "'a'"),
        (lambda: plots.plot_gradient_norms([1, 2], {"a": [1, -1]}), "at least 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide|invalid)")
def test_what_cannot_be_drawn_is_refused(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
