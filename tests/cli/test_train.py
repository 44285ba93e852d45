import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.data import load_digits
from tinygrad_mnist.optim import SGD
from tinygrad_mnist.training import DATASETS, OPTIMIZERS, RECIPES, DatasetChoice, OptimizerChoice, Recipe
from tinygrad_mnist.training.loop import compilation
from tinygrad_mnist.training.runs import run as run_module
from tinygrad_mnist.training.runs.directory import RunDirectory

ErrorOf = Callable[..., str]
MISSING = "there is no compiler here"
QUICK = ["train", "--data", "digits", "--epochs", "2", "--hidden", "8", "--out", "run"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))


def summary() -> dict[str, object]:
    content: dict[str, object] = json.loads(Path("run/summary.json").read_text("utf-8"))
    return content


def test_digits_are_learned(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "digits", "--out", "run"]) == 0
    out = capsys.readouterr().out
    accuracy = re.search(r"test accuracy (\d+\.\d+) % on 359 unseen digits", out)
    assert accuracy is not None
    assert float(accuracy[1]) >= 97
    assert f"{100 * summary()['test_accuracy']:.2f}" == accuracy[1]  # type: ignore[operator]


def test_plain_lines_say_on_which_part_an_accuracy_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--epochs", "10"]) == 0
    out = capsys.readouterr().out
    assert "\r" not in out
    assert len(re.findall(r"^epoch .* accuracy: training +\S+ %, validation +\S+ %", out, re.M)) == 2


def test_what_is_measured_on_a_sample_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "accuracy on 144 of the training images" in out
    assert ", 1 epoch\n" in out
    assert re.search(r"training \S+ % \(now on all its images\)", out)


def test_full_batch_counts_iterations(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*QUICK, "--recipe", "batchnorm-deep-fullbatch", "--epochs", "100"]
    assert main(arguments) == 0
    assert re.findall(r"^iteration +(\d+)/100", capsys.readouterr().out, re.M) == ["50", "100"]


def test_the_paths_of_what_was_written_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(QUICK) == 0
    out = capsys.readouterr().out
    for name in ("checkpoint.npz", "metrics.jsonl", "summary.json"):
        assert str(Path("run", name)) in out


