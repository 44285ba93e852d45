"""Three processes do once what slow tests do in many cases: they train as one, resume, and lose one of them.

A start of MPI takes longer than what it is started for, so one program does all of it.
"""

import json
import socket

import pytest

from tests.ranks import run_processes

PROGRAM = """
    import json, os, signal, sys, time
    import numpy as np
    from mpi4py import MPI
    from tests.training.distributed.cases import cnn, difference, digest
    from tinygrad_mnist.training import Callback
    from tinygrad_mnist.training.distributed.communicator import as_communicator

    world, found = MPI.COMM_WORLD, {}
    two = world.Split(0 if world.rank < 2 else MPI.UNDEFINED, world.rank)

    def await_all():
        arrival = world.Ibarrier()
        while not arrival.Test():
            time.sleep(0.01)  # another rank's core is not this one's

    class Kills(Callback):
        def on_step_end(self, training):
            if world.rank == 2 and training.step == 4:
                os.kill(os.getpid(), signal.SIGKILL)

    if world.rank < 2:
        whole = cnn(two, steps=6)
        digests = [digest(whole), digest(cnn(two, steps=6))]
        found["the same bits again and everywhere"] = len(set(sum(two.allgather(digests), []))) == 1
        cnn(two, steps=3, checkpoint="last.npz")
        if sys.argv[1] == "jit":
            found["compiled"] = difference(whole, cnn(two, steps=6, jit="on"))
        if world.rank == 0:
            found["by one"] = difference(whole, cnn(None, steps=6))
        as_communicator(two).close()
    await_all()
    resumed = cnn(world, steps=6, resume="last.npz")
    await_all()
    lost = cnn(world, steps=6, callbacks=[Kills()])
    if world.rank < 2:
        found["resumed by three"], found["without the third"] = (difference(whole, one) for one in (resumed, lost))
        found["lost"] = as_communicator(world).lost
        print(json.dumps(found), flush=True)
"""


def test_two_train_as_one_three_go_on_from_there_and_two_without_the_third(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        import llvmlite  # noqa: F401
    except ImportError:
        jit = "no jit"
    else:
        jit = "jit"
    done = run_processes(3, PROGRAM, jit, options=("--with-ft", "ulfm"), timeout=120)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 2
    for one in found:
        assert one.pop("lost") == [f"rank 2 on {socket.gethostname()}"]
        assert one.pop("the same bits again and everywhere")
        assert {name for name, value in one.items() if not value < 1e-9} == set()
    assert sum("by one" in one for one in found) == 1
