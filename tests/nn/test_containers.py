import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_mnist import Tensor, nn


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


# ---- a Sequential as a list ------------------------------------------------------------------------------


def names(container: nn.Module) -> list[str]:
    return [name for name, _ in container.named_children()]


def test_insert_and_delete_number_the_later_ones_anew() -> None:
    first, second, third = layers = [nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 2)]
    model = nn.Sequential(first, third)
    assert model.insert(1, second) is model
    assert (list(model), names(model)) == (layers, ["0", "1", "2"])
    assert third.weight.name == "2.weight"
    del model[0]
    assert (list(model), list(model.state_dict())) == ([second, third], ["1.weight", "1.bias"])
    assert third.weight.name == "1.weight"
    model.insert(-1, first).insert(3, nn.Tanh())
    assert list(model)[:3] == [second, first, third]
    assert model.pop() is not third
    assert model.pop(-1) is third
    del model[:]
    assert len(model) == 0


def test_names_of_their_own_stay() -> None:
    model = nn.Sequential(OrderedDict(first=nn.ReLU(), last=nn.Tanh()))
    model.insert(1, nn.Sigmoid())
    assert names(model) == ["first", "1", "last"]
    del model[0]
    assert names(model) == ["0", "last"]
    model += [nn.ReLU()]
    assert names(model) == ["0", "last", "1"]


def test_extend_adds_all_or_nothing() -> None:
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(TypeError, match="given a int; expected modules"):
        model.extend([nn.Tanh(), 3])
    assert len(model) == 1
    model.extend(model)
    assert len(model) == 2
    assert (model + model)(np.float32(-1)) == 0


def test_a_pop_of_a_slice_returns_it() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
    removed = model.pop(slice(0, 2))
    assert [type(module).__name__ for module in removed] == ["ReLU", "Tanh"]
    assert names(model) == ["0"]


# ---- lists -----------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Dropout(0.5)])
        self.heads = nn.ModuleDict({"digit": nn.Linear(2, 3), "parity": nn.Linear(2, 1, bias=False)})
        self.scales = nn.ParameterList([np.ones(2, np.float32), nn.Parameter(np.ones(1))])
        self.shifts = nn.ParameterDict({"x": np.zeros(2, np.float32)})

    def forward(self, x):
        for layer in self.layers:
            x = layer(x) * self.scales[0] + self.shifts["x"]
        return self.heads["digit"](x)


NAMES = [
    "layers.0.weight", "layers.0.bias", "heads.digit.weight", "heads.digit.bias", "heads.parity.weight",
    "scales.0", "scales.1", "shifts.x",
]  # fmt: skip


def test_what_is_in_them_is_registered_under_pytorchs_names() -> None:
    net = Net()
    assert list(net.state_dict()) == NAMES
    assert [parameter.name for parameter in net.parameters()] == NAMES
    assert not net.eval().layers[1].training
    twin = copy.deepcopy(net)
    twin.load_state_dict(net.state_dict())
    net(np.ones((1, 2), np.float32)).sum().backward()
    assert net.scales[0].grad is not None
    assert net.shifts["x"].grad is not None
    assert pickle.loads(pickle.dumps(net)).layers[0].weight.name == "layers.0.weight"


def test_the_graph_and_an_error_name_what_is_in_them() -> None:
    net = Net()
    graph = net.graph(np.ones((1, 2), np.float32))
    assert "model/layers/0/weight" in [node.id for node in graph.nodes]
    with pytest.raises(ValueError, match=r"^layers\.0 \(Linear\): input of shape \(1, 3\)"):
        net(np.ones((1, 3), np.float32))


