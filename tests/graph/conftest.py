"""What lays pictures out is taken away."""

import sys

import pytest


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program is found, so pygraphviz lays out."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def no_graphviz(no_programs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing lays out."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
