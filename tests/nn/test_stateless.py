"""A module is called with other values than its own, and the call is a function of them."""

from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, checkpoint, functional_call, grad, hessian, jvp, nn, no_grad, ravel_pytree

F = nn.functional
X = np.random.default_rng(0).standard_normal((6, 3))
Y = np.random.default_rng(1).standard_normal((6, 2))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2, rng=1)).astype(
        np.float64
    )


def parameters(model: nn.Module) -> dict[str, Any]:
    return {name: parameter.data.copy() for name, parameter in model.named_parameters()}


def test_it_computes_what_a_model_with_these_values_does() -> None:
    model, other = network(), network()
    state = {name: value + 1 for name, value in model.state_dict().items()}
    other.load_state_dict(state)
    before = model.state_dict()
    for mode in (True, False):
        model.train(mode)
        other.train(mode)
        np.testing.assert_array_equal(functional_call(model, state, X).data, other(X).data)
    np.testing.assert_equal(state, other.state_dict())  # the running statistics too
    np.testing.assert_equal(model.state_dict(), before)


def test_what_the_state_does_not_name_is_the_modules_own() -> None:
    model = network()
    before = model.state_dict()
    functional_call(model, {"0.bias": np.zeros(4)}, X)
    assert model[1].num_batches_tracked == 1
    np.testing.assert_array_equal(model[0].bias.data, before["0.bias"])


@pytest.mark.filterwarnings("ignore:.*computes in float64")
def test_a_number_of_batches_given_as_a_number_counts() -> None:
    layer, state = nn.BatchNorm1d(3), {"num_batches_tracked": 4}
    functional_call(layer, state, X)
    assert state["num_batches_tracked"] == 5
    assert layer.num_batches_tracked == 0


def test_a_buffer_that_is_assigned_comes_back_in_the_state() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", np.zeros(()))

        def forward(self, x: Any) -> Any:
            self.count = self.count + 1
            return x + self.count

    counter, state = Counter(), {"count": np.zeros(())}
    functional_call(counter, (state,), 1.0)
    assert (counter.count, state["count"]) == (0, 1)


def loss(model: nn.Module, weights: Any, x: Any = X, y: Any = Y) -> Any:
    return F.mse_loss(functional_call(model, weights, x), y)


