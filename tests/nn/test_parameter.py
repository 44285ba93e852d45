import copy
import pickle

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn


def test_a_parameter_wraps_an_array_and_wants_a_gradient() -> None:
    array = np.ones(3)
    parameter = nn.Parameter(array)
    assert parameter.data is array
    assert parameter.requires_grad
    assert parameter.name is None
    assert isinstance(parameter, Tensor)


def test_the_name_reaches_the_leaf_of_the_tape() -> None:
    parameter = nn.Parameter(np.ones(3))
    parameter.name = "0.weight"
    assert parameter.origin.name == "0.weight"


def test_a_frozen_parameter_gets_its_name_back() -> None:
    parameter = nn.Parameter(np.ones(3))
    parameter.name = "0.weight"
    parameter.requires_grad_(False)
    assert (parameter.requires_grad, parameter.name) == (False, "0.weight")
    parameter.requires_grad = True
    assert parameter.origin.name == "0.weight"


def test_an_error_of_the_tape_names_the_parameter() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    loss = model(np.ones((3, 2), np.float32)).sum()
    model[1].weight.data = np.zeros((1, 2), np.float32)
    with pytest.raises(RuntimeError, match=r"parameter '1\.weight' of shape \(1, 2\)"):
        loss.backward()


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
@pytest.mark.parametrize("requires_grad", [True, False])
def test_a_copy_is_a_parameter_of_the_same_name(twin_of, requires_grad: bool) -> None:
    parameter = nn.Parameter(np.asfortranarray(np.arange(6.0).reshape(2, 3)), requires_grad)
    parameter.name = "0.weight"
    twin = twin_of(parameter)
    assert type(twin) is nn.Parameter
    assert (twin.name, twin.requires_grad) == ("0.weight", requires_grad)
    assert twin.data.flags.f_contiguous
    np.testing.assert_array_equal(twin.data, parameter.data)


def test_a_deep_copy_shares_no_memory() -> None:
    parameter = nn.Parameter(np.ones(2))
    assert not np.shares_memory(copy.deepcopy(parameter).data, parameter.data)


def test_an_integer_cannot_be_trained() -> None:
    with pytest.raises(TypeError, match="int64"):
        nn.Parameter([1, 2])


def test_repr_shows_name_and_whether_it_is_frozen() -> None:
    parameter = nn.Parameter(np.ones(2))
    assert repr(parameter) == "Parameter([1., 1.])"
    parameter.name = "0.bias"
    assert repr(parameter) == "Parameter([1., 1.], name='0.bias')"
    assert repr(parameter.requires_grad_(False)) == "Parameter([1., 1.], name='0.bias', requires_grad=False)"


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(6.0).reshape(2, 3).T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)).T[::-1],
        np.arange(12.0).reshape(4, 3)[1:3],
        np.arange(12.0).reshape(4, 3)[:, ::2],
        np.broadcast_to(np.float32(1), (2, 2)),
        np.array(1.0),
        np.zeros((0, 3)).T,
    ],
    ids=str,
)
def test_a_copy_of_any_view_has_its_values_and_memory_of_its_own(twin_of, array) -> None:
    parameter = nn.Parameter(array)
    twin = twin_of(parameter)
    np.testing.assert_array_equal(twin.data, array)
    assert twin.data.dtype == array.dtype
    assert not np.shares_memory(twin.data, array)
    if array.flags.forc:
        assert twin.data.strides == array.strides
    twin.data[...] = 7


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_parameters_of_one_array_are_so_in_a_copy(twin_of) -> None:
    array = np.arange(6.0).reshape(2, 3)
    twins = twin_of([nn.Parameter(view) for view in (array.T, array, array.reshape(-1)[::-1])])
    twins[0].data[0, 0] = 7
    assert twins[1].data[0, 0] == twins[2].data[-1] == 7
    assert array[0, 0] == 0
