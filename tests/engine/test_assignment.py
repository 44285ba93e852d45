"""``t[i] = v`` and ``t += v`` give a Tensor a new value and a new node; nobody else notices."""

import contextlib
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, grad, jvp, nn, no_grad
from tinygrad_mnist.testing import gradcheck
from tinygrad_mnist.testing.strategies import indices

X = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]])
IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    name: getattr(operator, name) for name in ("iadd", "isub", "imul", "itruediv", "imod", "ipow")
}


def assigned(x: Tensor, value: Any, index: Any) -> Tensor:
    y = x * 2.0
    y[index] = value
    return y * y


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, np.array([1.0, 2.0, 3.0])),
        ((0, 1), 2.0),
        ((slice(None), 1), np.array([5.0, 6.0])),
        ((Ellipsis, slice(None, None, -2)), np.array([1.0, 2.0])),
        (X > 0, np.arange(4.0)),
        (X > 0, 7.0),
        (([0, 1], [2, 0]), np.array([1.0, 2.0])),
        (np.array([1, 1, 0]), X[[0, 1, 0]] + 1),
        ((), X + 3),
        (Ellipsis, np.ones((1, 1, 3))),
        ((slice(0, 0),), 1.0),
    ],
    ids=repr,
)
def test_both_the_old_value_and_the_new_one_get_their_gradient(index: Any, value: Any) -> None:
    gradcheck(lambda x, v: assigned(x, v, index), X, np.asarray(value, float), order=2)


@given(data=st.data())
def test_the_value_is_numpys(data: st.DataObject) -> None:
    index = data.draw(indices(X.shape))
    expected = X.copy()
    value = np.arange(expected[index].size, dtype=float).reshape(expected[index].shape)
    expected[index] = value
    t = Tensor(X.copy())
    t[index] = value
    np.testing.assert_array_equal(t.data, expected)


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_operation_in_place_is_differentiated(name: str) -> None:
    def f(x: Tensor, y: Tensor) -> Tensor:
        z = x + 3.0
        same = z
        z = IN_PLACE[name](z, y)
        assert z is same
        return z * x

    gradcheck(f, np.array([0.1, 0.2]), np.array([2.3, 0.7]), order=2)


def test_matmul_in_place() -> None:
    def f(x: Tensor) -> Tensor:
        y = x + 0.0
        y @= x
        return y

    gradcheck(f, X[:, :2])


def test_bits_in_place() -> None:
    t = Tensor([True, False])
    t |= np.array([False, False])
    t ^= np.array([True, True])
    t &= np.array([True, True])
    assert t.tolist() == [False, True]


def test_a_constant_becomes_part_of_the_tape() -> None:
    x = Tensor([2.0, 3.0], requires_grad=True)
    out = Tensor(np.zeros(3))
    for i in range(2):
        out[i] = x[i] * x[i]
    assert out.requires_grad
    np.sum(out).backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.data, [4.0, 6.0])


def test_the_array_behind_a_constant_is_not_written_to() -> None:
    array = np.zeros(3)
    t = Tensor(array)
    t[0] = 1.0
    t += 1.0
    assert array.tolist() == [0.0, 0.0, 0.0]
    assert t.tolist() == [2.0, 1.0, 1.0]


def test_other_tensors_do_not_change() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    view, total, detached = y[:1], np.sum(y), y.detach()
    y[0] = 100.0
    y += 1.0
    assert (view.tolist(), total.item(), detached.tolist()) == ([3.0], 9.0, [3.0, 6.0])
    (np.sum(view) + total).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6.0, 3.0]


def test_what_was_recorded_before_keeps_the_old_value() -> None:
    x = Tensor([3.0], requires_grad=True)
    y = x * 1.0
    square = y * y
    y[0] = 100.0
    square.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [6.0]


