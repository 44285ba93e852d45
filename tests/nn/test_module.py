import copy
import functools
import io
import pickle
import traceback
import tracemalloc
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.nn.module import evaluation_mode


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


# ---- modules in plain containers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            [nn.ReLU()],
            r"held is a plain list, and held\[0\] in it is a ReLU: .* self.held = nn.ModuleList\(\.\.\.\)",
        ),
        ((1, nn.ReLU()), r"a plain tuple, and held\[1\] in it is a ReLU: .* nn.ModuleList\("),
        ({"a": nn.ReLU()}, r"a plain dict, and held\['a'\] in it is a ReLU: .* nn.ModuleDict\("),
        ({nn.ReLU()}, r"a plain set, and held in it is a ReLU: .* nn.ModuleList\("),
        (deque([nn.ReLU()]), r"a plain deque, and held\[0\] in it .* nn.ModuleList\("),
        (
            {"a": [(3, nn.ReLU())]},
            r"held\['a'\]\[0\]\[1\] in it .* nn.ModuleDict of nn.ModuleList of nn.ModuleList\(",
        ),
        (
            [nn.Parameter(np.ones(1))],
            r"held\[0\] in it is a Parameter: .*parameters in it .* nn.ParameterList\(",
        ),
        ({"a": nn.Parameter(np.ones(1))}, r"nn.ParameterDict\("),
        ([{"a": nn.Parameter(np.ones(1))}], r"nn.ModuleList of nn.ParameterDict\("),
    ],
    ids=lambda value: str(value)[:20],
)
def test_modules_in_a_plain_container_are_warned_of(value: object, message: str) -> None:
    module = nn.Module()
    with pytest.warns(UserWarning, match=r"Module\.held is .*" + message.removeprefix("held is ")) as caught:
        module.held = value
    assert module.held is value
    assert caught[0].filename == __file__
    module.train().state_dict()  # it is said once


@pytest.mark.parametrize(
    "use",
    [
        nn.Module.eval,
        nn.Module.state_dict,
        lambda m: list(m.parameters()),
        lambda m: nn.Sequential(m).train(),
    ],
)
def test_a_list_that_is_filled_later_is_warned_of_when_the_module_is_used(use) -> None:
    module = nn.Module()
    module.held = []
    module.held.append(nn.ReLU())
    with pytest.warns(UserWarning, match=r"held\[0\]") as caught:
        use(module)
    assert len(caught) == 1
    use(module)


def test_what_is_registered_may_be_in_a_plain_container_too() -> None:
    module = Scale()
    module.all = [module.inner, {"factor": module.factor, "weight": module.inner.weight}]
    module.names = ["a", [1, 2], {"b": 3}]
    module.itself = loop = []
    loop.append(loop)
    object.__setattr__(module, "teacher", [nn.ReLU()])  # on purpose
    module.eval().state_dict()


def test_a_list_before_super_init_is_warned_of_later() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.held = [nn.ReLU()]
            super().__init__()

    early = Early()
    with pytest.warns(UserWarning, match=r"Early\.held"):
        early.eval()


# ---- names that the class has taken ----------------------------------------------------------------------


class Taken(nn.Module):
    default = None

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    @property
    def plain(self):
        return "the property"

    @property
    def settable(self):
        return "the property"

    @settable.setter
    def settable(self, value):
        self.calls += 1

    @functools.cached_property
    def cached(self):
        return "the property"

    def method(self):
        return "the method"

    @staticmethod
    def static():
        return "the method"

    @classmethod
    def of_class(cls):
        return "the method"


class TakenBelow(Taken):
    pass


@pytest.mark.parametrize("kind", ["parameter", "module", "buffer"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("plain", "property"), ("settable", "property"), ("cached", "cached_property"),
        ("method", "method"), ("static", "method"), ("of_class", "method"),
    ],
)  # fmt: skip
def test_a_name_that_the_class_has_taken_is_refused(name: str, what: str, kind: str) -> None:
    module = TakenBelow()
    value = {"parameter": nn.Parameter(np.ones(1)), "module": nn.ReLU(), "buffer": np.ones(1)}[kind]
    before = getattr(module, name)
    message = f"'{name}' cannot be the name of a {kind}: TakenBelow has a {what} of that name"
    with pytest.raises(ValueError, match=message):
        getattr(module, f"register_{kind}")(name, value)
    if kind != "buffer":
        with pytest.raises(ValueError, match=message):
            setattr(module, name, value)
    assert getattr(module, name) == before
    assert not module.state_dict()
    assert not list(module.children())


