"""Numbers as people read them, in what training prints and writes."""

from __future__ import annotations


def percent(share: float, digits: int = 2) -> str:
    """Return a share of 1 in percent.

    Examples
    --------
    >>> percent(0.98254)
    '98.25 %'
    """
    return f"{100 * share:.{digits}f} %"


def count(number: float, unit: str) -> str:
    """Return a number of something, with two decimals at most.

    Examples
    --------
    >>> count(1, "epoch"), count(0.38882, "epoch"), count(1000, "iteration")
    ('1 epoch', '0.39 epochs', '1,000 iterations')
    """
    return f"{round(number, 2):,.10g} {unit}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return seconds as text, in minutes where they are many.

    Examples
    --------
    >>> duration(4.4), duration(250)
    ('4 s', '4 min 10 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(shape: tuple[int, int]) -> str:
    """Return height and width of an image.

    Examples
    --------
    >>> size((28, 28))
    '28 x 28'
    """
    return f"{shape[0]} x {shape[1]}"
