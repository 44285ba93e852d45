"""Options of NumPy's functions by position, views, weak numbers; the walk over all is in test_parameters."""

from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tests.ops.calls import A
from tests.ops.test_coverage import assert_same
from tinygrad_mnist import Tensor


@pytest.mark.parametrize(
    "f",
    [
        lambda t: np.sum(t, 0, None, None, True), lambda t: t.sum(0, None, None, True),
        lambda t: t.max(0, None, True), lambda t: t.var(0, None, None, 1),
        lambda t: np.var(t, 0, None, None, 1),
        pytest.param(
            lambda t: np.pad(t, {-1: (1, 2)}),
            marks=pytest.mark.skipif(
                np.lib.NumpyVersion(np.__version__) < "2.2.0", reason="NumPy 2.1 takes no widths by axis"
            ),
        ),
        lambda t: t.ravel(order="F"), lambda t: t.flatten("F"),
        lambda t: t.reshape(-1, 2, order="F"), lambda t: t.reshape((3, 2), order="F"),
        lambda t: t.astype(np.float64, copy=False), lambda t: np.rot90(m=t),
        lambda t: np.trace(t, 0, 0, 1, None), lambda t: np.exp(t, casting="safe"),
        lambda t: np.take(t, [1, 7], None, None, "wrap"),
    ],
)  # fmt: skip
def test_numpys_positions_are_ours(f: Any) -> None:
    assert_same(f(Tensor(A.copy(), requires_grad=True)), f(A))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda t: t.sum(where=A > 1), r"numpy\.sum .* where=: use np\.where"),
        (lambda t: t.sum(0, np.float32), r"numpy\.sum .* dtype=: convert"),
        (lambda t: np.pad(t, 1, "reflect", reflect_type="odd"), r"numpy\.pad .* reflect_type=: "),
        (lambda t: t.ravel("K"), r"numpy\.ravel .* order='K'"),
    ],
)
def test_an_option_is_refused_with_a_sentence_of_its_own(f: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        f(Tensor(A.copy(), requires_grad=True))


@pytest.mark.parametrize("requires_grad", [True, False])
@pytest.mark.parametrize(
    "f",
    [
        np.rot90, np.real, np.real_if_close, lambda t: np.astype(t, np.float64, copy=False), np.diagonal,
        np.linalg.diagonal, lambda t: t.diagonal(), np.diag, lambda t: t.astype(float, copy=False),
    ],
)  # fmt: skip
def test_what_numpy_returns_as_a_view_is_not_assigned_to(f: Any, requires_grad: bool) -> None:
    view = f(Tensor(A.copy(), requires_grad=requires_grad))
    with pytest.raises(TypeError, match="cannot be assigned to"):
        view[...] = 1.0


@pytest.mark.parametrize("scalar", [2.0, 2, True])
def test_choose_takes_numbers_weakly(scalar: Any) -> None:
    x = np.array([0.5, 1.5, 2.5, 3.5], np.float32)
    got = np.choose([0, 5, -1, 0], [Tensor(x, requires_grad=True), scalar], mode="clip")
    assert_same(got, np.choose([0, 5, -1, 0], [x, scalar], mode="clip"))


def test_shifts_and_divmod_are_operators() -> None:
    n, t = np.array([1, 2, 3]), Tensor([1, 2, 3])
    assert_same((t << 1, 2 << t, t >> 1, 9 >> t), (n << 1, 2 << n, n >> 1, 9 >> n))
    assert_same(divmod(Tensor(A), 0.4) + divmod(3.0, Tensor(A)), divmod(A, 0.4) + divmod(3.0, A))


def test_the_real_part_is_differentiated_and_the_imaginary_part_is_zero() -> None:
    x = Tensor(A.copy(), requires_grad=True)
    assert_same((x.real, x.imag), (A.real, A.imag))
    assert (x.real.requires_grad, x.imag.requires_grad) == (True, False)


# ---- what the walk over all parameters does not see ------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda t, out: np.argmax(t, 0, out),
        lambda t, out: np.round(t, 1, out),
        lambda t, out: np.all(t, 0, out),
        lambda t, out: t.argmin(0, out),
        lambda t, out: np.any(t, 0, Tensor(out)),
    ],
)
def test_an_out_of_a_piecewise_constant_function_is_refused_by_position(f: Any) -> None:
    out = np.zeros(3)
    with pytest.raises(TypeError, match=r"numpy\.\w+ on a Tensor does not take out=: "):
        f(Tensor(A.copy()), out)
    assert not out.any()


