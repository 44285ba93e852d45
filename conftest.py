"""Settings of all tests and doctests: a deterministic Hypothesis, no screen, the folder of MNIST's files."""

import gc
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ["MPLBACKEND"] = "Agg"

# Derandomised: the examples follow from the test itself, so a failure here is a failure everywhere. No
# deadline and no "too slow", which measure the machine. In $CI the profile is `ci`, unless one is named.
settings.register_profile(
    "default",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("default"), max_examples=40)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs PyTorch where there is none; leave the examples in inherited docstrings to NumPy."""
    if importlib.util.find_spec("torch") is None:
        skip = pytest.mark.skip(reason="PyTorch is not installed")
        for item in items:
            if item.get_closest_marker("peers"):
                item.add_marker(skip)
    numpys = {f.__doc__ for module in (np, np.linalg, np.fft) for f in vars(module).values() if callable(f)}
    inherited = [
        item for item in items if isinstance(item, pytest.DoctestItem) and item.dtest.docstring in numpys
    ]
    if inherited:
        config.hook.pytest_deselected(items=inherited)
        items[:] = [item for item in items if item not in inherited]
    # Processes of MPI run for one test at a time. In front, all of them go to one worker, and none waits.
    items.sort(key=starts_ranks, reverse=True)


RANKS = {"run_processes", "run_launcher", "one_at_a_time"}
"""What a module whose tests start processes of MPI imports from `tests.ranks`, one or more of them."""


def starts_ranks(item: pytest.Item) -> bool:
    """Say whether a test is of such a module."""
    return isinstance(item, pytest.Function) and not RANKS.isdisjoint(vars(item.module))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was collected out of later collections of garbage, which would go through all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def operations_of_a_doctest(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Take back the operations that a docstring's example declares; let its trainings draw no pictures."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    if re.search(r"\btrain\(", request.node.dtest.docstring or ""):
        from tinygrad_mnist.training.runs import run

        monkeypatch.setattr(run, "draw_pictures", lambda *_: ((), ()))
    from tinygrad_mnist.engine.op import REGISTRY

    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of the four MNIST files."""
    folder = os.environ.get("TINYGRAD_MNIST_DATA")
    if not folder:
        pytest.skip("$TINYGRAD_MNIST_DATA is not set: it names the folder of the four MNIST files")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"$TINYGRAD_MNIST_DATA is {folder!r}, which is not a folder")
    return path
