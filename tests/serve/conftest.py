"""Trained models, and a service of one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkpoints import SMALL, untrained
from tests.serve.exchanges import Server, serving
from tinygrad_mnist.compiler import machine
from tinygrad_mnist.serve.recognition import Recogniser
from tinygrad_mnist.training import choose, train
from tinygrad_mnist.training.runs import run as run_module

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.serve.visitor import Open

MNIST_DIGITS = 6_000


@pytest.fixture(scope="session")
def recogniser() -> Recogniser:
    """A small model, not compiled: that takes longer than all that it is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_MNIST_JIT", "0")
        return Recogniser(untrained(SMALL))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a recipe without pictures or a report, and return the run directory."""

    def run(recipe: str, epochs: float, data: Path | None = None) -> Path:
        chosen = choose(recipe, {"epochs": epochs}, None if data is None else str(data))
        dataset = chosen.dataset
        if data is not None:
            dataset = replace(
                dataset,
                train_images=dataset.train_images[:MNIST_DIGITS],
                train_labels=dataset.train_labels[:MNIST_DIGITS],
                test_images=dataset.test_images[:1000],
                test_labels=dataset.test_labels[:1000],
            )
        folder = tmp_path_factory.mktemp("served") / "run"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
            jit = "on" if data is not None and machine.available() else "off"
            train(chosen.recipe, dataset, out=folder, report=False, source=chosen.source, jit=jit)
        return folder

    return run


@pytest.fixture(scope="session")
def digits_run(trained: Callable[..., Path]) -> Path:
    """A model that knows the bundled digits, trained in a moment."""
    return trained("digits", 10)


@pytest.fixture(scope="session")
def mnist_run(trained: Callable[..., Path], mnist_dir: Path) -> Path:
    """A model that knows MNIST's digits well enough for drawn ones."""
    return trained("cnn-fast", 1, mnist_dir)


@pytest.fixture(scope="session")
def digits_server(digits_run: Path) -> Iterator[Server]:
    """A service of `digits_run`, for all tests that leave it as it is."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with serving(digits_run) as started:
        yield started


@pytest.fixture(scope="module")
def server(mnist_run: Path) -> Iterator[Server]:
    """A service of a model that knows drawn digits."""
    pytest.importorskip("uvicorn", reason="the extra serve is not installed")
    with serving(mnist_run) as started:
        yield started


@pytest.fixture
def open_page(browser: "Browser") -> Iterator["Open"]:
    """Open pages. In the end they may have asked nobody but the service, and complained about nothing."""
    from tests.browser import Heard
    from tests.serve.visitor import opening

    heard = Heard()
    with opening(browser, heard) as opened:
        yield opened
    assert heard.complaints == []
    assert heard.elsewhere("http://127.0.0.1:") == []


@pytest.fixture
def page(open_page: "Open", server: Server) -> "Page":
    """The page on a desk."""
    return open_page(server.address)
