"""Vanishing and exploding gradients are seen; what no logarithm has is marked."""

import numpy as np
import pytest

from tinygrad_mnist.plots import norms_by_layer, plot_gradient_norms

STEPS = np.arange(1, 201)


def test_the_norm_of_a_layer_is_that_of_its_parameters_together() -> None:
    weight, bias, scale = np.random.default_rng(0).normal(0, 1, (3, 20))
    norms = {"a.0.weight": abs(weight), "a.0.bias": abs(bias), "scale": abs(scale)}
    found = norms_by_layer(norms)
    assert list(found) == ["a.0", "scale"]
    np.testing.assert_allclose(found["a.0"], np.sqrt(weight**2 + bias**2))
    np.testing.assert_array_equal(found["scale"], abs(scale))


def test_a_layer_is_a_line_with_its_name_and_a_look_of_its_own() -> None:
    norms = {f"layer {k}": np.full(20, 10.0**-k) for k in range(8)}
    (axes,) = plot_gradient_norms(STEPS[:20], norms).axes
    lines = [line for line in axes.lines if len(np.asarray(line.get_xdata())) == 20]
    assert len({line.get_marker() for line in lines}) == 8
    for line, norm in zip(lines, norms.values(), strict=True):
        np.testing.assert_allclose(np.asarray(line.get_ydata()), norm)
    assert set(norms) <= {text.get_text() for text in axes.texts}
    assert axes.get_yscale() == "log"


def test_a_noisy_line_has_a_geometric_mean() -> None:
    norm = np.exp(np.random.default_rng(0).normal(0, 1, 200))
    (axes,) = plot_gradient_norms(STEPS, {"layer": norm}).axes
    raw, mean = axes.lines[:2]
    assert raw.get_linewidth() < mean.get_linewidth()
    y = np.asarray(mean.get_ydata())
    assert y[100] == pytest.approx(np.exp(np.log(norm[98:103]).mean()))


def test_norms_without_a_logarithm_are_marked_and_named() -> None:
    figure = plot_gradient_norms([1, 2, 3, 4], {"a": [1, 0, 0, 1], "b": [1, 1, np.nan, np.inf]})
    assert "a: 0 in 2 of 4 samples; b: not finite in 2 of 4 samples" in figure.texts[1].get_text()
    marks = {line.get_marker(): np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines
             if line.get_linestyle() == "None" and len(np.asarray(line.get_xdata()))}  # fmt: skip
    assert marks == {"v": [2, 3], "^": [3, 4]}


def test_clipping_is_drawn_and_said() -> None:
    figure = plot_gradient_norms([1, 2], {"a": [1, 2]}, clip=5.0)
    assert "above 5" in figure.texts[1].get_text()
    assert any(list(line.get_ydata()) == [5, 5] for line in figure.axes[0].lines)  # type: ignore[arg-type]


def test_many_layers_are_rows_blue_below_the_median_and_orange_above() -> None:
    norms = {f"layer {k}": np.full(200, 10.0 ** (25 - k)) for k in range(51)}
    norms["layer 10"] = np.r_[np.zeros(100), np.ones(100)]
    figure = plot_gradient_norms(STEPS, norms)
    axes = figure.axes[0]
    pixels = np.asarray(axes.images[0].get_array())
    assert pixels.shape == (51, 200, 4)
    assert pixels[0, 0, 0] > pixels[0, 0, 2]  # orange
    assert pixels[50, 0, 0] < pixels[50, 0, 2]  # blue
    assert pixels[25, 0, 3] < 10 < 240 < pixels[0, 0, 3]
    (marks,) = (line for line in axes.lines if line.get_marker() == "o")
    assert set(np.asarray(marks.get_ydata())) == {10.5}
    assert [text.get_text() for text in axes.texts][:51] == list(norms)
    assert "layer 10: 0 in 100 of 200 samples" in " ".join(text.get_text() for text in figure.texts)