def test_of_an_element_named_twice_the_last_value_counts() -> None:
    v = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    t = Tensor(np.zeros(2))
    t[[0, 0, 1]] = v
    np.sum(t * np.array([10.0, 20.0])).backward()
    assert v.grad is not None
    assert (t.tolist(), v.grad.tolist()) == ([2.0, 3.0], [0.0, 10.0, 20.0])


def test_a_function_that_writes_into_its_argument_leaves_the_callers_array() -> None:
    def f(x: Any) -> Any:
        x[0] = x[1] * 2
        x *= x
        return np.sum(x)

    a = np.array([1.0, 3.0])
    assert grad(f)(a).tolist() == [0.0, 30.0]
    assert jvp(f, (a,), (np.array([1.0, 1.0]),))[1] == 30.0
    assert a.tolist() == [1.0, 3.0]


# ---- errors ----------------------------------------------------------------------------------------------


def leaf() -> Tensor:
    return Tensor(X.copy(), requires_grad=True)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (leaf, r"a Tensor of shape .* requires a gradient, so `w.* v` cannot change it"),
        (lambda: nn.Linear(3, 2).weight, "parameter 'weight' of shape .* requires a gradient"),
        (lambda: leaf()[:1], "made by 'getitem' and cannot be assigned to"),
        (lambda: leaf().reshape(3, 2), "made by 'reshape'"),
        (lambda: (leaf() * 2).T, "made by 'transpose'"),
        (lambda: np.broadcast_to(leaf() * 2, (2, 2, 3)), "made by 'broadcast_to'"),
        (lambda: leaf().detach()[:1], "made by an index, a reshape or another view"),
        (lambda: Tensor(X)[0], "made by an index"),
    ],
    ids=["leaf", "parameter", "index", "reshape", "transpose", "broadcast", "detached", "constant"],
)
def test_what_cannot_be_assigned_to_says_why(make: Callable[[], Tensor], sentence: str) -> None:
    t = make()
    before, origin = t.data.copy(), t.origin
    for assign in (lambda: operator.setitem(t, 0, 1.0), lambda: operator.iadd(t, 1.0)):
        with pytest.raises(TypeError, match=sentence) as raised:
            assign()
        assert "\n" not in str(raised.value)
    np.testing.assert_array_equal(t.data, before)
    assert t.origin is origin


def test_an_element_in_place_says_how_else() -> None:
    t = leaf() * 2
    with pytest.raises(TypeError, match=r"as in t\[i\] = t\[i\] \+ v for t\[i\] \+= v"):
        t[0] += 1.0
    t[0] = t[0] + 1.0
    assert t.tolist()[0] == [3.0, -3.0, 7.0]


def test_what_numpy_copies_can_be_assigned_to() -> None:
    x = leaf()
    for copied in (x[[0, 1]], x[:, [0, 1]], x[X > 0], x.copy(), x.astype(np.float32)):
        copied[0] = 5.0
        assert copied.requires_grad


def test_a_view_can_be_assigned_to_once_copied() -> None:
    t = Tensor(X)[0].copy()
    t[0] = 9.0
    assert t.tolist() == [9.0, -2.0, 3.0]


def test_dtype_and_shape_stay() -> None:
    t = Tensor(np.ones(2, np.float32))
    t += np.array([1e-3, 2.0])
    assert t.dtype == np.float32
    with pytest.raises(ValueError, match=r"shape \(2,\) cannot become one of shape \(3, 2\) in place"):
        t += np.ones((3, 2))
    integers = Tensor([1, 2])
    with pytest.raises(TypeError, match=r"dtype int64 cannot become one of float64 in place"):
        integers += 1.5
    with pytest.raises(TypeError, match="assigned float64, which it cannot hold"):
        integers[0] = Tensor(1.5, requires_grad=True)
    assert integers.tolist() == [1, 2]


def test_an_error_leaves_the_tensor_as_it_was() -> None:
    t = Tensor(np.zeros(2))
    with pytest.raises(ValueError, match="set_at"):
        t[:] = np.zeros(3)
    with pytest.raises(IndexError, match="set_at"):
        t[5] = 1.0
    assert t.tolist() == [0.0, 0.0]


