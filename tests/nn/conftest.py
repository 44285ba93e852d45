"""Shared by the tests of `nn`: random numbers, central differences, the same computation in PyTorch."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn


@pytest.fixture(autouse=True)
def seeded() -> None:
    nn.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def differences(f: Callable[[], float], array: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The gradient of f by central differences, as `array` is changed in place."""
    out = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = f()
        array[index] = kept - step
        below = f()
        array[index] = kept
        out[index] = (above - below) / (2 * step)
    return out


@pytest.fixture(scope="session")
def central_differences() -> Callable[..., np.ndarray]:
    return differences


@pytest.fixture(scope="session")
def torch() -> Iterator[Any]:
    """PyTorch, or a skipped test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what PyTorch says when it is imported is not ours
        yield pytest.importorskip("torch")


@pytest.fixture
def agrees(torch: Any, rng: np.random.Generator) -> Callable[..., None]:
    """A check that a module of ours and one of PyTorch's agree: outputs, gradients, state, in float64."""

    def check(ours: nn.Module, theirs: Any, shape: tuple[int, ...], calls: int = 2) -> None:
        ours.astype(np.float64)
        theirs.double()
        for parameter in theirs.parameters():
            torch.nn.init.normal_(parameter)
        ours.load_state_dict(theirs.state_dict())
        for _ in range(calls):
            values, cotangent = rng.standard_normal(shape), None
            x = Tensor(values, requires_grad=True)
            tx = torch.tensor(values, requires_grad=True)
            out, tout = ours(x), theirs(tx)
            cotangent = rng.standard_normal(out.shape)
            np.testing.assert_allclose(out.data, tout.detach().numpy(), rtol=1e-10, atol=1e-12)
            out.backward(cotangent)
            tout.backward(torch.tensor(cotangent))
            np.testing.assert_allclose(x.grad.data, tx.grad.numpy(), rtol=1e-8, atol=1e-10)
        for (name, parameter), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            np.testing.assert_allclose(
                parameter.grad.data, other.grad.numpy(), rtol=1e-8, atol=1e-10, err_msg=name
            )
        state, their_state = ours.state_dict(), theirs.state_dict()
        assert list(state) == list(their_state)
        for name, value in their_state.items():
            assert state[name].dtype == value.numpy().dtype, name
            np.testing.assert_allclose(state[name], value.numpy(), rtol=1e-10, err_msg=name)
        theirs.load_state_dict({name: torch.tensor(value) for name, value in state.items()})

    return check
