"""A user who has no MNIST anywhere."""

from pathlib import Path

import pytest


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The empty cache of a user who named no directory, and whose requests go through no proxy."""
    from tinygrad_mnist.data import cache_directory

    monkeypatch.delenv("TINYGRAD_MNIST_DATA", raising=False)
    for variable in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path / "user"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    directory = cache_directory()
    assert tmp_path in directory.parents
    return directory