def test_under_no_grad_the_new_value_needs_no_gradient() -> None:
    y = leaf() * 2
    with no_grad():
        y[0] = 1.0
    assert not y.requires_grad


# ---- an update by hand, as people who come from PyTorch write it ------------------------------------------


def weight_with_gradient() -> Tensor:
    w = Tensor(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), requires_grad=True)
    w.grad = Tensor(np.full((2, 2), 0.5, np.float32))
    return w


IN_PLACE_SYMBOLS = ["+=", "-=", "*=", "/=", "//=", "%=", "**=", "@="]


@pytest.mark.parametrize("symbol", IN_PLACE_SYMBOLS)
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("v", ["0.1 * w.grad", "2 * w.grad.data", "np.ones((2, 2))", "other"])
def test_the_error_of_a_leaf_in_place_shows_the_line_that_works(symbol: str, recorded: bool, v: str) -> None:
    w, other = weight_with_gradient(), weight_with_gradient()
    names = {"w": w, "other": other, "np": np}
    before = w.data.copy()
    with contextlib.nullcontext() if recorded else no_grad():
        with pytest.raises(TypeError, match="requires a gradient") as raised:
            exec(f"w {symbol} {v}", names)
        np.testing.assert_array_equal(w.data, before)
        line = str(raised.value).split("write `")[1].split("`")[0]
        assert line.startswith(f"w.data {symbol} v")
        exec(line, names | {"v": eval(v, names)})
    expected = {"w": before, "v": np.asarray(eval(v, names | {"other": other.data}))}
    exec(f"w {symbol} v", expected)
    np.testing.assert_allclose(w.data, expected["w"], rtol=1e-6)
    assert w.dtype == np.float32
    assert w.is_leaf
    assert w.requires_grad


@pytest.mark.parametrize("v", ["7.0", "w.grad[0]", "other[0]"])
def test_the_error_of_an_index_of_a_leaf_shows_the_line_that_works(v: str) -> None:
    w, other = weight_with_gradient(), weight_with_gradient()
    names = {"w": w, "other": other}
    with pytest.raises(TypeError, match=r"`w\[i\] = v` cannot change it") as raised:
        exec(f"w[0] = {v}", names)
    line = str(raised.value).split("write `")[1].split("`")[0]
    exec(line, names | {"v": eval(v, names), "i": 0})
    np.testing.assert_array_equal(w.data[0], eval(v, names | {"other": other.data}))


def test_an_element_of_a_leaf_in_place_shows_the_line_that_works() -> None:
    for around in (contextlib.nullcontext, no_grad):
        w = weight_with_gradient()
        with around(), pytest.raises(TypeError, match=r"another leaf, t\.data\[i\] -= v"):
            w[0] -= 1.0
        w.data[0] -= 1.0
        assert w.tolist()[0] == [0.0, 1.0]


def test_an_array_takes_in_a_tensor_without_a_gradient_in_place() -> None:
    w = weight_with_gradient()
    array, y = w.data, np.sum(w * w)
    w.data -= 0.1 * w.grad
    assert w.data is array
    np.testing.assert_allclose(array, [[0.95, 1.95], [2.95, 3.95]])
    with pytest.raises(RuntimeError, match="was changed"):
        y.backward()
    array += Tensor(1.0)
    np.add(array, Tensor(np.ones((2, 2))), out=array, where=np.eye(2, dtype=bool))
    np.testing.assert_allclose(array, [[2.95, 2.95], [3.95, 5.95]])
    with pytest.raises(TypeError, match="an ndarray takes in place no Tensor that requires a gradient"):
        array += w
    with pytest.raises(TypeError, match="does not take out="):
        np.add(Tensor(1.0), 1.0, out=Tensor(1.0))  # type: ignore[call-overload]
