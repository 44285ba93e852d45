"""Parameters that lie side by side behave as if each were alone, and as if nobody had moved them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.optim.problem import OPTIMIZERS
from tinygrad_mnist import Tensor, optim
from tinygrad_mnist.optim import flat_parameters

every_kind = pytest.mark.parametrize("kind", OPTIMIZERS)


def make(kind: str, parameters: Any, **options: Any) -> optim.Optimizer:
    name, defaults = OPTIMIZERS[kind]
    made: optim.Optimizer = getattr(optim, name)(parameters, **{**defaults, **options})
    return made


def parameters_of(
    shapes: Sequence[tuple[int, ...]], dtype: Any = np.float64, order: Any = "C"
) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [
        Tensor(np.array(rng.standard_normal(shape), dtype=dtype, order=order), requires_grad=True)
        for shape in shapes
    ]


def give_gradients(
    parameters: Sequence[Tensor], seed: int, mask: Sequence[bool] | None = None, order: Any = "C"
) -> None:
    for k, parameter in enumerate(parameters):
        gradient = np.random.default_rng([seed, k]).standard_normal(parameter.shape)
        wanted = mask is None or mask[k]
        parameter.grad = Tensor(np.array(gradient, dtype=parameter.dtype, order=order)) if wanted else None


SHAPES = [(3, 4), (4,), (), (2, 3, 2), (0,), (1, 5)]


@every_kind
@given(
    masks=st.lists(st.lists(st.booleans(), min_size=6, max_size=6), max_size=6),
    block=st.sampled_from([16, 80, 1 << 18]),
)
def test_together_is_as_each_alone_whatever_is_skipped(
    kind: str, masks: list[list[bool]], block: int
) -> None:
    together, alone = parameters_of(SHAPES), parameters_of(SHAPES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat_parameters, "BLOCK_BYTES", block)
        optimizer = make(kind, together)
    single = [make(kind, [parameter]) for parameter in alone]
    for seed, mask in enumerate(masks):
        give_gradients(together, seed, mask)
        give_gradients(alone, seed, mask)
        optimizer.step()
        for each in single:
            each.step()
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


@every_kind
def test_a_step_without_gradients_moves_nothing(kind: str) -> None:
    parameters = parameters_of(SHAPES)
    optimizer = make(kind, parameters)
    give_gradients(parameters, 0)
    optimizer.step()
    values, state = [parameter.data.copy() for parameter in parameters], optimizer.state_dict()
    optimizer.zero_grad()
    optimizer.step()
    assert all(
        np.array_equal(value, parameter.data) for value, parameter in zip(values, parameters, strict=True)
    )
    np.testing.assert_equal(optimizer.state_dict(), state)


def test_a_skipped_parameter_counts_no_step() -> None:
    parameters = parameters_of([(2,), (3,), (4,)])
    optimizer = optim.Adam(parameters)
    for seed, mask in enumerate([[True, False, True], [True, False, False]]):
        give_gradients(parameters, seed, mask)
        optimizer.step()
    assert {index: entry["step"] for index, entry in optimizer.state_dict()["state"].items()} == {0: 2, 2: 1}


@every_kind
@pytest.mark.parametrize("block", [16, 1 << 18])
def test_a_gradient_that_somebody_kept_stays_what_it_was(
    kind: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat_parameters, "BLOCK_BYTES", block)
    parameters = parameters_of(SHAPES)
    optimizer = make(kind, parameters, weight_decay=0.1)
    give_gradients(parameters, 0)
    kept = [parameter.grad.data for parameter in parameters if parameter.grad is not None]
    copies = [gradient.copy() for gradient in kept]
    for gradient in kept:
        gradient.flags.writeable = False
    for _ in range(3):
        optimizer.step()
    optimizer.zero_grad()
    assert len(kept) == len(parameters)
    assert all(np.array_equal(*pair) for pair in zip(kept, copies, strict=True))


@every_kind
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("gradient_order", ["C", "F"])
def test_the_memory_order_stays_and_makes_no_difference(kind: str, order: Any, gradient_order: Any) -> None:
    parameters, expected = parameters_of([(3, 4), (2, 3, 2)], order=order), parameters_of([(3, 4), (2, 3, 2)])
    optimizer, plain = make(kind, parameters), make(kind, expected)
    for seed in range(3):
        give_gradients(parameters, seed, order=gradient_order)
        give_gradients(expected, seed)
        optimizer.step()
        plain.step()
    for parameter, other in zip(parameters, expected, strict=True):
        np.testing.assert_array_equal(parameter.data, other.data)
        assert parameter.data.flags.f_contiguous == (order == "F")
        assert parameter.data.flags.c_contiguous == (order == "C")


def test_making_an_optimizer_keeps_values_and_puts_them_side_by_side() -> None:
    parameters = parameters_of([(3, 4), (4,)])
    values = [parameter.data.copy() for parameter in parameters]
    optim.SGD(parameters)
    assert all(np.array_equal(*pair) for pair in zip(values, (p.data for p in parameters), strict=True))
    assert parameters[1].data.ctypes.data == parameters[0].data.ctypes.data + parameters[0].data.nbytes


@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_values_and_state_stays(kind: str, dtype: Any) -> None:
    parameters = parameters_of([(3, 4), (4,)], dtype=dtype)
    optimizer = make(kind, parameters)
    optimizer.param_groups[0]["lr"] = np.float64(0.1)
    give_gradients(parameters, 0)
    optimizer.step()
    assert {parameter.dtype for parameter in parameters} == {np.dtype(dtype)}
    arrays = [
        v for e in optimizer.state_dict()["state"].values() for v in e.values() if isinstance(v, np.ndarray)
    ]
    assert {array.dtype for array in arrays} <= {np.dtype(dtype)}


@every_kind
@pytest.mark.parametrize("given", [np.float16, np.float64])
def test_a_gradient_of_another_dtype_counts_as_one_of_the_parameters(kind: str, given: Any) -> None:
    other, own = parameters_of([(64,)], dtype=np.float32), parameters_of([(64,)], dtype=np.float32)
    optimizers = [make(kind, other), make(kind, own)]
    for seed in range(3):
        gradient = np.random.default_rng(seed).standard_normal(64).astype(given)
        other[0].grad, own[0].grad = Tensor(gradient), Tensor(gradient.astype(np.float32))
        for optimizer in optimizers:
            optimizer.step()
    np.testing.assert_array_equal(other[0].data, own[0].data)


def test_dtypes_may_be_mixed_in_a_group() -> None:
    mixed, alone = parameters_of([(2,), (3,), (4,)]), parameters_of([(2,), (3,), (4,)])
    for parameters in (mixed, alone):
        parameters[1].data = parameters[1].data.astype(np.float32)
    optimizer, single = optim.Adam(mixed), [optim.Adam([parameter]) for parameter in alone]
    for seed in range(3):
        give_gradients(mixed, seed)
        give_gradients(alone, seed)
        for each in (optimizer, *single):
            each.step()
    assert [parameter.dtype for parameter in mixed] == [np.float64, np.float32, np.float64]
    assert all(np.array_equal(a.data, b.data) for a, b in zip(mixed, alone, strict=True))


# Somebody else writes the parameters.


def test_a_write_into_the_array_is_seen() -> None:
    parameters = parameters_of([(2, 3), (3,)])
    optimizer = optim.SGD(parameters, lr=1.0)
    parameters[0].data[...] = 5.0
    parameters[0].grad = Tensor(np.ones((2, 3)))
    optimizer.step()
    np.testing.assert_array_equal(parameters[0].data, np.full((2, 3), 4.0))


@every_kind
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_put_in_its_place_is_taken_over(kind: str, order: Any) -> None:
    """The state goes on: it is as if the values had been written into the array."""
    replaced, written = parameters_of([(2, 3), (3,)], order=order), parameters_of([(2, 3), (3,)], order=order)
    optimizers = [make(kind, replaced), make(kind, written)]
    for seed in range(4):
        if seed == 2:
            replaced[0].data = np.ones((2, 3))
            written[0].data[...] = 1.0
        for optimizer, parameters in zip(optimizers, (replaced, written), strict=True):
            give_gradients(parameters, seed)
            optimizer.step()
    for one, other in zip(replaced, written, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
        assert one.data.strides == other.data.strides


def test_an_array_put_in_its_place_is_not_written_to() -> None:
    parameters = parameters_of([(3,)])
    optimizer = optim.SGD(parameters, lr=1.0)
    mine = np.ones(3)
    parameters[0].data = mine
    give_gradients(parameters, 0)
    optimizer.step()
    np.testing.assert_array_equal(mine, np.ones(3))
    assert not np.array_equal(parameters[0].data, mine)


def test_parameters_may_exchange_their_arrays() -> None:
    first, second = parameters_of([(3,), (3,)])
    optimizer = optim.SGD([first, second], lr=1.0)
    a, b = first.data.copy(), second.data.copy()
    first.data, second.data = second.data, first.data
    first.grad, second.grad = Tensor(np.ones(3)), Tensor(np.ones(3))
    optimizer.step()
    np.testing.assert_array_equal(first.data, b - 1)
    np.testing.assert_array_equal(second.data, a - 1)


def test_two_optimizers_may_share_a_parameter() -> None:
    (parameter,) = parameters_of([(3,)])
    start = parameter.data.copy()
    optimizers = [optim.SGD([parameter], lr=1.0), optim.SGD([parameter], lr=10.0)]
    for _ in range(2):
        for optimizer in optimizers:
            parameter.grad = Tensor(np.ones(3))
            optimizer.step()
    np.testing.assert_allclose(parameter.data, start - 22)


@every_kind
def test_another_dtype_is_taken_over_with_the_state(kind: str) -> None:
    parameters, expected = parameters_of([(2, 3), (3,)], dtype=np.float32), parameters_of([(2, 3), (3,)])
    optimizer, plain = make(kind, parameters), make(kind, expected)
    for seed in range(6):
        if seed == 3:
            for parameter in parameters:
                parameter.data = parameter.data.astype(np.float64)
        give_gradients(parameters, seed)
        give_gradients(expected, seed)
        optimizer.step()
        plain.step()
    for parameter, other in zip(parameters, expected, strict=True):
        assert parameter.dtype == np.float64
        np.testing.assert_allclose(parameter.data, other.data, rtol=1e-4, atol=1e-5)


def test_a_frozen_parameter_is_skipped() -> None:
    parameters = parameters_of([(2,), (3,)])
    optimizer = optim.SGD(parameters, lr=1.0)
    give_gradients(parameters, 0)
    parameters[0].requires_grad_(False)
    frozen = parameters[0].data.copy()
    optimizer.step()
    np.testing.assert_array_equal(parameters[0].data, frozen)


def test_a_step_makes_older_tapes_stale() -> None:
    (parameter,) = parameters_of([(3,)])
    optimizer = optim.SGD([parameter])
    loss = np.sum(parameter * parameter)
    give_gradients([parameter], 0)
    optimizer.step()
    with pytest.raises(RuntimeError):
        loss.backward()


@every_kind
@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_copy_goes_on_by_itself(kind: str, duplicate: Any) -> None:
    parameters = parameters_of([(2, 3), (3,)])
    optimizer = make(kind, parameters)
    give_gradients(parameters, 0)
    optimizer.step()
    values = [parameter.data.copy() for parameter in parameters]
    copied = duplicate(optimizer)
    copied_parameters = copied.param_groups[0]["params"]
    give_gradients(copied_parameters, 1)
    copied.step()
    assert all(np.array_equal(v, p.data) for v, p in zip(values, parameters, strict=True))
    give_gradients(parameters, 1)
    optimizer.step()
    assert all(np.array_equal(p.data, q.data) for p, q in zip(parameters, copied_parameters, strict=True))
