"""Runs by several processes: one writes, all know; they go on as another number; an error of one is all's.

A start of MPI takes longer than a run, so two programs do all of it: one of two processes, one of three.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ranks import run_processes
from tests.training.distributed.small_runs import RECIPE, Presses, losses_of
from tests.training.small_data import noisy_patterns
from tinygrad_mnist.training import load_checkpoint, resume_run, train
from tinygrad_mnist.training.runs import run as run_module

pytest.importorskip("mpi4py", reason="several processes need mpi4py")
pytestmark = pytest.mark.slow

BEGINNING = """
    import json, os, shutil, signal, sys
    from dataclasses import replace
    from pathlib import Path
    import numpy as np
    from mpi4py import MPI
    from tests.training.distributed.small_runs import RECIPE, Callback, Presses, losses_of
    from tests.training.small_data import noisy_patterns
    from tinygrad_mnist.training import resume_run, train
    from tinygrad_mnist.training.distributed import agreement
    from tinygrad_mnist.training.distributed.communicator import as_communicator
    from tinygrad_mnist.training.errors import RunError
    from tinygrad_mnist.training.runs import recorder, run
    from tinygrad_mnist.training.runs.directory import RunDirectory

    ranks = as_communicator(MPI.COMM_WORLD)
    last = ranks.rank == ranks.size - 1
    run.draw_pictures, run.write_report = lambda *_: ((), ()), lambda run: None
    found = {}

    def at_last(*callbacks):  # given in one process alone
        return callbacks if last else ()
"""

END = """
    everybody = ranks.gather(found)
    if ranks.rank == 0:
        print(json.dumps(everybody))
"""

GOES_ON = """
    whole, first = losses_of(train, RECIPE, noisy_patterns(), seed=3, out="whole", communicator=ranks)
    cut, outcome = losses_of(
        train, RECIPE, noisy_patterns(), seed=3, out="cut", callbacks=at_last(Presses(5)), communicator=ranks
    )
    if ranks.rank == 0:
        shutil.copytree("cut", "cut by two")
    again, second = losses_of(resume_run, "cut", data=noisy_patterns(), communicator=ranks)
    more, third = losses_of(resume_run, "cut by one", data=noisy_patterns(), communicator=ranks)
    trained, state = (one.checkpoint.model.state_dict() for one in (first, second))
    found["losses"] = {"whole": whole, "cut": cut, "again": again, "more": more}
    found["are equal"] = all(np.array_equal(values, state[name]) for name, values in trained.items())
    found["interrupted"] = outcome.summary["interrupted"]
    found["notices"] = [second.summary["notices"], third.summary["notices"]]
"""

FAULTS = """
    short = RECIPE.changed(epochs=0.5)

    def note(name, *, recipe=short, data=noisy_patterns(), function=None, **options):
        try:
            options = {"seed": 3, "out": name, "communicator": ranks, "jit": "off", **options}
            outcome = train(recipe, data, **options) if function is None else function()
            end = ["Outcome", len(outcome.missing), outcome.interrupted]
        except BaseException as error:
            end = [type(error).__name__, str(error)]
        ranks.gather(None)  # until the first one has put back what it wrote
        found[name] = [*end, sorted(path.name for path in Path(name).glob("[!.]*"))]

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
    note("data", data=noisy_patterns(7 + last))
    note("recipe", recipe=short.changed(lr=0.02) if last else short)
    grey = replace(noisy_patterns(), train_images=np.zeros((160, 5, 5), np.uint8))
    note("no contrast", data=grey if last else noisy_patterns())
    if last:
        np.__version__, version = "1.0", np.__version__
    note("version")
    if last:
        np.__version__ = version
    swapped(recorder, "save_checkpoint", fails(RunError("the disk is full")), "full")
    note("pressed", callbacks=at_last(Pressed()))
    note("diverged", recipe=short.changed(lr=1e38, optimizer="sgd", batch_norm=False, clip_norm=None))
    swapped(run, "write_report", fails(RunError("no report")), "no report")
    swapped(run, "draw_pictures", fails(KeyboardInterrupt()), "pressed in pictures")
    swapped(run, "draw_pictures", fails(RuntimeError("broken")), "broken pictures")

    def resumed(name, *arguments, **options):
        note(name, function=lambda: resume_run(*arguments, communicator=ranks, **options))

    resumed("nothing there", "nowhere")
    resumed("other data", "cut", data=noisy_patterns(7 + last))
    resumed("other epochs", "cut", {"epochs": 4 if last else 3}, data=noisy_patterns())
    resumed("all there", "whole", data=noisy_patterns())

    def pressed_in_evaluation(model, images, *arguments, **options):
        if last and len(images) == 60:  # the test part: pressed once
            signal.raise_signal(signal.SIGINT)
        return evaluate(model, images, *arguments, **options)

    evaluate, run.evaluate = run.evaluate, pressed_in_evaluation
    note("pressed in evaluation")
    note("pressed twice", callbacks=at_last(Presses(2)))
    run.evaluate = evaluate
    note("once more", seed=4, out="no report")