def test_a_plain_default_of_the_class_gives_way() -> None:
    module = Taken()
    module.default = nn.Parameter(np.ones(1))
    assert list(module.state_dict()) == ["default"]
    assert module.default.name == "default"


class Slips(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    @property
    def width(self):
        return self.layer.out_feature  # a slip: out_features

    @property
    def twice(self):
        return 2 * self.width

    @functools.cached_property
    def cached(self):
        return self.missing

    class Reads:
        def __get__(self, instance, owner):
            return [].wrong

    described = Reads()

    def forward(self, x):
        return x * self.twice


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("width", "'Linear' has no attribute 'out_feature'"),
        ("twice", "'Linear' has no attribute 'out_feature'"),
        ("cached", "'Slips' has no attribute 'missing'"),
        ("described", "'list' object has no attribute 'wrong'"),
        ("absent", "'Slips' has no attribute 'absent'"),
    ],
)
def test_a_slip_inside_a_property_says_what_is_missing(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(Slips(), name)
    assert not hasattr(Slips(), name)


def test_a_slip_inside_a_property_is_named_through_a_call() -> None:
    with pytest.raises(AttributeError, match=r"^0 \(Slips\): 'Linear' has no attribute 'out_feature'"):
        nn.Sequential(Slips())(1)


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


# ---- the state dict ---------------------------------------------------------------------------------------


def small_model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


NAMES = [
    "0.weight", "0.bias", "1.weight", "1.bias",
    "1.running_mean", "1.running_var", "1.num_batches_tracked",
]  # fmt: skip


def test_a_state_dict_has_pytorchs_names_shapes_and_dtypes() -> None:
    state = small_model().state_dict()
    assert list(state) == NAMES
    assert [value.shape for value in state.values()] == [(2, 3), (2,), (2,), (2,), (2,), (2,), ()]
    assert [value.dtype.name for value in state.values()] == ["float32"] * 6 + ["int64"]
    assert all(type(value) is np.ndarray and value.flags.c_contiguous for value in state.values())


def test_a_state_dict_is_a_snapshot() -> None:
    net = small_model()
    state = net.state_dict()
    net(np.eye(3, dtype=np.float32))
    net[0].weight.data[...] = 7
    assert not np.any(state["0.weight"] == 7)
    assert state["1.num_batches_tracked"] == 0


def test_what_was_saved_can_be_loaded() -> None:
    net, other = small_model(), small_model()
    net(np.eye(3, dtype=np.float32))
    assert not np.array_equal(net[0].weight.data, other[0].weight.data)
    assert other.load_state_dict(net.state_dict()) == ([], [])
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)


def test_loading_keeps_the_array_its_dtype_and_memory_order() -> None:
    net = small_model()
    weight = net[0].weight.data
    state = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    net.load_state_dict({**state, "1.num_batches_tracked": 5})
    assert net[0].weight.data is weight
    assert weight.dtype == np.float32
    assert weight.flags.f_contiguous
    assert net[1].num_batches_tracked.dtype == np.int64
    assert net[1].num_batches_tracked == 5


def test_loading_copies() -> None:
    net, state = small_model(), small_model().state_dict()
    net.load_state_dict(state)
    state["0.weight"][...] = 9
    assert not np.any(net[0].weight.data == 9)


def test_loading_takes_tensors() -> None:
    net, other = small_model(), small_model()
    other.load_state_dict({**net.state_dict(), "0.weight": net[0].weight, "0.bias": Tensor(net[0].bias.data)})
    np.testing.assert_array_equal(other[0].weight.data, net[0].weight.data)


def test_loading_makes_an_older_tape_stale() -> None:
    net = nn.Linear(3, 2)
    loss = net(np.eye(3, dtype=np.float32)).sum()
    net.load_state_dict(net.state_dict())
    with pytest.raises(RuntimeError, match="'weight'"):
        loss.backward()


