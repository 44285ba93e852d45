"""Errors that a request is answered with: one sentence, a status of HTTP, and what the visitor can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RETRY: Final = {"Retry-After": "1"}
"""The header of an answer to a request that may succeed in a second."""


class Refused(Exception):
    """A request that is not answered as it asks.

    Parameters
    ----------
    status : int
        The status of HTTP, 400 or more.
    sentence : str
        What was given, what is expected, and what to do.
    reason : str
        One word for it, that `/metrics` counts by.
    headers : mapping of str to str
        Further headers of the answer.
    """

    def __init__(
        self, status: int, sentence: str, *, reason: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.reason = reason
        self.headers = dict(headers or {})


def overloaded(sentence: str, reason: str) -> Refused:
    """Return the error for a request that there is no room for now."""
    return Refused(503, f"{sentence}; try again in a second", reason=reason, headers=RETRY)
