import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, nn, training
from tinygrad_mnist._version import __version__
from tinygrad_mnist.data import Standardizer, load_digits
from tinygrad_mnist.training import (
    RECIPES,
    Checkpoint,
    CheckpointError,
    Recipe,
    RecipeError,
    RunError,
    TrainingError,
    load_checkpoint,
    load_state,
    predict,
    save_checkpoint,
    save_state,
)
from tinygrad_mnist.training.checkpoints.checkpoint import recipe_of_checkpoint, require_checkpoint
from tinygrad_mnist.training.prediction import predict_by_checkpoint, preparation_of
from tinygrad_mnist.training.recipe.models import build_model
from tinygrad_mnist.training.runs.pictures import graph_of_checkpoint
from tinygrad_mnist.training.runs.versions import versions

RECIPE = RECIPES["mlp"].changed(hidden=(6, 5), lr=0.125)
NUMBERS: dict[Any, Any] = {
    "floats": [0.1 * number for number in range(40)],
    "odd": (float("nan"), -0.0, float("-inf"), 1 << 128, None, True, "ü", b"x"),
    7: np.array([[1, 2], [3, 4]], ">i2", order="F"),
}


@pytest.fixture
def checkpoint() -> Checkpoint:
    model = build_model(RECIPE, (4, 3), 3, rng=np.random.default_rng(0))
    model(
        Tensor(np.random.default_rng(1).normal(size=(8, 12)).astype(np.float32))
    )  # moves running statistics
    return Checkpoint(
        model, RECIPE, (4, 3), ("a", "b", "c"), Standardizer(33.0, 78.5), {"data": "x", "seed": 1}
    )


NO_CHECKPOINTS: list[tuple[Any, str]] = [
    ("runs/x", r"^'runs/x' was given; expected a Checkpoint, which load_checkpoint\('runs/x'\) returns$"),
    (Path("x.npz"), r"^'x\.npz' was given; expected a Checkpoint"),
    (nn.ReLU(), r"^an object of type ReLU was given; expected a Checkpoint: load_checkpoint\(path\) returns"),
]
BLANK = np.zeros((2, 4, 3), np.uint8)
TAKERS: dict[str, Callable[[Any], object]] = {
    "predict_picture": lambda given: training.predict_picture(given, BLANK[0]),
    "predict_by_checkpoint": lambda given: predict_by_checkpoint(given, BLANK),
    "preparation_of": preparation_of,
    "save_checkpoint": lambda given: save_checkpoint("new.npz", given),
    "write_submission": lambda given: training.write_submission("new.csv", given, BLANK),
    "evaluate_checkpoint": training.evaluate_checkpoint,
    "evaluate_ensemble": lambda given: training.evaluate_ensemble([("a", given)]),
    "graph_of_checkpoint": lambda given: graph_of_checkpoint(given, None, False, print),
}


@pytest.mark.parametrize(("given", "said"), NO_CHECKPOINTS, ids=str)
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_what_is_no_checkpoint_is_told_how_to_be_one(
    take: Callable[[Any], object], given: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=said):
        take(given)
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_place_of_its_checkpoint_is_told(checkpoint: Checkpoint) -> None:
    with pytest.raises(TypeError, match=r"SimpleNamespace was given; expected a Checkpoint: give its \."):
        require_checkpoint(SimpleNamespace(checkpoint=checkpoint))