def test_a_read_only_array_is_replaced() -> None:
    net = nn.Linear(3, 2)
    net.weight.data = np.broadcast_to(np.float32(1), (2, 3))
    net.load_state_dict({"weight": np.full((2, 3), 5), "bias": np.zeros(2)})
    np.testing.assert_array_equal(net.weight.data, np.full((2, 3), 5))
    assert net.weight.dtype == np.float32


@pytest.mark.parametrize("of", [lambda p: p, lambda p: p.data], ids=["parameters", "arrays"])
def test_a_model_may_be_given_its_own_parameters_exchanged(of) -> None:
    net = nn.LayerNorm(2)
    net.load_state_dict({"weight": of(net.bias), "bias": of(net.weight)})
    np.testing.assert_array_equal(net.weight.data, [0, 0])
    np.testing.assert_array_equal(net.bias.data, [1, 1])


@pytest.mark.parametrize(("dtype", "value"), [(np.float32, 1e300), (np.float32, -1e39), (np.float16, 70000)])
def test_a_number_that_would_become_infinite_is_refused_by_name(dtype, value) -> None:
    net = nn.Linear(2, 1).astype(dtype)
    before = net.state_dict()
    with pytest.raises(ValueError, match=f"weight: numbers beyond the range of {np.dtype(dtype)} were given"):
        net.load_state_dict({"weight": [[1.0, value]], "bias": [0.0]})
    np.testing.assert_equal(net.state_dict(), before)


def test_what_is_infinite_stays_infinite() -> None:
    net = nn.Linear(2, 1)
    net.load_state_dict({"weight": [[np.inf, -np.inf]], "bias": [np.nan]})
    np.testing.assert_array_equal(net.weight.data, [[np.inf, -np.inf]])


def test_a_file_that_is_damaged_is_named_by_its_entry_and_nothing_is_loaded() -> None:
    net, buffer = nn.Linear(2, 1), io.BytesIO()
    before = net.state_dict()
    np.savez(buffer, weight=np.array([[7.0, 8.0]], np.float32), bias=np.zeros(1, np.float32))
    content = bytearray(buffer.getvalue())
    content[content.index(np.array([7.0, 8.0], np.float32).tobytes())] ^= 1
    with np.load(io.BytesIO(content)) as file, pytest.raises(ValueError, match="weight: Bad CRC-32"):
        net.load_state_dict(file)
    np.testing.assert_equal(net.state_dict(), before)


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((3000, 3000), np.float32), r"shape \(3000, 3000\) was given; expected \(1, 2\)"),
        (np.zeros((1, 2), "<U2000000"), "dtype <U2000000 was given; expected float32"),
        (np.array([[None, None]]), "dtype object was given; expected float32"),
    ],
    ids=["shape", "dtype", "pickled"],
)
def test_an_array_in_a_file_that_does_not_fit_is_not_read(array, word) -> None:
    net, buffer = nn.Linear(2, 1), io.BytesIO()
    np.savez_compressed(buffer, weight=array, bias=np.zeros(1, np.float32))
    with np.load(io.BytesIO(buffer.getvalue())) as file:
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"weight: {word}"):
            net.load_state_dict(file)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


def test_a_model_is_in_evaluation_mode_for_one_thread_alone() -> None:
    net = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2).eval())
    with evaluation_mode(), ThreadPoolExecutor(1) as other:
        assert [module.training for module in net.modules()] == [False] * 3
        seen = other.submit(lambda: [module.training for module in net.modules()]).result()
    assert seen == [module.training for module in net.modules()] == [True, True, False]


def test_the_mode_of_a_copy_is_that_of_the_module_itself() -> None:
    net = nn.Dropout()
    with evaluation_mode():
        twins = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    assert [twin.training for twin in twins] == [True, True]


def test_where_a_buffer_is_read_only_nothing_is_loaded() -> None:
    net = small_model()
    net[1].running_var.flags.writeable = False
    before = net.state_dict()
    with pytest.raises(ValueError, match=r"1\.running_var: the buffer is a read-only array"):
        net.load_state_dict({name: value + 1 for name, value in before.items()})
    np.testing.assert_equal(net.state_dict(), before)


