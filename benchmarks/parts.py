"""The parts of a training step: the times of forward, loss, backward and update, ours and by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

from benchmarks import networks
from benchmarks.hand_written import PARTS, HandWrittenStep
from benchmarks.harness import Table, Timing, interleave, race
from benchmarks.networks import LARGE, OURS, SMALL, Batch, Network
from tinygrad_mnist import nn

BY_HAND = "NumPy by hand"
PRODUCTS = "the matrix products alone"
TITLE = "parts of a training step"
CALLS = 10

Split = Callable[[], list[float]]
"""A training step that says when it began, and when each of its parts ended."""


def ours(network: Network, batch: Batch) -> Split:
    """Return our step."""
    model, optimizer = networks.our_model(network)
    x, labels = batch

    def step() -> list[float]:
        at = [time.perf_counter()]
        optimizer.zero_grad()
        logits = model(x)
        at.append(time.perf_counter())
        loss = nn.functional.cross_entropy(logits, labels)
        at.append(time.perf_counter())
        loss.backward()
        at.append(time.perf_counter())
        optimizer.step()
        return [*at, time.perf_counter()]

    return step


def by_hand(network: Network, batch: Batch) -> Split:
    """Return the hand-written step."""
    state, _ = networks.our_step(network)
    step = HandWrittenStep(network, state)

    def split() -> list[float]:
        at = [time.perf_counter()]
        step(*batch, ended=lambda: at.append(time.perf_counter()))
        return at

    return split


def named(part: str, who: str) -> str:
    """Return the name of a part in the table."""
    return f"{part}, {who}"


def on(network: Network, rounds: int) -> Table:
    """Measure both steps in turn, some calls each."""
    batch = networks.batches(network, 1)[0]
    splits = {OURS: ours(network, batch), BY_HAND: by_hand(network, batch)}
    taken: dict[str, list[float]] = {}

    def measure(who: str) -> float:
        for _ in range(CALLS):
            at = splits[who]()
            for part, seconds in zip(("whole", *PARTS), spans(at), strict=True):
                taken.setdefault(named(part, who), []).append(seconds)
        return 0.0

    interleave({who: partial(measure, who) for who in splits}, rounds)
    products = race({PRODUCTS: networks.matrix_products(network)}, rounds, CALLS)
    timings = {name: Timing.of(values) for name, values in taken.items()}
    return Table(f"{TITLE}, {network.name}", "µs", "", {**timings, **products.timings}, share=products.share)


def spans(at: list[float]) -> Iterator[float]:
    """Yield the time from the first to the last, and from each to the next."""
    yield at[-1] - at[0]
    for began, ended in pairwise(at):
        yield ended - began


def run(rounds: int = 40) -> list[Table]:
    """Measure both networks."""
    return [on(network, rounds) for network in (SMALL, LARGE)]
