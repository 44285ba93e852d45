"""Each rank has its rows of each batch, and its chunks of what is evaluated; together they have all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranks import run_threads
from tests.training.distributed.cases import numbers
from tinygrad_mnist import Tensor, nn
from tinygrad_mnist.data import Batches, Standardizer, load_digits
from tinygrad_mnist.data.batching import rows_of
from tinygrad_mnist.training import choose
from tinygrad_mnist.training.distributed.sharing import chunks_of, joined, portions, shard_of, share_of
from tinygrad_mnist.training.loop.passes import Passes
from tinygrad_mnist.training.loop.sources import opened
from tinygrad_mnist.training.prediction import predict
from tinygrad_mnist.training.seeds import generators
from tinygrad_mnist.training.training_data import split


@given(st.integers(0, 50), st.integers(1, 9))
def test_the_rows_of_all_ranks_are_the_rows_of_the_batch(total, ranks):
    parts = [np.arange(total)[rows_of(total, rank, ranks)] for rank in range(ranks)]
    if total < ranks:
        assert all(len(part) == total for part in parts)
    else:
        assert np.array_equal(np.concatenate(parts), np.arange(total))
        assert {len(part) for part in parts} <= {total // ranks, -(-total // ranks)}


def batches(**options):
    x, y = numbers()
    return Batches(x, y, 25, rng=np.random.default_rng(0), **options)


def plain():
    return Batches(*numbers(), 25)


def standardized():
    return batches(standardize=Standardizer(mean=0.5, std=2.0))


def centred():
    return batches(standardize=lambda x: x - x.mean(axis=0))


def listed():
    return [(Tensor(x), list(y)) for x, y in batches()]


def augmented(changes=(("augmentation", "affine-8x8"),)):
    recipe = choose("digits", changes=dict(changes)).recipe
    rngs = generators(0)
    parts = split(load_digits(), recipe.validation, rngs["split"])
    return Passes(recipe, parts, 200, 20, rngs)


def whole():
    recipe = choose("digits", changes={"augmentation": "none"}).recipe
    rngs = generators(0)
    parts = split(load_digits(), recipe.validation, rngs["split"])
    return Passes(recipe, parts, len(parts.train_images), 2, rngs)


SOURCES = [plain, batches, standardized, centred, listed, augmented, whole]


@pytest.mark.parametrize("ranks", [1, 2, 5])
@pytest.mark.parametrize("make", SOURCES)
def test_the_portions_of_all_ranks_are_the_batches_of_two_passes(make, ranks):
    source = make()
    expected = [[(np.array(x), np.array(y)) for x, y in source] for _ in range(2)]

    def run(communicator):
        own = make()
        return [list(portions(own, 0, communicator)) for _ in range(2)]

    found = run_threads(ranks, run)
    for number, each in enumerate(expected):
        for position, (x, y) in enumerate(each):
            parts = [passes[number][position] for passes in found]
            assert {part.total for part in parts} == {len(x)}
            starts = np.cumsum([0, *(len(part[0]) for part in parts)])[:-1]
            if len(x) < ranks:
                assert [part.start for part in parts] == [0] * ranks
                parts = parts[:1]
            else:
                assert [part.start for part in parts] == starts.tolist()
            assert np.array_equal(np.concatenate([np.asarray(part[0]) for part in parts]), x)
            assert np.array_equal(np.concatenate([np.asarray(part[1]) for part in parts]), y)


@pytest.mark.parametrize("make", SOURCES)
def test_a_pass_that_goes_on_has_the_same_portions(make):
    def run(communicator):
        one, other = make(), make()
        begun, goes_on = portions(one, 0, communicator), portions(other, 1, communicator)
        next(begun)
        states = [source.state_dict() if hasattr(source, "state_dict") else None for source in (one, other)]
        return list(begun), list(goes_on), states

    for expected, found, states in run_threads(2, run):
        pairs = list(zip(expected, found, strict=True))
        assert all(np.array_equal(a[0], b[0]) and a.start == b.start for a, b in pairs)
        assert states[0] == states[1]


def test_what_is_no_batch_is_handed_on_to_be_refused():
    (found,) = run_threads(1, lambda communicator: list(portions(["no batch"], 0, communicator)))
    assert found == ["no batch"]


@given(st.integers(1, 12), st.integers(1, 5))
def test_the_shares_of_all_ranks_are_one(total, ranks):
    class Rank:
        def __init__(self, rank):
            self.rank, self.size, self.is_writer = rank, ranks, rank == 0

    x = np.zeros((total, 1))
    everybody = [Rank(rank) for rank in range(ranks)]
    own = [next(portions(Batches(x, x, total), 0, rank)) for rank in everybody]
    shares = [share_of(portion, total, rank) for portion, rank in zip(own, everybody, strict=True)]
    assert sum(shares) == pytest.approx(1)
    shards = [shard_of(portion, rank) for portion, rank in zip(own, everybody, strict=True)]
    assert all((shard is None) == (total < ranks) for shard in shards)


# ---- what is evaluated -------------------------------------------------------------------------------------


@given(st.integers(0, 20), st.integers(1, 7))
def test_the_chunks_of_all_ranks_are_all_chunks_in_order(count, ranks):
    def run(communicator):
        return joined(lambda: list(chunks_of(count, communicator)), communicator)

    assert run_threads(ranks, run) == [list(range(count))] * ranks


def test_an_error_in_one_chunk_is_raised_in_all_ranks():
    def make(communicator):
        if communicator.rank == 1:
            raise ValueError("a bad picture")
        return []

    def run(communicator):
        with pytest.raises(ValueError, match="a bad picture"):
            joined(lambda: make(communicator), communicator)

    run_threads(3, run)


@pytest.mark.parametrize("tta", [False, True])
def test_a_prediction_has_the_bits_of_one_process(tta):
    images = load_digits().test_images[:107]
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    standardize = Standardizer.fit(images)
    expected = predict(model, images, standardize, 10, tta=tta)
    found = run_threads(
        3, lambda communicator: predict(model, images, standardize, 10, tta=tta, communicator=communicator)
    )
    assert all(np.array_equal(one, expected) for one in found)


def test_each_batch_is_made_by_one_rank_alone():
    images = np.zeros((40, 8, 8), np.uint8)
    seen = []

    def run(communicator):
        def model(x):
            seen.append(len(x))
            return Tensor(np.zeros((len(x), 3), np.float32))

        return predict(model, images, lambda x: x, 10, communicator=communicator).shape

    assert run_threads(3, run) == [(40, 3)] * 3
    assert seen == [10] * 4


def test_opened_passes_draw_the_batches_before():
    first = [x.tolist() for x, _ in opened(batches(), 2)]
    assert first == [x.tolist() for x, _ in batches()][2:]
