"""A minute's look for a regression: our step against the hand-written one, beside the ratio that was stored.

Needs no peers. The ratio hardly depends on the machine, as both are NumPy's work; what remains of noise, the
tolerance allows for, and a ratio that looks worse is measured again before it counts.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import networks
from benchmarks.hand_written import HandWrittenStep
from benchmarks.harness import FileError, race
from benchmarks.networks import LARGE, OURS, SMALL, Network, Step
from tinygrad_mnist.files import write_json

FILE = Path(__file__).with_name("quick.json")
TOLERANCE = 0.15
"""The share by which a ratio may be worse than the stored one: on a busy machine, runs vary by 7 %."""
ATTEMPTS = 3
STORED_OF = 7
"""The stored ratio is the median of so many runs."""
ROUNDS = {SMALL: 200, LARGE: 30}
BY_HAND = "NumPy by hand"


def ratio_on(network: Network) -> float:
    """Return our time as a multiple of the hand-written step's."""
    state, ours = networks.our_step(network)
    rivals: dict[str, Step] = {OURS: ours, BY_HAND: HandWrittenStep(network, state)}
    data = networks.batches(network)
    networks.check_agreement(rivals, data)
    timings = race({name: partial(step, *data[0]) for name, step in rivals.items()}, ROUNDS[network]).timings
    return timings[OURS].median / timings[BY_HAND].median


def compare() -> bool:
    """Print the ratio of each network beside the stored one; return whether none is clearly worse."""
    stored = read()
    well = True
    for network in (SMALL, LARGE):
        most = stored[network.name] * (1 + TOLERANCE)
        ratio = ratio_on(network)
        for _ in range(ATTEMPTS - 1):
            if ratio > most:
                ratio = min(ratio, ratio_on(network))
        worse = ratio > most
        well = well and not worse
        print(
            f"{network.title}: {ratio:.2f} of NumPy by hand, stored {stored[network.name]:.2f}, "
            f"at most {most:.2f}: {'WORSE' if worse else 'as fast as it was'}"
        )
    return well


def read() -> dict[str, float]:
    """Return the stored ratio of each network."""
    try:
        values = json.loads(FILE.read_text("utf-8"))
        return {network.name: float(values[network.name]) for network in (SMALL, LARGE)}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FileError(
            f"{FILE.name} has no ratio for each network ({type(error).__name__}: {error}); "
            "take it from git again, or store those of a run: python -m benchmarks --store"
        ) from None


def store() -> None:
    """Measure some times, and store the medians."""
    ratios = {
        network.name: round(median(ratio_on(network) for _ in range(STORED_OF)), 3)
        for network in (SMALL, LARGE)
    }
    write_json(FILE, ratios)
    print(f"stored in {FILE.name}: {', '.join(f'{name} {ratio}' for name, ratio in ratios.items())}")
