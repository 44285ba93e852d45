"""The estimate whether several processes make a training faster, before it begins.

What a step computes for its images is shared out. The update of the weights is not, the gradients have to be
exchanged, and MPI has to be started. The times were measured once, on two idle cores of a server, compiled,
with one thread each; ``docs/scale.md`` has the whole model, also for several machines.

Neither NumPy nor MPI is loaded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LINEAR: Final = 1e-11
"""Seconds of a multiplication of a linear layer."""

CONVOLVED: Final = 2.5e-11
"""Seconds of a multiplication of a convolution."""

A_NUMBER: Final = 1e-9
"""Seconds that a number between two layers costs, with its gradient."""

A_PARAMETER: Final = 1e-9
"""Seconds of the update of a parameter."""

A_STEP: Final = 1e-4
"""Seconds of a step for all else: drawing a batch, and Python."""

AN_EXCHANGE: Final = 3e-5
"""Seconds that an exchange takes, however small."""

AN_EXCHANGED_NUMBER: Final = 1.3e-9
"""Seconds that each exchanged number adds, on one machine: 1.3 ms for a million of float32."""

A_START: Final = 1.5
"""Seconds that it takes to start MPI."""

WORTH_IT: Final = 0.85
"""The share of one process's time that several may take at most, as these times are mere estimates."""


@dataclass(frozen=True)
class Estimate:
    """The estimated times of a training by one process and by several, in seconds.

    Parameters
    ----------
    steps : int
        Steps in all.
    shared, unshared, exchange : float
        What a step takes one process for its images, for all else, and several for their exchange.
    processes : int
        How many there are.
    """

    steps: int
    shared: float
    unshared: float
    exchange: float
    processes: int

    @property
    def alone(self) -> float:
        """The time of one process."""
        return self.steps * (self.shared + self.unshared)

    @property
    def together(self) -> float:
        """The time of all."""
        return A_START + self.steps * (self.shared / self.processes + self.unshared + self.exchange)


def estimate(
    *, processes: int, steps: int, images: int, convolved: int, numbers: int, parameters: int
) -> Estimate:
    """Return the estimated times.

    Parameters
    ----------
    processes, steps : int
        How many there are.
    images : int
        Images a step.
    convolved, numbers : int
        Of the forward pass of one image: the multiplications of its convolutions, and what stands between
        layers.
    parameters : int
        Numbers that are learned. A linear layer multiplies by each of its weights once.
    """
    multiplied = convolved * CONVOLVED + parameters * LINEAR
    return Estimate(
        steps=steps,
        shared=images * (3 * multiplied + numbers * A_NUMBER),  # a layer has two gradients
        unshared=A_STEP + parameters * A_PARAMETER,
        exchange=AN_EXCHANGE + parameters * AN_EXCHANGED_NUMBER,
        processes=processes,
    )


def advice(found: Estimate, parameters: int) -> str | None:
    """Return a sentence for the user if several processes hardly make a training faster; else None.

    Examples
    --------
    >>> small = estimate(
    ...     processes=2, steps=9000, images=128, convolved=0, numbers=900, parameters=53_000
    ... )
    >>> print(advice(small, 53_000))
    2 processes hardly make this faster, if at all: one takes about 4.2 s, of which they can share out \
2.9 s, and to exchange 53,000 gradients in each of 9,000 steps takes 0.9 s and more, to start MPI 1.5 s
    """
    if found.together <= WORTH_IT * found.alone:
        return None
    return (
        f"{found.processes} processes hardly make this faster, if at all: one takes about "
        f"{found.alone:.1f} s, of which they can share out {found.steps * found.shared:.1f} s, and to "
        f"exchange {parameters:,} gradients in each of {found.steps:,} steps takes "
        f"{found.steps * found.exchange:.1f} s and more, to start MPI {A_START:g} s"
    )
