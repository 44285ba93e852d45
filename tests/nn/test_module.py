import copy
import pickle

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn


class Scale(nn.Module):
    def __init__(self, n: int = 2) -> None:
        super().__init__()
        self.factor = nn.Parameter(np.full(n, 2.0))
        self.register_buffer("offset", np.arange(n, dtype=float))
        self.register_buffer("scratch", np.zeros(1), persistent=False)
        self.inner = nn.Linear(n, n)

    def forward(self, x):
        return self.inner(x * self.factor + self.offset)


# ---- registration ----------------------------------------------------------------------------------------


def test_assigning_registers_parameters_buffers_and_modules() -> None:
    module = Scale()
    assert [name for name, _ in module.named_parameters()] == ["factor", "inner.weight", "inner.bias"]
    assert [name for name, _ in module.named_buffers()] == ["offset", "scratch"]
    assert [name for name, _ in module.named_children()] == ["inner"]
    assert [name for name, _ in module.named_modules()] == ["", "inner"]
    assert list(module.parameters(recurse=False)) == [module.factor]
    assert list(module.children()) == [module.inner]
    assert list(module.modules()) == [module, module.inner]
    assert all(
        buffer is own for buffer, own in zip(module.buffers(), [module.offset, module.scratch], strict=True)
    )


def test_names_carry_a_prefix() -> None:
    names = [name for name, _ in Scale().named_parameters("model", recurse=True)]
    assert names == ["model.factor", "model.inner.weight", "model.inner.bias"]


def test_a_parameter_set_to_none_keeps_its_place() -> None:
    module = Scale()
    module.factor = None
    assert module.factor is None
    assert "factor" not in module.state_dict()
    module.factor = nn.Parameter(np.ones(2))
    assert next(iter(module.state_dict())) == "factor"


def test_a_deleted_attribute_is_no_longer_registered() -> None:
    module = Scale()
    del module.factor, module.offset, module.inner
    assert list(module.parameters()) == []
    assert not hasattr(module, "factor")
    with pytest.raises(AttributeError):
        del module.factor


def test_a_plain_attribute_becomes_a_parameter_when_one_is_assigned() -> None:
    module = nn.Module()
    module.weight = "not yet"
    module.weight = nn.Parameter(np.ones(1))
    assert [name for name, _ in module.named_parameters()] == ["weight"]


def test_a_parameter_replaced_by_a_module_is_a_module() -> None:
    module = Scale()
    module.factor = nn.ReLU()
    assert [name for name, _ in module.named_children()] == ["inner", "factor"]
    assert "factor" not in dict(module.named_parameters())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("factor", np.ones(2), "'factor' is a parameter: expected a Parameter or None, not ndarray"),
        ("factor", Tensor(np.ones(2)), "wrap it in nn.Parameter"),
        ("inner", 3, "'inner' is a module: expected a Module or None, not int"),
        ("offset", "text", "'offset' is a buffer: expected an array or None, not str"),
    ],
)
def test_a_registered_name_takes_only_its_kind(name: str, value: object, message: str) -> None:
    module = Scale()
    before = getattr(module, name)
    with pytest.raises(TypeError, match=message):
        setattr(module, name, value)
    assert getattr(module, name) is before


def test_a_buffer_takes_arrays_tensors_and_none() -> None:
    module = Scale()
    module.offset = Tensor(np.ones(2))
    assert type(module.offset) is np.ndarray
    module.offset = None
    assert "offset" not in module.state_dict()