def test_one_error_lists_everything_that_does_not_fit_and_nothing_is_loaded() -> None:
    net = small_model()
    before = net.state_dict()
    state = {
        "0.weight": np.zeros((3, 2)),
        "0.bias": ["a", "b"],
        "1.running_mean": np.full(2, 5.0),
        "1.num_batches_tracked": np.float64(3.5),
        "2.weight": np.zeros(1),
    }
    with pytest.raises(ValueError, match="does not fit this Sequential") as caught:
        net.load_state_dict(state)
    assert str(caught.value).splitlines()[1:] == [
        "  - missing: 1.weight of shape (2,)",
        "  - missing: 1.bias of shape (2,)",
        "  - missing: 1.running_var of shape (2,)",
        "  - unexpected: 2.weight",
        "  - 0.weight: shape (3, 2) was given; expected (2, 3)",
        "  - 0.bias: dtype <U1 was given; expected float32",
        "  - 1.num_batches_tracked: dtype float64 was given; expected int64",
    ]
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_without_strict_the_rest_is_loaded_and_the_others_are_returned() -> None:
    net = small_model()
    result = net.load_state_dict({"0.bias": np.full(2, 4.0), "other": 1}, strict=False)
    assert result.missing_keys == [name for name in NAMES if name != "0.bias"]
    assert result.unexpected_keys == ["other"]
    np.testing.assert_array_equal(net[0].bias.data, [4, 4])


def test_the_path_of_a_file_is_no_state_dict() -> None:
    with pytest.raises(TypeError, match=r"a str was given; a file is loaded by model\.load\(path\)"):
        small_model().load_state_dict("model.npz")  # type: ignore[arg-type]


def test_a_wrong_shape_is_an_error_without_strict_too() -> None:
    with pytest.raises(ValueError, match=r"0\.bias: shape \(3,\) was given; expected \(2,\)"):
        small_model().load_state_dict({"0.bias": np.zeros(3)}, strict=False)


@pytest.mark.peers
def test_weights_move_to_pytorch_and_back(torch, rng: np.random.Generator) -> None:
    ours = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.LayerNorm(3), nn.Linear(3, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 3),
        torch.nn.BatchNorm1d(3),
        torch.nn.ReLU(),
        torch.nn.LayerNorm(3),
        torch.nn.Linear(3, 2),
    )
    x = rng.standard_normal((6, 4)).astype(np.float32)
    ours(x)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    expected = ours.eval()(x).data
    np.testing.assert_allclose(
        theirs.eval()(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-6
    )
    fresh = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.LayerNorm(3), nn.Linear(3, 2))
    fresh.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(fresh.eval()(x).data, expected)


@pytest.mark.peers
def test_a_pytorch_parameter_that_wants_a_gradient_is_an_error_that_names_it(torch) -> None:
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match="weight: "):
        nn.Linear(3, 2).load_state_dict(dict(layer.named_parameters()))


# ---- as text ----------------------------------------------------------------------------------------------


def test_a_layer_shows_shapes_and_the_number_of_its_parameters() -> None:
    assert repr(nn.Linear(3, 2)) == "Linear(3, 2)  # weight (2, 3), bias (2,): 8 parameters"
    assert repr(nn.Linear(3, 2, bias=False)) == "Linear(3, 2, bias=False)  # weight (2, 3): 6 parameters"
    assert repr(nn.ReLU()) == "ReLU()"


def test_a_model_is_a_tree_with_a_total() -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(784, 64), nn.BatchNorm1d(64)), nn.Linear(64, 10)
    )
    assert repr(model).splitlines() == [
        "Sequential(",
        "  (0): Flatten(start_dim=1, end_dim=-1)",
        "  (1): Sequential(",
        "    (0): Linear(784, 64)                 # weight (64, 784), bias (64,): 50,240",
        "    (1): BatchNorm1d(64)                 # weight (64,), bias (64,): 128",
        "  )",
        "  (2): Linear(64, 10)                    # weight (10, 64), bias (10,): 650",
        ")                                        # 51,018 parameters",
    ]


