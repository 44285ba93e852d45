import pickle
import traceback

import numpy as np
import pytest

from tinygrad_mnist import nn
from tinygrad_mnist.nn.blame import blame


class Raises(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


class Calls(nn.Module):
    """A model whose forward calls its parts by hand."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        for part in self.children():
            x = part(x)
        return x


def test_a_shape_error_names_the_path_what_came_and_what_was_expected() -> None:
    model = Calls(encoder=nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(8, 2)))
    with pytest.raises(ValueError, match="fit") as caught:
        model(np.ones((5, 4), np.float32))
    assert str(caught.value) == (
        "encoder.2 (Linear): input of shape (5, 3) does not fit weight of shape (2, 8); expected (..., 8)"
    )


def test_a_layer_by_itself_is_named_by_its_class() -> None:
    with pytest.raises(ValueError, match=r"^Linear: input of shape \(5, 3\)"):
        nn.Linear(4, 2)(np.ones((5, 3), np.float32))


def test_the_error_is_the_same_object_with_its_traceback() -> None:
    error = ValueError("wrong")
    with pytest.raises(ValueError, match="wrong") as caught:
        nn.Sequential(Raises(error))(1)
    assert caught.value is error
    assert str(error) == "0 (Raises): wrong"
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames.count("forward") == 2


def test_an_error_of_a_subclass_keeps_its_type() -> None:
    class Special(RuntimeError):
        pass

    with pytest.raises(Special, match=r"^0\.0 \(Raises\): wrong$"):
        nn.Sequential(nn.Sequential(Raises(Special("wrong"))))(1)


@pytest.mark.parametrize(
    "error",
    [KeyError("key"), OSError(2, "no such file"), np.exceptions.AxisError(3, 2), ValueError()],
    ids=repr,
)
def test_an_error_whose_message_cannot_be_changed_gets_one_note(error: Exception) -> None:
    before = str(error)
    with pytest.raises(type(error)):
        nn.Sequential(nn.Sequential(Raises(error)))(1)
    assert str(error) == before
    assert error.__notes__ == ["in 0.0 (Raises)"]


def test_a_model_around_a_called_function_finds_modules_further_down() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2))

        def forward(self, x):
            return self.inner[0](x)  # not by way of self.inner

    with pytest.raises(ValueError, match=r"^0\.inner\.0 \(Linear\): "):
        nn.Sequential(Deep())(np.ones((1, 3), np.float32))


def test_a_module_that_is_not_registered_is_named_within_the_one_that_called_it() -> None:
    class Hides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 2)]

        def forward(self, x):
            return self.layers[0](x)

    with pytest.raises(ValueError, match=r"^0 \(Hides\): Linear: input"):
        nn.Sequential(Hides())(np.ones((1, 3), np.float32))


def test_an_operation_in_forward_is_named_too() -> None:
    class Adds(nn.Module):
        def forward(self, x):
            return x + nn.Parameter(np.ones(3))

    with pytest.raises(ValueError, match=r"^0 \(Adds\): add: .*\(2,\)"):
        nn.Sequential(Adds())(np.ones(2))


def test_an_error_that_passed_a_model_can_be_pickled() -> None:
    error = ValueError("wrong")
    blame(error, nn.ReLU(), [])
    assert str(pickle.loads(pickle.dumps(error))) == "ReLU: wrong"


def test_a_module_used_twice_is_named_where_it_first_stands() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"^0 \(Linear\): input of shape \(1, 3\)"):
        nn.Sequential(layer, layer)(np.ones((1, 2), np.float32))