@pytest.fixture
def path(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.npz", checkpoint)
    return tmp_path / "checkpoint.npz"


def rewritten(path: Path, change: Any) -> Path:
    """The file with its arrays changed by a function of the dict of them."""
    with np.load(path) as content:
        arrays = dict(content)
    change(arrays)
    np.savez(path, **arrays)
    return path


def with_header(path: Path, **entries: Any) -> Path:
    def change(arrays: dict[str, Any]) -> None:
        header = json.loads(str(arrays["checkpoint"]))
        header.update(entries)
        arrays["checkpoint"] = np.array(json.dumps({k: v for k, v in header.items() if v is not ...}))

    return rewritten(path, change)


def error_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_everything_comes_back(checkpoint: Checkpoint, path: Path) -> None:
    again = load_checkpoint(path)
    assert (again.recipe, again.image_shape, again.class_names, again.standardizer, again.origin) == (
        checkpoint.recipe,
        checkpoint.image_shape,
        checkpoint.class_names,
        checkpoint.standardizer,
        checkpoint.origin,
    )
    before, after = checkpoint.model.state_dict(), again.model.state_dict()
    assert list(before) == list(after)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert all(before[name].dtype == after[name].dtype for name in before)


def test_a_file_of_a_version_that_compiled_nothing_is_read(checkpoint: Checkpoint, path: Path) -> None:
    assert not {"jit", "compiled"} & checkpoint.origin.keys()
    assert load_checkpoint(path).origin == checkpoint.origin


def test_a_file_of_a_version_before_convolutions_is_read() -> None:
    """Its recipe is called by its old name, and its model took rows of pixels."""
    checkpoint = load_checkpoint(Path(__file__).parents[1] / "files" / "before_convolutions.npz")
    assert (checkpoint.recipe.name, checkpoint.image_shape) == ("default", (8, 8))
    assert checkpoint.recipe.changes() == {"hidden": [6], "batch_size": 32, "epochs": 12}
    digits = load_digits()
    found = predict(checkpoint.model, digits.test_images, checkpoint.standardizer)
    assert np.mean(found.argmax(axis=1) == digits.test_labels) == pytest.approx(0.9526, abs=1e-4)
    np.testing.assert_allclose(found[0, [0, 3, 5]], [0.956458, 0.008319, 0.011286], rtol=1e-4)


def test_a_file_of_a_version_that_saved_weights_alone_is_read() -> None:
    path = Path(__file__).parents[1] / "files" / "weights_alone.npz"
    checkpoint = load_checkpoint(path)
    assert checkpoint.recipe.changes() == {"hidden": [6], "epochs": 3}
    assert checkpoint.training is None
    digits = load_digits()
    found = predict(checkpoint.model, digits.test_images, checkpoint.standardizer)
    assert np.mean(found.argmax(axis=1) == digits.test_labels) == pytest.approx(0.7409, abs=1e-4)
    np.testing.assert_allclose(found[0, [0, 3, 5]], [0.559267, 0.053564, 0.09975], rtol=1e-4)
    with pytest.raises(CheckpointError, match=r"weights alone, and no state .*; name last\.npz of a run"):
        load_checkpoint(path, training=True)


@pytest.mark.parametrize("name", ["cosine", "plain"])
def test_a_recorded_state_of_a_training_is_read(name: str) -> None:
    """One with a recipe and one without, which the first version with states wrote."""
    path = Path(__file__).parents[1] / "files" / "training.npz"
    if name == "plain":
        path = path.with_name("state.npz")
    state = load_state(path)
    assert state["position"] == {"step": 3, "batch": (1, 2)}
    assert state["optimizer"]["state"][0]["step"] == 3
    np.testing.assert_equal(state["numbers"], NUMBERS)
    if name == "cosine":
        checkpoint = load_checkpoint(path, training=True)
        np.testing.assert_equal(checkpoint.training, state)
        np.testing.assert_equal(checkpoint.model.state_dict(), state["model"])


def test_a_model_of_layers_comes_back(tmp_path: Path) -> None:
    recipe = Recipe("mine", "", model="layers", crop=1, layers=("conv 3 2x2", "norm", "flatten"))
    model = build_model(recipe, (6, 5), 3, rng=np.random.default_rng(0))
    checkpoint = Checkpoint(model, recipe, (6, 5), ("a", "b", "c"), Standardizer(9, 8, 1), {"data": "x"})
    save_checkpoint(tmp_path / "x.npz", checkpoint)
    again = load_checkpoint(tmp_path / "x.npz")
    assert (again.recipe, again.standardizer) == (recipe, checkpoint.standardizer)
    np.testing.assert_equal(again.model.state_dict(), model.state_dict())


def test_the_model_is_ready_for_use(path: Path) -> None:
    assert not load_checkpoint(path).model.training


def test_a_run_directory_will_do(path: Path) -> None:
    assert load_checkpoint(path.parent).recipe == RECIPE


def test_nothing_in_it_is_pickled(path: Path) -> None:
    with np.load(path, allow_pickle=False) as content:
        assert all(content[name].dtype.kind != "O" for name in content.files)


def test_an_older_file_is_replaced_whole(checkpoint: Checkpoint, path: Path) -> None:
    save_checkpoint(path, checkpoint)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    assert "does not exist" in error_of(tmp_path / "nowhere.npz")


def test_a_directory_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoint\.npz"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "it is empty"),
        (b"hello", "it is no .npz file"),
        (b"\x93NUMPY\x01\x00", "it is an .npy file, which holds a single array"),
        (b"PK\x05\x06" + bytes(18), "it is an .npz file without any array"),
    ],
    ids=["empty", "text", "npy", "no arrays"],
)
def test_a_file_of_another_kind(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "other.txt"
    path.write_bytes(content)
    assert f"is no checkpoint: {kind}; name a directory" in error_of(path)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "cut off or damaged" in error_of(path)


def test_a_file_with_a_flipped_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    with np.load(path) as arrays:
        at = content.index(arrays["model.0.weight"].tobytes("A")[:40])
    content[at] ^= 1
    path.write_bytes(content)
    assert "cut off or damaged" in error_of(path)


def test_arrays_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, **{name: np.zeros(3) for name in "abcd"})
    message = error_of(path)
    assert "no checkpoint of tinygrad_mnist: it holds the arrays a, b, c, ..., where a text" in message
    np.savez(path, checkpoint=np.zeros(3))
    assert "it holds an array of float64 of that name" in error_of(path)


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", checkpoint=np.array([{"a": 1}], dtype=object))
    assert "damaged" in error_of(tmp_path / "objects.npz")


