"""Where rounding hides the derivative the verdict is undecided, and says so; a wrong rule stays wrong."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.engine.op import REGISTRY, Op
from tinygrad_mnist.testing import Entry, GradientError, gradcheck
from tinygrad_mnist.testing.jacobians import Line, Problem
from tinygrad_mnist.testing.noise import noise
from tinygrad_mnist.testing.properties import PROPERTIES

ONE = np.array(1.0)
EPS = 2.0**-52


def op_of(forward: Any, rule: Any) -> Op:
    """An elementwise operation with this rule."""
    return Op("made_up", forward, "elementwise", rules=(rule,), samples="broadcast")


def failure(f: Any, x: Any, **options: Any) -> tuple[Entry, str]:
    """The worst entry, and the message."""
    with pytest.raises(GradientError) as caught:
        gradcheck(f, x, **options)
    return caught.value.report.failures[0], str(caught.value)


CANCELLING = {
    "(1 - cos x) / x**2": (
        lambda x: (1 - np.cos(x)) / x**2,
        [1e-4, 1e-5, 1e-6, 3e-7, 1e-7, 5e-8],
        [1e-1, 1e-2, 1e-3],
    ),
    "(exp x - 1) / x": (lambda x: (np.exp(x) - 1) / x, [1e-5, 1e-6, 1e-7], [1e-2, 1e-3, 1e-4]),
    "(x - sin x) / x**3": (lambda x: (x - np.sin(x)) / x**3, [1e-4, 1e-5], [1e-1, 1e-2]),
    "log(1 + x) / x": (lambda x: np.log(1 + x) / x, [1e-5, 1e-6, 1e-7], [1e-3, 1e-4]),
    "at 0": (lambda x: (1 - np.cos(x + 1e-4)) / (x + 1e-4) ** 2, [0.0], []),
}
CASES = [
    (name, np.array(at, dtype))
    for name, (_, *places) in CANCELLING.items()
    for dtype, of_dtype in zip(("float64", "float32"), places, strict=True)
    for at in of_dtype
]


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize(("name", "x"), CASES, ids=str)
def test_a_right_rule_of_a_function_that_cancels_is_undecided_or_right(name: str, x: Any, mode: str) -> None:
    entry, message = failure(CANCELLING[name][0], x, modes=[mode])
    assert entry.verdict == "undecided"
    assert entry.noise is not None
    assert entry.noise > 8 * np.finfo(x.dtype).eps * abs(entry.numeric)
    assert f"its values scatter by {entry.noise:.1g}" in message
    assert "check it at another point" in message


@pytest.mark.parametrize("mode", ["reverse", "forward"])
def test_a_gradient_alone_may_be_too_noisy(mode: str) -> None:
    entry, _ = failure(lambda x: np.expm1(x) / x, np.array(1e-6), modes=[mode], order=2)
    assert (entry.order, entry.verdict) == (2, "undecided")
    assert entry.noise is not None


def test_cancellation_within_a_gradient_is_noise_though_none_is_left_in_its_values() -> None:
    def softmax(x: Any) -> Any:
        powers = np.exp(x - np.max(x.data))
        return powers / np.sum(powers)

    entry, _ = failure(softmax, np.array([13.125, -23.125, -7.5]), order=2)
    assert (entry.order, entry.verdict) == (2, "undecided")
    assert entry.noise is not None


BENT_BY_ROUNDING = {
    "softmax": ([[[10.0, 10.0, 14.375], [-10.625, -29.375, 10.0]]], {"axis": -1}),
    "layer_norm": (
        [
            [[[25.0, -20.0, -20.0], [10.0, 10.0, 10.0]], [[10.0, 10.0, 10.0], [10.0, 10.0, 10.0]]],
            [100.0, 100.0, 288.3333333333],
            [1.0, 1.0, 1.0],
        ],
        {"eps": 1e-5},
    ),
}


@pytest.mark.parametrize("name", BENT_BY_ROUNDING)
def test_what_agrees_and_seems_bent_by_rounding_alone_is_noise(name: str) -> None:
    arguments, static = BENT_BY_ROUNDING[name]
    with pytest.raises(GradientError) as caught:
        PROPERTIES["second_order"](REGISTRY[name], tuple(np.array(a) for a in arguments), static)
    assert caught.value.report.only_noise


def test_a_rule_that_is_not_linear_in_the_cotangent_is_wrong_not_noisy() -> None:
    squares = op_of(np.sin, lambda g, out, x: g * np.abs(g) * np.cos(x))  # right where g is 1
    entry, _ = failure(squares, np.array([0.5, 1.0]))
    assert entry.verdict == "wrong"


def test_a_large_function_that_cancels_is_undecided() -> None:
    entry, _ = failure(CANCELLING["(1 - cos x) / x**2"][0], np.full(70, 1e-4))
    assert entry.input == "direction"
    assert entry.verdict == "undecided"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("at", [1e-4, 0.3, 40.0])
@pytest.mark.parametrize(
    ("forward", "rule"),
    [
        (np.sin, lambda g, out, x: 1.02 * g * np.cos(x)),
        (np.exp, lambda g, out, x: -g * out),
        (lambda x: np.sin(50 * x), lambda g, out, x: 49 * g * np.cos(50 * x)),
        (lambda x: (x + 1e3) - 1e3, lambda g, out, x: 1.1 * g),
        (lambda x: 1 / x, lambda g, out, x: -2 * g * out * out),
    ],
    ids=["sin", "exp", "fast", "cancels", "pole"],
)
def test_a_wrong_rule_of_a_function_with_ordinary_noise_is_wrong(
    forward: Any, rule: Any, at: float, dtype: str
) -> None:
    assert failure(op_of(forward, rule), np.array([at], dtype))[0].verdict == "wrong"


def test_what_is_wrong_by_more_than_the_noise_explains_is_wrong() -> None:
    cancels = op_of(CANCELLING["(1 - cos x) / x**2"][0], lambda g, out, x: 0.1 * g)
    assert failure(cancels, np.array(1e-4))[0].verdict == "wrong"


@pytest.mark.parametrize("at", [1e-3, 1.0, 30.0])
def test_slopes_of_one_stair_do_not_bear_out_a_gradient_of_zero(at: float) -> None:
    entry, _ = failure(op_of(lambda x: (x + 1e13) - 1e13, lambda g, out, x: 0 * g), np.array(at))
    assert entry.verdict in ("undecided", "wrong")


# ---- the noise itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e-3])
def test_the_noise_that_was_put_in_is_found(size: float) -> None:
    def noisy(x: float) -> Any:
        digits = np.frombuffer(np.float64(x).tobytes(), np.uint32)
        return np.asarray(np.sin(x) + size * np.random.default_rng(digits).uniform(-1, 1))

    found = noise(noisy, 0.7, ONE, EPS)
    assert size / 5 < found < 5 * size


@pytest.mark.parametrize(
    "f",
    [np.exp, np.sin, np.abs, lambda x: np.maximum(x - 0.9, 0), np.floor],
    ids=["exp", "sin", "abs", "kink", "floor"],
)
def test_what_is_smooth_or_has_a_kink_or_jumps_on_one_side_is_not_noisy(f: Any) -> None:
    assert noise(f, 1.0, ONE, EPS) <= 8 * EPS


# ---- no more is computed than is asked ------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("cotangents", [None, np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])])
def test_some_rows_of_a_line_have_the_derivatives_that_they_have_among_all(
    cotangents: Any, mode: str
) -> None:
    x = np.array([0.5, -1.0, 2.0])
    problem = Problem(
        1, lambda x: (np.sin(x) * x[0],), (x,), (x,), ("x",), ("y",), ((3,),), rtol=1e-6, atol=0.0
    )
    line = Line(problem, x, np.array([1.0, 1.0, 0.0]), 0.0, np.arange(3), cotangents)
    chosen = np.arange(3 if cotangents is None else 2) == 1
    np.testing.assert_array_equal(
        line.only(chosen).derivative(mode, 0.25), line.derivative(mode, 0.25)[chosen]
    )


def test_the_noise_of_slopes_is_measured_of_what_failed_alone() -> None:
    pulls: Counter[tuple[int, ...]] = Counter()  # how often which rows of the output had a cotangent

    def note(g: Any, out: Any, x: Any) -> Any:
        pulls[tuple(np.flatnonzero(g).tolist())] += 1
        return g

    same, cancels = op_of(np.positive, note), CANCELLING["(1 - cos x) / x**2"][0]
    entry, _ = failure(
        lambda x: same(np.stack([np.sin(x[0]), cancels(x[1]), x[0] * x[1]])),
        np.array([0.5, 1e-4]),
        modes=["reverse"],
    )
    assert (entry.verdict, entry.output_index) == ("undecided", (1,))
    assert pulls[(0,)] == pulls[(2,)] == 1
    assert pulls[(1,)] > 10


# ---- a derivative that is 0 but for rounding -------------------------------------------------------------

ROUNDED_ZEROS = {
    "a row at the mean of its column": (
        "batch_norm", ([[-11.25], [30.0], [9.375]], [1.0], [1.0]), {"eps": 0.1}
    ),
    "all rows equal": ("batch_norm", ([[-1.75], [-1.75], [-1.75]], [3.0], [1.0]), {"eps": 0.1}),
    "a bias before batch norm": (
        "linear_batch_norm_relu",
        ([[-3.0, -3.0], [-1.5, 0.25], [1.0, 1e-5]], [[7 / 3, -0.5], [1.0, 7 / 3]], [1e4, 0.25],
         [7 / 3 + 0.1, 0.6], [0.25, 1e-5]),
        {"eps": 0.1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUNDED_ZEROS)
def test_a_zero_that_one_formula_rounds_and_another_does_not_is_right(name: str) -> None:
    op, arguments, static = ROUNDED_ZEROS[name]
    PROPERTIES["first_order"](REGISTRY[op], tuple(np.array(a) for a in arguments), static)


@pytest.mark.parametrize("slope", [1e-10, 1e-12, 1e-14, 1e-15])
def test_a_tiny_slope_that_is_lost_is_wrong(slope: float) -> None:
    with pytest.raises(GradientError):
        gradcheck(lambda x: 1.0 + slope * x.detach(), np.array(1.3))
    with pytest.raises(GradientError):
        gradcheck(lambda x: 1.0 + slope * (2 * x - x.detach()), np.array(1.3))


def test_the_last_digits_of_a_tiny_slope_are_rounding() -> None:
    target = np.array([[0.9, 0.9, 0.9, 0.9]])
    sure = np.array(
        [[-3.75, -10.0, 22.5, -0.625]]
    )  # by one target the slope is 9.5e-11, a logarithm of 1 + that
    PROPERTIES["first_order"](
        REGISTRY["cross_entropy"], (sure, target), {"label_smoothing": 0.0, "reduction": "none"}
    )
    with pytest.raises(GradientError):
        gradcheck(lambda x: 1.0 + 1e-10 * (1.1 * x - 0.1 * x.detach()), np.array(1.3))


BESIDE = np.array(1 + 1e-13)
LARGEST = Op(
    "made_up", lambda x: 1e-11 * np.max(x), "general",
    rules=(lambda g, out, x: 1.5e-11 * g * (x == np.max(x)),), samples="broadcast",
)  # fmt: skip
TINY_AND_WRONG: dict[str, tuple[Any, ...]] = {
    "detached, of a difference": (lambda x, y: 1 + x.detach() * (y - 1), ONE, BESIDE),
    "twice, of a difference": (lambda x, y: 1 + (2 * x - x.detach()) * (y - 1), ONE, BESIDE),
    "a sign, of a difference": (lambda x, y: 1 + (2 * x.detach() - x) * (y - 1), ONE, BESIDE),
    "detached, of a sum that cancels": (
        lambda x, y: 1 + x.detach() * (np.sum(y) - 3), ONE, np.array([1.0, 1 + 1e-13, 1.0]),
    ),
    "detached, of a square": (lambda x, y: 1 + 1e13 * x.detach() * (y - 1) ** 2, ONE, BESIDE),
    "a factor of 1.002, far out": (lambda x: 1 + 1e-13 * (1.002 * x - 0.002 * x.detach()), np.array(1e12)),
    "at a tie": (lambda x: np.stack([x[0], LARGEST(x)]), np.array([1.0, 1.0])),
}  # fmt: skip


@pytest.mark.parametrize("case", TINY_AND_WRONG)
def test_what_moves_as_smoothly_as_its_inputs_is_no_rounding(case: str) -> None:
    """Within 1000 roundings these derivatives move by their own size."""
    f, *inputs = TINY_AND_WRONG[case]
    with pytest.raises(GradientError) as caught:
        gradcheck(f, *inputs)
    assert any(entry.verdict == "wrong" for entry in caught.value.report.failures)
