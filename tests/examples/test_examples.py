"""Every example runs, at small size, and says what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str, cwd: Path) -> str:
    result = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def last_percentage(line: str) -> float:
    return float(line.split("%")[0].split()[-1])


def line_with(text: str, output: str) -> str:
    return [line for line in output.splitlines() if text in line][-1]


def test_every_example_is_tested() -> None:
    tested = {"tensor_basics.py", "two_moons.py", "digit_recognition.py", "digit_classification.py"}
    tested |= {"check_your_own_op.py", "visualize_graph.py", "compile_step.py", "lenet.py"}
    tested |= {"residual_network.py", "train_loop_by_hand.py", "train_with_fit.py", "move_weights.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_tensor_basics_prints_the_derivatives_of_sine(tmp_path: Path) -> None:
    output = run("tensor_basics.py", cwd=tmp_path)
    assert "derivative 2 of sin at 1: -0.84147" in output
    assert "ValueError: matmul" in output


def test_a_wrong_rule_of_ones_own_is_found_and_explained(tmp_path: Path) -> None:
    pytest.importorskip("hypothesis", reason="check_op draws its inputs with Hypothesis")
    output = run("check_your_own_op.py", cwd=tmp_path)
    assert "the gradient is wrong in 2 of 9 entries" in output
    explained = [line.split() for line in output.splitlines() if line.startswith((" -1.0 ", "  2.0 "))]
    assert [(x, missing == term) for x, missing, term in explained] == [("-1.0", True), ("2.0", True)]
    assert "The right rule passes" in output


def test_a_loop_by_hand_and_fit_end_in_the_same_bits(tmp_path: Path) -> None:
    by_hand = run("train_loop_by_hand.py", "--epochs", "3", cwd=tmp_path)
    by_fit = run("train_with_fit.py", "--epochs", "3", cwd=tmp_path)
    assert by_fit.splitlines()[3:] == by_hand.splitlines()
    assert last_percentage(line_with("accuracy", by_hand)) > 95
    assert len(line_with("SHA-256", by_hand).split()[-1]) == 64


def test_computations_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("pygraphviz", reason="the extra `graph` is not installed")
    output = run("visualize_graph.py", "--out", "pictures", cwd=tmp_path)
    assert "Sequential: 53,242 parameters" in output
    assert "← 1/5 NaN start here" in output
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {
        "neuron.html", "modules.svg", "operations.svg", "backward.svg", "profile.svg", "network.html",
        "nan.svg",
    }  # fmt: skip


def test_a_compiled_step_learns_and_is_compiled_once(tmp_path: Path) -> None:
    pytest.importorskip("llvmlite", reason="the extra `jit` is not installed")
    output = run("compile_step.py", "--epochs", "5", cwd=tmp_path)
    assert "compiled 1 time" in output
    assert last_percentage(line_with("accuracy on unseen digits:", output)) > 93


def test_lenet_learns_the_bundled_digits(tmp_path: Path) -> None:
    pytest.importorskip("llvmlite", reason="the extra `jit` is not installed")
    output = run("lenet.py", "--data", "digits", "--epochs", "5", cwd=tmp_path)
    assert "Conv2d(1, 16, kernel_size=(5, 5), stride=(1, 1), padding=same)" in output
    assert last_percentage(line_with("accuracy on unseen digits:", output)) > 96


@pytest.mark.slow
def test_a_network_of_ones_own_is_printed_and_trained_by_the_command_line(tmp_path: Path) -> None:
    assert "Conv2d(16, 16, kernel_size=(3, 3)" in run("residual_network.py", cwd=tmp_path)
    model = f"{EXAMPLES / 'residual_network.py'}:build"
    options = ["--data", "digits", "--model", model, "--epochs", "3", "--quiet", "--out", "run"]
    command = [sys.executable, "-m", "tinygrad_mnist", "train", *options]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    assert last_percentage(line_with("test accuracy", result.stdout).split(" % (")[0] + " %") > 90


def test_two_moons_are_told_apart_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the example draws with matplotlib")
    output = run("two_moons.py", "--steps", "300", cwd=tmp_path)
    assert last_percentage(line_with("accuracy on new points:", output)) > 95
    assert (tmp_path / "runs/two_moons/boundary.png").stat().st_size > 10_000


def test_digit_recognition_learns_the_bundled_digits(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the example draws with matplotlib")
    output = run("digit_recognition.py", "--data", "digits", "--iterations", "200", cwd=tmp_path)
    assert "iteration  200: loss" in output
    assert last_percentage(line_with("accuracy on unseen digits:", output)) > 93
    pictures = tmp_path / "runs" / "digit_recognition"
    assert {path.name for path in pictures.iterdir()} == {"training.png", "predictions.png"}


def test_weights_move_to_other_tools_and_back(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="the extra `safetensors` is not installed")
    output = run("move_weights.py", cwd=tmp_path)
    assert len([line for line in output.splitlines() if line.endswith("the same outputs: True")]) >= 4
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "model.npz", "model.pt"}


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("digit_recognition.py", ["--data", "nowhere"], "nowhere"),
        ("digit_recognition.py", ["--iterations", "0"], "--iterations must be at least 1, not 0"),
        ("digit_classification.py", ["--data", "nowhere"], "nowhere"),
        ("digit_classification.py", ["--epochs", "0"], "--epochs must be at least 1, not 0"),
        ("digit_classification.py", ["--data", "few.csv"], "of 4 samples leaves one part empty"),
        ("lenet.py", ["--data", "few.csv"], "few.csv has too few images to train on, 4; at least 64"),
        ("lenet.py", ["--data", "nowhere"], "nowhere"),
        ("lenet.py", ["--epochs", "0"], "--epochs must be at least 1, not 0"),
    ],
)
def test_a_mistake_gets_a_sentence(tmp_path: Path, name: str, arguments: list[str], said: str) -> None:
    (tmp_path / "few.csv").write_text("\n".join(f"{k % 2}{f',{k}' * 16}" for k in range(5)))
    result = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param("momentum", marks=pytest.mark.slow),
        pytest.param("rmsprop", marks=pytest.mark.slow),
        "adam",
    ],
)
def test_digit_classification_learns_the_bundled_digits(tmp_path: Path, optimizer: str) -> None:
    pytest.importorskip("matplotlib", reason="the example draws with matplotlib")
    arguments = ["--data", "digits", "--epochs", "15", "--optimizer", optimizer, "--hidden", "96", "48"]
    output = run("digit_classification.py", *arguments, cwd=tmp_path)
    assert last_percentage(line_with("accuracy on unseen digits:", output)) > 93
    assert "gradients clipped in" in output