@pytest.mark.parametrize("training", [True, False])
def test_its_gradient_is_that_of_backward(training: bool) -> None:
    model = network().train(training)
    found = grad(lambda weights: loss(model, weights))(parameters(model))
    F.mse_loss(model(X), Y).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(found[name], parameter.grad.data, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_through_an_update_is_that_of_central_differences(
    training: bool, central_differences
) -> None:
    """The update of meta-learning: the gradient of the loss after a step, which has second derivatives."""
    model = network().train(training)
    flat, unravel = ravel_pytree(parameters(model))

    def after_a_step(vector: Any) -> Any:
        weights = unravel(vector)
        slopes = grad(lambda inner: loss(model, inner))(weights)
        return loss(model, {name: weights[name] - 0.1 * slopes[name] for name in weights}, X[::-1], Y)

    found = grad(after_a_step)(flat)
    expected = central_differences(lambda: float(after_a_step(flat)), flat)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_an_update_by_backward_can_be_differentiated_too(central_differences) -> None:
    """As PyTorch's users write it: create_graph, and a call with the updated Tensors."""
    model = nn.Linear(3, 2, rng=0).astype(np.float64)

    def after_a_step(weight: Any) -> Any:
        model.weight.data[...] = weight
        model.weight.mark_written()
        model.zero_grad()
        (functional_call(model, {}, X) ** 4).mean().backward(create_graph=True)
        updated = model.weight - 0.1 * model.weight.grad
        model.zero_grad()
        return (functional_call(model, {"weight": updated}, X) ** 2).mean()

    start = model.weight.data.copy()
    after_a_step(start).backward()
    found = model.weight.grad.data.copy()
    expected = central_differences(lambda: after_a_step(start).item(), start)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_a_tangent_of_the_weights_goes_forward() -> None:
    model = network().eval()
    weights = parameters(model)
    tangent = {name: np.ones_like(value) for name, value in weights.items()}
    slope = grad(lambda w: loss(model, w))(weights)
    out = jvp(lambda w: loss(model, w), (weights,), (tangent,))[1]
    np.testing.assert_allclose(out, sum(np.sum(part) for part in slope.values()))


def test_a_gradient_by_running_statistics() -> None:
    layer = nn.BatchNorm1d(2, eps=0.0).astype(np.float64).eval()
    slope = grad(lambda mean: np.sum(functional_call(layer, {"running_mean": mean}, np.ones((3, 2)))))
    np.testing.assert_array_equal(slope(np.zeros(2)).data, [-3, -3])
    with no_grad():
        state = {"running_mean": Tensor(np.ones(2), requires_grad=True)}
        np.testing.assert_array_equal(functional_call(layer, state, np.ones((1, 2))).data, [[0, 0]])


def test_the_module_has_its_own_values_again_after_an_error() -> None:
    model = network()
    own = [id(parameter) for parameter in model.parameters()]
    with pytest.raises(ValueError, match=r"^0 \(Linear\): input of shape"):
        functional_call(model, parameters(model), np.ones((2, 7)))
    assert [id(parameter) for parameter in model.parameters()] == own


def test_calls_nest() -> None:
    inner = nn.Linear(2, 2).astype(np.float64)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Any) -> Any:
            zero = {"weight": np.zeros((2, 2)), "bias": np.zeros(2)}
            return functional_call(self.inner, zero, x) + self.inner(x)

    ones = {"inner.weight": np.ones((2, 2)), "inner.bias": np.ones(2)}
    np.testing.assert_array_equal(functional_call(Outer(), ones, np.ones((1, 2))).data, [[3, 3]])


def test_the_hessian_of_least_squares_is_the_matrix_of_moments() -> None:
    model = nn.Linear(3, 1, bias=False).astype(np.float64)
    flat, unravel = ravel_pytree(parameters(model))
    found = hessian(lambda vector: loss(model, unravel(vector), X, Y[:, :1]))(flat)
    np.testing.assert_allclose(found, 2 * X.T @ X / len(X), rtol=1e-12)


@pytest.mark.parametrize("own", [True, False], ids=["own values", "other values"])
def test_a_checkpoint_inside_runs_again_with_the_values_of_the_call(own: bool) -> None:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4, rng=0), nn.Linear(4, 2, rng=1)

        def forward(self, x: Any) -> Any:
            return self.last(self.hidden(x))

        def hidden(self, x: Any) -> Any:
            return np.tanh(self.first(checkpoint(np.sin)(x)))

    class Checkpointed(Saving):
        def hidden(self, x: Any) -> Any:
            return checkpoint(super().hidden)(x)

    plain, saving = Saving().astype(np.float64), Checkpointed().astype(np.float64)
    weights = parameters(saving) if own else {name: value + 0.5 for name, value in parameters(saving).items()}
    expected, found = (grad(lambda w, m=m: loss(m, w))(weights) for m in (plain, saving))
    tensors = {name: Tensor(value, requires_grad=True) for name, value in weights.items()}
    loss(saving, tensors).backward()
    tangent = {name: np.ones_like(value) for name, value in weights.items()}
    pushed = [jvp(lambda w, m=m: loss(m, w), (weights,), (tangent,))[1] for m in (plain, saving)]
    for name, slope in expected.items():
        np.testing.assert_allclose(found[name], slope, rtol=1e-12)
        np.testing.assert_allclose(tensors[name].grad.data, slope, rtol=1e-12)
    np.testing.assert_allclose(*pushed)
    assert all(parameter.grad is None for parameter in saving.parameters())


