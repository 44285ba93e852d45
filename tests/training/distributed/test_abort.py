"""An exception in one rank ends all with its message; one that all have is raised in each."""

import signal
import socket

import pytest

from tests.ranks import run_processes, run_threads
from tinygrad_mnist.training.distributed import abort
from tinygrad_mnist.training.distributed.abort import ending_all
from tinygrad_mnist.training.distributed.agreement import is_agreed, mark_agreed
from tinygrad_mnist.training.distributed.errors import RankLostError
from tinygrad_mnist.training.errors import TrainingError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Let a rank wait for little whether the others have an exception too."""
    monkeypatch.setattr(abort, "PATIENCE", 0.3)


def errors_of(size, function):
    """Return the exception that each of some ranks has, of those that end all."""

    def run(ranks):
        ranks.statuses = []
        ranks.end_all = ranks.statuses.append
        try:
            with ending_all(ranks):
                function(ranks)
        except BaseException as error:
            return error, ranks.statuses
        return None, ranks.statuses

    return run_threads(size, run)


def failing(**errors):
    """Return what each rank does: it raises its error, if it has one."""

    def do(ranks):
        if (error := errors.get(f"rank{ranks.rank}")) is not None:
            raise error

    return do


def test_without_an_exception_nothing_happens(capsys):
    assert errors_of(2, failing()) == [(None, [])] * 2
    assert capsys.readouterr().err == ""


def test_one_process_raises_as_ever():
    with pytest.raises(ZeroDivisionError), ending_all(None):
        raise ZeroDivisionError


def test_an_exception_of_all_is_raised_in_each_and_printed_by_none(capsys):
    own = [TrainingError("the disk is full") for _ in range(3)]
    found = errors_of(3, failing(rank0=own[0], rank1=own[1], rank2=own[2]))
    assert found == [(error, []) for error in own]
    assert all(map(is_agreed, own))
    assert capsys.readouterr().err == ""


def test_where_all_have_different_exceptions_each_is_printed_but_that_of_rank_0(capsys):
    errors_of(3, failing(rank0=TrainingError("one"), rank1=TrainingError("two"), rank2=TrainingError("one")))
    assert capsys.readouterr().err == "rank 1 on here: two\n"


def test_an_exception_of_some_ends_all_with_the_sentence_and_a_status(capsys):
    found = errors_of(3, failing(rank1=TrainingError("the disk is full")))
    assert [statuses for _, statuses in found] == [[], [1], []]
    assert capsys.readouterr().err == "rank 1 on here: the disk is full\n"


def test_an_exception_that_is_no_mistake_of_a_user_is_printed_with_its_traceback(capsys):
    errors_of(2, failing(rank1=ZeroDivisionError("oh")))
    printed = capsys.readouterr().err
    assert printed.startswith("rank 1 on here: Traceback (most recent call last):\n")
    assert printed.endswith("ZeroDivisionError: oh\n")


def test_an_interrupt_of_one_ends_all_with_the_status_of_an_interrupt(capsys):
    found = errors_of(2, failing(rank0=KeyboardInterrupt()))
    assert found[0][1] == [130]
    assert capsys.readouterr().err == "rank 0 on here: KeyboardInterrupt\n"
    found = errors_of(2, failing(rank0=KeyboardInterrupt(int(signal.SIGTERM))))
    assert found[0][1] == [143]


def test_one_that_fails_when_the_others_have_ended_ends_by_itself(capsys):
    def run(ranks):
        ranks.meet = lambda seconds: 1
        raise ValueError(f"of {ranks.rank}")

    found = errors_of(2, run)
    assert [(str(error), statuses) for error, statuses in found] == [("of 0", []), ("of 1", [])]
    assert all(is_agreed(error) for error, _ in found)
    printed = capsys.readouterr().err
    assert "of 1" in printed
    assert "of 0" not in printed  # the first one prints its own


@pytest.mark.parametrize("number", [1, 3])
def test_of_those_that_lost_a_rank_the_first_one_speaks_by_its_first_number(monkeypatch, capsys, number):
    slept = []
    monkeypatch.setattr(abort, "sleep", slept.append)

    def run(ranks):
        ranks.members = [1, 3]  # 0 and 2 were lost, 0 now
        if ranks.members[ranks.rank] == number:
            raise RankLostError([0], ["there"])

    errors_of(2, run)
    assert len(slept) == (number != 1)
    assert capsys.readouterr().err.startswith(f"rank {number} on here: rank 0 on there was lost")


def test_an_exception_that_is_agreed_on_already_is_no_matter_of_this(capsys):
    error = TrainingError("agreed")
    mark_agreed(error)
    assert errors_of(2, failing(rank1=error))[1] == (error, [])
    assert capsys.readouterr().err == ""


def test_an_exception_is_printed_once_where_one_end_stands_in_another(capsys):
    def run(ranks):
        with ending_all(ranks):
            raise TrainingError(f"of {ranks.rank}")

    errors_of(2, run)
    assert capsys.readouterr().err == "rank 1 on here: of 1\n"


PROGRAM = """
    import os, sys, time
    from mpi4py import MPI
    from tinygrad_mnist.training.distributed.abort import ending_all
    from tinygrad_mnist.training.distributed.communicator import Communicator
    from tinygrad_mnist.training.errors import TrainingError

    ranks, case = Communicator(MPI.COMM_WORLD), sys.argv[1]
    if case == "outside, all":
        raise TrainingError("of all")
    if case == "outside" and ranks.rank == 1:
        raise TrainingError("of one")
    with ending_all(ranks):
        if case == "lost" and ranks.rank == 1:
            os.kill(os.getpid(), 9)
        if case == "inside" and ranks.rank == 1:
            print("printed before")
            raise TrainingError("of one")
        if case == "ended" and ranks.rank == 1:
            time.sleep(0.5)
            raise TrainingError("of one")
        if case != "ended":
            ranks.any(True)
            time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", ["inside", "outside"])
def test_processes_end_with_the_message_of_the_one_that_failed(case):
    end = run_processes(3, PROGRAM, case, timeout=30)
    assert end.returncode == 1
    host = socket.gethostname()
    message = f"rank 1 on {host}: of one" if case == "inside" else f"rank 1 on {host} ended by this exception"
    assert end.stderr.count(message) == 1
    if case == "inside":
        assert end.stdout == "printed before\n"


@pytest.mark.slow
def test_the_last_process_ends_with_its_exception_when_the_others_have_ended():
    end = run_processes(3, PROGRAM, "ended", timeout=30)  # not after the limit of an exchange
    assert end.returncode == 1
    assert end.stderr.count(f"rank 1 on {socket.gethostname()}: of one") == 1
    assert end.stderr.count("TrainingError: of one") == 1
    assert "MPI_ABORT" not in end.stderr


@pytest.mark.slow
def test_an_exception_of_all_processes_that_nobody_caught_ends_each_by_itself():
    end = run_processes(3, PROGRAM, "outside, all", timeout=30)
    assert end.returncode == 1
    assert end.stderr.count("TrainingError: of all") == 3
    assert "MPI_ABORT" not in end.stderr


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--with-ft", "ulfm")])
def test_where_a_process_is_lost_the_others_end_and_one_says_so(options):
    end = run_processes(3, PROGRAM, "lost", options=options, timeout=30)
    assert end.returncode != 0
    if options:
        sentence = " was lost"  # which one, the others do not always know
        assert end.stderr.count(sentence) == 1
    else:
        assert "exited on\nsignal 9 (Killed)" in end.stderr
