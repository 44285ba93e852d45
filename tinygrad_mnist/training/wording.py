"""Numbers as people read them."""

from __future__ import annotations


def percent(share: float, digits: int = 2) -> str:
    """A share of 1 in percent.

    Examples
    --------
    >>> percent(0.98254)
    '98.25 %'
    """
    return f"{100 * share:.{digits}f} %"


def duration(seconds: float) -> str:
    """Seconds, in minutes where they are many.

    Examples
    --------
    >>> duration(4.4), duration(250)
    ('4 s', '4 min 10 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