# ---- tied weights ----------------------------------------------------------------------------------------


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)).astype(np.float64)
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize("name", ["0.weight", "1.weight"])
def test_a_tied_parameter_is_replaced_under_all_its_names(name: str) -> None:
    out = functional_call(tied(), {name: 2 * np.eye(2)}, np.ones((1, 2)))
    np.testing.assert_array_equal(out.data, [[4, 4]])


def test_the_gradient_of_a_tied_parameter_is_the_sum_of_both() -> None:
    model = tied()
    slope = grad(lambda w: np.sum(functional_call(model, {"0.weight": w}, np.ones((1, 2)))))(np.eye(2))
    np.testing.assert_array_equal(slope, [[2, 2], [2, 2]])


def test_untied_each_has_its_own() -> None:
    state = {"0.weight": np.eye(2), "1.weight": 3 * np.eye(2)}
    out = functional_call(tied(), state, np.ones((1, 2)), tie_weights=False)
    np.testing.assert_array_equal(out.data, [[3, 3]])
    with pytest.raises(ValueError, match=r"0\.weight and 1\.weight are one parameter of this model"):
        functional_call(tied(), state, np.ones((1, 2)))


def test_a_state_dict_of_a_tied_model_fits_but_is_not_differentiated_by_both() -> None:
    model = tied()
    state = model.state_dict()
    np.testing.assert_array_equal(functional_call(model, state, X[:, :2]).data, model(X[:, :2]).data)
    with pytest.raises(ValueError, match="were given two values"):
        grad(lambda w: np.sum(functional_call(model, w, X[:, :2])))(state)


# ---- what does not fit -----------------------------------------------------------------------------------


def test_one_error_lists_everything_that_does_not_fit() -> None:
    model = network()
    state = {"0.wieght": X, "0.bias": np.zeros(3), "3.bias": None, "1.running_mean": [[1.0], [1.0, 2.0]]}
    with pytest.raises(ValueError, match="does not fit this Sequential") as caught:
        functional_call(model, state, X)
    lines = str(caught.value).splitlines()[1:]
    assert lines[:2] == ["  - unexpected: 0.wieght", "  - 0.bias: shape (3,) was given; expected (4,)"]
    assert [line[:20] for line in lines[2:]] == ["  - 3.bias: Tensor w", "  - 1.running_mean: "]


def test_strict_wants_all_of_them() -> None:
    model = tied()
    functional_call(model, {"1.weight": np.eye(2)}, np.ones((1, 2)), strict=True)
    with pytest.raises(ValueError, match=r"missing: 1\.weight of shape \(2, 2\)"):
        functional_call(model, {"0.weight": np.eye(2)}, np.ones((1, 2)), strict=True, tie_weights=False)


@pytest.mark.parametrize("state", [5, "model.npz", [np.ones(2)]], ids=repr)
def test_a_state_is_a_mapping(state: Any) -> None:
    with pytest.raises(TypeError, match="a state has Tensors or arrays by name"):
        functional_call(network(), state, X)


def test_what_is_no_module_cannot_be_called() -> None:
    with pytest.raises(TypeError, match=r"<ufunc 'sin'> to call; expected a Module"):
        functional_call(np.sin, {}, X)  # type: ignore[arg-type]


def test_parameters_and_buffers_may_be_two_mappings_but_a_name_is_in_one() -> None:
    model = network()
    both = (parameters(model), dict(model.named_buffers()))
    functional_call(model, both, X, strict=True)
    with pytest.raises(ValueError, match=r"'0\.weight' is in two"):
        functional_call(model, (both[0], both[0]), X)


def test_inputs_may_be_given_as_pytorch_has_them() -> None:
    class Two(nn.Module):
        def forward(self, a: Any, b: Any, scale: float = 1.0) -> Any:
            return (a - b) * scale

    assert functional_call(Two(), {}, 5, 3, scale=2) == 4
    assert functional_call(Two(), {}, (5, 3), scale=2) == 4
    assert functional_call(Two(), {}, (5, 3), {"scale": 2}) == 4
