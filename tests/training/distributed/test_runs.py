"""Runs by several processes: one writes, all know; they go on as another number; an error of one is all's."""

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.ranks import run_processes
from tinygrad_mnist.training import load_checkpoint, resume_run, train

pytest.importorskip("mpi4py", reason="several processes need mpi4py")

SETTING = textwrap.dedent(
    """
    import json, os, signal, sys
    from pathlib import Path
    import numpy as np
    from tinygrad_mnist.data import Dataset
    from tinygrad_mnist.training import RECIPES, train, resume_run
    from tinygrad_mnist.training.loop.callbacks import Callback
    from tinygrad_mnist.training.runs import run as run_module

    def patterns(seed=7):
        rng = np.random.default_rng(seed)
        shapes = rng.integers(0, 2, size=(4, 5, 5)) * 180

        def draw(count):
            labels = np.arange(count) % 4
            noise = rng.integers(0, 75, size=(count, 5, 5))
            return (shapes[labels] + noise).astype(np.uint8), labels.astype(np.int64)

        return Dataset("patterns", *draw(160), *draw(60), classes=4)

    recipe = RECIPES["digits"].changed(
        hidden=(8,), epochs=2, batch_size=16, evaluate_every=0.5, validation=0.2, dropout=0.2,
        batch_norm=True, augmentation="shift 1", ema=0.5, clip_norm=1.0,
    )

    class Presses(Callback):
        # Ctrl-C after a step; in one process alone, where there are several

        def __init__(self, step):
            self.step = step

        def on_step_end(self, training):
            if training.step == self.step:
                signal.raise_signal(signal.SIGINT)

    class Losses(Callback):
        def on_exit(self, training):
            self.losses, self.training = list(training.history.losses), training
    """
)
"""The data and the recipe, here and in the programs of processes."""

RANKS = SETTING + textwrap.dedent(
    """
    from mpi4py import MPI
    from tinygrad_mnist.training.distributed.communicator import as_communicator
    ranks = as_communicator(MPI.COMM_WORLD)
    last = ranks.rank == ranks.size - 1
    """
)


class Setting:
    """What `SETTING` defines, in this process."""

    def __init__(self) -> None:
        exec(compile(SETTING, "setting", "exec"), vars(self))


@pytest.fixture(scope="module")
def setting():
    return Setting()


