"""Sums, flags and values between ranks: their bits, their dtypes, and what is refused."""

import json

import pytest

from tests.ranks import run_processes

SUMS = """
    import hashlib, json, sys
    import numpy as np
    from mpi4py import MPI
    from tinygrad_mnist.training.distributed.communicator import Communicator

    rank, found = MPI.COMM_WORLD.rank, {}

    def values(rank, count, dtype):
        return np.random.default_rng([rank, count]).random(count, dtype) - dtype(0.5)

    for size in 2, 3, 4:
        comm = MPI.COMM_WORLD.Split(0 if rank < size else MPI.UNDEFINED, rank)
        if comm == MPI.COMM_NULL:
            continue
        ranks = Communicator(comm)
        for count in 1, 7, 1000, 65_537, 1_000_000:
            for dtype in [np.float32, np.float64][: 1 if count == 1_000_000 else 2]:
                own, digests = values(rank, count, dtype), []
                for _ in range(2):  # the same again
                    [total] = ranks.sum([own])
                    digests += ranks.gather(hashlib.sha256(total).hexdigest())
                found[f"{size} {count} {np.dtype(dtype)}"] = sorted(set(digests))
                if count < 1_000_000:
                    exact = sum(values(other, count, dtype).astype("f8") for other in range(size))
                    error = np.abs(total - exact).max() / np.finfo(dtype).eps
                    found.setdefault("error in eps", []).append(float(error))
        ranks.close()
    if rank == 0:
        json.dump(found, sys.stdout)
"""


def sums():
    end = run_processes(4, SUMS)
    assert end.returncode == 0, end.stderr
    return json.loads(end.stdout)


def test_sums_of_two_three_and_four_ranks_have_the_same_bits_everywhere_and_again():
    found = sums()
    errors = found.pop("error in eps")
    assert max(errors) < 3  # three additions, of values below 2
    assert len(found) == 3 * (4 * 2 + 1)
    assert {name: len(digests) for name, digests in found.items()} == dict.fromkeys(found, 1)


@pytest.mark.slow
def test_sums_have_the_same_bits_in_another_run():
    assert sums() == sums()


