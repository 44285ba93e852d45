from collections import OrderedDict

import numpy as np
import pytest

from tinygrad_mnist import nn


def test_modules_are_called_one_after_the_other() -> None:
    class Appends(nn.Module):
        def __init__(self, letter: str) -> None:
            super().__init__()
            self.letter = letter

        def forward(self, text: str) -> str:
            return text + self.letter

    assert nn.Sequential(Appends("a"), Appends("b"), Appends("c"))("") == "abc"


def test_an_empty_sequential_returns_its_input() -> None:
    assert nn.Sequential()(3) == 3


@pytest.mark.parametrize("kind", [OrderedDict, dict])
def test_a_mapping_gives_the_names(kind) -> None:
    model = nn.Sequential(kind(first=nn.Linear(2, 3), act=nn.ReLU(), last=nn.Linear(3, 1)))
    assert list(model.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert model.first is model[0]
    assert model(np.ones((2, 2), np.float32)).shape == (2, 1)


def test_indexing_counts_from_both_ends() -> None:
    layers = [nn.ReLU(), nn.Tanh(), nn.Sigmoid()]
    model = nn.Sequential(*layers)
    assert len(model) == 3
    assert list(model) == layers
    assert [model[0], model[-1]] == [layers[0], layers[2]]
    with pytest.raises(IndexError):
        model[3]


def test_a_slice_shares_the_modules_and_their_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    tail = model[1:]
    assert list(tail) == [model[1], model[2]]
    assert list(tail.state_dict()) == ["2.weight", "2.bias"]
    assert model[2].weight.name == "2.weight"
    assert not tail.training
    tail.append(nn.ReLU())
    assert (len(tail), len(model)) == (3, 3)
    assert [name for name, _ in tail.named_children()] == ["1", "2", "3"]


def test_a_slice_of_a_nested_model_leaves_names_alone() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Linear(1, 1)))
    assert model[0][1:][0].weight.name == "0.1.weight"


def test_append_and_replace_register() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    assert model.append(nn.Linear(2, 3)) is model
    model[0] = nn.Linear(4, 2)
    assert [(name, p.shape) for name, p in model.named_parameters()] == [
        ("0.weight", (2, 4)), ("0.bias", (2,)), ("1.weight", (3, 2)), ("1.bias", (3,)),
    ]  # fmt: skip


def test_a_module_may_stand_twice() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(model) == 3
    assert len(list(model.parameters())) == 2
    x = np.ones((1, 2), np.float32)
    np.testing.assert_array_equal(model(x).data, layer(np.maximum(layer(x).data, 0)).data)


def test_what_is_no_module_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"given a list; expected modules; pass its elements"):
        nn.Sequential([nn.ReLU()])
    with pytest.raises(TypeError, match="given a function"):
        nn.Sequential(nn.ReLU(), lambda x: x)