def run_ranks(size, program, *arguments):
    """Return the lines that a program of some ranks prints, each as plain data."""
    done = run_processes(size, RANKS + textwrap.dedent(program), *arguments, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# ---- one writes, all know ----------------------------------------------------------------------------------

WHOLE = """
    run_module.write_report = lambda run: None
    outcome = train(recipe, patterns(), seed=3, out="run", communicator=ranks)
    state = outcome.checkpoint.model.state_dict()
    found = {
        "summary": outcome.summary,
        "directory": str(outcome.directory),
        "pictures": [path.name for path in outcome.pictures],
        "origin": outcome.checkpoint.origin,
        "weights": {name: value.tobytes().hex() for name, value in state.items()},
    }
    everybody = ranks.gather(found)
    if ranks.rank == 0:
        print(json.dumps(everybody))
"""


def test_the_first_process_writes_and_all_have_the_outcome(tmp_path, monkeypatch, setting):
    monkeypatch.chdir(tmp_path)
    ((first, second, third),) = run_ranks(3, WHOLE)
    written = json.loads(Path("run/summary.json").read_text())
    assert {**first["summary"], "complete": True} == written
    assert {**second["summary"], "complete": True} == written
    assert second == third
    assert second["pictures"] == []
    assert "predictions.png" in first["pictures"]
    for name in ("directory", "origin", "weights"):
        assert first[name] == second[name]
    (host,) = written["processes"]["hosts"]
    share = written["processes"]["waiting_share"]
    assert written["processes"] == {"ranks": 3, "hosts": {host: 3}, "waiting_share": share, "lost": []}
    assert 0 < share < 1
    saved = load_checkpoint("run")
    assert saved.origin == first["origin"]
    own = {name: value.tobytes().hex() for name, value in saved.model.state_dict().items()}
    assert own == first["weights"]
    assert sorted(path.name for path in Path("run").glob("*.*")) == [
        *("checkpoint.npz", "graph.html", "graph.svg", "last.npz", "metrics.jsonl", "predictions.png"),
        *("previous.npz", "summary.json", "training.png"),
    ]


# ---- as another number of processes ------------------------------------------------------------------------

BY_TWO = """
    import shutil
    run_module.draw_pictures, run_module.write_report = lambda *_: ((), ()), lambda run: None

    def losses_of(function, *arguments, callbacks=(), **options):
        losses = Losses()
        outcome = function(
            *arguments, callbacks=[losses, *callbacks], communicator=ranks, report=False, jit="off", **options
        )
        return losses.losses, outcome

    whole, first = losses_of(train, recipe, patterns(), seed=3, out="whole")
    cut, outcome = losses_of(
        train, recipe, patterns(), seed=3, out="cut", callbacks=[Presses(5)] if last else []
    )
    if ranks.rank == 0:
        shutil.copytree("cut", "cut by three")
    again, second = losses_of(resume_run, "cut", data=patterns())
    more, third = losses_of(resume_run, "cut by one", data=patterns())
    same = all(
        np.array_equal(values, second.checkpoint.model.state_dict()[name])
        for name, values in first.checkpoint.model.state_dict().items()
    )
    found = {
        "whole": whole, "cut": cut, "again": again, "more": more, "same": same,
        "interrupted": outcome.summary["interrupted"],
        "notices": [second.summary["notices"], third.summary["notices"]],
    }
    everybody = ranks.gather(found)
    if ranks.rank == 0:
        print(json.dumps(everybody))
"""

BY_THREE = """
    run_module.draw_pictures = lambda *_: ((), ())
    losses = Losses()
    told = [losses, Presses(11)] if last else [losses]
    resume_run("cut by three", data=patterns(), callbacks=told, communicator=ranks, report=False)
    everybody = ranks.gather(losses.losses)
    if ranks.rank == 0:
        print(json.dumps(everybody))
"""


def train_alone(setting, function, *arguments, callbacks=(), **options):
    """Return the losses of a run by one process, and its outcome."""
    losses = setting.Losses()
    outcome = function(*arguments, callbacks=[losses, *callbacks], report=False, jit="off", **options)
    return losses.losses, outcome


def test_a_run_goes_on_as_another_number_of_processes(tmp_path, monkeypatch, setting):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(setting.run_module, "draw_pictures", lambda *_: ((), ()))
    data = setting.patterns()
    alone, _ = train_alone(setting, train, setting.recipe, data, seed=3, out="whole by one")
    train_alone(
        setting, train, setting.recipe, data, seed=3, out="cut by one", callbacks=[setting.Presses(5)]
    )

    ((two, other),) = run_ranks(2, BY_TWO)
    assert other == two
    assert two["cut"] == two["whole"][:5]
    assert two["interrupted"]
    assert two["again"] == two["whole"]
    assert two["same"]
    np.testing.assert_allclose(two["whole"], alone, rtol=1e-4)
    np.testing.assert_allclose(two["more"], alone, rtol=1e-4)
    of_same, of_more = two["notices"]
    assert not any("machine of before" in notice for notice in of_same)
    assert any("processes: 1 then, 2 now" in notice for notice in of_more)

    ((three, *others),) = run_ranks(3, BY_THREE)
    assert others == [three, three]
    assert len(three) == 11
    assert three[:5] == two["whole"][:5]

    again, last = train_alone(setting, resume_run, "cut by three", data=data)
    assert again[:11] == three
    np.testing.assert_allclose(again, alone, rtol=1e-4)
    assert last.summary["processes"] is None


# ---- an error of one is all's ------------------------------------------------------------------------------

FAULTS = """
    from dataclasses import replace
    from tinygrad_mnist.training.errors import RunError
    from tinygrad_mnist.training.runs import recorder, run
    from tinygrad_mnist.training.runs.directory import RunDirectory

    found = {}
    run.draw_pictures, run.write_report = lambda *_: ((), ()), lambda run: None
    short = recipe.changed(epochs=0.5)

    def note(name, *, seed=3, recipe=short, data=patterns(), callbacks=(), out=None):
        try:
            outcome = train(
                recipe, data, seed=seed, out=out or name, callbacks=callbacks, communicator=ranks, jit="off"
            )
            end = ["Outcome", len(outcome.missing), outcome.interrupted]
        except BaseException as error:
            end = [type(error).__name__, str(error)]
        found[name] = ranks.gather(end)
        found[name].append(sorted(path.name for path in Path(name).glob("[!.]*")))

    def swapped(place, name, replacement, *arguments, **options):
        before = getattr(place, name)
        if ranks.rank == 0:
            setattr(place, name, replacement)
        try:
            note(*arguments, **options)
        finally:
            setattr(place, name, before)

    def fails(error):
        def fail(*_, **__):
            raise error
        return fail

    class Pressed(Callback):
        def on_train_begin(self, training):
            if last:
                raise KeyboardInterrupt(15)

    if ranks.rank == 0:
        Path("file").touch()
        Path("others").mkdir()
        Path("others/letter.txt").touch()
    note("under a file", out="file/run")
    note("others")
    held = RunDirectory("held", "x") if ranks.rank == 0 else None
    note("held")
    del held
    note("seed", seed=3 + last)
    note("data", data=patterns(7 + last))
    note("recipe", recipe=short.changed(lr=0.02) if last else short)
    grey = replace(patterns(), train_images=np.zeros((160, 5, 5), np.uint8))
    note("no contrast", data=grey if last else patterns())
    swapped(recorder, "save_checkpoint", fails(RunError("the disk is full")), "full")
    note("pressed", callbacks=[Pressed()])
    note("diverged", recipe=short.changed(lr=1e38, optimizer="sgd", batch_norm=False, clip_norm=None))
    swapped(run, "write_report", fails(RunError("no report")), "no report")
    swapped(run, "draw_pictures", fails(KeyboardInterrupt()), "pressed in pictures")
    swapped(run, "draw_pictures", fails(RuntimeError("broken")), "broken pictures")

    def pressed_in_evaluation(model, images, *arguments, **options):
        if last and len(images) == 60:  # the test part: pressed once
            signal.raise_signal(signal.SIGINT)
        return evaluate(model, images, *arguments, **options)

    evaluate, run.evaluate = run.evaluate, pressed_in_evaluation
    note("pressed in evaluation")
    note("pressed twice", callbacks=[Presses(2)] if last else [])
    run.evaluate = evaluate
    note("seed 4", seed=4, out="no report")
    if ranks.rank == 0:
        print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("faults"))
        (found,) = run_ranks(2, FAULTS)
    return found


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("under a file", "RunError", "file"),
        ("others", "RunError", "others holds other things than an earlier run (letter.txt)"),
        ("held", "RunError", "another run is writing into held"),
        ("seed", "TrainingError", "seed is 3 on rank 0 ({host}), and 4 on rank 1 ({host})"),
        ("data", "TrainingError", "the SHA-256 of the train part of the data is "),
        ("recipe", "TrainingError", "lr is "),
        ("no contrast", "DataError", ""),
        ("full", "RunError", "the disk is full"),
        ("pressed", "KeyboardInterrupt", "15"),
        ("diverged", "DivergedError", "training has diverged"),
    ],
)
def test_what_is_wrong_in_one_process_ends_all_and_leaves_nothing(faults, name, kind, part):
    first, second, files = faults[name]
    host = first[1].split(" (")[1].split(")")[0] if "{host}" in part else ""
    for end in (first, second):
        assert end[0] == kind
        assert part.format(host=host) in end[1]
    assert files == (["letter.txt"] if name == "others" else [])


def test_ctrl_c_in_one_process_while_all_evaluate_waits_until_they_have(faults):
    assert faults["pressed in evaluation"][:2] == [["Outcome", 0, False]] * 2
    assert [end[0] for end in faults["pressed twice"][:2]] == ["KeyboardInterrupt"] * 2


def test_an_earlier_run_is_replaced(faults):
    assert faults["seed 4"][:2] == [["Outcome", 0, False]] * 2


def test_the_others_have_ended_where_the_first_cannot_draw(faults):
    for name, first in [
        ("no report", ["Outcome", 1, False]),
        ("pressed in pictures", ["Outcome", 5, True]),
        ("broken pictures", ["RuntimeError", "broken"]),
    ]:
        assert faults[name][:2] == [first, ["Outcome", 0, False]]
        assert {"summary.json", "checkpoint.npz"} <= set(faults[name][2])