def test_a_header_that_is_no_json(path: Path) -> None:
    assert "no JSON" in error_of(rewritten(path, lambda arrays: arrays.update(checkpoint=np.array("{"))))


@pytest.mark.parametrize("header", ["[]", "{}", "3"])
def test_a_header_that_lacks_entries(path: Path, header: str) -> None:
    message = error_of(rewritten(path, lambda arrays: arrays.update(checkpoint=np.array(header))))
    assert "lacks format" in message
    assert "recipe" in message


def test_a_later_format_is_named(path: Path) -> None:
    assert "format 99" in error_of(with_header(path, format=99))


@pytest.mark.parametrize(
    "entries",
    [
        {"recipe": {"name": "x"}},
        {"recipe": 3},
        {"recipe": {**RECIPE.to_dict(), "lr": -1}},
        {"recipe": {**RECIPE.to_dict(), "lr": "NaN"}},
        {"image_shape": [4]},
        {"image_shape": [4, -3]},
        {"image_shape": "4"},
        {"class_names": ["a"]},
        {"class_names": 3},
        {"standardizer": {"mean": 0.0, "std": 0.0}},
        {"standardizer": None},
        {"origin": 3},
    ],
)
def test_a_header_that_makes_no_sense(path: Path, entries: dict[str, Any]) -> None:
    assert "header that cannot be used" in error_of(with_header(path, **entries))


def test_an_earlier_or_later_format_is_refused_before_its_entries(path: Path) -> None:
    later = error_of(with_header(path, format=2, recipe=..., image_shape=..., tinygrad_mnist="9.9"))
    assert (
        f"has format 2, written by tinygrad_mnist '9.9'; this is {__version__}, which reads format 1" in later
    )


def test_an_entry_of_a_later_version_is_no_hindrance(path: Path) -> None:
    assert load_checkpoint(with_header(path, more={"a": 1})).recipe == RECIPE


def test_versions_are_in_the_header(path: Path) -> None:
    with np.load(path) as content:
        header = json.loads(str(content["checkpoint"]))
    assert header["versions"] == versions()
    assert header["versions"]["numpy"] == np.__version__


# ---- the state of a training -------------------------------------------------------------------------------


def with_training(checkpoint: Checkpoint, step: int = 400) -> Checkpoint:
    training = {
        "optimizer": {"state": {0: {"step": step, "exp_avg": np.ones(3, np.float32)}}},
        "model": checkpoint.model.state_dict(),
        "position": {"step": step},
        "numbers": NUMBERS,
    }
    return replace(checkpoint, training=training)


def test_the_state_of_a_training_comes_back(checkpoint: Checkpoint, tmp_path: Path) -> None:
    given = with_training(checkpoint)
    save_checkpoint(tmp_path / "last.npz", given)
    found = load_checkpoint(tmp_path, training=True)
    np.testing.assert_equal(found.training, given.training)
    np.testing.assert_equal(load_state(tmp_path), given.training)
    np.testing.assert_equal(found.model.state_dict(), checkpoint.model.state_dict())
    assert found.training is not None
    assert list(found.training) == ["optimizer", "model", "position", "numbers"]
    assert found.training["optimizer"]["state"][0]["exp_avg"].flags.writeable
    with np.load(tmp_path / "last.npz", allow_pickle=False) as content:
        assert content["training.optimizer.state.0.exp_avg"].tolist() == [1, 1, 1]