def test_the_text_shows_them() -> None:
    assert repr(Net()).splitlines() == [
        "Net(",
        "  (layers): ModuleList(",
        "    (0): Linear(2, 2)                   # weight (2, 2), bias (2,): 6",
        "    (1): Dropout(p=0.5)",
        "  )",
        "  (heads): ModuleDict(",
        "    (digit): Linear(2, 3)               # weight (3, 2), bias (3,): 9",
        "    (parity): Linear(2, 1, bias=False)  # weight (1, 2): 2",
        "  )",
        "  (scales): ParameterList()             # 0 (2,), 1 (1,): 3",
        "  (shifts): ParameterDict()             # x (2,): 2",
        ")                                       # 22 parameters",
    ]


LISTS = [(nn.ModuleList, nn.Identity), (nn.ParameterList, lambda: nn.Parameter(np.ones(2)))]
every_list = pytest.mark.parametrize(("kind", "member"), LISTS, ids=["modules", "parameters"])


@every_list
@given(data=st.data())
def test_a_list_does_what_a_plain_list_does(kind, member, data) -> None:
    ours, plain = kind(), []
    for _ in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(["append", "extend", "insert", "pop", "set", "del", "cut", "add"]))
        index = data.draw(st.integers(-len(plain), max(len(plain) - 1, 0)))
        new = member()
        if step in ("append", "insert", "extend", "add") or not plain:
            few = [member(), new]
            if step == "insert":
                ours.insert(index, new)
                plain.insert(index, new)
            elif step == "add":
                ours += few
                plain += few
            else:
                assert (ours.append(new) if step == "append" else ours.extend(few)) is ours
                plain.extend([new] if step == "append" else few)
        elif step == "pop":
            assert ours.pop(index) is plain.pop(index)
        elif step == "set":
            ours[index] = plain[index] = new
        elif step == "del":
            del ours[index], plain[index]
        else:
            cut = data.draw(st.slices(len(plain)))
            assert list(map(id, ours[cut])) == list(map(id, plain[cut]))
            assert type(ours[cut]) is kind
            del ours[cut], plain[cut]
        assert list(map(id, ours)) == list(map(id, plain))
        assert list(ours._registered) == [str(i) for i in range(len(plain))]
        assert (new in ours) == any(new is one for one in plain)
        whole = ours + [new]  # noqa: RUF005
        assert list(map(id, whole)) == list(map(id, [*plain, new]))


@every_list
def test_positions_that_do_not_exist_are_index_errors(kind, member) -> None:
    members = kind([member(), member()])
    for wrong in (2, -3):
        for attempt in (
            lambda at: members[at],
            lambda at: members.__setitem__(at, member()),
            lambda at: members.__delitem__(at),
            members.pop,
        ):
            with pytest.raises(
                IndexError, match=f"index {wrong} is out of range: this {kind.__name__} has 2 members"
            ):
                attempt(wrong)
    with pytest.raises(IndexError, match="index 3 is out of range"):
        members.insert(3, member())
    with pytest.raises(IndexError):
        kind().pop()
    assert len(members) == 2


@every_list
@pytest.mark.parametrize("given", [3, "ab", {"a": 1}, [3], [None], np.ones(2)], ids=repr)
def test_what_is_no_member_is_refused(kind, member, given) -> None:
    members = kind([member()])
    with pytest.raises(TypeError, match=f"{kind.__name__} was given"):
        members.extend(given)
    assert len(members) == 1


def test_a_slice_of_a_list_leaves_the_names_in_the_model_alone() -> None:
    net = Net()
    net.layers.append(nn.Linear(2, 2))
    part = net.layers[1:] + [nn.ReLU()]  # noqa: RUF005
    assert list(part.state_dict()) == ["1.weight", "1.bias"]
    assert net.layers[2].weight.name == "layers.2.weight"


@pytest.mark.parametrize("kind", [nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict])
def test_a_container_is_not_called(kind) -> None:
    with pytest.raises(NotImplementedError, match=f"a {kind.__name__} computes nothing itself"):
        kind()(1)


# ---- dicts -----------------------------------------------------------------------------------------------


DICTS = [(nn.ModuleDict, nn.Identity), (nn.ParameterDict, lambda: nn.Parameter(np.ones(2)))]
every_dict = pytest.mark.parametrize(("kind", "member"), DICTS, ids=["modules", "parameters"])


