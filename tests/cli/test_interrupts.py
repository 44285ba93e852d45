"""Ctrl-C and SIGTERM: one line, the status that shells count, and nothing lost."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tinygrad_mnist.cli import interrupts, main
from tinygrad_mnist.training.runs import run

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
TRAIN = ["train", "--recipe", "digits", "--epochs", "1", "--quiet", "--out", "run"]


@pytest.fixture(autouse=True)
def interrupts_are_heard() -> Iterator[None]:
    """Let signals be heard, even where a shell or nohup lets the tests ignore them."""
    usual: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
    if hasattr(signal, "SIGHUP"):
        usual[signal.SIGHUP] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@posix
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("module", ["tinygrad_mnist.cli.parser", "numpy", "tinygrad_mnist.training.runs.run"])
def test_a_signal_while_modules_are_imported_is_one_line(
    number: signal.Signals, status: int, module: str
) -> None:
    """It comes where an exception would be turned into another, and be caught."""
    code = (
        "import importlib.abc, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Pressing(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}:\n"
        "            try:\n"
        f"                os.kill(os.getpid(), {int(number)})\n"
        "            except BaseException as error:\n"
        "                raise RuntimeError from error\n"
        "sys.meta_path.insert(0, Pressing())\n"
        "from tinygrad_mnist.cli import main\n"
        f"sys.argv[1:] = {TRAIN!r}\n"
        "sys.exit(main())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, "", "tinygrad-mnist: interrupted\n")


@posix
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (getattr(signal, "SIGHUP", signal.SIGTERM), 129)],
)
def test_a_signal_before_anything_was_learned_ends_with_its_number(
    number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "planned", lambda *_, **__: signal.raise_signal(number))
    assert main(TRAIN) == status
    assert capsys.readouterr().err == "tinygrad-mnist: interrupted\n"
    assert not Path("run").exists()


def test_ctrl_c_while_pictures_are_drawn_prints_the_accuracy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "draw_pictures", lambda *_: signal.raise_signal(signal.SIGINT))
    assert main(TRAIN) == 130
    printed = capsys.readouterr()
    assert "test accuracy" in printed.out
    assert "graph.html, report.html not drawn" in printed.err.splitlines()[-2]
    assert {path.name for path in Path("run").iterdir()} == {
        "summary.json",
        "metrics.jsonl",
        "checkpoint.npz",
        "last.npz",
        "previous.npz",
    }


def test_the_handlers_that_were_there_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["recipes"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@posix
def test_under_nohup_a_closed_terminal_changes_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts.as_interrupts(is_program=False):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_that_somebody_else_takes_stay_with_him(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: Any) -> None: ...

    before = signal.signal(signal.SIGINT, taken)
    try:
        with interrupts.as_interrupts(is_program=False):
            assert signal.getsignal(signal.SIGINT) is taken
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_there_is_nothing_to_take() -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(main(["recipes"])))
    thread.start()
    thread.join()
    assert statuses == [0]


@posix
def test_a_signal_after_the_end_changes_nothing() -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tinygrad_mnist.cli import main\n"
        "sys.argv[1:] = ['--version']\n"
        "main()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