def test_a_state_without_the_model_has_it_when_it_is_read(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.npz", replace(checkpoint, training={"step": 1}))
    found = load_state(tmp_path)
    assert found["step"] == 1
    np.testing.assert_equal(found["model"], checkpoint.model.state_dict())


def test_equal_states_give_equal_files(checkpoint: Checkpoint, tmp_path: Path) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, with_training(checkpoint))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_with_a_training_is_used_as_any_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.npz", with_training(checkpoint))
    for path in (tmp_path, tmp_path / "last.npz"):  # a run that has no best state yet
        found = load_checkpoint(path)
        assert found.training is None
        np.testing.assert_equal(found.model.state_dict(), checkpoint.model.state_dict())
        assert recipe_of_checkpoint(path) == RECIPE
    best = replace(checkpoint, class_names=("x", "y", "z"))
    save_checkpoint(tmp_path / "checkpoint.npz", best)
    assert load_checkpoint(tmp_path).class_names == best.class_names
    assert load_checkpoint(tmp_path, training=True).class_names == checkpoint.class_names


def test_a_run_without_a_last_checkpoint_says_so(path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no last\.npz; name a directory"):
        load_checkpoint(path.parent, training=True)
    path.with_name("previous.npz").touch()
    with pytest.raises(
        CheckpointError, match=r"has no last\.npz; name .*previous\.npz, which is the one before"
    ):
        load_checkpoint(path.parent, training=True)


def test_a_state_without_a_recipe_is_no_checkpoint(tmp_path: Path) -> None:
    save_state(tmp_path / "x.npz", {"step": 3})
    assert load_state(tmp_path / "x.npz") == {"step": 3}
    assert "holds the state of a training without a recipe; load_state" in error_of(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "state", [None, [], np.zeros(2), {"model": 3}, {0: np.ones(1), "model": np.zeros(1)}]
)
def test_any_tree_is_a_state(tmp_path: Path, state: Any) -> None:
    save_state(tmp_path / "x.npz", state)
    np.testing.assert_equal(load_state(tmp_path / "x.npz"), state)


def test_what_cannot_be_saved_leaves_the_old_file(path: Path, checkpoint: Checkpoint) -> None:
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=r"training\.callbacks\.0\.seen is of type set"):
        save_checkpoint(path, replace(checkpoint, training={"callbacks": [{"seen": {1}}]}))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"what is no array takes .* are read; let arrays"):
        save_state(tmp_path / "x.npz", {"seen": "x" * (1 << 24)})
    assert list(tmp_path.iterdir()) == []
    save_state(tmp_path / "x.npz", {"seen": "x" * (1 << 22)})
    assert len(load_state(tmp_path / "x.npz")["seen"]) == 1 << 22


def test_a_text_that_was_packed_small_is_not_read(tmp_path: Path) -> None:
    save_state(tmp_path / "x.npz", {})
    with np.load(tmp_path / "x.npz") as content:
        np.savez_compressed(tmp_path / "x.npz", **{**content, "training": np.array(" " * (1 << 22) + "{}")})
    with pytest.raises(CheckpointError, match=r"its header has 16 MiB"):
        load_state(tmp_path / "x.npz")


def test_the_one_before_is_kept_and_offered(checkpoint: Checkpoint, tmp_path: Path) -> None:
    last, previous = tmp_path / "last.npz", tmp_path / "previous.npz"
    for step in (200, 400, 600):
        save_checkpoint(last, with_training(checkpoint, step), previous=previous)
    assert load_state(last)["position"]["step"] == 600
    assert load_state(previous)["position"]["step"] == 400
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    offered = f"name {previous} to go on from step 400"
    for load in (load_state, partial(load_checkpoint, training=True)):
        with pytest.raises(CheckpointError) as caught:
            load(tmp_path)
        assert str(caught.value).endswith(offered)
    previous.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"last\.npz is cut off or damaged.* train again$"):
        load_state(last)


