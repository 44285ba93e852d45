"""The pytest plugin: a fixture ``gradcheck``, and Hypothesis profiles ``fast``, ``ci`` and ``thorough``.

It comes with the package, as an entry point. A test that has an argument ``gradcheck`` gets
`tinygrad_mnist.testing.gradcheck`::

    def test_my_function(gradcheck):
        gradcheck(my_function, np.array([0.5, 2.0]), order=2)

``pytest --hypothesis-profile=thorough`` chooses a profile. Each sets the number of examples, and no deadline.

Every session of pytest loads this file, those of other projects too. So what it needs is imported when it is
used: without the fixture and a profile that is neither NumPy nor Hypothesis.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import pytest

__all__ = ["PROFILES"]

PROFILES: Final = {"fast": 10, "ci": 100, "thorough": 1000}
"""Examples for each test, by profile."""


@pytest.hookimpl(tryfirst=True)  # before Hypothesis's own plugin, which loads the profile
def pytest_configure(config: pytest.Config) -> None:
    """Register the profiles if one is asked for, or Hypothesis is imported already."""
    if config.getoption("--hypothesis-profile", default=None) in PROFILES or "hypothesis" in sys.modules:
        _register()


def _register() -> None:
    """Register each profile, unless one of its name exists already."""
    from hypothesis import settings
    from hypothesis.errors import InvalidArgument

    for name, examples in PROFILES.items():
        try:
            settings.get_profile(name)
        except InvalidArgument:
            settings.register_profile(name, max_examples=examples, deadline=None, derandomize=name == "ci")


@pytest.fixture(name="gradcheck")
def gradcheck_fixture() -> Callable[..., Any]:
    """`tinygrad_mnist.testing.gradcheck`, for a test of a gradient in one line."""
    from tinygrad_mnist.testing.gradient_check import gradcheck

    return gradcheck
