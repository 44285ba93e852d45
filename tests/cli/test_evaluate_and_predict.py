import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist.cli import main
from tinygrad_mnist.data import Standardizer, load_digits
from tinygrad_mnist.training import RECIPES, Checkpoint, load_checkpoint, save_checkpoint
from tinygrad_mnist.training.prediction import predict_by_checkpoint
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.runs import run

ErrorOf = Callable[..., str]


@pytest.fixture
def picture() -> Path:
    """A one, dark on light, larger than the model's images and not in the middle."""
    image = pytest.importorskip("PIL.Image")
    drawn = np.full((120, 90), 240, np.uint8)
    drawn[15:95, 20:30] = 10
    image.fromarray(drawn).save("one.png")
    return Path("one.png")


def test_evaluate_says_what_the_summary_says(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run_directory)]) == 0
    out = capsys.readouterr().out
    summary = (run_directory / "summary.json").read_text()
    found = re.search(r'"test_accuracy": ([\d.]+)', summary)
    assert found is not None
    assert f"test accuracy {100 * float(found[1]):.2f} % on 359 test images" in out
    assert len(re.findall(r"^\d +\d+ +\d+\.\d\d %", out, re.M)) == 10


def test_evaluate_takes_the_checkpoint_itself(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run_directory / "checkpoint.npz"), "--data", "digits"]) == 0
    assert "on 359 test images of the bundled digits" in capsys.readouterr().out


def test_evaluate_on_images_of_another_size(run_directory: Path, error_of: ErrorOf, mnist_like: Path) -> None:
    message = error_of("evaluate", run_directory, "--data", mnist_like)
    assert "8 x 8 pixels" in message
    assert "28 x 28" in message


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_run_that_does_not_exist(error_of: ErrorOf, command: str) -> None:
    more = ["x.png"] if command == "predict" else []
    assert "nowhere does not exist" in error_of(command, "nowhere", *more)


def test_a_run_without_a_checkpoint(error_of: ErrorOf) -> None:
    Path("empty").mkdir()
    assert "empty has no checkpoint.npz" in error_of("evaluate", "empty")


def test_a_checkpoint_that_is_cut_off(run_directory: Path, error_of: ErrorOf) -> None:
    content = (run_directory / "checkpoint.npz").read_bytes()
    Path("cut.npz").write_bytes(content[: len(content) // 2])
    assert "cut.npz is cut off or damaged" in error_of("evaluate", "cut.npz")


def test_a_checkpoint_of_another_model(run_directory: Path, error_of: ErrorOf) -> None:
    with np.load(run_directory / "checkpoint.npz") as content:
        arrays = dict(content)
    arrays["model.9.weight"] = arrays.pop("model.0.weight")
    np.savez("other.npz", **arrays)
    message = error_of("evaluate", "other.npz")
    assert "another model" in message
    assert "0.weight" in message
    assert "9.weight" in message


def test_a_text_is_no_checkpoint(error_of: ErrorOf) -> None:
    Path("notes.txt").write_text("hello")
    assert "notes.txt is no checkpoint" in error_of("evaluate", "notes.txt")


def test_predict_prints_digit_and_confidence(
    run_directory: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run_directory), str(picture)]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["image", "digit", "confidence"]
    assert re.fullmatch(r"one\.png +1 +\d+\.\d %", row)


def test_predict_prints_all_probabilities(
    run_directory: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run_directory), str(picture), "--probabilities"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["image", "digit", "confidence", *"0123456789"]
    shares = [float(share) for share in re.findall(r"(\d+\.\d) %", row)]
    assert sum(shares[1:]) == pytest.approx(100, abs=1)


def test_predict_says_what_a_model_of_small_digits_is_not_made_for(
    run_directory: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run_directory), str(picture)]) == 0
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "trained on 1,294 small digits of 8 x 8 pixels" in sentence
    assert "train on MNIST" in sentence


