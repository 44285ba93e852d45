"""A run to use, a folder of its own for each test, and the command line in an interpreter of its own."""

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.training.loop.threads import VARIABLES
from tinygrad_mnist.training.runs import run as run_module

ROOT = Path(__file__).parents[2]
UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No MNIST, no network, a folder of its own; and the number of threads does not stay."""
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "1")
    monkeypatch.delenv("TINYGRAD_MNIST_DATA", raising=False)
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, UNREACHABLE)
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(autouse=True)
def no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings write no report, which takes longer than they do; tests of it put `write_report` back."""
    monkeypatch.setattr(run_module, "write_report", lambda run: None)


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run on the bundled digits left, without plots: they take longer than the training."""
    path = tmp_path_factory.mktemp("runs") / "digits"
    arguments = [
        "train",
        "--recipe",
        "digits",
        "--epochs",
        "10",
        "--seed",
        "1",
        "--quiet",
        "--no-report",
        "--out",
        str(path),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        assert main(arguments) == 0
    return path


@pytest.fixture
def mnist_like(encode_idx: Callable[[np.ndarray], bytes]) -> Path:
    """A folder with the four files of MNIST, and few images in them: the bundled digits, made larger."""
    folder = Path("data")
    folder.mkdir()
    digits = load_digits()
    parts = {
        "train": (digits.train_images[:200], digits.train_labels[:200]),
        "t10k": (digits.test_images[:50], digits.test_labels[:50]),
    }
    for part, (images, labels) in parts.items():
        enlarged = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
        for name, array in (("images-idx3", enlarged), ("labels-idx1", labels)):
            content = gzip.compress(encode_idx(array.astype(np.uint8)))
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(content)
    return folder


@pytest.fixture
def command() -> list[str]:
    """What starts the command line in an interpreter of its own."""
    return [sys.executable, "-m", "tinygrad_mnist"]


@pytest.fixture
def execute(command: list[str]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the command line in an interpreter of its own."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)

    return run


@pytest.fixture
def error_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with one sentence, and return the sentence."""

    def run(*arguments: object, status: int = 1) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == status
        lines = capsys.readouterr().err.splitlines()
        notes = [line for line in lines if "takes the place" not in line]
        assert len(notes) == 1, lines
        assert notes[0].startswith("tinygrad-mnist: ")
        assert "Traceback" not in notes[0]
        return notes[0]

    return run