VALUES = """
    import json, os, sys, threading
    import numpy as np
    from mpi4py import MPI
    from tinygrad_mnist.engine.shards import Refused
    from tinygrad_mnist.training.distributed.communicator import Communicator, as_communicator
    from tinygrad_mnist.training.distributed.errors import ExchangeError, OutOfStepError
    from tinygrad_mnist.training.errors import TrainingError

    ranks = as_communicator(MPI.COMM_WORLD)
    rank, size, found = ranks.rank, ranks.size, {}

    def error_of(kind, function):
        try:
            function()
        except kind as error:
            return str(error) or kind.__name__

    def same(results, expected):
        return all(
            one.dtype == two.dtype and one.shape == two.shape and np.array_equal(one, two)
            for one, two in zip(results, map(np.asarray, expected), strict=True)
        )

    base = np.arange(24.0).reshape(4, 6) + rank
    constant = base.copy()
    constant.flags.writeable = False
    views = [base.T, base[::2, ::-3], np.asfortranarray(base), constant, np.broadcast_to(base[0], (3, 6))]
    total = size * (np.arange(24.0).reshape(4, 6) + 0.5 * (size - 1))
    found["strided, read-only"] = same(
        ranks.sum(views), [total.T, total[::2, ::-3], total, total, np.broadcast_to(total[0], (3, 6))]
    )
    summed = ranks.prepared(views)
    first, twice = [list(map(np.copy, summed(given))) for given in (views, [2 * one for one in views])]
    found["prepared"] = same(first, ranks.sum(views)) and same(twice, [2 * one for one in first])
    halves = [np.float16([rank]), np.array([rank == 1])]
    found["prepared, of other dtypes"] = same(ranks.prepared(halves)(halves), ranks.sum(halves))
    found["no array, no elements, no axes"] = ranks.sum([]) == [] and same(
        ranks.sum([np.empty((0, 3), np.float32), np.float32(rank), np.empty((2, 0))]),
        [np.empty((0, 3), np.float32), np.float32(3), np.empty((2, 0))],
    )
    big = np.array([2**53 + 1, -5])
    found["integers are exact"] = same(ranks.sum([big, np.uint8([rank])]), [size * big, np.uint8([3])])
    beside = ranks.sum([np.array([2**50 + 1]), np.float32([0.5])])
    found["beside others, while a double holds them"] = same(
        beside, [np.array([3 * (2**50 + 1)]), np.float32([1.5])]
    )
    flags = np.array([rank == 1, False])
    found["of truth values, any"] = same(ranks.sum([flags]), [np.array([True, False])])
    fine = np.full(2, 1 + 2**-10, np.float16)  # in float16, the sum of two would be rounded
    found["float16 is summed in float32"] = same(ranks.sum([fine]), [np.float16([3 + 3 * 2**-10] * 2)])
    found["complex"] = same(ranks.sum([np.array([1j * rank])]), [np.array([3j])])
    mixed = ranks.sum([np.ones(2, np.float32), np.full(3, 1e-12), np.ones(1, ">f8")])
    found["each has its own dtype"] = [str(one.dtype) for one in mixed]
    found["mixed with float32, float64 keeps its digits"] = mixed[1].tolist() == [3e-12] * 3
    found["results are new and can be written"] = all(
        one.flags.writeable and not np.shares_memory(one, base) for one in ranks.sum([base, base[0]])
    )
    found["infinities and NaN"] = same(
        [np.isnan(ranks.sum([np.array([np.nan if rank else 1.0, np.inf])])[0])], [np.array([True, False])]
    )
    found["no numbers"] = error_of(TypeError, lambda: ranks.sum([np.array(["a"])]))

    found["any"] = [ranks.any(rank == 2), ranks.any(False), ranks.any(True)]
    found["gathered"] = ranks.gather({"rank": rank, "arrays": [np.arange(rank).tolist()]})
    found["broadcast"] = [ranks.broadcast(("from", rank), root) for root in range(size)]

    own = np.ones(3)
    refused = (lambda: ranks.sum([own])) if rank else (lambda: ranks.refuse([own]))
    found["refused by rank 0"] = ranks.gather(error_of(Refused, refused))
    found["and then goes on"] = same(ranks.sum([own]), [own * size])

    other = np.ones((2, 3)) if rank == 1 else np.ones(6)
    found["another shape"] = ranks.gather(error_of(OutOfStepError, lambda: ranks.sum([other])))
    ranks._calls += rank == 2  # as if rank 2 had made one exchange more
    found["one exchange more"] = ranks.gather(error_of(OutOfStepError, lambda: ranks.sum([own])))
    ranks._calls -= rank == 2
    refusal = error_of(Exception, lambda: ranks.gather(lambda: None))
    found["what cannot be sent"] = ranks.gather(refusal is None)
    found["and then, too"] = same(ranks.sum([own]), [own * size])

    found["one for all trainings"] = as_communicator(MPI.COMM_WORLD) is ranks
    found["and as it is"] = as_communicator(ranks) is ranks and as_communicator(None) is None
    ranks.close()
    ranks.close()
    again = as_communicator(MPI.COMM_WORLD)
    found["a new one after its end"] = again is not ranks and same(again.sum([own]), [own * size])
    threads = threading.active_count()
    for _ in range(2):
        theirs = MPI.COMM_WORLD.Dup()
        ours = as_communicator(theirs)
        ours.any(True)
        theirs.Free()
        found["ends with that of MPI"] = ours.closed and ours.mpi == MPI.COMM_NULL
        found["its thread, too"] = threading.active_count() == threads
    limit = -1 if rank == 1 else None
    refusal = error_of(TrainingError, lambda: Communicator(MPI.COMM_WORLD, time_limit=limit))
    found["a limit of one rank"] = again.gather(refusal)
    two = Communicator(MPI.COMM_WORLD)
    found["two side by side"] = [one.gather(number) for number, one in enumerate([again, two, again])]

    child = os.fork()
    if child == 0:
        os._exit(0 if "forked" in error_of(ExchangeError, lambda: two.any(True)) else 1)
    found["a fork"] = os.waitpid(child, 0)[1]

    thread = threading.Thread(target=two.gather, args=(1,))
    if rank == 0:  # the others come later, so that the thread waits
        thread.start()
        while not two._busy:
            pass
        found["two threads"] = error_of(ExchangeError, lambda: two.any(True))
        again.any(True)
    else:
        again.any(True)
        thread.start()
    thread.join()

    waited = two.waited
    two.any(True)
    found["waiting is counted"] = two.waited > waited > 0
    found["hosts"] = two.hosts == [two.host] * size
    if rank == 0:
        json.dump(found, sys.stdout)
"""


def test_what_is_exchanged_and_what_is_refused():
    end = run_processes(3, VALUES)
    assert end.returncode == 0, end.stderr
    found = json.loads(end.stdout)
    out_of_step = found["another shape"][0]
    assert out_of_step.startswith("the processes are out of step: one of them made another exchange")
    assert "not an array of <U1" in found.pop("no numbers")
    assert "give each training its own" in found.pop("two threads")
    first, second, third = found.pop("a limit of one rank")
    assert second == "time_limit is -1; give seconds, a number above 0"
    assert first == third
    assert first.startswith("rank 1 on ")
    assert first.endswith(second)
    told = {name: value for name, value in found.items() if value is not True}
    assert told == {
        "each has its own dtype": ["float32", "float64", ">f8"],
        "any": [True, False, True],
        "gathered": [{"rank": rank, "arrays": [list(range(rank))]} for rank in range(3)],
        "broadcast": [["from", root] for root in range(3)],
        "refused by rank 0": [None, "Refused", "Refused"],
        "another shape": [out_of_step] * 3,
        "one exchange more": [out_of_step] * 3,
        "what cannot be sent": [False] * 3,
        "two side by side": [[number] * 3 for number in range(3)],
        "a fork": 0,
    }
