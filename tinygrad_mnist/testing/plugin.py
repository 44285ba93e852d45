"""The pytest plugin: a fixture ``gradcheck``, and Hypothesis profiles ``fast``, ``ci`` and ``thorough``.

It comes with the package, as an entry point. A test that has an argument ``gradcheck`` gets
`tinygrad_mnist.testing.gradcheck`::

    def test_my_function(gradcheck):
        gradcheck(my_function, np.array([0.5, 2.0]), order=2)

``pytest --hypothesis-profile=thorough`` chooses a profile. Each sets the number of examples, and no deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

__all__ = ["PROFILES"]

PROFILES: Final = {"fast": 10, "ci": 100, "thorough": 1000}
"""Examples for each test, by profile."""


def pytest_configure(config: pytest.Config) -> None:
    """Register the profiles, where Hypothesis is installed and no such profile exists already."""
    try:
        from hypothesis import settings
        from hypothesis.errors import InvalidArgument
    except ModuleNotFoundError:
        return
    for name, examples in PROFILES.items():
        try:
            settings.get_profile(name)
        except InvalidArgument:
            settings.register_profile(name, max_examples=examples, deadline=None, derandomize=name == "ci")


@pytest.fixture(name="gradcheck")
def gradcheck_fixture() -> Callable[..., Any]:
    """`tinygrad_mnist.testing.gradcheck`, for a test of a gradient in one line."""
    from tinygrad_mnist.testing.gradcheck import gradcheck

    return gradcheck
