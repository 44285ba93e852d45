"""Every parameter of NumPy's functions has its effect on a Tensor, or is refused by name."""

import inspect
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist.ops  # noqa: F401  (fills the registry)
from tests.ops.calls import CALLS, IN_PLACE, A, call
from tests.ops.test_coverage import assert_same, calls_of, leaves_of, named, numpys, on
from tinygrad_mnist import Tensor

OTHER: dict[str, tuple[Any, ...]] = {
    "out": (np.empty(()),), "where": (np.array([True, False, True]),), "dtype": (np.float32,),
    "casting": ("unsafe",), "order": ("F", "A"), "subok": (True, False),
    "initial": (2.0,), "keepdims": (True,),
    "mean": (np.array(0.5),), "correction": (1,), "ddof": (1,), "device": ("cpu",), "copy": (True,),
    "axis": (0,), "optimize": (True,), "signature": ("dd->d",), "axes": ([(0,), (0,), ()],),
}  # fmt: skip
"""Values of options that are not NumPy's defaults."""


def cases() -> list[Any]:
    found = []
    for decision in named("differentiable"):
        name = decision.values[0].name
        function = numpys(name)
        if name.startswith("ndarray.") or name in IN_PLACE:
            continue
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            continue
        found += [
            pytest.param(name, option, value, id=f"{name}-{option}-{i}")
            for option in parameters
            for i, value in enumerate((*OTHER.get(option, ()), parameters[option].default))
            if option in OTHER and value is not inspect.Parameter.empty
        ]
    return found


@pytest.mark.parametrize(("name", "option", "value"), cases())
def test_an_option_has_its_effect_or_is_refused_by_name(name: str, option: str, value: Any) -> None:
    function = numpys(name)
    given = calls_of(name, CALLS)[0]
    plain = call(*given.args, **{key: one for key, one in given.kwargs.items() if key != option})
    with np.errstate(all="ignore"):
        if option == "out" and value is not None:  # NumPy crashes on some of a wrong shape
            whole = function(*plain.args, **plain.kwargs)
            value = tuple(map(np.empty_like, whole)) if isinstance(whole, tuple) else np.empty_like(whole)
        try:
            expected = function(*plain.args, **{**plain.kwargs, option: value})
        except Exception:
            return  # NumPy takes no such value here
        floats = on(function, plain)[1]
        try:
            got = on(lambda *a, **k: function(*a, **k, **{option: value}), plain)[0](*leaves_of(floats))
        except TypeError as error:
            message = str(error)
        else:
            assert_same(got, expected)
            return
    assert f"{option}=" in message
    assert function.__name__ in message
    assert len(message) > 50, "it says what to use"


@pytest.mark.parametrize(
    "f",
    [
        lambda t: np.sum(t, 0, None, None, True), lambda t: t.sum(0, None, None, True),
        lambda t: t.max(0, None, True), lambda t: t.var(0, None, None, 1),
        lambda t: np.var(t, 0, None, None, 1),
        lambda t: np.pad(t, {-1: (1, 2)}), lambda t: t.ravel(order="F"), lambda t: t.flatten("F"),
        lambda t: t.reshape(-1, 2, order="F"), lambda t: t.reshape((3, 2), order="F"),
        lambda t: t.astype(np.float64, copy=False), lambda t: np.rot90(m=t),
        lambda t: np.trace(t, 0, 0, 1, None),
        lambda t: np.take(t, [1, 7], None, None, "wrap"),
    ],
)  # fmt: skip
def test_numpys_positions_are_ours(f: Any) -> None:
    assert_same(f(Tensor(A.copy(), requires_grad=True)), f(A))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda t: np.var(t, axis=0, mean=t[:1]), r"numpy\.var .* mean=: leave it out"),
        (lambda t: t.sum(where=A > 1), r"numpy\.sum .* where=: use np\.where"),
        (lambda t: t.sum(0, np.float32), r"numpy\.sum .* dtype=: convert"),
        (lambda t: np.pad(t, 1, "linear_ramp", end_values=1), r"numpy\.pad .* end_values=: "),
        (lambda t: np.pad(t, 1, "mean", stat_length=1), r"numpy\.pad .* stat_length=: "),
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