def test_the_end_says_how_to_draw_on_the_page_of_the_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is called as it was started, where the shell would not find it by its name."""
    is_installed, is_found = True, True
    monkeypatch.setattr("tinygrad_mnist.serve.packages.find_spec", lambda name: is_installed or None)
    monkeypatch.setattr("shutil.which", lambda name: name if is_found else None)
    monkeypatch.setattr("sys.argv", [".venv/bin/tinygrad-mnist"])
    train = ["train", "--recipe", "digits", "--epochs", "1", "--out", "a run"]
    assert main(train) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "draw on its page: tinygrad-mnist serve 'a run'"
    is_found = False
    assert main(train) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "draw on its page: .venv/bin/tinygrad-mnist serve 'a run'"
    is_installed = False
    assert main(train) == 0
    assert " serve " not in capsys.readouterr().out


def test_quiet_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert re.match(
        r"recipe digits, the bundled digits: test accuracy \S+ % .* 2 epochs in \S+ s, run$", lines[0]
    )


def test_the_default_directory_is_named_after_the_recipe() -> None:
    assert main(["train", "--recipe", "digits", "--epochs", "1", "--quiet"]) == 0
    (made,) = Path("runs").iterdir()
    assert re.fullmatch(r"digits-\d{8}-\d{6}", made.name)


def test_options_change_the_recipe() -> None:
    options = {
        "--recipe": "three-layer", "--epochs": "1", "--batch-size": "50", "--lr": "0.25", "--hidden": "7,5,3",
        "--optimizer": "momentum", "--weight-decay": "0.001", "--clip-norm": "0.5", "--seed": "9",
    }  # fmt: skip
    arguments = [word for option in options.items() for word in option]
    assert main(["train", "--data", "digits", "--quiet", "--out", "run", *arguments]) == 0
    recipe = Recipe.from_dict(summary()["config"])  # type: ignore[arg-type]
    assert (recipe.name, recipe.epochs, recipe.batch_size, recipe.lr) == ("three-layer", 1, 50, 0.25)
    assert (recipe.hidden, recipe.optimizer) == ((7, 5, 3), "momentum")
    assert (recipe.weight_decay, recipe.clip_norm) == (0.001, 0.5)
    assert summary()["seed"] == 9


def test_full_batch_and_no_hidden_layer_can_be_asked_for() -> None:
    assert main([*QUICK, "--quiet", "--batch-size", "full", "--hidden", "none"]) == 0
    recipe = Recipe.from_dict(summary()["config"])  # type: ignore[arg-type]
    assert (recipe.batch_size, recipe.hidden) == (None, ())


def test_equal_seeds_give_equal_weights() -> None:
    weights = []
    for seed in ("5", "5", "6"):
        assert main([*QUICK, "--quiet", "--seed", seed]) == 0
        with np.load("run/checkpoint.npz") as content:
            weights.append(content["model.0.weight"])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_without_mnist_the_digits_are_taken_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--epochs", "1", "--quiet", "--out", "run"]) == 0
    captured = capsys.readouterr()
    notes = captured.err.splitlines()
    assert len(notes) == 2
    assert "bundled digits" in notes[0]
    assert "TINYGRAD_MNIST_DATA" in notes[0]
    assert "recipe 'cnn-digits' takes the place of 'cnn'" in notes[1]
    assert captured.out.startswith("recipe cnn-digits, the bundled digits: test accuracy")


def test_a_directory_with_mnists_files(mnist_like: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", str(mnist_like), "--epochs", "1", "--hidden", "4", "--out", "run"]
    assert main([*arguments, "--quiet"]) == 0
    assert summary()["data_source"] == str(mnist_like.resolve())
    assert main(["evaluate", "run"]) == 0
    assert "on 50 test images of data" in capsys.readouterr().out


def test_the_environment_names_the_directory(mnist_like: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(mnist_like))
    assert main(["train", "--epochs", "1", "--hidden", "4", "--out", "run", "--quiet"]) == 0
    assert (summary()["recipe"], summary()["data"]) == ("mlp", "mnist")


def test_data_that_is_too_small_for_the_epochs_of_a_recipe_is_told(
    mnist_like: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--recipe", "mlp", "--data", str(mnist_like), "--quiet", "--out", "run"]
    assert main(arguments) == 0
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence == (
        "tinygrad-mnist: the recipe mlp is made for more images: these are trained on in 3 steps; take more "
        "epochs, such as --epochs 500"
    )
    assert main([*arguments, "--epochs", "1"]) == 0
    assert capsys.readouterr().err == ""


# ---- rows that are added to the tables of choices ----------------------------------------------------------


def test_an_optimizer_that_is_added_is_offered_and_trains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPTIMIZERS, "mine", OptimizerChoice(SGD, lr=0.125))
    assert main(["train", "--help"]) == 0
    assert "|".join(OPTIMIZERS) in capsys.readouterr().out
    assert main([*QUICK, "--optimizer", "mine"]) == 0
    recipe = Recipe.from_dict(summary()["config"])  # type: ignore[arg-type]
    assert (recipe.optimizer, recipe.lr) == ("mine", 0.125)
    assert "mine at 0.125 (one-cycle), L2 weight decay" in capsys.readouterr().out


def test_a_recipe_that_is_added_is_listed_and_trains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "mine", Recipe("mine", "all my own", (4,), epochs=1, data="digits"))
    assert main(["recipes"]) == 0
    assert re.search(r"^mine +4 +all my own$", capsys.readouterr().out, re.M)
    assert main(["train", "--recipe", "mine", "--out", "run", "--quiet"]) == 0
    assert (summary()["recipe"], summary()["changes"]) == ("mine", {})


def test_data_that_is_added_is_offered_and_trained_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "mine", DatasetChoice(lambda notify: load_digits(), "my digits"))
    for command in ("train", "evaluate", "graph"):
        assert main([command, "--help"]) == 0
        assert "auto|mnist|digits|mine|PATH" in capsys.readouterr().out
    assert main([*QUICK, "--data", "mine"]) == 0
    assert "unseen digits (my digits)" in capsys.readouterr().out
    assert main(["evaluate", "run"]) == 0
    assert "on 359 test images of my digits" in capsys.readouterr().out


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_offered(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    assert name in capsys.readouterr().out


# ---- compiled --------------------------------------------------------------------------------------------


def test_whether_the_steps_are_compiled_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(QUICK) == 0
    assert "\nsteps are not compiled: 80 steps of this size save less time" in capsys.readouterr().out
    assert main([*QUICK, "--jit", "off"]) == 0
    assert "\nsteps are not compiled: jit is off\n" in capsys.readouterr().out


def test_compiled_steps_are_said_and_noted(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("llvmlite", reason="the extra `jit` is not installed")
    assert main([*QUICK, "--jit", "on"]) == 0
    assert "\nsteps are compiled: jit is on\n" in capsys.readouterr().out
    assert (summary()["jit"], summary()["compiled"]) == ("on", True)


def test_without_the_compiler_auto_trains_and_says_so_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "_unavailable", lambda: MISSING)
    monkeypatch.setattr(compilation, "COMPILE_COST", 0.0)
    for arguments in (QUICK, [*QUICK, "--quiet"]):
        assert main(arguments) == 0
        printed = capsys.readouterr()
        (notice,) = printed.err.splitlines()[1:]
        assert notice == f"tinygrad-mnist: steps are not compiled: {MISSING}"
        assert "compiled" not in printed.out
        assert not summary()["compiled"]


def test_without_the_compiler_on_is_one_sentence(error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "_unavailable", lambda: MISSING)
    assert f"jit is on, but {MISSING}" in error_of(*QUICK, "--jit", "on")
    assert not Path("run").exists()


def test_what_the_environment_switches_off_cannot_be_asked_for(
    error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_JIT", "0")
    assert "TINYGRAD_MNIST_JIT is 0" in error_of(*QUICK, "--jit", "on")


# ---- mistakes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--recipe", "three-layr"], "did you mean three-layer"),
        (["--batch-size", "-5"], " --batch-size must be"),
        (["--batch-size", "many"], "'many' is no whole number"),
        (["--lr", "nan"], " --lr must be"),
        (["--lr", "fast"], "'fast' is no number"),
        (["--lr", "-1"], "lr must be"),
        (["--epochs", "0"], "epochs must be"),
        (["--epochs", "some"], "'some' is no number"),
        (["--hidden", "64,x"], "as in 256,128"),
        (["--hidden", "-3"], "hidden must be"),
        (["--optimizer", "adamm"], "did you mean adam"),
        (["--weight-decay", "inf"], " --weight-decay must be"),
        (["--clip-norm", "0"], " --clip-norm must be"),
        (["--seed", "-1"], "-1 is not 0 or more"),
        (["--threads", "0"], "0 is not 1 or more"),
        (["--jit", "yes"], "--jit: 'yes' is none of auto, on, off"),
        (["--jit", ""], "--jit: '' is none of auto, on, off"),
        (["--thread", "1"], "unrecognized arguments"),
        (["somewhere"], "unrecognized arguments: somewhere (see tinygrad-mnist train --help)"),
        (["--recipe", "nope"], "no recipe 'nope'; choose one of cnn, "),
        (["--recipe", ""], "--recipe: it is empty"),
        (["--data", ""], "--data: it is empty"),
        (["--out", ""], "--out: it is empty"),
    ],
)
def test_a_misuse_is_one_sentence(error_of: ErrorOf, arguments: list[str], word: str) -> None:
    assert word in error_of("train", *arguments, status=2)


def test_a_data_directory_that_is_missing(error_of: ErrorOf) -> None:
    assert "no data set and no directory called 'nowhere'" in error_of("train", "--data", "nowhere")


def test_a_data_directory_without_the_files(error_of: ErrorOf) -> None:
    Path("empty").mkdir()
    assert "empty has no data set: it is empty, where the four IDX files" in error_of(
        "train", "--data", "empty"
    )


def test_a_data_file_that_is_cut_off(error_of: ErrorOf, mnist_like: Path) -> None:
    path = mnist_like / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-500])
    assert path.name in error_of("train", "--data", mnist_like)


def test_a_data_file_of_another_kind(error_of: ErrorOf, mnist_like: Path) -> None:
    path = mnist_like / "t10k-labels-idx1-ubyte.gz"
    path.write_text("labels")
    assert path.name in error_of("train", "--data", mnist_like)


def test_an_out_directory_with_other_things(error_of: ErrorOf) -> None:
    Path("run").mkdir()
    Path("run/thesis.tex").write_text("")
    assert "thesis.tex" in error_of(*QUICK)


def test_an_out_directory_that_cannot_be_made(error_of: ErrorOf) -> None:
    Path("file").write_text("")
    assert "cannot be written to" in error_of("train", "--data", "digits", "--out", "file/run")


def test_a_loss_that_grows_beyond_all_bounds(error_of: ErrorOf) -> None:
    options = ["--recipe", "three-layer", "--optimizer", "sgd", "--lr", "1e30", "--clip-norm", "1e30"]
    assert "training has diverged" in error_of(*QUICK, *options)


def test_a_disk_that_is_full(error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "No space left on device" in error_of(*QUICK)


def test_a_disk_that_is_full_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = "run/training.png cannot be written (No space left on device)"

    def full(directory: RunDirectory, *rest: Any) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        notify = rest[-1]
        notify(fault)
        return (), (directory.file("training.png"),)

    monkeypatch.setattr(run_module, "draw_pictures", full)
    assert main(QUICK) == 1
    captured = capsys.readouterr()
    assert "test accuracy" in captured.out
    assert captured.err.splitlines()[-1] == f"tinygrad-mnist: {fault}"


def test_ctrl_c_before_anything_was_learned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "planned", interrupt)
    assert main(QUICK) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "tinygrad-mnist: interrupted"
    assert not Path("run").exists()


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("ours")

    monkeypatch.setattr(run_module, "planned", fail)
    with pytest.raises(AssertionError, match="ours"):
        main(QUICK)


def test_memory_that_does_not_suffice(error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(run_module, "planned", fail)
    assert "not enough memory" in error_of(*QUICK)


# ---- MNIST itself --------------------------------------------------------------------------------------


def test_one_epoch_on_mnist(mnist_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", str(mnist_dir), "--epochs", "1", "--hidden", "64", "--out", "run"]
    assert main([*arguments, "--quiet"]) == 0
    assert summary()["test_accuracy"] > 0.96  # type: ignore[operator]
    assert summary()["test_images"] == 10_000