@pytest.mark.parametrize("f", [np.sum, np.prod, np.max, np.min])
@pytest.mark.parametrize("axis", [None, 0, (0, 1)])
def test_initial_is_one_element_more(f: Any, axis: Any) -> None:
    x = Tensor(np.zeros((0, 2)), requires_grad=True)
    assert_same(f(x, axis=axis, initial=1.5), f(x.data, axis=axis, initial=1.5))
    start = Tensor(0.5, requires_grad=True)
    out = np.sum(f(Tensor(np.full((2, 3), 0.5), requires_grad=True), axis=axis, initial=start))
    out.backward()
    assert start.grad is not None
    assert start.grad.item() > 0


def test_a_maximum_splits_evenly_among_its_elements_and_the_initial_one() -> None:
    x = Tensor([2.0, 2.0, 1.0], requires_grad=True)
    np.max(x, initial=2.0).backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, [1 / 3, 1 / 3, 0])


def test_integers_take_an_initial_in_the_dtype_of_the_sum() -> None:
    x = np.array([100, 100], np.int8)
    assert_same(np.sum(Tensor(x), initial=300), np.sum(x, initial=300))


@pytest.mark.parametrize("mode", ["linear_ramp", "mean", "median", "maximum", "minimum"])
@pytest.mark.parametrize("x", [A, A.astype(np.float32), np.array([[1, 4, 9], [2, 0, 7]]), A[0]], ids=str)
def test_pads_that_continue_have_numpys_values(mode: str, x: Any) -> None:
    widths = (2, 1) if x.ndim == 1 else ((1, 0), (2, 3))
    assert_same(np.pad(Tensor(x), widths, mode), np.pad(x, widths, mode))


def test_an_axis_without_elements_cannot_be_continued() -> None:
    with pytest.raises(ValueError, match=r"pad: axis 0 of shape \(0, 2\) has no elements"):
        np.pad(Tensor(np.zeros((0, 2))), 1, "mean")


@pytest.mark.parametrize("f", [lambda t: t.reshape(6, copy=True), lambda t: np.meshgrid(t[0], t[1])[0]])
def test_what_numpy_copies_is_assigned_to(f: Any) -> None:
    t = Tensor(A.copy())
    out = f(t)
    out[0] = -1.0
    np.testing.assert_array_equal(t.data, A)


def test_a_reshape_that_must_not_copy_is_refused() -> None:
    with pytest.raises(TypeError, match="copy=False"):
        Tensor(A).reshape(6, copy=False)


@pytest.mark.parametrize("f", [np.copy, np.tril, np.modf, lambda t: np.heaviside(t, t), np.nanvar, np.conj])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_integers_and_booleans_keep_numpys_dtype(f: Any, dtype: Any) -> None:
    x = np.array([[1, 0], [1, 1]], dtype)
    assert_same(f(Tensor(x)), f(x))


@pytest.mark.parametrize("weights", [[-1.0, 1.0, 1.0], [1.0, 1.0]])
def test_weights_that_numpy_does_not_take_are_refused(weights: Any) -> None:
    with pytest.raises(ValueError, match="cov: aweights="):
        np.cov(Tensor(A), aweights=weights)


def test_the_variance_of_nothing_has_an_empty_gradient_without_a_warning() -> None:
    x = Tensor(np.zeros((2, 0)), requires_grad=True)
    with pytest.warns(RuntimeWarning):
        out = np.var(x, axis=1)
    np.sum(out).backward()
    assert x.grad is not None
    assert x.grad.shape == (2, 0)
