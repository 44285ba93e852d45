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
    def step_alone(self) -> float:
        """A step of one process."""
        return self.shared + self.unshared

    @property
    def step_together(self) -> float:
        """A step of all."""
        return self.shared / self.processes + self.unshared + self.exchange

    @property
    def alone(self) -> float:
        """The training of one process."""
        return self.steps * self.step_alone

    @property
    def together(self) -> float:
        """The training of all, with the start of MPI."""
        return A_START + self.steps * self.step_together


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

    It says whether that lies in the network, whose steps are no faster, or in a training that is short.

    Examples
    --------
    >>> def said(steps, convolved, parameters):
    ...     given = {"convolved": convolved, "numbers": 900, "parameters": parameters}
    ...     return advice(estimate(processes=2, steps=steps, images=128, **given), parameters)
    >>> print(said(9000, 0, 53_000))
    2 processes hardly make this network faster: of a step of 0.47 ms they share out 0.32 ms, and \
exchanging 53,000 gradients takes 0.099 ms
    >>> print(said(44, 1_000_000, 19_722))
    2 processes are no faster than one here: starting MPI takes 1.5 s, and one process trains for about \
0.44 s
    >>> print(said(9000, 1_000_000, 19_722))
    None
    """
    count = found.processes
    if found.step_together > WORTH_IT * found.step_alone:
        verb = "do not make" if found.step_together >= found.step_alone else "hardly make"
        return (
            f"{count} processes {verb} this network faster: of a step of {_text(found.step_alone)} they "
            f"share out {_text(found.shared)}, and exchanging {parameters:,} gradients takes "
            f"{_text(found.exchange)}"
        )
    if found.together >= found.alone:
        return (
            f"{count} processes are no faster than one here: starting MPI takes {_text(A_START)}, and one "
            f"process trains for about {_text(found.alone)}"
        )
    if found.together > WORTH_IT * found.alone:
        return (
            f"{count} processes are hardly faster than one here: starting MPI takes {_text(A_START)}, and of "
            f"the {_text(found.alone)} or so that one process trains for they save "
            f"{_text(found.alone - found.together + A_START)}"
        )
    return None


def _text(seconds: float) -> str:
    """Return a time with two significant digits.

    Examples
    --------
    >>> [_text(seconds) for seconds in (0.0000314, 0.00136, 0.0998, 0.4, 1.5, 317)]
    ['0.031 ms', '1.4 ms', '0.10 s', '0.40 s', '1.5 s', '320 s']
    """
    if seconds < 0.0995:
        return f"{_two_digits(1000 * seconds)} ms"
    return f"{_two_digits(seconds)} s"


def _two_digits(x: float) -> str:
    rounded = float(f"{x:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:#.2g}"
