"""Parameter groups, options, state dicts and their errors."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.optim.test_flat_parameters import every_kind, give_gradients, make, parameters_of
from tinygrad_mnist import Tensor, nn, no_grad, optim
from tinygrad_mnist.optim.flat_parameters import Block
from tinygrad_mnist.optim.optimizer import OptionChecks, require_nonnegative


def parameter() -> Tensor:
    return Tensor(np.ones(3), requires_grad=True)


# Groups.


@every_kind
def test_a_group_has_its_own_options(kind: str) -> None:
    grouped, alone = parameters_of([(2, 3), (3,), (4,)]), parameters_of([(2, 3), (3,), (4,)])
    optimizer = make(kind, [{"params": grouped[:2]}, {"params": grouped[2], "lr": 0.5}])
    single = [make(kind, alone[:2]), make(kind, alone[2:], lr=0.5)]
    for seed in range(3):
        give_gradients(grouped, seed)
        give_gradients(alone, seed)
        for each in (optimizer, *single):
            each.step()
    assert all(np.array_equal(a.data, b.data) for a, b in zip(grouped, alone, strict=True))


def test_a_group_may_come_later() -> None:
    first, second = parameter(), parameter()
    optimizer = optim.SGD([first], lr=1.0)
    optimizer.add_param_group({"params": [second], "lr": 2.0})
    first.grad = second.grad = Tensor(np.ones(3))
    optimizer.step()
    assert (first.data[0], second.data[0]) == (0.0, -1.0)


def test_an_option_may_be_changed_between_steps() -> None:
    (weight,) = parameters = [parameter()]
    optimizer = optim.SGD(parameters, lr=1.0)
    optimizer.param_groups[0]["lr"] = 0.25
    weight.grad = Tensor(np.ones(3))
    optimizer.step()
    assert weight.data[0] == 0.75


def test_zero_grad_sets_none() -> None:
    weight = parameter()
    weight.grad = Tensor(np.ones(3))
    optim.SGD([weight]).zero_grad()
    assert weight.grad is None


@pytest.mark.parametrize("owner", [lambda layer: optim.SGD(layer.parameters()), lambda layer: layer])
def test_zero_grad_sets_zeros_where_there_is_a_gradient(owner: Any) -> None:
    layer = nn.Linear(2, 3)
    layer.weight.grad = Tensor(np.ones((3, 2), np.float32))
    kept = layer.weight.grad.data
    owner(layer).zero_grad(set_to_none=False)
    assert layer.weight.grad.dtype == np.float32
    np.testing.assert_array_equal(layer.weight.grad.data, np.zeros((3, 2)))
    assert layer.bias is not None
    assert layer.bias.grad is None
    np.testing.assert_array_equal(kept, np.ones((3, 2)))


# The step with a closure.


@every_kind
@pytest.mark.parametrize("around", [contextlib.nullcontext, no_grad])
def test_a_closure_computes_the_gradients_of_the_step(kind: str, around: Any) -> None:
    ours, others = parameters_of([(3,)]), parameters_of([(3,)])
    optimizer, plain = make(kind, ours), make(kind, others)

    def loss_of(parameters: list[Tensor], optimizer: optim.Optimizer) -> Tensor:
        optimizer.zero_grad()
        loss = np.sum(parameters[0] ** 2)
        loss.backward()
        return loss

    for _ in range(3):
        with around():
            loss = optimizer.step(lambda: loss_of(ours, optimizer))
        expected = loss_of(others, plain)
        assert plain.step() is None
        assert loss.item() == expected.item()
    np.testing.assert_array_equal(ours[0].data, others[0].data)


def test_a_closure_that_raises_changes_nothing() -> None:
    (weight,) = parameters = [parameter()]
    weight.grad = Tensor(np.ones(3))
    with pytest.raises(ZeroDivisionError), no_grad():
        optim.SGD(parameters).step(lambda: 1 / 0)
    np.testing.assert_array_equal(weight.data, np.ones(3))
    assert not (weight * 2).is_leaf  # recording is as it was


def test_a_loss_in_the_place_of_a_closure_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"step was given a Tensor; .*After loss.backward\(\), call step\(\)"):
        optim.SGD([parameter()]).step(Tensor(1.0))  # type: ignore[arg-type]


# Small and large numbers.


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("Adam", {}),
        ("Adam", {"amsgrad": True}),
        ("AdamW", {}),
        ("RMSprop", {}),
        ("RMSprop", {"centered": True, "momentum": 0.9}),
        ("SGD", {"momentum": 0.9}),
    ],
)
@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-4, 10.0, 6e4])
def test_parameters_of_float16_are_computed_on_in_float32(
    kind: str, options: dict[str, Any], size: float
) -> None:
    start = np.array([1.0, -2.0, 0.5, 0.0], np.float16)
    half, single = Tensor(start, requires_grad=True), Tensor(start.astype(np.float32), requires_grad=True)
    optimizers = [getattr(optim, kind)([one], lr=1e-3, **options) for one in (half, single)]
    for _ in range(3):
        before = single.data.copy()
        half.data[...] = before  # what is stored is rounded; compared is one step from the same place
        single.data[...] = half.data
        for one, optimizer in zip((half, single), optimizers, strict=True):
            one.grad = Tensor(np.full(4, size, np.float16))
            optimizer.step()
        np.testing.assert_array_equal(half.data, single.data.astype(np.float16))
    state, expected = (optimizer.state_dict()["state"] for optimizer in optimizers)
    np.testing.assert_equal(state, expected)


def test_a_state_in_float16_of_before_is_gone_on_with() -> None:
    (half,) = parameters = parameters_of([(3,)], dtype=np.float16)
    optimizer = optim.Adam(parameters)
    half.grad = Tensor(np.ones(3, np.float16))
    optimizer.step()
    state = optimizer.state_dict()
    for name in ("exp_avg", "exp_avg_sq"):
        state["state"][0][name] = state["state"][0][name].astype(np.float16)
    optimizer.load_state_dict(state)
    optimizer.step()
    assert np.isfinite(half.data).all()
    assert optimizer.state_dict()["state"][0]["exp_avg"].dtype == np.float32


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_a_state_that_was_saved_without_the_later_options_is_loaded(name: str) -> None:
    _, optimizer = trained(name)
    state = optimizer.state_dict()
    for option in ("maximize", "amsgrad"):
        state["param_groups"][0].pop(option, None)
    other = make(name, parameters_of([(2, 3), (3,), (4,)]), maximize=True)
    other.load_state_dict(state)
    assert other.param_groups[0]["maximize"] is False
    np.testing.assert_equal(other.state_dict(), optimizer.state_dict())


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSprop"])
def test_a_large_gradient_does_not_overflow_before_its_mean_square_does(kind: str) -> None:
    """In PyTorch, too, each of 200 steps of 0.1 is as long for a gradient of 1e19 as for one of 1."""
    moved = {}
    for size in (1.0, 1e19):
        weight = Tensor(np.zeros(1, np.float32), requires_grad=True)
        optimizer = getattr(optim, kind)([weight], lr=0.1)
        weight.grad = Tensor(np.full(1, size, np.float32))
        for _ in range(200):
            optimizer.step()
        moved[size] = weight.data.item()
    assert moved[1e19] == pytest.approx(moved[1.0], rel=1e-4)
    assert moved[1.0] < -18


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_with_amsgrad_a_shrinking_mean_square_makes_no_step_longer(kind: str) -> None:
    lengths = {}
    for amsgrad in (False, True):
        weight = Tensor(np.zeros(1), requires_grad=True)
        optimizer = getattr(optim, kind)([weight], betas=(0.0, 0.5), amsgrad=amsgrad, weight_decay=0.0)
        lengths[amsgrad] = []
        for size in (100.0, *[1.0] * 60):
            before = weight.data.item()
            weight.grad = Tensor(np.array([size]))
            optimizer.step()
            lengths[amsgrad].append(abs(weight.data.item() - before))
    assert lengths[False][-1] == pytest.approx(1e-3, rel=1e-3)  # the large gradient is forgotten
    assert lengths[True][-1] < 2e-5


def test_the_repr_shows_what_and_how() -> None:
    optimizer = optim.SGD(
        [{"params": parameters_of([(300, 5), (5,)]), "name": "body"}, {"params": parameter(), "lr": 0.5}]
    )
    assert repr(optimizer) == (
        "SGD(\n"
        "  group body: 2 parameters, 1,505 values (float64): "
        "lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False\n"
        "  group 1: 1 parameter, 3 values (float64): "
        "lr=0.5, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False\n"
        ")"
    )


# Errors.

same = parameter()


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ([], ValueError, "params is empty"),
        (iter([]), ValueError, "params is empty"),
        ([{"params": []}], ValueError, "parameter group 0 has no parameters"),
        ([same, same], ValueError, "parameter 1 of parameter group 0 is given twice"),
        ([{"params": same}, {"params": same}], ValueError, "parameter 0 of parameter group 1 is given twice"),
        (same, TypeError, r"a single Tensor; give a list of them: \[parameter\]"),
        ({same}, TypeError, "a set, which has no order"),
        (nn.Sequential(nn.Linear(2, 2)), TypeError, "a Sequential; give its parameters: model.parameters"),
        ([same, np.ones(3)], TypeError, "parameter 1 of parameter group 0 is a ndarray, not a Tensor"),
        ([("weight", same)], TypeError, "parameter 0 of parameter group 0 is a tuple, not a Tensor"),
        ([{"params": same}, same], TypeError, "parameter group 1 must be a dict"),
        ([{"parameters": same}], ValueError, "parameter group 0 has no entry 'params'"),
        (
            [{"params": same, "learning_rate": 1}],
            ValueError,
            "unknown option 'learning_rate'; SGD knows 'lr'",
        ),
        ([Tensor(np.arange(3))], TypeError, "dtype int64; only floating-point"),
        ([{"params": same, "lr": -1}], ValueError, "lr must be finite and at least 0, not -1"),
    ],
)
def test_wrong_parameters_are_errors(params: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        optim.SGD(params)


def test_a_result_of_an_operation_is_an_error() -> None:
    with pytest.raises(ValueError, match="parameter 0 of parameter group 0 is the result of an operation"):
        optim.SGD([parameter() * 2.0])


def test_a_generator_is_accepted() -> None:
    assert len(optim.SGD(parameter() for _ in range(3)).param_groups[0]["params"]) == 3


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        ("SGD", {"lr": -0.1}, ValueError, "lr must be finite and at least 0, not -0.1"),
        ("SGD", {"lr": float("nan")}, ValueError, "lr must be finite"),
        ("SGD", {"lr": "fast"}, TypeError, "lr must be a number, not 'fast'"),
        ("SGD", {"lr": True}, TypeError, "lr must be a number, not True"),
        ("SGD", {"momentum": -1}, ValueError, "momentum must be"),
        ("SGD", {"weight_decay": -1}, ValueError, "weight_decay must be"),
        ("SGD", {"nesterov": 1}, TypeError, "nesterov must be True or False, not 1"),
        ("SGD", {"nesterov": True}, ValueError, "Nesterov momentum needs a momentum above 0"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "a dampening of 0"),
        ("RMSprop", {"alpha": 1.0}, ValueError, "alpha must be at least 0 and less than 1, not 1.0"),
        ("RMSprop", {"eps": -1.0}, ValueError, "eps must be"),
        (
            "Adam",
            {"betas": (0.9, 1.0)},
            ValueError,
            r"betas\[1\] must be at least 0 and less than 1, not 1.0",
        ),
        ("Adam", {"betas": (-0.1, 0.9)}, ValueError, r"betas\[0\] must be"),
        ("Adam", {"betas": 0.9}, TypeError, "betas must be 2 numbers, not 0.9"),
        ("AdamW", {"weight_decay": -1e-2}, ValueError, "weight_decay must be"),
    ],
)
def test_wrong_options_are_errors(
    kind: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        getattr(optim, kind)([parameter()], **options)


def test_a_wrong_group_leaves_the_optimizer_as_it_was() -> None:
    optimizer = optim.SGD([parameter()])
    with pytest.raises(ValueError, match="twice"):
        optimizer.add_param_group({"params": [same, same]})
    assert len(optimizer.param_groups) == 1
    optimizer.step()


def test_replaced_parameters_are_noticed() -> None:
    optimizer = optim.SGD([parameter()])
    optimizer.param_groups[0]["params"] = [parameter()]
    with pytest.raises(RuntimeError, match="use add_param_group"):
        optimizer.step()


# State dicts.


def trained(kind: str, dtype: Any = np.float64, steps: int = 3) -> tuple[list[Tensor], optim.Optimizer]:
    parameters = parameters_of([(2, 3), (3,), (4,)], dtype=dtype)
    optimizer = make(kind, parameters)
    for seed in range(steps):
        give_gradients(parameters, seed, [True, seed > 0, False])
        optimizer.step()
    return parameters, optimizer


@every_kind
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_loaded_state_is_gone_on_with_to_the_bit(kind: str, dtype: Any) -> None:
    parameters, optimizer = trained(kind, dtype)
    others = [Tensor(parameter.data.copy(), requires_grad=True) for parameter in parameters]
    other = type(optimizer)(others, lr=77.0)  # the options come with the state
    other.load_state_dict(optimizer.state_dict())
    for seed in range(5, 9):
        for members, each in ((parameters, optimizer), (others, other)):
            give_gradients(members, seed)
            each.step()
    for one, two in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(one.data, two.data)


@every_kind
def test_a_state_survives_being_loaded(kind: str) -> None:
    _, optimizer = trained(kind)
    state = optimizer.state_dict()
    other = make(kind, parameters_of([(2, 3), (3,), (4,)]))
    other.load_state_dict(state)
    np.testing.assert_equal(other.state_dict(), state)


@every_kind
def test_a_kept_state_stays_what_it_was(kind: str) -> None:
    _, optimizer = trained(kind)
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    other = make(kind, parameters_of([(2, 3), (3,), (4,)]))
    other.load_state_dict(state)
    for each in (optimizer, other):
        give_gradients(each.param_groups[0]["params"], 9)
        each.step()
    np.testing.assert_equal(state, before)


def test_an_optimizer_of_ones_own_needs_only_its_options_and_its_formula() -> None:
    class Sign(optim.Optimizer):
        option_checks: ClassVar[OptionChecks] = {"lr": require_nonnegative}
        state_names = ("momentum_buffer",)

        def __init__(self, params: Any, lr: float = 1.0) -> None:
            super().__init__(params, {"lr": lr})

        def _update(self, block: Block, options: dict[str, Any], progress: Any) -> Any:
            momentum = block.state("momentum_buffer")
            momentum += block.gradient
            block.values -= options["lr"] * np.sign(momentum)
            return (progress or 0) + 1

    with pytest.raises(ValueError, match="lr must be"):
        Sign([parameter()], lr=-1)
    (one,), (other,) = ones, others = parameters_of([(3,)]), parameters_of([(3,)])
    start, optimizer, resumed = one.data.copy(), Sign(ones), Sign(others)
    for gradient in ([3.0, -1.0, 2.0], [-1.0, 2.0, -4.0]):
        one.grad = Tensor(np.array(gradient))
        optimizer.step()
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.state_dict()["state"][0]["step"] == 2
    np.testing.assert_array_equal(one.data, start - [2, 0, 0])
    other.grad = Tensor(np.zeros(3))
    resumed.step()
    np.testing.assert_array_equal(other.data, start - [1, 1, -1])


def test_the_state_is_laid_out_as_in_torch() -> None:
    _, optimizer = trained("adam")
    optimizer.add_param_group({"params": [parameter()], "lr": 0.5})
    state = optimizer.state_dict()
    assert {index: list(entry) for index, entry in state["state"].items()} == {
        0: ["step", "exp_avg", "exp_avg_sq"],
        1: ["step", "exp_avg", "exp_avg_sq"],
    }
    assert [entry["step"] for entry in state["state"].values()] == [3, 2]
    assert state["state"][0]["exp_avg"].shape == (2, 3)
    assert [group["params"] for group in state["param_groups"]] == [[0, 1, 2], [3]]
    assert [group["lr"] for group in state["param_groups"]] == [1e-3, 0.5]


def test_adam_keeps_its_averages_when_a_beta_moves() -> None:
    (weight,) = parameters = [parameter()]
    optimizer = optim.Adam(parameters)
    m = v = 0.0
    for beta1, beta2, g in [(0.9, 0.99, 2.0), (0.5, 0.9, -1.0), (0.8, 0.999, 3.0)]:
        optimizer.param_groups[0]["betas"] = (beta1, beta2)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        weight.grad = Tensor(np.full(3, g))
        optimizer.step()
    entry = optimizer.state_dict()["state"][0]
    np.testing.assert_allclose([entry["exp_avg"][0], entry["exp_avg_sq"][0]], [m, v], rtol=1e-14)


def test_one_error_lists_every_mismatch() -> None:
    _, optimizer = trained("adam")
    state = optimizer.state_dict()
    state["state"][0]["exp_avg"] = np.zeros((3, 2))
    del state["state"][1]["exp_avg_sq"]
    state["state"][1]["max_avg_sq"] = np.zeros(3)
    state["state"][7] = {}
    state["param_groups"][0].update(amsgrad=True, colour="red", lr=-1.0)
    del state["param_groups"][0]["eps"]
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="the state does not fit this Adam") as raised:
        optimizer.load_state_dict(state)
    assert str(raised.value).splitlines()[1:] == [
        "  - parameter group 0 lacks 'eps'",
        "  - parameter group 0: lr must be finite and at least 0, not -1.0",
        "  - parameter group 0 has the unknown option 'colour'",
        "  - 'max_exp_avg_sq' of parameter 0 is missing",
        "  - 'exp_avg' of parameter 0 has shape (3, 2), the parameter (2, 3)",
        "  - 'exp_avg_sq' of parameter 1 is missing",
        "  - 'max_exp_avg_sq' of parameter 1 is missing",
        "  - 'max_avg_sq' of parameter 1 is unexpected",
        "  - there is a state for parameter 7, which no group has",
    ]
    np.testing.assert_equal(optimizer.state_dict(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("param_groups"), "'param_groups' is not a list"),
        (lambda state: state.pop("state"), "'state' is not a dict"),
        (lambda state: state["param_groups"].append({"params": []}), "2 parameter groups, the optimiser 1"),
        (lambda state: state["param_groups"][0]["params"].pop(), "has 2 parameters, ours 3"),
        (lambda state: state["state"][0].update(step=1.5), "'step' of parameter 0 must be a whole number"),
        (lambda state: state["state"][0].update(exp_avg="much"), "'exp_avg' of parameter 0 is not numeric"),
        (lambda state: state["state"].update({0: None}), "the state of parameter 0 is not a dict"),
    ],
)
def test_a_damaged_state_is_an_error(change: Any, message: str) -> None:
    _, optimizer = trained("adam")
    state = optimizer.state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)


def test_a_constant_gradient_leaves_centred_rmsprop_finite() -> None:
    """The running variance goes to 0, and rounding takes it below."""
    parameters = [Tensor(np.ones(50, np.float32), requires_grad=True)]
    optimizer = optim.RMSprop(parameters, alpha=0.5, centered=True, lr=1e-6)
    parameters[0].grad = Tensor(np.linspace(0.1, 3, 50, dtype=np.float32))
    for _ in range(60):
        optimizer.step()
    assert np.isfinite(parameters[0].data).all()


@pytest.mark.parametrize("name", ["foreach", "fused", "capturable", "differentiable"])
@pytest.mark.parametrize("optimizer", [optim.Adam, optim.SGD])
def test_an_option_that_only_pytorch_has_is_told(optimizer: Any, name: str) -> None:
    with pytest.raises(TypeError, match=rf"\(\) got an unexpected .* '{name}'; leave it out"):
        optimizer([Tensor(np.ones(2), requires_grad=True)], **{name: True})


def test_an_optimiser_of_ones_own_may_have_such_an_option() -> None:
    class Fused(optim.SGD):
        def __init__(self, params: Any, fused: bool = False) -> None:
            super().__init__(params, lr=0.1)
            self.fused = fused

    assert Fused([Tensor(np.ones(2), requires_grad=True)], fused=True).fused