@every_dict
def test_a_dict_does_what_a_plain_dict_does(kind, member) -> None:
    plain = {"b": member(), "a": member()}
    ours = kind(plain)
    new = member()
    for each in (ours, plain):
        each["c"] = new
        each.update({"a": new})
        each.update([("d", new), ["b", new]])
        assert each.pop("c") is new
        del each["d"]
    assert list(ours) == list(ours.keys()) == list(plain)
    assert list(map(id, ours.values())) == list(map(id, plain.values()))
    assert [(name, id(value)) for name, value in ours.items()] == [(n, id(v)) for n, v in plain.items()]
    assert len(ours) == 2
    assert "a" in ours
    assert "training" not in ours
    for missing in ("z", "training", 3):
        with pytest.raises(KeyError):
            ours[missing]
        with pytest.raises(KeyError):
            ours.pop(missing)
        with pytest.raises(KeyError):
            del ours[missing]
    ours.clear()
    assert not list(ours.parameters())


@every_dict
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, TypeError, "was given a int; expected a dict"),
        ("ab", TypeError, "was given a str; expected a dict"),
        ([3], TypeError, "was given a int as element 0; expected a pair"),
        ({"c": 3}, TypeError, "was given a int; expected"),
        ({3: None}, TypeError, "3 cannot be the name of a .*: a name is a string"),
        ({"a.b": None}, ValueError, "'a.b' cannot be the name"),
        ({"": None}, ValueError, "must not be empty"),
        ({"pop": None}, ValueError, "'pop' cannot be the name of a .* has a method of that name"),
        ({"eval": None}, ValueError, "every Module has an attribute of that name"),
    ],
)
def test_what_does_not_belong_in_a_dict_is_refused_before_anything_is_added(
    kind, member, given, error, message
) -> None:
    members = kind({"a": member()})
    if isinstance(given, dict):
        given = {"new": member(), **{name: value or member() for name, value in given.items()}}
    with pytest.raises(error, match=message):
        members.update(given)
    assert list(members) == ["a"]


def test_a_dict_of_parameters_has_the_rest_of_pytorchs_methods() -> None:
    values = nn.ParameterDict({"a": np.ones(2), "b": Tensor(np.zeros(1))})
    assert values.get("a") is values["a"]
    assert values.get("z") is None
    assert values.setdefault("a", np.zeros(1)) is values["a"]
    assert values.setdefault("c", np.zeros(1)) is values["c"]
    assert list(reversed(values)) == ["c", "b", "a"]
    other = values.copy()
    assert other.popitem()[0] == "c"
    assert list(values | {"d": np.ones(1)}) == ["a", "b", "c", "d"]
    assert list({"d": np.ones(1)} | values) == ["d", "a", "b", "c"]
    other |= {"e": np.ones(1)}
    assert list(other) == ["a", "b", "e"]
    filled = values.fromkeys(["x", "y"], np.ones(2, np.float32))
    assert filled["x"].dtype == np.float32
    assert not np.shares_memory(filled["x"].data, filled["y"].data)
    with pytest.raises(KeyError, match="empty"):
        nn.ParameterDict().popitem()


@pytest.mark.parametrize("value", [np.ones(2, int), Tensor(np.ones(2, int))], ids=["array", "tensor"])
def test_parameters_are_made_of_floats_only(value) -> None:
    with pytest.raises(TypeError, match="int64"):
        nn.ParameterList([value])


@pytest.mark.parametrize(
    "make", [lambda m: nn.ModuleList([m]), nn.Sequential, lambda m: nn.ModuleDict({"a": m})]
)
def test_a_class_instead_of_a_module_is_said(make) -> None:
    with pytest.raises(TypeError, match=r"given the class ReLU; expected modules, as ReLU\(\) makes one"):
        make(nn.ReLU)


