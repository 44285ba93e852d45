"""One seed gives each purpose random numbers of its own."""

import pytest

from tinygrad_mnist.training import TrainingError
from tinygrad_mnist.training.seeds import generators

FIRST = {
    "split": 802237,
    "initialisation": 662052,
    "order": 656380,
    "dropout": 892460,
    "sample": 174947,
    "augmentation": 78040,
    "hard": 370258,
}


def drawn(seed: int) -> dict[str, int]:
    return {purpose: int(generator.integers(1_000_000)) for purpose, generator in generators(seed).items()}


def test_a_seed_gives_the_numbers_that_it_always_gave() -> None:
    """A purpose that is added goes to the end, so that the runs of earlier versions can be repeated."""
    assert drawn(0) == FIRST


def test_every_purpose_and_every_seed_has_numbers_of_its_own() -> None:
    assert len({number for seed in range(3) for number in drawn(seed).values()}) == 3 * len(FIRST)


def test_a_negative_seed_is_an_error() -> None:
    with pytest.raises(TrainingError, match="seed must be a whole number of at least 0, not -1"):
        generators(-1)