"""

BY_THREE = """
    told = at_last(Presses(11))
    found["losses"], _ = losses_of(
        resume_run, "cut by two", data=noisy_patterns(), callbacks=told, communicator=ranks
    )
    run.draw_pictures = lambda directory, *_: ((directory.file("predictions.png"),), ())
    outcome = train(RECIPE, noisy_patterns(), seed=3, out="run", communicator=ranks)
    state = outcome.checkpoint.model.state_dict()
    found["outcome"] = {
        "summary": outcome.summary,
        "directory": str(outcome.directory),
        "pictures": [path.name for path in outcome.pictures],
        "origin": outcome.checkpoint.origin,
        "weights": {name: value.tobytes().hex() for name, value in state.items()},
    }
"""


@dataclass
class Found:
    """What the programs of two and of three processes found, each a list with an entry a rank."""

    folder: Path
    alone: list[float]
    two: list[dict[str, Any]]
    three: list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
        alone, _ = losses_of(train, RECIPE, noisy_patterns(), seed=3, out="whole by one")
        losses_of(train, RECIPE, noisy_patterns(), seed=3, out="cut by one", callbacks=[Presses(5)])
        two, three = (
            ended(run_processes(size, BEGINNING + program + END, timeout=200))
            for size, program in ((2, GOES_ON + FAULTS), (3, BY_THREE))
        )
    return Found(folder, alone, two, three)


def ended(done: Any) -> list[dict[str, Any]]:
    """Return what a program of several processes printed."""
    assert done.returncode == 0, done.stderr
    printed: list[dict[str, Any]] = json.loads(done.stdout)
    return printed


# ---- one writes, all know ----------------------------------------------------------------------------------


def test_the_first_process_writes_and_all_have_the_outcome(found: Found) -> None:
    first, second, third = (one["outcome"] for one in found.three)
    run = found.folder / "run"
    written = json.loads((run / "summary.json").read_text())
    assert {**first["summary"], "complete": True} == written
    assert {**second["summary"], "complete": True} == written
    assert second == third
    assert second["pictures"] == []
    assert first["pictures"] == ["predictions.png"]
    for name in ("directory", "origin", "weights"):
        assert first[name] == second[name]
    (host,) = written["processes"]["hosts"]
    share = written["processes"]["waiting_share"]
    assert written["processes"] == {"ranks": 3, "hosts": {host: 3}, "waiting_share": share, "lost": []}
    assert 0 < share < 1
    saved = load_checkpoint(run)
    assert saved.origin == first["origin"]
    own = {name: value.tobytes().hex() for name, value in saved.model.state_dict().items()}
    assert own == first["weights"]
    assert sorted(path.name for path in run.iterdir()) == [
        *("checkpoint.npz", "last.npz", "metrics.jsonl", "previous.npz", "summary.json"),
    ]


# ---- as another number of processes ------------------------------------------------------------------------


def test_a_run_ends_in_the_same_bits_as_without_an_interruption(found: Found) -> None:
    for one in found.two:
        assert one["losses"]["again"] == one["losses"]["whole"] == found.two[0]["losses"]["whole"]
        assert one["losses"]["cut"] == one["losses"]["whole"][:5]
        assert one["interrupted"]
        assert one["are equal"]
        assert not any("machine of before" in notice for notice in one["notices"][0])


def test_a_run_goes_on_as_another_number_of_processes(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    two, three = found.two[0], found.three[0]["losses"]
    np.testing.assert_allclose(two["losses"]["whole"], found.alone, rtol=1e-4)
    np.testing.assert_allclose(two["losses"]["more"], found.alone, rtol=1e-4)
    assert two["losses"]["more"][:5] == found.alone[:5]  # from one process to two
    assert any("processes: 1 then, 2 now" in notice for notice in two["notices"][1])
    assert [one["losses"] for one in found.three] == [three] * 3
    assert three[:5] == two["losses"]["whole"][:5]  # from two to three
    assert len(three) == 11
    monkeypatch.chdir(found.folder)
    monkeypatch.setattr(run_module, "draw_pictures", lambda *_: ((), ()))
    again, outcome = losses_of(resume_run, "cut by two", data=noisy_patterns())
    assert again[:11] == three  # from three to one
    np.testing.assert_allclose(again, found.alone, rtol=1e-4)
    assert outcome.summary["processes"] is None


# ---- an error of one is all's ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("under a file", "RunError", "file"),
        ("others", "RunError", "others holds other things than an earlier run (letter.txt)"),
        ("held", "RunError", "another run is writing into held"),
        ("seed", "TrainingError", "seed is 3 on rank 0 ({host}), and 4 on rank 1 ({host})"),
        ("data", "TrainingError", "the SHA-256 of the train part of the data is "),
        ("recipe", "TrainingError", "lr is "),
        ("version", "TrainingError", "and 1.0 on rank 1 ({host}); install the same versions everywhere"),
        ("no contrast", "DataError", ""),
        ("full", "RunError", "the disk is full"),
        ("pressed", "KeyboardInterrupt", "15"),
        ("diverged", "DivergedError", "training has diverged"),
        ("nothing there", "RunError", "there is no run directory nowhere"),
        ("other data", "RunError", "is not the data that the run was trained on"),
        ("other epochs", "TrainingError", "epochs is 3 on rank 0 ({host}), and 4 on rank 1 ({host})"),
    ],
)
def test_what_is_wrong_in_one_process_ends_all_and_leaves_nothing(
    found: Found, name: str, kind: str, part: str
) -> None:
    (host,) = found.three[0]["outcome"]["summary"]["processes"]["hosts"]
    for one in found.two:
        assert one[name][0] == kind
        assert part.format(host=host) in one[name][1]
        assert one[name][-1] == (["letter.txt"] if name == "others" else [])


def test_a_fault_of_one_process_names_it_in_the_others(found: Found) -> None:
    first, second = (one["no contrast"][1] for one in found.two)
    assert first.startswith("rank 1 of 2, on ")
    assert first.endswith(second)


def test_the_others_have_ended_where_the_first_cannot_draw(found: Found) -> None:
    first, second = found.two
    for name, end in {
        "no report": ["Outcome", 1, False],
        "pressed in pictures": ["Outcome", 5, True],
        "broken pictures": ["RuntimeError", "broken"],
    }.items():
        assert first[name][:-1] == end
        assert second[name][:-1] == ["Outcome", 0, False]
        assert {"summary.json", "checkpoint.npz"} <= set(first[name][-1])


def test_ctrl_c_in_one_process_while_all_evaluate_waits_until_they_have(found: Found) -> None:
    for one in found.two:
        assert one["pressed in evaluation"][:-1] == ["Outcome", 0, False]
        assert one["pressed twice"][0] == "KeyboardInterrupt"


def test_an_earlier_run_is_replaced_and_a_whole_one_stays(found: Found) -> None:
    for one in found.two:
        assert one["once more"][:-1] == ["Outcome", 0, False]
        assert one["all there"][:-1] == ["Outcome", 0, False]
    assert json.loads((found.folder / "no report/summary.json").read_text())["seed"] == 4


# ---- a process is lost -------------------------------------------------------------------------------------

KILLED = """
    class Killed(Callback):
        def on_step_end(self, training):
            if training.step == 9 and ranks.rank == 0 and not ranks.lost:
                os.kill(os.getpid(), signal.SIGKILL)

    outcome = train(
        RECIPE, noisy_patterns(), seed=3, out="run", callbacks=[Killed()], communicator=ranks, report=False
    )
    found["summary"] = outcome.summary
"""


def test_where_the_process_that_writes_is_lost_the_next_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_processes(3, BEGINNING + KILLED + END, options=("--with-ft", "ulfm"))
    first, second = ended(done)
    written = json.loads(Path("run/summary.json").read_text())
    assert {**first["summary"], "complete": True} == {**second["summary"], "complete": True} == written
    assert written["steps"] == 16
    assert written["processes"]["ranks"] == 2
    (lost,) = written["processes"]["lost"]
    assert lost.startswith("rank 0 on ")
    assert sorted(path.name for path in Path("run").iterdir()) == [
        *("checkpoint.npz", "last.npz", "metrics.jsonl", "previous.npz", "summary.json"),
    ]
