"""The processes that trained together, as the summary of a run has them; it may be written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tinygrad_mnist.numbers import percent_text, printable


class Processes(NamedTuple):
    """The processes that trained together: how many, on each machine, their share of waiting, those lost."""

    ranks: int
    hosts: Mapping[str, int]
    waiting_share: float | None
    lost: Sequence[str]

    def __str__(self) -> str:
        """Return them in words."""
        if len(self.hosts) == 1:
            return f"{self.ranks} on {next(iter(self.hosts))}"
        each = ", ".join(f"{count} on {host}" for host, count in self.hosts.items())
        return f"{self.ranks}: {each}" if each else str(self.ranks)

    @property
    def waiting(self) -> str:
        """Their share of waiting, in words; nothing where it is not known."""
        return "" if self.waiting_share is None else f"{percent_text(self.waiting_share)} of the time waiting"


def processes(summary: Mapping[str, Any]) -> Processes | None:
    """Return the processes that trained together, by a summary; None of one, or where it says nothing of use.

    Examples
    --------
    >>> here = {"ranks": 3, "hosts": {"a": 2, "b": 1}, "waiting_share": 0.07, "lost": []}
    >>> print(processes({"processes": here}))
    3: 2 on a, 1 on b
    >>> processes({"processes": here}).waiting
    '7.00 % of the time waiting'
    >>> processes({"processes": None}) is None
    True
    """
    found = summary.get("processes")
    if not isinstance(found, Mapping):
        return None
    ranks, hosts, waiting, lost = (found.get(name) for name in Processes._fields)
    if type(ranks) is not int or ranks < 1:
        return None
    known = hosts.items() if isinstance(hosts, Mapping) else ()
    return Processes(
        ranks,
        {printable(str(host)): count for host, count in known if type(count) is int},
        waiting if isinstance(waiting, float) and 0 <= waiting <= 1 else None,
        [printable(str(one)) for one in lost] if isinstance(lost, list) else [],
    )