def test_predict_takes_pictures_out_of_a_stack(
    run_directory: Path, capsys: pytest.CaptureFixture[str], encode_idx: Callable[[np.ndarray], bytes]
) -> None:
    digits = load_digits()
    np.save("stack.npy", digits.test_images[:8])
    Path("stack.idx").write_bytes(encode_idx(digits.test_images[:8]))
    assert (
        main(["predict", str(run_directory), "stack.npy:3", "stack.idx:3", "stack.npy", "--index", "5"]) == 0
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["stack.npy:3", "stack.idx:3", "stack.npy"]
    truth = [str(digits.test_labels[k]) for k in (3, 3, 5)]
    assert [row[1] for row in rows] == truth


def test_one_bad_picture_does_not_hide_the_others(
    run_directory: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run_directory), "missing.png", str(picture)]) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == "tinygrad-mnist: missing.png does not exist"
    assert "one.png" in captured.out


def pipe_in(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    buffer = io.BytesIO(content)
    buffer.name = "<stdin>"  # type: ignore[attr-defined]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(buffer))


def test_predict_reads_standard_input_among_others(
    run_directory: Path, picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe_in(monkeypatch, picture.read_bytes())
    assert main(["predict", str(run_directory), str(picture), "-"]) == 0
    beside, piped = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert (beside[0], piped[0]) == ("one.png", "-")
    assert beside[1:] == piped[1:]


def test_predict_takes_a_number_of_standard_input(
    run_directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("stack.npy", load_digits().test_images[:8])
    pipe_in(monkeypatch, Path("stack.npy").read_bytes())
    assert main(["predict", str(run_directory), "-", "--index", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == str(load_digits().test_labels[5])


def test_a_fault_of_standard_input_is_told(
    run_directory: Path, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe_in(monkeypatch, b"")
    assert "standard input is empty" in error_of("predict", run_directory, "-")
    pipe_in(monkeypatch, b"just text")
    assert "standard input is not a picture" in error_of("predict", run_directory, "-")
    assert "read once" in error_of("predict", run_directory, "-", "-", status=2)
    monkeypatch.setattr("sys.stdin", None)
    assert "no picture comes by standard input" in error_of("predict", run_directory, "-")


@pytest.mark.parametrize(
    ("name", "content"), [("notes.txt", b"just text"), ("empty.png", b""), ("cut.npy", b"\x93NUMPY\x01\x00v")]
)
def test_a_file_that_is_no_picture(run_directory: Path, error_of: ErrorOf, name: str, content: bytes) -> None:
    pytest.importorskip("PIL.Image")
    Path(name).write_bytes(content)
    assert name in error_of("predict", run_directory, name)


def test_a_stack_without_a_number(run_directory: Path, error_of: ErrorOf) -> None:
    np.save("stack.npy", load_digits().test_images[:8])
    assert "0 to 7" in error_of("predict", run_directory, "stack.npy")


def test_a_number_beyond_the_stack(run_directory: Path, error_of: ErrorOf) -> None:
    np.save("stack.npy", load_digits().test_images[:8])
    assert "8 pictures" in error_of("predict", run_directory, "stack.npy:8")


def test_predict_without_a_picture(run_directory: Path, error_of: ErrorOf) -> None:
    assert "IMAGE" in error_of("predict", run_directory, status=2)


def test_a_checkpoint_with_numbers_that_are_none(run_directory: Path, error_of: ErrorOf) -> None:
    with np.load(run_directory / "checkpoint.npz") as content:
        arrays = dict(content)
    arrays["model.0.weight"] = np.full_like(arrays["model.0.weight"], np.nan)
    np.savez("nan.npz", **arrays)
    assert "not finite, in 0.weight" in error_of("evaluate", "nan.npz")


def test_evaluate_with_a_variable_that_is_not_set(run_directory: Path, error_of: ErrorOf) -> None:
    assert "--data: it is empty" in error_of("evaluate", run_directory, "--data", "", status=2)


# ---- text of unknown origin -------------------------------------------------------------------------------

ESCAPES = "\x1b[31m\x07\u202e\r\n\x9b2J\ud800"


def with_header(run_directory: Path, name: str, **entries: object) -> str:
    """Write the checkpoint with other entries in its header; return its path."""
    with np.load(run_directory / "checkpoint.npz") as content:
        arrays = dict(content)
    arrays["checkpoint"] = np.array(json.dumps({**json.loads(str(arrays["checkpoint"])), **entries}))
    with open(name, "wb") as file:
        np.savez(file, **arrays)
    return name


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints, which is printable, line by line."""
    capsys.readouterr()
    main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert "Traceback" not in text
    assert all(line.isprintable() for line in text.split("\n"))
    return text


def test_class_names_do_not_reach_the_terminal_as_they_are(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{digit}\x1b[2J\x9b\u202e\r" for digit in range(10)]
    path = with_header(run_directory, "names.npz", class_names=names)
    np.save("stack.npy", load_digits().test_images[:8])
    assert r"0\x1b[2J\x9b\u202e\r" in shown(capsys, "evaluate", path)
    assert r"9\x1b[2J" in shown(capsys, "predict", path, "stack.npy:3", "--probabilities")


@pytest.mark.parametrize(
    "entries",
    [
        {"format": ESCAPES},
        {"format": 2, "tinygrad_mnist": ESCAPES},
        {"origin": {"data": ESCAPES}},
        {"origin": {"data": "digits" + ESCAPES[:-1]}},
        {"class_names": [ESCAPES, *"12345678", "9"]},
        {"recipe": {ESCAPES: 1}},
        {"recipe": {ESCAPES[:-1]: 1}},
        {"image_shape": ESCAPES},
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "predict", "graph"])
def test_what_a_checkpoint_says_does_not_reach_the_terminal_as_it_is(
    run_directory: Path, capsys: pytest.CaptureFixture[str], entries: dict[str, object], command: str
) -> None:
    path = with_header(run_directory, "header.npz", **entries)
    np.save("digit.npy", load_digits().test_images[0])
    shown(capsys, command, path, *(["digit.npy"] if command == "predict" else []))


def test_names_of_files_do_not_reach_the_terminal_as_they_are(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = "x\x1b[31m\u202e"
    for command in (
        ["evaluate", odd],
        ["evaluate", run_directory, "--data", odd],
        ["predict", run_directory, odd],
        ["predict", odd, odd],
        ["predict", run_directory, "x.png", "--index", odd],
        ["graph", odd],
        ["graph", run_directory, "-o", f"{odd}.txt"],
        ["graph", run_directory, "-o", odd],
        ["graph", run_directory, "--expand", odd],
        ["train", "--recipe", odd],
        ["train", "--data", odd],
        ["train", "--lr", odd],
        ["gradcheck", odd],
        ["gradcheck", f"{odd}.py:f"],
        ["recipes", odd],
        [odd],
    ):
        assert r"\x1b[31m\u202e" in shown(capsys, *command), command


def test_a_run_in_a_directory_of_an_odd_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "draw_pictures", lambda *_: ((), ()))
    arguments = ["train", "--recipe", "digits", "--epochs", "1", "--hidden", "none", "--out", "x\x1b[31m"]
    assert r"x\x1b[31m/summary.json" in shown(capsys, *arguments).replace("\\\\", "/")
    assert r"x\x1b[31m" in shown(capsys, *arguments, "--quiet")


@pytest.mark.parametrize("command", ["evaluate", "predict", "graph"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.0.weight": lambda old: old + 3e38}, ["beyond 1e+15, with which nothing", "0.weight"]),
        ({"model.1.running_var": lambda old: -old}, ["a negative variance, in 1.running_var"]),
        ({"model.0.bias": lambda old: old.astype(np.int8)}, ["0.bias: dtype int8 was given"]),
        ({"model.0.bias": lambda old: old.astype(object)}, ["'model.0.bias' is pickled"]),
    ],
)
def test_useless_weights_are_refused_by_name(
    run_directory: Path,
    error_of: ErrorOf,
    command: str,
    change: dict[str, Callable[[np.ndarray], np.ndarray]],
    words: list[str],
) -> None:
    with np.load(run_directory / "checkpoint.npz") as content:
        arrays = dict(content)
    arrays |= {name: function(arrays[name]) for name, function in change.items()}
    np.savez("useless.npz", **arrays)
    message = error_of(command, "useless.npz", *(["x.png"] if command == "predict" else []))
    assert all(word in message for word in words), message


def test_a_recipe_of_huge_batches_can_be_drawn(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the data is gone, the batch is drawn at random, and a file may ask for any number of images."""
    with np.load(run_directory / "checkpoint.npz") as content:
        recipe = json.loads(str(content["checkpoint"]))["recipe"]
    path = with_header(
        run_directory, "huge.npz", recipe={**recipe, "batch_size": 10**18}, origin={"data": "gone"}
    )
    assert "random images" in shown(capsys, "graph", path)


def test_a_model_of_fewer_classes_than_its_data(
    capsys: pytest.CaptureFixture[str], error_of: ErrorOf
) -> None:
    recipe = RECIPES["digits"].changed(hidden=(4,))
    model, standardizer = build_model(recipe, (8, 8), 3), Standardizer(70, 90)
    few = Checkpoint(model, recipe, (8, 8), ("a", "b", "c"), standardizer, {"data": "digits"})
    save_checkpoint("few.npz", few)
    assert "3 classes" in error_of("evaluate", "few.npz")
    assert "3 classes" in error_of("graph", "few.npz", "--data", "digits")
    assert "random images: the model takes images of 8 x 8 pixels in 3 classes" in shown(
        capsys, "graph", "few.npz"
    )


# ---- averages: shifts of an image, and several runs --------------------------------------------------------


@pytest.fixture(scope="module")
def second_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run like the first, of another seed."""
    path = tmp_path_factory.mktemp("runs") / "second run"
    arguments = ["train", "--recipe", "digits", "--epochs", "2", "--seed", "2", "--quiet", "--out", str(path)]
    assert main(arguments) == 0
    return path


def accuracy_of(probabilities: np.ndarray) -> str:
    """The accuracy of probabilities on the test digits, as a command prints it."""
    return f"{100 * np.mean(probabilities.argmax(axis=1) == load_digits().test_labels):.2f} %"


def probabilities_of(run: Path, images: np.ndarray) -> np.ndarray:
    """The softmax of the logits of a run's model, in float64."""
    checkpoint = load_checkpoint(run)
    logits = checkpoint.model(checkpoint.standardizer(images)).detach().numpy().astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_mean_over_shifts_is_evaluated_and_that_is_said(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = load_digits().test_images
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    shifts = [padded[:, i : i + 8, j : j + 8] for i, j in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    mean = np.mean([probabilities_of(run_directory, shift) for shift in shifts], axis=0)
    assert main(["evaluate", str(run_directory), "--tta"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"test accuracy {accuracy_of(mean)} on 359 test images")
    assert lines[1] == "probabilities averaged over the image and its four shifts by one pixel"


def test_the_mean_of_several_runs_is_evaluated_and_that_is_said(
    run_directory: Path, second_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = [probabilities_of(run, load_digits().test_images) for run in (run_directory, second_run)]
    assert main(["evaluate", str(run_directory), str(second_run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"test accuracy {accuracy_of(np.mean(alone, axis=0))} on 359 test images")
    assert lines[1:4] == [
        "probabilities averaged over 2 runs",
        f"{accuracy_of(alone[0])} by {run_directory} alone",
        f"{accuracy_of(alone[1])} by {second_run} alone",
    ]


def test_both_are_averaged_together(
    run_directory: Path, second_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run_directory), str(second_run), "--tta"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "probabilities averaged over 2 runs, and for each over the image and its four shifts by one pixel"
    )


def test_a_run_that_is_named_twice(run_directory: Path, error_of: ErrorOf) -> None:
    message = error_of("evaluate", run_directory, run_directory, status=2)
    assert f"{run_directory} was named twice" in message


@pytest.mark.parametrize(
    ("image_shape", "names", "data", "words"),
    [
        (
            (4, 16),
            "0123456789",
            "digits",
            "cannot be averaged: they take images of 8 x 8 and of 4 x 16 pixels",
        ),
        (
            (8, 8),
            "abcdefghij",
            "digits",
            "they have different classes, 0, 1, 2, ... (10) and a, b, c, ... (10)",
        ),
        ((8, 8), "0123456789", "mnist", "were trained on different data, digits and mnist; say by --data"),
    ],
)
def test_runs_that_do_not_go_together_are_named(
    run_directory: Path,
    error_of: ErrorOf,
    image_shape: tuple[int, int],
    names: str,
    data: str,
    words: str,
) -> None:
    recipe = RECIPES["digits"].changed(hidden=())
    model, standardizer = build_model(recipe, image_shape, 10), Standardizer(70, 90)
    other = Checkpoint(model, recipe, image_shape, tuple(names), standardizer, {"data": data})
    save_checkpoint("other.npz", other)
    message = error_of("evaluate", run_directory, "other.npz")
    assert f"{run_directory} and other.npz " in message
    assert words in message


# ---- a table of predictions ------------------------------------------------------------------------------


@pytest.fixture
def unlabelled() -> Path:
    """Twenty test digits in a file as Kaggle's test.csv is, without labels."""
    rows = load_digits().test_images[:20].reshape(20, 64)
    lines = [",".join(f"pixel{i}" for i in range(64)), *(",".join(map(str, row)) for row in rows)]
    Path("test set.csv").write_text("\n".join(lines) + "\n")
    return Path("test set.csv")


def test_a_submission_is_written_and_counted(
    run_directory: Path, unlabelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", run_directory, "--data", unlabelled, "--submission", "out put.csv"]
    assert main([str(argument) for argument in arguments]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "out put.csv: 20 predictions for test set.csv"
    predicted = probabilities_of(run_directory, load_digits().test_images[:20]).argmax(axis=1)
    expected = ["ImageId,Label", *(f"{number},{label}" for number, label in enumerate(predicted, 1))]
    assert Path("out put.csv").read_bytes() == ("\n".join(expected) + "\n").encode()
    counts = dict(line.split() for line in out[2:])
    assert counts == {str(digit): str(np.count_nonzero(predicted == digit)) for digit in range(10)}


def test_a_submission_by_the_mean_over_shifts_says_so(
    run_directory: Path, capsys: pytest.CaptureFixture[str], encode_idx: Callable[[np.ndarray], bytes]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 8, 8)).astype(np.uint8)
    Path("noise.idx").write_bytes(encode_idx(noise))
    arguments = ["predict", str(run_directory), "--data", "noise.idx", "--submission", "out.csv"]
    tables = []
    for more in ([], ["--tta"]):
        assert main([*arguments, *more]) == 0
        tables.append(np.loadtxt("out.csv", int, delimiter=",", skiprows=1)[:, 1])
    assert "averaged over each image and its four shifts by one pixel\n" in capsys.readouterr().out
    expected = predict_by_checkpoint(load_checkpoint(run_directory), noise, tta=True).argmax(axis=1)
    assert np.array_equal(tables[1], expected)
    assert not np.array_equal(tables[0], tables[1])


def test_images_of_another_size_leave_the_old_table(run_directory: Path, error_of: ErrorOf) -> None:
    Path("small.csv").write_text("pixel0,pixel1,pixel2,pixel3\n0,64,128,255\n")
    Path("out.csv").write_text("ImageId,Label\n")
    message = error_of("predict", run_directory, "--data", "small.csv", "--submission", "out.csv")
    assert "the model takes images of 8 x 8 pixels, but these have 2 x 2" in message
    assert Path("out.csv").read_text() == "ImageId,Label\n"


@pytest.mark.parametrize("name", ["test set.csv", "./x/../test set.csv", "soft.csv", "hard.csv"])
def test_the_data_is_not_replaced_by_its_predictions(
    run_directory: Path, unlabelled: Path, error_of: ErrorOf, name: str
) -> None:
    content = unlabelled.read_bytes()
    Path("x").mkdir()
    Path("soft.csv").symlink_to(unlabelled)
    Path("hard.csv").hardlink_to(unlabelled)
    for data, table in ((unlabelled, name), (name, unlabelled)):
        message = error_of("predict", run_directory, "--data", data, "--submission", table, status=2)
        assert (
            f"--submission {table} is the file of --data, which would be lost; name another file" in message
        )
    assert unlabelled.read_bytes() == content


def test_no_other_file_is_replaced_by_predictions(
    run_directory: Path, unlabelled: Path, error_of: ErrorOf
) -> None:
    Path("k").mkdir()
    Path("k/train.csv").write_text("label,pixel0\n")
    checkpoint = (run_directory / "checkpoint.npz").read_bytes()
    for data, table in (("k", "k/train.csv"), (unlabelled, run_directory / "checkpoint.npz")):
        message = error_of("predict", run_directory, "--data", data, "--submission", table)
        assert f"{table} is there, and is no table of predictions" in message
    assert Path("k/train.csv").read_text() == "label,pixel0\n"
    assert (run_directory / "checkpoint.npz").read_bytes() == checkpoint


def submitted(run: Path, data: Path | str, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """The lines that are printed, and the lines of the table."""
    assert main(["predict", str(run), "--data", str(data), "--submission", "out.csv"]) == 0
    return capsys.readouterr().out.splitlines(), Path("out.csv").read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    ("heading", "written"),
    [
        ("id", "id,label"),
        ("ImageId", "ImageId,Label"),
        ("Unnamed: 0", "id,label"),
        ("Filename", "Filename,Label"),
    ],
)
def test_the_ids_of_the_data_stand_in_the_table(
    run_directory: Path, capsys: pytest.CaptureFixture[str], heading: str, written: str
) -> None:
    images = load_digits().test_images[:3].reshape(3, 64)
    lines = [f"{heading},{','.join(f'pixel{k}' for k in range(64))}"]
    lines += [f'"a, {7 - k}",' + ",".join(map(str, image)) for k, image in enumerate(images)]
    Path("test.csv").write_text("\n".join(lines))
    predicted = probabilities_of(run_directory, load_digits().test_images[:3]).argmax(axis=1)
    _, table = submitted(run_directory, "test.csv", capsys)
    assert table == [written, *(f'"a, {7 - k}",{label}' for k, label in enumerate(predicted))]


def test_labels_of_the_data_give_an_accuracy(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = load_digits()
    rows = np.column_stack([digits.test_labels, digits.test_images.reshape(-1, 64)])
    np.savetxt("labelled.csv", rows, "%d", ",")
    out, table = submitted(run_directory, "labelled.csv", capsys)
    accuracy = accuracy_of(probabilities_of(run_directory, digits.test_images))
    assert out[0] == "out.csv: 359 predictions for labelled.csv"
    assert out[1] == f"labelled.csv: it has labels, which were not used; by them the accuracy is {accuracy}"
    assert table[:1] == ["ImageId,Label"]
    rows[:, 0] += 40
    np.savetxt("labelled.csv", rows, "%d", ",")
    out, _ = submitted(run_directory, "labelled.csv", capsys)
    assert out[1] == "labelled.csv: it has labels, which were not used; none is a class of the model"


def test_pictures_are_named_by_their_files_and_labelled_by_their_folders(
    run_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = pytest.importorskip("PIL.Image")
    digits = load_digits()
    for k in range(12):
        folder = Path(f"plain/deep, {k % 2}"), Path("classes", str(digits.test_labels[k]))
        for path in folder:
            path.mkdir(parents=True, exist_ok=True)
            image.fromarray(digits.test_images[k]).save(path / f"{k}.png")
    out, table = submitted(run_directory, "plain", capsys)
    order = [*range(0, 12, 2), *range(1, 12, 2)]
    predicted = probabilities_of(run_directory, digits.test_images[order]).argmax(axis=1)
    lines = [f'"deep, {k % 2}/{k}.png",{label}' for k, label in zip(order, predicted, strict=True)]
    assert table == ["file,label", *lines]
    right = np.mean(predicted == digits.test_labels[order])
    out, _ = submitted(run_directory, "classes", capsys)
    assert out[
        1
    ] == f"classes: it has labels, which were not used; by them the accuracy is {right:.2%}".replace(
        "%", " %"
    )


def test_one_prediction_is_one(run_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("one.csv").write_text(",".join(["7"] * 63 + ["0"]))
    assert submitted(run_directory, "one.csv", capsys)[0][0] == "out.csv: 1 prediction for one.csv"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--data", "test set.csv"], 2, "name an IMAGE; or a file of images by --data, and the table by"),
        (["--submission", "out.csv"], 2, "name an IMAGE; or a file of images by --data"),
        (["x.png", "--submission", "out.csv"], 2, "but not both"),
        (["x.png", "--data", "test set.csv"], 2, "but not both"),
        (
            ["--data", "test set.csv", "--submission", "out.csv", "--index", "1"],
            2,
            "--index are for pictures",
        ),
        (["--data", "test set.csv", "--submission", "no/out.csv"], 2, "there is no directory 'no'"),
        (["--data", "test set.csv", "--submission", "."], 2, "that is a directory; name a file"),
        (["--data", "nowhere.csv", "--submission", "out.csv"], 1, "nowhere.csv"),
        (["--data", "", "--submission", "out.csv"], 2, "--data: it is empty"),
    ],
)
def test_a_misused_submission_is_one_sentence(
    run_directory: Path, unlabelled: Path, error_of: ErrorOf, arguments: list[str], status: int, words: str
) -> None:
    assert words in error_of("predict", run_directory, *arguments, status=status)
    assert not Path("out.csv").exists()
