"""An error of one rank is everybody's, and ranks that would train something else are refused by name."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranks import run_threads
from tinygrad_mnist.data import DataError
from tinygrad_mnist.training.distributed.abort import ending_all
from tinygrad_mnist.training.distributed.agreement import (
    agreed,
    from_writer,
    is_agreed,
    mark_agreed,
    ranks_text,
    require_equal,
)
from tinygrad_mnist.training.errors import RecipeError, RunError, TrainingError


def errors_of(size, function):
    """Return the error that each of some ranks raises, or None."""

    def run(communicator):
        try:
            function(communicator)
        except BaseException as error:
            return error
        return None

    return run_threads(size, run)


def failing(errors):
    """Return what each rank does: it raises its error, if it has one."""

    def do(communicator):
        with agreed(communicator):
            if communicator.rank in errors:
                raise errors[communicator.rank]

    return do


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_an_error_of_one_rank_is_raised_in_all_with_its_class(rank):
    own = RunError("the disk is full")
    found = errors_of(3, failing({rank: own}))
    assert found[rank] is own
    for other in {0, 1, 2} - {rank}:
        assert type(found[other]) is RunError
        assert str(found[other]) == f"rank {rank} of 3, on {socket.gethostname()}: the disk is full"


def test_an_error_of_all_is_known_as_one_also_where_another_was_raised_from_it():
    found = errors_of(2, failing({1: RunError("full")}))
    for error in found:
        assert is_agreed(error)
        wrapped = TrainingError("more")
        assert not is_agreed(wrapped)
        wrapped.__cause__ = error
        assert is_agreed(wrapped)


class Alone:
    """A rank that nobody meets."""

    rank = 1

    def meet(self, seconds):
        raise AssertionError("others were waited for")


def test_an_error_of_all_ends_them_without_waiting_or_a_word(capfd):
    error = RunError("full")
    mark_agreed(error)
    with pytest.raises(RunError, match="full"), ending_all(Alone()):
        raise error
    assert capfd.readouterr() == ("", "")


def test_without_an_error_all_go_on():
    assert errors_of(3, failing({})) == [None] * 3


def test_each_raises_its_own_error_and_the_others_that_of_the_first():
    first, second = RecipeError("lr is high", "lr"), DataError("no images")
    found = errors_of(3, failing({1: first, 2: second}))
    assert found[1:] == [first, second]
    assert type(found[0]) is RecipeError
    assert found[0].field == "lr"
    assert "rank 1" in str(found[0])


def test_an_interrupt_of_one_is_one_of_all():
    found = errors_of(3, failing({2: KeyboardInterrupt(15)}))
    assert [type(error) for error in found] == [KeyboardInterrupt] * 3
    assert [error.args for error in found] == [(15,)] * 3  # the signal, which the exit status says


def local_error():
    class Local(Exception):
        pass

    return Local("of a function")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left"), "OSError: [Errno 28] No space left"),
        (KeyError("weight"), "KeyError: 'weight'"),
        (local_error(), "Local: of a function"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_that_cannot_be_sent_is_its_sentence(error, sentence):
    found = errors_of(2, failing({1: error}))
    assert found[1] is error
    assert type(found[0]) is TrainingError
    assert str(found[0]).endswith(f": {sentence}")


def test_only_the_writer_makes_what_all_get():
    made = []

    def read(communicator):
        return from_writer(communicator, lambda: made.append(communicator.rank) or {"step": 7})

    assert run_threads(3, read) == [{"step": 7}] * 3
    assert made == [0]


def test_what_the_writer_cannot_make_is_an_error_of_all():
    def fail():
        raise RunError("not there")

    found = errors_of(2, lambda communicator: from_writer(communicator, fail))
    assert [type(error) for error in found] == [RunError] * 2


# ---- equal facts -------------------------------------------------------------------------------------------


def test_equal_facts_are_accepted():
    facts = {"seed": 3, "recipe": {"lr": 0.1, "hidden": [3, 4]}, "threads": None}
    assert errors_of(3, lambda communicator: require_equal(communicator, dict(facts))) == [None] * 3


def test_what_differs_is_named_with_ranks_and_hosts():
    def check(communicator):
        communicator.host = "ab"[communicator.rank % 2]
        require_equal(communicator, {"seed": 3, "data": "xy"[communicator.rank == 1]}, "give all the same")

    sentences = {str(error) for error in errors_of(3, check)}
    assert sentences == {
        "the processes do not train the same: data is x on ranks 0, 2 (a), and y on rank 1 (b); "
        "give all the same"
    }


def test_a_fact_that_one_lacks_differs():
    def check(communicator):
        require_equal(communicator, {} if communicator.rank else {"llvmlite": "0.50"})

    for error in errors_of(2, check):
        assert "llvmlite is 0.50 on rank 0 (here), and missing on rank 1 (here)" in str(error)


def test_of_many_differences_a_few_are_named():
    def check(communicator):
        require_equal(communicator, dict.fromkeys("abcdef", communicator.rank))

    for error in errors_of(9, check):
        assert "; and 3 other differences" in str(error)
        assert "a is 0 on rank 0 (here), and 1 on rank 1 (here), and 2 on rank 2 (here), " in str(error)
        assert "and 6 other values; b is" in str(error)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=4))
def test_ranks_are_refused_exactly_if_one_differs(values):
    def check(communicator):
        require_equal(communicator, {"seed": values[communicator.rank]})

    found = errors_of(len(values), check)
    assert len({str(error) for error in found}) == 1
    assert (found[0] is None) == (len(set(values)) == 1)


def test_ranks_in_words_are_no_longer_than_a_line():
    hosts = [f"node{number}" for number in range(1000)]
    for ranks in (range(1000), range(0, 1000, 2)):
        assert len(ranks_text(list(ranks), hosts)) < 90
