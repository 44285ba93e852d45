"""The pytest plugin: a fixture, and Hypothesis profiles that stand beside those of the project."""

from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from tinygrad_mnist.testing import plugin
from tinygrad_mnist.testing.properties import literal


def test_the_fixture_is_the_check(pytestconfig: pytest.Config) -> None:
    check = plugin.gradcheck_fixture.__wrapped__()  # type: ignore[attr-defined]
    assert check(np.exp, np.ones(2)).passed


def test_the_profiles_are_registered(pytestconfig: pytest.Config) -> None:
    plugin.pytest_configure(pytestconfig)
    assert settings.get_profile("fast").max_examples == 10
    assert settings.get_profile("thorough").max_examples == 1000


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1.5, np.inf], [np.nan, 0.0]]), np.zeros((0, 2)), (1, (slice(None), None, Ellipsis)),
        {"axis": np.intp(1), "keepdims": True}, [np.array(True)],
    ],
)  # fmt: skip
def test_a_literal_makes_the_same_value_again(value: Any) -> None:
    made = eval(literal(value), {"np": np})
    np.testing.assert_equal(made, value)
