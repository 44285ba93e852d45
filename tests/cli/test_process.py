"""What only shows in a process of its own: terminal, pipes, signals, what is loaded, how fast it answers."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.without_pictures import COMMAND
from tinygrad_mnist import __version__
from tinygrad_mnist.cli import main
from tinygrad_mnist.training import RECIPES

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")
Execute = Callable[..., "subprocess.CompletedProcess[str]"]
LONG = ["train", "--recipe", "digits", "--epochs", "100000", "--out", "run"]


def test_the_version(execute: Execute) -> None:
    ran = execute("--version")
    assert (ran.returncode, ran.stdout) == (0, f"tinygrad-mnist {__version__}\n")


def test_help_lists_the_commands(execute: Execute) -> None:
    ran = execute("--help")
    assert ran.returncode == 0
    assert all(command in ran.stdout for command in ("train", "evaluate", "predict", "recipes"))


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "recipes"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: tinygrad-mnist {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "--help"], ["recipes"], ["train", "--lr", "nan"]]
)
def test_nothing_heavy_is_loaded_before_it_is_needed(arguments: list[str]) -> None:
    """What makes help answer at once; a time would measure the machine."""
    heavy = {
        "numpy",
        "matplotlib",
        "PIL",
        "pooch",
        "requests",
        "rich",
        "tqdm",
        "threadpoolctl",
        "asyncio",
        "email",
    }
    code = (
        "import sys\nfrom tinygrad_mnist.cli import main\n"
        f"main({arguments!r})\nloaded = sys.modules.keys() & {heavy!r}\nassert not loaded, loaded"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


@posix
def test_ctrl_c_while_the_commands_are_imported_is_no_traceback() -> None:
    code = (
        "import builtins, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "load = builtins.__import__\n"
        "def interrupting(name, *rest):\n"
        "    if name == 'tinygrad_mnist.cli.parser':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return load(name, *rest)\n"
        "builtins.__import__ = interrupting\n"
        "from tinygrad_mnist.cli import main\n"
        "sys.exit(main(['--help']))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (130, "tinygrad-mnist: interrupted\n")


@posix
def test_an_output_that_is_closed_is_no_traceback(command: list[str]) -> None:
    ran = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command, "recipes"], capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_name_that_the_terminal_cannot_show_is_escaped(
    execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    monkeypatch.setenv("PYTHONUTF8", "0")
    ran = execute("train", "--recipe", "digits", "--epochs", "1", "--quiet", "--no-report", "--out", "Ёж")
    assert ran.returncode == 0, ran.stderr
    assert r"\u0401\u0436" in ran.stdout


def test_no_command_is_a_misuse(execute: Execute) -> None:
    ran = execute()
    assert ran.returncode == 2
    assert ran.stderr.startswith("tinygrad-mnist: ")
    assert len(ran.stderr.splitlines()) == 1


def test_the_recipes_are_listed(execute: Execute) -> None:
    ran = execute("recipes")
    assert ran.returncode == 0
    assert [line.split()[0] for line in ran.stdout.splitlines()[1:]] == list(RECIPES)
    assert max(map(len, ran.stdout.splitlines())) <= 100


def test_a_mistake_has_no_traceback(execute: Execute) -> None:
    ran = execute("train", "--data", "nowhere")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert len(ran.stderr.splitlines()) == 1


@posix
def test_ctrl_c_ends_with_a_summary() -> None:
    process = subprocess.Popen(
        [*COMMAND, *LONG, "--no-report"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it may be ignored where tests run
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("epoch"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "test accuracy" in out
    assert "interrupted" in err
    assert json.loads(Path("run/summary.json").read_text())["interrupted"] is True
    assert Path("run/checkpoint.npz").exists()


@posix
def test_a_training_goes_on_where_nobody_reads_its_output() -> None:
    some = [*LONG[:4], "9", *LONG[5:], "--no-report"]
    process = subprocess.Popen([*COMMAND, *some], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 141
    process.stderr.close()
    assert err == ""
    assert json.loads(Path("run/summary.json").read_text())["steps"] == 360
