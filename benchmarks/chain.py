"""The cost of an operation in a long chain and in a short one: it must be the same, as nothing grows faster.

Python's collector looks at all young objects again and again, and a long tape is many of them: so each is
measured with the collector off and on.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from benchmarks import operations, peers
from benchmarks.harness import Table, Target, race

SHORT, LONG = 1_000, 100_000


def chains(pair: tuple[Any, Any], length: int, *, collected: bool) -> Callable[[], None]:
    """Return a function that records and walks back as many chains as make up the longest one."""
    walk = operations.walker(*pair, length)

    def run() -> None:
        if not collected:
            gc.disable()
        try:
            for _ in range(LONG // length):
                walk()
        finally:
            gc.enable()

    return run


def named(length: int, *, collected: bool, peer: str = "") -> str:
    """Return the name of a chain in the table."""
    return f"{peer}{length:,} operations, collector {'on' if collected else 'off'}"


def run(rounds: int = 5) -> list[Table]:
    """Time an operation, recorded and walked back, in chains of both lengths."""
    pair = operations.ours()
    operations.check(pair, SHORT)
    operations.check(pair, LONG)
    rivals = {
        named(length, collected=collected): chains(pair, length, collected=collected)
        for collected in (False, True)
        for length in (LONG, SHORT)
    }

    def enter_pytorch() -> None:
        theirs = operations.pytorchs()
        for length in (LONG, SHORT):
            name = named(length, collected=False, peer="PyTorch: ")
            rivals[name] = chains(theirs, length, collected=False)

    peers.take_part("PyTorch", enter_pytorch)
    ran = race(rivals, rounds, calls=1, operations=LONG)
    ours, short = named(LONG, collected=False), named(SHORT, collected=False)
    title = "a chain of x * y on one element, recorded and walked back, per operation"
    return [Table(title, "µs", ours, ran.timings, (Target(ours, short, 1.3),), share=ran.share)]