@pytest.mark.parametrize("base", [nn.ModuleList, nn.Sequential])
def test_a_part_of_a_subclass_is_one_with_its_attributes(base) -> None:
    class Stack(base):
        def __init__(self, depth: int) -> None:
            modules = [nn.Linear(1, 1) for _ in range(depth)]
            super().__init__(*([modules] if base is nn.ModuleList else modules))
            self.depth = depth

    stack = Stack(3).eval()
    part = stack[1:]
    assert (type(part), len(part), part.depth, part.training) == (Stack, 2, 3, False)
    assert part[0] is stack[1]
    assert stack[2].weight.name == "2.weight"
    del part[0]
    assert len(stack) == 3


def change_containers(nn, ones) -> list[list[str]]:
    """Change containers in all ways that ours and PyTorch's have; return the names after each change."""
    found = []

    def note(container) -> None:
        found.append(list(container.state_dict()))

    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    note(model[1:])
    model.insert(1, nn.LayerNorm(2))
    model.append(nn.Linear(2, 1)).extend([nn.Linear(1, 1)])
    note(model)
    model.pop(0)
    del model[1]
    model += nn.Sequential(nn.Linear(3, 3))
    model[0] = nn.Linear(4, 4)
    note(model)
    note(model + nn.Sequential(nn.Linear(5, 5)))

    layers = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1, bias=False)])
    layers.insert(0, nn.LayerNorm(1))
    layers += [nn.ReLU(), nn.Linear(1, 1)]
    note(layers)
    note(layers[-2:])
    layers.pop(1)
    del layers[:2]
    note(layers + [nn.Linear(1, 1)])  # noqa: RUF005

    heads = nn.ModuleDict([["b", nn.Linear(1, 1)], ["a", nn.Linear(1, 1)]])
    heads.update({"c": nn.Linear(1, 1, bias=False), "b": nn.Linear(1, 1, bias=False)})
    heads.pop("a")
    note(heads)

    scales = nn.ParameterList([ones(1), ones(2)])
    scales.append(ones(1)).extend([ones(3)])
    scales += [ones(1)]
    note(scales)
    note(scales[1:3])

    shifts = nn.ParameterDict({"a": ones(1), "b": ones(1)})
    shifts.setdefault("d", ones(1))
    shifts["c"] = ones(1)
    shifts.popitem()
    note(shifts | {"e": ones(1)})
    return found


# By PyTorch 2.13.
RECORDED = [
    "2.weight",
    "0.weight 0.bias 1.weight 1.bias 3.weight 4.weight 4.bias 5.weight 5.bias",
    "0.weight 0.bias 1.weight 2.weight 2.bias 3.weight 3.bias 4.weight 4.bias",
    "0.weight 0.bias 1.weight 2.weight 2.bias 3.weight 3.bias 4.weight 4.bias 5.weight 5.bias",
    "0.weight 0.bias 1.weight 1.bias 2.weight 4.weight 4.bias",
    "1.weight 1.bias",
    "1.weight 1.bias 2.weight 2.bias",
    "b.weight c.weight",
    "0 1 2 3 4",
    "0 1",
    "a b d e",
]


@pytest.mark.peers
def test_the_names_after_changes_are_pytorchs(torch) -> None:
    assert change_containers(nn, np.ones) == change_containers(torch.nn, torch.ones)


def test_the_names_after_changes_are_those_that_pytorch_gave() -> None:
    assert [" ".join(names) for names in change_containers(nn, np.ones)] == RECORDED


def test_a_module_cannot_be_in_itself() -> None:
    layers, outer = nn.ModuleList(), nn.Sequential(nn.ReLU())
    layers.append(outer)
    with pytest.raises(ValueError, match="this ModuleList was given a ModuleList that is, or holds, it"):
        layers.insert(0, layers)
    with pytest.raises(ValueError, match="this Sequential was given a ModuleList"):
        outer.append(layers)
    assert repr(outer).count("ReLU") == 1
    assert len(list(layers.modules())) == 3