def test_shared_and_frozen_parameters_are_counted_rightly() -> None:
    layer = nn.Linear(2, 2)
    assert repr(nn.Sequential(layer, layer)).endswith("# 6 parameters")
    layer.bias.requires_grad_(False)
    assert repr(nn.Sequential(layer)).endswith("# 6 parameters, 4 of them trained")


def test_parameters_beside_modules_stand_at_the_head() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(np.ones(3))
            self.act = nn.Tanh()

    assert repr(Model()).splitlines() == [
        "Model(           # scale (3,): 3",
        "  (act): Tanh()",
        ")                # 3 parameters",
    ]


def test_an_empty_model_has_no_parameters_to_show() -> None:
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.Sequential(nn.ReLU())).splitlines()[-1].endswith("# 0 parameters")


def test_each_module_shows_how_it_was_made() -> None:
    modules = [
        nn.BatchNorm1d(4, momentum=None, affine=False), nn.BatchNorm1d(4, eps=0.1, track_running_stats=False),
        nn.LayerNorm(3, elementwise_affine=False), nn.LayerNorm((2, 3), eps=0.1, elementwise_affine=False),
        nn.Dropout(0.2), nn.LeakyReLU(0.1), nn.GELU("tanh"), nn.Softmax(1), nn.LogSoftmax(dim=-1),
        nn.Identity(),
        nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum"), nn.MSELoss(), nn.NLLLoss(reduction="none"),
    ]  # fmt: skip
    assert [repr(module).split("  #")[0] for module in modules] == [
        "BatchNorm1d(4, momentum=None, affine=False)", "BatchNorm1d(4, eps=0.1, track_running_stats=False)",
        "LayerNorm((3,), elementwise_affine=False)", "LayerNorm((2, 3), eps=0.1, elementwise_affine=False)",
        "Dropout(p=0.2)", "LeakyReLU(negative_slope=0.1)", "GELU(approximate='tanh')", "Softmax(dim=1)",
        "LogSoftmax(dim=-1)", "Identity()",
        "CrossEntropyLoss(reduction='sum', label_smoothing=0.1)", "MSELoss()", "NLLLoss(reduction='none')",
    ]  # fmt: skip


# ---- errors say where in the model they arose -------------------------------------------------------------


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
    [KeyError("key"), OSError(2, "no such file"), ValueError()],
    ids=repr,
)
def test_an_error_whose_message_cannot_be_changed_gets_one_note(error: Exception) -> None:
    before = str(error)
    with pytest.raises(type(error)):
        nn.Sequential(nn.Sequential(Raises(error)))(1)
    assert str(error) == before
    assert error.__notes__ == ["in 0.0 (Raises)"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((3, 2), "axis 3 is out of bounds for array of dimension 2"),
        ((3, 2, "stack"), "stack: axis 3 is out of bounds for array of dimension 2"),
        (("no such axis",), "no such axis"),
    ],
)
def test_an_error_of_an_axis_names_the_module(given: tuple[Any, ...], message: str) -> None:
    error = np.exceptions.AxisError(*given)
    with pytest.raises(np.exceptions.AxisError):
        nn.Sequential(nn.Sequential(Raises(error)))(1)
    assert str(error) == str(pickle.loads(pickle.dumps(error))) == f"0.0 (Raises): {message}"
    assert not hasattr(error, "__notes__")


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
            object.__setattr__(self, "layers", [nn.Linear(2, 2)])  # on purpose

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
    with pytest.raises(ValueError, match="wrong") as caught:
        Raises(ValueError("wrong"))(1)
    assert str(pickle.loads(pickle.dumps(caught.value))) == "Raises: wrong"


def test_a_module_used_twice_is_named_where_it_first_stands() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match=r"^0 \(Linear\): input of shape \(1, 3\)"):
        nn.Sequential(layer, layer)(np.ones((1, 2), np.float32))


# ---- errors of constructors and of what is no array ------------------------------------------------------

