"""The gradient check where it is hard: kinks, edges of domains, oscillations, sizes, dtypes, noise."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor
from tinygrad_mnist.engine.op import Op
from tinygrad_mnist.testing import GradientError, gradcheck

X = np.array([0.5, -1.0, 2.0])
RANDOM = np.random.default_rng(0)


def lost(t: Any) -> Any:
    """The values without their gradient."""
    return t.detach()


def _plain(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


# ---- kinks, modes, dtypes, sizes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (np.abs, [0.0, 1.0]), (lambda x: np.maximum(x, 0), [0.0]), (np.max, [1.0, 1.0, 0.0]),
        (np.sort, [1.0, 1.0, 0.0]), (np.median, [1.0, 1.0, 0.0]), (lambda x: np.clip(x, 0, 1), [0.0, 1.0]),
        (np.linalg.norm, [0.0, 0.0]), (np.std, [1.0, 1.0]), (np.sqrt, [0.0, 1.0]),
    ],
)  # fmt: skip
def test_a_subgradient_at_a_kink_is_valid(f: Any, x: Any) -> None:
    report = gradcheck(f, np.array(x))
    assert report.kinks
    assert report.passed


def test_what_the_sides_do_not_bracket_is_wrong() -> None:
    with pytest.raises(GradientError, match=r"left -1, right 1"):
        gradcheck(lambda x: np.abs(x) + 1.5 * (x - lost(x)), np.zeros(1))


def test_a_jump_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="jumps where input 0"):
        gradcheck(lambda x: np.floor(x) + x, np.array([1.0]))


def test_a_small_entry_beside_a_large_one_by_the_same_input_is_found() -> None:
    with pytest.raises(GradientError, match="wrong in 1 of"):
        gradcheck(lambda x: np.stack([1e8 * x[0], 1e-8 * lost(x[0])]), X)


def test_float32_is_checked_with_its_shadow() -> None:
    report = gradcheck(np.tanh, X.astype(np.float32), order=2)
    assert report.passed
    with pytest.raises(GradientError):
        gradcheck(lambda x: 0.9 * x + 0.1 * lost(x), X.astype(np.float32))


@pytest.mark.parametrize("x", [-88.0, -95.0, -103.5, -110.0])
def test_what_underflows_in_float32_is_right(x: float) -> None:
    assert gradcheck(np.exp, np.array([x], np.float32)).passed
    with pytest.raises(GradientError):
        gradcheck(lambda x: np.exp(0.5 * x + 0.5 * lost(x)), np.array([x], np.float32))


def test_a_function_that_leaks_float64_is_refused() -> None:
    with pytest.raises(ValueError, match="returned float64 for float32"):
        gradcheck(lambda x: x * np.float64(2), X.astype(np.float32))


@pytest.mark.parametrize(("confidence", "count"), [(0.9, 9), (0.999, 25)])
def test_a_large_function_is_checked_along_as_many_directions_as_confidence_needs(
    confidence: float, count: int
) -> None:
    report = gradcheck(lambda x: np.sin(x) ** 2, RANDOM.normal(size=100), confidence=confidence)
    assert report.directions == count


def test_one_wrong_entry_of_a_large_function_is_found() -> None:
    with pytest.raises(GradientError):
        gradcheck(lambda x: np.where(np.arange(300) == 3, lost(x), x) ** 2, np.linspace(1, 2, 300))


@pytest.mark.parametrize(
    ("f", "sentence"),
    [
        (lambda x: x * lost(x), "0.5 times"), (lambda x: lost(x) * 1.0, "It is 0"),
        (lambda x: 2 * lost(x) - x, "opposite sign"),
    ],
)  # fmt: skip
def test_the_error_says_in_what_way_it_is_wrong(f: Any, sentence: str) -> None:
    with pytest.raises(GradientError, match=sentence):
        gradcheck(f, X, modes=["reverse"])


def test_only_the_modes_asked_for_are_checked() -> None:
    assert {entry.mode for entry in gradcheck(np.exp, X, modes=["forward"]).entries} == {"forward"}


# ---- the edge of a domain --------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [1.1, 1.5, 2.5])
@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_a_derivative_at_the_edge_of_a_domain_is_decided(power: float, scale: float) -> None:
    report = gradcheck(lambda x: scale * x**power, np.array([0.0, 1.0]), order=2)
    assert report.kinks[0].index == (0,)


def test_a_wrong_derivative_at_the_edge_of_a_domain_is_found() -> None:
    with pytest.raises(GradientError, match="wrong"):
        gradcheck(lambda x: x**1.5 + 0.01 * (x - lost(x)), np.zeros(1))


def test_what_cannot_be_decided_says_why_in_a_sentence() -> None:
    def stubborn(x: Any) -> Any:
        return x**1.001

    with pytest.raises(GradientError, match="settle on no number: at the edge of the domain"):
        gradcheck(stubborn, np.zeros(1))


# ---- what only looks like a kink, and what is near one ---------------------------------------------------


def op_of(forward: Any, rule: Any) -> Op:
    """An elementwise operation with this rule."""
    return Op("made_up", forward, "elementwise", rules=(rule,), samples="broadcast")


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_an_oscillation_is_not_taken_for_a_kink(factor: float) -> None:
    oscillation = op_of(lambda x: np.sin(1e9 * x), lambda g, out, x: factor * 1e9 * np.cos(1e9 * x) * g)
    with pytest.raises(GradientError, match="the function oscillates"):
        gradcheck(oscillation, np.array([0.7]))


def test_a_fast_function_is_judged() -> None:
    assert gradcheck(lambda x: np.sin(1e6 * x), X, order=2).passed
    slow = op_of(lambda x: np.sin(1e6 * x), lambda g, out, x: 0.999e6 * np.cos(1e6 * x) * g)
    with pytest.raises(GradientError, match="the gradient is wrong"):
        gradcheck(slow, X)


@pytest.mark.parametrize(
    "f", [lambda x: x * np.abs(x), lambda x: np.maximum(x, 0) ** 2, lambda x: np.abs(x) ** 3]
)
def test_a_kink_of_the_slope_is_none_of_the_function(f: Any) -> None:
    assert gradcheck(f, np.zeros(2)).kinks == ()
    assert gradcheck(f, np.zeros(2), order=2).passed


def test_a_small_fast_oscillation_on_a_slope_is_not_passed_over() -> None:
    with pytest.raises(GradientError):
        gradcheck(op_of(lambda x: x + 1e-6 * np.sin(1e6 * x), lambda g, out, x: g), np.array([1.0]))


@pytest.mark.parametrize("x", [[1e-10], [-1e-10], [1e-10, 1.0]])
def test_a_right_gradient_near_a_kink_is_accepted(x: Any) -> None:
    report = gradcheck(lambda x: np.maximum(x, 0.0), np.array(x))
    assert report.passed
    assert not report.kinks


@pytest.mark.parametrize(("kink", "x"), [(0.0, -1e-12), (1.0, 1 - 1e-12)])
def test_the_slope_of_the_other_side_is_no_subgradient_near_a_kink(kink: float, x: float) -> None:
    wrong = op_of(lambda x: np.maximum(x - kink, 0), lambda g, out, x: (x > kink - 1e-6) * g)
    with pytest.raises(GradientError):
        gradcheck(wrong, np.array([x]))


@pytest.mark.parametrize("kink", [1e-10, 0.3, 1.0, 1e10])
def test_a_kink_away_from_zero_is_one(kink: float) -> None:
    assert gradcheck(lambda x: np.abs(x - kink), np.array([kink])).kinks


# ---- second order beside a kink --------------------------------------------------------------------------


def test_a_kink_switches_off_only_what_depends_on_it() -> None:
    cube = op_of(lambda x: x**3, lambda g, out, x: g * 3 * np.asarray(_plain(x)) ** 2)
    x = np.array([0.0, 2.0])
    with pytest.raises(GradientError, match="gradient of the gradient"):
        gradcheck(lambda x: np.stack([np.abs(x[0]), cube(x[1])]), x, order=2)
    report = gradcheck(lambda x: np.stack([np.abs(x[0]), x[1] ** 3]), x, order=2)
    assert report.skipped == ("input 0 (0,)",)
    assert "not checked to order 2, for kinks: input 0 (0,)" in str(report)
    assert {e.index for e in report.entries if e.order == 2 and e.input == "input 0"} == {(1,)}


# ---- rules that are not linear in the cotangent ----------------------------------------------------------

NOT_LINEAR = {
    "clipped": lambda g: np.clip(g, -1, 1),
    "of a norm of 1": lambda g: g / np.maximum(1, np.sqrt(np.sum(g * g))),
    "the largest alone": lambda g: g * (np.abs(g) >= 0.8 * np.max(np.abs(g))),
}


@pytest.mark.parametrize("case", NOT_LINEAR)
def test_a_rule_that_is_right_for_each_output_alone_is_wrong(case: str) -> None:
    rule = op_of(np.sin, lambda g, out, x: NOT_LINEAR[case](g) * np.cos(x))
    with pytest.raises(GradientError, match="right for each output alone and wrong for all at once"):
        gradcheck(rule, X, modes=["reverse"])


# ---- functions that are not the same each time, or not defined everywhere --------------------------------


def test_a_function_that_changes_after_some_calls_is_refused() -> None:
    calls = [0]

    def drifts(x: Any) -> Any:
        calls[0] += 1
        return x * 1.0 if calls[0] < 10 else x + 1e-3

    with pytest.raises(ValueError, match="not deterministic"):
        gradcheck(drifts, np.ones(1))


def test_a_random_gradient_is_refused() -> None:
    noisy = op_of(lambda x: x * 1.0, lambda g, out, x: g * (1 + 1e-9 * RANDOM.random()))
    with pytest.raises(ValueError, match="second gradient is another"):
        gradcheck(noisy, X)


@pytest.mark.parametrize("error", [ValueError, FloatingPointError, np.linalg.LinAlgError])
def test_an_error_away_from_the_point_is_not_defined_there(error: type[Exception]) -> None:
    def f(x: Any) -> Any:
        if np.any(_plain(x) > 1.001):
            raise error("too large")
        return x * x

    assert gradcheck(f, np.ones(1), order=2).passed
    with pytest.raises(error, match="too large"):
        gradcheck(f, np.full(1, 2.0))


# ---- kinks and small rows of large functions -------------------------------------------------------------

MANY = np.where(np.isin(np.arange(103), [3, 50, 99]), 0.0, np.random.default_rng(3).normal(size=103))


@pytest.mark.parametrize("order", [1, 2])
def test_a_large_function_with_several_kinks_is_accepted(order: int) -> None:
    report = gradcheck(lambda x: np.maximum(x, 0.0), MANY, order=order)
    assert {entry.index for entry in report.kinks} == {(3,), (50,), (99,)}
    assert bool(report.skipped) == (order == 2)


def test_a_wrong_subgradient_of_a_large_function_is_found() -> None:
    relu = op_of(lambda x: np.maximum(x, 0.0), lambda g, out, x: g * np.where(x == 0, 1.5, x > 0))
    with pytest.raises(GradientError, match="wrong in 3 of"):
        gradcheck(relu, MANY)


def test_a_small_entry_of_a_large_function_is_found() -> None:
    small, x = np.arange(100) == 37, np.random.default_rng(4).normal(size=100)
    assert gradcheck(lambda x: np.where(small, 1e-8, 1.0) * x, x).passed
    with pytest.raises(GradientError):
        gradcheck(lambda x: np.where(small, 1e-8 * lost(x), x), x)


def test_a_kink_of_a_large_function_does_not_switch_off_its_second_order() -> None:
    cube = op_of(lambda x: x**3, lambda g, out, x: g * 3 * np.asarray(_plain(x)) ** 2)
    with pytest.raises(GradientError, match="gradient of the gradient"):
        gradcheck(lambda x: cube(np.maximum(x, 0.0)) + np.abs(x), MANY, order=2)


@pytest.mark.parametrize(("f", "x"), [(np.exp, 709.7), (lambda x: 1 / x, 1e150), (np.log, 1e300)])
def test_numbers_at_the_ends_of_float64_are_accepted(f: Any, x: float) -> None:
    assert gradcheck(f, np.array([x]), order=2).passed


# ---- sizes mixed within a large function -----------------------------------------------------------------

LARGE = np.random.default_rng(5).normal(size=100)
SLOPES = {
    "one small entry in a row": np.where(np.arange(5000) == 4321, 1e-9, 1.0),
    "sizes over six decades": 10.0 ** -(np.arange(5000) % 7),
}


@pytest.mark.parametrize("mode", ["reverse", pytest.param("forward", marks=pytest.mark.slow)])
@pytest.mark.parametrize("factor", [pytest.param(0.0, marks=pytest.mark.slow), 1.01, -1.0])
@pytest.mark.parametrize("case", SLOPES)
def test_a_small_wrong_entry_of_a_long_row_is_found(case: str, factor: float, mode: str) -> None:
    slopes, x = SLOPES[case], np.random.default_rng(6).normal(size=5000)
    smallest = np.arange(5000) == np.flatnonzero(slopes == np.min(slopes))[-1]

    def f(x: Any, factor: float) -> Any:
        y = np.sin(x) * slopes
        return np.sum(np.where(smallest, factor * y + (1 - factor) * lost(y), y))

    assert gradcheck(lambda x: f(x, 1.0), x, modes=[mode], confidence=0.9).passed
    with pytest.raises(GradientError):
        gradcheck(lambda x: f(x, factor), x, modes=[mode], confidence=0.9)


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_small_wrong_entry_of_a_matrix_is_found(mode: str) -> None:
    small = np.zeros((100, 100), bool)
    small[37, 5] = small[60, 5] = True
    matrix = np.random.default_rng(7).uniform(1, 2, (100, 100)) * np.where(np.arange(100) == 5, 1e-9, 1.0)

    def f(x: Any) -> Any:
        return matrix @ x - np.sum(np.where(small, matrix, 0.0) * (x - lost(x)), axis=1)

    assert gradcheck(lambda x: matrix @ x, LARGE, modes=[mode]).passed
    with pytest.raises(GradientError):
        gradcheck(f, LARGE, modes=[mode])


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_wrong_row_whose_slope_is_small_beside_its_value_is_found(mode: str) -> None:
    slopes = np.where(np.arange(100) == 11, 1e-7, 1.0)
    keep = np.where(np.arange(100) == 11, 0.9, 1.0)

    def f(x: Any, kept: Any) -> Any:
        y = slopes * np.sin(x)
        return 1 + kept * y + (1 - kept) * lost(y)

    assert gradcheck(lambda x: f(x, 1.0), LARGE, modes=[mode]).passed
    with pytest.raises(GradientError):
        gradcheck(lambda x: f(x, keep), LARGE, modes=[mode])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_a_single_wrong_entry_is_found_whatever_the_seed(seed: int) -> None:
    """Of the stated confidence 0.9 nothing is lost where sizes differ: a stratum has all its directions."""
    slopes = 10.0 ** -(np.arange(4200) % 9)
    report = gradcheck(lambda x: np.sum(slopes * x), np.ones(4200), confidence=0.9, seed=seed)
    assert report.directions >= 9 * 4
    with pytest.raises(GradientError):
        gradcheck(
            lambda x: np.sum(slopes * np.where(np.arange(4200) == 8 + 9 * seed, lost(x), x)), np.ones(4200),
            confidence=0.9, seed=seed,
        )  # fmt: skip


# ---- a kink nearer than any step can tell ----------------------------------------------------------------


@pytest.mark.parametrize("distance", [2.3e-16, 1e-15, -1e-15, 1e-14, -1e-13, 1e-12, 1e-10])
def test_a_kink_too_near_to_be_told_from_the_point_is_reported_as_that(distance: float) -> None:
    x = np.array([1 + distance])
    try:
        report, text = gradcheck(lambda x: np.abs(x - 1), x), ""
    except GradientError as error:
        report, text = error.report, str(error)
    for entry in report.entries:
        assert entry.verdict in ("valid subgradient", "undecided")
        if entry.verdict == "undecided":
            assert "the point is near a kink" in text
        else:
            assert entry.within is not None
            assert abs(distance) <= entry.within < 2e-13
            assert f"a kink within {entry.within:.1g}" in str(report)


@pytest.mark.parametrize("slope", [1.5, -1.01, 7.0, np.nan])
def test_a_wrong_rule_beside_a_kink_too_near_to_tell_is_wrong(slope: float) -> None:
    hinge = op_of(lambda x: np.abs(x - 1), lambda g, out, x: slope * g)
    with pytest.raises(GradientError, match="is wrong") as caught:
        gradcheck(hinge, np.array([1 + 1e-15]))
    assert caught.value.report.failures[0].verdict == "wrong"
