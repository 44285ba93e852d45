"""How long a rank waits for the others, by what it has heard of them: a clock that the tests move."""

import pytest

from tinygrad_mnist.training.distributed.liveness import (
    BROADCAST,
    ENDING,
    GATHERING,
    SUM,
    WORKING,
    Liveness,
    State,
)

LIMIT = 60.0
INTERVAL = 5.0  # a twelfth


def liveness(rank=0, size=3):
    return Liveness(rank, [f"host{one}" for one in range(size)], LIMIT, 0.0)


def working(now=0.0):
    return State(now, WORKING, 7, 0)


def waiting(now=0.0, kind=SUM, number=8):
    return State(now, kind, number, 5)


def end_of(known, own, hears, until=1000.0):
    """Return when a rank ends that waits; ``hears`` has what it hears by whom at a time."""
    now = own.since
    while now < until:
        now += INTERVAL
        for peer, state in hears(now):
            known.hear(peer, state, now)
        known.tell(own, now)
        if now > known.deadline(own):
            return now
    return None


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_rank_that_hears_nothing_ends_after_the_limit(rank):
    end = end_of(liveness(rank), waiting(), lambda now: [])
    assert LIMIT < end <= 1.5 * LIMIT


def test_rank_0_ends_first_as_it_knows_most():
    ends = [end_of(liveness(rank), waiting(), lambda now: []) for rank in range(3)]
    assert ends[0] < ends[1] == ends[2]


def test_all_that_wait_in_exchanges_end_after_the_limit_though_they_are_heard():
    known = liveness()
    end = end_of(known, waiting(), lambda now: [(peer, waiting(0.0, GATHERING)) for peer in (1, 2)])
    assert LIMIT < end <= 1.5 * LIMIT


def test_a_rank_that_works_is_waited_for_without_end():
    assert end_of(liveness(), waiting(), lambda now: [(1, working()), (2, waiting())]) is None


def test_others_learn_of_it_from_rank_0():
    zero, one = liveness(0), liveness(1)
    zero.hear(2, working(), 1.0)
    told = zero.tell(waiting(), 1.0)
    assert told.works
    assert end_of(one, waiting(), lambda now: [(0, told)]) is None
    assert not one.tell(waiting(), 1.0).works  # it passes on nothing itself
    assert one.tell(working(), 1.0).works


def test_rank_0_tells_that_it_works_itself():
    assert liveness(0).tell(working(), 1.0).works


def test_once_a_long_work_is_over_the_time_begins_with_the_exchange():
    known = liveness()
    end = end_of(known, waiting(), lambda now: [(1, working() if now < 300 else waiting(300.0))])
    assert 300 - INTERVAL + LIMIT < end <= 300 + LIMIT + INTERVAL


def test_a_rank_that_is_lost_while_it_works_ends_all_a_limit_later():
    for rank in 0, 1:
        known = liveness(rank)
        end = end_of(known, waiting(), lambda now, rank=rank: [(1 - rank, working())] if now < 300 else [])
        assert 300 < end <= 300 + 1.5 * LIMIT


def test_work_that_was_told_long_ago_counts_no_more():
    known = liveness()
    known.hear(1, working(), 100.0)
    known.hear(2, waiting(), 100.0)
    assert known.working(waiting(), 100.0 + 2 * INTERVAL) == [1]
    assert known.working(waiting(), 100.0 + 4 * INTERVAL) == []


def test_a_long_work_is_noticed_once_a_limit_by_rank_0_alone():
    known, other, noticed = liveness(), liveness(1), {}
    for now in range(0, 200, 5):
        known.hear(1, working(), now)
        known.hear(2, waiting(), now)
        other.hear(0, working(), now)
        noticed[now] = known.notice(waiting(), now)
        assert other.notice(waiting(), now) is None
    told = {now: sentence for now, sentence in noticed.items() if sentence}
    assert list(told) == [65, 130, 195]
    assert told[65] == "rank 1 on host1 works for long: others have waited for 65 seconds"


def test_rank_0_notices_its_own_long_work_too():
    known = liveness()
    known.hear(1, waiting(), 100.0)
    assert known.notice(working(), 100.0) == (
        "rank 0 on host0 works for long: others have waited for 100 seconds"
    )


def test_nobody_who_waits_for_short_makes_a_notice():
    known = liveness()
    known.hear(1, waiting(90.0), 100.0)
    assert known.notice(working(), 100.0) is None


def test_the_finding_names_who_is_not_heard_and_who_waits_elsewhere():
    known = Liveness(0, ["a", "b", "c", "d"], LIMIT, 0.0)
    known.hear(2, waiting(1.0, GATHERING, 8), 100.0)
    known.hear(3, waiting(1.0), 100.0)
    assert known.finding(waiting(), 100.0) == (
        "rank 0 on a waits in exchange 8, a sum of 5 values for more than 60 seconds; "
        "there is no word from rank 1 on b for 100 seconds; rank 2 on c waits in exchange 8, a gathering"
    )


def test_the_finding_says_so_where_all_wait_in_one_exchange():
    known = liveness(1)
    known.hear(0, waiting(1.0, ENDING, 8)._replace(size=5), 100.0)
    assert known.finding(waiting(0.0, ENDING), 100.0) == (
        "rank 1 on host1 waits in exchange 8, the end of all for more than 60 seconds; "
        "so does each other that it hears of: a connection is down, or too slow"
    )


def test_a_finding_on_many_ranks_is_one_short_sentence():
    known = Liveness(0, ["a"] * 1000, LIMIT, 0.0)
    assert known.finding(waiting(0.0, BROADCAST), 100.0).endswith("rank 5 on a, 994 more for 100 seconds")
    for peer in range(1, 1000):
        known.hear(peer, waiting(1.0, GATHERING), 100.0)
    assert len(known.finding(waiting(), 100.0)) < 400


def test_one_that_waits_for_one_that_is_at_its_end_is_found_at_once():
    known = liveness()
    known.hear(1, waiting(1.0, ENDING, 7), 2.0)
    assert known.contradiction(working()) is None
    assert known.contradiction(waiting(number=7)) is None  # the other has done its part in this exchange
    assert known.contradiction(waiting(number=8)) == (
        "rank 1 on host1 has ended its program, while rank 0 on host0 waits in exchange 8, a sum of 5 values"
    )
    known.hear(2, waiting(1.0, GATHERING, 9), 2.0)
    assert known.contradiction(working()).endswith("while rank 2 on host2 waits in exchange 9, a gathering")