LAYERS: dict[str, tuple[Any, ...]] = {
    "Conv1d": (3, 8, 3), "Conv2d": (3, 8, 3), "ConvTranspose2d": (3, 8, 3),
    "MaxPool2d": (2,), "AvgPool2d": (2,), "AdaptiveAvgPool2d": (2,), "Upsample": (2,),
    "Linear": (3, 2), "Embedding": (3, 2), "BatchNorm1d": (3,), "BatchNorm2d": (3,),
    "LayerNorm": (3,), "GroupNorm": (1, 3), "RMSNorm": (3,),
    "Dropout": (), "Dropout2d": (), "Flatten": (), "Unflatten": (1, (1, 3)),
    "ReLU": (), "LeakyReLU": (), "ELU": (), "SiLU": (), "GELU": (),
    "Softplus": (), "Hardtanh": (), "Tanh": (), "Sigmoid": (),
    "Softmax": (1,), "LogSoftmax": (1,),
}  # fmt: skip


def test_every_layer_names_itself_where_a_call_of_it_does_not_fit() -> None:
    for name in nn.__all__:
        layer = getattr(nn, name)
        if isinstance(layer, type) and issubclass(layer, nn.Module) and name not in ("Module", "Identity"):
            for option, advice in (("device", "; leave it out: all Tensors are on the CPU"), ("other", "")):
                with pytest.raises(TypeError) as caught:
                    layer(*LAYERS.get(name, ()), **{option: "cuda"})
                assert str(caught.value) == (
                    f"{name}() got an unexpected keyword argument '{option}'{advice}"
                )


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_says_that_its_input_is_no_array(name: str, training: bool) -> None:
    layer = getattr(nn, name)(*LAYERS[name]).train(training)
    for given, said in ((None, "None"), ("abc", "'abc'"), ({}, "a dict")):
        with pytest.raises(TypeError, match=rf"^0 \({name}\): {said} was given as input; expected a Tensor"):
            nn.Sequential(layer)(given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 8), r"Conv2d\(\) missing 1 required positional argument: 'kernel_size'"),
        (lambda: nn.ReLU(inplace=True), r"ReLU\(\) .* 'inplace'; leave it out"),
        (lambda: nn.MSELoss(reduce=False), r"MSELoss\(\) .* 'reduce'; write reduction="),
        (lambda: nn.Conv2d(3, 8, 3, padding="sme"), r"Conv2d: padding='sme' .* expected 'same', 'valid'"),
        (lambda: nn.Conv2d(3, 8, 3, padding=(1, (1, 2))), r"Conv2d\(3, 8, 3\) with padding=.* or pairs"),
        (lambda: nn.MaxPool2d(0), r"MaxPool2d: kernel_size=0 was given; expected 1 or more"),
        (lambda: nn.MaxPool2d(2, stride=0), r"MaxPool2d: stride=0 was given"),
        (lambda: nn.AvgPool2d(2, padding=2), r"AvgPool2d: padding=2 was given with kernel_size=2"),
        (lambda: nn.AvgPool2d(2, divisor_override=0), r"AvgPool2d: divisor_override=0 was given"),
        (lambda: nn.AdaptiveAvgPool2d(0), r"AdaptiveAvgPool2d: output_size=0 was given; expected 1 or more"),
        (lambda: nn.Upsample(), r"Upsample: expected either size or scale_factor"),
        (lambda: nn.Upsample(scale_factor=-1), r"Upsample: scale_factor=-1 was given"),
        (lambda: nn.Upsample(2, mode="linear"), r"Upsample: mode='linear' was given; expected one of"),
        (lambda: nn.Dropout2d(2), r"Dropout2d\(2\) was asked for"),
        (lambda: nn.Flatten(1.5), r"Flatten\(1.5, -1\) was asked for; expected integers"),
        (lambda: nn.Sequential(nn.Flatten(6))(np.ones(3)), r"0 \(Flatten\): axis 6 is out of bounds"),
        (
            lambda: nn.MaxPool2d(3)(np.ones((1, 1, 2, 2))),
            r"MaxPool2d: .* images of 2 x 2: the output would be 0 x 0",
        ),
    ],
)
def test_an_error_of_a_constructor_names_the_layer(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        make()


def test_an_error_of_a_layers_constructor_names_the_class_that_was_derived_from_it() -> None:
    class Pool(nn.MaxPool2d):
        def __init__(self) -> None:
            super().__init__(0)

    with pytest.raises(ValueError, match=r"^Pool: kernel_size=0"):
        Pool()