@pytest.mark.parametrize("name", ["", "a.b", "forward", "training", "_registered"])
def test_some_names_cannot_be_registered(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a parameter"):
        nn.Module().register_parameter(name, nn.Parameter(np.ones(1)))


def test_the_registering_methods_take_only_their_kind() -> None:
    with pytest.raises(TypeError, match="must be a Parameter or None, not ndarray"):
        nn.Module().register_parameter("weight", np.ones(1))
    with pytest.raises(TypeError, match="must be a Module or None, not function"):
        nn.Module().register_module("layer", lambda x: x)


@pytest.mark.parametrize("value", [nn.Parameter(np.ones(1)), nn.ReLU()], ids=["parameter", "module"])
def test_a_forgotten_super_init_is_said(value: object) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            self.plain = 1
            self.weight = value

    with pytest.raises(AttributeError, match=r"Forgetful\.__init__ must call super\(\)\.__init__\(\)"):
        Forgetful()


def test_an_unknown_attribute_is_an_attribute_error_that_names_both() -> None:
    with pytest.raises(AttributeError, match="'Linear' has no attribute 'wieght'"):
        nn.Linear(1, 1).wieght  # noqa: B018


def test_forward_must_be_defined() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty defines no forward\(\)"):
        Empty()(1)


# ---- names in the model ----------------------------------------------------------------------------------


def test_parameters_know_their_path_however_the_model_was_put_together() -> None:
    inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    outer = nn.Module()
    outer.encoder = inner
    model = nn.Sequential(outer)
    inner.append(nn.Linear(2, 2))
    inner[0].weight = nn.Parameter(np.ones((2, 2)))
    for name, parameter in model.named_parameters():
        assert parameter.name == name
        assert parameter.origin.name == name


def test_a_shared_parameter_is_yielded_once_but_saved_under_each_name() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    model = nn.Sequential(first, second, first)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert [name for name, _ in model.named_modules()] == ["", "0", "1"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]


# ---- for all of it ---------------------------------------------------------------------------------------


def test_train_and_eval_reach_everything() -> None:
    model = nn.Sequential(nn.Sequential(nn.Dropout()), nn.BatchNorm1d(2))
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())


def test_zero_grad_makes_gradients_none_and_leaves_kept_ones() -> None:
    model = nn.Linear(2, 1)
    model(np.ones((1, 2), np.float32)).sum().backward()
    kept = model.weight.grad
    model.zero_grad()
    assert model.weight.grad is None
    np.testing.assert_array_equal(kept.data, [[1, 1]])


def test_freezing_stops_gradients() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    model(np.ones((1, 2), np.float32)).sum().backward()
    assert [p.grad is None for p in model.parameters()] == [True, True, False, False]
    assert all(p.requires_grad for p in model.requires_grad_().parameters())


def test_apply_visits_children_before_their_parent() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
    seen = []
    assert model.apply(lambda module: seen.append(type(module).__name__)) is model
    assert seen == ["ReLU", "Sequential", "Tanh", "Sequential"]


def test_astype_converts_floats_in_place_and_keeps_memory_order() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    weight = model[0].weight
    model(np.eye(3, dtype=np.float32)).sum().backward()
    assert model.astype("float64") is model
    assert model[0].weight is weight
    assert weight.data.flags.f_contiguous
    assert {value.dtype.name for value in model.state_dict().values()} == {"float64", "int64"}
    assert {parameter.grad.dtype.name for parameter in model.parameters()} == {"float64"}
    with pytest.raises(TypeError, match="int32"):
        model.astype(np.int32)


def test_astype_makes_an_older_tape_stale() -> None:
    model = nn.Linear(2, 1)
    loss = model(np.ones((1, 2), np.float32)).sum()
    model.astype(np.float64)
    with pytest.raises(RuntimeError, match="'weight'"):
        loss.backward()


# ---- copies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_computes_the_same_and_shares_nothing(twin_of) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2))
    twin = twin_of(model)
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    np.testing.assert_array_equal(twin(x).data, model(x).data)  # the dropout too
    assert [p.name for p in twin.parameters()] == [name for name, _ in model.named_parameters()]
    before = model.state_dict()
    for value in [*(p.data for p in twin.parameters()), *twin.buffers()]:
        value += 1
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    twin[0].extra = nn.Parameter(np.ones(1))
    assert "0.extra" not in model.state_dict()


def test_a_shared_parameter_is_still_shared_in_a_copy() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    twin = copy.deepcopy(model)
    assert twin[0].weight is twin[1].weight
    assert twin[0].weight is not model[0].weight