def test_one_of_another_model_is_not_replaced_by_its_like(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """What was kept is offered where it can be used, and only there."""
    for _ in range(2):
        save_checkpoint(tmp_path / "last.npz", with_training(checkpoint), previous=tmp_path / "previous.npz")
    for name in ("last.npz", "previous.npz"):
        with_header(tmp_path / name, recipe=RECIPE.changed(hidden=(6,)).to_dict())
    message = error_of(tmp_path / "last.npz")
    assert "another model" in message
    assert "go on from" not in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last.npz")
    with pytest.raises(CheckpointError, match=r"last\.npz is no file"):
        load_state(tmp_path)


def test_a_file_without_permission_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    assert error_of(path) == f"{path} cannot be read (Permission denied)"


def test_a_model_of_great_cost_is_read_without_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of few bytes may describe much work: it is done for who asks for it, not to read the file."""
    recipe = Recipe("mine", "", model="layers", layers=("activation", "max-pool 1000", "flatten"))
    model = build_model(recipe, (2000, 2000), 2, rng=np.random.default_rng(0))
    given = Checkpoint(model, recipe, (2000, 2000), ("a", "b"), Standardizer(9, 8), {"data": "x"})
    save_checkpoint(tmp_path / "x.npz", given)
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("it was computed"))
    assert load_checkpoint(tmp_path / "x.npz").recipe == recipe


def test_the_values_of_another_model_are_listed(path: Path) -> None:
    """All that is missing, unexpected or of another shape, in the one message."""

    def change(arrays: dict[str, Any]) -> None:
        arrays["model.8.weight"] = arrays.pop("model.6.weight")
        arrays["model.0.weight"] = arrays["model.0.weight"][:, 1:]

    message = error_of(rewritten(path, change))
    assert "another model" in message
    for name in ("6.weight", "8.weight", "0.weight", "(6, 11)", "(6, 12)"):
        assert name in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(path: Path, value: float) -> None:
    def change(arrays: dict[str, Any]) -> None:
        arrays["model.0.bias"][1] = value

    assert "not finite, in 0.bias" in error_of(rewritten(path, change))


def test_a_recipe_that_does_not_fit_the_values(path: Path) -> None:
    message = error_of(with_header(path, recipe=RECIPE.changed(hidden=(6,)).to_dict()))
    assert "another model" in message


def test_a_full_disk_leaves_the_old_file(
    checkpoint: Checkpoint, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot be written \(No space left on device\)"):
        save_checkpoint(path, checkpoint)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX's")
def test_a_disk_that_is_full_anywhere_is_one_sentence(tmp_path: Path) -> None:
    """Wherever the write fails, in whatever layer: no second error is printed, and the old files stay."""
    code = """
import gc, resource, signal, sys
import numpy as np
from tinygrad_mnist.training import RunError, load_state, save_state

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
last, previous = f"{sys.argv[1]}/last.npz", f"{sys.argv[1]}/previous.npz"
for step in range(2):
    save_state(last, {"step": step}, previous=previous)
state = {"step": 2, "a": np.zeros(9000), **{f"b{i}": np.zeros(9) for i in range(200)}}
for limit in [0, 1, 500, 3000, 8192, 8193, 70_000, 81_000, 100_000, 120_000, 140_000]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        save_state(last, state, previous=previous)
    except RunError as error:
        assert str(error) == f"{last} cannot be written (File too large)", error
        gc.collect()
        assert (load_state(last)["step"], load_state(previous)["step"]) == (1, 0)
    else:
        raise SystemExit(f"{limit} is enough")
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last.npz", "previous.npz"]


HUGE = [
    (("max-pool 4000", "flatten"), (40_000, 40_000), 0, "images have 16,777,216 pixels at most"),
    (("flatten",), (40_000, 40_000), 19_999, "images have 16,777,216 pixels at most"),
    ((), (40_000, 40_000), 19_999, "images have 16,777,216 pixels at most"),
    (("conv 99 3x3", "max-pool 999", "flatten"), (1001, 1001), 0, "layers compute 99,8"),
    (("max-pool 99999 padding 49999 stride 100000", "flatten"), (28, 28), 0, "layers compute 10,005,2"),
    (("avg-pool 99999 padding 49999 stride 100000", "flatten"), (28, 28), 0, "layers compute 10,005,2"),
    (("conv 1 1x1 padding 99999 stride 100000", "flatten"), (28, 28), 0, "layers compute 40,010,4"),
    (("conv 1 2x2 dilation 99999 padding same", "flatten"), (28, 28), 0, "layers compute 10,005,4"),
    (("conv 1 20x20", "max-pool 3900", "flatten"), (4000, 4000), 0, "windows of a convolution hold 6,339,3"),
]


@pytest.mark.parametrize(("layers", "image_shape", "crop", "sentence"), HUGE)
def test_a_small_file_cannot_fill_the_memory(
    path: Path, layers: tuple[str, ...], image_shape: tuple[int, int], crop: int, sentence: str
) -> None:
    model = {"model": "layers"} if layers else {}
    recipe = Recipe("mine", "few weights", layers=layers, crop=crop, **model)
    names = ["a", "b", "c"]
    message = error_of(
        with_header(path, recipe=recipe.to_dict(), image_shape=list(image_shape), class_names=names)
    )
    assert sentence in message
    with pytest.raises(RecipeError, match=sentence):  # nor is anything trained that could not be read again
        build_model(recipe, image_shape, 3)
