"""Several processes train to the numbers of one, and to the same bits among themselves."""

import importlib.util
import socket

import pytest

from tests.ranks import run_processes, run_threads
from tests.training.distributed.cases import CASES, difference, digest, in_float64, mlp, numbers
from tinygrad_mnist import nn
from tinygrad_mnist.compiler.errors import JitError, RunsEagerly
from tinygrad_mnist.engine.observe import tracer
from tinygrad_mnist.training import Callback
from tinygrad_mnist.training.loop import compilation

WORK = """
    import os, signal, sys
    from mpi4py import MPI
    from tests.training.distributed.cases import CASES, difference, digest, mlp
    from tinygrad_mnist.training import Callback

    world = MPI.COMM_WORLD
    for name in sys.argv[1:]:
        train, options = CASES[name]
        shared = train(world, **options)
        if world.rank == 0:
            found = difference(train(None, **options), shared)
            assert found < 1e-9, (name, found)
        digests = world.allgather([digest(shared), digest(train(world, **options))])
        assert len({one for pair in digests for one in pair}) == 1, (name, digests)
    if "cnn" in sys.argv:
        train, options = CASES["cnn"]
        compiled = [train(world, jit="on", **options) for _ in range(2)]
        assert difference(compiled[0], train(world, **options)) < 1e-9
        digests = [one for pair in world.allgather(list(map(digest, compiled))) for one in pair]
        assert len(set(digests)) == 1, digests

    class Interrupt(Callback):
        def on_step_end(self, training):
            if training.step == 7 and world.rank == world.size - 1:
                os.kill(os.getpid(), signal.SIGINT)

    state, done = mlp(world, callbacks=[Interrupt()])
    found = world.allgather((done.interrupted, done.stopped, len(done.history.losses)))
    assert found == [(True, False, 7)] * world.size, found
    print("the same", flush=True)
"""


def assert_processes_train_as_one(ranks, *names):
    done = run_processes(ranks, WORK, *names, timeout=120)
    assert (done.returncode, done.stdout.split("\n")[:-1], done.stderr) == (0, ["the same"] * ranks, "")


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_processes_train_to_the_numbers_of_one(ranks):
    assert_processes_train_as_one(ranks, *CASES)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("name", CASES)
def test_ranks_train_to_the_numbers_of_one_process(name, ranks):
    train, options = CASES[name]
    found = run_threads(ranks, lambda communicator: train(communicator, **options))
    assert difference(train(**options), found[0]) < 1e-9
    assert len(set(map(digest, found))) == 1


def test_threads_train_to_the_numbers_of_one():
    train, options = CASES["cnn, accumulation"]
    options = {**options, "steps": 6}
    found = run_threads(3, lambda communicator: train(communicator, **options))
    assert difference(train(**options), found[0]) < 1e-9
    assert len(set(map(digest, found))) == 1


@pytest.mark.slow
def test_the_second_interrupt_in_one_process_ends_all_at_once():
    done = run_processes(
        2,
        """
        import os, signal
        from mpi4py import MPI
        from tests.training.distributed.cases import mlp
        from tinygrad_mnist.training import Callback

        class Interrupt(Callback):
            def on_step_end(self, training):
                if training.step == 7 and MPI.COMM_WORLD.rank == 1:
                    os.kill(os.getpid(), signal.SIGINT)
                    os.kill(os.getpid(), signal.SIGINT)

        mlp(MPI.COMM_WORLD, callbacks=[Interrupt()])
        print("trained to the end")
        """,
        timeout=60,
    )
    assert done.returncode == 130
    assert done.stdout == ""
    assert "rank 1 on" in done.stderr


needs_compiler = pytest.mark.skipif(
    importlib.util.find_spec("llvmlite") is None, reason="the extra `jit` is not installed"
)


class Compilations(Callback):
    """What was compiled for each function of a step, at the end of each step."""

    def __init__(self):
        self.made = []

    def on_step_end(self, training):
        self.made.append([len(function.compilations) for function in training._functions])


@needs_compiler
def test_accumulated_steps_are_compiled_once():
    def run(communicator):
        seen = Compilations()
        options = {"data": numbers(100), "accumulate": 2, "epochs": 3, "callbacks": [seen]}
        return mlp(communicator, jit="on", **options), seen.made

    found = run_threads(2, run)
    assert found[0][1] == [[0, 1, 0, 1]] * 6
    assert difference(mlp(data=numbers(100), accumulate=2, epochs=3), found[0][0]) < 1e-9


class Uncompilable(nn.Module):
    """What cannot be compiled in one process, as where a machine lacks something; what it is, a test says."""

    def __init__(self, error):
        super().__init__()
        self._error = error

    def forward(self, x):
        if self._error is not None and tracer() is not None:
            raise self._error
        return x


@needs_compiler
@pytest.mark.parametrize(("error", "accumulate"), [(JitError("no"), 2), (RunsEagerly("no"), 1)])
def test_what_one_process_cannot_compile_none_compiles(error, accumulate):
    def run(communicator):
        model = in_float64(
            nn.Sequential(
                *(nn.Linear(6, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU()),
                *(Uncompilable(error if communicator.rank == 1 else None), nn.Linear(8, 3, rng=1)),
            )
        )
        return mlp(communicator, model=model, jit="auto", epochs=2, accumulate=accumulate)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compilation, "COMPILE_COST", 0.0)  # so that these few steps are worth it
        found = run_threads(2, run)
    assert [(done.decision.compiled, done.decision.missed) for _, done in found] == [(False, True)] * 2
    assert digest(found[0]) == digest(found[1])
    assert "rank 1" in found[0][1].decision.reason


@needs_compiler
def test_where_compiling_is_required_all_raise_what_one_process_cannot_compile():
    def run(communicator):
        layer = Uncompilable(JitError("no") if communicator.rank == 1 else None)
        with pytest.raises(JitError) as found:
            mlp(communicator, model=in_float64(nn.Sequential(layer, nn.Linear(6, 3, rng=0))), jit="on")
        return str(found.value)

    own = "0 (Uncompilable): no"
    assert run_threads(2, run) == [f"rank 1 of 2, on {socket.gethostname()}: JitError: {own}", own]
