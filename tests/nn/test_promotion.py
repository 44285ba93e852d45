"""A model of float32 that an input makes compute in float64 says so, once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, no_grad


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def warnings_of(module: nn.Module, *inputs: Any, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for each in inputs:
            module(each, **options)
    assert all(warning.filename == __file__ for warning in caught)
    return [str(warning.message) for warning in caught]


class Lookup(nn.Module):
    """A table whose rows integers name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(np.zeros((5, 2), np.float32))

    def forward(self, index: Any) -> Any:
        return self.table[index]


class Two(nn.Module):
    """A module that takes and returns several things."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, inputs: Any, scale: Any = 1.0) -> Any:
        return {"left": (self.layer(inputs[0]) * scale,), "right": inputs[1]}


X = np.ones((4, 3))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (X, "float64"),
        (Tensor(X), "float64"),
        (Tensor(X, requires_grad=True), "float64"),
        (X.astype(np.int64), "int64"),
        (X.astype(np.int32), "int32"),
        (X.tolist(), "float64"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_an_input_that_makes_a_model_compute_in_float64_is_said_once(
    given: Any, said: str, training: bool
) -> None:
    module = model().train(training)
    (message,) = warnings_of(module, given, given, given)
    assert message.startswith("this Sequential computes in float64, which takes twice as long")
    assert f"its parameters are float32, but it was given {said}" in message
    assert "x.astype(np.float32)" in message
    assert warnings_of(module, given) == []
    with no_grad():
        assert len(warnings_of(model().train(training), given)) == 1


@pytest.mark.parametrize(
    ("module", "given"),
    [
        (model(), X.astype(np.float32)),
        (model(), X.astype(np.float16)),
        (model(), X.astype(np.int8)),
        (model(), X.astype(bool)),
        (model().astype(np.float64), X),
        (model().astype(np.float64), X.astype(np.float32)),
        (Lookup(), np.array([1, 2])),
        (Lookup(), 3),
        (nn.ReLU(), X),
        (nn.BatchNorm1d(3, affine=False, dtype=np.float64), X),
    ],
)
def test_what_computes_in_the_dtype_of_its_parameters_is_silent(module: nn.Module, given: Any) -> None:
    assert warnings_of(module, given, given) == []


def test_a_model_that_was_used_in_float32_says_it_when_it_predicts_in_float64() -> None:
    module = model()
    assert warnings_of(module, X.astype(np.float32)) == []
    assert len(warnings_of(module.eval(), X, X)) == 1


def test_inputs_and_results_in_containers_are_looked_into() -> None:
    narrow = X.astype(np.float32)
    assert len(warnings_of(Two(), [X, None], [X, None])) == 1
    assert len(warnings_of(Two(), (narrow, None), scale=np.ones(2))) == 1
    assert warnings_of(Two(), (narrow, None), [narrow, X.astype(np.float32)]) == []


def test_a_model_of_float16_says_it_too() -> None:
    (message,) = warnings_of(model().astype(np.float16), X)
    assert "its parameters are float16, but it was given float64" in message


def test_another_dtype_of_the_model_begins_anew() -> None:
    module = model().astype(np.float64)
    assert warnings_of(module, X) == []
    assert len(warnings_of(module.astype(np.float32), X, X)) == 1
    assert warnings_of(module.astype(np.float64), X) == []


def test_only_the_whole_model_speaks() -> None:
    module = nn.Sequential(model(), nn.Linear(2, 2))
    assert len(warnings_of(module, X)) == 1
