"""Thinned lines keep their peaks, means know what is missing, names stay apart."""

import numpy as np
import pytest

from tinygrad_mnist.plots.lines import running_mean, spread, thinned

RNG = np.random.default_rng(1)


def test_a_thinned_line_keeps_every_peak_and_its_time() -> None:
    values = RNG.normal(0, 1, 10_007)
    values[[3, 5000, 10_006]] = 50, -60, 70
    times = np.arange(10_007.0)
    x, y = thinned(times, values, 100)
    assert len(x) == 100
    for place in (3, 5000, 10_006):
        (found,) = np.flatnonzero(y == values[place])
        assert abs(x[found] - place) <= 10_007 / 50


def test_a_gap_stays_a_gap() -> None:
    values = np.ones(1000)
    values[300:700] = np.nan
    _, y = thinned(np.arange(1000.0), values, 100)
    assert 30 < np.isnan(y).sum() < 50


@pytest.mark.parametrize("window", [1, 2, 3, 10, 100])
def test_a_running_mean_is_that_of_the_finite_values_around(window: int) -> None:
    values = RNG.normal(0, 1, 60)
    values[[4, 5, 6, 30]] = np.nan, np.inf, -np.inf, np.nan
    found = running_mean(values, window)
    for k in range(60):
        part = values[max(0, k - (window - 1) // 2) : k + window // 2 + 1]
        part = part[np.isfinite(part)]
        assert part.size == 0 or found[k] == pytest.approx(part.mean())
        assert np.isnan(found[k]) == (part.size == 0)


def test_a_spike_leaves_the_means_behind_it_exact() -> None:
    values = np.full(100, 1e-3)
    values[10] = 1e20
    assert running_mean(values, 3)[12:].tolist() == pytest.approx([1e-3] * 88)
    assert running_mean(values, 3)[:9].tolist() == pytest.approx([1e-3] * 9)


@pytest.mark.parametrize("n", [1, 2, 5, 11])
def test_names_are_apart_in_order_and_on_the_page(n: int) -> None:
    for _ in range(20):
        wished = RNG.normal(0.5, 0.4, n).round(1).tolist()
        places = np.array(spread(wished, 0.1, 0.0, 1.0))
        assert (np.diff(np.sort(places)) > 0.1 - 1e-9).all()
        assert places.min() >= -1e-9
        assert places.max() <= 1 + 1e-9
        order = np.argsort(places)
        assert (np.diff(np.array(wished)[order]) >= 0).all()


def test_names_move_as_little_as_keeps_them_apart() -> None:
    assert spread([0.9, 0.5, 0.5, 0.2], 0.2, 0.0, 1.0) == pytest.approx([0.9, 0.4, 0.6, 0.2])
    assert spread([0.0, 1.0, 0.99], 0.2, 0.0, 1.0) == pytest.approx([0.0, 1.0, 0.8])


def test_more_names_than_have_room_share_it() -> None:
    assert spread([0.5] * 5, 0.5, 0.0, 1.0) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
